/* SPDX-License-Identifier: Apache-2.0 */
/* JSON in a fixed buffer: whatever is written, at whatever size, parses. */
#include "broker/engine/jsonline.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <jansson.h>

static void
members_come_out_as_they_went_in(void **state)
{
    char text[512];
    struct jsonline line;

    jsonline_begin(&line, text, sizeof text);
    jsonline_text(&line, "text", "say \"hi\"\\\n\x1b");
    jsonline_int(&line, "low", INT64_MIN);
    jsonline_uint(&line, "high", UINT64_MAX);
    jsonline_real(&line, "real", 0.25);
    jsonline_real(&line, "nan", NAN);
    jsonline_bool(&line, "yes", true);
    jsonline_null(&line, "nothing");
    assert_true(jsonline_open_array(&line, "list"));
    jsonline_uint(&line, NULL, 1);
    assert_true(jsonline_open_object(&line, NULL));
    jsonline_close(&line);
    jsonline_close(&line);
    jsonline_bool(&line, "last", false);
    jsonline_end(&line);
    assert_string_equal(
        text, "{\"text\":\"say \\\"hi\\\"\\\\\\u000a\\u001b\","
              "\"low\":-9223372036854775808,\"high\":9223372036854775807,"
              "\"real\":0.25,\"nan\":null,\"yes\":true,\"nothing\":null,"
              "\"list\":[1,{}],\"last\":false}");
}

static void
every_size_gives_an_object_that_parses(void **state)
{
    for (size_t size = 64; size < 600; size++) {
        char *text = malloc(size); /* So that a sanitizer sees its end. */
        struct jsonline line;
        jsonline_begin(&line, text, size);
        for (int i = 0; i < 5; i++) {
            jsonline_text(&line, i ? "b" : "a", "\"\"\"\"\"\"");
            if (jsonline_open_array(&line, "list")) {
                for (int j = 0; j < 3; j++) {
                    if (jsonline_open_object(&line, NULL)) {
                        jsonline_int(&line, "n", j * 1000);
                        jsonline_close(&line);
                    }
                }
                jsonline_close(&line);
            }
        }
        jsonline_end(&line);
        assert_true(strlen(text) < size);
        json_t *parsed = json_loads(text, 0, NULL);
        assert_non_null(parsed);
        /* What is not whole says so. */
        assert_int_equal(line.cut,
                         json_is_true(json_object_get(parsed, "cut")));
        if (size < 300 || size > 500) {
            assert_int_equal(line.cut, size < 300);
        }
        json_decref(parsed);
        free(text);
    }
}

static void
what_is_left_open_is_closed(void **state)
{
    char text[64];
    struct jsonline line;

    jsonline_begin(&line, text, sizeof text);
    jsonline_open_array(&line, "a");
    jsonline_open_object(&line, NULL);
    jsonline_end(&line);
    assert_string_equal(text, "{\"a\":[{}]}");
}

static void
text_cut_within_a_character_stays_json(void **state)
{
    char text[64];
    struct jsonline line;

    jsonline_begin(&line, text, sizeof text);
    jsonline_text(&line, "whole", "\xc3\xa9");
    jsonline_text(&line, "half", "a\xc3");
    jsonline_end(&line);
    json_t *parsed = json_loads(text, 0, NULL);
    assert_non_null(parsed);
    assert_string_equal(json_string_value(json_object_get(parsed, "whole")),
                        "\xc3\xa9");
    assert_string_equal(json_string_value(json_object_get(parsed, "half")),
                        "a?");
    json_decref(parsed);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(members_come_out_as_they_went_in),
        cmocka_unit_test(every_size_gives_an_object_that_parses),
        cmocka_unit_test(what_is_left_open_is_closed),
        cmocka_unit_test(text_cut_within_a_character_stays_json),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
