/* SPDX-License-Identifier: Apache-2.0 */
/* Loans between two processes of which one is killed, whatever it was doing:
 * lending, holding what it was lent, asleep until a chunk comes back.  What the
 * other holds stays as it was, what it lent is free again, and when all is
 * given back neither descriptors nor mappings are left. */
#include <errno.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/clock.h"
#include "include/mchan.h"
#include "tests/left.h"

#define PATIENCE_NS (60 * NSEC_PER_SEC)
#define LOAN_BYTES (1u << 20)
#define CHUNK 20000u /* Takes 32 KiB of it: there are 32. */
#define KILLS 60

struct stage {
    char dir[64], uri[96];
    struct mchan_opts opts;
    struct mchan *channel;
    pid_t peer;
    uint32_t n_seen;
    int32_t n_fds, n_maps;
};

static int64_t
now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * NSEC_PER_SEC + now.tv_nsec;
}

static int
set_up(void **state)
{
    static struct stage stage;
    const struct mchan_opts opts = MCHAN_OPTS_INIT;
    memset(&stage, 0, sizeof stage);
    strcpy(stage.dir, "/tmp/mchan-test-XXXXXX");
    assert_non_null(mkdtemp(stage.dir));
    snprintf(stage.uri, sizeof stage.uri, "shm:%s/s", stage.dir);
    stage.opts = opts;
    stage.opts.loan_bytes = LOAN_BYTES;
    stage.n_fds = held_fds();
    stage.n_maps = held_memfds();
    assert_int_equal(mchan_listen(&stage.channel, stage.uri, &stage.opts), 0);
    *state = &stage;
    return 0;
}

static void
kill_peer(struct stage *stage)
{
    if (stage->peer) {
        kill(stage->peer, SIGKILL);
        waitpid(stage->peer, NULL, 0);
        stage->peer = 0;
    }
}

static int
tear_down(void **state)
{
    struct stage *stage = *state;
    kill_peer(stage);
    mchan_close(stage->channel);
    assert_int_equal(held_fds(), stage->n_fds);
    assert_int_equal(held_memfds(), stage->n_maps);
    return rmdir(stage->dir);
}

/* Both processes. */

static void
sleep_until(struct mchan *channel, unsigned what)
{
    if (!mchan_arm(channel, what)) {
        struct pollfd readable = {.fd = mchan_fd(channel), .events = POLLIN};
        poll(&readable, 1, 1000);
    }
}

static uint8_t
byte_at(uint32_t seed, size_t at)
{
    return (uint8_t)(seed * 31 + at + (at >> 8));
}

static bool
is_filled(const struct mchan_view *view)
{
    const uint8_t *data = view->data;
    for (size_t i = 0; i < view->size; i++) {
        if (data[i] != byte_at(view->info.tag, i)) {
            return false;
        }
    }
    return view->size == CHUNK;
}

/* 0 or as mchan_loan() and mchan_send_loan(). */
static int
lend(struct mchan *channel, uint16_t seed)
{
    struct mchan_loan loan;
    struct mchan_msg message = {.size = CHUNK, .tag = seed};
    int error = mchan_loan(channel, CHUNK, &loan);
    if (error) {
        return error;
    }
    for (size_t i = 0; i < CHUNK; i++) {
        ((uint8_t *)loan.data)[i] = byte_at(seed, i);
    }
    error = mchan_send_loan(channel, &loan, &message);
    if (error) {
        mchan_unloan(channel, &loan);
    }
    return error;
}

/* The peer, in a process of its own, ends with what it finds wrong. */

static void
peer_come_up(struct mchan *channel)
{
    struct mchan_event event;
    for (;;) {
        while (mchan_next_event(channel, &event)) {
            if (event.type == MCHAN_UP) {
                return;
            }
        }
        sleep_until(channel, MCHAN_READABLE);
    }
}

/* Lends without end, asleep when it can't. */
static void
peer_lends(struct mchan *channel)
{
    for (uint16_t seed = 0;;) {
        int error = lend(channel, seed);
        if (!error) {
            seed++;
        } else if (error != -EAGAIN) {
            _exit(1);
        } else {
            sleep_until(channel, MCHAN_WRITABLE);
        }
    }
}

/* Holds what it is lent, and gives nothing back. */
static void
peer_holds(struct mchan *channel)
{
    struct mchan_view view;
    for (;;) {
        int error = mchan_view(channel, &view);
        if (error == -EAGAIN) {
            sleep_until(channel, MCHAN_READABLE);
        } else if (error || !is_filled(&view)) {
            _exit(2);
        }
    }
}

/* Gives back what it was lent, each time later than is asked for. */
static void
peer_gives_back(struct mchan *channel)
{
    struct mchan_view views[4];
    for (unsigned n = 0;;) {
        int error = mchan_view(channel, &views[n]);
        if (error == -EAGAIN) {
            sleep_until(channel, MCHAN_READABLE);
        } else if (error || !is_filled(&views[n])) {
            _exit(3);
        } else if (++n == 4) {
            nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
            while (n) {
                mchan_release(channel, &views[--n]);
            }
        }
    }
}

static void
start_peer(struct stage *stage, void (*live)(struct mchan *))
{
    fflush(NULL);
    stage->peer = fork();
    assert_true(stage->peer >= 0);
    if (!stage->peer) {
        struct mchan *channel;
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (mchan_open(&channel, stage->uri, &stage->opts)) {
            _exit(4);
        }
        peer_come_up(channel);
        live(channel);
    }
}

/* Ours. */

