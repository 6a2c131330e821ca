/* SPDX-License-Identifier: Apache-2.0 */
/* Hands over memory and takes it.  Who takes it believes nothing: only memory
 * of the kernel's own, with small pages (huge ones can be missing at the time
 * of an access), of the very size, and sealed against becoming smaller.  A
 * message may bring more descriptors than anybody asked for; all but one are
 * closed at once.  Called by shm.c and channel/lending/lent.c. */
#include "transport/passing.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <stdbool.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#define FDS_AT_ONCE 8 /* The kernel closes those that exceed it. */

int
passing_send(int socket, const void *data, size_t size, int fd)
{
    struct iovec iov = {.iov_base = (void *)(uintptr_t)data, .iov_len = size};
    union {
        struct cmsghdr header;
        uint8_t bytes[CMSG_SPACE(sizeof(int))];
    } control = {0};
    control.header.cmsg_level = SOL_SOCKET;
    control.header.cmsg_type = SCM_RIGHTS;
    control.header.cmsg_len = CMSG_LEN(sizeof fd);
    memcpy(CMSG_DATA(&control.header), &fd, sizeof fd);
    struct msghdr message = {.msg_iov = &iov, .msg_iovlen = 1};
    message.msg_control = control.bytes;
    message.msg_controllen = sizeof control.bytes;
    ssize_t sent = sendmsg(socket, &message, MSG_DONTWAIT | MSG_NOSIGNAL);
    if (sent < 0) {
        return -errno;
    }
    return sent == (ssize_t)size ? 0 : -EIO;
}

/* Takes the descriptors out of a message: how many there were. */
static unsigned
take_fds(struct msghdr *message, int *fd_out)
{
    unsigned n = 0;
    for (struct cmsghdr *header = CMSG_FIRSTHDR(message); header;
         header = CMSG_NXTHDR(message, header)) {
        if (header->cmsg_level != SOL_SOCKET ||
            header->cmsg_type != SCM_RIGHTS) {
            continue;
        }
        size_t size = header->cmsg_len - CMSG_LEN(0);
        for (size_t at = 0; at + sizeof(int) <= size; at += sizeof(int)) {
            int fd;
            memcpy(&fd, CMSG_DATA(header) + at, sizeof fd);
            if (n++) {
                close(fd);
            } else {
                *fd_out = fd;
            }
        }
    }
    return n;
}

ssize_t
passing_recv(int socket, void *data, size_t size, int *fd_out,
             unsigned *n_fds_out)
{
    struct iovec iov = {.iov_base = data, .iov_len = size};
    union {
        struct cmsghdr header;
        uint8_t bytes[CMSG_SPACE(FDS_AT_ONCE * sizeof(int))];
    } control;
    struct msghdr message = {.msg_iov = &iov, .msg_iovlen = 1};
    message.msg_control = control.bytes;
    message.msg_controllen = sizeof control.bytes;
    *n_fds_out = 0;
    *fd_out = -1;
    ssize_t got = recvmsg(socket, &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    if (got < 0) {
        return -errno;
    }
    *n_fds_out = take_fds(&message, fd_out);
    if (message.msg_flags & MSG_CTRUNC) {
        if (!*n_fds_out) {
            return -EMFILE; /* It came, but we can't have it. */
        }
        *n_fds_out += FDS_AT_ONCE;
    }
    return got;
}

int
passing_make_memory(uint64_t size, int seals)
{
    int fd = memfd_create("mchan", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (fd < 0) {
        return -errno;
    }
    if (ftruncate(fd, (off_t)size) || fcntl(fd, F_ADD_SEALS, seals)) {
        int error = -errno;
        close(fd);
        return error;
    }
    return fd;
}

int
passing_check_memory(int fd, uint64_t size, int seals)
{
    struct stat status;
    struct statfs system;
    int found = fcntl(fd, F_GET_SEALS);
    bool good = found >= 0 && (found & seals) == seals && !fstat(fd, &status) &&
                S_ISREG(status.st_mode) && status.st_size == (off_t)size &&
                !fstatfs(fd, &system) && system.f_type == TMPFS_MAGIC;
    return good ? 0 : -EPROTO;
}
