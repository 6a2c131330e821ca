/* SPDX-License-Identifier: Apache-2.0 */
/* What an agent may say and when, and what comes of everything else. */
#include "broker/back/guest_session.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "wire/grant.h"

#define BEAT NSEC_PER_SEC
#define KEPT_MAX 64

static struct guest_session session;
static struct cause_counter causes;
static struct msg sent[KEPT_MAX], events[KEPT_MAX];
static int n_sent, n_events, send_error;
static nsec_t now;
static unsigned spoken; /* The version that answers have to be in. */

static int
on_send(void *ctx, const struct msg *msg, unsigned version)
{
    assert_int_equal(version, spoken);
    if (!send_error && n_sent < KEPT_MAX) {
        sent[n_sent++] = *msg;
    }
    return send_error;
}

/* Whatever is passed on must also fit through the wire. */
static void
on_event(void *ctx, const struct msg *msg)
{
    uint8_t data[MSG_SIZE_MAX];
    char why[MSG_WHY_SIZE];

    assert_true(msg_encode(msg, MSG_VERSION_MAX, data, sizeof data, why,
                           sizeof why) > 0);
    if (n_events < KEPT_MAX) {
        events[n_events++] = *msg;
    }
}

static int
setup(void **state)
{
    struct discovery_identity identity = {.name = "web1"};
    struct guest_session_port port = {
        .to_agent = on_send, .event = on_event, .causes = &causes};

    assert_int_equal(
        uuid_parse(&identity.uuid, "11111111-2222-3333-4444-555555555555"), 0);
    cause_counter_init(&causes, 3, false);
    guest_session_init(&session, &identity, "local", BEAT, &port);
    now = 100 * NSEC_PER_SEC;
    n_sent = n_events = send_error = 0;
    spoken = 1;
    return 0;
}

static void
say(const struct msg *msg)
{
    uint8_t data[MSG_SIZE_MAX];
    ssize_t size = msg_encode(msg, MSG_VERSION_MAX, data, sizeof data, NULL, 0);

    assert_true(size > 0);
    guest_session_input(&session, msg->type, data, (size_t)size, now);
}

static struct msg
hello(const char *claims)
{
    struct msg msg = {.type = MSG_HELLO,
                      .hello = {.version_min = 1,
                                .version_max = 1,
                                .software = "magentd 0.1",
                                .n_offers = 1,
                                .offers = {"httplog"}}};

    strcpy(msg.hello.claims, claims);
    return msg;
}

static struct msg
report(uint64_t epoch)
{
    struct msg msg = {.type = MSG_REPORT,
                      .report = {.epoch = epoch,
                                 .start_ns = 5,
                                 .end_ns = 9,
                                 .n_requests = 200,
                                 .n_violations = 3,
                                 .threshold_us = 3000,
                                 .worst_us = 4000,
                                 .worst_end_ns = 8,
                                 .seen_ns = 10,
                                 .sent_ns = 11,
                                 .util_permille = 456,
                                 .n_refused = 2}};

    return msg;
}

static struct msg
notice(void)
{
    struct msg msg = {.type = MSG_NOTICE,
                      .notice = {.epoch = 7,
                                 .start_ns = 5,
                                 .end_ns = 9,
                                 .n_requests = 200,
                                 .n_violations = 3,
                                 .threshold_us = 3000,
                                 .sent_ns = 11,
                                 .tolerated_permille = 10}};

    return msg;
}

static struct msg
beat(uint64_t number)
{
    struct msg msg = {.type = MSG_BEAT,
                      .beat = {.number = number,
                               .origin_ns = 77,
                               .offset_ns = -5000,
                               .offset_error_ns = 40}};

    return msg;
}

static void
establish(void)
{
    struct msg msg = hello("");

    guest_session_attached(&session, now);
    say(&msg);
    assert_int_equal(session.phase, GUEST_ESTABLISHED);
    n_sent = n_events = 0;
}

/* Discovery and establishment. */

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

/* What is said in it. */

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

static struct msg
note(void)
{
    struct msg msg = {.type = MSG_NOTE,
                      .note = {.type = "org.example/1",
                               .n_bytes = 5,
                               .bytes = {0, 255, 27, 'x', 0},
                               .number = 9,
                               .made_ns = 11,
                               .sent_ns = 12}};

    return msg;
}

static void
establish_version_2(void)
{
    struct msg msg = hello("");

    msg.hello.version_max = spoken = 2;
    guest_session_attached(&session, now);
    say(&msg);
    n_sent = n_events = 0;
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

/* Bad input. */

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

/* Too much. */

static const struct quota_config quota = {.messages_per_second = 7,
                                          .bytes_per_second = 5000};

static void
establish_version(unsigned version)
{
    struct msg msg = hello("");

    msg.hello.version_max = spoken = version;
    guest_session_attached(&session, now);
    say(&msg);
    n_sent = n_events = 0;
}

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

/* Termination. */

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

/* Silence. */

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

/* Coming back. */

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

    return cmocka_run_group_tests_name("guest_session", tests, NULL, NULL);
}
