/* SPDX-License-Identifier: Apache-2.0 */
/* Reads the journal's rows: by cause, from the end, or by what people ask for.
 * What is asked for is looked up among a bounded number of rows at once, since
 * the engine waits meanwhile.  Also opens files that nobody writes, or somebody
 * else does, without changing a byte of them.  Called by journal.c and
 * journalfile readers through journaldb.h and journalread.h. */
#include "broker/journal/journalread.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/text.h"
#include "broker/journal/journaldb_parts.h"
#include "broker/journal/journalfile.h"

#define SCAN_ROWS 2000 /* Looked at in one scan. */
#define BUSY_MS 2000

/* Rows. */

static void
take_text(char *to, size_t size, sqlite3_stmt *s, int column)
{
    const char *text = (const char *)sqlite3_column_text(s, column);

    text_copy(to, size, text ? text : "");
}

void
journalread_row(struct journal_row *row, sqlite3_stmt *s)
{
    int kind = sqlite3_column_int(s, 3);

    row->id = (uint64_t)sqlite3_column_int64(s, 0);
    row->cause = (uint64_t)sqlite3_column_int64(s, 1);
    row->command = (uint64_t)sqlite3_column_int64(s, 2);
    /* Somebody may have edited the file. */
    row->kind = kind >= JOURNAL_EVENT && kind <= JOURNAL_OUTCOME
                    ? (enum journal_kind)kind
                    : JOURNAL_EVENT;
    row->time = sqlite3_column_int64(s, 4);
    row->wall_ns = sqlite3_column_int64(s, 5);
    take_text(row->subject, sizeof row->subject, s, 6);
    take_text(row->name, sizeof row->name, s, 7);
    take_text(row->detail, sizeof row->detail, s, 8);
}

static int
give_rows(sqlite3_stmt *s, journaldb_row_fn *fn, void *ctx)
{
    struct journal_row row;
    int n = 0, code;

    while ((code = sqlite3_step(s)) == SQLITE_ROW) {
        journalread_row(&row, s);
        fn(ctx, &row);
        n++;
    }
    sqlite3_finalize(s);
    return code == SQLITE_DONE ? n : -EIO;
}

static int
read_rows(struct journaldb *db, const char *sql, int64_t first, int64_t second,
          journaldb_row_fn *fn, void *ctx)
{
    sqlite3_stmt *s = NULL;

    if (sqlite3_prepare_v2(db->reader, sql, -1, &s, NULL) != SQLITE_OK) {
        return -EIO;
    }
    sqlite3_bind_int64(s, 1, first);
    sqlite3_bind_int64(s, 2, second);
    return give_rows(s, fn, ctx);
}

int
journaldb_trace(struct journaldb *db, uint64_t cause, uint64_t before,
                journaldb_row_fn *fn, void *ctx)
{
    return read_rows(db,
                     "SELECT " JOURNAL_ROW_COLUMNS " FROM row WHERE cause = ?1 "
                     "AND id < ?2 ORDER BY id",
                     (int64_t)cause, (int64_t)before, fn, ctx);
}

int
journaldb_tail(struct journaldb *db, uint32_t n, uint64_t before,
               journaldb_row_fn *fn, void *ctx)
{
    return read_rows(db,
                     "SELECT * FROM (SELECT " JOURNAL_ROW_COLUMNS
                     " FROM row WHERE id < ?2 ORDER BY id DESC LIMIT ?1) "
                     "ORDER BY id",
                     n, (int64_t)before, fn, ctx);
}

static void
keep_last(void *ctx, const struct journal_row *row)
{
    *(struct journal_row *)ctx = *row;
}

