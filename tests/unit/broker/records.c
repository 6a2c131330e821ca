/* SPDX-License-Identifier: Apache-2.0 */
/* What the broker writes beside its journal and reads back after a death (the
 * cap's record, found p-states, how far the journal got) when the disk refuses:
 * whichever call fails, the old is there whole or the new is, and what is
 * damaged is never taken for either. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/crc.h"
#include "broker/journal/chain.h"
#include "broker/journal/journalhead.h"
#include "broker/platform/caprecord.h"
#include "broker/platform/saved.h"
#include "tests/scarce.h"

static char dir[64];
static int dirfd = -1;

static int
set_up(void **state)
{
    strcpy(dir, "/tmp/mbroker-records-XXXXXX");
    assert_non_null(mkdtemp(dir));
    dirfd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    return dirfd < 0;
}

static int
tear_down(void **state)
{
    char command[128];

    close(dirfd);
    snprintf(command, sizeof command, "rm -rf %s", dir);
    return system(command);
}

static void
put_file(const char *name, const char *text)
{
    int fd = openat(dirfd, name, O_WRONLY | O_CREAT | O_TRUNC, 0600);

    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, strlen(text)), strlen(text));
    close(fd);
}

static bool
is_there(const char *name)
{
    return !faccessat(dirfd, name, F_OK, 0);
}

/* The calls that put a file in its place, and whether the new is there when one
 * of them failed. */
static const struct {
    const char *call;
    unsigned n;
    int error, told;
    bool in_place;
} refusals[] = {
    {"open", 1, EACCES, -EACCES, false}, {"write", 1, EIO, -EIO, false},
    {"write", 1, 0, -ENOSPC, false},     {"fsync", 1, EIO, -EIO, false},
    {"close", 1, EIO, -EIO, false},      {"rename", 1, EROFS, -EROFS, false},
    {"fsync", 2, EIO, -EIO, true},
};
#define N_REFUSALS (sizeof refusals / sizeof refusals[0])

/* The cap's record. */

static void
a_cap_s_record_is_the_old_one_or_the_new_one(void **state)
{
    struct caprecord record = {.term = 1, .order = 1, .mw = 1000}, found;

    for (size_t i = 0; i < N_REFUSALS; i++) {
        record.term = 1;
        assert_int_equal(caprecord_write(dirfd, &record), 0);
        record.term = 2;
        scarce_arm(refusals[i].call, refusals[i].n, refusals[i].error);
        int error = caprecord_write(dirfd, &record);
        assert_true(scarce_disarm());
        assert_int_equal(error, refusals[i].told);
        assert_int_equal(caprecord_read(dirfd, &found), 0);
        assert_int_equal(found.term, refusals[i].in_place ? 2 : 1);
        assert_int_equal(found.mw, 1000);
        assert_false(is_there(CAPRECORD_FILE ".new"));
    }
}

/* Two failures, the second of which has nothing to add. */
static void
the_first_thing_that_failed_is_told(void **state)
{
    struct caprecord record = {.term = 1};
    struct saved saved = {.driver = "sim", .n_cpus = 1};

    scarce_arm("write", 1, EIO);
    scarce_arm("close", 1, EDQUOT);
    assert_int_equal(caprecord_write(dirfd, &record), -EIO);
    assert_true(scarce_disarm());
    scarce_arm("write", 1, EIO);
    scarce_arm("close", 1, EDQUOT);
    assert_int_equal(saved_write(dirfd, &saved), -EIO);
    assert_true(scarce_disarm());
}

static void
put_record(const char *body)
{
    char text[400];

    snprintf(text, sizeof text, "%s %08x\n", body,
             crc32_of(body, strlen(body)));
    put_file(CAPRECORD_FILE, text);
}

static void
a_record_that_is_none_is_damaged_and_clamps(void **state)
{
    static const char *const bodies[] = {
        "mbroker-cap 1 1 2 3 4 5 0 0", "mbroker-cap 2 1 2 3 4 5 0 0 -",
        "mbroker-cap 1 x 2 3 4 5 0 0 -", "mbroker-cap",
        "mbroker-cap 1 1 2 3 4 5 yes 0 -"};
    static const char *const texts[] = {
        "", "nospace", "a zzzzzzzz", "mbroker-cap 1 1 2 3 4 5 0 0 - 00000000"};
    struct caprecord found = {.term = 77};

    assert_int_equal(caprecord_read(dirfd, &found), -ENOENT);
    assert_false(caprecord_is_clamped(dirfd));
    for (size_t i = 0; i < sizeof bodies / sizeof *bodies; i++) {
        put_record(bodies[i]);
        assert_int_equal(caprecord_read(dirfd, &found), -EBADMSG);
        assert_true(caprecord_is_clamped(dirfd));
    }
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        put_file(CAPRECORD_FILE, texts[i]);
        assert_int_equal(caprecord_read(dirfd, &found), -EBADMSG);
    }
    assert_int_equal(found.term, 77);
    put_record("mbroker-cap 1 1 2 3 4 -5 1 0 -");
    assert_int_equal(caprecord_read(dirfd, &found), 0);
    assert_int_equal(found.until, -5);
    assert_true(found.clamped && !found.disobeyed);
    assert_true(caprecord_is_clamped(dirfd));
    struct caprecord record = {.boot = "1e2f0000-0000-4000-8000-000000000001"};
    assert_int_equal(caprecord_write(dirfd, &record), 0);
    assert_int_equal(caprecord_read(dirfd, &found), 0);
    assert_string_equal(found.boot, record.boot);
    assert_false(caprecord_is_clamped(dirfd));
}

