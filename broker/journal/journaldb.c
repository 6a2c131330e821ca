/* SPDX-License-Identifier: Apache-2.0 */
/* The journal's file in SQLite: one table of rows with an index by cause, and
 * one of counters.  A write-ahead log lets one connection read while the other
 * writes; both are opened here, before the process gives up its rights, and
 * need no other file later.  Old rows are deleted and their pages given back,
 * so the file stays within its size for ever.  A file that SQLite finds damaged
 * is put aside by journalfile.c, and a new one begun.  Called by
 * broker/journal/journal.c. */
#include "broker/journal/journaldb.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/text.h"
#include "broker/journal/journal.h"
#include "broker/journal/journalfile.h"

#define PAGE_SIZE 4096
#define SCHEMA_VERSION 1
#define TRIM_ROWS 512           /* Deleted at most per step. */
#define TRIM_PAGES 128          /* Given back at most per step. */
#define BUSY_MS 2000            /* A stranger's sqlite3 may hold the file. */
#define CHECKED_MAX (256 << 20) /* Larger files are not read through. */

struct journaldb {
    sqlite3 *writer, *reader; /* The same one if in memory. */
    sqlite3_stmt *add;
    struct journal_opts opts;
    uint64_t start_count, n_rows;
    int64_t n_batch; /* Rows the open batch adds, less those it deletes. */
    bool durable;
    char reason[160];
};

/* What a try to open a file ended with. */
enum opened {
    OPENED,
    OPEN_DAMAGED,
    OPEN_FAILED,
};

static enum opened open_file(struct journaldb *, const char *path, int *error,
                             char *why, size_t why_size);
static int count_start(struct journaldb *, const char *path, char *why,
                       size_t why_size);
static int run(sqlite3 *, const char *sql);
static int get_number(sqlite3 *, const char *sql, int64_t *out);
static int fail(struct journaldb *, const char *doing);
static int error_of(sqlite3 *);

int
journaldb_open(struct journaldb **out, const char *path,
               const struct journal_opts *opts, char *why, size_t why_size)
{
    struct journaldb *db = calloc(1, sizeof *db);
    int error = 0, moved = 0;

    if (!db) {
        snprintf(why, why_size, "no memory");
        return -ENOMEM;
    }
    db->opts = *opts;
    enum opened opened = open_file(db, path, &error, why, why_size);
    if (opened == OPEN_DAMAGED) {
        moved = 1;
        error = journalfile_move_aside(path, why, why_size);
        if (!error) {
            char second[160];

            opened = open_file(db, path, &error, second, sizeof second);
            if (opened != OPENED) {
                snprintf(why, why_size, "%s", second);
            }
        }
    }
    if (!error && opened == OPENED) {
        error = count_start(db, path, moved ? NULL : why, why_size);
    }
    if (error || opened != OPENED) {
        journaldb_close(db);
        return error ? error : -EIO;
    }
    *out = db;
    return moved;
}

void
journaldb_close(struct journaldb *db)
{
    if (!db) {
        return;
    }
    sqlite3_finalize(db->add);
    if (db->reader != db->writer) {
        sqlite3_close(db->reader);
    }
    sqlite3_close(db->writer);
    free(db);
}

uint64_t
journaldb_start_count(const struct journaldb *db)
{
    return db->start_count;
}

const char *
journaldb_reason(const struct journaldb *db)
{
    return db->reason;
}

uint64_t
journaldb_n_rows(const struct journaldb *db)
{
    return db->n_rows;
}

/* The file and its write-ahead log. */
uint64_t
journaldb_size(struct journaldb *db)
{
    sqlite3_file *log = NULL;
    sqlite3_int64 log_size = 0;
    int64_t pages = 0;

    get_number(db->writer, "PRAGMA page_count", &pages);
    sqlite3_file_control(db->writer, "main", SQLITE_FCNTL_JOURNAL_POINTER,
                         &log);
    if (log && log->pMethods && log->pMethods->xFileSize(log, &log_size)) {
        log_size = 0;
    }
    return (uint64_t)pages * PAGE_SIZE + (uint64_t)log_size;
}

/* Writing. */

int
journaldb_begin(struct journaldb *db, bool durable)
{
    db->n_batch = 0;
    if (durable != db->durable) {
        if (run(db->writer, durable ? "PRAGMA synchronous = FULL"
                                    : "PRAGMA synchronous = NORMAL")) {
            return fail(db, "setting");
        }
        db->durable = durable;
    }
    if (run(db->writer, "BEGIN IMMEDIATE")) {
        return fail(db, "beginning");
    }
    /* Something must be written for a durable commit to reach the disk, and
     * for a retry to find out whether writing works again. */
    if (run(db->writer, "UPDATE meta SET value = value + 1 "
                        "WHERE key = 'batches'")) {
        return fail(db, "writing");
    }
    return 0;
}

