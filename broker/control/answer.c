/* SPDX-License-Identifier: Apache-2.0 */
/* Carries a decoded request to whoever knows the answer.  Whether the sender
 * may ask was decided in broker/control/control.c; what a request means is
 * decided here, and every refusal says what to do next.  Called by
 * broker/control/control.c. */
#include "broker/control/answer.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/text.h"
#include "broker/engine/engine.h"
#include "broker/journal/journal.h"
#include "broker/control/notes.h"
#include "broker/control/show.h"
#include "broker/control/trace.h"
#include "broker/control/why.h"
#include "hypervisor/hypervisor.h"
#include "model/cause.h"
#include "policy/policy.h"

static json_t *set_policy(const struct control_env *, const struct request *,
                          nsec_t now, struct request_fault *fault);
static json_t *set_cap(const struct control_env *, const struct request *,
                       nsec_t now, struct request_fault *fault);
static json_t *reload(const struct control_env *, struct request_fault *fault);
static json_t *control_vm(const struct control_env *, const struct request *,
                          enum vm_op, nsec_t now, struct request_fault *fault);
static json_t *trace(const struct control_env *, const char *cause,
                     struct request_fault *fault);
static json_t *events(const struct control_env *, const struct request *,
                      nsec_t now, struct request_fault *fault);
static json_t *power(const struct control_env *, nsec_t now);
static json_t *fail(struct request_fault *fault, const char *what,
                    const char *why, const char *next);

json_t *
answer_request(const struct control_env *env, const struct request *request,
               nsec_t now, struct request_fault *fault)
{
    fail(fault, "the broker is short of memory", "the answer did not fit",
         "try again");
    switch (request->verb) {
    case REQUEST_STATUS:
    case REQUEST_WATCH:
        return show_status(env, now);
    case REQUEST_VMS:
        return show_vms(env, now);
    case REQUEST_CPUS:
        return show_cpus(env, now);
    case REQUEST_POWER:
        return power(env, now);
    case REQUEST_CAP:
        return show_cap(env, now);
    case REQUEST_CAP_SET:
        return set_cap(env, request, now, fault);
    case REQUEST_POLICY:
        return show_policy(env, now);
    case REQUEST_POLICY_SET:
        return set_policy(env, request, now, fault);
    case REQUEST_WHY:
        return why_knob(env, request->subject, now, fault);
    case REQUEST_TRACE:
        return trace(env, request->subject, fault);
    case REQUEST_PLUGINS:
        return show_plugins(env, now);
    case REQUEST_EVENTS:
        return events(env, request, now, fault);
    case REQUEST_NOTES:
        return notes_answer(env, request, now, fault);
    case REQUEST_VM_START:
        return control_vm(env, request, VM_OP_START, now, fault);
    case REQUEST_VM_FREEZE:
        return control_vm(env, request, VM_OP_FREEZE, now, fault);
    case REQUEST_VM_THAW:
        return control_vm(env, request, VM_OP_THAW, now, fault);
    case REQUEST_VM_END:
        return control_vm(env, request, VM_OP_END, now, fault);
    case REQUEST_VM_MIGRATE:
        return control_vm(env, request, VM_OP_MIGRATE, now, fault);
    case REQUEST_RELOAD:
        return reload(env, fault);
    case REQUEST_VERB_N:
        break;
    }
    return NULL;
}

static json_t *
fail(struct request_fault *fault, const char *what, const char *why,
     const char *next)
{
    request_printable(fault->what, sizeof fault->what, what);
    request_printable(fault->why, sizeof fault->why, why);
    request_printable(fault->next, sizeof fault->next, next);
    return NULL;
}

static json_t *
power(const struct control_env *env, nsec_t now)
{
    struct engine_status status;

    engine_status(env->engine, now, &status);
    return show_power(&status.host->power, now);
}

/* Changes. */

static json_t *
no_such_policy(const char *name, struct request_fault *fault)
{
    char word[64], what[128], next[256] = "choose one of:";

    request_printable(word, sizeof word, name);
    snprintf(what, sizeof what, "there is no policy \"%s\"", word);
    for (size_t i = 0; policy_table[i]; i++) {
        text_append(next, sizeof next, " %s", policy_table[i]->name);
    }
    return fail(fault, what, "this build has none of that name", next);
}

static json_t *
set_policy(const struct control_env *env, const struct request *request,
           nsec_t now, struct request_fault *fault)
{
    const struct policy_class *policy = policy_find(request->subject);
    struct option_values options;
    char why[256] = "";

    if (!policy) {
        return no_such_policy(request->subject, fault);
    }
    options_init(&options, policy->options);
    for (uint32_t i = 0; i < request->n_options; i++) {
        if (options_set(&options, request->options[i].name,
                        request->options[i].text, why, sizeof why)) {
            return fail(fault, "the policy was not changed", why,
                        "\"mctl policy show\" lists each policy's options "
                        "with their ranges");
        }
    }
    int error = engine_set_policy(env->engine, policy->name, &options, now, why,
                                  sizeof why);
    if (error) {
        return fail(fault, "the policy was not changed",
                    why[0] ? why : strerror(-error),
                    "the old policy is still in force; change the options and "
                    "try again");
    }
    return show_policy(env, now);
}

