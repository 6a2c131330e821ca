/* SPDX-License-Identifier: Apache-2.0 */
/* Following a log file through all that is done to log files, with real ones.
 */
#include "probe/follow.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

struct bench {
    char dir[64], path[128], old[128];
    struct follow follow;
    char seen[65536]; /* The lines, each with '|' behind it. */
    uint64_t n_lines, last_offset;
};

static int
setup(void **state)
{
    struct bench *b = calloc(1, sizeof *b);

    strcpy(b->dir, "/tmp/mbroker-follow-XXXXXX");
    if (!mkdtemp(b->dir)) {
        return -1;
    }
    snprintf(b->path, sizeof b->path, "%s/access.log", b->dir);
    snprintf(b->old, sizeof b->old, "%s/access.log.1", b->dir);
    follow_init(&b->follow, b->path);
    *state = b;
    return 0;
}

static int
teardown(void **state)
{
    struct bench *b = *state;

    follow_fini(&b->follow);
    unlink(b->path);
    unlink(b->old);
    rmdir(b->path);
    rmdir(b->dir);
    free(b);
    return 0;
}

static void
append(const char *path, const char *text)
{
    int fd = open(path, O_WRONLY | O_APPEND | O_CREAT, 0600);

    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, strlen(text)), strlen(text));
    close(fd);
}

static void
on_line(void *ctx, const char *line, size_t size, uint64_t offset)
{
    struct bench *b = ctx;
    size_t used = strlen(b->seen);

    b->n_lines++;
    b->last_offset = offset;
    if (used + size + 2 < sizeof b->seen) {
        memcpy(b->seen + used, line, size);
        strcpy(b->seen + used + size, "|");
    }
}

/* Looks until there is nothing more at once. */
static int
look(struct bench *b)
{
    int result;

    do {
        result = follow_look(&b->follow, on_line, b);
    } while (result == 1);
    return result;
}

static void
look_times(struct bench *b, unsigned n)
{
    for (unsigned i = 0; i < n; i++) {
        look(b);
    }
}

static void
existing_file_is_followed_from_its_end(void **state)
{
    struct bench *b = *state;

    append(b->path, "old\n");
    follow_init(&b->follow, b->path);
    append(b->path, "new\n");
    assert_int_equal(look(b), 0);
    assert_string_equal(b->seen, "new|");
    assert_int_equal(b->last_offset, 4);
}

static void
line_begun_before_we_came_is_left_out(void **state)
{
    struct bench *b = *state;

    append(b->path, "old\nhalf a");
    follow_init(&b->follow, b->path);
    append(b->path, " line\nwhole\n");
    look(b);
    assert_string_equal(b->seen, "whole|");
    assert_int_equal(b->follow.n_long, 0);
    assert_int_equal(b->follow.n_cut, 0);
}

static void
file_that_appears_late_is_read_from_its_start(void **state)
{
    struct bench *b = *state;

    assert_int_equal(look(b), -ENOENT);
    assert_int_equal(look(b), -ENOENT);
    append(b->path, "first\nsecond\n");
    assert_int_equal(look(b), 0);
    assert_string_equal(b->seen, "first|second|");
}

static void
line_in_two_parts_is_one_line(void **state)
{
    struct bench *b = *state;

    look(b);
    append(b->path, "one, ");
    look(b);
    assert_string_equal(b->seen, "");
    append(b->path, "two\nthree");
    look(b);
    assert_string_equal(b->seen, "one, two|");
    append(b->path, "\n");
    look(b);
    assert_string_equal(b->seen, "one, two|three|");
}

static void
rename_and_create_reads_old_file_to_its_end_first(void **state)
{
    struct bench *b = *state;

    look(b);
    append(b->path, "a\n");
    look(b);
    append(b->path, "b\n");
    assert_int_equal(rename(b->path, b->old), 0);
    append(b->path, "d\n");
    look(b);               /* Reads b. */
    append(b->old, "c\n"); /* The writer had not noticed. */
    look_times(b, 6);
    assert_string_equal(b->seen, "a|b|c|d|");
    append(b->path, "e\n");
    look(b);
    assert_string_equal(b->seen, "a|b|c|d|e|");
    assert_int_equal(b->follow.n_files, 2);
    assert_int_equal(b->follow.n_cut, 0);
}

