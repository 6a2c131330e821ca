/* SPDX-License-Identifier: Apache-2.0 */
/* Directories and sockets of a broker.  A socket file outlives whoever made it,
 * so one that nobody answers at is a dead broker's and is replaced; nothing but
 * sockets is ever removed.  Guests' sockets are for the user the broker was
 * started as, or whom the configuration names: who can connect to one is that
 * guest.  Called by the parent, by the platform process when the parent died,
 * and by restoring. */
#include "broker/parent/rundir.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/text.h"
#include "broker/control/control.h"
#include "broker/parent/users.h"

#define BACKLOG 16
#define JOURNAL_PREFIX "journal.db"

static int check_dir(int fd, const char *path, uid_t uid, char *why,
                     size_t why_size);
static int give_dir(int fd, uid_t uid, gid_t gid);
static int give_socket(const struct guest_config *, const char *path, char *why,
                       size_t why_size);
static const char *socket_path(const struct guest_config *);
static int address_of(const char *path, struct sockaddr_un *out);
static bool answers(const struct sockaddr_un *);
static void remove_socket(const char *path);

int
rundir_open(const char *path, mode_t mode, char *why, size_t why_size)
{
    if (mkdir(path, mode) && errno != EEXIST) {
        int error = -errno;

        snprintf(
            why, why_size, "%.200s can't be made: %s%s", path, strerror(-error),
            error == -ENOENT   ? "; make the directory above it first"
            : error == -EACCES ? "; be root, or give --run-dir and --state-dir"
                               : "");
        return error;
    }
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) {
        int error = -errno;

        snprintf(why, why_size, "%.200s can't be opened: %s", path,
                 strerror(-error));
        return error;
    }
    return check_dir(fd, path, geteuid(), why, why_size);
}

