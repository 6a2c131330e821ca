/* SPDX-License-Identifier: Apache-2.0 */
/* An agent is discovered and established, and what it says is passed on,
 * stamped and answered. */
#include "broker/back/guest_session.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "tests/unit/broker/guest_session_scene.h"

static void
hello_is_welcomed_by_name(void **state)
{
    struct msg msg = hello("");

    guest_session_attached(&session, now);
    say(&msg);
    assert_int_equal(n_sent, 1);
    assert_int_equal(sent[0].type, MSG_WELCOME);
    assert_int_equal(sent[0].welcome.version, 1);
    assert_int_equal(sent[0].welcome.beat_ms, 1000);
    assert_string_equal(
        sent[0].welcome.name,
        "mgmt://local/vm/11111111-2222-3333-4444-555555555555/agent");
}

static void
hello_is_told_to_the_engine(void **state)
{
    struct msg msg = hello("");

    guest_session_attached(&session, now);
    say(&msg);
    assert_int_equal(n_events, 1);
    assert_int_equal(events[0].type, MSG_GUEST_UP);
    assert_string_equal(events[0].guest_up.name, "web1");
    assert_string_equal(events[0].guest_up.software, "magentd 0.1");
    assert_int_equal(events[0].guest_up.n_offers, 1);
    assert_string_equal(events[0].guest_up.offers[0], "httplog");
    assert_true(uuid_equal(&events[0].guest_up.vm, &session.identity.uuid));
    assert_int_equal(events[0].guest_up.cause, (3ull << 40) | 1);
    assert_int_equal(events[0].guest_up.received_ns, now);
    assert_true(events[0].guest_up.offset_error_ns == UINT64_MAX);
}

static void
a_true_claim_is_welcomed(void **state)
{
    static const char *const claims[] = {
        "web1", "11111111-2222-3333-4444-555555555555"};

    for (size_t i = 0; i < 2; i++) {
        struct msg msg = hello(claims[i]);

        guest_session_attached(&session, now);
        say(&msg);
        assert_int_equal(session.phase, GUEST_ESTABLISHED);
    }
}

static void
a_claim_to_be_another_vm_is_refused_and_alarmed(void **state)
{
    static const char *const claims[] = {
        "web2", "web", "web11", "11111111-2222-3333-4444-555555555556"};

    for (size_t i = 0; i < 4; i++) {
        struct msg msg = hello(claims[i]);

        n_sent = n_events = 0;
        now += 10 * NSEC_PER_SEC;
        guest_session_attached(&session, now);
        say(&msg);
        assert_int_equal(session.phase, GUEST_REFUSED);
        assert_int_equal(n_sent, 1);
        assert_int_equal(sent[0].type, MSG_REFUSED);
        assert_int_equal(n_events, 1);
        assert_int_equal(events[0].type, MSG_GUEST_ALARM);
        assert_true(
            uuid_equal(&events[0].guest_alarm.vm, &session.identity.uuid));
        assert_non_null(strstr(events[0].guest_alarm.reason, claims[i]));
    }
}

static void
nothing_is_heard_after_a_false_claim_until_it_attaches_anew(void **state)
{
    struct msg msg = hello("web2"), good = hello("web1"), more = report(1);

    guest_session_attached(&session, now);
    say(&msg);
    n_sent = n_events = 0;
    say(&good);
    say(&more);
    assert_int_equal(n_sent, 0);
    assert_int_equal(n_events, 0);
    assert_int_equal(session.n_refused, 3);
    guest_session_detached(&session, "gone", now);
    guest_session_attached(&session, now);
    say(&good);
    assert_int_equal(session.phase, GUEST_ESTABLISHED);
}

static void
a_false_claim_while_established_ends_the_session(void **state)
{
    struct msg msg = hello("web2");

    establish();
    say(&msg);
    assert_int_equal(session.phase, GUEST_REFUSED);
    assert_int_equal(n_events, 2);
    assert_int_equal(events[0].type, MSG_GUEST_LOST);
    assert_int_equal(events[1].type, MSG_GUEST_ALARM);
}

