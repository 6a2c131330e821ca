/* SPDX-License-Identifier: Apache-2.0 */
/* Locks between brokers, in a directory where anybody may have put anything:
 * what is no plain file of one name is refused, a file that goes away while it
 * is locked counts for nothing, and what a holder says is only its word. */
#include "broker/parent/lock.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "tests/scarce.h"

#define TRIES 16

static const struct lock_holder self = {.pid = 42, .run_dir = "/run/mine"};
static char dir[64], path[96], other[96];

static int
make_dir(void **state)
{
    (void)state;
    strcpy(dir, "/tmp/lock-XXXXXX");
    snprintf(path, sizeof path, "%s", mkdtemp(dir));
    strcat(path, "/lock");
    snprintf(other, sizeof other, "%s/other", dir);
    return 0;
}

static int
remove_dir(void **state)
{
    (void)state;
    scarce_disarm();
    unlink(path);
    unlink(other);
    return rmdir(dir);
}

static void
put(const char *at, const char *text)
{
    FILE *file = fopen(at, "w");

    assert_non_null(file);
    assert_true(fputs(text, file) >= 0);
    assert_int_equal(fclose(file), 0);
}

static void
assert_says(const char *at, const char *text)
{
    char is[400] = "";
    FILE *file = fopen(at, "r");

    assert_non_null(file);
    is[fread(is, 1, sizeof is - 1, file)] = '\0';
    fclose(file);
    assert_string_equal(is, text);
}

static int
take(struct lock_holder *holder)
{
    *holder = (struct lock_holder){.pid = -7};
    return lock_take(path, &self, holder);
}

static void
second_is_told_who_was_first(void **state)
{
    struct lock_holder holder;

    (void)state;
    int fd = take(&holder);
    assert_true(fd >= 0);
    assert_says(path, "42 /run/mine\n");
    assert_int_equal(take(&holder), -EWOULDBLOCK);
    assert_int_equal(holder.pid, 42);
    assert_int_equal(holder.uid, geteuid());
    assert_string_equal(holder.run_dir, "/run/mine");
    lock_drop(path, fd);
    assert_int_equal(access(path, F_OK), -1);
}

static void
what_is_no_plain_file_is_refused(void **state)
{
    struct lock_holder holder;

    (void)state;
    assert_int_equal(mkfifo(path, 0600), 0);
    assert_int_equal(take(&holder), -EINVAL);
    assert_int_equal(unlink(path), 0);

    put(other, "precious");
    assert_int_equal(symlink(other, path), 0);
    assert_int_equal(take(&holder), -ELOOP);
    assert_int_equal(unlink(path), 0);

    assert_int_equal(link(other, path), 0);
    assert_int_equal(take(&holder), -EINVAL);
    assert_says(other, "precious");
}

static void
what_can_not_be_looked_at_is_refused(void **state)
{
    struct lock_holder holder;

    (void)state;
    scarce_arm("fstat", 1, EIO);
    assert_int_equal(take(&holder), -EINVAL);
    assert_true(scarce_disarm());
}

static void
file_made_meanwhile_is_taken(void **state)
{
    struct lock_holder holder;

    (void)state;
    put(path, "1 /run/gone\n");
    scarce_arm("open", 1, ENOENT); /* It was not there when it was opened. */
    int fd = take(&holder);
    assert_true(scarce_disarm());
    assert_true(fd >= 0);
    assert_says(path, "42 /run/mine\n");
    lock_drop(path, fd);
}

static void
file_that_can_not_be_made_is_told(void **state)
{
    struct lock_holder holder;

    (void)state;
    scarce_arm("open", 2, ENOSPC);
    assert_int_equal(take(&holder), -ENOSPC);
    assert_true(scarce_disarm());
}

static void
file_of_another_user_is_locked_and_not_written(void **state)
{
    struct lock_holder holder;

    (void)state;
    put(path, "7 /run/theirs\n");
    scarce_arm("open", 1, EACCES);
    int fd = take(&holder);
    assert_true(scarce_disarm());
    assert_true(fd >= 0);
    assert_says(path, "7 /run/theirs\n");
    assert_int_equal(take(&holder), -EWOULDBLOCK);
    assert_int_equal(holder.pid, 7);
    lock_drop(path, fd);
}

