/* SPDX-License-Identifier: Apache-2.0 */
/* What the engine does when the journal fails, when somebody lies or floods,
 * when people ask for too much; and that it settles after any storm. */
#include "base/prng.h"
#include "tests/unit/broker/enginebench.h"

/* The journal fails. */

static void
failing_journal_makes_read_only_until_it_works(void **state)
{
    struct bench *bench = *state;

    hold_at(bench, "3");
    bench->journal->error = -ENOSPC;
    bench->journal->failing = true;
    epoch(bench, 0.5);
    assert_true(status_of(bench).read_only);
    assert_int_equal(bench->last.type, MSG_RELEASE);
    assert_non_null(strstr(status_of(bench).trouble, "disk full"));
    assert_non_null(strstr(bench->line, "\"read_only\":true"));
    obey(bench);
    uint64_t n_sent = bench->n_sent;
    tell_notice(bench, 0);
    run(bench);
    epoch(bench, 0.5);
    assert_int_equal(bench->n_sent, n_sent);
    bench->journal->error = 0;
    bench->journal->failing = false;
    epoch(bench, 0.5);
    run(bench);
    assert_false(status_of(bench).read_only);
    assert_non_null(fake_last(bench->journal, JOURNAL_EVENT, "JOURNAL_BACK"));
    assert_int_equal(bench->n_sent, n_sent + 1);
    assert_int_equal(bench->last.set_pstate.pstate, 3);
}

static void
policy_begins_afresh_after_read_only(void **state)
{
    struct bench *bench = *state;

    hold_at(bench, "3");
    tell_notice(bench, 0);
    run(bench);
    obey(bench);
    assert_int_equal(status_of(bench).host->domains[0].pstate, 2);
    bench->journal->failing = true;
    epoch(bench, 0.9);
    obey(bench);
    bench->journal->failing = false;
    epoch(bench, 0.9);
    run(bench);
    assert_int_equal(bench->last.type, MSG_SET_PSTATE);
    assert_int_equal(bench->last.set_pstate.pstate, 3);
}

static void
row_not_taken_makes_read_only_at_the_next_turn(void **state)
{
    struct bench *bench = *state;

    hold_at(bench, "3");
    bench->journal->error = -ENOBUFS;
    tell_notice(bench, 0);
    run(bench);
    assert_true(status_of(bench).read_only);
    assert_int_equal(bench->last.type, MSG_RELEASE);
    /* It is still full when it is tried. */
    epoch(bench, 0.5);
    assert_true(status_of(bench).read_only);
    bench->journal->error = 0;
    epoch(bench, 0.5);
    assert_false(status_of(bench).read_only);
}

/* What nobody may make it do. */

static void
unknown_vm_is_refused_and_said(void **state)
{
    struct bench *bench = *state;
    struct msg msg = message(MSG_GUEST_NOTICE);

    hold_at(bench, "3");
    uint64_t n_sent = bench->n_sent;
    msg.guest_notice.vm.byte[0] = 99;
    msg.guest_notice.cause = ++bench->causes;
    tell(bench, &msg);
    run(bench);
    assert_int_equal(bench->n_sent, n_sent);
    assert_non_null(strstr(status_of(bench).trouble, "not here"));
}

static void
unknown_vms_do_not_flood_the_journal(void **state)
{
    struct bench *bench = *state;
    uint64_t n = bench->journal->n;

    for (unsigned i = 0; i < 10000; i++) {
        struct msg msg = message(MSG_GUEST_ALARM);
        msg.guest_alarm.vm.byte[0] = 99;
        msg.guest_alarm.cause = ++bench->causes;
        tell(bench, &msg);
    }
    assert_in_range(bench->journal->n - n, 1, 100);
}

