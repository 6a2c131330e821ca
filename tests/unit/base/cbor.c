/* SPDX-License-Identifier: Apache-2.0 */
/* CBOR is written and read within its bounds, and what failed stays failed. */
#include "base/cbor.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/prng.h"

static void
numbers_are_written_in_their_shortest_form(void **state)
{
    /* From appendix A of RFC 8949. */
    static const struct {
        int64_t value;
        const char *bytes;
        size_t size;
    } cases[] = {
        {0, "\x00", 1},
        {23, "\x17", 1},
        {24, "\x18\x18", 2},
        {255, "\x18\xff", 2},
        {1000, "\x19\x03\xe8", 3},
        {1000000, "\x1a\x00\x0f\x42\x40", 5},
        {1000000000000, "\x1b\x00\x00\x00\xe8\xd4\xa5\x10\x00", 9},
        {-1, "\x20", 1},
        {-100, "\x38\x63", 2},
        {-1000, "\x39\x03\xe7", 3},
        {INT64_MIN, "\x3b\x7f\xff\xff\xff\xff\xff\xff\xff", 9},
    };

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        uint8_t data[16];
        struct cbor_out out;
        struct cbor_in in;

        cbor_out_init(&out, data, sizeof data);
        cbor_put_i64(&out, cases[i].value);
        assert_int_equal(out.used, cases[i].size);
        assert_memory_equal(data, cases[i].bytes, cases[i].size);
        cbor_in_init(&in, data, out.used);
        assert_true(cbor_get_i64(&in) == cases[i].value);
        assert_true(cbor_in_done(&in));
    }
}

static void
the_largest_numbers_survive(void **state)
{
    uint8_t data[32];
    struct cbor_out out;
    struct cbor_in in;

    cbor_out_init(&out, data, sizeof data);
    cbor_put_u64(&out, UINT64_MAX);
    cbor_put_i64(&out, INT64_MAX);
    cbor_in_init(&in, data, out.used);
    assert_true(cbor_get_u64(&in) == UINT64_MAX);
    assert_true(cbor_get_i64(&in) == INT64_MAX);
    assert_true(cbor_in_done(&in));
}

static void
a_number_beyond_int64_is_no_signed_number(void **state)
{
    static const char *const cases[] = {"\x1b\x80\0\0\0\0\0\0\0",
                                        "\x3b\x80\0\0\0\0\0\0\0"};

    for (size_t i = 0; i < 2; i++) {
        struct cbor_in in;

        cbor_in_init(&in, cases[i], 9);
        assert_true(cbor_get_i64(&in) == 0);
        assert_int_equal(in.error, -EPROTO);
    }
}

static void
text_bytes_and_counts_come_back(void **state)
{
    uint8_t data[64], raw[3] = {0, 0xff, 7};
    char text[8];
    struct cbor_out out;
    struct cbor_in in;

    cbor_out_init(&out, data, sizeof data);
    cbor_put_map(&out, 2);
    cbor_put_text(&out, "grün");
    cbor_put_array(&out, 1);
    cbor_put_bytes(&out, raw, sizeof raw);
    cbor_put_text(&out, "");
    cbor_put_bytes(&out, NULL, 0);
    assert_int_equal(out.error, 0);

    memset(raw, 0, sizeof raw);
    cbor_in_init(&in, data, out.used);
    assert_int_equal(cbor_get_map(&in, 2), 2);
    assert_int_equal(cbor_get_text(&in, text, sizeof text), 5);
    assert_string_equal(text, "grün");
    assert_int_equal(cbor_get_array(&in, 1), 1);
    cbor_get_bytes(&in, raw, sizeof raw);
    assert_int_equal(raw[1], 0xff);
    assert_int_equal(cbor_get_text(&in, text, 1), 0);
    cbor_get_bytes(&in, NULL, 0);
    assert_true(cbor_in_done(&in));
}

static void
what_does_not_fit_is_not_written(void **state)
{
    uint8_t data[8] = {0};
    struct cbor_out out;

    cbor_out_init(&out, data, 4);
    cbor_put_text(&out, "long");
    assert_int_equal(out.error, -ENOSPC);
    assert_int_equal(data[4], 0);
    cbor_put_u64(&out, 1);
    assert_int_equal(out.error, -ENOSPC);

    cbor_out_init(&out, data, 4);
    cbor_put_bytes(&out, "long", 4);
    assert_int_equal(out.error, -ENOSPC);
    cbor_out_init(&out, NULL, 0);
    cbor_put_map(&out, 0);
    assert_int_equal(out.error, -ENOSPC);
}

static void
a_failed_reader_stays_failed(void **state)
{
    struct cbor_in in;
    char text[4] = "old";
    uint8_t raw[1] = {9};

    cbor_in_init(&in, "\x61x\x01\x02", 4);
    assert_int_equal(cbor_get_u64(&in), 0); /* It is text. */
    assert_int_equal(in.error, -EPROTO);
    assert_int_equal(cbor_get_text(&in, text, sizeof text), 0);
    assert_string_equal(text, "old");
    cbor_get_bytes(&in, raw, 1);
    assert_int_equal(raw[0], 9);
    assert_int_equal(cbor_get_array(&in, 9), 0);
    assert_int_equal(cbor_get_map(&in, 9), 0);
    assert_int_equal(cbor_peek(&in, NULL), CBOR_KIND_NONE);
    cbor_skip(&in);
    assert_int_equal(in.used, 0);
    assert_false(cbor_in_done(&in));
}

