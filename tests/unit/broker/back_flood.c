/* SPDX-License-Identifier: Apache-2.0 */
/* Guests who say too much: each is cut to its quota, is told, and costs
 * neither the engine nor the others anything; nor do bytes that are no
 * message. Over real channels (back_scene.h). */
#include "broker/back/back.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "tests/unit/broker/back_scene.h"

static void
a_flood_is_cut_to_its_quota_and_costs_the_others_nothing(void **state)
{
    struct mchan *noisy = dial_small(0, 1), *quiet = dial(1);
    int n = 5000;

    say_hello(quiet, "");
    until(MSG_GUEST_UP, 1, 1);
    nsec_t began = now;
    for (int i = 0; i < n; i++) {
        say_report(noisy, (uint64_t)i);
        if (i % 100 == 0) {
            int before = count(MSG_GUEST_REPORT, 1);

            say_report(quiet, (uint64_t)i);
            turns(2); /* One to bring it, one to hear it. */
            assert_int_equal(count(MSG_GUEST_REPORT, 1), before + 1);
        }
    }
    /* The newest of it is heard, if late. */
    uint64_t last = 0;
    for (time_t end = real_time() + PATIENCE_S; last + 1 < (uint64_t)n;) {
        assert_true(real_time() <= end);
        turns(1);
        for (int i = n_heard - 1; i >= 0 && last + 1 < (uint64_t)n; i--) {
            if (heard[i].type == MSG_GUEST_REPORT &&
                heard[i].guest_report.vm.byte[0] == 1) {
                last = heard[i].guest_report.epoch;
                break;
            }
        }
    }
    int n_reports = count(MSG_GUEST_REPORT, 0);
    assert_in_range(n_reports, 100, 100 + (now - began) / (NSEC_PER_SEC / 100));
    assert_true(stats_now().n_dropped > 0);
    assert_int_equal((uint64_t)n_reports + stats_now().n_dropped, n);
    assert_int_equal(count(MSG_GUEST_REPORT, 1), n / 100);
    hang_up(noisy);
    hang_up(quiet);
}

static void
requests_beyond_the_quota_are_refused_in_words_now_and_then(void **state)
{
    struct mchan *channel = dial_small(0, 3);
    struct msg msg;

    nsec_t began = now;
    for (uint64_t i = 0; i < 2000; i++) {
        say_notice(channel, i);
        turns(1);
    }
    turns(10);
    uint64_t n_denied = stats_now().n_denied;
    assert_true(n_denied > 0);
    assert_int_equal((uint64_t)count(MSG_GUEST_NOTICE, 0) + n_denied, 2000);
    int n_words = hear_all(channel, MSG_DENIED, &msg);
    assert_in_range(n_words, 1, 2 + (now - began) / NSEC_PER_SEC);
    assert_int_equal(msg.denied.type, MSG_NOTICE);
    assert_non_null(strstr(msg.denied.reason, "more than 100 messages"));
    turns(2000); /* What was left unsaid is said later. */
    hear_all(channel, MSG_DENIED, &msg);
    assert_int_equal(msg.denied.n_denied, n_denied);
    assert_int_equal(msg.denied.n_dropped, 0);
    assert_true(count(MSG_GUEST_ALARM, 0) >= 1);
    hang_up(channel);
}

static void
bytes_have_their_quota_too(void **state)
{
    struct mchan *channel = dial_small(0, 3);
    uint8_t data[MSG_SIZE_MAX];
    struct msg msg = {.type = MSG_NOTE,
                      .note = {.type = "t/1", .n_bytes = MSG_NOTE_SIZE_MAX}};
    ssize_t size;
    int n = 0;

    for (uint64_t i = 1; i <= 40; i++) {
        msg.note.number = i;
        size = msg_encode(&msg, 3, data, sizeof data, NULL, 0);
        assert_true(size > 3840);
        struct mchan_msg out = {
            .data = data, .size = (size_t)size, .tag = MSG_NOTE};
        while (mchan_send(channel, &out)) {
            turns(1);
        }
    }
    turns(300);
    for (int i = 0; i < n_heard; i++) {
        n += heard[i].type == MSG_GUEST_NOTE;
    }
    /* 20,000 at once and in each second; two wait. */
    assert_in_range(n, 4, 8);
    assert_in_range(stats_now().n_dropped, 28, 34);
    hang_up(channel);
}

