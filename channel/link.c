/* SPDX-License-Identifier: Apache-2.0 */
/* Records over rings and over streams; see link.h.  On a stream frames are read
 * ahead of the user into one buffer, so that an acknowledgement is never stuck
 * behind messages that he does not take; they are checked there once and given
 * out from there.  What came from a ring is copied before anybody looks at it;
 * its header was copied by ring.c.  Called by mchan.c and by
 * the other parts of a channel that send. */
#include "channel/link.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define FRAMES_AT_ONCE 16

int
link_init(struct link *link, struct transport *transport, uint32_t ring_size,
          uint32_t sync)
{
    memset(link, 0, sizeof *link);
    link->streams = transport->class->send;
    if (!link->streams) {
        transport->class->rings(transport, &link->tx, &link->rx);
        link->transport = transport;
        return 0;
    }
    /* A frame is at most half longer than its record, so all that the peer may
     * have in flight fits, and one frame more. */
    link->buffer_size = ring_size + ring_size / 2 + FRAME_HEADER_SIZE +
                        FRAME_HELLO_MAX + ring_message_max(ring_size);
    link->window = aligned_alloc(RING_LINE, ring_size);
    link->buffer = malloc(link->buffer_size);
    if (!link->window || !link->buffer) {
        link_fini(link);
        return -ENOMEM;
    }
    memset(link->window, 0, RECORD_HEADER_SIZE);
    ring_tx_init(&link->tx, link->window, ring_size, NULL, NULL);
    frame_reader_init(&link->reader, FRAME_HELLO_MAX);
    link->sync = sync;
    frame_put_preamble(link->control, sync);
    link->control_size = FRAME_PREAMBLE_SIZE;
    link->transport = transport;
    return 0;
}

void
link_fini(struct link *link)
{
    free(link->window);
    free(link->buffer);
    memset(link, 0, sizeof *link);
}

size_t
link_memory(const struct link *link)
{
    if (!link->transport) {
        return 0;
    }
    size_t theirs = link->streams ? link->buffer_size : link->rx.size;

    return link->tx.size + theirs;
}

uint32_t
link_message_max(const struct link *link)
{
    return ring_message_max(link->tx.size);
}

void
link_open(struct link *link, uint32_t message_max)
{
    link->reader.payload_max =
        message_max > FRAME_HELLO_MAX ? message_max : FRAME_HELLO_MAX;
    link->opened = true;
}

/* Writing. */

uint8_t *
link_reserve(struct link *link, uint32_t size)
{
    /* What is lent may be written on, zeroed headers included. */
    link->tx.zeroed = UINT64_MAX;
    return ring_tx_reserve(&link->tx, size);
}

void
link_commit(struct link *link, const struct record *record, uint32_t reserved)
{
    const uint8_t *from = ring_tx_reserve(&link->tx, reserved);
    uint8_t *to = ring_tx_reserve(&link->tx, record->size);
    if (to != from) {
        /* Less fits before the ring's end. */
        memmove(to, from, record->size);
    }
    ring_tx_commit(&link->tx, record);
}

int
link_put_control(struct link *link, uint8_t kind, const void *data,
                 uint32_t size)
{
    struct record record = {.size = size, .kind = kind};
    if (!link->streams) {
        return link_put(link, &record, data);
    }
    size_t needed = FRAME_HEADER_SIZE + (size_t)size;
    if (link->control_sent == link->control_size) {
        link->control_sent = link->control_size = 0;
    }
    if (link->control_size + needed > sizeof link->control) {
        return -EAGAIN;
    }
    uint8_t *to = link->control + link->control_size;
    frame_put_header(to, link->sync, &record, data);
    memcpy(to + FRAME_HEADER_SIZE, data, size);
    link->control_size += needed;
    return 0;
}

/* The record at a position of the window, which is ours and can be believed. */
static struct record
window_record(const struct link *link, uint64_t position)
{
    uint64_t words[2];
    memcpy(words, link->window + (position & (link->tx.size - 1)),
           sizeof words);
    return record_from_words(words[0], words[1]);
}

