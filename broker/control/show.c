/* SPDX-License-Identifier: Apache-2.0 */
/* Turns what engine_status() and journal_health() say into JSON.  No decisions
 * here and no text for people: mctl and the console lay it out.  Called by
 * broker/control/answer.c. */
#include "broker/control/show.h"

#include <stdio.h>
#include <string.h>

#include "base/text.h"
#include "broker/config/config.h"
#include "broker/engine/engine.h"
#include "hardware/hardware.h"
#include "hypervisor/hypervisor.h"
#include "model/cause.h"
#include "model/name.h"
#include "policy/policy.h"
#include "wire/jsonread.h"
#include "wire/request.h"

#define SHOW_TEXT_SIZE 512 /* Of text that has to be made printable. */

static json_t *show_counts(const struct engine_counts *);
static json_t *show_journal(struct journal *);
static json_t *show_usage_of_all(const struct host *);
static json_t *show_vm(const struct vm *, const struct control_env *,
                       nsec_t now);
static json_t *show_cpu(const struct cpu *, const struct engine_status *);
static json_t *show_options(const struct option_desc *,
                            const struct option_values *);
static json_t *seconds(nsec_t);

json_t *
show_status(const struct control_env *env, nsec_t now)
{
    const struct broker_config *config = env->config;
    struct engine_status status;
    char name[NAME_TEXT_SIZE];
    uint32_t n_agents = 0;

    engine_status(env->engine, now, &status);
    for (uint32_t i = 0; i < status.host->n_vms; i++) {
        n_agents += status.host->vms[i].agent_up;
    }
    name_of_host(config->domain, config->host_id, NAME_HOST, 0, name);
    return json_pack(
        "{s:s,s:s,s:s,s:s,s:o,s:s,s:b,s:b,s:o,s:i,s:i,s:i,s:i,s:o?,s:o?,s:o?,"
        "s:o,s:o,s:o,s:o,s:o,s:o}",
        "version", MBROKER_VERSION, "name", name, "domain", config->domain,
        "host", config->host_id, "up_s", seconds(now - status.started),
        "policy", status.policy->name, "platform_ready", status.platform_ready,
        "read_only", status.read_only, "trouble", show_text(status.trouble),
        "cpus", (int)status.host->n_cpus, "domains",
        (int)status.host->n_domains, "vms", (int)status.host->n_vms, "agents",
        (int)n_agents, "pstate_driver",
        config->pstate ? json_string(config->pstate->name) : json_null(),
        "power_driver",
        config->power ? json_string(config->power->name) : json_null(),
        "hypervisor",
        config->hypervisor ? json_string(config->hypervisor->name)
                           : json_null(),
        "power", show_power(&status.host->power, now), "counts",
        show_counts(status.counts), "journal", show_journal(env->journal),
        "usage", show_usage_of_all(status.host), "cap", show_cap(env, now),
        "reload", show_reload(env));
}

json_t *
show_vms(const struct control_env *env, nsec_t now)
{
    struct engine_status status;
    json_t *vms = json_array();

    engine_status(env->engine, now, &status);
    for (uint32_t i = 0; i < status.host->n_vms; i++) {
        show_append(&vms, show_vm(&status.host->vms[i], env, now));
    }
    return json_pack("{s:o}", "vms", vms);
}

json_t *
show_cpus(const struct control_env *env, nsec_t now)
{
    struct engine_status status;
    json_t *cpus = json_array();

    engine_status(env->engine, now, &status);
    for (uint32_t i = 0; i < status.host->n_cpus; i++) {
        show_append(&cpus, show_cpu(&status.host->cpus[i], &status));
    }
    return json_pack("{s:o}", "cpus", cpus);
}

