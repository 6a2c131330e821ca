/* SPDX-License-Identifier: Apache-2.0 */
/* How a session ends and goes on: goodbyes, channels that are lost, silence,
 * guests that move, come back, or come and go too often. */
#include "broker/back/guest_session.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "tests/unit/broker/guest_session_scene.h"

static void
bye_ends_it_with_its_reason(void **state)
{
    struct msg msg = {.type = MSG_BYE, .bye = {"going home"}},
               again = hello("");

    establish();
    say(&msg);
    assert_int_equal(events[0].type, MSG_GUEST_LOST);
    assert_string_equal(events[0].guest_lost.reason, "bye: going home");
    say(&again);
    assert_int_equal(events[1].type, MSG_GUEST_UP);
}

static void
a_bye_of_any_length_and_letters_is_told(void **state)
{
    struct msg msg = {.type = MSG_BYE};

    for (int i = 0; i < 80; i++) {
        memcpy(msg.bye.reason + 2 * i, "\xc3\xa9", 2);
    }
    establish();
    say(&msg);
    assert_int_equal(n_events, 1);
    assert_int_equal(events[0].type, MSG_GUEST_LOST);
}

static void
a_lost_channel_loses_the_guest_once(void **state)
{
    establish();
    guest_session_detached(&session, "peer died", now);
    guest_session_detached(&session, "peer died", now);
    assert_int_equal(n_events, 1);
    assert_string_equal(events[0].guest_lost.reason, "peer died");
}

static void
a_new_attachment_loses_the_old_agent_first(void **state)
{
    struct msg msg = hello("");

    establish();
    guest_session_attached(&session, now);
    say(&msg);
    assert_int_equal(n_events, 2);
    assert_int_equal(events[0].type, MSG_GUEST_LOST);
    assert_int_equal(events[1].type, MSG_GUEST_UP);
}

static void
our_end_says_bye_to_an_established_agent_only(void **state)
{
    guest_session_end(&session, "stop");
    assert_int_equal(n_sent, 0);
    establish();
    guest_session_end(&session, "stop");
    assert_int_equal(sent[0].type, MSG_BYE);
    assert_string_equal(sent[0].bye.reason, "stop");
}

static void
three_missed_beats_lose_the_guest(void **state)
{
    establish();
    nsec_t end = now + 3 * BEAT;

    for (; now < end; now += BEAT / 4) {
        guest_session_run(&session, now);
        assert_int_equal(n_events, 0);
        assert_true(guest_session_deadline(&session) > now);
        assert_true(guest_session_deadline(&session) <= now + BEAT);
    }
    guest_session_run(&session, now);
    assert_int_equal(n_events, 1);
    assert_int_equal(events[0].type, MSG_GUEST_LOST);
    assert_string_equal(events[0].guest_lost.reason,
                        "nothing was heard for 3 beats");
    assert_int_equal(session.phase, GUEST_SILENT);
}

static void
any_good_message_counts_as_a_beat(void **state)
{
    struct msg msg = report(1);

    establish();
    for (int i = 0; i < 40; i++) {
        now += BEAT;
        guest_session_run(&session, now);
        if (i % 2) {
            say(&msg);
        }
    }
    assert_int_equal(session.phase, GUEST_ESTABLISHED);
}

static void
nonsense_does_not_count_as_a_beat(void **state)
{
    establish();
    for (int i = 0; i < 40 && session.phase == GUEST_ESTABLISHED; i++) {
        now += BEAT / 4;
        guest_session_input(&session, MSG_REPORT, "", 0, now);
        guest_session_run(&session, now);
    }
    assert_int_equal(session.phase, GUEST_SILENT);
}

static void
a_silent_agent_that_speaks_again_is_up_again(void **state)
{
    struct msg msg = report(5);

    establish();
    for (int i = 0; i < 8; i++) {
        now += BEAT;
        guest_session_run(&session, now);
    }
    assert_int_equal(session.phase, GUEST_SILENT);
    n_events = 0;
    say(&msg);
    assert_int_equal(n_events, 2);
    assert_int_equal(events[0].type, MSG_GUEST_UP);
    assert_int_equal(events[1].type, MSG_GUEST_REPORT);
}

static void
whose_channel_is_resumed_is_up_with_his_next_word(void **state)
{
    struct msg msg = report(5);

    establish();
    guest_session_detached(&session, "gone", now);
    n_events = 0;
    guest_session_resumed(&session, now);
    assert_int_equal(n_events, 0);
    say(&msg);
    assert_int_equal(n_events, 2);
    assert_int_equal(events[0].type, MSG_GUEST_UP);
    assert_int_equal(events[1].type, MSG_GUEST_REPORT);
    assert_int_equal(n_sent, 0); /* No second WELCOME. */
}

static void
another_session_must_greet(void **state)
{
    struct msg msg = report(5);

    establish();
    guest_session_detached(&session, "gone", now);
    n_events = 0;
    guest_session_attached(&session, now);
    say(&msg);
    assert_int_equal(session.phase, GUEST_REFUSED);
}

static void
what_was_said_before_a_refusal_may_come_before_hello(void **state)
{
    struct msg msg = report(5), greeting = hello("web2");

    establish();
    say(&greeting);
    assert_int_equal(session.phase, GUEST_REFUSED);
    guest_session_detached(&session, "gone", now);
    n_sent = n_events = 0;
    guest_session_resumed(&session, now);
    for (int i = 0; i < 3; i++) {
        say(&msg);
    }
    assert_int_equal(session.phase, GUEST_GREETING);
    assert_int_equal(n_sent, 1); /* It is told once. */
    assert_int_equal(sent[0].type, MSG_REFUSED);
    greeting = hello("");
    say(&greeting);
    assert_int_equal(session.phase, GUEST_ESTABLISHED);
}

