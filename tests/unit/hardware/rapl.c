/* SPDX-License-Identifier: Apache-2.0 */
/* Shows on a made tree that energy counters become watts, over wraps too, and
 * that a counter which is gone, forbidden or absurd never becomes a number. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "hardware/hardware.h"
#include "tests/unit/hardware/tree.h"

#define RANGE UINT64_C(262143328850)

struct fixture {
    struct tree tree;
    struct option_values options;
    struct hardware_env env;
    struct hardware *hw;
    struct power_reading reading;
    char why[256];
};

static const struct hardware_class *
driver(void)
{
    return hardware_find("rapl");
}

static void
put_zone(struct fixture *f, const char *zone, const char *name, uint64_t uj)
{
    char path[128];

    snprintf(path, sizeof path, "class/powercap/%s/name", zone);
    tree_put(&f->tree, path, "%s\n", name);
    snprintf(path, sizeof path, "class/powercap/%s/energy_uj", zone);
    tree_put(&f->tree, path, "%llu\n", (unsigned long long)uj);
    snprintf(path, sizeof path, "class/powercap/%s/max_energy_range_uj", zone);
    tree_put(&f->tree, path, "%llu\n", (unsigned long long)RANGE);
}

static int
set_up(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);

    tree_make(&f->tree);
    options_init(&f->options, driver()->options);
    f->env = (struct hardware_env){
        .sys_dirfd = f->tree.dirfd,
        .data_dirfd = -1,
        .options = &f->options,
    };
    put_zone(f, "intel-rapl:0", "package-0", 1000000);
    *state = f;
    return 0;
}

static int
tear_down(void **state)
{
    struct fixture *f = *state;

    driver()->close(f->hw);
    tree_remove(&f->tree);
    free(f);
    return 0;
}

static int
open_it(struct fixture *f)
{
    return driver()->open(&f->hw, &f->env, f->why, sizeof f->why);
}

static int
read_at(struct fixture *f, nsec_t now)
{
    return driver()->power->read(f->hw, NULL, 0, now, &f->reading);
}

/* Opens, and takes the reading that only begins. */
static void
begin(struct fixture *f)
{
    assert_int_equal(open_it(f), 0);
    assert_int_equal(read_at(f, NSEC_PER_SEC), -EAGAIN);
}

static void
first_reading_is_no_power(void **state)
{
    struct fixture *f = *state;

    begin(f);
    assert_int_equal(f->reading.quality, QUALITY_UNKNOWN);
}

static void
growth_over_time_is_power(void **state)
{
    struct fixture *f = *state;

    begin(f);
    put_zone(f, "intel-rapl:0", "package-0", 1000000 + 12500000);
    assert_int_equal(read_at(f, NSEC_PER_SEC * 3 / 2), 0);
    assert_int_equal(f->reading.power_mw, 25000);
    assert_int_equal(f->reading.quality, QUALITY_MEASURED);
    assert_string_equal(f->reading.source, "rapl");
    assert_int_equal(f->reading.time, NSEC_PER_SEC * 3 / 2);
}

static void
each_reading_is_since_the_last(void **state)
{
    struct fixture *f = *state;

    begin(f);
    put_zone(f, "intel-rapl:0", "package-0", 11000000);
    assert_int_equal(read_at(f, 2 * NSEC_PER_SEC), 0);
    assert_int_equal(f->reading.power_mw, 10000);
    put_zone(f, "intel-rapl:0", "package-0", 51000000);
    assert_int_equal(read_at(f, 4 * NSEC_PER_SEC), 0);
    assert_int_equal(f->reading.power_mw, 20000);
}

static void
counter_wraps_at_its_range(void **state)
{
    struct fixture *f = *state;

    put_zone(f, "intel-rapl:0", "package-0", RANGE - 4000000);
    begin(f);
    put_zone(f, "intel-rapl:0", "package-0", 6000000);
    assert_int_equal(read_at(f, 2 * NSEC_PER_SEC), 0);
    assert_int_equal(f->reading.power_mw, 10000);
}

static void
packages_are_summed_and_nothing_else(void **state)
{
    struct fixture *f = *state;

    put_zone(f, "intel-rapl:1", "package-1", 0);
    put_zone(f, "intel-rapl:0:0", "core", 0);
    put_zone(f, "intel-rapl:2", "psys", 0);
    put_zone(f, "intel-rapl-mmio:0", "package-0", 0);
    tree_put(&f->tree, "class/powercap/intel-rapl/enabled", "1\n");
    begin(f);
    put_zone(f, "intel-rapl:0", "package-0", 1000000 + 30000000);
    put_zone(f, "intel-rapl:1", "package-1", 12000000);
    put_zone(f, "intel-rapl:0:0", "core", 7000000);
    put_zone(f, "intel-rapl:2", "psys", 99000000);
    put_zone(f, "intel-rapl-mmio:0", "package-0", 30000000);
    assert_int_equal(read_at(f, 2 * NSEC_PER_SEC), 0);
    assert_int_equal(f->reading.power_mw, 42000);
}

static void
unchanged_counter_is_zero_watts_measured(void **state)
{
    struct fixture *f = *state;

    begin(f);
    assert_int_equal(read_at(f, 2 * NSEC_PER_SEC), 0);
    assert_int_equal(f->reading.power_mw, 0);
    assert_int_equal(f->reading.quality, QUALITY_MEASURED);
}

