/* SPDX-License-Identifier: Apache-2.0 */
/* Applications' own messages on their way through the agent: a few wait here
 * while no broker listens or the channel is full, and the newest of each type
 * is remembered, so that a broker that knows nothing can be told. */
#ifndef AGENT_NOTEBOX_H
#define AGENT_NOTEBOX_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/clock.h"

struct msg_note;
struct probe_note;

#define NOTEBOX_MAX 16        /* That wait at once. */
#define NOTEBOX_TYPES 16      /* Of which the newest is remembered. */
#define NOTEBOX_PER_SECOND 50 /* Given on, */
#define NOTEBOX_BURST 50      /* and as many at once. */

struct notebox_item;

struct notebox {
    struct notebox_item *items[NOTEBOX_MAX]; /* Owned; oldest first. */
    uint32_t n;
    struct notebox_item *said[NOTEBOX_TYPES]; /* Owned; null: a free place. */
    uint32_t
        next; /* Whose turn it is: of 'said', or NOTEBOX_TYPES: items[0]. */
    uint64_t number;    /* Of the last note taken. */
    nsec_t credit_ns;   /* What may be given on at once, as time. */
    nsec_t credited;    /* When that was. */
    uint64_t n_taken;   /* All of these since the start: */
    uint64_t n_given;   /* to the channel, */
    uint64_t n_newer;   /* made void by a newer one of their type, */
    uint64_t n_refused; /* for want of room or sense. */
};

void notebox_init(struct notebox *, nsec_t now);
void notebox_fini(struct notebox *);

/* Takes a note (copied) that was made at 'now'.  Returns 0, -EINVAL (its type's
 * name), -EMSGSIZE, -EAGAIN (too many wait) or -ENOMEM, with 'why' saying
 * which, of how many, and what is allowed. */
int notebox_take(struct notebox *, const struct probe_note *, nsec_t now,
                 char *why, size_t why_size);

/* Fills in the oldest that may be given on at 'now'; false if there is none, or
 * not yet.  notebox_given() then takes it away. */
bool notebox_next(struct notebox *, nsec_t now, struct msg_note *out);
void notebox_given(struct notebox *);
/* It can't be given on: takes it away, and counts it as refused. */
void notebox_drop(struct notebox *);
/* Who is told now knows nothing of what was given on: the newest of each type
 * is given on once more, first, with the number and the time it had. */
void notebox_again(struct notebox *);
/* When one may be given on; NSEC_NEVER if none waits. */
nsec_t notebox_deadline(const struct notebox *);

#endif
