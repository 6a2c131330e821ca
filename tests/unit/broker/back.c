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

static void
a_flood_is_slowed_and_costs_the_others_nothing(void **state)
{
    struct mchan *noisy = dial(0), *quiet = dial(1);
    struct back_stats stats;

    say_hello(noisy, "");
    say_hello(quiet, "");
    until(MSG_GUEST_UP, 0, 1);
    until(MSG_GUEST_UP, 1, 1);
    nsec_t began = now;
    for (uint64_t i = 0; i < BACK_MESSAGES_BURST + 500; i++) {
        say_report(noisy, i);
        if (i % 100 == 0) {
            int before = count(MSG_GUEST_REPORT, 1);

            say_report(quiet, i);
            turns(2); /* One to bring it, one to hear it. */
            assert_int_equal(count(MSG_GUEST_REPORT, 1), before + 1);
        }
    }
    until(MSG_GUEST_REPORT, 0, BACK_MESSAGES_BURST + 500);
    back_stats(back, &stats);
    assert_true(stats.n_throttled > 0);
    assert_true(now - began >= NSEC_PER_SEC / 3);
    hang_up(noisy);
    hang_up(quiet);
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
        n += !mchan_send(channel, &out);
        turns(1);
        back_stats(back, &stats);
    }
    assert_in_range(n, 20, BACK_MESSAGES_BURST / 3);
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
        TEST(a_flood_is_slowed_and_costs_the_others_nothing),
        TEST(a_guest_has_a_number_of_messages_per_turn),
        TEST(who_wakes_us_for_nothing_has_to_wait),
        TEST(who_has_to_wait_does_not_keep_us_awake),
        TEST(bytes_that_are_no_channel_s_are_survived),
        TEST(a_message_larger_than_any_of_ours_is_refused),
        TEST(long_messages_cost_more),
        TEST(leaving_says_bye_to_agents),
        TEST(an_idle_back_wakes_only_for_beats),
        TEST(without_guests_there_is_nothing_to_do),
    };

    return cmocka_run_group_tests_name("back", tests, NULL, NULL);
}
