/* SPDX-License-Identifier: Apache-2.0 */
/* The platform core on made-up hardware and VMs: what it tells at its start,
 * what it writes, and that it always finds the way back. */
#include "tests/unit/broker/platformbench.h"

#include "broker/platform/orders.h"

/* Start. */

static void
tells_domains_and_vms_then_ready(void **state)
{
    start();
    const struct msg *domain = find(MSG_DOMAIN, 1);
    assert_int_equal(count(MSG_DOMAIN), 2);
    assert_int_equal(domain->domain.domain, 1);
    assert_string_equal(domain->domain.driver, "sim");
    assert_int_equal(domain->domain.n_cpus, 2);
    assert_int_equal(domain->domain.cpus[1], 2);
    assert_int_equal(domain->domain.n_freqs_khz, 5);
    assert_int_equal(domain->domain.freqs_khz[4], 1000);
    assert_int_equal(domain->domain.pstate, 0);
    assert_int_equal(domain->domain.emulated, 1);

    const struct msg *vm = find(MSG_VM_FOUND, 1);
    assert_int_equal(count(MSG_VM_FOUND), 2);
    assert_true(uuid_equal(&vm->vm_found.vm, &config.guests[1].uuid));
    assert_string_equal(vm->vm_found.name, "web2");
    assert_string_equal(vm->vm_found.hypervisor, "sim");
    assert_int_equal(vm->vm_found.n_vcpu_cpus, 2);
    assert_int_equal(vm->vm_found.vcpu_cpus[1], 2);
    assert_int_equal(vm->vm_found.state, VM_RUNNING);

    assert_int_equal(count(MSG_READY), 1);
    assert_int_equal(count(MSG_TROUBLE), 0);
    assert_ptr_equal(find(MSG_READY, 0), &told[n_told - 1]);
}

static void
all_it_tells_can_be_sent(void **state)
{
    uint8_t data[MSG_SIZE_MAX];

    start();
    hardware_sim_set_power(hardware, QUALITY_MODELLED, 123456);
    set(0, 1);
    set(0, 9);
    hypervisor_sim_fail(hypervisor, -EIO);
    pass(SECOND);
    for (int i = 0; i < n_told; i++) {
        if (msg_encode(&told[i], MSG_VERSION_MAX, data, sizeof data, why,
                       sizeof why) < 0) {
            fail_msg("%s: %s", msg_name(told[i].type), why);
        }
    }
}

static void
starts_only_guests_that_have_a_command_and_do_not_run(void **state)
{
    start();
    assert_int_equal(count(MSG_VM_FOUND), 2);
    assert_int_equal(count(MSG_TROUBLE), 0);
    pass(SECOND);
    assert_int_equal(count(MSG_VM_FOUND), 3);
    assert_string_equal(find(MSG_VM_FOUND, 2)->vm_found.name, "own");
}

static void
a_guest_found_running_is_not_started_again(void **state)
{
    const struct guest_config *own = &config.guests[2];

    assert_int_equal(
        hypervisor_sim_add(hypervisor, &own->uuid, own->name, 1, own->vcpu_cpu),
        0);
    start();
    pass(SECOND);
    assert_int_equal(count(MSG_VM_FOUND), 3);
    assert_int_equal(count(MSG_TROUBLE), 0);
}

static void
a_message_is_kept_while_the_engine_takes_none(void **state)
{
    engine_error = -EAGAIN;
    start();
    pass(SECOND);
    assert_int_equal(n_told, 0);
    engine_error = 0;
    pass(NSEC_PER_MSEC);
    assert_int_equal(count(MSG_DOMAIN), 2);
    assert_int_equal(count(MSG_READY), 1);
    assert_int_equal(told[0].type, MSG_DOMAIN);
}

static void
a_driver_that_is_not_here_is_told_and_left_out(void **state)
{
    config.power = hardware_find("rapl");
    if (!config.power) {
        skip();
    }
    options_init(&config.power_options, config.power->options);
    env.sys_dirfd = saved_dirfd; /* An empty /sys. */
    start();
    assert_int_equal(count(MSG_TROUBLE), 1);
    assert_string_equal(find(MSG_TROUBLE, 0)->trouble.where, "rapl");
    assert_string_not_equal(find(MSG_TROUBLE, 0)->trouble.reason, "");
    assert_int_equal(count(MSG_READY), 1);
    pass(SECOND);
    assert_int_equal(count(MSG_SAMPLE_POWER), 0);
    assert_int_equal(set(0, 2)->error, 0);
}

