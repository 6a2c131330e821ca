/* SPDX-License-Identifier: Apache-2.0 */
/* Our channel over shared memory, and large data that it lends. */
#include "bench/channel/carrier.h"
#include "bench/channel/loops.h"
#include "bench/channel/ours.h"

CARRIER_LOOPS(ours_put, ours_get)

static int
lend_one(struct end *end, uint64_t sequence)
{
    struct mchan_msg message = {.size = end->run->size,
                                .delivery = MCHAN_RELIABLE};
    struct mchan_loan loan;
    int error;
    while ((error = mchan_loan(end->carrier, message.size, &loan)) == -EAGAIN) {
        relax();
    }
    if (error) {
        return error;
    }
    stamp(loan.data, message.size, sequence);
    while ((error = mchan_send_loan(end->carrier, &loan, &message)) ==
           -EAGAIN) {
        relax();
    }
    return error;
}

static int
lend(struct end *end)
{
    meter_start(end);
    for (uint64_t sequence = 1;; sequence++) {
        int error = lend_one(end, sequence);
        if (error) {
            return error;
        }
        if (!(sequence & 63) && ticks_now() >= end->meter.end) {
            return lend_one(end, SEQUENCE_STOP);
        }
    }
}

/* 1 if it is the last. */
static int
borrow_one(struct end *end, uint64_t sequence)
{
    struct mchan_view view;
    int error;
    while ((error = mchan_view(end->carrier, &view)) == -EAGAIN) {
        relax();
    }
    if (error) {
        return error;
    }
    if (view.size != end->run->size) {
        return -EBADMSG;
    }
    bool right = stamped(view.data, view.size, sequence);
    bool last = !right && stamped(view.data, view.size, SEQUENCE_STOP);
    mchan_release(end->carrier, &view);
    return right ? 0 : last ? 1 : -EBADMSG;
}

static int
borrow(struct end *end)
{
    meter_start(end);
    for (uint64_t sequence = 1;; sequence++) {
        int error = borrow_one(end, sequence);
        if (error) {
            return error < 0 ? error : 0;
        }
        if (!(sequence & 63)) {
            meter_rate(&end->meter, sequence);
        }
    }
}

const struct carrier_class carrier_shm = {
    .name = "shm",
    .summary = "our channel over shared memory",
    .uri = "shm",
    OURS_CLASS,
    .lend = lend,
    .borrow = borrow,
};
