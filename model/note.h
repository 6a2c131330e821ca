/* SPDX-License-Identifier: Apache-2.0 */
/* What the applications in a VM said last: messages whose types they define
 * themselves, of which the core knows a name, a size and where they came from.
 * The newest of each type is kept, in bounds; what its bytes mean is between
 * who sent it and who asked for its type. */
#ifndef MODEL_NOTE_H
#define MODEL_NOTE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/clock.h"

#define NOTE_TYPE_SIZE 65  /* Of a type's name, with the terminating null. */
#define NOTE_SIZE_MAX 3840 /* Bytes of one note. */
#define NOTES_MAX 16       /* Types kept of a VM, the newest note of each. */

/* When the guest says it was, on its own clock, and what the beats know of that
 * clock. */
struct note_clock {
    int64_t made_ns; /* A program or probe gave it to the agent. */
    int64_t sent_ns; /* The agent sent it. */
    int64_t offset_ns;
    uint64_t offset_error_ns; /* UINT64_MAX: unknown. */
};

struct note {
    char type[NOTE_TYPE_SIZE]; /* As of text_is_type(). */
    uint32_t size;
    const uint8_t *bytes; /* 'size' of them, any at all; no null behind them. */
    nsec_t when;          /* It came, MVM clock. */
    nsec_t made;          /* It was given to the agent, on the MVM's clock as
                           * far as the beats know; 0: can't be told. */
    struct note_clock guest;
    uint64_t cause;  /* Of the event that it is. */
    uint64_t number; /* The agent's count of notes; a gap is a loss. */
    uint64_t n_came; /* Of this type since it was first kept. */
    bool stale;      /* The agent that sent it is gone, or away. */
    bool asked;      /* The policy in force asked for its type. */
    bool urgent;     /* And can't wait for the epoch's end. */
    bool news;       /* It came since the policy was last asked. */
    bool recorded;   /* In the journal. */
    uint64_t turn;   /* The order in which they came. */
    uint64_t agent;  /* Which of the VM's agents sent it. */
};

/* A VM's.  'storage' has NOTES_MAX times NOTE_SIZE_MAX bytes, borrowed. */
struct notes {
    uint32_t n;
    struct note note[NOTES_MAX];
    uint8_t *storage;
    uint64_t n_came;    /* Of any type. */
    uint64_t agent;     /* Which agent there is, or was last. */
    uint64_t n_evicted; /* Types given up to keep another. */
};

void notes_init(struct notes *, uint8_t *storage);
/* Forgets all of them. */
void notes_clear(struct notes *);

/* The note of that type; null if there is none. */
struct note *notes_find(const struct notes *, const char *type);

/* Keeps a note (copied) in the place of the last of its type, or of the oldest
 * of the types that nobody asked for, or of the oldest.  The caller fills in
 * the rest: of a type that was not kept all is zero.  'size' is at most
 * NOTE_SIZE_MAX. */
struct note *notes_keep(struct notes *, const char *type, const void *bytes,
                        uint32_t size);

#endif
