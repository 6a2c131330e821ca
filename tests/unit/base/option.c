/* SPDX-License-Identifier: Apache-2.0 */
/* Options: what a user writes is taken when it is of the type and in range, and
 * otherwise refused in words that name the option, the value and what is
 * right; a refused value changes nothing. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/option.h"

static const struct option_desc descs[] = {
    {"period_ms", "ms", OPTION_INT, 10, 60000, "2000", NULL, "How often."},
    {"share", "%", OPTION_REAL, 0, 100, "1.5", NULL, "How much."},
    {"pin", NULL, OPTION_BOOL, 0, 0, "true", NULL, "Whether."},
    {"machine", NULL, OPTION_TEXT, 0, 0, "none", NULL, "Which."},
    {"tie", NULL, OPTION_CHOICE, 0, 0, "raise", "raise lower both", "Who."},
    {"mhz", "MHz", OPTION_INTS, 100, 9000, "2400 1000", NULL, "Steps."},
    {NULL},
};

static struct option_values values;
static char why[200];

static int
set_up(void **state)
{
    (void)state;
    options_init(&values, descs);
    why[0] = '\0';
    return 0;
}

static void
defaults_hold_until_given(void **state)
{
    (void)state;
    assert_int_equal(option_int(&values, "period_ms"), 2000);
    assert_true(option_real(&values, "share") == 1.5);
    assert_true(option_bool(&values, "pin"));
    assert_string_equal(option_text(&values, "tie"), "raise");
    assert_int_equal(option_get(&values, "mhz")->n_ints, 2);
    assert_false(option_get(&values, "mhz")->given);
}

static void
good_values_of_each_type_are_taken(void **state)
{
    (void)state;
    assert_int_equal(options_set(&values, "period_ms", "10", why, 200), 0);
    assert_int_equal(options_set(&values, "share", "0.25", why, 200), 0);
    assert_int_equal(options_set(&values, "pin", "no", why, 200), 0);
    assert_int_equal(options_set(&values, "tie", "both", why, 200), 0);
    assert_int_equal(options_set(&values, "mhz", "3000,2000, 100", why, 200),
                     0);
    assert_int_equal(option_int(&values, "period_ms"), 10);
    assert_true(option_real(&values, "share") == 0.25);
    assert_false(option_bool(&values, "pin"));
    assert_int_equal(option_get(&values, "mhz")->ints[2], 100);
    assert_int_equal(option_get(&values, "mhz")->n_ints, 3);
    assert_true(option_get(&values, "mhz")->given);
}

static void
a_number_out_of_range_is_refused_with_the_range(void **state)
{
    (void)state;
    assert_int_equal(options_set(&values, "period_ms", "9", why, 200), -ERANGE);
    assert_non_null(strstr(why, "10 to 60000 ms"));
    assert_int_equal(options_set(&values, "mhz", "2400 99", why, 200), -ERANGE);
    assert_int_equal(option_int(&values, "period_ms"), 2000);
    assert_int_equal(option_get(&values, "mhz")->n_ints, 2);
}

static void
what_is_not_of_the_type_is_refused(void **state)
{
    static const char *const bad[][2] = {
        {"period_ms", "ten"}, {"period_ms", ""},      {"period_ms", "1.5"},
        {"period_ms", "10 "}, {"period_ms", " 10"},   {"share", "nan"},
        {"share", "inf"},     {"share", "1e999"},     {"pin", "2"},
        {"tie", "rais"},      {"tie", "raise lower"}, {"tie", ""},
        {"mhz", "2400 fast"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        assert_true(options_set(&values, bad[i][0], bad[i][1], why, 200) < 0);
        assert_non_null(strstr(why, bad[i][0]));
    }
}

static void
truth_has_two_words_and_no_third(void **state)
{
    (void)state;
    assert_int_equal(options_set(&values, "pin", "FALSE", why, 200), 0);
    assert_false(option_bool(&values, "pin"));
    assert_int_equal(options_set(&values, "pin", "Yes", why, 200), 0);
    assert_true(option_bool(&values, "pin"));
    assert_int_equal(options_set(&values, "pin", "yess", why, 200), -EINVAL);
    assert_non_null(strstr(why, "neither true nor false"));
    assert_true(option_bool(&values, "pin"));
}

static void
who_has_no_options_says_so(void **state)
{
    static const struct option_desc nothing[] = {{NULL}};
    struct option_values none;

    (void)state;
    options_init(&none, nothing);
    assert_int_equal(options_set(&none, "pin", "yes", why, 200), -ENOENT);
    assert_string_equal(why, "no option \"pin\"; there are none here");
}

static void
an_unknown_name_is_answered_with_those_there_are(void **state)
{
    (void)state;
    assert_int_equal(options_set(&values, "perod", "1", why, 200), -ENOENT);
    assert_non_null(strstr(why, "perod"));
    assert_non_null(strstr(why, "period_ms"));
}

static void
text_and_lists_longer_than_their_room_are_refused(void **state)
{
    char text[OPTION_TEXT_MAX + 2];

    (void)state;
    memset(text, 'x', sizeof text - 1);
    text[sizeof text - 1] = '\0';
    assert_int_equal(options_set(&values, "machine", text, why, 200), -EINVAL);
    assert_int_equal(options_set(&values, "mhz",
                                 "100 100 100 100 100 100 100 100 100 100 100 "
                                 "100 100 100 100 100 100",
                                 why, 200),
                     -ERANGE);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(defaults_hold_until_given, set_up),
        cmocka_unit_test_setup(good_values_of_each_type_are_taken, set_up),
        cmocka_unit_test_setup(a_number_out_of_range_is_refused_with_the_range,
                               set_up),
        cmocka_unit_test_setup(what_is_not_of_the_type_is_refused, set_up),
        cmocka_unit_test_setup(truth_has_two_words_and_no_third, set_up),
        cmocka_unit_test_setup(who_has_no_options_says_so, set_up),
        cmocka_unit_test_setup(an_unknown_name_is_answered_with_those_there_are,
                               set_up),
        cmocka_unit_test_setup(
            text_and_lists_longer_than_their_room_are_refused, set_up),
    };

    return cmocka_run_group_tests_name("option", tests, NULL, NULL);
}
