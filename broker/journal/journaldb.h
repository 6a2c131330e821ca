/* SPDX-License-Identifier: Apache-2.0 */
/* The journal's file: tables, batches, bounds and reading, in SQLite.  For
 * broker/journal/journal.c only, which decides when and in which thread. */
#ifndef BROKER_JOURNAL_JOURNALDB_H
#define BROKER_JOURNAL_JOURNALDB_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/clock.h"

struct journal_filter;
struct journal_input;
struct journal_opts;
struct journal_row;
struct journal_scan;
struct journaldb;

typedef void journaldb_row_fn(void *ctx, const struct journal_row *);

/* As journal_open(). */
int journaldb_open(struct journaldb **out, const char *path,
                   const struct journal_opts *, char *why, size_t why_size);
void journaldb_close(struct journaldb *); /* Accepts null. */
uint64_t journaldb_start_count(const struct journaldb *);

/* One writing thread: begin, any number of adds, trim, commit, mark.  Any
 * failure up to commit takes the whole batch back; it may be written again.
 * Return 0, -ENOSPC or -EIO.  After a failure begin does not trust the file
 * until what was written since the last promise has been brought to the disk
 * anew and read back. */
int journaldb_begin(struct journaldb *, bool durable);
int journaldb_add(struct journaldb *, const struct journal_row *);
int journaldb_add_input(struct journaldb *, const struct journal_input *);
int journaldb_commit(struct journaldb *);
/* Notes beside the file how far it got.  A batch that is 'durable' is on the
 * disk, with all before it, when this returns 0; after a failure the batch
 * stands, and an empty one may be begun to mark it again. */
int journaldb_mark(struct journaldb *, bool durable);
/* Deletes the oldest rows and inputs while there are too many bytes, or they
 * are older than the age allowed at 'now' (CLOCK_BOOTTIME).  A bounded step,
 * once per batch. */
int journaldb_trim(struct journaldb *, nsec_t now);
/* What the writing thread's last failure was; borrowed until the next call. */
const char *journaldb_reason(const struct journaldb *);
uint64_t journaldb_n_rows(const struct journaldb *);
uint64_t journaldb_size(struct journaldb *);

/* One reading thread, beside the writing one: rows with ids below 'before',
 * oldest first.  Return how many, or -EIO. */
int journaldb_trace(struct journaldb *, uint64_t cause, uint64_t before,
                    journaldb_row_fn *, void *ctx);
int journaldb_tail(struct journaldb *, uint32_t n, uint64_t before,
                   journaldb_row_fn *, void *ctx);
/* As journal_scan(), among what is in the file. */
int journaldb_scan(struct journaldb *, struct journal_scan *,
                   journaldb_row_fn *, void *ctx);
/* The last row of that name; 1, 0 or -EIO. */
int journaldb_last(struct journaldb *, const char *name,
                   struct journal_row *out);

#endif
