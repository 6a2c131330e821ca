/* SPDX-License-Identifier: Apache-2.0 */
/* Keeps on the tape what the engine is told, so that "mctl replay" can tell it
 * to another policy: each message as it came, what was sent to the platform,
 * and the turns that changed something.  Every now and then, and after
 * something could not be kept, all that is known is put on it anew, so that
 * reading may begin there.  The journal bounds what is kept of it; a block that
 * it does not take makes a gap and nothing else.  Called by engine*.c. */
#include <string.h>

#include "base/text.h"
#include "broker/engine/engine_parts.h"

#define FLUSH_NS (5 * NSEC_PER_SEC)
#define KEY_NS (600 * NSEC_PER_SEC)
#define HEAD_SIZE 16    /* Bytes of an entry's kind and time, and more. */
#define OTHER_SIZE 2048 /* Of any entry that is no message. */
#define POLICY_SIZE                                                            \
    (64 + OPTION_MAX * (OPTION_TEXT_MAX + 48)) /* Of all its options. */
#define TURN_SIZE 16

enum { SLOT_NONE, SLOT_POWER, SLOT_OUTCOME, SLOT_PSTATE, SLOT_FIRST };

_Static_assert(POLICY_SIZE + HEAD_SIZE < JOURNAL_INPUT_SIZE, "room for it");

/* Blocks. */

static void
flush(struct engine_tape *tape, struct journal *journal)
{
    if (tape->block.size && journal_add_input(journal, &tape->block)) {
        tape->gap = true;
    }
    tape->block.size = 0;
    tape->block.whole = false;
}

/* Begins an entry that needs so much room; false if none is kept now. */
static bool
begin(struct engine *engine, enum tape_kind kind, size_t room, nsec_t now,
      struct tape_out *out)
{
    const struct engine_port *port = engine->port;
    struct engine_tape *tape = &engine->tape;
    struct journal_input *block = &tape->block;

    if (!tape->on || tape->gap) {
        return false;
    }
    if (block->size + room + HEAD_SIZE > sizeof block->data) {
        flush(tape, engine->journal);
        if (tape->gap) {
            return false;
        }
    }
    if (!block->size) {
        block->time = tape->last = now;
        block->wall_ns = port->wall_ns ? port->wall_ns(port->ctx) : 0;
    }
    *out = (struct tape_out){
        .data = block->data, .size = sizeof block->data, .used = block->size};
    tape_put_uint(out, kind);
    tape_put_int(out, now - tape->last);
    tape->last = now;
    return true;
}

static void
end(struct engine *engine, const struct tape_out *out)
{
    engine->tape.block.size = (uint32_t)out->used;
}

static void
put_msg(struct engine *engine, enum tape_kind kind, uint32_t slot,
        const struct msg *msg, nsec_t now)
{
    struct tape_out out;

    if (begin(engine, kind, tape_msg_room(msg->type), now, &out)) {
        tape_put_msg(&out, &engine->tape.slots, slot, msg);
        end(engine, &out);
    }
}

/* Messages. */

/* By places in the tables: they are for finding what is alike, no more. */
static uint32_t
slot_of(const struct engine *engine, const struct msg *msg)
{
    const struct host *host = &engine->host;
    const struct cpu *cpu;
    const struct vm *vm;

    switch (msg->type) {
    case MSG_SAMPLE_POWER:
        return SLOT_POWER;
    case MSG_OUTCOME:
        return SLOT_OUTCOME;
    case MSG_SET_PSTATE:
        return SLOT_PSTATE;
    case MSG_SAMPLE_CPU:
        cpu = host_cpu(host, (uint32_t)msg->sample_cpu.cpu);
        return cpu ? SLOT_FIRST + 3 * (uint32_t)(cpu - host->cpus) : SLOT_NONE;
    case MSG_SAMPLE_VM:
        vm = host_vm(host, &msg->sample_vm.vm);
        return vm ? SLOT_FIRST + 1 + 3 * (uint32_t)(vm - host->vms) : SLOT_NONE;
    case MSG_GUEST_REPORT:
        vm = host_vm(host, &msg->guest_report.vm);
        return vm ? SLOT_FIRST + 2 + 3 * (uint32_t)(vm - host->vms) : SLOT_NONE;
    default:
        return SLOT_NONE;
    }
}

