/* SPDX-License-Identifier: Apache-2.0 */
/* Writes the journal's file in batches: rows and inputs with their links, old
 * ones away, and then the marks beside it.  What is deleted at the front leaves
 * its last link behind as the place where the stream begins, in the same
 * transaction, so that the chain is whole whatever the bounds took.
 *
 * After a write or a sync has failed the kernel may show pages as written that
 * are not: it reports such a failure once and forgets it.  So nothing that only
 * stands in the log counts any more until it was copied into the file, the file
 * was synced, and the rows since the last promise were read back and follow one
 * another.  Called by journal.c's writer through journaldb.h. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "broker/journal/journaldb_parts.h"

#define TRIM_ROWS 128  /* Deleted at most per step. */
#define TRIM_STEPS 4   /* Of those, in one batch. */
#define TRIM_INPUTS 32 /* Likewise; they are longer. */
#define TRIM_PAGES 128 /* Given back at most per step. */

static int fail(struct journaldb *, const char *doing);
static int make_sure(struct journaldb *);

/* Batches. */

int
journaldb_begin(struct journaldb *db, bool durable)
{
    memcpy(db->batch, db->end, sizeof db->batch);
    if (db->unsure) {
        int error = make_sure(db);

        if (error) {
            return error;
        }
    }
    if (durable != db->durable) {
        if (journaldb_run(db->writer, durable
                                          ? "PRAGMA synchronous = FULL"
                                          : "PRAGMA synchronous = NORMAL")) {
            return fail(db, "setting");
        }
        db->durable = durable;
    }
    if (journaldb_run(db->writer, "BEGIN IMMEDIATE")) {
        return fail(db, "beginning");
    }
    /* Something must be written for a durable commit to reach the disk, and
     * for a retry to find out whether writing works again. */
    if (journaldb_run(db->writer, "UPDATE meta SET value = value + 1 "
                                  "WHERE key = 'batches'")) {
        return fail(db, "writing");
    }
    return 0;
}

static int
step(struct journaldb *db, enum journal_stream stream, uint64_t id, nsec_t time,
     const struct chain *link, uint64_t bytes)
{
    struct journal_end *end = &db->batch[stream];
    int code = sqlite3_step(db->add[stream]);
    int error = code == SQLITE_DONE ? 0 : fail(db, "writing");

    sqlite3_reset(db->add[stream]);
    if (!error) {
        end->last.id = id;
        end->last.chain = *link;
        end->n++;
        end->bytes += bytes;
        journalage_note(&db->ages[stream], id, time);
    }
    return error;
}

int
journaldb_add_linked(struct journaldb *db, const struct journal_row *row,
                     const struct chain *link)
{
    sqlite3_stmt *s = db->add[JOURNAL_ROWS];

    sqlite3_bind_int64(s, 1, (sqlite3_int64)row->id);
    sqlite3_bind_int64(s, 2, (sqlite3_int64)row->cause);
    sqlite3_bind_int64(s, 3, (sqlite3_int64)row->command);
    sqlite3_bind_int(s, 4, (int)row->kind);
    sqlite3_bind_int64(s, 5, row->time);
    sqlite3_bind_int64(s, 6, row->wall_ns);
    sqlite3_bind_text(s, 7, row->subject, -1, SQLITE_STATIC);
    sqlite3_bind_text(s, 8, row->name, -1, SQLITE_STATIC);
    sqlite3_bind_text(s, 9, row->detail, -1, SQLITE_STATIC);
    sqlite3_bind_blob(s, 10, link->byte, CHAIN_SIZE, SQLITE_STATIC);
    return step(db, JOURNAL_ROWS, row->id, row->time, link,
                journaldb_row_bytes(row));
}

int
journaldb_add_input_linked(struct journaldb *db,
                           const struct journal_input *input,
                           const struct chain *link)
{
    sqlite3_stmt *s = db->add[JOURNAL_INPUTS];

    sqlite3_bind_int64(s, 1, (sqlite3_int64)input->id);
    sqlite3_bind_int(s, 2, input->whole);
    sqlite3_bind_int64(s, 3, input->time);
    sqlite3_bind_int64(s, 4, input->wall_ns);
    sqlite3_bind_blob(s, 5, input->data, (int)input->size, SQLITE_STATIC);
    sqlite3_bind_blob(s, 6, link->byte, CHAIN_SIZE, SQLITE_STATIC);
    return step(db, JOURNAL_INPUTS, input->id, input->time, link,
                input->size + JOURNAL_INPUT_OVERHEAD);
}

