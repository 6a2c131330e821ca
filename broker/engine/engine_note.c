/* SPDX-License-Identifier: Apache-2.0 */
/* Notes events in the model: what came from back about guests, what came from
 * the platform about hardware and VMs.  Decides nothing; engine.c does at the
 * end of the turn.  Whatever msg_decode() let through is in range, but a guest
 * may lie within the range: its counts are bounded by each other and what it
 * may cause by its quota of rows. */
#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/text.h"
#include "broker/engine/engine_parts.h"

/* Guests. */

nsec_t
engine_mvm_time(int64_t guest_ns, int64_t offset_ns)
{
    nsec_t time;

    if (__builtin_sub_overflow(guest_ns, offset_ns, &time) || time < 0) {
        return 0;
    }
    return time;
}

bool
engine_may_record(struct engine *engine, struct vm *vm,
                  enum engine_row_kind kind, nsec_t now)
{
    static const struct bucket_terms alarms = {.rate = ENGINE_VM_ALARMS,
                                               .burst = ENGINE_VM_ALARMS};
    struct engine_rows *rows = &engine->vm_rows[vm - engine->host.vms];
    uint32_t spared = kind == ENGINE_ROW_NOTE ? rows->terms.burst / 2 : 0;

    if (!bucket_wait(&rows->rows, rows->terms, 1 + spared, now)) {
        bucket_charge(&rows->rows, rows->terms, 1, now);
        return true;
    }
    if (kind == ENGINE_ROW_ALARM &&
        bucket_take(&rows->alarms, alarms, 1, now)) {
        return true;
    }
    vm->usage.n_rows_withheld++;
    return false;
}

void
engine_charge_row(struct engine *engine, const struct vm *vm, nsec_t now)
{
    struct engine_rows *rows = &engine->vm_rows[vm - engine->host.vms];

    bucket_charge(&rows->rows, rows->terms, 1, now);
}

static bool
may_record(struct engine *engine, struct vm *vm, nsec_t now)
{
    return engine_may_record(engine, vm, ENGINE_ROW_EVENT, now);
}

struct vm *
engine_speaker(struct engine *engine, const struct uuid *uuid, uint64_t cause,
               unsigned type, nsec_t now)
{
    struct vm *vm = host_vm(&engine->host, uuid);
    char words[160], text[UUID_TEXT_SIZE];

    if (!vm) {
        uuid_format(uuid, text);
        snprintf(words, sizeof words, "%s of a VM that is not here: %s",
                 msg_name(type), text);
        engine_record_words(engine, "UNKNOWN_VM", cause, true, "", words, now);
    }
    return vm;
}

void
engine_put_clock(struct jsonline *line, int64_t received_ns, int64_t offset_ns,
                 uint64_t offset_error_ns)
{
    jsonline_int(line, "received_ns", received_ns);
    jsonline_int(line, "offset_ns", offset_ns);
    if (offset_error_ns > INT64_MAX) {
        jsonline_int(line, "offset_error_ns", -1);
    } else {
        jsonline_uint(line, "offset_error_ns", offset_error_ns);
    }
}

static void
note_up(struct engine *engine, const struct msg_guest_up *up, nsec_t now)
{
    struct vm *vm =
        engine_speaker(engine, &up->vm, up->cause, MSG_GUEST_UP, now);
    char subject[NAME_TEXT_SIZE];
    struct jsonline line;

    if (!vm) {
        return;
    }
    vm->agent_up = true;
    vm->agent_cause = up->cause;
    vm->news |= VM_NEWS_UP;
    engine_renew_notes(vm, up->resumed);
    text_copy(vm->software, sizeof vm->software, up->software);
    vm->n_offers = up->n_offers;
    for (uint32_t i = 0; i < up->n_offers; i++) {
        text_copy(vm->offers[i], sizeof vm->offers[i], up->offers[i]);
    }
    if (!engine->config->hypervisor) {
        vm->state = VM_RUNNING; /* Nobody else tells, and it speaks. */
    }
    if (!may_record(engine, vm, now)) {
        return;
    }
    engine_subject_vm(engine, &up->vm, NAME_AGENT, subject);
    engine_detail(engine, &line);
    jsonline_text(&line, "name", up->name);
    jsonline_text(&line, "software", up->software);
    engine_put_clock(&line, up->received_ns, up->offset_ns,
                     up->offset_error_ns);
    engine_record(engine, JOURNAL_EVENT, up->cause, 0, subject, "GUEST_UP",
                  &line, now);
}

