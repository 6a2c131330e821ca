/* SPDX-License-Identifier: Apache-2.0 */
/* An agent and its broker meet: HELLO until somebody answers, beats once it
 * was welcomed, refusals, another broker, a session that goes on elsewhere,
 * and goodbyes. On a made-up channel and clock (agent_scene.h). */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "tests/unit/agent/agent_scene.h"

static void
hello_is_said_when_a_broker_is_there_and_not_before(void **state)
{
    struct bench *b = *state;
    const struct msg *hello;

    run_ms(b, 2000);
    assert_int_equal(b->channel.n_sent, 0);
    event(b, MCHAN_UP, "");
    run_ms(b, 1);
    assert_int_equal(b->channel.n_sent, 1);
    hello = last_sent(b, MSG_HELLO);
    assert_int_equal(hello->hello.version_min, MSG_VERSION_MIN);
    assert_int_equal(hello->hello.version_max, MSG_VERSION_MAX);
    assert_string_equal(hello->hello.software, "test 1");
    assert_string_equal(hello->hello.claims, "web1");
    assert_int_equal(hello->hello.n_offers, 1);
    assert_string_equal(hello->hello.offers[0], "sim");
    assert_int_equal(hello->hello.time_ns, 3000 * MS);
}

static void
hello_is_repeated_when_nobody_answers(void **state)
{
    struct bench *b = *state;

    event(b, MCHAN_UP, "");
    run_ms(b, 4000);
    assert_int_equal(count_sent(b, MSG_HELLO), 1);
    run_ms(b, 2000);
    assert_int_equal(count_sent(b, MSG_HELLO), 2);
}

static void
nothing_but_hello_is_said_before_welcome(void **state)
{
    struct bench *b = *state;

    event(b, MCHAN_UP, "");
    requests(b, 10, 9000);
    run_ms(b, 1600);
    assert_int_equal(b->channel.n_sent, count_sent(b, MSG_HELLO));
}

static void
beat_follows_welcome_and_each_period(void **state)
{
    struct bench *b = *state;
    struct agent_stats stats;

    welcome(b);
    agent_stats(b->agent, &stats);
    assert_true(stats.established);
    assert_int_equal(count_sent(b, MSG_BEAT), 1);
    assert_int_equal(last_sent(b, MSG_BEAT)->beat.origin_ns, b->now);
    assert_int_equal(last_sent(b, MSG_BEAT)->beat.offset_error_ns, UINT64_MAX);
    run_ms(b, 3000);
    assert_int_equal(count_sent(b, MSG_BEAT), 4);
    assert_int_equal(last_sent(b, MSG_BEAT)->beat.number, 3);
}

static void
beats_carry_the_offset_that_answers_told(void **state)
{
    struct bench *b = *state;
    struct msg reply = {.type = MSG_BEAT_REPLY};

    welcome(b);
    reply.beat_reply.number = 0;
    reply.beat_reply.origin_ns = b->now;
    reply.beat_reply.receive_ns = b->now + 7000 * MS + 10;
    reply.beat_reply.transmit_ns = b->now + 7000 * MS + 10;
    b->now += 20;
    deliver(b, &reply);
    run_ms(b, 0); /* The first answer is told at once. */
    assert_int_equal(last_sent(b, MSG_BEAT)->beat.number, 1);
    assert_int_equal(last_sent(b, MSG_BEAT)->beat.offset_ns, -7000 * MS);
    assert_true(last_sent(b, MSG_BEAT)->beat.offset_error_ns <= 11);
}

static void
beat_that_could_not_be_sent_is_no_beat(void **state)
{
    struct bench *b = *state;

    welcome(b);
    b->channel.send_error = -EAGAIN;
    run_ms(b, 3000);
    b->channel.send_error = 0;
    run_ms(b, 100);
    assert_int_equal(last_sent(b, MSG_BEAT)->beat.number, 1);
}

static void
new_broker_starts_with_an_unknown_offset(void **state)
{
    struct bench *b = *state;
    struct msg reply = {.type = MSG_BEAT_REPLY};

    welcome(b);
    reply.beat_reply.origin_ns = b->now;
    reply.beat_reply.receive_ns = reply.beat_reply.transmit_ns = b->now;
    deliver(b, &reply);
    run_ms(b, 1);
    event(b, MCHAN_PEER_LOST, "it left");
    welcome(b);
    assert_int_equal(last_sent(b, MSG_BEAT)->beat.offset_error_ns, UINT64_MAX);
    assert_int_equal(last_sent(b, MSG_BEAT)->beat.number, 0);
}

