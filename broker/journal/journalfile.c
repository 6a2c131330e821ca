/* SPDX-License-Identifier: Apache-2.0 */
/* What is done to the journal's files from outside of SQLite: a damaged one is
 * renamed, never deleted, and the count of starts, from which cause numbers are
 * made, is kept beside it as well as in it, so that the numbers do not begin
 * again when the file does.  Called by broker/journal/journaldb.c. */
#include "broker/journal/journalfile.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/text.h"

#define PATH_SIZE 512
#define ASIDE_MAX 100 /* Damaged files kept apart by number. */

int
journalfile_move_aside(const char *path, char *why, size_t why_size)
{
    char to[PATH_SIZE], log[PATH_SIZE], log_to[PATH_SIZE];
    struct stat st;
    int n = 1;

    do {
        snprintf(to, sizeof to, "%s.damaged-%d", path, n);
    } while (!lstat(to, &st) && n++ < ASIDE_MAX);
    if (n > ASIDE_MAX || rename(path, to)) {
        int error = n > ASIDE_MAX ? EEXIST : errno;

        snprintf(why, why_size, "%s is damaged and can't be renamed: %s", path,
                 strerror(error));
        return -error;
    }
    snprintf(log, sizeof log, "%s-wal", path);
    snprintf(log_to, sizeof log_to, "%.490s-wal", to);
    if (rename(log, log_to) && errno != ENOENT) {
        snprintf(why, why_size, "%s can't be renamed: %s", log,
                 strerror(errno));
        return -errno;
    }
    snprintf(log, sizeof log, "%s-shm", path);
    unlink(log); /* An index of the log; made anew. */
    snprintf(why, why_size, "%s was damaged; moved to %s", path, to);
    return 0;
}

uint64_t
journalfile_read_starts(const char *path)
{
    char name[PATH_SIZE], text[32];
    uint64_t starts = 0;

    snprintf(name, sizeof name, "%s.starts", path);
    int fd = open(name, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        return 0;
    }
    ssize_t n = read(fd, text, sizeof text - 1);
    close(fd);
    text[n > 0 ? n : 0] = '\0';
    text[strcspn(text, "\n")] = '\0';
    return text_to_u64(text, &starts) ? 0 : starts;
}

int
journalfile_write_starts(const char *path, uint64_t starts)
{
    char name[PATH_SIZE], made[PATH_SIZE], text[32];

    snprintf(name, sizeof name, "%s.starts", path);
    snprintf(made, sizeof made, "%s.starts~", path);
    int fd = open(made, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0640);
    if (fd < 0) {
        return -errno;
    }
    int length = snprintf(text, sizeof text, "%" PRIu64 "\n", starts);
    ssize_t n = write(fd, text, (size_t)length);
    int error = n == length ? 0 : n < 0 ? -errno : -ENOSPC;
    if (!error && fsync(fd)) {
        error = -errno;
    }
    close(fd);
    if (!error && rename(made, name)) {
        error = -errno;
    }
    return error;
}
