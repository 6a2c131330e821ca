/* SPDX-License-Identifier: Apache-2.0 */
/* Carries verdicts out: one action per domain under way, the next only when its
 * outcome came; what failed, or reads back as something else, is tried again
 * ACTION_RETRIES times and then alarmed.  Relies on the port to reach the
 * platform; called by engine.c in each turn, by engine_note.c for outcomes.
 *
 * Actions are sent before anything is written about them: the guest waits, the
 * journal doesn't.  A p-state can be taken back, so that is safe; operations on
 * VMs that can't be are on disk first. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "broker/engine/engine_parts.h"
#include "base/text.h"

static bool
arrived(const struct engine *engine, uint32_t domain)
{
    const struct engine_knob *knob = &engine->knobs[domain];
    const struct domain *now = &engine->host.domains[domain];

    if (!knob->wanted) {
        return !knob->changed;
    }
    return knob->confirmed && now->known && now->pstate == knob->pstate;
}

static void
send_action(struct engine *engine, uint32_t domain, nsec_t now)
{
    struct engine_knob *knob = &engine->knobs[domain];
    uint32_t id = engine->host.domains[domain].desc.id;
    uint64_t command = cause_next(&engine->commands);
    struct msg msg;

    memset(&msg, 0, sizeof msg);
    if (knob->wanted) {
        msg.type = MSG_SET_PSTATE;
        msg.set_pstate.command = command;
        msg.set_pstate.cause = knob->cause;
        msg.set_pstate.domain = id;
        msg.set_pstate.pstate = knob->pstate;
        msg.set_pstate.decided_ns = now;
    } else {
        msg.type = MSG_RELEASE;
        msg.release.command = command;
        msg.release.cause = knob->cause;
        msg.release.domain = id;
    }
    int error = engine->port->to_platform(engine->port->ctx, &msg);
    if (error) {
        knob->not_before = now + ACTION_BUSY_NS;
        return;
    }
    engine_tape_sent(engine, &msg, now);
    knob->command = command;
    knob->releasing = !knob->wanted;
    knob->asked = knob->pstate;
    knob->asked_cause = knob->cause;
    knob->sent = now;
    knob->unrecorded = true;
    knob->confirmed = false;
    knob->changed = true;
}

/* A try came to nothing: again soon, or an alarm and again later. */
static void
fail_action(struct engine *engine, uint32_t domain, const char *reason,
            nsec_t now)
{
    struct engine_knob *knob = &engine->knobs[domain];
    char subject[NAME_TEXT_SIZE], words[160];

    knob->command = 0;
    knob->n_failed++;
    engine->counts.n_failed_actions++;
    if (knob->n_failed <= ACTION_RETRIES) {
        knob->not_before = now + ACTION_RETRY_NS;
        return;
    }
    knob->not_before = now + ACTION_GIVEN_UP_NS;
    if (knob->n_failed > ACTION_RETRIES + 1) {
        return;
    }
    engine->counts.n_alarms++;
    engine_subject_domain(engine, domain, subject);
    if (knob->releasing) {
        snprintf(words, sizeof words, "can't be put back: %.100s", reason);
    } else {
        snprintf(words, sizeof words, "p-state %" PRIu32 " failed: %.100s",
                 knob->asked, reason);
    }
    engine_record_words(engine, "ACTION_FAILED", knob->asked_cause, true,
                        subject, words, now);
}

void
engine_act(struct engine *engine, uint32_t domain,
           const struct verdict *verdict, nsec_t now)
{
    struct engine_knob *knob = &engine->knobs[domain];

    if (verdict->wanted != knob->wanted || verdict->pstate != knob->pstate) {
        knob->wanted = verdict->wanted;
        knob->pstate = verdict->pstate;
        knob->n_failed = 0;
        knob->not_before = now;
    }
    if (verdict->changed) {
        knob->cause = verdict->cause;
    }
    if (knob->command) {
        if (now - knob->sent < ACTION_TIMEOUT_NS) {
            return;
        }
        fail_action(engine, domain, "no outcome came", now);
    }
    if (!arrived(engine, domain) && now >= knob->not_before) {
        send_action(engine, domain, now);
    }
}

void
engine_forget_action(struct engine *engine, uint32_t domain)
{
    struct engine_knob *knob = &engine->knobs[domain];

    knob->command = 0;
    knob->changed = false;
    knob->confirmed = false;
    knob->n_failed = 0;
    knob->not_before = 0;
}

/* Outcomes. */

void
engine_record_outcome(struct engine *engine, const struct msg_outcome *outcome,
                      const char *subject, nsec_t now)
{
    struct jsonline line;

    engine_detail(engine, &line);
    jsonline_uint(&line, "error", outcome->error);
    if (outcome->read_ns) {
        jsonline_uint(&line, "pstate", outcome->pstate);
    }
    jsonline_int(&line, "received_ns", outcome->received_ns);
    jsonline_int(&line, "checked_ns", outcome->checked_ns);
    jsonline_int(&line, "written_ns", outcome->written_ns);
    jsonline_int(&line, "read_ns", outcome->read_ns);
    if (outcome->reason[0]) {
        jsonline_text(&line, "reason", outcome->reason);
    }
    engine_record(engine, JOURNAL_OUTCOME, outcome->cause, outcome->command,
                  subject, "OUTCOME", &line, now);
}

