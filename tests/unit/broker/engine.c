/* SPDX-License-Identifier: Apache-2.0 */
/* The engine's turn, from events to actions and rows: what a violation leads
 * to, what is tried again, what ends, and what those who watch are told. */
#include "tests/unit/broker/enginebench.h"

/* The straight path. */

static void
violation_raises_pstate(void **state)
{
    struct bench *bench = *state;

    hold_at(bench, "3");
    uint64_t n_sent = bench->n_sent;
    bench->now += 10 * MS;
    uint64_t cause = tell_notice(bench, 0);
    assert_int_equal(bench->n_sent, n_sent); /* Noted, not acted on. */
    run(bench);
    assert_int_equal(bench->n_sent, n_sent + 1);
    assert_int_equal(bench->last.type, MSG_SET_PSTATE);
    assert_int_equal(bench->last.set_pstate.domain, 0);
    assert_int_equal(bench->last.set_pstate.pstate, 2);
    assert_true(bench->last.set_pstate.cause == cause);
    assert_int_equal(bench->last.set_pstate.decided_ns, bench->now);
}

static void
one_cause_links_event_decision_action_and_outcome(void **state)
{
    struct bench *bench = *state;

    hold_at(bench, "3");
    uint64_t cause = tell_notice(bench, 0);
    run(bench);
    bench->now += 1 * MS;
    obey(bench);
    run(bench);
    uint64_t n = bench->journal->n;
    const struct journal_row *row = &bench->journal->rows[n - 4];
    assert_int_equal(fake_count(bench->journal, cause), 4);
    assert_int_equal(row[0].kind, JOURNAL_EVENT);
    assert_string_equal(row[0].name, "GUEST_NOTICE");
    assert_int_equal(row[1].kind, JOURNAL_DECISION);
    assert_string_equal(row[1].name, "basic/raise");
    assert_int_equal(row[2].kind, JOURNAL_ACTION);
    assert_string_equal(row[2].name, "SET_PSTATE");
    assert_int_equal(row[3].kind, JOURNAL_OUTCOME);
    assert_true(row[2].command != 0 && row[2].command == row[3].command);
    assert_string_equal(row[1].subject, "mgmt://lab/host/h1/cpu/0/pstate");
    assert_string_equal(
        row[0].subject,
        "mgmt://lab/vm/01000000-0000-0000-0000-000000000000/agent");
}

static void
rows_carry_the_time_of_each_hop(void **state)
{
    struct bench *bench = *state;

    hold_at(bench, "3");
    nsec_t told = bench->now;
    tell_notice(bench, 0);
    run(bench);
    obey(bench);
    const struct journal_row *notice =
        fake_last(bench->journal, JOURNAL_EVENT, "GUEST_NOTICE");
    assert_int_equal(detail(notice, "worst_end_ns"),
                     told - 5 * NSEC_PER_SEC - 300 * MS);
    assert_int_equal(detail(notice, "seen_ns"),
                     told - 5 * NSEC_PER_SEC - 200 * MS);
    assert_int_equal(detail(notice, "sent_ns"),
                     told - 5 * NSEC_PER_SEC - 1 * MS);
    assert_int_equal(detail(notice, "offset_ns"), -5 * NSEC_PER_SEC);
    assert_int_equal(detail(notice, "offset_error_ns"), 2000);
    assert_int_equal(detail(notice, "received_ns"), told);
    assert_int_equal(detail(notice, "worst_us"), 12345);
    const struct journal_row *outcome =
        fake_last(bench->journal, JOURNAL_OUTCOME, NULL);
    assert_int_equal(detail(outcome, "received_ns"), bench->now - 3);
    assert_int_equal(detail(outcome, "checked_ns"), bench->now - 2);
    assert_int_equal(detail(outcome, "written_ns"), bench->now - 1);
    assert_int_equal(detail(outcome, "read_ns"), bench->now);
}

