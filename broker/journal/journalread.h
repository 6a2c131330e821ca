/* SPDX-License-Identifier: Apache-2.0 */
/* Reads a journal that somebody brings, or one that a broker writes now,
 * without changing a byte of it, and says what of it is proved.  For the
 * programs that look into journals. */
#ifndef BROKER_JOURNAL_JOURNALREAD_H
#define BROKER_JOURNAL_JOURNALREAD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "broker/journal/chain.h"
#include "broker/journal/journal.h"

struct journal_reading {
    /* Each gets what is proved, in order; each may be null. */
    void (*row)(void *ctx, const struct journal_row *);
    void (*input)(void *ctx, const struct journal_input *);
    void (*link)(void *ctx, const struct journal_row *, const struct chain *);
    void *ctx;
};

enum journal_end_state {
    JOURNAL_END_KNOWN,   /* Nothing that was ever written is missing. */
    JOURNAL_END_OPEN,    /* A broker writes it now, or was cut off. */
    JOURNAL_END_SHORT,   /* Rows are gone that nobody was promised. */
    JOURNAL_END_CUT,     /* Rows are gone that were on disk. */
    JOURNAL_END_UNKNOWN, /* Nothing stands beside the file. */
};

struct journal_report {
    uint64_t n_rows, n_inputs; /* Proved. */
    uint64_t before;           /* The id of the last row that was dropped. */
    uint64_t last;             /* Of the last one that is proved. */
    struct chain chain;        /* Its link: what the whole comes to. */
    bool broken;               /* Something does not follow, in 'why'. */
    char why[JOURNAL_WHY_SIZE];
    enum journal_end_state end;
    char end_why[JOURNAL_WHY_SIZE];
};

/* Reads the file at 'path' once.  Returns 0, whatever the report says, or -Exxx
 * with 'why' if it can't be read at all. */
int journalread_file(const char *path, const struct journal_reading *,
                     struct journal_report *, char *why, size_t why_size);

#endif