static void
a_vm_that_moves_may_be_silent_but_not_for_ever(void **state)
{
    establish();
    guest_session_suspended(&session, true, now);
    for (int i = 0; i < 59; i++) {
        now += BEAT;
        guest_session_run(&session, now);
        assert_true(guest_session_deadline(&session) > now);
    }
    assert_int_equal(session.phase, GUEST_ESTABLISHED);
    for (int i = 0; i < 8; i++) {
        now += BEAT;
        guest_session_run(&session, now);
    }
    assert_int_equal(session.phase, GUEST_SILENT);
}

static void
a_vm_that_moved_is_heard_again(void **state)
{
    establish();
    guest_session_suspended(&session, true, now);
    now += 20 * BEAT;
    guest_session_suspended(&session, false, now);
    now += BEAT;
    guest_session_run(&session, now);
    assert_int_equal(session.phase, GUEST_ESTABLISHED);
    for (int i = 0; i < 8; i++) {
        now += BEAT;
        guest_session_run(&session, now);
    }
    assert_int_equal(session.phase, GUEST_SILENT);
}

static void
our_own_sleep_is_not_the_agent_s_silence(void **state)
{
    establish();
    now += 3600 * NSEC_PER_SEC; /* The host was suspended. */
    guest_session_run(&session, now);
    assert_int_equal(session.phase, GUEST_ESTABLISHED);
    now += BEAT - 1;
    guest_session_run(&session, now);
    assert_int_equal(session.phase, GUEST_ESTABLISHED);
    now += 1;
    guest_session_run(&session, now);
    assert_int_equal(session.phase, GUEST_SILENT);
}

/* Each coming and going moves p-states that others share. */
static void
who_comes_and_goes_too_often_is_refused_for_a_while(void **state)
{
    struct msg msg = hello(""), bye = {.type = MSG_BYE, .bye = {"x"}};
    int n_up = 0;

    guest_session_attached(&session, now);
    for (int i = 0; i < 1000; i++) {
        n_events = n_sent = 0;
        say(&msg);
        for (int j = 0; j < n_events; j++) {
            n_up += events[j].type == MSG_GUEST_UP;
        }
        if (session.phase == GUEST_ESTABLISHED) {
            say(&bye);
        } else {
            assert_int_equal(sent[0].type, MSG_REFUSED);
            assert_non_null(strstr(sent[0].refused.reason, "too often"));
        }
        now += NSEC_PER_MSEC;
    }
    assert_int_equal(n_up, GUEST_SESSION_COMINGS_MAX);
    assert_int_equal(session.n_lost, GUEST_SESSION_COMINGS_MAX);
    now += GUEST_SESSION_COMING_NS; /* Agents ask again, on the same channel. */
    say(&msg);
    assert_int_equal(session.phase, GUEST_ESTABLISHED);
}

static void
who_falls_silent_too_often_stays_lost_for_a_while(void **state)
{
    struct msg msg = beat(1);

    session.beat_ns = 10 * NSEC_PER_MSEC;
    establish();
    for (int i = 0; i < 4000; i++) {
        now += session.beat_ns;
        guest_session_run(&session, now);
        if (session.phase == GUEST_SILENT) {
            n_events = 0;
            say(&msg);
        }
        if (session.phase == GUEST_SILENT) {
            break;
        }
    }
    assert_int_equal(session.phase, GUEST_SILENT);
    assert_int_equal(events[0].type, MSG_GUEST_ALARM);
    assert_non_null(strstr(events[0].guest_alarm.reason, "too often"));
    assert_in_range(session.n_lost, GUEST_SESSION_COMINGS_MAX,
                    2 * GUEST_SESSION_COMINGS_MAX);
    now += 10 * GUEST_SESSION_COMING_NS;
    say(&msg);
    assert_int_equal(session.phase, GUEST_ESTABLISHED);
}

#define TEST(name) cmocka_unit_test_setup(name, setup)

int
main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(bye_ends_it_with_its_reason),
        TEST(a_bye_of_any_length_and_letters_is_told),
        TEST(a_lost_channel_loses_the_guest_once),
        TEST(a_new_attachment_loses_the_old_agent_first),
        TEST(our_end_says_bye_to_an_established_agent_only),
        TEST(three_missed_beats_lose_the_guest),
        TEST(any_good_message_counts_as_a_beat),
        TEST(nonsense_does_not_count_as_a_beat),
        TEST(a_silent_agent_that_speaks_again_is_up_again),
        TEST(whose_channel_is_resumed_is_up_with_his_next_word),
        TEST(another_session_must_greet),
        TEST(what_was_said_before_a_refusal_may_come_before_hello),
        TEST(a_vm_that_moves_may_be_silent_but_not_for_ever),
        TEST(a_vm_that_moved_is_heard_again),
        TEST(our_own_sleep_is_not_the_agent_s_silence),
        TEST(who_comes_and_goes_too_often_is_refused_for_a_while),
        TEST(who_falls_silent_too_often_stays_lost_for_a_while),
    };

    return cmocka_run_group_tests_name("guest_session_ends", tests, NULL, NULL);
}
