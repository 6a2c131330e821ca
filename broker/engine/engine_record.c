/* SPDX-License-Identifier: Apache-2.0 */
/* What the engine writes down: rows for the journal (docs/journal.md has their
 * keys) and lines for those who watch.  Relies on broker/engine/jsonline.h,
 * since the engine allocates nothing; called by the other files of the engine.
 *
 * Rows are bounded: what a guest causes by VM, what nobody in particular causes
 * for all together, decisions by the number of domains and vCPUs.  Samples and
 * reports get none: the counters they carry stand in the epoch's watch line and
 * in the values of the decisions they lead to. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/text.h"
#include "broker/engine/engine_parts.h"

/* Subjects. */

void
engine_subject_vm(const struct engine *engine, const struct uuid *vm,
                  enum name_kind kind, char out[NAME_TEXT_SIZE])
{
    name_of_vm(engine->config->domain, vm, kind, out);
}

void
engine_subject_domain(const struct engine *engine, uint32_t index,
                      char out[NAME_TEXT_SIZE])
{
    const struct domain *domain = &engine->host.domains[index];

    name_of_host(engine->config->domain, engine->config->host_id, NAME_PSTATE,
                 domain->desc.n_cpus ? domain->desc.cpus[0] : 0, out);
}

void
engine_subject_broker(const struct engine *engine, char out[NAME_TEXT_SIZE])
{
    name_of_host(engine->config->domain, engine->config->host_id, NAME_BROKER,
                 0, out);
}

/* Rows. */

void
engine_detail(struct engine *engine, struct jsonline *line)
{
    jsonline_begin(line, engine->detail, sizeof engine->detail);
}

/* The same as a row, for those who watch: {"type", "time_ns", …, "detail"}. */
static void
watch_row(struct engine *engine, const struct journal_row *row)
{
    static const char *const types[] = {
        [JOURNAL_EVENT] = "event",
        [JOURNAL_DECISION] = "decision",
        [JOURNAL_ACTION] = "action",
        [JOURNAL_OUTCOME] = "outcome",
    };
    char cause[CAUSE_TEXT_SIZE], head[512];
    struct jsonline line;

    cause_format(row->cause, cause);
    jsonline_begin(&line, head, sizeof head);
    jsonline_text(&line, "type", types[row->kind]);
    jsonline_int(&line, "time_ns", row->time);
    jsonline_text(&line, "cause", cause);
    jsonline_text(&line, "subject", row->subject);
    jsonline_text(&line, "name", row->name);
    jsonline_end(&line);
    /* Both are whole objects: the one goes into the other by its last brace. */
    snprintf(engine->line, sizeof engine->line, "%.*s,\"detail\":%s}",
             (int)line.used - 1, head, row->detail);
    engine->port->watch(engine->port->ctx, engine->line);
}

void
engine_record(struct engine *engine, enum journal_kind kind, uint64_t cause,
              uint64_t command, const char *subject, const char *name,
              struct jsonline *detail, nsec_t now)
{
    const struct engine_port *port = engine->port;
    struct journal_row row;

    jsonline_end(detail);
    memset(&row, 0, sizeof row);
    row.cause = cause;
    row.command = command;
    row.kind = kind;
    row.time = now;
    row.wall_ns = port->wall_ns ? port->wall_ns(port->ctx) : 0;
    text_copy(row.subject, sizeof row.subject, subject);
    text_copy(row.name, sizeof row.name, name);
    text_copy(row.detail, sizeof row.detail, engine->detail);
    int error = journal_add(engine->journal, &row);
    if (error) {
        engine->journal_error = error;
    }
    if (port->watch) {
        watch_row(engine, &row);
    }
}

void
engine_trouble(struct engine *engine, const char *where, const char *reason)
{
    snprintf(engine->trouble, sizeof engine->trouble, "%.60s%s%.90s", where,
             where[0] ? ": " : "", reason);
}

