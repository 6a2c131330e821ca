/* SPDX-License-Identifier: Apache-2.0 */
/* What an agent must not say, and what it says too much of: it is refused,
 * alarmed within bounds, and nothing of it gets through. */
#include "broker/back/guest_session.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/unit/broker/guest_session_scene.h"
#include "wire/grant.h"

static void
bytes_that_make_no_sense_are_refused_and_the_next_message_served(void **state)
{
    static const uint8_t noise[] = {0xff, 0x00, 0xa1, 0x5f};
    struct msg msg = report(1);

    establish();
    guest_session_input(&session, MSG_REPORT, noise, sizeof noise, now);
    assert_int_equal(session.n_refused, 1);
    assert_int_equal(events[0].type, MSG_GUEST_ALARM);
    say(&msg);
    assert_int_equal(events[1].type, MSG_GUEST_REPORT);
    assert_int_equal(session.phase, GUEST_ESTABLISHED);
}

static void
types_that_agents_may_not_send_are_refused(void **state)
{
    uint8_t data[MSG_SIZE_MAX];

    establish();
    for (unsigned tag = 0; tag < 300; tag++) {
        if (tag == MSG_HELLO || tag == MSG_BYE || tag == MSG_BEAT ||
            tag == MSG_REPORT || tag == MSG_NOTICE) {
            continue;
        }
        uint64_t n_refused = session.n_refused;

        guest_session_input(&session, tag, data, 0, now);
        assert_int_equal(session.n_refused, n_refused + 1);
    }
    for (int i = 0; i < n_events; i++) {
        assert_int_equal(events[i].type, MSG_GUEST_ALARM);
    }
    assert_int_equal(session.phase, GUEST_ESTABLISHED);
}

static void
well_formed_messages_of_the_broker_s_own_are_refused(void **state)
{
    struct msg msgs[] = {
        {.type = MSG_SET_PSTATE, .set_pstate = {.command = 1, .cause = 1}},
        {.type = MSG_WELCOME,
         .welcome = {.version = 1, .name = "x", .beat_ms = 10}},
        {.type = MSG_GUEST_NOTICE,
         .guest_notice = {.cause = 1, .threshold_us = 1}},
    };

    establish();
    for (size_t i = 0; i < 3; i++) {
        say(&msgs[i]);
    }
    assert_int_equal(session.n_refused, 3);
    assert_int_equal(n_sent, 0);
    assert_int_equal(n_events, 1); /* One alarm a second. */
}

static void
contradictory_epochs_are_refused(void **state)
{
    struct msg more = report(1), backward = report(2), violent = notice();

    more.report.n_violations = more.report.n_requests + 1;
    backward.report.end_ns = backward.report.start_ns - 1;
    violent.notice.n_violations = 201;
    establish();
    say(&more);
    say(&backward);
    say(&violent);
    assert_int_equal(session.n_refused, 3);
    for (int i = 0; i < n_events; i++) {
        assert_int_equal(events[i].type, MSG_GUEST_ALARM);
    }
}

static void
a_flood_of_nonsense_alarms_once_a_second_with_the_count(void **state)
{
    establish();
    for (int i = 0; i < 30000; i++) {
        guest_session_input(&session, 99, "", 0, now);
        guest_session_run(&session, now);
        now += NSEC_PER_MSEC / 10;
    }
    assert_in_range(n_events, 3, 4);
    now += NSEC_PER_SEC;
    guest_session_run(&session, now);
    assert_int_equal(events[n_events - 1].guest_alarm.n_refused, 30000);
    assert_false(session.alarm_due);
}

static void
random_bytes_never_get_through(void **state)
{
    uint8_t data[200];

    srand(7);
    establish();
    for (int i = 0; i < 20000; i++) {
        size_t size = (size_t)rand() % sizeof data;
        unsigned tag = (unsigned)rand() % 10;

        for (size_t j = 0; j < size; j++) {
            data[j] = (uint8_t)rand();
        }
        guest_session_input(&session, tag, data, size, now);
        assert_int_equal(session.phase, GUEST_ESTABLISHED);
    }
    assert_int_equal(session.n_refused, 20000);
}

/* Every type there could be, over its limit and at it; garbage of the right
 * size is refused too, but for what it is. */
static void
what_the_table_of_rights_does_not_let_through_is_refused_and_alarmed(
    void **state)
{
    static const uint8_t garbage[MSG_SIZE_MAX + 1];

    establish();
    for (unsigned type = 0; type < 65536; type++) {
        const struct grant *grant = grant_find(type, GRANT_AGENT, GRANT_BACK);
        size_t size = grant ? grant->size + 1 : 0;
        uint64_t n_refused = session.n_refused;

        session.next_alarm = INT64_MIN;
        session.alarm_due = false;
        n_events = 0;
        guest_session_input(&session, type, garbage, size, now);
        assert_int_equal(session.n_refused, n_refused + 1);
        assert_int_equal(n_events, 1);
        assert_int_equal(events[0].type, MSG_GUEST_ALARM);
        const char *reason = events[0].guest_alarm.reason;
        assert_non_null(strstr(reason, grant ? "bytes, at most"
                                             : "agent may not send back"));
        if (grant) {
            guest_session_input(&session, type, garbage, grant->size, now);
            assert_int_equal(session.n_refused, n_refused + 2);
            assert_null(strstr(session.alarm, "bytes, at most"));
        }
    }
    assert_int_equal(session.phase, GUEST_ESTABLISHED);
    assert_int_equal(n_sent, 0);
}

