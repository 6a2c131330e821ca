/* SPDX-License-Identifier: Apache-2.0 */
/* What the platform core observes on made-up hardware and VMs: use that only
 * grows, power that is never guessed, VMs that come, move and go. */
#include "tests/unit/broker/platformbench.h"

/* Samples. */

static void
samples_come_every_period(void **state)
{
    start();
    n_told = 0;
    pass(2 * SECOND);
    assert_int_equal(count(MSG_SAMPLE_POWER), 8);
    assert_int_equal(count(MSG_SAMPLE_CPU), 3 * 8);
    assert_in_range(count(MSG_SAMPLE_VM), 2 * 8, 3 * 8);
}

static void
a_vm_s_use_is_told_as_it_grows(void **state)
{
    const struct uuid *web1 = &config.guests[0].uuid;

    start();
    for (int i = 1; i <= 4; i++) {
        hypervisor_sim_set_busy(hypervisor, web1, (uint64_t)i * SECOND / 10);
        pass(SECOND / 4);
    }
    uint64_t busy_ns = 0, available_ns = 0;
    for (int i = 0; i < n_told; i++) {
        if (told[i].type == MSG_SAMPLE_VM &&
            uuid_equal(&told[i].sample_vm.vm, web1)) {
            assert_true(told[i].sample_vm.busy_ns >= busy_ns);
            assert_true(told[i].sample_vm.available_ns >= available_ns);
            busy_ns = told[i].sample_vm.busy_ns;
            available_ns = told[i].sample_vm.available_ns;
        }
    }
    assert_int_equal(busy_ns, 4 * SECOND / 10);
    assert_int_equal(available_ns, SECOND);
}

static void
a_vm_of_two_vcpus_has_twice_the_time(void **state)
{
    start();
    pass(SECOND);
    for (int i = n_told - 1; i >= 0; i--) {
        if (told[i].type == MSG_SAMPLE_VM &&
            uuid_equal(&told[i].sample_vm.vm, &config.guests[1].uuid)) {
            assert_int_equal(told[i].sample_vm.available_ns, 2 * SECOND);
            return;
        }
    }
    fail();
}

static void
cpu_time_that_falls_is_another_run_not_a_debt(void **state)
{
    const struct uuid *web1 = &config.guests[0].uuid;
    uint64_t last = 0;

    start();
    hypervisor_sim_set_busy(hypervisor, web1, 900 * NSEC_PER_MSEC);
    pass(SECOND);
    hypervisor_sim_set_busy(hypervisor, web1, 100 * NSEC_PER_MSEC);
    pass(SECOND);
    for (int i = 0; i < n_told; i++) {
        if (told[i].type == MSG_SAMPLE_VM &&
            uuid_equal(&told[i].sample_vm.vm, web1)) {
            assert_true(told[i].sample_vm.busy_ns >= last);
            last = told[i].sample_vm.busy_ns;
        }
    }
    assert_int_equal(last, SECOND);
}

static void
power_has_source_and_quality_and_unknown_is_never_a_number(void **state)
{
    hardware_sim_set_power(hardware, QUALITY_UNKNOWN, 0);
    start();
    const struct msg *power = find(MSG_SAMPLE_POWER, 0);
    assert_int_equal(power->sample_power.quality, QUALITY_UNKNOWN);
    assert_int_equal(count(MSG_TROUBLE), 1);
    hardware_sim_set_power(hardware, QUALITY_MEASURED, 87000);
    pass(SECOND);
    power = find(MSG_SAMPLE_POWER, -1);
    assert_int_equal(power->sample_power.quality, QUALITY_MEASURED);
    assert_int_equal(power->sample_power.power_mw, 87000);
    assert_string_equal(power->sample_power.source, "sim");
    assert_int_equal(count(MSG_TROUBLE), 2); /* It works again. */
}

static void
a_failing_hypervisor_is_told_once_and_loses_no_vm(void **state)
{
    start();
    hypervisor_sim_fail(hypervisor, -EIO);
    pass(3 * SECOND);
    assert_int_equal(count(MSG_TROUBLE), 1);
    assert_int_equal(count(MSG_VM_GONE), 0);
    hypervisor_sim_fail(hypervisor, 0);
    pass(SECOND);
    assert_string_equal(find(MSG_TROUBLE, -1)->trouble.reason, "works again");
    assert_int_equal(count(MSG_VM_GONE), 0);
}

static void
a_vm_that_ends_or_vanishes_is_told_once(void **state)
{
    start();
    pass(SECOND);
    hypervisor_sim_end(hypervisor, &config.guests[0].uuid);
    hypervisor_sim_vanish(hypervisor, &config.guests[1].uuid);
    pass(2 * SECOND);
    assert_int_equal(count(MSG_VM_GONE), 2);
    n_told = 0;
    pass(SECOND);
    assert_int_equal(count(MSG_VM_GONE), 0);
}

