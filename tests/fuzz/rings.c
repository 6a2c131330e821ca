/* SPDX-License-Identifier: Apache-2.0 */
/* Fuzz target for memory that another end shares and writes as it likes, while
 * we produce into one ring of it and consume from the other.  The input is what
 * lies there at first: eight bytes each of the peer's 'released', 'acked',
 * 'data_event' and 'space_event'; a byte of flags; a byte that says how many 16
 * bytes of pattern follow, which are repeated over the ring that we read.  Then
 * comes a script, a byte of operation and its argument: what we do next, and
 * what the peer writes before that, be it words of its own, of ours, or either
 * ring. Whatever it does, what is found lies in bounds, positions only rise,
 * and each of our calls ends. */
#include "tests/fuzz/fuzz.h"

#include <stdalign.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "channel/link.h"
#include "channel/replay/window.h"
#include "transport/ring.h"

#define SIZE RING_SIZE_MIN
#define WORDS_SIZE 32
#define UNIT 16
#define FINDS_MAX 64 /* In a row, at one operation. */

/* Flags. */
#define REGISTERED 1u /* Barriers of each end reach the other. */
#define STALE 2u      /* The ring we write has the pattern too. */
#define ONCE 4u       /* The pattern is not repeated. */

enum op {
    OP_FLIP,  /* Two bytes of place, one of bits: the peer writes. */
    OP_STORE, /* One byte of place, eight of value: likewise, in its words. */
    OP_TAKE,  /* Takes records, as many as the argument says. */
    OP_RELEASE,
    OP_PUT,     /* A record of eight times the argument's bytes. */
    OP_RESERVE, /* The same, but less is used than was reserved. */
    OP_REFRESH,
    OP_ARM,
    OP_SALVAGE,
    OP_N,
};

struct memory {
    struct ring_words words[2]; /* Ours; the peer's. */
    alignas(RING_LINE) uint8_t mine[SIZE];
    alignas(RING_LINE) uint8_t theirs[SIZE];
};

struct play {
    struct memory *memory;
    struct link link; /* Its rings alone. */
    uint64_t n_taken;
};

struct input {
    const uint8_t *data;
    size_t size;
};

static void
check(bool holds)
{
    if (!holds) {
        abort();
    }
}

/* The next 'n' bytes, lowest first; what is missing is 0. */
static uint64_t
take(struct input *input, size_t n)
{
    uint64_t value = 0;
    for (size_t i = 0; i < n && input->size; i++) {
        value |= (uint64_t)*input->data++ << 8 * i;
        input->size--;
    }
    return value;
}

static int
barrier(void)
{
    return 0;
}

/* The peer. */

static void
flip(struct memory *memory, struct input *input)
{
    size_t at = (size_t)take(input, 2) % sizeof *memory;
    ((uint8_t *)memory)[at] ^= (uint8_t)take(input, 1);
}

static void
store(struct memory *memory, struct input *input)
{
    unsigned which = (unsigned)take(input, 1);
    struct ring_words *words = &memory->words[which & 1];
    _Atomic uint64_t *const place[4] = {&words->released, &words->acked,
                                        &words->data_event,
                                        &words->space_event};
    atomic_store(place[which >> 1 & 3], take(input, 8));
}

/* We. */

static bool
take_records(struct play *play, unsigned n)
{
    struct memory *memory = play->memory;
    for (unsigned i = 0; i <= n % FINDS_MAX; i++) {
        struct record record;
        const char *why = NULL;
        uint64_t before = play->link.rx.position;
        int found = ring_rx_peek(&play->link.rx, &record, &why);
        check(play->link.rx.position >= before);
        if (found != 1) {
            check(found == 0 || why);
            return found == 0;
        }
        uint8_t copy[SIZE];
        const uint8_t *payload = ring_rx_payload(&play->link.rx);
        check(payload >= memory->theirs && record.size <= SIZE &&
              payload + record.size <= memory->theirs + SIZE &&
              record.size <= ring_message_max(SIZE));
        memcpy(copy, payload, record.size);
        ring_rx_consume(&play->link.rx, &record);
        check(play->link.rx.position > before &&
              play->link.rx.position - before <= 2 * SIZE);
        play->n_taken++;
    }
    return true;
}

static void
put(struct play *play, uint32_t wanted, uint32_t used)
{
    struct memory *memory = play->memory;
    struct record record = {.size = used, .kind = RECORD_RELIABLE};
    uint8_t *to = wanted == used ? ring_tx_reserve(&play->link.tx, wanted)
                                 : link_reserve(&play->link, wanted);
    if (!to) {
        return;
    }
    check(to >= memory->mine && to + wanted <= memory->mine + SIZE);
    memset(to, 1, wanted);
    if (wanted == used) {
        ring_tx_commit(&play->link.tx, &record);
    } else {
        link_commit(&play->link, &record, wanted);
    }
    (void)ring_tx_must_wake(&play->link.tx);
}