static const struct quota_config quota = {.messages_per_second = 7,
                                          .bytes_per_second = 5000};

static void
who_says_too_much_is_told_at_most_once_a_second(void **state)
{
    establish_version(3);
    for (uint64_t i = 1; i <= 1000; i++) {
        guest_session_over(&session, MSG_NOTICE, &quota, i, 2 * i, now);
        guest_session_run(&session, now);
        now += 5 * NSEC_PER_MSEC;
    }
    assert_in_range(n_sent, 5, 6);
    assert_int_equal(sent[0].type, MSG_DENIED);
    assert_int_equal(sent[0].denied.n_denied, 1);
    assert_string_equal(sent[0].denied.reason,
                        "more than 7 messages or 5000 bytes a second, or more "
                        "of NOTICE than its right");
    now += GUEST_SESSION_DENIED_NS;
    assert_true(guest_session_deadline(&session) <= now);
    guest_session_run(&session, now);
    assert_int_equal(sent[n_sent - 1].denied.n_denied, 1000);
    assert_int_equal(sent[n_sent - 1].denied.n_dropped, 2000);
    int before = n_sent;
    guest_session_run(&session, now + 10 * GUEST_SESSION_DENIED_NS);
    assert_int_equal(n_sent, before);
}

static void
the_engine_is_alarmed_when_it_begins_and_now_and_then(void **state)
{
    int n_alarms = 0;

    establish_version(3);
    for (uint64_t i = 1; i <= 1000; i++) {
        guest_session_over(&session, MSG_REPORT, &quota, 0, i, now);
        n_events = 0;
        guest_session_run(&session, now);
        for (int j = 0; j < n_events; j++) {
            assert_int_equal(events[j].type, MSG_GUEST_ALARM);
            assert_non_null(
                strstr(events[j].guest_alarm.reason, "7 messages or 5000"));
            n_alarms++;
        }
        now += 100 * NSEC_PER_MSEC; /* 100 s in all. */
    }
    assert_int_equal(n_alarms, 4);
    assert_int_equal(session.n_refused, 0);
}

static void
who_says_too_much_is_alive(void **state)
{
    establish_version(3);
    for (uint64_t i = 1; i <= 100; i++) {
        guest_session_over(&session, MSG_BEAT, &quota, 0, i / 50, now);
        guest_session_run(&session, now);
        now += BEAT;
    }
    assert_int_equal(session.phase, GUEST_ESTABLISHED);
}

static void
what_only_waits_is_nobody_s_news(void **state)
{
    establish_version(3);
    guest_session_over(&session, MSG_REPORT, &quota, 0, 0, now);
    guest_session_run(&session, now);
    assert_int_equal(n_sent + n_events, 0);
}

static void
who_speaks_version_2_is_not_told_but_alarmed(void **state)
{
    establish_version(2);
    guest_session_over(&session, MSG_REPORT, &quota, 0, 1, now);
    guest_session_run(&session, now);
    assert_int_equal(n_sent, 0);
    assert_int_equal(n_events, 1);
}

/* An alarm that is due is not overwritten, and both moments are looked at. */
static void
too_much_does_not_hide_nonsense(void **state)
{
    establish_version(3);
    guest_session_misused(&session, "first", now);
    guest_session_misused(&session, "second", now);
    guest_session_over(&session, MSG_REPORT, &quota, 0, 1, now);
    assert_true(guest_session_deadline(&session) <=
                now + GUEST_SESSION_ALARM_NS);
    n_events = 0;
    now += GUEST_SESSION_ALARM_NS;
    guest_session_run(&session, now);
    assert_int_equal(n_events, 1);
    assert_string_equal(events[0].guest_alarm.reason, "second");
    guest_session_over(&session, MSG_REPORT, &quota, 0, 2, now);
    assert_true(session.alarm_due); /* Its turn has come. */
}

static void
before_hello_nobody_is_told(void **state)
{
    guest_session_over(&session, MSG_HELLO, &quota, 1, 0, now);
    guest_session_attached(&session, now);
    guest_session_over(&session, MSG_HELLO, &quota, 1, 0, now);
    guest_session_run(&session, now);
    assert_int_equal(n_sent + n_events, 0);
}

static void
what_comes_without_an_attachment_is_ignored(void **state)
{
    struct msg msg = hello("");

    say(&msg);
    assert_int_equal(session.phase, GUEST_ABSENT);
    assert_int_equal(n_sent + n_events, 0);
}

#define TEST(name) cmocka_unit_test_setup(name, setup)

int
main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(bytes_that_make_no_sense_are_refused_and_the_next_message_served),
        TEST(types_that_agents_may_not_send_are_refused),
        TEST(well_formed_messages_of_the_broker_s_own_are_refused),
        TEST(contradictory_epochs_are_refused),
        TEST(a_flood_of_nonsense_alarms_once_a_second_with_the_count),
        TEST(random_bytes_never_get_through),
        TEST(
            what_the_table_of_rights_does_not_let_through_is_refused_and_alarmed),
        TEST(who_says_too_much_is_told_at_most_once_a_second),
        TEST(the_engine_is_alarmed_when_it_begins_and_now_and_then),
        TEST(who_says_too_much_is_alive),
        TEST(what_only_waits_is_nobody_s_news),
        TEST(who_speaks_version_2_is_not_told_but_alarmed),
        TEST(too_much_does_not_hide_nonsense),
        TEST(before_hello_nobody_is_told),
        TEST(what_comes_without_an_attachment_is_ignored),
    };

    return cmocka_run_group_tests_name("guest_session_refused", tests, NULL,
                                       NULL);
}
