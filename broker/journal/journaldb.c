/* SPDX-License-Identifier: Apache-2.0 */
/* Opens the journal's file in SQLite: a table of rows with an index by cause,
 * one of inputs, where both begin, and a counter.  A write-ahead log lets one
 * connection read while the other writes; both are opened here, before the
 * process gives up its rights, and need no other file later.
 *
 * A file is used only if all of it is as it was written and nothing that was
 * promised is missing (journalcheck.c).  Otherwise it is put aside as it lies,
 * and a new one begun with the rows that are proved, which go on in the same
 * chain.  Nothing is written before that is decided.  Called by
 * broker/journal/journal.c. */
#include "broker/journal/journaldb.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/text.h"
#include "broker/journal/journaldb_parts.h"
#include "broker/journal/journalfile.h"

#define PAGE_SIZE 4096
#define BUSY_MS 2000           /* A stranger's sqlite3 may hold the file. */
#define RESERVE_MAX (16 << 20) /* For the log, and for what a batch adds. */
#define STARTS_MAX UINT64_C(0x7fffff) /* Ids are start count << 40 | n. */
#define ID_SHIFT 40

/* What a try to open a file ended with. */
enum opened {
    OPENED,
    OPEN_DAMAGED,
    OPEN_FAILED,
};

static enum opened open_file(struct journaldb *, const char *path, int *error,
                             int *short_of, char *why, size_t why_size);
static int put_aside(struct journaldb *, const char *path, char *why,
                     size_t why_size);
static int count_start(struct journaldb *, char *why, size_t why_size);
static void close_file(struct journaldb *);
static void forget_ages(struct journaldb *);

static void
set_bounds(struct journaldb *db, const struct journal_opts *opts)
{
    uint64_t reserve =
        opts->size_max / 2 < RESERVE_MAX ? opts->size_max / 2 : RESERVE_MAX;

    db->opts = *opts;
    db->page_size = opts->page_size ? opts->page_size : PAGE_SIZE;
    db->data_max = opts->size_max - reserve;
    db->inputs_max = opts->inputs_max < db->data_max / 2 ? opts->inputs_max
                                                         : db->data_max / 2;
}

/* What stands beside the file; nothing in memory has such. */
static int
open_head(struct journaldb *db, const char *path, bool *lost, char *why,
          size_t why_size)
{
    int found = journalhead_open(&db->headfile, path, &db->head, why, why_size);

    *lost = found == 1;
    return found < 0 ? found : 0;
}

int
journaldb_open(struct journaldb **out, const char *path,
               const struct journal_opts *opts, char *why, size_t why_size)
{
    struct journaldb *db = calloc(1, sizeof *db);
    char second[JOURNAL_WHY_SIZE] = "", aside[JOURNAL_WHY_SIZE] = "";
    int error = 0, said = 0;
    bool headless = false;

    if (!db) {
        snprintf(why, why_size, "no memory");
        return -ENOMEM;
    }
    why[0] = '\0';
    set_bounds(db, opts);
    if (path) {
        error = open_head(db, path, &headless, why, why_size);
    }
    enum opened opened = OPEN_FAILED;
    if (!error) {
        opened = open_file(db, path, &error, &said, why, why_size);
    }
    if (!error && opened == OPEN_DAMAGED) {
        said = 1;
        text_copy(second, sizeof second, why);
        error = put_aside(db, path, aside, sizeof aside);
        text_copy(why, why_size, aside);
        text_append(why, why_size, "; %s", second);
    } else if (!error && opened == OPENED && headless && !said &&
               db->end[JOURNAL_ROWS].last.id) {
        said = 1;
        snprintf(why, why_size,
                 "%s: what stands beside it is gone or damaged; it has rows to "
                 "%" PRIu64 ".%" PRIu64 ", and whether it had more can't be "
                 "told",
                 path, db->end[JOURNAL_ROWS].last.id >> ID_SHIFT,
                 db->end[JOURNAL_ROWS].last.id &
                     ((UINT64_C(1) << ID_SHIFT) - 1));
    } else if (!error && opened == OPENED && !said && why[0]) {
        said = 1; /* What stands beside it was damaged, and it has no rows. */
    }
    if (!error) {
        error = count_start(db, second, sizeof second);
        if (error) {
            snprintf(why, why_size, "%s: %s", path, second);
        }
    }
    if (error) {
        close_file(db);
        forget_ages(db);
        journalhead_close(db->headfile);
        free(db);
        return error;
    }
    *out = db;
    return said;
}

