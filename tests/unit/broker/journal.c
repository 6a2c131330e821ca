/* SPDX-License-Identifier: Apache-2.0 */
/* The journal: what is added is found again in order, once, whatever happens
 * to the process; and it stays within its bounds. */
#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "tests/unit/broker/journal_scene.h"

static void
added_rows_are_traced_in_order(void **state)
{
    struct place *place = *state;
    struct journal *journal = opened(place->path, &generous);
    struct seen seen = {.n = 0};

    for (unsigned i = 0; i < 1000; i++) {
        assert_int_equal(add(journal, i % 3, 5, i), 0);
    }
    assert_int_equal(journal_trace(journal, 1, see, &seen), 333);
    assert_int_equal(seen.n, 333);
    assert_false(seen.disorder);
    assert_int_equal(seen.first.time, 1);
    assert_int_equal(seen.last.time, 997);
    assert_int_equal(seen.last.command, 997);
    assert_int_equal(seen.last.kind, JOURNAL_DECISION);
    assert_int_equal(seen.last.wall_ns, 5);
    assert_string_equal(seen.last.subject, "mgmt://local/vm/x/agent");
    assert_string_equal(seen.last.name, "GUEST_NOTICE");
    assert_string_equal(seen.last.detail, "{\"n\": 997}");
    assert_int_equal(journal_trace(journal, 77, see, &seen), 0);
    journal_close(journal);
}

/* However far the writer is, a reader sees each row once. */
static void
readers_see_queued_rows_once(void **state)
{
    struct place *place = *state;
    struct journal *journal = opened(place->path, &generous);

    for (unsigned i = 0; i < 1500; i++) {
        assert_int_equal(add(journal, 9, 0, i), 0);
        if (i % 50 == 49) {
            struct seen seen = {.n = 0}, tail = {.n = 0};

            assert_int_equal(journal_trace(journal, 9, see, &seen), i + 1);
            assert_false(seen.disorder);
            assert_false(seen.jump);
            assert_int_equal(journal_tail(journal, 20, see, &tail), 20);
            assert_false(tail.jump);
            assert_int_equal(tail.last.time, i);
        }
        if (i % 400 == 0) {
            assert_int_equal(journal_sync(journal), 0);
        }
    }
    journal_close(journal);
}

static void
tail_gives_the_last_rows_oldest_first(void **state)
{
    struct place *place = *state;
    struct journal *journal = opened(place->path, &generous);
    struct seen seen = {.n = 0}, all = {.n = 0}, none = {.n = 0};

    assert_int_equal(journal_tail(journal, 5, see, &none), 0);
    for (unsigned i = 0; i < 10; i++) {
        add(journal, i, 0, i);
    }
    assert_int_equal(journal_sync(journal), 0);
    for (unsigned i = 10; i < 13; i++) {
        add(journal, i, 0, i);
    }
    assert_int_equal(journal_tail(journal, 5, see, &seen), 5);
    assert_int_equal(seen.first.time, 8);
    assert_int_equal(seen.last.time, 12);
    assert_int_equal(journal_tail(journal, 500, see, &all), 13);
    assert_false(all.jump);
    assert_int_equal(journal_tail(journal, 0, see, &none), 0);
    journal_close(journal);
}

static void
rows_outlive_the_process(void **state)
{
    struct place *place = *state;
    struct journal *journal = opened(place->path, &generous);
    struct seen seen = {.n = 0};
    struct journal_health health;

    for (unsigned i = 0; i < 300; i++) {
        add(journal, 4, 0, i);
    }
    journal_close(journal);
    journal = opened(place->path, &generous);
    assert_int_equal(journal_trace(journal, 4, see, &seen), 300);
    assert_false(seen.jump);
    journal_health(journal, &health);
    assert_int_equal(health.n_rows, 300);
    assert_int_equal(health.n_lost, 0);
    assert_false(health.failing);
    assert_true(health.size > 0);
    journal_close(journal);
}

static void
each_start_is_counted(void **state)
{
    struct place *place = *state;

    for (uint64_t start = 1; start < 5; start++) {
        struct journal *journal = opened(place->path, &generous);

        assert_int_equal(journal_start_count(journal), start);
        journal_close(journal);
    }
}

