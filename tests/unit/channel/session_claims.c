/* SPDX-License-Identifier: Apache-2.0 */
/* No claim of a peer about a session is taken on trust: forged and outdated
 * sessions, made-up attachments, impossible answers, messages and
 * acknowledgements that can't be. And what users are told of it, in which
 * order. (session_scene.h) */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/unit/channel/session_scene.h"

/* Claims. */

static void
a_forged_session_is_not_resumed(void **state)
{
    struct pair *pair = *state;
    meet(pair);
    uint64_t id = pair->back.id;
    carry(&pair->front, &pair->back);
    carry(&pair->back, &pair->front);
    part_both(pair);
    const struct hello claims[] = {
        /* Another's id; fewer sent than we were given; more delivered than
         * we sent. */
        {.message_max = MAX, .session = id + 1, .sent = 1, .delivered = 1},
        {.message_max = MAX, .session = id, .sent = 0, .delivered = 1},
        {.message_max = MAX, .session = id, .sent = 1, .delivered = 2},
        /* What was kept may not fit any more. */
        {.message_max = MAX - 1, .session = id, .sent = 1, .delivered = 1},
    };
    for (size_t i = 0; i < sizeof claims / sizeof *claims; i++) {
        struct session back = pair->back;
        session_begin(&back, MAX);
        mgmtback_on_hello(&pair->mvm, &back, &claims[i]);
        assert_int_not_equal(back.id, id);
        assert_int_not_equal(back.id, claims[i].session);
        assert_int_equal(back.delivered, 0);
        assert_int_equal(back.sent, 0);
    }
}

static void
a_guest_that_went_back_in_time_is_not_resumed(void **state)
{
    struct pair *pair = *state;
    const char *why = NULL;
    meet(pair);
    uint64_t id = pair->back.id;
    struct session snapshot = pair->front;
    carry(&pair->back, &pair->front);
    session_acked(&pair->back, 1, &why);
    part_both(pair);
    /* What it says it was given is less than it acknowledged. */
    pair->front = snapshot;
    part(&pair->front);
    meet(pair);
    assert_true(pair->back.id != id);
    assert_true(pair->front.id == pair->back.id);
}

static void
a_made_up_attachment_is_not_believed(void **state)
{
    struct pair *pair = *state;
    struct hello claim = {.message_max = MAX, .attachment = UINT32_MAX};
    session_begin(&pair->back, MAX);
    mgmtback_on_hello(&pair->mvm, &pair->back, &claim);
    assert_int_equal(pair->back.attachment, 1);
    part(&pair->back);
    session_begin(&pair->back, MAX);
    claim.attachment = UINT32_C(1) << 31;
    mgmtback_on_hello(&pair->mvm, &pair->back, &claim);
    assert_int_equal(pair->back.attachment, 2);
    part(&pair->back);
    session_begin(&pair->back, MAX);
    claim.attachment = 41;
    mgmtback_on_hello(&pair->mvm, &pair->back, &claim);
    assert_int_equal(pair->back.attachment, 42);
}

static void
a_guest_refuses_an_impossible_answer(void **state)
{
    struct pair *pair = *state;
    const char *why = NULL;
    meet(pair);
    uint64_t id = pair->front.id;
    carry(&pair->front, &pair->back);
    carry(&pair->back, &pair->front);
    part_both(pair);
    const struct hello answers[] = {
        {.message_max = MAX, .session = 0, .attachment = 2},
        {.message_max = MAX, .session = id + 1, .attachment = 0},
        /* A new session that has already sent. */
        {.message_max = MAX, .session = id + 1, .attachment = 2, .sent = 1},
        /* The old one, with an attachment that does not rise. */
        {.message_max = MAX,
         .session = id,
         .attachment = 1,
         .sent = 1,
         .delivered = 1},
        /* The old one, with what did not happen. */
        {.message_max = MAX,
         .session = id,
         .attachment = 2,
         .sent = 0,
         .delivered = 1},
        {.message_max = MAX,
         .session = id,
         .attachment = 2,
         .sent = 1,
         .delivered = 2},
    };
    for (size_t i = 0; i < sizeof answers / sizeof *answers; i++) {
        struct session front = pair->front;
        session_begin(&front, MAX);
        assert_int_equal(mgmtfront_on_hello(&front, &answers[i], &why),
                         -EPROTO);
        assert_non_null(why);
        assert_int_equal(front.state, SESSION_MEETING);
    }
}