static void
guest_that_floods_notices_is_not_heard(void **state)
{
    struct bench *bench = *state;

    hold_at(bench, "4");
    tell_up(bench, 1);
    epoch(bench, 0.9);
    uint64_t n = bench->journal->n, n_sent = bench->n_sent;
    for (unsigned i = 0; i < 1000; i++) {
        tell_notice(bench, 0);
        run(bench);
        if (bench->n_sent > n_sent) {
            obey(bench);
            n_sent = bench->n_sent;
        }
    }
    assert_in_range(bench->journal->n - n, 1, 40);
    assert_int_equal(status_of(bench).counts->n_notices, 1000);
    /* The other one is. */
    uint64_t cause = tell_notice(bench, 1);
    run(bench);
    assert_int_not_equal(fake_count(bench->journal, cause), 0);
    /* And the next epoch the first is, too. */
    epoch(bench, 0.9);
    cause = tell_notice(bench, 0);
    assert_int_equal(fake_count(bench->journal, cause), 1);
}

/* Or it could hide what is said of it behind what it says. */
static void
guest_that_floods_notices_is_alarmed_still(void **state)
{
    struct bench *bench = *state;

    tell_up(bench, 1);
    epoch(bench, 0.9);
    for (unsigned i = 0; i < 100; i++) {
        tell_notice(bench, 0);
    }
    uint64_t n = bench->journal->n;
    for (unsigned i = 0; i < 100; i++) {
        struct msg msg = message(MSG_GUEST_ALARM);
        msg.guest_alarm.vm = bench->guests[0].uuid;
        msg.guest_alarm.cause = ++bench->causes;
        tell(bench, &msg);
    }
    assert_int_equal(bench->journal->n - n, 2);
    assert_non_null(fake_last(bench->journal, JOURNAL_EVENT, "GUEST_ALARM"));
}

static void
full_vm_table_refuses_the_next(void **state)
{
    struct bench *bench = *state;
    uint32_t max = status_of(bench).host->max_vms;

    for (uint32_t i = 0; i < max; i++) {
        struct msg msg = message(MSG_VM_FOUND);
        msg.vm_found.vm.byte[1] = (uint8_t)(i + 1);
        snprintf(msg.vm_found.name, sizeof msg.vm_found.name, "new%" PRIu32, i);
        tell(bench, &msg);
    }
    assert_int_equal(status_of(bench).host->n_vms, max);
    assert_non_null(fake_last(bench->journal, JOURNAL_EVENT, "VM_REFUSED"));
    /* One goes, and there is room again. */
    struct msg gone = message(MSG_VM_GONE), found = message(MSG_VM_FOUND);
    gone.vm_gone.vm.byte[1] = 1;
    tell(bench, &gone);
    assert_int_equal(status_of(bench).host->n_vms, max - 1);
    found.vm_found.vm.byte[2] = 1;
    strcpy(found.vm_found.name, "late");
    tell(bench, &found);
    assert_non_null(host_vm_by_name(status_of(bench).host, "late"));
    run(bench);
}

static void
senseless_domain_is_left_alone(void **state)
{
    struct bench *bench = *state;
    struct msg good = message(MSG_DOMAIN), bad;

    good.domain.domain = 5;
    good.domain.n_cpus = 1;
    good.domain.cpus[0] = 1;
    good.domain.n_freqs_khz = 2;
    good.domain.freqs_khz[0] = 2000;
    good.domain.freqs_khz[1] = 1000;
    bad = good;
    bad.domain.n_freqs_khz = 0;
    tell(bench, &bad);
    bad = good;
    bad.domain.pstate = 2;
    tell(bench, &bad);
    bad = good;
    bad.domain.freqs_khz[1] = 2000;
    tell(bench, &bad);
    bad = good;
    bad.domain.cpus[0] = 9; /* Not one of ours. */
    tell(bench, &bad);
    assert_int_equal(status_of(bench).host->n_domains, 2);
    assert_int_not_equal(status_of(bench).trouble[0], 0);
    tell(bench, &good);
    assert_int_equal(status_of(bench).host->n_domains, 3);
}

static void
message_not_for_the_engine_is_said(void **state)
{
    struct bench *bench = *state;
    struct msg msg = message(MSG_SET_PSTATE);

    tell(bench, &msg);
    run(bench);
    assert_int_equal(bench->n_sent, 0);
    assert_non_null(strstr(status_of(bench).trouble, "not for the engine"));
}