int
journaldb_last(struct journaldb *db, const char *name, struct journal_row *out)
{
    sqlite3_stmt *s = NULL;

    if (sqlite3_prepare_v2(db->reader,
                           "SELECT " JOURNAL_ROW_COLUMNS
                           " FROM row WHERE name = ?1 ORDER BY id DESC LIMIT 1",
                           -1, &s, NULL) != SQLITE_OK) {
        return -EIO;
    }
    sqlite3_bind_text(s, 1, name, -1, SQLITE_STATIC);
    return give_rows(s, keep_last, out);
}

/* What is asked for. */

static const char *const kinds[] = {"event", "decision", "action", "outcome"};

const char *
journal_kind_name(enum journal_kind kind)
{
    return (unsigned)kind <= JOURNAL_OUTCOME ? kinds[kind] : "?";
}

bool
journal_row_is_about(const struct journal_row *row, const char *vm)
{
    return strstr(row->subject, vm) || strstr(row->detail, vm);
}

bool
journal_filter_takes(const struct journal_filter *filter,
                     const struct journal_row *row, bool any_vm)
{
    return (!filter->since_ns || row->wall_ns >= filter->since_ns) &&
           (!filter->until_ns || row->wall_ns < filter->until_ns) &&
           (!filter->type[0] || !strcmp(filter->type, row->name) ||
            !strcmp(filter->type, journal_kind_name(row->kind))) &&
           (any_vm || !filter->vm[0] || journal_row_is_about(row, filter->vm));
}

/* The id that ends the part of the file that is looked at; '*more' if there is
 * something beyond it. */
static int
end_of_scan(struct journaldb *db, const struct journal_scan *scan,
            uint64_t before, uint64_t *end, bool *more)
{
    char sql[200];
    int64_t id = 0;

    snprintf(sql, sizeof sql,
             "SELECT id FROM row WHERE id > %" PRIu64 " AND id < %" PRIu64
             " ORDER BY id %s LIMIT 1 OFFSET %d",
             scan->after, before, scan->forward ? "" : "DESC", SCAN_ROWS);
    int code = journaldb_number(db->reader, sql, &id);
    *more = !code;
    *end = (uint64_t)id;
    return !code || code == SQLITE_EMPTY ? 0 : -EIO;
}

static const char scan_sql[] =
    "SELECT " JOURNAL_ROW_COLUMNS " FROM row WHERE id > ?1 AND id < ?2 "
    "AND (?3 = 0 OR wall_ns >= ?3) AND (?4 = 0 OR wall_ns < ?4) "
    "AND (?5 = '' OR name = ?5 OR kind = ?6) "
    "AND (?7 = '' OR instr(subject, ?7) OR instr(detail, ?7) OR (cause != 0 "
    "AND EXISTS (SELECT 1 FROM row other WHERE other.cause = row.cause AND "
    "(instr(other.subject, ?7) OR instr(other.detail, ?7))))) "
    "ORDER BY id ";

static int
kind_of(const char *type)
{
    for (int i = 0; i <= JOURNAL_OUTCOME; i++) {
        if (!strcmp(type, kinds[i])) {
            return i;
        }
    }
    return -1;
}

struct backwards {
    struct journal_row *rows;
    int n, max;
};

static void
keep_row(void *ctx, const struct journal_row *row)
{
    struct backwards *kept = ctx;

    if (kept->n < kept->max) {
        kept->rows[kept->n++] = *row;
    }
}

/* Newest first from the file, oldest first to who asked. */
static int
give_backwards(sqlite3_stmt *s, uint32_t n, uint64_t *last,
               journaldb_row_fn *fn, void *ctx)
{
    struct backwards kept = {.rows = calloc(n, sizeof *kept.rows),
                             .max = (int)n};

    if (!kept.rows) {
        sqlite3_finalize(s);
        return -ENOMEM;
    }
    int result = give_rows(s, keep_row, &kept);
    for (int i = kept.n; i > 0 && result >= 0; i--) {
        fn(ctx, &kept.rows[i - 1]);
    }
    if (kept.n > 0) {
        *last = kept.rows[kept.n - 1].id;
    }
    free(kept.rows);
    return result;
}

