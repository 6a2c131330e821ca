/* SPDX-License-Identifier: Apache-2.0 */
/* Basic: each rule of the paper, its limits, ties, and what must not happen. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/cbor.h"
#include "model/cause.h"
#include "policy/policy.h"

#define EPOCH (500 * NSEC_PER_MSEC)
#define PERIOD (2 * NSEC_PER_SEC)
#define N_PSTATES 5
#define N_WISHES 64
#define NOTHING INT64_C(-1)
#define WITHDRAWN INT64_C(-2)

/* A host with two CPUs, each a domain of five p-states, and two VMs. */
struct world {
    const struct policy_class *policy;
    struct host host;
    struct option_values options;
    struct wish room[N_WISHES];
    struct wish_list list;
    nsec_t now;
    uint64_t causes;
};

static struct vm *
vm_of(struct world *world, uint32_t i)
{
    return &world->host.vms[i];
}

static int
setup(void **state)
{
    struct world *world = calloc(1, sizeof *world);

    world->policy = policy_find("basic");
    assert_non_null(world->policy);
    options_init(&world->options, world->policy->options);
    assert_int_equal(host_init(&world->host, 2, 2, 2), 0);
    for (uint32_t i = 0; i < 2; i++) {
        struct uuid uuid = {{(uint8_t)(i + 1)}};
        world->host.cpus[i].id = i;
        world->host.cpus[i].domain = i;
        world->host.domains[i].desc.table.n = N_PSTATES;
        struct vm *vm = host_add_vm(&world->host, &uuid);
        vm->policy_state = calloc(1, world->policy->vm_state_size);
        vm->n_vcpus = 1;
        vm->vcpu_cpu[0] = i;
        vm->state = VM_RUNNING;
        vm->agent_up = true;
        vm->agent_cause = 1000 + i;
    }
    world->host.n_cpus = 2;
    world->host.n_domains = 2;
    world->list = (struct wish_list){.wish = world->room, .max = N_WISHES};
    world->now = 100 * NSEC_PER_SEC;
    *state = world;
    return 0;
}

static int
teardown(void **state)
{
    struct world *world = *state;

    free(world->host.vms[0].policy_state);
    free(world->host.vms[1].policy_state);
    host_fini(&world->host);
    free(world);
    return 0;
}

static void
set(struct world *world, const char *name, const char *text)
{
    char why[160];

    assert_int_equal(options_set(&world->options, name, text, why, sizeof why),
                     0);
}

/* A turn now; news are gone after it. */
static void
turn(struct world *world, bool epoch)
{
    struct platform_view view = {.host = &world->host,
                                 .options = &world->options,
                                 .epoch_ns = EPOCH,
                                 .epoch = epoch};

    world->list.n = 0;
    assert_int_equal(
        world->policy->decide(NULL, &view, world->now, &world->list), 0);
    vm_of(world, 0)->news = 0;
    vm_of(world, 1)->news = 0;
}

/* The time to the next epoch's end, with the VMs that busy, then a turn. */
static void
epoch(struct world *world, double busy)
{
    world->now += EPOCH;
    for (uint32_t i = 0; i < 2; i++) {
        vm_of(world, i)->busy_ns += (uint64_t)(busy * (double)EPOCH);
        vm_of(world, i)->available_ns += EPOCH;
    }
    turn(world, true);
}

/* Epochs up to and with the one that ends a period. */
static void
period(struct world *world, double busy)
{
    for (nsec_t passed = 0; passed < PERIOD; passed += EPOCH) {
        epoch(world, busy);
    }
}

static void
notice(struct world *world, uint32_t i)
{
    struct vm *vm = vm_of(world, i);

    vm->news |= VM_NEWS_NOTICE;
    vm->notice.n_requests = 200;
    vm->notice.n_violations = 30;
    vm->notice.threshold_us = 3000;
    vm->notice.cause = ++world->causes;
}

static const struct wish *
wish_of(const struct world *world, uint32_t i)
{
    for (size_t j = 0; j < world->list.n; j++) {
        if (uuid_equal(&world->room[j].vm, &world->host.vms[i].uuid)) {
            return &world->room[j];
        }
    }
    return NULL;
}

/* What the last turn said of a VM. */
static int64_t
said(const struct world *world, uint32_t i)
{
    const struct wish *wish = wish_of(world, i);

    return !wish ? NOTHING : wish->withdraw ? WITHDRAWN : wish->value;
}

