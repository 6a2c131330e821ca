/* SPDX-License-Identifier: Apache-2.0 */
/* Lines that programs in a guest send are notes, or refused in words. */
#include "wire/noteline.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static struct noteline note;
static struct request_fault fault;

static int
decode(const char *line)
{
    size_t size = strlen(line);
    char *copy = malloc(size ? size : 1);
    int error;

    /* Just that size, so that a sanitizer sees any read beyond it. */
    memcpy(copy, line, size);
    error = noteline_decode(&note, copy, size, &fault);
    free(copy);
    return error;
}

static void
refused(const char *line, const char *what, const char *why)
{
    struct noteline before;

    memset(&note, 0x5a, sizeof note);
    before = note;
    assert_int_equal(decode(line), -EPROTO);
    assert_string_equal(fault.what, what);
    if (strcmp(fault.why, why)) {
        fail_msg("\"%s\", not \"%s\"", fault.why, why);
    }
    assert_true(fault.next[0] != '\0');
    assert_memory_equal(&note, &before, sizeof note);
}

static void
text_and_base64_are_taken_as_they_are(void **state)
{
    assert_int_equal(
        decode("{\"type\":\"a.b/1\",\"text\":\"x\\u0000\xc3\xa9\"}"), 0);
    assert_string_equal(note.type, "a.b/1");
    assert_int_equal(note.size, 4);
    assert_memory_equal(note.bytes, "x\0\xc3\xa9", 4);
    assert_false(note.latest);
    assert_int_equal(
        decode("{\"base64\":\"AP8b\",\"latest\":true,\"type\":\"a\"}"), 0);
    assert_int_equal(note.size, 3);
    assert_memory_equal(note.bytes, "\0\xff\x1b", 3);
    assert_true(note.latest);
    assert_int_equal(decode("{\"type\":\"a\",\"base64\":\"\"}"), 0);
    assert_int_equal(note.size, 0);
}

static void
what_is_no_note_is_refused_in_words(void **state)
{
    refused("", "the line is not JSON",
            "byte 0: '[' or '{' expected near end "
            "of file");
    refused("[]", "the line is no note", "it is no JSON object");
    refused("{\"text\":\"x\"}", "a field is missing", "a note has a \"type\"");
    refused("{\"type\":\"a\"}", "what the note says is not clear",
            "a note has either \"text\" or \"base64\"");
    refused("{\"type\":\"a\",\"text\":\"\",\"base64\":\"\"}",
            "what the note says is not clear",
            "a note has either \"text\" or \"base64\"");
    refused("{\"type\":\"a b\",\"text\":\"x\"}", "the type's name is none",
            "\"a b\": 1 to 64 bytes, names of A-Za-z0-9._- with / between");
    refused("{\"type\":\"\\u001b[2J\",\"text\":\"x\"}",
            "the type's name is none",
            "\"?[2J\": 1 to 64 bytes, names of A-Za-z0-9._- with / between");
    refused("{\"type\":\"a\\u0000b\",\"text\":\"x\"}",
            "the type's name is none",
            "\"a\": 1 to 64 bytes, names of A-Za-z0-9._- with / between");
    refused("{\"type\":\"a\",\"text\":{}}", "a field has the wrong type",
            "\"text\" is text");
    refused("{\"type\":\"a\",\"text\":\"x\",\"latest\":\"yes\"}",
            "a field has the wrong type", "\"latest\" is true or false");
    refused("{\"type\":\"a\",\"text\":\"x\",\"vm\":\"web1\"}",
            "a field is unknown", "a note has no \"vm\"");
    refused("{\"type\":\"a\",\"base64\":\"AP8\"}", "the note is not base64",
            "\"base64\" is A-Za-z0-9+/ in fours, padded with =");
}

static void
sizes_are_bounded_before_anything_is_kept(void **state)
{
    static char line[NOTELINE_SIZE_MAX + 2];
    size_t used = (size_t)sprintf(line, "{\"type\":\"a\",\"text\":\"");

    memset(line + used, 'x', MSG_NOTE_SIZE_MAX);
    strcpy(line + used + MSG_NOTE_SIZE_MAX, "\"}");
    assert_int_equal(decode(line), 0);
    assert_int_equal(note.size, MSG_NOTE_SIZE_MAX);
    strcpy(line + used + MSG_NOTE_SIZE_MAX, "x\"}");
    refused(line, "the note is too large", "3841 bytes; at most 3840");
    memset(line, '[', 17);
    line[17] = '\0';
    refused(line, "the line is nested too deeply", "a note is one object");
    memset(line, ' ', NOTELINE_SIZE_MAX + 1);
    refused(line, "the line is too long",
            "16385 bytes; a line has at most 16384");
}

static void
base64_beyond_the_limit_is_told_by_its_bytes(void **state)
{
    static char line[NOTELINE_SIZE_MAX + 2];
    size_t used = (size_t)sprintf(line, "{\"type\":\"a\",\"base64\":\"");

    memset(line + used, 'A', MSG_NOTE_SIZE_MAX / 3 * 4 + 4);
    strcpy(line + used + MSG_NOTE_SIZE_MAX / 3 * 4 + 4, "\"}");
    refused(line, "the note is too large", "3843 bytes; at most 3840");
    refused("{\"type\":7,\"text\":\"x\"}", "a field has the wrong type",
            "\"type\" is text");
    refused("7", "the line is not JSON",
            "byte 1: '[' or '{' expected near '7'");
}

static void
what_is_encoded_is_decoded_again(void **state)
{
    struct noteline in = {.type = "org.example/1", .latest = true};
    char *line;

    for (size_t size = 0; size <= MSG_NOTE_SIZE_MAX;
         size += size < 8 ? 1 : 479) {
        in.size = size;
        for (size_t i = 0; i < size; i++) {
            in.bytes[i] = (uint8_t)(i * 7 + size);
        }
        line = noteline_encode(&in);
        assert_non_null(line);
        assert_int_equal(line[strlen(line) - 1], '\n');
        line[strlen(line) - 1] = '\0';
        assert_int_equal(decode(line), 0);
        assert_int_equal(note.size, size);
        assert_memory_equal(note.bytes, in.bytes, size);
        assert_string_equal(note.type, in.type);
        assert_true(note.latest);
        free(line);
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(text_and_base64_are_taken_as_they_are),
        cmocka_unit_test(what_is_no_note_is_refused_in_words),
        cmocka_unit_test(sizes_are_bounded_before_anything_is_kept),
        cmocka_unit_test(base64_beyond_the_limit_is_told_by_its_bytes),
        cmocka_unit_test(what_is_encoded_is_decoded_again),
    };

    return cmocka_run_group_tests_name("wire/noteline", tests, NULL, NULL);
}
