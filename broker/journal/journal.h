/* SPDX-License-Identifier: Apache-2.0 */
/* The journal: event -> decision -> action -> outcome, linked by cause, in
 * SQLite (WAL).  Rows are added without waiting: a writer thread behind a
 * bounded queue stores them in batches; journal_sync() waits for the disk, for
 * actions that can't be undone.  Its size and age are bounded. */
#ifndef BROKER_JOURNAL_JOURNAL_H
#define BROKER_JOURNAL_JOURNAL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/clock.h"

#define JOURNAL_SUBJECT_SIZE 168 /* NAME_TEXT_SIZE, so that none is cut. */
#define JOURNAL_DETAIL_SIZE 1024

enum journal_kind {
    JOURNAL_EVENT,
    JOURNAL_DECISION,
    JOURNAL_ACTION,
    JOURNAL_OUTCOME,
};

struct journal_row {
    uint64_t id; /* Set by the journal when read. */
    uint64_t cause;
    uint64_t command; /* Of actions and outcomes; else 0. */
    enum journal_kind kind;
    nsec_t time;                        /* MVM clock (CLOCK_BOOTTIME). */
    int64_t wall_ns;                    /* Wall clock, for people only. */
    char subject[JOURNAL_SUBJECT_SIZE]; /* mgmt:// name. */
    char name[32];                      /* "GUEST_NOTICE", "basic/raise", … */
    char detail[JOURNAL_DETAIL_SIZE];   /* A JSON object. */
};

struct journal;

struct journal_opts {
    uint64_t size_max;  /* Bytes. */
    uint64_t age_max_s; /* By wall clock. */
    /* No writer thread: rows are written by journal_run(), when the queue is
     * full, and when somebody waits.  For msim, whose runs repeat. */
    bool no_thread;
};

struct journal_health {
    bool failing; /* The last write failed; rows are refused. */
    char reason[160];
    uint64_t n_rows, n_lost, size;
};

/* Opens or makes the journal at 'path'; counts this start.  A damaged file is
 * moved aside, never deleted, and said in 'why' with a result of 1.  Returns 0,
 * 1 or -Exxx with 'why'.  'path' null: in memory and without a thread, for
 * msim. */
int journal_open(struct journal **out, const char *path,
                 const struct journal_opts *, char *why, size_t why_size);
void journal_close(struct journal *); /* Writes what is queued. */
uint64_t journal_start_count(const struct journal *);

/* Queues a row (copied).  0, -ENOBUFS (queue full, counted) or -EIO/-ENOSPC
 * while the disk fails. */
int journal_add(struct journal *, const struct journal_row *);
/* Waits until all added so far is on disk. */
int journal_sync(struct journal *);
/* Calls 'row' for all rows of a cause, oldest first, including those still
 * queued.  Returns how many or -Exxx. */
int journal_trace(struct journal *, uint64_t cause,
                  void (*row)(void *ctx, const struct journal_row *),
                  void *ctx);
/* The last 'n' rows, oldest first. */
int journal_tail(struct journal *, uint32_t n,
                 void (*row)(void *ctx, const struct journal_row *), void *ctx);
void journal_health(struct journal *, struct journal_health *out);
/* Tries again after a failure; called once per epoch by the engine. */
void journal_run(struct journal *, nsec_t now);

#endif