static void
refused_agent_asks_again_ever_less_often(void **state)
{
    struct bench *b = *state;
    struct msg refused = {.type = MSG_REFUSED};
    unsigned n_hellos[3];

    strcpy(refused.refused.reason, "you are not web1");
    for (unsigned round = 0; round < 8; round++) {
        event(b, MCHAN_UP, "");
        run_ms(b, 0);
        if (count_sent(b, MSG_HELLO)) {
            deliver(b, &refused);
            run_ms(b, 0);
        }
        n_hellos[0] = count_sent(b, MSG_HELLO);
        /* A channel that comes back at once does not shorten the wait. */
        event(b, MCHAN_PEER_LOST, "refused");
        event(b, MCHAN_UP, "");
        run_ms(b, 500);
        n_hellos[1] = count_sent(b, MSG_HELLO);
        assert_int_equal(n_hellos[0], n_hellos[1]);
        run_ms(b, 70000);
        n_hellos[2] = count_sent(b, MSG_HELLO);
        assert_true(n_hellos[2] > n_hellos[1]);
        b->channel.n_sent = 0;
    }
    assert_non_null(strstr(b->said, "you are not web1"));
    assert_non_null(strstr(b->said, "in 60 s"));
}

static void
welcome_ends_the_long_waits(void **state)
{
    struct bench *b = *state;
    struct msg refused = {.type = MSG_REFUSED};
    unsigned n;

    event(b, MCHAN_UP, "");
    run_ms(b, 0);
    for (unsigned i = 0; i < 5; i++) {
        deliver(b, &refused);
        run_ms(b, 60000);
    }
    welcome(b);
    n = count_sent(b, MSG_HELLO);
    deliver(b, &refused);
    run_ms(b, 1100);
    assert_int_equal(count_sent(b, MSG_HELLO), n + 1);
}

static void
resumed_elsewhere_the_offset_is_unknown_again(void **state)
{
    struct bench *b = *state;
    struct msg reply = {.type = MSG_BEAT_REPLY};

    welcome(b);
    reply.beat_reply.origin_ns = b->now;
    reply.beat_reply.receive_ns = reply.beat_reply.transmit_ns = b->now;
    deliver(b, &reply);
    run_ms(b, 1);
    assert_true(last_sent(b, MSG_BEAT)->beat.offset_error_ns < MS);
    event(b, MCHAN_SUSPENDING, "");
    event(b, MCHAN_RESUMED, "");
    run_ms(b, 1100);
    assert_int_equal(last_sent(b, MSG_BEAT)->beat.offset_error_ns, UINT64_MAX);
}

static void
a_resumed_session_needs_no_second_greeting(void **state)
{
    struct bench *b = *state;
    unsigned n_beats;

    welcome(b);
    n_beats = count_sent(b, MSG_BEAT);
    event(b, MCHAN_PEER_LOST, "gone");
    run_ms(b, 300);
    come_back(b);
    run_ms(b, 1);
    assert_int_equal(count_sent(b, MSG_HELLO), 1);
    /* The broker waits for a word. */
    assert_int_equal(count_sent(b, MSG_BEAT), n_beats + 1);
}

static void
who_was_not_welcomed_greets_again(void **state)
{
    struct bench *b = *state;

    event(b, MCHAN_UP, "");
    run_ms(b, 1);
    event(b, MCHAN_PEER_LOST, "gone");
    come_back(b);
    run_ms(b, 1);
    assert_int_equal(count_sent(b, MSG_HELLO), 2);
}

static void
who_was_refused_in_the_end_greets_again(void **state)
{
    struct bench *b = *state;
    struct msg refused = {.type = MSG_REFUSED};

    strcpy(refused.refused.reason, "you are not web1");
    welcome(b);
    event(b, MCHAN_PEER_LOST, "gone");
    run_ms(b, 1);
    deliver(b, &refused); /* Its last word. */
    run_ms(b, 1);
    come_back(b);
    run_ms(b, 1);
    assert_int_equal(count_sent(b, MSG_HELLO), 2);
}

static void
a_new_session_is_greeted_even_after_a_welcome(void **state)
{
    struct bench *b = *state;

    welcome(b);
    event(b, MCHAN_PEER_LOST, "gone");
    event(b, MCHAN_UP, "");
    run_ms(b, 1);
    assert_int_equal(count_sent(b, MSG_HELLO), 2);
}

static void
nothing_beats_while_it_is_suspended(void **state)
{
    struct bench *b = *state;
    unsigned n_beats;

    welcome(b);
    event(b, MCHAN_SUSPENDING, "");
    run_ms(b, 1);
    n_beats = count_sent(b, MSG_BEAT);
    run_ms(b, 20000);
    assert_int_equal(count_sent(b, MSG_BEAT), n_beats);
    assert_null(strstr(b->said, "has not answered"));
    event(b, MCHAN_RESUMED, "");
    run_ms(b, 1);
    assert_int_equal(count_sent(b, MSG_BEAT), n_beats + 1);
}

