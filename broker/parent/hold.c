/* SPDX-License-Identifier: Apache-2.0 */
/* Takes a broker's directories and locks in an order in which failing leaves
 * nothing behind.  The run directory's lock keeps a second broker out of it; a
 * lock per managed CPU, in a directory all brokers of a host share, keeps two
 * brokers with different run directories off the same CPU.  Made-up CPUs (the
 * drivers called "sim") are nobody's but their broker's and are not locked.
 * Called by the parent, for running and for restoring. */
#include "broker/parent/hold.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/text.h"
#include "broker/parent/lock.h"
#include "broker/parent/rundir.h"
#include "broker/parent/users.h"
#include "hardware/hardware.h"

/* A dead broker's platform process still puts things back. */
#define DYING_TRIES 100
#define DYING_WAIT_NS (50 * NSEC_PER_MSEC)

/* Numbered as in struct users. */
enum owner {
    OWNER_ENGINE = 1,
    OWNER_PLATFORM = 2,
};

static int open_dirs(struct hold *, const char *state_dir, char *why,
                     size_t why_size);
static uid_t owner_uid(const struct hold *, enum owner);
static gid_t owner_gid(const struct hold *, enum owner);
static int open_own_dir(const struct hold *, int dirfd, const char *name,
                        enum owner, char *why, size_t why_size);
static int open_dir(const char *path);
static int open_needed(const char *path, char *why, size_t why_size);
static int open_data_dir(const char *path);
static int lock_run_dir(struct hold *, char *why, size_t why_size);
static int lock_cpus(struct hold *, char *why, size_t why_size);
static int lock_when_dead(const char *path, const struct lock_holder *self,
                          struct lock_holder *holder);
static bool has_real_cpus(const struct broker_config *);
static const char *find_lock_dir(void);
static void run_lock_path(const struct hold *, char *out, size_t size);
static void cpu_lock_path(const struct hold *, uint32_t cpu, char *out,
                          size_t size);

int
hold_take(struct hold *hold, const struct broker_config *config,
          const struct users *users, const char *lock_dir,
          const char *state_dir, char *why, size_t why_size)
{
    *hold = (struct hold){.config = config,
                          .users = users,
                          .lock_dir = lock_dir ? lock_dir : find_lock_dir(),
                          .run_dir = -1,
                          .saved_dir = -1,
                          .sys_dir = -1,
                          .proc_dir = -1,
                          .data_dir = -1,
                          .state_dir = -1,
                          .cap_dir = -1,
                          .journal_dir = -1,
                          .run_lock = -1};

    int error = 0;
    hold->run_dir = rundir_open(config->run_dir, 0755, why, why_size);
    if (hold->run_dir < 0) {
        error = hold->run_dir;
    }
    if (!error) {
        error = lock_run_dir(hold, why, why_size);
    }
    if (!error) {
        error = lock_cpus(hold, why, why_size);
    }
    if (!error) {
        error = open_dirs(hold, state_dir, why, why_size);
    }
    if (error) {
        hold_drop(hold);
    }
    return error;
}

void
hold_drop(struct hold *hold)
{
    char path[CONFIG_PATH_SIZE + 32];
    const int dirs[] = {hold->saved_dir, hold->sys_dir,   hold->proc_dir,
                        hold->data_dir,  hold->state_dir, hold->journal_dir,
                        hold->cap_dir,   hold->run_dir};

    for (uint32_t i = 0; i < hold->n_cpu_locks; i++) {
        cpu_lock_path(hold, hold->config->cpus[i], path, sizeof path);
        lock_drop(path, hold->cpu_locks[i]);
    }
    hold->n_cpu_locks = 0;
    run_lock_path(hold, path, sizeof path);
    lock_drop(path, hold->run_lock);
    for (size_t i = 0; i < sizeof dirs / sizeof dirs[0]; i++) {
        if (dirs[i] >= 0) {
            close(dirs[i]);
        }
    }
}