static void
ids_grow_over_starts_though_rows_are_gone(void **state)
{
    struct place *place = *state;
    struct journal *journal = opened(place->path, &generous);
    struct seen one = {.n = 0}, two = {.n = 0};

    add(journal, 1, 0, 1);
    journal_tail(journal, 1, see, &one);
    journal_close(journal);
    journal = opened(place->path, &generous);
    add(journal, 1, 0, 2);
    journal_tail(journal, 1, see, &two);
    assert_true(two.last.id > one.last.id);
    journal_close(journal);
}

/* Another reader of the file finds what journal_sync() promised. */
static void
synced_rows_are_in_the_file(void **state)
{
    struct place *place = *state;
    struct journal *journal = opened(place->path, &generous);
    char command[300];

    for (unsigned i = 0; i < 7; i++) {
        add(journal, 1, 0, i);
    }
    assert_int_equal(journal_sync(journal), 0);
    snprintf(command, sizeof command,
             "strings -a %s %s-wal | grep -q '{\"n\": 6}'", place->path,
             place->path);
    assert_int_equal(system(command), 0);
    assert_int_equal(journal_sync(journal), 0);
    journal_close(journal);
}

static void
file_is_not_readable_by_all(void **state)
{
    struct place *place = *state;
    struct journal *journal = opened(place->path, &generous);
    struct stat st;

    assert_int_equal(stat(place->path, &st), 0);
    assert_int_equal(st.st_mode & 07, 0);
    journal_close(journal);
}

/* The writer is stopped by holding the file's lock, as a stranger might. */
static void
queue_is_bounded_and_refusals_counted(void **state)
{
    struct place *place = *state;
    struct journal *journal = opened(place->path, &generous);
    struct journal_health health;
    unsigned n_taken = 0, n_refused = 0;
    int to_child[2], from_child[2];
    char byte;

    assert_int_equal(pipe(to_child) | pipe(from_child), 0);
    pid_t child = fork();
    if (child == 0) {
        char command[256];

        dup2(to_child[0], 0);
        dup2(from_child[1], 1);
        close(to_child[1]);
        close(from_child[0]);
        snprintf(command, sizeof command, "%s", place->path);
        execlp("python3", "python3", "-c",
               "import sqlite3,sys\n"
               "c=sqlite3.connect(sys.argv[1],isolation_level=None)\n"
               "c.execute('BEGIN IMMEDIATE')\n"
               "print('x',flush=True)\nsys.stdin.read(1)\n",
               command, (char *)NULL);
        _exit(127);
    }
    close(to_child[0]);
    close(from_child[1]);
    assert_int_equal(read(from_child[0], &byte, 1), 1);
    for (unsigned i = 0; i < 5000; i++) {
        int error = add(journal, 1, 0, i);

        assert_true(error == 0 || error == -ENOBUFS || error == -EIO);
        n_taken += !error;
        n_refused += error != 0;
    }
    assert_in_range(n_taken, 1000, 4000);
    journal_health(journal, &health);
    assert_int_equal(health.n_lost, n_refused);
    close(to_child[1]);
    close(from_child[0]);
    assert_int_equal(waitpid(child, NULL, 0), child);
    journal_close(journal); /* Writes all that was taken. */
    journal = opened(place->path, &generous);
    struct seen seen = {.n = 0};
    assert_int_equal(journal_trace(journal, 1, see, &seen), n_taken);
    journal_close(journal);
}

/* Bounds. */

static void
file_stays_within_its_size(void **state)
{
    struct place *place = *state;
    struct journal_opts small = {.size_max = 1 << 20, .age_max_s = 86400};
    struct journal *journal = opened(place->path, &small);
    struct journal_row row = {.cause = 1, .name = "x"};
    struct journal_health health;
    struct stat st;
    struct seen seen = {.n = 0};
    uint64_t worst = 0;

    memset(row.detail, 'd', 400);
    for (unsigned i = 0; i < 20000; i++) {
        row.time = i;
        while (journal_add(journal, &row)) {
            usleep(1000);
        }
        if (i % 128 == 0) {
            journal_sync(journal);
            journal_health(journal, &health);
            worst = health.size > worst ? health.size : worst;
        }
    }
    assert_int_equal(journal_sync(journal), 0);
    assert_in_range(worst, 100000, 1 << 20);
    journal_health(journal, &health);
    assert_in_range(health.n_rows, 500, 2500);
    assert_int_equal(journal_tail(journal, 100000, see, &seen), health.n_rows);
    assert_false(seen.jump); /* The oldest went, and only they. */
    assert_int_equal(seen.last.time, 19999);
    journal_close(journal);
    assert_int_equal(stat(place->path, &st), 0);
    assert_in_range(st.st_size, 1, 1 << 20);
}

