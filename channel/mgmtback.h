/* SPDX-License-Identifier: Apache-2.0 */
/* The MVM's end of an M-channel: takes one peer at a time, mints sessions and
 * counts attachments.  Believes nothing a guest says beyond what it can check
 * itself; acting is left to mchan.c.  Every function takes 'now'. */
#ifndef CHANNEL_MGMTBACK_H
#define CHANNEL_MGMTBACK_H

#include <stdbool.h>
#include <stdint.h>

#include "base/clock.h"
#include "base/prng.h"

struct hello;
struct session;

/* After accepting failed for want of descriptors or memory. */
#define MGMTBACK_WAIT_NS (100 * NSEC_PER_MSEC)

/* A guest that connects again and again costs each time a link and its memory,
 * so it may do so this often at once, and then once in so long. */
#define MGMTBACK_BURST 64
#define MGMTBACK_REFILL_NS (5 * NSEC_PER_MSEC)

struct mgmtback {
    uint32_t n_left; /* Peers that may still be accepted at once. */
    nsec_t refilled; /* When that was last counted. */
    nsec_t next_try; /* NSEC_NEVER: there is no other peer to come;
                        INT64_MIN: whenever one comes. */
    bool waits; /* For others to bring the sessions that are unknown here. */
    struct prng prng;
};

void mgmtback_init(struct mgmtback *, uint64_t seed);
void mgmtback_failed(struct mgmtback *, nsec_t now);
/* A peer was accepted; 'next_try' says when the next may be. */
void mgmtback_accepted(struct mgmtback *, nsec_t now);
void mgmtback_give_up(struct mgmtback *);
/* Nobody is there: wait until somebody comes. */
void mgmtback_wait(struct mgmtback *);
nsec_t mgmtback_deadline(const struct mgmtback *);

/* Answers the guest's HELLO: attaches the session that it and we remember, or a
 * new one. */
void mgmtback_on_hello(struct mgmtback *, struct session *,
                       const struct hello *guest);

#endif