void
engine_tape_msg(struct engine *engine, const struct msg *msg, nsec_t now)
{
    if (engine->tape.on && msg->type != MSG_GUEST_USAGE) {
        put_msg(engine, TAPE_MSG, slot_of(engine, msg), msg, now);
    }
}

void
engine_tape_sent(struct engine *engine, const struct msg *msg, nsec_t now)
{
    engine->tape.sent = true;
    if (engine->tape.on) {
        put_msg(engine, TAPE_SENT, slot_of(engine, msg), msg, now);
    }
}

void
engine_tape_policy(struct engine *engine, nsec_t now)
{
    const struct option_desc *desc = engine->policy->options;
    struct tape_out out;
    uint64_t n_given = 0;

    if (!begin(engine, TAPE_POLICY, POLICY_SIZE, now, &out)) {
        return;
    }
    tape_put_text(&out, engine->policy->name);
    for (size_t i = 0; desc && desc[i].name; i++) {
        n_given += engine->options.value[i].given;
    }
    tape_put_uint(&out, n_given);
    for (size_t i = 0; desc && desc[i].name; i++) {
        if (engine->options.value[i].given) {
            tape_put_text(&out, desc[i].name);
            tape_put_text(&out, engine->options.value[i].text);
        }
    }
    end(engine, &out);
}

/* What is known. */

static void
put_host(struct engine *engine, nsec_t now)
{
    const struct broker_config *config = engine->config;
    struct tape_out out;

    if (begin(engine, TAPE_HOST, OTHER_SIZE, now, &out)) {
        tape_put_text(&out, config->domain);
        tape_put_text(&out, config->host_id);
        tape_put_uint(&out, (uint64_t)config->epoch_ns);
        tape_put_uint(&out, (uint64_t)config->dwell_ns);
        tape_put_uint(&out, config->hypervisor != NULL);
        tape_put_uint(&out, config_quota(config, NULL).rows_per_second);
        tape_put_uint(&out, config->n_cpus);
        for (uint32_t i = 0; i < config->n_cpus; i++) {
            tape_put_uint(&out, config->cpus[i]);
        }
        end(engine, &out);
    }
}

static void
put_guest(struct engine *engine, const struct guest_config *guest, nsec_t now)
{
    struct tape_out out;

    if (begin(engine, TAPE_GUEST, OTHER_SIZE, now, &out)) {
        tape_put_uuid(&out, &guest->uuid);
        tape_put_text(&out, guest->name);
        tape_put_uint(&out,
                      config_quota(engine->config, guest).rows_per_second);
        tape_put_uint(&out, guest->n_vcpus);
        for (uint32_t i = 0; i < guest->n_vcpus; i++) {
            tape_put_uint(&out, guest->vcpu_cpu[i]);
        }
        end(engine, &out);
    }
}

static void
put_domain(struct engine *engine, const struct domain *domain, nsec_t now)
{
    struct msg msg;

    memset(&msg, 0, sizeof msg);
    msg.type = MSG_DOMAIN;
    msg.domain.domain = domain->desc.id;
    text_copy(msg.domain.driver, sizeof msg.domain.driver, "tape");
    msg.domain.n_cpus = domain->desc.n_cpus;
    for (uint32_t i = 0; i < domain->desc.n_cpus; i++) {
        msg.domain.cpus[i] = domain->desc.cpus[i];
    }
    msg.domain.n_freqs_khz = domain->desc.table.n;
    for (uint32_t i = 0; i < domain->desc.table.n; i++) {
        msg.domain.freqs_khz[i] = domain->desc.table.freq_khz[i];
    }
    msg.domain.pstate = domain->pstate;
    msg.domain.emulated = domain->desc.emulated;
    put_msg(engine, TAPE_MSG, SLOT_NONE, &msg, now);
}

