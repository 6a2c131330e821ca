/* SPDX-License-Identifier: Apache-2.0 */
/* What watch.h says.  Where something is missing that any machine has, the
 * program ends with 2: then nothing was tested.  Called by tests/death and
 * tests/hostile. */
#include "tests/watch.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <time.h>

#include "base/clock.h"

int64_t
watch_now(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * NSEC_PER_SEC + now.tv_nsec;
}

void
watch_nap(int64_t ns)
{
    struct timespec time = {.tv_nsec = (long)ns};
    nanosleep(&time, NULL);
}

void *
watch_share(size_t size)
{
    void *memory = mmap(NULL, size, PROT_READ | PROT_WRITE,
                        MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) {
        perror("mmap");
        exit(2);
    }
    return memory;
}

void
watch_make_dir(char *out, size_t size, const char *name)
{
    snprintf(out, size, "/tmp/mchan-%s-XXXXXX", name);
    if (!mkdtemp(out)) {
        perror("mkdtemp");
        exit(2);
    }
}
