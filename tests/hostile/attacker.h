/* SPDX-License-Identifier: Apache-2.0 */
/* What the parts of the hostile end share: attacker.c, who lives and writes;
 * aim.c, what it writes and where; ways.c, how it attacks a link that stands;
 * greet.c, how it comes to one, or attacks before.  For them only. */
#ifndef TESTS_HOSTILE_ATTACKER_H
#define TESTS_HOSTILE_ATTACKER_H

#include <stddef.h>

#include "base/prng.h"
#include "board.h"
#include "rawpeer.h"

#define PATIENCE_MS 2000
#define FORMER_MAX 8

struct former {
    uint8_t *memory;
    size_t size;
};

struct attacker {
    const struct stage *stage;
    struct board *board;
    struct prng prng;
    struct raw raw;
    uint64_t gone;   /* board->n_gone when this link began. */
    uint64_t n_here; /* Writes into this link. */
    struct former former[FORMER_MAX];
    unsigned n_former;
};

static inline uint64_t
chance(struct attacker *attacker, uint64_t n)
{
    return prng_below(&attacker->prng, n);
}

/* attacker.c. */

void attacker_nap(long us);
/* One store into what is shared, and one more that counts as a write. */
void attacker_write(struct attacker *, size_t at, uint64_t value);
void attacker_count(struct attacker *);
/* True if it is time for another link. */
bool attacker_is_done(struct attacker *);

/* aim.c. */

/* A record's first word. */
uint64_t aim_record(struct attacker *);
/* Near a position that both know, so that it is often believed. */
uint64_t aim_near(struct attacker *, uint64_t position);
uint64_t aim_value(struct attacker *);
/* Where in the memory, in bytes. */
size_t aim_place(struct attacker *);

/* ways.c. */

/* Attacks a link that stands, in one of the ways, until it is done. */
void ways_attack(struct attacker *);
/* Noise and descriptors through the socket, which is for wakes. */
void ways_flood(struct attacker *);

/* greet.c. */

/* True once HELLO was exchanged as it should be; some of the time it is not
 * meant to be. */
bool greet_victim(struct attacker *);

#endif
