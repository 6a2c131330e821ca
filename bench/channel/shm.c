/* SPDX-License-Identifier: Apache-2.0 */
/* Our channel over shared memory, and large data that it lends. */
#include "bench/channel/carrier.h"
#include "bench/channel/loops.h"
#include "bench/channel/ours.h"

CARRIER_LOOPS(ours_put, ours_get)

/* Small ones several at a time, as who has that many to send would. */
#define BATCH 32u

static int
put_batch(struct end *end, struct mchan_msg *messages, uint64_t sequence)
{
    size_t size = end->run->size;
    for (unsigned i = 0; i < BATCH; i++) {
        messages[i].data = loop_next(end, size, sequence + i);
    }
    for (size_t sent = 0; sent < BATCH;) {
        ssize_t n =
            mchan_send_many(end->carrier, messages + sent, BATCH - sent);
        if (n >= 0) {
            sent += (size_t)n;
        } else if (n == -EAGAIN) {
            ours_wait_room(end);
        } else {
            return (int)n;
        }
    }
    return 0;
}

static int
pour(struct end *end)
{
    size_t size = end->run->size;
    if (!loop_ahead(size)) {
        return loops_pour(end);
    }
    struct mchan_msg messages[BATCH];
    for (unsigned i = 0; i < BATCH; i++) {
        messages[i] =
            (struct mchan_msg){.size = size, .delivery = MCHAN_RELIABLE};
    }
    loop_stamp_first(end, size);
    meter_start(end);
    for (uint64_t sequence = 1;; sequence += BATCH) {
        int error = put_batch(end, messages, sequence);
        if (error) {
            return error;
        }
        if (!(sequence / BATCH % 2) && ticks_now() >= end->meter.end) {
            return loop_stop(end, ours_put);
        }
    }
}

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
    .pour = pour,
    .lend = lend,
    .borrow = borrow,
};
