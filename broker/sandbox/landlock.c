/* SPDX-License-Identifier: Apache-2.0 */
/* Landlock, by its system calls, since no library is needed for three.  It
 * leaves the host's names in sight and refuses to open any file but those below
 * the plan's directories.  It needs no rights, so it is what stands in for an
 * empty root where namespaces can't be had, or would take away what a process
 * must know.  Called by sandbox.c. */
#include <errno.h>
#include <fcntl.h>
#include <linux/landlock.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "broker/sandbox/parts.h"
#include "broker/sandbox/sandbox.h"

/* Of the first version: all that opens, makes or removes a file. */
#define ALL_ACCESS                                                             \
    (LANDLOCK_ACCESS_FS_EXECUTE | LANDLOCK_ACCESS_FS_WRITE_FILE |              \
     READ_ACCESS | CHANGE_ACCESS | LANDLOCK_ACCESS_FS_MAKE_CHAR |              \
     LANDLOCK_ACCESS_FS_MAKE_SOCK | LANDLOCK_ACCESS_FS_MAKE_FIFO |             \
     LANDLOCK_ACCESS_FS_MAKE_BLOCK | LANDLOCK_ACCESS_FS_MAKE_SYM)
#define READ_ACCESS (LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_READ_DIR)
#define CHANGE_ACCESS                                                          \
    (LANDLOCK_ACCESS_FS_REMOVE_FILE | LANDLOCK_ACCESS_FS_REMOVE_DIR |          \
     LANDLOCK_ACCESS_FS_MAKE_REG | LANDLOCK_ACCESS_FS_MAKE_DIR)

static int allow(int rules, int fd, uint64_t access);
static int allow_files(int rules, const struct sandbox_plan *);

int
landlock_enter(const struct sandbox_plan *plan, char *why, size_t why_size)
{
    const struct landlock_ruleset_attr attr = {.handled_access_fs = ALL_ACCESS};

    if (SANDBOX_SANITIZED) {
        snprintf(why, why_size, "this build has sanitizers");
        return -ENOTSUP;
    }
    int rules = (int)syscall(SYS_landlock_create_ruleset, &attr,
                             sizeof attr.handled_access_fs, 0);
    if (rules < 0) {
        snprintf(why, why_size, "the kernel has none: %s", strerror(errno));
        return -errno;
    }
    int error = 0;
    for (uint32_t i = 0; !error && i < plan->n_dirs; i++) {
        const struct sandbox_dir *dir = &plan->dirs[i];

        if (dir->fd >= 0) {
            error = allow(rules, dir->fd,
                          READ_ACCESS |
                              (dir->writable ? LANDLOCK_ACCESS_FS_WRITE_FILE |
                                                   CHANGE_ACCESS
                                             : 0));
        }
    }
    if (!error) {
        error = allow_files(rules, plan);
    }
    if (!error && syscall(SYS_landlock_restrict_self, rules, 0)) {
        error = -errno;
    }
    close(rules);
    if (error) {
        snprintf(why, why_size, "%s", strerror(-error));
    }
    return error;
}

static int
allow_files(int rules, const struct sandbox_plan *plan)
{
    int error = 0;

    for (uint32_t i = 0; !error && i < plan->n_files; i++) {
        int fd = openat(plan->dirs[plan->files_dir].fd, plan->files[i],
                        O_PATH | O_CLOEXEC);

        if (fd >= 0) {
            error = allow(rules, fd, LANDLOCK_ACCESS_FS_WRITE_FILE);
            close(fd);
        }
    }
    return error;
}

static int
allow(int rules, int fd, uint64_t access)
{
    const struct landlock_path_beneath_attr attr = {.allowed_access = access,
                                                    .parent_fd = fd};

    return syscall(SYS_landlock_add_rule, rules, LANDLOCK_RULE_PATH_BENEATH,
                   &attr, 0)
               ? -errno
               : 0;
}