static bool
refresh(struct play *play)
{
    uint64_t acked, tail = play->link.tx.tail;
    int error = ring_tx_refresh(&play->link.tx, &acked);
    check(error ? play->link.tx.tail == tail : play->link.tx.tail >= tail);
    check(play->link.tx.head - play->link.tx.tail <= SIZE);
    return !error;
}

/* Our own records, in memory that the other side wrote over, are looked for
 * again when the link is lost: what is found is in bounds and in order. */
static void
salvage(struct play *play, uint64_t units)
{
    struct link link = {.tx = play->link.tx};
    struct window window = {0};
    struct window_entry entry;
    uint64_t next = UINT64_C(1) << 32;
    const uint64_t first = next, last = next + 100;
    if (units) {
        /* Somewhere else than where they begin. */
        link.tx.data = play->memory->theirs;
        link.tx.tail = play->link.rx.position & ~(uint64_t)(RING_ALIGN - 1);
        link.tx.head = link.tx.tail + units * RING_ALIGN % (SIZE + 1);
    }
    check(!link_salvage(&link, first, last, 0, &window));
    const uint8_t *data;
    while ((data = window_first(&window, &entry)) != NULL) {
        check(entry.sequence >= next && entry.to >= entry.sequence &&
              entry.to <= last && entry.record.size <= ring_message_max(SIZE));
        next = entry.to + 1;
        window_remove_first(&window);
    }
    check(!window.data && !window.ring_bytes);
}

/* False when the peer was found out: then the link would be taken down. */
static bool
act(struct play *play, struct input *input)
{
    unsigned op = (unsigned)take(input, 1) % OP_N;
    uint32_t n;
    switch ((enum op)op) {
    case OP_FLIP:
        flip(play->memory, input);
        return true;
    case OP_STORE:
        store(play->memory, input);
        return true;
    case OP_TAKE:
        return take_records(play, (unsigned)take(input, 1));
    case OP_RELEASE:
        (void)ring_rx_release(&play->link.rx, play->link.rx.position,
                              play->n_taken);
        return true;
    case OP_PUT:
        n = (uint32_t)take(input, 1) * 8 % (ring_message_max(SIZE) + 1);
        put(play, n, n);
        return true;
    case OP_RESERVE:
        n = (uint32_t)take(input, 1) * 8 % (ring_message_max(SIZE) + 1);
        put(play, n, n / 3);
        return true;
    case OP_REFRESH:
        return refresh(play);
    case OP_ARM:
        (void)ring_rx_arm(&play->link.rx);
        (void)ring_tx_arm(&play->link.tx,
                          ring_tx_position_for(&play->link.tx, 64));
        return true;
    case OP_SALVAGE:
        salvage(play, take(input, 1));
        return true;
    case OP_N:
        break;
    }
    return false;
}

/* Everything once, whatever the script left out.  True as of act(). */
static bool
end(struct play *play)
{
    bool fine = take_records(play, FINDS_MAX - 1);
    (void)ring_rx_release(&play->link.rx, play->link.rx.position,
                          play->n_taken);
    for (uint32_t i = 0; fine && i < 4; i++) {
        put(play, i * 100, i * 100);
        fine = refresh(play);
    }
    salvage(play, 0);
    return fine;
}

static void
spread(uint8_t *ring, const uint8_t *pattern, size_t size, bool once)
{
    size_t end = once ? size : SIZE;
    for (size_t at = 0; size && at < end; at += size) {
        memcpy(ring + at, pattern, size < SIZE - at ? size : SIZE - at);
    }
}

static void
lay_out(struct memory *memory, struct input *input, unsigned flags)
{
    size_t size = (size_t)take(input, 1) * UNIT;
    size = size < input->size ? size : input->size;
    spread(memory->theirs, input->data, size, flags & ONCE);
    if (flags & STALE) {
        spread(memory->mine, input->data, size, flags & ONCE);
    }
    input->data += size;
    input->size -= size;
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct memory memory;
    struct input input = {data, size};
    struct play play = {.memory = &memory};
    if (size < WORDS_SIZE + 2) {
        return 0;
    }
    memset(&memory, 0, sizeof memory);
    atomic_store(&memory.words[1].released, take(&input, 8));
    atomic_store(&memory.words[1].acked, take(&input, 8));
    atomic_store(&memory.words[1].data_event, take(&input, 8));
    atomic_store(&memory.words[1].space_event, take(&input, 8));
    unsigned flags = (unsigned)take(&input, 1);
    lay_out(&memory, &input, flags);
    ring_tx_init(&play.link.tx, memory.mine, SIZE, &memory.words[0],
                 &memory.words[1]);
    ring_rx_init(&play.link.rx, memory.theirs, SIZE, &memory.words[0],
                 &memory.words[1]);
    if (flags & REGISTERED) {
        const struct ring_fencing fencing = {barrier, true};
        play.link.tx.fencing = play.link.rx.fencing = fencing;
    }
    bool fine = true;
    while (fine && input.size) {
        fine = act(&play, &input);
    }
    (void)(fine && end(&play));
    return 0;
}