static void
bytes_and_numbers_that_do_not_fit_are_refused(void **state)
{
    uint8_t raw[2] = {9, 9};
    struct cbor_in in;

    cbor_in_init(&in, "\x41x", 2); /* One byte, and two are wanted. */
    cbor_get_bytes(&in, raw, 2);
    assert_int_equal(in.error, -EPROTO);
    assert_int_equal(raw[0], 9);
    cbor_in_init(&in, "\x3b\xff\xff\xff\xff\xff\xff\xff\xff", 9);
    assert_int_equal(cbor_get_i64(&in), 0); /* Below INT64_MIN. */
    assert_int_equal(in.error, -EPROTO);
    cbor_in_init(&in, "\x61x", 2);
    assert_int_equal(cbor_get_i64(&in), 0); /* No number. */
    assert_int_equal(in.error, -EPROTO);
}

static void
text_too_long_for_its_place_is_refused(void **state)
{
    char text[4] = "old";
    struct cbor_in in;

    cbor_in_init(&in, "\x64long", 5);
    assert_int_equal(cbor_get_text(&in, text, sizeof text), 0);
    assert_int_equal(in.error, -EPROTO);
    assert_string_equal(text, "old");
}

static void
text_with_a_null_or_bad_utf8_is_refused(void **state)
{
    static const char *const cases[] = {"ca\0b", "\x62\xc3(", "\x62\xc0\x80",
                                        "\x63\xed\xa0\x80", "\x61\x80"};
    static const size_t sizes[] = {4, 3, 3, 4, 2};

    for (size_t i = 0; i < 5; i++) {
        char text[8] = "old";
        struct cbor_in in;

        cbor_in_init(&in, cases[i], sizes[i]);
        assert_int_equal(cbor_get_text(&in, text, sizeof text), 0);
        assert_int_equal(in.error, -EPROTO);
        assert_string_equal(text, "old");
    }
}

static void
counts_above_the_limit_are_refused(void **state)
{
    struct cbor_in in;

    cbor_in_init(&in, "\x83\x01\x02\x03", 4);
    assert_int_equal(cbor_get_array(&in, 2), 0);
    assert_int_equal(in.error, -EPROTO);
    cbor_in_init(&in, "\xa3\x01\x02\x03\x04\x05\x06", 7);
    assert_int_equal(cbor_get_map(&in, 2), 0);
    assert_int_equal(in.error, -EPROTO);
    cbor_in_init(&in, "\xbb\xff\xff\xff\xff\xff\xff\xff\xff", 9);
    assert_int_equal(cbor_get_map(&in, SIZE_MAX), SIZE_MAX);
}

static void
peeking_tells_kind_and_size_without_stepping(void **state)
{
    static const struct {
        const char *bytes;
        size_t size;
        enum cbor_kind kind;
        uint64_t value;
    } cases[] = {
        {"\x18\x64", 2, CBOR_KIND_UINT, 100},
        {"\x38\x63", 2, CBOR_KIND_NEGINT, 99},
        {"\x62ok", 3, CBOR_KIND_TEXT, 2},
        {"\x42\x01\x02", 3, CBOR_KIND_BYTES, 2},
        {"\x82", 1, CBOR_KIND_ARRAY, 2},
        {"\xa2", 1, CBOR_KIND_MAP, 2},
        {"\xf5", 1, CBOR_KIND_OTHER, 0},
        {"\x9f", 1, CBOR_KIND_OTHER, 0},
        {"\xff", 1, CBOR_KIND_NONE, 0},
        {"\x62o", 2, CBOR_KIND_NONE, 0},
        {"\x1c", 1, CBOR_KIND_NONE, 0},
        {"", 0, CBOR_KIND_NONE, 0},
    };

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        uint64_t value = 0;
        struct cbor_in in;

        cbor_in_init(&in, cases[i].bytes, cases[i].size);
        assert_int_equal(cbor_peek(&in, &value), cases[i].kind);
        if (cases[i].kind != CBOR_KIND_NONE) {
            assert_int_equal(value, cases[i].value);
        }
        assert_int_equal(in.used, 0);
        assert_int_equal(in.error, 0);
    }
}