static void
old_file_is_left_only_after_two_quiet_looks(void **state)
{
    struct bench *b = *state;

    look(b);
    append(b->path, "a\n");
    look(b);
    rename(b->path, b->old);
    append(b->path, "new\n");
    assert_int_equal(follow_look(&b->follow, on_line, b), 0); /* Notices. */
    append(b->old, "b\n");
    assert_int_equal(follow_look(&b->follow, on_line, b), 0);
    assert_int_equal(follow_look(&b->follow, on_line, b), 0); /* Quiet. */
    append(b->old, "c\n");
    assert_int_equal(follow_look(&b->follow, on_line, b), 0);
    assert_int_equal(follow_look(&b->follow, on_line, b), 0);
    assert_int_equal(follow_look(&b->follow, on_line, b), 1); /* Left. */
    assert_int_equal(follow_look(&b->follow, on_line, b), 0);
    assert_string_equal(b->seen, "a|b|c|new|");
}

static void
rename_without_a_new_file_goes_on_in_the_old_one(void **state)
{
    struct bench *b = *state;

    look(b);
    append(b->path, "a\n");
    look(b);
    rename(b->path, b->old);
    look_times(b, 10);
    append(b->old, "b\n");
    assert_int_equal(look(b), 0);
    assert_string_equal(b->seen, "a|b|");
    append(b->path, "c\n");
    look_times(b, 4);
    assert_string_equal(b->seen, "a|b|c|");
}

static void
old_file_that_never_grows_quiet_is_left_at_last(void **state)
{
    struct bench *b = *state;

    look(b);
    append(b->path, "a\n");
    look(b);
    rename(b->path, b->old);
    append(b->path, "new\n");
    for (unsigned i = 0; i < FOLLOW_CHECK_LOOKS + FOLLOW_LEAVE_LOOKS + 2; i++) {
        append(b->old, "x\n");
        look(b);
    }
    assert_non_null(strstr(b->seen, "|new|"));
}

static void
copytruncate_is_read_from_the_start_again(void **state)
{
    struct bench *b = *state;

    look(b);
    append(b->path, "a long first line\n");
    look(b);
    assert_int_equal(truncate(b->path, 0), 0);
    append(b->path, "b\n");
    look_times(b, 2);
    assert_string_equal(b->seen, "a long first line|b|");
    assert_int_equal(b->follow.n_truncated, 1);
    assert_int_equal(b->follow.n_cut, 0);
}

static void
copytruncate_within_a_line_counts_the_lost_one(void **state)
{
    struct bench *b = *state;

    look(b);
    append(b->path, "a line\nhalf a li");
    look(b);
    assert_int_equal(truncate(b->path, 0), 0);
    append(b->path, "b\n");
    look_times(b, 2);
    assert_string_equal(b->seen, "a line|b|");
    assert_int_equal(b->follow.n_cut, 1);
}

static void
deleted_file_is_read_until_another_is_there(void **state)
{
    struct bench *b = *state;
    int fd;

    look(b);
    append(b->path, "a\n");
    look(b);
    fd = open(b->path, O_WRONLY | O_APPEND);
    unlink(b->path);
    assert_int_equal(look(b), 0);
    assert_int_equal(write(fd, "b\n", 2), 2);
    close(fd);
    look(b);
    assert_string_equal(b->seen, "a|b|");
    append(b->path, "c\n");
    look_times(b, 4);
    assert_string_equal(b->seen, "a|b|c|");
}

static void
old_file_that_ends_within_a_line_counts_it(void **state)
{
    struct bench *b = *state;

    look(b);
    append(b->path, "a\nhalf");
    look(b);
    rename(b->path, b->old);
    append(b->path, "b\n");
    look_times(b, 4);
    assert_string_equal(b->seen, "a|b|");
    assert_int_equal(b->follow.n_cut, 1);
}

/* Appends a line of 'size' bytes. */
static void
append_line(const char *path, size_t size)
{
    char *text = malloc(size + 2);

    memset(text, 'x', size);
    strcpy(text + size, "\n");
    append(path, text);
    free(text);
}

