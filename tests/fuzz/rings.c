/* SPDX-License-Identifier: Apache-2.0 */
/* Fuzz target for the shared ring: the input is what the other side wrote.
 * Eight bytes each of 'released', 'acked', 'data_event' and 'space_event', then
 * the ring from its start, repeated until it is full.  All that is found lies
 * inside it, and no more is found than it can hold. */
#include "tests/fuzz/fuzz.h"

#include <stdalign.h>
#include <stdlib.h>
#include <string.h>

#include "channel/link.h"
#include "channel/replay/window.h"
#include "transport/ring.h"

#define SIZE RING_SIZE_MIN

struct memory {
    struct ring_words words[2];
    alignas(RING_LINE) uint8_t mine[SIZE];
    alignas(RING_LINE) uint8_t theirs[SIZE];
};

static void
consume(struct memory *memory)
{
    struct ring_rx rx;
    struct record record;
    const char *why = NULL;
    unsigned n = 0;
    int found;
    ring_rx_init(&rx, memory->theirs, SIZE, &memory->words[0],
                 &memory->words[1]);
    while ((found = ring_rx_peek(&rx, &record, &why)) == 1) {
        const uint8_t *payload = ring_rx_payload(&rx);
        if (payload < memory->theirs ||
            payload + record.size > memory->theirs + SIZE ||
            record.size > ring_message_max(SIZE)) {
            abort();
        }
        ring_rx_consume(&rx, &record);
        if (++n > 4 * SIZE / RING_ALIGN) {
            break; /* Old records again: the session's to refuse. */
        }
        (void)ring_rx_release(&rx, rx.position, n);
    }
    if (found < 0 && !why) {
        abort();
    }
}

static void
produce(struct memory *memory)
{
    struct ring_tx tx;
    ring_tx_init(&tx, memory->mine, SIZE, &memory->words[0], &memory->words[1]);
    for (uint32_t i = 0; i < 200; i++) {
        struct record record = {.size = i % (SIZE / 8 + 1),
                                .kind = RECORD_RELIABLE};
        uint64_t acked;
        uint8_t *to = ring_tx_reserve(&tx, record.size);
        if (to) {
            if (to < memory->mine || to + record.size > memory->mine + SIZE) {
                abort();
            }
            memset(to, 1, record.size);
            ring_tx_commit(&tx, &record);
        }
        (void)ring_tx_must_wake(&tx);
        (void)ring_tx_arm(&tx, ring_tx_position_for(&tx, record.size));
        if (ring_tx_refresh(&tx, &acked) || tx.head - tx.tail > SIZE) {
            return;
        }
    }
}

/* Our own records, in memory that the other side wrote over, are looked for
 * again when the link is lost: what is found is in bounds and in order. */
static void
salvage(struct memory *memory, uint64_t from, uint64_t size)
{
    struct link link = {0};
    struct window window = {0};
    struct window_entry entry;
    uint64_t next = UINT64_C(1) << 32;
    const uint64_t first = next, last = next + 100;
    ring_tx_init(&link.tx, memory->theirs, SIZE, &memory->words[0],
                 &memory->words[1]);
    link.tx.tail = from & ~(uint64_t)(RING_ALIGN - 1);
    link.tx.head =
        link.tx.tail + (size % (SIZE + 1) & ~(uint64_t)(RING_ALIGN - 1));
    if (link_salvage(&link, first, last, 0, &window)) {
        abort();
    }
    const uint8_t *data;
    while ((data = window_first(&window, &entry)) != NULL) {
        if (entry.sequence < next || entry.to < entry.sequence ||
            entry.to > last || entry.record.size > ring_message_max(SIZE)) {
            abort();
        }
        next = entry.to + 1;
        window_remove_first(&window);
    }
    if (window.data || window.ring_bytes) {
        abort();
    }
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct memory memory;
    if (size < 40) {
        return 0;
    }
    memset(&memory, 0, sizeof memory);
    memcpy(&memory.words[1].released, data, 16);
    memcpy(&memory.words[1].data_event, data + 16, 16);
    for (size_t at = 0; at < SIZE; at++) {
        memory.theirs[at] = data[32 + at % (size - 32)];
    }
    salvage(&memory, data[32] * RING_ALIGN, data[33] * (SIZE / 255));
    salvage(&memory, 0, SIZE);
    consume(&memory);
    produce(&memory);
    return 0;
}
