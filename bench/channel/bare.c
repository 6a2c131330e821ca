/* SPDX-License-Identifier: Apache-2.0 */
/* The bare ring, both ends looking all the time; and references to memory that
 * both map, sent through it. */
#include "bench/channel/bare_ring.h"
#include "bench/channel/carrier.h"
#include "bench/channel/loops.h"

static inline int
put(struct end *end, const void *data, size_t size)
{
    while (!bare_put(end->carrier, data, size)) {
    }
    return 0;
}

static inline ssize_t
get(struct end *end, void *data, size_t size)
{
    ssize_t got;
    while ((got = bare_get(end->carrier, data)) < 0) {
        look_again(end->run);
    }
    return got;
}

CARRIER_LOOPS(put, get)

#define RUN 32u

static int
pour(struct end *end)
{
    size_t size = end->run->size;
    if (!loop_ahead(size)) {
        return loops_pour(end);
    }
    const void *data[RUN];
    loop_stamp_first(end, size);
    meter_start(end);
    for (uint64_t sequence = 1;; sequence += RUN) {
        for (unsigned i = 0; i < RUN; i++) {
            data[i] = loop_next(end, size, sequence + i);
        }
        if (!bare_put_run(end->carrier, data, RUN, size)) {
            for (unsigned i = 0; i < RUN; i++) {
                put(end, data[i], size);
            }
        }
        if (!(sequence / RUN % 2) && ticks_now() >= end->meter.end) {
            return loop_stop(end, put);
        }
    }
}

/* By reference: the ring's memory holds a word per line that says which message
 * lies in the slot of that number. */

#define N_SLOTS 32u

static int
prepare(struct end *end)
{
    int error = bare_prepare(end);
    if (!error && end->run->task == TASK_REF) {
        struct bare *bare = end->carrier;
        bare->slots = memory_shared(N_SLOTS * end->run->size);
        error = bare->slots ? 0 : -ENOMEM;
    }
    return error;
}

static inline uint8_t *
slot_of(const struct end *end, uint64_t n)
{
    const struct bare *bare = end->carrier;
    return bare->slots + n % N_SLOTS * end->run->size;
}

/* What the reader has given back is counted in messages. */
static inline void
lend_one(struct end *end, uint64_t n, uint64_t sequence)
{
    struct bare *bare = end->carrier;
    while (n - bare->out.told > N_SLOTS) {
        bare->out.told =
            atomic_load_explicit(&bare->out.words->read, memory_order_acquire);
    }
    stamp(slot_of(end, n), end->run->size, sequence);
    atomic_store_explicit(bare_word(bare, &bare->out, n % N_SLOTS * 64), n,
                          memory_order_release);
}

static int
lend(struct end *end)
{
    meter_start(end);
    for (uint64_t n = 1;; n++) {
        lend_one(end, n, n);
        if (!(n & 63) && ticks_now() >= end->meter.end) {
            lend_one(end, n + 1, SEQUENCE_STOP);
            return 0;
        }
    }
}

static int
borrow(struct end *end)
{
    struct bare *bare = end->carrier;
    size_t size = end->run->size;
    meter_start(end);
    for (uint64_t n = 1;; n++) {
        _Atomic uint64_t *word = bare_word(bare, &bare->in, n % N_SLOTS * 64);
        while (atomic_load_explicit(word, memory_order_acquire) != n) {
            look_again(end->run);
        }
        if (!stamped(slot_of(end, n), size, n)) {
            return stamped(slot_of(end, n), size, SEQUENCE_STOP) ? 0 : -EBADMSG;
        }
        if (!(n % (N_SLOTS / 4))) {
            atomic_store_explicit(&bare->in.words->read, n,
                                  memory_order_release);
        }
        if (!(n & 63)) {
            meter_rate(&end->meter, n);
        }
    }
}

const struct carrier_class carrier_bare = {
    .name = "bare",
    .summary = "a ring in shared memory without checks, both ends spinning",
    .waits = WAITS(WAIT_POLL),
    .size_max = 1u << 20,
    .prepare = prepare,
    .open = bare_open,
    .close = bare_close,
    .ping = loops_ping,
    .echo = loops_echo,
    .pour = pour,
    .drain = loops_drain,
    .lend = lend,
    .borrow = borrow,
};
