/* SPDX-License-Identifier: Apache-2.0 */
/* The back core with real channels: agents come, speak, flood and die, and the
 * engine hears of it, each guest for itself. */
#include "broker/back/back.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "broker/config/config.h"
#include "include/mchan.h"
#include "wire/msg.h"

#define N_GUESTS 3
#define KEPT_MAX 20000
#define PATIENCE_S 20 /* Then a test has failed. */

static char dir[64], uris[N_GUESTS][96];
static struct broker_config config;
static struct guest_config guests[N_GUESTS];
static struct back *back;
static struct mchan *agents[N_GUESTS]; /* Borrowed; null: nobody dialled. */
static struct msg *heard;              /* By the engine. */
static int n_heard, engine_error;
static nsec_t now;

static int
to_engine(void *ctx, const struct msg *msg)
{
    if (!engine_error && n_heard < KEPT_MAX) {
        heard[n_heard++] = *msg;
    }
    return engine_error;
}

static int
setup(void **state)
{
    struct back_env env = {.to_engine = to_engine, .start_count = 2};

    strcpy(dir, "/tmp/mbroker-back-XXXXXX");
    assert_non_null(mkdtemp(dir));
    heard = calloc(KEPT_MAX, sizeof *heard);
    n_heard = engine_error = 0;
    memset(agents, 0, sizeof agents);
    now = 5000 * NSEC_PER_SEC;
    memset(guests, 0, sizeof guests);
    config = (struct broker_config){.domain = "local",
                                    .n_guests = N_GUESTS,
                                    .guests = guests,
                                    .beat_ns = NSEC_PER_SEC};
    for (uint32_t i = 0; i < N_GUESTS; i++) {
        snprintf(guests[i].name, sizeof guests[i].name, "web%u", i);
        guests[i].uuid.byte[0] = (uint8_t)(i + 1);
    }
    assert_int_equal(back_create(&back, &config, &env), 0);
    for (uint32_t i = 0; i < N_GUESTS; i++) {
        struct mchan *channel;

        snprintf(uris[i], sizeof uris[i], "unix:%s/%u", dir, i);
        assert_int_equal(mchan_listen(&channel, uris[i], NULL), 0);
        back_add_channel(back, i, channel);
    }
    return 0;
}

static int
teardown(void **state)
{
    char command[128];

    back_destroy(back);
    free(heard);
    snprintf(command, sizeof command, "rm -rf %s", dir);
    return system(command);
}

/* Lets made-up time pass, a little in each turn.  Agents' channels are moved on
 * by looking for events, which none here cares about. */
static void
turns(int n)
{
    struct mchan_event event;

    for (int i = 0; i < n; i++) {
        for (uint32_t j = 0; j < N_GUESTS; j++) {
            while (agents[j] && mchan_next_event(agents[j], &event) > 0) {
            }
            back_mark_ready(back, j);
        }
        now += NSEC_PER_MSEC;
        back_run(back, now);
    }
}

static int
count(enum msg_type type, int guest)
{
    int n = 0;

    for (int i = 0; i < n_heard; i++) {
        /* The stamp is at another place in each. */
        const struct uuid *vm =
            heard[i].type == MSG_GUEST_UP       ? &heard[i].guest_up.vm
            : heard[i].type == MSG_GUEST_LOST   ? &heard[i].guest_lost.vm
            : heard[i].type == MSG_GUEST_REPORT ? &heard[i].guest_report.vm
            : heard[i].type == MSG_GUEST_NOTICE ? &heard[i].guest_notice.vm
            : heard[i].type == MSG_GUEST_NOTE   ? &heard[i].guest_note.vm
            : heard[i].type == MSG_GUEST_USAGE  ? &heard[i].guest_usage.vm
                                                : &heard[i].guest_alarm.vm;

        n += heard[i].type == type && vm->byte[0] == guest + 1;
    }
    return n;
}

static time_t
real_time(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return ts.tv_sec;
}