#define HOUR_NS (3600 * NSEC_PER_SEC)

static const struct journal_opts day = {.size_max = 64 << 20,
                                        .age_max_s = 86400};

/* A row at that hour of its boot; on disk when it returns. */
static void
add_at(struct journal *journal, unsigned hour, int64_t wall_ns)
{
    struct journal_row row = {.cause = 1,
                              .time = hour * HOUR_NS,
                              .wall_ns = wall_ns,
                              .name = "x",
                              .detail = "{}"};

    assert_int_equal(journal_add(journal, &row), 0);
    assert_int_equal(journal_sync(journal), 0);
}

static struct seen
all_rows(struct journal *journal)
{
    struct seen seen = {.n = 0};

    assert_true(journal_tail(journal, 9999, see, &seen) >= 0);
    return seen;
}

static void
old_rows_go(void **state)
{
    struct place *place = *state;
    struct journal *journal = opened(place->path, &day);

    for (unsigned hour = 1; hour <= 24; hour++) {
        add_at(journal, hour, 0);
    }
    assert_int_equal(all_rows(journal).n, 24);
    add_at(journal, 30, 0);
    assert_int_equal(all_rows(journal).n, 20);
    assert_int_equal(all_rows(journal).first.time, 6 * HOUR_NS);
    journal_close(journal);
}

/* Ten years ahead, and behind, while it runs and between two starts. */
static void
wall_clock_that_jumps_takes_no_row(void **state)
{
    const int64_t years_ns = INT64_C(10) * 365 * 24 * HOUR_NS;
    struct place *place = *state;
    struct journal *journal = opened(place->path, &day);

    add_at(journal, 1, years_ns);
    add_at(journal, 2, 2 * years_ns);
    add_at(journal, 3, 0);
    journal_close(journal);
    journal = opened(place->path, &day);
    add_at(journal, 4, 3 * years_ns);
    add_at(journal, 5, years_ns);
    assert_int_equal(all_rows(journal).n, 5);
    add_at(journal, 26, years_ns);
    assert_int_equal(all_rows(journal).n, 5);
    assert_int_equal(all_rows(journal).first.time, 2 * HOUR_NS);
    journal_close(journal);
}

/* What another boot's clock said is told from this one's; the time between the
 * two does not count. */
static void
rows_age_over_boots_as_long_as_these_last(void **state)
{
    struct place *place = *state;
    struct journal *journal = opened(place->path, &day);

    for (unsigned hour = 1; hour <= 20; hour++) {
        add_at(journal, hour, 0);
    }
    journal_close(journal);
    journal = opened(place->path, &day);
    add_at(journal, 3, 0);
    assert_int_equal(all_rows(journal).n, 21);
    journal_close(journal);
    journal = opened(place->path, &day);
    add_at(journal, 9, 0); /* The same boot as before. */
    assert_int_equal(all_rows(journal).n, 18);
    assert_int_equal(all_rows(journal).first.time, 5 * HOUR_NS);
    journal_close(journal);
    journal = opened(place->path, &day);
    add_at(journal, 2, 0); /* Another. */
    add_at(journal, 23, 0);
    assert_int_equal(all_rows(journal).first.time, 9 * HOUR_NS);
    assert_int_equal(all_rows(journal).n, 3);
    journal_close(journal);
}

/* A file may say anything: times that can't be added, or before 0. */
static void
times_without_sense_make_nothing_old(void **state)
{
    struct place *place = *state;
    const nsec_t times[] = {INT64_MAX, 5, INT64_MAX, INT64_MIN, -1, 7};

    for (size_t i = 0; i < sizeof times / sizeof times[0]; i++) {
        struct journal *journal = opened(place->path, &day);
        struct journal_row row = {.time = times[i], .name = "x"};

        assert_int_equal(journal_add(journal, &row), 0);
        assert_int_equal(journal_sync(journal), 0);
        assert_true(all_rows(journal).n > 0);
        journal_close(journal);
    }
}

/* Death. */

