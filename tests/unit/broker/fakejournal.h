/* SPDX-License-Identifier: Apache-2.0 */
/* A journal that keeps its last rows in memory and fails when told to.  It
 * takes the place of broker/journal/journal.c in the program that includes it.
 */
#ifndef TESTS_UNIT_BROKER_FAKEJOURNAL_H
#define TESTS_UNIT_BROKER_FAKEJOURNAL_H

#include <errno.h>
#include <string.h>

#include "broker/journal/journal.h"

#define FAKE_ROWS 4096
#define FAKE_INPUTS 256

struct journal {
    struct journal_row rows[FAKE_ROWS];
    uint64_t n; /* Ever taken. */
    int error;  /* What journal_add() answers; 0: it takes the row. */
    bool failing;
    unsigned n_runs, n_syncs;
    struct journal_input *inputs; /* A test's own, FAKE_INPUTS; or null. */
    uint32_t n_inputs;
};

uint64_t
journal_start_count(const struct journal *journal)
{
    return 3;
}

int
journal_add(struct journal *journal, const struct journal_row *row)
{
    if (journal->error) {
        return journal->error;
    }
    journal->rows[journal->n++ % FAKE_ROWS] = *row;
    return 0;
}

int
journal_sync(struct journal *journal)
{
    journal->n_syncs++;
    return journal->error;
}

bool
journal_keeps_inputs(const struct journal *journal)
{
    return journal->inputs != NULL;
}

int
journal_add_input(struct journal *journal, const struct journal_input *input)
{
    if (journal->error || journal->n_inputs == FAKE_INPUTS) {
        return journal->error ? journal->error : -ENOBUFS;
    }
    journal->inputs[journal->n_inputs++] = *input;
    return 0;
}

void
journal_health(struct journal *journal, struct journal_health *out)
{
    memset(out, 0, sizeof *out);
    out->failing = journal->failing;
    strcpy(out->reason, journal->failing ? "disk full" : "");
}

void
journal_run(struct journal *journal, nsec_t now)
{
    journal->n_runs++;
}

/* The last row of that kind, and of that name if one is given; null if there is
 * none. */
static inline const struct journal_row *
fake_last(const struct journal *journal, enum journal_kind kind,
          const char *name)
{
    for (uint64_t i = journal->n; i > 0 && journal->n - i < FAKE_ROWS; i--) {
        const struct journal_row *row = &journal->rows[(i - 1) % FAKE_ROWS];
        if (row->kind == kind && (!name || !strcmp(row->name, name))) {
            return row;
        }
    }
    return NULL;
}

int
journal_last(struct journal *journal, const char *name, struct journal_row *out)
{
    for (uint64_t i = journal->n; i > 0 && journal->n - i < FAKE_ROWS; i--) {
        if (!strcmp(journal->rows[(i - 1) % FAKE_ROWS].name, name)) {
            *out = journal->rows[(i - 1) % FAKE_ROWS];
            return 1;
        }
    }
    return 0;
}

int
journal_trace(struct journal *journal, uint64_t cause,
              void (*row)(void *ctx, const struct journal_row *), void *ctx)
{
    int n = 0;

    for (uint64_t i = 0; i < journal->n && i < FAKE_ROWS; i++) {
        if (journal->rows[i].cause == cause) {
            row(ctx, &journal->rows[i]);
            n++;
        }
    }
    return n;
}

/* How many rows of a cause there are. */
static inline unsigned
fake_count(const struct journal *journal, uint64_t cause)
{
    unsigned n = 0;

    for (uint64_t i = 0; i < journal->n && i < FAKE_ROWS; i++) {
        n += journal->rows[i].cause == cause;
    }
    return n;
}

#endif
