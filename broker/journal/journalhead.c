/* SPDX-License-Identifier: Apache-2.0 */
/* Keeps how far the journal got.  Two slots, each in a sector of its own with a
 * number and a checksum, are written in turns: one that is cut off leaves the
 * other.  The file has its size from the start and is only overwritten, so that
 * a full disk does not keep a mark from being made.  Marks are written after
 * what they mark, and only those that were asked to be durable are on the disk
 * before anybody is told: after a power failure 'written' may be ahead of what
 * is left, 'durable' never.  Called by journaldb.c and journalread.c. */
#include "broker/journal/journalhead.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "broker/journal/journalfile.h"

#define PATH_SIZE JOURNALFILE_PATH_SIZE
#define MAGIC "mbjhead1"
#define MAGIC_SIZE 8
#define SLOTS 2
#define SLOT_STEP 512 /* A sector's. */
#define MARK_SIZE (8 + CHAIN_SIZE)
#define BODY_SIZE (MAGIC_SIZE + 3 * 8 + 2 * JOURNAL_STREAM_N * MARK_SIZE)
#define SLOT_SIZE (BODY_SIZE + CHAIN_SIZE)

struct journalhead {
    int fd;
    uint64_t number; /* Of the last one written. */
};

/* Slots as bytes. */

static uint8_t *
put_number(uint8_t *to, uint64_t number)
{
    for (unsigned i = 0; i < 8; i++) {
        *to++ = (uint8_t)(number >> (8 * i));
    }
    return to;
}

static const uint8_t *
get_number(const uint8_t *from, uint64_t *out)
{
    *out = 0;
    for (unsigned i = 0; i < 8; i++) {
        *out |= (uint64_t)*from++ << (8 * i);
    }
    return from;
}

static uint8_t *
put_mark(uint8_t *to, const struct journal_mark *mark)
{
    to = put_number(to, mark->id);
    memcpy(to, mark->chain.byte, CHAIN_SIZE);
    return to + CHAIN_SIZE;
}

static const uint8_t *
get_mark(const uint8_t *from, struct journal_mark *mark)
{
    from = get_number(from, &mark->id);
    memcpy(mark->chain.byte, from, CHAIN_SIZE);
    return from + CHAIN_SIZE;
}

static void
put_slot(uint8_t slot[SLOT_SIZE], const struct journal_head *head,
         uint64_t number)
{
    struct chain sum;
    uint8_t *to = slot;

    memcpy(to, MAGIC, MAGIC_SIZE);
    to = put_number(to + MAGIC_SIZE, number);
    to = put_number(to, head->starts);
    to = put_number(to, head->clean);
    for (unsigned i = 0; i < JOURNAL_STREAM_N; i++) {
        to = put_mark(to, &head->written[i]);
        to = put_mark(to, &head->durable[i]);
    }
    chain_bytes(&sum, slot, BODY_SIZE);
    memcpy(slot + BODY_SIZE, sum.byte, CHAIN_SIZE);
}

/* False if the slot is not one that was written whole. */
static bool
get_slot(const uint8_t slot[SLOT_SIZE], struct journal_head *head,
         uint64_t *number)
{
    const uint8_t *from = slot + MAGIC_SIZE;
    struct chain sum;
    uint64_t clean;

    chain_bytes(&sum, slot, BODY_SIZE);
    if (memcmp(slot, MAGIC, MAGIC_SIZE) ||
        memcmp(slot + BODY_SIZE, sum.byte, CHAIN_SIZE)) {
        return false;
    }
    from = get_number(from, number);
    from = get_number(from, &head->starts);
    from = get_number(from, &clean);
    head->clean = clean != 0;
    for (unsigned i = 0; i < JOURNAL_STREAM_N; i++) {
        from = get_mark(from, &head->written[i]);
        from = get_mark(from, &head->durable[i]);
    }
    return true;
}

static bool
is_zero(const uint8_t *bytes, size_t size)
{
    return !bytes[0] && !memcmp(bytes, bytes + 1, size - 1);
}

/* The newest whole slot.  0, -ENOENT if the file is empty, or -EBADMSG. */
static int
read_newest(int fd, struct journal_head *head, uint64_t *number)
{
    uint8_t bytes[SLOTS * SLOT_STEP] = {0};
    struct journal_head found;
    uint64_t found_number;
    bool any = false;

    struct stat stat;

    if (pread(fd, bytes, sizeof bytes, 0) < 0 || fstat(fd, &stat)) {
        return -errno;
    }
    if (is_zero(bytes, sizeof bytes)) {
        /* Made, and never written; it is never longer than that. */
        return stat.st_size > (off_t)sizeof bytes ? -EBADMSG : -ENOENT;
    }
    for (unsigned i = 0; i < SLOTS; i++) {
        if (get_slot(bytes + i * SLOT_STEP, &found, &found_number) &&
            (!any || found_number > *number)) {
            *head = found;
            *number = found_number;
            any = true;
        }
    }
    return any ? 0 : -EBADMSG;
}

/* Files. */

static int
open_beside(const char *path, int flags)
{
    char name[PATH_SIZE];

    if ((size_t)snprintf(name, sizeof name, "%s.head", path) >= sizeof name) {
        return -ENAMETOOLONG;
    }
    int fd = open(name, flags | O_CLOEXEC | O_NOFOLLOW, 0640);
    return fd < 0 ? -errno : fd;
}

int
journalhead_open(struct journalhead **out, const char *path,
                 struct journal_head *head, char *why, size_t why_size)
{
    struct journalhead *file = calloc(1, sizeof *file);

    memset(head, 0, sizeof *head);
    if (!file) {
        snprintf(why, why_size, "no memory");
        return -ENOMEM;
    }
    file->fd = open_beside(path, O_RDWR | O_CREAT);
    if (file->fd < 0) {
        int error = file->fd;

        snprintf(why, why_size, "%s.head: %s", path, strerror(-error));
        free(file);
        return error;
    }
    int error = read_newest(file->fd, head, &file->number);
    int result = error == -ENOENT || error == -EBADMSG;
    if (error == -EBADMSG) {
        snprintf(why, why_size, "%s.head was damaged", path);
    }
    if (result) {
        uint8_t nothing[SLOTS * SLOT_STEP] = {0};
        ssize_t n = pwrite(file->fd, nothing, sizeof nothing, 0);
        error = n == sizeof nothing ? journalfile_sync_directory(path)
                : n < 0             ? -errno
                                    : -ENOSPC;
    }
    if (error) {
        snprintf(why, why_size, "%s.head: %s", path, strerror(-error));
        journalhead_close(file);
        return error;
    }
    *out = file;
    return result;
}

void
journalhead_close(struct journalhead *file)
{
    if (file) {
        close(file->fd);
        free(file);
    }
}

int
journalhead_read(const char *path, struct journal_head *head)
{
    uint64_t number = 0;
    int fd = open_beside(path, O_RDONLY);

    if (fd < 0) {
        return fd;
    }
    int error = read_newest(fd, head, &number);
    close(fd);
    return error;
}

int
journalhead_write(struct journalhead *file, const struct journal_head *head,
                  bool sync)
{
    uint8_t slot[SLOT_SIZE];
    uint64_t number = file->number + 1;

    put_slot(slot, head, number);
    ssize_t n = pwrite(file->fd, slot, sizeof slot,
                       (off_t)(number % SLOTS * SLOT_STEP));
    if (n != sizeof slot) {
        return n < 0 ? -errno : -ENOSPC;
    }
    file->number = number;
    return sync && fdatasync(file->fd) ? -errno : 0;
}
