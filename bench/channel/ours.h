/* SPDX-License-Identifier: Apache-2.0 */
/* Our channel as its users see it: include/mchan.h and nothing behind it.
 * Included by shm.c and unix.c, which name the transport. */
#ifndef BENCH_CHANNEL_OURS_H
#define BENCH_CHANNEL_OURS_H

#include <errno.h>
#include <poll.h>
#include <stdio.h>

#include "bench/channel/carrier.h"
#include "include/mchan.h"

#define OURS_UP_MS 5000
#define OURS_LOANS 32 /* Under way at once, at most. */

/* Waits until the session stands; 0 or -Exxx. */
static inline int
ours_wait_up(struct mchan *channel)
{
    struct mchan_event event;
    for (int i = 0; i < OURS_UP_MS / 10; i++) {
        while (mchan_next_event(channel, &event) > 0) {
            if (event.type == MCHAN_UP) {
                return 0;
            }
        }
        int error = mchan_wait(channel, 10);
        if (error < 0) {
            return error;
        }
    }
    return -ETIMEDOUT;
}

static inline int
ours_open(struct end *end)
{
    const struct run *run = end->run;
    struct mchan_opts opts = MCHAN_OPTS_INIT;
    struct mchan *channel;
    char uri[128];
    opts.ring_size = run->ring_size;
    opts.spin_us = run->wait == WAIT_SLEEP ? MCHAN_NO_SPIN : 0;
    if (run->task == TASK_REF) {
        opts.loan_bytes = OURS_LOANS * run->size;
    }
    snprintf(uri, sizeof uri, "%s:%s/channel", run->carrier->uri, run->dir);
    int error = end->side ? mchan_listen(&channel, uri, &opts)
                          : mchan_open(&channel, uri, &opts);
    if (error) {
        return error;
    }
    end->carrier = channel;
    return ours_wait_up(channel);
}

static inline void
ours_close(struct end *end)
{
    mchan_close(end->carrier);
}

static inline void
ours_idle(struct end *end)
{
    mchan_arm(end->carrier, MCHAN_READABLE);
}

static inline void
ours_wait_room(struct end *end)
{
    struct pollfd pollfd = {.fd = mchan_fd(end->carrier), .events = POLLIN};
    if (end->run->wait == WAIT_POLL) {
        relax();
    } else if (!mchan_arm(end->carrier, MCHAN_WRITABLE)) {
        poll(&pollfd, 1, -1);
    }
}

static inline int
ours_put(struct end *end, const void *data, size_t size)
{
    struct mchan_msg message = {
        .data = data, .size = size, .delivery = MCHAN_RELIABLE};
    int error;
    while ((error = mchan_send(end->carrier, &message)) == -EAGAIN) {
        ours_wait_room(end);
    }
    return error;
}

static inline ssize_t
ours_get(struct end *end, void *data, size_t size)
{
    struct mchan_info info;
    ssize_t got;
    while ((got = mchan_recv(end->carrier, data, size, &info)) == -EAGAIN) {
        if (end->run->wait == WAIT_POLL) {
            look_again(end->run);
        } else {
            mchan_wait(end->carrier, -1);
        }
    }
    return got;
}

#define OURS_CLASS                                                             \
    .waits = WAITS(WAIT_POLL) | WAITS(WAIT_SPIN) | WAITS(WAIT_SLEEP),          \
    .size_max = 1u << 20, .open = ours_open, .close = ours_close,              \
    .idle = ours_idle, .ping = loops_ping, .echo = loops_echo,                 \
    .drain = loops_drain

#endif
