/* SPDX-License-Identifier: Apache-2.0 */
/* A file is replaced whole, and stays as it was if that fails. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/sysfs.h"
#include "base/wholefile.h"

struct place {
    char dir[32];
    int dirfd;
};

static int
set_up(void **state)
{
    struct place *place = calloc(1, sizeof *place);

    assert_non_null(place);
    strcpy(place->dir, "/tmp/wholefile.XXXXXX");
    assert_non_null(mkdtemp(place->dir));
    place->dirfd = open(place->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    assert_true(place->dirfd >= 0);
    *state = place;
    return 0;
}

static int
tear_down(void **state)
{
    struct place *place = *state;

    unlinkat(place->dirfd, "a", 0);
    unlinkat(place->dirfd, "a.new", 0);
    unlinkat(place->dirfd, "a.new", AT_REMOVEDIR);
    unlinkat(place->dirfd, "b", 0);
    close(place->dirfd);
    assert_int_equal(rmdir(place->dir), 0);
    free(place);
    return 0;
}

static void
assert_says(struct place *place, const char *name, const char *text)
{
    char found[64];

    assert_true(sysfs_read(place->dirfd, name, found, sizeof found) >= 0);
    assert_string_equal(found, text);
}

static void
text_takes_the_place_of_the_one_before(void **state)
{
    struct place *place = *state;
    struct stat st;

    assert_int_equal(wholefile_write(place->dirfd, "a", "a longer text"), 0);
    assert_says(place, "a", "a longer text");
    assert_int_equal(wholefile_write(place->dirfd, "a", "short"), 0);
    assert_says(place, "a", "short");
    assert_int_equal(fstatat(place->dirfd, "a", &st, 0), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    assert_int_equal(faccessat(place->dirfd, "a.new", F_OK, 0), -1);
}

static void
what_a_death_left_aside_is_overwritten(void **state)
{
    struct place *place = *state;
    int fd = openat(place->dirfd, "a.new", O_WRONLY | O_CREAT, 0600);

    assert_int_equal(write(fd, "half of a much longer text", 26), 26);
    close(fd);
    assert_int_equal(wholefile_write(place->dirfd, "a", "text"), 0);
    assert_says(place, "a", "text");
    assert_int_equal(faccessat(place->dirfd, "a.new", F_OK, 0), -1);
}

static void
failure_leaves_the_old_text(void **state)
{
    struct place *place = *state;

    assert_int_equal(wholefile_write(place->dirfd, "a", "old"), 0);
    assert_int_equal(mkdirat(place->dirfd, "a.new", 0700), 0);
    assert_int_equal(wholefile_write(place->dirfd, "a", "new"), -EISDIR);
    assert_says(place, "a", "old");
}

static void
link_that_somebody_put_there_is_not_followed(void **state)
{
    struct place *place = *state;

    assert_int_equal(wholefile_write(place->dirfd, "b", "theirs"), 0);
    assert_int_equal(symlinkat("b", place->dirfd, "a.new"), 0);
    assert_int_equal(wholefile_write(place->dirfd, "a", "ours"), -ELOOP);
    assert_says(place, "b", "theirs");
}

static void
name_that_is_too_long_is_refused(void **state)
{
    struct place *place = *state;
    char name[253];

    memset(name, 'x', sizeof name - 1);
    name[sizeof name - 1] = '\0';
    assert_int_equal(wholefile_write(place->dirfd, name, "text"),
                     -ENAMETOOLONG);
}

#define IN_PLACE(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int
main(void)
{
    const struct CMUnitTest tests[] = {
        IN_PLACE(text_takes_the_place_of_the_one_before),
        IN_PLACE(what_a_death_left_aside_is_overwritten),
        IN_PLACE(failure_leaves_the_old_text),
        IN_PLACE(link_that_somebody_put_there_is_not_followed),
        IN_PLACE(name_that_is_too_long_is_refused),
    };

    alarm(60);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