static void
unknown_clock_is_said(void **state)
{
    struct bench *bench = *state;
    struct msg msg = message(MSG_GUEST_NOTICE);

    hold_at(bench, "3");
    msg.guest_notice.vm = bench->guests[0].uuid;
    msg.guest_notice.cause = ++bench->causes;
    msg.guest_notice.offset_ns = INT64_MIN;
    msg.guest_notice.sent_ns = INT64_MAX;
    msg.guest_notice.offset_error_ns = UINT64_MAX;
    tell(bench, &msg);
    assert_int_equal(detail(fake_last(bench->journal, JOURNAL_EVENT, NULL),
                            "offset_error_ns"),
                     -1);
}

static void
idle_guest_lowers_with_a_cause_of_the_engines(void **state)
{
    struct bench *bench = *state;

    hold_at(bench, "0");
    uint64_t n_sent = bench->n_sent;
    for (unsigned i = 0; i < 4; i++) {
        assert_int_equal(bench->n_sent, n_sent);
        epoch(bench, 0.25);
    }
    assert_int_equal(bench->n_sent, n_sent + 1);
    assert_int_equal(bench->last.set_pstate.pstate, 1);
    uint64_t cause = bench->last.set_pstate.cause;
    assert_true(cause >> 39 & 1);
    const struct journal_row *event =
        fake_last(bench->journal, JOURNAL_EVENT, "UTILIZATION");
    assert_non_null(event);
    assert_true(event->cause == cause);
    assert_non_null(strstr(event->detail, "\"utilization\",\"value\":25,"));
    obey(bench);
    assert_int_equal(fake_count(bench->journal, cause), 4);
}

static void
renewals_leave_no_rows(void **state)
{
    struct bench *bench = *state;

    hold_at(bench, "0");
    epoch(bench, 0.9);
    uint64_t n = bench->journal->n, n_sent = bench->n_sent;
    for (unsigned i = 0; i < 40; i++) {
        epoch(bench, 0.9);
        tell_report(bench, 0, 100, 0);
    }
    assert_int_equal(bench->journal->n, n);
    assert_int_equal(bench->n_sent, n_sent);
}

static void
raise_in_vain_is_explained(void **state)
{
    struct bench *bench = *state;

    hold_at(bench, "0");
    uint64_t n_sent = bench->n_sent;
    uint64_t cause = tell_notice(bench, 0);
    run(bench);
    assert_int_equal(bench->n_sent, n_sent);
    const struct journal_row *row =
        fake_last(bench->journal, JOURNAL_DECISION, "basic/raise");
    assert_non_null(row);
    assert_true(row->cause == cause);
    assert_non_null(strstr(row->detail, "\"effect\":false"));
}

static void
reports_are_counted_and_not_journalled(void **state)
{
    struct bench *bench = *state;

    tell_up(bench, 0);
    uint64_t n = bench->journal->n;
    for (unsigned i = 0; i < 40; i++) {
        tell_report(bench, 0, 100, 3);
    }
    assert_int_equal(bench->journal->n, n);
    const struct vm *vm =
        host_vm(status_of(bench).host, &bench->guests[0].uuid);
    assert_int_equal(vm->n_requests, 4000);
    assert_int_equal(vm->n_violations, 120);
    assert_int_equal(vm->n_epochs, VM_EPOCHS_KEPT);
    assert_int_equal(status_of(bench).counts->n_reports, 40);
}

static void
more_violations_than_requests_are_not_believed(void **state)
{
    struct bench *bench = *state;

    tell_up(bench, 0);
    tell_report(bench, 0, 10, 1000);
    assert_int_equal(
        host_vm(status_of(bench).host, &bench->guests[0].uuid)->n_violations,
        10);
}

/* Actions until they hold. */

static void
one_action_at_a_time(void **state)
{
    struct bench *bench = *state;

    hold_at(bench, "4");
    tell_notice(bench, 0);
    run(bench);
    uint64_t n_sent = bench->n_sent;
    assert_int_equal(bench->last.set_pstate.pstate, 3);
    tell_notice(bench, 0);
    run(bench);
    tell_notice(bench, 0);
    run(bench);
    assert_int_equal(bench->n_sent, n_sent);
    obey(bench); /* And then straight to what is wanted by now. */
    run(bench);
    assert_int_equal(bench->n_sent, n_sent + 1);
    assert_int_equal(bench->last.set_pstate.pstate, 1);
}

