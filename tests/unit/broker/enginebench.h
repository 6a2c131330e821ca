/* SPDX-License-Identifier: Apache-2.0 */
/* An engine on a platform and a journal made up here, two guests and a domain
 * for each: what the tests of the engine have in common. */
#ifndef TESTS_UNIT_BROKER_ENGINEBENCH_H
#define TESTS_UNIT_BROKER_ENGINEBENCH_H

#include <errno.h>
#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>
#include <jansson.h>

#include "base/text.h"
#include "broker/config/config.h"
#include "broker/engine/engine.h"
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
    void *follower;     /* Of notes; a test's own. */
    char line[40000];   /* The last for watchers. */
    uint32_t pstate[2]; /* Where the made-up hardware stands. */
};

static inline int
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

static inline void
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

static inline struct msg
message(enum msg_type type)
{
    struct msg msg;

    memset(&msg, 0, sizeof msg);
    msg.type = type;
    return msg;
}

static inline void
tell(struct bench *bench, const struct msg *msg)
{
    engine_on_event(bench->engine, msg, bench->now);
}

static inline void
run(struct bench *bench)
{
    engine_run(bench->engine, bench->now);
}

static inline void
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

static inline void
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

static inline uint64_t
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

static inline uint64_t
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

static inline void
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
static inline void
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
static inline void
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

static inline void
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
static inline int
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

static inline int
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
static inline void
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

static inline struct engine_status
status_of(struct bench *bench)
{
    struct engine_status status;

    engine_status(bench->engine, bench->now, &status);
    return status;
}

/* The member of a row's detail. */
static inline int64_t
detail(const struct journal_row *row, const char *key)
{
    json_t *parsed = json_loads(row->detail, 0, NULL);

    assert_non_null(parsed);
    assert_true(json_is_integer(json_object_get(parsed, key)));
    int64_t value = json_integer_value(json_object_get(parsed, key));
    json_decref(parsed);
    return value;
}

/* Time passes and both guests' CPUs are that busy; an epoch ends. */
static inline void
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

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

#endif
