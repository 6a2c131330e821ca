/* SPDX-License-Identifier: Apache-2.0 */
/* Says whether a journal is as it was written: SQLite's own view of its pages
 * and indexes, each row's link to the one before, and the marks that stand
 * beside the file, which know where it ended.  Reads and changes nothing.
 * Called by journaldb.c before a file is used, by journalwrite.c when a write
 * has failed, and by journalread.c for files that people bring. */
#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "broker/journal/journaldb_parts.h"
#include "model/cause.h"

static const char *const stream_names[] = {"row", "input"};

/* Ids look like causes, START.N, and are told as such. */
static void
id_text(uint64_t id, char out[CAUSE_TEXT_SIZE])
{
    cause_format(id, out);
}

__attribute__((format(printf, 2, 3))) static void
breaks(struct journal_proof *proof, const char *format, ...)
{
    va_list args;

    proof->broken = true;
    va_start(args, format);
    vsnprintf(proof->why, sizeof proof->why, format, args);
    va_end(args);
}

static void
does_not_follow(struct journal_proof *proof, enum journal_stream stream,
                uint64_t id)
{
    char this[CAUSE_TEXT_SIZE], last[CAUSE_TEXT_SIZE];
    const char *name = stream_names[stream];

    id_text(id, this);
    id_text(proof->end.last.id, last);
    if (proof->end.n == 0 && proof->end.last.id == 0) {
        breaks(proof,
               "%s %s, the first, was changed, or those before it are gone",
               name, this);
    } else {
        breaks(proof,
               "%s %s does not follow %s %s: one was changed, or some "
               "between them are gone",
               name, this, name, last);
    }
}

/* What can't be read for want of memory is not damaged for that. */
static bool
is_short(sqlite3 *db)
{
    return (sqlite3_errcode(db) & 0xff) == SQLITE_NOMEM;
}

/* Where the stream begins: what was before the first row that is kept. */
static bool
read_anchor(sqlite3 *db, enum journal_stream stream, struct journal_mark *out)
{
    sqlite3_stmt *s = NULL;
    bool fine = true;

    memset(out, 0, sizeof *out);
    if (sqlite3_prepare_v2(db, "SELECT id, chain FROM anchor WHERE stream = ?1",
                           -1, &s, NULL)) {
        return false;
    }
    sqlite3_bind_int(s, 1, (int)stream);
    int code = sqlite3_step(s);
    if (code == SQLITE_ROW) {
        fine = sqlite3_column_bytes(s, 1) == CHAIN_SIZE;
        out->id = (uint64_t)sqlite3_column_int64(s, 0);
        if (fine) {
            memcpy(out->chain.byte, sqlite3_column_blob(s, 1), CHAIN_SIZE);
        }
    }
    sqlite3_finalize(s);
    return fine && (code == SQLITE_ROW || code == SQLITE_DONE);
}

static sqlite3_stmt *
begin(sqlite3 *db, enum journal_stream stream, const char *sql,
      const struct journal_mark *after, struct journal_proof *proof)
{
    sqlite3_stmt *s = NULL;

    memset(proof, 0, sizeof *proof);
    if (!read_anchor(db, stream, &proof->begin)) {
        proof->no_memory = is_short(db);
        breaks(proof, "where the %ss begin can't be read: %s",
               stream_names[stream], sqlite3_errmsg(db));
        return NULL;
    }
    if (after && after->id > proof->begin.id) {
        proof->begin = *after;
    }
    proof->end.last = proof->begin;
    if (sqlite3_prepare_v2(db, sql, -1, &s, NULL)) {
        proof->no_memory = is_short(db);
        breaks(proof, "the %ss can't be read: %s", stream_names[stream],
               sqlite3_errmsg(db));
        return NULL;
    }
    sqlite3_bind_int64(s, 1,
                       after ? (sqlite3_int64)proof->begin.id : INT64_MIN);
    return s;
}

/* The link that stands in the row is the one that follows from it. */
static bool
follows(struct journal_proof *proof, sqlite3_stmt *s, int column, uint64_t id,
        const struct chain *link)
{
    /* A column that could not be had is one that differs. */
    proof->no_memory |= is_short(sqlite3_db_handle(s));
    if (proof->no_memory || id <= proof->end.last.id ||
        sqlite3_column_type(s, column) != SQLITE_BLOB ||
        sqlite3_column_bytes(s, column) != CHAIN_SIZE ||
        memcmp(sqlite3_column_blob(s, column), link->byte, CHAIN_SIZE)) {
        return false;
    }
    proof->end.last.id = id;
    proof->end.last.chain = *link;
    proof->end.n++;
    return true;
}

