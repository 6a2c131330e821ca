/* SPDX-License-Identifier: Apache-2.0 */
/* Agents come, speak, fall silent, die and move, and the engine hears of it,
 * each guest for itself; over real channels (back_scene.h). */
#include "broker/back/back.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "tests/unit/broker/back_scene.h"

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
    back_renew(back, &config.guests[0].uuid, now + 1);
    back_renew(back, &config.guests[1].uuid, now + 1); /* Nobody is there. */
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
a_session_that_began_since_stays(void **state)
{
    struct mchan *channel = dial(0);
    nsec_t since = now; /* The VM was reset, and its agent is quicker. */

    turns(1);
    say_hello(channel, "");
    until(MSG_GUEST_UP, 0, 1);
    back_renew(back, &config.guests[0].uuid, since);
    say_report(channel, 1);
    until(MSG_GUEST_REPORT, 0, 1);
    assert_int_equal(count(MSG_GUEST_LOST, 0), 0);
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

/* A reload: guests are numbered anew, one is told goodbye, the others don't
 * notice. */
static void
who_stays_configured_keeps_its_session(void **state)
{
    struct mchan *gone = dial(0), *stays = dial(1);
    struct broker_config next = config;
    struct guest_config fewer[N_GUESTS];
    struct msg last;

    (void)state;
    say_hello(gone, "");
    say_hello(stays, "");
    until(MSG_GUEST_UP, 0, 1);
    until(MSG_GUEST_UP, 1, 1);
    memcpy(fewer, guests + 1, sizeof fewer - sizeof fewer[0]);
    next.guests = fewer;
    next.n_guests = N_GUESTS - 1;
    assert_int_equal(back_prepare(back, &next), 0);
    back_unprepare(back);
    say_report(gone, 1); /* What was prepared and dropped changed nothing. */
    until(MSG_GUEST_REPORT, 0, 1);
    assert_int_equal(back_prepare(back, &next), 0);
    back_reconfigure(back, &next);
    assert_true(back_has_channel(back, 0));
    for (uint32_t i = 0; i < next.n_guests; i++) {
        back_mark_ready(back, i);
    }
    for (uint64_t i = 1; i <= 5; i++) {
        say_report(stays, i);
        back_mark_ready(back, 0);
        back_run(back, now += NSEC_PER_MSEC);
    }
    for (int i = 0; i < 100 && count(MSG_GUEST_REPORT, 1) < 5; i++) {
        back_mark_ready(back, 0);
        back_run(back, now += NSEC_PER_MSEC);
    }
    assert_int_equal(count(MSG_GUEST_REPORT, 1), 5);
    assert_int_equal(count(MSG_GUEST_UP, 1), 1);
    assert_int_equal(count(MSG_GUEST_LOST, 1), 0);
    assert_int_equal(hear_all(gone, MSG_BYE, &last), 1);
    /* Back to what it was, for the rest of this bench: without a channel. */
    assert_int_equal(back_prepare(back, &config), 0);
    back_reconfigure(back, &config);
    assert_false(back_has_channel(back, 0));
    assert_true(back_has_channel(back, 1));
    assert_int_equal(back_fd(back, 0), -1);
    hang_up(gone);
    hang_up(stays);
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
        TEST(what_is_heard_late_is_in_order),
        TEST(who_speaks_an_older_version_is_not_sent_what_it_has_not),
        TEST(who_says_too_much_is_not_taken_for_silent),
        TEST(leaving_says_bye_to_agents),
        TEST(another_instance_of_a_vm_begins_a_session_of_its_own),
        TEST(a_session_that_began_since_stays),
        TEST(a_vm_that_moves_is_not_lost_meanwhile),
        TEST(an_idle_back_wakes_only_for_beats),
        TEST(who_stays_configured_keeps_its_session),
        TEST(without_guests_there_is_nothing_to_do),
    };

    return cmocka_run_group_tests_name("back", tests, NULL, NULL);
}