static void
close_file(struct journaldb *db)
{
    for (unsigned i = 0; i < JOURNAL_STREAM_N; i++) {
        sqlite3_finalize(db->add[i]);
        db->add[i] = NULL;
    }
    if (db->reader != db->writer) {
        sqlite3_close(db->reader);
    }
    sqlite3_close(db->writer);
    db->writer = db->reader = NULL;
}

/* All of the log is in the file, on the disk, and that is marked. */
void
journaldb_close(struct journaldb *db)
{
    int n_log = -1;

    if (!db) {
        return;
    }
    int code = sqlite3_wal_checkpoint_v2(
        db->writer, NULL, SQLITE_CHECKPOINT_TRUNCATE, &n_log, NULL);
    bool clean = !db->unsure && !code && n_log <= 0;
    if (db->headfile && clean) {
        db->head.clean = true;
        (void)journaldb_mark(db, true);
    }
    close_file(db);
    forget_ages(db);
    journalhead_close(db->headfile);
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
    return db->end[JOURNAL_ROWS].n;
}

/* The file and its write-ahead log. */
uint64_t
journaldb_size(struct journaldb *db)
{
    sqlite3_file *log = NULL;
    sqlite3_int64 log_size = 0;
    int64_t pages = 0;

    journaldb_number(db->writer, "PRAGMA page_count", &pages);
    sqlite3_file_control(db->writer, "main", SQLITE_FCNTL_JOURNAL_POINTER,
                         &log);
    if (log && log->pMethods && log->pMethods->xFileSize(log, &log_size)) {
        log_size = 0;
    }
    return (uint64_t)pages * db->page_size + (uint64_t)log_size;
}

/* Opening. */

static int
set_up(struct journaldb *db)
{
    char sql[256];
    uint64_t log_size = db->opts.size_max / 8;
    uint64_t log_pages = log_size / db->page_size;

    if (log_pages > 1000) {
        log_pages = 1000;
    }
    snprintf(sql, sizeof sql,
             "PRAGMA wal_autocheckpoint = %" PRIu64
             "; PRAGMA journal_size_limit = %" PRIu64
             "; PRAGMA temp_store = MEMORY; PRAGMA synchronous = NORMAL",
             log_pages ? log_pages : 1, log_size);
    return journaldb_run(db->writer, sql);
}

/* In the order in which SQLite lists them. */
const char *const journaldb_schema[] = {
    "CREATE TABLE meta (key TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT "
    "ROWID",
    "CREATE TABLE anchor (stream INTEGER PRIMARY KEY, id INTEGER NOT NULL, "
    "chain BLOB NOT NULL)",
    "CREATE TABLE row (id INTEGER PRIMARY KEY, cause INTEGER NOT NULL, command "
    "INTEGER NOT NULL, kind INTEGER NOT NULL, time INTEGER NOT NULL, wall_ns "
    "INTEGER NOT NULL, subject TEXT NOT NULL, name TEXT NOT NULL, detail TEXT "
    "NOT NULL, chain BLOB NOT NULL)",
    "CREATE INDEX row_cause ON row (cause)",
    "CREATE TABLE input (id INTEGER PRIMARY KEY, whole INTEGER NOT NULL, time "
    "INTEGER NOT NULL, wall_ns INTEGER NOT NULL, data BLOB NOT NULL, chain "
    "BLOB NOT NULL)",
    NULL,
};

