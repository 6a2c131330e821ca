/* SPDX-License-Identifier: Apache-2.0 */
/* Applications' own messages: kept as their VM's notes, given to the policy
 * that asked for their types, shown to who follows them.  Never parsed: what
 * the bytes mean is between who sent them and who asked.  Called by
 * engine_note.c as they come and by engine_policy.c.
 *
 * The newest of each type is kept whether or not somebody asked for it yet, so
 * that a policy put in force later, or a person who looks, finds it; model/note
 * bounds what that costs.  Only those that the policy asked for can lead to
 * anything, so only they are journalled, and they alone are safe from being
 * pushed out by others. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/crc.h"
#include "base/text.h"
#include "broker/engine/engine_parts.h"

/* What the policy in force says of a type; null if it did not ask for it. */
static const struct policy_note *
asked_for(const struct engine *engine, const char *type)
{
    const struct policy_note *asked = engine->policy->notes;

    while (asked && asked->type && strcmp(asked->type, type)) {
        asked++;
    }
    return asked && asked->type ? asked : NULL;
}

static void
record_note(struct engine *engine, const struct vm *vm, struct note *note,
            nsec_t now)
{
    char subject[NAME_TEXT_SIZE], crc[9];
    struct jsonline line;

    snprintf(crc, sizeof crc, "%08" PRIx32, crc32_of(note->bytes, note->size));
    engine_subject_vm(engine, &vm->uuid, NAME_AGENT, subject);
    engine_detail(engine, &line);
    jsonline_text(&line, "type", note->type);
    jsonline_uint(&line, "size", note->size);
    jsonline_text(&line, "crc32", crc);
    jsonline_uint(&line, "number", note->number);
    jsonline_int(&line, "made_ns", note->guest.made_ns);
    jsonline_int(&line, "sent_ns", note->guest.sent_ns);
    engine_put_clock(&line, note->when, note->guest.offset_ns,
                     note->guest.offset_error_ns);
    engine_record(engine, JOURNAL_EVENT, note->cause, 0, subject, "GUEST_NOTE",
                  &line, now);
    note->recorded = true;
}

static struct note *
keep(struct engine *engine, struct vm *vm, const struct msg_guest_note *msg)
{
    const struct policy_note *asked = asked_for(engine, msg->type);
    struct note *note =
        notes_keep(vm->notes, msg->type, msg->bytes, msg->n_bytes);

    note->when = msg->received_ns;
    note->made = engine_mvm_time(msg->made_ns, msg->offset_ns);
    note->cause = msg->cause;
    note->number = msg->number;
    note->guest = (struct note_clock){.made_ns = msg->made_ns,
                                      .sent_ns = msg->sent_ns,
                                      .offset_ns = msg->offset_ns,
                                      .offset_error_ns = msg->offset_error_ns};
    note->asked = asked != NULL;
    note->urgent = asked && asked->urgent;
    note->news = note->asked;
    note->recorded = false;
    return note;
}

void
engine_on_guest_note(struct engine *engine, const struct msg_guest_note *msg,
                     nsec_t now)
{
    struct vm *vm =
        engine_speaker(engine, &msg->vm, msg->cause, MSG_GUEST_NOTE, now);
    struct note *note;

    engine->counts.n_notes++;
    if (!vm) {
        return;
    }
    note = keep(engine, vm, msg);
    if (note->asked) {
        vm->news |= VM_NEWS_NOTE;
    }
    /* A flood must neither fill the journal nor make every turn urgent: what is
     * above the limit waits for the end of the epoch, and the newest of each
     * type is what is left of it then. */
    if (note->asked && engine_may_record(engine, vm, ENGINE_ROW_NOTE, now)) {
        record_note(engine, vm, note, now);
        engine->urgent |= note->urgent;
    }
    if (engine->port->note) {
        engine->port->note(engine->port->ctx, vm, note);
    }
}

void
engine_record_notes(struct engine *engine, nsec_t now)
{
    for (uint32_t i = 0; i < engine->host.n_vms; i++) {
        struct vm *vm = &engine->host.vms[i];
        for (uint32_t j = 0; vm->news & VM_NEWS_NOTE && j < vm->notes->n; j++) {
            struct note *note = &vm->notes->note[j];
            if (note->news && !note->recorded) {
                engine_charge_row(engine, vm, now);
                record_note(engine, vm, note, now);
            }
        }
    }
}

void
engine_ask_for_notes(struct engine *engine)
{
    for (uint32_t i = 0; i < engine->host.n_vms; i++) {
        struct vm *vm = &engine->host.vms[i];
        for (uint32_t j = 0; j < vm->notes->n; j++) {
            struct note *note = &vm->notes->note[j];
            const struct policy_note *asked = asked_for(engine, note->type);

            note->asked = asked != NULL;
            note->urgent = asked && asked->urgent;
            note->news = note->asked && !note->stale;
            vm->news |= note->news ? VM_NEWS_NOTE : 0u;
        }
    }
}

void
engine_clear_note_news(struct vm *vm)
{
    for (uint32_t i = 0; vm->news & VM_NEWS_NOTE && i < vm->notes->n; i++) {
        vm->notes->note[i].news = false;
    }
}

void
engine_age_notes(struct vm *vm)
{
    for (uint32_t i = 0; i < vm->notes->n; i++) {
        vm->notes->note[i].stale = true;
    }
}

/* What an agent said holds again when it was only away: who said it will not
 * say it again. */
void
engine_renew_notes(struct vm *vm, bool same_agent)
{
    vm->notes->agent += !same_agent;
    for (uint32_t i = 0; i < vm->notes->n; i++) {
        struct note *note = &vm->notes->note[i];

        note->stale = note->agent != vm->notes->agent;
        if (note->asked && !note->stale) {
            note->news = true;
            vm->news |= VM_NEWS_NOTE;
        }
    }
}