/* Runs turns until the engine heard that much. */
static void
until(enum msg_type type, int guest, int n)
{
    time_t end = real_time() + PATIENCE_S;

    while (count(type, guest) < n) {
        if (real_time() > end) {
            fail_msg("%s of guest %d: %d, not %d", msg_name(type), guest,
                     count(type, guest), n);
        }
        turns(1);
    }
}

static struct mchan *
dial(int guest)
{
    struct mchan *channel;

    assert_int_equal(mchan_open(&channel, uris[guest], NULL), 0);
    agents[guest] = channel;
    return channel;
}

static void
hang_up(struct mchan *channel)
{
    for (int i = 0; i < N_GUESTS; i++) {
        agents[i] = agents[i] == channel ? NULL : agents[i];
    }
    mchan_close(channel);
}

/* Sends, turning until there is room. */
static void
say(struct mchan *channel, const struct msg *msg)
{
    uint8_t data[MSG_SIZE_MAX];
    time_t end = real_time() + PATIENCE_S;
    ssize_t size = msg_encode(msg, 1, data, sizeof data, NULL, 0);
    struct mchan_msg out = {
        .data = data, .size = (size_t)size, .tag = (uint16_t)msg->type};

    assert_true(size > 0);
    while (mchan_send(channel, &out)) {
        assert_true(real_time() <= end);
        turns(1);
    }
}

static void
say_hello(struct mchan *channel, const char *claims)
{
    struct msg msg = {
        .type = MSG_HELLO,
        .hello = {.version_min = 1, .version_max = 1, .software = "test"}};

    strcpy(msg.hello.claims, claims);
    say(channel, &msg);
}

static void
say_report(struct mchan *channel, uint64_t epoch)
{
    struct msg msg = {.type = MSG_REPORT,
                      .report = {.epoch = epoch,
                                 .start_ns = 1,
                                 .end_ns = 2,
                                 .n_requests = 3,
                                 .threshold_us = 3000}};

    say(channel, &msg);
}

/* The next message from the broker. */
static struct msg
hear(struct mchan *channel)
{
    uint8_t data[MSG_SIZE_MAX];
    time_t end = real_time() + PATIENCE_S;
    struct mchan_info info;
    struct msg msg;
    ssize_t size;

    while ((size = mchan_recv(channel, data, sizeof data, &info)) < 0) {
        assert_true(real_time() <= end);
        turns(1);
    }
    assert_int_equal(msg_decode(&msg, info.tag, 1, data, (size_t)size, NULL, 0),
                     0);
    return msg;
}

static void
hello_is_welcomed_over_a_real_channel(void **state)
{
    struct mchan *channel = dial(1);

    say_hello(channel, "web1");
    struct msg msg = hear(channel);
    assert_int_equal(msg.type, MSG_WELCOME);
    assert_string_equal(msg.welcome.name,
                        "mgmt://local/vm/02000000-0000-0000-0000-000000000000/"
                        "agent");
    until(MSG_GUEST_UP, 1, 1);
    assert_int_equal(n_heard, 1);
    hang_up(channel);
}

static void
causes_are_of_this_start(void **state)
{
    struct mchan *channel = dial(0);

    say_hello(channel, "");
    say_report(channel, 1);
    until(MSG_GUEST_REPORT, 0, 1);
    assert_int_equal(heard[0].guest_up.cause, (2ull << 40) | 1);
    assert_int_equal(heard[1].guest_report.cause, (2ull << 40) | 2);
    hang_up(channel);
}

static void
who_speaks_is_who_the_channel_belongs_to(void **state)
{
    struct mchan *channels[N_GUESTS];

    for (int i = 0; i < N_GUESTS; i++) {
        channels[i] = dial(i);
        say_hello(channels[i], "");
        say_report(channels[i], (uint64_t)i);
    }
    for (int i = 0; i < N_GUESTS; i++) {
        until(MSG_GUEST_REPORT, i, 1);
    }
    for (int i = 0; i < n_heard; i++) {
        if (heard[i].type == MSG_GUEST_REPORT) {
            assert_int_equal(heard[i].guest_report.vm.byte[0],
                             heard[i].guest_report.epoch + 1);
        }
    }
    for (int i = 0; i < N_GUESTS; i++) {
        hang_up(channels[i]);
    }
}

