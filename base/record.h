/* SPDX-License-Identifier: Apache-2.0 */
/* The 16-byte header of everything that travels in an M-channel, the same in a
 * ring of shared memory and in a frame on a byte stream:
 *
 *   offset 0  size        u32  bytes of payload behind the header
 *          4  kind        u8   enum record_kind; never 0
 *          5  flags       u8   RECORD_REPEATED or 0
 *          6  tag         u16  the user's
 *          8  sequence    u32  low half of the session's number; 0: unnumbered
 *                              (RECORD_LATEST: its key)
 *         12  attachment  u32  of the session; 0 in HELLO
 *
 * all little-endian.  In a ring the first eight bytes are one word, and storing
 * it is what commits the record. */
#ifndef BASE_RECORD_H
#define BASE_RECORD_H

#include <endian.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

enum record_kind {
    RECORD_NONE,     /* A header not yet written. */
    RECORD_RELIABLE, /* A message, in order, acknowledged. */
    RECORD_HELLO,    /* Opens an attachment. */
    RECORD_BYE,      /* Ends a session in good order. */
    RECORD_ACK,      /* Frames only: what the receiver is done with. */
    RECORD_PAD,      /* Rings only: the rest up to the ring's end. */
    RECORD_LATEST,   /* A message of which the newest per key counts. */
    RECORD_DATAGRAM, /* A message that may be lost. */
    RECORD_LOAN,     /* A reliable message, its bytes in lent memory. */
    RECORD_SUSPEND,  /* The sender's VM is about to move. */
    RECORD_RESUME,   /* It did not, or it is over. */
    RECORD_SETTLED,  /* What a HELLO could not yet say of the session. */
    RECORD_SKIP,     /* The sender's messages up to a number won't come. */
    RECORD_N_KINDS,
};

/* Flag of a message: it may have been received before. */
#define RECORD_REPEATED 1u

#define RECORD_HEADER_SIZE 16

struct record {
    uint32_t size;
    uint8_t kind;
    uint8_t flags;
    uint16_t tag;
    uint32_t sequence;
    uint32_t attachment;
};

/* Numbered records are in order, acknowledged, and kept until they are. */
static inline bool
record_is_numbered(uint8_t kind)
{
    return kind == RECORD_RELIABLE || kind == RECORD_LOAN;
}

/* On a little-endian machine the words are the structure's bytes; taking them
 * apart and together again would cost a stalled load each time. */
_Static_assert(sizeof(struct record) == RECORD_HEADER_SIZE, "no padding");

static inline uint64_t
record_first_word(const struct record *record)
{
    return htole64(record->size | (uint64_t)record->kind << 32 |
                   (uint64_t)record->flags << 40 | (uint64_t)record->tag << 48);
}

static inline uint64_t
record_second_word(const struct record *record)
{
    return htole64(record->sequence | (uint64_t)record->attachment << 32);
}

static inline void
record_get_words(struct record *out, uint64_t first, uint64_t second)
{
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
    memcpy(out, &first, sizeof first);
    memcpy((uint8_t *)out + sizeof first, &second, sizeof second);
#else
    first = le64toh(first);
    second = le64toh(second);
    out->size = (uint32_t)first;
    out->kind = (uint8_t)(first >> 32);
    out->flags = (uint8_t)(first >> 40);
    out->tag = (uint16_t)(first >> 48);
    out->sequence = (uint32_t)second;
    out->attachment = (uint32_t)(second >> 32);
#endif
}

static inline struct record
record_from_words(uint64_t first, uint64_t second)
{
    struct record record;
    record_get_words(&record, first, second);
    return record;
}

#endif