static void
anything_before_hello_is_refused(void **state)
{
    struct msg early[] = {
        report(1), notice(), beat(1), {.type = MSG_BYE, .bye = {"x"}}};

    for (size_t i = 0; i < 4; i++) {
        n_sent = n_events = 0;
        now += 10 * NSEC_PER_SEC;
        guest_session_attached(&session, now);
        say(&early[i]);
        assert_int_equal(session.phase, GUEST_REFUSED);
        assert_int_equal(sent[0].type, MSG_REFUSED);
        assert_int_equal(n_events, 1);
        assert_int_equal(events[0].type, MSG_GUEST_ALARM);
    }
}

static void
an_unknown_protocol_version_is_refused_in_words(void **state)
{
    struct msg msg = hello("");
    char words[40];

    msg.hello.version_min = msg.hello.version_max = MSG_VERSION_MAX + 1;
    guest_session_attached(&session, now);
    say(&msg);
    assert_int_equal(session.phase, GUEST_REFUSED);
    snprintf(words, sizeof words, "versions %d to %d", MSG_VERSION_MAX + 1,
             MSG_VERSION_MAX + 1);
    assert_non_null(strstr(sent[0].refused.reason, words));
}

static void
a_newer_agent_that_also_speaks_ours_is_welcomed(void **state)
{
    struct msg msg = hello("");

    msg.hello.version_max = 65535;
    spoken = MSG_VERSION_MAX;
    guest_session_attached(&session, now);
    say(&msg);
    assert_int_equal(sent[0].type, MSG_WELCOME);
    assert_int_equal(sent[0].welcome.version, MSG_VERSION_MAX);
}

static void
a_repeated_hello_is_answered_again_but_is_no_event(void **state)
{
    struct msg msg = hello("");

    establish();
    say(&msg);
    assert_int_equal(sent[0].type, MSG_WELCOME);
    assert_int_equal(n_events, 0);
}

static void
a_report_is_passed_on_whole_and_stamped(void **state)
{
    struct msg msg = report(42), offset = beat(1);

    establish();
    say(&offset);
    say(&msg);
    assert_int_equal(n_events, 1);
    const struct msg_guest_report *to = &events[0].guest_report;
    assert_int_equal(events[0].type, MSG_GUEST_REPORT);
    assert_int_equal(to->epoch, 42);
    assert_int_equal(to->start_ns, 5);
    assert_int_equal(to->end_ns, 9);
    assert_int_equal(to->n_requests, 200);
    assert_int_equal(to->n_violations, 3);
    assert_int_equal(to->threshold_us, 3000);
    assert_int_equal(to->worst_us, 4000);
    assert_int_equal(to->worst_end_ns, 8);
    assert_int_equal(to->seen_ns, 10);
    assert_int_equal(to->sent_ns, 11);
    assert_int_equal(to->util_permille, 456);
    assert_int_equal(to->n_refused, 2);
    assert_true(uuid_equal(&to->vm, &session.identity.uuid));
    assert_int_equal(to->received_ns, now);
    assert_int_equal(to->offset_ns, -5000);
    assert_int_equal(to->offset_error_ns, 40);
}

static void
a_notice_is_passed_on_and_stamped(void **state)
{
    struct msg msg = notice();

    establish();
    say(&msg);
    assert_int_equal(events[0].type, MSG_GUEST_NOTICE);
    assert_int_equal(events[0].guest_notice.epoch, 7);
    assert_int_equal(events[0].guest_notice.n_violations, 3);
    assert_int_equal(events[0].guest_notice.tolerated_permille, 10);
    assert_true(uuid_equal(&events[0].guest_notice.vm, &session.identity.uuid));
}

static void
a_note_is_passed_on_untouched_and_stamped(void **state)
{
    struct msg msg = note();

    establish_version_2();
    say(&msg);
    assert_int_equal(n_events, 1);
    assert_int_equal(events[0].type, MSG_GUEST_NOTE);
    assert_string_equal(events[0].guest_note.type, "org.example/1");
    assert_int_equal(events[0].guest_note.n_bytes, 5);
    assert_memory_equal(events[0].guest_note.bytes, msg.note.bytes, 5);
    assert_int_equal(events[0].guest_note.number, 9);
    assert_int_equal(events[0].guest_note.made_ns, 11);
    assert_int_equal(events[0].guest_note.sent_ns, 12);
    assert_int_equal(events[0].guest_note.received_ns, now);
    assert_true(events[0].guest_note.cause > 0);
    assert_true(uuid_equal(&events[0].guest_note.vm, &session.identity.uuid));
}

