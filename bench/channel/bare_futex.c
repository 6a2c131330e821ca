/* SPDX-License-Identifier: Apache-2.0 */
/* The bare ring whose reader sleeps on a futex, and is woken only when it said
 * that it sleeps.  A writer who finds no room looks until there is. */
#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "bench/channel/bare_ring.h"
#include "bench/channel/carrier.h"
#include "bench/channel/loops.h"

#define SPIN_NS 20000.0

static inline void
wake(_Atomic uint32_t *sleeping)
{
    atomic_thread_fence(memory_order_seq_cst);
    if (atomic_load_explicit(sleeping, memory_order_relaxed)) {
        atomic_store_explicit(sleeping, 0, memory_order_relaxed);
        syscall(SYS_futex, sleeping, FUTEX_WAKE, 1, NULL, NULL, 0);
    }
}

static inline int
put(struct end *end, const void *data, size_t size)
{
    struct bare *bare = end->carrier;
    while (!bare_put(bare, data, size)) {
        relax();
    }
    wake(&bare->out.words->sleeping);
    return 0;
}

static bool
spin(const struct end *end)
{
    uint64_t start = ticks_now();
    uint64_t ticks = (uint64_t)(SPIN_NS * end->run->ticks_per_ns);
    do {
        for (int i = 0; i < 16; i++) {
            if (bare_ready(end->carrier)) {
                return true;
            }
            relax();
        }
    } while (ticks_now() - start < ticks);
    return false;
}

static void
wait_for_more(struct end *end)
{
    struct bare *bare = end->carrier;
    _Atomic uint32_t *sleeping = &bare->in.words->sleeping;
    if (bare_ready(bare) || (end->run->wait == WAIT_SPIN && spin(end))) {
        return;
    }
    bare_tell(&bare->in);
    atomic_store_explicit(sleeping, 1, memory_order_relaxed);
    atomic_thread_fence(memory_order_seq_cst);
    if (!bare_ready(bare)) {
        syscall(SYS_futex, sleeping, FUTEX_WAIT, 1, NULL, NULL, 0);
    }
    atomic_store_explicit(sleeping, 0, memory_order_relaxed);
}

static inline ssize_t
get(struct end *end, void *data, size_t size)
{
    for (;;) {
        ssize_t got = bare_get(end->carrier, data);
        if (got >= 0) {
            return got;
        }
        wait_for_more(end);
    }
}

CARRIER_LOOPS(put, get)

const struct carrier_class carrier_bare_futex = {
    .name = "bare_futex",
    .summary = "the bare ring with a reader that sleeps on a futex",
    .waits = WAITS(WAIT_SPIN) | WAITS(WAIT_SLEEP),
    .size_max = 65536,
    .prepare = bare_prepare,
    .open = bare_open,
    .close = bare_close,
    .ping = loops_ping,
    .echo = loops_echo,
    .pour = loops_pour,
    .drain = loops_drain,
};