static void
put_agent(struct engine *engine, const struct vm *vm, nsec_t now)
{
    struct msg msg;

    memset(&msg, 0, sizeof msg);
    msg.type = MSG_GUEST_UP;
    text_copy(msg.guest_up.name, sizeof msg.guest_up.name, vm->name);
    text_copy(msg.guest_up.software, sizeof msg.guest_up.software,
              vm->software);
    msg.guest_up.n_offers = vm->n_offers;
    for (uint32_t i = 0; i < vm->n_offers; i++) {
        text_copy(msg.guest_up.offers[i], sizeof msg.guest_up.offers[i],
                  vm->offers[i]);
    }
    msg.guest_up.vm = vm->uuid;
    msg.guest_up.cause = vm->agent_cause;
    put_msg(engine, TAPE_MSG, SLOT_NONE, &msg, now);
}

static void
put_epoch(struct engine *engine, const struct vm *vm,
          const struct sla_epoch *epoch, nsec_t now)
{
    struct msg msg;

    memset(&msg, 0, sizeof msg);
    msg.type = MSG_GUEST_REPORT;
    msg.guest_report.epoch = epoch->number;
    msg.guest_report.start_ns = epoch->start;
    msg.guest_report.end_ns = epoch->end;
    msg.guest_report.n_requests = epoch->n_requests;
    msg.guest_report.n_violations = epoch->n_violations;
    msg.guest_report.threshold_us = epoch->threshold_us;
    msg.guest_report.worst_us = epoch->worst_us;
    msg.guest_report.vm = vm->uuid;
    msg.guest_report.cause = epoch->cause;
    put_msg(engine, TAPE_MSG, slot_of(engine, &msg), &msg, now);
}

static void
put_note(struct engine *engine, const struct vm *vm, const struct note *note,
         nsec_t now)
{
    struct msg msg;

    memset(&msg, 0, sizeof msg);
    msg.type = MSG_GUEST_NOTE;
    text_copy(msg.guest_note.type, sizeof msg.guest_note.type, note->type);
    msg.guest_note.n_bytes = note->size;
    memcpy(msg.guest_note.bytes, note->bytes, note->size);
    msg.guest_note.number = note->number;
    msg.guest_note.made_ns = note->guest.made_ns;
    msg.guest_note.sent_ns = note->guest.sent_ns;
    msg.guest_note.vm = vm->uuid;
    msg.guest_note.cause = note->cause;
    msg.guest_note.received_ns = note->when;
    msg.guest_note.offset_ns = note->guest.offset_ns;
    msg.guest_note.offset_error_ns = note->guest.offset_error_ns;
    put_msg(engine, TAPE_MSG, SLOT_NONE, &msg, now);
}

static void
put_instance(struct engine *engine, const struct vm *vm, nsec_t now)
{
    struct msg msg;

    memset(&msg, 0, sizeof msg);
    msg.type = MSG_VM_INSTANCE;
    msg.vm_instance.vm = vm->uuid;
    msg.vm_instance.instance = vm->instance;
    msg.vm_instance.since_ns = vm->instance_since;
    put_msg(engine, TAPE_MSG, SLOT_NONE, &msg, now);
}

static void
put_vm(struct engine *engine, const struct vm *vm, nsec_t now)
{
    struct msg msg;

    memset(&msg, 0, sizeof msg);
    msg.type = MSG_VM_FOUND;
    msg.vm_found.vm = vm->uuid;
    text_copy(msg.vm_found.name, sizeof msg.vm_found.name, vm->name);
    msg.vm_found.n_vcpu_cpus = vm->n_vcpus;
    for (uint32_t i = 0; i < vm->n_vcpus; i++) {
        msg.vm_found.vcpu_cpus[i] = vm->vcpu_cpu[i];
    }
    msg.vm_found.state = vm->state;
    put_msg(engine, TAPE_MSG, SLOT_NONE, &msg, now);
    if (vm->instance) {
        put_instance(engine, vm, now);
    }
    if (vm->agent_up) {
        put_agent(engine, vm, now);
    }
    for (uint32_t i = 0; i < vm->n_epochs; i++) {
        put_epoch(engine, vm, &vm->epochs[i], now);
    }
    for (uint32_t i = 0; i < vm->notes->n; i++) {
        put_note(engine, vm, &vm->notes->note[i], now);
    }
    if (vm->sample_time) {
        memset(&msg, 0, sizeof msg);
        msg.type = MSG_SAMPLE_VM;
        msg.sample_vm.vm = vm->uuid;
        msg.sample_vm.time_ns = vm->sample_time;
        msg.sample_vm.busy_ns = vm->busy_ns;
        msg.sample_vm.available_ns = vm->available_ns;
        put_msg(engine, TAPE_MSG, slot_of(engine, &msg), &msg, now);
    }
}