/* Brings VM 0 to a p-state by starting it there. */
static void
start_at(struct world *world, const char *pstate)
{
    set(world, "start_pstate", pstate);
    turn(world, true);
    assert_int_equal(said(world, 0), atoi(pstate));
}

static void
starts_at_the_fastest(void **state)
{
    struct world *world = *state;

    turn(world, true);
    assert_int_equal(said(world, 0), 0);
    assert_string_equal(wish_of(world, 0)->reason.rule, "basic/start");
    assert_int_equal(wish_of(world, 0)->reason.cause, 1000);
}

static void
violation_raises_by_one(void **state)
{
    struct world *world = *state;

    start_at(world, "3");
    world->now += 10 * NSEC_PER_MSEC;
    notice(world, 0);
    turn(world, false);
    assert_int_equal(said(world, 0), 2);
    assert_int_equal(said(world, 1), NOTHING);
}

static void
raise_says_why(void **state)
{
    struct world *world = *state;

    start_at(world, "3");
    notice(world, 0);
    turn(world, false);
    const struct reason *reason = &wish_of(world, 0)->reason;
    assert_string_equal(reason->rule, "basic/raise");
    assert_int_equal(reason->cause, world->causes);
    assert_int_equal(reason->n_values, 3);
    assert_string_equal(reason->values[0].name, "violations");
    assert_float_equal(reason->values[0].value, 30, 0);
    assert_string_equal(reason->values[2].unit, "us");
}

static void
each_notice_raises_once(void **state)
{
    struct world *world = *state;

    start_at(world, "4");
    notice(world, 0);
    turn(world, false);
    assert_int_equal(said(world, 0), 3);
    turn(world, false);
    assert_int_equal(said(world, 0), NOTHING);
    notice(world, 0);
    turn(world, false);
    assert_int_equal(said(world, 0), 2);
}

static void
nothing_is_faster_than_the_fastest(void **state)
{
    struct world *world = *state;

    turn(world, true);
    notice(world, 0);
    turn(world, false);
    assert_int_equal(said(world, 0), 0);
    assert_int_equal(wish_of(world, 0)->reason.cause, world->causes);
}

static void
idle_period_lowers_by_one(void **state)
{
    struct world *world = *state;

    turn(world, true);
    period(world, 0.5);
    assert_int_equal(said(world, 0), 1);
    const struct reason *reason = &wish_of(world, 0)->reason;
    assert_string_equal(reason->rule, "basic/lower");
    assert_int_equal(reason->cause, CAUSE_NONE);
    assert_float_equal(reason->values[0].value, 50, 0.01);
    assert_float_equal(reason->values[1].value, 80, 0.01);
    period(world, 0.5);
    assert_int_equal(said(world, 0), 2);
}

static void
period_not_over_lowers_nothing(void **state)
{
    struct world *world = *state;

    turn(world, true);
    for (unsigned i = 0; i < 3; i++) {
        epoch(world, 0.1);
        assert_int_equal(said(world, 0), 0);
    }
    epoch(world, 0.1);
    assert_int_equal(said(world, 0), 1);
}

static void
utilization_at_the_limit_lowers_nothing(void **state)
{
    struct world *world = *state;

    turn(world, true);
    period(world, 0.8);
    assert_int_equal(said(world, 0), 0);
    period(world, 0.799);
    assert_int_equal(said(world, 0), 1);
}

static void
limit_and_period_are_options(void **state)
{
    struct world *world = *state;

    set(world, "util_low_percent", "30");
    set(world, "util_period_ms", "500");
    turn(world, true);
    epoch(world, 0.5);
    assert_int_equal(said(world, 0), 0);
    epoch(world, 0.2);
    assert_int_equal(said(world, 0), 1);
}

static void
the_slowest_is_the_tables_end(void **state)
{
    struct world *world = *state;

    turn(world, true);
    for (unsigned i = 0; i < 10; i++) {
        period(world, 0);
        assert_in_range(said(world, 0), 0, N_PSTATES - 1);
    }
    assert_int_equal(said(world, 0), N_PSTATES - 1);
    /* And what fired in vain is not remembered. */
    notice(world, 0);
    turn(world, false);
    assert_int_equal(said(world, 0), N_PSTATES - 2);
}

static void
missing_samples_lower_nothing(void **state)
{
    struct world *world = *state;

    turn(world, true);
    for (unsigned i = 0; i < 20; i++) {
        world->now += EPOCH;
        turn(world, true);
        assert_int_equal(said(world, 0), 0);
    }
}

