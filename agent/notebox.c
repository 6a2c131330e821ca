/* SPDX-License-Identifier: Apache-2.0 */
/* Keeps applications' own messages until the channel takes them, and the newest
 * of each type beyond that: a broker that was started anew is told what holds,
 * by whoever said it an hour ago and will not say it again.  A note of
 * which only the newest counts takes the place of the one of its type that
 * still waits; of the others none is lost silently: when too many wait, who
 * brings one more is told.  What is given on is bounded, so that an application
 * that talks too much costs its own notes' time and not the reports' or the
 * beats'.  Called by agent.c, which takes, and dialog.c, which gives on.
 *
 * Newest-wins is done here and not by the channel's class "latest": that is
 * sent again with every new attachment, at once, and to a broker that does not
 * know us yet anything before HELLO is an offence. */
#include "agent/notebox.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/text.h"
#include "probe/probe.h"
#include "wire/msg.h"

#define NOTE_NS (NSEC_PER_SEC / NOTEBOX_PER_SECOND)
#define BURST_NS (NOTEBOX_BURST * NOTE_NS)

struct notebox_item {
    char type[MSG_NOTE_TYPE_SIZE];
    bool latest;
    bool again; /* Of what was said: to be said once more. */
    nsec_t made;
    uint64_t number;
    size_t size;
    uint8_t bytes[];
};

static int check(const struct probe_note *, char *why, size_t why_size);
static uint32_t place_of(const struct notebox *, const struct probe_note *);
static void take_away(struct notebox *, uint32_t place);
static uint32_t whose_turn(const struct notebox *);
static void remember(struct notebox *, struct notebox_item *);

void
notebox_init(struct notebox *box, nsec_t now)
{
    *box = (struct notebox){.credit_ns = BURST_NS, .credited = now};
}

void
notebox_fini(struct notebox *box)
{
    while (box->n) {
        free(box->items[--box->n]);
    }
    for (uint32_t i = 0; i < NOTEBOX_TYPES; i++) {
        free(box->said[i]);
        box->said[i] = NULL;
    }
}

int
notebox_take(struct notebox *box, const struct probe_note *note, nsec_t now,
             char *why, size_t why_size)
{
    uint32_t place = place_of(box, note);
    struct notebox_item *item;
    int error = check(note, why, why_size);

    if (!error && place == NOTEBOX_MAX) {
        snprintf(why, why_size, "%.64s: %d notes wait already", note->type,
                 NOTEBOX_MAX);
        error = -EAGAIN;
    }
    item = error ? NULL : malloc(sizeof *item + note->size);
    if (!item) {
        if (!error) {
            snprintf(why, why_size, "no memory");
        }
        box->n_refused++;
        return error ? error : -ENOMEM;
    }
    text_copy(item->type, sizeof item->type, note->type);
    item->latest = note->latest;
    item->again = false;
    item->made = now;
    item->number = ++box->number;
    item->size = note->size;
    if (note->size) {
        memcpy(item->bytes, note->bytes, note->size);
    }
    if (place < box->n) {
        /* The newer goes behind what came between the two. */
        take_away(box, place);
        box->n_newer++;
    }
    box->items[box->n++] = item;
    box->n_taken++;
    return 0;
}

bool
notebox_next(struct notebox *box, nsec_t now, struct msg_note *out)
{
    const struct notebox_item *item;

    if (now > box->credited) {
        nsec_t passed = nsec_min(now - box->credited, BURST_NS);
        box->credit_ns = nsec_min(box->credit_ns + passed, BURST_NS);
        box->credited = now;
    }
    box->next = whose_turn(box);
    item = box->next < NOTEBOX_TYPES ? box->said[box->next]
           : box->n                  ? box->items[0]
                                     : NULL;
    if (!item || box->credit_ns < NOTE_NS) {
        return false;
    }
    memset(out, 0, sizeof *out);
    text_copy(out->type, sizeof out->type, item->type);
    out->n_bytes = (uint32_t)item->size;
    memcpy(out->bytes, item->bytes, item->size);
    out->number = item->number;
    out->made_ns = item->made;
    return true;
}

void
notebox_given(struct notebox *box)
{
    if (box->next < NOTEBOX_TYPES) {
        box->said[box->next]->again = false;
    } else {
        struct notebox_item *item = box->items[0];

        box->items[0] = NULL;
        take_away(box, 0);
        remember(box, item);
    }
    box->credit_ns -= NOTE_NS;
    box->n_given++;
}

void
notebox_drop(struct notebox *box)
{
    if (box->next < NOTEBOX_TYPES) {
        free(box->said[box->next]);
        box->said[box->next] = NULL;
    } else {
        take_away(box, 0);
    }
    box->n_refused++;
}

void
notebox_again(struct notebox *box)
{
    for (uint32_t i = 0; i < NOTEBOX_TYPES; i++) {
        if (box->said[i]) {
            box->said[i]->again = true;
        }
    }
}

nsec_t
notebox_deadline(const struct notebox *box)
{
    nsec_t lacks = NOTE_NS - box->credit_ns;

    if (!box->n && whose_turn(box) == NOTEBOX_TYPES) {
        return NSEC_NEVER;
    }
    return box->credited + (lacks > 0 ? lacks : 0);
}

static int
check(const struct probe_note *note, char *why, size_t why_size)
{
    char name[80];

    if (!text_is_type(note->type)) {
        text_copy_printable(name, sizeof name, note->type);
        snprintf(why, why_size,
                 "\"%s\" is no type: 1 to 64 bytes, names of A-Za-z0-9._- with "
                 "/ between",
                 name);
        return -EINVAL;
    }
    if (note->size > MSG_NOTE_SIZE_MAX) {
        snprintf(why, why_size, "%s: %zu bytes, at most %d", note->type,
                 note->size, MSG_NOTE_SIZE_MAX);
        return -EMSGSIZE;
    }
    return 0;
}

/* Where it goes: over the one that it makes void, at the end, or nowhere
 * (NOTEBOX_MAX). */
static uint32_t
place_of(const struct notebox *box, const struct probe_note *note)
{
    for (uint32_t i = 0; note->latest && i < box->n; i++) {
        const struct notebox_item *item = box->items[i];
        if (item->latest && !strcmp(item->type, note->type)) {
            return i;
        }
    }
    return box->n;
}

static void
take_away(struct notebox *box, uint32_t place)
{
    free(box->items[place]);
    box->n--;
    memmove(&box->items[place], &box->items[place + 1],
            (box->n - place) * sizeof box->items[0]);
}

/* The oldest of what is to be said once more; NOTEBOX_TYPES if nothing is. */
static uint32_t
whose_turn(const struct notebox *box)
{
    uint32_t found = NOTEBOX_TYPES;

    for (uint32_t i = 0; i < NOTEBOX_TYPES; i++) {
        const struct notebox_item *item = box->said[i];
        if (item && item->again &&
            (found == NOTEBOX_TYPES ||
             item->number < box->said[found]->number)) {
            found = i;
        }
    }
    return found;
}

/* Takes what was said: in the place of the last of its type, or a free one, or
 * that of the oldest. */
static void
remember(struct notebox *box, struct notebox_item *item)
{
    uint32_t place = 0;

    for (uint32_t i = 0; i < NOTEBOX_TYPES; i++) {
        const struct notebox_item *there = box->said[i];
        const struct notebox_item *best = box->said[place];
        if (there && !strcmp(there->type, item->type)) {
            place = i;
            break;
        }
        if (best && (!there || there->number < best->number)) {
            place = i;
        }
    }
    free(box->said[place]);
    box->said[place] = item;
}