static void
a_vm_that_ended_is_told_though_the_engine_slept(void **state)
{
    start();
    engine_error = -EAGAIN;
    hypervisor_sim_end(hypervisor, &config.guests[0].uuid);
    pass(20 * SECOND);
    engine_error = 0;
    pass(SECOND);
    assert_int_equal(count(MSG_VM_GONE), 1);
}

static void
a_vcpu_that_moves_is_told(void **state)
{
    start();
    hypervisor_sim_move(hypervisor, &config.guests[0].uuid, 0, 2);
    pass(SECOND);
    for (int i = n_told - 1; i >= 0; i--) {
        if (told[i].type == MSG_VM_FOUND &&
            !strcmp(told[i].vm_found.name, "web1")) {
            assert_int_equal(told[i].vm_found.vcpu_cpus[0], 2);
            return;
        }
    }
    fail();
}

static void
an_instance_is_told_once_and_again_when_it_is_another(void **state)
{
    const struct uuid *web1 = &config.guests[0].uuid;

    start();
    pass(SECOND);
    assert_int_equal(count(MSG_VM_INSTANCE), 3);
    assert_true(find(MSG_VM_INSTANCE, 0)->vm_instance.instance != 0);
    n_told = 0;
    hypervisor_sim_renew(hypervisor, web1, now + 5);
    engine_error = -EAGAIN; /* It is told when the engine listens. */
    pass(SECOND);
    engine_error = 0;
    pass(SECOND);
    assert_int_equal(count(MSG_VM_INSTANCE), 1);
    const struct msg *told_now = find(MSG_VM_INSTANCE, 0);
    assert_true(uuid_equal(&told_now->vm_instance.vm, web1));
    assert_int_equal(told_now->vm_instance.since_ns, now - 2 * SECOND + 5);
    assert_int_equal(count(MSG_VM_FOUND), 0);
}

static void
samples_are_dropped_and_counted_while_the_engine_sleeps(void **state)
{
    struct platform_stats stats;

    start();
    engine_error = -EAGAIN;
    pass(100 * SECOND);
    engine_error = 0;
    n_told = 0;
    pass(SECOND / 2);
    platform_stats(platform, &stats);
    assert_true(stats.n_dropped_samples > 400);
    assert_true(n_told < 30); /* None of them waited. */
}

static void
a_long_sleep_is_not_caught_up_with(void **state)
{
    start();
    n_told = 0;
    now += 3600 * SECOND;
    platform_run(platform, now);
    platform_run(platform, now);
    assert_int_equal(count(MSG_SAMPLE_POWER), 1);
    assert_int_equal(platform_deadline(platform), now + SECOND / 4);
}

static void
only_guests_we_started_are_ended(void **state)
{
    start();
    pass(SECOND);
    assert_int_equal(platform_guests_left(platform), 1);
    platform_end_guests(platform, now);
    pass(SECOND);
    assert_int_equal(platform_guests_left(platform), 0);
    assert_int_equal(count(MSG_VM_GONE), 1);
    assert_true(
        uuid_equal(&find(MSG_VM_GONE, 0)->vm_gone.vm, &config.guests[2].uuid));
}

static void
a_guest_just_started_is_waited_for_when_ended(void **state)
{
    start(); /* It starts "own", which no sample has shown yet. */
    platform_end_guests(platform, now);
    assert_int_equal(platform_guests_left(platform), 1);
    pass(SECOND);
    assert_int_equal(platform_guests_left(platform), 0);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(samples_come_every_period),
        TEST(a_vm_s_use_is_told_as_it_grows),
        TEST(a_vm_of_two_vcpus_has_twice_the_time),
        TEST(cpu_time_that_falls_is_another_run_not_a_debt),
        TEST(power_has_source_and_quality_and_unknown_is_never_a_number),
        TEST(a_failing_hypervisor_is_told_once_and_loses_no_vm),
        TEST(a_vm_that_ends_or_vanishes_is_told_once),
        TEST(a_vm_that_ended_is_told_though_the_engine_slept),
        TEST(a_vcpu_that_moves_is_told),
        TEST(an_instance_is_told_once_and_again_when_it_is_another),
        TEST(samples_are_dropped_and_counted_while_the_engine_sleeps),
        TEST(a_long_sleep_is_not_caught_up_with),
        TEST(only_guests_we_started_are_ended),
        TEST(a_guest_just_started_is_waited_for_when_ended),
    };

    return cmocka_run_group_tests_name("sampler", tests, NULL, NULL);
}
