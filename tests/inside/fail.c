/* SPDX-License-Identifier: Apache-2.0 */
/* The N-th allocation or write of a process fails.  The functions here come
 * before the C library's, for all libraries of the program, too: what SQLite,
 * jansson or libconfig do with a failure is part of what we ship.  Only counts
 * are kept, atomically, since the journal has a thread.  Relies on glibc's
 * __libc_ names for memory and on system calls for writing; called by
 * inside.c. */
#include "tests/inside/fail.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <libconfig.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

extern void *__libc_malloc(size_t);
extern void *__libc_calloc(size_t, size_t);
extern void *__libc_realloc(void *, size_t);
extern void __libc_free(void *);

static _Atomic int kind;
static _Atomic uint64_t left; /* Calls until it fails. */
static _Atomic bool on_and_on, failed;
static _Atomic int with;
static _Atomic int64_t n_live;

void
fail_arm(enum fail_kind which, uint64_t n, bool on, int error)
{
    atomic_store(&left, n);
    atomic_store(&on_and_on, on);
    atomic_store(&with, error);
    atomic_store(&failed, false);
    atomic_store(&kind, which);
}

bool
fail_disarm(void)
{
    atomic_store(&kind, FAIL_NOTHING);
    return atomic_load(&failed);
}

int64_t
fail_n_live(void)
{
    return atomic_load(&n_live);
}

static bool
fails(enum fail_kind which)
{
    if (atomic_load(&kind) != (int)which) {
        return false;
    }
    uint64_t was = atomic_fetch_sub(&left, 1);
    if (was == 1 || (was > UINT64_MAX / 2 && atomic_load(&on_and_on)) ||
        (was == 0 && atomic_load(&on_and_on))) {
        atomic_store(&failed, true);
        errno = which == FAIL_ALLOC ? ENOMEM : atomic_load(&with);
        return true;
    }
    return false;
}

/* Memory. */

void *
malloc(size_t size)
{
    void *p = fails(FAIL_ALLOC) ? NULL : __libc_malloc(size);

    atomic_fetch_add(&n_live, p != NULL);
    return p;
}

void *
calloc(size_t n, size_t size)
{
    void *p = fails(FAIL_ALLOC) ? NULL : __libc_calloc(n, size);

    atomic_fetch_add(&n_live, p != NULL);
    return p;
}

void *
realloc(void *old, size_t size)
{
    void *p = fails(FAIL_ALLOC) ? NULL : __libc_realloc(old, size);

    if (!old) {
        atomic_fetch_add(&n_live, p != NULL);
    } else if (!size && !p) {
        atomic_fetch_sub(&n_live, 1);
    }
    return p;
}

void
free(void *p)
{
    atomic_fetch_sub(&n_live, p != NULL);
    __libc_free(p);
}

/* libconfig ends in a crash when it finds no memory, so base/confscan.c sees to
 * it that there is some: while it reads a text nothing fails here.  That this
 * is true is tests/system/test_memory.py's to show, with a real limit. */
int
config_read_string(config_t *config, const char *text)
{
    static int (*real)(config_t *, const char *);
    int was = atomic_exchange(&kind, FAIL_NOTHING);

    if (!real) {
        *(void **)&real = dlsym(RTLD_NEXT, "config_read_string");
    }
    int result = real(config, text);
    atomic_store(&kind, was);
    return result;
}

void
config_init(config_t *config)
{
    static void (*real)(config_t *);
    int was = atomic_exchange(&kind, FAIL_NOTHING);

    if (!real) {
        *(void **)&real = dlsym(RTLD_NEXT, "config_init");
    }
    real(config);
    atomic_store(&kind, was);
}

/* Writing. */

ssize_t
write(int fd, const void *data, size_t size)
{
    return fails(FAIL_WRITE) ? -1 : syscall(SYS_write, fd, data, size);
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

ssize_t
send(int fd, const void *data, size_t size, int flags)
{
    return fails(FAIL_WRITE)
               ? -1
               : syscall(SYS_sendto, fd, data, size, flags, NULL, 0);
}

ssize_t
sendmsg(int fd, const struct msghdr *msg, int flags)
{
    return fails(FAIL_WRITE) ? -1 : syscall(SYS_sendmsg, fd, msg, flags);
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
