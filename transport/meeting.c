/* SPDX-License-Identifier: Apache-2.0 */
/* Listens at, connects to, or takes over a unix socket.  A file that a dead
 * process left at the path is replaced; one at which somebody still listens is
 * not.  Every call that could block says MSG_DONTWAIT or is made on a socket of
 * our own making, since the flags of one that was handed over are shared with
 * whoever handed it.  Called by unix.c and shm.c. */
#include "transport/meeting.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

static int
watch(struct meeting *meeting, int fd, uint32_t which)
{
    struct epoll_event event = {.events = EPOLLIN | EPOLLET};
    event.data.u32 = which;
    if (which == TRANSPORT_LINK) {
        event.events |= EPOLLRDHUP;
    }
    if (epoll_ctl(meeting->epoll_fd, EPOLL_CTL_ADD, fd, &event)) {
        return -errno;
    }
    return 0;
}

/* Closing alone would leave the watch standing where another process holds the
 * same socket. */
static void
unwatch_and_close(struct meeting *meeting, int *fd)
{
    if (*fd >= 0) {
        epoll_ctl(meeting->epoll_fd, EPOLL_CTL_DEL, *fd, NULL);
        close(*fd);
        *fd = -1;
    }
}

static int
address_of(const char *path, struct sockaddr_un *out)
{
    memset(out, 0, sizeof *out);
    out->sun_family = AF_UNIX;
    size_t length = strlen(path);
    if (!length) {
        return -EINVAL;
    }
    if (length >= sizeof out->sun_path) {
        return -ENAMETOOLONG;
    }
    memcpy(out->sun_path, path, length);
    return 0;
}

static int
new_socket(void)
{
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    return fd >= 0 ? fd : -errno;
}

/* True if the file at the address is a socket that nobody listens at. */
static bool
is_left_over(const struct sockaddr_un *address)
{
    struct stat status;
    if (lstat(address->sun_path, &status) || !S_ISSOCK(status.st_mode)) {
        return false;
    }
    int fd = new_socket();
    if (fd < 0) {
        return false;
    }
    bool refused =
        connect(fd, (const struct sockaddr *)address, sizeof *address) &&
        errno == ECONNREFUSED;
    close(fd);
    return refused;
}

static int
bind_and_listen(int fd, const struct sockaddr_un *address)
{
    const struct sockaddr *any = (const struct sockaddr *)address;
    if (bind(fd, any, sizeof *address)) {
        if (errno != EADDRINUSE) {
            return -errno;
        }
        if (!is_left_over(address)) {
            return -EADDRINUSE;
        }
        if (unlink(address->sun_path) || bind(fd, any, sizeof *address)) {
            return -errno;
        }
    }
    return listen(fd, MEETING_BACKLOG) ? -errno : 0;
}

static int
listen_at(struct meeting *meeting, const char *path)
{
    struct sockaddr_un address;
    int error = address_of(path, &address);
    if (error) {
        return error;
    }
    int fd = new_socket();
    if (fd < 0) {
        return fd;
    }
    struct stat status;
    error = bind_and_listen(fd, &address);
    if (!error && stat(path, &status)) {
        error = -errno;
    }
    if (!error) {
        error = watch(meeting, fd, TRANSPORT_PEER);
    }
    if (error) {
        close(fd);
        return error;
    }
    meeting->device = status.st_dev;
    meeting->inode = status.st_ino;
    meeting->listen_fd = fd;
    return 0;
}

/* Finds out what the socket is and sees to it that our children don't get it.
 */
static int
adopt(struct meeting *meeting, int fd)
{
    int accepts;
    socklen_t size = sizeof accepts;
    if (getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &accepts, &size)) {
        return -errno;
    }
    if (accepts && !meeting->listening) {
        return -EINVAL;
    }
    int flags = fcntl(fd, F_GETFD);
    if (flags < 0 || fcntl(fd, F_SETFD, flags | FD_CLOEXEC)) {
        return -errno;
    }
    if (accepts) {
        /* accept4() has no flag for this one call. */
        flags = fcntl(fd, F_GETFL);
        if (flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK)) {
            return -errno;
        }
    }
    int error = watch(meeting, fd, accepts ? TRANSPORT_PEER : TRANSPORT_LINK);
    if (error) {
        return error;
    }
    *(accepts ? &meeting->listen_fd : &meeting->fd) = fd;
    meeting->once = !accepts;
    return 0;
}