static void
each_vm_has_its_own_pstate(void **state)
{
    struct world *world = *state;

    start_at(world, "2");
    notice(world, 1);
    turn(world, true);
    assert_int_equal(said(world, 0), 2);
    assert_int_equal(said(world, 1), 1);
}

static void
all_vcpus_of_a_vm_wish_the_same(void **state)
{
    struct world *world = *state;
    struct vm *vm = vm_of(world, 0);

    vm->n_vcpus = 2;
    vm->vcpu_cpu[1] = 1;
    vm_of(world, 1)->agent_up = false;
    start_at(world, "3");
    notice(world, 0);
    turn(world, false);
    assert_int_equal(world->list.n, 2);
    assert_int_equal(world->room[0].value, 2);
    assert_int_equal(world->room[1].value, 2);
    assert_int_equal(world->room[0].vcpu + world->room[1].vcpu, 1);
}

static void
vm_without_an_agent_wishes_nothing(void **state)
{
    struct world *world = *state;

    vm_of(world, 0)->agent_up = false;
    turn(world, true);
    period(world, 0.1);
    assert_int_equal(said(world, 0), NOTHING);
    assert_int_equal(said(world, 1), 1);
}

static void
lost_agent_withdraws_once(void **state)
{
    struct world *world = *state;

    turn(world, true);
    period(world, 0.1);
    vm_of(world, 0)->agent_up = false;
    vm_of(world, 0)->agent_cause = 4711;
    turn(world, false);
    assert_int_equal(said(world, 0), WITHDRAWN);
    assert_string_equal(wish_of(world, 0)->reason.rule, "basic/lost");
    assert_int_equal(wish_of(world, 0)->reason.cause, 4711);
    turn(world, true);
    assert_int_equal(said(world, 0), NOTHING);
}

static void
returning_agent_starts_afresh(void **state)
{
    struct world *world = *state;

    turn(world, true);
    period(world, 0.1);
    period(world, 0.1);
    vm_of(world, 0)->agent_up = false;
    turn(world, true);
    vm_of(world, 0)->agent_up = true;
    turn(world, true);
    assert_int_equal(said(world, 0), 0);
}

static void
frozen_vm_withdraws(void **state)
{
    struct world *world = *state;

    turn(world, true);
    vm_of(world, 0)->state = VM_FROZEN;
    turn(world, false);
    assert_int_equal(said(world, 0), WITHDRAWN);
    assert_int_equal(said(world, 1), NOTHING);
}

static void
wishes_are_renewed_each_epoch_and_expire_without(void **state)
{
    struct world *world = *state;

    turn(world, true);
    nsec_t until = wish_of(world, 0)->valid_until;
    assert_true(until > world->now + EPOCH);
    assert_true(until <= world->now + 10 * EPOCH);
    epoch(world, 0.9);
    assert_int_equal(wish_of(world, 0)->valid_until, until + EPOCH);
    assert_string_equal(wish_of(world, 0)->reason.rule, "basic/hold");
    assert_int_equal(wish_of(world, 0)->reason.cause, CAUSE_NONE);
}

static void
start_beyond_the_table_is_its_end(void **state)
{
    struct world *world = *state;

    set(world, "start_pstate", "15");
    turn(world, true);
    assert_int_equal(said(world, 0), N_PSTATES - 1);
    notice(world, 0);
    turn(world, false);
    assert_int_equal(said(world, 0), N_PSTATES - 2);
}

/* Ties: VM 0 at p-state 2, both rules in one turn. */
static void
tie(struct world *world, const char *rule, const char *from)
{
    set(world, "tie", rule);
    start_at(world, from);
    for (unsigned i = 0; i < 3; i++) {
        epoch(world, 0.2);
    }
    notice(world, 0);
    epoch(world, 0.2);
}

static void
tie_raises_by_default(void **state)
{
    struct world *world = *state;
    struct option_values defaults;

    options_init(&defaults, world->policy->options);
    tie(world, option_text(&defaults, "tie"), "2");
    assert_int_equal(said(world, 0), 1);
    assert_int_equal(said(world, 1), 3);
    const struct reason *reason = &wish_of(world, 0)->reason;
    assert_string_equal(reason->rule, "basic/raise");
    assert_int_equal(reason->n_rejected, 1);
    assert_int_equal(reason->rejected[0].choice, 3);
    /* The lowering is lost, not put off. */
    epoch(world, 0.2);
    assert_int_equal(said(world, 0), 1);
}

