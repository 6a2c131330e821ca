/* SPDX-License-Identifier: Apache-2.0 */
/* Shows that simulated VMs appear, work, move and vanish as the simulator says,
 * and outlive the driver. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "hypervisor/hypervisor.h"
#include "hypervisor/sim.h"

struct fixture {
    struct hypervisor_sim *sim;
    struct option_values options;
    struct hypervisor_guest guest;
    struct hypervisor_env env;
    struct hypervisor *hv;
    struct vm_sample samples[4];
    char why[256];
};

static const struct uuid a = {{1}}, b = {{2}};
static const uint32_t cpus[] = {3, 5};

static const struct hypervisor_class *
driver(void)
{
    return hypervisor_find("sim");
}

static int
set_up(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);

    assert_int_equal(hypervisor_sim_create(&f->sim), 0);
    options_init(&f->options, driver()->options);
    f->env = (struct hypervisor_env){
        .proc_dirfd = -1,
        .state_dirfd = -1,
        .options = &f->options,
        .sim = f->sim,
    };
    assert_int_equal(driver()->open(&f->hv, &f->env, f->why, 256), 0);
    *state = f;
    return 0;
}

static int
tear_down(void **state)
{
    struct fixture *f = *state;

    driver()->close(f->hv);
    hypervisor_sim_destroy(f->sim);
    free(f);
    return 0;
}

static int
sample(struct fixture *f)
{
    return driver()->sample(f->hv, 0, f->samples, 4);
}

static int
control(struct fixture *f, const struct uuid *vm, enum vm_op op)
{
    return driver()->control(f->hv, vm, op, 0, f->why, 256);
}

static void
vm_that_appears_is_shown_whole(void **state)
{
    struct fixture *f = *state;

    assert_int_equal(sample(f), 0);
    assert_int_equal(hypervisor_sim_add(f->sim, &a, "web", 2, cpus), 0);
    assert_int_equal(hypervisor_sim_set_busy(f->sim, &a, 12345), 0);
    assert_int_equal(sample(f), 1);
    assert_true(uuid_equal(&f->samples[0].uuid, &a));
    assert_string_equal(f->samples[0].name, "web");
    assert_int_equal(f->samples[0].state, VM_RUNNING);
    assert_int_equal(f->samples[0].n_vcpus, 2);
    assert_int_equal(f->samples[0].vcpu_cpu[1], 5);
    assert_int_equal(f->samples[0].busy_ns, 12345);
}

static void
ended_vm_is_shown_once(void **state)
{
    struct fixture *f = *state;

    hypervisor_sim_add(f->sim, &a, "web", 1, cpus);
    hypervisor_sim_add(f->sim, &b, "db", 1, cpus);
    assert_int_equal(hypervisor_sim_end(f->sim, &a), 0);
    assert_int_equal(sample(f), 2);
    assert_int_equal(f->samples[0].state, VM_ENDED);
    assert_int_equal(sample(f), 1);
    assert_string_equal(f->samples[0].name, "db");
}

static void
ended_vm_without_room_is_shown_later(void **state)
{
    struct fixture *f = *state;

    hypervisor_sim_add(f->sim, &a, "web", 1, cpus);
    hypervisor_sim_add(f->sim, &b, "db", 1, cpus);
    hypervisor_sim_end(f->sim, &b);
    assert_int_equal(driver()->sample(f->hv, 0, f->samples, 1), 1);
    assert_int_equal(sample(f), 2);
    assert_int_equal(f->samples[1].state, VM_ENDED);
}

static void
vanished_vm_is_not_shown_at_all(void **state)
{
    struct fixture *f = *state;

    hypervisor_sim_add(f->sim, &a, "web", 1, cpus);
    hypervisor_sim_add(f->sim, &b, "db", 1, cpus);
    assert_int_equal(hypervisor_sim_vanish(f->sim, &a), 0);
    assert_int_equal(sample(f), 1);
    assert_string_equal(f->samples[0].name, "db");
}

static void
moved_vcpu_is_shown_where_it_is(void **state)
{
    struct fixture *f = *state;

    hypervisor_sim_add(f->sim, &a, "web", 2, cpus);
    assert_int_equal(hypervisor_sim_move(f->sim, &a, 1, 7), 0);
    assert_int_equal(sample(f), 1);
    assert_int_equal(f->samples[0].vcpu_cpu[0], 3);
    assert_int_equal(f->samples[0].vcpu_cpu[1], 7);
    assert_int_equal(hypervisor_sim_move(f->sim, &a, 2, 7), -ENOENT);
}

static void
freezing_and_thawing_stop_and_continue_it(void **state)
{
    struct fixture *f = *state;

    hypervisor_sim_add(f->sim, &a, "web", 1, cpus);
    assert_true(hypervisor_sim_runs(f->sim, &a));
    assert_int_equal(control(f, &a, VM_OP_FREEZE), 0);
    assert_false(hypervisor_sim_runs(f->sim, &a));
    assert_int_equal(control(f, &a, VM_OP_FREEZE), -EALREADY);
    sample(f);
    assert_int_equal(f->samples[0].state, VM_FROZEN);
    assert_int_equal(control(f, &a, VM_OP_THAW), 0);
    assert_int_equal(control(f, &a, VM_OP_THAW), -EALREADY);
    assert_true(hypervisor_sim_runs(f->sim, &a));
}

static void
ending_takes_until_the_next_sample(void **state)
{
    struct fixture *f = *state;

    hypervisor_sim_add(f->sim, &a, "web", 1, cpus);
    assert_int_equal(control(f, &a, VM_OP_END), 0);
    assert_int_equal(control(f, &a, VM_OP_END), -EALREADY);
    assert_int_equal(sample(f), 1);
    assert_int_equal(f->samples[0].state, VM_ENDED);
    assert_int_equal(sample(f), 0);
    assert_int_equal(control(f, &a, VM_OP_END), -ENOENT);
}

static void
configured_guest_is_started(void **state)
{
    struct fixture *f = *state;

    driver()->close(f->hv);
    f->guest = (struct hypervisor_guest){.uuid = a,
                                         .name = "web",
                                         .n_vcpus = 1,
                                         .vcpu_cpu = {6},
                                         .command = "true"};
    f->env.guests = &f->guest;
    f->env.n_guests = 1;
    assert_int_equal(driver()->open(&f->hv, &f->env, f->why, 256), 0);
    assert_int_equal(sample(f), 0);
    assert_int_equal(control(f, &a, VM_OP_START), 0);
    assert_int_equal(sample(f), 1);
    assert_int_equal(f->samples[0].vcpu_cpu[0], 6);
    assert_int_equal(control(f, &a, VM_OP_START), -EALREADY);
}

static void
vms_outlive_the_driver(void **state)
{
    struct fixture *f = *state;

    hypervisor_sim_add(f->sim, &a, "web", 1, cpus);
    driver()->close(f->hv);
    assert_int_equal(driver()->open(&f->hv, &f->env, f->why, 256), 0);
    assert_int_equal(sample(f), 1);
}

static void
failing_hypervisor_fails_until_it_is_healed(void **state)
{
    struct fixture *f = *state;

    hypervisor_sim_add(f->sim, &a, "web", 1, cpus);
    hypervisor_sim_fail(f->sim, -EIO);
    assert_int_equal(sample(f), -EIO);
    assert_int_equal(control(f, &a, VM_OP_FREEZE), -EIO);
    hypervisor_sim_fail(f->sim, 0);
    assert_int_equal(sample(f), 1);
    assert_int_equal(f->samples[0].state, VM_RUNNING);
}

static void
senseless_vms_are_refused(void **state)
{
    struct fixture *f = *state;
    struct uuid id = {{9}};

    assert_int_equal(hypervisor_sim_add(f->sim, &a, "web", 0, cpus), -EINVAL);
    assert_int_equal(
        hypervisor_sim_add(f->sim, &a, "web", VM_VCPUS_MAX + 1, cpus), -EINVAL);
    assert_int_equal(hypervisor_sim_add(f->sim, &a, "web", 1, cpus), 0);
    assert_int_equal(hypervisor_sim_add(f->sim, &a, "web", 1, cpus), -EEXIST);
    for (int i = 1; i < HYPERVISOR_SIM_VMS_MAX; i++) {
        id.byte[1] = (uint8_t)i;
        assert_int_equal(hypervisor_sim_add(f->sim, &id, "x", 1, cpus), 0);
    }
    assert_int_equal(hypervisor_sim_add(f->sim, &b, "db", 1, cpus), -ENOSPC);
}

static int
sample_at(struct fixture *f, nsec_t now)
{
    return driver()->sample(f->hv, now, f->samples, 4);
}

static void
renewed_vm_is_another_instance_since_then(void **state)
{
    struct fixture *f = *state;

    hypervisor_sim_add(f->sim, &a, "web", 1, cpus);
    assert_int_equal(sample(f), 1);
    uint64_t first = f->samples[0].instance;
    assert_true(first != 0);
    assert_int_equal(control(f, &a, VM_OP_FREEZE), 0);
    assert_int_equal(control(f, &a, VM_OP_THAW), 0);
    assert_int_equal(sample(f), 1);
    assert_int_equal(f->samples[0].instance, first);
    assert_int_equal(hypervisor_sim_renew(f->sim, &a, 77), 0);
    assert_int_equal(sample(f), 1);
    assert_true(f->samples[0].instance != first);
    assert_int_equal(f->samples[0].instance_since, 77);
}

static void
started_vm_resets_itself_once_if_told_to(void **state)
{
    struct fixture *f = *state;
    char why[160];

    f->guest = (struct hypervisor_guest){
        .uuid = a, .name = "web", .n_vcpus = 1, .command = "true"};
    f->env.guests = &f->guest;
    f->env.n_guests = 1;
    assert_int_equal(options_set(&f->options, "reset_after_ms", "20", why, 160),
                     0);
    assert_int_equal(control(f, &a, VM_OP_START), 0);
    assert_int_equal(sample_at(f, 20 * NSEC_PER_MSEC - 1), 1);
    uint64_t first = f->samples[0].instance;
    assert_int_equal(f->samples[0].instance_since, 0);
    assert_int_equal(sample_at(f, 21 * NSEC_PER_MSEC), 1);
    uint64_t second = f->samples[0].instance;
    assert_true(second != first);
    assert_int_equal(f->samples[0].instance_since, 21 * NSEC_PER_MSEC);
    assert_int_equal(sample_at(f, NSEC_PER_SEC), 1);
    assert_int_equal(f->samples[0].instance, second);
}

static void
unknown_vms_are_refused(void **state)
{
    struct fixture *f = *state;

    assert_int_equal(hypervisor_sim_end(f->sim, &a), -ENOENT);
    assert_int_equal(hypervisor_sim_vanish(f->sim, &a), -ENOENT);
    assert_int_equal(hypervisor_sim_renew(f->sim, &a, 1), -ENOENT);
    assert_int_equal(hypervisor_sim_move(f->sim, &a, 0, 0), -ENOENT);
    assert_int_equal(hypervisor_sim_set_busy(f->sim, &a, 1), -ENOENT);
    assert_false(hypervisor_sim_runs(f->sim, &a));
}

static int
migrate(struct fixture *f, const char *to)
{
    return driver()->migrate(f->hv, &a, to, 0, f->why, 256);
}

static void
migrated_vm_is_there_or_here_or_nobody_knows(void **state)
{
    static const struct {
        const char *to;
        enum vm_state at_3_s, at_13_s;
    } cases[] = {
        {"near", VM_LEFT, VM_LEFT},     {"full", VM_RUNNING, VM_RUNNING},
        {"silent", VM_UNSURE, VM_LEFT}, {"dead", VM_UNSURE, VM_RUNNING},
        {"lost", VM_UNSURE, VM_UNSURE},
    };
    struct fixture *f = *state;

    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        bool here = cases[i].at_13_s != VM_LEFT;

        hypervisor_sim_add(f->sim, &a, "web", 1, cpus);
        assert_int_equal(migrate(f, cases[i].to), 0);
        assert_int_equal(control(f, &a, VM_OP_FREEZE), -EALREADY);
        assert_int_equal(migrate(f, "near"), -ENOENT);
        assert_int_equal(sample_at(f, 2 * NSEC_PER_SEC - 1), 1);
        assert_int_equal(f->samples[0].state, VM_MOVING);
        assert_true(hypervisor_sim_runs(f->sim, &a));
        assert_int_equal(sample_at(f, 3 * NSEC_PER_SEC), 1);
        assert_int_equal(f->samples[0].state, cases[i].at_3_s);
        assert_true(hypervisor_sim_n_copies(f->sim, &a) <= 1);
        /* It outlives the driver. */
        driver()->close(f->hv);
        assert_int_equal(driver()->open(&f->hv, &f->env, f->why, 256), 0);
        int n = sample_at(f, 13 * NSEC_PER_SEC);
        assert_int_equal(n, cases[i].at_3_s != VM_LEFT); /* Said once. */
        assert_true(!n || f->samples[0].state == cases[i].at_13_s);
        assert_true(hypervisor_sim_is_here(f->sim, &a) == here);
        if (!here) {
            assert_int_equal(control(f, &a, VM_OP_START), -EALREADY);
            assert_int_equal(control(f, &a, VM_OP_THAW), -ENOENT);
        }
        assert_int_equal(hypervisor_sim_vanish(f->sim, &a), 0);
    }
}

