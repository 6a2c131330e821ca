/* SPDX-License-Identifier: Apache-2.0 */
/* The ring of ring.h.  Relies on the memory staying mapped at its full size
 * (sealed against shrinking, see shm.c) and on nothing else about the other
 * side.  Called by channel/link.c.
 *
 * Waking: the sleeper stores the position it waits for, then fences, then
 * looks once more; the other side stores its work, then fences, then looks
 * whether somebody waits.  One of the two sees the other, whatever the order.
 */
#include "transport/ring.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

bool
ring_size_valid(uint64_t size)
{
    return size >= RING_SIZE_MIN && size <= RING_SIZE_MAX &&
           !(size & (size - 1));
}

uint32_t
ring_message_max(uint64_t size)
{
    uint64_t eighth = size / 8;
    return eighth < RING_MESSAGE_MAX ? (uint32_t)eighth : RING_MESSAGE_MAX;
}

uint64_t
ring_record_size(uint32_t payload)
{
    uint64_t size = (uint64_t)payload + RECORD_HEADER_SIZE;
    return (size + RING_ALIGN - 1) & ~(uint64_t)(RING_ALIGN - 1);
}

static _Atomic uint64_t *
word_at(uint8_t *data, uint64_t size, uint64_t position, unsigned n)
{
    return (_Atomic uint64_t *)(void *)(data + (position & (size - 1)) + 8 * n);
}

/* The producer. */

void
ring_tx_init(struct ring_tx *ring, uint8_t *data, uint64_t size,
             struct ring_words *mine, struct ring_words *peers)
{
    assert(ring_size_valid(size));
    assert(((uintptr_t)data & (RING_ALIGN - 1)) == 0);
    memset(ring, 0, sizeof *ring);
    ring->data = data;
    ring->size = size;
    ring->mine = mine;
    ring->peers = peers;
}

/* Bytes up to the ring's end that a record of 'size' would have to leave. */
static uint64_t
pad_before(const struct ring_tx *ring, uint64_t size)
{
    uint64_t to_end = ring->size - (ring->head & (ring->size - 1));
    return size > to_end ? to_end : 0;
}

/* One slot more than the record stays free, for the zeroed header behind it. */
static uint64_t
room_needed(const struct ring_tx *ring, uint32_t payload)
{
    uint64_t size = ring_record_size(payload);
    return pad_before(ring, size) + size + RING_ALIGN;
}

bool
ring_tx_has_room(const struct ring_tx *ring, uint32_t payload)
{
    return ring->head + room_needed(ring, payload) - ring->tail <= ring->size;
}

uint8_t *
ring_tx_reserve(struct ring_tx *ring, uint32_t payload)
{
    assert(payload <= ring_message_max(ring->size));
    if (!ring_tx_has_room(ring, payload)) {
        return NULL;
    }
    uint64_t start = ring->head + pad_before(ring, ring_record_size(payload));
    return ring->data + (start & (ring->size - 1)) + RECORD_HEADER_SIZE;
}

static void
store_header(struct ring_tx *ring, uint64_t position,
             const struct record *record)
{
    atomic_store_explicit(word_at(ring->data, ring->size, position, 1),
                          record_second_word(record), memory_order_relaxed);
    atomic_store_explicit(word_at(ring->data, ring->size, position, 0),
                          record_first_word(record), memory_order_release);
}

void
ring_tx_commit(struct ring_tx *ring, const struct record *record)
{
    uint64_t size = ring_record_size(record->size);
    uint64_t pad = pad_before(ring, size);
    uint64_t start = ring->head + pad;
    atomic_store_explicit(word_at(ring->data, ring->size, start + size, 0), 0,
                          memory_order_relaxed);
    store_header(ring, start, record);
    if (pad) {
        /* Last, since the consumer waits here. */
        struct record filler = {.kind = RECORD_PAD};
        filler.size = (uint32_t)(pad - RECORD_HEADER_SIZE);
        store_header(ring, ring->head, &filler);
    }
    ring->head = start + size;
}

int
ring_tx_refresh(struct ring_tx *ring, uint64_t *acked)
{
    uint64_t released =
        atomic_load_explicit(&ring->peers->released, memory_order_acquire);
    /* Unsigned, so a position behind our tail is as impossible as one beyond
     * our head. */
    if (released - ring->tail > ring->head - ring->tail ||
        released & (RING_ALIGN - 1)) {
        return -EPROTO;
    }
    ring->tail = released;
    *acked = atomic_load_explicit(&ring->peers->acked, memory_order_relaxed);
    return 0;
}

