/* SPDX-License-Identifier: Apache-2.0 */
/* Shows that emulated p-states take the right share of a real CPU, none at
 * p-state 0, and that options which contradict each other are refused. */
#include <dirent.h>
#include <errno.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "hardware/hardware.h"

#define WHY 256

static nsec_t
clock_ns(clockid_t clock)
{
    struct timespec t;

    clock_gettime(clock, &t);
    return t.tv_sec * NSEC_PER_SEC + t.tv_nsec;
}

static const struct hardware_class *
driver(void)
{
    return hardware_find("softpstate");
}

static uint32_t
last_cpu(void)
{
    cpu_set_t set;
    uint32_t last = 0;

    sched_getaffinity(0, sizeof set, &set);
    for (uint32_t i = 0; i < CPU_SETSIZE; i++) {
        last = CPU_ISSET(i, &set) ? i : last;
    }
    return last;
}

struct fixture {
    struct option_values options;
    uint32_t cpus[16];
    struct hardware_env env;
    struct hardware *hw;
    char why[WHY];
};

static void
prepare(struct fixture *f)
{
    memset(f, 0, sizeof *f);
    options_init(&f->options, driver()->options);
    f->cpus[0] = last_cpu();
    f->env = (struct hardware_env){
        .sys_dirfd = -1,
        .data_dirfd = -1,
        .cpus = f->cpus,
        .n_cpus = 1,
        .options = &f->options,
    };
}

static int
open_it(struct fixture *f)
{
    return driver()->open(&f->hw, &f->env, f->why, sizeof f->why);
}

static void
must_open(struct fixture *f)
{
    int error = open_it(f);
    if (error == -EPERM) {
        print_message("# skipped: %s\n", f->why);
        skip();
    }
    assert_int_equal(error, 0);
}

static void
option(struct fixture *f, const char *name, const char *text)
{
    assert_int_equal(
        options_set(&f->options, name, text, f->why, sizeof f->why), 0);
}

/* Share of the wall's time that was stolen while we slept. */
static double
stolen_share(struct fixture *f, nsec_t for_ns)
{
    const struct pstate_ops *ops = driver()->pstate;
    struct timespec pause = {.tv_sec = for_ns / NSEC_PER_SEC,
                             .tv_nsec = for_ns % NSEC_PER_SEC};
    uint64_t before, after;

    assert_int_equal(ops->stolen(f->hw, f->cpus[0], &before), 0);
    nsec_t start = clock_ns(CLOCK_MONOTONIC);
    nanosleep(&pause, NULL);
    nsec_t end = clock_ns(CLOCK_MONOTONIC);
    assert_int_equal(ops->stolen(f->hw, f->cpus[0], &after), 0);
    return (double)(after - before) / (double)(end - start);
}

static void
slowest_pstate_steals_its_share(void **state)
{
    struct fixture f;

    prepare(&f);
    must_open(&f);
    assert_int_equal(driver()->pstate->set(f.hw, 0, 4), 0);
    double share = stolen_share(&f, NSEC_PER_SEC);
    driver()->close(f.hw);
    print_message("# 1.0 of 2.4 GHz steals %.3f; 0.583 is exact\n", share);
    assert_true(share > 0.4 && share < 0.7);
}

static void
pstate_zero_costs_nothing(void **state)
{
    struct fixture f;

    prepare(&f);
    must_open(&f);
    assert_int_equal(driver()->pstate->set(f.hw, 0, 4), 0);
    assert_int_equal(driver()->pstate->set(f.hw, 0, 0), 0);
    double share = stolen_share(&f, NSEC_PER_SEC / 4);
    driver()->close(f.hw);
    assert_true(share < 0.001);
}

static void
each_pstate_steals_more_than_the_one_above(void **state)
{
    struct fixture f;
    double before = -1;

    prepare(&f);
    option(&f, "frequencies_mhz", "2000 1500 1000 500");
    option(&f, "voltages_mv", "4 3 2 1");
    must_open(&f);
    for (uint32_t i = 0; i < 4; i++) {
        assert_int_equal(driver()->pstate->set(f.hw, 0, i), 0);
        double share = stolen_share(&f, NSEC_PER_SEC / 4);
        print_message("# p-state %u steals %.3f of %.3f\n", i, share, i * 0.25);
        assert_true(share > before + 0.05);
        before = share;
    }
    driver()->close(f.hw);
}

/* Counts work of our own thread in the same time, which is what a guest sees.
 */
static uint64_t
work_done(nsec_t for_ns)
{
    nsec_t end = clock_ns(CLOCK_MONOTONIC) + for_ns;
    volatile uint64_t n = 0;

    while (clock_ns(CLOCK_MONOTONIC) < end) {
        n++;
    }
    return n;
}

