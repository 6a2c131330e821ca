/* SPDX-License-Identifier: Apache-2.0 */
/* A world's parts do what scenarios rely on: pipes keep order and push back,
 * chance repeats, and an invariant that does not hold is said. */
#include "sim/world.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "hardware/sim.h"
#include "sim/chaos.h"
#include "sim/fault.h"
#include "sim/invariant.h"
#include "sim/run.h"
#include "sim/trace.h"
#include "wire/msg.h"

static const char text[] =
    "about = \"x\";\n"
    "duration_s = 20;\n"
    "host = { cpus = [0, 1]; policy = { name = \"basic\"; }; };\n"
    "guests = ( { name = \"web\"; cpu = 0; service_us = 100;\n"
    "             load = ( { at_s = 0; rate = 200; } ); } );\n"
    "chaos = { from_s = 4; to_s = 16; n = 50; longest_s = 3;\n"
    "          faults = [\"kill_agent\", \"delay_channel\", \"fail_pstate\"]; "
    "};\n"
    "expect = ( { at_s = 3; cpu = 0; pstate = [0, 4]; } );\n";

static struct scenario scenario;
static struct trace trace;

static int
setup(void **state)
{
    char why[256] = "";

    assert_int_equal(scenario_parse(&scenario, text, "t.scn", why, sizeof why),
                     0);
    trace_init(&trace, NULL);
    return 0;
}

static int
teardown(void **state)
{
    scenario_fini(&scenario);
    return 0;
}

static void
a_pipe_keeps_messages_whole_and_in_order(void **state)
{
    struct msg in = {.type = MSG_READY}, out;
    struct pipe pipe;

    assert_int_equal(pipe_init(&pipe, "a>b", &trace), 0);
    assert_false(pipe_take(&pipe, &out));
    for (int i = 0; i < 10; i++) {
        snprintf(in.ready.note, sizeof in.ready.note, "note %d", i);
        assert_int_equal(pipe_send(&pipe, &in), 0);
    }
    for (int i = 0; i < 10; i++) {
        snprintf(in.ready.note, sizeof in.ready.note, "note %d", i);
        assert_true(pipe_take(&pipe, &out));
        assert_int_equal(out.type, MSG_READY);
        assert_string_equal(out.ready.note, in.ready.note);
    }
    assert_false(pipe_take(&pipe, &out));
    pipe_fini(&pipe);
}

static void
a_full_pipe_pushes_back_until_it_is_read(void **state)
{
    struct msg in = {.type = MSG_READY}, out;
    struct pipe pipe;
    int n = 0;

    assert_int_equal(pipe_init(&pipe, "a>b", &trace), 0);
    memset(in.ready.note, 'x', sizeof in.ready.note - 1);
    while (!pipe_send(&pipe, &in)) {
        n++;
        assert_true(n < 10000);
    }
    assert_int_equal(pipe_send(&pipe, &in), -EAGAIN);
    while (pipe_take(&pipe, &out)) {
        n--;
    }
    assert_int_equal(n, 0);
    assert_int_equal(pipe_send(&pipe, &in), 0);
    pipe_fini(&pipe);
}

static void
a_lossy_pipe_loses_one_type_and_counts(void **state)
{
    struct msg ready = {.type = MSG_READY}, gone = {.type = MSG_BYE}, out;
    struct pipe pipe;

    assert_int_equal(pipe_init(&pipe, "a>b", &trace), 0);
    pipe.lose_type = MSG_BYE;
    assert_int_equal(pipe_send(&pipe, &gone), 0);
    assert_int_equal(pipe_send(&pipe, &ready), 0);
    assert_true(pipe_take(&pipe, &out));
    assert_int_equal(out.type, MSG_READY);
    assert_false(pipe_take(&pipe, &out));
    assert_int_equal(pipe.n_lost, 1);
    pipe_fini(&pipe);
}

static void
a_trace_hashes_time_and_words(void **state)
{
    uint64_t hash;

    trace_add(&trace, "a", "one");
    hash = trace.hash;
    trace_init(&trace, NULL);
    trace_add(&trace, "a", "one");
    assert_true(trace.hash == hash);
    trace_init(&trace, NULL);
    trace.now = NSEC_PER_USEC;
    trace_add(&trace, "a", "one");
    assert_true(trace.hash != hash);
    trace_init(&trace, NULL);
    trace_add(&trace, "a", "two");
    assert_true(trace.hash != hash);
}