static int
open_dirs(struct hold *hold, const char *state_dir, char *why, size_t why_size)
{
    const struct broker_config *config = hold->config;

    hold->saved_dir = open_own_dir(hold, hold->run_dir, RUNDIR_SAVED,
                                   OWNER_PLATFORM, why, why_size);
    if (hold->saved_dir < 0) {
        return hold->saved_dir;
    }
    if (state_dir) {
        hold->state_dir = rundir_open(state_dir, 0750, why, why_size);
        if (hold->state_dir < 0) {
            return hold->state_dir;
        }
        hold->journal_dir = open_own_dir(hold, hold->state_dir, RUNDIR_JOURNAL,
                                         OWNER_ENGINE, why, why_size);
        if (hold->journal_dir < 0) {
            return hold->journal_dir;
        }
        /* Without a root of its own the engine comes to it by its name. */
        if (hold->users->any &&
            fchown(hold->state_dir, (uid_t)-1, owner_gid(hold, OWNER_ENGINE))) {
            int error = -errno;

            snprintf(why, why_size, "%.180s: no group can be set: %s",
                     state_dir, strerror(-error));
            return error;
        }
        hold->cap_dir = open_own_dir(hold, hold->state_dir, RUNDIR_CAP,
                                     OWNER_PLATFORM, why, why_size);
        if (hold->cap_dir < 0) {
            return hold->cap_dir;
        }
        rundir_move_journal(hold->state_dir, hold->journal_dir,
                            owner_uid(hold, OWNER_ENGINE),
                            owner_gid(hold, OWNER_ENGINE));
    }
    if (!state_dir) { /* Who restores leaves alone what stands in for a cap. */
        char path[CONFIG_PATH_SIZE + sizeof "/" RUNDIR_CAP];

        snprintf(path, sizeof path, "%s/" RUNDIR_CAP, config->state_dir);
        hold->cap_dir = open_dir(path);
    }
    hold->sys_dir = open_needed(config->sys_dir, why, why_size);
    if (hold->sys_dir < 0) {
        return hold->sys_dir;
    }
    hold->proc_dir = open_needed(config->proc_dir, why, why_size);
    if (hold->proc_dir < 0) {
        return hold->proc_dir;
    }
    /* Who needs a data directory that isn't there will say so. */
    hold->data_dir = open_data_dir(config->data_dir);
    return 0;
}

static uid_t
owner_uid(const struct hold *hold, enum owner owner)
{
    return hold->users->any ? hold->users->uid[owner] : geteuid();
}

static gid_t
owner_gid(const struct hold *hold, enum owner owner)
{
    return hold->users->any ? hold->users->gid[owner] : getegid();
}

/* A directory that one of the processes writes, and only that. */
static int
open_own_dir(const struct hold *hold, int dirfd, const char *name,
             enum owner owner, char *why, size_t why_size)
{
    return rundir_open_below(dirfd, name, owner_uid(hold, owner),
                             owner_gid(hold, owner), why, why_size);
}

static int
open_dir(const char *path)
{
    return open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
}

/* -Exxx and 'why' if it is not there. */
static int
open_needed(const char *path, char *why, size_t why_size)
{
    int fd = open_dir(path);

    if (fd < 0) {
        fd = -errno;
        snprintf(why, why_size, "%.200s can't be opened: %s", path,
                 strerror(-fd));
    }
    return fd;
}

/* Without a setting the data is where it was installed, or lies beside this
 * program: after an installation below a DESTDIR, or in its build directory. */