json_t *
show_power(const struct power_reading *power, nsec_t now)
{
    if (power->quality == QUALITY_UNKNOWN) {
        return json_pack("{s:n,s:s,s:n,s:n}", "power_w", "quality", "unknown",
                         "source", "age_s");
    }
    return json_pack("{s:f,s:s,s:s,s:o}", "power_w",
                     (double)power->power_mw / 1000, "quality",
                     quality_name(power->quality), "source", power->source,
                     "age_s", seconds(now - power->time));
}

json_t *
show_cap(const struct control_env *env, nsec_t now)
{
    struct engine_status status;

    engine_status(env->engine, now, &status);
    const struct power_cap *cap = &status.host->cap;
    if (cap->phase == CAP_NONE) {
        return json_pack("{s:s,s:n,s:n,s:s}", "phase", "none", "cap_w",
                         "read_w", "reason",
                         env->config->cap ? "the platform did not say yet"
                                          : "no driver for one is configured");
    }
    return json_pack(
        "{s:s,s:f,s:o,s:b,s:I,s:I,s:o,s:f,s:f,s:f,s:f,s:o}", "phase",
        cap_phase_name(cap->phase), "cap_w", (double)cap->mw / 1000, "read_w",
        cap->known ? json_real((double)cap->read_mw / 1000) : json_null(),
        "safe", cap->safe, "term", (json_int_t)cap->term, "order",
        (json_int_t)cap->order, "lease_s",
        cap->until == NSEC_NEVER ? json_null() : seconds(cap->until - now),
        "low_w", (double)cap->low_mw / 1000, "high_w",
        (double)cap->high_mw / 1000, "budget_w",
        (double)env->config->budget_max_mw / 1000, "safe_w",
        (double)env->config->budget_safe_mw / 1000, "reason",
        show_text(cap->reason));
}

json_t *
show_reload(const struct control_env *env)
{
    const struct control_reload *reload = env->reload;

    return reload ? json_pack("{s:i,s:i,s:b,s:o,s:o,s:s,s:I}", "asked",
                              (int)reload->n_asked, "done", (int)reload->n_done,
                              "refused", reload->refused, "reason",
                              show_text(reload->reason), "path",
                              show_text(reload->path ? reload->path : ""),
                              "hash", reload->hash, "since_ns",
                              (json_int_t)reload->wall_ns)
                  : json_null();
}

json_t *
show_policy(const struct control_env *env, nsec_t now)
{
    struct engine_status status;
    json_t *available = json_array();

    engine_status(env->engine, now, &status);
    for (size_t i = 0; policy_table[i]; i++) {
        show_append(&available,
                    json_pack("{s:s,s:s,s:o}", "name", policy_table[i]->name,
                              "summary", policy_table[i]->summary, "options",
                              show_options(policy_table[i]->options, NULL)));
    }
    return json_pack(
        "{s:s,s:s,s:o,s:o}", "name", status.policy->name, "summary",
        status.policy->summary, "options",
        show_options(status.policy->options, status.policy_options),
        "available", available);
}

json_t *
show_row(const struct journal_row *row)
{
    static const char *const kinds[] = {"event", "decision", "action",
                                        "outcome"};
    char cause[CAUSE_TEXT_SIZE];
    json_t *detail = jsonread(row->detail, strlen(row->detail),
                              JSON_REJECT_DUPLICATES, NULL);

    cause_format(row->cause, cause);
    return json_pack("{s:I,s:s,s:I,s:s,s:I,s:I,s:s,s:s,s:o}", "id",
                     (json_int_t)row->id, "cause", cause, "command",
                     (json_int_t)row->command, "kind",
                     (unsigned)row->kind < 4 ? kinds[row->kind] : "?",
                     "time_ns", (json_int_t)row->time, "wall_ns",
                     (json_int_t)row->wall_ns, "subject", row->subject, "name",
                     row->name, "detail", detail ? detail : json_null());
}