/* Found p-states. */

static void
see(void *ctx, const char *file, int error, const struct saved *saved)
{
    int *seen = ctx;

    seen[0]++;
    seen[1] += error != 0;
    seen[2] = saved ? (int)saved->cpus[0] : -1;
}

static void
found_p_states_are_the_old_ones_or_the_new_ones(void **state)
{
    for (size_t i = 0; i < N_REFUSALS; i++) {
        struct saved saved = {
            .driver = "sim", .n_cpus = 2, .cpus = {1, 3}, .state = "old"};
        int seen[3] = {0};

        assert_int_equal(saved_write(dirfd, &saved), 0);
        saved.cpus[0] = 3;
        saved.cpus[1] = 1;
        scarce_arm(refusals[i].call, refusals[i].n, refusals[i].error);
        int error = saved_write(dirfd, &saved);
        assert_true(scarce_disarm());
        assert_int_equal(error, refusals[i].told);
        assert_false(is_there("pstate-cpu1.new"));
        assert_int_equal(saved_each(dirfd, see, seen), 1);
        assert_int_equal(seen[1], 0);
        assert_int_equal(seen[2], refusals[i].in_place ? 3 : 1);
    }
}

static void
what_can_not_be_removed_is_told(void **state)
{
    const uint32_t cpus[] = {1};

    scarce_arm("unlink", 1, EROFS);
    assert_int_equal(saved_remove(dirfd, cpus, 1), -EROFS);
    assert_true(scarce_disarm());
    assert_int_equal(saved_remove(dirfd, cpus, 1), 0);
}

static void
a_driver_without_a_name_saves_nothing(void **state)
{
    struct saved saved = {.driver = "../x", .n_cpus = 1};

    assert_int_equal(saved_write(dirfd, &saved), -EINVAL);
    assert_false(is_there("pstate-cpu0"));
}

static void
files_of_others_are_passed_over(void **state)
{
    char name[32], driver[200] = "driver ";
    int seen[3] = {0};

    put_file(".hidden", "x");
    put_file("pstate-cpu0", "driver sim\ncpus 0\nstate s\nend\nmore\n");
    assert_int_equal(saved_each(dirfd, see, seen), 1);
    assert_int_equal(seen[1], 1);
    memset(driver + 7, 'd', 60);
    strcat(driver, "\ncpus 0\nstate s\nend\n");
    put_file("pstate-cpu0", driver);
    assert_int_equal(saved_each(dirfd, see, seen), 1);
    assert_int_equal(seen[1], 2);
    for (int i = 0; i < 4200; i++) {
        snprintf(name, sizeof name, "f%d", i);
        put_file(name, "");
    }
    memset(seen, 0, sizeof seen);
    int n = saved_each(dirfd, see, seen);
    assert_int_equal(n, 4096);
    assert_int_equal(seen[0], n);
}

/* How far the journal got. */

static struct journal_head
head(uint64_t id)
{
    struct journal_head one = {.starts = 3, .clean = true};

    one.written[JOURNAL_ROWS].id = id;
    one.written[JOURNAL_ROWS].chain.byte[5] = (uint8_t)id;
    return one;
}

static const char *
journal_path(void)
{
    static char path[100];

    snprintf(path, sizeof path, "%s/journal.db", dir);
    return path;
}

static void
a_mark_is_the_old_one_or_the_new_one(void **state)
{
    static const struct {
        const char *call;
        int error, told;
        uint64_t stands;
    } rows[] = {{"write", EIO, -EIO, 1},
                {"write", 0, -ENOSPC, 1},
                {"fsync", EIO, -EIO, 2}};

    for (size_t i = 0; i < 3; i++) {
        struct journalhead *file = NULL;
        struct journal_head was, one = head(1), two = head(2);
        char why[200] = "";

        unlinkat(dirfd, "journal.db.head", 0);
        assert_int_equal(
            journalhead_open(&file, journal_path(), &was, why, sizeof why), 1);
        assert_int_equal(journalhead_write(file, &one, true), 0);
        scarce_arm(rows[i].call, 1, rows[i].error);
        int error = journalhead_write(file, &two, true);
        assert_true(scarce_disarm());
        assert_int_equal(error, rows[i].told);
        journalhead_close(file);
        assert_int_equal(journalhead_read(journal_path(), &was), 0);
        assert_int_equal(was.written[JOURNAL_ROWS].id, rows[i].stands);
        assert_int_equal(was.written[JOURNAL_ROWS].chain.byte[5],
                         rows[i].stands);
        assert_true(was.clean);
        assert_int_equal(was.starts, 3);
    }
}

