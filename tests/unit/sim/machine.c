/* SPDX-License-Identifier: Apache-2.0 */
/* The made-up machine serves as a queue should: no policy changes who asks for
 * what, frequency and sharing change how long it takes. */
#include "sim/machine.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define KHZ 2400000
#define DONE_MAX 200000

static struct machine_done done[DONE_MAX];
static size_t n_done;

static void
on_done(void *ctx, const struct machine_done *what)
{
    assert_true(n_done < DONE_MAX);
    done[n_done++] = *what;
}

static struct machine *
make(const struct machine_load *loads, uint32_t n)
{
    const struct machine_env env = {.done = on_done};
    struct machine *machine;

    n_done = 0;
    assert_int_equal(machine_create(&machine, 2, KHZ, loads, n, &env, 0), 0);
    return machine;
}

static struct machine_load
steady(double rate_hz, uint64_t service_us)
{
    return (struct machine_load){.regular = true,
                                 .fixed = true,
                                 .service_ns = service_us * 1000,
                                 .n_steps = 1,
                                 .steps = {{0, rate_hz}}};
}

static void
an_idle_server_takes_the_service_time(void **state)
{
    struct machine_load load = steady(100, 1000);
    struct machine *machine = make(&load, 1);

    machine_run(machine, NSEC_PER_SEC);
    assert_in_range(n_done, 98, 100);
    for (size_t i = 0; i < n_done; i++) {
        assert_in_range(done[i].ended - done[i].arrived, 1000000, 1000010);
    }
    assert_in_range(machine_busy_ns(machine, 0), 97900000, 100000000);
    machine_destroy(machine);
}

static void
a_slower_cpu_takes_longer_in_proportion(void **state)
{
    struct machine_load load = steady(100, 1000);
    struct machine *machine = make(&load, 1);

    machine_set_freq(machine, 0, KHZ / 3);
    machine_run(machine, NSEC_PER_SEC);
    for (size_t i = 0; i < n_done; i++) {
        assert_in_range(done[i].ended - done[i].arrived, 3000000, 3000030);
    }
    machine_destroy(machine);
}

static void
a_change_of_frequency_counts_from_its_moment(void **state)
{
    struct machine_load load = steady(10, 2000); /* Arrives at 100 ms. */
    struct machine *machine = make(&load, 1);

    machine_run(machine, 101 * NSEC_PER_MSEC); /* Half is done. */
    machine_set_freq(machine, 0, KHZ / 2);
    machine_run(machine, 150 * NSEC_PER_MSEC);
    assert_int_equal(n_done, 1);
    assert_in_range(done[0].ended - done[0].arrived, 2999990, 3000020);
    machine_destroy(machine);
}

static void
two_busy_guests_share_a_cpu_equally(void **state)
{
    struct machine_load loads[2] = {steady(10, 10000), steady(10, 10000)};
    struct machine *machine = make(loads, 2);

    machine_run(machine, 190 * NSEC_PER_MSEC);
    assert_int_equal(n_done, 2);
    for (size_t i = 0; i < 2; i++) {
        assert_in_range(done[i].ended - done[i].arrived, 19999990, 20000030);
    }
    assert_in_range(machine_busy_ns(machine, 0), 9999990, 10000030);
    machine_destroy(machine);
}

static void
guests_on_two_cpus_do_not_disturb_each_other(void **state)
{
    struct machine_load loads[2] = {steady(10, 10000), steady(10, 10000)};
    struct machine *machine;

    loads[1].cpu = 1;
    machine = make(loads, 2);
    machine_run(machine, 190 * NSEC_PER_MSEC);
    assert_int_equal(n_done, 2);
    assert_in_range(done[0].ended - done[0].arrived, 10000000, 10000010);
    machine_destroy(machine);
}

static void
requests_are_served_in_order_and_backlog_is_carried(void **state)
{
    struct machine_load load = steady(1000, 2000); /* Twice too much. */
    struct machine_counts counts;
    struct machine *machine;

    load.n_steps = 2;
    load.steps[1] = (struct machine_step){NSEC_PER_SEC, 0};
    machine = make(&load, 1);
    machine_run(machine, NSEC_PER_SEC);
    machine_counts(machine, 0, &counts);
    assert_in_range(counts.n_waiting, 490, 510);
    machine_run(machine, 3 * NSEC_PER_SEC);
    machine_counts(machine, 0, &counts);
    assert_int_equal(counts.n_waiting, 0);
    assert_int_equal(counts.n_done, counts.n_arrived);
    for (size_t i = 1; i < n_done; i++) {
        assert_true(done[i].arrived > done[i - 1].arrived);
        assert_true(done[i].ended > done[i - 1].ended);
    }
    assert_true(done[n_done - 1].ended - done[n_done - 1].arrived >
                900 * NSEC_PER_MSEC);
    machine_destroy(machine);
}

/* The same requests arrive and need the same work whatever the frequency, which
 * is what makes runs of two policies comparable. */
static void
arrivals_do_not_depend_on_the_frequency(void **state)
{
    struct machine_load load = {
        .seed = 5, .service_ns = 500000, .n_steps = 1, .steps = {{0, 200}}};
    static nsec_t arrived[2][4000];
    size_t n[2];

    for (int round = 0; round < 2; round++) {
        struct machine *machine = make(&load, 1);

        for (nsec_t now = 0; now < 10 * NSEC_PER_SEC;
             now += 10 * NSEC_PER_MSEC) {
            machine_set_freq(machine, 0,
                             round && now % NSEC_PER_SEC ? KHZ / 2 : KHZ);
            machine_run(machine, now);
        }
        n[round] = n_done;
        for (size_t i = 0; i < n_done; i++) {
            arrived[round][i] = done[i].arrived;
        }
        machine_destroy(machine);
    }
    assert_in_range(n[0], 1800, 2200);
    for (size_t i = 0; i < n[0] && i < n[1]; i++) {
        assert_true(arrived[0][i] == arrived[1][i]);
    }
}