static int
make_tables(sqlite3 *db)
{
    char sql[64];
    int code = journaldb_run(db, "BEGIN IMMEDIATE");

    for (size_t i = 0; journaldb_schema[i] && !code; i++) {
        code = journaldb_run(db, journaldb_schema[i]);
    }
    snprintf(sql, sizeof sql, "PRAGMA user_version = %d", JOURNAL_SCHEMA);
    if (!code) {
        code = journaldb_run(db, sql);
    }
    if (!code) {
        code = journaldb_run(db, "INSERT INTO meta VALUES ('batches', 0);"
                                 "COMMIT");
    }
    return code;
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
prepare_file(struct journaldb *db, const char *path, int64_t *version)
{
    char sql[96];
    int code = open_connection(path, &db->writer);

    snprintf(sql, sizeof sql,
             "PRAGMA page_size = %" PRIu32 ";PRAGMA auto_vacuum = INCREMENTAL",
             db->page_size);
    if (!code) {
        /* Until it is known to be whole, what lies there stays as it is. */
        sqlite3_db_config(db->writer, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1,
                          NULL);
        code = journaldb_run(db->writer, sql);
    }
    if (!code && path) {
        code = journaldb_run(db->writer, "PRAGMA journal_mode = WAL");
    }
    if (!code) {
        code = set_up(db);
    }
    if (!code) {
        code = journaldb_number(db->writer, "PRAGMA user_version", version);
    }
    return code;
}

int
journaldb_prepare_add(struct journaldb *db)
{
    static const char *const sql[] = {
        "INSERT INTO row VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)",
        "INSERT INTO input VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
    };
    int code = 0;

    for (unsigned i = 0; i < JOURNAL_STREAM_N && !code; i++) {
        code = sqlite3_prepare_v3(db->writer, sql[i], -1,
                                  SQLITE_PREPARE_PERSISTENT, &db->add[i], NULL);
    }
    return code;
}

static int
prepare_use(struct journaldb *db, const char *path)
{
    int64_t n;
    int code = journaldb_prepare_add(db);

    db->reader = db->writer;
    if (!code && path) {
        code = open_connection(path, &db->reader);
    }
    /* Opens the log, so that reading later opens nothing. */
    if (!code) {
        code = journaldb_number(db->reader, "SELECT count(*) FROM meta", &n);
    }
    if (!code) {
        sqlite3_db_config(db->writer, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 0,
                          NULL);
    }
    return code;
}

/* A log without its file: SQLite would take it away. */
static bool
has_only_log(const char *path)
{
    char log[JOURNALFILE_PATH_SIZE];
    struct stat st, log_st;

    snprintf(log, sizeof log, "%s-wal", path);
    return !stat(path, &st) && st.st_size == 0 && !stat(log, &log_st) &&
           log_st.st_size > 0;
}

/* Nothing else: what can't be read for want of memory or rights is no damage.
 */
static bool
means_damaged(int code)
{
    switch (code & 0xff) {
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
    case SQLITE_ERROR: /* A statement that does not fit the tables. */
        return true;
    default:
        return (code & 0xff) == SQLITE_IOERR &&
               (code == SQLITE_IOERR_SHORT_READ || code == SQLITE_IOERR_DATA);
    }
}

static void
note_row(void *ctx, const struct journal_row *row, const struct chain *link)
{
    struct journaldb *db = ctx;

    (void)link;
    journalage_note(&db->ages[JOURNAL_ROWS], row->id, row->time);
}

static void
note_input(void *ctx, const struct journal_input *input,
           const struct chain *link)
{
    struct journaldb *db = ctx;

    (void)link;
    journalage_note(&db->ages[JOURNAL_INPUTS], input->id, input->time);
}

static void
forget_ages(struct journaldb *db)
{
    for (unsigned i = 0; i < JOURNAL_STREAM_N; i++) {
        journalage_fini(&db->ages[i]);
    }
}

/* OPEN_FAILED only if there is not the memory to tell.
 * OPENED with 'why' and '*short_of' if something is missing that nobody was
 * promised; else OPEN_DAMAGED with 'why'. */
static enum opened
judge(struct journaldb *db, const char *path, int64_t version, int *short_of,
      bool *no_memory, char *why, size_t why_size)
{
    struct journal_proof proof[JOURNAL_STREAM_N];
    char reason[JOURNAL_WHY_SIZE] = "";
    int error = 0;

    if (version < JOURNAL_SCHEMA) {
        snprintf(reason, sizeof reason,
                 "an older mbroker made it, without checksums");
        error = -EBADMSG;
    }
    if (!error) {
        error = journalcheck_pages(db->writer, reason, sizeof reason);
    }
    if (!error) {
        journalcheck_rows(db->writer, NULL, note_row, db, &proof[JOURNAL_ROWS]);
        journalcheck_inputs(db->writer, NULL, note_input, db,
                            &proof[JOURNAL_INPUTS]);
        for (unsigned i = 0; i < JOURNAL_STREAM_N && !error; i++) {
            db->end[i] = proof[i].end;
            if (proof[i].broken) {
                text_copy(reason, sizeof reason, proof[i].why);
                error = proof[i].no_memory ? -ENOMEM : -EBADMSG;
            }
        }
    }
    if (!error) {
        error = journalcheck_head(db->writer, &db->head, proof, reason,
                                  sizeof reason);
    }
    *short_of = error == 1;
    if (error) {
        snprintf(why, why_size, "%s: %s", path, reason);
    }
    *no_memory = error == -ENOMEM;
    return error == -ENOMEM ? OPEN_FAILED : error < 0 ? OPEN_DAMAGED : OPENED;
}

static enum opened
open_file(struct journaldb *db, const char *path, int *error, int *short_of,
          char *why, size_t why_size)
{
    int64_t version = 0;
    struct stat st = {.st_size = 0};

    /* Made here, so that it isn't readable by all; the log inherits that. */
    int fd =
        path ? open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0640) : -1;
    if (path && (fd < 0 || fstat(fd, &st))) {
        *error = -errno;
        snprintf(why, why_size, "%s: %s", path, strerror(errno));
        return OPEN_FAILED;
    }
    if (fd >= 0) {
        close(fd);
    }
    if (path && has_only_log(path)) {
        snprintf(why, why_size, "%s: it is empty, and its log is not", path);
        return OPEN_DAMAGED;
    }
    bool is_new = st.st_size == 0;
    if (is_new && db->head.written[JOURNAL_ROWS].id) {
        snprintf(why, why_size, "%s: it is gone, or empty", path);
        return OPEN_DAMAGED;
    }
    int code = prepare_file(db, path, &version);
    if (!code && version > JOURNAL_SCHEMA) {
        *error = -EINVAL;
        snprintf(why, why_size, "%s: made by a newer mbroker; move it away",
                 path);
        close_file(db);
        return OPEN_FAILED;
    }
    enum opened opened = OPENED;
    if (!code && !is_new) {
        bool no_memory;

        opened = judge(db, path, version, short_of, &no_memory, why, why_size);
        *error = no_memory ? -ENOMEM : 0;
    } else if (!code) {
        code = make_tables(db->writer);
    }
    if (!code && opened == OPENED) {
        code = prepare_use(db, path);
    }
    if (code) {
        opened = means_damaged(code) && !is_new ? OPEN_DAMAGED : OPEN_FAILED;
        *error = opened == OPEN_FAILED ? journaldb_error(db->writer) : 0;
        /* Short of memory a connection may know no error of its own. */
        bool known = sqlite3_errcode(db->writer) != SQLITE_OK;
        snprintf(why, why_size, "%s: %s", path ? path : "journal",
                 known ? sqlite3_errmsg(db->writer) : sqlite3_errstr(code));
    }
    if (opened != OPENED) {
        close_file(db);
    } else if (is_new && path) {
        (void)journalfile_sync_directory(path);
    }
    return opened;
}