static void
note_lost(struct engine *engine, const struct msg_guest_lost *lost, nsec_t now)
{
    struct vm *vm =
        engine_speaker(engine, &lost->vm, lost->cause, MSG_GUEST_LOST, now);
    char subject[NAME_TEXT_SIZE];
    struct jsonline line;

    if (!vm) {
        return;
    }
    vm->agent_up = false;
    vm->agent_cause = lost->cause;
    vm->news |= VM_NEWS_LOST;
    engine_age_notes(vm);
    engine->urgent = true; /* Its wishes go now, not at the epoch's end. */
    if (!may_record(engine, vm, now)) {
        return;
    }
    engine_subject_vm(engine, &lost->vm, NAME_AGENT, subject);
    engine_detail(engine, &line);
    jsonline_text(&line, "reason", lost->reason);
    jsonline_int(&line, "received_ns", lost->received_ns);
    engine_record(engine, JOURNAL_EVENT, lost->cause, 0, subject, "GUEST_LOST",
                  &line, now);
}

static void
note_report(struct engine *engine, const struct msg_guest_report *report,
            nsec_t now)
{
    struct vm *vm = engine_speaker(engine, &report->vm, report->cause,
                                   MSG_GUEST_REPORT, now);

    engine->counts.n_reports++;
    if (!vm) {
        return;
    }
    if (vm->n_epochs == VM_EPOCHS_KEPT) {
        memmove(vm->epochs, vm->epochs + 1,
                (VM_EPOCHS_KEPT - 1) * sizeof *vm->epochs);
        vm->n_epochs--;
    }
    struct sla_epoch *epoch = &vm->epochs[vm->n_epochs++];
    epoch->number = report->epoch;
    epoch->start = engine_mvm_time(report->start_ns, report->offset_ns);
    epoch->end = engine_mvm_time(report->end_ns, report->offset_ns);
    epoch->n_requests = report->n_requests;
    /* Back refuses more; the engine does not rely on another process. */
    epoch->n_violations = report->n_violations < report->n_requests
                              ? report->n_violations
                              : report->n_requests;
    epoch->threshold_us = report->threshold_us;
    epoch->worst_us = report->worst_us;
    epoch->cause = report->cause;
    vm->news |= VM_NEWS_REPORT;
    vm->n_requests += epoch->n_requests;
    vm->n_violations += epoch->n_violations;
    engine->epoch_requests += epoch->n_requests;
    engine->epoch_violations += epoch->n_violations;
}

static void
record_notice(struct engine *engine, const struct msg_guest_notice *notice,
              nsec_t now)
{
    char subject[NAME_TEXT_SIZE];
    struct jsonline line;

    engine_subject_vm(engine, &notice->vm, NAME_AGENT, subject);
    engine_detail(engine, &line);
    jsonline_uint(&line, "epoch", notice->epoch);
    jsonline_int(&line, "start_ns", notice->start_ns);
    jsonline_int(&line, "end_ns", notice->end_ns);
    jsonline_uint(&line, "n_requests", notice->n_requests);
    jsonline_uint(&line, "n_violations", notice->n_violations);
    jsonline_uint(&line, "threshold_us", notice->threshold_us);
    jsonline_uint(&line, "worst_us", notice->worst_us);
    jsonline_uint(&line, "tolerated_permille", notice->tolerated_permille);
    jsonline_int(&line, "worst_end_ns", notice->worst_end_ns);
    jsonline_int(&line, "seen_ns", notice->seen_ns);
    jsonline_int(&line, "sent_ns", notice->sent_ns);
    engine_put_clock(&line, notice->received_ns, notice->offset_ns,
                     notice->offset_error_ns);
    engine_record(engine, JOURNAL_EVENT, notice->cause, 0, subject,
                  "GUEST_NOTICE", &line, now);
}

static void
note_notice(struct engine *engine, const struct msg_guest_notice *notice,
            nsec_t now)
{
    struct vm *vm = engine_speaker(engine, &notice->vm, notice->cause,
                                   MSG_GUEST_NOTICE, now);

    engine->counts.n_notices++;
    /* An agent sends one an epoch.  Whoever sends more than a few is not heard:
     * a flood must neither fill the journal nor make every turn urgent. */
    if (!vm || !may_record(engine, vm, now)) {
        return;
    }
    vm->notice.number = notice->epoch;
    vm->notice.start = engine_mvm_time(notice->start_ns, notice->offset_ns);
    vm->notice.end = engine_mvm_time(notice->end_ns, notice->offset_ns);
    vm->notice.n_requests = notice->n_requests;
    vm->notice.n_violations = notice->n_violations;
    vm->notice.threshold_us = notice->threshold_us;
    vm->notice.worst_us = notice->worst_us;
    vm->notice.cause = notice->cause;
    vm->news |= VM_NEWS_NOTICE;
    engine->urgent = true;
    record_notice(engine, notice, now);
}