static void
a_domain_with_a_cpu_of_others_is_left_alone(void **state)
{
    config.n_cpus = 2; /* CPU 2 is no longer ours. */
    start();
    assert_int_equal(count(MSG_DOMAIN), 1);
    assert_int_equal(find(MSG_DOMAIN, 0)->domain.cpus[0], 0);
    assert_int_equal(count(MSG_TROUBLE), 1);
    assert_int_equal(set(1, 2)->error, ERANGE);
    assert_int_equal(hardware_sim_n_sets(hardware), 0);
}

static void
without_a_configuration_it_changes_nothing(void **state)
{
    config_fini(&config);
    assert_int_equal(config_default(&config, why, sizeof why), 0);
    start();
    assert_int_equal(count(MSG_DOMAIN), 0);
    assert_int_equal(count(MSG_READY), 1);
    assert_int_equal(set(0, 1)->error, ENODEV);
    assert_int_equal(control(&(struct uuid){{1}}, VM_OP_END)->error, ENODEV);
    assert_int_equal(hardware_sim_n_sets(hardware), 0);
}

/* Actions. */

static void
a_pstate_is_set_and_read_back_with_a_time_at_each_step(void **state)
{
    start();
    const struct msg_outcome *outcome = set(1, 3);
    assert_int_equal(outcome->error, 0);
    assert_int_equal(outcome->pstate, 3);
    assert_int_equal(outcome->received_ns, now);
    assert_int_equal(outcome->checked_ns, now);
    assert_int_equal(outcome->written_ns, now);
    assert_int_equal(outcome->read_ns, now);
    assert_int_equal(hardware_sim_pstate(hardware, 2), 3);
    assert_int_equal(hardware_sim_pstate(hardware, 0), 0);
}

static nsec_t
ticking_clock(void)
{
    return ++now;
}

static void
the_steps_of_an_action_follow_each_other(void **state)
{
    env.clock = ticking_clock;
    start();
    const struct msg_outcome *outcome = set(0, 2);
    assert_true(outcome->received_ns < outcome->checked_ns);
    assert_true(outcome->checked_ns < outcome->written_ns);
    assert_true(outcome->written_ns < outcome->read_ns);
}

static void
what_the_limits_forbid_is_not_written(void **state)
{
    start();
    const struct msg_outcome *outcome = set(0, 4);
    assert_int_equal(outcome->error, EPERM);
    assert_string_equal(outcome->reason,
                        "the configuration allows p-states 0 to 3");
    assert_int_equal(outcome->checked_ns, 0);
    assert_int_equal(outcome->written_ns, 0);
    assert_int_equal(set(2, 1)->error, ERANGE);
    assert_int_equal(set(65535, 1)->error, ERANGE);
    assert_int_equal(set(0, 15)->error, ERANGE);
    assert_int_equal(hardware_sim_n_sets(hardware), 0);
    assert_false(is_saved("pstate-cpu0"));
}

static void
too_many_writes_are_refused_until_time_passes(void **state)
{
    int n = 0;

    start();
    while (!set(0, (uint32_t)n % 3)->error) {
        n++;
    }
    assert_int_equal(n, 20);
    assert_int_equal(find(MSG_OUTCOME, -1)->outcome.error, EBUSY);
    assert_int_equal(set(1, 1)->error, 0); /* Another domain may. */
    now += SECOND;
    assert_int_equal(set(0, 1)->error, 0);
}

static void
a_write_that_fails_says_so(void **state)
{
    start();
    hardware_sim_fault(hardware, 0, SIM_FAULT_FAILS);
    const struct msg_outcome *outcome = set(0, 2);
    assert_int_equal(outcome->error, EIO);
    assert_int_equal(outcome->written_ns, 0);
    assert_string_not_equal(outcome->reason, "");
}

static void
a_write_that_does_nothing_is_found_out(void **state)
{
    start();
    hardware_sim_fault(hardware, 0, SIM_FAULT_STICKS);
    const struct msg_outcome *outcome = set(0, 2);
    assert_int_equal(outcome->error, EIO);
    assert_int_equal(outcome->pstate, 0);
    assert_string_equal(outcome->reason,
                        "sim was told p-state 2 and reads back 0");
}

static void
hardware_that_is_a_little_late_is_read_again(void **state)
{
    start();
    hardware_sim_fault(hardware, 0, SIM_FAULT_LATE);
    assert_int_equal(set(0, 2)->error, 0);
}

static void
hardware_that_is_gone_fails_without_a_crash(void **state)
{
    start();
    hardware_sim_fault(hardware, 0, SIM_FAULT_GONE);
    assert_int_equal(set(0, 2)->error, ENODEV);
    pass(SECOND);
}