void
engine_record_words(struct engine *engine, const char *name, uint64_t cause,
                    bool trouble, const char *where, const char *words,
                    nsec_t now)
{
    char subject[NAME_TEXT_SIZE];
    struct jsonline line;

    if (trouble) {
        engine_trouble(engine, where, words);
    }
    if (engine->n_own_rows == ENGINE_OWN_ROWS_MAX) {
        return;
    }
    engine->n_own_rows++;
    engine_subject_broker(engine, subject);
    engine_detail(engine, &line);
    if (where[0]) {
        jsonline_text(&line, "where", where);
    }
    jsonline_text(&line, "reason", words);
    engine_record(engine, JOURNAL_EVENT, cause, 0, subject, name, &line, now);
}

/* Reasons. */

/* Takes a member of an array back that only half fits. */
static bool
is_whole(struct jsonline *line, const struct jsonline *was)
{
    if (line->cut && !was->cut) {
        *line = *was;
        line->cut = true;
        return false;
    }
    return true;
}

static void
put_values(struct jsonline *line, const struct reason *reason)
{
    if (!jsonline_open_array(line, "values")) {
        return;
    }
    for (uint32_t i = 0; i < reason->n_values; i++) {
        struct jsonline was = *line;
        if (!jsonline_open_object(line, NULL)) {
            break;
        }
        jsonline_text(line, "name", reason->values[i].name);
        jsonline_real(line, "value", reason->values[i].value);
        jsonline_text(line, "unit", reason->values[i].unit);
        jsonline_close(line);
        if (!is_whole(line, &was)) {
            break;
        }
    }
    jsonline_close(line);
}

static void
put_rejected(struct jsonline *line, const struct reason *reason)
{
    if (!reason->n_rejected || !jsonline_open_array(line, "rejected")) {
        return;
    }
    for (uint32_t i = 0; i < reason->n_rejected; i++) {
        struct jsonline was = *line;
        if (!jsonline_open_object(line, NULL)) {
            break;
        }
        jsonline_int(line, "choice", reason->rejected[i].choice);
        jsonline_text(line, "why", reason->rejected[i].why);
        jsonline_close(line);
        if (!is_whole(line, &was)) {
            break;
        }
    }
    jsonline_close(line);
}

static void
put_vm(struct jsonline *line, const struct wish *wish)
{
    char uuid[UUID_TEXT_SIZE];

    if (!uuid_is_zero(&wish->vm)) {
        uuid_format(&wish->vm, uuid);
        jsonline_text(line, "vm", uuid);
        jsonline_uint(line, "vcpu", wish->vcpu);
    }
}

uint64_t
engine_record_look(struct engine *engine, const struct wish *wish, nsec_t now)
{
    const struct vm *vm = host_vm(&engine->host, &wish->vm);
    uint64_t cause = cause_next(&engine->causes);
    char subject[NAME_TEXT_SIZE];
    struct jsonline line;

    engine_subject_vm(engine, &wish->vm, NAME_VM, subject);
    engine_detail(engine, &line);
    jsonline_text(&line, "rule", wish->reason.rule);
    put_values(&line, &wish->reason);
    if (vm) {
        jsonline_int(&line, "sample_ns", vm->sample_time);
        jsonline_uint(&line, "busy_ns", vm->busy_ns);
        jsonline_uint(&line, "available_ns", vm->available_ns);
    }
    engine_record(engine, JOURNAL_EVENT, cause, 0, subject, "UTILIZATION",
                  &line, now);
    return cause;
}

/* Decisions. */

static void
put_losers(struct jsonline *line, const struct verdict *verdict)
{
    jsonline_uint(line, "n_losers", verdict->n_losers + verdict->n_more_losers);
    if (!verdict->n_losers || !jsonline_open_array(line, "losers")) {
        return;
    }
    for (uint32_t i = 0; i < verdict->n_losers; i++) {
        struct jsonline was = *line;
        if (!jsonline_open_object(line, NULL)) {
            break;
        }
        put_vm(line, &verdict->losers[i].wish);
        jsonline_int(line, "value", verdict->losers[i].wish.value);
        jsonline_text(line, "rule", verdict->losers[i].wish.reason.rule);
        jsonline_text(line, "why", verdict->losers[i].why);
        jsonline_close(line);
        if (!is_whole(line, &was)) {
            break;
        }
    }
    jsonline_close(line);
}

