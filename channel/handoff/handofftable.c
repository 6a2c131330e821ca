/* SPDX-License-Identifier: Apache-2.0 */
/* What is known of each VM whose session may move: an entry each, in a table
 * that has the size it was made with.  An entry holds at most one parcel and
 * one blob of notes, so memory is bounded by the options.  When the table is
 * full, the oldest memory of a VM that has left makes room.  Called by
 * handoff.c and handofftalk.c. */
#include "channel/handoff/handoffparts.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "channel/handoff/parcel.h"

struct entry *
entry_find(const struct handoff *handoff, const struct handoff_vm *vm)
{
    for (uint32_t i = 0; i < handoff->opts.n_vms_max; i++) {
        struct entry *entry = &handoff->entries[i];
        if (entry->state != HANDOFF_NONE &&
            !memcmp(&entry->vm, vm, sizeof *vm)) {
            return entry;
        }
    }
    return NULL;
}

/* What can be spared for another: nothing of a VM that is here or of a session
 * that the channel still has. */
static bool
spare(const struct entry *entry)
{
    return !entry->here &&
           (entry->state == HANDOFF_PASSED || entry->state == HANDOFF_FROZEN ||
            entry->state == HANDOFF_KEPT);
}

struct entry *
entry_make(struct handoff *handoff, const struct handoff_vm *vm)
{
    struct entry *best = entry_find(handoff, vm);
    if (best) {
        return best;
    }
    for (uint32_t i = 0; i < handoff->opts.n_vms_max; i++) {
        struct entry *entry = &handoff->entries[i];
        if (entry->state == HANDOFF_NONE) {
            best = entry;
            break;
        }
        if (spare(entry) && (!best || entry->until < best->until)) {
            best = entry;
        }
    }
    if (!best) {
        return NULL;
    }
    handoff->stats.n_expired += best->state == HANDOFF_KEPT;
    entry_forget_bytes(handoff, best);
    memset(best, 0, sizeof *best);
    best->vm = *vm;
    best->granted = HANDOFF_NOBODY;
    best->ran = best->left = best->spoke = INT64_MIN;
    best->doubt = NSEC_NEVER;
    entry_enter(handoff, best, HANDOFF_FROZEN, NSEC_NEVER);
    return best;
}

void
entry_enter(struct handoff *handoff, struct entry *entry,
            enum handoff_state state, nsec_t until)
{
    if (state != HANDOFF_KEPT && state != HANDOFF_WANTING) {
        entry_forget_bytes(handoff, entry);
    }
    entry->state = state;
    entry->until = until;
    entry->action = NO_ACTION;
    entry->asker = entry->to = entry->from = entry->hint = HANDOFF_NOBODY;
    entry->foreign = entry->disputed = entry->back = false;
    entry->unknown = entry->referred = entry->to_tell = 0;
    entry->n_referrals = 0;
}

void
entry_forget_bytes(struct handoff *handoff, struct entry *entry)
{
    handoff->stats.n_bytes -= entry->parcel_size + entry->notes_size;
    free(entry->parcel);
    free(entry->notes);
    entry->parcel = entry->notes = NULL;
    entry->parcel_size = entry->notes_size = 0;
}

static uint8_t *
copy(const void *data, size_t size)
{
    uint8_t *bytes = malloc(size ? size : 1);
    if (bytes && size) {
        memcpy(bytes, data, size);
    }
    return bytes;
}

int
entry_store(struct handoff *handoff, struct entry *entry, const void *parcel,
            size_t parcel_size, const void *notes, size_t notes_size)
{
    struct parcel_reader reader;
    const char *why;
    if (parcel_size > handoff->opts.parcel_max ||
        notes_size > handoff->opts.notes_max ||
        parcel_open(&reader, parcel, parcel_size, &why) ||
        reader.head.session != entry->session) {
        return -EPROTO;
    }
    uint8_t *own_parcel = copy(parcel, parcel_size);
    uint8_t *own_notes = copy(notes, notes_size);
    if (!own_parcel || !own_notes) {
        free(own_parcel);
        free(own_notes);
        return -ENOMEM;
    }
    entry_forget_bytes(handoff, entry);
    entry->parcel = own_parcel;
    entry->parcel_size = parcel_size;
    entry->notes = own_notes;
    entry->notes_size = notes_size;
    entry->mark = reader.head.mark;
    entry->earlier = reader.head.earlier;
    entry->former = reader.head.former;
    entry->attachment = reader.head.attachment;
    handoff->stats.n_bytes += parcel_size + notes_size;
    return 0;
}

bool
entry_fits(const struct entry *entry, uint32_t key)
{
    return entry->parcel && key &&
           (key == entry->mark || key == entry->former ||
            key == entry->earlier);
}

bool
session_of_another(const struct handoff *handoff, const struct handoff_vm *vm,
                   uint64_t session)
{
    for (uint32_t i = 0; i < handoff->opts.n_vms_max; i++) {
        const struct entry *entry = &handoff->entries[i];
        if (entry->state != HANDOFF_NONE && entry->state != HANDOFF_WANTING &&
            entry->session == session && memcmp(&entry->vm, vm, sizeof *vm)) {
            return true;
        }
    }
    return false;
}

void
entry_give_up(struct handoff *handoff, struct entry *entry)
{
    assert(entry->state == HANDOFF_WANTING);
    entry->until = entry->next = NSEC_NEVER;
    if (entry_fits(entry, entry->key)) {
        entry->state = HANDOFF_IMPORTING;
        entry->from = HANDOFF_NOBODY;
        entry->action = HANDOFF_IMPORT;
    } else if (entry->foreign) {
        handoff->stats.n_foreign++;
        entry->action = HANDOFF_REFUSE;
    } else {
        entry->action = HANDOFF_GIVE_UP;
    }
}