/* Taking over. */

struct takeover {
    struct journaldb *db;
    int error;
};

static void
take_row(void *ctx, const struct journal_row *row, const struct chain *link)
{
    struct takeover *takeover = ctx;

    if (!takeover->error) {
        takeover->error = journaldb_add_linked(takeover->db, row, link);
    }
}

static void
take_input(void *ctx, const struct journal_input *input,
           const struct chain *link)
{
    struct takeover *takeover = ctx;

    if (!takeover->error) {
        takeover->error = journaldb_add_input_linked(takeover->db, input, link);
    }
}

static int
put_anchor(struct journaldb *db, enum journal_stream stream,
           const struct journal_mark *mark)
{
    sqlite3_stmt *s = NULL;

    if (!mark->id) {
        return 0;
    }
    int code = sqlite3_prepare_v2(
        db->writer, "REPLACE INTO anchor VALUES (?1, ?2, ?3)", -1, &s, NULL);
    sqlite3_bind_int(s, 1, (int)stream);
    sqlite3_bind_int64(s, 2, (sqlite3_int64)mark->id);
    sqlite3_bind_blob(s, 3, mark->chain.byte, CHAIN_SIZE, SQLITE_STATIC);
    code = code ? code : sqlite3_step(s);
    sqlite3_finalize(s);
    return code == SQLITE_DONE ? 0 : -EIO;
}

/* What the old file proves goes into the new one as it is, links and all; if
 * that is nothing, the chain goes on from where it was known to have got. */
