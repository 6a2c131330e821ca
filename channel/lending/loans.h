/* SPDX-License-Identifier: Apache-2.0 */
/* What a channel lends and is lent.  A slab, and the mapping of the peer's,
 * belong to one attachment and are made for its first loan.  When it ends they
 * stay only as long as a user has a part of them in his hands or it holds what
 * is to be sent again; for that it is copied to the next slab. */
#ifndef CHANNEL_LENDING_LOANS_H
#define CHANNEL_LENDING_LOANS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/record.h"
#include "channel/lending/lent.h"
#include "channel/lending/slab.h"
#include "transport/returns.h"

struct mchan;

struct loans {
    uint64_t bytes;         /* That our user would lend and be lent. */
    uint64_t agreed;        /* With the peer, of this link; 0: no loans. */
    struct slab *slab;      /* Ours; null: not yet. */
    struct lent *lent;      /* The peer's. */
    struct slab *old_slabs; /* Of former links, with chunks that are taken or
                               to be sent again. */
    struct lent *old_lent;  /* Likewise, with chunks that are held. */
    struct returns_rx rx;   /* What the peer gives back, */
    struct returns_tx tx;   /* and we. */
    uint32_t n_collect;     /* Chunks out at which to look at it again. */
    size_t wanted;          /* What the user could not have; else 0. */
    bool waits;             /* So does what is to be sent again. */
    int lent_fd;            /* What the peer shared, not yet mapped; or -1. */
};

void loans_init(struct loans *, uint64_t bytes);
/* A link stands, at whose other end these bytes were offered. */
void loans_begin(struct mchan *, uint64_t offered);
/* It is over. */
void loans_end(struct mchan *);
/* Everything goes, also what a user has in his hands. */
void loans_fini(struct mchan *);

/* The slab, made if it was not yet: 0, -ENOTSUP or why not. */
int loans_make_slab(struct mchan *);
/* A chunk of it, of at least 'size' bytes: its first unit, -EAGAIN or
 * -EMSGSIZE. */
int64_t loans_take(struct loans *, size_t size);
/* True if it would not be -EAGAIN. */
bool loans_may_take(const struct loans *, size_t size);
/* Puts a record that names a chunk that is taken; there is room for it. */
void loans_put(struct mchan *, const struct record *, uint32_t unit,
               uint64_t size);

/* Takes in what the peer gave back: 0, or -EPROTO. */
int loans_collect(struct mchan *, const char **why);
/* False if the user waits for a chunk and there is none. */
bool loans_ready(const struct mchan *);
/* Asks to be woken when one may be; to be followed by a last look. */
void loans_arm(struct mchan *);

/* Puts a loan that a former link carried, 'loan' being what lay there: 0,
 * -ENOENT if it never can be sent again, or why it can not be now. */
int loans_put_again(struct mchan *, const struct record *, const uint8_t *loan);
/* Lets go of slabs of former links that are good for nothing any more. */
void loans_settle(struct mchan *);

/* The chunk of the RECORD_LOAN that comes next: 0, or -ENOMEM, or -EPROTO with
 * a constant 'why'. */
int loans_open(struct mchan *, const struct record *, struct lent_chunk *out,
               const char **why);
/* That chunk is the user's until he releases it, or is given back at once. */
void loans_hold(struct mchan *, const struct lent_chunk *);
void loans_give_back(struct mchan *, const struct lent_chunk *);

#endif
