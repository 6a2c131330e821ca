/* SPDX-License-Identifier: Apache-2.0 */
/* What is done for every message on a ring (ring.h), inline: a call costs as
 * much as what is called.  Included by ring.h alone.
 *
 * The order in which lines are touched is what a round trip costs, since each
 * line is fetched from the other CPU:
 * - The line with the header is written last and all at once.  The consumer
 *   looks at it all the time, and would take it back in between.
 * - The header behind the next record is zeroed after this one is sent, where
 *   that will be if the next is as long; so it is out of the way of a send.
 * - A consumer that finds nothing asks for the second line with the first.
 * docs/decisions/0009-the-ring.md has the figures. */
#ifndef TRANSPORT_RINGFAST_H
#define TRANSPORT_RINGFAST_H

#include <errno.h>
#include <string.h>
#if defined(__SSE2__)
#include <emmintrin.h>
#endif

#define RING_AHEAD 1024u       /* Bytes fetched ahead of their turn. */
#define RING_STREAM_MIN 16384u /* Written past the cache. */

/* For ring.c. */
int ring_rx_pass(struct ring_rx *, uint32_t pad, const char **why);

static inline _Atomic uint64_t *
ring_word(uint8_t *data, uint64_t size, uint64_t position, unsigned n)
{
    return (_Atomic uint64_t *)(void *)(data + (position & (size - 1)) + 8 * n);
}

/* A call of memcpy() is worth it for the long. */
static inline void
ring_copy(void *to_, const void *from_, size_t size)
{
    uint8_t *to = to_;
    const uint8_t *from = from_;
    if (size < 16 || size > 128) {
        if (size) {
            memcpy(to, from, size);
        }
        return;
    }
    for (size_t at = 0; at + 16 < size; at += 16) {
        memcpy(to + at, from + at, 16);
    }
    memcpy(to + size - 16, from + size - 16, 16);
}

/* The producer. */

/* Writes to the beginning of a line.  The longest go past the cache, where the
 * consumer finds them sooner. */
static inline void
ring_write(uint8_t *to, const uint8_t *from, uint32_t size)
{
#if defined(__SSE2__)
    if (size >= RING_STREAM_MIN) {
        uint32_t lines = size & ~(RING_LINE - 1);
        for (uint32_t at = 0; at < lines; at += 16) {
            __m128i part = _mm_loadu_si128((const __m128i *)(from + at));
            _mm_stream_si128((__m128i *)(to + at), part);
        }
        _mm_sfence(); /* Before the header: they keep no order otherwise. */
        to += lines;
        from += lines;
        size -= lines;
    }
#endif
    ring_copy(to, from, size);
}

/* Bytes up to the ring's end that a record of 'size' would have to leave. */
static inline uint64_t
ring_tx_pad(const struct ring_tx *ring, uint64_t size)
{
    uint64_t to_end = ring->size - (ring->head & (ring->size - 1));
    return size > to_end ? to_end : 0;
}

/* One slot more than the record stays free, for the zeroed header behind it. */
static inline uint64_t
ring_tx_needed(const struct ring_tx *ring, uint32_t payload)
{
    uint64_t size = ring_record_size(payload);
    return ring_tx_pad(ring, size) + size + RING_ALIGN;
}

static inline bool
ring_tx_has_room(const struct ring_tx *ring, uint32_t payload)
{
    return ring->head + ring_tx_needed(ring, payload) - ring->tail <=
           ring->size;
}

static inline uint8_t *
ring_tx_reserve(struct ring_tx *ring, uint32_t payload)
{
    if (!ring_tx_has_room(ring, payload)) {
        return NULL;
    }
    uint64_t start = ring->head + ring_tx_pad(ring, ring_record_size(payload));
    return ring->data + (start & (ring->size - 1)) + RECORD_HEADER_SIZE;
}

static inline void
ring_tx_store_words(struct ring_tx *ring, uint64_t position, uint64_t first,
                    uint64_t second)
{
    atomic_store_explicit(ring_word(ring->data, ring->size, position, 1),
                          second, memory_order_relaxed);
    atomic_store_explicit(ring_word(ring->data, ring->size, position, 0), first,
                          memory_order_release);
}

static inline void
ring_tx_store_header(struct ring_tx *ring, uint64_t position,
                     const struct record *record)
{
    ring_tx_store_words(ring, position, record_first_word(record),
                        record_second_word(record));
}

static inline void
ring_tx_zero(struct ring_tx *ring, uint64_t position)
{
    atomic_store_explicit(ring_word(ring->data, ring->size, position, 0), 0,
                          memory_order_relaxed);
    ring->zeroed = position;
}

/* The header behind this record was zeroed before the header of this one is
 * stored, whether just now or after the one before; the release in that store
 * keeps it so.  In between nothing was written there: a record that reaches
 * further than was foreseen zeroes anew. */
static inline void
ring_tx_commit(struct ring_tx *ring, const struct record *record)
{
    uint64_t size = ring_record_size(record->size);
    uint64_t pad = ring_tx_pad(ring, size);
    uint64_t start = ring->head + pad;
    uint64_t next = start + size;
    if (ring->zeroed != next) {
        ring_tx_zero(ring, next);
    }
    ring_tx_store_header(ring, start, record);
    if (__builtin_expect(pad != 0, 0)) {
        /* Last, since the consumer waits here. */
        struct record filler = {.kind = RECORD_PAD};
        filler.size = (uint32_t)(pad - RECORD_HEADER_SIZE);
        ring_tx_store_header(ring, ring->head, &filler);
    }
    ring->head = next;
    if (next + size + RING_ALIGN - ring->tail <= ring->size &&
        !ring_tx_pad(ring, size)) {
        ring_tx_zero(ring, next + size);
    }
}