static void
different_read_back_is_tried_again_then_alarmed(void **state)
{
    struct bench *bench = *state;

    hold_at(bench, "3");
    tell_notice(bench, 0);
    run(bench);
    uint64_t n_sent = bench->n_sent;
    for (unsigned i = 0; i < 3; i++) {
        tell_outcome(bench, 0, 4);
        run(bench);
        assert_int_equal(bench->n_sent, n_sent + i);
        assert_int_equal(status_of(bench).counts->n_alarms, 0);
        bench->now += 249 * MS;
        run(bench);
        assert_int_equal(bench->n_sent, n_sent + i);
        assert_true(engine_deadline(bench->engine) <= bench->now + 1 * MS);
        bench->now += 1 * MS;
        run(bench);
        assert_int_equal(bench->n_sent, n_sent + i + 1);
        assert_int_equal(bench->last.set_pstate.pstate, 2);
    }
    tell_outcome(bench, 0, 4);
    run(bench);
    assert_int_equal(status_of(bench).counts->n_alarms, 1);
    assert_int_equal(status_of(bench).counts->n_failed_actions, 4);
    assert_non_null(fake_last(bench->journal, JOURNAL_EVENT, "ACTION_FAILED"));
    assert_non_null(strstr(status_of(bench).trouble, "reads back"));
    bench->now += 2 * NSEC_PER_SEC;
    run(bench);
    assert_int_equal(bench->n_sent, n_sent + 3);
}

static void
failed_action_succeeds_on_the_second_try(void **state)
{
    struct bench *bench = *state;

    hold_at(bench, "3");
    tell_notice(bench, 0);
    run(bench);
    uint64_t command = bench->last.set_pstate.command;
    tell_outcome(bench, EIO, 3);
    bench->now += 250 * MS;
    run(bench);
    assert_true(bench->last.set_pstate.command != command);
    obey(bench);
    run(bench);
    uint64_t n_sent = bench->n_sent;
    bench->now += 300 * MS;
    run(bench);
    assert_int_equal(bench->n_sent, n_sent);
    assert_int_equal(status_of(bench).counts->n_alarms, 0);
    assert_int_equal(status_of(bench).counts->n_raises, 1);
}

static void
missing_outcome_is_a_failure(void **state)
{
    struct bench *bench = *state;

    hold_at(bench, "3");
    tell_notice(bench, 0);
    run(bench);
    uint64_t n_sent = bench->n_sent;
    bench->now += 2 * NSEC_PER_SEC;
    run(bench);
    assert_int_equal(status_of(bench).counts->n_failed_actions, 1);
    bench->now += 250 * MS;
    tell_up(bench, 0);
    run(bench);
    assert_int_equal(bench->n_sent, n_sent + 1);
}

static void
full_channel_is_tried_again_soon(void **state)
{
    struct bench *bench = *state;

    hold_at(bench, "3");
    uint64_t n_sent = bench->n_sent, n = bench->journal->n;
    bench->busy = -EAGAIN;
    tell_notice(bench, 0);
    run(bench);
    assert_int_equal(bench->n_sent, n_sent);
    assert_int_equal(bench->journal->n, n + 2); /* No action's row yet. */
    assert_true(engine_deadline(bench->engine) < bench->now + 50 * MS);
    bench->busy = 0;
    bench->now = engine_deadline(bench->engine);
    run(bench);
    assert_int_equal(bench->n_sent, n_sent + 1);
    assert_int_equal(bench->last.set_pstate.pstate, 2);
    assert_int_equal(bench->journal->n, n + 3);
}

static void
late_and_strange_outcomes_change_nothing(void **state)
{
    struct bench *bench = *state;

    hold_at(bench, "3");
    bench->last.set_pstate.command = 99999;
    tell_outcome(bench, 0, 1);
    assert_int_equal(status_of(bench).host->domains[0].pstate, 3);
    assert_int_equal(status_of(bench).counts->n_raises, 0);
}

