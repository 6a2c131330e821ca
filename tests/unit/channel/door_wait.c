/* SPDX-License-Identifier: Apache-2.0 */
/* Waiting, through the public door: each sleep is ended, none goes on beyond
 * its time, an idle channel costs nothing, and statistics say what went
 * through. */
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include <cmocka.h>

#include "tests/unit/channel/door_scene.h"

static void
a_thousand_sleeps_are_each_ended(void **state)
{
    for (size_t i = 0; i < 2; i++) {
        char text[64];
        struct mchan *ends[2];
        make_pair(schemes[i], 0, &ends[0], &ends[1]);
        come_up(ends[0], ends[1]);
        for (int j = 0; j < 1000; j++) {
            struct mchan *to = ends[j % 2], *from = ends[!(j % 2)];
            while (mchan_arm(to, MCHAN_READABLE)) {
            }
            assert_int_equal(send_text(from, "wake"), 0);
            struct pollfd readable = {.fd = mchan_fd(to), .events = POLLIN};
            assert_int_equal(poll(&readable, 1, PATIENCE_MS), 1);
            assert_int_equal(mchan_recv(to, text, sizeof text, NULL), 5);
            assert_int_equal(mchan_recv(to, text, sizeof text, NULL), -EAGAIN);
        }
        mchan_close(ends[0]);
        mchan_close(ends[1]);
    }
}

static void
waiting_ends_at_its_time(void **state)
{
    struct place *place = *state;
    struct mchan *back;
    assert_int_equal(mchan_listen(&back, place->uri, NULL), 0);
    assert_int_equal(mchan_wait(back, 0), 0);
    assert_int_equal(mchan_wait(back, 20), 0);
    mchan_close(back);
}

static void *
answer(void *arg)
{
    struct mchan *channel = arg;
    char text[64];
    for (;;) {
        struct mchan_event event;
        mchan_wait(channel, PATIENCE_MS);
        while (mchan_next_event(channel, &event)) {
            if (event.type == MCHAN_PEER_LOST) {
                return NULL;
            }
        }
        while (mchan_recv(channel, text, sizeof text, NULL) >= 0) {
            assert_int_equal(send_text(channel, text), 0);
        }
    }
}

static void
two_threads_wake_each_other(void **state)
{
    for (size_t i = 0; i < 2; i++) {
        int ends[2];
        char text[64];
        struct mchan *back, *front;
        struct mchan_event event;
        struct mchan_opts opts = MCHAN_OPTS_INIT;
        pthread_t thread;
        assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, ends), 0);
        opts.fd = ends[0];
        assert_int_equal(mchan_listen(&back, schemes[i], &opts), 0);
        opts.fd = ends[1];
        assert_int_equal(mchan_open(&front, schemes[i], &opts), 0);
        assert_int_equal(pthread_create(&thread, NULL, answer, back), 0);
        assert_int_equal(mchan_wait(front, PATIENCE_MS), 1);
        assert_int_equal(mchan_next_event(front, &event), 1);
        assert_int_equal(event.type, MCHAN_UP);
        for (int j = 0; j < 20000; j++) {
            char sent[64];
            snprintf(sent, sizeof sent, "message %d", j);
            assert_int_equal(send_text(front, sent), 0);
            ssize_t got;
            while ((got = mchan_recv(front, text, sizeof text, NULL)) < 0) {
                assert_int_equal(mchan_wait(front, PATIENCE_MS), 1);
            }
            assert_string_equal(text, sent);
        }
        mchan_close(front);
        pthread_join(thread, NULL);
        mchan_close(back);
    }
}

static void
an_idle_channel_costs_nothing(void **state)
{
    /* Nothing makes its descriptor readable. */
    for (size_t i = 0; i < 2; i++) {
        int ends[2];
        struct mchan *back, *front;
        struct mchan_opts opts = MCHAN_OPTS_INIT;
        assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, ends), 0);
        opts.fd = ends[0];
        assert_int_equal(mchan_listen(&back, schemes[i], &opts), 0);
        opts.fd = ends[1];
        assert_int_equal(mchan_open(&front, schemes[i], &opts), 0);
        come_up(back, front);
        assert_int_equal(mchan_arm(back, MCHAN_READABLE), 0);
        assert_int_equal(mchan_arm(front, MCHAN_READABLE), 0);
        /* The second arm may have sent what wakes the first once. */
        assert_int_equal(mchan_arm(back, MCHAN_READABLE), 0);
        struct pollfd fds[2] = {
            {.fd = mchan_fd(back), .events = POLLIN},
            {.fd = mchan_fd(front), .events = POLLIN},
        };
        assert_int_equal(poll(fds, 2, 200), 0);
        mchan_close(front);
        mchan_close(back);
    }
}

static void
statistics_say_what_went_through(void **state)
{
    int ends[2];
    char text[64];
    struct mchan *back, *front;
    struct mchan_stats stats;
    struct mchan_opts opts = MCHAN_OPTS_INIT;
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, ends), 0);
    opts.fd = ends[0];
    assert_int_equal(mchan_listen(&back, "shm:", &opts), 0);
    opts.fd = ends[1];
    assert_int_equal(mchan_open(&front, "shm:", &opts), 0);
    come_up(back, front);
    for (int i = 0; i < 10; i++) {
        assert_int_equal(send_text(front, "four"), 0);
    }
    for (int i = 0; i < 7; i++) {
        assert_int_equal(mchan_recv(back, text, sizeof text, NULL), 5);
    }
    mchan_arm(back, MCHAN_READABLE);
    mchan_arm(front, MCHAN_READABLE);
    assert_int_equal(mchan_stats(front, &stats, sizeof stats), 0);
    assert_int_equal(stats.n_sent, 10);
    assert_int_equal(stats.bytes_sent, 50);
    assert_int_equal(stats.n_acked, 6); /* It has not asked for the eighth. */
    assert_int_equal(stats.n_attachments, 1);
    assert_int_equal(mchan_stats(back, &stats, sizeof stats), 0);
    assert_int_equal(stats.n_received, 7);
    assert_int_equal(stats.bytes_received, 35);
    /* A program built with a shorter structure. */
    uint64_t one[2] = {0, 99};
    assert_int_equal(
        mchan_stats(front, (struct mchan_stats *)(void *)one, sizeof *one), 0);
    assert_int_equal(one[0], 10);
    assert_int_equal(one[1], 99);
    mchan_close(back);
    mchan_stats(front, &stats, sizeof stats);
    mchan_arm(front, MCHAN_READABLE);
    mchan_stats(front, &stats, sizeof stats);
    assert_int_equal(stats.n_acked + stats.n_dropped, 10);
    mchan_close(front);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int
main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_thousand_sleeps_are_each_ended),
        TEST(waiting_ends_at_its_time),
        TEST(two_threads_wake_each_other),
        TEST(an_idle_channel_costs_nothing),
        TEST(statistics_say_what_went_through),
    };
    return cmocka_run_group_tests_name("channel/door_wait", tests, NULL, NULL);
}
