/* SPDX-License-Identifier: Apache-2.0 */
/* Shows that modelled power is the measured curve at p-state 0, falls with
 * frequency and voltage as the formula says, and is always called a model. */
#include <errno.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "hardware/hardware.h"
#include "tests/unit/hardware/tree.h"

#define HEADER "machine,year,idle,w10,w20,w30,w40,w50,w60,w70,w80,w90,w100\n"

struct fixture {
    struct tree tree;
    struct option_values options;
    struct hardware_env env;
    struct hardware *hw;
    char why[512];
};

static const struct hardware_class *
driver(void)
{
    return hardware_find("powermodel");
}

static int
set_up(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);

    tree_make(&f->tree);
    options_init(&f->options, driver()->options);
    f->env = (struct hardware_env){
        .sys_dirfd = -1,
        .data_dirfd = f->tree.dirfd,
        .options = &f->options,
    };
    tree_put(&f->tree, "specpower.csv",
             HEADER "Other,1999,1,2,3,4,5,6,7,8,9,10,11\n"
                    "Opteron-2216HE-2x2c,2007,164,204,225,234,242,248,254,260,"
                    "267,272,276\n");
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

static void
option(struct fixture *f, const char *name, const char *text)
{
    assert_int_equal(
        options_set(&f->options, name, text, f->why, sizeof f->why), 0);
}

static void
open_it(struct fixture *f)
{
    assert_int_equal(driver()->open(&f->hw, &f->env, f->why, sizeof f->why), 0);
}

static void
refused(struct fixture *f, int error, const char *word)
{
    assert_int_equal(driver()->open(&f->hw, &f->env, f->why, sizeof f->why),
                     error);
    assert_null(f->hw);
    assert_non_null(strstr(f->why, word));
}

static double
watts(struct fixture *f, const struct cpu_load *load, uint32_t n)
{
    struct power_reading reading;

    assert_int_equal(driver()->power->read(f->hw, load, n, 5, &reading), 0);
    assert_int_equal(reading.quality, QUALITY_MODELLED);
    assert_string_equal(reading.source, "model");
    assert_int_equal(reading.time, 5);
    return (double)reading.power_mw / 1000;
}

static void
near(double is, double wanted)
{
    if (fabs(is - wanted) > 0.002) {
        fail_msg("%.4f W where %.4f W was wanted", is, wanted);
    }
}

static struct cpu_load
load_at(uint32_t mhz, uint32_t mv, double busy)
{
    struct cpu_load load = {
        .freq_khz = mhz * 1000,
        .voltage_mv = mv,
        .freq0_khz = 2400000,
        .voltage0_mv = 1350,
        .busy = busy,
    };
    return load;
}

static void
fastest_pstate_is_the_measured_curve(void **state)
{
    static const double curve[] = {164, 204, 225, 234, 242, 248,
                                   254, 260, 267, 272, 276};
    struct fixture *f = *state;

    open_it(f);
    for (int i = 0; i <= 10; i++) {
        struct cpu_load load[4];
        for (int j = 0; j < 4; j++) {
            load[j] = load_at(2400, 1350, i / 10.0);
        }
        near(watts(f, load, 4), curve[i]);
    }
}

static void
between_points_it_is_linear(void **state)
{
    struct fixture *f = *state;
    struct cpu_load load = load_at(2400, 1350, 0.05);

    open_it(f);
    near(watts(f, &load, 1), 184);
    load.busy = 0.975;
    near(watts(f, &load, 1), 275);
}

static void
idle_falls_by_its_scaled_part_only(void **state)
{
    struct fixture *f = *state;
    struct cpu_load load = load_at(1000, 1100, 0);
    double s = 1100.0 * 1100 / 1350 / 1350 * 1000 / 2400;

    open_it(f);
    near(watts(f, &load, 1), 134 + 30 * s);
}

static void
slow_and_busy_core_follows_the_formula(void **state)
{
    struct fixture *f = *state;
    struct cpu_load load[] = {load_at(1000, 1100, 1.0),
                              load_at(2400, 1350, 0.3)};
    double s = 1100.0 * 1100 / 1350 / 1350 * 1000 / 2400;

    open_it(f);
    near(watts(f, load, 2), 134 + s * (30 + 112) / 2 + (30 + 70) / 2.0);
}

/* The study's loads: one guest of 0.349 of a core, three of 0.2; all at 1.0 GHz
 * saved 26.7 % there. */
static void
all_slow_saves_what_the_study_found(void **state)
{
    struct fixture *f = *state;
    double u[] = {0.349, 0.2, 0.2, 0.2};
    struct cpu_load fast[4], slow[4];

    open_it(f);
    for (int i = 0; i < 4; i++) {
        fast[i] = load_at(2400, 1350, u[i]);
        slow[i] = load_at(1000, 1100, u[i] * 2.4);
    }
    double saving = 1 - watts(f, slow, 4) / watts(f, fast, 4);
    assert_true(saving > 0.26 && saving < 0.275);
}

static void
without_scaled_idle_idling_costs_the_same_at_all_speeds(void **state)
{
    struct fixture *f = *state;
    struct cpu_load load = load_at(1000, 1100, 0);

    option(f, "idle_scaled_w", "0");
    open_it(f);
    near(watts(f, &load, 1), 164);
}