/* A turn of sending: what of control and window goes out next. */
struct batch {
    int n_iov, n_frames;
    struct iovec iov[1 + 2 * FRAMES_AT_ONCE];
    uint8_t headers[FRAMES_AT_ONCE][FRAME_HEADER_SIZE];
    size_t frame_sizes[FRAMES_AT_ONCE]; /* 0: a pad. */
    uint64_t ends[FRAMES_AT_ONCE];      /* Positions behind the frames. */
};

static void
batch_add(struct batch *batch, const void *data, size_t size, size_t skip)
{
    if (skip < size) {
        struct iovec *iov = &batch->iov[batch->n_iov++];
        iov->iov_base = (uint8_t *)(uintptr_t)data + skip;
        iov->iov_len = size - skip;
    }
}

static void
batch_add_frame(struct batch *batch, const struct link *link, uint64_t position,
                size_t skip)
{
    struct record record = window_record(link, position);
    int n = batch->n_frames++;
    batch->ends[n] = position + ring_record_size(record.size);
    batch->frame_sizes[n] = 0;
    if (record.kind == RECORD_PAD) {
        return;
    }
    const uint8_t *payload =
        link->window + (position & (link->tx.size - 1)) + RECORD_HEADER_SIZE;
    frame_put_header(batch->headers[n], link->sync, &record, payload);
    batch->frame_sizes[n] = FRAME_HEADER_SIZE + (size_t)record.size;
    batch_add(batch, batch->headers[n], FRAME_HEADER_SIZE, skip);
    batch_add(batch, payload, record.size,
              skip > FRAME_HEADER_SIZE ? skip - FRAME_HEADER_SIZE : 0);
}

/* Control goes between frames, never inside one. */
static void
batch_fill(struct batch *batch, const struct link *link)
{
    batch->n_iov = batch->n_frames = 0;
    size_t skip = link->frame_sent;
    if (!skip) {
        batch_add(batch, link->control, link->control_size, link->control_sent);
    }
    uint64_t position = link->flushed;
    while (position != link->tx.head && batch->n_frames < FRAMES_AT_ONCE) {
        batch_add_frame(batch, link, position, skip);
        position = batch->ends[batch->n_frames - 1];
        skip = 0;
    }
}

/* Takes note of 'sent' bytes having gone. */
static void
batch_went(const struct batch *batch, struct link *link, size_t sent)
{
    if (!link->frame_sent) {
        size_t control = link->control_size - link->control_sent;
        size_t part = sent < control ? sent : control;
        link->control_sent += part;
        sent -= part;
        if (part < control) {
            return;
        }
    }
    for (int i = 0; i < batch->n_frames; i++) {
        size_t left = batch->frame_sizes[i] - link->frame_sent;
        if (batch->frame_sizes[i] && sent < left) {
            link->frame_sent += sent;
            return;
        }
        sent -= batch->frame_sizes[i] ? left : 0;
        link->frame_sent = 0;
        link->flushed = batch->ends[i];
    }
}

int
link_flush_stream(struct link *link)
{
    while (link->flushed != link->tx.head ||
           link->control_sent < link->control_size) {
        struct batch batch;
        batch_fill(&batch, link);
        assert(batch.n_iov); /* A pad is not alone: a record is behind it. */
        ssize_t sent = link->transport->class->send(link->transport, batch.iov,
                                                    batch.n_iov);
        if (sent < 0) {
            return (int)sent;
        }
        batch_went(&batch, link, (size_t)sent);
    }
    return 0;
}

/* Reading a stream. */

static void
make_room(struct link *link)
{
    if (link->start == link->end) {
        link->start = link->parsed = link->end = 0;
    } else if (link->start && link->end == link->buffer_size) {
        memmove(link->buffer, link->buffer + link->start,
                link->end - link->start);
        link->parsed -= link->start;
        link->end -= link->start;
        link->start = 0;
    }
}

bool
link_has_more(const struct link *link)
{
    return link->streams && !link->ended &&
           link->transport->ready & TRANSPORT_LINK &&
           (link->start || link->end < link->buffer_size);
}

