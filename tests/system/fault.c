/* SPDX-License-Identifier: Apache-2.0 */
/* A library to be preloaded into mbrokerd's processes, which makes its disk fail
 * and its wall clock jump while it runs, as a test says in a small file that it
 * maps: the disk and the clock of a machine are not a test's to break.  The file
 * is mapped before a process enters its sandbox and stays so.  Built by
 * tests/system/test_preload.py; used by nobody else. */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

struct fault {
    volatile int64_t wall_ahead_s;  /* Of every process. */
    volatile int32_t writes, syncs; /* Of the engine's: the errno; 0: well. */
    volatile int64_t n_failed;
};

static struct fault none, *fault = &none;
static int is_engine;

__attribute__((constructor)) static void
begin(void)
{
    const char *path = getenv("MBROKER_TEST_FAULT");
    char line[4096];
    int fd = path ? open(path, O_RDWR | O_CLOEXEC) : -1;

    if (fd >= 0) {
        void *map = mmap(NULL, sizeof *fault, PROT_READ | PROT_WRITE,
                         MAP_SHARED, fd, 0);

        fault = map == MAP_FAILED ? &none : map;
        close(fd);
    }
    fd = open("/proc/self/cmdline", O_RDONLY | O_CLOEXEC);
    ssize_t n = fd >= 0 ? read(fd, line, sizeof line) : -1;
    is_engine = n > 0 && memmem(line, (size_t)n, "--role=engine", 13) != NULL;
    if (fd >= 0) {
        close(fd);
    }
}

static int
fails(int fd, int error)
{
    struct stat status;

    if (!is_engine || !error || fd <= STDERR_FILENO || fstat(fd, &status) ||
        !S_ISREG(status.st_mode)) {
        return 0;
    }
    fault->n_failed++;
    errno = error;
    return 1;
}

#define NEXT(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

ssize_t
pwrite(int fd, const void *data, size_t size, off_t at)
{
    return fails(fd, fault->writes) ? -1 : NEXT(pwrite)(fd, data, size, at);
}

ssize_t
pwrite64(int fd, const void *data, size_t size, off64_t at)
{
    return fails(fd, fault->writes) ? -1 : NEXT(pwrite64)(fd, data, size, at);
}

ssize_t
write(int fd, const void *data, size_t size)
{
    return fails(fd, fault->writes) ? -1 : NEXT(write)(fd, data, size);
}

int
fsync(int fd)
{
    return fails(fd, fault->syncs) ? -1 : NEXT(fsync)(fd);
}

int
fdatasync(int fd)
{
    return fails(fd, fault->syncs) ? -1 : NEXT(fdatasync)(fd);
}

/* The wall clock alone: CLOCK_BOOTTIME and CLOCK_MONOTONIC can't jump. */
int
clock_gettime(clockid_t clock, struct timespec *out)
{
    int error = NEXT(clock_gettime)(clock, out);

    if (!error && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE)) {
        out->tv_sec += fault->wall_ahead_s;
    }
    return error;
}

int
gettimeofday(struct timeval *restrict out, void *restrict zone)
{
    int error = NEXT(gettimeofday)(out, zone);

    if (!error) {
        out->tv_sec += fault->wall_ahead_s;
    }
    return error;
}

time_t
time(time_t *out)
{
    struct timespec now;

    clock_gettime(CLOCK_REALTIME, &now);
    if (out) {
        *out = now.tv_sec;
    }
    return now.tv_sec;
}