/* Adds for ever, telling how many are promised to be on disk. */
static void
write_until_killed(const struct place *place, int fd)
{
    struct journal *journal = NULL;
    char why[200];

    if (journal_open(&journal, place->path, &generous, why, sizeof why) < 0) {
        _exit(1);
    }
    for (uint32_t i = 0;; i++) {
        while (add(journal, 1, 0, i)) {
            usleep(1000);
        }
        if (i % 200 == 199) {
            uint32_t promised = i + 1;

            if (journal_sync(journal) ||
                write(fd, &promised, sizeof promised) != sizeof promised) {
                _exit(1);
            }
        }
    }
}

static void
killed_writer_loses_nothing_it_promised(void **state)
{
    struct place *place = *state;

    for (unsigned round = 0; round < 8; round++) {
        uint32_t promised = 0;
        int fds[2];

        assert_int_equal(pipe(fds), 0);
        pid_t child = fork();
        if (child == 0) {
            close(fds[0]);
            write_until_killed(place, fds[1]);
        }
        close(fds[1]);
        for (unsigned i = 0; i <= round * 3; i++) {
            assert_int_equal(read(fds[0], &promised, sizeof promised), 4);
        }
        usleep(round * 700); /* Somewhere in a batch. */
        kill(child, SIGKILL);
        assert_int_equal(waitpid(child, NULL, 0), child);
        while (read(fds[0], &promised, sizeof promised) == 4) {
        }
        close(fds[0]);

        struct journal *journal = opened(place->path, &generous);
        struct seen seen = {.n = 0};
        assert_int_equal(journal_start_count(journal), 2 * round + 2);
        assert_true(journal_trace(journal, 1, see, &seen) >= (int)promised);
        assert_false(seen.jump);
        assert_int_equal(seen.first.time, 0);
        journal_close(journal);
        remove(place->path); /* The count of starts stays beside it. */
    }
}

/* In memory. */

static void
journal_in_memory_needs_no_thread_and_no_file(void **state)
{
    struct journal *journal = opened(NULL, &generous);
    struct seen seen = {.n = 0}, tail = {.n = 0};
    struct journal_health health;

    assert_int_equal(journal_start_count(journal), 1);
    for (unsigned i = 0; i < 1000; i++) {
        assert_int_equal(add(journal, 1, 0, i), 0);
    }
    assert_int_equal(journal_trace(journal, 1, see, &seen), 1000);
    assert_false(seen.jump);
    assert_int_equal(journal_tail(journal, 100, see, &tail), 100);
    assert_int_equal(tail.first.time, 900);
    assert_int_equal(journal_sync(journal), 0);
    journal_run(journal, NSEC_PER_SEC);
    journal_health(journal, &health);
    assert_int_equal(health.n_rows, 1000);
    journal_close(journal);
}

static void
journals_in_memory_are_apart(void **state)
{
    struct journal *one = opened(NULL, &generous);
    struct journal *two = opened(NULL, &generous);
    struct seen seen = {.n = 0};

    add(one, 1, 0, 1);
    assert_int_equal(journal_tail(two, 10, see, &seen), 0);
    journal_close(one);
    journal_close(two);
    journal_close(NULL);
}

#define IN_PLACE(test)                                                         \
    cmocka_unit_test_setup_teardown(test, make_place, remove_place)

int
main(void)
{
    const struct CMUnitTest tests[] = {
        IN_PLACE(added_rows_are_traced_in_order),
        IN_PLACE(readers_see_queued_rows_once),
        IN_PLACE(tail_gives_the_last_rows_oldest_first),
        IN_PLACE(rows_outlive_the_process),
        IN_PLACE(each_start_is_counted),
        IN_PLACE(ids_grow_over_starts_though_rows_are_gone),
        IN_PLACE(synced_rows_are_in_the_file),
        IN_PLACE(file_is_not_readable_by_all),
        IN_PLACE(queue_is_bounded_and_refusals_counted),
        IN_PLACE(file_stays_within_its_size),
        IN_PLACE(old_rows_go),
        IN_PLACE(wall_clock_that_jumps_takes_no_row),
        IN_PLACE(rows_age_over_boots_as_long_as_these_last),
        IN_PLACE(times_without_sense_make_nothing_old),
        IN_PLACE(killed_writer_loses_nothing_it_promised),
        cmocka_unit_test(journal_in_memory_needs_no_thread_and_no_file),
        cmocka_unit_test(journals_in_memory_are_apart),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