static void
no_time_between_is_no_power(void **state)
{
    struct fixture *f = *state;

    begin(f);
    put_zone(f, "intel-rapl:0", "package-0", 11000000);
    assert_int_equal(read_at(f, NSEC_PER_SEC), -EAGAIN);
    assert_int_equal(read_at(f, NSEC_PER_SEC - 1), -EAGAIN);
    /* And nothing was lost by asking. */
    assert_int_equal(read_at(f, 2 * NSEC_PER_SEC), 0);
    assert_int_equal(f->reading.power_mw, 10000);
}

static void
vanished_zone_is_an_error_and_its_return_a_beginning(void **state)
{
    struct fixture *f = *state;

    begin(f);
    tree_drop(&f->tree, "class/powercap/intel-rapl:0");
    assert_int_equal(read_at(f, 2 * NSEC_PER_SEC), -ENOENT);
    put_zone(f, "intel-rapl:0", "package-0", 5000000);
    assert_int_equal(read_at(f, 3 * NSEC_PER_SEC), -EAGAIN);
    put_zone(f, "intel-rapl:0", "package-0", 6000000);
    assert_int_equal(read_at(f, 4 * NSEC_PER_SEC), 0);
    assert_int_equal(f->reading.power_mw, 1000);
}

static void
one_vanished_of_two_is_an_error(void **state)
{
    struct fixture *f = *state;

    put_zone(f, "intel-rapl:1", "package-1", 0);
    begin(f);
    tree_drop(&f->tree, "class/powercap/intel-rapl:1");
    assert_int_equal(read_at(f, 2 * NSEC_PER_SEC), -ENOENT);
}

/* 1 J before, 0 now: a wrap would be 262 kJ in a second. */
static void
reset_counter_is_no_power(void **state)
{
    struct fixture *f = *state;

    begin(f);
    put_zone(f, "intel-rapl:0", "package-0", 0);
    assert_int_equal(read_at(f, 2 * NSEC_PER_SEC), -EIO);
    put_zone(f, "intel-rapl:0", "package-0", 3000000);
    assert_int_equal(read_at(f, 3 * NSEC_PER_SEC), 0);
    assert_int_equal(f->reading.power_mw, 3000);
}

static void
counter_beyond_its_range_is_an_error(void **state)
{
    struct fixture *f = *state;

    begin(f);
    put_zone(f, "intel-rapl:0", "package-0", RANGE + 1);
    assert_int_equal(read_at(f, 2 * NSEC_PER_SEC), -EIO);
}

static void
garbage_is_an_error(void **state)
{
    static const char *const garbage[] = {"", "\n", "-5\n", "12a\n",
                                          "99999999999999999999999\n"};
    struct fixture *f = *state;

    begin(f);
    for (size_t i = 0; i < sizeof garbage / sizeof *garbage; i++) {
        tree_put(&f->tree, "class/powercap/intel-rapl:0/energy_uj", "%s",
                 garbage[i]);
        assert_int_equal(read_at(f, (nsec_t)(i + 2) * NSEC_PER_SEC), -EIO);
    }
    assert_int_equal(f->reading.quality, QUALITY_UNKNOWN);
}

static void
range_of_zero_is_refused(void **state)
{
    struct fixture *f = *state;

    tree_put(&f->tree, "class/powercap/intel-rapl:0/max_energy_range_uj",
             "0\n");
    assert_int_equal(open_it(f), -EIO);
    assert_non_null(strstr(f->why, "intel-rapl:0"));
}

static void
host_without_counters_is_told_what_would_help(void **state)
{
    struct fixture *f = *state;

    tree_drop(&f->tree, "class");
    assert_int_equal(open_it(f), -ENODEV);
    assert_non_null(strstr(f->why, "powermodel"));
    assert_null(f->hw);
}

static void
only_subzones_is_not_here(void **state)
{
    struct fixture *f = *state;

    tree_drop(&f->tree, "class/powercap/intel-rapl:0");
    put_zone(f, "intel-rapl:0:0", "core", 0);
    assert_int_equal(open_it(f), -ENODEV);
}

static void
forbidden_counter_says_who_may_read_it(void **state)
{
    struct fixture *f = *state;
    char path[256];

    snprintf(path, sizeof path, "%s/class/powercap/intel-rapl:0/energy_uj",
             f->tree.path);
    assert_int_equal(chmod(path, 0), 0);
    bool root = geteuid() == 0;
    if (root) {
        assert_int_equal(seteuid(65534), 0);
    }
    int error = open_it(f);
    if (root) {
        assert_int_equal(seteuid(0), 0);
    }
    assert_int_equal(error, -EACCES);
    assert_non_null(strstr(f->why, "root"));
}

#define T(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int
main(void)
{
    const struct CMUnitTest tests[] = {
        T(first_reading_is_no_power),
        T(growth_over_time_is_power),
        T(each_reading_is_since_the_last),
        T(counter_wraps_at_its_range),
        T(packages_are_summed_and_nothing_else),
        T(unchanged_counter_is_zero_watts_measured),
        T(no_time_between_is_no_power),
        T(vanished_zone_is_an_error_and_its_return_a_beginning),
        T(one_vanished_of_two_is_an_error),
        T(reset_counter_is_no_power),
        T(counter_beyond_its_range_is_an_error),
        T(garbage_is_an_error),
        T(range_of_zero_is_refused),
        T(host_without_counters_is_told_what_would_help),
        T(only_subzones_is_not_here),
        T(forbidden_counter_says_who_may_read_it),
    };

    return cmocka_run_group_tests_name("rapl", tests, NULL, NULL);
}
