/* SPDX-License-Identifier: Apache-2.0 */
/* The engine's turn: events were noted in the model when they came; here the
 * policy is asked, the arbiter decides, and what changed goes to the platform,
 * the journal and those who watch.  Relies on policy/ through its door, on
 * arbiter.c and journal.h; called by the engine's process shell and by msim.
 *
 * While the journal fails the engine is read-only: it takes back all wishes,
 * which releases all domains, and does not ask the policy, until a row is taken
 * again.  Then the policy begins afresh.  After engine_create() memory is taken
 * only where another policy or configuration is put in force. */
#include "broker/engine/engine.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/text.h"
#include "broker/engine/engine_parts.h"

static void add_configured(struct engine *);
static bool ends_epoch(struct engine *, nsec_t now);
static void check_journal(struct engine *, nsec_t now);
static bool act(struct engine *, nsec_t now);

static int
make_tables(struct engine *engine)
{
    const struct broker_config *config = engine->config;
    uint32_t n_domains = config->n_cpus + 1; /* Of one CPU each, at most. */
    uint32_t n_vms = config_guest_places(config) + ENGINE_VMS_SPARE;
    uint32_t n_wishes = n_vms * VM_VCPUS_MAX;
    size_t n_times = (size_t)n_domains * PSTATES_MAX;

    int error = host_init(&engine->host, config->n_cpus, n_domains, n_vms);
    if (error) {
        return error;
    }
    error = arbiter_create(&engine->arbiter, &engine->host, config->dwell_ns);
    if (error) {
        return error;
    }
    engine->wishes.wish = calloc(n_wishes, sizeof *engine->wishes.wish);
    engine->wishes.max = n_wishes;
    engine->fresh = calloc(n_wishes, sizeof *engine->fresh);
    engine->knobs = calloc(n_domains, sizeof *engine->knobs);
    engine->was = calloc(n_domains, sizeof *engine->was);
    engine->pstate_time = calloc(n_times, sizeof *engine->pstate_time);
    engine->pstate_time_now = calloc(n_times, sizeof *engine->pstate_time);
    engine->vm_rows = calloc(n_vms, sizeof *engine->vm_rows);
    if (!engine->wishes.wish || !engine->fresh || !engine->knobs ||
        !engine->was || !engine->pstate_time || !engine->pstate_time_now ||
        !engine->vm_rows) {
        return -ENOMEM;
    }
    return 0;
}

int
engine_create(struct engine **out, const struct broker_config *config,
              const struct engine_port *port, struct journal *journal,
              nsec_t now)
{
    struct engine *engine = calloc(1, sizeof *engine);
    const struct option_values *options = NULL;
    const char *policy = "none";
    char why[160];

    if (!engine) {
        return -ENOMEM;
    }
    engine->config = config;
    engine->port = port;
    engine->journal = journal;
    engine->started = now;
    engine->tell_back = NSEC_NEVER;
    uint64_t start = journal_start_count(journal);
    cause_counter_init(&engine->causes, start, true);
    cause_counter_init(&engine->commands, start, false);
    if (config->policy) {
        policy = config->policy->name;
        options = &config->policy_options;
    }
    int error = make_tables(engine);
    if (!error) {
        add_configured(engine);
        engine_recall_cap(engine);
        error =
            engine_set_policy(engine, policy, options, now, why, sizeof why);
    }
    if (!error) {
        error = engine_tape_open(engine, now);
    }
    if (error) {
        engine_destroy(engine);
        return error;
    }
    *out = engine;
    return 0;
}

/* The CPUs and guests that the configuration names are in the model from the
 * start, so that it does not matter who reports first. */
static void
add_configured(struct engine *engine)
{
    const struct broker_config *config = engine->config;
    struct host *host = &engine->host;

    text_copy(host->id, sizeof host->id, config->host_id);
    for (uint32_t i = 0; i < config->n_cpus; i++) {
        struct cpu *cpu = &host->cpus[host->n_cpus++];
        cpu->id = config->cpus[i];
        cpu->domain = UINT32_MAX;
        cpu->util_permille = UTIL_UNKNOWN;
    }
    for (uint32_t i = 0; i < config->n_guests; i++) {
        engine_add_configured(engine, &config->guests[i]);
    }
}

