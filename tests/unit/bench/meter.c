/* SPDX-License-Identifier: Apache-2.0 */
/* What the bench's harness makes of what it counts: medians and p99s of trips
 * whatever their size and however coarse the clock, rates that a pause of the
 * receiver does not change. */
#include "bench/channel/harness.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

struct scene {
    struct run run;
    struct shared shared;
    struct end end;
};

static struct scene *
make(enum task task, int side)
{
    struct scene *s = aligned_alloc(128, (sizeof *s + 127) & ~(size_t)127);

    assert_non_null(s);
    memset(s, 0, sizeof *s);
    s->run.task = task;
    s->run.ticks_per_ns = 2;
    s->run.grain = 1;
    s->end.run = &s->run;
    s->end.shared = &s->shared;
    s->end.side = side;
    s->end.meter.buckets = calloc(N_BUCKETS, sizeof(uint32_t));
    s->end.meter.windows = calloc(N_WINDOWS, sizeof(double));
    s->end.meter.end = UINT64_MAX;
    return s;
}

static void
destroy(struct scene *s)
{
    free(s->end.meter.buckets);
    free(s->end.meter.windows);
    free(s);
}

static void
assert_near(double is, double wanted, double share)
{
    if (is < wanted * (1 - share) || is > wanted * (1 + share)) {
        fail_msg("%g is not about %g", is, wanted);
    }
}

static void
median_and_p99_of_trips_are_right_from_nanoseconds_to_seconds(void **state)
{
    for (uint64_t unit = 1; unit < 2000000000; unit *= 7) {
        struct scene *s = make(TASK_RTT, 0);

        /* 1..1000 times a unit of two ticks, that is of one ns. */
        for (uint64_t i = 1; i <= 1000; i++) {
            assert_true(meter_trip(&s->end.meter, 2 * unit * i, 1));
        }
        meter_finish(&s->end);
        assert_int_equal(s->shared.result[0].n, 1000);
        assert_near(s->shared.result[0].value, 500.0 * (double)unit, 0.01);
        assert_near(s->shared.result[0].p99, 990.0 * (double)unit, 0.01);
        assert_near(s->shared.result[0].mean, 500.0 * (double)unit, 0.01);
        destroy(s);
    }
}

static void
median_lies_between_the_steps_of_a_coarse_clock(void **state)
{
    struct scene *s = make(TASK_RTT, 0);

    /* A clock that goes on by 26 ticks at once, or by 25 and 1, sees trips of
     * 398 ticks as ones of 390 seven times out of ten. */
    s->run.grain = 26;
    for (int i = 0; i < 1000; i++) {
        uint64_t seen = i % 10 < 7 ? 390 : 416;
        (void)meter_trip(&s->end.meter, seen - (i % 20 == 0), 1);
    }
    meter_finish(&s->end);
    assert_near(s->shared.result[0].value, 398 / 2.0, 0.02);
    destroy(s);
}

static void
warming_up_is_not_counted_and_the_end_is_told(void **state)
{
    struct scene *s = make(TASK_RTT, 0);

    s->end.meter.begin = 100;
    s->end.meter.end = 200;
    assert_true(meter_trip(&s->end.meter, 5, 99));
    assert_true(meter_trip(&s->end.meter, 50, 100));
    assert_false(meter_trip(&s->end.meter, 50, 200));
    meter_finish(&s->end);
    assert_int_equal(s->shared.result[0].n, 2);
    assert_near(s->shared.result[0].value, 25, 0.03);
    destroy(s);
}

static void
a_receiver_put_aside_once_does_not_change_the_rate(void **state)
{
    struct scene *s = make(TASK_RATE, 1);
    struct meter *meter = &s->end.meter;

    for (unsigned i = 0; i < 100; i++) {
        meter->windows[i] = 0.05; /* Per tick; two ticks are a ns. */
    }
    meter->windows[50] = 0.001;
    meter->n_windows = 100;
    meter->n = 1000;
    meter->last = 1;
    meter_finish(&s->end);
    assert_near(s->shared.result[1].value, 0.05 * 2e9, 0.0001);
    assert_near(s->shared.result[1].p99, 0.05 * 2e9, 0.0001);
    meter->windows[51] = meter->windows[52] = 0.001;
    meter_finish(&s->end);
    assert_near(s->shared.result[1].p99, 0.001 * 2e9, 0.0001);
    destroy(s);
}

static void
windows_count_what_came_in_them(void **state)
{
    struct scene *s = make(TASK_RATE, 1);
    uint64_t n = 0, start;

    s->end.meter.window_ticks = 20000;
    s->end.meter.window_start = start = ticks_now();
    while (s->end.meter.n_windows < 20) {
        meter_rate(&s->end.meter, ++n);
    }
    double most = (double)n / 1.0;
    for (unsigned i = 0; i < 20; i++) {
        assert_true(s->end.meter.windows[i] > 0);
        assert_true(s->end.meter.windows[i] < most);
    }
    assert_true(s->end.meter.last - start >= 20 * 20000);
    assert_int_equal(s->end.meter.n, n);
    destroy(s);
}

static void
nothing_counted_is_nothing_claimed(void **state)
{
    struct scene *s = make(TASK_RTT, 0);

    meter_finish(&s->end);
    assert_int_equal(s->shared.result[0].n, 0);
    s->run.task = TASK_RATE;
    s->end.side = 1;
    meter_finish(&s->end);
    assert_int_equal(s->shared.result[1].n, 0);
    destroy(s);
}

static void
buckets_never_end_outside(void **state)
{
    assert_int_equal(bucket_of(0), 0);
    assert_int_equal(bucket_of(511), 511);
    assert_int_equal(bucket_of(512), 512);
    assert_int_equal(bucket_of(UINT64_MAX), N_BUCKETS - 1);
    for (unsigned bit = 0; bit < 64; bit++) {
        uint64_t ticks = UINT64_C(1) << bit;
        assert_true(bucket_of(ticks) < N_BUCKETS);
        assert_true(bucket_of(ticks - 1) <= bucket_of(ticks));
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(
            median_and_p99_of_trips_are_right_from_nanoseconds_to_seconds),
        cmocka_unit_test(median_lies_between_the_steps_of_a_coarse_clock),
        cmocka_unit_test(warming_up_is_not_counted_and_the_end_is_told),
        cmocka_unit_test(a_receiver_put_aside_once_does_not_change_the_rate),
        cmocka_unit_test(windows_count_what_came_in_them),
        cmocka_unit_test(nothing_counted_is_nothing_claimed),
        cmocka_unit_test(buckets_never_end_outside),
    };
    return cmocka_run_group_tests_name("bench/meter", tests, NULL, NULL);
}
