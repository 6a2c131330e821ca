/* SPDX-License-Identifier: Apache-2.0 */
/* The SLA model: what counts as a violation, when an epoch is over, and what
 * becomes of epochs when time jumps. */
#include "model/sla.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#define MS NSEC_PER_MSEC

static void
make(struct sla *sla, uint32_t tolerated_permille)
{
    struct sla_terms terms = {.threshold_us = 3000,
                              .epoch_ns = 500 * MS,
                              .tolerated_permille = tolerated_permille};

    sla_init(sla, &terms, 1000 * MS);
}

/* Counts 'n_good' requests of 1 ms and 'n_bad' of 9 ms, then closes. */
static struct sla_result
epoch_of(struct sla *sla, unsigned n_good, unsigned n_bad)
{
    struct sla_result out;
    nsec_t now = sla->open.start + 10 * MS;

    for (unsigned i = 0; i < n_good; i++) {
        sla_observe(sla, now, now, 1000);
    }
    for (unsigned i = 0; i < n_bad; i++) {
        sla_observe(sla, now, now, 9000);
    }
    assert_true(sla_run(sla, sla_deadline(sla), &out));
    return out;
}

static void
exactly_the_tolerated_share_is_no_violation(void **state)
{
    struct sla sla;
    struct sla_result out;

    make(&sla, 10);
    out = epoch_of(&sla, 99, 1);
    assert_false(out.violated);
    assert_int_equal(out.n_requests, 100);
    assert_int_equal(out.n_violations, 1);
    out = epoch_of(&sla, 198, 2);
    assert_false(out.violated);
}

static void
just_above_the_tolerated_share_violates(void **state)
{
    struct sla sla;

    make(&sla, 10);
    assert_true(epoch_of(&sla, 98, 1).violated);
    assert_true(epoch_of(&sla, 197, 2).violated);
    assert_true(epoch_of(&sla, 0, 1).violated);
}

static void
nothing_tolerated_means_one_is_too_many(void **state)
{
    struct sla sla;

    make(&sla, 0);
    assert_true(epoch_of(&sla, 100000, 1).violated);
    assert_false(epoch_of(&sla, 100000, 0).violated);
}

static void
everything_tolerated_never_violates(void **state)
{
    struct sla sla;

    make(&sla, 1000);
    assert_false(epoch_of(&sla, 0, 50).violated);
}

static void
huge_counts_do_not_overflow_the_share(void **state)
{
    assert_true(sla_violated(1000000000, 10000001, 10));
    assert_false(sla_violated(1000000000, 10000000, 10));
}

static void
threshold_itself_is_fast_enough(void **state)
{
    struct sla sla;

    make(&sla, 10);
    sla_observe(&sla, 1001 * MS, 1001 * MS, 3000);
    assert_int_equal(sla.open.n_violations, 0);
    sla_observe(&sla, 1001 * MS, 1001 * MS, 3001);
    assert_int_equal(sla.open.n_violations, 1);
}

static void
epoch_without_requests_is_told_and_clean(void **state)
{
    struct sla sla;
    struct sla_result out;

    make(&sla, 10);
    out = epoch_of(&sla, 0, 0);
    assert_false(out.violated);
    assert_int_equal(out.n_requests, 0);
    assert_int_equal(out.worst_us, 0);
    assert_int_equal(out.worst_ended, 0);
    assert_int_equal(out.first_seen, 0);
    assert_int_equal(out.last_seen, 0);
}

static void
worst_first_and_last_are_remembered(void **state)
{
    struct sla sla;
    struct sla_result out;

    make(&sla, 10);
    sla_observe(&sla, 1010 * MS, 1005 * MS, 700);
    sla_observe(&sla, 1020 * MS, 1011 * MS, 8000);
    sla_observe(&sla, 1030 * MS, 1024 * MS, 8000);
    sla_observe(&sla, 1040 * MS, 1031 * MS, 10);
    assert_true(sla_run(&sla, 1500 * MS, &out));
    assert_int_equal(out.worst_us, 8000);
    assert_int_equal(out.worst_ended, 1011 * MS);
    assert_int_equal(out.first_seen, 1010 * MS);
    assert_int_equal(out.last_seen, 1040 * MS);
}

static void
request_of_no_time_at_all_can_be_the_worst(void **state)
{
    struct sla sla;

    make(&sla, 10);
    sla_observe(&sla, 1010 * MS, 1009 * MS, 0);
    assert_int_equal(sla.open.worst_ended, 1009 * MS);
}