static void
put_model(struct engine *engine, nsec_t now)
{
    const struct host *host = &engine->host;
    struct msg msg;

    for (uint32_t i = 0; i < host->n_domains; i++) {
        put_domain(engine, &host->domains[i], now);
    }
    for (uint32_t i = 0; i < host->n_vms; i++) {
        put_vm(engine, &host->vms[i], now);
    }
    for (uint32_t i = 0; i < host->n_cpus; i++) {
        memset(&msg, 0, sizeof msg);
        msg.type = MSG_SAMPLE_CPU;
        msg.sample_cpu.cpu = host->cpus[i].id;
        msg.sample_cpu.busy_ns = host->cpus[i].busy_ns;
        msg.sample_cpu.available_ns = host->cpus[i].available_ns;
        put_msg(engine, TAPE_MSG, slot_of(engine, &msg), &msg, now);
    }
    if (engine->ready) {
        memset(&msg, 0, sizeof msg);
        msg.type = MSG_READY;
        put_msg(engine, TAPE_MSG, SLOT_NONE, &msg, now);
    }
}

static void
put_key(struct engine *engine, enum tape_key key, nsec_t now)
{
    struct engine_tape *tape = &engine->tape;
    struct tape_out out;

    flush(tape, engine->journal);
    tape->gap = false;
    tape->keyed = now;
    tape->block.whole = true;
    tape_slots_clear(&tape->slots);
    if (begin(engine, TAPE_KEY, TURN_SIZE, now, &out)) {
        tape_put_uint(&out, key);
        end(engine, &out);
    }
    put_host(engine, now);
    for (uint32_t i = 0; i < engine->config->n_guests; i++) {
        put_guest(engine, &engine->config->guests[i], now);
    }
    engine_tape_policy(engine, now);
    if (key != TAPE_KEY_START) {
        put_model(engine, now);
    }
    if (begin(engine, TAPE_KEY_END, 0, now, &out)) {
        end(engine, &out);
    }
}

/* The engine's. */

int
engine_tape_open(struct engine *engine, nsec_t now)
{
    uint32_t n = engine->host.max_vms > engine->host.max_cpus
                     ? engine->host.max_vms
                     : engine->host.max_cpus;

    if (!journal_keeps_inputs(engine->journal)) {
        return 0;
    }
    int error = tape_slots_init(&engine->tape.slots, SLOT_FIRST + 3 * n);
    if (error) {
        return error;
    }
    engine->tape.on = true;
    put_key(engine, TAPE_KEY_START, now);
    return 0;
}

void
engine_tape_close(struct engine *engine)
{
    if (engine->tape.on) {
        flush(&engine->tape, engine->journal);
    }
    tape_slots_fini(&engine->tape.slots);
}

void
engine_tape_resume(struct engine *engine, nsec_t now)
{
    if (engine->tape.on && engine->tape.gap) {
        put_key(engine, TAPE_KEY_GAP, now);
    }
}

void
engine_tape_config(struct engine *engine, nsec_t now)
{
    if (engine->tape.on) {
        put_key(engine, TAPE_KEY_CONFIG, now);
    }
}

void
engine_tape_turn(struct engine *engine, bool epoch, bool changed, nsec_t now)
{
    struct engine_tape *tape = &engine->tape;
    struct tape_out out;

    changed |= tape->sent;
    tape->sent = false;
    if (!tape->on) {
        return;
    }
    if ((epoch || changed) && begin(engine, TAPE_TURN, TURN_SIZE, now, &out)) {
        tape_put_uint(&out, epoch ? TAPE_TURN_EPOCH : 0);
        end(engine, &out);
    }
    if (!epoch) {
        return;
    }
    if (now - tape->keyed >= KEY_NS) {
        put_key(engine, TAPE_KEY_AGAIN, now);
    } else if (tape->block.size && now - tape->block.time >= FLUSH_NS) {
        flush(tape, engine->journal);
    }
}