static void
what_waits_is_forgotten_when_its_agent_goes(void **state)
{
    struct mchan *channel = dial_small(0, 1);

    for (uint64_t i = 0; i < 150; i++) {
        say_report(channel, i);
    }
    turns(5);
    int n_reports = count(MSG_GUEST_REPORT, 0);
    assert_true(n_reports < 150);
    hang_up(channel);
    until(MSG_GUEST_LOST, 0, 1);
    n_reports = count(MSG_GUEST_REPORT, 0);
    turns(2000);
    assert_int_equal(count(MSG_GUEST_REPORT, 0), n_reports);
    assert_int_equal((uint64_t)n_reports + stats_now().n_dropped, 150);
}

static void
the_engine_is_told_what_each_has_used(void **state)
{
    struct mchan *channel = dial_small(0, 1);
    const struct msg_guest_usage *usage = NULL;
    int n = 0;

    for (uint64_t i = 0; i < 3000; i++) {
        say_report(channel, i);
    }
    turns(4000);
    for (int i = 0; i < n_heard; i++) {
        if (heard[i].type == MSG_GUEST_USAGE) {
            usage = &heard[i].guest_usage;
            assert_int_equal(usage->vm.byte[0], 1);
            n++;
        }
    }
    assert_non_null(usage);
    assert_in_range(n, 2, 8); /* Each second, while there is news. */
    assert_int_equal(usage->n_messages,
                     1 + (uint64_t)count(MSG_GUEST_REPORT, 0));
    assert_int_equal(usage->n_dropped, stats_now().n_dropped);
    assert_int_equal(usage->n_messages + usage->n_dropped, 3001);
    assert_true(usage->memory_bytes >= 8192 && usage->memory_bytes < (1 << 19));
    n = n_heard;
    turns(900);
    assert_int_equal(n_heard, n);
    hang_up(channel);
}

/* Not so many messages are even taken from its channel. */
static void
what_is_far_too_much_waits_in_its_channel(void **state)
{
    struct mchan *noisy = dial_small(0, 1);
    struct msg msg = {.type = MSG_NOTICE,
                      .notice = {.end_ns = 2, .threshold_us = 3000}};
    time_t end = real_time() + PATIENCE_S;
    uint8_t data[MSG_SIZE_MAX];
    ssize_t size = msg_encode(&msg, 1, data, sizeof data, NULL, 0);
    struct mchan_msg out = {
        .data = data, .size = (size_t)size, .tag = MSG_NOTICE};
    struct mchan_event event;
    nsec_t began = now;
    uint64_t n = 0;

    while (n < 40000) {
        assert_true(real_time() <= end);
        while (!mchan_send(noisy, &out)) {
            n++;
        }
        mchan_next_event(noisy, &event);
        back_mark_ready(back, 0);
        now += NSEC_PER_MSEC / 50;
        back_run(back, now);
    }
    assert_true(stats_now().n_throttled > 0);
    /* 16,000 at once and in each second, but for what a ring holds. */
    assert_in_range(now - began, NSEC_PER_SEC, 2 * NSEC_PER_SEC);
    hang_up(noisy);
}

/* However little the engine takes, all have the same of it. */
static int n_room;

static int
slow_engine(void *ctx, const struct msg *msg)
{
    if (n_room <= 0) {
        return -EAGAIN;
    }
    n_room--;
    return to_engine(ctx, msg);
}

