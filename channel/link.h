/* SPDX-License-Identifier: Apache-2.0 */
/* One attachment's transport, seen as records in two directions, whether they
 * lie in rings that the peer maps or become frames on a byte stream.  A stream
 * has a ring of our own as its window, so that in both cases a message stays
 * where it was written until it is acknowledged. */
#ifndef CHANNEL_LINK_H
#define CHANNEL_LINK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/record.h"
#include "channel/replay/window.h"
#include "transport/ring.h"
#include "transport/transport.h"
#include "wire/frame.h"

#define LINK_CONTROL_SIZE 256 /* Preamble, HELLO, BYE and some ACKs. */
#define LINK_READ_MAX (1u << 20)

struct link {
    struct transport *transport; /* Borrowed; null: no link. */
    bool streams;
    bool ended;    /* The peer closed, and all it wrote was read. */
    bool said_bye; /* Nothing may follow the peer's BYE. */
    uint64_t n_wakes;
    struct ring_tx tx; /* The shared ring, or the window. */
    struct ring_rx rx; /* Rings only. */
    uint64_t asked;    /* Position in it before which we are through. */

    /* The rest is for streams only. */
    uint8_t *window;   /* Owned; tx.data. */
    uint64_t flushed;  /* Position in the window up to which all is sent. */
    size_t frame_sent; /* Bytes of the frame at 'flushed' that are sent. */
    uint32_t sync;     /* Of our direction. */
    size_t control_size, control_sent;
    uint8_t control[LINK_CONTROL_SIZE]; /* Frames that pass the window by. */
    uint64_t n_taken, n_asked, n_told;  /* Theirs: records, as of released. */
    uint64_t done_bytes, told_bytes;
    /* Ours: what they say they are through with, and what we made of that. */
    uint64_t peer_acked, peer_released, n_released;
    struct frame_reader reader;
    bool opened;     /* Their HELLO was judged: more may be read. */
    bool saw_hello;  /* Reading stops behind it until link_open(). */
    uint8_t *buffer; /* Owned.  start..parsed: whole frames. */
    size_t buffer_size, start, parsed, end;
    uint64_t n_frames; /* Parsed so far. */
};

/* 'transport' has a link that stands; streams begin with 'sync'.  Returns 0 or
 * -ENOMEM. */
int link_init(struct link *, struct transport *, uint32_t ring_size,
              uint32_t sync);
void link_fini(struct link *);

/* Bytes that the link takes: its rings, or its window and buffer. */
size_t link_memory(const struct link *);

/* The largest message that the link can carry. */
uint32_t link_message_max(const struct link *);
/* HELLO was judged: messages up to 'message_max' may come. */
void link_open(struct link *, uint32_t message_max);

/* Writes a message or, with link_put_control(), HELLO or BYE.  0, or -EAGAIN
 * when there is no room.  link_flush() sends what was put; 0, -EAGAIN if not
 * all went, or another -Exxx when the link is over. */
static inline int link_put(struct link *, const struct record *,
                           const void *data);
int link_put_control(struct link *, uint8_t kind, const void *data,
                     uint32_t size);
static inline int link_flush(struct link *);
static inline bool link_has_room(const struct link *, uint32_t size);
/* The same in two steps: where 'size' bytes may be written, or null when there
 * is no room; then that, with as many of them as the record says. */
uint8_t *link_reserve(struct link *, uint32_t size);
void link_commit(struct link *, const struct record *, uint32_t reserved);

/* Takes in what a stream has brought, at most LINK_READ_MAX bytes at a time, as
 * far as there is room.  0, or -EPROTO with a constant 'why'. */
int link_read(struct link *, const char **why);
/* True if link_read() would find more. */
bool link_has_more(const struct link *);
/* Bytes of a frame that has begun and not ended, though all that came was read;
 * 0 if there is none. */
size_t link_unfinished(const struct link *);

/* 1 with the next message, HELLO or BYE; 0 if there is none; -EPROTO with a
 * constant 'why', and 'out' is then of no use. */
static inline int link_peek(struct link *, struct record *out,
                            const char **why);
/* Of rings: true if link_peek() may find more than nothing. */
static inline bool
link_may_peek(const struct link *link)
{
    return ring_rx_is_written(&link->rx);
}

/* The payload of the record that link_peek() returned, where it lies: in a ring
 * the peer may change it at any time.  link_pass() goes on behind it; it stays
 * where it is until link_acknowledge() gives back what was asked for, or more
 * is read. */
static inline const uint8_t *link_payload(const struct link *,
                                          const struct record *);
static inline void link_pass(struct link *, const struct record *);
/* The last notice (RECORD_SUSPEND or RECORD_RESUME) among all that came and was
 * not passed yet: true if there is one and no goodbye.  For a link that is
 * over; in a ring the peer may change what is passed later. */
bool link_find_notice(const struct link *, struct record *out);
/* Copies the payload, and goes on. */
void link_take(struct link *, const struct record *, void *to);

/* We are through with all records taken so far. */
static inline void link_asked(struct link *);
/* Tells the peer so, and 'done' as the number of the last message among
 * them. */
void link_acknowledge(struct link *, uint64_t done);
/* True if it is so much that the peer should be told without being asked. */
static inline bool link_owes(const struct link *);
/* Takes back the room of what the peer is through with.  0, with the number of
 * the last message among that in '*out', unchecked; or -EPROTO. */
int link_acked(struct link *, uint64_t *out, const char **why);

/* Copies what was put and is numbered from 'first' to 'last' into a window, as
 * kept since 'now'.  In a ring the peer can write where our messages lie, so
 * what is not as we put it is replaced by a skip.  0 or -ENOMEM. */
int link_salvage(const struct link *, uint64_t first, uint64_t last, nsec_t now,
                 struct window *out);

/* Positions in what we put.  link_head() is where what is put next will lie, or
 * a little before; link_is_released() says if the peer is through with all
 * before a position. */
uint64_t link_head(const struct link *);
bool link_is_released(const struct link *, uint64_t position);
/* How far the peer must be, so that 'size' bytes fit. */
uint64_t link_position_for(const struct link *, uint32_t size);

/* Of rings: asks for a wake when there is something to read or when the peer is
 * through with everything before 'position', if it is not yet.  To be followed
 * by a last look at both.  0, or -Exxx if that look can't be relied upon this
 * once.
 */
int link_arm(struct link *, uint64_t position);

#include "channel/linkfast.h"

#endif
