/* SPDX-License-Identifier: Apache-2.0 */
/* Two ends in one thread, each given its turns: opened, cut off, lending and
 * viewing what can be told again by its seed. Called by the tests of loans. */
#include "tests/unit/channel/loan_scene.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/clock.h"
#include "tests/left.h"
#include "transport/returns.h"

static int64_t
pair_time(void *ctx)
{
    return ((struct pair *)ctx)->now;
}

int
set_up(void **state)
{
    static struct pair pair;
    const struct mchan_opts opts = MCHAN_OPTS_INIT;
    memset(&pair, 0, sizeof pair);
    strcpy(pair.dir, "/tmp/mchan-test-XXXXXX");
    assert_non_null(mkdtemp(pair.dir));
    snprintf(pair.uri, sizeof pair.uri, "shm:%s/s", pair.dir);
    pair.now = NSEC_PER_SEC;
    pair.opts = opts;
    pair.opts.now_ns = pair_time;
    pair.opts.now_ctx = &pair;
    pair.opts.loan_bytes = LOAN_BYTES;
    pair.n_fds = held_fds();
    pair.n_maps = held_memfds();
    *state = &pair;
    return 0;
}

void
open_end(struct pair *pair, int which)
{
    int error = which == BACK
                    ? mchan_listen(&pair->end[BACK], pair->uri, &pair->opts)
                    : mchan_open(&pair->end[FRONT], pair->uri, &pair->opts);
    assert_int_equal(error, 0);
}

void
close_end(struct pair *pair, int which)
{
    mchan_close(pair->end[which]);
    pair->end[which] = NULL;
}

int
tear_down(void **state)
{
    struct pair *pair = *state;
    close_end(pair, BACK);
    close_end(pair, FRONT);
    assert_int_equal(held_fds(), pair->n_fds);
    assert_int_equal(held_memfds(), pair->n_maps);
    return rmdir(pair->dir);
}

void
collect(struct pair *pair, int which)
{
    struct mchan_event event;
    while (mchan_next_event(pair->end[which], &event)) {
        pair->n_up[which] += event.type == MCHAN_UP;
        pair->n_lost[which] += event.type == MCHAN_PEER_LOST;
        pair->n_proto_errors[which] += event.type == MCHAN_PROTO_ERROR;
        pair->n_dropped[which] += event.type == MCHAN_DROPPED;
        pair->n_gaps[which] += event.type == MCHAN_GAP;
    }
}

void
move_on(struct pair *pair)
{
    for (int i = 0; i < 2; i++) {
        if (pair->end[i]) {
            collect(pair, i);
            (void)mchan_arm(pair->end[i], MCHAN_READABLE);
        }
    }
    pair->now += 10 * NSEC_PER_MSEC;
}

void
come_up(struct pair *pair, unsigned n)
{
    for (int i = 0; i < ROUNDS_MAX; i++) {
        if (pair->n_up[BACK] >= n && pair->n_up[FRONT] >= n) {
            return;
        }
        move_on(pair);
    }
    fail_msg("no session %u", n);
}

void
open_both(struct pair *pair)
{
    open_end(pair, BACK);
    open_end(pair, FRONT);
    come_up(pair, pair->n_up[FRONT] + 1);
}

void
cut(struct pair *pair)
{
    for (int fd = 3; fd < 64; fd++) {
        int listens = 0;
        socklen_t size = sizeof listens;
        if (!getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listens, &size) &&
            !listens) {
            shutdown(fd, SHUT_RDWR);
        }
    }
}

uint8_t
byte_at(uint32_t seed, size_t at)
{
    return (uint8_t)(seed * 31 + at + (at >> 8));
}

void
fill(void *data, size_t size, uint32_t seed)
{
    for (size_t i = 0; i < size; i++) {
        ((uint8_t *)data)[i] = byte_at(seed, i);
    }
}

void
expect_filled(const void *data, size_t size, uint32_t seed)
{
    for (size_t i = 0; i < size; i++) {
        assert_int_equal(((const uint8_t *)data)[i], byte_at(seed, i));
    }
}

int
lend(struct pair *pair, int from, size_t size, uint32_t seed)
{
    struct mchan_loan loan;
    int error = mchan_loan(pair->end[from], size, &loan);
    if (!error) {
        struct mchan_msg message = {.size = size, .tag = (uint16_t)seed};
        fill(loan.data, size, seed);
        error = mchan_send_loan(pair->end[from], &loan, &message);
        assert_int_equal(error, 0);
    }
    return error;
}

struct mchan_view
view(struct pair *pair, int at)
{
    struct mchan_view got;
    for (int i = 0; i < ROUNDS_MAX; i++) {
        int error = mchan_view(pair->end[at], &got);
        if (!error) {
            return got;
        }
        assert_int_equal(error, -EAGAIN);
    }
    fail_msg("no message");
    abort();
}

uint64_t
n_lent(struct pair *pair, int which)
{
    struct mchan_stats stats;
    (void)mchan_arm(pair->end[which], MCHAN_READABLE);
    mchan_stats(pair->end[which], &stats, sizeof stats);
    return stats.n_lent;
}
