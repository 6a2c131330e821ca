/* SPDX-License-Identifier: Apache-2.0 */
/* Moments as people write them: seconds, clocks, dates and how long ago, and
 * what is none of these. */
#include "ctl/when.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#define NOW 1700000000 /* 2023-11-14 22:13:20. */

static void
moments_are_read_in_every_form(void **state)
{
    static const struct {
        const char *text;
        int64_t seconds;
    } rows[] = {
        {"@7", 7},
        {"20s", NOW - 20},
        {"15m", NOW - 900},
        {"2h", NOW - 7200},
        {"3d", NOW - 3 * 86400},
        {"0s", NOW},
        {"22:13:19", NOW - 1},
        {"22:13", NOW - 20},
        {"22:14", NOW + 40 - 86400}, /* Yesterday's. */
        {"2023-11-14 22:13:20", NOW},
        {"2023-11-14T22:13:20", NOW},
        {"2023-11-14 22:13", NOW - 20},
        {"2023-11-14T22:13", NOW - 20},
        {"2023-11-14", NOW - 80000},
    };

    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        int64_t ns = 0;

        assert_int_equal(when_parse(&ns, rows[i].text, NOW), 0);
        assert_int_equal(ns, rows[i].seconds * INT64_C(1000000000));
    }
}

static void
what_is_no_moment_is_refused(void **state)
{
    static const char *const bad[] = {"",
                                      "s",
                                      "@",
                                      "@x",
                                      "@0",
                                      "@-1",
                                      "@9999999999999999999",
                                      "@9999999999",
                                      "1w",
                                      "xs",
                                      "-1s",
                                      "99999999d",
                                      "25:00",
                                      "22:13:20x",
                                      "2023",
                                      "2023-13-01",
                                      "1960-01-01",
                                      "2023-11-14 22",
                                      "yesterday",
                                      "123456789012345678901234567890s"};
    int64_t ns = 7;

    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        assert_int_equal(when_parse(&ns, bad[i], NOW), -EINVAL);
    }
    assert_int_equal(ns, 7);
}

static int
set_up(void **state)
{
    setenv("TZ", "UTC", 1);
    return 0;
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(moments_are_read_in_every_form),
        cmocka_unit_test(what_is_no_moment_is_refused),
    };

    return cmocka_run_group_tests_name("when", tests, set_up, NULL);
}