int
journaldb_add(struct journaldb *db, const struct journal_row *row)
{
    sqlite3_stmt *s = db->add;

    sqlite3_bind_int64(s, 1, (sqlite3_int64)row->id);
    sqlite3_bind_int64(s, 2, (sqlite3_int64)row->cause);
    sqlite3_bind_int64(s, 3, (sqlite3_int64)row->command);
    sqlite3_bind_int(s, 4, (int)row->kind);
    sqlite3_bind_int64(s, 5, row->time);
    sqlite3_bind_int64(s, 6, row->wall_ns);
    sqlite3_bind_text(s, 7, row->subject, -1, SQLITE_STATIC);
    sqlite3_bind_text(s, 8, row->name, -1, SQLITE_STATIC);
    sqlite3_bind_text(s, 9, row->detail, -1, SQLITE_STATIC);
    int code = sqlite3_step(s);
    int error = code == SQLITE_DONE ? 0 : fail(db, "writing");

    sqlite3_reset(s);
    db->n_batch += !error;
    return error;
}

int
journaldb_commit(struct journaldb *db)
{
    if (run(db->writer, "COMMIT")) {
        return fail(db, "committing");
    }
    db->n_rows = (uint64_t)((int64_t)db->n_rows + db->n_batch);
    return 0;
}

static bool
is_too_large(struct journaldb *db)
{
    int64_t pages = 0, free_pages = 0;

    get_number(db->writer, "PRAGMA page_count", &pages);
    get_number(db->writer, "PRAGMA freelist_count", &free_pages);
    /* The other half is for the log, and for what a batch adds. */
    return (uint64_t)(pages - free_pages) * PAGE_SIZE > db->opts.size_max / 2;
}

static bool
is_too_old(struct journaldb *db, int64_t oldest_ns)
{
    int64_t first_ns = INT64_MAX;

    get_number(db->writer, "SELECT wall_ns FROM row ORDER BY id LIMIT 1",
               &first_ns);
    return first_ns < oldest_ns;
}

static int
delete_oldest(struct journaldb *db, int64_t before_ns)
{
    char sql[256];

    snprintf(sql, sizeof sql,
             "DELETE FROM row WHERE id <= (SELECT max(id) FROM (SELECT id FROM "
             "row ORDER BY id LIMIT %d)) AND wall_ns < %" PRId64 ";"
             "PRAGMA incremental_vacuum(%d)",
             TRIM_ROWS, before_ns, TRIM_PAGES);
    int64_t before = sqlite3_total_changes(db->writer);
    if (run(db->writer, sql)) {
        return fail(db, "deleting");
    }
    db->n_batch -= sqlite3_total_changes(db->writer) - before;
    return 0;
}

/* XXX A wall clock that is set far ahead ages all rows before; a journal that
 * counted the machine's uptime as well would notice. */
int
journaldb_trim(struct journaldb *db, int64_t wall_ns)
{
    int64_t oldest_ns = INT64_MIN;

    if (db->opts.age_max_s < INT64_MAX / NSEC_PER_SEC) {
        oldest_ns = wall_ns - (int64_t)db->opts.age_max_s * NSEC_PER_SEC;
    }
    if (is_too_large(db)) {
        return delete_oldest(db, INT64_MAX);
    }
    return is_too_old(db, oldest_ns) ? delete_oldest(db, oldest_ns) : 0;
}

/* Reading. */

static void
take_text(char *to, size_t size, sqlite3_stmt *s, int column)
{
    const char *text = (const char *)sqlite3_column_text(s, column);

    text_copy(to, size, text ? text : "");
}

static void
take_row(struct journal_row *row, sqlite3_stmt *s)
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
read_rows(struct journaldb *db, const char *sql, int64_t first, int64_t second,
          journaldb_row_fn *fn, void *ctx)
{
    struct journal_row row;
    sqlite3_stmt *s = NULL;
    int n = 0, code;

    if (sqlite3_prepare_v2(db->reader, sql, -1, &s, NULL) != SQLITE_OK) {
        return -EIO;
    }
    sqlite3_bind_int64(s, 1, first);
    sqlite3_bind_int64(s, 2, second);
    while ((code = sqlite3_step(s)) == SQLITE_ROW) {
        take_row(&row, s);
        fn(ctx, &row);
        n++;
    }
    sqlite3_finalize(s);
    return code == SQLITE_DONE ? n : -EIO;
}

#define COLUMNS "id, cause, command, kind, time, wall_ns, subject, name, detail"

