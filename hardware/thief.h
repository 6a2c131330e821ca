/* SPDX-License-Identifier: Apache-2.0 */
/* A thread that takes a share of one CPU's time away from all ordinary ones. */
#ifndef HARDWARE_THIEF_H
#define HARDWARE_THIEF_H

#include <stdbool.h>
#include <stdint.h>

#include "base/clock.h"

#define THIEF_PERIOD_NS (200 * NSEC_PER_USEC)

struct thief;

/* Starts one, which takes nothing until it is told to.  Returns 0, -ENOMEM,
 * -EPERM (no right to real-time threads) or -EINVAL (no such CPU for us). */
int thief_create(struct thief **out, uint32_t cpu);
/* Ends it and waits until it has.  Accepts null. */
void thief_destroy(struct thief *);

/* Makes it take 'want_ns' of every THIEF_PERIOD_NS, less than all.  Returns
 * when it obeys, or -EIO if it doesn't, because its CPU is gone or something of
 * a higher priority keeps it. */
int thief_order(struct thief *, uint32_t want_ns);
/* Whether that is what it takes now. */
bool thief_obeys(const struct thief *, uint32_t want_ns);

/* CPU time it took since it was started. */
uint64_t thief_taken_ns(const struct thief *);

#endif
