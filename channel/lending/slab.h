/* SPDX-License-Identifier: Apache-2.0 */
/* What an end lends its peer: memory of its own, made afresh for each
 * attachment, cut into chunks.  The owner alone keeps count of them; nothing of
 * that lies in the memory.
 *
 * A chunk is a power of two of units of 4 KiB and lies at a multiple of its
 * size.  It is free, taken by our user who fills it, or lent to the peer, and
 * known by the number of its first unit and a generation, which changes each
 * time it becomes free, so that nobody gives back what was lent to somebody
 * else since. */
#ifndef CHANNEL_LENDING_SLAB_H
#define CHANNEL_LENDING_SLAB_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SLAB_UNIT 4096u
#define SLAB_SIZE_MAX (UINT64_C(1) << 36)
#define SLAB_ORDERS                                                            \
    25 /* Powers of two that a chunk's size can be, in units.                  \
        */

struct slab_unit {
    uint32_t generation; /* From 1. */
    uint32_t next;       /* Free: in its list. */
    uint32_t sequence;   /* Lent: with the message of this number. */
    uint8_t state;       /* Of the chunk that begins here, if one does. */
    uint8_t order;
};

struct slab {
    uint8_t *memory;
    uint64_t size;
    uint32_t n_units;
    uint32_t n_taken, n_lent; /* Chunks. */
    bool fragments;           /* Something became free since chunks were last
                                 joined together. */
    uint32_t lists;           /* Bits: which of them are not empty. */
    uint32_t free[SLAB_ORDERS];
    struct slab_unit *units;
    struct slab *next; /* For its owner. */
};

/* Makes a slab of 'size' bytes, a multiple of SLAB_UNIT up to SLAB_SIZE_MAX:
 * 0, -ENOMEM, -ENOTSUP on a kernel that can't seal it, or another -Exxx.
 * '*fd_out' is the caller's, to be shared: who has only it can read what is in
 * the memory and never write there or change its size. */
int slab_create(struct slab **out, uint64_t size, int *fd_out);
void slab_destroy(struct slab *);

/* Takes a chunk of at least 'size' bytes: its first unit, or -EAGAIN, or
 * -EMSGSIZE if the slab is smaller. */
int64_t slab_take(struct slab *, size_t size);
/* True if it would not be -EAGAIN. */
bool slab_may_take(struct slab *, size_t size);
uint8_t *slab_data(const struct slab *, uint32_t unit);
size_t slab_chunk_size(const struct slab *, uint32_t unit);
/* Identifies the chunk for as long as it is not free. */
uint64_t slab_handle(const struct slab *, uint32_t unit);
/* The chunk that 'data' points to the start of, if it is taken and its handle
 * is 'handle'; else -ENOENT. */
int64_t slab_find(const struct slab *, const void *data, uint64_t handle);

/* The chunk with this handle that was lent with the message 'sequence', if it
 * did not come back; else -ENOENT. */
int64_t slab_find_lent(const struct slab *, uint64_t handle, uint32_t sequence);

/* A taken chunk is given to the peer, or is free again. */
void slab_lend(struct slab *, uint32_t unit, uint32_t sequence);
void slab_untake(struct slab *, uint32_t unit);
/* The peer says that it gives back the chunk with this handle: 0, or -EPROTO
 * if it does not have it. */
int slab_give_back(struct slab *, uint64_t handle);

#endif
