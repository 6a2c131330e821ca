/* SPDX-License-Identifier: Apache-2.0 */
/* What the engine journals is what "trace" needs: one violation, from the
 * guest's request to the p-state that was read back, hop by hop, through the
 * real journal; and the engine allocates nothing on the way. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "broker/config/config.h"
#include "broker/engine/engine.h"
#include "broker/journal/journal.h"
#include "broker/control/show.h"
#include "broker/control/trace.h"
#include "model/cause.h"
#include "policy/policy.h"
#include "wire/msg.h"

#define MS NSEC_PER_MSEC
#define OFFSET (-7 * NSEC_PER_SEC)

void *__real_malloc(size_t);
void *__real_calloc(size_t, size_t);
void *__real_realloc(void *, size_t);
void *__wrap_malloc(size_t);
void *__wrap_calloc(size_t, size_t);
void *__wrap_realloc(void *, size_t);

/* The linker sends all calls of the code under test here (--wrap). */
static uint64_t n_allocated;

void *
__wrap_malloc(size_t size)
{
    n_allocated++;
    return __real_malloc(size);
}

void *
__wrap_calloc(size_t n, size_t size)
{
    n_allocated++;
    return __real_calloc(n, size);
}

void *
__wrap_realloc(void *was, size_t size)
{
    n_allocated++;
    return __real_realloc(was, size);
}

struct bench {
    struct broker_config config;
    struct guest_config guest;
    struct engine_port port;
    struct journal *journal;
    struct engine *engine;
    nsec_t now;
    struct msg action;
};

static int
take_action(void *ctx, const struct msg *msg)
{
    ((struct bench *)ctx)->action = *msg;
    return 0;
}

