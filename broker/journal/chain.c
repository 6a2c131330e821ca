/* SPDX-License-Identifier: Apache-2.0 */
/* Computes the journal's links.  What is summed up is written out byte by byte,
 * numbers as 8 bytes with the lowest first and texts behind their length, so
 * that no two rows give the same bytes and a file may move between machines.
 * Nettle is used because it needs neither a start nor memory of its own, and
 * can't fail.  What the chain is for, and what not, is in
 * docs/decisions/0015-the-journals-chain.md.  Called by broker/journal/ only.
 */
#include "broker/journal/chain.h"

#include <nettle/sha2.h>
#include <stdio.h>
#include <string.h>

#include "broker/journal/journal.h"

static void
sum_number(struct sha256_ctx *sum, uint64_t number)
{
    uint8_t bytes[8];

    for (unsigned i = 0; i < sizeof bytes; i++) {
        bytes[i] = (uint8_t)(number >> (8 * i));
    }
    sha256_update(sum, sizeof bytes, bytes);
}

static void
sum_bytes(struct sha256_ctx *sum, const void *bytes, size_t size)
{
    sum_number(sum, size);
    sha256_update(sum, size, bytes);
}

static void
begin(struct sha256_ctx *sum, const char *what, const struct chain *before)
{
    sha256_init(sum);
    sum_bytes(sum, what, strlen(what));
    sha256_update(sum, CHAIN_SIZE, before->byte);
}

void
chain_row(struct chain *out, const struct chain *before,
          const struct journal_row *row)
{
    struct sha256_ctx sum;

    begin(&sum, "mbroker row 1", before);
    sum_number(&sum, row->id);
    sum_number(&sum, row->cause);
    sum_number(&sum, row->command);
    sum_number(&sum, row->kind);
    sum_number(&sum, (uint64_t)row->time);
    sum_number(&sum, (uint64_t)row->wall_ns);
    sum_bytes(&sum, row->subject, strlen(row->subject));
    sum_bytes(&sum, row->name, strlen(row->name));
    sum_bytes(&sum, row->detail, strlen(row->detail));
    sha256_digest(&sum, CHAIN_SIZE, out->byte);
}

void
chain_input(struct chain *out, const struct chain *before,
            const struct journal_input *input)
{
    struct sha256_ctx sum;

    begin(&sum, "mbroker input 1", before);
    sum_number(&sum, input->id);
    sum_number(&sum, input->whole);
    sum_number(&sum, (uint64_t)input->time);
    sum_number(&sum, (uint64_t)input->wall_ns);
    sum_bytes(&sum, input->data, input->size);
    sha256_digest(&sum, CHAIN_SIZE, out->byte);
}

void
chain_bytes(struct chain *out, const void *bytes, size_t size)
{
    struct sha256_ctx sum;

    sha256_init(&sum);
    sum_bytes(&sum, bytes, size);
    sha256_digest(&sum, CHAIN_SIZE, out->byte);
}

bool
chain_equal(const struct chain *a, const struct chain *b)
{
    return !memcmp(a->byte, b->byte, CHAIN_SIZE);
}

void
chain_format(const struct chain *chain, char out[CHAIN_TEXT_SIZE])
{
    for (size_t i = 0; i < CHAIN_SIZE; i++) {
        snprintf(out + 2 * i, 3, "%02x", chain->byte[i]);
    }
}
