/* SPDX-License-Identifier: Apache-2.0 */
/* What mctl prints for people: columns that line up, units, "unknown" instead
 * of 0, and nothing in it that could drive a terminal. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "ctl/member.h"
#include "ctl/table.h"

static json_t *
parse(const char *text)
{
    json_t *json = json_loads(text, JSON_DECODE_ANY, NULL);

    assert_non_null(json);
    return json;
}

/* Prints the table and compares. */
static void
assert_prints(struct table *table, bool colour, const char *expected)
{
    char *said = NULL;
    size_t size;
    FILE *out = open_memstream(&said, &size);

    table_print(table, out, colour, 0);
    fclose(out);
    assert_string_equal(said, expected);
    free(said);
    table_destroy(table);
}

static void
columns_line_up_without_trailing_spaces(void **state)
{
    static const char *const heads[] = {"NAME", ">N", "WHAT", NULL};
    struct table *table = table_create(heads);

    table_cell(table, "a");
    table_cell(table, "%d", 1000);
    table_cell(table, "x");
    table_cell(table, "longer");
    table_cell(table, "%d", 7);
    table_cell(table, "y z");
    assert_prints(table, false,
                  "NAME       N  WHAT\n"
                  "a       1000  x\n"
                  "longer     7  y z\n");
}

static void
width_counts_characters_not_bytes(void **state)
{
    static const char *const heads[] = {"A", "B", NULL};
    struct table *table = table_create(heads);

    table_cell(table, "± 1 µs");
    table_cell(table, "x");
    table_cell(table, "123456");
    table_cell(table, "y");
    assert_prints(table, false, "A       B\n± 1 µs  x\n123456  y\n");
}

static void
empty_cells_are_dashes(void **state)
{
    static const char *const heads[] = {"A", "B", NULL};
    struct table *table = table_create(heads);

    table_cell(table, "%s", "");
    table_cell(table, "b");
    assert_prints(table, false, "A  B\n-  b\n");
}

static void
unknown_numbers_are_unknown_and_zero_is_zero(void **state)
{
    static const char *const heads[] = {"A", "B", "C", "D", NULL};
    struct table *table = table_create(heads);
    json_t *object = parse("{\"null\":null,\"zero\":0,\"real\":3.14159}");

    table_number(table, object, "null", 1, "W");
    table_number(table, object, "missing", 1, "W");
    table_number(table, object, "zero", 1, "W");
    table_number(table, object, "real", 2, "");
    assert_prints(table, false,
                  "A        B        C      D\n"
                  "unknown  unknown  0.0 W  3.14\n");
    json_decref(object);
}

static void
last_column_goes_on_below_itself_on_a_narrow_terminal(void **state)
{
    static const char *const heads[] = {"NAME", "WHAT", NULL};
    struct table *table = table_create(heads);
    char *said = NULL;
    size_t size;
    FILE *out = open_memstream(&said, &size);

    table_cell(table, "abc");
    table_cell(table, "± words that are too many for so few columns");
    table_cell(table, "d");
    table_cell(table, "a_word_that_can_not_be_broken_at_all stays");
    table_print(table, out, false, 30);
    table_print(table, out, false, 8);
    fclose(out);
    assert_string_equal(said,
                        "NAME  WHAT\n"
                        "abc   ± words that are too\n"
                        "      many for so few columns\n"
                        "d     a_word_that_can_not_be_broken_at_all stays\n"
                        "NAME  WHAT\n"
                        "abc   ± words that are too many for so few columns\n"
                        "d     a_word_that_can_not_be_broken_at_all stays\n");
    free(said);
    table_destroy(table);
}

static void
only_heads_are_coloured_and_only_if_asked(void **state)
{
    static const char *const heads[] = {"A", NULL};
    struct table *table = table_create(heads);

    table_cell(table, "x");
    assert_prints(table, true, "\033[1mA\033[0m\nx\n");
}

static void
cells_cannot_drive_the_terminal(void **state)
{
    static const char *const heads[] = {"A", "B", NULL};
    struct table *table = table_create(heads);

    table_cell(table, "x\033[2J\ny\x7f");
    table_cell(table, "\xc2\x9b"
                      "2J\xc2\xb5");
    /* What a cut left of a character, and what turns the line round. */
    table_cell(table, "a\xc2");
    table_cell(table, "\x9b"
                      "2J\xe2\x80\xae");
    assert_prints(table, false,
                  "A         B\nx?[2J?y?  ?2Jµ\na?        ?2J?\n");
}