static void
nothing_is_done_before_the_platform_is_ready(void **state)
{
    struct bench *bench = *state;
    struct engine *engine = NULL;

    engine_destroy(bench->engine);
    assert_int_equal(engine_create(&engine, &bench->config, &bench->port,
                                   bench->journal, bench->now),
                     0);
    bench->engine = engine;
    tell_domain(bench, 0, 0);
    tell_found(bench, 0, VM_RUNNING);
    tell_up(bench, 0);
    tell_notice(bench, 0);
    run(bench);
    assert_int_equal(bench->n_sent, 0);
    struct msg ready = message(MSG_READY);
    tell(bench, &ready);
    run(bench);
    assert_int_equal(bench->n_sent, 1);
}

static void
policy_is_asked_as_soon_as_the_platform_is_ready(void **state)
{
    struct bench *bench = *state;
    struct engine *engine = NULL;
    char why[160];

    engine_destroy(bench->engine);
    bench->config.policy = policy_find("none");
    options_init(&bench->config.policy_options, bench->config.policy->options);
    options_set(&bench->config.policy_options, "pin_fastest", "true", why,
                sizeof why);
    assert_int_equal(engine_create(&engine, &bench->config, &bench->port,
                                   bench->journal, bench->now),
                     0);
    bench->engine = engine;
    run(bench);
    bench->now += 10 * MS;
    tell_domain(bench, 0, 3);
    tell_found(bench, 0, VM_RUNNING);
    struct msg ready = message(MSG_READY);
    tell(bench, &ready);
    run(bench); /* Not only at the next epoch's end. */
    assert_int_equal(bench->n_sent, 1);
    assert_int_equal(bench->last.set_pstate.pstate, 0);
}

static void
without_policy_and_cpus_it_observes(void **state)
{
    struct bench *bench = *state;
    struct engine *engine = NULL;

    engine_destroy(bench->engine);
    bench->config.n_cpus = 0;
    bench->config.policy = NULL;
    assert_int_equal(engine_create(&engine, &bench->config, &bench->port,
                                   bench->journal, bench->now),
                     0);
    bench->engine = engine;
    tell_domain(bench, 0, 0);
    struct msg ready = message(MSG_READY);
    tell(bench, &ready);
    tell_up(bench, 0);
    for (unsigned i = 0; i < 5; i++) {
        tell_notice(bench, 0);
        tell_report(bench, 0, 100, 10);
        bench->now += EPOCH;
        run(bench);
    }
    assert_int_equal(bench->n_sent, 0);
    assert_string_equal(status_of(bench).policy->name, "none");
    assert_int_equal(
        host_vm(status_of(bench).host, &bench->guests[0].uuid)->n_requests,
        500);
}

/* Operations on VMs. */

static void
vm_operation_is_journalled_then_sent(void **state)
{
    struct bench *bench = *state;
    char why[160] = "";

    assert_int_equal(engine_control_vm(bench->engine, &bench->guests[1].uuid,
                                       VM_OP_FREEZE, bench->now, why,
                                       sizeof why),
                     0);
    assert_int_equal(bench->last.type, MSG_VM_CONTROL);
    assert_int_equal(bench->last.vm_control.op, VM_OP_FREEZE);
    assert_int_equal(bench->journal->n_syncs, 0);
    tell_outcome(bench, 0, 0);
    assert_int_equal(fake_count(bench->journal, bench->last.vm_control.cause),
                     3);
    assert_int_equal(engine_control_vm(bench->engine, &bench->guests[1].uuid,
                                       VM_OP_END, bench->now, why, sizeof why),
                     0);
    assert_int_equal(bench->journal->n_syncs, 1); /* It can't be undone. */
    tell_outcome(bench, 0, 0);
    assert_int_equal(engine_migrate_vm(bench->engine, &bench->guests[1].uuid,
                                       "host-b", bench->now, why, sizeof why),
                     0);
    assert_int_equal(bench->last.vm_control.op, VM_OP_MIGRATE);
    assert_string_equal(bench->last.vm_control.to, "host-b");
    assert_int_equal(bench->journal->n_syncs, 2);
}