static void
read_back_beyond_the_table_is_a_failure(void **state)
{
    struct bench *bench = *state;

    hold_at(bench, "3");
    tell_notice(bench, 0);
    run(bench);
    tell_outcome(bench, 0, 15);
    assert_int_equal(status_of(bench).host->domains[0].pstate, 3);
    assert_int_equal(status_of(bench).counts->n_failed_actions, 1);
}

static void
platform_that_starts_anew_is_told_again(void **state)
{
    struct bench *bench = *state;

    hold_at(bench, "3");
    uint64_t n_sent = bench->n_sent;
    tell_domain(bench, 0, 0); /* It put back what it found. */
    run(bench);
    assert_int_equal(bench->n_sent, n_sent + 1);
    assert_int_equal(bench->last.set_pstate.pstate, 3);
}

static void
action_lost_with_its_platform_is_sent_again_at_once(void **state)
{
    struct bench *bench = *state;

    hold_at(bench, "3");
    tell_notice(bench, 0);
    run(bench);
    uint64_t n_sent = bench->n_sent;
    bench->now += 10 * MS;
    tell_domain(bench, 0, 2); /* By chance just where it should be. */
    run(bench);
    assert_int_equal(bench->n_sent, n_sent + 1);
    assert_int_equal(bench->last.set_pstate.pstate, 2);
}

static void
putting_back_is_neither_raise_nor_lowering(void **state)
{
    struct bench *bench = *state;
    struct msg msg = message(MSG_GUEST_LOST);

    hold_at(bench, "3");
    assert_int_equal(status_of(bench).counts->n_lowerings, 1);
    msg.guest_lost.vm = bench->guests[0].uuid;
    msg.guest_lost.cause = ++bench->causes;
    tell(bench, &msg);
    run(bench);
    obey(bench);
    assert_int_equal(status_of(bench).host->domains[0].pstate, 0);
    assert_int_equal(status_of(bench).counts->n_raises, 0);
    assert_int_equal(status_of(bench).counts->n_lowerings, 1);
}

/* What ends. */

static void
lost_agent_releases_at_once(void **state)
{
    struct bench *bench = *state;
    struct msg msg = message(MSG_GUEST_LOST);

    hold_at(bench, "3");
    bench->now += 10 * MS;
    msg.guest_lost.vm = bench->guests[0].uuid;
    msg.guest_lost.cause = ++bench->causes;
    strcpy(msg.guest_lost.reason, "3 beats missed");
    tell(bench, &msg);
    run(bench);
    assert_int_equal(bench->last.type, MSG_RELEASE);
    assert_true(bench->last.release.cause == bench->causes);
    assert_string_equal(fake_last(bench->journal, JOURNAL_DECISION, NULL)->name,
                        "basic/lost");
    obey(bench);
    uint64_t n_sent = bench->n_sent;
    epoch(bench, 0.1);
    assert_int_equal(bench->n_sent, n_sent);
}

static void
gone_vm_releases_and_stays_in_the_table_if_configured(void **state)
{
    struct bench *bench = *state;
    struct msg msg = message(MSG_VM_GONE);

    hold_at(bench, "3");
    msg.vm_gone.vm = bench->guests[0].uuid;
    tell(bench, &msg);
    run(bench);
    assert_int_equal(bench->last.type, MSG_RELEASE);
    assert_int_equal(status_of(bench).host->n_vms, 2);
    assert_int_equal(status_of(bench).host->vms[0].state, VM_ENDED);
}

static void
wishes_expire_when_nothing_renews_them(void **state)
{
    struct bench *bench = *state;
    struct msg ended = message(MSG_VM_FOUND);

    hold_at(bench, "3");
    /* The VM moves to a CPU whose frequency nobody can set: Basic has nothing
     * to renew there, and what it wished for the old one must not stay. */
    ended.vm_found.vm = bench->guests[0].uuid;
    strcpy(ended.vm_found.name, "web1");
    ended.vm_found.n_vcpu_cpus = 1;
    ended.vm_found.vcpu_cpus[0] = 77;
    tell(bench, &ended);
    run(bench);
    assert_int_equal(bench->last.type, MSG_RELEASE);
    assert_non_null(fake_last(bench->journal, JOURNAL_EVENT, "WISH_ENDED"));
    assert_true(bench->last.release.cause != CAUSE_NONE);
}