void
engine_add_configured(struct engine *engine, const struct guest_config *guest)
{
    struct vm *vm = engine_new_vm(engine, &guest->uuid);

    assert(vm);
    text_copy(vm->name, sizeof vm->name, guest->name);
    vm->state = VM_ENDED;
    vm->n_vcpus = guest->n_vcpus;
    memcpy(vm->vcpu_cpu, guest->vcpu_cpu, sizeof vm->vcpu_cpu);
}

void
engine_destroy(struct engine *engine)
{
    if (!engine) {
        return;
    }
    engine_tape_close(engine);
    engine_unprepare(engine);
    arbiter_destroy(engine->arbiter);
    host_fini(&engine->host);
    free(engine->host_state);
    free(engine->vm_states);
    free(engine->wishes.wish);
    free(engine->fresh);
    free(engine->knobs);
    free(engine->was);
    free(engine->pstate_time);
    free(engine->pstate_time_now);
    free(engine->vm_rows);
    free(engine);
}

/* The turn. */

void
engine_run(struct engine *engine, nsec_t now)
{
    engine_turn(engine, ends_epoch(engine, now), now);
}

void
engine_turn(struct engine *engine, bool epoch, nsec_t now)
{
    bool asks;

    engine->counts.n_turns++;
    engine_account(engine, now);
    if (epoch) {
        journal_run(engine->journal, now);
    }
    check_journal(engine, now);
    engine->n_fresh = 0;
    asks = engine->ready && !engine->read_only && (epoch || engine->urgent);
    if (asks) {
        engine_tape_resume(engine, now);
        engine_ask_policy(engine, epoch, now);
        engine_clear_news(engine);
    } else if (engine->read_only) {
        engine_clear_news(engine);
    }
    engine_run_cap(engine, now);
    engine_tell_back(engine, now);
    bool changed = act(engine, now);
    engine_tape_turn(engine, epoch, asks || changed, now);
    if (epoch) {
        engine_watch_epoch(engine, now);
        engine->epoch_requests = 0;
        engine->epoch_violations = 0;
        engine->n_own_rows = 0;
    }
}

nsec_t
engine_deadline(const struct engine *engine)
{
    nsec_t deadline =
        nsec_min(engine->next_epoch, arbiter_deadline(engine->arbiter));

    deadline = nsec_min(deadline, engine_cap_deadline(engine));
    deadline = nsec_min(deadline, engine->tell_back);
    return nsec_min(deadline, engine_act_deadline(engine));
}

/* Epochs keep their grid; those that passed while nobody ran are left out. */
static bool
ends_epoch(struct engine *engine, nsec_t now)
{
    nsec_t length = engine->config->epoch_ns;

    if (now < engine->next_epoch) {
        return false;
    }
    engine->next_epoch += length;
    if (engine->next_epoch <= now) {
        engine->next_epoch += (now - engine->next_epoch) / length * length;
        engine->next_epoch += length;
    }
    return true;
}

static void
check_journal(struct engine *engine, nsec_t now)
{
    struct journal_health health;
    uint64_t cause;

    journal_health(engine->journal, &health);
    if (!engine->read_only && !engine->journal_error && !health.failing) {
        return;
    }
    if (!engine->read_only) {
        engine->read_only = true;
        cause = cause_next(&engine->causes);
        engine_record_words(
            engine, "READ_ONLY", cause, true, "journal",
            health.reason[0] ? health.reason : "a row was not taken", now);
        arbiter_forget_all(engine->arbiter, cause);
        engine_zero_policy_states(engine);
        return;
    }
    if (health.failing) {
        return;
    }
    /* The next row shows whether it works again. */
    engine->journal_error = 0;
    cause = cause_next(&engine->causes);
    engine_record_words(engine, "JOURNAL_BACK", cause, false, "journal",
                        "rows are taken again", now);
    if (!engine->journal_error) {
        engine->read_only = false;
        engine_cap_journal_back(engine, now);
        engine->next_epoch = now; /* The policy begins in the next turn. */
    }
}

/* A change that no event was told for (a wish expired, a vCPU moved) gets a
 * number of its own, so that its action can be traced. */
static void
number_verdict(struct engine *engine, uint32_t domain, nsec_t now)
{
    uint64_t cause = cause_next(&engine->causes);
    char subject[NAME_TEXT_SIZE];
    struct jsonline line;

    arbiter_blame(engine->arbiter, domain, cause);
    engine_subject_domain(engine, domain, subject);
    engine_detail(engine, &line);
    jsonline_text(&line, "reason", "a wish expired, or a vCPU moved");
    engine_record(engine, JOURNAL_EVENT, cause, 0, subject, "WISH_ENDED", &line,
                  now);
}

