/* SPDX-License-Identifier: Apache-2.0 */
/* What a process of mbrokerd gives up before it reads a stranger's byte: its
 * user, the host's files, networks, privileges, and the system calls it never
 * makes.  Knows nothing of roles: who enters says what it needs to keep.  For
 * broker/role/confine.c, and for the test that tries what may not be done. */
#ifndef BROKER_SANDBOX_SANDBOX_H
#define BROKER_SANDBOX_SANDBOX_H

#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define SANDBOX_DIRS_MAX 6
#define SANDBOX_FILES_MAX 2048
#define SANDBOX_PATH_SIZE 128
#define SANDBOX_TEXT_SIZE 384
#define SANDBOX_NO_LIMIT UINT64_MAX

/* A directory that stays in reach, under its own name. */
struct sandbox_dir {
    int fd; /* Opened outside; replaced by one opened inside, by which nobody
             * gets out ("..").  -1: none. */
    bool writable;
};

/* Which system calls stay; the lists are in calls.c. */
enum sandbox_calls {
    SANDBOX_CALLS_BACK,
    SANDBOX_CALLS_ENGINE,
    SANDBOX_CALLS_PLATFORM,
    SANDBOX_CALLS_N, /* Not a list: how many there are. */
};

struct sandbox_plan {
    /* Another user's, if we may change it: only root may. */
    bool has_ids;
    uid_t uid;
    gid_t gid;
    bool root; /* Wants an empty root, with nothing but 'dirs' below it. */
    /* Where a file system of ours is laid over while the root is made; any
     * directory that is there. */
    const char *mount_at;
    /* Who is at the other end of a socket matters, by number.  In a user
     * namespace strangers have no numbers, so there must be none. */
    bool sees_users;
    struct sandbox_dir dirs[SANDBOX_DIRS_MAX];
    uint32_t n_dirs;
    /* Files below one of the directories, which isn't writable, that are, as
     * paths from there.  Those that are not there are left out. */
    uint32_t files_dir; /* In 'dirs'. */
    uint32_t n_files;
    char files[SANDBOX_FILES_MAX][SANDBOX_PATH_SIZE];
    uint64_t caps; /* To keep, as bits, of those it has. */
    uint64_t n_fds_max, n_tasks_max, data_max; /* SANDBOX_NO_LIMIT: as is. */
    int first_free_fd; /* Descriptors from here on are closed. */
    bool seccomp;
    enum sandbox_calls calls;
    /* The handler of SIGSYS, which comes when a system call is tried that only
     * an intruder would make: says which it was (si_syscall); then
     * sandbox_die().  The call is not made in any case.  Null: the process dies
     * without a word. */
    void (*caught)(int signal, siginfo_t *, void *ctx);
};

/* What came of it, for people. */
struct sandbox_report {
    bool has_ids, has_root, has_seccomp;
    char in_force[SANDBOX_TEXT_SIZE]; /* One line. */
    char missing[SANDBOX_TEXT_SIZE];  /* What was wanted and is not, and why;
                                       * "" if nothing. */
};

/* Gives up all that the plan does not keep.  To be called once, before there
 * are threads.  What the machine does not let us have is told in 'out' and left
 * out; only what leaves the process in between is a failure, after which the
 * caller must end: -Exxx with 'out->missing' saying what. */
int sandbox_enter(const struct sandbox_plan *, struct sandbox_report *out);

/* Why this build has no seccomp filters; null if it has them. */
const char *sandbox_seccomp_left_out(void);

/* For the handler of SIGSYS: dies of it. */
_Noreturn void sandbox_die(void);

/* "execve (59)", or the number alone if nobody knows its name. */
void sandbox_call_text(int number, char *out, size_t size);

#endif