static void
unknown_voltage_scales_by_frequency_alone(void **state)
{
    struct fixture *f = *state;
    struct cpu_load load = load_at(1200, 0, 1.0);

    open_it(f);
    near(watts(f, &load, 1), 134 + 0.5 * 142);
    load = load_at(1200, 1100, 1.0);
    load.voltage0_mv = 0;
    near(watts(f, &load, 1), 134 + 0.5 * 142);
}

static void
unknown_frequency_is_full_speed(void **state)
{
    struct fixture *f = *state;
    struct cpu_load load = {.busy = 1.0};

    open_it(f);
    near(watts(f, &load, 1), 276);
}

static void
shares_beyond_sense_stay_in_the_curve(void **state)
{
    static const struct {
        double busy, watts;
    } cases[] = {{-1, 164},       {1.5, 276},       {NAN, 164},
                 {INFINITY, 276}, {-INFINITY, 164}, {1.0, 276}};
    struct fixture *f = *state;

    open_it(f);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct cpu_load load = load_at(2400, 1350, cases[i].busy);
        near(watts(f, &load, 1), cases[i].watts);
    }
}

static void
no_cpus_have_no_power(void **state)
{
    struct fixture *f = *state;
    struct power_reading reading = {.quality = QUALITY_STALE};

    open_it(f);
    assert_int_equal(driver()->power->read(f->hw, NULL, 0, 5, &reading),
                     -EAGAIN);
    assert_int_equal(reading.quality, QUALITY_STALE);
}

static void
another_machine_can_be_named(void **state)
{
    struct fixture *f = *state;
    struct cpu_load load = load_at(2400, 1350, 1.0);

    option(f, "machine", "Other");
    option(f, "idle_scaled_w", "1");
    open_it(f);
    near(watts(f, &load, 1), 11);
}

static void
unknown_machine_is_refused_with_the_known_ones(void **state)
{
    struct fixture *f = *state;

    option(f, "machine", "Opteron");
    refused(f, -EINVAL, "Opteron-2216HE-2x2c");
}

static void
more_scaled_than_idle_is_refused(void **state)
{
    struct fixture *f = *state;

    option(f, "idle_scaled_w", "164.5");
    refused(f, -EINVAL, "idle_scaled_w");
}

static void
missing_data_is_not_here(void **state)
{
    struct fixture *f = *state;

    tree_drop(&f->tree, "specpower.csv");
    refused(f, -ENODEV, "specpower.csv");
}

static void
broken_data_is_refused(void **state)
{
    static const char *const broken[] = {
        "",
        "machine,watts\n",
        HEADER "Opteron-2216HE-2x2c\n",
        HEADER "Opteron-2216HE-2x2c,2007,164\n",
        HEADER "Opteron-2216HE-2x2c,2007,1,2,3,4,5,6,7,8,9,10,11,12\n",
        HEADER "Opteron-2216HE-2x2c,2007,1,2,3,4,5,6,7,8,9,10,x\n",
        HEADER "Opteron-2216HE-2x2c,2007,1,2,3,4,5,6,7,8,9,10,nan\n",
        HEADER "Opteron-2216HE-2x2c,2007,1,2,3,4,5,6,7,8,9,10,1e9\n",
        HEADER "Opteron-2216HE-2x2c,2007,0,2,3,4,5,6,7,8,9,10,11\n",
        HEADER "Opteron-2216HE-2x2c,2007,1,2,3,4,5,4,7,8,9,10,11\n",
        HEADER "Opteron-2216HE-2x2c,2007,1,2,3,4,5,,7,8,9,10,11\n",
        HEADER ",,,,,,,,,,,,\n",
    };
    struct fixture *f = *state;

    option(f, "idle_scaled_w", "0");
    for (size_t i = 0; i < sizeof broken / sizeof *broken; i++) {
        tree_put(&f->tree, "specpower.csv", "%s", broken[i]);
        refused(f, -EINVAL, "specpower.csv");
    }
}

static void
projects_own_data_is_good(void **state)
{
    struct fixture *f = *state;
    struct cpu_load load = load_at(2400, 1350, 0.5);
    char path[512];

    snprintf(path, sizeof path, "%s/data", getenv("MBROKER_SOURCE"));
    f->env.data_dirfd = open(path, O_RDONLY | O_DIRECTORY);
    assert_true(f->env.data_dirfd >= 0);
    open_it(f);
    near(watts(f, &load, 1), 248);
    close(f->env.data_dirfd);
}

#define T(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int
main(void)
{
    const struct CMUnitTest tests[] = {
        T(fastest_pstate_is_the_measured_curve),
        T(between_points_it_is_linear),
        T(idle_falls_by_its_scaled_part_only),
        T(slow_and_busy_core_follows_the_formula),
        T(all_slow_saves_what_the_study_found),
        T(without_scaled_idle_idling_costs_the_same_at_all_speeds),
        T(unknown_voltage_scales_by_frequency_alone),
        T(unknown_frequency_is_full_speed),
        T(shares_beyond_sense_stay_in_the_curve),
        T(no_cpus_have_no_power),
        T(another_machine_can_be_named),
        T(unknown_machine_is_refused_with_the_known_ones),
        T(more_scaled_than_idle_is_refused),
        T(missing_data_is_not_here),
        T(broken_data_is_refused),
        T(projects_own_data_is_good),
    };

    return cmocka_run_group_tests_name("powermodel", tests, NULL, NULL);
}