static void
a_program_on_the_cpu_gets_less_done(void **state)
{
    struct fixture f;
    cpu_set_t before, own;
    uint64_t fast = 0, slow = 0;

    prepare(&f);
    must_open(&f);
    sched_getaffinity(0, sizeof before, &before);
    CPU_ZERO(&own);
    CPU_SET(f.cpus[0], &own);
    assert_int_equal(sched_setaffinity(0, sizeof own, &own), 0);
    /* Turn about, so that whatever else the machine does takes of both. */
    for (int round = 0; round < 10; round++) {
        assert_int_equal(driver()->pstate->set(f.hw, 0, 0), 0);
        fast += work_done(NSEC_PER_SEC / 20);
        assert_int_equal(driver()->pstate->set(f.hw, 0, 4), 0);
        slow += work_done(NSEC_PER_SEC / 20);
    }
    driver()->close(f.hw);
    sched_setaffinity(0, sizeof before, &before);
    print_message("# at 1.0 of 2.4 GHz %.2f of the work; 0.42 is exact\n",
                  (double)slow / (double)fast);
    assert_true((double)slow < 0.8 * (double)fast);
}

static void
shared_domain_changes_all_its_cpus(void **state)
{
    const struct pstate_domain *domains;
    struct fixture f;
    cpu_set_t set;
    uint32_t n = 0;

    prepare(&f);
    sched_getaffinity(0, sizeof set, &set);
    for (uint32_t i = 0; i < CPU_SETSIZE && n < 2; i++) {
        if (CPU_ISSET(i, &set)) {
            f.cpus[n++] = i;
        }
    }
    if (n < 2) {
        print_message("# skipped: needs two CPUs\n");
        skip();
    }
    f.env.n_cpus = 2;
    option(&f, "cpus_per_domain", "2");
    must_open(&f);
    assert_int_equal(driver()->pstate->domains(f.hw, &domains), 1);
    assert_int_equal(domains[0].n_cpus, 2);
    uint64_t before[2], after[2];
    for (int i = 0; i < 2; i++) {
        driver()->pstate->stolen(f.hw, f.cpus[i], &before[i]);
    }
    assert_int_equal(driver()->pstate->set(f.hw, 0, 3), 0);
    stolen_share(&f, NSEC_PER_SEC / 4);
    for (int i = 0; i < 2; i++) {
        driver()->pstate->stolen(f.hw, f.cpus[i], &after[i]);
        assert_true(after[i] - before[i] > 10 * NSEC_PER_MSEC);
    }
    driver()->close(f.hw);
}

/* The number of the one thread whose name begins with "thief/". */
static pid_t
find_thief(void)
{
    char path[300], name[16] = "";
    struct dirent *entry;
    pid_t found = 0;

    DIR *dir = opendir("/proc/self/task");
    while (!found && (entry = readdir(dir))) {
        snprintf(path, sizeof path, "/proc/self/task/%s/comm", entry->d_name);
        FILE *in = fopen(path, "r");
        if (in && fgets(name, sizeof name, in) && !strncmp(name, "thief/", 6)) {
            found = atoi(entry->d_name);
        }
        if (in) {
            fclose(in);
        }
    }
    closedir(dir);
    return found;
}

static void
thief_that_was_moved_goes_back_to_its_cpu(void **state)
{
    struct timespec pause = {.tv_nsec = 1000000};
    cpu_set_t set, own;
    struct fixture f;

    prepare(&f);
    must_open(&f);
    sched_getaffinity(0, sizeof set, &set);
    CPU_CLR(f.cpus[0], &set);
    if (!CPU_COUNT(&set)) {
        driver()->close(f.hw);
        print_message("# skipped: needs two CPUs\n");
        skip();
    }
    assert_int_equal(driver()->pstate->set(f.hw, 0, 4), 0);
    pid_t thief = find_thief();
    assert_true(thief > 0);
    assert_int_equal(sched_setaffinity(thief, sizeof set, &set), 0);
    nsec_t end = clock_ns(CLOCK_MONOTONIC) + 20 * NSEC_PER_SEC;
    do {
        assert_true(clock_ns(CLOCK_MONOTONIC) < end);
        nanosleep(&pause, NULL);
        sched_getaffinity(thief, sizeof own, &own);
    } while (CPU_COUNT(&own) != 1 || !CPU_ISSET(f.cpus[0], &own));
    driver()->close(f.hw);
}

static void
closing_ends_the_burning(void **state)
{
    struct fixture f;

    prepare(&f);
    must_open(&f);
    assert_int_equal(driver()->pstate->set(f.hw, 0, 4), 0);
    driver()->close(f.hw);
    nsec_t before = clock_ns(CLOCK_PROCESS_CPUTIME_ID);
    usleep(100000);
    nsec_t used = clock_ns(CLOCK_PROCESS_CPUTIME_ID) - before;
    assert_true(used < 20 * NSEC_PER_MSEC);
}

