/* SPDX-License-Identifier: Apache-2.0 */
/* A journal whose file is damaged, cut, newer or somebody else's, or whose
 * disk is full or fails: it is moved aside or left alone, said, and recovered
 * from. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <unistd.h>

#include <cmocka.h>

#include "tests/unit/broker/journal_scene.h"

#define WAIT_TRIES 2000 /* Of 10 ms. */

/* Damage. */

static void
assert_moved_aside(const struct place *place, uint64_t start)
{
    struct journal *journal = NULL;
    char why[200] = "", aside[128];
    struct seen seen = {.n = 0};

    snprintf(aside, sizeof aside, "%s.damaged-1", place->path);
    int error = journal_open(&journal, place->path, &generous, why, sizeof why);
    if (error != 1) {
        fail_msg("open gave %d: %s", error, why);
    }
    assert_non_null(strstr(why, aside));
    assert_int_equal(access(aside, F_OK), 0);
    assert_int_equal(journal_tail(journal, 10, see, &seen), 0);
    assert_int_equal(add(journal, 1, 0, 1), 0);
    assert_int_equal(journal_sync(journal), 0);
    assert_int_equal(journal_start_count(journal), start);
    journal_close(journal);
}

static void
fill(const struct place *place, unsigned n)
{
    struct journal *journal = opened(place->path, &generous);

    for (unsigned i = 0; i < n; i++) {
        add(journal, i, 0, i);
    }
    journal_close(journal);
}

static void
scribble(const struct place *place, off_t from, size_t size)
{
    char junk[4096];
    int fd = open(place->path, O_WRONLY);

    assert_true(fd >= 0);
    memset(junk, 0xa5, sizeof junk);
    for (size_t done = 0; done < size; done += sizeof junk) {
        size_t part = size - done < sizeof junk ? size - done : sizeof junk;
        assert_int_equal(pwrite(fd, junk, part, from + (off_t)done), part);
    }
    close(fd);
}

static void
damaged_header_is_moved_aside(void **state)
{
    fill(*state, 500);
    scribble(*state, 0, 100);
    assert_moved_aside(*state, 2);
}

static void
damaged_middle_is_moved_aside(void **state)
{
    fill(*state, 1500);
    scribble(*state, 3 * 4096, 10 * 4096);
    assert_moved_aside(*state, 2);
}

static void
cut_file_is_moved_aside(void **state)
{
    struct place *place = *state;

    fill(place, 1500);
    assert_int_equal(truncate(place->path, 5 * 4096 + 17), 0);
    assert_moved_aside(place, 2);
}

static void
strange_file_is_moved_aside(void **state)
{
    struct place *place = *state;
    FILE *file = fopen(place->path, "w");

    for (int i = 0; i < 1000; i++) {
        fprintf(file, "This is a diary, and not a journal.\n");
    }
    fclose(file);
    assert_moved_aside(place, 1);
}

static void
second_damage_does_not_replace_the_first(void **state)
{
    struct place *place = *state;
    struct journal *journal = NULL;
    char why[200], aside[128];

    for (int i = 1; i <= 3; i++) {
        fill(place, 10);
        scribble(place, 0, 100);
        int error =
            journal_open(&journal, place->path, &generous, why, sizeof why);
        assert_int_equal(error, 1);
        journal_close(journal);
        snprintf(aside, sizeof aside, "%s.damaged-%d", place->path, i);
        assert_int_equal(access(aside, F_OK), 0);
    }
}

static void
newer_file_is_left_alone(void **state)
{
    struct place *place = *state;
    struct journal *journal = NULL;
    char why[200], command[300];

    fill(place, 10);
    snprintf(command, sizeof command, "sqlite3 %s 'PRAGMA user_version=9'",
             place->path);
    if (system(command) != 0) {
        skip();
    }
    int error = journal_open(&journal, place->path, &generous, why, sizeof why);
    assert_int_equal(error, -EINVAL);
    assert_non_null(strstr(why, "newer"));
    assert_int_equal(access(place->path, F_OK), 0);
}

static void
places_that_can_not_be_are_refused(void **state)
{
    struct place *place = *state;
    struct journal *journal = NULL;
    char path[160], why[200] = "";

    snprintf(path, sizeof path, "%s/no/such", place->dir);
    int error = journal_open(&journal, path, &generous, why, sizeof why);
    assert_int_equal(error, -ENOENT);
    assert_non_null(strstr(why, path));
    error = journal_open(&journal, place->dir, &generous, why, sizeof why);
    assert_int_equal(error, -EISDIR);
    assert_null(journal);
}

