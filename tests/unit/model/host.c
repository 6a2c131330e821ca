/* SPDX-License-Identifier: Apache-2.0 */
/* A host's tables: found by number and name, bounded, in a steady order; and
 * what is made from them: wishes for a VM's vCPUs, utilization over a period.
 */
#include "model/host.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "model/util.h"
#include "model/wish.h"

static struct uuid
numbered(uint8_t n)
{
    struct uuid uuid = {{0}};

    uuid.byte[15] = n;
    return uuid;
}

/* Two CPUs in a domain of 3 p-states, one in one of 5, one in none. */
static int
setup(void **state)
{
    static struct host host;

    assert_int_equal(host_init(&host, 4, 2, 3), 0);
    host.n_cpus = 4;
    host.n_domains = 2;
    for (uint32_t i = 0; i < 4; i++) {
        host.cpus[i].id = 10 + i;
        host.cpus[i].domain = i < 2 ? 0 : i == 2 ? 1 : UINT32_MAX;
    }
    host.domains[0].desc.table.n = 3;
    host.domains[1].desc.table.n = 5;
    *state = &host;
    return 0;
}

static int
teardown(void **state)
{
    host_fini(*state);
    return 0;
}

static struct vm *
add(struct host *host, uint8_t n, uint32_t first_cpu, uint32_t n_vcpus)
{
    struct uuid uuid = numbered(n);
    struct vm *vm = host_add_vm(host, &uuid);

    assert_non_null(vm);
    vm->n_vcpus = n_vcpus;
    for (uint32_t i = 0; i < n_vcpus; i++) {
        vm->vcpu_cpu[i] = first_cpu + i;
    }
    return vm;
}

static void
cpus_are_found_by_the_kernels_number(void **state)
{
    struct host *host = *state;

    assert_ptr_equal(host_cpu(host, 12), &host->cpus[2]);
    assert_null(host_cpu(host, 0));
    assert_ptr_equal(host_domain_of_cpu(host, 11), &host->domains[0]);
    assert_ptr_equal(host_domain_of_cpu(host, 12), &host->domains[1]);
    assert_null(host_domain_of_cpu(host, 13));
    assert_null(host_domain_of_cpu(host, 99));
}

static void
full_table_takes_no_vm_more(void **state)
{
    struct host *host = *state;
    struct uuid four = numbered(4);

    add(host, 1, 10, 1);
    add(host, 2, 10, 1);
    add(host, 3, 10, 1);
    assert_null(host_add_vm(host, &four));
    host_remove_vm(host, host_vm(host, &(struct uuid){{[15] = 2}}));
    assert_non_null(host_add_vm(host, &four));
}

static void
the_others_keep_their_order_when_one_leaves(void **state)
{
    struct host *host = *state;

    add(host, 1, 10, 1);
    add(host, 2, 10, 1);
    add(host, 3, 10, 1);
    host_remove_vm(host, &host->vms[0]);
    assert_int_equal(host->n_vms, 2);
    assert_int_equal(host->vms[0].uuid.byte[15], 2);
    assert_int_equal(host->vms[1].uuid.byte[15], 3);
}

static void
no_two_vms_ever_share_a_policy_state(void **state)
{
    struct host *host = *state;
    char states[3];
    unsigned turn = 0;

    for (unsigned i = 0; i < 3; i++) {
        host->vms[i].policy_state = &states[i];
    }
    for (uint8_t n = 1; n < 60; n++) {
        add(host, n, 10, 1);
        if (host->n_vms == 3) {
            host_remove_vm(host, &host->vms[turn++ % 3]);
        }
        void *a = host->vms[0].policy_state, *b = host->vms[1].policy_state,
             *c = host->vms[2].policy_state;
        assert_true(a && b && c && a != b && b != c && a != c);
    }
}

static void
new_vm_has_nothing_of_its_predecessor(void **state)
{
    struct host *host = *state;
    struct vm *vm = add(host, 1, 10, 1);

    vm->busy_ns = 5;
    vm->agent_up = true;
    vm->news = VM_NEWS_NOTICE;
    host_remove_vm(host, vm);
    vm = add(host, 2, 10, 1);
    assert_int_equal(vm->busy_ns, 0);
    assert_false(vm->agent_up);
    assert_int_equal(vm->news, 0);
    assert_int_equal(vm->util_permille, UTIL_UNKNOWN);
}

static void
vms_are_found_by_name(void **state)
{
    struct host *host = *state;
    struct vm *vm = add(host, 1, 10, 1);

    strcpy(vm->name, "web1");
    assert_ptr_equal(host_vm_by_name(host, "web1"), vm);
    assert_null(host_vm_by_name(host, "web"));
}

static void
slowest_pstate_is_that_of_the_longest_table(void **state)
{
    struct host *host = *state;

    assert_int_equal(host_slowest_pstate(host, add(host, 1, 10, 2)), 2);
    assert_int_equal(host_slowest_pstate(host, add(host, 2, 11, 2)), 4);
    assert_int_equal(host_slowest_pstate(host, add(host, 3, 13, 1)), 0);
}