static int
take_over(struct journaldb *db, const char *from)
{
    struct journal_proof proof[JOURNAL_STREAM_N];
    struct takeover takeover = {.db = db};
    char why[JOURNAL_WHY_SIZE];
    sqlite3 *old = NULL;

    memset(proof, 0, sizeof proof);
    int error = journaldb_begin(db, false);
    if (error) {
        return error;
    }
    error = journalread_open(&old, from, why, sizeof why);
    if (error == -ENOMEM) {
        return error;
    }
    if (!error) {
        journalcheck_rows(old, NULL, take_row, &takeover, &proof[JOURNAL_ROWS]);
        journalcheck_inputs(old, NULL, take_input, &takeover,
                            &proof[JOURNAL_INPUTS]);
    }
    sqlite3_close(old);
    error = takeover.error;
    for (unsigned i = 0; i < JOURNAL_STREAM_N && !error; i++) {
        error = proof[i].no_memory ? -ENOMEM : 0;
    }
    for (unsigned i = 0; i < JOURNAL_STREAM_N && !error; i++) {
        const struct journal_mark *begin =
            proof[i].end.n ? &proof[i].begin : &db->head.written[i];

        if (!proof[i].end.n) {
            db->batch[i].last = *begin;
        }
        error = put_anchor(db, i, begin);
    }
    return error ? error : journaldb_commit(db);
}

static void
keep_head(const char *to, const struct journal_head *head)
{
    struct journalhead *file = NULL;
    struct journal_head none;
    char why[JOURNAL_WHY_SIZE];

    if (journalhead_open(&file, to, &none, why, sizeof why) >= 0) {
        (void)journalhead_write(file, head, true);
        journalhead_close(file);
    }
}

static int
put_aside(struct journaldb *db, const char *path, char *why, size_t why_size)
{
    char to[JOURNALFILE_PATH_SIZE];
    int short_of, error = 0;

    error = journalfile_move_aside(path, to, sizeof to, why, why_size);
    if (error) {
        return error;
    }
    keep_head(to, &db->head);
    struct journal_head head = db->head;
    memset(&db->head, 0, sizeof db->head); /* Nothing is expected of it. */
    memset(db->end, 0, sizeof db->end);
    forget_ages(db);
    enum opened opened = open_file(db, path, &error, &short_of, why, why_size);
    db->head = head;
    if (opened != OPENED) {
        error = error ? error : -EIO;
        journalfile_move_back(to, path);
        return error;
    }
    error = take_over(db, to);
    if (error) {
        snprintf(why, why_size, "%.160s: its rows can't be taken over: %.60s",
                 path, db->reason[0] ? db->reason : strerror(-error));
        close_file(db);
        journalfile_move_back(to, path);
        return error;
    }
    snprintf(why, why_size,
             "moved to %.160s; the %" PRIu64 " rows proved were taken over", to,
             db->end[JOURNAL_ROWS].n);
    return 0;
}

/* A file may be younger than the count beside it, or the other way round. */
static int
count_start(struct journaldb *db, char *why, size_t why_size)
{
    uint64_t starts = db->head.starts <= STARTS_MAX ? db->head.starts : 0;

    for (unsigned i = 0; i < JOURNAL_STREAM_N; i++) {
        uint64_t seen = db->end[i].last.id >> ID_SHIFT;

        starts = seen > starts ? seen : starts;
    }
    for (unsigned i = 0; i < JOURNAL_STREAM_N; i++) {
        journalage_make_room(&db->ages[i]);
    }
    db->start_count = starts + 1;
    db->head.starts = starts + 1;
    db->head.clean = false;
    for (unsigned i = 0; i < JOURNAL_STREAM_N; i++) {
        db->head.durable[i] = db->end[i].last;
    }
    /* What was found is promised from now on, so it goes to the disk first; and
     * who wrote it may have been told that it did not get there. */
    db->unsure = db->headfile != NULL;
    int error = journaldb_begin(db, true);
    if (!error) {
        error = journaldb_commit(db);
    }
    if (!error) {
        error = journaldb_mark(db, true);
    }
    if (error) {
        snprintf(why, why_size, "can't count this start: %.200s", db->reason);
    }
    return error;
}

/* SQLite. */

int
journaldb_run(sqlite3 *db, const char *sql)
{
    return sqlite3_exec(db, sql, NULL, NULL, NULL);
}

int
journaldb_number(sqlite3 *db, const char *sql, int64_t *out)
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

int
journaldb_error(sqlite3 *db)
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