json_t *
show_wish(const struct wish *wish, const struct host *host, nsec_t now)
{
    const struct reason *reason = &wish->reason;
    const struct vm *vm = host_vm(host, &wish->vm);
    json_t *values = json_array(), *rejected = json_array();
    char uuid[UUID_TEXT_SIZE], cause[CAUSE_TEXT_SIZE];

    for (uint32_t i = 0; i < reason->n_values; i++) {
        show_append(&values,
                    json_pack("{s:s,s:f,s:s}", "name", reason->values[i].name,
                              "value", reason->values[i].value, "unit",
                              reason->values[i].unit));
    }
    for (uint32_t i = 0; i < reason->n_rejected; i++) {
        show_append(&rejected, json_pack("{s:I,s:s}", "choice",
                                         (json_int_t)reason->rejected[i].choice,
                                         "why", reason->rejected[i].why));
    }
    uuid_format(&wish->vm, uuid);
    cause_format(reason->cause, cause);
    return json_pack(
        "{s:s,s:o,s:o,s:I,s:I,s:o,s:s?,s:s,s:o,s:o}", "kind",
        wish_kind_name(wish->kind), "vm",
        uuid_is_zero(&wish->vm) ? json_null() : json_string(uuid), "vm_name",
        vm ? json_string(vm->name) : json_null(), "vcpu",
        (json_int_t)wish->vcpu, "value", (json_int_t)wish->value, "expires_s",
        wish->valid_until == NSEC_NEVER ? json_null()
                                        : seconds(wish->valid_until - now),
        "rule", reason->rule, "cause", cause, "values", values, "rejected",
        rejected);
}

json_t *
show_mhz(const struct host *host, uint32_t domain, uint32_t pstate)
{
    if (domain >= host->n_domains ||
        pstate >= host->domains[domain].desc.table.n) {
        return json_null();
    }
    return json_real(host->domains[domain].desc.table.freq_khz[pstate] /
                     1000.0);
}

json_t *
show_text(const char *text)
{
    char printable[SHOW_TEXT_SIZE];
    json_t *json = text[0] ? json_string(text) : json_null();

    if (!json) {
        request_printable(printable, sizeof printable, text);
        json = json_string(printable);
    }
    return json;
}

struct vm *
show_find_vm(const struct host *host, const char *name,
             struct request_fault *fault)
{
    struct uuid uuid;
    struct vm *vm = uuid_parse(&uuid, name) ? host_vm_by_name(host, name)
                                            : host_vm(host, &uuid);
    char word[64];

    if (vm) {
        return vm;
    }
    request_printable(word, sizeof word, name);
    snprintf(fault->what, sizeof fault->what, "there is no VM \"%s\"", word);
    text_copy(fault->why, sizeof fault->why,
              "neither a name nor a UUID of a VM here");
    text_copy(fault->next, sizeof fault->next,
              host->n_vms ? "choose one of:"
                          : "name guests in the configuration");
    for (uint32_t i = 0; i < host->n_vms; i++) {
        text_append(fault->next, sizeof fault->next, " %s", host->vms[i].name);
    }
    return NULL;
}

void
show_append(json_t **array, json_t *member)
{
    if (json_array_append_new(*array, member)) {
        json_decref(*array);
        *array = NULL;
    }
}

void
show_set(json_t **object, const char *key, json_t *member)
{
    if (json_object_set_new(*object, key, member)) {
        json_decref(*object);
        *object = NULL;
    }
}

/* Parts. */

static json_t *
seconds(nsec_t ns)
{
    return json_real((double)ns / (double)NSEC_PER_SEC);
}

static json_t *
percent(uint32_t permille)
{
    return permille == UTIL_UNKNOWN ? json_null() : json_real(permille / 10.0);
}

static json_t *
show_counts(const struct engine_counts *c)
{
    return json_pack(
        "{s:I,s:I,s:I,s:I,s:I,s:I,s:I,s:I,s:I}", "events",
        (json_int_t)c->n_events, "notices", (json_int_t)c->n_notices, "reports",
        (json_int_t)c->n_reports, "turns", (json_int_t)c->n_turns, "decisions",
        (json_int_t)c->n_decisions, "raises", (json_int_t)c->n_raises,
        "lowerings", (json_int_t)c->n_lowerings, "failed_actions",
        (json_int_t)c->n_failed_actions, "alarms", (json_int_t)c->n_alarms);
}