static void
lock_that_can_not_be_had_is_told(void **state)
{
    struct lock_holder holder;

    (void)state;
    scarce_arm("flock", 1, ENOLCK);
    assert_int_equal(take(&holder), -ENOLCK);
    assert_true(scarce_disarm());
    assert_int_equal(holder.pid, -7); /* Nobody was found there. */
}

static void
file_gone_while_locking_is_tried_again(void **state)
{
    struct lock_holder holder;

    (void)state;
    scarce_arm("fstat", 2, EIO);
    int fd = take(&holder);
    assert_true(scarce_disarm());
    assert_true(fd >= 0);
    lock_drop(path, fd);

    for (unsigned i = 1; i <= TRIES; i++) {
        scarce_arm("fstat", 2 * i, EIO);
    }
    assert_int_equal(take(&holder), -EBUSY);
    assert_true(scarce_disarm());
}

static void
only_the_own_file_is_removed(void **state)
{
    struct lock_holder holder;

    (void)state;
    int fd = take(&holder);
    assert_true(fd >= 0);
    assert_int_equal(rename(path, other), 0);
    put(path, "9 /run/next\n");
    lock_drop(path, fd);
    assert_says(path, "9 /run/next\n");
}

/* The same number may be a file's on another file system. */
static void
nothing_is_removed_where_nothing_is(void **state)
{
    struct lock_holder holder;

    (void)state;
    int fd = take(&holder);
    assert_true(fd >= 0);
    lock_drop("/proc/self/stat", fd);
    assert_int_equal(access(path, F_OK), 0);
    fd = take(&holder);
    assert_true(fd >= 0);
    assert_int_equal(unlink(path), 0);
    lock_drop(path, fd);
    lock_drop(path, -1);
    assert_int_equal(access(path, F_OK), -1);
}

static void
holder_that_says_nothing_sensible_has_no_pid(void **state)
{
    static const char *const texts[] = {
        "",   "nothing",         "x /run/a\n", "-3 /run/a\n",
        "0 /run/a\n", "2147483647 /run/a\n", "99999999999999999999 /run/a\n"};
    struct lock_holder holder;

    (void)state;
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        put(path, texts[i]);
        int fd = open(path, O_RDONLY);
        assert_int_equal(flock(fd, LOCK_EX), 0);
        assert_int_equal(take(&holder), -EWOULDBLOCK);
        assert_int_equal(holder.pid, 0);
        assert_int_equal(holder.uid, geteuid());
        assert_string_equal(holder.run_dir, "");
        close(fd);
    }
}

static void
holders_words_are_made_printable(void **state)
{
    struct lock_holder holder;

    (void)state;
    put(path, "5 /run/\033[2Ja\nmore");
    int fd = open(path, O_RDONLY);
    assert_int_equal(flock(fd, LOCK_EX), 0);
    scarce_arm("fstat", 2, EIO);
    assert_int_equal(take(&holder), -EWOULDBLOCK);
    assert_true(scarce_disarm());
    assert_int_equal(holder.pid, 5);
    assert_int_equal(holder.uid, (uid_t)-1); /* Not known. */
    assert_null(strchr(holder.run_dir, '\033'));
    assert_null(strstr(holder.run_dir, "more"));
    close(fd);
}

static void
full_disk_keeps_nobody_from_locking(void **state)
{
    struct lock_holder holder;

    (void)state;
    scarce_arm("write", 1, ENOSPC);
    int fd = take(&holder);
    assert_true(scarce_disarm());
    assert_true(fd >= 0);
    assert_int_equal(take(&holder), -EWOULDBLOCK);
    assert_int_equal(holder.pid, 0);
    lock_drop(path, fd);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, make_dir, remove_dir)

int
main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(second_is_told_who_was_first),
        TEST(what_is_no_plain_file_is_refused),
        TEST(what_can_not_be_looked_at_is_refused),
        TEST(file_made_meanwhile_is_taken),
        TEST(file_that_can_not_be_made_is_told),
        TEST(file_of_another_user_is_locked_and_not_written),
        TEST(lock_that_can_not_be_had_is_told),
        TEST(file_gone_while_locking_is_tried_again),
        TEST(only_the_own_file_is_removed),
        TEST(nothing_is_removed_where_nothing_is),
        TEST(holder_that_says_nothing_sensible_has_no_pid),
        TEST(holders_words_are_made_printable),
        TEST(full_disk_keeps_nobody_from_locking),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
