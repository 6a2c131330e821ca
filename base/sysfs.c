/* SPDX-License-Identifier: Apache-2.0 */
/* One-value files below a directory descriptor.  Relies on openat(); called by
 * the hardware drivers, the hypervisors and the probes, all of which are handed
 * the root they may read. */
#include "base/sysfs.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "base/text.h"

static int open_below(int dirfd, const char *path, int flags);

int
sysfs_read(int dirfd, const char *path, char *out, size_t size)
{
    int fd = open_below(dirfd, path, O_RDONLY);
    if (fd < 0) {
        return fd;
    }

    size_t used = 0;
    ssize_t got = 0;
    while (used < size - 1) {
        got = read(fd, out + used, size - 1 - used);
        if (got <= 0) {
            break;
        }
        used += (size_t)got;
    }
    int error = got < 0 ? -errno : 0;
    close(fd);
    if (error) {
        return error;
    }

    out[used] = '\0';
    if (used && out[used - 1] == '\n') {
        out[--used] = '\0';
    }
    return (int)used;
}

int
sysfs_read_u64(int dirfd, const char *path, uint64_t *out)
{
    char text[32];

    int length = sysfs_read(dirfd, path, text, sizeof text);
    if (length < 0) {
        return length;
    }
    return text_to_u64(text, out);
}

int
sysfs_write(int dirfd, const char *path, const char *text)
{
    int fd = open_below(dirfd, path, O_WRONLY | O_TRUNC);
    if (fd < 0) {
        return fd;
    }

    size_t length = strlen(text);
    ssize_t put = write(fd, text, length);
    int error = put < 0 ? -errno : put < (ssize_t)length ? -EIO : 0;
    if (close(fd) && !error) {
        error = -errno;
    }
    return error;
}

/* Open()s 'path', which must be relative: an absolute one would leave the tree
 * we were given. */
static int
open_below(int dirfd, const char *path, int flags)
{
    if (path[0] == '/') {
        return -EINVAL;
    }
    int fd = openat(dirfd, path, flags | O_CLOEXEC | O_NONBLOCK);
    return fd < 0 ? -errno : fd;
}