static void
vm_operation_without_a_journal_is_refused(void **state)
{
    struct bench *bench = *state;
    char why[160] = "";

    bench->journal->error = -EIO;
    assert_int_equal(engine_control_vm(bench->engine, &bench->guests[1].uuid,
                                       VM_OP_END, bench->now, why, sizeof why),
                     -EIO);
    assert_int_not_equal(why[0], 0);
    run(bench);
    assert_int_equal(engine_control_vm(bench->engine, &bench->guests[1].uuid,
                                       VM_OP_FREEZE, bench->now, why,
                                       sizeof why),
                     -EROFS);
    assert_int_equal(bench->n_sent, 0);
}

static void
vm_operations_are_bounded(void **state)
{
    struct bench *bench = *state;
    struct uuid nobody = {{9}};
    char why[160];
    int error = 0;

    assert_int_equal(engine_control_vm(bench->engine, &nobody, VM_OP_START,
                                       bench->now, why, sizeof why),
                     -ENOENT);
    for (unsigned i = 0; i < 100 && !error; i++) {
        error = engine_control_vm(bench->engine, &bench->guests[1].uuid,
                                  VM_OP_FREEZE, bench->now, why, sizeof why);
    }
    assert_int_equal(error, -EBUSY);
    bench->now += 60 * NSEC_PER_SEC;
    assert_int_equal(engine_control_vm(bench->engine, &bench->guests[1].uuid,
                                       VM_OP_THAW, bench->now, why, sizeof why),
                     0);
}

/* Chance. */

/* A random event, as msg_decode() could let it through. */
static void
tell_anything(struct bench *bench, struct prng *chance)
{
    uint32_t i = (uint32_t)prng_below(chance, 2);
    struct msg msg;

    switch (prng_below(chance, 14)) {
    case 0:
        tell_up(bench, i);
        break;
    case 1:
        msg = message(MSG_GUEST_LOST);
        msg.guest_lost.vm = bench->guests[i].uuid;
        msg.guest_lost.cause = ++bench->causes;
        tell(bench, &msg);
        break;
    case 2:
    case 3:
        tell_notice(bench, i);
        break;
    case 4:
        tell_report(bench, i, prng_below(chance, MSG_COUNT_MAX),
                    prng_below(chance, MSG_COUNT_MAX));
        break;
    case 5:
        tell_found(bench, i, (enum vm_state)prng_below(chance, 3));
        break;
    case 6:
        msg = message(MSG_VM_GONE);
        msg.vm_gone.vm = bench->guests[i].uuid;
        tell(bench, &msg);
        break;
    case 7:
        tell_domain(bench, i, (uint32_t)prng_below(chance, N_PSTATES));
        break;
    case 8:
        msg = message(MSG_SAMPLE_VM);
        msg.sample_vm.vm = bench->guests[i].uuid;
        msg.sample_vm.busy_ns = prng_u64(chance);
        msg.sample_vm.available_ns = prng_u64(chance);
        tell(bench, &msg);
        break;
    case 9:
        msg = message(MSG_SAMPLE_CPU);
        msg.sample_cpu.cpu = prng_below(chance, 3);
        msg.sample_cpu.busy_ns = prng_u64(chance);
        msg.sample_cpu.available_ns = prng_u64(chance);
        tell(bench, &msg);
        break;
    case 10:
        if (bench->n_sent) {
            obey(bench);
        }
        break;
    case 11:
        if (bench->n_sent) {
            tell_outcome(bench, (int)prng_below(chance, 3),
                         (uint32_t)prng_below(chance, 16));
        }
        break;
    case 12:
        bench->busy = prng_below(chance, 4) ? 0 : -EAGAIN;
        break;
    case 13:
        bench->journal->error = prng_below(chance, 8) ? 0 : -EIO;
        bench->journal->failing = bench->journal->error != 0;
        break;
    }
}