static void
chaos_repeats_by_seed_and_is_over_in_time(void **state)
{
    static struct scenario_fault first[SCENARIO_FAULTS_MAX];
    static struct scenario_fault again[SCENARIO_FAULTS_MAX];

    assert_int_equal(chaos_draw(&scenario, first, 0), 50);
    assert_int_equal(chaos_draw(&scenario, again, 0), 50);
    assert_memory_equal(first, again, sizeof first);
    for (int i = 0; i < 50; i++) {
        assert_true(first[i].at >= 4 * NSEC_PER_SEC);
        assert_true(first[i].until > first[i].at);
        assert_true(first[i].until <= 16 * NSEC_PER_SEC);
        assert_true(first[i].until - first[i].at <= 3 * NSEC_PER_SEC + 1);
        assert_true(first[i].value >= first[i].fault->low &&
                    first[i].value <= first[i].fault->high);
    }
    scenario.seed++;
    chaos_draw(&scenario, again, 0);
    assert_memory_not_equal(first, again, sizeof first);
}

static void
chaos_never_overruns_the_table(void **state)
{
    static struct scenario_fault faults[SCENARIO_FAULTS_MAX];

    assert_int_equal(chaos_draw(&scenario, faults, SCENARIO_FAULTS_MAX - 3),
                     SCENARIO_FAULTS_MAX);
}

/* Leads a world to second 'to_s', without faults. */
static struct world *
world_at(int to_s)
{
    char why[256] = "";
    struct world *world;

    assert_int_equal(world_create(&world, &scenario, &trace, why, sizeof why),
                     0);
    assert_int_equal(world_start_broker(world), 0);
    assert_int_equal(world_start_agent(world, 0), 0);
    while (world_elapsed(world) < to_s * NSEC_PER_SEC) {
        assert_int_equal(world_settle(world), 0);
        world_pass(world, world_deadline(world));
    }
    return world;
}

static void
requests_that_nobody_made_are_noticed(void **state)
{
    struct world *world = world_at(5);
    char why[256] = "";

    assert_true(invariant_holds(world, why, sizeof why));
    assert_true(world->guests[0].n_requests > 700);
    world->guests[0].n_requests = 10;
    assert_false(invariant_holds(world, why, sizeof why));
    assert_non_null(strstr(why, "requests, its clients 10"));
    world_destroy(world);
}

static void
a_host_left_changed_is_noticed(void **state)
{
    struct world *world = world_at(10);
    char why[256] = "";

    assert_true(hardware_sim_pstate(world->hardware, 0) > 0);
    world_stop_broker(world);
    assert_true(invariant_left_as_found(world, why, sizeof why));
    hardware_sim_set_pstate(world->hardware, 1, 3);
    assert_false(invariant_left_as_found(world, why, sizeof why));
    assert_string_equal(why, "the broker stopped and left cpu 1 at p-state 3; "
                             "it found it at 0");
    world_destroy(world);
}

static void
a_broker_that_is_stopped_twice_or_never_started_is_fine(void **state)
{
    char why[256] = "";
    struct world *world;

    assert_int_equal(world_create(&world, &scenario, &trace, why, sizeof why),
                     0);
    world_stop_broker(world);
    assert_int_equal(world_settle(world), 0);
    assert_int_equal(world_start_broker(world), 0);
    assert_int_equal(world_start_broker(world), 0);
    world_stop_broker(world);
    world_stop_broker(world);
    world_destroy(world);
}

static void
expectations_are_told_in_words(void **state)
{
    char words[256];

    run_expected(&scenario, &scenario.expects[0], words, sizeof words);
    assert_string_equal(words, "pstate of cpu 0 is 0..4 at 3 s");
}

static void
a_run_tells_what_its_clients_saw(void **state)
{
    struct run_result result;

    scenario.chaos.n = 0;
    run_scenario(&scenario, NULL, &result);
    assert_string_equal(result.broken, "");
    assert_true(result.passed);
    assert_in_range(result.n_requests, 3500, 4500);
    assert_true(result.mean_power_w > 100 && result.mean_power_w < 140);
    assert_true(result.n_trace_lines > 100);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int
main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_pipe_keeps_messages_whole_and_in_order),
        TEST(a_full_pipe_pushes_back_until_it_is_read),
        TEST(a_lossy_pipe_loses_one_type_and_counts),
        TEST(a_trace_hashes_time_and_words),
        TEST(chaos_repeats_by_seed_and_is_over_in_time),
        TEST(chaos_never_overruns_the_table),
        TEST(requests_that_nobody_made_are_noticed),
        TEST(a_host_left_changed_is_noticed),
        TEST(a_broker_that_is_stopped_twice_or_never_started_is_fine),
        TEST(expectations_are_told_in_words),
        TEST(a_run_tells_what_its_clients_saw),
    };

    return cmocka_run_group_tests_name("sim/world", tests, NULL, NULL);
}
