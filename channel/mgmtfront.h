/* SPDX-License-Identifier: Apache-2.0 */
/* The guest's end of an M-channel: goes to the MVM, and goes again for ever
 * after each loss, waiting longer after each failure.  Decides when to try and
 * what to accept of the answer, and leaves acting to mchan.c.  Every function
 * takes 'now'; chance comes from a seed. */
#ifndef CHANNEL_MGMTFRONT_H
#define CHANNEL_MGMTFRONT_H

#include <stdbool.h>
#include <stdint.h>

#include "base/clock.h"
#include "base/prng.h"

struct hello;
struct session;

/* Where the user left the waits to us, the first tries come in quick
 * succession, so that a restarted MVM's end is found within a millisecond of
 * its being there.  A session that is lost at once earns few of them. */
#define MGMTFRONT_QUICK_NS (500 * NSEC_PER_USEC)
#define MGMTFRONT_QUICK_MAX 64
#define MGMTFRONT_QUICK_EARNED_NS (5 * NSEC_PER_MSEC)

struct mgmtfront {
    nsec_t retry_min_ns, retry_max_ns;
    bool quick;       /* Quick tries are wanted, */
    uint32_t n_quick; /* and so many are left. */
    nsec_t counted;   /* When they were last earned. */
    nsec_t wait_ns;   /* Before the try after the next failure. */
    nsec_t next_try;  /* NSEC_NEVER: the transport can't be had again. */
    struct prng prng;
};

/* Zero milliseconds mean 10, after some quick tries, and 1000.  The first try
 * is due at once. */
void mgmtfront_init(struct mgmtfront *, uint32_t retry_min_ms,
                    uint32_t retry_max_ms, uint64_t seed);

/* An attempt failed, or a link was lost before the session stood. */
void mgmtfront_failed(struct mgmtfront *, nsec_t now);
/* A session that stood was lost: the first try comes soon. */
void mgmtfront_lost(struct mgmtfront *, nsec_t now);
void mgmtfront_give_up(struct mgmtfront *);
/* It is worth a try at once. */
void mgmtfront_begin(struct mgmtfront *);

/* Judges the MVM's HELLO and attaches the session.  0, or -EPROTO with a
 * constant 'why'. */
int mgmtfront_on_hello(struct session *, const struct hello *,
                       const char **why);

#endif
