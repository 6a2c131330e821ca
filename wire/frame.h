/* SPDX-License-Identifier: Apache-2.0 */
/* Frames: how records travel on a byte stream, and what HELLO, BYE, ACK
 * and SKIP carry on any transport.
 *
 * Each direction of an attachment opens with a preamble that states a random
 * sync word; every frame after it starts with that word, so that what a byte
 * stream kept from an earlier attachment can't be taken for a frame of this
 * one.  All numbers are little-endian.
 *
 *   preamble  0  "mchan" 0 0 1   8 bytes, the last is the version
 *             8  sync            u32
 *            12  crc             u32, CRC32C of bytes 0..11
 *
 *   frame     0  sync            u32
 *             4  crc             u32, CRC32C of bytes 8..
 *             8  record header   16 bytes, base/record.h
 *            24  payload         'size' bytes
 */
#ifndef WIRE_FRAME_H
#define WIRE_FRAME_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/record.h"

#define FRAME_PREAMBLE_SIZE 16
#define FRAME_HEADER_SIZE 24
#define FRAME_PAYLOAD_MAX 65536
#define FRAME_HELLO_MAX 4096    /* Payload of any frame before HELLO. */
#define FRAME_SEARCH_MAX 131072 /* Bytes passed over to find a preamble. */

#define HELLO_SIZE 64
#define HELLO_SIZE_MIN 48  /* What is behind that is zero in older ones. */
#define HELLO_UNSETTLED 1u /* Flag, see struct hello. */
#define HELLO_VERSION 1
#define HELLO_MESSAGE_MIN 256 /* Least message_max that is accepted. */
/* Number of the last message sent. */
#define BYE_SIZE 8
/* Number of the last message done with, and how many records of any kind but
 * HELLO, BYE and ACK that makes in this attachment. */
#define ACK_SIZE 16
/* Number of the last message that won't come; the first is the record's. */
#define SKIP_SIZE 8
#define SETTLED_SIZE 32

/* HELLO: 0 version u16, 2 flags u16, 4 message_max u32, 8 session u64,
 * 16 attachment u32, 20 mark u32, 24 sent u64, 32 delivered u64,
 * 40 loan_bytes u64, 48 acked u64, 56 agreed u32, 60 zero u32.  Longer ones are
 * accepted and the rest ignored, for later versions. */
struct hello {
    uint32_t message_max; /* Largest message the sender can take and give. */
    uint64_t session;     /* 0: has none. */
    uint32_t attachment;  /* The guest: its last; the MVM: this one. */
    uint64_t sent;        /* Number of the last reliable message sent. */
    uint64_t delivered;   /* And of the last one given to the user. */
    uint64_t loan_bytes;  /* It may lend and be lent this much; 0: nothing. */
    /* The MVM's end does not know the session yet; what it says of numbers
     * counts only when RECORD_SETTLED comes.  Until then nothing reliable. */
    bool unsettled;
    /* What this attachment is called, once it is settled: by chance, so that
     * the guest's last says whose memory of the session is right, and whether
     * it was set back.  The guest says the last that it knows; 0: it does not
     * say. */
    uint32_t mark;
    uint64_t acked;  /* What it sent up to here it does not have any more. */
    uint32_t agreed; /* The largest message of this session; 0: no session. */
};

/* SETTLED: 0 forgot u32, 4 message_max u32, 8 sent u64, 16 delivered u64,
 * 24 mark u32, 28 zero u32. */
struct settled {
    bool forgot; /* Nobody knows what the session was before. */
    uint32_t message_max;
    uint32_t mark;            /* As in HELLO. */
    uint64_t sent, delivered; /* As in HELLO. */
};

uint32_t frame_crc32c(uint32_t crc, const void *data, size_t size);

void frame_put_preamble(uint8_t out[FRAME_PREAMBLE_SIZE], uint32_t sync);
/* Writes the header of a frame whose payload is 'data'. */
void frame_put_header(uint8_t out[FRAME_HEADER_SIZE], uint32_t sync,
                      const struct record *record, const void *data);

/* Finds frames in the bytes of one direction of one attachment. */
struct frame_reader {
    uint32_t sync;
    uint32_t payload_max; /* Larger frames are refused. */
    uint32_t n_searched;  /* Bytes passed over for the preamble. */
    bool synced;          /* The preamble was found. */
};

void frame_reader_init(struct frame_reader *, uint32_t payload_max);

enum frame_found {
    FRAME_FOUND_NOTHING,  /* More bytes are needed. */
    FRAME_FOUND_PREAMBLE, /* '*used' covers it and what was before it. */
    FRAME_FOUND_RECORD,   /* '*record' is set; its payload is the last
                             record->size bytes of '*used'. */
    FRAME_FOUND_GARBAGE,  /* -EPROTO, for the reason in '*why'. */
};

/* Looks at the first bytes not yet used.  '*used' is how many of them the
 * caller may forget, also when nothing was found.  'why' is a constant. */
enum frame_found frame_read(struct frame_reader *, const uint8_t *data,
                            size_t size, size_t *used, struct record *record,
                            const char **why);

void frame_put_hello(uint8_t out[HELLO_SIZE], const struct hello *);
/* 0 or -EPROTO with a constant 'why'; '*out' is untouched on failure. */
int frame_get_hello(struct hello *out, const void *data, size_t size,
                    const char **why);
/* Of the others. */
void frame_put_settled(uint8_t out[SETTLED_SIZE], const struct settled *);
/* 0 or -EPROTO with a constant 'why'. */
int frame_get_settled(struct settled *out, const void *data, size_t size,
                      const char **why);
void frame_put_u64(uint8_t out[8], uint64_t value);
uint64_t frame_u64(const uint8_t data[8]);
int frame_get_u64(uint64_t *out, const void *data, size_t size);

#endif
