/* SPDX-License-Identifier: Apache-2.0 */
/* flock() on small files, some in a directory that everybody may write
 * (/run/lock): no link is followed, nothing but a regular file is taken, and a
 * file of another user's is locked without being written.  A file may be
 * removed by its holder, so a lock counts only if the path still leads to it.
 * XXX: Where everybody may write, any user may hold a CPU's lock and so keep
 * the broker from starting; it says whose file that is.  A directory for locks
 * that only a group of brokers may write would end it. Called by the parent of
 * mbrokerd. */
#include "broker/parent/lock.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/text.h"

#define TRIES_MAX 16 /* Times the file may be replaced under us. */

static int open_file(const char *path);
static bool is_at(const char *path, int fd);
static void write_holder(int fd, const struct lock_holder *);
static void read_holder(int fd, struct lock_holder *out);

int
lock_take(const char *path, const struct lock_holder *self,
          struct lock_holder *holder)
{
    for (int i = 0; i < TRIES_MAX; i++) {
        int fd = open_file(path);
        if (fd < 0) {
            return fd;
        }
        if (flock(fd, LOCK_EX | LOCK_NB)) {
            int error = -errno;

            if (error == -EWOULDBLOCK) {
                read_holder(fd, holder);
            }
            close(fd);
            return error;
        }
        if (is_at(path, fd)) {
            write_holder(fd, self);
            return fd;
        }
        close(fd);
    }
    return -EBUSY;
}

void
lock_drop(const char *path, int fd)
{
    if (fd < 0) {
        return;
    }
    if (is_at(path, fd)) {
        unlink(path);
    }
    close(fd);
}

static int
open_file(const char *path)
{
    int flags = O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK;
    struct stat status;

    int fd = open(path, O_RDWR | flags);
    if (fd < 0 && errno == ENOENT) {
        fd = open(path, O_RDWR | O_CREAT | O_EXCL | flags, 0644);
        if (fd < 0 && errno == EEXIST) {
            fd = open(path, O_RDWR | flags);
        }
    }
    if (fd < 0 && errno == EACCES) {
        fd = open(path, O_RDONLY | flags);
    }
    if (fd < 0) {
        return -errno;
    }
    if (fstat(fd, &status) || !S_ISREG(status.st_mode) || status.st_nlink > 1) {
        close(fd);
        return -EINVAL;
    }
    return fd;
}

static bool
is_at(const char *path, int fd)
{
    struct stat ours, there;

    return !fstat(fd, &ours) && !lstat(path, &there) &&
           ours.st_dev == there.st_dev && ours.st_ino == there.st_ino;
}

/* What it says is for people; that it is locked is what counts. */
static void
write_holder(int fd, const struct lock_holder *self)
{
    char text[LOCK_HOLDER_SIZE + 32];

    int size =
        snprintf(text, sizeof text, "%d %s\n", (int)self->pid, self->run_dir);
    assert(size < (int)sizeof text);
    if (!ftruncate(fd, 0)) {
        ssize_t put = pwrite(fd, text, (size_t)size, 0);

        (void)put;
    }
}

static void
read_holder(int fd, struct lock_holder *out)
{
    char text[LOCK_HOLDER_SIZE + 32];
    struct stat status;
    int64_t pid;

    *out = (struct lock_holder){.uid = (uid_t)-1};
    if (!fstat(fd, &status)) {
        out->uid = status.st_uid;
    }
    ssize_t got = pread(fd, text, sizeof text - 1, 0);
    if (got <= 0) {
        return;
    }
    text[got] = '\0';
    text[strcspn(text, "\n")] = '\0';
    char *space = strchr(text, ' ');
    if (!space) {
        return;
    }
    *space = '\0';
    if (!text_to_i64(text, &pid) && pid > 0 && pid < INT32_MAX) {
        out->pid = (pid_t)pid;
        text_copy_printable(out->run_dir, sizeof out->run_dir, space + 1);
    }
}