static void
epoch_ends_at_its_last_moment_not_before(void **state)
{
    struct sla sla;
    struct sla_result out;

    make(&sla, 10);
    assert_int_equal(sla_deadline(&sla), 1500 * MS);
    assert_false(sla_run(&sla, 1500 * MS - 1, &out));
    assert_true(sla_run(&sla, 1500 * MS, &out));
    assert_int_equal(out.start, 1000 * MS);
    assert_int_equal(out.end, 1500 * MS);
    assert_int_equal(out.number, 0);
    assert_false(sla_run(&sla, 1500 * MS, &out));
}

static void
late_turn_does_not_move_the_grid(void **state)
{
    struct sla sla;
    struct sla_result out;

    make(&sla, 10);
    assert_true(sla_run(&sla, 1730 * MS, &out));
    assert_int_equal(out.end, 1500 * MS);
    assert_int_equal(sla_deadline(&sla), 2000 * MS);
}

static void
late_line_counts_where_it_is_read(void **state)
{
    struct sla sla;
    struct sla_result first, second;

    make(&sla, 10);
    assert_true(sla_run(&sla, 1500 * MS, &first));
    /* Ended in the first epoch, written late. */
    sla_observe(&sla, 1600 * MS, 1400 * MS, 5000);
    assert_true(sla_run(&sla, 2000 * MS, &second));
    assert_int_equal(first.n_requests, 0);
    assert_int_equal(second.n_requests, 1);
    assert_int_equal(second.worst_ended, 1400 * MS);
}

static void
missed_epochs_are_told_empty_up_to_a_limit(void **state)
{
    struct sla sla;
    struct sla_result out;
    unsigned n = 0;

    make(&sla, 10);
    sla_observe(&sla, 1100 * MS, 1100 * MS, 5000);
    while (sla_run(&sla, (1500 + SLA_CATCH_UP_MAX * 500) * MS, &out)) {
        assert_int_equal(out.number, n);
        assert_int_equal(out.n_requests, n == 0 ? 1 : 0);
        n++;
    }
    assert_int_equal(n, 1 + SLA_CATCH_UP_MAX);
    assert_int_equal(sla.n_skipped, 0);
}

static void
year_long_pause_is_one_gap_not_millions_of_epochs(void **state)
{
    struct sla sla;
    struct sla_result out;
    nsec_t year = INT64_C(365) * 86400 * NSEC_PER_SEC;
    unsigned n = 0;

    make(&sla, 10);
    while (sla_run(&sla, 1700 * MS + year, &out)) {
        n++;
    }
    assert_int_equal(n, 1);
    assert_int_equal(sla.n_skipped, year / (500 * MS));
    /* The grid is kept, and the numbers say how much is missing. */
    assert_int_equal(sla.open.start, 1500 * MS + year);
    assert_int_equal(sla.open.number, 1 + sla.n_skipped);
}

static void
clock_that_goes_back_keeps_the_counts(void **state)
{
    struct sla sla;
    struct sla_result out;

    make(&sla, 10);
    sla_observe(&sla, 1100 * MS, 1100 * MS, 5000);
    assert_false(sla_run(&sla, 300 * MS, &out));
    assert_int_equal(sla.n_set_back, 1);
    assert_int_equal(sla_deadline(&sla), 800 * MS);
    assert_true(sla_run(&sla, 800 * MS, &out));
    assert_int_equal(out.n_requests, 1);
    assert_int_equal(out.start, 300 * MS);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(exactly_the_tolerated_share_is_no_violation),
        cmocka_unit_test(just_above_the_tolerated_share_violates),
        cmocka_unit_test(nothing_tolerated_means_one_is_too_many),
        cmocka_unit_test(everything_tolerated_never_violates),
        cmocka_unit_test(huge_counts_do_not_overflow_the_share),
        cmocka_unit_test(threshold_itself_is_fast_enough),
        cmocka_unit_test(epoch_without_requests_is_told_and_clean),
        cmocka_unit_test(worst_first_and_last_are_remembered),
        cmocka_unit_test(request_of_no_time_at_all_can_be_the_worst),
        cmocka_unit_test(epoch_ends_at_its_last_moment_not_before),
        cmocka_unit_test(late_turn_does_not_move_the_grid),
        cmocka_unit_test(late_line_counts_where_it_is_read),
        cmocka_unit_test(missed_epochs_are_told_empty_up_to_a_limit),
        cmocka_unit_test(year_long_pause_is_one_gap_not_millions_of_epochs),
        cmocka_unit_test(clock_that_goes_back_keeps_the_counts),
    };

    return cmocka_run_group_tests_name("model/sla", tests, NULL, NULL);
}
