/* SPDX-License-Identifier: Apache-2.0 */
/* The journal: what is added is found again in order, once, whatever happens to
 * the process, the file or the disk; and it stays within its bounds. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
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
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "broker/journal/journal.h"

#define WAIT_TRIES 2000 /* Of 10 ms. */

static const struct journal_opts generous = {.size_max = 64 << 20,
                                             .age_max_s = 30 * 86400};

struct place {
    char dir[64], path[96];
};

static int
make_place(void **state)
{
    struct place *place = calloc(1, sizeof *place);

    snprintf(place->dir, sizeof place->dir, "/tmp/mbroker-journal-XXXXXX");
    if (!mkdtemp(place->dir)) {
        return -1;
    }
    snprintf(place->path, sizeof place->path, "%s/journal", place->dir);
    *state = place;
    return 0;
}

static int
remove_place(void **state)
{
    struct place *place = *state;
    char command[128];

    umount2(place->dir, MNT_DETACH); /* Where a test failed. */
    snprintf(command, sizeof command, "rm -rf %s", place->dir);
    int status = system(command);
    free(place);
    return status;
}

static struct journal *
opened(const char *path, const struct journal_opts *opts)
{
    struct journal *journal = NULL;
    char why[200] = "";

    int error = journal_open(&journal, path, opts, why, sizeof why);
    if (error) {
        fail_msg("open gave %d: %s", error, why);
    }
    return journal;
}

static int
add(struct journal *journal, uint64_t cause, int64_t wall_ns, unsigned number)
{
    struct journal_row row = {
        .cause = cause,
        .kind = (enum journal_kind)(number % 4),
        .time = number,
        .wall_ns = wall_ns,
        .command = number,
        .subject = "mgmt://local/vm/x/agent",
        .name = "GUEST_NOTICE",
    };

    snprintf(row.detail, sizeof row.detail, "{\"n\": %u}", number);
    return journal_add(journal, &row);
}

struct seen {
    unsigned n;
    struct journal_row last, first;
    bool disorder, jump;
};

static void
see(void *ctx, const struct journal_row *row)
{
    struct seen *seen = ctx;

    if (!seen->n) {
        seen->first = *row;
    } else {
        seen->disorder |= row->id <= seen->last.id;
        seen->jump |= row->time != seen->last.time + 1;
    }
    seen->last = *row;
    seen->n++;
}

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

static void
old_rows_go(void **state)
{
    struct place *place = *state;
    struct journal_opts day = {.size_max = 64 << 20, .age_max_s = 86400};
    struct journal *journal = opened(place->path, &day);
    struct seen seen = {.n = 0};

    for (unsigned i = 0; i < 600; i++) {
        add(journal, 1, i * NSEC_PER_SEC, i);
    }
    assert_int_equal(journal_sync(journal), 0);
    assert_int_equal(journal_tail(journal, 9999, see, &seen), 600);
    for (unsigned i = 600; i < 602; i++) {
        add(journal, 1, (86400 + 500) * NSEC_PER_SEC, i);
        assert_int_equal(journal_sync(journal), 0);
    }
    seen = (struct seen){.n = 0};
    assert_int_equal(journal_tail(journal, 9999, see, &seen), 102);
    assert_int_equal(seen.first.time, 500);
    journal_close(journal);
}

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
        IN_PLACE(damaged_header_is_moved_aside),
        IN_PLACE(damaged_middle_is_moved_aside),
        IN_PLACE(cut_file_is_moved_aside),
        IN_PLACE(strange_file_is_moved_aside),
        IN_PLACE(second_damage_does_not_replace_the_first),
        IN_PLACE(newer_file_is_left_alone),
        IN_PLACE(places_that_can_not_be_are_refused),
        IN_PLACE(killed_writer_loses_nothing_it_promised),
        IN_PLACE(full_disk_is_said_and_recovered_from),
        IN_PLACE(failing_writes_are_said_and_recovered_from),
        cmocka_unit_test(journal_in_memory_needs_no_thread_and_no_file),
        cmocka_unit_test(journals_in_memory_are_apart),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
