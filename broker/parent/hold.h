/* SPDX-License-Identifier: Apache-2.0 */
/* What a broker holds while it runs: its directories and locks.  For the parent
 * of mbrokerd only. */
#ifndef BROKER_PARENT_HOLD_H
#define BROKER_PARENT_HOLD_H

#include <stddef.h>
#include <stdint.h>

#include "broker/config/config.h"

struct users;

/* Descriptors; -1 where there is none. */
struct hold {
    const struct broker_config *config; /* Borrowed. */
    const char *lock_dir;               /* Borrowed. */
    const struct users *users;          /* Borrowed. */
    int run_dir, saved_dir, sys_dir, proc_dir, data_dir, state_dir, journal_dir;
    int cap_dir;
    int run_lock;
    uint32_t n_cpu_locks;
    int cpu_locks[CONFIG_CPUS_MAX];
};

/* Takes it all, or nothing and says 'why', naming the other broker if there is
 * one.  One that died a moment ago is waited for.  'lock_dir' null: where this
 * machine has one.  With 'state_dir' null no state directory is needed.
 * Directories that one process alone writes are its user's.  0 or -Exxx. */
int hold_take(struct hold *, const struct broker_config *, const struct users *,
              const char *lock_dir, const char *state_dir, char *why,
              size_t why_size);
/* Removes the lock files.  To be called when all children are gone. */
void hold_drop(struct hold *);

#endif
