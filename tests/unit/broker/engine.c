/* SPDX-License-Identifier: Apache-2.0 */
/* The engine's turn, from events to actions and rows, on a platform and a
 * journal made up here: what a violation leads to, what is tried again, what
 * happens when the journal fails, and what nobody may make it do. */
#include "broker/config/config.h"
#include "broker/engine/engine.h"

#include <errno.h>
#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>
#include <jansson.h>

#include "base/prng.h"
#include "base/text.h"
#include "model/cause.h"
#include "policy/policy.h"
#include "tests/unit/broker/fakejournal.h"
#include "wire/msg.h"

#define MS NSEC_PER_MSEC
#define EPOCH (500 * MS)
#define N_GUESTS 2
#define N_PSTATES 5

/* Everything the engine touches. */
struct bench {
    struct broker_config config;
    struct guest_config guests[N_GUESTS];
    struct engine_port port;
    struct journal *journal;
    struct engine *engine;
    nsec_t now;
    uint64_t causes;
    uint64_t n_sent; /* Actions so far, */
    struct msg last; /* and the last one. */
    int busy;        /* What the platform's channel answers. */
    uint64_t n_lines, n_bad_lines, n_epoch_lines;
    char line[40000];   /* The last for watchers. */
    uint32_t pstate[2]; /* Where the made-up hardware stands. */
};

static int
take_action(void *ctx, const struct msg *msg)
{
    struct bench *bench = ctx;

    if (bench->busy) {
        return bench->busy;
    }
    bench->n_sent++;
    bench->last = *msg;
    return 0;
}

static void
take_line(void *ctx, const char *json)
{
    struct bench *bench = ctx;
    json_t *parsed = json_loads(json, JSON_REJECT_DUPLICATES, NULL);

    bench->n_lines++;
    bench->n_bad_lines += !parsed || strchr(json, '\n');
    const char *type = json_string_value(json_object_get(parsed, "type"));
    bench->n_epoch_lines += type && !strcmp(type, "epoch");
    json_decref(parsed);
    text_copy(bench->line, sizeof bench->line, json);
}

static struct msg
message(enum msg_type type)
{
    struct msg msg;

    memset(&msg, 0, sizeof msg);
    msg.type = type;
    return msg;
}

static void
tell(struct bench *bench, const struct msg *msg)
{
    engine_on_event(bench->engine, msg, bench->now);
}

static void
run(struct bench *bench)
{
    engine_run(bench->engine, bench->now);
}

static void
tell_domain(struct bench *bench, uint32_t i, uint32_t pstate)
{
    static const uint64_t freqs[] = {2400000, 2200000, 2000000, 1800000,
                                     1000000};
    struct msg msg = message(MSG_DOMAIN);

    msg.domain.domain = i;
    strcpy(msg.domain.driver, "sim");
    msg.domain.n_cpus = 1;
    msg.domain.cpus[0] = i;
    msg.domain.n_freqs_khz = N_PSTATES;
    memcpy(msg.domain.freqs_khz, freqs, sizeof freqs);
    msg.domain.pstate = pstate;
    bench->pstate[i] = pstate;
    tell(bench, &msg);
}

static void
tell_found(struct bench *bench, uint32_t i, enum vm_state vm_state)
{
    struct msg msg = message(MSG_VM_FOUND);

    msg.vm_found.vm = bench->guests[i].uuid;
    strcpy(msg.vm_found.name, bench->guests[i].name);
    msg.vm_found.n_vcpu_cpus = 1;
    msg.vm_found.vcpu_cpus[0] = i;
    msg.vm_found.state = vm_state;
    tell(bench, &msg);
}

static uint64_t
tell_up(struct bench *bench, uint32_t i)
{
    struct msg msg = message(MSG_GUEST_UP);

    msg.guest_up.vm = bench->guests[i].uuid;
    msg.guest_up.cause = ++bench->causes;
    strcpy(msg.guest_up.name, bench->guests[i].name);
    strcpy(msg.guest_up.software, "magentd 0.1");
    msg.guest_up.n_offers = 1;
    strcpy(msg.guest_up.offers[0], "httplog");
    tell(bench, &msg);
    return bench->causes;
}

static uint64_t
tell_notice(struct bench *bench, uint32_t i)
{
    struct msg msg = message(MSG_GUEST_NOTICE);
    struct msg_guest_notice *notice = &msg.guest_notice;

    notice->vm = bench->guests[i].uuid;
    notice->cause = ++bench->causes;
    notice->epoch = 17;
    notice->n_requests = 200;
    notice->n_violations = 30;
    notice->threshold_us = 3000;
    notice->worst_us = 12345;
    notice->offset_ns = -5 * NSEC_PER_SEC;
    notice->offset_error_ns = 2000;
    notice->worst_end_ns = bench->now - 5 * NSEC_PER_SEC - 300 * MS;
    notice->seen_ns = bench->now - 5 * NSEC_PER_SEC - 200 * MS;
    notice->sent_ns = bench->now - 5 * NSEC_PER_SEC - 1 * MS;
    notice->received_ns = bench->now;
    tell(bench, &msg);
    return bench->causes;
}

static void
tell_report(struct bench *bench, uint32_t i, uint64_t n, uint64_t n_bad)
{
    struct msg msg = message(MSG_GUEST_REPORT);

    msg.guest_report.vm = bench->guests[i].uuid;
    msg.guest_report.cause = ++bench->causes;
    msg.guest_report.n_requests = n;
    msg.guest_report.n_violations = n_bad;
    msg.guest_report.threshold_us = 3000;
    tell(bench, &msg);
}

