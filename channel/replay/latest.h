/* SPDX-License-Identifier: Apache-2.0 */
/* Values of which the newest counts (MCHAN_LATEST): one slot per key, on the
 * sender's side, in memory of our own.  At most one value of a key is under way
 * at a time; until the receiver is done with that, newer ones replace each
 * other in the slot, so that a slow receiver gets the newest and not a queue of
 * old ones. */
#ifndef CHANNEL_REPLAY_LATEST_H
#define CHANNEL_REPLAY_LATEST_H

#include <stdbool.h>
#include <stdint.h>

#include "include/mchan.h"

struct link;

struct latest_slot {
    uint8_t *data; /* Owned. */
    uint32_t size, capacity;
    uint16_t tag;
    uint64_t position; /* Behind the one under way, in the link. */
};

struct latest {
    /* A bit per key: it has a value; which is not put yet; an earlier one may
     * be under way; one was put in an earlier attachment. */
    uint64_t valued, waiting, under_way, repeated;
    struct latest_slot slots[MCHAN_KEYS];
};

/* Null if there is no memory. */
struct latest *latest_create(void);
void latest_destroy(struct latest *); /* Accepts null. */

/* Replaces the value of a key: 1 if one was overtaken, which was not put yet,
 * else 0; or -ENOMEM. */
int latest_set(struct latest *, const struct mchan_msg *);
/* A new attachment: each value is to be put again, but those larger than
 * 'message_max', which are forgotten. */
void latest_attach(struct latest *, uint32_t message_max);
/* Puts what is waiting and may be, and as much as has room.  Returns how many
 * values, and adds up their bytes. */
unsigned latest_put(struct latest *, struct link *, uint32_t attachment,
                    uint64_t *bytes);
/* The position that the peer must have released before the next can be put; 0
 * if nothing waits. */
uint64_t latest_position(const struct latest *, const struct link *);

#endif
