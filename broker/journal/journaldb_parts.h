/* SPDX-License-Identifier: Apache-2.0 */
/* What the files around the journal's SQLite file share, and nobody else sees:
 *   journaldb.c     opening, judging, taking over
 *   journalwrite.c  batches, bounds, marks
 *   journalread.c   rows by cause and filter, files that nobody writes
 *   journalcheck.c  whether all is as it was written
 *   journalage.c    how old it is */
#ifndef BROKER_JOURNAL_JOURNALDB_PARTS_H
#define BROKER_JOURNAL_JOURNALDB_PARTS_H

#include <sqlite3.h>

#include "broker/journal/chain.h"
#include "broker/journal/journal.h"
#include "broker/journal/journalage.h"
#include "broker/journal/journaldb.h"
#include "broker/journal/journalhead.h"
#include "broker/journal/journalread.h"

#define JOURNAL_SCHEMA 2 /* Its number, as user_version. */
/* Bytes that one takes of the file beyond its texts or data, about. */
#define JOURNAL_ROW_OVERHEAD 96
#define JOURNAL_INPUT_OVERHEAD 96

/* How far a stream got. */
struct journal_end {
    struct journal_mark last;
    uint64_t n, bytes; /* Of what is in the file. */
};

struct journaldb {
    sqlite3 *writer, *reader; /* The same one if in memory. */
    sqlite3_stmt *add[JOURNAL_STREAM_N];
    struct journalhead *headfile; /* Null if in memory. */
    struct journal_head head;     /* As last written. */
    struct journal_opts opts;
    uint64_t start_count;
    struct journal_end end[JOURNAL_STREAM_N];
    struct journal_end batch[JOURNAL_STREAM_N]; /* With the open batch. */
    struct journal_ages ages[JOURNAL_STREAM_N];
    uint32_t page_size;
    uint64_t data_max, inputs_max; /* What the bounds come to, in bytes. */
    bool durable;                  /* As commits are now. */
    /* A write or a sync failed: what the kernel shows of the log may not be
     * what is on the disk. */
    bool unsure;
    char reason[JOURNAL_WHY_SIZE];
};

/* journaldb.c */
int journaldb_run(sqlite3 *, const char *sql);
int journaldb_number(sqlite3 *, const char *sql, int64_t *out);
int journaldb_error(sqlite3 *);
int journaldb_prepare_add(struct journaldb *);
extern const char *const journaldb_schema[]; /* Ended by null. */

/* journalwrite.c */
int journaldb_add_linked(struct journaldb *, const struct journal_row *,
                         const struct chain *);
int journaldb_add_input_linked(struct journaldb *, const struct journal_input *,
                               const struct chain *);

/* journalcheck.c */
/* About what a row takes of the file. */
uint64_t journaldb_row_bytes(const struct journal_row *);

/* What of a stream is proved: everything up to 'last', which is
 * where the stream begins if there is nothing. */
struct journal_proof {
    struct journal_mark begin; /* What came before the first, if it is known. */
    struct journal_end end;
    bool broken;    /* More is there, or should be, and does not follow. */
    bool no_memory; /* Or that can't be told, for want of memory. */
    char why[JOURNAL_WHY_SIZE];
};

typedef void journal_row_link_fn(void *ctx, const struct journal_row *,
                                 const struct chain *);
typedef void journal_input_link_fn(void *ctx, const struct journal_input *,
                                   const struct chain *);

/* Walk a stream behind 'after' (null, or if that is gone: from where it begins)
 * and hand on what is proved, in order; 'fn' may be null. */
void journalcheck_rows(sqlite3 *, const struct journal_mark *after,
                       journal_row_link_fn *fn, void *ctx,
                       struct journal_proof *);
void journalcheck_inputs(sqlite3 *, const struct journal_mark *after,
                         journal_input_link_fn *fn, void *ctx,
                         struct journal_proof *);
/* The file's tables are ours, and its pages and indexes agree.  0, -EBADMSG or
 * -ENOMEM with 'why'. */
int journalcheck_pages(sqlite3 *, char *why, size_t why_size);
/* Whether what a file has reaches what stands beside it.  Returns 0, 1 if only
 * what nobody was promised is missing, -EBADMSG or -ENOMEM, with 'why'. */
int journalcheck_head(sqlite3 *, const struct journal_head *,
                      const struct journal_proof[JOURNAL_STREAM_N], char *why,
                      size_t why_size);

/* journalread.c */
void journalread_row(struct journal_row *, sqlite3_stmt *);
/* Opens without writing anything; 0 or -Exxx with 'why'. */
int journalread_open(sqlite3 **out, const char *path, char *why,
                     size_t why_size);
#define JOURNAL_ROW_COLUMNS                                                    \
    "id, cause, command, kind, time, wall_ns, subject, name, detail"

#endif