/* What the policy said in this turn because of that event; null if it was not
 * the policy that brought it about (a wish expired, a VM went). */
static const struct wish *
fresh_wish_of(const struct engine *engine, uint64_t cause)
{
    for (uint32_t i = 0; i < engine->n_fresh; i++) {
        const struct wish *wish = &engine->wishes.wish[engine->fresh[i]];
        if (wish->reason.cause == cause) {
            return wish;
        }
    }
    return NULL;
}

static void
record_verdict(struct engine *engine, const struct verdict *verdict,
               uint32_t was, nsec_t now)
{
    const struct wish *wish = fresh_wish_of(engine, verdict->cause);
    const char *rule = verdict->wanted ? "arbiter/next" : "arbiter/release";
    char subject[NAME_TEXT_SIZE];
    struct jsonline line;

    if (wish) {
        rule = wish->reason.rule;
    } else if (verdict->wanted) {
        wish = &verdict->winner;
    }
    engine_subject_domain(engine, verdict->domain, subject);
    engine_detail(engine, &line);
    jsonline_uint(&line, "domain",
                  engine->host.domains[verdict->domain].desc.id);
    if (verdict->wanted) {
        jsonline_uint(&line, "pstate", verdict->pstate);
    }
    jsonline_uint(&line, "from", was);
    if (wish) {
        put_vm(&line, wish);
        put_values(&line, &wish->reason);
        put_rejected(&line, &wish->reason);
    }
    if (verdict->wanted) {
        jsonline_text(&line, "winner", verdict->winner.reason.rule);
    }
    put_losers(&line, verdict);
    engine->counts.n_decisions++;
    engine_record(engine, JOURNAL_DECISION, verdict->cause, 0, subject, rule,
                  &line, now);
}

/* A wish changed and nothing came of it: people who trace it should find out
 * why not. */
static void
record_vain_wish(struct engine *engine, const struct wish *wish, nsec_t now)
{
    const struct vm *vm = host_vm(&engine->host, &wish->vm);
    const struct domain *domain =
        vm && wish->vcpu < vm->n_vcpus
            ? host_domain_of_cpu(&engine->host, vm->vcpu_cpu[wish->vcpu])
            : NULL;
    char subject[NAME_TEXT_SIZE];
    struct jsonline line;

    if (!domain) {
        return;
    }
    uint32_t index = (uint32_t)(domain - engine->host.domains);
    const struct verdict *verdict = arbiter_verdict(engine->arbiter, index);
    engine_subject_domain(engine, index, subject);
    engine_detail(engine, &line);
    jsonline_bool(&line, "effect", false);
    if (!wish->withdraw) {
        jsonline_int(&line, "wished", wish->value);
    }
    put_vm(&line, wish);
    put_values(&line, &wish->reason);
    put_rejected(&line, &wish->reason);
    if (verdict && verdict->wanted) {
        jsonline_uint(&line, "stands", verdict->pstate);
        jsonline_text(&line, "winner", verdict->winner.reason.rule);
        jsonline_bool(&line, "held", verdict->held);
    }
    engine->counts.n_decisions++;
    engine_record(engine, JOURNAL_DECISION, wish->reason.cause, 0, subject,
                  wish->reason.rule, &line, now);
}

void
engine_record_decisions(struct engine *engine, const struct verdict *verdicts,
                        uint32_t n_verdicts, const uint32_t *was, nsec_t now)
{
    uint64_t last = CAUSE_NONE; /* A VM's vCPUs share a cause: one row. */

    for (uint32_t i = 0; i < n_verdicts; i++) {
        if (verdicts[i].changed) {
            record_verdict(engine, &verdicts[i], was[i], now);
        }
    }
    for (uint32_t i = 0; i < engine->n_fresh; i++) {
        const struct wish *wish = &engine->wishes.wish[engine->fresh[i]];
        bool vain = wish->reason.cause != last;
        for (uint32_t j = 0; j < n_verdicts && vain; j++) {
            vain =
                !verdicts[j].changed || verdicts[j].cause != wish->reason.cause;
        }
        if (vain) {
            record_vain_wish(engine, wish, now);
        }
        last = wish->reason.cause;
    }
}