static void
a_slow_engine_is_shared_fairly(void **state)
{
    struct back_env env = {.to_engine = slow_engine, .start_count = 3};
    struct mchan *channels[N_GUESTS];
    int n_reports[N_GUESTS];

    back_destroy(back);
    n_room = 1000000;
    assert_int_equal(back_create(&back, &config, &env), 0);
    for (uint32_t i = 0; i < N_GUESTS; i++) {
        assert_int_equal(mchan_listen(&channels[i], uris[i], NULL), 0);
        back_add_channel(back, i, channels[i]);
        channels[i] = dial((int)i);
        say_hello(channels[i], "");
        until(MSG_GUEST_UP, (int)i, 1);
    }
    n_room = 0;
    /* Guest 0 has always more to say than the others. */
    for (int turn = 0; turn < 600; turn++) {
        for (uint32_t i = 0; i < N_GUESTS; i++) {
            struct msg msg = {.type = MSG_REPORT,
                              .report = {.end_ns = 2, .threshold_us = 3000}};
            uint8_t data[MSG_SIZE_MAX];
            ssize_t size = msg_encode(&msg, 1, data, sizeof data, NULL, 0);
            struct mchan_msg out = {
                .data = data, .size = (size_t)size, .tag = MSG_REPORT};

            for (int j = 0; j < (i == 0 ? 8 : 1); j++) {
                mchan_send(channels[i], &out);
            }
        }
        n_room = 3;
        turns(1);
    }
    for (int i = 0; i < N_GUESTS; i++) {
        n_reports[i] = count(MSG_GUEST_REPORT, i);
    }
    for (int i = 1; i < N_GUESTS; i++) {
        /* A guest that said as much as was taken of it in all had its third. */
        assert_in_range(n_reports[i], 500, 600);
    }
    n_room = 1000000;
    for (int i = 0; i < N_GUESTS; i++) {
        hang_up(channels[i]);
    }
}

static void
a_guest_has_a_number_of_messages_per_turn(void **state)
{
    struct mchan *channel = dial(0);

    say_hello(channel, "");
    until(MSG_GUEST_UP, 0, 1);
    for (uint64_t i = 0; i < 100; i++) {
        say_report(channel, i);
    }
    int before = count(MSG_GUEST_REPORT, 0);
    turns(1);
    assert_true(count(MSG_GUEST_REPORT, 0) - before <= BACK_MESSAGES_PER_TURN);
    until(MSG_GUEST_REPORT, 0, 100);
    hang_up(channel);
}

static void
bytes_that_are_no_channel_s_are_survived(void **state)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    struct mchan *good = dial(1);

    say_hello(good, "");
    until(MSG_GUEST_UP, 1, 1);
    srand(3);
    strcpy(address.sun_path, uris[0] + strlen("unix:"));
    for (int i = 0; i < 30; i++) {
        uint8_t noise[300];
        int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);

        for (size_t j = 0; j < sizeof noise; j++) {
            noise[j] = (uint8_t)rand();
        }
        if (!connect(fd, (struct sockaddr *)&address, sizeof address)) {
            ssize_t put = write(fd, noise, 1 + (size_t)rand() % 299);

            (void)put;
        }
        turns(3);
        close(fd);
        turns(3);
    }
    say_report(good, 1);
    until(MSG_GUEST_REPORT, 1, 1);
    struct mchan *channel = dial(0);
    say_hello(channel, "");
    until(MSG_GUEST_UP, 0, 1);
    hang_up(channel);
    hang_up(good);
}

static void
a_message_larger_than_any_of_ours_is_refused(void **state)
{
    struct mchan *channel = dial(0);
    static uint8_t large[MSG_SIZE_MAX * 2 - 300];
    struct mchan_msg out = {
        .data = large, .size = sizeof large, .tag = MSG_REPORT};

    say_hello(channel, "");
    until(MSG_GUEST_UP, 0, 1);
    assert_int_equal(mchan_send(channel, &out), 0);
    say_report(channel, 1);
    until(MSG_GUEST_REPORT, 0, 1);
    assert_int_equal(count(MSG_GUEST_ALARM, 0), 1);
    hang_up(channel);
}

