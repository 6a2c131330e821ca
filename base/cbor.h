/* SPDX-License-Identifier: Apache-2.0 */
/* Bounded writing and reading of CBOR (RFC 8949) by libcbor's low-level calls,
 * without allocation.  A writer or reader that failed once stays failed, so a
 * caller checks at the end. */
#ifndef BASE_CBOR_H
#define BASE_CBOR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define CBOR_DEPTH_MAX 16 /* Nesting a reader follows, also when it skips. */

struct cbor_out {
    uint8_t *data; /* Borrowed. */
    size_t size, used;
    int error; /* 0 or -ENOSPC. */
};

struct cbor_in {
    const uint8_t *data; /* Borrowed. */
    size_t size, used;
    int error; /* 0 or -EPROTO. */
};

void cbor_out_init(struct cbor_out *, void *data, size_t size);
void cbor_put_u64(struct cbor_out *, uint64_t);
void cbor_put_i64(struct cbor_out *, int64_t);
void cbor_put_text(struct cbor_out *, const char *);
void cbor_put_bytes(struct cbor_out *, const void *, size_t);
void cbor_put_array(struct cbor_out *, size_t n);
void cbor_put_map(struct cbor_out *, size_t n_pairs);

enum cbor_kind {
    CBOR_KIND_NONE, /* The end, a cut-off item, or no CBOR. */
    CBOR_KIND_UINT,
    CBOR_KIND_NEGINT, /* -1 minus its value. */
    CBOR_KIND_TEXT,
    CBOR_KIND_BYTES,
    CBOR_KIND_ARRAY,
    CBOR_KIND_MAP,
    CBOR_KIND_OTHER, /* Float, tag, true, null, indefinite length, … */
};

void cbor_in_init(struct cbor_in *, const void *data, size_t size);
/* What comes next, without stepping over it or failing; '*value_out' (may be
 * null) gets the number, or the length in bytes, members or pairs. */
enum cbor_kind cbor_peek(const struct cbor_in *, uint64_t *value_out);
/* Each returns the value, or 0 with 'error' set.  Only definite lengths, whole
 * numbers, text and bytes are read; the rest of CBOR can only be skipped. */
uint64_t cbor_get_u64(struct cbor_in *);
int64_t cbor_get_i64(struct cbor_in *);
/* Copies at most size-1 bytes of text and terminates it; longer text, invalid
 * UTF-8 or an embedded null is an error.  Returns the length. */
size_t cbor_get_text(struct cbor_in *, char *out, size_t size);
/* Copies exactly 'size' bytes. */
void cbor_get_bytes(struct cbor_in *, void *out, size_t size);
size_t cbor_get_array(struct cbor_in *, size_t max);
size_t cbor_get_map(struct cbor_in *, size_t max_pairs);
/* Steps over one item whatever it is, no deeper than CBOR_DEPTH_MAX.  Simple
 * values without a meaning (RFC 8949, 3.3) are an error. */
void cbor_skip(struct cbor_in *);
/* All was read and nothing failed. */
bool cbor_in_done(const struct cbor_in *);

#endif