static json_t *
show_journal(struct journal *journal)
{
    struct journal_health health;

    if (!journal) {
        return json_null();
    }
    journal_health(journal, &health);
    return json_pack("{s:b,s:o,s:I,s:I,s:I,s:I}", "failing", health.failing,
                     "reason", show_text(health.reason), "start_count",
                     (json_int_t)journal_start_count(journal), "rows",
                     (json_int_t)health.n_rows, "lost",
                     (json_int_t)health.n_lost, "size_bytes",
                     (json_int_t)health.size);
}

static json_t *
show_epoch(const struct sla_epoch *epoch, nsec_t now)
{
    char cause[CAUSE_TEXT_SIZE];

    cause_format(epoch->cause, cause);
    return json_pack("{s:I,s:I,s:I,s:f,s:f,s:o,s:s}", "number",
                     (json_int_t)epoch->number, "requests",
                     (json_int_t)epoch->n_requests, "violations",
                     (json_int_t)epoch->n_violations, "threshold_ms",
                     (double)epoch->threshold_us / 1000, "worst_ms",
                     (double)epoch->worst_us / 1000, "age_s",
                     seconds(now - epoch->end), "cause", cause);
}

/* What it may use and what it used. */
static json_t *
show_usage(const struct vm *vm, const struct broker_config *config)
{
    const struct quota_config quota =
        config_quota(config, config_guest(config, &vm->uuid));
    const struct vm_usage *usage = &vm->usage;

    return json_pack(
        "{s:I,s:I,s:I,s:I,s:I,s:I,s:I,s:I,s:I,s:I,s:I,s:I}", "messages",
        (json_int_t)usage->n_messages, "messages_per_second_max",
        (json_int_t)quota.messages_per_second, "bytes",
        (json_int_t)usage->n_bytes, "bytes_per_second_max",
        (json_int_t)quota.bytes_per_second, "dropped",
        (json_int_t)usage->n_dropped, "denied", (json_int_t)usage->n_denied,
        "refused", (json_int_t)usage->n_refused, "waits",
        (json_int_t)usage->n_waits, "memory_bytes",
        (json_int_t)usage->memory_bytes, "memory_bytes_max",
        (json_int_t)quota.memory, "rows_withheld",
        (json_int_t)usage->n_rows_withheld, "rows_per_second_max",
        (json_int_t)quota.rows_per_second);
}

/* Of all VMs that are here. */
static json_t *
show_usage_of_all(const struct host *host)
{
    struct vm_usage sum = {0};

    for (uint32_t i = 0; i < host->n_vms; i++) {
        const struct vm_usage *usage = &host->vms[i].usage;

        sum.n_messages += usage->n_messages;
        sum.n_dropped += usage->n_dropped;
        sum.n_denied += usage->n_denied;
        sum.n_refused += usage->n_refused;
        sum.n_waits += usage->n_waits;
        sum.n_rows_withheld += usage->n_rows_withheld;
        sum.memory_bytes += usage->memory_bytes;
    }
    return json_pack(
        "{s:I,s:I,s:I,s:I,s:I,s:I,s:I}", "messages", (json_int_t)sum.n_messages,
        "dropped", (json_int_t)sum.n_dropped, "denied",
        (json_int_t)sum.n_denied, "refused", (json_int_t)sum.n_refused, "waits",
        (json_int_t)sum.n_waits, "rows_withheld",
        (json_int_t)sum.n_rows_withheld, "memory_bytes",
        (json_int_t)sum.memory_bytes);
}