int
journaldb_trace(struct journaldb *db, uint64_t cause, uint64_t before,
                journaldb_row_fn *fn, void *ctx)
{
    return read_rows(db,
                     "SELECT " COLUMNS " FROM row WHERE cause = ?1 AND "
                     "id < ?2 ORDER BY id",
                     (int64_t)cause, (int64_t)before, fn, ctx);
}

int
journaldb_tail(struct journaldb *db, uint32_t n, uint64_t before,
               journaldb_row_fn *fn, void *ctx)
{
    return read_rows(db,
                     "SELECT * FROM (SELECT " COLUMNS " FROM row WHERE "
                     "id < ?2 ORDER BY id DESC LIMIT ?1) ORDER BY id",
                     n, (int64_t)before, fn, ctx);
}

/* Opening. */

static int
set_up(struct journaldb *db)
{
    char sql[256];
    uint64_t log_size = db->opts.size_max / 8;
    uint64_t log_pages = log_size / PAGE_SIZE;

    if (log_pages > 1000) {
        log_pages = 1000;
    }
    snprintf(sql, sizeof sql,
             "PRAGMA wal_autocheckpoint = %" PRIu64
             "; PRAGMA journal_size_limit = %" PRIu64
             "; PRAGMA temp_store = MEMORY; PRAGMA synchronous = NORMAL",
             log_pages ? log_pages : 1, log_size);
    return run(db->writer, sql);
}

static const char schema[] =
    "BEGIN IMMEDIATE;"
    "CREATE TABLE IF NOT EXISTS meta (key TEXT PRIMARY KEY, value INTEGER "
    "NOT NULL) WITHOUT ROWID;"
    "INSERT OR IGNORE INTO meta VALUES ('starts', 0), ('batches', 0);"
    "CREATE TABLE IF NOT EXISTS row (id INTEGER PRIMARY KEY, cause INTEGER "
    "NOT NULL, command INTEGER NOT NULL, kind INTEGER NOT NULL, time INTEGER "
    "NOT NULL, wall_ns INTEGER NOT NULL, subject TEXT NOT NULL, name TEXT NOT "
    "NULL, detail TEXT NOT NULL);"
    "CREATE INDEX IF NOT EXISTS row_cause ON row (cause);"
    "PRAGMA user_version = 1;"
    "COMMIT";

/* Reads the file through, if that takes no more than a second or so. */
static bool
is_damaged(struct journaldb *db)
{
    sqlite3_stmt *s = NULL;
    int64_t pages = 0;

    get_number(db->writer, "PRAGMA page_count", &pages);
    if (pages > CHECKED_MAX / PAGE_SIZE) {
        return false;
    }
    if (sqlite3_prepare_v2(db->writer, "PRAGMA quick_check(1)", -1, &s, NULL)) {
        return true;
    }
    int code = sqlite3_step(s);
    const char *text =
        code == SQLITE_ROW ? (const char *)sqlite3_column_text(s, 0) : NULL;
    bool fine = text && !strcmp(text, "ok");

    sqlite3_finalize(s);
    return !fine;
}

static int
open_connection(const char *path, sqlite3 **out)
{
    int flags =
        SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX;
    int code = sqlite3_open_v2(path ? path : ":memory:", out, flags, NULL);

    if (code == SQLITE_OK) {
        sqlite3_extended_result_codes(*out, 1);
        sqlite3_busy_timeout(*out, BUSY_MS);
    }
    return code;
}

/* Everything up to the first look at the tables. */
static int
prepare_file(struct journaldb *db, const char *path)
{
    int64_t version = 0;
    int code = open_connection(path, &db->writer);

    if (!code) {
        code = run(db->writer, "PRAGMA page_size = 4096;"
                               "PRAGMA auto_vacuum = INCREMENTAL");
    }
    if (!code && path) {
        code = run(db->writer, "PRAGMA journal_mode = WAL");
    }
    if (!code) {
        code = set_up(db);
    }
    if (!code) {
        code = get_number(db->writer, "PRAGMA user_version", &version);
    }
    if (!code && version > SCHEMA_VERSION) {
        return SQLITE_MISMATCH;
    }
    return code;
}

static int
prepare_tables(struct journaldb *db, const char *path)
{
    int64_t n = 0;
    int code = run(db->writer, schema);

    if (!code) {
        code =
            sqlite3_prepare_v3(db->writer,
                               "REPLACE INTO row VALUES (?1, ?2, ?3, ?4, "
                               "?5, ?6, ?7, ?8, ?9)",
                               -1, SQLITE_PREPARE_PERSISTENT, &db->add, NULL);
    }
    if (!code) {
        code = get_number(db->writer, "SELECT count(*) FROM row", &n);
    }
    db->n_rows = (uint64_t)n;
    db->reader = db->writer;
    if (!code && path) {
        code = open_connection(path, &db->reader);
    }
    /* Opens the log, so that reading later opens nothing. */
    if (!code) {
        code = get_number(db->reader, "SELECT count(*) FROM meta", &n);
    }
    return code;
}