static void
a_false_claim_is_refused_and_the_others_go_on(void **state)
{
    struct mchan *liar = dial(0), *good = dial(1);

    say_hello(good, "");
    say_hello(liar, "web1");
    struct msg msg = hear(liar);
    assert_int_equal(msg.type, MSG_REFUSED);
    until(MSG_GUEST_ALARM, 0, 1);
    for (uint64_t i = 0; i < 10; i++) {
        say_report(liar, i);
        say_report(good, i);
    }
    until(MSG_GUEST_REPORT, 1, 10);
    turns(50);
    assert_int_equal(count(MSG_GUEST_REPORT, 0), 0);
    assert_int_equal(count(MSG_GUEST_UP, 0), 0);
    hang_up(liar);
    hang_up(good);
}

static void
an_agent_that_dies_is_lost_and_may_come_again(void **state)
{
    struct mchan *channel = dial(0);

    say_hello(channel, "");
    until(MSG_GUEST_UP, 0, 1);
    hang_up(channel);
    until(MSG_GUEST_LOST, 0, 1);
    channel = dial(0);
    say_hello(channel, "");
    until(MSG_GUEST_UP, 0, 2);
    assert_int_equal(count(MSG_GUEST_LOST, 0), 1);
    hang_up(channel);
}

static void
what_an_agent_said_before_it_died_is_heard_first(void **state)
{
    struct mchan *channel = dial(0);

    say_hello(channel, "");
    until(MSG_GUEST_UP, 0, 1);
    for (uint64_t i = 0; i < 5; i++) {
        say_report(channel, i);
    }
    hang_up(channel);
    until(MSG_GUEST_LOST, 0, 1);
    assert_int_equal(count(MSG_GUEST_REPORT, 0), 5);
    assert_int_equal(heard[n_heard - 1].type, MSG_GUEST_LOST);
}

static void
an_agent_that_falls_silent_is_lost_after_three_beats(void **state)
{
    struct mchan *channel = dial(0);

    say_hello(channel, "");
    until(MSG_GUEST_UP, 0, 1);
    nsec_t began = now;
    until(MSG_GUEST_LOST, 0, 1);
    assert_in_range(now - began, 3 * NSEC_PER_SEC - 10 * NSEC_PER_MSEC,
                    3 * NSEC_PER_SEC + 10 * NSEC_PER_MSEC);
    say_report(channel, 1);
    until(MSG_GUEST_UP, 0, 2);
    until(MSG_GUEST_REPORT, 0, 1);
    hang_up(channel);
}

static void
a_full_engine_makes_guests_wait_and_loses_nothing(void **state)
{
    struct mchan *channel = dial(0);
    struct back_stats stats;

    say_hello(channel, "");
    until(MSG_GUEST_UP, 0, 1);
    engine_error = -EAGAIN;
    for (uint64_t i = 0; i < 300; i++) {
        say_report(channel, i);
    }
    turns(200);
    assert_false(back_wants_input(back, 0));
    assert_int_equal(count(MSG_GUEST_REPORT, 0), 0);
    back_stats(back, &stats);
    assert_true(stats.n_messages < 200);
    engine_error = 0;
    until(MSG_GUEST_REPORT, 0, 300);
    assert_true(back_wants_input(back, 0));
    uint64_t epoch = 0;
    for (int i = 0; i < n_heard; i++) {
        if (heard[i].type == MSG_GUEST_REPORT) {
            assert_int_equal(heard[i].guest_report.epoch, epoch);
            epoch++;
        }
    }
    hang_up(channel);
}

