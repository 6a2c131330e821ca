/* SPDX-License-Identifier: Apache-2.0 */
/* Text to numbers, CPU lists and names, and the one-value files of sysfs: what
 * isn't wholly the thing asked for is refused. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/prng.h"
#include "base/sysfs.h"
#include "base/text.h"

static void
numbers_fill_all_of_the_text(void **state)
{
    int64_t i = 7;
    uint64_t u = 7;

    (void)state;
    assert_int_equal(text_to_i64("-12", &i), 0);
    assert_int_equal(i, -12);
    assert_int_equal(text_to_i64("12x", &i), -EINVAL);
    assert_int_equal(text_to_i64("9223372036854775808", &i), -ERANGE);
    assert_int_equal(i, -12);
    assert_int_equal(text_to_u64("18446744073709551615", &u), 0);
    assert_int_equal(text_to_u64("-1", &u), -EINVAL);
    assert_true(u == UINT64_MAX);
}

static void
cpu_lists_are_read_as_the_kernel_writes_them(void **state)
{
    uint32_t cpus[8];

    (void)state;
    assert_int_equal(text_to_cpus("0-2,7", cpus, 8), 4);
    assert_int_equal(cpus[2], 2);
    assert_int_equal(cpus[3], 7);
    assert_int_equal(text_to_cpus("", cpus, 8), 0);
    assert_int_equal(text_to_cpus("0-8", cpus, 8), -E2BIG);
}

static void
broken_cpu_lists_are_refused(void **state)
{
    static const char *const bad[] = {"a",    "0,",   ",0",      "3-1",
                                      "0--1", "0- 1", "0-99999", "1;2"};
    uint32_t cpus[8];

    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        assert_true(text_to_cpus(bad[i], cpus, 8) < 0);
    }
}

static void
names_that_could_leave_a_directory_are_refused(void **state)
{
    (void)state;
    assert_true(text_is_name("web-1.example_org"));
    assert_false(text_is_name(""));
    assert_false(text_is_name(".."));
    assert_false(text_is_name("a/b"));
    assert_false(text_is_name("-f"));
    assert_false(text_is_name("a b"));
    assert_false(text_is_name("0123456789012345678901234567890123456789"
                              "0123456789012345678901234"));
}

static void
types_of_notes_are_names_with_slashes_between(void **state)
{
    static const char *const good[] = {
        "a", "org.example.sla-percentile/1", "_x/A.b/9", "a/b/c/d/e",
        "0123456789012345678901234567890/01234567890123456789012345678901"};
    static const char *const bad[] = {
        "",
        "/",
        "/a",
        "a/",
        "a//b",
        "a/../b",
        "a/./b",
        ".a",
        "a/.b",
        "-a",
        "a/-b",
        "a b",
        "a\n",
        "a:b",
        "caf\xc3\xa9",
        "a\\b",
        "a%2fb",
        "01234567890123456789012345678901/01234567890123456789012345678901"};

    (void)state;
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        assert_true(text_is_type(good[i]));
    }
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        assert_false(text_is_type(bad[i]));
    }
}

static void
a_cut_copy_is_said_and_terminated(void **state)
{
    char to[4];

    (void)state;
    assert_int_equal(text_copy(to, sizeof to, "abc"), 0);
    assert_int_equal(text_copy(to, sizeof to, "abcd"), -ENAMETOOLONG);
    assert_string_equal(to, "abc");
}

static void
one_value_files_are_read_and_written_below_their_root(void **state)
{
    char dir[] = "/tmp/mbroker-sysfs-XXXXXX", text[16];
    uint64_t value;

    (void)state;
    assert_non_null(mkdtemp(dir));
    int dirfd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int fd = openat(dirfd, "value", O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
    assert_true(fd >= 0);
    close(fd);
    assert_int_equal(sysfs_write(dirfd, "value", "2400000\n"), 0);
    assert_int_equal(sysfs_read(dirfd, "value", text, sizeof text), 7);
    assert_int_equal(sysfs_read_u64(dirfd, "value", &value), 0);
    assert_int_equal(value, 2400000);
    assert_int_equal(sysfs_write(dirfd, "value", "fast"), 0);
    assert_int_equal(sysfs_read_u64(dirfd, "value", &value), -EINVAL);
    assert_int_equal(sysfs_read(dirfd, "absent", text, 16), -ENOENT);
    assert_int_equal(sysfs_read(dirfd, "/etc/hostname", text, 16), -EINVAL);
    unlinkat(dirfd, "value", 0);
    close(dirfd);
    rmdir(dir);
}

static void
chance_repeats_from_its_seed_and_stays_in_range(void **state)
{
    struct prng a, b, c;
    double sum = 0;
    int differ = 0;

    (void)state;
    prng_init(&a, 1);
    prng_init(&b, 1);
    prng_init(&c, 2);
    for (int i = 0; i < 10000; i++) {
        uint64_t x = prng_u64(&a);
        assert_true(x == prng_u64(&b));
        differ += x != prng_u64(&c);
        assert_true(prng_below(&a, 3) < 3);
        prng_below(&b, 3);
        double real = prng_real(&a);
        assert_true(real >= 0 && real < 1);
        prng_real(&b);
        sum += prng_exp(&a, 5);
        prng_exp(&b, 5);
    }
    assert_true(differ > 9990);
    assert_true(sum / 10000 > 4.5 && sum / 10000 < 5.5);
}

static void
what_people_read_is_printable_and_whole(void **state)
{
    static const struct {
        const char *from, *to;
        size_t size;
    } cases[] = {
        {"plain", "plain", 16},
        {"plain", "pla", 4},
        {"", "", 1},
        {"a\nb\x1b[31m\x7f", "a?b?[31m?", 16},
        {"\xc3\xa9\xe2\x82\xac", "\xc3\xa9\xe2\x82\xac", 16},
        {"\xc3\xa9\xe2\x82\xac", "\xc3\xa9", 5},
        {"\xe2\x82", "??", 16},
        {"\xff\xc0\x80x", "???x", 16},
        {"\xc2\x9bx", "??x", 16},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char to[16];

        text_copy_printable(to, cases[i].size, cases[i].from);
        assert_string_equal(to, cases[i].to);
    }
}

static void
what_is_added_is_cut_at_the_end_and_said(void **state)
{
    char to[8] = "a";

    (void)state;
    assert_int_equal(text_append(to, sizeof to, "%d", 42), 0);
    assert_string_equal(to, "a42");
    assert_int_equal(text_append(to, sizeof to, "-%s", "xyz"), 0);
    assert_string_equal(to, "a42-xyz");
    assert_int_equal(text_append(to, sizeof to, "%s", ""), 0);
    assert_int_equal(text_append(to, sizeof to, "more"), -ENAMETOOLONG);
    assert_string_equal(to, "a42-xyz");
    to[5] = '\0';
    assert_int_equal(text_append(to, sizeof to, "more"), -ENAMETOOLONG);
    assert_string_equal(to, "a42-xmo");
}

static void
a_real_number_is_finite_whole_and_in_range(void **state)
{
    static const char *const bad[] = {"",    " 1",  "1 ",    "x",   "1x",
                                      "inf", "nan", "1e999", "-inf"};
    double value = 7;

    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        assert_int_equal(text_to_real(bad[i], &value), -EINVAL);
    }
    /* Too small to be told from zero is not zero. */
    assert_int_equal(text_to_real("1e-400", &value), -ERANGE);
    assert_true(value == 7);
    assert_int_equal(text_to_real("-1.5e2", &value), 0);
    assert_true(value == -150);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_real_number_is_finite_whole_and_in_range),
        cmocka_unit_test(what_people_read_is_printable_and_whole),
        cmocka_unit_test(numbers_fill_all_of_the_text),
        cmocka_unit_test(cpu_lists_are_read_as_the_kernel_writes_them),
        cmocka_unit_test(broken_cpu_lists_are_refused),
        cmocka_unit_test(names_that_could_leave_a_directory_are_refused),
        cmocka_unit_test(types_of_notes_are_names_with_slashes_between),
        cmocka_unit_test(a_cut_copy_is_said_and_terminated),
        cmocka_unit_test(what_is_added_is_cut_at_the_end_and_said),
        cmocka_unit_test(one_value_files_are_read_and_written_below_their_root),
        cmocka_unit_test(chance_repeats_from_its_seed_and_stays_in_range),
    };

    return cmocka_run_group_tests_name("text", tests, NULL, NULL);
}