/* Disks. */

/* Adds until rows are refused; returns with what. */
static int
add_until_refused(struct journal *journal)
{
    struct journal_row row = {.cause = 1, .name = "x"};

    memset(row.detail, 'd', 900);
    for (unsigned i = 0; i < 1000000; i++) {
        int error = journal_add(journal, &row);

        if (error == -ENOBUFS) {
            usleep(1000);
        } else if (error) {
            return error;
        }
    }
    return 0;
}

static void
wait_until_well(struct journal *journal, nsec_t now)
{
    struct journal_health health;

    for (int i = 0; i < WAIT_TRIES; i++) {
        journal_run(journal, now + i * NSEC_PER_SEC);
        journal_health(journal, &health);
        if (!health.failing) {
            return;
        }
        usleep(10000);
    }
    fail_msg("never well again: %s", health.reason);
}

static void
full_disk_is_said_and_recovered_from(void **state)
{
    struct place *place = *state;
    struct journal_health health;
    struct seen seen = {.n = 0};
    char filler[128], chunk[4096] = "";

    if (mount("none", place->dir, "tmpfs", 0, "size=16m")) {
        print_message("SKIP full disk: a tmpfs can't be mounted here\n");
        skip();
    }
    struct journal *journal = opened(place->path, &generous);
    assert_int_equal(add(journal, 7, 0, 1), 0);
    assert_int_equal(journal_sync(journal), 0);
    snprintf(filler, sizeof filler, "%s/filler", place->dir);
    int fd = open(filler, O_CREAT | O_WRONLY, 0600);
    while (write(fd, chunk, sizeof chunk) > 0) {
    }
    assert_int_equal(add_until_refused(journal), -ENOSPC);
    assert_int_equal(journal_sync(journal), -ENOSPC);
    journal_health(journal, &health);
    assert_true(health.failing);
    assert_non_null(strstr(health.reason, "full"));
    assert_true(health.n_lost > 0);
    /* It can still be read, with the rows that wait. */
    assert_int_equal(journal_trace(journal, 7, see, &seen), 1);
    assert_true(journal_tail(journal, 50, see, &seen) > 1);
    journal_run(journal, 5 * NSEC_PER_SEC); /* In vain. */
    assert_int_equal(journal_sync(journal), -ENOSPC);

    close(fd);
    assert_int_equal(unlink(filler), 0);
    wait_until_well(journal, 10 * NSEC_PER_SEC);
    uint64_t n_lost = health.n_lost;
    assert_int_equal(add(journal, 8, 0, 2), 0);
    assert_int_equal(journal_sync(journal), 0);
    journal_health(journal, &health);
    assert_true(health.n_lost >= n_lost);
    assert_string_equal(health.reason, "");
    journal_close(journal);
    assert_int_equal(umount(place->dir), 0);
}

static void
failing_writes_are_said_and_recovered_from(void **state)
{
    struct place *place = *state;
    struct rlimit old, low = {.rlim_cur = 200000};
    struct journal_health health;

    struct journal *journal = opened(place->path, &generous);
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &old), 0);
    low.rlim_max = old.rlim_max;
    signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &low), 0);
    int error = add_until_refused(journal);
    journal_health(journal, &health);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &old), 0);
    assert_int_equal(error, -EIO);
    assert_true(health.failing);
    assert_string_not_equal(health.reason, "");
    wait_until_well(journal, 10 * NSEC_PER_SEC);
    assert_int_equal(journal_sync(journal), 0);
    signal(SIGXFSZ, SIG_DFL);

    struct seen seen = {.n = 0};
    journal_health(journal, &health);
    assert_int_equal(journal_tail(journal, 1000000, see, &seen), health.n_rows);
    assert_false(seen.disorder);
    journal_close(journal);
}

#define IN_PLACE(test)                                                         \
    cmocka_unit_test_setup_teardown(test, make_place, remove_place)

int
main(void)
{
    const struct CMUnitTest tests[] = {
        IN_PLACE(damaged_header_is_moved_aside),
        IN_PLACE(damaged_middle_is_moved_aside),
        IN_PLACE(cut_file_is_moved_aside),
        IN_PLACE(strange_file_is_moved_aside),
        IN_PLACE(second_damage_does_not_replace_the_first),
        IN_PLACE(newer_file_is_left_alone),
        IN_PLACE(places_that_can_not_be_are_refused),
        IN_PLACE(full_disk_is_said_and_recovered_from),
        IN_PLACE(failing_writes_are_said_and_recovered_from),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