static void
note_alarm(struct engine *engine, const struct msg_guest_alarm *alarm,
           nsec_t now)
{
    struct vm *vm =
        engine_speaker(engine, &alarm->vm, alarm->cause, MSG_GUEST_ALARM, now);
    char subject[NAME_TEXT_SIZE];
    struct jsonline line;

    engine->counts.n_alarms++;
    /* What else it says can't keep it from being alarmed. */
    if (!vm || !engine_may_record(engine, vm, ENGINE_ROW_ALARM, now)) {
        return;
    }
    engine_trouble(engine, vm->name, alarm->reason);
    engine_subject_vm(engine, &alarm->vm, NAME_AGENT, subject);
    engine_detail(engine, &line);
    jsonline_text(&line, "reason", alarm->reason);
    jsonline_uint(&line, "n_refused", alarm->n_refused);
    jsonline_int(&line, "received_ns", alarm->received_ns);
    engine_record(engine, JOURNAL_EVENT, alarm->cause, 0, subject,
                  "GUEST_ALARM", &line, now);
}

static void
note_usage(struct engine *engine, const struct msg_guest_usage *usage)
{
    struct vm *vm = host_vm(&engine->host, &usage->vm);

    if (!vm) {
        return;
    }
    vm->usage.n_messages = usage->n_messages;
    vm->usage.n_bytes = usage->n_bytes;
    vm->usage.n_dropped = usage->n_dropped;
    vm->usage.n_denied = usage->n_denied;
    vm->usage.n_refused = usage->n_refused;
    vm->usage.n_waits = usage->n_waits;
    vm->usage.memory_bytes = usage->memory_bytes;
}

/* The platform's hardware. */

/* The driver's numbers are ours, but a table that makes no sense must not
 * become a division or an index later. */
static bool
domain_makes_sense(const struct msg_domain *msg)
{
    bool falling = msg->n_freqs_khz > 0 && msg->pstate < msg->n_freqs_khz;

    for (uint32_t i = 1; i < msg->n_freqs_khz; i++) {
        falling = falling && msg->freqs_khz[i] < msg->freqs_khz[i - 1];
    }
    return falling && msg->n_cpus > 0;
}

static uint32_t
domain_index(struct engine *engine, uint32_t id)
{
    struct host *host = &engine->host;

    for (uint32_t i = 0; i < host->n_domains; i++) {
        if (host->domains[i].desc.id == id) {
            return i;
        }
    }
    return host->n_domains;
}

/* Its CPUs' way to it; only if all of them are ours, since a write reaches
 * them all. */
static bool
map_cpus(struct engine *engine, const struct msg_domain *msg, uint32_t index)
{
    for (uint32_t i = 0; i < msg->n_cpus; i++) {
        if (!host_cpu(&engine->host, (uint32_t)msg->cpus[i])) {
            return false;
        }
    }
    for (uint32_t i = 0; i < msg->n_cpus; i++) {
        host_cpu(&engine->host, (uint32_t)msg->cpus[i])->domain = index;
    }
    return true;
}

static void
note_domain(struct engine *engine, const struct msg_domain *msg, nsec_t now)
{
    struct host *host = &engine->host;
    uint32_t index = domain_index(engine, (uint32_t)msg->domain);
    char words[160];

    if (index == host->max_domains || !domain_makes_sense(msg) ||
        !map_cpus(engine, msg, index)) {
        snprintf(words, sizeof words,
                 "domain %" PRIu64 " of %s makes no sense or has CPUs that "
                 "are not ours; it is left alone",
                 msg->domain, msg->driver);
        engine_record_words(engine, "TROUBLE", cause_next(&engine->causes),
                            true, "", words, now);
        return;
    }
    engine_account(engine, now);
    struct domain *domain = &host->domains[index];
    memset(domain, 0, sizeof *domain);
    domain->desc.id = (uint32_t)msg->domain;
    domain->desc.n_cpus = msg->n_cpus;
    for (uint32_t i = 0; i < msg->n_cpus; i++) {
        domain->desc.cpus[i] = (uint32_t)msg->cpus[i];
    }
    domain->desc.table.n = msg->n_freqs_khz;
    for (uint32_t i = 0; i < msg->n_freqs_khz; i++) {
        domain->desc.table.freq_khz[i] = (uint32_t)msg->freqs_khz[i];
    }
    domain->desc.emulated = msg->emulated;
    domain->pstate = domain->found_pstate = (uint32_t)msg->pstate;
    domain->known = true;
    host->n_domains += index == host->n_domains;
    engine_forget_action(engine, index);
}

