/* SPDX-License-Identifier: Apache-2.0 */
/* The N-th allocation or write of a process fails.  The functions here come
 * before the C library's, for all libraries of the program, too: what SQLite,
 * jansson or libconfig do with a failure is part of what we ship.  Only counts
 * are kept, atomically, since the journal has a thread.  Relies on glibc's
 * __libc_ names for memory and on system calls for writing; called by
 * inside.c, and by preload.c for programs as they are. */
#include "tests/inside/fail.h"

#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <sys/uio.h>
#include <unistd.h>

extern void *__libc_malloc(size_t);
extern void *__libc_calloc(size_t, size_t);
extern void *__libc_realloc(void *, size_t);
extern void __libc_free(void *);

enum { RESERVE_NONE, RESERVE_ASKED, RESERVE_HELD };

static _Atomic int reserve, ending;
static _Atomic bool held;
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

uint64_t
fail_n_calls(enum fail_kind which)
{
    return atomic_load(&state->n_calls[which]);
}

void
fail_hold(bool on)
{
    atomic_store(&held, on);
}

static void
end_with_main(void)
{
    (void)fail_disarm();
}

static bool
fails(enum fail_kind which)
{
    if (atomic_load(&held) ||
        (which == FAIL_ALLOC && atomic_load(&reserve) == RESERVE_HELD)) {
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
        if (state != &own && !atomic_exchange(&ending, 1)) {
            atexit(end_with_main);
        }
        atomic_store(&state->failed, 1);
        errno = which == FAIL_ALLOC ? ENOMEM : (int)atomic_load(&state->with);
        return true;
    }
    return false;
}

/* Asking the kernel for what it may refuse: descriptors, maps, threads, what is
 * known of a file.  Not unlink() and the like, by which a failure is cleaned
 * up, nor epoll_ctl(), after which libuv ends the process. */

/* The C library's own, found before main(): where it is called later, there may
 * be nothing left to open.  Another library's constructor may come before. */
#define REAL(of, name, declared)                                               \
    static of(*real_##name) declared;                                          \
    __attribute__((constructor(101))) static void find_##name(void)            \
    {                                                                          \
        *(void **)&real_##name = dlsym(RTLD_NEXT, #name);                      \
    }
#define FIND(name) (real_##name ? (void)0 : find_##name())

#define CALL(of, name, declared, given)                                        \
    REAL(of, name, declared)                                                   \
    of name declared                                                           \
    {                                                                          \
        FIND(name);                                                            \
        return call_fails() ? (of)-1 : real_##name given;                      \
    }

static bool
call_fails(void)
{
    if (!fails(FAIL_CALL)) {
        return false;
    }
    errno = atomic_load(&state->on) ? EIO : EMFILE;
    return true;
}

CALL(int, accept4,
     (int fd, struct sockaddr *address, socklen_t *size, int flags),
     (fd, address, size, flags))
CALL(int, bind, (int fd, const struct sockaddr *address, socklen_t size),
     (fd, address, size))
CALL(int, chmod, (const char *path, mode_t mode), (path, mode))
CALL(int, connect, (int fd, const struct sockaddr *address, socklen_t size),
     (fd, address, size))
CALL(int, dup, (int fd), (fd))
CALL(int, dup3, (int from, int to, int flags), (from, to, flags))
CALL(int, epoll_create1, (int flags), (flags))
CALL(int, eventfd, (unsigned value, int flags), (value, flags))
CALL(int, faccessat, (int fd, const char *path, int mode, int flags),
     (fd, path, mode, flags))
CALL(int, fchmod, (int fd, mode_t mode), (fd, mode))
CALL(int, flock, (int fd, int how), (fd, how))
CALL(int, fstat64, (int fd, struct stat64 *out), (fd, out))
CALL(int, fstatat64, (int fd, const char *path, struct stat64 *out, int flags),
     (fd, path, out, flags))
CALL(int, getrlimit64, (__rlimit_resource_t which, struct rlimit64 *out),
     (which, out))
CALL(int, getsockopt,
     (int fd, int level, int name, void *value, socklen_t *size),
     (fd, level, name, value, size))
CALL(int, listen, (int fd, int backlog), (fd, backlog))
CALL(int, lstat64, (const char *path, struct stat64 *out), (path, out))
CALL(int, memfd_create, (const char *name, unsigned flags), (name, flags))
CALL(int, mkdir, (const char *path, mode_t mode), (path, mode))
CALL(int, mkdirat, (int fd, const char *path, mode_t mode), (fd, path, mode))
CALL(void *, mmap64,
     (void *at, size_t size, int how, int flags, int fd, off64_t from),
     (at, size, how, flags, fd, from))
CALL(ssize_t, pread64, (int fd, void *data, size_t size, off64_t at),
     (fd, data, size, at))
CALL(int, setrlimit64,
     (__rlimit_resource_t which, const struct rlimit64 *limit), (which, limit))
CALL(int, setsockopt,
     (int fd, int level, int name, const void *value, socklen_t size),
     (fd, level, name, value, size))
CALL(int, socket, (int family, int type, int protocol),
     (family, type, protocol))
CALL(int, socketpair, (int family, int type, int protocol, int pair[2]),
     (family, type, protocol, pair))
CALL(int, stat64, (const char *path, struct stat64 *out), (path, out))
CALL(int, timerfd_create, (clockid_t clock, int flags), (clock, flags))

REAL(int, open64, (const char *, int, ...))
REAL(int, openat64, (int, const char *, int, ...))
REAL(int, fcntl64, (int, int, ...))
REAL(int, pipe2, (int[2], int))
REAL(DIR *, fdopendir, (int))
REAL(int, pthread_create,
     (pthread_t *, const pthread_attr_t *, void *(*)(void *), void *))

int
open64(const char *path, int flags, ...)
{
    va_list rest;

    va_start(rest, flags);
    mode_t mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(rest, mode_t) : 0;
    va_end(rest);
    FIND(open64);
    return call_fails() ? -1 : real_open64(path, flags, mode);
}

int
openat64(int fd, const char *path, int flags, ...)
{
    va_list rest;

    va_start(rest, flags);
    mode_t mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(rest, mode_t) : 0;
    va_end(rest);
    FIND(openat64);
    return call_fails() ? -1 : real_openat64(fd, path, flags, mode);
}

int
fcntl64(int fd, int what, ...)
{
    va_list rest;

    va_start(rest, what);
    void *more = va_arg(rest, void *); /* A number goes the same way. */
    va_end(rest);
    FIND(fcntl64);
    /* What is locked is waited for: SQLite takes most failures for that. */
    return what != F_SETLK && call_fails() ? -1 : real_fcntl64(fd, what, more);
}

/* libuv, too, ends the process if it gets no pipe for its signals. */
int
pipe2(int pair[2], int flags)
{
    Dl_info from;

    FIND(pipe2);
    return (!dladdr(__builtin_return_address(0), &from) ||
            !strstr(from.dli_fname, "libuv")) &&
                   call_fails()
               ? -1
               : real_pipe2(pair, flags);
}

DIR *
fdopendir(int fd)
{
    FIND(fdopendir);
    return call_fails() ? NULL : real_fdopendir(fd);
}

int
pthread_create(pthread_t *out, const pthread_attr_t *attributes,
               void *(*run)(void *), void *ctx)
{
    FIND(pthread_create);
    return call_fails() ? EAGAIN
                        : real_pthread_create(out, attributes, run, ctx);
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
    struct stat64 st;

    FIND(fstat64);
    return !real_fstat64(fd, &st) &&
           (S_ISFIFO(st.st_mode) || !(st.st_mode & S_IFMT));
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