/* A guest of a small quota. */
static struct mchan *
dial_small(int guest, uint32_t version)
{
    struct back_env env = {.to_engine = to_engine, .start_count = 3};
    struct msg msg = {.type = MSG_HELLO,
                      .hello = {.version_min = 1,
                                .version_max = version,
                                .software = "test"}};
    struct mchan *channel;

    back_destroy(back);
    guests[guest].quota = (struct quota_config){
        .messages_per_second = 100, .bytes_per_second = 20000, .memory = 8192};
    assert_int_equal(back_create(&back, &config, &env), 0);
    for (uint32_t i = 0; i < N_GUESTS; i++) {
        assert_int_equal(mchan_listen(&channel, uris[i], NULL), 0);
        back_add_channel(back, i, channel);
    }
    channel = dial(guest);
    say(channel, &msg);
    until(MSG_GUEST_UP, guest, 1);
    return channel;
}

static struct back_stats
stats_now(void)
{
    struct back_stats stats;

    back_stats(back, &stats);
    return stats;
}

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
what_is_heard_late_is_in_order(void **state)
{
    struct mchan *noisy = dial_small(0, 1);
    uint64_t last = 0;

    for (uint64_t i = 1; i <= 3000; i++) {
        say_report(noisy, i);
    }
    turns(3000);
    assert_true(stats_now().n_dropped > 0);
    for (int i = 0; i < n_heard; i++) {
        if (heard[i].type == MSG_GUEST_REPORT) {
            assert_true(heard[i].guest_report.epoch > last);
            last = heard[i].guest_report.epoch;
        }
    }
    assert_int_equal(last, 3000);
    hang_up(noisy);
}

static void
say_notice(struct mchan *channel, uint64_t epoch)
{
    struct msg msg = {.type = MSG_NOTICE,
                      .notice = {.epoch = epoch,
                                 .start_ns = 1,
                                 .end_ns = 2,
                                 .n_requests = 3,
                                 .threshold_us = 3000}};

    say(channel, &msg);
}