static int
open_data_dir(const char *path)
{
    static const char *const beside[] = {"../share/mbroker", "../../data"};
    char program[CONFIG_PATH_SIZE], there[CONFIG_PATH_SIZE + 32];
    int fd = open_dir(path);
    ssize_t length = -1;

    if (fd < 0 && !strcmp(path, MBROKER_DATA_DIR)) {
        length = readlink("/proc/self/exe", program, sizeof program);
    }
    while (length > 0 && program[length - 1] != '/') {
        length--;
    }
    for (size_t i = 0;
         length > 0 && fd < 0 && i < sizeof beside / sizeof beside[0]; i++) {
        snprintf(there, sizeof there, "%.*s%s", (int)length, program,
                 beside[i]);
        fd = open_dir(there);
    }
    return fd;
}

static int
lock_run_dir(struct hold *hold, char *why, size_t why_size)
{
    struct lock_holder self = {.pid = getpid()}, holder = {0};
    char path[CONFIG_PATH_SIZE + 32];

    text_copy(self.run_dir, sizeof self.run_dir, hold->config->run_dir);
    run_lock_path(hold, path, sizeof path);
    hold->run_lock = lock_when_dead(path, &self, &holder);
    if (hold->run_lock >= 0) {
        return 0;
    }
    if (hold->run_lock == -EWOULDBLOCK) {
        snprintf(why, why_size,
                 "another broker (pid %d) runs in %.180s; stop it, or give "
                 "--run-dir",
                 (int)holder.pid, hold->config->run_dir);
    } else {
        snprintf(why, why_size, "%.200s can't be locked: %s", path,
                 strerror(-hold->run_lock));
    }
    return hold->run_lock;
}

static int
lock_cpus(struct hold *hold, char *why, size_t why_size)
{
    const struct broker_config *config = hold->config;
    struct lock_holder self = {.pid = getpid()}, holder = {0};
    char path[CONFIG_PATH_SIZE + 32];

    text_copy(self.run_dir, sizeof self.run_dir, config->run_dir);
    for (uint32_t i = 0; has_real_cpus(config) && i < config->n_cpus; i++) {
        cpu_lock_path(hold, config->cpus[i], path, sizeof path);
        int fd = lock_when_dead(path, &self, &holder);
        if (fd == -EWOULDBLOCK) {
            snprintf(why, why_size,
                     "CPU %u is managed by another broker (pid %d, run "
                     "directory %.80s; uid %u has %.80s); give each its "
                     "own CPUs",
                     config->cpus[i], (int)holder.pid, holder.run_dir,
                     (unsigned)holder.uid, path);
        } else if (fd < 0) {
            snprintf(why, why_size, "%.200s can't be locked: %s", path,
                     strerror(-fd));
        }
        if (fd < 0) {
            return fd;
        }
        hold->cpu_locks[hold->n_cpu_locks++] = fd;
    }
    return 0;
}

static int
lock_when_dead(const char *path, const struct lock_holder *self,
               struct lock_holder *holder)
{
    const struct timespec wait = {.tv_nsec = DYING_WAIT_NS};

    for (int i = 0;; i++) {
        int fd = lock_take(path, self, holder);

        if (fd != -EWOULDBLOCK || i == DYING_TRIES || !holder->pid ||
            !kill(holder->pid, 0) || errno != ESRCH) {
            return fd;
        }
        nanosleep(&wait, NULL);
    }
}

static bool
has_real_cpus(const struct broker_config *config)
{
    return config->pstate && strcmp(config->pstate->name, "sim") != 0;
}

/* Where the lock directory isn't everybody's, who can't write it can't change
 * real CPUs either, and needs only to keep out of the way of his like. */
static const char *
find_lock_dir(void)
{
    return !access("/run/lock", W_OK | X_OK) ? "/run/lock" : "/tmp";
}

static void
run_lock_path(const struct hold *hold, char *out, size_t size)
{
    snprintf(out, size, "%s/" RUNDIR_LOCK, hold->config->run_dir);
}

static void
cpu_lock_path(const struct hold *hold, uint32_t cpu, char *out, size_t size)
{
    snprintf(out, size, "%.255s/mbroker-cpu%u", hold->lock_dir, cpu);
}