/* Nor on who else is there. */
static void
a_neighbour_changes_nobodys_arrivals(void **state)
{
    struct machine_load loads[2] = {
        {.seed = 5, .service_ns = 1000, .n_steps = 1, .steps = {{0, 100}}},
        {.seed = 6, .service_ns = 1000, .n_steps = 1, .steps = {{0, 900}}}};
    static nsec_t alone[2000];
    size_t n_alone, n = 0;
    struct machine *machine = make(loads, 1);

    machine_run(machine, 10 * NSEC_PER_SEC);
    n_alone = n_done;
    for (size_t i = 0; i < n_done; i++) {
        alone[i] = done[i].arrived;
    }
    machine_destroy(machine);
    machine = make(loads, 2);
    machine_run(machine, 10 * NSEC_PER_SEC);
    for (size_t i = 0; i < n_done; i++) {
        if (done[i].guest == 0) {
            assert_true(n < n_alone && done[i].arrived == alone[n++]);
        }
    }
    machine_destroy(machine);
    assert_int_equal(n, n_alone);
}

static void
a_frozen_guest_is_not_served_and_loses_nothing(void **state)
{
    struct machine_load load = steady(100, 1000);
    struct machine_counts counts;
    struct machine *machine = make(&load, 1);

    machine_set_running(machine, 0, false);
    machine_run(machine, NSEC_PER_SEC);
    assert_int_equal(n_done, 0);
    assert_int_equal(machine_busy_ns(machine, 0), 0);
    machine_set_running(machine, 0, true);
    machine_run(machine, 2 * NSEC_PER_SEC);
    machine_counts(machine, 0, &counts);
    assert_int_equal(counts.n_waiting, 0);
    machine_destroy(machine);
}

static void
every_nth_request_is_slow(void **state)
{
    struct machine_load load = steady(100, 100);
    struct machine *machine;
    int n_slow = 0;

    load.slow_every = 10;
    load.slow_ns = 5000000;
    machine = make(&load, 1);
    machine_run(machine, 10 * NSEC_PER_SEC);
    for (size_t i = 0; i < n_done; i++) {
        n_slow += done[i].ended - done[i].arrived > 4 * NSEC_PER_MSEC;
    }
    assert_in_range(n_slow, 99, 100);
    machine_destroy(machine);
}

static void
a_queue_that_is_full_turns_away_and_counts(void **state)
{
    struct machine_load load = steady(50000, 1000000);
    struct machine_counts counts;
    struct machine *machine = make(&load, 1);

    machine_run(machine, NSEC_PER_SEC);
    machine_counts(machine, 0, &counts);
    assert_int_equal(counts.n_waiting, MACHINE_QUEUE_MAX);
    assert_int_equal(counts.n_arrived,
                     counts.n_done + counts.n_waiting + counts.n_turned_away);
    machine_destroy(machine);
}

/* Mean of an M/M/1 queue at half load: twice the service time. */
static void
a_random_queue_waits_as_theory_says(void **state)
{
    struct machine_load load = {
        .seed = 11, .service_ns = 1000000, .n_steps = 1, .steps = {{0, 500}}};
    struct machine *machine = make(&load, 1);
    double sum = 0;

    machine_run(machine, 300 * NSEC_PER_SEC);
    for (size_t i = 0; i < n_done; i++) {
        sum += (double)(done[i].ended - done[i].arrived);
    }
    assert_in_range((int)(sum / (double)n_done / 1000), 1850, 2150);
    machine_destroy(machine);
}

static void
load_follows_its_steps(void **state)
{
    struct machine_load load = {.seed = 3,
                                .service_ns = 1000,
                                .n_steps = 3,
                                .steps = {{NSEC_PER_SEC, 1000},
                                          {2 * NSEC_PER_SEC, 0},
                                          {3 * NSEC_PER_SEC, 100}}};
    struct machine *machine = make(&load, 1);
    size_t n[4] = {0};

    machine_run(machine, 4 * NSEC_PER_SEC);
    for (size_t i = 0; i < n_done; i++) {
        n[done[i].arrived / NSEC_PER_SEC]++;
    }
    assert_int_equal(n[0], 0);
    assert_in_range(n[1], 850, 1150);
    assert_int_equal(n[2], 0);
    assert_in_range(n[3], 60, 140);
    machine_destroy(machine);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_idle_server_takes_the_service_time),
        cmocka_unit_test(a_slower_cpu_takes_longer_in_proportion),
        cmocka_unit_test(a_change_of_frequency_counts_from_its_moment),
        cmocka_unit_test(two_busy_guests_share_a_cpu_equally),
        cmocka_unit_test(guests_on_two_cpus_do_not_disturb_each_other),
        cmocka_unit_test(requests_are_served_in_order_and_backlog_is_carried),
        cmocka_unit_test(arrivals_do_not_depend_on_the_frequency),
        cmocka_unit_test(a_neighbour_changes_nobodys_arrivals),
        cmocka_unit_test(a_frozen_guest_is_not_served_and_loses_nothing),
        cmocka_unit_test(every_nth_request_is_slow),
        cmocka_unit_test(a_queue_that_is_full_turns_away_and_counts),
        cmocka_unit_test(a_random_queue_waits_as_theory_says),
        cmocka_unit_test(load_follows_its_steps),
    };

    return cmocka_run_group_tests_name("sim/machine", tests, NULL, NULL);
}
