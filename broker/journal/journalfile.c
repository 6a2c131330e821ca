/* SPDX-License-Identifier: Apache-2.0 */
/* What is done to the journal's files from outside of SQLite: a damaged one is
 * renamed, never deleted.  Called by broker/journal/journaldb.c. */
#include "broker/journal/journalfile.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define PATH_SIZE JOURNALFILE_PATH_SIZE
#define ASIDE_MAX 100 /* Damaged files kept apart by number. */

int
journalfile_move_aside(const char *path, char *to, size_t to_size, char *why,
                       size_t why_size)
{
    char log[PATH_SIZE], log_to[PATH_SIZE];
    struct stat st;
    int n = 1;

    do {
        snprintf(to, to_size, "%s.damaged-%d", path, n);
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
    return 0;
}

void
journalfile_move_back(const char *to, const char *path)
{
    char log[PATH_SIZE], log_to[PATH_SIZE];

    snprintf(log, sizeof log, "%s-shm", path);
    unlink(log);
    snprintf(log, sizeof log, "%s-wal", path);
    unlink(log);
    /* The log first: without it the file would seem to be whole. */
    snprintf(log_to, sizeof log_to, "%.490s-wal", to);
    (void)rename(log_to, log);
    (void)rename(to, path);
    snprintf(log_to, sizeof log_to, "%.490s.head", to);
    unlink(log_to);
    snprintf(log_to, sizeof log_to, "%.490s-shm", to);
    unlink(log_to);
}

/* A new name is on the disk only once its directory is. */
int
journalfile_sync_directory(const char *path)
{
    char copy[PATH_SIZE];

    snprintf(copy, sizeof copy, "%s", path);
    int fd = open(dirname(copy), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) {
        return -errno;
    }
    int error = fsync(fd) ? -errno : 0;
    close(fd);
    return error == -EINVAL ? 0 : error; /* Some file systems have no such. */
}
