/* SPDX-License-Identifier: Apache-2.0 */
/* Messages survive the wire unchanged, and nothing else gets through it. */
#include "wire/msg.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/cbor.h"
#include "tests/unit/wire/fill.h"

#define ROUNDS 50

static uint8_t data[MSG_SIZE_MAX], again[MSG_SIZE_MAX];
static char why[MSG_WHY_SIZE];

static ssize_t
encode(const struct msg *msg)
{
    ssize_t size =
        msg_encode(msg, MSG_VERSION_MAX, data, sizeof data, why, sizeof why);

    if (size < 0) {
        print_message("# %s\n", why);
    }
    return size;
}

static int
decode(struct msg *out, unsigned type, size_t size)
{
    /* A heap copy of just that size, so that a sanitizer sees any read beyond
     * it. */
    uint8_t *copy = malloc(size ? size : 1);
    int error;

    memcpy(copy, data, size);
    why[0] = '\0';
    error = msg_decode(out, type, MSG_VERSION_MAX, copy, size, why, sizeof why);
    free(copy);
    return error;
}

/* Asserts that what is in 'data' is refused with exactly these words, and that
 * the output stays as it was. */
static void
refused(unsigned type, size_t size, const char *words)
{
    struct msg before, out;

    memset(&before, 0xa5, sizeof before);
    out = before;
    assert_int_equal(decode(&out, type, size), -EPROTO);
    assert_string_equal(why, words);
    assert_memory_equal(&out, &before, sizeof out);
}

static void
every_message_survives_the_wire(void **state)
{
    struct prng prng;
    struct msg in, out;

    prng_init(&prng, 1);
    for (size_t i = 0; fill_types[i]; i++) {
        for (int round = 0; round < ROUNDS; round++) {
            ssize_t size;

            fill_random(&in, fill_types[i], &prng);
            size = encode(&in);
            assert_true(size > 0);
            memset(&out, 0, sizeof out);
            assert_int_equal(decode(&out, fill_types[i], (size_t)size), 0);
            assert_memory_equal(&in, &out, sizeof in);
        }
    }
}

static void
the_largest_messages_fit_the_limit(void **state)
{
    struct msg in, out;

    for (size_t i = 0; fill_types[i]; i++) {
        ssize_t size;

        fill_largest(&in, fill_types[i]);
        size = encode(&in);
        assert_in_range(size, 1, MSG_SIZE_MAX);
        assert_int_equal(decode(&out, fill_types[i], (size_t)size), 0);
    }
}

static void
a_buffer_that_is_too_small_is_said(void **state)
{
    struct prng prng;
    struct msg in;
    ssize_t size;

    prng_init(&prng, 2);
    for (size_t i = 0; fill_types[i]; i++) {
        fill_random(&in, fill_types[i], &prng);
        size = encode(&in);
        for (ssize_t less = 0; less < size; less++) {
            assert_int_equal(
                msg_encode(&in, MSG_VERSION_MAX, again, (size_t)less, NULL, 0),
                -ENOSPC);
        }
    }
}

static void
a_message_cut_at_any_byte_is_refused(void **state)
{
    struct prng prng;
    struct msg in, out;

    prng_init(&prng, 3);
    for (size_t i = 0; fill_types[i]; i++) {
        ssize_t size;

        fill_random(&in, fill_types[i], &prng);
        size = encode(&in);
        for (ssize_t less = 0; less < size; less++) {
            assert_int_equal(decode(&out, fill_types[i], (size_t)less),
                             -EPROTO);
            assert_int_equal(strncmp(why, msg_name(fill_types[i]),
                                     strlen(msg_name(fill_types[i]))),
                             0);
        }
    }
}

static void
bytes_after_the_end_are_refused(void **state)
{
    struct msg in = {.type = MSG_BYE, .bye.reason = "done"};
    ssize_t size = encode(&in);

    data[size] = 0;
    data[size + 1] = 0;
    refused(MSG_BYE, (size_t)size + 2, "BYE 2 bytes after the end");
}

/* Every limit of every field, by the tables: one beyond it is refused, by name,
 * when sent and when received. */
