/* SPDX-License-Identifier: Apache-2.0 */
/* Follows a log file by reading it on a timer: one read() a look while it
 * grows, and nothing to wake us per line as inotify would.  httplog.c asks,
 * every 50 ms; how much a look may read is bounded, and so is memory: one
 * buffer.
 *
 * The path is compared with the open file when a look found nothing new, and
 * now and then even while it grows.  After a rename the writer goes on in the
 * old file until it notices, so that is read until it was quiet for two looks.
 * A file that is shorter than what we read of it was cut (copytruncate) and is
 * read from its start.
 * XXX a file that is cut and has outgrown the old size before the next look is
 * not noticed: its first lines are missed.  The writer would have to be
 * thousands of times faster than a rotation is frequent. */
#include "probe/follow.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static void look_at_path(struct follow *f);
static void leave(struct follow *f);
static int enter(struct follow *f);
static ssize_t fill(struct follow *f);
static void split(struct follow *f, follow_line_fn *line, void *ctx);

void
follow_init(struct follow *f, const char *path)
{
    /* The buffer is left as it is: no page of it is touched before use. */
    memset(f, 0, offsetof(struct follow, buffer));
    f->path = path;
    f->fd = -1;
    enter(f); /* If there is no file yet, looks will find it. */
    f->started = true;
}

void
follow_fini(struct follow *f)
{
    if (f->fd >= 0) {
        close(f->fd);
    }
    f->fd = -1;
}

int
follow_look(struct follow *f, follow_line_fn *line, void *ctx)
{
    size_t n_look = 0;

    if (f->fd < 0) {
        int error = enter(f);
        if (error) {
            return error;
        }
    }
    for (;;) {
        size_t room = sizeof f->buffer - f->used;
        ssize_t n = fill(f);

        if (n < 0) {
            return (int)n;
        }
        split(f, line, ctx);
        n_look += (size_t)n;
        if ((size_t)n < room) {
            break;
        }
        if (n_look >= FOLLOW_LOOK_MAX) {
            return 1;
        }
    }
    f->n_quiet = n_look ? 0 : f->n_quiet + 1;
    f->n_looks++;
    if (!n_look || f->replaced || f->n_looks % FOLLOW_CHECK_LOOKS == 0) {
        look_at_path(f);
    }
    return f->fd < 0; /* The next file is there. */
}

/* Rotation */

/* Does the path still name the file we read, and is that still as long as what
 * we read of it? */
static void
look_at_path(struct follow *f)
{
    struct stat st;

    if (!fstat(f->fd, &st) && (uint64_t)st.st_size < f->offset) {
        f->n_cut += f->used > 0;
        f->n_truncated++;
        f->offset = 0;
        f->used = 0;
        f->skipping = f->headless = false;
        lseek(f->fd, 0, SEEK_SET);
        return;
    }
    if (!f->replaced) {
        /* Deleted and not made again: what is open is all there is. */
        f->replaced =
            !stat(f->path, &st) && (st.st_ino != f->ino || st.st_dev != f->dev);
        f->n_leaving = 0;
        return;
    }
    f->n_leaving++;
    if (f->n_quiet >= FOLLOW_QUIET_LOOKS ||
        f->n_leaving >= FOLLOW_LEAVE_LOOKS) {
        leave(f);
    }
}

static void
leave(struct follow *f)
{
    f->n_cut += f->used > 0;
    close(f->fd);
    f->fd = -1;
    f->used = 0;
}

/* Goes to the end of a file that was there before us.  If that is within a
 * line, its rest is skipped without being counted. */
static void
start_at_end(struct follow *f, uint64_t size)
{
    char last;

    f->offset = (uint64_t)lseek(f->fd, (off_t)size, SEEK_SET);
    if (size && pread(f->fd, &last, 1, (off_t)(size - 1)) == 1 &&
        last != '\n') {
        f->skipping = f->headless = true;
    }
}

static int
enter(struct follow *f)
{
    struct stat st;
    int fd = open(f->path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);

    if (fd < 0) {
        return -errno;
    }
    if (fstat(fd, &st)) {
        int error = -errno;
        close(fd);
        return error;
    }
    if (!S_ISREG(st.st_mode)) {
        close(fd);
        return -EINVAL;
    }
    f->fd = fd;
    f->dev = st.st_dev;
    f->ino = st.st_ino;
    f->offset = 0;
    f->used = 0;
    f->skipping = f->headless = f->replaced = false;
    f->n_quiet = f->n_leaving = 0;
    f->n_files++;
    if (!f->started) {
        start_at_end(f, (uint64_t)st.st_size);
    }
    return 0;
}

/* Lines */

static ssize_t
fill(struct follow *f)
{
    ssize_t n;

    do {
        n = read(f->fd, f->buffer + f->used, sizeof f->buffer - f->used);
    } while (n < 0 && errno == EINTR);
    if (n < 0) {
        return -errno;
    }
    f->used += (size_t)n;
    f->offset += (size_t)n;
    return n;
}

/* One line, or the end of one that was too long. */
static void
hand_over(struct follow *f, const char *start, size_t size, uint64_t offset,
          follow_line_fn *line, void *ctx)
{
    if (f->skipping || size > FOLLOW_LINE_MAX) {
        f->n_long += !f->headless;
        f->skipping = f->headless = false;
        return;
    }
    line(ctx, start, size, offset);
}

/* Hands over each whole line in the buffer and keeps the rest, unless that is
 * too long already. */
static void
split(struct follow *f, follow_line_fn *line, void *ctx)
{
    const char *at = f->buffer, *end = f->buffer + f->used;
    uint64_t offset = f->offset - f->used;
    const char *newline;

    while ((newline = memchr(at, '\n', (size_t)(end - at)))) {
        hand_over(f, at, (size_t)(newline - at),
                  offset + (uint64_t)(at - f->buffer), line, ctx);
        at = newline + 1;
    }
    f->used = (size_t)(end - at);
    if (f->used > FOLLOW_LINE_MAX) {
        f->skipping = true;
        f->used = 0;
    }
    memmove(f->buffer, at, f->used);
}
