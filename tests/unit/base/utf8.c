/* SPDX-License-Identifier: Apache-2.0 */
/* Only UTF-8 is text, and only text without control characters is shown. */
#include "base/utf8.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static void
the_first_and_last_of_each_length_are_text(void **state)
{
    static const char *const cases[] = {"",
                                        "\x01",
                                        "\x7f",
                                        "\xc2\x80",
                                        "\xdf\xbf",
                                        "\xe0\xa0\x80",
                                        "\xed\x9f\xbf",
                                        "\xee\x80\x80",
                                        "\xef\xbf\xbf",
                                        "\xf0\x90\x80\x80",
                                        "\xf4\x8f\xbf\xbf"};

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        assert_true(utf8_is_text(cases[i], strlen(cases[i])));
    }
}

static void
what_unicode_forbids_is_no_text(void **state)
{
    static const char *const cases[] = {
        "\x80",             /* A continuation without a start. */
        "\xbf",             /* The last of these. */
        "\xc0\xaf",         /* "/" in two bytes. */
        "\xc1\xbf",         /* An overlong DEL. */
        "\xe0\x9f\xbf",     /* Overlong in three. */
        "\xf0\x8f\xbf\xbf", /* Overlong in four. */
        "\xed\xa0\x80",     /* A surrogate. */
        "\xf4\x90\x80\x80", /* Above U+10FFFF. */
        "\xf5\x80\x80\x80", /* No such start. */
        "\xff",             /* Never in UTF-8. */
        "\xc3",             /* Cut off. */
        "\xe2\x82",         /* Cut off. */
        "\xe2\x28\xa1",     /* A bad second. */
        "\xe2\x82\x28",     /* A bad third. */
    };

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        assert_false(utf8_is_text(cases[i], strlen(cases[i])));
        assert_false(utf8_is_printable(cases[i], strlen(cases[i])));
    }
    assert_false(utf8_is_text("a\0b", 3));
}

static void
every_code_point_is_judged_by_its_encoding(void **state)
{
    for (uint32_t code = 0x80; code < 0x120000; code++) {
        uint8_t text[4];
        size_t size;
        bool good = code <= 0x10ffff && (code < 0xd800 || code > 0xdfff);

        if (code < 0x800) {
            size = 2;
            text[0] = (uint8_t)(0xc0 | code >> 6);
        } else if (code < 0x10000) {
            size = 3;
            text[0] = (uint8_t)(0xe0 | code >> 12);
        } else {
            size = 4;
            text[0] = (uint8_t)(0xf0 | code >> 18);
        }
        for (size_t i = 1; i < size; i++) {
            text[i] = (uint8_t)(0x80 | (code >> (6 * (size - 1 - i)) & 0x3f));
        }
        assert_int_equal(utf8_is_text(text, size), good);
    }
}

static void
control_characters_are_not_printable(void **state)
{
    static const char *const cases[] = {
        "a\nb", "\033[2J", "tab\t", "\x7f", "\r", "\xc2\x80", "\xc2\x9b[2J"};

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        assert_true(utf8_is_text(cases[i], strlen(cases[i])));
        assert_false(utf8_is_printable(cases[i], strlen(cases[i])));
    }
}

/* A line of a log must not seem to say something else than it does. */
static void
what_turns_or_breaks_a_line_is_not_printable(void **state)
{
    static const char *const cases[] = {"\xe2\x80\xa8",
                                        "a\xe2\x80\xa9",
                                        "\xe2\x80\xaa",
                                        "\xe2\x80\xae"
                                        "b",
                                        "\xe2\x81\xa6",
                                        "a\xe2\x81\xa9"
                                        "b"};
    static const char *const beside[] = {"\xe2\x80\xa7", "\xe2\x80\xaf",
                                         "\xe2\x81\xa5", "\xe2\x81\xaa",
                                         "\xe2\x82\xa8"};

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        assert_true(utf8_is_text(cases[i], strlen(cases[i])));
        assert_false(utf8_is_printable(cases[i], strlen(cases[i])));
    }
    for (size_t i = 0; i < sizeof beside / sizeof *beside; i++) {
        assert_true(utf8_is_printable(beside[i], strlen(beside[i])));
    }
}

static void
letters_and_signs_are_printable(void **state)
{
    static const char *const cases[] = {
        "", "web-1 {a: \"b\"}", "größer", "\xc2\xa0", "名前", "𝄞"};

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        assert_true(utf8_is_printable(cases[i], strlen(cases[i])));
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_first_and_last_of_each_length_are_text),
        cmocka_unit_test(what_unicode_forbids_is_no_text),
        cmocka_unit_test(every_code_point_is_judged_by_its_encoding),
        cmocka_unit_test(control_characters_are_not_printable),
        cmocka_unit_test(what_turns_or_breaks_a_line_is_not_printable),
        cmocka_unit_test(letters_and_signs_are_printable),
    };

    return cmocka_run_group_tests_name("base/utf8", tests, NULL, NULL);
}