int
rundir_open_below(int dirfd, const char *name, uid_t uid, gid_t gid, char *why,
                  size_t why_size)
{
    int fd = -1;

    if (!mkdirat(dirfd, name, 0700) || errno == EEXIST) {
        fd = openat(dirfd, name,
                    O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    }
    if (fd < 0) {
        int error = -errno;

        snprintf(why, why_size, "%.60s in the broker's directory: %s", name,
                 strerror(-error));
        return error;
    }
    int error = give_dir(fd, uid, gid);
    if (error) {
        snprintf(why, why_size, "%.60s can't be given to uid %u: %s", name,
                 (unsigned)uid, strerror(-error));
        close(fd);
        return error;
    }
    return check_dir(fd, name, uid, why, why_size);
}

void
rundir_move_journal(int state_dirfd, int journal_dirfd, uid_t uid, gid_t gid)
{
    int copy = openat(state_dirfd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *dir = copy < 0 ? NULL : fdopendir(copy);
    if (!dir && copy >= 0) {
        close(copy);
    }

    for (struct dirent *entry; dir && (entry = readdir(dir));) {
        const char *name = entry->d_name;
        struct stat status;

        if (!strncmp(name, JOURNAL_PREFIX, strlen(JOURNAL_PREFIX)) &&
            !fstatat(state_dirfd, name, &status, AT_SYMLINK_NOFOLLOW) &&
            S_ISREG(status.st_mode) &&
            faccessat(journal_dirfd, name, F_OK, AT_SYMLINK_NOFOLLOW) &&
            (fchownat(state_dirfd, name, uid, gid, AT_SYMLINK_NOFOLLOW) ||
             renameat(state_dirfd, name, journal_dirfd, name))) {
            /* It stays where it is; a new one begins. */
        }
    }
    if (dir) {
        closedir(dir);
    }
}

int
rundir_listen(const struct guest_config *guest, char *why, size_t why_size)
{
    const char *path = socket_path(guest);
    struct sockaddr_un address;

    if (!path) {
        return -1;
    }
    int error = address_of(path, &address);
    if (error) {
        snprintf(why, why_size, "%.180s is too long for a socket", path);
        return error;
    }
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0) {
        error = -errno;
        snprintf(why, why_size, "no socket: %s", strerror(-error));
        return error;
    }
    mode_t mask = umask(0177);
    int bound = bind(fd, (struct sockaddr *)&address, sizeof address);
    if (bound && errno == EADDRINUSE && !answers(&address)) {
        remove_socket(path);
        bound = bind(fd, (struct sockaddr *)&address, sizeof address);
    }
    umask(mask);
    error = bound ? 0 : give_socket(guest, path, why, why_size);
    if (error) {
        close(fd);
        remove_socket(path);
        return error;
    }
    if (bound || listen(fd, BACKLOG)) {
        error = -errno;
        snprintf(why, why_size, "%.180s: %s", path,
                 error == -EADDRINUSE ? "somebody else is there"
                                      : strerror(-error));
        close(fd);
        if (!bound) {
            remove_socket(path);
        }
        return error;
    }
    return fd;
}

void
rundir_remove(const struct guest_config *guest)
{
    const char *path = socket_path(guest);

    if (path) {
        remove_socket(path);
    }
}

void
rundir_clean(const struct broker_config *config)
{
    char path[CONFIG_PATH_SIZE + sizeof CONTROL_SOCKET_NAME];
    size_t length = strlen(config->run_dir);
    struct sockaddr_un address;

    for (uint32_t i = 0; i < config->n_guests; i++) {
        const char *guest = socket_path(&config->guests[i]);

        if (!guest || address_of(guest, &address)) {
            continue;
        }
        bool inside =
            !strncmp(guest, config->run_dir, length) && guest[length] == '/';
        if (inside || !answers(&address)) {
            remove_socket(guest);
        }
    }
    snprintf(path, sizeof path, "%s/" CONTROL_SOCKET_NAME, config->run_dir);
    remove_socket(path);
}

/* Who can write the run directory can put anything in the place of our sockets
 * and saved states. */
static int
check_dir(int fd, const char *path, uid_t uid, char *why, size_t why_size)
{
    struct stat status;

    if (fstat(fd, &status)) {
        int error = -errno;

        snprintf(why, why_size, "%.200s: %s", path, strerror(-error));
        close(fd);
        return error;
    }
    if (status.st_uid != uid || status.st_mode & 0022) {
        snprintf(why, why_size,
                 "%.180s must belong to uid %u and be writable by nobody else",
                 path, (unsigned)uid);
        close(fd);
        return -EPERM;
    }
    return fd;
}

/* Files that an earlier broker made as another user change hands with it; one
 * that is a link to a file elsewhere does not. */
static void
give_files(int dirfd, uid_t uid, gid_t gid)
{
    int copy = openat(dirfd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *dir = copy < 0 ? NULL : fdopendir(copy);
    if (!dir) {
        if (copy >= 0) {
            close(copy);
        }
        return;
    }

    for (struct dirent *entry; (entry = readdir(dir));) {
        struct stat status;
        int fd = openat(dirfd, entry->d_name,
                        O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);

        if (fd < 0) {
            continue;
        }
        bool ours = !fstat(fd, &status) && S_ISREG(status.st_mode) &&
                    status.st_nlink == 1;
        if (ours && status.st_uid != uid && fchown(fd, uid, gid)) {
            /* Who needs it will say that it can't be opened. */
        }
        close(fd);
    }
    closedir(dir);
}

/* Only root gives and takes; a directory that is somebody else's is told by
 * check_dir(). */
static int
give_dir(int fd, uid_t uid, gid_t gid)
{
    struct stat status;

    if (fstat(fd, &status)) {
        return -errno;
    }
    if (geteuid() || status.st_uid == uid || status.st_mode & 0022) {
        return 0;
    }
    give_files(fd, uid, gid);
    return fchown(fd, uid, gid) ? -errno : 0;
}

/* Before anybody can connect: the socket does not listen yet. */
static int
give_socket(const struct guest_config *guest, const char *path, char *why,
            size_t why_size)
{
    uid_t uid;
    gid_t gid;

    int error = users_of_guest(guest, &uid, &gid, why, why_size);
    if (error) {
        return error;
    }
    if (((uid != (uid_t)-1 || gid != (gid_t)-1) && lchown(path, uid, gid)) ||
        (guest->mode && chmod(path, guest->mode))) {
        error = -errno;
        snprintf(why, why_size, "%.120s can't be given to %s%s%s: %s", path,
                 guest->owner, guest->group[0] ? ":" : "", guest->group,
                 strerror(-error));
    }
    return error;
}

/* Null if the channel needs no socket. */
static const char *
socket_path(const struct guest_config *guest)
{
    const char *colon = strchr(guest->channel, ':');
    size_t length = colon ? (size_t)(colon - guest->channel) : 0;

    if (!colon || (strncmp(guest->channel, "unix", length) &&
                   strncmp(guest->channel, "shm", length))) {
        return NULL;
    }
    return colon + 1;
}

static int
address_of(const char *path, struct sockaddr_un *out)
{
    *out = (struct sockaddr_un){.sun_family = AF_UNIX};
    return text_copy(out->sun_path, sizeof out->sun_path, path);
}

static bool
answers(const struct sockaddr_un *address)
{
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    bool answered =
        fd < 0 ||
        !connect(fd, (const struct sockaddr *)address, sizeof *address) ||
        errno == EAGAIN || errno == EINPROGRESS;

    if (fd >= 0) {
        close(fd);
    }
    return answered;
}

static void
remove_socket(const char *path)
{
    struct stat status;

    if (!lstat(path, &status) && S_ISSOCK(status.st_mode)) {
        unlink(path);
    }
}
