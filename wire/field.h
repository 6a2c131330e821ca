/* SPDX-License-Identifier: Apache-2.0 */
/* A struct's members described as data, and one encoder and decoder for all
 * structs so described.  On the wire a struct is a CBOR map from the members'
 * keys to their values. */
#ifndef WIRE_FIELD_H
#define WIRE_FIELD_H

#include <stddef.h>
#include <stdint.h>

struct cbor_in;
struct cbor_out;

#define FIELDS_MAX 64       /* Members of one struct. */
#define FIELDS_PAIRS_MAX 64 /* Pairs a map may have, unknown keys included. */

enum field_kind {
    FIELD_KIND_UNSIGNED, /* uint64_t in [low, high]. */
    FIELD_KIND_SIGNED,   /* int64_t in [low, high]. */
    FIELD_KIND_TEXT,     /* char[max_text + 1], printable UTF-8. */
    FIELD_KIND_TYPE,     /* char[max_text + 1], text_is_type(). */
    FIELD_KIND_BYTES,    /* uint8_t[max_n], behind a count like a list's. */
    FIELD_KIND_UUID,     /* struct uuid. */
    FIELD_KIND_NUMBERS,  /* uint64_t[max_n], each in [0, high]. */
    FIELD_KIND_TEXTS,    /* char[max_n][max_text + 1]. */
};

struct field {
    const char *name;
    enum field_kind kind;
    uint64_t key;
    unsigned since;     /* The version that brought it. */
    uint64_t low, high; /* For signed ones, converted. */
    uint32_t max_n;     /* Members of a list, or bytes. */
    uint32_t max_text;  /* Bytes of a text. */
    size_t offset;
    size_t n_offset; /* Of the uint32_t count of a list or of bytes. */
};

struct fields {
    const char *name; /* Of the whole, for messages to people. */
    unsigned since;   /* The version that brought the whole. */
    const struct field *field;
    size_t n;
    size_t size; /* Of the struct. */
};

/* Writes 'object' for a peer that speaks 'version'.  Returns 0, -ENOSPC, or
 * -ERANGE if a member is out of its limits, with 'why' (may be null) saying
 * which. */
int fields_encode(const struct fields *, unsigned version, const void *object,
                  struct cbor_out *out, char *why, size_t why_size);

/* Writes all members as "name=value name=value", cut to 'size'; returns the
 * length it would have had. */
size_t fields_format(const struct fields *, const void *object, char *out,
                     size_t size);

/* Reads a whole input into 'object', which the caller has zeroed.  Unknown keys
 * are skipped.  Returns 0, or -EPROTO with 'why' naming struct, member, value
 * and limit; then 'object' is half filled. */
int fields_decode(const struct fields *, unsigned version, struct cbor_in *in,
                  void *object, char *why, size_t why_size);

#endif