static void
every_action_has_its_outcome_though_the_engine_sleeps(void **state)
{
    int n = 0;

    start();
    n_told = 0;
    engine_error = -EAGAIN;
    while (platform_has_room(platform)) {
        struct msg msg = {.type = MSG_SET_PSTATE,
                          .set_pstate = {.command = (uint64_t)++n,
                                         .cause = 1,
                                         .domain = 0,
                                         .pstate = 1}};

        platform_on_msg(platform, &msg, now);
        assert_true(n < 10000);
    }
    pass(SECOND);
    engine_error = 0;
    pass(NSEC_PER_MSEC);
    assert_int_equal(count(MSG_OUTCOME), n);
    for (int i = 0; i < n; i++) {
        assert_int_equal(find(MSG_OUTCOME, i)->outcome.command, i + 1);
    }
    assert_true(platform_has_room(platform));
}

/* Repeated orders. */

static struct msg
order_set(uint32_t domain, uint32_t pstate)
{
    return (struct msg){.type = MSG_SET_PSTATE,
                        .set_pstate = {.command = ++command,
                                       .cause = 7,
                                       .domain = domain,
                                       .pstate = pstate}};
}

static void
an_action_that_comes_again_is_answered_again_and_not_done_again(void **state)
{
    start();
    struct msg msg = order_set(0, 2);
    platform_on_msg(platform, &msg, now);
    struct msg_outcome first = find(MSG_OUTCOME, -1)->outcome;
    uint64_t n_sets = hardware_sim_n_sets(hardware);
    hardware_sim_set_pstate(hardware, 0, 1); /* Somebody else's doing stays. */
    for (int i = 0; i < 3; i++) {
        pass(SECOND);
        n_told = 0;
        platform_on_msg(platform, &msg, now);
        assert_int_equal(count(MSG_OUTCOME), 1);
        assert_memory_equal(&find(MSG_OUTCOME, 0)->outcome, &first,
                            sizeof first);
    }
    assert_int_equal(hardware_sim_n_sets(hardware), n_sets);
    assert_int_equal(hardware_sim_pstate(hardware, 0), 1);
}

/* One number is one order, whatever it says the second time. */
static void
an_orders_number_can_not_be_used_for_another(void **state)
{
    start();
    struct msg msg = order_set(0, 2);
    platform_on_msg(platform, &msg, now);
    struct msg other = {.type = MSG_VM_CONTROL,
                        .vm_control = {.command = command,
                                       .cause = 9,
                                       .vm = config.guests[0].uuid,
                                       .op = VM_OP_END,
                                       .expires_ns = INT64_MAX}};
    platform_on_msg(platform, &other, now);
    pass(SECOND);
    assert_true(hypervisor_sim_runs(hypervisor, &config.guests[0].uuid));
    assert_int_equal(find(MSG_OUTCOME, -1)->outcome.cause, 7);
}

static void
an_action_that_failed_fails_again_without_being_tried(void **state)
{
    struct platform_stats stats;

    start();
    struct msg msg = order_set(0, 4); /* The limit is 3. */
    platform_on_msg(platform, &msg, now);
    uint64_t error = find(MSG_OUTCOME, -1)->outcome.error;
    assert_int_not_equal(error, 0);
    platform_on_msg(platform, &msg, now);
    assert_int_equal(count(MSG_OUTCOME), 2);
    assert_int_equal(find(MSG_OUTCOME, -1)->outcome.error, error);
    platform_stats(platform, &stats);
    assert_int_equal(stats.n_repeated, 1);
}

static void
an_order_that_is_forgotten_is_refused(void **state)
{
    start();
    struct msg old = order_set(0, 2);
    platform_on_msg(platform, &old, now);
    for (int i = 0; i < ORDERS_KEPT; i++) {
        release(1);
    }
    uint64_t n_sets = hardware_sim_n_sets(hardware);
    platform_on_msg(platform, &old, now);
    const struct msg_outcome *outcome = &find(MSG_OUTCOME, -1)->outcome;
    assert_int_equal(outcome->command, old.set_pstate.command);
    assert_int_equal(outcome->error, ESTALE);
    assert_string_not_equal(outcome->reason, "");
    assert_int_equal(hardware_sim_n_sets(hardware), n_sets);
}

/* The way back. */

static void
what_was_found_is_on_disk_before_the_first_write(void **state)
{
    start();
    hardware_sim_set_pstate(hardware, 0, 1);
    hardware_sim_fault(hardware, 0, SIM_FAULT_FAILS);
    set(0, 2);
    assert_true(is_saved("pstate-cpu0"));
}