int
journaldb_add(struct journaldb *db, const struct journal_row *row)
{
    struct chain link;

    chain_row(&link, &db->batch[JOURNAL_ROWS].last.chain, row);
    return journaldb_add_linked(db, row, &link);
}

int
journaldb_add_input(struct journaldb *db, const struct journal_input *input)
{
    struct chain link;

    chain_input(&link, &db->batch[JOURNAL_INPUTS].last.chain, input);
    return journaldb_add_input_linked(db, input, &link);
}

int
journaldb_commit(struct journaldb *db)
{
    if (journaldb_run(db->writer, "COMMIT")) {
        return fail(db, "committing");
    }
    memcpy(db->end, db->batch, sizeof db->end);
    return 0;
}

int
journaldb_mark(struct journaldb *db, bool durable)
{
    struct journal_head head = db->head;

    for (unsigned i = 0; i < JOURNAL_STREAM_N; i++) {
        head.written[i] = db->end[i].last;
        if (durable) {
            head.durable[i] = db->end[i].last;
        }
    }
    int error =
        db->headfile ? journalhead_write(db->headfile, &head, durable) : 0;
    if (error) {
        snprintf(db->reason, sizeof db->reason, "marking the end: %s",
                 strerror(-error));
        return error == -ENOSPC ? -ENOSPC : -EIO;
    }
    db->head = head;
    return 0;
}

/* Bounds. */

static bool
is_too_large(struct journaldb *db)
{
    int64_t pages = 0, free_pages = 0;

    journaldb_number(db->writer, "PRAGMA page_count", &pages);
    journaldb_number(db->writer, "PRAGMA freelist_count", &free_pages);
    return (uint64_t)(pages - free_pages) * db->page_size > db->data_max;
}

static const char *const tables[] = {"row", "input"};

/* An age that all are older than. */
#define AGE_NONE INT64_MIN

/* The last of the oldest 'n' that are, with all before them, older than
 * 'age_max' at 'now'; 0 if the first is not. */
static uint64_t
last_of_oldest(struct journaldb *db, enum journal_stream stream, int n,
               nsec_t age_max, nsec_t now)
{
    sqlite3_stmt *s = NULL;
    uint64_t last = 0;
    char sql[96];

    snprintf(sql, sizeof sql, "SELECT id, time FROM %s ORDER BY id LIMIT %d",
             tables[stream], n);
    if (sqlite3_prepare_v2(db->writer, sql, -1, &s, NULL)) {
        return 0;
    }
    while (sqlite3_step(s) == SQLITE_ROW) {
        uint64_t id = (uint64_t)sqlite3_column_int64(s, 0);

        if (journalage_of(&db->ages[stream], id, sqlite3_column_int64(s, 1),
                          now) <= age_max) {
            break;
        }
        last = id;
    }
    sqlite3_finalize(s);
    return last;
}

static bool
is_too_old(struct journaldb *db, enum journal_stream stream, nsec_t age_max,
           nsec_t now)
{
    return last_of_oldest(db, stream, 1, age_max, now) != 0;
}

static int
delete_oldest(struct journaldb *db, enum journal_stream stream, int n,
              nsec_t age_max, nsec_t now)
{
    const char *table = tables[stream];
    uint64_t last = last_of_oldest(db, stream, n, age_max, now);
    int64_t n_bytes = 0;
    char sql[400];

    if (!last) {
        return 0;
    }
    snprintf(sql, sizeof sql,
             stream == JOURNAL_ROWS
                 ? "SELECT sum(length(CAST(subject AS BLOB)) + "
                   "length(CAST(name AS BLOB)) + length(CAST(detail AS BLOB)) "
                   "+ %d) FROM row WHERE id <= %" PRIu64
                 : "SELECT sum(length(data) + %d) FROM input WHERE "
                   "id <= %" PRIu64,
             stream == JOURNAL_ROWS ? JOURNAL_ROW_OVERHEAD
                                    : JOURNAL_INPUT_OVERHEAD,
             last);
    journaldb_number(db->writer, sql, &n_bytes);
    snprintf(sql, sizeof sql,
             "REPLACE INTO anchor SELECT %d, id, chain FROM %s WHERE id = "
             "%" PRIu64 "; DELETE FROM %s WHERE id <= %" PRIu64
             "; PRAGMA incremental_vacuum(%d)",
             (int)stream, table, last, table, last, TRIM_PAGES);
    int64_t before = sqlite3_total_changes(db->writer);
    if (journaldb_run(db->writer, sql)) {
        return fail(db, "deleting");
    }
    /* One of the changes is the anchor. */
    db->batch[stream].n -=
        (uint64_t)(sqlite3_total_changes(db->writer) - before - 1);
    db->batch[stream].bytes -= (uint64_t)n_bytes;
    return 0;
}

