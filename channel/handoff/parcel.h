/* SPDX-License-Identifier: Apache-2.0 */
/* A session's memory as bytes, for the end that takes it over: its numbers, and
 * the messages of ours that the peer did not acknowledge.  mchan_export()
 * writes one and mchan_import() reads it, perhaps on another host, so nothing
 * in it is believed.  All numbers are little-endian.
 *
 *   head     0  "mprc"           u32
 *            4  version 1        u16
 *            6  zero             u16
 *            8  size             u32, of the whole
 *           12  crc              u32, CRC32C of bytes 16..
 *           16  session          u64, not 0
 *           24  attachment       u32, the last
 *           28  mark             u32, not 0, what that was called
 *           32  sent             u64
 *           40  acked            u64
 *           48  delivered        u64
 *           56  done             u64
 *           64  message_max      u32, agreed upon for the session
 *           68  n_records        u32
 *           72  former           u32, the mark before, if the peer may not
 *                                have seen the last; else 0
 *           76  earlier          u32, one more mark that it may know, or 0
 *           80  repeated_to      u64, the peer's: up to here it may have been
 *                                given out before
 *
 *   record   0  size             u32, bytes behind this header
 *            4  kind             u8, enum parcel_kind
 *            5  zero             u8
 *            6  tag              u16
 *            8  sequence         u64
 *           16  to               u64, the same; of a skip, the last skipped
 *           24  the bytes, and zeros up to a multiple of 8
 *
 * The records are those from acked + 1 to sent, in order and without a hole. */
#ifndef CHANNEL_HANDOFF_PARCEL_H
#define CHANNEL_HANDOFF_PARCEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define PARCEL_HEAD_SIZE 88
#define PARCEL_RECORD_SIZE 24
#define PARCEL_SIZE_MAX (16u << 20)
/* The highest attachment that anybody may claim. */
#define PARCEL_ATTACHMENT_MAX 0x7fffffffu

struct parcel {
    uint64_t session;
    uint32_t attachment, mark, former, earlier;
    uint64_t sent, acked, delivered, done;
    uint32_t message_max;
    uint64_t repeated_to;
};

enum parcel_kind {
    PARCEL_MESSAGE = 1, /* A reliable one. */
    PARCEL_SKIP,        /* Messages that can't be sent again. */
};

struct parcel_record {
    uint32_t size;
    uint8_t kind;
    uint16_t tag;
    uint64_t sequence, to;
};

/* Writes as far as there is room and counts on, so that a first pass over no
 * room tells what the second needs. */
struct parcel_writer {
    uint8_t *data; /* Borrowed. */
    size_t room, size;
    uint32_t n_records;
};

void parcel_begin(struct parcel_writer *, void *data, size_t room,
                  const struct parcel *);
void parcel_add(struct parcel_writer *, const struct parcel_record *,
                const void *data);
/* The whole's size; only if that is not more than the room was it written. */
size_t parcel_end(struct parcel_writer *);

struct parcel_reader {
    struct parcel head;
    const uint8_t *data; /* Borrowed. */
    size_t size, at;
};

/* Checks the whole.  0 or -EPROTO with a constant 'why'. */
int parcel_open(struct parcel_reader *, const void *data, size_t size,
                const char **why);
/* The bytes of the next record, or null behind the last. */
const uint8_t *parcel_next(struct parcel_reader *, struct parcel_record *out);

#endif
