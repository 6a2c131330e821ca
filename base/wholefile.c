/* SPDX-License-Identifier: Apache-2.0 */
/* Writes a file aside, syncs it, renames it, and syncs the directory, so that
 * whoever reads it after a death or a power cut finds the old text or the new
 * one.  What a death left aside is overwritten by the next write.  Called by
 * the platform for what must outlive it. */
#include "base/wholefile.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static int
write_aside(int dirfd, const char *aside, const char *text)
{
    int fd =
        openat(dirfd, aside,
               O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (fd < 0) {
        return -errno;
    }

    size_t length = strlen(text);
    ssize_t put = write(fd, text, length);
    int error = put < 0 ? -errno : (size_t)put < length ? -ENOSPC : 0;
    if (!error && fsync(fd)) {
        error = -errno;
    }
    if (close(fd) && !error) {
        error = -errno;
    }
    return error;
}

int
wholefile_write(int dirfd, const char *name, const char *text)
{
    char aside[NAME_MAX + 1];

    if ((size_t)snprintf(aside, sizeof aside, "%s" WHOLEFILE_ASIDE, name) >=
        sizeof aside) {
        return -ENAMETOOLONG;
    }
    int error = write_aside(dirfd, aside, text);
    if (!error && renameat(dirfd, aside, dirfd, name)) {
        error = -errno;
    }
    if (!error && fsync(dirfd)) {
        error = -errno;
    }
    if (error) {
        unlinkat(dirfd, aside, 0);
    }
    return error;
}
