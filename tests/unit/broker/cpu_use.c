/* SPDX-License-Identifier: Apache-2.0 */
/* Busy and available time of CPUs, from made /proc/stat files. */
#include "broker/platform/cpu_use.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#define TICK (10 * NSEC_PER_MSEC)

static char dir[64];
static int dirfd = -1;
static struct cpu_uses uses;

static int
setup(void **state)
{
    (void)state;
    strcpy(dir, "/tmp/mbroker-stat-XXXXXX");
    assert_non_null(mkdtemp(dir));
    dirfd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    assert_int_equal(cpu_uses_init(&uses, (uint32_t[]){0, 2}, 2), 0);
    uses.tick_ns = TICK;
    return dirfd < 0;
}

static int
teardown(void **state)
{
    char command[128];

    (void)state;
    cpu_uses_fini(&uses);
    close(dirfd);
    snprintf(command, sizeof command, "rm -rf %s", dir);
    return system(command);
}

static void
put_stat(const char *text)
{
    int fd = openat(dirfd, "stat", O_WRONLY | O_CREAT | O_TRUNC, 0600);

    assert_int_equal(write(fd, text, strlen(text)), (ssize_t)strlen(text));
    close(fd);
}

/* CPU 0 with these counts; CPU 1 isn't ours; CPU 2 always idle. */
static void
read_at(nsec_t now, int idle, int iowait, int steal)
{
    char text[512];

    snprintf(text, sizeof text,
             "cpu  9 9 9 9 9 9 9 9 0 0\n"
             "cpu0 7 7 7 %d %d 7 7 %d 0 0\n"
             "cpu1 1 1 1 1 1 1 1 1 0 0\n"
             "cpu2 0 0 0 %d 0 0 0 0 0 0\n"
             "intr 1 2 3\n",
             idle, iowait, steal, (int)(now / TICK));
    put_stat(text);
    assert_int_equal(cpu_uses_read(&uses, dirfd, now), 0);
}

static void
use_is(uint64_t busy_ns, uint64_t available_ns)
{
    assert_int_equal(uses.use[0].busy_ns, busy_ns);
    assert_int_equal(uses.use[0].available_ns, available_ns);
}

static void
what_was_before_the_first_reading_does_not_count(void **state)
{
    (void)state;
    read_at(100 * TICK, 50, 0, 0);
    use_is(0, 0);
}

static void
busy_is_wall_minus_idle_and_iowait(void **state)
{
    (void)state;
    read_at(100 * TICK, 50, 20, 0);
    read_at(200 * TICK, 80, 30, 0);
    use_is(60 * TICK, 100 * TICK);
    assert_int_equal(uses.use[1].busy_ns, 0);
    assert_int_equal(uses.use[1].available_ns, 100 * TICK);
}

static void
steal_is_neither_busy_nor_available(void **state)
{
    (void)state;
    read_at(100 * TICK, 50, 0, 5);
    read_at(200 * TICK, 80, 0, 35);
    use_is(40 * TICK, 70 * TICK);
}

static void
emulation_is_neither_busy_nor_available(void **state)
{
    (void)state;
    uses.use[0].stolen_ns = 500 * TICK;
    read_at(100 * TICK, 50, 0, 0);
    uses.use[0].stolen_ns = 558 * TICK;
    read_at(200 * TICK, 50, 0, 0);
    use_is(42 * TICK, 42 * TICK);
}

static void
iowait_taken_back_makes_nothing_fall(void **state)
{
    (void)state;
    read_at(100 * TICK, 0, 50, 0);
    read_at(200 * TICK, 100, 50, 0);
    read_at(300 * TICK, 205, 50, 0); /* More idle than wall: rounding. */
    use_is(0, 200 * TICK);
    read_at(400 * TICK, 205, 40, 0);
    use_is(105 * TICK, 300 * TICK);
    read_at(500 * TICK, 320, 40, 0);
    use_is(105 * TICK, 400 * TICK);
}

static void
a_cpu_that_was_away_was_not_busy(void **state)
{
    (void)state;
    read_at(100 * TICK, 50, 0, 0);
    read_at(200 * TICK, 140, 0, 0);
    use_is(10 * TICK, 100 * TICK);
    put_stat("cpu  1 1 1 1\ncpu2 0 0 0 1 0 0 0 0 0 0\n");
    assert_int_equal(cpu_uses_read(&uses, dirfd, 300 * TICK), 0);
    assert_false(uses.use[0].here);
    assert_true(uses.use[1].here);
    read_at(400 * TICK, 140, 0, 0);
    assert_true(uses.use[0].here);
    use_is(10 * TICK, 100 * TICK);
    read_at(500 * TICK, 140, 0, 0);
    use_is(110 * TICK, 200 * TICK);
}

static void
broken_files_move_nothing(void **state)
{
    static const char *const texts[] = {
        "",           "\n",
        "cpu",        "cpu0",
        "cpu0 1 2 3", "cpu0 a b c d e",
        "hello\n",    "cpu99999999999999999999 1 1 1 1 1 1 1 1\n",
    };

    (void)state;
    read_at(100 * TICK, 50, 0, 0);
    read_at(200 * TICK, 100, 0, 0);
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        put_stat(texts[i]);
        assert_int_equal(cpu_uses_read(&uses, dirfd, 300 * TICK), 0);
        use_is(50 * TICK, 100 * TICK);
        assert_false(uses.use[0].here);
    }
}

static void
a_missing_file_is_an_error(void **state)
{
    (void)state;
    assert_int_equal(cpu_uses_read(&uses, dirfd, 0), -ENOENT);
    assert_int_equal(cpu_uses_list(dirfd, (uint32_t[4]){0}, 4), -ENOENT);
}

static void
lists_the_cpus_there_are_up_to_a_limit(void **state)
{
    uint32_t cpus[4];

    (void)state;
    read_at(0, 0, 0, 0);
    assert_int_equal(cpu_uses_list(dirfd, cpus, 4), 3);
    assert_int_equal(cpus[0], 0);
    assert_int_equal(cpus[1], 1);
    assert_int_equal(cpus[2], 2);
    assert_int_equal(cpu_uses_list(dirfd, cpus, 2), 2);
}

static void
without_a_proc_the_told_use_counts(void **state)
{
    (void)state;
    cpu_uses_tell(&uses, (uint64_t[]){0, 0}, 0);
    uses.use[0].stolen_ns = 60;
    cpu_uses_tell(&uses, (uint64_t[]){30, 100}, 100);
    use_is(30, 40);
    assert_int_equal(uses.use[1].busy_ns, 100);
    assert_int_equal(uses.use[1].available_ns, 100);
}

static void
told_use_beyond_the_time_there_was_is_cut(void **state)
{
    (void)state;
    cpu_uses_tell(&uses, (uint64_t[]){0, 0}, 0);
    cpu_uses_tell(&uses, (uint64_t[]){500, 0}, 100);
    use_is(100, 100);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int
main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(what_was_before_the_first_reading_does_not_count),
        TEST(busy_is_wall_minus_idle_and_iowait),
        TEST(steal_is_neither_busy_nor_available),
        TEST(emulation_is_neither_busy_nor_available),
        TEST(iowait_taken_back_makes_nothing_fall),
        TEST(a_cpu_that_was_away_was_not_busy),
        TEST(broken_files_move_nothing),
        TEST(a_missing_file_is_an_error),
        TEST(lists_the_cpus_there_are_up_to_a_limit),
        TEST(without_a_proc_the_told_use_counts),
        TEST(told_use_beyond_the_time_there_was_is_cut),
    };

    return cmocka_run_group_tests_name("cpu_use", tests, NULL, NULL);
}