struct forwards {
    journaldb_row_fn *fn;
    void *ctx;
    uint64_t last;
};

static void
pass_row(void *ctx, const struct journal_row *row)
{
    struct forwards *forwards = ctx;

    forwards->last = row->id;
    forwards->fn(forwards->ctx, row);
}

int
journaldb_scan(struct journaldb *db, struct journal_scan *scan,
               journaldb_row_fn *fn, void *ctx)
{
    const struct journal_filter *filter = &scan->filter;
    uint64_t before = scan->before ? scan->before : INT64_MAX, end, last = 0;
    uint64_t after = scan->after;
    char sql[sizeof scan_sql + 32];
    sqlite3_stmt *s = NULL;
    int n;

    if (end_of_scan(db, scan, before, &end, &scan->more)) {
        return -EIO;
    }
    if (scan->more && scan->forward) {
        before = end;
    } else if (scan->more) {
        after = end;
    }
    snprintf(sql, sizeof sql, "%s%s LIMIT %" PRIu32, scan_sql,
             scan->forward ? "" : "DESC", scan->n);
    if (sqlite3_prepare_v2(db->reader, sql, -1, &s, NULL)) {
        return -EIO;
    }
    sqlite3_bind_int64(s, 1, (sqlite3_int64)after);
    sqlite3_bind_int64(s, 2, (sqlite3_int64)before);
    sqlite3_bind_int64(s, 3, filter->since_ns);
    sqlite3_bind_int64(s, 4, filter->until_ns);
    sqlite3_bind_text(s, 5, filter->type, -1, SQLITE_STATIC);
    sqlite3_bind_int(s, 6, kind_of(filter->type));
    sqlite3_bind_text(s, 7, filter->vm, -1, SQLITE_STATIC);
    if (scan->forward) {
        struct forwards forwards = {.fn = fn, .ctx = ctx};
        n = give_rows(s, pass_row, &forwards);
        last = forwards.last;
    } else {
        n = give_backwards(s, scan->n, &last, fn, ctx);
    }
    if (n == (int)scan->n && last) {
        scan->more = true; /* It stopped because it had enough. */
        scan->reached = last;
    } else {
        scan->reached = scan->forward ? before - 1 : after + 1;
    }
    return n;
}

/* Files. */

static bool
has_beside(const char *path, const char *what, off_t least)
{
    char name[JOURNALFILE_PATH_SIZE];
    struct stat st;

    snprintf(name, sizeof name, "%s%s", path, what);
    return !stat(name, &st) && st.st_size >= least;
}

/* Nobody has it open, and all of it is in the one file: then not even the files
 * beside it that SQLite would make are needed. */
static bool
lies_still(const char *path)
{
    return !has_beside(path, "-wal", 1) && !has_beside(path, "-shm", 0);
}

static void
put_uri(char *out, size_t size, const char *path, bool immutable)
{
    text_copy(out, size, "file:");
    for (const char *c = path; *c; c++) {
        text_append(out, size, strchr("%?#", *c) ? "%%%02x" : "%c",
                    (unsigned char)*c);
    }
    text_append(out, size, immutable ? "?mode=ro&immutable=1" : "?mode=ro");
}

static int
try_open(sqlite3 **out, const char *path, bool immutable)
{
    char uri[3 * JOURNALFILE_PATH_SIZE];
    int64_t n;

    put_uri(uri, sizeof uri, path, immutable);
    int code = sqlite3_open_v2(
        uri, out, SQLITE_OPEN_READONLY | SQLITE_OPEN_URI | SQLITE_OPEN_NOMUTEX,
        NULL);
    if (!code) {
        sqlite3_extended_result_codes(*out, 1);
        sqlite3_busy_timeout(*out, BUSY_MS);
        sqlite3_db_config(*out, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, NULL);
        code = journaldb_number(*out, "SELECT count(*) FROM sqlite_schema", &n);
    }
    return code;
}

