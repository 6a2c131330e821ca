/* SPDX-License-Identifier: Apache-2.0 */
/* What a channel lends and is lent.  A slab and what the peer's is mapped as
 * belong to one attachment and are made when the first loan is; when it ends
 * they stay only as long as a user still has a part of them in his hands. */
#ifndef CHANNEL_LOAN_H
#define CHANNEL_LOAN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/record.h"
#include "channel/lent.h"
#include "channel/slab.h"
#include "transport/returns.h"

struct mchan;

struct loans {
    uint64_t bytes;         /* That our user would lend and be lent. */
    uint64_t agreed;        /* With the peer, of this link; 0: no loans. */
    struct slab *slab;      /* Ours; null: not yet. */
    struct lent *lent;      /* The peer's. */
    struct slab *old_slabs; /* Of former links, with chunks still taken, */
    struct lent *old_lent;  /* or held. */
    struct returns_rx rx;   /* What the peer gives back, */
    struct returns_tx tx;   /* and we. */
    uint32_t n_collect;     /* Chunks out at which to look at it again. */
    size_t wanted;          /* What the user could not have; else 0. */
    int lent_fd;            /* What the peer shared, not yet mapped; or -1. */
};

void loans_init(struct loans *, uint64_t bytes);

/* A link stands, at whose other end these bytes were offered. */
void loans_begin(struct mchan *, uint64_t offered);
/* It is over. */
void loans_end(struct mchan *);
/* Everything goes, also what a user has in his hands. */
void loans_fini(struct mchan *);

/* Takes in what the peer gave back: 0, or -EPROTO. */
int loans_collect(struct mchan *, const char **why);
/* False if the user waits for a chunk and there is none. */
bool loans_ready(struct mchan *);
/* Asks to be woken when one may be; to be followed by a last look. */
void loans_arm(struct mchan *);

/* The chunk of the RECORD_LOAN that comes next: 0, or -ENOMEM, or -EPROTO with
 * a constant 'why'. */
int loans_open(struct mchan *, const struct record *, struct lent_chunk *out,
               const char **why);
/* That chunk is the user's until he releases it, or is given back at once. */
void loans_hold(struct mchan *, const struct lent_chunk *);
void loans_give_back(struct mchan *, const struct lent_chunk *);

#endif