static void
end(struct journal_proof *proof, enum journal_stream stream, sqlite3 *db,
    sqlite3_stmt *s, int code)
{
    char last[CAUSE_TEXT_SIZE];

    if (code != SQLITE_DONE && !proof->broken) {
        proof->no_memory = is_short(db);
        id_text(proof->end.last.id, last);
        breaks(proof, "the %ss behind %s can't be read: %s",
               stream_names[stream], last, sqlite3_errmsg(db));
    }
    sqlite3_finalize(s);
}

void
journalcheck_rows(sqlite3 *db, const struct journal_mark *after,
                  journal_row_link_fn *fn, void *ctx,
                  struct journal_proof *proof)
{
    sqlite3_stmt *s = begin(db, JOURNAL_ROWS,
                            "SELECT " JOURNAL_ROW_COLUMNS ", chain FROM row "
                            "WHERE id > ?1 ORDER BY id",
                            after, proof);
    struct journal_row row;
    struct chain link;
    int code = SQLITE_DONE;

    while (s && (code = sqlite3_step(s)) == SQLITE_ROW) {
        journalread_row(&row, s);
        chain_row(&link, &proof->end.last.chain, &row);
        if (!follows(proof, s, 9, row.id, &link)) {
            does_not_follow(proof, JOURNAL_ROWS, row.id);
            break;
        }
        proof->end.bytes += journaldb_row_bytes(&row);
        if (fn) {
            fn(ctx, &row, &link);
        }
    }
    end(proof, JOURNAL_ROWS, db, s, code);
}

static bool
read_input(struct journal_input *input, sqlite3_stmt *s)
{
    int size = sqlite3_column_bytes(s, 4);

    if (sqlite3_column_type(s, 4) != SQLITE_BLOB || size > JOURNAL_INPUT_SIZE) {
        return false;
    }
    input->id = (uint64_t)sqlite3_column_int64(s, 0);
    input->whole = sqlite3_column_int64(s, 1) != 0;
    input->time = sqlite3_column_int64(s, 2);
    input->wall_ns = sqlite3_column_int64(s, 3);
    input->size = (uint32_t)size;
    if (size > 0) {
        memcpy(input->data, sqlite3_column_blob(s, 4), (size_t)size);
    }
    return true;
}

void
journalcheck_inputs(sqlite3 *db, const struct journal_mark *after,
                    journal_input_link_fn *fn, void *ctx,
                    struct journal_proof *proof)
{
    sqlite3_stmt *s = begin(db, JOURNAL_INPUTS,
                            "SELECT id, whole, time, wall_ns, data, chain "
                            "FROM input WHERE id > ?1 ORDER BY id",
                            after, proof);
    struct journal_input input;
    struct chain link;
    int code = SQLITE_DONE;

    while (s && (code = sqlite3_step(s)) == SQLITE_ROW) {
        uint64_t id = (uint64_t)sqlite3_column_int64(s, 0);
        bool fine = read_input(&input, s);

        if (fine) {
            chain_input(&link, &proof->end.last.chain, &input);
        }
        if (!fine || !follows(proof, s, 5, id, &link)) {
            does_not_follow(proof, JOURNAL_INPUTS, id);
            break;
        }
        proof->end.bytes += input.size + JOURNAL_INPUT_OVERHEAD;
        if (fn) {
            fn(ctx, &input, &link);
        }
    }
    end(proof, JOURNAL_INPUTS, db, s, code);
}

uint64_t
journaldb_row_bytes(const struct journal_row *row)
{
    return strlen(row->subject) + strlen(row->name) + strlen(row->detail) +
           JOURNAL_ROW_OVERHEAD;
}

/* The file as a whole. */