static json_t *
show_vm(const struct vm *vm, const struct control_env *env, nsec_t now)
{
    json_t *vcpus = json_array(), *offers = json_array();
    char uuid[UUID_TEXT_SIZE], name[NAME_TEXT_SIZE];

    for (uint32_t i = 0; i < vm->n_vcpus; i++) {
        show_append(&vcpus, json_integer(vm->vcpu_cpu[i]));
    }
    for (uint32_t i = 0; i < vm->n_offers; i++) {
        show_append(&offers, json_string(vm->offers[i]));
    }
    uuid_format(&vm->uuid, uuid);
    name_of_vm(env->config->domain, &vm->uuid, NAME_VM, name);
    return json_pack(
        "{s:s,s:s,s:s,s:s,s:b,s:o,s:o,s:o,s:o,s:o,s:I,s:I,s:o,s:o,s:o,s:o}",
        "name", vm->name, "uuid", uuid, "mgmt", name, "state",
        vm_state_name(vm->state), "agent", vm->agent_up, "software",
        show_text(vm->software), "probes", offers, "vcpu_cpus", vcpus,
        "util_percent", percent(vm->util_permille), "sample_age_s",
        vm->sample_time ? seconds(now - vm->sample_time) : json_null(),
        "requests", (json_int_t)vm->n_requests, "violations",
        (json_int_t)vm->n_violations, "violation_percent",
        vm->n_requests ? json_real(100.0 * (double)vm->n_violations /
                                   (double)vm->n_requests)
                       : json_null(),
        "last_epoch",
        vm->n_epochs ? show_epoch(&vm->epochs[vm->n_epochs - 1], now)
                     : json_null(),
        "last_notice",
        vm->notice.cause ? show_epoch(&vm->notice, now) : json_null(), "usage",
        show_usage(vm, env->config));
}

static json_t *
show_cpu(const struct cpu *cpu, const struct engine_status *status)
{
    const struct host *host = status->host;
    json_t *freqs = json_array(), *times = json_array();
    const struct domain *domain;

    if (cpu->domain >= host->n_domains) {
        return json_pack("{s:i,s:n,s:o,s:n,s:n,s:n,s:n,s:o,s:o}", "cpu",
                         (int)cpu->id, "domain", "util_percent",
                         percent(cpu->util_permille), "pstate", "freq_mhz",
                         "found_pstate", "emulated", "freqs_mhz", freqs,
                         "time_s", times);
    }
    domain = &host->domains[cpu->domain];
    for (uint32_t i = 0; i < domain->desc.table.n; i++) {
        show_append(&freqs, show_mhz(host, cpu->domain, i));
        show_append(
            &times,
            seconds(status->pstate_time[cpu->domain * PSTATES_MAX + i]));
    }
    return json_pack(
        "{s:i,s:i,s:o,s:o,s:o,s:i,s:b,s:o,s:o}", "cpu", (int)cpu->id, "domain",
        (int)cpu->domain, "util_percent", percent(cpu->util_permille), "pstate",
        domain->known ? json_integer(domain->pstate) : json_null(), "freq_mhz",
        domain->known ? show_mhz(host, cpu->domain, domain->pstate)
                      : json_null(),
        "found_pstate", (int)domain->found_pstate, "emulated",
        domain->desc.emulated, "freqs_mhz", freqs, "time_s", times);
}

/* Plug-ins. */

static json_t *
show_option_value(const struct option_desc *desc,
                  const struct option_value *value)
{
    json_t *ints;

    switch (desc->type) {
    case OPTION_INT:
        return json_integer(value->number);
    case OPTION_REAL:
        return json_real(value->real);
    case OPTION_BOOL:
        return json_boolean(value->number);
    case OPTION_TEXT:
    case OPTION_CHOICE:
        return json_string(value->text);
    case OPTION_INTS:
        ints = json_array();
        for (uint32_t i = 0; i < value->n_ints; i++) {
            show_append(&ints, json_integer(value->ints[i]));
        }
        return ints;
    }
    return json_null();
}