static void
nothing_is_written_if_what_was_found_can_not_be_saved(void **state)
{
    env.saved_dirfd = 999; /* Not open. */
    start();
    const struct msg_outcome *outcome = set(0, 2);
    assert_int_equal(outcome->error, EBADF);
    assert_int_equal(hardware_sim_n_sets(hardware), 0);
    assert_int_equal(hardware_sim_pstate(hardware, 0), 0);
}

static void
release_puts_back_what_was_found(void **state)
{
    hardware_sim_set_pstate(hardware, 1, 2);
    start();
    set(1, 0);
    set(1, 3);
    const struct msg_outcome *outcome = release(1);
    assert_int_equal(outcome->error, 0);
    assert_int_equal(outcome->pstate, 2);
    assert_int_equal(hardware_sim_pstate(hardware, 1), 2);
    assert_false(is_saved("pstate-cpu1"));
}

static void
release_of_what_was_never_changed_writes_nothing(void **state)
{
    start();
    assert_int_equal(release(0)->error, 0);
    assert_int_equal(release(9)->error, ERANGE);
    assert_int_equal(hardware_sim_n_sets(hardware), 0);
}

static void
a_release_that_fails_keeps_the_saved_state(void **state)
{
    struct platform_stats stats;

    start();
    set(0, 2);
    hardware_sim_fault(hardware, 0, SIM_FAULT_FAILS);
    assert_int_equal(release(0)->error, EIO);
    assert_true(is_saved("pstate-cpu0"));
    platform_stats(platform, &stats);
    assert_int_equal(stats.n_changed_domains, 1);
    hardware_sim_fault(hardware, 0, SIM_FAULT_NONE);
    assert_int_equal(release(0)->error, 0);
    assert_int_equal(hardware_sim_pstate(hardware, 0), 0);
}

static void
leaving_puts_everything_back(void **state)
{
    hardware_sim_set_pstate(hardware, 0, 1);
    hardware_sim_set_pstate(hardware, 1, 2);
    start();
    set(0, 3);
    set(1, 0);
    assert_int_equal(platform_destroy(platform), 0);
    platform = NULL;
    assert_int_equal(hardware_sim_pstate(hardware, 0), 1);
    assert_int_equal(hardware_sim_pstate(hardware, 1), 2);
    assert_false(is_saved("pstate-cpu0"));
    assert_false(is_saved("pstate-cpu1"));
}

static void
leaving_counts_what_could_not_be_put_back(void **state)
{
    start();
    set(0, 3);
    set(1, 3);
    hardware_sim_fault(hardware, 1, SIM_FAULT_FAILS);
    assert_int_equal(platform_destroy(platform), 1);
    platform = NULL;
    assert_int_equal(hardware_sim_pstate(hardware, 0), 0);
    assert_true(is_saved("pstate-cpu1"));
}

/* A crash: the process is gone, hardware and files stay. */
static void
crash(void)
{
    int copy = dup(saved_dirfd);
    char keep[2][128];

    assert_true(copy >= 0);
    for (int i = 0; i < 2; i++) {
        if (sysfs_read(copy, i ? "pstate-cpu1" : "pstate-cpu0", keep[i],
                       sizeof keep[i]) < 0) {
            keep[i][0] = '\0';
        }
    }
    uint32_t pstates[] = {hardware_sim_pstate(hardware, 0),
                          hardware_sim_pstate(hardware, 1)};
    platform_destroy(platform);
    platform = NULL;
    for (uint32_t i = 0; i < 2; i++) {
        hardware_sim_set_pstate(hardware, i, pstates[i]);
        if (keep[i][0]) {
            int fd = openat(copy, i ? "pstate-cpu1" : "pstate-cpu0",
                            O_WRONLY | O_CREAT | O_TRUNC, 0600);

            assert_true(dprintf(fd, "%s\n", keep[i]) > 0);
            close(fd);
        }
    }
    close(copy);
}

static void
restoring_puts_back_what_a_crash_left(void **state)
{
    hardware_sim_set_pstate(hardware, 1, 2);
    start();
    set(0, 3);
    set(1, 0);
    crash();
    assert_int_equal(hardware_sim_pstate(hardware, 0), 3);
    assert_int_equal(platform_restore(&config, &env, why, sizeof why), 2);
    assert_int_equal(hardware_sim_pstate(hardware, 0), 0);
    assert_int_equal(hardware_sim_pstate(hardware, 1), 2);
    assert_int_equal(platform_restore(&config, &env, why, sizeof why), 0);
}

