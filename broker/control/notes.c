/* SPDX-License-Identifier: Apache-2.0 */
/* Shows notes as JSON.  Their bytes may be anything: they are given as base64,
 * and as text too when they are some.  Whoever may look at the broker may read
 * them.  Relies on what the engine keeps; called by answer.c and control.c. */
#include "broker/control/notes.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/base64.h"
#include "base/crc.h"
#include "base/text.h"
#include "base/utf8.h"
#include "broker/control/show.h"
#include "broker/engine/engine.h"
#include "model/cause.h"
#include "model/host.h"
#include "policy/policy.h"

static json_t *show_note(const struct vm *, const struct note *, bool whole,
                         nsec_t now);

int
notes_filter(struct notes_filter *out, const struct control_env *env,
             const struct request *request, nsec_t now,
             struct request_fault *fault)
{
    struct notes_filter filter = {.any_vm = !request->subject[0],
                                  .any_type = !request->type[0]};
    struct engine_status status;

    text_copy(filter.type, sizeof filter.type, request->type);
    if (!filter.any_vm) {
        engine_status(env->engine, now, &status);
        const struct vm *vm =
            show_find_vm(status.host, request->subject, fault);
        if (!vm) {
            return -ENOENT;
        }
        filter.vm = vm->uuid;
    }
    *out = filter;
    return 0;
}

bool
notes_match(const struct notes_filter *filter, const struct vm *vm,
            const struct note *note)
{
    return (filter->any_vm || uuid_equal(&filter->vm, &vm->uuid)) &&
           (filter->any_type || !strcmp(filter->type, note->type));
}

/* The types that the policy in force asked for. */
static json_t *
show_asked(const struct policy_class *policy)
{
    json_t *asked = json_array();

    for (const struct policy_note *n = policy->notes; n && n->type; n++) {
        show_append(&asked, json_pack("{s:s,s:b}", "type", n->type, "urgent",
                                      (int)n->urgent));
    }
    return asked;
}

json_t *
notes_answer(const struct control_env *env, const struct request *request,
             nsec_t now, struct request_fault *fault)
{
    struct engine_status status;
    struct notes_filter filter;
    json_t *notes;
    size_t n_bytes = 0;
    bool cut = false;

    if (notes_filter(&filter, env, request, now, fault)) {
        return NULL;
    }
    engine_status(env->engine, now, &status);
    notes = json_array();
    for (uint32_t i = 0; i < status.host->n_vms; i++) {
        const struct vm *vm = &status.host->vms[i];
        for (uint32_t j = 0; j < vm->notes->n; j++) {
            const struct note *note = &vm->notes->note[j];
            if (!notes_match(&filter, vm, note)) {
                continue;
            }
            n_bytes += note->size;
            cut |= n_bytes > NOTES_REPLY_BYTES;
            show_append(&notes, show_note(vm, note, !cut, now));
        }
    }
    return json_pack("{s:o,s:s,s:o,s:b}", "notes", notes, "policy",
                     status.policy->name, "asked", show_asked(status.policy),
                     "cut", (int)cut);
}

char *
notes_line(const struct vm *vm, const struct note *note, int64_t wall_ns,
           nsec_t now)
{
    json_t *line = show_note(vm, note, true, now);
    char *text;

    show_set(&line, "time_ns", json_integer(note->when));
    show_set(&line, "wall_ns", json_integer(wall_ns));
    text = line ? json_dumps(line, JSON_COMPACT) : NULL;
    json_decref(line);
    return text;
}

static json_t *
show_bytes(const struct note *note)
{
    char text[BASE64_TEXT_SIZE(NOTE_SIZE_MAX)];

    base64_encode(text, note->bytes, note->size);
    return json_string(text);
}

static json_t *
seconds_since(nsec_t then, nsec_t now)
{
    return then > 0 ? json_real((double)(now - then) / 1e9) : json_null();
}

/* 'whole': with its bytes. */
static json_t *
show_note(const struct vm *vm, const struct note *note, bool whole, nsec_t now)
{
    char uuid[UUID_TEXT_SIZE], cause[CAUSE_TEXT_SIZE], crc[9];
    bool is_text = whole && utf8_is_text(note->bytes, note->size);

    uuid_format(&vm->uuid, uuid);
    cause_format(note->cause, cause);
    snprintf(crc, sizeof crc, "%08" PRIx32, crc32_of(note->bytes, note->size));
    return json_pack(
        "{s:s,s:s,s:s,s:i,s:s,s:I,s:I,s:o,s:o,s:b,s:b,s:o,s:o,s:o}", "vm",
        vm->name, "uuid", uuid, "type", note->type, "size", (int)note->size,
        "crc32", crc, "number", (json_int_t)note->number, "came",
        (json_int_t)note->n_came, "age_s", seconds_since(note->when, now),
        "made_age_s", seconds_since(note->made, now), "stale", (int)note->stale,
        "asked", (int)note->asked, "cause",
        note->recorded ? json_string(cause) : json_null(), "text",
        is_text ? json_stringn((const char *)note->bytes, note->size)
                : json_null(),
        "base64", whole ? show_bytes(note) : json_null());
}
