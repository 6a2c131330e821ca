/* SPDX-License-Identifier: Apache-2.0 */
/* The session's rules: what goes on and what begins anew, what is counted as
 * lost and by whom, and when it is tried again. (session_scene.h) */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/unit/channel/session_scene.h"

static void
a_first_meeting_brings_up_both(void **state)
{
    struct pair *pair = *state;
    assert_int_equal(meet(pair), 0);
    assert_int_equal(expect(&pair->front, MCHAN_UP).attachment, 1);
    assert_int_equal(expect(&pair->back, MCHAN_UP).attachment, 1);
    expect_silence(&pair->front);
    expect_silence(&pair->back);
    assert_int_not_equal(pair->front.id, 0);
    assert_int_equal(pair->front.id, pair->back.id);
}

static void
a_session_outlives_its_transport(void **state)
{
    struct pair *pair = *state;
    const char *why = NULL;
    meet(pair);
    uint64_t id = pair->back.id;
    carry(&pair->front, &pair->back);
    assert_int_equal(session_acked(&pair->front, 1, &why), 0);
    part_both(pair);
    assert_int_equal(meet(pair), 0);
    assert_int_equal(pair->back.id, id);
    assert_int_equal(pair->front.attachment, 2);
    /* Numbers go on. */
    struct record record = session_send(&pair->front, 0, 10);
    assert_int_equal(record.sequence, 2);
    assert_int_equal(record.attachment, 2);
    assert_int_equal(session_check(&pair->back, &record, &why), 0);
    expect(&pair->back, MCHAN_UP);
    expect(&pair->back, MCHAN_PEER_LOST);
    expect(&pair->back, MCHAN_UP);
    expect_silence(&pair->back);
}

static void
what_did_not_arrive_is_sent_again(void **state)
{
    struct pair *pair = *state;
    meet(pair);
    carry(&pair->front, &pair->back);
    carry(&pair->front, &pair->back);
    session_send(&pair->front, 0, 10); /* 3 and 4 never arrive. */
    session_send(&pair->front, 0, 10);
    const char *why = NULL;
    session_acked(&pair->front, 1, &why);
    part_both(pair);
    meet(pair);
    /* 2 was not acknowledged, but given out; so it does not come again. */
    assert_int_equal(pair->front.acked, 2);
    assert_int_equal(pair->front.put, 2);
    assert_true(pair->front.replays);
    assert_false(pair->front.sends);
    assert_false(pair->back.replays);
    assert_true(pair->back.sends);
    replay(&pair->front, &pair->back);
    assert_true(pair->front.sends);
    carry(&pair->front, &pair->back);
    assert_int_equal(pair->back.delivered, 5);
    struct session *ends[] = {&pair->front, &pair->back};
    for (int i = 0; i < 2; i++) {
        assert_false(expect(ends[i], MCHAN_UP).resumed);
        expect(ends[i], MCHAN_PEER_LOST);
        assert_true(expect(ends[i], MCHAN_UP).resumed);
        expect_silence(ends[i]);
    }
}

static void
what_is_not_put_again_can_not_be_acknowledged(void **state)
{
    struct pair *pair = *state;
    const char *why = NULL;
    meet(pair);
    for (int i = 0; i < 3; i++) {
        session_send(&pair->front, 0, 10);
    }
    part_both(pair);
    meet(pair);
    session_replayed(&pair->front, 1);
    assert_int_equal(session_acked(&pair->front, 2, &why), -EPROTO);
    assert_int_equal(session_acked(&pair->front, 1, &why), 0);
}

