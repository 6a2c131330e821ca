/* SPDX-License-Identifier: Apache-2.0 */
/* How far the journal got, in a small file beside it: what the chain itself
 * can't tell is that its end is missing.  For broker/journal/ only. */
#ifndef BROKER_JOURNAL_JOURNALHEAD_H
#define BROKER_JOURNAL_JOURNALHEAD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "broker/journal/chain.h"

/* The two streams of a journal, each with a chain of its own. */
enum journal_stream {
    JOURNAL_ROWS,
    JOURNAL_INPUTS,
    JOURNAL_STREAM_N, /* Not a stream: how many there are. */
};

struct journal_mark {
    uint64_t id; /* 0: none yet. */
    struct chain chain;
};

struct journal_head {
    uint64_t starts; /* Of the broker; 0: unknown. */
    bool clean;      /* The journal was closed, and not cut off. */
    struct journal_mark written[JOURNAL_STREAM_N];
    struct journal_mark durable[JOURNAL_STREAM_N]; /* Promised. */
};

struct journalhead;

/* Opens or makes the file beside the journal at 'path' and reads it.  It is
 * written in place from then on, so nothing is opened later.  Returns 0, 1 if
 * there is none that can be read ('*head' is zero; 'why' says so if there
 * should have been one), or -Exxx with 'why'. */
int journalhead_open(struct journalhead **out, const char *path,
                     struct journal_head *head, char *why, size_t why_size);
void journalhead_close(struct journalhead *); /* Accepts null. */
/* Only reads what is beside a file; 0, -ENOENT, -EBADMSG or -Exxx. */
int journalhead_read(const char *path, struct journal_head *head);

/* Writes it, on the disk if 'sync'.  0 or -Exxx; the last one stands until the
 * new one is whole. */
int journalhead_write(struct journalhead *, const struct journal_head *,
                      bool sync);

#endif