static void
the_smaller_message_size_is_agreed_on(void **state)
{
    struct pair *pair = *state;
    struct hello hello;
    const char *why = NULL;
    session_begin(&pair->front, 4096);
    session_begin(&pair->back, 65536);
    session_hello(&pair->front, &hello);
    mgmtback_on_hello(&pair->mvm, &pair->back, &hello);
    session_hello(&pair->back, &hello);
    assert_int_equal(mgmtfront_on_hello(&pair->front, &hello, &why), 0);
    assert_int_equal(pair->front.message_max_agreed, 4096);
    assert_int_equal(pair->back.message_max_agreed, 4096);
}

static void
only_the_next_message_is_taken(void **state)
{
    struct pair *pair = *state;
    const char *why = NULL;
    struct record record = {.size = 10, .kind = RECORD_RELIABLE};
    record.sequence = 1;
    record.attachment = 1;
    assert_int_equal(session_check(&pair->back, &record, &why), -EPROTO);
    meet(pair);
    assert_int_equal(session_check(&pair->back, &record, &why), 0);
    struct record wrong = record;
    wrong.sequence = 2;
    assert_int_equal(session_check(&pair->back, &wrong, &why), -EPROTO);
    wrong.sequence = 0;
    assert_int_equal(session_check(&pair->back, &wrong, &why), -EPROTO);
    wrong = record;
    wrong.attachment = 2;
    assert_int_equal(session_check(&pair->back, &wrong, &why), -EPROTO);
    wrong = record;
    wrong.size = MAX + 1;
    assert_int_equal(session_check(&pair->back, &wrong, &why), -EPROTO);
    wrong.size = MAX;
    assert_int_equal(session_check(&pair->back, &wrong, &why), 0);
    session_delivered(&pair->back);
    assert_int_equal(session_check(&pair->back, &record, &why), -EPROTO);
}

static void
only_what_was_sent_can_be_acknowledged(void **state)
{
    struct pair *pair = *state;
    const char *why = NULL;
    meet(pair);
    for (int i = 0; i < 5; i++) {
        session_send(&pair->front, 0, 1);
    }
    assert_int_equal(session_acked(&pair->front, 6, &why), -EPROTO);
    assert_int_equal(session_acked(&pair->front, 3, &why), 0);
    assert_int_equal(session_acked(&pair->front, 2, &why), -EPROTO);
    assert_int_equal(session_acked(&pair->front, UINT64_MAX, &why), -EPROTO);
    assert_int_equal(session_acked(&pair->front, 5, &why), 0);
}

/* Events. */

static void
a_violation_is_told_before_the_loss(void **state)
{
    struct pair *pair = *state;
    meet(pair);
    session_send(&pair->back, 0, 1);
    session_violated(&pair->back, "it lied");
    session_end(&pair->back);
    expect(&pair->back, MCHAN_UP);
    assert_string_equal(expect(&pair->back, MCHAN_PROTO_ERROR).reason,
                        "it lied");
    expect(&pair->back, MCHAN_PEER_LOST);
    expect_silence(&pair->back); /* What it sent is kept. */
    assert_int_equal(pair->back.error, -EPROTO);
}

static void
a_meeting_that_fails_was_never_up(void **state)
{
    struct pair *pair = *state;
    session_begin(&pair->front, MAX);
    part(&pair->front);
    expect_silence(&pair->front);
    assert_int_equal(pair->front.error, -ENOTCONN);
}

static void
events_uncollected_hold_up_the_next_attachment(void **state)
{
    struct pair *pair = *state;
    int n_attachments = 0;
    while (session_may_begin(&pair->back)) {
        meet(pair);
        session_violated(&pair->back, "it lied");
        session_end(&pair->back);
        part(&pair->front);
        session_init(&pair->front);
        n_attachments++;
        assert_true(n_attachments < 10);
    }
    assert_true(n_attachments >= 2);
    struct mchan_event event;
    while (session_next_event(&pair->back, &event)) {
    }
    assert_true(session_may_begin(&pair->back));
}

#define TEST(name) cmocka_unit_test_setup(name, set_up)

int
main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_guest_that_went_back_in_time_is_not_resumed),
        TEST(a_forged_session_is_not_resumed),
        TEST(a_made_up_attachment_is_not_believed),
        TEST(a_guest_refuses_an_impossible_answer),
        TEST(the_smaller_message_size_is_agreed_on),
        TEST(only_the_next_message_is_taken),
        TEST(only_what_was_sent_can_be_acknowledged),
        TEST(a_violation_is_told_before_the_loss),
        TEST(a_meeting_that_fails_was_never_up),
        TEST(events_uncollected_hold_up_the_next_attachment),
    };
    return cmocka_run_group_tests_name("channel/session_claims", tests, NULL,
                                       NULL);
}
