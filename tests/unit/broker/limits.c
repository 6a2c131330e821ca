/* SPDX-License-Identifier: Apache-2.0 */
/* The limits let through what the configuration allows and nothing else. */
#include "broker/platform/limits.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#include "broker/config/config.h"

static char why[CONFIG_WHY_SIZE];

/* CPUs 0 and 1 are ours, and so domain 0; domain 1 holds a stranger. */
static int
setup(void **state)
{
    struct broker_config config = {.n_cpus = 2,
                                   .cpus = {0, 1},
                                   .pstate_min = 1,
                                   .pstate_max = 3,
                                   .writes_per_second_max = 10};
    struct pstate_domain domains[] = {
        {.id = 0, .n_cpus = 2, .cpus = {0, 1}, .table = {.n = 5}},
        {.id = 1, .n_cpus = 2, .cpus = {1, 7}, .table = {.n = 5}},
        {.id = 2, .n_cpus = 0, .table = {.n = 5}},
    };
    struct limits *limits;

    assert_int_equal(limits_create(&limits, &config, domains, 3), 0);
    *state = limits;
    return 0;
}

static int
teardown(void **state)
{
    limits_destroy(*state);
    return 0;
}

static int
check(void **state, uint32_t domain, uint32_t pstate, nsec_t now)
{
    why[0] = '\0';
    return limits_check_pstate(*state, domain, pstate, now, why, sizeof why);
}

static void
allows_what_the_configuration_allows(void **state)
{
    for (uint32_t pstate = 1; pstate <= 3; pstate++) {
        assert_int_equal(check(state, 0, pstate, 0), 0);
        assert_string_equal(why, "");
    }
}

static void
refuses_pstates_outside_the_configured_range(void **state)
{
    assert_int_equal(check(state, 0, 0, 0), -EPERM);
    assert_string_equal(why, "the configuration allows p-states 1 to 3");
    assert_int_equal(check(state, 0, 4, 0), -EPERM);
}

static void
refuses_pstates_the_driver_does_not_have(void **state)
{
    assert_int_equal(check(state, 0, 5, 0), -ERANGE);
    assert_string_equal(why, "domain 0 has p-states 0 to 4, not 5");
    assert_int_equal(check(state, 0, UINT32_MAX, 0), -ERANGE);
}

static void
refuses_a_domain_that_holds_a_strangers_cpu(void **state)
{
    assert_int_equal(check(state, 1, 2, 0), -EPERM);
    assert_string_equal(why, "CPU 7 of domain 1 is not ours to change");
}

static void
refuses_a_domain_without_cpus(void **state)
{
    assert_int_equal(check(state, 2, 2, 0), -EPERM);
}

static void
refuses_a_domain_that_is_not_there(void **state)
{
    assert_int_equal(check(state, 3, 2, 0), -ERANGE);
    assert_int_equal(check(state, UINT32_MAX, 2, 0), -ERANGE);
    assert_string_equal(why, "there is no domain 4294967295");
}

static void
lets_a_second_s_writes_through_at_once_then_refuses(void **state)
{
    for (int i = 0; i < 10; i++) {
        assert_int_equal(check(state, 0, 2, 1000), 0);
    }
    assert_int_equal(check(state, 0, 2, 1000), -EBUSY);
    assert_string_equal(why, "domain 0 was written 10 times in a second");
}

static void
lets_writes_through_again_as_time_passes(void **state)
{
    nsec_t now = 5 * NSEC_PER_SEC;

    while (!check(state, 0, 2, now)) {
    }
    assert_int_equal(check(state, 0, 2, now + 99 * NSEC_PER_MSEC), -EBUSY);
    assert_int_equal(check(state, 0, 2, now + 100 * NSEC_PER_MSEC), 0);
    assert_int_equal(check(state, 0, 2, now + 101 * NSEC_PER_MSEC), -EBUSY);
}

static void
a_long_rest_earns_no_more_than_a_second_s_writes(void **state)
{
    int n = 0;

    assert_int_equal(check(state, 0, 2, 0), 0);
    while (!check(state, 0, 2, 3600 * NSEC_PER_SEC)) {
        n++;
    }
    assert_int_equal(n, 10);
}

static void
a_clock_that_goes_back_earns_nothing(void **state)
{
    while (!check(state, 0, 2, 9 * NSEC_PER_SEC)) {
    }
    assert_int_equal(check(state, 0, 2, 1 * NSEC_PER_SEC), -EBUSY);
    assert_int_equal(check(state, 0, 2, INT64_MIN), -EBUSY);
}

static void
refused_writes_cost_nothing(void **state)
{
    for (int i = 0; i < 100; i++) {
        assert_int_equal(check(state, 0, 4, 0), -EPERM);
    }
    assert_int_equal(check(state, 0, 2, 0), 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int
main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(allows_what_the_configuration_allows),
        TEST(refuses_pstates_outside_the_configured_range),
        TEST(refuses_pstates_the_driver_does_not_have),
        TEST(refuses_a_domain_that_holds_a_strangers_cpu),
        TEST(refuses_a_domain_without_cpus),
        TEST(refuses_a_domain_that_is_not_there),
        TEST(lets_a_second_s_writes_through_at_once_then_refuses),
        TEST(lets_writes_through_again_as_time_passes),
        TEST(a_long_rest_earns_no_more_than_a_second_s_writes),
        TEST(a_clock_that_goes_back_earns_nothing),
        TEST(refused_writes_cost_nothing),
    };

    return cmocka_run_group_tests_name("limits", tests, NULL, NULL);
}