/* The messages of a type that have come to an agent by now. */
static int
hear_all(struct mchan *channel, enum msg_type type, struct msg *last)
{
    uint8_t data[MSG_SIZE_MAX];
    struct mchan_info info;
    ssize_t size;
    int n = 0;

    while ((size = mchan_recv(channel, data, sizeof data, &info)) >= 0) {
        if (info.tag == (uint16_t)type) {
            n++;
            assert_int_equal(
                msg_decode(last, type, 3, data, (size_t)size, NULL, 0), 0);
        }
    }
    return n;
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
who_speaks_an_older_version_is_not_sent_what_it_has_not(void **state)
{
    struct mchan *channel = dial_small(0, 2);
    struct msg msg;

    for (uint64_t i = 0; i < 500; i++) {
        say_notice(channel, i);
    }
    turns(2000);
    assert_true(stats_now().n_denied > 0);
    assert_int_equal(hear_all(channel, MSG_DENIED, &msg), 0);
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
who_says_too_much_is_not_taken_for_silent(void **state)
{
    struct mchan *channel = dial_small(0, 3);
    struct msg msg;

    for (int i = 0; i < 5000; i++) {
        say_notice(channel, (uint64_t)i);
        say_notice(channel, (uint64_t)i);
        turns(1);
        hear_all(channel, MSG_DENIED, &msg);
    }
    assert_true(stats_now().n_denied > 5000);
    assert_int_equal(count(MSG_GUEST_LOST, 0), 0);
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

static void
leaving_says_bye_to_agents(void **state)
{
    struct back_env env = {.to_engine = to_engine, .start_count = 3};
    struct mchan *channel = dial(0);

    say_hello(channel, "");
    assert_int_equal(hear(channel).type, MSG_WELCOME);
    back_destroy(back);
    assert_int_equal(back_create(&back, &config, &env), 0);
    struct msg msg = hear(channel);
    assert_int_equal(msg.type, MSG_BYE);
    assert_string_equal(msg.bye.reason, "the broker stops");
    hang_up(channel);
}

static void
an_idle_back_wakes_only_for_beats(void **state)
{
    struct mchan *channel = dial(0);

    turns(20);
    for (int i = 0; i < 100 && back_deadline(back) <= now; i++) {
        now += 1;
        back_run(back, now); /* Until there is nothing left to do. */
    }
    assert_true(back_deadline(back) > now);
    say_hello(channel, "");
    assert_int_equal(hear(channel).type, MSG_WELCOME);
    for (int i = 0; i < 100 && back_deadline(back) <= now; i++) {
        now += 1;
        back_run(back, now);
    }
    assert_in_range(back_deadline(back) - now, 900 * NSEC_PER_MSEC,
                    NSEC_PER_SEC);
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

static void
another_instance_of_a_vm_begins_a_session_of_its_own(void **state)
{
    struct mchan *channel = dial(0);
    struct mchan_event event = {0};
    time_t end = real_time() + PATIENCE_S;

    say_hello(channel, "");
    until(MSG_GUEST_UP, 0, 1);
    agents[0] = NULL; /* Its events are looked at here. */
    while (mchan_next_event(channel, &event) > 0) {
    }
    back_renew(back, 0);
    back_renew(back, 1); /* Nobody is there: nothing to forget. */
    while (mchan_next_event(channel, &event) <= 0 || event.type != MCHAN_UP) {
        assert_true(real_time() <= end);
        turns(1);
    }
    assert_false(event.resumed);
    agents[0] = channel;
    say_hello(channel, "");
    until(MSG_GUEST_UP, 0, 2);
    assert_int_equal(count(MSG_GUEST_LOST, 0), 1);
    hang_up(channel);
}

static void
a_vm_that_moves_is_not_lost_meanwhile(void **state)
{
    struct mchan *channel = dial(0);

    say_hello(channel, "");
    until(MSG_GUEST_UP, 0, 1);
    assert_int_equal(mchan_suspend(channel), 0);
    turns(10000);
    assert_int_equal(count(MSG_GUEST_LOST, 0), 0);
    assert_int_equal(mchan_resume(channel, NULL), 0);
    say_report(channel, 1);
    until(MSG_GUEST_REPORT, 0, 1);
    assert_int_equal(count(MSG_GUEST_LOST, 0), 0);
    assert_int_equal(count(MSG_GUEST_UP, 0), 1);
    hang_up(channel);
}

static void
without_guests_there_is_nothing_to_do(void **state)
{
    struct back_env env = {.to_engine = to_engine, .start_count = 1};
    struct broker_config none = {.domain = "local", .beat_ns = NSEC_PER_SEC};
    struct back *empty;

    assert_int_equal(back_create(&empty, &none, &env), 0);
    back_run(empty, now);
    assert_int_equal(back_deadline(empty), NSEC_NEVER);
    back_destroy(empty);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int
main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(hello_is_welcomed_over_a_real_channel),
        TEST(causes_are_of_this_start),
        TEST(who_speaks_is_who_the_channel_belongs_to),
        TEST(a_false_claim_is_refused_and_the_others_go_on),
        TEST(an_agent_that_dies_is_lost_and_may_come_again),
        TEST(what_an_agent_said_before_it_died_is_heard_first),
        TEST(an_agent_that_falls_silent_is_lost_after_three_beats),
        TEST(a_full_engine_makes_guests_wait_and_loses_nothing),
        TEST(a_flood_is_cut_to_its_quota_and_costs_the_others_nothing),
        TEST(what_is_heard_late_is_in_order),
        TEST(requests_beyond_the_quota_are_refused_in_words_now_and_then),
        TEST(who_speaks_an_older_version_is_not_sent_what_it_has_not),
        TEST(bytes_have_their_quota_too),
        TEST(who_says_too_much_is_not_taken_for_silent),
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
        TEST(leaving_says_bye_to_agents),
        TEST(another_instance_of_a_vm_begins_a_session_of_its_own),
        TEST(a_vm_that_moves_is_not_lost_meanwhile),
        TEST(an_idle_back_wakes_only_for_beats),
        TEST(without_guests_there_is_nothing_to_do),
    };

    return cmocka_run_group_tests_name("back", tests, NULL, NULL);
}