/* Takes over what was read back and counts the step, if it was one. */
static void
note_pstate(struct engine *engine, struct domain *domain, bool releasing,
            uint32_t pstate, nsec_t now)
{
    engine_account(engine, now);
    if (domain->known && !releasing) {
        engine->counts.n_raises += pstate < domain->pstate;
        engine->counts.n_lowerings += pstate > domain->pstate;
    }
    domain->pstate = pstate;
    domain->known = true;
}

static void
finish_action(struct engine *engine, uint32_t index,
              const struct msg_outcome *outcome, nsec_t now)
{
    struct engine_knob *knob = &engine->knobs[index];
    struct domain *domain = &engine->host.domains[index];
    char reason[160];

    if (outcome->read_ns && outcome->pstate < domain->desc.table.n) {
        note_pstate(engine, domain, knob->releasing, (uint32_t)outcome->pstate,
                    now);
    }
    if (outcome->error) {
        text_copy(reason, sizeof reason,
                  outcome->reason[0] ? outcome->reason
                                     : "the platform said no more");
        fail_action(engine, index, reason, now);
    } else if (knob->releasing) {
        engine_forget_action(engine, index);
    } else if (!outcome->read_ns || domain->pstate != knob->asked) {
        snprintf(reason, sizeof reason, "it reads back as p-state %" PRIu32,
                 domain->pstate);
        fail_action(engine, index, reason, now);
    } else {
        knob->command = 0;
        knob->confirmed = true;
        knob->n_failed = 0;
    }
}

void
engine_on_outcome(struct engine *engine, const struct msg_outcome *outcome,
                  nsec_t now)
{
    char subject[NAME_TEXT_SIZE];

    for (uint32_t i = 0; i < engine->host.n_domains; i++) {
        if (engine->knobs[i].command == outcome->command) {
            engine_subject_domain(engine, i, subject);
            engine_record_outcome(engine, outcome, subject, now);
            finish_action(engine, i, outcome, now);
            return;
        }
    }
    for (uint32_t i = 0; i < ENGINE_VM_COMMANDS; i++) {
        struct engine_vm_command *command = &engine->vm_command[i];
        if (command->command == outcome->command) {
            engine_subject_vm(engine, &command->vm, NAME_VM, subject);
            engine_record_outcome(engine, outcome, subject, now);
            engine->counts.n_failed_actions += outcome->error != 0;
            command->command = 0;
            return;
        }
    }
    if (engine_on_cap_outcome(engine, outcome, now)) {
        return;
    }
    /* Too late: it was given up, and what it did will be read back again. */
    engine_subject_broker(engine, subject);
    engine_record_outcome(engine, outcome, subject, now);
}

nsec_t
engine_act_deadline(const struct engine *engine)
{
    nsec_t deadline = NSEC_NEVER;

    for (uint32_t i = 0; i < engine->host.n_domains; i++) {
        const struct engine_knob *knob = &engine->knobs[i];
        if (knob->command) {
            deadline = nsec_min(deadline, knob->sent + ACTION_TIMEOUT_NS);
        } else if (!arrived(engine, i)) {
            deadline = nsec_min(deadline, knob->not_before);
        }
    }
    return deadline;
}

/* Operations on VMs. */

static struct engine_vm_command *
free_vm_command(struct engine *engine, nsec_t now)
{
    for (uint32_t i = 0; i < ENGINE_VM_COMMANDS; i++) {
        struct engine_vm_command *command = &engine->vm_command[i];
        if (!command->command || now - command->sent >= VM_COMMAND_TIMEOUT_NS) {
            return command;
        }
    }
    return NULL;
}

int
engine_send_vm_command(struct engine *engine, const struct uuid *vm,
                       enum vm_op op, const char *to, uint64_t cause,
                       nsec_t now, char *why, size_t why_size)
{
    struct engine_vm_command *place = free_vm_command(engine, now);
    char subject[NAME_TEXT_SIZE];
    struct jsonline line;
    struct msg msg;

    if (!place) {
        snprintf(why, why_size, "%d operations are under way already",
                 ENGINE_VM_COMMANDS);
        return -EBUSY;
    }
    memset(&msg, 0, sizeof msg);
    msg.type = MSG_VM_CONTROL;
    msg.vm_control.command = cause_next(&engine->commands);
    msg.vm_control.cause = cause;
    msg.vm_control.vm = *vm;
    msg.vm_control.op = op;
    msg.vm_control.expires_ns = now + VM_COMMAND_EXPIRES_NS;
    text_copy_printable(msg.vm_control.to, sizeof msg.vm_control.to, to);
    engine_subject_vm(engine, vm, NAME_VM, subject);
    engine_detail(engine, &line);
    jsonline_text(&line, "op", vm_op_name(op));
    if (op == VM_OP_MIGRATE) {
        jsonline_text(&line, "to", msg.vm_control.to);
    }
    jsonline_int(&line, "expires_ns", msg.vm_control.expires_ns);
    engine_record(engine, JOURNAL_ACTION, cause, msg.vm_control.command,
                  subject, "VM_CONTROL", &line, now);
    /* What can't be taken back is on disk before it is asked. */
    bool final = op == VM_OP_END || op == VM_OP_MIGRATE;
    int error = final && !engine->journal_error ? journal_sync(engine->journal)
                                                : engine->journal_error;
    if (error) {
        snprintf(why, why_size, "the journal does not take it: %s",
                 strerror(-error));
        return error;
    }
    error = engine->port->to_platform(engine->port->ctx, &msg);
    if (error) {
        snprintf(why, why_size, "the platform process is busy");
        return error;
    }
    place->command = msg.vm_control.command;
    place->cause = cause;
    place->vm = *vm;
    place->sent = now;
    return 0;
}
