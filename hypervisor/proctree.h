/* SPDX-License-Identifier: Apache-2.0 */
/* The processes of one guest: a first one and all that descend from it, also
 * those whose parents are gone, and the CPU time they used, those that ended
 * included. */
#ifndef HYPERVISOR_PROCTREE_H
#define HYPERVISOR_PROCTREE_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#define PROCTREE_TASKS_MAX 4096 /* Processes, and threads, looked at. */

/* A process is a number and the moment it started: the number alone may be
 * somebody else's tomorrow. */
struct process_id {
    pid_t pid;
    uint64_t start; /* In ticks since boot, as /proc/PID/stat has it. */
};

struct process {
    struct process_id id;
    pid_t parent;
    char state; /* As in /proc/PID/stat: 'R', 'T' (stopped), 'Z' … */
    bool fresh; /* Not seen by the scan before. */
    uint32_t n_threads;
    uint64_t own_ns;      /* CPU time of all its threads, ended ones too. */
    uint64_t children_ns; /* Of its children that ended and were waited for. */
};

struct proctree;

/* 'proc_dirfd' stands for /proc and is borrowed.  Returns 0 or -ENOMEM. */
int proctree_create(struct proctree **out, int proc_dirfd);
void proctree_destroy(struct proctree *);

/* Forgets all and begins anew with 'root'. */
void proctree_reset(struct proctree *, const struct process_id *root);

/* Looks who is there now.  Returns how many live (zombies don't).  Sees at most
 * PROCTREE_TASKS_MAX processes; more are seen when some of these are gone. */
uint32_t proctree_scan(struct proctree *);

/* What the last scan saw, parents before children as a rule. */
uint32_t proctree_n(const struct proctree *);
const struct process *proctree_process(const struct proctree *, uint32_t i);
/* CPU time used since the root started, as of the last scan; never falls. */
uint64_t proctree_busy_ns(const struct proctree *);

/* Reads a process's /proc/PID/stat.  'own_ns' is of its ticks.  0, -ENOENT if
 * there is none, or -EIO. */
int process_read(int proc_dirfd, pid_t pid, struct process *out);
/* Whether it still is the process that it was, and no zombie. */
bool process_lives(int proc_dirfd, const struct process_id *);
/* Sends a signal to that process and never to another that has its number by
 * now.  0, -ESRCH or another -Exxx. */
int process_signal(int proc_dirfd, const struct process_id *, int signum);
/* Lists its threads.  Returns how many, at most 'max', or -ENOENT. */
int process_threads(int proc_dirfd, pid_t pid, pid_t *out, uint32_t max);

#endif
