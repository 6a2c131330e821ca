/* SPDX-License-Identifier: Apache-2.0 */
/* The linker gives our objects these functions in place of the C library's
 * (--wrap, tests/meson.build has the list).  One call is armed at a time; for
 * tests without threads. */
#include "tests/scarce.h"

#include <assert.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <sys/utsname.h>
#include <unistd.h>

#define ARMED_MAX 16

static struct {
    const char *name; /* Null: it came. */
    unsigned left;
    int error;
} armed[ARMED_MAX];
static unsigned n_armed;
static int with; /* The error of the last that came. */

void
scarce_arm(const char *name, unsigned n, int error)
{
    assert(n_armed < ARMED_MAX && n > 0);
    armed[n_armed].name = name;
    armed[n_armed].left = n;
    armed[n_armed++].error = error;
}

bool
scarce_disarm(void)
{
    bool came = true;

    while (n_armed) {
        came = came && !armed[--n_armed].name;
    }
    return came;
}

static bool
fails(const char *name)
{
    bool any = false;

    for (unsigned i = 0; i < n_armed; i++) {
        if (armed[i].name && !strcmp(armed[i].name, name) &&
            --armed[i].left == 0) {
            armed[i].name = NULL;
            errno = with = armed[i].error;
            any = true;
        }
    }
    return any;
}

/* Of a function that returns -1 and says why in errno. */
#define WRAP(type, name, called, parameters, arguments)                        \
    type __real_##name parameters;                                             \
    type __wrap_##name parameters;                                             \
    type __wrap_##name parameters                                              \
    {                                                                          \
        return fails(called) ? (type)-1 : __real_##name arguments;             \
    }
/* Of one that returns a pointer. */
#define WRAP_MEMORY(name, parameters, arguments)                               \
    void *__real_##name parameters;                                            \
    void *__wrap_##name parameters;                                            \
    void *__wrap_##name parameters                                             \
    {                                                                          \
        return fails("memory") ? NULL : __real_##name arguments;               \
    }
/* Of one that may take less than all. */
#define WRAP_WRITE(name, called, parameters, arguments)                        \
    ssize_t __real_##name parameters;                                          \
    ssize_t __wrap_##name parameters;                                          \
    ssize_t __wrap_##name parameters                                           \
    {                                                                          \
        return !fails(called) ? __real_##name arguments : with ? -1 : 0;       \
    }

WRAP_MEMORY(malloc, (size_t size), (size))
WRAP_MEMORY(calloc, (size_t n, size_t size), (n, size))
WRAP_MEMORY(realloc, (void *old, size_t size), (old, size))
WRAP_MEMORY(aligned_alloc, (size_t to, size_t size), (to, size))
WRAP_MEMORY(strdup, (const char *text), (text))

WRAP(void *, mmap64, "mmap",
     (void *at, size_t size, int may, int flags, int fd, off_t offset),
     (at, size, may, flags, fd, offset))
WRAP(int, memfd_create, "memfd_create", (const char *name, unsigned flags),
     (name, flags))
WRAP(int, ftruncate64, "ftruncate", (int fd, off_t size), (fd, size))
WRAP(int, fstat64, "fstat", (int fd, struct stat *out), (fd, out))
WRAP(int, fsync, "fsync", (int fd), (fd))
WRAP(int, fdatasync, "fsync", (int fd), (fd))
WRAP(int, close, "close", (int fd), (fd))
WRAP(int, renameat, "rename",
     (int from_fd, const char *from, int to_fd, const char *to),
     (from_fd, from, to_fd, to))
WRAP(int, unlinkat, "unlink", (int fd, const char *name, int flags),
     (fd, name, flags))
WRAP(int, mkdir, "mkdir", (const char *path, mode_t mode), (path, mode))
WRAP(int, flock, "flock", (int fd, int how), (fd, how))
WRAP(int, fchown, "chown", (int fd, uid_t uid, gid_t gid), (fd, uid, gid))
WRAP(int, lchown, "chown", (const char *path, uid_t uid, gid_t gid),
     (path, uid, gid))
WRAP(int, socket, "socket", (int domain, int type, int protocol),
     (domain, type, protocol))
WRAP(int, listen, "listen", (int fd, int backlog), (fd, backlog))
DIR *__real_fdopendir(int fd);
DIR *__wrap_fdopendir(int fd);
DIR *
__wrap_fdopendir(int fd)
{
    return fails("fdopendir") ? NULL : __real_fdopendir(fd);
}

int __real_uname(struct utsname *out);
int __wrap_uname(struct utsname *out);
int
__wrap_uname(struct utsname *out)
{
    if (fails("uname")) {
        return -1;
    }
    int error = __real_uname(out);
    if (fails("odd name")) {
        strcpy(out->nodename, "a name with spaces");
    }
    return error;
}

WRAP(int, socketpair, "socketpair",
     (int domain, int type, int protocol, int *fds),
     (domain, type, protocol, fds))
WRAP(int, setsockopt, "setsockopt",
     (int fd, int level, int name, const void *value, socklen_t size),
     (fd, level, name, value, size))
WRAP(ssize_t, read, "read", (int fd, void *data, size_t size), (fd, data, size))
WRAP(ssize_t, pread64, "read", (int fd, void *data, size_t size, off_t at),
     (fd, data, size, at))
WRAP(ssize_t, recv, "recv", (int fd, void *data, size_t size, int flags),
     (fd, data, size, flags))
WRAP(ssize_t, send, "send", (int fd, const void *data, size_t size, int flags),
     (fd, data, size, flags))
WRAP_WRITE(write, "write", (int fd, const void *data, size_t size),
           (fd, data, size))
WRAP_WRITE(pwrite64, "write", (int fd, const void *data, size_t size, off_t at),
           (fd, data, size, at))

/* In memory as malloc() is; the checking build calls the other. */
int __wrap_asprintf(char **out, const char *format, ...);
int __wrap___asprintf_chk(char **out, int flag, const char *format, ...);
__attribute__((format(printf, 2, 3))) int
__wrap_asprintf(char **out, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    int n = fails("memory") ? -1 : vasprintf(out, format, args);
    va_end(args);
    return n;
}

__attribute__((format(printf, 3, 4))) int
__wrap___asprintf_chk(char **out, int flag, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    int n = fails("memory") ? -1 : vasprintf(out, format, args);
    va_end(args);
    return n;
}

int __real_fcntl64(int fd, int what, ...);
int __wrap_fcntl64(int fd, int what, ...);
int
__wrap_fcntl64(int fd, int what, ...)
{
    va_list args;

    va_start(args, what);
    long value = va_arg(args, long);
    va_end(args);
    return fails("fcntl") ? -1 : __real_fcntl64(fd, what, value);
}

int __real_open64(const char *path, int flags, ...);
int __wrap_open64(const char *path, int flags, ...);
int
__wrap_open64(const char *path, int flags, ...)
{
    va_list args;

    va_start(args, flags);
    mode_t mode = flags & O_CREAT ? va_arg(args, mode_t) : 0;
    va_end(args);
    return fails("open") ? -1 : __real_open64(path, flags, mode);
}

int __real_openat64(int at, const char *path, int flags, ...);
int __wrap_openat64(int at, const char *path, int flags, ...);
int
__wrap_openat64(int at, const char *path, int flags, ...)
{
    va_list args;

    va_start(args, flags);
    mode_t mode = flags & O_CREAT ? va_arg(args, mode_t) : 0;
    va_end(args);
    return fails("open") ? -1 : __real_openat64(at, path, flags, mode);
}