static void
what_was_kept_is_dropped_when_the_peer_forgot(void **state)
{
    struct pair *pair = *state;
    const char *why = NULL;
    meet(pair);
    uint64_t id = pair->front.id;
    for (int i = 0; i < 4; i++) {
        session_send(&pair->front, 0, 10);
    }
    session_acked(&pair->front, 1, &why);
    part_both(pair);
    session_init(&pair->back);
    meet(pair);
    expect(&pair->front, MCHAN_UP);
    expect(&pair->front, MCHAN_PEER_LOST);
    struct mchan_event dropped = expect(&pair->front, MCHAN_DROPPED);
    assert_int_equal(dropped.from, 2);
    assert_int_equal(dropped.to, 4);
    assert_true(dropped.session == id);
    struct mchan_event up = expect(&pair->front, MCHAN_UP);
    assert_false(up.resumed);
    assert_true(up.session == pair->front.id);
    assert_true(expect(&pair->front, MCHAN_GAP).session == id);
    expect_silence(&pair->front);
    assert_int_equal(pair->front.n_dropped, 3);
    assert_int_equal(session_send(&pair->front, 0, 10).sequence, 1);
}

/* Dropping. */

static void
what_will_not_come_is_a_gap_at_its_place(void **state)
{
    struct pair *pair = *state;
    const char *why = NULL;
    meet(pair);
    carry(&pair->front, &pair->back);
    struct record record = {.kind = RECORD_SKIP, .attachment = 1};
    record.sequence = 3;
    assert_int_equal(session_skipped(&pair->back, &record, 5, &why), -EPROTO);
    record.sequence = 2;
    assert_int_equal(session_skipped(&pair->back, &record, 1, &why), -EPROTO);
    assert_int_equal(session_skipped(&pair->back, &record, 0, &why), -EPROTO);
    assert_int_equal(session_skipped(&pair->back, &record, UINT64_MAX, &why),
                     -EPROTO);
    record.attachment = 2;
    assert_int_equal(session_skipped(&pair->back, &record, 5, &why), -EPROTO);
    record.attachment = 1;
    assert_int_equal(session_skipped(&pair->back, &record, 5, &why), 0);
    assert_int_equal(pair->back.delivered, 5);
    expect(&pair->back, MCHAN_UP);
    expect_range(&pair->back, MCHAN_GAP, 2, 5);
    expect_silence(&pair->back);
}

/* Every way of dropping parts of eight messages, in two steps and then all:
 * each number is reported once. */
static void
each_message_is_reported_dropped_once(void **state)
{
    struct pair *pair = *state;
    const char *why = NULL;
    meet(pair);
    for (int i = 0; i < 8; i++) {
        session_send(&pair->front, 0, 10);
    }
    expect(&pair->front, MCHAN_UP);
    for (unsigned way = 0; way < 8 * 8 * 8 * 8 * 9; way++) {
        struct session front = pair->front;
        struct mchan_event event;
        unsigned n_told[9] = {0}, rest = way;
        unsigned acked = rest % 9;
        rest /= 9;
        for (int i = 0; i < 2; i++, rest /= 64) {
            uint64_t from = 1 + rest % 8, to = 1 + rest / 8 % 8;
            if (from <= to && session_may_drop(&front, from, to)) {
                session_drop(&front, from, to);
            }
            if (i == 0) {
                session_acked(&front, acked, &why);
            }
        }
        session_drop_all(&front);
        while (session_next_event(&front, &event)) {
            assert_int_equal(event.type, MCHAN_DROPPED);
            assert_in_range(event.from, 1, event.to);
            assert_in_range(event.to, event.from, 8);
            for (uint64_t i = event.from; i <= event.to; i++) {
                assert_int_equal(n_told[i]++, 0);
            }
        }
        for (unsigned i = acked + 1; i <= 8; i++) {
            assert_int_equal(n_told[i], 1);
        }
    }
}

/* Coming back. */

static void
a_restarted_guest_gets_a_new_session_and_a_gap(void **state)
{
    struct pair *pair = *state;
    meet(pair);
    uint64_t id = pair->back.id;
    carry(&pair->front, &pair->back);
    part_both(pair);
    session_init(&pair->front); /* It remembers nothing. */
    assert_int_equal(meet(pair), 0);
    assert_int_not_equal(pair->back.id, id);
    assert_int_equal(pair->back.attachment, 2);
    expect(&pair->back, MCHAN_UP);
    expect(&pair->back, MCHAN_PEER_LOST);
    expect(&pair->back, MCHAN_UP);
    expect_range(&pair->back, MCHAN_GAP, 2, UINT64_MAX);
    expect(&pair->front, MCHAN_UP);
    expect_silence(&pair->front);
    assert_int_equal(session_send(&pair->front, 0, 1).sequence, 1);
}