int
meeting_init(struct meeting *meeting, const char *path,
             const struct transport_opts *opts)
{
    memset(meeting, 0, sizeof *meeting);
    meeting->listening = opts->listen;
    meeting->epoll_fd = opts->epoll_fd;
    meeting->listen_fd = -1;
    meeting->fd = -1;
    if (opts->fd >= 0) {
        return adopt(meeting, opts->fd);
    }
    struct sockaddr_un address;
    int error = address_of(path, &address);
    if (!error && opts->listen) {
        error = listen_at(meeting, path);
    }
    if (error) {
        return error;
    }
    meeting->path = strdup(path);
    if (!meeting->path) {
        unwatch_and_close(meeting, &meeting->listen_fd);
        if (opts->listen) {
            unlink(path);
        }
        return -ENOMEM;
    }
    return 0;
}

void
meeting_fini(struct meeting *meeting)
{
    meeting_drop(meeting);
    struct stat status;
    if (meeting->listen_fd >= 0 && meeting->path &&
        !stat(meeting->path, &status) && status.st_dev == meeting->device &&
        status.st_ino == meeting->inode) {
        unlink(meeting->path);
    }
    unwatch_and_close(meeting, &meeting->listen_fd);
    free(meeting->path);
    meeting->path = NULL;
}

static int
accept_one(struct meeting *meeting)
{
    int fd =
        accept4(meeting->listen_fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd < 0) {
        /* One who left while waiting is nobody. */
        return errno == EINTR || errno == ECONNABORTED ? -EAGAIN : -errno;
    }
    return fd;
}

static int
connect_to(const char *path)
{
    struct sockaddr_un address;
    int error = address_of(path, &address);
    if (error) {
        return error;
    }
    int fd = new_socket();
    if (fd < 0) {
        return fd;
    }
    if (connect(fd, (struct sockaddr *)&address, sizeof address)) {
        error = -errno; /* -EAGAIN: its queue is full. */
        close(fd);
        return error == -EAGAIN ? -EBUSY : error;
    }
    return fd;
}

int
meeting_connect(struct meeting *meeting)
{
    if (meeting->fd >= 0) {
        return 1;
    }
    if (meeting->once) {
        return -ENOTCONN;
    }
    int fd =
        meeting->listening ? accept_one(meeting) : connect_to(meeting->path);
    if (fd < 0) {
        return fd == -EAGAIN ? 0 : fd;
    }
    int error = watch(meeting, fd, TRANSPORT_LINK);
    if (error) {
        close(fd);
        return error;
    }
    meeting->fd = fd;
    return 1;
}

void
meeting_drop(struct meeting *meeting)
{
    unwatch_and_close(meeting, &meeting->fd);
}

unsigned
meeting_refuse(struct meeting *meeting)
{
    unsigned n = 0;
    while (meeting->listen_fd >= 0 && n < MEETING_REFUSE_MAX) {
        int fd = accept_one(meeting);
        if (fd < 0) {
            break;
        }
        close(fd);
        n++;
    }
    return n;
}

int
meeting_identify(const struct meeting *meeting, struct transport_identity *out)
{
    if (meeting->fd < 0) {
        return -ENOTCONN;
    }
    struct ucred cred;
    socklen_t size = sizeof cred;
    if (getsockopt(meeting->fd, SOL_SOCKET, SO_PEERCRED, &cred, &size)) {
        return errno == EOPNOTSUPP ? -ENOTSUP : -errno;
    }
    out->pid = cred.pid;
    out->uid = cred.uid;
    out->gid = cred.gid;
    return 0;
}
