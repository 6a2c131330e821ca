/* SPDX-License-Identifier: Apache-2.0 */
/* How what was lent comes back: a ring of words that the one who was lent
 * writes, one per chunk that it is through with, and the count of them.
 *
 * The lender bounds what it has lent to RETURNS_MAX at a time and each chunk
 * comes back once, so there is always room and nobody has to tell how far the
 * ring was read.  Each end of a link writes a block like this and reads the
 * other's, since each may lend; every word has one writer.  What the other
 * wrote is checked by who knows what was lent. */
#ifndef TRANSPORT_RETURNS_H
#define TRANSPORT_RETURNS_H

#include <stdalign.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#define RETURNS_MAX 1024u

struct returns {
    alignas(128) _Atomic uint64_t count;  /* Given back by the writer. */
    alignas(128) _Atomic uint64_t wanted; /* Lender: wake me for this count. */
    alignas(128) _Atomic uint64_t words[RETURNS_MAX];
};

/* The lender's side of a block of the other's. */
struct returns_rx {
    struct returns *mine, *peers; /* Borrowed. */
    uint64_t taken;               /* Of the peer's words. */
};

/* The side of the one who was lent. */
struct returns_tx {
    struct returns *mine, *peers;
    uint64_t given;
};

/* The blocks are zeroed. */
void returns_rx_init(struct returns_rx *, struct returns *mine,
                     struct returns *peers);
void returns_tx_init(struct returns_tx *, struct returns *mine,
                     struct returns *peers);

/* Gives one back.  True if the lender sleeps until then and must be woken. */
bool returns_give(struct returns_tx *, uint64_t word);

/* How many words are there to take: at most 'n_lent', which is what there is
 * lent and not more than RETURNS_MAX, or -EPROTO. */
int returns_pending(const struct returns_rx *, uint32_t n_lent);
/* The next of them. */
uint64_t returns_take(struct returns_rx *);
/* Asks to be woken for the next one; to be followed by a last look.  Never
 * taken back: the count only rises, so an old wish matches nothing. */
void returns_arm(struct returns_rx *);

#endif