static void
every_number_beyond_its_limit_is_refused_by_name(void **state)
{
    struct prng prng;
    struct msg in;
    int n_tried = 0;

    prng_init(&prng, 4);
    for (size_t i = 0; fill_types[i]; i++) {
        const struct fields *fields = msg_fields(fill_types[i]);

        for (size_t k = 0; k < fields->n; k++) {
            const struct field *field = &fields->field[k];
            uint64_t beyond[2];
            char start[MSG_WHY_SIZE];
            int n = 0;

            if (field->kind == FIELD_KIND_UNSIGNED) {
                if (field->low > 0) {
                    beyond[n++] = field->low - 1;
                }
                if (field->high < UINT64_MAX) {
                    beyond[n++] = field->high + 1;
                }
            } else if (field->kind == FIELD_KIND_SIGNED &&
                       (int64_t)field->low > INT64_MIN) {
                beyond[n++] = field->low - 1;
            }
            snprintf(start, sizeof start, "%s %s is ", fields->name,
                     field->name);
            while (n-- > 0) {
                fill_random(&in, fill_types[i], &prng);
                memcpy((uint8_t *)&in.hello + field->offset, &beyond[n], 8);
                assert_int_equal(msg_encode(&in, MSG_VERSION_MAX, data,
                                            sizeof data, why, sizeof why),
                                 -ERANGE);
                assert_int_equal(strncmp(why, start, strlen(start)), 0);
                n_tried++;
            }
        }
    }
    assert_true(n_tried > 50);
}

/* Writes a HELLO whose field 'key' is what 'put' writes. */
static size_t
hello_but(uint64_t key, void (*put)(struct cbor_out *))
{
    struct cbor_out out;

    cbor_out_init(&out, data, sizeof data);
    cbor_put_map(&out, 6);
    for (uint64_t i = 1; i <= 6; i++) {
        cbor_put_u64(&out, i);
        if (i == key) {
            put(&out);
        } else if (i == 3 || i == 5) {
            cbor_put_text(&out, "text");
        } else if (i == 4) {
            cbor_put_array(&out, 0);
        } else {
            cbor_put_u64(&out, 1);
        }
    }
    assert_int_equal(out.error, 0);
    return out.used;
}

static void
put_zero(struct cbor_out *out)
{
    cbor_put_u64(out, 0);
}

static void
put_65536(struct cbor_out *out)
{
    cbor_put_u64(out, 65536);
}

static void
put_minus_one(struct cbor_out *out)
{
    cbor_put_i64(out, -1);
}

static void
put_2_to_63(struct cbor_out *out)
{
    cbor_put_u64(out, (uint64_t)1 << 63);
}

static void
put_text(struct cbor_out *out)
{
    cbor_put_text(out, "text");
}

static void
put_bytes(struct cbor_out *out)
{
    cbor_put_bytes(out, "text", 4);
}

static void
put_65_characters(struct cbor_out *out)
{
    char text[66] = "";

    memset(text, 'x', 65);
    cbor_put_text(out, text);
}

static void
put_escape(struct cbor_out *out)
{
    cbor_put_text(out, "\033[2Jgone");
}

static void
put_latin1(struct cbor_out *out)
{
    cbor_put_text(out, "caf\xe9");
}

static void
put_17_texts(struct cbor_out *out)
{
    cbor_put_array(out, 17);
    for (int i = 0; i < 17; i++) {
        cbor_put_text(out, "probe");
    }
}

static void
put_a_number_among_texts(struct cbor_out *out)
{
    cbor_put_array(out, 2);
    cbor_put_text(out, "httplog");
    cbor_put_u64(out, 7);
}

static void
put_33_characters_as_second(struct cbor_out *out)
{
    cbor_put_array(out, 2);
    cbor_put_text(out, "httplog");
    cbor_put_text(out, "a-probe-with-a-name-of-33-letters");
}

static void
put_float(struct cbor_out *out)
{
    memcpy(out->data + out->used, "\xfb\0\0\0\0\0\0\0\0", 9);
    out->used += 9;
}

static void
put_endless_array(struct cbor_out *out)
{
    memcpy(out->data + out->used, "\x9f\xff", 2);
    out->used += 2;
}