bool
ring_tx_must_wake(struct ring_tx *ring)
{
    uint64_t from = ring->woken;
    ring->woken = ring->head;
    if (!ring->peers || from == ring->head) {
        return false;
    }
    atomic_thread_fence(memory_order_seq_cst);
    uint64_t event =
        atomic_load_explicit(&ring->peers->data_event, memory_order_relaxed);
    return event & 1 && (event - 1) - from < ring->head - from;
}

uint64_t
ring_tx_position_for(const struct ring_tx *ring, uint32_t payload)
{
    return ring->head + room_needed(ring, payload) - ring->size;
}

void
ring_tx_arm(struct ring_tx *ring, uint64_t position)
{
    atomic_store_explicit(&ring->mine->space_event, position | 1,
                          memory_order_relaxed);
    atomic_thread_fence(memory_order_seq_cst);
}

void
ring_tx_release(struct ring_tx *ring, uint64_t position)
{
    assert(position - ring->tail <= ring->head - ring->tail);
    ring->tail = position;
}

/* The consumer. */

void
ring_rx_init(struct ring_rx *ring, uint8_t *data, uint64_t size,
             struct ring_words *mine, struct ring_words *peers)
{
    assert(ring_size_valid(size));
    assert(((uintptr_t)data & (RING_ALIGN - 1)) == 0);
    memset(ring, 0, sizeof *ring);
    ring->data = data;
    ring->size = size;
    ring->mine = mine;
    ring->peers = peers;
}

/* 1 with a header that fits where it stands, 0, or -EPROTO. */
static int
load_header(struct ring_rx *ring, struct record *out, const char **why)
{
    uint64_t first =
        atomic_load_explicit(word_at(ring->data, ring->size, ring->position, 0),
                             memory_order_acquire);
    if (!first) {
        return 0;
    }
    uint64_t second =
        atomic_load_explicit(word_at(ring->data, ring->size, ring->position, 1),
                             memory_order_relaxed);
    struct record record = record_from_words(first, second);
    uint64_t to_end = ring->size - (ring->position & (ring->size - 1));
    if (record.size > to_end - RECORD_HEADER_SIZE) {
        *why = "record runs over the ring's end";
        return -EPROTO;
    }
    if (record.kind == RECORD_PAD
            ? record.size != to_end - RECORD_HEADER_SIZE || to_end == ring->size
            : record.size > ring_message_max(ring->size)) {
        *why = "record of an impossible size";
        return -EPROTO;
    }
    *out = record;
    return 1;
}

int
ring_rx_peek(struct ring_rx *ring, struct record *out, const char **why)
{
    struct record record;
    int found = load_header(ring, &record, why);
    if (found == 1 && record.kind == RECORD_PAD) {
        /* Behind a pad stands the ring's start, where no other can be. */
        ring->position += ring_record_size(record.size);
        found = load_header(ring, &record, why);
    }
    if (found == 1) {
        *out = record;
    }
    return found;
}

const uint8_t *
ring_rx_payload(const struct ring_rx *ring)
{
    return ring->data + (ring->position & (ring->size - 1)) +
           RECORD_HEADER_SIZE;
}

void
ring_rx_consume(struct ring_rx *ring, const struct record *record)
{
    ring->position += ring_record_size(record->size);
}

bool
ring_rx_release(struct ring_rx *ring, uint64_t position, uint64_t acked)
{
    uint64_t from = ring->released;
    atomic_store_explicit(&ring->mine->acked, acked, memory_order_relaxed);
    if (position == from) {
        return false;
    }
    ring->released = position;
    atomic_store_explicit(&ring->mine->released, position,
                          memory_order_release);
    atomic_thread_fence(memory_order_seq_cst);
    uint64_t event =
        atomic_load_explicit(&ring->peers->space_event, memory_order_relaxed);
    uint64_t wanted = event - 1;
    return event & 1 && wanted - from - 1 < position - from;
}

void
ring_rx_arm(struct ring_rx *ring)
{
    atomic_store_explicit(&ring->mine->data_event, ring->position | 1,
                          memory_order_relaxed);
    atomic_thread_fence(memory_order_seq_cst);
}
