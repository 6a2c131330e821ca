/* SPDX-License-Identifier: Apache-2.0 */
/* Keeps applications' own messages until the channel takes them.  A note of
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
    nsec_t made;
    uint64_t number;
    size_t size;
    uint8_t bytes[];
};

static int check(const struct probe_note *, char *why, size_t why_size);
static uint32_t place_of(const struct notebox *, const struct probe_note *);
static void take_away(struct notebox *, uint32_t place);

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
    const struct notebox_item *item = box->items[0];

    if (now > box->credited) {
        nsec_t passed = nsec_min(now - box->credited, BURST_NS);
        box->credit_ns = nsec_min(box->credit_ns + passed, BURST_NS);
        box->credited = now;
    }
    if (!box->n || box->credit_ns < NOTE_NS) {
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
    take_away(box, 0);
    box->credit_ns -= NOTE_NS;
    box->n_given++;
}

void
notebox_drop(struct notebox *box)
{
    take_away(box, 0);
    box->n_refused++;
}

nsec_t
notebox_deadline(const struct notebox *box)
{
    nsec_t lacks = NOTE_NS - box->credit_ns;

    if (!box->n) {
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
