/* SPDX-License-Identifier: Apache-2.0 */
/* Finds a running guest by a file that names its first process, and doubts what
 * it reads: numbers are used again, files outlive processes and kernels, and
 * whoever is believed to be a guest will be stopped and killed.  Our own files
 * say when the process started; others' are checked against the time they were
 * written, and may name only what their writer could stop himself.  XXX: A
 * directory on the way may be a link of his to a file of root's; keep pid files
 * where root alone makes directories.  Called by guestfiles.c. */
#include "hypervisor/pidfile.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/sysfs.h"
#include "base/text.h"

#define ANCESTORS_MAX 64
#define SLACK_S 2 /* By which two clocks may be read apart. */
#define PROC_STAT_SIZE 65536

static int parse_pid(const char *text, pid_t *out);
static int read_number(int dirfd, const char *path, pid_t *pid_out,
                       struct stat *out);
static bool may_name(const struct stat *file, int proc_dirfd, pid_t);
static bool is_ancestor(int proc_dirfd, pid_t);
static int64_t boot_seconds(int proc_dirfd);

int
pidfile_read_own(int proc_dirfd, int state_dirfd, const char *path,
                 const char *boot_id, struct process_id *out)
{
    char text[256], *rest = text;
    struct process_id id;

    int length = sysfs_read(state_dirfd, path, text, sizeof text);
    if (length < 0) {
        return -ENOENT;
    }
    char *pid_word = strsep(&rest, " ");
    char *start_word = strsep(&rest, " ");
    if (!start_word || !rest || strcmp(rest, boot_id) ||
        parse_pid(pid_word, &id.pid) || text_to_u64(start_word, &id.start) ||
        !process_lives(proc_dirfd, &id)) {
        return -ESRCH;
    }
    *out = id;
    return 0;
}

int
pidfile_read_foreign(int proc_dirfd, int state_dirfd, const char *path,
                     struct process_id *out)
{
    struct process p;
    struct stat file;
    pid_t pid;

    int error = read_number(state_dirfd, path, &pid, &file);
    if (error) {
        return error;
    }
    if (process_read(proc_dirfd, pid, &p) || p.state == 'Z') {
        return -ESRCH;
    }
    if (is_ancestor(proc_dirfd, pid) || !may_name(&file, proc_dirfd, pid)) {
        return -EPERM;
    }
    int64_t started = boot_seconds(proc_dirfd) +
                      (int64_t)p.id.start / (int64_t)sysconf(_SC_CLK_TCK);
    if (started > (int64_t)file.st_mtime + SLACK_S) {
        return -ESRCH;
    }
    *out = p.id;
    return 0;
}

static int
parse_pid(const char *text, pid_t *out)
{
    uint64_t pid;

    if (text_to_u64(text, &pid) || pid <= 1 || pid > INT_MAX) {
        return -ESRCH;
    }
    *out = (pid_t)pid;
    return 0;
}

/* Reads the first word, and what file that is. */
static int
read_number(int dirfd, const char *path, pid_t *pid_out, struct stat *out)
{
    struct stat st;
    char text[32];

    int fd =
        openat(dirfd, path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOFOLLOW);
    if (fd < 0) {
        return -ENOENT;
    }
    ssize_t got = fstat(fd, &st) ? -1 : read(fd, text, sizeof text - 1);
    close(fd);
    if (got < 0) {
        return -ENOENT;
    }
    text[got] = '\0';
    text[strcspn(text, " \n")] = '\0';
    *out = st;
    return parse_pid(text, pid_out);
}

/* Root and we may name any process; everybody else only his own, or a user
 * could have us kill what he could not. */
static bool
may_name(const struct stat *file, int proc_dirfd, pid_t pid)
{
    struct stat process;
    char path[32];

    if (!S_ISREG(file->st_mode) || file->st_mode & 0002) {
        return false;
    }
    if ((file->st_uid == 0 || file->st_uid == geteuid()) &&
        !(file->st_mode & 0020)) {
        return true;
    }
    snprintf(path, sizeof path, "%d", pid);
    return !fstatat(proc_dirfd, path, &process, 0) &&
           process.st_uid == file->st_uid;
}

/* Whether a process is this one, or one that this one descends from. */
static bool
is_ancestor(int proc_dirfd, pid_t pid)
{
    char text[1024];
    pid_t at;

    if (sysfs_read(proc_dirfd, "self/stat", text, sizeof text) <= 0) {
        return true;
    }
    text[strcspn(text, " ")] = '\0';
    if (parse_pid(text, &at)) {
        return true;
    }
    for (int i = 0; i < ANCESTORS_MAX && at > 0; i++) {
        struct process p;

        if (at == pid) {
            return true;
        }
        at = process_read(proc_dirfd, at, &p) ? 0 : p.parent;
    }
    return false;
}

/* When the kernel started, on the wall's clock; 0 if it doesn't say, by which
 * every file is young enough. */
static int64_t
boot_seconds(int proc_dirfd)
{
    static const char key[] = "\nbtime ";
    char text[PROC_STAT_SIZE];
    uint64_t seconds;

    if (sysfs_read(proc_dirfd, "stat", text, sizeof text) <= 0) {
        return 0;
    }
    char *at = strstr(text, key);
    if (!at) {
        return 0;
    }
    at += strlen(key);
    at[strcspn(at, "\n")] = '\0';
    return text_to_u64(at, &seconds) ? 0 : (int64_t)seconds;
}