static void
other_policy_takes_over_in_one_turn(void **state)
{
    struct bench *bench = *state;
    struct option_values options;
    char why[160];

    hold_at(bench, "3");
    options_init(&options, policy_find("none")->options);
    options_set(&options, "pin_fastest", "true", why, sizeof why);
    uint64_t n_sent = bench->n_sent;
    assert_int_equal(engine_set_policy(bench->engine, "none", &options,
                                       bench->now, why, sizeof why),
                     0);
    run(bench);
    obey(bench);
    run(bench);
    /* Both guests' CPUs go to p-state 0, without a release between. */
    assert_int_equal(bench->last.type, MSG_SET_PSTATE);
    assert_int_equal(bench->last.set_pstate.pstate, 0);
    assert_int_equal(bench->n_sent, n_sent + 2);
    assert_string_equal(status_of(bench).policy->name, "none");
}

static void
plain_none_releases_everything(void **state)
{
    struct bench *bench = *state;
    char why[160];

    hold_at(bench, "3");
    assert_int_equal(engine_set_policy(bench->engine, "none", NULL, bench->now,
                                       why, sizeof why),
                     0);
    run(bench);
    assert_int_equal(bench->last.type, MSG_RELEASE);
    obey(bench);
    uint64_t n_sent = bench->n_sent;
    tell_notice(bench, 0);
    epoch(bench, 0.1);
    assert_int_equal(bench->n_sent, n_sent);
}

static void
refused_policy_changes_nothing(void **state)
{
    struct bench *bench = *state;
    struct option_values options;
    char why[160] = "";

    hold_at(bench, "3");
    uint64_t n = bench->journal->n;
    assert_int_equal(engine_set_policy(bench->engine, "nonesuch", NULL,
                                       bench->now, why, sizeof why),
                     -ENOENT);
    assert_non_null(strstr(why, "nonesuch"));
    options_init(&options, policy_find("none")->options);
    assert_int_equal(engine_set_policy(bench->engine, "basic", &options,
                                       bench->now, why, sizeof why),
                     -EINVAL);
    run(bench);
    assert_int_equal(bench->journal->n, n);
    assert_string_equal(status_of(bench).policy->name, "basic");
    assert_int_equal(
        option_int(status_of(bench).policy_options, "start_pstate"), 3);
}

static void
counts_begin_anew_with_a_policy(void **state)
{
    struct bench *bench = *state;
    char why[160];

    hold_at(bench, "3");
    tell_notice(bench, 0);
    run(bench);
    obey(bench);
    assert_int_equal(status_of(bench).counts->n_raises, 1);
    engine_set_policy(bench->engine, "none", NULL, bench->now, why, sizeof why);
    assert_int_equal(status_of(bench).counts->n_raises, 0);
    assert_int_equal(status_of(bench).counts->n_notices, 0);
}

static void
time_in_each_pstate_adds_up(void **state)
{
    struct bench *bench = *state;
    nsec_t sum = 0;

    hold_at(bench, "3");
    nsec_t began = bench->now;
    bench->now += 700 * MS;
    tell_notice(bench, 0);
    run(bench);
    obey(bench);
    bench->now += 300 * MS;
    struct engine_status status = status_of(bench);
    for (unsigned i = 0; i < PSTATES_MAX; i++) {
        sum += status.pstate_time[i];
    }
    assert_int_equal(sum, bench->now - began);
    assert_int_equal(status.pstate_time[3], 700 * MS);
    assert_int_equal(status.pstate_time[2], 300 * MS);
    assert_int_equal(status.pstate_time[PSTATES_MAX], 1000 * MS);
}

/* Those who watch. */