static void
papers_frequencies_are_the_default(void **state)
{
    static const uint32_t khz[] = {2400000, 2200000, 2000000, 1800000, 1000000};
    const struct pstate_domain *domains;
    struct fixture f;

    prepare(&f);
    must_open(&f);
    assert_int_equal(driver()->pstate->domains(f.hw, &domains), 1);
    assert_int_equal(domains[0].table.n, 5);
    for (int i = 0; i < 5; i++) {
        assert_int_equal(domains[0].table.freq_khz[i], khz[i]);
    }
    assert_int_equal(domains[0].table.voltage_mv[0], 1350);
    assert_int_equal(domains[0].table.voltage_mv[4], 1100);
    assert_true(domains[0].emulated);
    driver()->close(f.hw);
}

static void
refused(struct fixture *f, int error, const char *word)
{
    assert_int_equal(open_it(f), error);
    assert_null(f->hw);
    assert_non_null(strstr(f->why, word));
}

static void
rising_frequencies_are_refused_by_name(void **state)
{
    struct fixture f;

    prepare(&f);
    option(&f, "frequencies_mhz", "1000 2000 900 800 700");
    refused(&f, -EINVAL, "frequencies_mhz");
}

static void
equal_frequencies_are_refused_by_name(void **state)
{
    struct fixture f;

    prepare(&f);
    option(&f, "frequencies_mhz", "2000 2000 900 800 700");
    refused(&f, -EINVAL, "frequencies_mhz");
}

static void
unequal_counts_are_refused_by_name(void **state)
{
    struct fixture f;

    prepare(&f);
    option(&f, "voltages_mv", "1300 1200");
    refused(&f, -EINVAL, "voltages_mv");
}

static void
rising_voltages_are_refused_by_name(void **state)
{
    struct fixture f;

    prepare(&f);
    option(&f, "voltages_mv", "1300 1200 1250 1100 1000");
    refused(&f, -EINVAL, "voltages_mv");
}

static void
starving_frequencies_are_refused_by_name(void **state)
{
    struct fixture f;

    prepare(&f);
    option(&f, "frequencies_mhz", "2400 100");
    option(&f, "voltages_mv", "1300 1200");
    refused(&f, -EINVAL, "frequencies_mhz");
}

static void
no_frequencies_are_refused_by_name(void **state)
{
    struct fixture f;

    prepare(&f);
    option(&f, "frequencies_mhz", "");
    option(&f, "voltages_mv", "");
    refused(&f, -EINVAL, "frequencies_mhz");
}

static void
absent_cpu_is_refused_by_number(void **state)
{
    struct fixture f;

    prepare(&f);
    f.cpus[0] = 1000;
    int error = open_it(&f);
    if (error == -EPERM) {
        skip();
    }
    assert_int_equal(error, -EINVAL);
    assert_non_null(strstr(f.why, "CPU 1000"));
}

static void
cpu_beyond_any_mask_is_refused(void **state)
{
    struct fixture f;

    prepare(&f);
    f.cpus[0] = 70000;
    refused(&f, -EINVAL, "CPU 70000");
}

static void
cpu_listed_twice_is_refused(void **state)
{
    struct fixture f;

    prepare(&f);
    f.cpus[1] = f.cpus[0];
    f.env.n_cpus = 2;
    refused(&f, -EINVAL, "twice");
}

static void
without_the_capability_it_says_so(void **state)
{
    struct fixture f;

    prepare(&f);
    if (geteuid() != 0) {
        int error = open_it(&f);
        assert_true(error == -EPERM || error == 0);
        driver()->close(f.hw);
        return;
    }
    /* Only the calling thread's rights change, and come back. */
    assert_int_equal(seteuid(65534), 0);
    int error = open_it(&f);
    assert_int_equal(seteuid(0), 0);
    assert_int_equal(error, -EPERM);
    assert_non_null(strstr(f.why, "CAP_SYS_NICE"));
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(slowest_pstate_steals_its_share),
        cmocka_unit_test(pstate_zero_costs_nothing),
        cmocka_unit_test(each_pstate_steals_more_than_the_one_above),
        cmocka_unit_test(a_program_on_the_cpu_gets_less_done),
        cmocka_unit_test(shared_domain_changes_all_its_cpus),
        cmocka_unit_test(thief_that_was_moved_goes_back_to_its_cpu),
        cmocka_unit_test(closing_ends_the_burning),
        cmocka_unit_test(papers_frequencies_are_the_default),
        cmocka_unit_test(rising_frequencies_are_refused_by_name),
        cmocka_unit_test(equal_frequencies_are_refused_by_name),
        cmocka_unit_test(unequal_counts_are_refused_by_name),
        cmocka_unit_test(rising_voltages_are_refused_by_name),
        cmocka_unit_test(starving_frequencies_are_refused_by_name),
        cmocka_unit_test(no_frequencies_are_refused_by_name),
        cmocka_unit_test(absent_cpu_is_refused_by_number),
        cmocka_unit_test(cpu_beyond_any_mask_is_refused),
        cmocka_unit_test(cpu_listed_twice_is_refused),
        cmocka_unit_test(without_the_capability_it_says_so),
    };

    return cmocka_run_group_tests_name("softpstate", tests, NULL, NULL);
}