static void
many_rows_are_all_printed(void **state)
{
    static const char *const heads[] = {"A", "B", "C", NULL};
    struct table *table = table_create(heads);
    char *said = NULL;
    size_t size, n_lines = 0;

    for (int i = 0; i < 3 * 1000; i++) {
        table_cell(table, "%d", i);
    }
    FILE *out = open_memstream(&said, &size);
    table_print(table, out, false, 0);
    fclose(out);
    for (size_t i = 0; i < size; i++) {
        n_lines += said[i] == '\n';
    }
    assert_int_equal(n_lines, 1001);
    assert_non_null(strstr(said, "\n2997  2998  2999\n"));
    free(said);
    table_destroy(table);
}

static void
power_says_its_source_and_quality(void **state)
{
    json_t *power = parse("{\"power_w\":35.25,\"quality\":\"model\","
                          "\"source\":\"powermodel\",\"age_s\":0.21}");
    char text[128];

    power_text(power, text, sizeof text);
    assert_string_equal(text, "35.2 W (model by powermodel, 0.2 s ago)");
    json_decref(power);
}

static void
power_nobody_knows_is_unknown(void **state)
{
    json_t *power = parse("{\"power_w\":null,\"quality\":\"unknown\"}");
    char text[128];

    power_text(power, text, sizeof text);
    assert_string_equal(text, "unknown");
    power_text(NULL, text, sizeof text);
    assert_string_equal(text, "unknown");
    json_decref(power);
}

static void
durations_have_a_unit_that_fits(void **state)
{
    static const struct {
        double seconds;
        const char *text;
    } rows[] = {{0, "0.0 s"},    {9.94, "9.9 s"},  {42, "42 s"},
                {119, "119 s"},  {180, "3.0 min"}, {7199, "120.0 min"},
                {7560, "2.1 h"}, {259200, "3.0 d"}};
    char text[32];

    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        duration_text(rows[i].seconds, text, sizeof text);
        assert_string_equal(text, rows[i].text);
    }
}

static void
values_of_a_reason_have_their_units(void **state)
{
    json_t *values =
        parse("[{\"name\":\"violations\",\"value\":12,\"unit\":\"\"},"
              "{\"name\":\"tolerated\",\"value\":1.5,\"unit\":\"%\"}]");
    char text[128];

    values_text(values, text, sizeof text);
    assert_string_equal(text, "violations 12, tolerated 1.5 %");
    values_text(values, text, 10);
    assert_string_equal(text, "violation");
    values_text(NULL, text, sizeof text);
    assert_string_equal(text, "");
    json_decref(values);
}

static void
details_are_told_without_lists_and_raw_times(void **state)
{
    json_t *detail =
        parse("{\"reason\":\"it went\",\"n\":3,\"ok\":false,\"losers\":[1,2],"
              "\"received_ns\":7022186079126,"
              "\"values\":[{\"name\":\"busy\",\"value\":42,\"unit\":\"%\"}]}");
    char text[128];

    detail_text(detail, text, sizeof text);
    assert_string_equal(text, "busy 42 %, reason it went, n 3, ok false");
    json_decref(detail);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(columns_line_up_without_trailing_spaces),
        cmocka_unit_test(width_counts_characters_not_bytes),
        cmocka_unit_test(empty_cells_are_dashes),
        cmocka_unit_test(unknown_numbers_are_unknown_and_zero_is_zero),
        cmocka_unit_test(last_column_goes_on_below_itself_on_a_narrow_terminal),
        cmocka_unit_test(only_heads_are_coloured_and_only_if_asked),
        cmocka_unit_test(cells_cannot_drive_the_terminal),
        cmocka_unit_test(many_rows_are_all_printed),
        cmocka_unit_test(power_says_its_source_and_quality),
        cmocka_unit_test(power_nobody_knows_is_unknown),
        cmocka_unit_test(durations_have_a_unit_that_fits),
        cmocka_unit_test(values_of_a_reason_have_their_units),
        cmocka_unit_test(details_are_told_without_lists_and_raw_times),
    };

    return cmocka_run_group_tests_name("ctl", tests, NULL, NULL);
}
