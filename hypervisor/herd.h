/* SPDX-License-Identifier: Apache-2.0 */
/* What is done to all processes of a guest together. */
#ifndef HYPERVISOR_HERD_H
#define HYPERVISOR_HERD_H

#include <sched.h>
#include <stdbool.h>

#include "hypervisor/proctree.h"

struct herd {
    int proc_dirfd;
    struct proctree *tree;
    struct process_id spared; /* Gets no signals: the guest's init.  Number 0 if
                               * it has none. */
};

/* Sends a signal to all that the last scan saw, parents first or children
 * first.  Returns the last -Exxx, if a process that is there refused it. */
int herd_signal(struct herd *, int signum, bool children_first);

/* Stops all that run; a few scans at most.  True if all are stopped and there
 * are any; otherwise to be called again. */
bool herd_stop(struct herd *);
/* Whether the last scan saw all stopped, and any. */
bool herd_is_stopped(const struct herd *);

/* Kills all; to be called again until nothing lives. */
void herd_kill(struct herd *);

/* Keeps threads on these CPUs; one may choose among them.  Looks at processes
 * that the last scan saw for the first time, or at all. */
void herd_pin(struct herd *, const cpu_set_t *, bool all);

/* Waits for those that ended and are our own children. */
void herd_reap(struct herd *);

#endif