static void
tie_lowers_if_told_so(void **state)
{
    struct world *world = *state;

    tie(world, "lower", "2");
    assert_int_equal(said(world, 0), 3);
    const struct reason *reason = &wish_of(world, 0)->reason;
    assert_string_equal(reason->rule, "basic/lower");
    assert_int_equal(reason->rejected[0].choice, 1);
}

static void
tie_of_both_changes_nothing(void **state)
{
    struct world *world = *state;

    tie(world, "both", "2");
    assert_int_equal(said(world, 0), 2);
}

static void
tie_of_both_at_the_fastest_lowers(void **state)
{
    struct world *world = *state;

    tie(world, "both", "0");
    assert_int_equal(said(world, 0), 1);
}

static void
tie_of_both_at_the_slowest_stays(void **state)
{
    struct world *world = *state;

    tie(world, "both", "4");
    assert_int_equal(said(world, 0), 4);
}

/* On the way to another host. */

static int
load(struct world *world, uint64_t wants, uint64_t pstate, size_t n)
{
    uint8_t bytes[64];
    struct cbor_out out;
    struct cbor_in in;

    cbor_out_init(&out, bytes, sizeof bytes);
    cbor_put_array(&out, n);
    cbor_put_u64(&out, wants);
    cbor_put_u64(&out, pstate);
    cbor_in_init(&in, bytes, out.used);
    return world->policy->load_vm(vm_of(world, 0)->policy_state, &in);
}

static void
vm_that_moved_goes_on_where_it_was(void **state)
{
    struct world *world = *state;

    assert_int_equal(load(world, 1, 3, 2), 0);
    notice(world, 0);
    turn(world, false);
    assert_int_equal(said(world, 0), 2);
    assert_string_equal(wish_of(world, 0)->reason.rule, "basic/raise");
}

static void
saved_state_out_of_range_is_refused(void **state)
{
    struct world *world = *state;

    assert_int_equal(load(world, 1, PSTATES_MAX, 2), -EPROTO);
    assert_int_equal(load(world, 2, 3, 2), -EPROTO);
    assert_int_equal(load(world, 1, 3, 1), -EPROTO);
    assert_int_equal(load(world, 1, UINT64_C(1) << 32, 2), -EPROTO);
    turn(world, true);
    assert_int_equal(said(world, 0), 0); /* As if nothing had come. */
}

/* None. */

static void
none_wishes_nothing(void **state)
{
    struct world *world = *state;

    world->policy = policy_find("none");
    options_init(&world->options, world->policy->options);
    notice(world, 0);
    epoch(world, 0.1);
    period(world, 0.1);
    assert_int_equal(world->list.n, 0);
}

static void
none_pins_running_vms_if_told_so(void **state)
{
    struct world *world = *state;

    world->policy = policy_find("none");
    options_init(&world->options, world->policy->options);
    set(world, "pin_fastest", "true");
    vm_of(world, 0)->agent_up = false; /* It needs none. */
    vm_of(world, 1)->state = VM_ENDED;
    epoch(world, 0.1);
    assert_int_equal(said(world, 0), 0);
    assert_int_equal(said(world, 1), NOTHING);
    assert_true(wish_of(world, 0)->valid_until > world->now + EPOCH);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int
main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(starts_at_the_fastest),
        TEST(violation_raises_by_one),
        TEST(raise_says_why),
        TEST(each_notice_raises_once),
        TEST(nothing_is_faster_than_the_fastest),
        TEST(idle_period_lowers_by_one),
        TEST(period_not_over_lowers_nothing),
        TEST(utilization_at_the_limit_lowers_nothing),
        TEST(limit_and_period_are_options),
        TEST(the_slowest_is_the_tables_end),
        TEST(missing_samples_lower_nothing),
        TEST(each_vm_has_its_own_pstate),
        TEST(all_vcpus_of_a_vm_wish_the_same),
        TEST(vm_without_an_agent_wishes_nothing),
        TEST(lost_agent_withdraws_once),
        TEST(returning_agent_starts_afresh),
        TEST(frozen_vm_withdraws),
        TEST(wishes_are_renewed_each_epoch_and_expire_without),
        TEST(start_beyond_the_table_is_its_end),
        TEST(tie_raises_by_default),
        TEST(tie_lowers_if_told_so),
        TEST(tie_of_both_changes_nothing),
        TEST(tie_of_both_at_the_fastest_lowers),
        TEST(tie_of_both_at_the_slowest_stays),
        TEST(vm_that_moved_goes_on_where_it_was),
        TEST(saved_state_out_of_range_is_refused),
        TEST(none_wishes_nothing),
        TEST(none_pins_running_vms_if_told_so),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
