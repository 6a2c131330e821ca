/* SPDX-License-Identifier: Apache-2.0 */
/* Shows that simulated hardware outlives its driver and misbehaves exactly as
 * it is asked to. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "hardware/hardware.h"
#include "hardware/sim.h"

struct fixture {
    struct hardware_sim *sim;
    struct option_values options;
    struct hardware_env env;
    struct hardware *hw;
    uint32_t cpus[2];
    char why[256];
};

static const struct hardware_class *
driver(void)
{
    return hardware_find("sim");
}

static void
must_open(struct fixture *f)
{
    assert_int_equal(driver()->open(&f->hw, &f->env, f->why, sizeof f->why), 0);
}

static int
set_up(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    struct pstate_domain domains[] = {
        {.id = 0,
         .n_cpus = 2,
         .cpus = {4, 5},
         .table = {.n = 3,
                   .freq_khz = {3000, 2000, 1000},
                   .voltage_mv = {30, 20, 10}}},
        {.id = 1, .n_cpus = 1, .cpus = {9}, .table = {1, {500}, {5}}},
    };

    assert_int_equal(hardware_sim_create(&f->sim, domains, 2), 0);
    options_init(&f->options, driver()->options);
    f->cpus[0] = 4;
    f->cpus[1] = 5;
    f->env = (struct hardware_env){
        .sys_dirfd = -1,
        .data_dirfd = -1,
        .cpus = f->cpus,
        .n_cpus = 2,
        .options = &f->options,
        .seed = 1,
        .sim = f->sim,
    };
    must_open(f);
    *state = f;
    return 0;
}

static int
tear_down(void **state)
{
    struct fixture *f = *state;

    driver()->close(f->hw);
    hardware_sim_destroy(f->sim);
    free(f);
    return 0;
}

static int
set(struct fixture *f, uint32_t pstate)
{
    return driver()->pstate->set(f->hw, 0, pstate);
}

static uint32_t
get(struct fixture *f)
{
    uint32_t now = UINT32_MAX;

    assert_int_equal(driver()->pstate->get(f->hw, 0, &now), 0);
    return now;
}

static void
set_pstate_is_seen_behind_the_driver(void **state)
{
    struct fixture *f = *state;

    assert_int_equal(set(f, 2), 0);
    assert_int_equal(hardware_sim_pstate(f->sim, 4), 2);
    assert_int_equal(hardware_sim_pstate(f->sim, 5), 2);
    assert_int_equal(hardware_sim_pstate(f->sim, 9), 0);
    assert_int_equal(hardware_sim_freq_khz(f->sim, 5), 1000);
    assert_int_equal(hardware_sim_voltage_mv(f->sim, 5), 10);
    assert_int_equal(hardware_sim_freq_khz(f->sim, 77), 0);
}

static void
hardware_outlives_its_driver(void **state)
{
    struct fixture *f = *state;

    assert_int_equal(set(f, 1), 0);
    driver()->close(f->hw);
    assert_int_equal(hardware_sim_pstate(f->sim, 4), 1);
    must_open(f);
    assert_int_equal(get(f), 1);
}

static void
somebody_elses_change_is_read(void **state)
{
    struct fixture *f = *state;

    hardware_sim_set_pstate(f->sim, 0, 2);
    assert_int_equal(get(f), 2);
}

static void
failing_domain_changes_nothing(void **state)
{
    struct fixture *f = *state;

    hardware_sim_fault(f->sim, 0, SIM_FAULT_FAILS);
    assert_int_equal(set(f, 2), -EIO);
    assert_int_equal(get(f), 0);
    hardware_sim_fault(f->sim, 0, SIM_FAULT_NONE);
    assert_int_equal(set(f, 2), 0);
    assert_int_equal(get(f), 2);
}

static void
sticking_domain_says_yes_and_reads_back_the_old(void **state)
{
    struct fixture *f = *state;

    hardware_sim_fault(f->sim, 0, SIM_FAULT_STICKS);
    assert_int_equal(set(f, 2), 0);
    assert_int_equal(get(f), 0);
    assert_int_equal(get(f), 0);
}

static void
late_domain_follows_at_the_second_look(void **state)
{
    struct fixture *f = *state;

    hardware_sim_fault(f->sim, 0, SIM_FAULT_LATE);
    assert_int_equal(set(f, 2), 0);
    assert_int_equal(get(f), 0);
    assert_int_equal(hardware_sim_pstate(f->sim, 4), 0);
    assert_int_equal(get(f), 2);
    assert_int_equal(get(f), 2);
    assert_int_equal(hardware_sim_pstate(f->sim, 4), 2);
}

static void
gone_domain_answers_nothing(void **state)
{
    struct fixture *f = *state;
    char saved[HARDWARE_SAVED_SIZE];
    uint32_t now = 77;

    hardware_sim_fault(f->sim, 0, SIM_FAULT_GONE);
    assert_int_equal(set(f, 2), -ENODEV);
    assert_int_equal(driver()->pstate->get(f->hw, 0, &now), -ENODEV);
    assert_int_equal(driver()->pstate->save(f->hw, 0, saved), -ENODEV);
    assert_int_equal(now, 77);
    assert_int_equal(driver()->pstate->get(f->hw, 1, &now), 0);
}

static void
chance_of_failure_repeats_with_the_seed(void **state)
{
    struct fixture *f = *state;
    bool first[100];
    int n_failed = 0;

    assert_int_equal(
        options_set(&f->options, "fail_permille", "300", f->why, 256), 0);
    for (int run = 0; run < 2; run++) {
        driver()->close(f->hw);
        must_open(f);
        for (int i = 0; i < 100; i++) {
            bool failed = set(f, (uint32_t)i % 3) == -EIO;
            if (run == 0) {
                first[i] = failed;
                n_failed += failed;
            } else {
                assert_int_equal(failed, first[i]);
            }
        }
    }
    assert_true(n_failed > 10 && n_failed < 60);
}

static void
unknown_power_is_an_error(void **state)
{
    struct fixture *f = *state;
    struct power_reading reading = {.power_mw = 77};

    assert_true(driver()->power->read(f->hw, NULL, 0, 1, &reading) < 0);
    assert_int_equal(reading.power_mw, 77);
}

static void
power_is_what_was_set_lies_included(void **state)
{
    struct fixture *f = *state;
    struct power_reading reading;

    hardware_sim_set_power(f->sim, QUALITY_MEASURED, 999999999);
    assert_int_equal(driver()->power->read(f->hw, NULL, 0, 7, &reading), 0);
    assert_int_equal(reading.power_mw, 999999999);
    assert_int_equal(reading.time, 7);
    assert_string_equal(reading.source, "sim");
    hardware_sim_set_power(f->sim, QUALITY_UNKNOWN, 5);
    assert_true(driver()->power->read(f->hw, NULL, 0, 8, &reading) < 0);
}

static void
sets_are_counted_refused_ones_too(void **state)
{
    struct fixture *f = *state;

    set(f, 1);
    set(f, 99);
    assert_int_equal(hardware_sim_n_sets(f->sim), 2);
}

static void
senseless_domains_are_refused(void **state)
{
    struct pstate_domain good = {.n_cpus = 1,
                                 .table = {.n = 2, .freq_khz = {2, 1}}};
    struct pstate_domain bad[5];
    struct hardware_sim *sim = NULL;

    for (int i = 0; i < 5; i++) {
        bad[i] = good;
    }
    bad[0].id = 1;
    bad[1].n_cpus = 0;
    bad[2].table.n = 0;
    bad[3].table.n = PSTATES_MAX + 1;
    bad[4].table.freq_khz[1] = 2;
    for (int i = 0; i < 5; i++) {
        assert_int_equal(hardware_sim_create(&sim, &bad[i], 1), -EINVAL);
        assert_null(sim);
    }
    assert_int_equal(hardware_sim_create(&sim, &good, 1), 0);
    hardware_sim_destroy(sim);
}

#define T(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int
main(void)
{
    const struct CMUnitTest tests[] = {
        T(set_pstate_is_seen_behind_the_driver),
        T(hardware_outlives_its_driver),
        T(somebody_elses_change_is_read),
        T(failing_domain_changes_nothing),
        T(sticking_domain_says_yes_and_reads_back_the_old),
        T(late_domain_follows_at_the_second_look),
        T(gone_domain_answers_nothing),
        T(chance_of_failure_repeats_with_the_seed),
        T(unknown_power_is_an_error),
        T(power_is_what_was_set_lies_included),
        T(sets_are_counted_refused_ones_too),
        T(senseless_domains_are_refused),
    };

    return cmocka_run_group_tests_name("sim", tests, NULL, NULL);
}