static void
what_can_not_move_is_said(void **state)
{
    struct fixture *f = *state;

    assert_int_equal(migrate(f, "near"), -ENOENT);
    hypervisor_sim_add(f->sim, &a, "web", 1, cpus);
    assert_int_equal(migrate(f, "nowhere"), -EHOSTUNREACH);
    assert_string_equal(f->why, "there is no host \"nowhere\"");
    assert_int_equal(control(f, &a, VM_OP_FREEZE), 0);
    assert_int_equal(migrate(f, "near"), -ENOENT);
    hypervisor_sim_fail(f->sim, -EIO);
    assert_int_equal(migrate(f, "near"), -EIO);
}

/* As a hypervisor would: it is the platform that must not ask for it. */
static void
unsure_vm_that_is_thawed_may_run_twice(void **state)
{
    struct fixture *f = *state;

    hypervisor_sim_add(f->sim, &a, "web", 1, cpus);
    assert_int_equal(migrate(f, "lost"), 0);
    sample_at(f, 3 * NSEC_PER_SEC);
    assert_int_equal(hypervisor_sim_n_copies(f->sim, &a), 1);
    assert_int_equal(control(f, &a, VM_OP_THAW), 0);
    assert_int_equal(hypervisor_sim_n_copies(f->sim, &a), 2);
}

#define T(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int
main(void)
{
    const struct CMUnitTest tests[] = {
        T(vm_that_appears_is_shown_whole),
        T(ended_vm_is_shown_once),
        T(ended_vm_without_room_is_shown_later),
        T(vanished_vm_is_not_shown_at_all),
        T(moved_vcpu_is_shown_where_it_is),
        T(freezing_and_thawing_stop_and_continue_it),
        T(ending_takes_until_the_next_sample),
        T(configured_guest_is_started),
        T(vms_outlive_the_driver),
        T(failing_hypervisor_fails_until_it_is_healed),
        T(senseless_vms_are_refused),
        T(renewed_vm_is_another_instance_since_then),
        T(started_vm_resets_itself_once_if_told_to),
        T(unknown_vms_are_refused),
        T(migrated_vm_is_there_or_here_or_nobody_knows),
        T(what_can_not_move_is_said),
        T(unsure_vm_that_is_thawed_may_run_twice),
    };

    return cmocka_run_group_tests_name("sim", tests, NULL, NULL);
}
