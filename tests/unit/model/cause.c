/* SPDX-License-Identifier: Apache-2.0 */
/* Cause numbers: unique, sortable, and readable by people. */
#include "model/cause.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define START(n) ((uint64_t)(n) << 40)
#define ENGINE (UINT64_C(1) << 39)

static void
counts_up_from_one_of_its_start(void **state)
{
    struct cause_counter counter;

    cause_counter_init(&counter, 7, false);
    assert_int_equal(cause_next(&counter), START(7) + 1);
    assert_int_equal(cause_next(&counter), START(7) + 2);
}

static void
back_and_engine_never_give_the_same(void **state)
{
    struct cause_counter back, engine;

    cause_counter_init(&back, 7, false);
    cause_counter_init(&engine, 7, true);
    assert_int_equal(cause_next(&engine) ^ cause_next(&back), ENGINE);
}

static void
count_wraps_within_its_start(void **state)
{
    struct cause_counter counter;

    cause_counter_init(&counter, 7, false);
    counter.next = START(7) | (ENGINE - 1);
    assert_int_equal(cause_next(&counter), START(7) + (ENGINE - 1));
    assert_int_equal(cause_next(&counter), START(7) + 1);
    cause_counter_init(&counter, 7, true);
    counter.next = START(7) | ENGINE | (ENGINE - 1);
    cause_next(&counter);
    assert_int_equal(cause_next(&counter), START(7) | ENGINE | 1);
}

static void
damaged_start_count_still_counts(void **state)
{
    struct cause_counter counter;

    cause_counter_init(&counter, 0, false);
    assert_int_not_equal(cause_next(&counter), CAUSE_NONE);
    cause_counter_init(&counter, UINT64_C(1) << 24, true);
    assert_true(cause_next(&counter) & ENGINE);
}

static void
what_is_written_is_read(void **state)
{
    static const uint64_t causes[] = {
        START(1) + 1,
        START(7) + 42,
        START(7) + ENGINE + 3,
        START((1 << 24) - 1) + (ENGINE - 1),
        UINT64_MAX,
    };
    char text[CAUSE_TEXT_SIZE];
    uint64_t cause;

    for (size_t i = 0; i < sizeof causes / sizeof *causes; i++) {
        cause_format(causes[i], text);
        assert_int_equal(cause_parse(&cause, text, 99), 0);
        assert_true(cause == causes[i]);
    }
    cause_format(START(7) + ENGINE + 3, text);
    assert_string_equal(text, "7.e3");
}

static void
short_forms_are_of_the_current_start(void **state)
{
    uint64_t cause;

    assert_int_equal(cause_parse(&cause, "42", 7), 0);
    assert_int_equal(cause, START(7) + 42);
    assert_int_equal(cause_parse(&cause, "e3", 7), 0);
    assert_int_equal(cause, START(7) + ENGINE + 3);
    assert_int_equal(cause_parse(&cause, "7696581394433", 9), 0);
    assert_int_equal(cause, START(7) + 1);
}

static void
anything_else_is_no_cause(void **state)
{
    static const char *const bad[] = {
        "",
        "-",
        "0",
        "e0",
        "7.",
        ".7",
        "7.0",
        "7.e",
        "0.1",
        "7.1.1",
        "7,1",
        "x",
        "7.e-1",
        "7. 1",
        " 7.1",
        "7.1 ",
        "16777216.1",
        "7.549755813888",
        "18446744073709551616",
        "e7.1",
        "7696581394432",
        "99999999999999999999999999999999999999.1",
    };
    uint64_t cause = 5;

    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        assert_int_equal(cause_parse(&cause, bad[i], 7), -EINVAL);
        assert_int_equal(cause, 5);
    }
    assert_int_equal(cause_parse(&cause, "42", 0), -EINVAL);
}

static void
no_cause_is_written_as_a_dash(void **state)
{
    char text[CAUSE_TEXT_SIZE];

    cause_format(CAUSE_NONE, text);
    assert_string_equal(text, "-");
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(counts_up_from_one_of_its_start),
        cmocka_unit_test(back_and_engine_never_give_the_same),
        cmocka_unit_test(count_wraps_within_its_start),
        cmocka_unit_test(damaged_start_count_still_counts),
        cmocka_unit_test(what_is_written_is_read),
        cmocka_unit_test(short_forms_are_of_the_current_start),
        cmocka_unit_test(anything_else_is_no_cause),
        cmocka_unit_test(no_cause_is_written_as_a_dash),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
