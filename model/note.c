/* SPDX-License-Identifier: Apache-2.0 */
/* The notes of a VM, in memory that was set aside once: a guest can say what it
 * likes as often as it likes and costs no more.  Relies on nothing; called by
 * the engine, which keeps, and by policies and the control socket, which read.
 *
 * A place in the table and its bytes stay together, so what a reader holds of
 * one note is not moved by the coming of another. */
#include "model/note.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

void
notes_init(struct notes *notes, uint8_t *storage)
{
    memset(notes, 0, sizeof *notes);
    notes->storage = storage;
}

void
notes_clear(struct notes *notes)
{
    notes_init(notes, notes->storage);
}

struct note *
notes_find(const struct notes *notes, const char *type)
{
    for (uint32_t i = 0; i < notes->n; i++) {
        if (!strcmp(notes->note[i].type, type)) {
            return (struct note *)&notes->note[i];
        }
    }
    return NULL;
}

/* Who has to leave when all places are taken. */
static struct note *
oldest(struct notes *notes)
{
    struct note *found = &notes->note[0];

    for (uint32_t i = 1; i < notes->n; i++) {
        struct note *note = &notes->note[i];
        if (note->asked != found->asked) {
            found = note->asked ? found : note;
        } else if (note->turn < found->turn) {
            found = note;
        }
    }
    return found;
}

struct note *
notes_keep(struct notes *notes, const char *type, const void *bytes,
           uint32_t size)
{
    struct note *note = notes_find(notes, type);

    assert(size <= NOTE_SIZE_MAX);
    if (!note) {
        if (notes->n < NOTES_MAX) {
            note = &notes->note[notes->n++];
        } else {
            note = oldest(notes);
            notes->n_evicted++;
        }
        memset(note, 0, sizeof *note);
        snprintf(note->type, sizeof note->type, "%s", type);
    }
    uint8_t *place = notes->storage + (note - notes->note) * NOTE_SIZE_MAX;
    memcpy(place, bytes, size);
    note->bytes = place;
    note->size = size;
    note->n_came++;
    note->turn = notes->n_came++;
    note->agent = notes->agent;
    note->stale = false;
    return note;
}
