/* SPDX-License-Identifier: Apache-2.0 */
/* The journal over a disk that fails: a sync that fails promises nothing, what
 * the kernel then only pretends to have is found out, and what is taken over
 * from a damaged file goes on in the same chain. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <sqlite3.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "broker/journal/journal.h"
#include "broker/journal/journalread.h"

static const struct journal_opts opts = {
    .size_max = 1 << 20, .age_max_s = 86400, .no_thread = true};

/* A layer over SQLite's own way to files: counts down to a failure. */
static struct {
    sqlite3_vfs vfs;
    sqlite3_vfs *real;
    int writes_left, syncs_left; /* Before all fail; -1: never. */
    bool heal;                   /* The failing one was the only one. */
} disk;

/* The database has locks; its log has none, and methods of its own. */
static sqlite3_io_methods methods[2];
static const sqlite3_io_methods *real_methods[2];

static const sqlite3_io_methods *
real_of(const sqlite3_file *file)
{
    return real_methods[file->pMethods == &methods[1]];
}

static bool
fails(int *left)
{
    if (*left < 0) {
        return false;
    }
    if (*left > 0) {
        --*left;
        return false;
    }
    if (disk.heal) {
        *left = -1;
    }
    return true;
}

static int
failing_write(sqlite3_file *file, const void *data, int size, sqlite3_int64 at)
{
    return fails(&disk.writes_left)
               ? SQLITE_IOERR_WRITE
               : real_of(file)->xWrite(file, data, size, at);
}

static int
failing_sync(sqlite3_file *file, int flags)
{
    return fails(&disk.syncs_left) ? SQLITE_IOERR_FSYNC
                                   : real_of(file)->xSync(file, flags);
}

static int
open_file(sqlite3_vfs *vfs, const char *name, sqlite3_file *file, int flags,
          int *out)
{
    int code = disk.real->xOpen(disk.real, name, file, flags, out);

    if (!code) {
        int kind = !(flags & SQLITE_OPEN_MAIN_DB);

        real_methods[kind] = file->pMethods;
        methods[kind] = *real_methods[kind];
        methods[kind].xWrite = failing_write;
        methods[kind].xSync = failing_sync;
        file->pMethods = &methods[kind];
    }
    return code;
}

struct place {
    char dir[64], path[96];
};

static int
make_place(void **state)
{
    struct place *place = calloc(1, sizeof *place);

    snprintf(place->dir, sizeof place->dir, "/tmp/mbroker-fault-XXXXXX");
    if (!mkdtemp(place->dir)) {
        return -1;
    }
    snprintf(place->path, sizeof place->path, "%s/journal", place->dir);
    disk.real = sqlite3_vfs_find(NULL);
    disk.vfs = *disk.real;
    disk.vfs.zName = "failing";
    disk.vfs.xOpen = open_file;
    disk.writes_left = disk.syncs_left = -1;
    disk.heal = false;
    *state = place;
    return sqlite3_vfs_register(&disk.vfs, 1);
}

static int
remove_place(void **state)
{
    struct place *place = *state;
    char command[128];

    sqlite3_vfs_unregister(&disk.vfs);
    sqlite3_vfs_register(disk.real, 1);
    snprintf(command, sizeof command, "rm -rf %s", place->dir);
    int status = system(command);
    free(place);
    return status;
}

static struct journal *
opened(const char *path, int expected)
{
    struct journal *journal = NULL;
    char why[600] = "";

    int result = journal_open(&journal, path, &opts, why, sizeof why);
    if (result != expected) {
        fail_msg("open gave %d: %s", result, why);
    }
    return journal;
}

static void
add(struct journal *journal, int64_t number)
{
    const struct journal_row row = {.time = number, .name = "x"};

    assert_int_equal(journal_add(journal, &row), 0);
}

static void
count(void *ctx, const struct journal_row *row)
{
    ++*(int *)ctx;
}

static int
rows_in(const char *path)
{
    int n = 0;
    const struct journal_reading reading = {.row = count, .ctx = &n};
    struct journal_report report;
    char why[600];

    assert_int_equal(journalread_file(path, &reading, &report, why, sizeof why),
                     0);
    assert_false(report.broken);
    return n;
}