/* Answers the last action; 'pstate' is what reads back. */
static void
tell_outcome(struct bench *bench, int error, uint32_t pstate)
{
    const struct msg *action = &bench->last;
    struct msg msg = message(MSG_OUTCOME);
    struct msg_outcome *outcome = &msg.outcome;

    outcome->command =
        action->type == MSG_SET_PSTATE ? action->set_pstate.command
        : action->type == MSG_RELEASE  ? action->release.command
                                       : action->vm_control.command;
    outcome->cause = action->type == MSG_SET_PSTATE ? action->set_pstate.cause
                     : action->type == MSG_RELEASE  ? action->release.cause
                                                    : action->vm_control.cause;
    outcome->error = (uint64_t)error;
    outcome->pstate = pstate;
    outcome->received_ns = bench->now - 3;
    outcome->checked_ns = bench->now - 2;
    outcome->written_ns = bench->now - 1;
    outcome->read_ns = bench->now;
    strcpy(outcome->reason, error ? "no luck" : "");
    tell(bench, &msg);
}

/* The hardware does what the last action asks and says so. */
static void
obey(struct bench *bench)
{
    uint32_t domain = bench->last.type == MSG_SET_PSTATE
                          ? (uint32_t)bench->last.set_pstate.domain
                          : (uint32_t)bench->last.release.domain;

    if (bench->last.type == MSG_SET_PSTATE) {
        bench->pstate[domain] = (uint32_t)bench->last.set_pstate.pstate;
    } else {
        bench->pstate[domain] = 0;
    }
    tell_outcome(bench, 0, bench->pstate[domain]);
}

static void
make_config(struct bench *bench)
{
    struct broker_config *config = &bench->config;

    strcpy(config->domain, "lab");
    strcpy(config->host_id, "h1");
    config->n_cpus = 2;
    config->cpus[1] = 1;
    config->n_guests = N_GUESTS;
    config->guests = bench->guests;
    for (uint32_t i = 0; i < N_GUESTS; i++) {
        bench->guests[i].uuid.byte[0] = (uint8_t)(i + 1);
        snprintf(bench->guests[i].name, VM_NAME_SIZE, "web%" PRIu32, i + 1);
        bench->guests[i].n_vcpus = 1;
        bench->guests[i].vcpu_cpu[0] = i;
    }
    config->policy = policy_find("basic");
    options_init(&config->policy_options, config->policy->options);
    config->epoch_ns = EPOCH;
}

/* An engine that knows its two domains and two running guests, whose agents are
 * not there yet. */
static int
setup(void **state)
{
    struct bench *bench = calloc(1, sizeof *bench);

    bench->journal = calloc(1, sizeof *bench->journal);
    bench->now = 1000 * NSEC_PER_SEC;
    bench->causes = UINT64_C(3) << 40;
    bench->port.ctx = bench;
    bench->port.to_platform = take_action;
    bench->port.watch = take_line;
    make_config(bench);
    assert_int_equal(engine_create(&bench->engine, &bench->config, &bench->port,
                                   bench->journal, bench->now),
                     0);
    for (uint32_t i = 0; i < 2; i++) {
        tell_domain(bench, i, 0);
        tell_found(bench, i, VM_RUNNING);
    }
    struct msg ready = message(MSG_READY);
    tell(bench, &ready);
    run(bench);
    assert_int_equal(bench->n_sent, 0);
    *state = bench;
    return 0;
}

static int
teardown(void **state)
{
    struct bench *bench = *state;

    assert_int_equal(bench->n_bad_lines, 0);
    engine_destroy(bench->engine);
    free(bench->journal);
    free(bench);
    return 0;
}

/* Guest 0's agent comes and Basic holds its CPU at a p-state. */
static void
hold_at(struct bench *bench, const char *pstate)
{
    struct option_values options;
    char why[160];

    options_init(&options, policy_find("basic")->options);
    options_set(&options, "start_pstate", pstate, why, sizeof why);
    assert_int_equal(engine_set_policy(bench->engine, "basic", &options,
                                       bench->now, why, sizeof why),
                     0);
    tell_up(bench, 0);
    run(bench);
    assert_int_equal(bench->last.type, MSG_SET_PSTATE);
    assert_int_equal(bench->last.set_pstate.pstate, atoi(pstate));
    obey(bench);
    run(bench);
}

static struct engine_status
status_of(struct bench *bench)
{
    struct engine_status status;

    engine_status(bench->engine, bench->now, &status);
    return status;
}

/* The member of a row's detail. */
static int64_t
detail(const struct journal_row *row, const char *key)
{
    json_t *parsed = json_loads(row->detail, 0, NULL);

    assert_non_null(parsed);
    assert_true(json_is_integer(json_object_get(parsed, key)));
    int64_t value = json_integer_value(json_object_get(parsed, key));
    json_decref(parsed);
    return value;
}

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

/* Time passes and both guests' CPUs are that busy; an epoch ends. */
static void
epoch(struct bench *bench, double busy)
{
    struct engine_status status = status_of(bench);

    bench->now += EPOCH;
    for (uint32_t i = 0; i < 2; i++) {
        const struct vm *vm = host_vm(status.host, &bench->guests[i].uuid);
        struct msg msg = message(MSG_SAMPLE_VM);
        msg.sample_vm.vm = bench->guests[i].uuid;
        msg.sample_vm.time_ns = bench->now;
        msg.sample_vm.available_ns = vm->available_ns + EPOCH;
        msg.sample_vm.busy_ns = vm->busy_ns + (uint64_t)(busy * (double)EPOCH);
        tell(bench, &msg);
    }
    run(bench);
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

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

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
        TEST(an_epoch_is_one_line),
        TEST(unknown_power_is_never_zero),
        TEST(nobody_need_watch),
        TEST(random_events_never_make_an_action_out_of_range),
        TEST(it_settles_after_any_storm),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