static void
each_refusal_names_message_field_value_and_limit(void **state)
{
    static const struct {
        uint64_t key;
        void (*put)(struct cbor_out *);
        const char *words;
    } cases[] = {
        {1, put_zero, "HELLO version_min is 0, allowed 1..65535"},
        {2, put_65536, "HELLO version_max is 65536, allowed 1..65535"},
        {2, put_minus_one,
         "HELLO version_max is a number below 0, wanted a number"},
        {2, put_text, "HELLO version_max is text, wanted a number"},
        {2, put_float,
         "HELLO version_max is of no kind we take, wanted a number"},
        {3, put_65_characters, "HELLO software has 65 bytes, at most 64"},
        {3, put_bytes, "HELLO software is bytes, wanted text"},
        {3, put_escape, "HELLO software is not printable UTF-8"},
        {3, put_latin1, "HELLO software is not printable UTF-8"},
        {4, put_17_texts, "HELLO offers has 17 members, at most 16"},
        {4, put_a_number_among_texts,
         "HELLO offers[1] is a number, wanted text"},
        {4, put_33_characters_as_second,
         "HELLO offers[1] has 33 bytes, at most 32"},
        {4, put_endless_array,
         "HELLO offers is of no kind we take, wanted a list"},
        {6, put_minus_one,
         "HELLO time_ns is -1, allowed 0..9223372036854775807"},
        {6, put_2_to_63, "HELLO time_ns needs more than 64 bits"},
    };
    struct msg out;

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        refused(MSG_HELLO, hello_but(cases[i].key, cases[i].put),
                cases[i].words);
    }
    /* And the rest of that HELLO was good. */
    assert_int_equal(decode(&out, MSG_HELLO, hello_but(3, put_text)), 0);
}

static void
a_uuid_has_sixteen_bytes(void **state)
{
    struct cbor_out out;

    cbor_out_init(&out, data, sizeof data);
    cbor_put_map(&out, 1);
    cbor_put_u64(&out, 1);
    cbor_put_bytes(&out, "seventeen bytes..", 17);
    refused(MSG_VM_GONE, out.used, "VM_GONE vm has 17 bytes, not 16");
}

/* Writes a map of the keys given, each with the text "x". */
static size_t
bye_with_keys(size_t n, const uint64_t *keys)
{
    struct cbor_out out;

    cbor_out_init(&out, data, sizeof data);
    cbor_put_map(&out, n);
    for (size_t i = 0; i < n; i++) {
        cbor_put_u64(&out, keys[i]);
        cbor_put_text(&out, "x");
    }
    assert_int_equal(out.error, 0);
    return out.used;
}

static void
a_missing_field_is_named(void **state)
{
    refused(MSG_BYE, bye_with_keys(0, NULL), "BYE reason is missing");
    refused(MSG_BYE, bye_with_keys(1, (uint64_t[]){9}),
            "BYE reason is missing");
}

static void
a_repeated_key_is_refused(void **state)
{
    refused(MSG_BYE, bye_with_keys(2, (uint64_t[]){1, 1}),
            "BYE reason came twice");
    refused(MSG_BYE, bye_with_keys(3, (uint64_t[]){1, 2, 1}),
            "BYE reason came twice");
}

static void
unknown_keys_are_skipped_in_any_place(void **state)
{
    struct msg out;

    assert_int_equal(
        decode(&out, MSG_BYE, bye_with_keys(3, (uint64_t[]){7, 1, UINT64_MAX})),
        0);
    assert_string_equal(out.bye.reason, "x");
}

static void
too_many_pairs_are_refused(void **state)
{
    uint64_t keys[65];

    for (size_t i = 0; i < 65; i++) {
        keys[i] = i + 1;
    }
    refused(MSG_BYE, bye_with_keys(65, keys), "BYE has 65 pairs, at most 64");
}

/* A BYE with an unknown key 7 before its reason, whose value is 'raw'. */
static size_t
bye_with_raw(const char *raw, size_t size)
{
    memcpy(data, "\xa2\x07", 2);
    memcpy(data + 2, raw, size);
    memcpy(data + 2 + size, "\x01\x61x", 3);
    return size + 5;
}

