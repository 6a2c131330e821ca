/* SPDX-License-Identifier: Apache-2.0 */
/* The words of returns.h.  Waking is as in ring.c: the lender stores the count
 * that it waits for, then fences, then looks once more; the other stores the
 * new count, then fences, then looks whether that one is waited for.  One of
 * the two sees the other.  Called by channel/loan.c.
 *
 * Orders, and what each pairs with:
 *   count    release in returns_give(), acquire in returns_pending(): with
 *            it is seen the word, which is relaxed, and we have read the
 *            chunk that is now lent again
 *   wanted   relaxed; stored in returns_arm(), looked at in returns_give()
 *   fences   in returns_arm(): the wish before the last look, which is the
 *            turn behind loans_arm(); in returns_give(): the count before the
 *            look at the wish
 * tests/model/returns.pml has all of them. */
#include "transport/returns.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

void
returns_rx_init(struct returns_rx *rx, struct returns *mine,
                struct returns *peers)
{
    memset(rx, 0, sizeof *rx);
    rx->mine = mine;
    rx->peers = peers;
}

void
returns_tx_init(struct returns_tx *tx, struct returns *mine,
                struct returns *peers)
{
    memset(tx, 0, sizeof *tx);
    tx->mine = mine;
    tx->peers = peers;
}

bool
returns_give(struct returns_tx *tx, uint64_t word)
{
    atomic_store_explicit(&tx->mine->words[tx->given % RETURNS_MAX], word,
                          memory_order_relaxed);
    tx->given++;
    /* Whoever reads the count sees the word, and that we read the chunk before
     * it is written again. */
    atomic_store_explicit(&tx->mine->count, tx->given, memory_order_release);
    atomic_thread_fence(memory_order_seq_cst);
    return atomic_load_explicit(&tx->peers->wanted, memory_order_relaxed) ==
           tx->given;
}

int
returns_pending(const struct returns_rx *rx, uint32_t n_lent)
{
    assert(n_lent <= RETURNS_MAX);
    uint64_t count =
        atomic_load_explicit(&rx->peers->count, memory_order_acquire);
    if (count - rx->taken > n_lent) {
        return -EPROTO;
    }
    return (int)(count - rx->taken);
}

uint64_t
returns_take(struct returns_rx *rx)
{
    return atomic_load_explicit(&rx->peers->words[rx->taken++ % RETURNS_MAX],
                                memory_order_relaxed);
}

void
returns_arm(struct returns_rx *rx)
{
    atomic_store_explicit(&rx->mine->wanted, rx->taken + 1,
                          memory_order_relaxed);
    atomic_thread_fence(memory_order_seq_cst);
}
