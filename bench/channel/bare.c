/* SPDX-License-Identifier: Apache-2.0 */
/* The bare ring, both ends looking all the time. */
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
    do {
        got = bare_get(end->carrier, data);
    } while (got < 0);
    return got;
}

CARRIER_LOOPS(put, get)

const struct carrier_class carrier_bare = {
    .name = "bare",
    .summary = "a ring in shared memory without checks, both ends spinning",
    .waits = WAITS(WAIT_POLL),
    .size_max = 65536,
    .prepare = bare_prepare,
    .open = bare_open,
    .close = bare_close,
    .ping = loops_ping,
    .echo = loops_echo,
    .pour = loops_pour,
    .drain = loops_drain,
};