static void
host_without_anything_can_be_made(void **state)
{
    struct host empty;

    assert_int_equal(host_init(&empty, 0, 0, 0), 0);
    assert_null(host_cpu(&empty, 0));
    assert_null(host_add_vm(&empty, &(struct uuid){{1}}));
    host_fini(&empty);
    host_fini(&empty);
}

/* Wishes. */

static void
vcpus_wish_no_slower_than_their_cpu_goes(void **state)
{
    struct host *host = *state;
    struct wish room[8];
    struct wish_list list = {.wish = room, .max = 8};
    struct reason reason = {.rule = "test/rule", .cause = 9};

    /* vCPU 0 on three p-states, vCPU 1 on five, vCPU 2 on none. */
    assert_int_equal(
        wish_vm_pstate(&list, host, add(host, 1, 11, 3), 4, 77, &reason), 0);
    assert_int_equal(list.n, 2);
    assert_int_equal(room[0].value, 2);
    assert_int_equal(room[1].value, 4);
    assert_int_equal(room[1].vcpu, 1);
    assert_int_equal(room[1].valid_until, 77);
    assert_int_equal(room[1].reason.cause, 9);
    assert_false(room[1].withdraw);
}

static void
full_list_is_said_and_not_overrun(void **state)
{
    struct host *host = *state;
    struct wish room[3];
    struct wish_list list = {.wish = room, .max = 1};
    struct reason reason = {.rule = "test/rule"};
    struct vm *vm = add(host, 1, 10, 2);

    room[1].value = 1234;
    assert_int_equal(wish_vm_pstate(&list, host, vm, 1, 77, &reason), -ENOSPC);
    assert_int_equal(list.n, 1);
    list.n = 0;
    assert_int_equal(wish_vm_withdraw(&list, vm, &reason), -ENOSPC);
    assert_true(room[0].withdraw);
    assert_int_equal(room[1].value, 1234);
}

/* Utilization. */

static void
period_ends_with_the_growth_in_it(void **state)
{
    struct util_meter meter = {0};
    struct vm vm = {.busy_ns = 100, .available_ns = 1000};
    double percent = -1;

    assert_false(util_meter_ends(&meter, &vm, 50, 10, &percent));
    vm.busy_ns = 130;
    vm.available_ns = 1040;
    assert_false(util_meter_ends(&meter, &vm, 50, 59, &percent));
    assert_true(util_meter_ends(&meter, &vm, 50, 60, &percent));
    assert_float_equal(percent, 75, 0.001);
    vm.available_ns = 1140;
    assert_true(util_meter_ends(&meter, &vm, 50, 110, &percent));
    assert_float_equal(percent, 0, 0.001);
}

static void
nothing_is_known_without_a_sample_or_over_a_restart(void **state)
{
    struct util_meter meter = {0};
    struct vm vm = {.busy_ns = 100, .available_ns = 1000};
    double percent = -1;

    util_meter_ends(&meter, &vm, 50, 0, &percent);
    assert_false(util_meter_ends(&meter, &vm, 50, 50, &percent));
    vm.busy_ns = 3;
    vm.available_ns = 1100;
    assert_false(util_meter_ends(&meter, &vm, 50, 100, &percent));
    vm.busy_ns = 13;
    vm.available_ns = 1120;
    assert_true(util_meter_ends(&meter, &vm, 50, 150, &percent));
    assert_float_equal(percent, 50, 0.001);
}

static void
states_and_operations_have_names_of_their_own(void **state)
{
    for (enum vm_state a = VM_RUNNING; a <= VM_LEFT; a++) {
        for (enum vm_state b = VM_RUNNING; b < a; b++) {
            assert_string_not_equal(vm_state_name(a), vm_state_name(b));
        }
        assert_true(vm_state_runs(a) == (a == VM_RUNNING || a == VM_MOVING));
    }
    for (enum vm_op a = VM_OP_START; a <= VM_OP_MIGRATE; a++) {
        for (enum vm_op b = VM_OP_START; b < a; b++) {
            assert_string_not_equal(vm_op_name(a), vm_op_name(b));
        }
    }
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int
main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(cpus_are_found_by_the_kernels_number),
        TEST(full_table_takes_no_vm_more),
        TEST(the_others_keep_their_order_when_one_leaves),
        TEST(no_two_vms_ever_share_a_policy_state),
        TEST(new_vm_has_nothing_of_its_predecessor),
        TEST(vms_are_found_by_name),
        TEST(slowest_pstate_is_that_of_the_longest_table),
        cmocka_unit_test(host_without_anything_can_be_made),
        TEST(vcpus_wish_no_slower_than_their_cpu_goes),
        TEST(full_list_is_said_and_not_overrun),
        cmocka_unit_test(period_ends_with_the_growth_in_it),
        cmocka_unit_test(states_and_operations_have_names_of_their_own),
        cmocka_unit_test(nothing_is_known_without_a_sample_or_over_a_restart),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
