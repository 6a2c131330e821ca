/* SPDX-License-Identifier: Apache-2.0 */
/* The MVM's end of an M-channel: takes one peer at a time, mints sessions and
 * counts attachments.  Believes nothing a guest says beyond what it can check
 * itself; acting is left to mchan.c.  Every function takes 'now'. */
#ifndef CHANNEL_MGMTBACK_H
#define CHANNEL_MGMTBACK_H

#include <stdint.h>

#include "base/clock.h"
#include "base/prng.h"

struct hello;
struct session;

/* After accepting failed for want of descriptors or memory. */
#define MGMTBACK_WAIT_NS (100 * NSEC_PER_MSEC)

struct mgmtback {
    nsec_t next_try; /* NSEC_NEVER: there is no other peer to come;
                        INT64_MIN: whenever one comes. */
    struct prng prng;
};

void mgmtback_init(struct mgmtback *, uint64_t seed);
void mgmtback_failed(struct mgmtback *, nsec_t now);
void mgmtback_give_up(struct mgmtback *);
/* Nobody is there: wait until somebody comes. */
void mgmtback_wait(struct mgmtback *);
nsec_t mgmtback_deadline(const struct mgmtback *);

/* Answers the guest's HELLO: attaches the session that it and we remember, or a
 * new one. */
void mgmtback_on_hello(struct mgmtback *, struct session *,
                       const struct hello *guest);

#endif