void
engine_record_action(struct engine *engine, uint32_t domain)
{
    struct engine_knob *knob = &engine->knobs[domain];
    char subject[NAME_TEXT_SIZE];
    struct jsonline line;

    knob->unrecorded = false;
    engine_subject_domain(engine, domain, subject);
    engine_detail(engine, &line);
    jsonline_uint(&line, "domain", engine->host.domains[domain].desc.id);
    if (!knob->releasing) {
        jsonline_uint(&line, "pstate", knob->asked);
        jsonline_int(&line, "decided_ns", knob->sent);
    }
    jsonline_uint(&line, "attempt", knob->n_failed + 1);
    engine_record(engine, JOURNAL_ACTION, knob->asked_cause, knob->command,
                  subject, knob->releasing ? "RELEASE" : "SET_PSTATE", &line,
                  knob->sent);
}

/* The line of an epoch. */

static void
put_util(struct jsonline *line, uint32_t util_permille)
{
    if (util_permille == UTIL_UNKNOWN) {
        jsonline_null(line, "util_percent");
    } else {
        jsonline_real(line, "util_percent", util_permille / 10.0);
    }
}

static void
put_cpu(struct jsonline *line, const struct host *host, const struct cpu *cpu)
{
    const struct domain *domain = host_domain_of_cpu(host, cpu->id);

    jsonline_uint(line, "cpu", cpu->id);
    if (domain && domain->known) {
        jsonline_uint(line, "pstate", domain->pstate);
        jsonline_real(line, "freq_mhz",
                      domain->desc.table.freq_khz[domain->pstate] / 1000.0);
    }
    put_util(line, cpu->util_permille);
}

static void
put_vm_line(struct jsonline *line, const struct vm *vm)
{
    jsonline_text(line, "name", vm->name);
    jsonline_bool(line, "agent", vm->agent_up);
    put_util(line, vm->util_permille);
    jsonline_uint(line, "requests", vm->n_requests);
    jsonline_uint(line, "violations", vm->n_violations);
}

static void
put_power(struct jsonline *line, const struct power_reading *power)
{
    jsonline_text(line, "quality", quality_name(power->quality));
    if (power->quality == QUALITY_UNKNOWN) {
        jsonline_null(line, "power_w");
        return;
    }
    jsonline_real(line, "power_w", (double)power->power_mw / 1000);
    jsonline_text(line, "power_source", power->source);
}

void
engine_watch_epoch(struct engine *engine, nsec_t now)
{
    const struct host *host = &engine->host;
    struct jsonline line;

    if (!engine->port->watch) {
        return;
    }
    jsonline_begin(&line, engine->line, sizeof engine->line);
    jsonline_text(&line, "type", "epoch");
    jsonline_int(&line, "time_ns", now);
    jsonline_text(&line, "policy", engine->policy->name);
    jsonline_bool(&line, "read_only", engine->read_only);
    put_power(&line, &host->power);
    jsonline_uint(&line, "requests", engine->epoch_requests);
    jsonline_uint(&line, "violations", engine->epoch_violations);
    jsonline_uint(&line, "raises", engine->counts.n_raises);
    jsonline_uint(&line, "lowerings", engine->counts.n_lowerings);
    if (jsonline_open_array(&line, "cpus")) {
        for (uint32_t i = 0; i < host->n_cpus; i++) {
            struct jsonline was = line;
            if (!jsonline_open_object(&line, NULL)) {
                break;
            }
            put_cpu(&line, host, &host->cpus[i]);
            jsonline_close(&line);
            if (!is_whole(&line, &was)) {
                break;
            }
        }
        jsonline_close(&line);
    }
    if (jsonline_open_array(&line, "vms")) {
        for (uint32_t i = 0; i < host->n_vms; i++) {
            struct jsonline was = line;
            if (!jsonline_open_object(&line, NULL)) {
                break;
            }
            put_vm_line(&line, &host->vms[i]);
            jsonline_close(&line);
            if (!is_whole(&line, &was)) {
                break;
            }
        }
        jsonline_close(&line);
    }
    jsonline_end(&line);
    engine->port->watch(engine->port->ctx, engine->line);
}
