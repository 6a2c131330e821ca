/* SPDX-License-Identifier: Apache-2.0 */
/* What a session keeps when its transport is gone: our messages that the peer
 * did not acknowledge, in order, in memory of our own.  While a transport
 * stands the ring is the window and this one is empty; after the next
 * attachment it empties itself into the new ring. */
#ifndef CHANNEL_REPLAY_WINDOW_H
#define CHANNEL_REPLAY_WINDOW_H

#include <stddef.h>
#include <stdint.h>

#include "base/clock.h"
#include "base/record.h"

/* What precedes a message's bytes. */
struct window_entry {
    /* kind, size, tag; its number's low half.  RECORD_SKIP has no bytes and
     * stands for messages that can't be sent again. */
    struct record record;
    uint64_t sequence; /* The whole number; of a skip the first, */
    uint64_t to;       /* and the last; else the same. */
    nsec_t since;      /* Kept since then. */
};

struct window {
    uint8_t *data; /* Owned; null while empty. */
    size_t capacity, start, end;
    uint64_t ring_bytes; /* What the entries would take in a ring. */
};

/* A zeroed window is an empty one. */
void window_fini(struct window *);

/* Adds behind the last.  0 or -ENOMEM. */
int window_add(struct window *, const struct window_entry *, const void *data);
/* Puts all of 'other' behind the last, and leaves 'other' empty.  0, or
 * -ENOMEM, and then 'other' is as it was. */
int window_append(struct window *, struct window *other);
/* The bytes of the first entry, or null when there is none. */
const uint8_t *window_first(const struct window *, struct window_entry *out);
/* The same of the entry at '*at', which begins at 0, and moves that on. */
const uint8_t *window_next(const struct window *, size_t *at,
                           struct window_entry *out);
void window_remove_first(struct window *);
/* Forgets everything up to 'sequence'. */
void window_release(struct window *, uint64_t sequence);

#endif