static void
marks_that_can_not_be_opened_are_told(void **state)
{
    static const struct {
        const char *call;
        int error, told;
    } rows[] = {{"memory", ENOMEM, -ENOMEM},
                {"open", EACCES, -EACCES},
                {"read", EIO, -EIO},
                {"write", EIO, -EIO},
                {"write", 0, -ENOSPC}};
    struct journalhead *file = NULL;
    struct journal_head was;
    char why[200], path[5000];

    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        why[0] = '\0';
        scarce_arm(rows[i].call, 1, rows[i].error);
        int error =
            journalhead_open(&file, journal_path(), &was, why, sizeof why);
        assert_true(scarce_disarm());
        assert_int_equal(error, rows[i].told);
        assert_true(why[0]);
        assert_null(file);
    }
    memset(path, 'x', sizeof path - 1);
    path[sizeof path - 1] = '\0';
    assert_int_equal(journalhead_read(path, &was), -ENAMETOOLONG);
    scarce_arm("read", 1, EIO);
    assert_int_equal(journalhead_read(journal_path(), &was), -EIO);
    assert_true(scarce_disarm());
}

/* Both slots are there; the newer one counts, and the older if that is cut. */
static void
a_damaged_slot_leaves_the_other(void **state)
{
    struct journalhead *file = NULL;
    struct journal_head was;
    char why[200] = "";

    assert_int_equal(
        journalhead_open(&file, journal_path(), &was, why, sizeof why), 1);
    for (uint64_t i = 1; i <= 3; i++) {
        struct journal_head one = head(i);
        assert_int_equal(journalhead_write(file, &one, false), 0);
    }
    journalhead_close(file);
    journalhead_close(NULL);
    assert_int_equal(journalhead_read(journal_path(), &was), 0);
    assert_int_equal(was.written[JOURNAL_ROWS].id, 3);
    int fd = openat(dirfd, "journal.db.head", O_RDWR);
    assert_int_equal(pwrite(fd, "x", 1, 512 + 20), 1); /* Of the third. */
    assert_int_equal(journalhead_read(journal_path(), &was), 0);
    assert_int_equal(was.written[JOURNAL_ROWS].id, 2);
    assert_int_equal(pwrite(fd, "x", 1, 3), 1);
    assert_int_equal(journalhead_read(journal_path(), &was), -EBADMSG);
    close(fd);
    assert_int_equal(
        journalhead_open(&file, journal_path(), &was, why, sizeof why), 1);
    assert_non_null(strstr(why, "was damaged"));
    journalhead_close(file);
}

static void
a_link_is_told_in_hexadecimal(void **state)
{
    char text[CHAIN_TEXT_SIZE];
    struct chain a, b = {{0}};

    memset(a.byte, 0xa5, sizeof a.byte);
    a.byte[0] = 0;
    a.byte[CHAIN_SIZE - 1] = 0x1f;
    chain_format(&a, text);
    assert_int_equal(strlen(text), 2 * CHAIN_SIZE);
    assert_memory_equal(text, "00a5a5", 6);
    assert_string_equal(text + 2 * CHAIN_SIZE - 4, "a51f");
    assert_false(chain_equal(&a, &b));
    chain_bytes(&a, "x", 1);
    chain_bytes(&b, "x", 1);
    assert_true(chain_equal(&a, &b));
}

#define IN_DIR(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int
main(void)
{
    const struct CMUnitTest tests[] = {
        IN_DIR(a_cap_s_record_is_the_old_one_or_the_new_one),
        IN_DIR(the_first_thing_that_failed_is_told),
        IN_DIR(a_record_that_is_none_is_damaged_and_clamps),
        IN_DIR(found_p_states_are_the_old_ones_or_the_new_ones),
        IN_DIR(what_can_not_be_removed_is_told),
        IN_DIR(a_driver_without_a_name_saves_nothing),
        IN_DIR(files_of_others_are_passed_over),
        IN_DIR(a_mark_is_the_old_one_or_the_new_one),
        IN_DIR(marks_that_can_not_be_opened_are_told),
        IN_DIR(a_damaged_slot_leaves_the_other),
        cmocka_unit_test(a_link_is_told_in_hexadecimal),
    };

    return cmocka_run_group_tests_name("records", tests, NULL, NULL);
}