/* Permille of the time available since the last sample. */
static uint32_t
growth_permille(uint64_t busy, uint64_t busy_was, uint64_t available,
                uint64_t available_was)
{
    if (available <= available_was || busy < busy_was) {
        return UTIL_UNKNOWN;
    }
    double share =
        (double)(busy - busy_was) / (double)(available - available_was);
    return share < 1 ? (uint32_t)(share * 1000 + 0.5) : 1000;
}

static void
note_sample_cpu(struct engine *engine, const struct msg_sample_cpu *sample)
{
    struct cpu *cpu = host_cpu(&engine->host, (uint32_t)sample->cpu);

    if (!cpu) {
        return;
    }
    if (cpu->available_ns) {
        cpu->util_permille =
            growth_permille(sample->busy_ns, cpu->busy_ns, sample->available_ns,
                            cpu->available_ns);
    }
    cpu->busy_ns = sample->busy_ns;
    cpu->available_ns = sample->available_ns;
}

static void
note_sample_power(struct engine *engine, const struct msg_sample_power *sample,
                  nsec_t now)
{
    struct power_reading *power = &engine->host.power;

    power->quality = (enum quality)sample->quality;
    power->power_mw = sample->power_mw;
    power->time = sample->time_ns;
    text_copy(power->source, sizeof power->source, sample->source);
    if (power->quality == QUALITY_UNKNOWN) {
        engine_assume_power(engine, power, now);
    }
}

/* The hypervisor's VMs. */

struct vm *
engine_new_vm(struct engine *engine, const struct uuid *uuid)
{
    struct vm *vm = host_add_vm(&engine->host, uuid);

    if (vm) {
        engine->vm_rows[vm - engine->host.vms] =
            (struct engine_rows){.terms = engine_row_terms(engine, uuid)};
        if (engine->policy && engine->policy->vm_state_size) {
            memset(vm->policy_state, 0, engine->policy->vm_state_size);
        }
    }
    return vm;
}

struct bucket_terms
engine_row_terms(const struct engine *engine, const struct uuid *uuid)
{
    const struct quota_config quota =
        config_quota(engine->config, config_guest(engine->config, uuid));

    return (struct bucket_terms){.rate = quota.rows_per_second,
                                 .burst = (quota.rows_per_second + 1) / 2};
}

void
engine_remove_vm(struct engine *engine, struct vm *vm, uint64_t cause)
{
    struct host *host = &engine->host;
    uint32_t place = (uint32_t)(vm - host->vms);

    arbiter_forget_vm(engine->arbiter, &vm->uuid, cause);
    if (engine->policy->vm_state_size) {
        memset(vm->policy_state, 0, engine->policy->vm_state_size);
    }
    memmove(&engine->vm_rows[place], &engine->vm_rows[place + 1],
            (host->n_vms - 1 - place) * sizeof *engine->vm_rows);
    host_remove_vm(host, vm);
}

static void
record_vm(struct engine *engine, const struct vm *vm, const char *name,
          const char *reason, uint64_t cause, nsec_t now)
{
    char subject[NAME_TEXT_SIZE];
    struct jsonline line;

    engine_subject_vm(engine, &vm->uuid, NAME_VM, subject);
    engine_detail(engine, &line);
    jsonline_text(&line, "name", vm->name);
    jsonline_text(&line, "state", vm_state_name(vm->state));
    if (jsonline_open_array(&line, "vcpu_cpus")) {
        for (uint32_t i = 0; i < vm->n_vcpus; i++) {
            jsonline_uint(&line, NULL, vm->vcpu_cpu[i]);
        }
        jsonline_close(&line);
    }
    if (reason) {
        jsonline_text(&line, "reason", reason);
    }
    engine_record(engine, JOURNAL_EVENT, cause, 0, subject, name, &line, now);
}

