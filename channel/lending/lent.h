/* SPDX-License-Identifier: Apache-2.0 */
/* What the peer lends us: its memory, which we can only read, and which chunks
 * of it we hold. */
#ifndef CHANNEL_LENDING_LENT_H
#define CHANNEL_LENDING_LENT_H

#include <stdbool.h>
#include <stdint.h>

/* The payload of a RECORD_LOAN: 0 unit u32, 4 generation u32, 8 size u64, all
 * little-endian; see slab.h.  The first eight bytes are the chunk's handle, by
 * which it is given back. */
#define LOAN_SIZE 16

void loan_put(uint8_t out[LOAN_SIZE], uint64_t handle, uint64_t size);
void loan_get(uint64_t *handle_out, uint64_t *size_out,
              const uint8_t loan[LOAN_SIZE]);

struct lent {
    const uint8_t *memory;
    uint64_t size;
    uint32_t n_units;
    uint32_t n_held;
    uint32_t *generations; /* Per unit: of the chunk held there; 0: none. */
    struct lent *next;     /* For its owner. */
};

/* Maps 'fd' if it is memory of this size that can't become smaller and that
 * only its owner can change: 0, -EPROTO or -ENOMEM. */
int lent_create(struct lent **out, int fd, uint64_t size);
void lent_destroy(struct lent *);

struct lent_chunk {
    const uint8_t *data;
    uint64_t size, handle;
};

/* The chunk that 'loan' speaks of: 0, or -EPROTO with a constant 'why' if we
 * can't be lent that now. */
int lent_open(const struct lent *, const uint8_t loan[LOAN_SIZE],
              struct lent_chunk *out, const char **why);
/* It is held from now on. */
void lent_hold(struct lent *, const struct lent_chunk *);
/* Held no more; false if it was not. */
bool lent_let_go(struct lent *, const void *data, uint64_t handle);

#endif