int
journalread_open(sqlite3 **out, const char *path, char *why, size_t why_size)
{
    struct stat st;

    *out = NULL;
    if (stat(path, &st)) {
        snprintf(why, why_size, "%s: %s", path, strerror(errno));
        return -errno;
    }
    int code = try_open(out, path, lies_still(path));
    if ((code & 0xff) == SQLITE_CANTOPEN && has_beside(path, "-wal", 1)) {
        snprintf(why, why_size,
                 "%s: its log, %s-wal, can't be read where its directory can't "
                 "be written: copy all of %s* elsewhere",
                 path, path, path);
    } else if (code) {
        snprintf(why, why_size, "%s: %s", path, sqlite3_errmsg(*out));
    }
    if (code) {
        sqlite3_close(*out);
        *out = NULL;
    }
    return !code ? 0 : (code & 0xff) == SQLITE_NOMEM ? -ENOMEM : -EBADMSG;
}

struct reading {
    const struct journal_reading *to;
};

static void
pass_linked_row(void *ctx, const struct journal_row *row,
                const struct chain *link)
{
    const struct journal_reading *to = ((struct reading *)ctx)->to;

    if (to && to->row) {
        to->row(to->ctx, row);
    }
    if (to && to->link) {
        to->link(to->ctx, row, link);
    }
}

static void
pass_linked_input(void *ctx, const struct journal_input *input,
                  const struct chain *link)
{
    const struct journal_reading *to = ((struct reading *)ctx)->to;

    if (to && to->input) {
        to->input(to->ctx, input);
    }
}

static void
report_end(sqlite3 *db, const char *path,
           const struct journal_proof proof[JOURNAL_STREAM_N],
           struct journal_report *report)
{
    struct journal_head head;
    int error = journalhead_read(path, &head);

    if (error) {
        report->end = JOURNAL_END_UNKNOWN;
        snprintf(report->end_why, sizeof report->end_why, "%.200s.head %s",
                 path, error == -ENOENT ? "is not there" : "can't be read");
        return;
    }
    error = journalcheck_head(db, &head, proof, report->end_why,
                              sizeof report->end_why);
    report->end = error < 0    ? JOURNAL_END_CUT
                  : error > 0  ? JOURNAL_END_SHORT
                  : head.clean ? JOURNAL_END_KNOWN
                               : JOURNAL_END_OPEN;
}

int
journalread_file(const char *path, const struct journal_reading *to,
                 struct journal_report *report, char *why, size_t why_size)
{
    struct journal_proof proof[JOURNAL_STREAM_N];
    struct reading reading = {.to = to};
    sqlite3 *db;

    memset(report, 0, sizeof *report);
    int error = journalread_open(&db, path, why, why_size);
    if (error) {
        return error;
    }
    /* One transaction, so that a broker that writes does not move what is
     * read. */
    journaldb_run(db, "BEGIN");
    error = journalcheck_pages(db, report->why, sizeof report->why);
    journalcheck_rows(db, NULL, pass_linked_row, &reading,
                      &proof[JOURNAL_ROWS]);
    journalcheck_inputs(db, NULL, pass_linked_input, &reading,
                        &proof[JOURNAL_INPUTS]);
    for (unsigned i = JOURNAL_STREAM_N; i-- > 0;) {
        if (proof[i].broken) {
            error = -EBADMSG;
            text_copy(report->why, sizeof report->why, proof[i].why);
        }
    }
    report->broken = error != 0;
    report->n_rows = proof[JOURNAL_ROWS].end.n;
    report->n_inputs = proof[JOURNAL_INPUTS].end.n;
    report->before = proof[JOURNAL_ROWS].begin.id;
    report->last = proof[JOURNAL_ROWS].end.last.id;
    report->chain = proof[JOURNAL_ROWS].end.last.chain;
    report_end(db, path, proof, report);
    sqlite3_close(db);
    return 0;
}
