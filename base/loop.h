/* SPDX-License-Identifier: Apache-2.0 */
/* The loop of a program, on libuv.  Callbacks only mark readiness; then one
 * turn is run, in which the program calls each of its modules, and one timer
 * is set to the earliest deadline.  This is the one place where the programs
 * read the time. */
#ifndef BASE_LOOP_H
#define BASE_LOOP_H

#include <stdbool.h>

#include "base/clock.h"

struct loop;

struct loop_ops {
    /* Does what is due at 'now'.  Called after anything became ready, a
     * deadline passed or a signal came. */
    void (*turn)(void *ctx, nsec_t now);
    /* The next moment at which a turn is wanted though nothing happens;
     * NSEC_NEVER if none. */
    nsec_t (*deadline)(void *ctx, nsec_t now);
};

/* Makes a loop; 'ops' and 'ctx' are borrowed until loop_destroy().  Returns 0
 * or -ENOMEM or another error of libuv's as -Exxx. */
int loop_create(struct loop **out, const struct loop_ops *ops, void *ctx);
void loop_destroy(struct loop *);

/* Sets '*ready' (borrowed, may be null) and runs a turn whenever 'fd' can be
 * read (or, with 'writable', written).  One watch per descriptor; a second
 * call changes it. */
int loop_watch(struct loop *, int fd, bool writable, bool *ready);
void loop_unwatch(struct loop *, int fd);

/* Sets '*pending' (borrowed) and runs a turn when the signal comes. */
int loop_on_signal(struct loop *, int signum, bool *pending);

/* Turns until loop_stop(). */
void loop_run(struct loop *);
void loop_stop(struct loop *);

/* CLOCK_BOOTTIME, freshly read. */
nsec_t loop_now(void);

#endif
