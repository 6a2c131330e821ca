/* SPDX-License-Identifier: Apache-2.0 */
/* Shows which operations on VMs the platform carries out: those of configured
 * guests, once, in time, and none while a VM may run elsewhere. */
#include "tests/unit/broker/platformbench.h"

static void
vms_are_controlled_only_if_the_configuration_names_them(void **state)
{
    struct uuid stranger = {{0xee}};

    start();
    assert_int_equal(
        hypervisor_sim_add(hypervisor, &stranger, "x", 1, (uint32_t[]){0}), 0);
    assert_int_equal(control(&stranger, VM_OP_END)->error, EPERM);
    assert_int_equal(control(&config.guests[0].uuid, VM_OP_FREEZE)->error, 0);
    n_told = 0;
    pass(SECOND);
    assert_string_equal(find(MSG_VM_FOUND, 0)->vm_found.name, "web1");
    assert_int_equal(find(MSG_VM_FOUND, 0)->vm_found.state, VM_FROZEN);
    assert_true(hypervisor_sim_runs(hypervisor, &stranger));
    assert_false(hypervisor_sim_runs(hypervisor, &config.guests[0].uuid));
}

static void
an_operation_on_a_vm_happens_once(void **state)
{
    start();
    struct msg freeze = {.type = MSG_VM_CONTROL,
                         .vm_control = {.command = ++command,
                                        .cause = 9,
                                        .vm = config.guests[0].uuid,
                                        .op = VM_OP_FREEZE,
                                        .expires_ns = INT64_MAX}};
    platform_on_msg(platform, &freeze, now);
    pass(SECOND);
    control(&config.guests[0].uuid, VM_OP_THAW);
    pass(SECOND);
    platform_on_msg(platform, &freeze, now);
    assert_int_equal(find(MSG_OUTCOME, -1)->outcome.command,
                     freeze.vm_control.command);
    assert_int_equal(find(MSG_OUTCOME, -1)->outcome.error, 0);
    pass(SECOND);
    assert_true(hypervisor_sim_runs(hypervisor, &config.guests[0].uuid));
}

static void
an_operation_on_a_vm_whose_time_has_passed_is_not_begun(void **state)
{
    start();
    struct msg end = {.type = MSG_VM_CONTROL,
                      .vm_control = {.command = ++command,
                                     .cause = 9,
                                     .vm = config.guests[0].uuid,
                                     .op = VM_OP_END,
                                     .expires_ns = now - 7 * NSEC_PER_MSEC}};
    platform_on_msg(platform, &end, now);
    pass(SECOND);
    assert_int_equal(find(MSG_OUTCOME, -1)->outcome.error, ETIME);
    assert_string_equal(find(MSG_OUTCOME, -1)->outcome.reason,
                        "the order expired 7 ms ago");
    assert_true(hypervisor_sim_runs(hypervisor, &config.guests[0].uuid));
    end.vm_control.command = ++command;
    end.vm_control.expires_ns = now; /* Just in time. */
    platform_on_msg(platform, &end, now);
    assert_int_equal(find(MSG_OUTCOME, -1)->outcome.error, 0);
}

static const struct msg_outcome *
migrate(const struct uuid *vm, const char *to)
{
    struct msg msg = {.type = MSG_VM_CONTROL,
                      .vm_control = {.command = ++command,
                                     .cause = 9,
                                     .vm = *vm,
                                     .op = VM_OP_MIGRATE,
                                     .expires_ns = now}};

    strcpy(msg.vm_control.to, to);
    platform_on_msg(platform, &msg, now);
    return &find(MSG_OUTCOME, -1)->outcome;
}

static void
a_vm_that_may_run_elsewhere_is_left_alone(void **state)
{
    static const enum vm_op ops[] = {VM_OP_START, VM_OP_FREEZE, VM_OP_THAW,
                                     VM_OP_END};
    const struct uuid *vm = &config.guests[0].uuid;

    start();
    pass(SECOND);
    assert_int_equal(migrate(vm, "nowhere")->error, EHOSTUNREACH);
    assert_int_equal(migrate(vm, "silent")->error, 0);
    pass(SECOND);
    assert_int_equal(find(MSG_VM_FOUND, -1)->vm_found.state, VM_MOVING);
    for (size_t i = 0; i < 4; i++) {
        assert_int_equal(control(vm, ops[i])->error, EBUSY);
        assert_non_null(strstr(find(MSG_OUTCOME, -1)->outcome.reason, "way"));
    }
    pass(3 * SECOND);
    assert_int_equal(find(MSG_VM_FOUND, -1)->vm_found.state, VM_UNSURE);
    for (size_t i = 0; i < 4; i++) {
        assert_int_equal(control(vm, ops[i])->error, EBUSY);
        assert_non_null(strstr(find(MSG_OUTCOME, -1)->outcome.reason,
                               "stays stopped here"));
    }
    assert_int_equal(migrate(vm, "near")->error, EBUSY);
    /* The next broker leaves it alone as well, and does not wait for it. */
    platform_end_guests(platform, now);
    pass(SECOND);
    assert_int_equal(platform_guests_left(platform), 0);
    platform_destroy(platform);
    platform = NULL;
    n_told = 0;
    start();
    assert_int_equal(control(vm, VM_OP_THAW)->error, EBUSY);
    assert_int_equal(hypervisor_sim_n_copies(hypervisor, vm), 1);
    pass(12 * SECOND);
    assert_string_equal(find(MSG_VM_GONE, -1)->vm_gone.reason,
                        "it runs on another host now");
    assert_int_equal(control(vm, VM_OP_THAW)->error, ENOENT);
    assert_int_equal(hypervisor_sim_n_copies(hypervisor, vm), 1);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(vms_are_controlled_only_if_the_configuration_names_them),
        TEST(an_operation_on_a_vm_happens_once),
        TEST(an_operation_on_a_vm_whose_time_has_passed_is_not_begun),
        TEST(a_vm_that_may_run_elsewhere_is_left_alone),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