static void
a_restarted_broker_mints_a_new_session(void **state)
{
    struct pair *pair = *state;
    for (int i = 0; i < 4; i++) {
        meet(pair);
        carry(&pair->back, &pair->front);
        part_both(pair);
    }
    session_init(&pair->back);
    assert_int_equal(meet(pair), 0);
    /* The attachment rises at the guest's end all the same. */
    assert_int_equal(pair->front.attachment, 5);
    assert_int_equal(pair->back.attachment, 5);
    assert_int_equal(pair->front.delivered, 0);
    struct mchan_event event, last = {0};
    while (session_next_event(&pair->front, &event)) {
        last = event;
    }
    assert_int_equal(last.type, MCHAN_GAP);
    assert_int_equal(last.from, 5);
    assert_true(last.to == UINT64_MAX);
}

static void
a_goodbye_leaves_no_gap(void **state)
{
    struct pair *pair = *state;
    const char *why = NULL;
    meet(pair);
    carry(&pair->front, &pair->back);
    assert_int_equal(session_bye(&pair->back, 1, &why), 0);
    part_both(pair);
    session_init(&pair->front);
    meet(pair);
    expect(&pair->back, MCHAN_UP);
    expect(&pair->back, MCHAN_PEER_LOST);
    expect(&pair->back, MCHAN_UP);
    expect_silence(&pair->back);
}

static void
who_said_goodbye_does_not_resume(void **state)
{
    struct pair *pair = *state;
    const char *why = NULL;
    meet(pair);
    uint64_t id = pair->back.id;
    assert_int_equal(session_bye(&pair->back, 0, &why), 0);
    part_both(pair);
    struct hello claim = {.message_max = MAX, .session = id};
    session_begin(&pair->back, MAX);
    mgmtback_on_hello(&pair->mvm, &pair->back, &claim);
    assert_int_not_equal(pair->back.id, id);
}

static void
a_goodbye_names_what_is_missing(void **state)
{
    struct pair *pair = *state;
    const char *why = NULL;
    meet(pair);
    carry(&pair->front, &pair->back);
    assert_int_equal(session_bye(&pair->back, 3, &why), 0);
    expect(&pair->back, MCHAN_UP);
    expect_range(&pair->back, MCHAN_GAP, 2, 3);
}

static void
a_goodbye_that_takes_back_messages_is_refused(void **state)
{
    struct pair *pair = *state;
    const char *why = NULL;
    meet(pair);
    carry(&pair->front, &pair->back);
    assert_int_equal(session_bye(&pair->back, 0, &why), -EPROTO);
    assert_int_equal(session_bye(&pair->back, UINT64_MAX, &why), -EPROTO);
}

/* Trying again. */

static void
waits_grow_to_their_limit_and_start_over(void **state)
{
    struct mgmtfront front;
    nsec_t now = 0, greatest = 0;
    mgmtfront_init(&front, 10, 1000, 9);
    assert_true(front.next_try <= now);
    for (int i = 0; i < 20; i++) {
        mgmtfront_failed(&front, now);
        nsec_t wait = front.next_try - now;
        nsec_t due = nsec_min(10 * NSEC_PER_MSEC << i, NSEC_PER_SEC);
        assert_true(wait <= due);
        assert_true(wait >= due - due / 4);
        greatest = wait > greatest ? wait : greatest;
        now = front.next_try;
    }
    assert_true(greatest > 750 * NSEC_PER_MSEC);
    mgmtfront_lost(&front, now);
    assert_true(front.next_try - now <= 10 * NSEC_PER_MSEC);
}