/* A table whose description was changed would take rows in another way. */
static int
check_schema(sqlite3 *db, char *why, size_t why_size)
{
    sqlite3_stmt *s = NULL;
    size_t n = 0;
    int code = sqlite3_prepare_v2(
        db,
        "SELECT sql FROM sqlite_schema WHERE sql IS NOT NULL ORDER BY rowid",
        -1, &s, NULL);
    bool same = !code;

    while (same && (code = sqlite3_step(s)) == SQLITE_ROW) {
        const char *sql = (const char *)sqlite3_column_text(s, 0);

        same = journaldb_schema[n] && sql && !strcmp(sql, journaldb_schema[n]);
        n += same;
    }
    same = same && code == SQLITE_DONE && !journaldb_schema[n];
    if (!same) {
        snprintf(why, why_size, "its tables are not a journal's: %s",
                 code == SQLITE_ROW || code == SQLITE_DONE
                     ? "the description of one was changed"
                     : sqlite3_errmsg(db));
    }
    bool short_of = !same && is_short(db);
    sqlite3_finalize(s);
    return same ? 0 : short_of ? -ENOMEM : -EBADMSG;
}

int
journalcheck_pages(sqlite3 *db, char *why, size_t why_size)
{
    sqlite3_stmt *s = NULL;

    int error = check_schema(db, why, why_size);
    if (error) {
        return error;
    }
    int code =
        sqlite3_prepare_v2(db, "PRAGMA integrity_check(1)", -1, &s, NULL);
    if (!code) {
        code = sqlite3_step(s);
    }
    const char *text =
        code == SQLITE_ROW ? (const char *)sqlite3_column_text(s, 0) : NULL;
    bool fine = text && !strcmp(text, "ok");
    if (!fine) {
        snprintf(why, why_size, "its pages are damaged: %s",
                 text ? text : sqlite3_errmsg(db));
        for (char *c = why; *c; c++) {
            *c = *c == '\n' ? ' ' : *c;
        }
    }
    /* integrity_check says it in a row of its own. */
    bool short_of = !fine && (is_short(db) || (text && strstr(text, "memory")));
    sqlite3_finalize(s);
    return fine ? 0 : short_of ? -ENOMEM : -EBADMSG;
}

/* Whether the row that a mark names is there and says what it did.  A mark that
 * the bounds have passed proves nothing and need not. */
static bool
has_mark(sqlite3 *db, enum journal_stream stream,
         const struct journal_proof *proof, const struct journal_mark *mark,
         bool *short_of)
{
    static const char *const sql[] = {"SELECT chain FROM row WHERE id = ?1",
                                      "SELECT chain FROM input WHERE id = ?1"};
    sqlite3_stmt *s = NULL;

    if (mark->id <= proof->begin.id) {
        return mark->id < proof->begin.id ||
               chain_equal(&mark->chain, &proof->begin.chain);
    }
    if (mark->id > proof->end.last.id ||
        sqlite3_prepare_v2(db, sql[stream], -1, &s, NULL)) {
        *short_of |= mark->id <= proof->end.last.id && is_short(db);
        return false;
    }
    sqlite3_bind_int64(s, 1, (sqlite3_int64)mark->id);
    bool same =
        sqlite3_step(s) == SQLITE_ROW &&
        sqlite3_column_bytes(s, 0) == CHAIN_SIZE &&
        !memcmp(sqlite3_column_blob(s, 0), mark->chain.byte, CHAIN_SIZE);
    *short_of |= !same && is_short(db);
    sqlite3_finalize(s);
    return same;
}

int
journalcheck_head(sqlite3 *db, const struct journal_head *head,
                  const struct journal_proof proof[JOURNAL_STREAM_N], char *why,
                  size_t why_size)
{
    char last[CAUSE_TEXT_SIZE], marked[CAUSE_TEXT_SIZE];
    bool short_of = false;
    int result = 0;

    for (unsigned i = 0; i < JOURNAL_STREAM_N; i++) {
        const struct journal_mark *mark = &head->durable[i];
        bool promised = !has_mark(db, i, &proof[i], mark, &short_of);

        if (!promised) {
            mark = &head->written[i];
            if (has_mark(db, i, &proof[i], mark, &short_of)) {
                continue;
            }
        }
        if (short_of) {
            snprintf(why, why_size, "no memory");
            return -ENOMEM;
        }
        id_text(proof[i].end.last.id, last);
        id_text(mark->id, marked);
        snprintf(why, why_size, "it has %ss to %s, and had them to %s%s",
                 stream_names[i], proof[i].end.last.id ? last : "none", marked,
                 promised ? ", promised to be on disk"
                          : "; those behind were not on disk yet");
        if (promised) {
            return -EBADMSG;
        }
        result = 1;
    }
    return result;
}
