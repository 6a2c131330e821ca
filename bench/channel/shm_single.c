/* SPDX-License-Identifier: Apache-2.0 */
/* Our channel over shared memory, where each message is a call of its own: what
 * a user gets who never has several to send.  For rates only, beside what shm.c
 * does with mchan_send_many(); round trips are the same. */
#include "bench/channel/carrier.h"
#include "bench/channel/loops.h"
#include "bench/channel/ours.h"

CARRIER_LOOPS(ours_put, ours_get)

const struct carrier_class carrier_shm_single = {
    .name = "shm_single",
    .summary = "our channel over shared memory, a call for each message",
    .uri = "shm",
    OURS_CLASS,
    .pour = loops_pour,
};
