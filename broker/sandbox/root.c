/* SPDX-License-Identifier: Apache-2.0 */
/* A root of one's own: a small file system in memory, read-only, in which only
 * the plan's directories are to be found, under the names they have outside; in
 * namespaces of its own, so that nothing is seen of the host's mounts, networks
 * and IPC.  Root does this by right, others in a user namespace, if the machine
 * lets them.
 *
 * A directory that was opened outside is a way out: "..", taken often enough,
 * ends at the host's root.  So each is mounted inside and opened again there,
 * where ".." ends at ours, and takes its descriptor's place.  It is found by
 * the name the kernel has for it and must be the same directory still.
 *
 * Called by sandbox.c. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/text.h"
#include "broker/sandbox/parts.h"
#include "broker/sandbox/sandbox.h"

#define OTHER_NAMESPACES (CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWUTS)
#define NEW_ROOT_OPTIONS "size=64k,nr_inodes=128,mode=0755"
#define FD_PATH_SIZE 32

/* A directory on its way in. */
struct mount_plan {
    int fd; /* Of the original, in our namespace; -1: none. */
    char path[PATH_MAX];
};

static int try_elsewhere(const struct sandbox_plan *, bool users, char *why,
                         size_t why_size);
static int enter(const struct sandbox_plan *, bool users, char *why,
                 size_t why_size);
static int unshare_namespaces(bool own_users);
static int map_ourselves(uid_t, gid_t);
static int find_dir(const struct sandbox_dir *, struct mount_plan *out);
static int make_root(const struct sandbox_plan *, struct mount_plan *,
                     bool own_users);
static int mount_dir(const struct sandbox_dir *, const struct mount_plan *,
                     bool own_users);
static int open_files(const struct sandbox_plan *, const struct mount_plan *);
static int open_inside(const struct sandbox_dir *, const struct mount_plan *);
static int write_text(const char *path, const char *text);

int
root_enter(const struct sandbox_plan *plan, bool *own_users, char *why,
           size_t why_size)
{
    bool users = geteuid() != 0;

    if (SANDBOX_SANITIZED) {
        snprintf(why, why_size, "this build has sanitizers, which need /proc");
        return -ENOTSUP;
    }
    if (users && (plan->sees_users || plan->caps & ids_permitted())) {
        snprintf(why, why_size,
                 plan->sees_users
                     ? "not root, and in a user namespace it would not know "
                       "who asks"
                     : "not root, and a user namespace would take its "
                       "capabilities");
        return -EPERM;
    }
    int error = try_elsewhere(plan, users, why, why_size);
    if (error) {
        return error;
    }
    error = enter(plan, users, why, why_size);
    *own_users = users;
    return error ? -ECANCELED : 0;
}

/* There is no way back from half of it, and a machine may allow namespaces but
 * not what they are for (AppArmor, a container's filter): so a child of ours
 * goes first. */
static int
try_elsewhere(const struct sandbox_plan *plan, bool users, char *why,
              size_t why_size)
{
    int ends[2], status = 0;

    if (pipe2(ends, O_CLOEXEC)) {
        snprintf(why, why_size, "no process to try it: %s", strerror(errno));
        return -EAGAIN;
    }
    pid_t child = _Fork();
    if (!child) {
        int error = enter(plan, users, why, why_size);

        if (error && write(ends[1], why, why_size) < 0) {
            _exit(EIO);
        }
        _exit(-error & 0xff);
    }
    close(ends[1]);
    ssize_t got = child < 0 ? 0 : read(ends[0], why, why_size);
    close(ends[0]);
    if (child < 0 || waitpid(child, &status, 0) != child) {
        snprintf(why, why_size, "no process to try it: %s", strerror(errno));
        return -EAGAIN;
    }
    if (got > 0) {
        why[why_size - 1] = '\0';
    } else if (status) {
        snprintf(why, why_size, "trying it ended with status %#x",
                 (unsigned)status);
    }
    return status ? -EPERM : 0;
}

static int
enter(const struct sandbox_plan *plan, bool users, char *why, size_t why_size)
{
    struct mount_plan mounts[SANDBOX_DIRS_MAX];
    uid_t uid = geteuid();
    gid_t gid = getegid();
    const char *step = "making namespaces";

    int error = unshare_namespaces(users);
    if (!error && users) {
        step = "mapping its user";
        error = map_ourselves(uid, gid);
    }
    for (uint32_t i = 0; !error && i < plan->n_dirs; i++) {
        step = "finding its directories";
        error = find_dir(&plan->dirs[i], &mounts[i]);
    }
    if (!error) {
        step = "mounting";
        error = make_root(plan, mounts, users);
    }
    for (uint32_t i = 0; !error && i < plan->n_dirs; i++) {
        step = "opening its directories";
        error = open_inside(&plan->dirs[i], &mounts[i]);
    }
    if (error) {
        snprintf(why, why_size, "%s: %s", step, strerror(-error));
    }
    return error;
}

/* A kernel without the others still has the one that matters here. */
static int
unshare_namespaces(bool own_users)
{
    int users = own_users ? CLONE_NEWUSER : 0;

    if (!unshare(users | CLONE_NEWNS | OTHER_NAMESPACES)) {
        return 0;
    }
    return errno == EINVAL && !unshare(users | CLONE_NEWNS) ? 0 : -errno;
}