/* Whichever sync it is that fails. */
static void
a_failed_sync_promises_nothing_and_is_made_good(void **state)
{
    struct place *place = *state;
    struct journal_health health;
    unsigned n_failed = 0;

    for (int at = 0; at < 4; at++) {
        struct journal *journal = opened(place->path, 0);

        add(journal, 1);
        journal_run(journal, 1);
        disk.syncs_left = at;
        add(journal, 2);
        int error = journal_sync(journal);
        if (error) {
            n_failed++;
            assert_int_equal(error, -EIO);
            journal_health(journal, &health);
            assert_true(health.failing);
            assert_string_not_equal(health.reason, "");
            journal_run(journal, 5 * NSEC_PER_SEC); /* It still fails. */
            journal_health(journal, &health);
            assert_true(health.failing);
        }
        disk.syncs_left = -1;
        journal_run(journal, 10 * NSEC_PER_SEC);
        assert_int_equal(journal_sync(journal), 0);
        journal_close(journal);
        assert_int_equal(rows_in(place->path), 2 * (at + 1));
    }
    assert_true(n_failed > 0);
}

/* One failure, of any write: nothing is lost, doubled or half there. */
static void
each_write_may_fail_once(void **state)
{
    struct place *place = *state;
    unsigned n_failed = 0;
    int n_rows = 0;

    for (int at = 0; at < 40; at++) {
        struct journal *journal = opened(place->path, 0);

        disk.heal = true;
        disk.writes_left = at;
        for (int i = 0; i < 5; i++) {
            const struct journal_row row = {.time = i, .name = "x"};
            int error = journal_add(journal, &row);

            n_rows += !error;
            error = error ? error : journal_sync(journal);
            if (error) {
                n_failed++;
                journal_run(journal, (at * 5 + i + 1) * 2 * NSEC_PER_SEC);
            }
        }
        disk.writes_left = -1;
        assert_int_equal(journal_sync(journal), 0);
        journal_close(journal);
        assert_int_equal(rows_in(place->path), n_rows);
    }
    assert_true(n_failed > 10);
}

/* A changed row: those before it go on in a new file, in the same chain. */
static void
rows_before_the_damage_are_taken_over(void **state)
{
    struct place *place = *state;
    struct journal_report before, after;
    char aside[128], why[600];
    sqlite3 *db;

    struct journal *journal = opened(place->path, 0);
    for (int i = 0; i < 10; i++) {
        add(journal, i);
    }
    journal_close(journal);
    assert_int_equal(sqlite3_open(place->path, &db), 0);
    assert_int_equal(sqlite3_exec(db, "UPDATE row SET time = 77 WHERE time = 6",
                                  NULL, NULL, NULL),
                     0);
    sqlite3_close(db);
    journal = opened(place->path, 1);
    int n = 0;
    assert_int_equal(journal_tail(journal, 100, count, &n), 6);
    add(journal, 10);
    journal_close(journal);

    snprintf(aside, sizeof aside, "%s.damaged-1", place->path);
    assert_int_equal(journalread_file(aside, NULL, &before, why, sizeof why),
                     0);
    assert_true(before.broken);
    assert_non_null(strstr(before.why, "does not follow"));
    assert_int_equal(before.n_rows, 6);
    assert_int_equal(
        journalread_file(place->path, NULL, &after, why, sizeof why), 0);
    assert_false(after.broken);
    assert_int_equal(after.n_rows, 7);
    assert_int_equal(after.end, JOURNAL_END_KNOWN);
    journal_close(opened(place->path, 0));
}

/* Rows that the bounds take leave the place where the chain goes on. */
static void
the_chain_is_whole_whatever_the_bounds_took(void **state)
{
    struct place *place = *state;
    struct journal_report report;
    char why[600];
    struct journal *journal = opened(place->path, 0);
    struct journal_row row = {.name = "x"};

    memset(row.detail, 'd', 900);
    for (int i = 0; i < 3000; i++) {
        row.time = i;
        assert_int_equal(journal_add(journal, &row), 0);
        if (i % 100 == 0) {
            journal_run(journal, i);
        }
    }
    journal_close(journal);
    assert_int_equal(
        journalread_file(place->path, NULL, &report, why, sizeof why), 0);
    assert_false(report.broken);
    assert_true(report.before > 0);
    assert_in_range(report.n_rows, 100, 2000);
    assert_int_equal(report.end, JOURNAL_END_KNOWN);
    journal_close(opened(place->path, 0));
}

#define IN_PLACE(test)                                                         \
    cmocka_unit_test_setup_teardown(test, make_place, remove_place)

int
main(void)
{
    const struct CMUnitTest tests[] = {
        IN_PLACE(a_failed_sync_promises_nothing_and_is_made_good),
        IN_PLACE(each_write_may_fail_once),
        IN_PLACE(rows_before_the_damage_are_taken_over),
        IN_PLACE(the_chain_is_whole_whatever_the_bounds_took),
    };

    alarm(110);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