static json_t *
set_cap(const struct control_env *env, const struct request *request,
        nsec_t now, struct request_fault *fault)
{
    const struct cap_order order = {
        .any_term = !request->has_term,
        .term = request->term,
        .order = request->order,
        .mw = request->cap_mw,
        .lease_ns = (nsec_t)request->lease_ms * NSEC_PER_MSEC,
        .expires_ns = (nsec_t)request->within_ms * NSEC_PER_MSEC,
    };
    char why[256] = "";

    int error = engine_set_cap(env->engine, &order, now, why, sizeof why);
    if (error) {
        return fail(fault, "the cap was not ordered",
                    why[0] ? why : strerror(-error),
                    "\"mctl cap\" shows what holds and who ordered it");
    }
    return show_cap(env, now);
}

static json_t *
reload(const struct control_env *env, struct request_fault *fault)
{
    char why[256] = "nobody here reads it";

    int error =
        env->ask_reload ? env->ask_reload(env->ctx, why, sizeof why) : -ENOTSUP;
    if (error) {
        return fail(fault, "the configuration can't be read again", why,
                    "try again; what holds stays");
    }
    return show_reload(env);
}

static json_t *
control_vm(const struct control_env *env, const struct request *request,
           enum vm_op op, nsec_t now, struct request_fault *fault)
{
    struct engine_status status;
    char why[256] = "", what[128];
    struct vm *vm;

    engine_status(env->engine, now, &status);
    vm = show_find_vm(status.host, request->subject, fault);
    if (!vm) {
        return NULL;
    }
    int error = op == VM_OP_MIGRATE
                    ? engine_migrate_vm(env->engine, &vm->uuid, request->to,
                                        now, why, sizeof why)
                    : engine_control_vm(env->engine, &vm->uuid, op, now, why,
                                        sizeof why);
    if (error) {
        snprintf(what, sizeof what, "can't %s \"%s\"", vm_op_name(op),
                 vm->name);
        return fail(fault, what, why[0] ? why : strerror(-error),
                    "\"mctl vms\" shows its state, \"mctl events\" what came "
                    "before");
    }
    return json_pack("{s:s,s:s,s:s}", "vm", vm->name, "op", vm_op_name(op),
                     "state", "asked");
}

/* The journal. */

static void
take_row(void *rows, const struct journal_row *row)
{
    show_append(rows, show_row(row));
}

static json_t *
journal_fault(int error, struct request_fault *fault)
{
    return fail(fault, "the journal can't be read", strerror(-error),
                "see \"mctl status\" for the journal's health and the "
                "broker's log");
}

static json_t *
trace(const struct control_env *env, const char *text,
      struct request_fault *fault)
{
    char what[128], word[64], name[CAUSE_TEXT_SIZE];
    uint64_t cause;

    request_printable(word, sizeof word, text);
    if (cause_parse(&cause, text, journal_start_count(env->journal))) {
        snprintf(what, sizeof what, "\"%s\" is no cause number", word);
        return fail(fault, what,
                    "a cause is START.N or START.eN, or N alone for this start",
                    "\"mctl events\" shows the last ones");
    }
    json_t *rows = json_array();
    int n = journal_trace(env->journal, cause, take_row, &rows);
    if (n <= 0) {
        json_decref(rows);
        if (n < 0) {
            return journal_fault(n, fault);
        }
        snprintf(what, sizeof what, "nothing is known of cause \"%s\"", word);
        return fail(fault, what,
                    "it never was, or the journal's limits of age and size "
                    "have dropped it",
                    "\"mctl events\" shows the last ones");
    }
    cause_format(cause, name);
    return json_pack("{s:s,s:o,s:o}", "cause", name, "hops", trace_hops(rows),
                     "rows", rows);
}

/* A VM that is gone goes by its UUID. */
static int
name_vm(const struct control_env *env, const char *name, nsec_t now,
        char out[UUID_TEXT_SIZE], struct request_fault *fault)
{
    struct engine_status status;
    struct uuid uuid;

    if (uuid_parse(&uuid, name)) {
        engine_status(env->engine, now, &status);
        const struct vm *vm = show_find_vm(status.host, name, fault);
        if (!vm) {
            return -ENOENT;
        }
        uuid = vm->uuid;
    }
    uuid_format(&uuid, out);
    return 0;
}

static json_t *
events(const struct control_env *env, const struct request *request, nsec_t now,
       struct request_fault *fault)
{
    struct journal_scan scan = {.after = request->after,
                                .before = request->before,
                                .forward = request->forward,
                                .n = request->n};

    scan.filter.since_ns = request->since_ns;
    scan.filter.until_ns = request->until_ns;
    text_copy(scan.filter.type, sizeof scan.filter.type, request->type);
    if (request->subject[0] &&
        name_vm(env, request->subject, now, scan.filter.vm, fault)) {
        return NULL;
    }
    json_t *rows = json_array();
    int error = journal_scan(env->journal, &scan, take_row, &rows);

    if (error < 0) {
        json_decref(rows);
        return journal_fault(error, fault);
    }
    return json_pack("{s:o,s:I,s:b}", "rows", rows, "reached",
                     (json_int_t)scan.reached, "more", (int)scan.more);
}