/* With 'values' what is in force as well as what could be. */
static json_t *
show_options(const struct option_desc *descs,
             const struct option_values *values)
{
    static const char *const types[] = {"int",  "real",   "bool",
                                        "text", "choice", "ints"};
    json_t *options = json_array();

    for (const struct option_desc *d = descs; d && d->name; d++) {
        bool ranged = d->type == OPTION_INT || d->type == OPTION_REAL ||
                      d->type == OPTION_INTS;
        json_t *option =
            json_pack("{s:s,s:s,s:s?,s:o,s:o,s:s?,s:s,s:s}", "name", d->name,
                      "type", types[d->type], "unit", d->unit, "min",
                      ranged ? json_real(d->min) : json_null(), "max",
                      ranged ? json_real(d->max) : json_null(), "choices",
                      d->choices, "default", d->default_text, "help", d->help);
        if (values) {
            const struct option_value *value = option_get(values, d->name);
            show_set(&option, "value", show_option_value(d, value));
            show_set(&option, "given", json_boolean(value->given));
        }
        show_append(&options, option);
    }
    return options;
}

static void
add_plugin(json_t **plugins, const char *room, const char *name,
           const char *summary, bool used, const struct option_desc *options)
{
    show_append(plugins,
                json_pack("{s:s,s:s,s:s,s:b,s:n,s:o}", "room", room, "name",
                          name, "summary", summary, "used", used, "left_out",
                          "options", show_options(options, NULL)));
}

static void
add_left_out(json_t **plugins, const char *room, const char *const *left_out)
{
    for (size_t i = 0; left_out[i]; i += 2) {
        show_append(plugins,
                    json_pack("{s:s,s:s,s:n,s:b,s:s,s:[]}", "room", room,
                              "name", left_out[i], "summary", "used", 0,
                              "left_out", left_out[i + 1], "options"));
    }
}

/* Which agents said they have which probe. */
static json_t *
show_probes(const struct host *host)
{
    json_t *probes = json_object();

    for (uint32_t i = 0; i < host->n_vms; i++) {
        const struct vm *vm = &host->vms[i];

        for (uint32_t j = 0; j < vm->n_offers; j++) {
            json_t *vms = json_object_get(probes, vm->offers[j]);
            if (!vms) {
                vms = json_array();
                show_set(&probes, vm->offers[j], vms);
            }
            if (probes && json_array_append_new(vms, json_string(vm->name))) {
                json_decref(probes);
                probes = NULL;
            }
        }
    }
    return probes;
}

json_t *
show_plugins(const struct control_env *env, nsec_t now)
{
    const struct broker_config *config = env->config;
    json_t *plugins = json_array();
    struct engine_status status;

    engine_status(env->engine, now, &status);
    for (size_t i = 0; policy_table[i]; i++) {
        add_plugin(&plugins, "policy", policy_table[i]->name,
                   policy_table[i]->summary, policy_table[i] == status.policy,
                   policy_table[i]->options);
    }
    add_left_out(&plugins, "policy", policy_left_out);
    for (size_t i = 0; hypervisor_table[i]; i++) {
        add_plugin(&plugins, "hypervisor", hypervisor_table[i]->name,
                   hypervisor_table[i]->summary,
                   hypervisor_table[i] == config->hypervisor,
                   hypervisor_table[i]->options);
    }
    add_left_out(&plugins, "hypervisor", hypervisor_left_out);
    for (size_t i = 0; hardware_table[i]; i++) {
        add_plugin(&plugins, "hardware", hardware_table[i]->name,
                   hardware_table[i]->summary,
                   hardware_table[i] == config->pstate ||
                       hardware_table[i] == config->power ||
                       hardware_table[i] == config->cap,
                   hardware_table[i]->options);
    }
    add_left_out(&plugins, "hardware", hardware_left_out);
    return json_pack("{s:o,s:o}", "plugins", plugins, "probes",
                     show_probes(status.host));
}