size_t
link_unfinished(const struct link *link)
{
    if (!link->streams || link->transport->ready & TRANSPORT_LINK) {
        return 0;
    }
    return link->end - link->parsed;
}

/* Reads what there is room for.  Returns how much that was. */
static size_t
fill(struct link *link)
{
    make_room(link);
    if (!link_has_more(link)) {
        return 0;
    }
    size_t room = link->buffer_size - link->end;
    ssize_t got = link->transport->class->recv(link->transport,
                                               link->buffer + link->end, room);
    if (got == -EAGAIN) {
        return 0;
    }
    if (got <= 0) {
        link->ended = true;
        return 0;
    }
    link->end += (size_t)got;
    return (size_t)got;
}

/* Each says more than the one before, so that there can't be more of them than
 * of our messages: no flood of ACKs, which nobody would count. */
static int
check_ack(struct link *link, const struct record *record,
          const uint8_t *payload, const char **why)
{
    if (record->size != ACK_SIZE) {
        *why = "ACK of a wrong size";
        return -EPROTO;
    }
    uint64_t acked = frame_u64(payload), released = frame_u64(payload + 8);
    if (released <= link->peer_released || acked < link->peer_acked) {
        *why = "ACK of nothing new";
        return -EPROTO;
    }
    link->peer_acked = acked;
    link->peer_released = released;
    return 0;
}

/* What may come, and with flags only where they mean something. */
int
link_check_kind(const struct link *link, const struct record *record,
                const char **why)
{
    const unsigned foreign = 1u << RECORD_NONE | 1u << RECORD_PAD |
                             (link->streams ? 0 : 1u << RECORD_ACK);
    const unsigned flagged =
        1u << RECORD_RELIABLE | 1u << RECORD_LATEST | 1u << RECORD_LOAN;
    if (record->kind >= RECORD_N_KINDS || foreign >> record->kind & 1) {
        *why = "record of an unknown kind";
        return -EPROTO;
    }
    if (record->flags &&
        (record->flags != RECORD_REPEATED || !(flagged >> record->kind & 1))) {
        *why = "record with unknown flags";
        return -EPROTO;
    }
    if (link->said_bye) {
        *why = "record after BYE";
        return -EPROTO;
    }
    return 0;
}

static int
check_frame(struct link *link, const struct record *record,
            const uint8_t *payload, const char **why)
{
    int error = link_check_kind(link, record, why);
    if (!error && record->kind == RECORD_ACK) {
        return check_ack(link, record, payload, why);
    }
    link->saw_hello |= record->kind == RECORD_HELLO;
    link->said_bye |= record->kind == RECORD_BYE;
    return error;
}

/* Checks the frames behind 'parsed', and moves each back over the ACKs that lay
 * before it: these were taken note of, and must not fill the buffer while the
 * user leaves a message.  '*gone' becomes the length of the gap before
 * 'parsed'. Stops behind HELLO, since what may follow depends on it. */
static int
parse_frames(struct link *link, size_t *gone, const char **why)
{
    while (link->parsed < link->end && (!link->saw_hello || link->opened)) {
        struct record record;
        size_t used;
        uint8_t *data = link->buffer + link->parsed;
        bool behind = link->start < link->parsed;
        switch (frame_read(&link->reader, data, link->end - link->parsed, &used,
                           &record, why)) {
        case FRAME_FOUND_GARBAGE:
            return -EPROTO;
        case FRAME_FOUND_NOTHING:
            link->parsed += used;
            *gone += behind ? used : 0;
            link->start = behind ? link->start : link->parsed;
            return 0;
        case FRAME_FOUND_PREAMBLE:
            link->parsed += used;
            link->start = link->parsed;
            *gone = 0;
            continue;
        case FRAME_FOUND_RECORD:
            break;
        }
        link->n_frames++;
        int error = check_frame(link, &record, data + used - record.size, why);
        if (error) {
            return error;
        }
        link->parsed += used;
        if (record.kind != RECORD_ACK) {
            memmove(data - *gone, data, used);
        } else if (behind) {
            *gone += used;
        } else {
            link->start = link->parsed;
        }
    }
    return 0;
}