static inline bool
ring_tx_put(struct ring_tx *ring, const struct record *record,
            const void *payload)
{
    const uint8_t *from = payload;
    uint32_t size = record->size;
    uint8_t *to = ring_tx_reserve(ring, size);
    if (!to) {
        return false;
    }
    __builtin_prefetch(
        ring_word(ring->data, ring->size, ring->head + RING_AHEAD, 0), 1);
    uint32_t first = -(uint32_t)(uintptr_t)to & (RING_LINE - 1);
    if (size > first) {
        ring_write(to + first, from + first, size - first);
        atomic_signal_fence(memory_order_seq_cst); /* The compiler's order. */
        ring_copy(to, from, first);
    } else {
        ring_copy(to, from, size);
    }
    ring_tx_commit(ring, record);
    return true;
}

static inline void
ring_tx_begin(const struct ring_tx *ring, struct ring_run *run)
{
    run->start = ring->head;
    run->first = 0;
}

static inline bool
ring_tx_add(struct ring_tx *ring, struct ring_run *run,
            const struct record *record, const void *payload)
{
    uint64_t size = ring_record_size(record->size);
    uint64_t end = ring->head + size;
    if (ring_tx_pad(ring, size) || end + RING_ALIGN - ring->tail > ring->size) {
        return false;
    }
    uint64_t offset = ring->head & (ring->size - 1);
    /* Before the bytes, lest the compiler spills the record's parts and loads
     * them wider: that waits until all stores before are through. */
    uint64_t word = record_first_word(record);
    uint64_t second = record_second_word(record);
    __builtin_prefetch(
        ring_word(ring->data, ring->size, ring->head + RING_AHEAD, 0), 1);
    ring_write(ring->data + offset + RECORD_HEADER_SIZE, payload, record->size);
    bool first = ring->head == run->start;
    run->first = first ? word : run->first;
    ring_tx_store_words(ring, ring->head, first ? 0 : word, second);
    ring->head = end;
    return true;
}

/* The consumer waits at the first one's header, so what lies behind that is not
 * looked at before; the release in its store orders all of it. */
static inline void
ring_tx_end(struct ring_tx *ring, const struct ring_run *run)
{
    if (ring->head == run->start) {
        return;
    }
    if (ring->zeroed != ring->head) {
        ring_tx_zero(ring, ring->head);
    }
    atomic_store_explicit(ring_word(ring->data, ring->size, run->start, 0),
                          run->first, memory_order_release);
}

static inline bool
ring_tx_must_wake(struct ring_tx *ring)
{
    uint64_t from = ring->woken;
    ring->woken = ring->head;
    if (!ring->peers || from == ring->head) {
        return false;
    }
    /* See ring.c about these looks. */
    uint64_t event;
    if (ring->fencing.registered) {
        atomic_signal_fence(memory_order_seq_cst);
        event = atomic_load_explicit(&ring->peers->data_event,
                                     memory_order_relaxed);
        if (event & RING_AWAKE) {
            return false;
        }
    }
    atomic_thread_fence(memory_order_seq_cst);
    event =
        atomic_load_explicit(&ring->peers->data_event, memory_order_relaxed);
    return event & RING_ARMED &&
           (event & ~(uint64_t)(RING_ALIGN - 1)) - from < ring->head - from;
}

/* The consumer. */

/* The first word of the next record's header, or 0. */
static inline uint64_t
ring_rx_look(const struct ring_rx *ring, uint64_t offset)
{
    uint64_t first = atomic_load_explicit(
        ring_word(ring->data, ring->size, offset, 0), memory_order_acquire);
    if (!first && ring->long_ones) {
        __builtin_prefetch(ring->data + offset + RING_LINE);
    }
    return first;
}

static inline bool
ring_rx_is_written(const struct ring_rx *ring)
{
    return ring_rx_look(ring, ring->position & (ring->size - 1)) != 0;
}

static inline int
ring_rx_peek(struct ring_rx *ring, struct record *out, const char **why)
{
    uint64_t offset = ring->position & (ring->size - 1);
    uint64_t first = ring_rx_look(ring, offset);
    while (__builtin_expect((uint8_t)(le64toh(first) >> 32) == RECORD_PAD, 0)) {
        if (ring_rx_pass(ring, (uint32_t)le64toh(first), why)) {
            return -EPROTO;
        }
        offset = 0;
        first = ring_rx_look(ring, offset);
    }
    if (!first) {
        return 0;
    }
    uint64_t second = atomic_load_explicit(
        ring_word(ring->data, ring->size, offset, 1), memory_order_relaxed);
    /* Sizes are looked at here, not in 'out'. */
    uint32_t size = (uint32_t)le64toh(first);
    if (RING_REFUSE(size > ring->size - offset - RECORD_HEADER_SIZE)) {
        *why = "record runs over the ring's end";
        return -EPROTO;
    }
    if (RING_REFUSE(size > ring->message_max)) {
        *why = "record of an impossible size";
        return -EPROTO;
    }
    record_get_words(out, first, second);
    return 1;
}

static inline const uint8_t *
ring_rx_payload(const struct ring_rx *ring)
{
    return ring->data + (ring->position & (ring->size - 1)) +
           RECORD_HEADER_SIZE;
}

static inline void
ring_rx_consume(struct ring_rx *ring, const struct record *record)
{
    ring->long_ones = record->size > RING_LINE / 2;
    __builtin_prefetch(
        ring_word(ring->data, ring->size, ring->position + RING_AHEAD, 0));
    ring->position += ring_record_size(record->size);
}

#endif