static void
unknown_values_of_any_kind_are_skipped(void **state)
{
    static const struct {
        const char *raw;
        size_t size;
    } cases[] = {
        {"\xfb\x40\x09\x21\xfb\x54\x44\x2d\x18", 9}, /* A double. */
        {"\xf6", 1},                                 /* null */
        {"\xc1\x1a\x00\x00\x00\x01", 6},             /* A tagged number. */
        {"\x5f\x41\x01\x42\x02\x03\xff", 7},     /* Bytes of no known length. */
        {"\x7f\x61q\xff", 4},                    /* Text of no known length. */
        {"\x9f\x01\x9f\xff\xff", 5},             /* Lists of no known length. */
        {"\xbf\x01\x02\xff", 4},                 /* Such a map. */
        {"\xa1\x01\xa1\x02\x83\x01\x02\x80", 8}, /* Map in map, and list. */
        {"\x80", 1},
        {"\xa0", 1},
        {"\x60", 1},
    };
    struct msg out;

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        size_t size = bye_with_raw(cases[i].raw, cases[i].size);

        assert_int_equal(decode(&out, MSG_BYE, size), 0);
        assert_string_equal(out.bye.reason, "x");
    }
}

static void
nesting_is_followed_sixteen_deep_and_no_deeper(void **state)
{
    char deep[CBOR_DEPTH_MAX + 2];
    struct msg out;

    memset(deep, '\x81', sizeof deep);
    deep[CBOR_DEPTH_MAX] = '\x00';
    assert_int_equal(
        decode(&out, MSG_BYE, bye_with_raw(deep, CBOR_DEPTH_MAX + 1)), 0);
    deep[CBOR_DEPTH_MAX] = '\x81';
    deep[CBOR_DEPTH_MAX + 1] = '\x00';
    refused(MSG_BYE, bye_with_raw(deep, CBOR_DEPTH_MAX + 2),
            "BYE unknown key 7: its value is cut off, broken or too deep");
}

static void
what_is_no_map_is_refused(void **state)
{
    static const char *const cases[] = {"\x01",     "\x80", "\x61x", "\xf6",
                                        "\xbf\xff", "\xff", "\x1c"};

    refused(MSG_BYE, 0, "BYE is not a map");
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        memcpy(data, cases[i], strlen(cases[i]));
        refused(MSG_BYE, strlen(cases[i]), "BYE is not a map");
    }
}

static void
keys_must_be_numbers(void **state)
{
    memcpy(data, "\xa1\x61r\x61x", 5);
    refused(MSG_BYE, 5, "BYE byte 1: no key");
}

static void
a_message_over_the_size_limit_is_refused(void **state)
{
    static uint8_t big[MSG_SIZE_MAX + 1];
    struct msg out;

    assert_int_equal(
        msg_decode(&out, MSG_BYE, 1, big, sizeof big, why, sizeof why),
        -EPROTO);
    assert_string_equal(why, "BYE has 4097 bytes, at most 4096");
}

static void
a_type_that_is_none_is_refused_by_number(void **state)
{
    refused(999, 1, "message type 999 is none");
    refused(0, 1, "message type 0 is none");
    assert_string_equal(msg_name(999), "?");
    assert_string_equal(msg_name(MSG_GUEST_UP), "GUEST_UP");
}

static void
who_wants_no_words_gets_none(void **state)
{
    struct msg msg = {.type = MSG_BYE};
    char small[6] = "", none[4] = "old";

    assert_int_equal(msg_decode(&msg, 999, MSG_VERSION_MAX, "", 0, NULL, 0),
                     -EPROTO);
    assert_int_equal(msg_decode(&msg, 999, MSG_VERSION_MAX, "", 0, none, 0),
                     -EPROTO);
    assert_string_equal(none, "old");
    assert_true(msg_format(&msg, small, sizeof small) > sizeof small);
    assert_string_equal(small, "BYE r");
    assert_true(msg_format(&msg, small, 2) > 2);
    assert_string_equal(small, "B");
}

static void
our_own_text_is_checked_before_it_leaves(void **state)
{
    struct msg in = {.type = MSG_BYE, .bye.reason = "two\nlines"};

    assert_int_equal(msg_encode(&in, 1, data, sizeof data, why, sizeof why),
                     -ERANGE);
    assert_string_equal(why, "BYE reason is not printable UTF-8");
    memset(in.bye.reason, 'x', sizeof in.bye.reason);
    assert_int_equal(msg_encode(&in, 1, data, sizeof data, why, sizeof why),
                     -ERANGE);
    assert_string_equal(why, "BYE reason has more than 160 bytes");
}