static void
an_epoch_is_one_line(void **state)
{
    struct bench *bench = *state;
    struct msg power = message(MSG_SAMPLE_POWER), cpu = message(MSG_SAMPLE_CPU);

    hold_at(bench, "3");
    power.sample_power.power_mw = 164500;
    power.sample_power.quality = QUALITY_MODELLED;
    strcpy(power.sample_power.source, "model");
    tell(bench, &power);
    cpu.sample_cpu.available_ns = 1000;
    cpu.sample_cpu.busy_ns = 100;
    tell(bench, &cpu);
    cpu.sample_cpu.available_ns = 2000;
    cpu.sample_cpu.busy_ns = 600;
    tell(bench, &cpu);
    tell_report(bench, 0, 100, 7);
    uint64_t n = bench->n_epoch_lines;
    epoch(bench, 0.25);
    assert_int_equal(bench->n_epoch_lines, n + 1);
    epoch(bench, 0.25);
    tell_report(bench, 0, 50, 2);
    bench->now += EPOCH;
    run(bench);
    json_t *line = json_loads(bench->line, 0, NULL);
    assert_string_equal(json_string_value(json_object_get(line, "policy")),
                        "basic");
    assert_float_equal(json_number_value(json_object_get(line, "power_w")),
                       164.5, 0.001);
    assert_string_equal(json_string_value(json_object_get(line, "quality")),
                        "model");
    assert_int_equal(json_integer_value(json_object_get(line, "requests")), 50);
    assert_int_equal(json_integer_value(json_object_get(line, "violations")),
                     2);
    json_t *first = json_array_get(json_object_get(line, "cpus"), 0);
    assert_int_equal(json_integer_value(json_object_get(first, "pstate")), 3);
    assert_float_equal(
        json_number_value(json_object_get(first, "util_percent")), 50, 0.01);
    json_t *vm = json_array_get(json_object_get(line, "vms"), 0);
    assert_int_equal(json_integer_value(json_object_get(vm, "requests")), 150);
    json_decref(line);
}

static void
unknown_power_is_never_zero(void **state)
{
    struct bench *bench = *state;

    bench->now += EPOCH;
    run(bench);
    assert_non_null(strstr(bench->line, "\"power_w\":null"));
    assert_null(strstr(bench->line, "\"power_w\":0"));
}

static void
nobody_need_watch(void **state)
{
    struct bench *bench = *state;

    bench->port.watch = NULL;
    hold_at(bench, "3");
    epoch(bench, 0.3);
    assert_int_equal(bench->n_sent, 1);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(violation_raises_pstate),
        TEST(one_cause_links_event_decision_action_and_outcome),
        TEST(rows_carry_the_time_of_each_hop),
        TEST(unknown_clock_is_said),
        TEST(idle_guest_lowers_with_a_cause_of_the_engines),
        TEST(renewals_leave_no_rows),
        TEST(raise_in_vain_is_explained),
        TEST(reports_are_counted_and_not_journalled),
        TEST(more_violations_than_requests_are_not_believed),
        TEST(one_action_at_a_time),
        TEST(different_read_back_is_tried_again_then_alarmed),
        TEST(failed_action_succeeds_on_the_second_try),
        TEST(missing_outcome_is_a_failure),
        TEST(full_channel_is_tried_again_soon),
        TEST(late_and_strange_outcomes_change_nothing),
        TEST(read_back_beyond_the_table_is_a_failure),
        TEST(platform_that_starts_anew_is_told_again),
        TEST(action_lost_with_its_platform_is_sent_again_at_once),
        TEST(putting_back_is_neither_raise_nor_lowering),
        TEST(lost_agent_releases_at_once),
        TEST(gone_vm_releases_and_stays_in_the_table_if_configured),
        TEST(wishes_expire_when_nothing_renews_them),
        TEST(other_policy_takes_over_in_one_turn),
        TEST(plain_none_releases_everything),
        TEST(refused_policy_changes_nothing),
        TEST(counts_begin_anew_with_a_policy),
        TEST(time_in_each_pstate_adds_up),
        TEST(an_epoch_is_one_line),
        TEST(unknown_power_is_never_zero),
        TEST(nobody_need_watch),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