int
journaldb_trim(struct journaldb *db, nsec_t now)
{
    const struct journal_end *inputs = &db->batch[JOURNAL_INPUTS];
    nsec_t age_max = INT64_MAX;
    int error = 0;

    if (db->opts.age_max_s < INT64_MAX / NSEC_PER_SEC) {
        age_max = (nsec_t)db->opts.age_max_s * NSEC_PER_SEC;
    }
    if (inputs->n && inputs->bytes > db->inputs_max) {
        error = delete_oldest(db, JOURNAL_INPUTS, TRIM_INPUTS, AGE_NONE, now);
    } else if (is_too_old(db, JOURNAL_INPUTS, age_max, now)) {
        error = delete_oldest(db, JOURNAL_INPUTS, TRIM_INPUTS, age_max, now);
    }
    /* Step by step: the rows just added must not go with the oldest. */
    for (int i = 0; i < TRIM_STEPS && !error; i++) {
        bool large = is_too_large(db);

        if (!large && !is_too_old(db, JOURNAL_ROWS, age_max, now)) {
            break;
        }
        error = delete_oldest(db, JOURNAL_ROWS, TRIM_ROWS,
                              large ? AGE_NONE : age_max, now);
    }
    return error;
}

/* Failures. */

/* Takes the batch back; the first reason stands. */
static int
fail(struct journaldb *db, const char *doing)
{
    int error = journaldb_error(db->writer);
    int system = sqlite3_system_errno(db->writer);

    snprintf(db->reason, sizeof db->reason, "%s: %s%s%s", doing,
             sqlite3_errmsg(db->writer), system ? ": " : "",
             system ? strerror(system) : "");
    db->unsure |= (sqlite3_errcode(db->writer) & 0xff) == SQLITE_IOERR;
    for (unsigned i = 0; i < JOURNAL_STREAM_N; i++) {
        sqlite3_reset(db->add[i]);
    }
    if (!sqlite3_get_autocommit(db->writer)) {
        journaldb_run(db->writer, "ROLLBACK");
    }
    return error == -ENOSPC ? -ENOSPC : -EIO;
}

static int
read_back(struct journaldb *db)
{
    struct journal_proof proof[JOURNAL_STREAM_N];

    journalcheck_rows(db->writer, &db->head.durable[JOURNAL_ROWS], NULL, NULL,
                      &proof[JOURNAL_ROWS]);
    journalcheck_inputs(db->writer, &db->head.durable[JOURNAL_INPUTS], NULL,
                        NULL, &proof[JOURNAL_INPUTS]);
    for (unsigned i = 0; i < JOURNAL_STREAM_N; i++) {
        const struct journal_mark *last = &proof[i].end.last;

        if (proof[i].broken || last->id != db->end[i].last.id ||
            !chain_equal(&last->chain, &db->end[i].last.chain)) {
            snprintf(db->reason, sizeof db->reason,
                     "what was written before a failure is gone: %.160s",
                     proof[i].broken ? proof[i].why : "the last are missing");
            return -EIO;
        }
    }
    return 0;
}

static int
make_sure(struct journaldb *db)
{
    int n_log = -1;
    int code = sqlite3_wal_checkpoint_v2(
        db->writer, NULL, SQLITE_CHECKPOINT_TRUNCATE, &n_log, NULL);

    if (code) {
        return fail(db, "bringing the log to the disk");
    }
    int error = read_back(db);
    db->unsure = error != 0;
    return error;
}