static void
restoring_goes_by_the_file_not_by_the_configuration(void **state)
{
    start();
    set(0, 3);
    crash();
    config_fini(&config);
    assert_int_equal(config_default(&config, why, sizeof why), 0);
    assert_int_equal(platform_restore(&config, &env, why, sizeof why), 1);
    assert_int_equal(hardware_sim_pstate(hardware, 0), 0);
}

static void
restoring_keeps_files_it_can_not_use_and_says_so(void **state)
{
    static const char *const texts[] = {
        "driver nosuch\ncpus 0\nstate x\nend\n",
        "driver sim\ncpus 0 1\nstate x\nend\n",
        "driver sim\ncpus 0\nstate nonsense\nend\n",
        "driver rapl\ncpus 0\nstate x\nend\n",
        "rubbish",
    };

    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        int fd = openat(saved_dirfd, "pstate-cpu0",
                        O_WRONLY | O_CREAT | O_TRUNC, 0600);

        assert_true(dprintf(fd, "%s", texts[i]) > 0);
        close(fd);
        why[0] = '\0';
        assert_int_equal(platform_restore(&config, &env, why, sizeof why),
                         -EIO);
        assert_non_null(strstr(why, "pstate-cpu0 is kept: "));
        assert_true(is_saved("pstate-cpu0"));
    }
    assert_int_equal(hardware_sim_n_sets(hardware), 0);
}

static void
restoring_goes_on_after_a_file_it_can_not_use(void **state)
{
    start();
    set(1, 3);
    crash();
    int fd = openat(saved_dirfd, "a-first", O_WRONLY | O_CREAT, 0600);
    assert_true(dprintf(fd, "rubbish") > 0);
    close(fd);
    assert_int_equal(platform_restore(&config, &env, why, sizeof why), -EIO);
    assert_int_equal(hardware_sim_pstate(hardware, 1), 0);
    assert_false(is_saved("pstate-cpu1"));
}

static void
what_an_earlier_broker_found_stays_what_is_put_back(void **state)
{
    hardware_sim_set_pstate(hardware, 0, 2);
    start();
    set(0, 3);
    crash(); /* And nobody restores. */
    start();
    set(0, 1);
    assert_int_equal(release(0)->pstate, 2);
    assert_false(is_saved("pstate-cpu0"));
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(tells_domains_and_vms_then_ready),
        TEST(all_it_tells_can_be_sent),
        TEST(starts_only_guests_that_have_a_command_and_do_not_run),
        TEST(a_guest_found_running_is_not_started_again),
        TEST(a_message_is_kept_while_the_engine_takes_none),
        TEST(a_driver_that_is_not_here_is_told_and_left_out),
        TEST(a_domain_with_a_cpu_of_others_is_left_alone),
        TEST(without_a_configuration_it_changes_nothing),
        TEST(a_pstate_is_set_and_read_back_with_a_time_at_each_step),
        TEST(the_steps_of_an_action_follow_each_other),
        TEST(what_the_limits_forbid_is_not_written),
        TEST(too_many_writes_are_refused_until_time_passes),
        TEST(a_write_that_fails_says_so),
        TEST(a_write_that_does_nothing_is_found_out),
        TEST(hardware_that_is_a_little_late_is_read_again),
        TEST(hardware_that_is_gone_fails_without_a_crash),
        TEST(every_action_has_its_outcome_though_the_engine_sleeps),
        TEST(an_action_that_comes_again_is_answered_again_and_not_done_again),
        TEST(an_orders_number_can_not_be_used_for_another),
        TEST(an_action_that_failed_fails_again_without_being_tried),
        TEST(an_order_that_is_forgotten_is_refused),
        TEST(what_was_found_is_on_disk_before_the_first_write),
        TEST(nothing_is_written_if_what_was_found_can_not_be_saved),
        TEST(release_puts_back_what_was_found),
        TEST(release_of_what_was_never_changed_writes_nothing),
        TEST(a_release_that_fails_keeps_the_saved_state),
        TEST(leaving_puts_everything_back),
        TEST(leaving_counts_what_could_not_be_put_back),
        TEST(restoring_puts_back_what_a_crash_left),
        TEST(restoring_goes_by_the_file_not_by_the_configuration),
        TEST(restoring_keeps_files_it_can_not_use_and_says_so),
        TEST(restoring_goes_on_after_a_file_it_can_not_use),
        TEST(what_an_earlier_broker_found_stays_what_is_put_back),
    };

    return cmocka_run_group_tests_name("platform", tests, NULL, NULL);
}