static void
wait_for(struct stage *stage, enum mchan_event_type type)
{
    struct mchan_event event;
    int64_t until = now_ns() + PATIENCE_NS;
    while (now_ns() < until) {
        while (mchan_next_event(stage->channel, &event)) {
            assert_int_not_equal(event.type, MCHAN_PROTO_ERROR);
            if (event.type == type) {
                return;
            }
        }
        sleep_until(stage->channel, MCHAN_READABLE);
    }
    fail_msg("event %d never came", type);
}

static struct mchan_view
next_view(struct stage *stage)
{
    struct mchan_view view;
    int64_t until = now_ns() + PATIENCE_NS;
    while (now_ns() < until) {
        int error = mchan_view(stage->channel, &view);
        if (!error) {
            assert_true(is_filled(&view));
            stage->n_seen++;
            return view;
        }
        assert_int_equal(error, -EAGAIN);
        sleep_until(stage->channel, MCHAN_READABLE);
    }
    fail_msg("no message");
    abort();
}

/* Takes what still comes of a peer that is gone. */
static void
drain(struct stage *stage)
{
    struct mchan_view view;
    int error;
    while (!(error = mchan_view(stage->channel, &view))) {
        assert_true(is_filled(&view));
        mchan_release(stage->channel, &view);
    }
    assert_int_equal(error, -ENOTCONN);
}

static void
what_a_killed_peer_lent_stays_as_it_was(void **state)
{
    struct stage *stage = *state;
    int32_t n_fds = held_fds(), n_maps = held_memfds();
    for (unsigned i = 0; i < KILLS; i++) {
        struct mchan_view held[20];
        unsigned n_held = 1 + i % 20;
        start_peer(stage, peer_lends);
        wait_for(stage, MCHAN_UP);
        for (unsigned n = 0; n < 3 * i; n++) { /* It sleeps now and then. */
            struct mchan_view view = next_view(stage);
            mchan_release(stage->channel, &view);
        }
        for (unsigned n = 0; n < n_held; n++) {
            held[n] = next_view(stage);
        }
        kill_peer(stage);
        wait_for(stage, MCHAN_PEER_LOST);
        drain(stage);
        for (unsigned n = 0; n < n_held; n++) {
            assert_true(is_filled(&held[n]));
            mchan_release(stage->channel, &held[n]);
        }
        assert_int_equal(held_fds(), n_fds);
        assert_int_equal(held_memfds(), n_maps);
    }
    assert_true(stage->n_seen > KILLS * 20);
}

static void
what_a_killed_peer_held_is_free_again(void **state)
{
    struct stage *stage = *state;
    int32_t n_fds = held_fds(), n_maps = held_memfds();
    for (unsigned i = 0; i < KILLS; i++) {
        struct mchan_stats stats;
        uint16_t n = 0;
        start_peer(stage, i % 2 ? peer_holds : peer_gives_back);
        wait_for(stage, MCHAN_UP);
        int error;
        while (!(error = lend(stage->channel, n)) && n < 32 + i) {
            n++;
        }
        assert_true(!error || error == -EAGAIN);
        assert_true(n >= 31); /* The former one's are not missing. */
        kill_peer(stage);
        wait_for(stage, MCHAN_PEER_LOST);
        drain(stage);
        mchan_stats(stage->channel, &stats, sizeof stats);
        assert_int_equal(stats.n_lent, 0);
    }
    assert_int_equal(held_fds(), n_fds);
    /* What the last did not acknowledge is kept, as its successor may be the
     * same. */
    assert_true(held_memfds() <= n_maps + 1);
}

static void
who_waits_for_a_chunk_wakes_when_it_comes_or_never_will(void **state)
{
    struct stage *stage = *state;
    start_peer(stage, peer_gives_back);
    wait_for(stage, MCHAN_UP);
    unsigned n_slept = 0;
    int64_t until = now_ns() + PATIENCE_NS;
    for (uint16_t n = 0; n < 500 && now_ns() < until;) {
        int error = lend(stage->channel, n);
        if (!error) {
            n++;
            continue;
        }
        assert_int_equal(error, -EAGAIN);
        if (!mchan_arm(stage->channel, MCHAN_WRITABLE)) {
            struct pollfd readable = {.fd = mchan_fd(stage->channel),
                                      .events = POLLIN};
            /* Nothing but the peer can end this. */
            assert_int_equal(poll(&readable, 1, 60000), 1);
            n_slept++;
        }
    }
    assert_true(n_slept > 5);
    kill_peer(stage);
    wait_for(stage, MCHAN_PEER_LOST);
    drain(stage);
    start_peer(stage, peer_holds);
    wait_for(stage, MCHAN_UP);
    while (!lend(stage->channel, 1)) {
    }
    while (mchan_arm(stage->channel, MCHAN_WRITABLE)) {
        struct mchan_event event;
        while (mchan_next_event(stage->channel, &event)) {
        }
        assert_int_equal(lend(stage->channel, 1), -EAGAIN);
    }
    kill(stage->peer, SIGKILL);
    struct pollfd readable = {.fd = mchan_fd(stage->channel), .events = POLLIN};
    assert_int_equal(poll(&readable, 1, 60000), 1);
    wait_for(stage, MCHAN_PEER_LOST);
    assert_int_equal(lend(stage->channel, 1), -ENOTCONN);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int
main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(what_a_killed_peer_lent_stays_as_it_was),
        TEST(what_a_killed_peer_held_is_free_again),
        TEST(who_waits_for_a_chunk_wakes_when_it_comes_or_never_will),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
