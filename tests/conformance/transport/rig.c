/* SPDX-License-Identifier: Apache-2.0 */
/* The rig of rig.h.  Real descriptors are slept on, so that a transport that
 * does not wake anybody fails; over a simulated one, time passes as far as
 * something is due.  Called by the rules beside this file. */
#include "tests/conformance/transport/rig.h"

#include <errno.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static int64_t
rig_time(void *ctx)
{
    return ((struct rig *)ctx)->now;
}

/* Driving. */

void
rig_open(struct rig *rig, int which)
{
    int error =
        which == BACK
            ? mchan_listen(&rig->end[which].channel, rig->uri, &rig->opts)
            : mchan_open(&rig->end[which].channel, rig->uri, &rig->opts);
    assert_int_equal(error, 0);
    rig->end[which].n_events = 0;
}

void
rig_close(struct rig *rig, int which)
{
    mchan_close(rig->end[which].channel);
    rig->end[which].channel = NULL;
}

void
rig_collect(struct end *end)
{
    struct mchan_event event;
    while (end->channel && mchan_next_event(end->channel, &event)) {
        assert_true(end->n_events < EVENTS_KEPT);
        end->events[end->n_events++] = event;
    }
}

/* Lets made-up time pass until something is due. */
static bool
advance(struct rig *rig, int wait_ms)
{
    int64_t due = sim_network_deadline(rig->network);
    for (int i = 0; i < 2; i++) {
        if (rig->end[i].channel) {
            due = nsec_min(due, mchan_deadline(rig->end[i].channel));
        }
    }
    int64_t until = rig->now + wait_ms * NSEC_PER_MSEC;
    bool found = due <= until;
    rig->now = due > rig->now ? nsec_min(due, until) : rig->now;
    sim_network_run(rig->network, rig->now);
    return found;
}

/* Lets both ends move on; if neither has anything to do, waits that long for
 * one of the descriptors.  False if that was in vain. */
static bool
rig_wait(struct rig *rig, int wait_ms)
{
    struct pollfd fds[2];
    nfds_t n = 0;
    bool busy = false;
    for (int i = 0; i < 2; i++) {
        unsigned before = rig->end[i].n_events;
        rig_collect(&rig->end[i]);
        busy |= rig->end[i].n_events != before;
    }
    for (int i = 0; i < 2; i++) {
        if (rig->end[i].channel) {
            busy |= mchan_arm(rig->end[i].channel, MCHAN_READABLE) == 1;
            fds[n].fd = mchan_fd(rig->end[i].channel);
            fds[n++].events = POLLIN;
        }
    }
    if (rig->network) {
        return advance(rig, wait_ms) || busy;
    }
    return poll(fds, n, busy ? 0 : wait_ms) > 0 || busy;
}

void
rig_step(struct rig *rig)
{
    assert_true(rig_wait(rig, PATIENCE_S * 1000));
}

void
rig_rest(struct rig *rig)
{
    (void)rig_wait(rig, 1);
}

time_t
rig_seconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec;
}

struct mchan_event
rig_expect(struct rig *rig, int which, enum mchan_event_type type)
{
    struct end *end = &rig->end[which];
    time_t until = rig_seconds() + PATIENCE_S;
    while (rig_seconds() < until) {
        rig_collect(end);
        for (unsigned i = 0; i < end->n_events; i++) {
            if (end->events[i].type == type) {
                struct mchan_event found = end->events[i];
                end->n_events -= i + 1;
                memmove(end->events, end->events + i + 1,
                        end->n_events * sizeof found);
                return found;
            }
        }
        rig_step(rig);
    }
    fail_msg("event %d never came", type);
    abort();
}

void
rig_connect(struct rig *rig)
{
    rig_open(rig, BACK);
    rig_open(rig, FRONT);
    rig_expect(rig, FRONT, MCHAN_UP);
    rig_expect(rig, BACK, MCHAN_UP);
}

int
rig_send(struct mchan *channel, const void *data, size_t size, uint16_t tag)
{
    struct mchan_msg message = {.data = data, .size = size, .tag = tag};
    return mchan_send(channel, &message);
}

size_t
rig_recv(struct rig *rig, int which, void *data, size_t size,
         struct mchan_info *info)
{
    time_t until = rig_seconds() + PATIENCE_S;
    while (rig_seconds() < until) {
        ssize_t got = mchan_recv(rig->end[which].channel, data, size, info);
        if (got >= 0) {
            return (size_t)got;
        }
        assert_true(got == -EAGAIN || got == -ENOTCONN);
        rig_step(rig);
    }
    fail_msg("message never came");
    return 0;
}

/* Around each rule. */

int
rig_set_up(void **state)
{
    struct rig *rig = *state;
    const struct mchan_opts opts = MCHAN_OPTS_INIT;
    rig->opts = opts;
    strcpy(rig->dir, "/tmp/mchan-test-XXXXXX");
    assert_non_null(mkdtemp(rig->dir));
    if (rig->class->simulated) {
        rig->now = 1;
        assert_int_equal(sim_network_create(&rig->network, 1), 0);
        sim_network_run(rig->network, rig->now);
        rig->opts.sim = rig->network;
        rig->opts.now_ns = rig_time;
        rig->opts.now_ctx = rig;
    }
    snprintf(rig->uri, sizeof rig->uri, "%s:%s/s", rig->class->name, rig->dir);
    return 0;
}

int
rig_tear_down(void **state)
{
    struct rig *rig = *state;
    rig_close(rig, FRONT);
    rig_close(rig, BACK);
    sim_network_destroy(rig->network);
    rig->network = NULL;
    /* Fails if a channel left something in it. */
    assert_int_equal(rmdir(rig->dir), 0);
    return 0;
}