static void
long_messages_cost_more(void **state)
{
    struct mchan *channel = dial(0);
    static uint8_t large[6000];
    struct mchan_msg out = {
        .data = large, .size = sizeof large, .tag = MSG_REPORT};
    time_t end = real_time() + PATIENCE_S;
    struct back_stats stats = {0};
    int n = 0;

    say_hello(channel, "");
    until(MSG_GUEST_UP, 0, 1);
    while (!stats.n_throttled) {
        assert_true(real_time() <= end);
        while (!mchan_send(channel, &out)) {
            n++;
        }
        turns(1);
        back_stats(back, &stats);
    }
    assert_in_range(n, 200, 16000 / 6);
    hang_up(channel);
}

/* Bytes that make up no message wake us as messages do. */
static void
who_wakes_us_for_nothing_has_to_wait(void **state)
{
    struct mchan *channel = dial(0);
    struct back_stats stats;
    int n = 0;

    say_hello(channel, "");
    until(MSG_GUEST_UP, 0, 1);
    for (; n < 100000 && back_wants_input(back, 0); n++) {
        back_mark_ready(back, 0);
        back_run(back, now);
    }
    assert_true(n < 100000);
    assert_true(back_deadline(back) > now);
    back_stats(back, &stats);
    assert_true(stats.n_throttled > 0);
    say_report(channel, 1);
    until(MSG_GUEST_REPORT, 0, 1);
    hang_up(channel);
}

static int64_t
made_up_time(void *ctx)
{
    return now;
}

/* Its channel's own deadlines wait as long as the guest does: else we would be
 * woken for them again and again and do nothing. */
static void
who_has_to_wait_does_not_keep_us_awake(void **state)
{
    struct back_env env = {.to_engine = to_engine, .start_count = 3};
    struct broker_config one = config;
    struct mchan_opts opts = MCHAN_OPTS_INIT;
    struct mchan *channel;
    int pair[2];

    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
    opts.fd = pair[0];
    opts.now_ns = made_up_time;
    assert_int_equal(mchan_listen(&channel, "unix:", &opts), 0);
    back_destroy(back);
    one.n_guests = 1;
    assert_int_equal(back_create(&back, &one, &env), 0);
    back_add_channel(back, 0, channel);
    back_run(back, now);
    nsec_t hello_due = mchan_deadline(channel);
    assert_true(hello_due > now && hello_due < now + 10 * NSEC_PER_SEC);
    now = hello_due - 1;
    while (back_wants_input(back, 0)) {
        back_mark_ready(back, 0);
        back_run(back, now);
    }
    now = hello_due + 1;
    back_run(back, now);
    assert_true(mchan_deadline(channel) < now);
    assert_true(back_deadline(back) > now);
    now = back_deadline(back);
    back_run(back, now);
    assert_true(mchan_deadline(channel) > now);
    close(pair[1]);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int
main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_flood_is_cut_to_its_quota_and_costs_the_others_nothing),
        TEST(requests_beyond_the_quota_are_refused_in_words_now_and_then),
        TEST(bytes_have_their_quota_too),
        TEST(what_waits_is_forgotten_when_its_agent_goes),
        TEST(the_engine_is_told_what_each_has_used),
        TEST(what_is_far_too_much_waits_in_its_channel),
        TEST(a_slow_engine_is_shared_fairly),
        TEST(a_guest_has_a_number_of_messages_per_turn),
        TEST(who_wakes_us_for_nothing_has_to_wait),
        TEST(who_has_to_wait_does_not_keep_us_awake),
        TEST(bytes_that_are_no_channel_s_are_survived),
        TEST(a_message_larger_than_any_of_ours_is_refused),
        TEST(long_messages_cost_more),
    };

    return cmocka_run_group_tests_name("back_flood", tests, NULL, NULL);
}