static void
longest_line_passes_and_one_longer_is_skipped_whole(void **state)
{
    struct bench *b = *state;

    look(b);
    append_line(b->path, FOLLOW_LINE_MAX);
    look(b);
    assert_int_equal(b->n_lines, 1);
    append_line(b->path, FOLLOW_LINE_MAX + 1);
    append(b->path, "next\n");
    look(b);
    assert_int_equal(b->n_lines, 2);
    assert_int_equal(b->follow.n_long, 1);
    assert_string_equal(b->seen + FOLLOW_LINE_MAX, "|next|");
}

static void
gigantic_line_in_pieces_is_one_refused_line(void **state)
{
    struct bench *b = *state;
    char piece[5001];

    memset(piece, 'y', 5000);
    piece[5000] = '\0';
    look(b);
    for (unsigned i = 0; i < 300; i++) {
        append(b->path, piece);
        look(b);
    }
    append(b->path, "\nnext\n");
    look(b);
    assert_string_equal(b->seen, "next|");
    assert_int_equal(b->follow.n_long, 1);
}

static void
look_is_bounded_and_says_that_there_is_more(void **state)
{
    struct bench *b = *state;
    int result, n_looks = 1;

    follow_look(&b->follow, on_line, b);
    for (unsigned i = 0; i < 200; i++) {
        append_line(b->path, 4095);
    }
    result = follow_look(&b->follow, on_line, b);
    assert_int_equal(result, 1);
    assert_true(b->n_lines <= FOLLOW_LOOK_MAX / 4096 + 8);
    while (result == 1) {
        result = follow_look(&b->follow, on_line, b);
        n_looks++;
    }
    assert_int_equal(b->n_lines, 200);
    assert_true(n_looks >= 3);
}

static void
directory_and_fifo_are_refused_until_a_file_is_there(void **state)
{
    struct bench *b = *state;

    assert_int_equal(mkdir(b->path, 0700), 0);
    assert_int_equal(look(b), -EINVAL);
    rmdir(b->path);
    assert_int_equal(mkfifo(b->path, 0600), 0);
    assert_int_equal(look(b), -EINVAL); /* And does not block. */
    unlink(b->path);
    append(b->path, "a\n");
    assert_int_equal(look(b), 0);
    assert_string_equal(b->seen, "a|");
}

static void
hole_left_by_a_writer_without_append_is_passed_over(void **state)
{
    struct bench *b = *state;
    int fd = open(b->path, O_WRONLY | O_CREAT, 0600);

    look(b);
    assert_int_equal(write(fd, "first\n", 6), 6);
    look(b);
    assert_int_equal(truncate(b->path, 0), 0);
    assert_int_equal(write(fd, "second\n", 7), 7); /* At offset 6. */
    look_times(b, 2);
    close(fd);
    assert_string_equal(b->seen, "first|second|");
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int
main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(existing_file_is_followed_from_its_end),
        CASE(line_begun_before_we_came_is_left_out),
        CASE(file_that_appears_late_is_read_from_its_start),
        CASE(line_in_two_parts_is_one_line),
        CASE(rename_and_create_reads_old_file_to_its_end_first),
        CASE(old_file_is_left_only_after_two_quiet_looks),
        CASE(rename_without_a_new_file_goes_on_in_the_old_one),
        CASE(old_file_that_never_grows_quiet_is_left_at_last),
        CASE(copytruncate_is_read_from_the_start_again),
        CASE(copytruncate_within_a_line_counts_the_lost_one),
        CASE(deleted_file_is_read_until_another_is_there),
        CASE(old_file_that_ends_within_a_line_counts_it),
        CASE(longest_line_passes_and_one_longer_is_skipped_whole),
        CASE(gigantic_line_in_pieces_is_one_refused_line),
        CASE(look_is_bounded_and_says_that_there_is_more),
        CASE(directory_and_fifo_are_refused_until_a_file_is_there),
        CASE(hole_left_by_a_writer_without_append_is_passed_over),
    };

    return cmocka_run_group_tests_name("probe/follow", tests, NULL, NULL);
}
