/* SPDX-License-Identifier: Apache-2.0 */
/* Has allocations and writes fail in programs as they are: with fail.c it is a
 * library that LD_PRELOAD names.  MBROKER_FAIL_BOARD names a file of struct
 * fail_state, one for each kind of process, which real.py made and reads and
 * writes while they run; a process takes the one of its --role, or of its name.
 * It is mapped before the process gives up its rights.  Called by the loader.
 */
#include <execinfo.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "tests/inside/fail.h"

/* In the order of real.py. */
static const char *const names[] = {"parent",   "restore", "steward",
                                    "platform", "engine",  "back",
                                    "mctl",     "magentd", NULL};

#define BOARD_STEP 128

_Static_assert(sizeof(struct fail_state) <= BOARD_STEP, "as real.py has it");

static int
find(const char *name)
{
    for (int i = 0; names[i]; i++) {
        if (!strcmp(names[i], name)) {
            return i;
        }
    }
    return -1;
}

/* By the arguments, each ended by a NUL. */
static int
who_am_i(void)
{
    char text[4096];
    int fd = open("/proc/self/cmdline", O_RDONLY | O_CLOEXEC);
    ssize_t size = fd < 0 ? -1 : read(fd, text, sizeof text - 1);

    if (size <= 0) {
        return -1;
    }
    close(fd);
    text[size] = '\0';
    const char *name = strrchr(text, '/') ? strrchr(text, '/') + 1 : text;
    if (strcmp(name, "mbrokerd")) {
        return find(name);
    }
    for (const char *at = text; at < text + size; at += strlen(at) + 1) {
        if (!strncmp(at, "--role=", strlen("--role="))) {
            return find(at + strlen("--role="));
        }
    }
    return find("parent");
}

/* Where it crashed, in the log; then as without us. */
static void
tell_crash(int number)
{
    void *frames[40];
    int n = backtrace(frames, 40);

    backtrace_symbols_fd(frames, n, STDERR_FILENO);
    signal(number, SIG_DFL);
    raise(number);
}

__attribute__((constructor)) static void
take_place(void)
{
    const char *path = getenv("MBROKER_FAIL_BOARD");
    int who = path ? who_am_i() : -1;
    int fd = who < 0 ? -1 : open(path, O_RDWR | O_CLOEXEC);

    if (fd < 0) {
        return;
    }
    char *board = mmap(NULL, BOARD_STEP * (sizeof names / sizeof names[0]),
                       PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    close(fd);
    if (board != MAP_FAILED) {
        struct fail_state *mine = (void *)(board + BOARD_STEP * who);

        void *frame;

        (void)backtrace(&frame, 1); /* It loads a library the first time. */
        signal(SIGSEGV, tell_crash);
        signal(SIGBUS, tell_crash);
        signal(SIGABRT, tell_crash);
        mine->pid = (uint32_t)getpid();
        fail_share(mine);
    }
}
