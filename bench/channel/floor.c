/* SPDX-License-Identifier: Apache-2.0 */
/* The floor: one cache line written by one CPU and seen by the other.  A round
 * trip is two of these, and no message between the two CPUs can be faster.  It
 * carries its sequence and nothing else. */
#include <stdlib.h>

#include "bench/channel/carrier.h"
#include "bench/channel/loops.h"

struct line {
    _Alignas(128) _Atomic uint64_t word;
};

struct ends_line {
    struct line *lines; /* Each end writes its own. */
    uint64_t last;
};

static int
prepare(struct end *end)
{
    struct ends_line *mine = calloc(1, sizeof *mine);
    if (!mine) {
        return -ENOMEM;
    }
    mine->lines = memory_shared(2 * sizeof *mine->lines);
    end->carrier = mine;
    return mine->lines ? 0 : -ENOMEM;
}

static int
open_end(struct end *end)
{
    return 0;
}

static void
close_end(struct end *end)
{
    free(end->carrier);
}

static inline int
put(struct end *end, const void *data, size_t size)
{
    struct ends_line *mine = end->carrier;
    uint64_t sequence;
    memcpy(&sequence, data, sizeof sequence);
    atomic_store_explicit(&mine->lines[end->side].word, sequence,
                          memory_order_release);
    return 0;
}

static inline ssize_t
get(struct end *end, void *data, size_t size)
{
    struct ends_line *mine = end->carrier;
    struct line *line = &mine->lines[!end->side];
    uint64_t sequence;
    do {
        sequence = atomic_load_explicit(&line->word, memory_order_acquire);
    } while (sequence == mine->last);
    mine->last = sequence;
    stamp(data, end->run->size, sequence);
    return (ssize_t)end->run->size;
}

CARRIER_LOOP(ping, put, get)
CARRIER_LOOP(echo, put, get)

const struct carrier_class carrier_floor = {
    .name = "floor",
    .summary = "one cache line to and fro: what the hardware takes",
    .waits = WAITS(WAIT_POLL),
    .size_max = 64,
    .prepare = prepare,
    .open = open_end,
    .close = close_end,
    .ping = loops_ping,
    .echo = loops_echo,
};