static void
one_item_is_skipped_and_no_more(void **state)
{
    static const struct {
        const char *bytes;
        size_t size, skipped;
    } cases[] = {
        {"\x01\x02", 2, 1},
        {"\x82\x01\x02\x03", 4, 3},
        {"\xa1\x01\x82\x02\x03\x04", 6, 5},
        {"\x80\x01", 2, 1},
        {"\xa0\x01", 2, 1},
        {"\xc1\xc2\x01\x02", 4, 3},
        {"\x9f\x01\xff\x02", 4, 3},
        {"\xbf\x01\x02\xff\x02", 5, 4},
        {"\x5f\x41x\xff\x02", 5, 4},
        {"\x7f\xff\x02", 3, 2},
        {"\x82\x9f\xff\x9f\xff\x07", 6, 5},
        {"\xf9\x00\x00\x01", 4, 3},
        {"\xfa\x00\x00\x00\x00\x01", 6, 5},
    };

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct cbor_in in;

        cbor_in_init(&in, cases[i].bytes, cases[i].size);
        cbor_skip(&in);
        assert_int_equal(in.error, 0);
        assert_int_equal(in.used, cases[i].skipped);
    }
}

static void
broken_items_are_not_skipped(void **state)
{
    static const struct {
        const char *bytes;
        size_t size;
    } cases[] = {
        {"", 0},
        {"\xff", 1},             /* A break that ends nothing. */
        {"\x82\x01", 2},         /* A member is missing. */
        {"\xa1\x01", 2},         /* A value is missing. */
        {"\x82\x01\xff", 3},     /* A break in a list of known length. */
        {"\xbf\x01\xff", 3},     /* A key without a value. */
        {"\x9f\x01", 2},         /* No end. */
        {"\x5f\x61x\xff", 4},    /* Text among bytes. */
        {"\x7f\x01\xff", 3},     /* A number among text. */
        {"\x7f\x7f\xff\xff", 4}, /* Nested parts of text. */
        {"\xc1", 1},             /* A tag of nothing. */
        {"\xc1\xff", 2},         /* A tag of a break. */
        {"\x1f", 1},             /* A number of no known length. */
        {"\xe0", 1},             /* A simple value without meaning. */
        {"\x9b\xff\xff\xff\xff\xff\xff\xff\xff\x01", 10},
        {"\xbb\x80\x00\x00\x00\x00\x00\x00\x00\x01", 10}, /* 2n wraps to 0. */
    };

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct cbor_in in;

        cbor_in_init(&in, cases[i].bytes, cases[i].size);
        cbor_skip(&in);
        assert_int_equal(in.error, -EPROTO);
    }
}

static void
skipping_goes_sixteen_deep_in_any_kind(void **state)
{
    static const char openers[] = {'\x81', '\xa1', '\xc1', '\x9f', '\xbf'};

    for (size_t i = 0; i < sizeof openers; i++) {
        for (size_t depth = CBOR_DEPTH_MAX; depth <= CBOR_DEPTH_MAX + 1;
             depth++) {
            char data[8 * CBOR_DEPTH_MAX];
            size_t used = 0;
            struct cbor_in in;

            for (size_t n = 0; n < depth; n++) {
                data[used++] = openers[i];
                if (openers[i] == '\xa1' || openers[i] == '\xbf') {
                    data[used++] = 0; /* The key. */
                }
            }
            data[used++] = 0;
            for (size_t n = 0; n < depth && (openers[i] & 0x1f) == 0x1f; n++) {
                data[used++] = '\xff';
            }
            cbor_in_init(&in, data, used);
            cbor_skip(&in);
            assert_int_equal(in.error, depth > CBOR_DEPTH_MAX ? -EPROTO : 0);
            if (depth <= CBOR_DEPTH_MAX) {
                assert_true(cbor_in_done(&in));
            }
        }
    }
}

static void
skipping_random_bytes_stays_inside(void **state)
{
    struct prng prng;

    prng_init(&prng, 6);
    for (int round = 0; round < 50000; round++) {
        size_t size = prng_below(&prng, 40);
        uint8_t *data = malloc(size + 1);
        struct cbor_in in;

        for (size_t i = 0; i < size; i++) {
            data[i] = (uint8_t)prng_u64(&prng);
        }
        cbor_in_init(&in, data, size);
        cbor_skip(&in);
        assert_true(in.used <= size);
        assert_true(in.error || in.used > 0);
        free(data);
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(numbers_are_written_in_their_shortest_form),
        cmocka_unit_test(the_largest_numbers_survive),
        cmocka_unit_test(a_number_beyond_int64_is_no_signed_number),
        cmocka_unit_test(text_bytes_and_counts_come_back),
        cmocka_unit_test(what_does_not_fit_is_not_written),
        cmocka_unit_test(a_failed_reader_stays_failed),
        cmocka_unit_test(bytes_and_numbers_that_do_not_fit_are_refused),
        cmocka_unit_test(text_too_long_for_its_place_is_refused),
        cmocka_unit_test(text_with_a_null_or_bad_utf8_is_refused),
        cmocka_unit_test(counts_above_the_limit_are_refused),
        cmocka_unit_test(peeking_tells_kind_and_size_without_stepping),
        cmocka_unit_test(one_item_is_skipped_and_no_more),
        cmocka_unit_test(broken_items_are_not_skipped),
        cmocka_unit_test(skipping_goes_sixteen_deep_in_any_kind),
        cmocka_unit_test(skipping_random_bytes_stays_inside),
    };

    return cmocka_run_group_tests_name("base/cbor", tests, NULL, NULL);
}