static void
a_note_of_the_largest_size_is_passed_on(void **state)
{
    struct msg msg = note();

    msg.note.n_bytes = MSG_NOTE_SIZE_MAX;
    memset(msg.note.bytes, 0xee, MSG_NOTE_SIZE_MAX);
    memset(msg.note.type, 'x', 64);
    establish_version_2();
    say(&msg);
    assert_int_equal(events[0].guest_note.n_bytes, MSG_NOTE_SIZE_MAX);
    assert_memory_equal(events[0].guest_note.bytes, msg.note.bytes,
                        MSG_NOTE_SIZE_MAX);
}

static void
who_speaks_an_older_version_has_no_notes(void **state)
{
    struct msg msg = note();

    establish();
    n_events = 0;
    say(&msg);
    assert_int_equal(n_events, 1);
    assert_int_equal(events[0].type, MSG_GUEST_ALARM);
    assert_string_equal(events[0].guest_alarm.reason,
                        "NOTE came with version 2, and 1 is spoken");
}

static void
every_event_has_its_own_cause(void **state)
{
    struct msg msg = report(1);

    establish();
    for (int i = 0; i < 10; i++) {
        say(&msg);
    }
    for (int i = 1; i < 10; i++) {
        assert_int_equal(events[i].guest_report.cause,
                         events[i - 1].guest_report.cause + 1);
    }
}

static void
a_beat_is_answered_with_four_timestamps(void **state)
{
    struct msg msg = beat(12);

    establish();
    say(&msg);
    assert_int_equal(n_sent, 1);
    assert_int_equal(sent[0].type, MSG_BEAT_REPLY);
    assert_int_equal(sent[0].beat_reply.number, 12);
    assert_int_equal(sent[0].beat_reply.origin_ns, 77);
    assert_int_equal(sent[0].beat_reply.receive_ns, now);
    assert_int_equal(sent[0].beat_reply.transmit_ns, now);
    assert_int_equal(n_events, 0);
}

static void
an_agent_that_reads_nothing_loses_its_answers_only(void **state)
{
    struct msg msg = beat(12), more = report(1);

    establish();
    send_error = -EAGAIN;
    say(&msg);
    say(&more);
    assert_int_equal(session.n_dropped_replies, 1);
    assert_int_equal(events[0].type, MSG_GUEST_REPORT);
}

#define TEST(name) cmocka_unit_test_setup(name, setup)

int
main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(hello_is_welcomed_by_name),
        TEST(hello_is_told_to_the_engine),
        TEST(a_true_claim_is_welcomed),
        TEST(a_claim_to_be_another_vm_is_refused_and_alarmed),
        TEST(nothing_is_heard_after_a_false_claim_until_it_attaches_anew),
        TEST(a_false_claim_while_established_ends_the_session),
        TEST(anything_before_hello_is_refused),
        TEST(an_unknown_protocol_version_is_refused_in_words),
        TEST(a_newer_agent_that_also_speaks_ours_is_welcomed),
        TEST(a_repeated_hello_is_answered_again_but_is_no_event),
        TEST(a_report_is_passed_on_whole_and_stamped),
        TEST(a_notice_is_passed_on_and_stamped),
        TEST(a_note_is_passed_on_untouched_and_stamped),
        TEST(a_note_of_the_largest_size_is_passed_on),
        TEST(who_speaks_an_older_version_has_no_notes),
        TEST(every_event_has_its_own_cause),
        TEST(a_beat_is_answered_with_four_timestamps),
        TEST(an_agent_that_reads_nothing_loses_its_answers_only),
    };

    return cmocka_run_group_tests_name("guest_session", tests, NULL, NULL);
}
