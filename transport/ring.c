/* SPDX-License-Identifier: Apache-2.0 */
/* The ring of ring.h.  Relies on the memory staying mapped at its full size
 * (sealed against shrinking, see shm.c) and on nothing else about the other
 * side.  Called by channel/link.c.
 *
 * Waking.  The sleeper stores its wish (W1), then has a full barrier, then
 * looks at the ring once more (L1).  The other side stores its work (W2), then
 * has a full barrier, then looks for a wish (L2).  Whatever the order, L1 sees
 * W2 or L2 sees W1: nobody sleeps on work unless its wish was seen.
 *
 * A fence is cheap only when nothing waits to be stored, and behind a record
 * something does.  So a consumer (or producer) that has not slept for long says
 * RING_AWAKE in the place of its wish, and the other side, if the sleeper's
 * barriers reach it, looks without a fence.  Who is awake and wants to sleep
 * replaces RING_AWAKE by the wish (W1) and then issues the barrier for both:
 * each thread of the other side has one somewhere in its program order, between
 * W1 and L1.  If that is after L2, it is also after W2, and L1 sees W2.  If it
 * is before L2, L2 sees W1, not RING_AWAKE; then that side fences and looks
 * again, which is the first case.  Only the first sleep after a busy time costs
 * a barrier; those that follow are ordered by the fences again.
 *
 * Nothing here is believed: who says RING_AWAKE and then sleeps without a
 * barrier, or says that it is registered and is not, fails to wake or be woken,
 * which it could do by other means; nothing else depends on it.
 *
 * Orders, and what each pairs with:
 *   header's first word   release in ring_tx_store_header(), acquire in
 *                         ring_rx_look(): with it are seen the payload, the
 *                         second word and the zeroed header behind, which are
 *                         plain or relaxed.  With the first header of a run,
 *                         released by ring_tx_end(), are seen all its records
 *                         and the zeroed header behind the last; nobody looks
 *                         at theirs before.  A pad is stored after the record
 *                         that it leads to and releases that
 *   released              release in ring_rx_release(), acquire in
 *                         ring_tx_refresh(): we have read what is now written
 *                         over
 *   acked                 relaxed; goes before 'released' and is seen with it.
 *                         Alone it may come late, which costs nothing
 *   data_event            relaxed; W1 in ring_rx_arm(), L2 in
 *                         ring_tx_must_wake(); RING_AWAKE in stay_awake()
 *   space_event           relaxed; W1 in ring_tx_arm(), L2 in ring_rx_release()
 *   fence in arm()        W1 before L1, with the fence in the function of L2:
 *                         W2 before L2
 *   barrier() in arm()    the same for both sides, with the signal fence there,
 *                         which keeps the compiler from moving L2 before W2
 * tests/model/ring.pml has them, and what goes wrong without a fence, a barrier
 * or a release. */
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

/* Wishes. */

/* Stores a wish where RING_AWAKE may stand, with a barrier behind it. */
static int
arm(_Atomic uint64_t *word, uint64_t wanted, bool *awake,
    const struct ring_fencing *fencing)
{
    atomic_store_explicit(word, wanted | RING_ARMED, memory_order_relaxed);
    atomic_thread_fence(memory_order_seq_cst);
    if (!*awake) {
        return 0;
    }
    *awake = false;
    return fencing->barrier();
}

/* After a long time without a sleep the other side need not fence. */
static void
stay_awake(_Atomic uint64_t *word, uint64_t bytes, bool *awake,
           const struct ring_fencing *fencing)
{
    if (fencing->barrier && !*awake && bytes >= RING_AWAKE_AFTER) {
        *awake = true;
        atomic_store_explicit(word, RING_AWAKE, memory_order_relaxed);
    }
}

/* The producer. */

void
ring_tx_init(struct ring_tx *ring, uint8_t *data, uint64_t size,
             struct ring_words *mine, struct ring_words *peers)
{
    assert(ring_size_valid(size));
    assert(((uintptr_t)data & (RING_LINE - 1)) == 0);
    memset(ring, 0, sizeof *ring);
    ring->data = data;
    ring->size = size;
    ring->zeroed = 1; /* Nowhere. */
    ring->mine = mine;
    ring->peers = peers;
}

int
ring_tx_refresh(struct ring_tx *ring, uint64_t *acked)
{
    uint64_t released =
        atomic_load_explicit(&ring->peers->released, memory_order_acquire);
    /* Unsigned, so a position behind our tail is as impossible as one beyond
     * our head. */
    if (RING_REFUSE(released - ring->tail > ring->head - ring->tail ||
                    released & (RING_ALIGN - 1))) {
        return -EPROTO;
    }
    ring->tail = released;
    stay_awake(&ring->mine->space_event, ring->head - ring->slept, &ring->awake,
               &ring->fencing);
    *acked = atomic_load_explicit(&ring->peers->acked, memory_order_relaxed);
    return 0;
}

uint64_t
ring_tx_position_for(const struct ring_tx *ring, uint32_t payload)
{
    return ring->head + ring_tx_needed(ring, payload) - ring->size;
}

int
ring_tx_arm(struct ring_tx *ring, uint64_t position)
{
    ring->slept = ring->head;
    return arm(&ring->mine->space_event, position, &ring->awake,
               &ring->fencing);
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
    assert(((uintptr_t)data & (RING_LINE - 1)) == 0);
    memset(ring, 0, sizeof *ring);
    ring->data = data;
    ring->size = size;
    ring->message_max = ring_message_max(size);
    ring->mine = mine;
    ring->peers = peers;
}

/* Goes past a pad, which must reach the ring's end. */
int
ring_rx_pass(struct ring_rx *ring, uint32_t pad, const char **why)
{
    uint64_t offset = ring->position & (ring->size - 1);
    if (!offset || pad != ring->size - offset - RECORD_HEADER_SIZE) {
        *why = "record of an impossible size";
        return -EPROTO;
    }
    ring->position += ring->size - offset;
    return 0;
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
    stay_awake(&ring->mine->data_event, position - ring->slept, &ring->awake,
               &ring->fencing);
    uint64_t event;
    if (ring->fencing.registered) {
        atomic_signal_fence(memory_order_seq_cst);
        event = atomic_load_explicit(&ring->peers->space_event,
                                     memory_order_relaxed);
        if (event & RING_AWAKE) {
            return false;
        }
    }
    atomic_thread_fence(memory_order_seq_cst);
    event =
        atomic_load_explicit(&ring->peers->space_event, memory_order_relaxed);
    uint64_t wanted = event & ~(uint64_t)(RING_ALIGN - 1);
    return event & RING_ARMED && wanted - from - 1 < position - from;
}

int
ring_rx_arm(struct ring_rx *ring)
{
    ring->slept = ring->position;
    return arm(&ring->mine->data_event, ring->position, &ring->awake,
               &ring->fencing);
}