static void
check_action(struct bench *bench)
{
    const struct msg *msg = &bench->last;
    char text[CAUSE_TEXT_SIZE];

    assert_true(msg->type == MSG_SET_PSTATE || msg->type == MSG_RELEASE);
    if (msg->type == MSG_SET_PSTATE) {
        assert_in_range(msg->set_pstate.domain, 0, 1);
        assert_in_range(msg->set_pstate.pstate, 0, N_PSTATES - 1);
        assert_true(msg->set_pstate.cause != CAUSE_NONE);
        assert_true(msg->set_pstate.command != 0);
        assert_false(status_of(bench).read_only);
        cause_format(msg->set_pstate.cause, text);
        assert_int_equal(strncmp(text, "3.", 2), 0);
    } else {
        assert_in_range(msg->release.domain, 0, 1);
        assert_true(msg->release.cause != CAUSE_NONE);
    }
}

static void
random_events_never_make_an_action_out_of_range(void **state)
{
    struct bench *bench = *state;
    struct prng chance;

    for (uint64_t seed = 1; seed <= 20; seed++) {
        prng_init(&chance, seed);
        for (unsigned i = 0; i < 3000; i++) {
            tell_anything(bench, &chance);
            if (prng_below(&chance, 3) == 0) {
                uint64_t n_sent = bench->n_sent;
                bench->now += (nsec_t)prng_below(&chance, 300 * MS);
                run(bench);
                assert_in_range(bench->n_sent - n_sent, 0, 2);
                if (bench->n_sent > n_sent) {
                    check_action(bench);
                }
                assert_true(engine_deadline(bench->engine) > bench->now - 1);
                assert_true(engine_deadline(bench->engine) <=
                            bench->now + EPOCH);
            }
        }
    }
    assert_in_range(bench->n_sent, 1000, UINT64_MAX);
}

/* After any storm: the journal works, the agents are up and violate; within
 * two retries both CPUs are where Basic wants them. */
static void
it_settles_after_any_storm(void **state)
{
    struct bench *bench = *state;
    struct prng chance;

    for (uint64_t seed = 1; seed <= 30; seed++) {
        prng_init(&chance, seed);
        for (unsigned i = 0; i < 500; i++) {
            tell_anything(bench, &chance);
            bench->now += (nsec_t)prng_below(&chance, 100 * MS);
            run(bench);
        }
        bench->busy = 0;
        bench->journal->error = 0;
        bench->journal->failing = false;
        for (uint32_t i = 0; i < 2; i++) {
            tell_domain(bench, i, 0);
            tell_found(bench, i, VM_RUNNING);
            tell_up(bench, i);
        }
        for (unsigned i = 0; i < 50; i++) {
            uint64_t n_sent = bench->n_sent;
            tell_notice(bench, 0);
            tell_notice(bench, 1);
            bench->now += EPOCH;
            run(bench);
            for (; bench->n_sent > n_sent; n_sent++) {
                /* Two went out in one turn: only the last can be answered
                 * here; the other one is when it is sent again. */
                obey(bench);
            }
        }
        assert_int_equal(status_of(bench).host->domains[0].pstate, 0);
        assert_int_equal(status_of(bench).host->domains[1].pstate, 0);
        assert_false(status_of(bench).read_only);
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(failing_journal_makes_read_only_until_it_works),
        TEST(policy_begins_afresh_after_read_only),
        TEST(row_not_taken_makes_read_only_at_the_next_turn),
        TEST(unknown_vm_is_refused_and_said),
        TEST(unknown_vms_do_not_flood_the_journal),
        TEST(guest_that_floods_notices_is_not_heard),
        TEST(guest_that_floods_notices_is_alarmed_still),
        TEST(full_vm_table_refuses_the_next),
        TEST(senseless_domain_is_left_alone),
        TEST(message_not_for_the_engine_is_said),
        TEST(nothing_is_done_before_the_platform_is_ready),
        TEST(policy_is_asked_as_soon_as_the_platform_is_ready),
        TEST(without_policy_and_cpus_it_observes),
        TEST(vm_operation_is_journalled_then_sent),
        TEST(vm_operation_without_a_journal_is_refused),
        TEST(vm_operations_are_bounded),
        TEST(random_events_never_make_an_action_out_of_range),
        TEST(it_settles_after_any_storm),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