/* Nobody but us exists in there. */
static int
map_ourselves(uid_t uid, gid_t gid)
{
    char text[64];

    int error = write_text("/proc/self/setgroups", "deny");
    if (!error) {
        snprintf(text, sizeof text, "%u %u 1", (unsigned)uid, (unsigned)uid);
        error = write_text("/proc/self/uid_map", text);
    }
    if (!error) {
        snprintf(text, sizeof text, "%u %u 1", (unsigned)gid, (unsigned)gid);
        error = write_text("/proc/self/gid_map", text);
    }
    return error;
}

static int
find_dir(const struct sandbox_dir *dir, struct mount_plan *out)
{
    char link[FD_PATH_SIZE];
    struct stat ours, there;

    out->fd = -1;
    if (dir->fd < 0) {
        return 0;
    }
    snprintf(link, sizeof link, "/proc/self/fd/%d", dir->fd);
    ssize_t length = readlink(link, out->path, sizeof out->path - 1);
    if (length < 0) {
        return errno == ENOENT ? 0 : -errno; /* It was not handed over. */
    }
    out->path[length] = '\0';
    if (length < 2 || out->path[0] != '/') {
        return -EINVAL;
    }
    out->fd = open(out->path, O_PATH | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
    if (out->fd < 0 || fstat(out->fd, &there) || fstat(dir->fd, &ours)) {
        return -errno;
    }
    return ours.st_dev == there.st_dev && ours.st_ino == there.st_ino ? 0
                                                                      : -ESTALE;
}

/* Ends with the old root out of reach. */
static int
make_root(const struct sandbox_plan *plan, struct mount_plan *mounts,
          bool own_users)
{
    const unsigned quiet = MS_NOSUID | MS_NODEV | MS_NOEXEC;
    struct mount_attr locked = {.attr_set = MOUNT_ATTR_RDONLY};

    if (mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) ||
        mount("mbroker", plan->mount_at, "tmpfs", quiet, NEW_ROOT_OPTIONS) ||
        chdir(plan->mount_at)) {
        return -errno;
    }
    /* Who lies below another comes after it, or would be hidden. */
    for (size_t length = 0; length < PATH_MAX; length++) {
        for (uint32_t i = 0; i < plan->n_dirs; i++) {
            int error = mounts[i].fd >= 0 && strlen(mounts[i].path) == length
                            ? mount_dir(&plan->dirs[i], &mounts[i], own_users)
                            : 0;

            if (error) {
                return error;
            }
        }
    }
    int error = open_files(plan, mounts);
    if (error) {
        return error;
    }
    if (mount_setattr(AT_FDCWD, ".", 0, &locked, sizeof locked) ||
        syscall(SYS_pivot_root, ".", ".") || umount2(".", MNT_DETACH) ||
        chdir("/")) {
        return -errno;
    }
    return 0;
}

/* Makes a directory and all above it; 'path' has no slash in front. */
static int
make_dirs(const char *path)
{
    char part[PATH_MAX];
    size_t length = strlen(path);

    for (size_t i = 1; i <= length; i++) {
        if (path[i] != '/' && path[i] != '\0') {
            continue;
        }
        memcpy(part, path, i);
        part[i] = '\0';
        if (mkdir(part, 0755) && errno != EEXIST) {
            return -errno;
        }
    }
    return 0;
}

/* What is mounted below it stays outside, unless we are in a user namespace:
 * there the kernel lets nobody look under a mount. */
static int
mount_dir(const struct sandbox_dir *dir, const struct mount_plan *mount_plan,
          bool own_users)
{
    struct mount_attr locked = {
        .attr_set = MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC};
    const char *to = mount_plan->path + 1;
    char from[FD_PATH_SIZE];

    if (mount_plan->fd < 0) {
        return 0;
    }
    int error = make_dirs(to);
    if (error) {
        return error;
    }
    locked.attr_set |= dir->writable ? 0 : MOUNT_ATTR_RDONLY;
    snprintf(from, sizeof from, "/proc/self/fd/%d", mount_plan->fd);
    error = mount(from, to, NULL, MS_BIND | (own_users ? MS_REC : 0), NULL) ||
                    mount_setattr(AT_FDCWD, to, AT_RECURSIVE, &locked,
                                  sizeof locked)
                ? -errno
                : 0;
    close(mount_plan->fd);
    return error;
}

/* Each is a mount of its own, by which it can be written, over itself. */
static int
open_files(const struct sandbox_plan *plan, const struct mount_plan *mounts)
{
    struct mount_attr open_again = {.attr_clr = MOUNT_ATTR_RDONLY};
    char below[PATH_MAX + SANDBOX_PATH_SIZE];

    for (uint32_t i = 0; i < plan->n_files; i++) {
        snprintf(below, sizeof below, "%s/%s", mounts[plan->files_dir].path + 1,
                 plan->files[i]);
        if (mount(below, below, NULL, MS_BIND, NULL)) {
            if (errno != ENOENT) {
                return -errno;
            }
        } else if (mount_setattr(AT_FDCWD, below, 0, &open_again,
                                 sizeof open_again)) {
            return -errno;
        }
    }
    return 0;
}

static int
open_inside(const struct sandbox_dir *dir, const struct mount_plan *mount_plan)
{
    if (dir->fd < 0 || mount_plan->fd < 0) {
        return 0;
    }
    int fd = open(mount_plan->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) {
        return -errno;
    }
    int error = dup3(fd, dir->fd, O_CLOEXEC) < 0 ? -errno : 0;
    close(fd);
    return error;
}

static int
write_text(const char *path, const char *text)
{
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    if (fd < 0) {
        return -errno;
    }
    ssize_t put = write(fd, text, strlen(text));
    int error = put < 0 ? -errno : 0;
    close(fd);
    return error;
}