static bool
means_damaged(int code)
{
    return (code & 0xff) == SQLITE_CORRUPT || (code & 0xff) == SQLITE_NOTADB;
}

static void
abandon(struct journaldb *db)
{
    sqlite3_finalize(db->add);
    if (db->reader != db->writer) {
        sqlite3_close(db->reader);
    }
    sqlite3_close(db->writer);
    db->add = NULL;
    db->writer = db->reader = NULL;
}

static enum opened
open_file(struct journaldb *db, const char *path, int *error, char *why,
          size_t why_size)
{
    /* Made here, so that it isn't readable by all; the log inherits that. */
    int fd =
        path ? open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0640) : -1;
    if (path && fd < 0) {
        *error = -errno;
        snprintf(why, why_size, "%s: %s", path, strerror(errno));
        return OPEN_FAILED;
    }
    if (fd >= 0) {
        close(fd);
    }
    int code = prepare_file(db, path);
    bool damaged = means_damaged(code) || (!code && path && is_damaged(db));
    if (!code && !damaged) {
        code = prepare_tables(db, path);
        damaged = means_damaged(code);
    }
    if (!code && !damaged) {
        return OPENED;
    }
    bool newer = code == SQLITE_MISMATCH;
    *error = damaged ? 0 : newer ? -EINVAL : error_of(db->writer);
    snprintf(why, why_size, "%s: %s", path ? path : "journal",
             newer ? "made by a newer mbroker; move it away"
                   : sqlite3_errmsg(db->writer));
    abandon(db);
    return damaged ? OPEN_DAMAGED : OPEN_FAILED;
}

/* 'why' is null if there is something more important in it. */
static int
count_start(struct journaldb *db, const char *path, char *why, size_t why_size)
{
    char sql[128];
    int64_t starts = 0;

    int code = get_number(
        db->writer, "SELECT value FROM meta WHERE key = 'starts'", &starts);
    uint64_t beside = path ? journalfile_read_starts(path) : 0;
    db->start_count = (starts > 0 ? (uint64_t)starts : 0);
    db->start_count = (beside > db->start_count ? beside : db->start_count) + 1;
    snprintf(sql, sizeof sql,
             "PRAGMA synchronous = FULL; UPDATE meta SET value = %" PRIu64
             " WHERE key = 'starts'; PRAGMA synchronous = NORMAL",
             db->start_count);
    if (!code) {
        code = run(db->writer, sql);
    }
    int error = code ? error_of(db->writer) : 0;
    if (!error && path) {
        error = journalfile_write_starts(path, db->start_count);
    }
    if (error && why) {
        snprintf(why, why_size, "%s: can't count this start: %s", path,
                 code ? sqlite3_errmsg(db->writer) : strerror(-error));
    }
    return error;
}

/* SQLite. */

static int
run(sqlite3 *db, const char *sql)
{
    return sqlite3_exec(db, sql, NULL, NULL, NULL);
}

static int
get_number(sqlite3 *db, const char *sql, int64_t *out)
{
    sqlite3_stmt *s = NULL;
    int code = sqlite3_prepare_v2(db, sql, -1, &s, NULL);

    if (code) {
        return code;
    }
    code = sqlite3_step(s);
    if (code == SQLITE_ROW) {
        *out = sqlite3_column_int64(s, 0);
    }
    sqlite3_finalize(s);
    return code == SQLITE_ROW ? 0 : code == SQLITE_DONE ? SQLITE_EMPTY : code;
}

static int
error_of(sqlite3 *db)
{
    int code = sqlite3_errcode(db) & 0xff, system = sqlite3_system_errno(db);

    if (code == SQLITE_FULL || system == ENOSPC || system == EDQUOT) {
        return -ENOSPC;
    }
    if (code == SQLITE_NOMEM) {
        return -ENOMEM;
    }
    return code == SQLITE_CANTOPEN && system ? -system : -EIO;
}

/* Takes the batch back; the first reason stands. */
static int
fail(struct journaldb *db, const char *doing)
{
    int error = error_of(db->writer), system = sqlite3_system_errno(db->writer);

    snprintf(db->reason, sizeof db->reason, "%s: %s%s%s", doing,
             sqlite3_errmsg(db->writer), system ? ": " : "",
             system ? strerror(system) : "");
    sqlite3_reset(db->add);
    if (!sqlite3_get_autocommit(db->writer)) {
        run(db->writer, "ROLLBACK");
    }
    return error == -ENOSPC ? -ENOSPC : -EIO;
}