static void
note_vm_found(struct engine *engine, const struct msg_vm_found *found,
              nsec_t now)
{
    struct vm *vm = host_vm(&engine->host, &found->vm);
    char words[160];

    if (!vm) {
        vm = engine_new_vm(engine, &found->vm);
    }
    if (!vm) {
        snprintf(words, sizeof words,
                 "no room for VM %.64s: %" PRIu32 " are managed already",
                 found->name, engine->host.max_vms);
        engine_record_words(engine, "VM_REFUSED", cause_next(&engine->causes),
                            true, "", words, now);
        return;
    }
    text_copy(vm->name, sizeof vm->name, found->name);
    vm->state = (enum vm_state)found->state;
    vm->n_vcpus = found->n_vcpu_cpus;
    for (uint32_t i = 0; i < found->n_vcpu_cpus; i++) {
        vm->vcpu_cpu[i] = (uint32_t)found->vcpu_cpus[i];
    }
    engine->urgent |= !vm_state_runs(vm->state);
    if (vm->state == VM_ENDED) {
        notes_clear(vm->notes);
    }
    if (may_record(engine, vm, now)) {
        record_vm(engine, vm, "VM_FOUND", NULL, cause_next(&engine->causes),
                  now);
    }
}

static void
note_vm_gone(struct engine *engine, const struct msg_vm_gone *gone, nsec_t now)
{
    struct vm *vm = host_vm(&engine->host, &gone->vm);

    if (!vm) {
        return;
    }
    uint64_t cause = cause_next(&engine->causes);
    vm->state = VM_ENDED;
    notes_clear(vm->notes);
    record_vm(engine, vm, "VM_GONE", gone->reason, cause, now);
    arbiter_forget_vm(engine->arbiter, &gone->vm, cause);
    if (engine->policy->vm_state_size) {
        memset(vm->policy_state, 0, engine->policy->vm_state_size);
    }
    if (config_guest(engine->config, &gone->vm)) {
        vm->util_permille = UTIL_UNKNOWN; /* It may be started again. */
        return;
    }
    engine_remove_vm(engine, vm, cause);
}

static void
note_sample_vm(struct engine *engine, const struct msg_sample_vm *sample)
{
    struct vm *vm = host_vm(&engine->host, &sample->vm);

    if (!vm) {
        return;
    }
    if (vm->available_ns) {
        vm->util_permille =
            growth_permille(sample->busy_ns, vm->busy_ns, sample->available_ns,
                            vm->available_ns);
    }
    vm->busy_ns = sample->busy_ns;
    vm->available_ns = sample->available_ns;
    vm->sample_time = sample->time_ns;
    vm->news |= VM_NEWS_SAMPLE;
}

void
engine_on_event(struct engine *engine, const struct msg *msg, nsec_t now)
{
    engine->counts.n_events++;
    engine_tape_msg(engine, msg, now);
    switch (msg->type) {
    case MSG_GUEST_UP:
        note_up(engine, &msg->guest_up, now);
        break;
    case MSG_GUEST_LOST:
        note_lost(engine, &msg->guest_lost, now);
        break;
    case MSG_GUEST_REPORT:
        note_report(engine, &msg->guest_report, now);
        break;
    case MSG_GUEST_NOTICE:
        note_notice(engine, &msg->guest_notice, now);
        break;
    case MSG_GUEST_ALARM:
        note_alarm(engine, &msg->guest_alarm, now);
        break;
    case MSG_GUEST_NOTE:
        engine_on_guest_note(engine, &msg->guest_note, now);
        break;
    case MSG_GUEST_USAGE:
        note_usage(engine, &msg->guest_usage);
        break;
    case MSG_DOMAIN:
        note_domain(engine, &msg->domain, now);
        break;
    case MSG_CAP:
        engine_on_cap(engine, &msg->cap, now);
        break;
    case MSG_VM_FOUND:
        note_vm_found(engine, &msg->vm_found, now);
        break;
    case MSG_VM_INSTANCE:
        engine_on_instance(engine, &msg->vm_instance, now);
        break;
    case MSG_VM_GONE:
        note_vm_gone(engine, &msg->vm_gone, now);
        break;
    case MSG_SAMPLE_VM:
        note_sample_vm(engine, &msg->sample_vm);
        break;
    case MSG_SAMPLE_CPU:
        note_sample_cpu(engine, &msg->sample_cpu);
        break;
    case MSG_SAMPLE_POWER:
        note_sample_power(engine, &msg->sample_power, now);
        break;
    case MSG_READY:
        engine->ready = true;
        engine->next_epoch = now;
        break;
    case MSG_TROUBLE:
        engine_record_words(engine, "TROUBLE", cause_next(&engine->causes),
                            true, msg->trouble.where, msg->trouble.reason, now);
        break;
    case MSG_OUTCOME:
        engine_on_outcome(engine, &msg->outcome, now);
        break;
    default:
        /* Nobody who keeps to the table of rights sends the engine these. */
        engine_record_words(engine, "TROUBLE", cause_next(&engine->causes),
                            true, msg_name(msg->type), "is not for the engine",
                            now);
        break;
    }
}