static int
parse(struct link *link, const char **why)
{
    size_t gone = 0;
    int error = parse_frames(link, &gone, why);
    if (gone) {
        uint8_t *data = link->buffer + link->parsed;
        memmove(data - gone, data, link->end - link->parsed);
        link->parsed -= gone;
        link->end -= gone;
    }
    return error;
}

/* The header of a whole frame in the buffer, which was judged. */
static struct record
frame_at(const struct link *link, size_t at)
{
    uint64_t words[2];
    memcpy(words, link->buffer + at + 8, sizeof words);
    return record_from_words(words[0], words[1]);
}

/* 1 with the header of the first frame, which is for the user, or 0. */
static int
first_frame(const struct link *link, struct record *out)
{
    if (link->start == link->parsed) {
        return 0;
    }
    *out = frame_at(link, link->start);
    return 1;
}

int
link_read(struct link *link, const char **why)
{
    if (!link->streams) {
        return 0;
    }
    size_t total = 0, got;
    do {
        int error = parse(link, why);
        if (error) {
            return error;
        }
        got = fill(link);
        total += got;
    } while (got && total < LINK_READ_MAX);
    return got ? parse(link, why) : 0;
}

int
link_peek_stream(struct link *link, struct record *out, const char **why)
{
    if (first_frame(link, out)) {
        return 1;
    }
    int error = link_read(link, why);
    return error ? error : first_frame(link, out);
}

/* Reading. */

/* Keeps the last of a peer's notices; a goodbye makes them void. */
static void
note_notice(const struct record *record, struct record *last)
{
    if (record->kind == RECORD_SUSPEND || record->kind == RECORD_RESUME ||
        record->kind == RECORD_BYE) {
        *last = *record;
    }
}

static void
find_notice_in_ring(const struct link *link, struct record *last)
{
    struct ring_rx ahead = link->rx;
    struct record record;
    const char *unused;
    while (ahead.position - link->rx.position < ahead.size &&
           ring_rx_peek(&ahead, &record, &unused) == 1) {
        note_notice(&record, last);
        ring_rx_consume(&ahead, &record);
    }
}

static void
find_notice_in_stream(const struct link *link, struct record *last)
{
    for (size_t at = link->start; at < link->parsed;) {
        struct record record = frame_at(link, at);
        note_notice(&record, last);
        at += FRAME_HEADER_SIZE + (size_t)record.size;
    }
}

bool
link_find_notice(const struct link *link, struct record *out)
{
    struct record last = {.kind = RECORD_BYE};
    if (!link->said_bye && link->streams) {
        find_notice_in_stream(link, &last);
    } else if (!link->said_bye) {
        find_notice_in_ring(link, &last);
    }
    if (last.kind == RECORD_BYE) {
        return false;
    }
    *out = last;
    return true;
}

void
link_take(struct link *link, const struct record *record, void *to)
{
    memcpy(to, link_payload(link, record), record->size);
    link_pass(link, record);
}

/* Acknowledging. */

static void
acknowledge_ring(struct link *link, uint64_t done)
{
    if (ring_rx_release(&link->rx, link->asked, done)) {
        link->transport->class->wake(link->transport);
        link->n_wakes++;
    }
}

static void
acknowledge_stream(struct link *link, uint64_t done)
{
    if (link->n_asked == link->n_told) {
        return;
    }
    uint8_t data[ACK_SIZE];
    frame_put_u64(data, done);
    frame_put_u64(data + 8, link->n_asked);
    if (!link_put_control(link, RECORD_ACK, data, sizeof data)) {
        link->n_told = link->n_asked;
        link->told_bytes = link->done_bytes;
        /* What does not go now goes when there is room. */
        (void)link_flush(link);
    }
}

void
link_acknowledge(struct link *link, uint64_t done)
{
    if (link->streams) {
        acknowledge_stream(link, done);
    } else {
        acknowledge_ring(link, done);
    }
}

