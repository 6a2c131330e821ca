/* SPDX-License-Identifier: Apache-2.0 */
/* The journal: event -> decision -> action -> outcome, linked by cause, in
 * SQLite (WAL).  Rows are added without waiting: a writer thread behind a
 * bounded queue stores them in batches; journal_sync() waits for the disk, for
 * actions that can't be undone.  Its size and age are bounded.  Each row
 * carries a checksum chained to the one before, and how far the chain got
 * stands in a file beside, so that nothing can be changed, or be missing,
 * unnoticed. */
#ifndef BROKER_JOURNAL_JOURNAL_H
#define BROKER_JOURNAL_JOURNAL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/clock.h"
#include "model/uuid.h"

#define JOURNAL_SUBJECT_SIZE 168 /* NAME_TEXT_SIZE, so that none is cut. */
#define JOURNAL_DETAIL_SIZE 1024
#define JOURNAL_WHY_SIZE 256
#define JOURNAL_INPUT_SIZE 8192 /* Bytes of a block of inputs. */

enum journal_kind {
    JOURNAL_EVENT,
    JOURNAL_DECISION,
    JOURNAL_ACTION,
    JOURNAL_OUTCOME,
};

const char *journal_kind_name(enum journal_kind);

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

/* What the engine was told, packed (broker/engine/tape.h): a block of what
 * comes in a stream of its own beside the rows, for replay. */
struct journal_input {
    uint64_t id;     /* Set by the journal. */
    bool whole;      /* It can be understood without those before it. */
    nsec_t time;     /* Of its first entry. */
    int64_t wall_ns; /* When it was added. */
    uint32_t size;
    uint8_t data[JOURNAL_INPUT_SIZE];
};

struct journal;

struct journal_opts {
    uint64_t size_max;   /* Bytes of the file with its log. */
    uint64_t inputs_max; /* Of these, at most so many are inputs; 0: none. */
    uint64_t age_max_s;  /* While the host was up: the rows' 'time'. */
    uint32_t page_size;  /* SQLite's; 0: 4096. */
    /* No writer thread: rows are written by journal_run(), when the queue is
     * full, and when somebody waits.  For msim, whose runs repeat. */
    bool no_thread;
};

/* Which rows are asked for; zeroed: all. */
struct journal_filter {
    int64_t since_ns, until_ns; /* Wall clock; 0: no bound.  Until is not in. */
    /* A name, as of the row, or a kind ("decision"); "": any. */
    char type[32];
    /* A VM's UUID as text: rows about it, or of a cause that is; "": any. */
    char vm[UUID_TEXT_SIZE];
};

/* A look at part of a long journal: rows with ids above 'after' and below
 * 'before' (0: to the end).  At most 'n' are given and some thousands looked
 * at, so it may take several. */
struct journal_scan {
    uint64_t after, before;
    bool forward; /* Beginning with the oldest; else with the newest. */
    uint32_t n;
    struct journal_filter filter;
    /* What it came to: ids up to which, or down to which, rows were looked at,
     * and whether there may be more beyond. */
    uint64_t reached;
    bool more;
};

struct journal_health {
    bool failing; /* The last write failed; rows are refused. */
    char reason[160];
    uint64_t n_rows, n_lost, size;
};

/* Opens or makes the journal at 'path'; counts this start.  The file is read
 * through: if anything in it is not as it was written, or rows that were
 * promised are missing, it is moved aside, never deleted, and the rows before
 * the damage, which the chain proves, are taken over into a new one.  That, or
 * that rows which nobody was promised are gone, is said in 'why' with a result
 * of 1.  Returns 0, 1 or -Exxx with 'why'.  'path' null: in memory and without
 * a thread, for msim. */
int journal_open(struct journal **out, const char *path,
                 const struct journal_opts *, char *why, size_t why_size);
void journal_close(struct journal *); /* Writes what is queued. */
uint64_t journal_start_count(const struct journal *);

/* Queues a row (copied).  0, -ENOBUFS (queue full, counted) or -EIO/-ENOSPC
 * while the disk fails. */
int journal_add(struct journal *, const struct journal_row *);
/* Queues a block of inputs (copied).  0, -ENOTSUP if none are kept, -ENOBUFS,
 * or -EIO/-ENOSPC while the disk fails. */
int journal_add_input(struct journal *, const struct journal_input *);
bool journal_keeps_inputs(const struct journal *);
/* Waits until all rows added so far are on disk. */
int journal_sync(struct journal *);
/* Calls 'row' for all rows of a cause, oldest first, including those still
 * queued.  Returns how many or -Exxx. */
int journal_trace(struct journal *, uint64_t cause,
                  void (*row)(void *ctx, const struct journal_row *),
                  void *ctx);
/* The last 'n' rows, oldest first. */
int journal_tail(struct journal *, uint32_t n,
                 void (*row)(void *ctx, const struct journal_row *), void *ctx);
/* Calls 'row' for the rows that a scan finds, oldest first.  Returns how many
 * or -Exxx. */
int journal_scan(struct journal *, struct journal_scan *,
                 void (*row)(void *ctx, const struct journal_row *), void *ctx);
/* True if a row is one that is asked for, as far as it can be told by itself:
 * another row of its cause may be about the VM. */
bool journal_filter_takes(const struct journal_filter *,
                          const struct journal_row *, bool any_vm);
bool journal_row_is_about(const struct journal_row *, const char *vm);
/* The last row of that name.  1, 0 if there is none, or -Exxx. */
int journal_last(struct journal *, const char *name, struct journal_row *out);
void journal_health(struct journal *, struct journal_health *out);
/* Tries again after a failure; called once per epoch by the engine. */
void journal_run(struct journal *, nsec_t now);

#endif