static void
take_line(void *ctx, const char *json)
{
    assert_int_equal(json[0], '{');
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
tell_platform(struct bench *bench)
{
    struct msg msg = message(MSG_DOMAIN);

    msg.domain.n_cpus = 1;
    msg.domain.n_freqs_khz = 3;
    msg.domain.freqs_khz[0] = 2400000;
    msg.domain.freqs_khz[1] = 1800000;
    msg.domain.freqs_khz[2] = 1000000;
    tell(bench, &msg);
    msg = message(MSG_VM_FOUND);
    msg.vm_found.vm = bench->guest.uuid;
    msg.vm_found.n_vcpu_cpus = 1;
    tell(bench, &msg);
    msg = message(MSG_GUEST_UP);
    msg.guest_up.vm = bench->guest.uuid;
    msg.guest_up.cause = (UINT64_C(1) << 40) + 1;
    tell(bench, &msg);
    msg = message(MSG_READY);
    tell(bench, &msg);
    engine_run(bench->engine, bench->now);
}

static void
tell_outcome(struct bench *bench)
{
    struct msg msg = message(MSG_OUTCOME);

    bench->now += 1 * MS;
    msg.outcome.command = bench->action.set_pstate.command;
    msg.outcome.cause = bench->action.set_pstate.cause;
    msg.outcome.pstate = bench->action.set_pstate.pstate;
    msg.outcome.received_ns = bench->now - 500;
    msg.outcome.checked_ns = bench->now - 400;
    msg.outcome.written_ns = bench->now - 300;
    msg.outcome.read_ns = bench->now - 200;
    tell(bench, &msg);
    engine_run(bench->engine, bench->now);
}

static uint64_t
tell_notice(struct bench *bench)
{
    static uint64_t cause = (UINT64_C(1) << 40) + 10;
    struct msg msg = message(MSG_GUEST_NOTICE);
    struct msg_guest_notice *notice = &msg.guest_notice;

    bench->now += 600 * MS;
    notice->vm = bench->guest.uuid;
    notice->cause = ++cause;
    notice->n_requests = 200;
    notice->n_violations = 30;
    notice->threshold_us = 3000;
    notice->worst_us = 9000;
    notice->offset_ns = OFFSET;
    notice->offset_error_ns = 1500;
    notice->worst_end_ns = bench->now + OFFSET - 300 * MS;
    notice->seen_ns = bench->now + OFFSET - 100 * MS;
    notice->sent_ns = bench->now + OFFSET - 1 * MS;
    notice->received_ns = bench->now - 1000;
    tell(bench, &msg);
    engine_run(bench->engine, bench->now);
    return cause;
}

static int
setup(void **state)
{
    struct bench *bench = calloc(1, sizeof *bench);
    struct broker_config *config = &bench->config;
    struct journal_opts opts = {.size_max = 1 << 24, .age_max_s = 86400};
    char why[200];

    strcpy(config->domain, "lab");
    strcpy(config->host_id, "h1");
    config->n_cpus = 1;
    config->n_guests = 1;
    config->guests = &bench->guest;
    bench->guest.uuid.byte[0] = 1;
    bench->guest.n_vcpus = 1;
    config->policy = policy_find("basic");
    config->epoch_ns = 500 * MS;
    options_init(&config->policy_options, config->policy->options);
    options_set(&config->policy_options, "start_pstate", "2", why, sizeof why);
    bench->port = (struct engine_port){
        .ctx = bench, .to_platform = take_action, .watch = take_line};
    bench->now = 1000 * NSEC_PER_SEC;
    assert_true(journal_open(&bench->journal, NULL, &opts, why, sizeof why) >=
                0);
    assert_int_equal(engine_create(&bench->engine, config, &bench->port,
                                   bench->journal, bench->now),
                     0);
    tell_platform(bench);
    tell_outcome(bench);
    *state = bench;
    return 0;
}

static int
teardown(void **state)
{
    struct bench *bench = *state;

    engine_destroy(bench->engine);
    journal_close(bench->journal);
    free(bench);
    return 0;
}

static void
take_row(void *rows, const struct journal_row *row)
{
    json_array_append_new(rows, show_row(row));
}

static json_t *
hops_of(struct bench *bench, uint64_t cause, int n_rows)
{
    json_t *rows = json_array();

    assert_int_equal(journal_trace(bench->journal, cause, take_row, rows),
                     n_rows);
    json_t *hops = trace_hops(rows);
    json_decref(rows);
    return hops;
}

static const char *
hop_name(json_t *hops, size_t i)
{
    return json_string_value(json_object_get(json_array_get(hops, i), "hop"));
}

static void
trace_leads_from_the_request_to_the_written_pstate(void **state)
{
    static const char *const path[] = {
        "request_ended",     "probe_read",     "agent_sent",    "back_received",
        "engine_noted",      "decided",        "arbiter_chose", "action_sent",
        "platform_received", "limits_checked", "driver_wrote",  "read_back",
        "outcome",
    };
    struct bench *bench = *state;
    json_int_t last = 0;

    uint64_t cause = tell_notice(bench);
    assert_int_equal(bench->action.set_pstate.pstate, 1);
    tell_outcome(bench);
    json_t *hops = hops_of(bench, cause, 4);
    assert_int_equal(json_array_size(hops), sizeof path / sizeof *path);
    for (size_t i = 0; i < sizeof path / sizeof *path; i++) {
        json_t *hop = json_array_get(hops, i);
        assert_string_equal(hop_name(hops, i), path[i]);
        /* On the MVM's clock, and in order. */
        json_int_t at = json_integer_value(json_object_get(hop, "at_ns"));
        assert_true(at >= last);
        assert_int_equal(json_integer_value(json_object_get(hop, "error_ns")),
                         i < 3 ? 1500 : 0);
        last = at;
    }
    json_decref(hops);
}

static void
trace_of_a_lowering_begins_with_the_look_at_utilization(void **state)
{
    struct bench *bench = *state;

    tell_notice(bench);
    tell_outcome(bench);
    uint64_t command = bench->action.set_pstate.command;
    for (uint64_t i = 1; bench->action.set_pstate.command == command; i++) {
        struct msg msg = message(MSG_SAMPLE_VM);
        assert_true(i < 10);
        bench->now += 500 * MS;
        msg.sample_vm.vm = bench->guest.uuid;
        msg.sample_vm.time_ns = bench->now;
        msg.sample_vm.available_ns = i * 500 * MS;
        msg.sample_vm.busy_ns = i * 100 * MS;
        tell(bench, &msg);
        engine_run(bench->engine, bench->now);
    }
    tell_outcome(bench);
    json_t *hops = hops_of(bench, bench->action.set_pstate.cause, 4);
    json_t *decided = json_array_get(hops, 2);
    assert_string_equal(hop_name(hops, 0), "sampled");
    assert_string_equal(hop_name(hops, 1), "engine_noted");
    assert_string_equal(hop_name(hops, 2), "decided");
    const char *why = json_string_value(json_object_get(decided, "text"));
    assert_non_null(strstr(why, "basic/lower"));
    assert_non_null(strstr(why, "utilization 20 %"));
    json_decref(hops);
}

static void
nothing_is_allocated_in_a_turn(void **state)
{
    struct bench *bench = *state;

    for (unsigned i = 0; i < 4; i++) { /* The journal's rows find a place. */
        tell_notice(bench);
        tell_outcome(bench);
    }
    uint64_t before = n_allocated;
    assert_true(before > 0); /* The linker does its part. */
    for (unsigned i = 0; i < 100; i++) {
        struct engine_status status;
        tell_notice(bench);
        tell_outcome(bench);
        engine_status(bench->engine, bench->now, &status);
        engine_deadline(bench->engine);
    }
    assert_int_equal(n_allocated, before);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int
main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(trace_leads_from_the_request_to_the_written_pstate),
        TEST(trace_of_a_lowering_begins_with_the_look_at_utilization),
        TEST(nothing_is_allocated_in_a_turn),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