/* First what is to be done, then what is to be written about it.  True if a
 * verdict changed. */
static bool
act(struct engine *engine, nsec_t now)
{
    const struct verdict *verdicts;
    bool changed = false;
    uint32_t n = arbiter_resolve(engine->arbiter, now, &verdicts);

    for (uint32_t i = 0; i < n; i++) {
        engine->was[i] = engine->host.domains[i].pstate;
        changed |= verdicts[i].changed;
        if (verdicts[i].changed && verdicts[i].cause == CAUSE_NONE) {
            number_verdict(engine, i, now);
        }
        engine_act(engine, i, &verdicts[i], now);
    }
    engine_record_decisions(engine, verdicts, n, engine->was, now);
    for (uint32_t i = 0; i < n; i++) {
        if (engine->knobs[i].unrecorded) {
            engine_record_action(engine, i);
        }
    }
    return changed;
}

void
engine_account(struct engine *engine, nsec_t now)
{
    nsec_t passed = now - engine->accounted;

    for (uint32_t i = 0; i < engine->host.n_domains; i++) {
        const struct domain *domain = &engine->host.domains[i];
        if (domain->known && passed > 0) {
            engine->pstate_time[i * PSTATES_MAX + domain->pstate] += passed;
        }
    }
    engine->accounted = now;
}

/* What people ask. */

static int
ask_vm(struct engine *engine, const struct uuid *uuid, enum vm_op op,
       const char *to, nsec_t now, char *why, size_t why_size)
{
    char subject[NAME_TEXT_SIZE];
    struct jsonline line;

    if (!host_vm(&engine->host, uuid)) {
        snprintf(why, why_size, "no such VM on this host");
        return -ENOENT;
    }
    if (!engine->ready) {
        snprintf(why, why_size, "the platform process is not ready");
        return -EAGAIN;
    }
    if (engine->read_only) {
        snprintf(why, why_size, "the journal fails, so nothing is changed");
        return -EROFS;
    }
    uint64_t cause = cause_next(&engine->causes);
    engine_subject_vm(engine, uuid, NAME_VM, subject);
    engine_detail(engine, &line);
    jsonline_text(&line, "op", vm_op_name(op));
    if (op == VM_OP_MIGRATE) {
        jsonline_text(&line, "to", to);
    }
    engine_record(engine, JOURNAL_EVENT, cause, 0, subject, "VM_ASKED", &line,
                  now);
    return engine_send_vm_command(engine, uuid, op, to, cause, now, why,
                                  why_size);
}

int
engine_control_vm(struct engine *engine, const struct uuid *uuid, enum vm_op op,
                  nsec_t now, char *why, size_t why_size)
{
    assert(op != VM_OP_MIGRATE);
    return ask_vm(engine, uuid, op, "", now, why, why_size);
}

int
engine_migrate_vm(struct engine *engine, const struct uuid *uuid,
                  const char *to, nsec_t now, char *why, size_t why_size)
{
    return ask_vm(engine, uuid, VM_OP_MIGRATE, to, now, why, why_size);
}

void
engine_status(const struct engine *engine, nsec_t now,
              struct engine_status *out)
{
    size_t n = (size_t)engine->host.n_domains * PSTATES_MAX;
    nsec_t passed = now > engine->accounted ? now - engine->accounted : 0;

    memset(out, 0, sizeof *out);
    out->host = &engine->host;
    out->policy = engine->policy;
    out->policy_options = &engine->options;
    out->counts = &engine->counts;
    out->arbiter = engine->arbiter;
    out->started = engine->started;
    out->platform_ready = engine->ready;
    out->read_only = engine->read_only;
    text_copy(out->trouble, sizeof out->trouble, engine->trouble);
    memcpy(engine->pstate_time_now, engine->pstate_time, n * sizeof(nsec_t));
    for (uint32_t i = 0; i < engine->host.n_domains; i++) {
        const struct domain *domain = &engine->host.domains[i];
        if (domain->known) {
            engine->pstate_time_now[i * PSTATES_MAX + domain->pstate] += passed;
        }
    }
    out->pstate_time = engine->pstate_time_now;
}
