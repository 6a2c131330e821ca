/* SPDX-License-Identifier: Apache-2.0 */
/* The chain that makes the journal one thing: each row's link is a checksum of
 * the link before it and of all that the row says (SHA-256).  A row that was
 * changed, is missing or stands elsewhere breaks it. */
#ifndef BROKER_JOURNAL_CHAIN_H
#define BROKER_JOURNAL_CHAIN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define CHAIN_SIZE 32
#define CHAIN_TEXT_SIZE (2 * CHAIN_SIZE + 1)

struct journal_input;
struct journal_row;

/* Zero before the first row of a journal. */
struct chain {
    uint8_t byte[CHAIN_SIZE];
};

/* The link of a row, or of a block of inputs, behind '*before'.  '*out' may be
 * '*before'. */
void chain_row(struct chain *out, const struct chain *before,
               const struct journal_row *);
void chain_input(struct chain *out, const struct chain *before,
                 const struct journal_input *);
/* A checksum of any bytes, for what stands beside the rows. */
void chain_bytes(struct chain *out, const void *, size_t size);

bool chain_equal(const struct chain *, const struct chain *);
void chain_format(const struct chain *, char out[CHAIN_TEXT_SIZE]);

#endif
