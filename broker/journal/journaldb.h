/* SPDX-License-Identifier: Apache-2.0 */
/* The journal's file: tables, batches, bounds and reading, in SQLite.  For
 * broker/journal/journal.c only, which decides when and in which thread. */
#ifndef BROKER_JOURNAL_JOURNALDB_H
#define BROKER_JOURNAL_JOURNALDB_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct journal_opts;
struct journal_row;
struct journaldb;

typedef void journaldb_row_fn(void *ctx, const struct journal_row *);

/* As journal_open(). */
int journaldb_open(struct journaldb **out, const char *path,
                   const struct journal_opts *, char *why, size_t why_size);
void journaldb_close(struct journaldb *); /* Accepts null. */
uint64_t journaldb_start_count(const struct journaldb *);

/* One writing thread: begin, any number of adds, trim, commit.  A batch that is
 * 'durable' is on disk, with all before it, when commit returns 0.  Any failure
 * takes the whole batch back; it may be written again.  Return 0, -ENOSPC or
 * -EIO. */
int journaldb_begin(struct journaldb *, bool durable);
int journaldb_add(struct journaldb *, const struct journal_row *);
int journaldb_commit(struct journaldb *);
/* Deletes oldest rows while there are too many bytes, or they are older than
 * the age allowed at 'wall_ns'.  A bounded step, once per batch. */
int journaldb_trim(struct journaldb *, int64_t wall_ns);
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

#endif