static void
late_answers_to_beats_before_a_move_are_no_fault(void **state)
{
    struct bench *b = *state;
    struct msg reply = {.type = MSG_BEAT_REPLY};

    welcome(b);
    reply.beat_reply.origin_ns = b->now;
    reply.beat_reply.receive_ns = reply.beat_reply.transmit_ns = b->now;
    event(b, MCHAN_SUSPENDING, "");
    event(b, MCHAN_RESUMED, "");
    run_ms(b, 1);
    reply.beat_reply.number = 77;
    deliver(b, &reply);
    run_ms(b, 1);
    assert_null(strstr(b->said, "answers no beat"));
    /* One was under way. */
    deliver(b, &reply);
    run_ms(b, 1);
    assert_non_null(strstr(b->said, "answers no beat"));
}

static void
welcome_to_another_version_is_no_welcome(void **state)
{
    struct bench *b = *state;
    struct msg msg = {.type = MSG_WELCOME};
    struct agent_stats stats;

    event(b, MCHAN_UP, "");
    run_ms(b, 0);
    msg.welcome.version = 99;
    msg.welcome.beat_ms = 1000;
    deliver(b, &msg);
    run_ms(b, 10);
    agent_stats(b->agent, &stats);
    assert_false(stats.established);
    assert_non_null(strstr(b->said, "version 99"));
}

static void
goodbye_of_the_broker_is_followed_by_a_new_hello(void **state)
{
    struct bench *b = *state;
    struct msg bye = {.type = MSG_BYE};
    unsigned n_reports;

    welcome(b);
    deliver(b, &bye);
    run_ms(b, 900);
    n_reports = count_sent(b, MSG_REPORT);
    assert_int_equal(n_reports, 0);
    assert_int_equal(count_sent(b, MSG_HELLO), 1);
    run_ms(b, 200);
    assert_int_equal(count_sent(b, MSG_HELLO), 2);
}

static void
unasked_welcome_changes_nothing(void **state)
{
    struct bench *b = *state;
    struct msg msg = {.type = MSG_WELCOME};

    welcome(b);
    msg.welcome.version = 1;
    msg.welcome.beat_ms = 10;
    deliver(b, &msg);
    run_ms(b, 1999);
    assert_int_equal(count_sent(b, MSG_BEAT), 2);
}

static void
silent_broker_is_told_of_once(void **state)
{
    struct bench *b = *state;

    welcome(b);
    run_ms(b, 10000);
    assert_non_null(strstr(b->said, "has not answered"));
    assert_int_equal(b->n_said, 2);
}

static void
stop_says_bye_once_and_then_nothing(void **state)
{
    struct bench *b = *state;

    welcome(b);
    agent_stop(b->agent, "maintenance");
    assert_string_equal(last_sent(b, MSG_BYE)->bye.reason, "maintenance");
    run_ms(b, 2000);
    event(b, MCHAN_UP, "");
    run_ms(b, 100);
    assert_int_equal(b->channel.sent[b->channel.n_sent - 1].type, MSG_BYE);
    agent_stop(b->agent, "again");
    assert_int_equal(count_sent(b, MSG_BYE), 1);
}

static void
stop_without_a_broker_says_nothing(void **state)
{
    struct bench *b = *state;

    agent_stop(b->agent, "maintenance");
    assert_int_equal(b->channel.n_sent, 0);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int
main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(hello_is_said_when_a_broker_is_there_and_not_before),
        CASE(hello_is_repeated_when_nobody_answers),
        CASE(nothing_but_hello_is_said_before_welcome),
        CASE(beat_follows_welcome_and_each_period),
        CASE(beats_carry_the_offset_that_answers_told),
        CASE(beat_that_could_not_be_sent_is_no_beat),
        CASE(new_broker_starts_with_an_unknown_offset),
        CASE(resumed_elsewhere_the_offset_is_unknown_again),
        CASE(a_resumed_session_needs_no_second_greeting),
        CASE(who_was_not_welcomed_greets_again),
        CASE(who_was_refused_in_the_end_greets_again),
        CASE(a_new_session_is_greeted_even_after_a_welcome),
        CASE(nothing_beats_while_it_is_suspended),
        CASE(late_answers_to_beats_before_a_move_are_no_fault),
        CASE(refused_agent_asks_again_ever_less_often),
        CASE(welcome_ends_the_long_waits),
        CASE(welcome_to_another_version_is_no_welcome),
        CASE(goodbye_of_the_broker_is_followed_by_a_new_hello),
        CASE(unasked_welcome_changes_nothing),
        CASE(silent_broker_is_told_of_once),
        CASE(stop_says_bye_once_and_then_nothing),
        CASE(stop_without_a_broker_says_nothing),
    };

    return cmocka_run_group_tests_name("agent/meeting", tests, NULL, NULL);
}
