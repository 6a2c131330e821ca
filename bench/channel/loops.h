/* SPDX-License-Identifier: Apache-2.0 */
/* The loops of the tasks, made for each carrier from its send() and recv() by
 * CARRIER_LOOPS(), so that there is no call between the loop and the carrier
 * that the carrier's own users would not have.
 *
 *     int send(struct end *, const void *data, size_t size)
 *     ssize_t recv(struct end *, void *data, size_t size)
 *
 * both wait, as run->wait says, until it is done; recv() copies. */
#ifndef BENCH_CHANNEL_LOOPS_H
#define BENCH_CHANNEL_LOOPS_H

#include <errno.h>
#include <sys/types.h>

#include "bench/channel/harness.h"

#define LOOP static inline __attribute__((always_inline)) int

typedef int send_fn(struct end *, const void *data, size_t size);
typedef ssize_t recv_fn(struct end *, void *data, size_t size);

/* 0 if what came is the message that was sent as 'sequence', 1 if it is the
 * last one. */
LOOP
loop_check(const struct end *end, ssize_t got, uint64_t sequence)
{
    size_t size = end->run->size;
    if (got != (ssize_t)size) {
        return got < 0 ? (int)got : -EBADMSG;
    }
    if (__builtin_expect(stamped(end->in, size, sequence), 1)) {
        return 0;
    }
    return stamped(end->in, size, SEQUENCE_STOP) ? 1 : -EBADMSG;
}

/* Small messages are stamped some time before they are sent: a copy that begins
 * with bytes just stored in smaller pieces would wait until these have left the
 * store buffer, which a ring's lines fill. */
#define AHEAD 32u
#define AHEAD_SIZE_MAX 2048u

static inline uint64_t
loop_ahead(size_t size)
{
    return size <= AHEAD_SIZE_MAX ? AHEAD : 0;
}

static inline uint8_t *
loop_slot(const struct end *end, size_t size, uint64_t sequence)
{
    size_t slot = size <= AHEAD_SIZE_MAX ? sequence % (2 * AHEAD) : 0;
    return end->out + slot * ((size + 63) & ~(size_t)63);
}

static inline void
loop_stamp_first(const struct end *end, size_t size)
{
    for (uint64_t i = 1; i <= loop_ahead(size); i++) {
        stamp(loop_slot(end, size, i), size, i);
    }
}

/* The message of that sequence, ready to be sent. */
static inline const uint8_t *
loop_next(const struct end *end, size_t size, uint64_t sequence)
{
    uint64_t ahead = sequence + loop_ahead(size);
    stamp(loop_slot(end, size, ahead), size, ahead);
    return loop_slot(end, size, sequence);
}

LOOP
loop_stop(struct end *end, send_fn *send)
{
    stamp(end->out, end->run->size, SEQUENCE_STOP);
    return send(end, end->out, end->run->size);
}

static inline void
loop_gap(uint64_t until)
{
    while (ticks_now() < until) {
        relax();
    }
}

LOOP
loop_ping(struct end *end, send_fn *send, recv_fn *recv)
{
    size_t size = end->run->size;
    uint64_t gap = (uint64_t)((double)end->run->gap * end->run->ticks_per_ns);
    uint64_t before, now;
    loop_stamp_first(end, size);
    meter_start(end);
    before = ticks_now();
    for (uint64_t sequence = 1;; sequence++) {
        int error = send(end, loop_next(end, size, sequence), size);
        if (error) {
            return error;
        }
        error = loop_check(end, recv(end, end->in, BUFFER_SIZE), sequence);
        if (error) {
            return error < 0 ? error : -EBADMSG;
        }
        now = ticks_now();
        if (!meter_trip(&end->meter, now - before, now)) {
            return loop_stop(end, send);
        }
        if (gap) {
            loop_gap(now + gap);
            now = ticks_now();
        }
        before = now;
    }
}

LOOP
loop_echo(struct end *end, send_fn *send, recv_fn *recv)
{
    for (uint64_t sequence = 1;; sequence++) {
        ssize_t size = recv(end, end->in, BUFFER_SIZE);
        int error = loop_check(end, size, sequence);
        if (error) {
            return error < 0 ? error : 0;
        }
        error = send(end, end->in, (size_t)size);
        if (error) {
            return error;
        }
    }
}

/* Small messages ask for the time every 64th time. */
static inline uint64_t
loop_mask(const struct end *end)
{
    return end->run->task == TASK_RATE && end->run->size >= 4096 ? 0 : 63;
}

LOOP
loop_pour(struct end *end, send_fn *send)
{
    size_t size = end->run->size;
    uint64_t mask = loop_mask(end);
    loop_stamp_first(end, size);
    meter_start(end);
    for (uint64_t sequence = 1;; sequence++) {
        int error = send(end, loop_next(end, size, sequence), size);
        if (error) {
            return error;
        }
        if (!(sequence & mask) && ticks_now() >= end->meter.end) {
            return loop_stop(end, send);
        }
    }
}

LOOP
loop_drain(struct end *end, recv_fn *recv)
{
    uint64_t mask = loop_mask(end);
    meter_start(end);
    for (uint64_t sequence = 1;; sequence++) {
        int error = loop_check(end, recv(end, end->in, BUFFER_SIZE), sequence);
        if (error) {
            return error < 0 ? error : 0;
        }
        if (!(sequence & mask)) {
            meter_rate(&end->meter, sequence);
        }
    }
}

/* One loop with its send(), recv() or both; and all of them. */
#define CARRIER_LOOP(NAME, ...)                                                \
    static int loops_##NAME(struct end *end)                                   \
    {                                                                          \
        return loop_##NAME(end, __VA_ARGS__);                                  \
    }
#define CARRIER_LOOPS(SEND, RECV)                                              \
    CARRIER_LOOP(ping, SEND, RECV)                                             \
    CARRIER_LOOP(echo, SEND, RECV)                                             \
    CARRIER_LOOP(pour, SEND)                                                   \
    CARRIER_LOOP(drain, RECV)

#endif