static void
the_first_tries_are_quick_and_then_earned(void **state)
{
    struct mgmtfront front;
    nsec_t now = NSEC_PER_SEC;
    mgmtfront_init(&front, 0, 0, 9);
    for (int i = 0; i < MGMTFRONT_QUICK_MAX; i++) {
        mgmtfront_failed(&front, now);
        assert_true(front.next_try - now <= MGMTFRONT_QUICK_NS);
        assert_true(front.next_try > now);
        now = front.next_try;
    }
    mgmtfront_failed(&front, now);
    assert_true(front.next_try - now > 5 * NSEC_PER_MSEC);
    /* A session that stood for long has them all again, */
    mgmtfront_lost(&front, now += NSEC_PER_SEC);
    assert_int_equal(front.n_quick, MGMTFRONT_QUICK_MAX - 1);
    /* and one that is lost again and again hardly any. */
    for (int i = 0; i < 1000; i++) {
        mgmtfront_lost(&front, now += NSEC_PER_MSEC);
    }
    assert_int_equal(front.n_quick, 0);
    mgmtfront_lost(&front, now += NSEC_PER_MSEC);
    assert_true(front.next_try - now > 5 * NSEC_PER_MSEC);
}

static void
who_gave_up_never_tries_again(void **state)
{
    struct mgmtfront front;
    mgmtfront_init(&front, 0, 0, 9);
    mgmtfront_give_up(&front);
    mgmtfront_lost(&front, 5);
    assert_true(front.next_try == NSEC_NEVER);
}

static void
peers_are_accepted_no_faster_than_their_rate(void **state)
{
    struct mgmtback back;
    nsec_t now = 0;
    unsigned n_accepted = 0;
    mgmtback_init(&back, 1);
    /* One who knocks each 0.1 ms for a second. */
    for (; now < NSEC_PER_SEC; now += NSEC_PER_MSEC / 10) {
        if (now >= back.next_try) {
            mgmtback_accepted(&back, now);
            n_accepted++;
        }
    }
    assert_in_range(n_accepted, MGMTBACK_BURST + 190, MGMTBACK_BURST + 201);
    /* A quiet time later it may come as often as at first, and no more. */
    now += 3600 * NSEC_PER_SEC;
    n_accepted = 0;
    while (now >= back.next_try) {
        mgmtback_accepted(&back, now);
        n_accepted++;
    }
    assert_int_equal(n_accepted, MGMTBACK_BURST);
}

static void
a_failure_never_brings_the_next_try_forward(void **state)
{
    struct mgmtback back;
    mgmtback_init(&back, 1);
    mgmtback_failed(&back, 1000);
    assert_true(mgmtback_deadline(&back) == 1000 + MGMTBACK_WAIT_NS);
    mgmtback_failed(&back, 500);
    assert_true(mgmtback_deadline(&back) == 1000 + MGMTBACK_WAIT_NS);
    mgmtback_wait(&back);
    assert_true(mgmtback_deadline(&back) == NSEC_NEVER);
    mgmtback_give_up(&back);
    mgmtback_failed(&back, 5000);
    assert_true(mgmtback_deadline(&back) == NSEC_NEVER);
}

#define TEST(name) cmocka_unit_test_setup(name, set_up)

int
main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_first_meeting_brings_up_both),
        TEST(a_session_outlives_its_transport),
        TEST(what_did_not_arrive_is_sent_again),
        TEST(what_is_not_put_again_can_not_be_acknowledged),
        TEST(what_was_kept_is_dropped_when_the_peer_forgot),
        TEST(what_will_not_come_is_a_gap_at_its_place),
        TEST(each_message_is_reported_dropped_once),
        TEST(a_restarted_guest_gets_a_new_session_and_a_gap),
        TEST(a_restarted_broker_mints_a_new_session),
        TEST(a_goodbye_leaves_no_gap),
        TEST(who_said_goodbye_does_not_resume),
        TEST(a_goodbye_names_what_is_missing),
        TEST(a_goodbye_that_takes_back_messages_is_refused),
        TEST(waits_grow_to_their_limit_and_start_over),
        TEST(peers_are_accepted_no_faster_than_their_rate),
        TEST(a_failure_never_brings_the_next_try_forward),
        TEST(the_first_tries_are_quick_and_then_earned),
        TEST(who_gave_up_never_tries_again),
    };
    return cmocka_run_group_tests_name("channel/session", tests, NULL, NULL);
}
