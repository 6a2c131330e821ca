/* SPDX-License-Identifier: Apache-2.0 */
/* Found states come back from disk as they were, or not at all. */
#include "broker/platform/saved.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/sysfs.h"

static char dir[64];
static int dirfd = -1;

static int
setup(void **state)
{
    (void)state;
    strcpy(dir, "/tmp/mbroker-saved-XXXXXX");
    assert_non_null(mkdtemp(dir));
    dirfd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    return dirfd < 0;
}

static int
teardown(void **state)
{
    char command[128];

    (void)state;
    close(dirfd);
    snprintf(command, sizeof command, "rm -rf %s", dir);
    return system(command);
}

static struct saved
example(void)
{
    struct saved saved = {.driver = "cpufreq",
                          .n_cpus = 3,
                          .cpus = {4, 2, 6},
                          .state = "governor=ondemand min=1 max=2"};

    return saved;
}

/* What saved_each() handed over. */
struct seen {
    int n, n_bad;
    char file[SAVED_FILE_SIZE];
    struct saved saved;
};

static void
see(void *ctx, const char *file, int error, const struct saved *saved)
{
    struct seen *seen = ctx;

    seen->n++;
    snprintf(seen->file, sizeof seen->file, "%.31s", file);
    if (error) {
        assert_null(saved);
        seen->n_bad++;
    } else {
        seen->saved = *saved;
    }
}

static struct seen
look(void)
{
    struct seen seen = {0};

    int n = saved_each(dirfd, see, &seen);

    assert_int_equal(n, seen.n);
    return seen;
}

static void
put_text(const char *name, const char *text, size_t size)
{
    int fd = openat(dirfd, name, O_WRONLY | O_CREAT | O_TRUNC, 0600);

    assert_int_equal(write(fd, text, size), (ssize_t)size);
    close(fd);
}

static void
what_was_saved_is_found_again(void **state)
{
    struct saved saved = example();

    (void)state;
    assert_int_equal(saved_write(dirfd, &saved), 0);
    struct seen seen = look();
    assert_int_equal(seen.n, 1);
    assert_int_equal(seen.n_bad, 0);
    assert_string_equal(seen.file, "pstate-cpu2");
    assert_string_equal(seen.saved.driver, "cpufreq");
    assert_string_equal(seen.saved.state, saved.state);
    assert_int_equal(seen.saved.n_cpus, 3);
    assert_memory_equal(seen.saved.cpus, saved.cpus, 3 * sizeof(uint32_t));
}

static void
the_largest_domain_and_longest_state_fit(void **state)
{
    struct saved saved = {.driver = "abcdefghijklmnopqrstuvwxyz012345",
                          .n_cpus = DOMAIN_CPUS_MAX};

    (void)state;
    memset(saved.state, 'x', sizeof saved.state - 1);
    for (uint32_t i = 0; i < DOMAIN_CPUS_MAX; i++) {
        saved.cpus[i] = 65535 - i;
    }
    assert_int_equal(saved_write(dirfd, &saved), 0);
    struct seen seen = look();
    assert_int_equal(seen.n_bad, 0);
    assert_int_equal(seen.saved.n_cpus, DOMAIN_CPUS_MAX);
    assert_string_equal(seen.saved.state, saved.state);
}

static void
a_second_write_replaces_the_first_whole(void **state)
{
    struct saved saved = example();

    (void)state;
    assert_int_equal(saved_write(dirfd, &saved), 0);
    strcpy(saved.state, "short");
    assert_int_equal(saved_write(dirfd, &saved), 0);
    struct seen seen = look();
    assert_int_equal(seen.n, 1);
    assert_string_equal(seen.saved.state, "short");
}

static void
removing_takes_that_domain_only(void **state)
{
    struct saved saved = example();
    uint32_t other[] = {9, 8};

    (void)state;
    assert_int_equal(saved_write(dirfd, &saved), 0);
    assert_int_equal(saved_remove(dirfd, other, 2), 0);
    assert_int_equal(look().n, 1);
    assert_int_equal(saved_remove(dirfd, saved.cpus, 3), 0);
    assert_int_equal(look().n, 0);
}

static void
removing_what_is_not_there_is_fine(void **state)
{
    (void)state;
    assert_int_equal(saved_remove(dirfd, (uint32_t[]){1}, 1), 0);
}