/* Whatever is accepted must be a message we could have sent. */
static void
random_bytes_are_never_accepted_wrongly(void **state)
{
    struct prng prng;
    struct msg in, out;
    int n_accepted = 0;

    prng_init(&prng, 5);
    for (int round = 0; round < 100000; round++) {
        unsigned type = fill_types[prng_below(&prng, fill_n_types())];
        size_t size;

        fill_random(&in, type, &prng);
        size = (size_t)encode(&in);
        for (uint64_t i = prng_below(&prng, 4); i > 0; i--) {
            data[prng_below(&prng, size)] = (uint8_t)prng_u64(&prng);
        }
        if (decode(&out, type, size)) {
            assert_int_not_equal(strlen(why), 0);
            continue;
        }
        n_accepted++;
        assert_true(msg_encode(&out, MSG_VERSION_MAX, again, sizeof again, why,
                               sizeof why) > 0);
    }
    assert_in_range(n_accepted, 1000, 99000);
}

static void
the_newest_common_version_is_spoken(void **state)
{
    assert_int_equal(msg_version_common(1, 1), 1);
    assert_int_equal(msg_version_common(1, 65535), MSG_VERSION_MAX);
    assert_int_equal(msg_version_common(MSG_VERSION_MAX + 1, 65535), 0);
    assert_int_equal(msg_version_common(0, 0), 0);
    assert_int_equal(msg_version_common(2, 1), 0);
}

/* Writes a NOTE whose field 'key' is what 'put' writes; null: all are good. */
static size_t
note_but(uint64_t key, void (*put)(struct cbor_out *))
{
    struct cbor_out out;

    cbor_out_init(&out, data, sizeof data);
    cbor_put_map(&out, 5);
    for (uint64_t i = 1; i <= 5; i++) {
        cbor_put_u64(&out, i);
        if (i == key) {
            put(&out);
        } else if (i == 1) {
            cbor_put_text(&out, "org.example/1");
        } else if (i == 2) {
            cbor_put_bytes(&out, "\0\xff\033[2J\0", 7);
        } else {
            cbor_put_u64(&out, 7);
        }
    }
    assert_int_equal(out.error, 0);
    return out.used;
}

static void
put_slash_at_end(struct cbor_out *out)
{
    cbor_put_text(out, "org.example/");
}

static void
put_a_null_within(struct cbor_out *out)
{
    memcpy(out->data + out->used, "\x63\x61\x00\x62", 4);
    out->used += 4;
}

static void
put_nothing(struct cbor_out *out)
{
    cbor_put_text(out, "");
}

static void
put_too_many_bytes(struct cbor_out *out)
{
    static const uint8_t zero[MSG_NOTE_SIZE_MAX + 1];

    cbor_put_bytes(out, zero, sizeof zero);
}

static void
put_bytes_that_are_cut(struct cbor_out *out)
{
    memcpy(out->data + out->used, "\x59\x0f\x00", 3);
    out->used += 3;
}

static void
the_bytes_of_a_note_are_any_bytes(void **state)
{
    struct msg out;

    assert_int_equal(decode(&out, MSG_NOTE, note_but(0, NULL)), 0);
    assert_string_equal(out.note.type, "org.example/1");
    assert_int_equal(out.note.n_bytes, 7);
    assert_memory_equal(out.note.bytes, "\0\xff\033[2J\0", 7);
    assert_int_equal(out.note.number, 7);
}

static void
a_note_that_breaks_a_rule_is_refused_in_words(void **state)
{
    static const char no_type[] = "NOTE type is no type name: 1 to 64 bytes, "
                                  "names of A-Za-z0-9._- with / between";

    refused(MSG_NOTE, note_but(1, put_slash_at_end), no_type);
    refused(MSG_NOTE, note_but(1, put_nothing), no_type);
    refused(MSG_NOTE, note_but(1, put_a_null_within),
            "NOTE type is not printable UTF-8");
    refused(MSG_NOTE, note_but(1, put_escape),
            "NOTE type is no type name: 1 to 64 bytes, names of A-Za-z0-9._- "
            "with / between");
    refused(MSG_NOTE, note_but(1, put_65_characters),
            "NOTE type has 65 bytes, at most 64");
    refused(MSG_NOTE, note_but(1, put_bytes),
            "NOTE type is bytes, wanted text");
    refused(MSG_NOTE, note_but(2, put_text),
            "NOTE bytes is text, wanted bytes");
    refused(MSG_NOTE, note_but(2, put_too_many_bytes),
            "NOTE bytes has 3841 bytes, at most 3840");
    refused(MSG_NOTE, note_but(2, put_bytes_that_are_cut),
            "NOTE bytes is cut off or broken, wanted bytes");
    refused(MSG_NOTE, note_but(3, put_zero),
            "NOTE number is 0, allowed 1..18446744073709551615");
}

