/* SPDX-License-Identifier: Apache-2.0 */
/* The N-th allocation or write of a process fails.  The functions here come
 * before the C library's, for all libraries of the program, too: what SQLite,
 * jansson or libconfig do with a failure is part of what we ship.  Only counts
 * are kept, atomically, since the journal has a thread.  Relies on glibc's
 * __libc_ names for memory and on system calls for writing; called by
 * inside.c, and by preload.c for programs as they are. */
#include "tests/inside/fail.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

extern void *__libc_malloc(size_t);
extern void *__libc_calloc(size_t, size_t);
extern void *__libc_realloc(void *, size_t);
extern void __libc_free(void *);

enum { RESERVE_NONE, RESERVE_ASKED, RESERVE_HELD };

static _Atomic int reserve, ends;
static struct fail_state own;
static struct fail_state *state = &own;

void
fail_share(struct fail_state *shared)
{
    state = shared;
}

void
fail_arm(enum fail_kind which, uint64_t n, bool on, int error)
{
    atomic_store(&state->left, n);
    atomic_store(&state->on, on);
    atomic_store(&state->with, (uint32_t)error);
    atomic_store(&state->failed, 0);
    atomic_store(&state->kind, which);
}

bool
fail_disarm(void)
{
    atomic_store(&state->kind, FAIL_NOTHING);
    return atomic_load(&state->failed);
}

int64_t
fail_n_live(void)
{
    return atomic_load(&state->n_live);
}

static void
end_with_main(void)
{
    (void)fail_disarm();
}

static bool
fails(enum fail_kind which)
{
    if (which == FAIL_ALLOC && atomic_load(&reserve) == RESERVE_HELD) {
        return false;
    }
    atomic_fetch_add(&state->n_calls[which], 1);
    if (atomic_load(&state->kind) != (uint32_t)which) {
        return false;
    }
    uint64_t was = atomic_fetch_sub(&state->left, 1);
    if (was == 1 || (was > UINT64_MAX / 2 && atomic_load(&state->on)) ||
        (was == 0 && atomic_load(&state->on))) {
        /* Behind main() a build that counts branches writes its counts, and
         * can't do without memory. */
        if (state != &own && !atomic_exchange(&ends, 1)) {
            atexit(end_with_main);
        }
        atomic_store(&state->failed, 1);
        errno = which == FAIL_ALLOC ? ENOMEM : (int)atomic_load(&state->with);
        return true;
    }
    return false;
}

/* Memory. */

void *
malloc(size_t size)
{
    void *p = fails(FAIL_ALLOC) ? NULL : __libc_malloc(size);
    int asked = RESERVE_ASKED;

    if (p) {
        atomic_compare_exchange_strong(&reserve, &asked, RESERVE_HELD);
    }
    atomic_fetch_add(&state->n_live, p != NULL);
    return p;
}

void *
calloc(size_t n, size_t size)
{
    void *p = fails(FAIL_ALLOC) ? NULL : __libc_calloc(n, size);

    atomic_fetch_add(&state->n_live, p != NULL);
    return p;
}

void *
realloc(void *old, size_t size)
{
    void *p = fails(FAIL_ALLOC) ? NULL : __libc_realloc(old, size);

    if (!old) {
        atomic_fetch_add(&state->n_live, p != NULL);
    } else if (!size && !p) {
        atomic_fetch_sub(&state->n_live, 1);
    }
    return p;
}

void
free(void *p)
{
    atomic_fetch_sub(&state->n_live, p != NULL);
    __libc_free(p);
}

/* What base/reserve.c keeps for libraries that end in a crash without memory:
 * that it is there may fail, and then nothing of it does.  That this is true
 * outside is tests/system/test_memory.py's to show, with a real limit. */
int
mallopt(int which, int value)
{
    static int (*real)(int, int);

    if (!real) {
        *(void **)&real = dlsym(RTLD_NEXT, "mallopt");
    }
    if (which == M_MMAP_MAX) {
        atomic_store(&reserve, value ? RESERVE_NONE : RESERVE_ASKED);
    }
    return real(which, value);
}

/* Writing. */

/* A pipe or a counter by which a process wakes itself: there is no disk or peer
 * that could fail, and libuv ends the process if it does. */
static bool
wakes(int fd)
{
    struct stat st;

    return !fstat(fd, &st) && (S_ISFIFO(st.st_mode) || !(st.st_mode & S_IFMT));
}

ssize_t
write(int fd, const void *data, size_t size)
{
    /* What is said of it is heard. */
    return fd != STDERR_FILENO && !wakes(fd) && fails(FAIL_WRITE)
               ? -1
               : syscall(SYS_write, fd, data, size);
}

ssize_t
pwrite64(int fd, const void *data, size_t size, off64_t at)
{
    return fails(FAIL_WRITE) ? -1 : syscall(SYS_pwrite64, fd, data, size, at);
}

ssize_t
writev(int fd, const struct iovec *parts, int n)
{
    return fails(FAIL_WRITE) ? -1 : syscall(SYS_writev, fd, parts, n);
}

/* A socket knows no full disk: it is short of memory, or its peer is gone. */
static bool
send_fails(void)
{
    if (!fails(FAIL_WRITE)) {
        return false;
    }
    errno = atomic_load(&state->on) ? EPIPE : ENOBUFS;
    return true;
}

ssize_t
send(int fd, const void *data, size_t size, int flags)
{
    return send_fails() ? -1
                        : syscall(SYS_sendto, fd, data, size, flags, NULL, 0);
}

ssize_t
sendmsg(int fd, const struct msghdr *msg, int flags)
{
    return send_fails() ? -1 : syscall(SYS_sendmsg, fd, msg, flags);
}

int
fsync(int fd)
{
    return fails(FAIL_WRITE) ? -1 : (int)syscall(SYS_fsync, fd);
}

int
fdatasync(int fd)
{
    return fails(FAIL_WRITE) ? -1 : (int)syscall(SYS_fdatasync, fd);
}

int
ftruncate64(int fd, off64_t size)
{
    return fails(FAIL_WRITE) ? -1 : (int)syscall(SYS_ftruncate, fd, size);
}

int
renameat(int from_fd, const char *from, int to_fd, const char *to)
{
    return fails(FAIL_WRITE)
               ? -1
               : (int)syscall(SYS_renameat, from_fd, from, to_fd, to);
}
