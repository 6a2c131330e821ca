/* SPDX-License-Identifier: Apache-2.0 */
/* Beats: the distance of two clocks from four moments, and answers that can't
 * be true. */
#include "agent/beatlog.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#define MS NSEC_PER_MSEC

/* A beat to a broker whose clock is 'ahead' of ours, with these delays. */
static void
exchange(struct beatlog *beats, nsec_t now, nsec_t ahead, nsec_t there,
         nsec_t held, nsec_t back)
{
    uint64_t number = beatlog_send(beats, now);
    nsec_t receive = now + there + ahead;

    assert_true(beatlog_answer(beats, number, now, receive, receive + held,
                               now + there + held + back));
}

static void
no_beat_means_unknown_not_zero(void **state)
{
    struct beatlog beats;
    int64_t offset;
    uint64_t error;

    beatlog_init(&beats);
    beatlog_offset(&beats, &offset, &error);
    assert_int_equal(error, BEATLOG_ERROR_UNKNOWN);
    beatlog_send(&beats, MS);
    beatlog_offset(&beats, &offset, &error);
    assert_int_equal(error, BEATLOG_ERROR_UNKNOWN);
}

static void
offset_is_our_clock_minus_the_brokers(void **state)
{
    struct beatlog beats;
    int64_t offset;
    uint64_t error;

    beatlog_init(&beats);
    exchange(&beats, 1000 * MS, 5000 * MS, 2 * MS, 30 * MS, 2 * MS);
    beatlog_offset(&beats, &offset, &error);
    assert_int_equal(offset, -5000 * MS);
    assert_true(error >= 2 * MS && error < 2 * MS + 10);
}

static void
truth_is_within_the_error_when_the_way_is_lopsided(void **state)
{
    struct beatlog beats;
    int64_t offset;
    uint64_t error;

    beatlog_init(&beats);
    exchange(&beats, 1000 * MS, -700 * MS, 9 * MS, 0, 1 * MS);
    beatlog_offset(&beats, &offset, &error);
    assert_true(offset - (int64_t)error <= 700 * MS);
    assert_true(offset + (int64_t)error >= 700 * MS);
}

static void
shortest_round_trip_of_the_last_beats_wins(void **state)
{
    struct beatlog beats;
    int64_t offset;
    uint64_t error;

    beatlog_init(&beats);
    exchange(&beats, 1000 * MS, 0, 20 * MS, 0, 0);
    exchange(&beats, 2000 * MS, 0, MS, 0, MS);
    exchange(&beats, 3000 * MS, 0, 0, 0, 20 * MS);
    beatlog_offset(&beats, &offset, &error);
    assert_int_equal(offset, 0);
    assert_true(error < 2 * MS);
}

static void
old_beats_are_forgotten(void **state)
{
    struct beatlog beats;
    int64_t offset;
    uint64_t error;

    beatlog_init(&beats);
    exchange(&beats, 1000 * MS, 0, 0, 0, 0);
    for (unsigned i = 0; i < BEATLOG_KEPT; i++) {
        exchange(&beats, (2000 + i * 1000) * MS, 0, 5 * MS, 0, 5 * MS);
    }
    beatlog_offset(&beats, &offset, &error);
    assert_true(error >= 5 * MS);
}

static void
answers_that_cannot_be_true_are_refused(void **state)
{
    struct beatlog beats;
    uint64_t number;
    int64_t offset;
    uint64_t error;

    beatlog_init(&beats);
    assert_false(beatlog_answer(&beats, 0, 0, 0, 0, 10)); /* Never asked. */
    number = beatlog_send(&beats, 1000);
    assert_false(beatlog_answer(&beats, number + 1, 1000, 1, 1, 2000));
    assert_false(
        beatlog_answer(&beats, number + BEATLOG_KEPT, 1000, 1, 1, 2000));
    assert_false(beatlog_answer(&beats, number, 999, 1, 1, 2000));
    assert_false(beatlog_answer(&beats, number, 1000, 5, 4, 2000));
    assert_false(beatlog_answer(&beats, number, 1000, 0, 1001, 2000));
    assert_false(beatlog_answer(&beats, number, 1000, 0, INT64_MAX, 2000));
    beatlog_offset(&beats, &offset, &error);
    assert_int_equal(error, BEATLOG_ERROR_UNKNOWN);
    assert_true(beatlog_answer(&beats, number, 1000, 0, 1000, 2000));
    assert_false(
        beatlog_answer(&beats, number, 1000, 0, 1000, 2000)); /* Twice. */
}

static void
clocks_at_opposite_ends_do_not_overflow(void **state)
{
    struct beatlog beats;
    uint64_t number;
    int64_t offset;
    uint64_t error;

    beatlog_init(&beats);
    number = beatlog_send(&beats, 0);
    assert_true(beatlog_answer(&beats, number, 0, INT64_MAX, INT64_MAX, 10));
    beatlog_offset(&beats, &offset, &error);
    assert_true(offset < INT64_MIN / 2 + INT64_MAX / 4);
}

static void
silence_is_counted_until_an_answer_comes(void **state)
{
    struct beatlog beats;
    uint64_t number = 0;

    beatlog_init(&beats);
    for (unsigned i = 0; i < 4; i++) {
        number = beatlog_send(&beats, i * 1000);
    }
    assert_int_equal(beats.n_unanswered, 4);
    assert_true(beatlog_answer(&beats, number, 3000, 0, 0, 3500));
    assert_int_equal(beats.n_unanswered, 0);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(no_beat_means_unknown_not_zero),
        cmocka_unit_test(offset_is_our_clock_minus_the_brokers),
        cmocka_unit_test(truth_is_within_the_error_when_the_way_is_lopsided),
        cmocka_unit_test(shortest_round_trip_of_the_last_beats_wins),
        cmocka_unit_test(old_beats_are_forgotten),
        cmocka_unit_test(answers_that_cannot_be_true_are_refused),
        cmocka_unit_test(clocks_at_opposite_ends_do_not_overflow),
        cmocka_unit_test(silence_is_counted_until_an_answer_comes),
    };

    return cmocka_run_group_tests_name("agent/beats", tests, NULL, NULL);
}