/* Frees as many records of the window as the peer says. */
static int
release_window(struct link *link)
{
    uint64_t position = link->tx.tail;
    while (link->n_released < link->peer_released) {
        if (position == link->flushed) {
            return -EPROTO;
        }
        struct record record = window_record(link, position);
        position += ring_record_size(record.size);
        link->n_released += record.kind != RECORD_PAD;
    }
    ring_tx_release(&link->tx, position);
    return 0;
}

int
link_acked(struct link *link, uint64_t *out, const char **why)
{
    *out = link->peer_acked;
    if (link->streams ? release_window(link)
                      : ring_tx_refresh(&link->tx, out)) {
        *why = "release of what was never sent";
        return -EPROTO;
    }
    return 0;
}

uint64_t
link_head(const struct link *link)
{
    return link->tx.head;
}

bool
link_is_released(const struct link *link, uint64_t position)
{
    return (int64_t)(link->tx.tail - position) >= 0;
}

uint64_t
link_position_for(const struct link *link, uint32_t size)
{
    return ring_tx_position_for(&link->tx, size);
}

/* Salvage. */

/* Where the records that were put lie, and what is next of them. */
struct salvage {
    const struct ring_tx *tx;
    uint64_t position;
};

/* The next record, if it lies within what was put. */
static bool
next_put(struct salvage *salvage, struct record *out, const uint8_t **payload)
{
    const struct ring_tx *tx = salvage->tx;
    uint64_t offset = salvage->position & (tx->size - 1);
    if (salvage->position == tx->head) {
        return false;
    }
    uint64_t words[2];
    memcpy(words, tx->data + offset, sizeof words);
    struct record record = record_from_words(words[0], words[1]);
    uint64_t left = tx->head - salvage->position;
    if (left > tx->size - offset) {
        left = tx->size - offset;
    }
    if (record.size > left - RECORD_HEADER_SIZE ||
        (record.kind != RECORD_PAD &&
         record.size > ring_message_max(tx->size))) {
        return false;
    }
    salvage->position += ring_record_size(record.size);
    *payload = tx->data + offset + RECORD_HEADER_SIZE;
    *out = record;
    return true;
}

/* The next numbered record that was not acknowledged. */
static bool
next_numbered(struct salvage *salvage, uint64_t first, struct record *out,
              const uint8_t **payload)
{
    while (next_put(salvage, out, payload)) {
        /* Within a ring the low halves compare as the numbers do. */
        if (record_is_numbered(out->kind) &&
            (int32_t)(out->sequence - (uint32_t)first) >= 0) {
            return true;
        }
    }
    return false;
}

static int
add_skip(struct window *window, struct window_entry *entry, uint64_t to)
{
    entry->record = (struct record){.kind = RECORD_SKIP,
                                    .sequence = (uint32_t)entry->sequence};
    entry->to = to;
    return window_add(window, entry, NULL);
}

int
link_salvage(const struct link *link, uint64_t first, uint64_t last, nsec_t now,
             struct window *out)
{
    struct salvage salvage = {.tx = &link->tx, .position = link->tx.tail};
    int error = 0;
    while (!error && first <= last) {
        const uint8_t *payload;
        struct window_entry entry = {.since = now};
        struct window_entry missing = {.sequence = first, .since = now};
        bool found = next_numbered(&salvage, first, &entry.record, &payload);
        entry.sequence = entry.to =
            first + (uint32_t)(entry.record.sequence - (uint32_t)first);
        if (!found || entry.sequence > last) {
            return add_skip(out, &missing, last);
        }
        if (entry.sequence != first) {
            error = add_skip(out, &missing, entry.sequence - 1);
        }
        if (!error) {
            error = window_add(out, &entry, payload);
        }
        first = entry.sequence + 1;
    }
    return error;
}

int
link_arm(struct link *link, uint64_t position)
{
    assert(!link->streams);
    int error = ring_rx_arm(&link->rx);
    if (!link_is_released(link, position)) {
        int other = ring_tx_arm(&link->tx, position);
        error = error ? error : other;
    }
    return error;
}