static void
an_older_version_has_no_notes(void **state)
{
    struct msg in, out;
    size_t size = note_but(0, NULL);

    assert_int_equal(msg_since(MSG_NOTE), 2);
    assert_int_equal(msg_since(MSG_HELLO), 1);
    assert_int_equal(msg_since(999), 0);
    assert_int_equal(msg_decode(&out, MSG_NOTE, 1, data, size, why, sizeof why),
                     -EPROTO);
    assert_string_equal(why, "NOTE came with version 2, and 1 is spoken");
    assert_int_equal(msg_decode(&in, MSG_NOTE, 2, data, size, why, sizeof why),
                     0);
    assert_int_equal(msg_encode(&in, 1, again, sizeof again, why, sizeof why),
                     -ERANGE);
}

static void
what_lies_behind_a_message_s_members_is_left_alone(void **state)
{
    struct msg in = {.type = MSG_BYE, .bye.reason = "done"}, out;
    ssize_t size = encode(&in);
    const uint8_t *at = (const uint8_t *)&out;

    memset(&out, 0xa5, sizeof out);
    assert_int_equal(decode(&out, MSG_BYE, (size_t)size), 0);
    for (size_t i = msg_struct_size(MSG_BYE); i < sizeof out; i++) {
        assert_int_equal(at[i], 0xa5);
    }
    assert_int_equal(msg_struct_size(999), 0);
}

static void
keys_rise_and_are_unique_in_every_message(void **state)
{
    for (size_t i = 0; fill_types[i]; i++) {
        const struct fields *fields = msg_fields(fill_types[i]);

        assert_true(fields->n <= FIELDS_MAX);
        for (size_t k = 1; k < fields->n; k++) {
            assert_true(fields->field[k - 1].key < fields->field[k].key);
        }
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_message_survives_the_wire),
        cmocka_unit_test(the_largest_messages_fit_the_limit),
        cmocka_unit_test(a_buffer_that_is_too_small_is_said),
        cmocka_unit_test(a_message_cut_at_any_byte_is_refused),
        cmocka_unit_test(bytes_after_the_end_are_refused),
        cmocka_unit_test(every_number_beyond_its_limit_is_refused_by_name),
        cmocka_unit_test(each_refusal_names_message_field_value_and_limit),
        cmocka_unit_test(a_uuid_has_sixteen_bytes),
        cmocka_unit_test(a_missing_field_is_named),
        cmocka_unit_test(a_repeated_key_is_refused),
        cmocka_unit_test(unknown_keys_are_skipped_in_any_place),
        cmocka_unit_test(too_many_pairs_are_refused),
        cmocka_unit_test(unknown_values_of_any_kind_are_skipped),
        cmocka_unit_test(nesting_is_followed_sixteen_deep_and_no_deeper),
        cmocka_unit_test(what_is_no_map_is_refused),
        cmocka_unit_test(keys_must_be_numbers),
        cmocka_unit_test(a_message_over_the_size_limit_is_refused),
        cmocka_unit_test(a_type_that_is_none_is_refused_by_number),
        cmocka_unit_test(who_wants_no_words_gets_none),
        cmocka_unit_test(our_own_text_is_checked_before_it_leaves),
        cmocka_unit_test(random_bytes_are_never_accepted_wrongly),
        cmocka_unit_test(the_newest_common_version_is_spoken),
        cmocka_unit_test(the_bytes_of_a_note_are_any_bytes),
        cmocka_unit_test(a_note_that_breaks_a_rule_is_refused_in_words),
        cmocka_unit_test(an_older_version_has_no_notes),
        cmocka_unit_test(what_lies_behind_a_message_s_members_is_left_alone),
        cmocka_unit_test(keys_rise_and_are_unique_in_every_message),
    };

    return cmocka_run_group_tests_name("wire/msg", tests, NULL, NULL);
}