static void
a_state_of_two_lines_is_not_written(void **state)
{
    struct saved saved = example();

    (void)state;
    strcpy(saved.state, "one\nend");
    assert_int_equal(saved_write(dirfd, &saved), -EINVAL);
    assert_int_equal(look().n, 0);
}

static void
a_file_cut_at_any_byte_is_refused(void **state)
{
    struct saved saved = example();
    char text[512];

    (void)state;
    assert_int_equal(saved_write(dirfd, &saved), 0);
    int size = sysfs_read(dirfd, "pstate-cpu2", text, sizeof text);
    for (int cut = 0; cut < size; cut++) {
        put_text("pstate-cpu2", text, (size_t)cut);
        struct seen seen = look();
        assert_int_equal(seen.n, 1);
        assert_int_equal(seen.n_bad, 1);
    }
    put_text("pstate-cpu2", text, (size_t)size);
    assert_int_equal(look().n_bad, 0);
}

static void
nonsense_is_refused(void **state)
{
    static const char *const texts[] = {
        "driver cpufreq\ncpus \nstate x\nend\n",
        "driver cpufreq\ncpus 1 2 x\nstate x\nend\n",
        "driver cpufreq\ncpus 1  2\nstate x\nend\n",
        "driver cpufreq\ncpus -1\nstate x\nend\n",
        "driver cpufreq\ncpus 65536\nstate x\nend\n",
        "driver ../x\ncpus 1\nstate x\nend\n",
        "driver \ncpus 1\nstate x\nend\n",
        "cpus 1\ndriver cpufreq\nstate x\nend\n",
        "driver cpufreq\ncpus 1\nstate x\nend\nmore\n",
        "driver cpufreq\ncpus 1\nstate x\nend x\n",
        "\n\n\n\n",
    };

    (void)state;
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        put_text("pstate-cpu1", texts[i], strlen(texts[i]));
        assert_int_equal(look().n_bad, 1);
    }
}

static void
too_many_cpus_are_refused(void **state)
{
    char text[1024] = "driver cpufreq\ncpus 0";

    (void)state;
    for (int i = 1; i <= DOMAIN_CPUS_MAX; i++) {
        snprintf(text + strlen(text), sizeof text - strlen(text), " %d", i);
    }
    strcat(text, "\nstate x\nend\n");
    put_text("pstate-cpu0", text, strlen(text));
    assert_int_equal(look().n_bad, 1);
}

static void
a_gigantic_file_is_refused(void **state)
{
    char *text = calloc(1, 1 << 20);

    (void)state;
    memset(text, 'd', 1 << 20);
    memcpy(text, "driver ", 7);
    put_text("pstate-cpu0", text, 1 << 20);
    free(text);
    assert_int_equal(look().n_bad, 1);
}

static void
what_an_interrupted_write_left_is_removed(void **state)
{
    (void)state;
    put_text("pstate-cpu0.new", "driver", 6);
    assert_int_equal(look().n, 0);
    assert_int_equal(faccessat(dirfd, "pstate-cpu0.new", F_OK, 0), -1);
}

static void
a_link_in_the_way_is_not_followed(void **state)
{
    struct saved saved = example();

    (void)state;
    put_text("victim", "precious", 8);
    assert_int_equal(symlinkat("victim", dirfd, "pstate-cpu2.new"), 0);
    assert_true(saved_write(dirfd, &saved) < 0);
    char text[32];
    assert_int_equal(sysfs_read(dirfd, "victim", text, sizeof text), 8);
    assert_string_equal(text, "precious");
}

static void
a_bad_directory_is_an_error(void **state)
{
    struct saved saved = example();

    (void)state;
    assert_int_equal(saved_each(-1, see, NULL), -EBADF);
    assert_int_equal(saved_write(-1, &saved), -EBADF);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int
main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(what_was_saved_is_found_again),
        TEST(the_largest_domain_and_longest_state_fit),
        TEST(a_second_write_replaces_the_first_whole),
        TEST(removing_takes_that_domain_only),
        TEST(removing_what_is_not_there_is_fine),
        TEST(a_state_of_two_lines_is_not_written),
        TEST(a_file_cut_at_any_byte_is_refused),
        TEST(nonsense_is_refused),
        TEST(too_many_cpus_are_refused),
        TEST(a_gigantic_file_is_refused),
        TEST(what_an_interrupted_write_left_is_removed),
        TEST(a_link_in_the_way_is_not_followed),
        TEST(a_bad_directory_is_an_error),
    };

    return cmocka_run_group_tests_name("saved", tests, NULL, NULL);
}
