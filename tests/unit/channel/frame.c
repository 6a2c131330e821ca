/* SPDX-License-Identifier: Apache-2.0 */
/* Frames: what was written is read again, what was changed is not, and what
 * isn't all there yet is waited for. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/prng.h"
#include "wire/frame.h"

#define SYNC 0x5eed1234u

static const struct record sample = {
    .size = 40,
    .kind = RECORD_RELIABLE,
    .tag = 0xbeef,
    .sequence = 7,
    .attachment = 3,
};

/* Writes a preamble and the sample's frame.  Returns the size. */
static size_t
write_sample(uint8_t *out)
{
    uint8_t *payload = out + FRAME_PREAMBLE_SIZE + FRAME_HEADER_SIZE;
    frame_put_preamble(out, SYNC);
    for (uint32_t i = 0; i < sample.size; i++) {
        payload[i] = (uint8_t)(i * 3);
    }
    frame_put_header(out + FRAME_PREAMBLE_SIZE, SYNC, &sample, payload);
    return FRAME_PREAMBLE_SIZE + FRAME_HEADER_SIZE + sample.size;
}

/* Reads on until a record, garbage, or the end. */
static enum frame_found
read_all(struct frame_reader *reader, const uint8_t *data, size_t size,
         size_t *at, struct record *record)
{
    for (;;) {
        size_t used;
        const char *why = NULL;
        enum frame_found found =
            frame_read(reader, data + *at, size - *at, &used, record, &why);
        assert_true(used <= size - *at);
        *at += used;
        if (found == FRAME_FOUND_GARBAGE) {
            assert_non_null(why);
        }
        if (found != FRAME_FOUND_PREAMBLE) {
            return found;
        }
    }
}

static void
crc_is_castagnolis(void **state)
{
    /* The check value of the CRC catalogue, and RFC 3720's all zeroes. */
    static const uint8_t zeroes[32];
    assert_int_equal(frame_crc32c(0, "123456789", 9), 0xe3069283u);
    assert_int_equal(frame_crc32c(0, zeroes, 32), 0x8a9136aau);
}

static void
crc_may_be_taken_in_parts(void **state)
{
    uint8_t data[100];
    for (size_t i = 0; i < sizeof data; i++) {
        data[i] = (uint8_t)(i * 31);
    }
    uint32_t whole = frame_crc32c(0, data, sizeof data);
    for (size_t i = 0; i <= sizeof data; i++) {
        uint32_t part = frame_crc32c(0, data, i);
        assert_int_equal(frame_crc32c(part, data + i, sizeof data - i), whole);
    }
}

static void
frame_is_read_as_written(void **state)
{
    uint8_t data[256];
    size_t size = write_sample(data), at = 0;
    struct frame_reader reader;
    struct record record;
    frame_reader_init(&reader, 4096);
    assert_int_equal(read_all(&reader, data, size, &at, &record),
                     FRAME_FOUND_RECORD);
    assert_int_equal(at, size);
    assert_memory_equal(&record, &sample, sizeof record);
}

static void
frame_lies_in_these_bytes(void **state)
{
    /* docs/protocol.md, "Frames and rings", offset by offset. */
    uint8_t data[256];
    write_sample(data);
    assert_memory_equal(data, "mchan\0\0\1\x34\x12\xed\x5e", 12);
    const uint8_t *frame = data + FRAME_PREAMBLE_SIZE;
    assert_memory_equal(frame, "\x34\x12\xed\x5e", 4);
    assert_memory_equal(frame + 8, "\x28\0\0\0\1\0\xef\xbe\x07\0\0\0\x03\0\0\0",
                        16);
    uint32_t crc = frame_crc32c(0, frame + 8, 16 + sample.size);
    for (int i = 0; i < 4; i++) {
        assert_int_equal(frame[4 + i], crc >> 8 * i & 0xff);
    }
}

static void
any_split_is_put_together(void **state)
{
    uint8_t data[256];
    size_t size = write_sample(data);
    for (size_t split = 0; split < size; split++) {
        struct frame_reader reader;
        struct record record;
        size_t at = 0;
        frame_reader_init(&reader, 4096);
        assert_int_equal(read_all(&reader, data, split, &at, &record),
                         FRAME_FOUND_NOTHING);
        assert_int_equal(read_all(&reader, data, size, &at, &record),
                         FRAME_FOUND_RECORD);
        assert_int_equal(at, size);
    }
}

static void
each_changed_bit_of_a_frame_is_noticed(void **state)
{
    uint8_t data[256];
    size_t size = write_sample(data);
    for (size_t bit = 8 * FRAME_PREAMBLE_SIZE; bit < 8 * size; bit++) {
        struct frame_reader reader;
        struct record record;
        size_t at = 0;
        data[bit / 8] ^= (uint8_t)(1 << bit % 8);
        frame_reader_init(&reader, 4096);
        enum frame_found found = read_all(&reader, data, size, &at, &record);
        /* A larger size may make it wait for more; never is it taken. */
        assert_true(found == FRAME_FOUND_GARBAGE ||
                    (found == FRAME_FOUND_NOTHING &&
                     bit / 8 - FRAME_PREAMBLE_SIZE - 8 < 4));
        data[bit / 8] ^= (uint8_t)(1 << bit % 8);
    }
}

static void
each_changed_bit_of_a_preamble_is_noticed(void **state)
{
    uint8_t data[256];
    size_t size = write_sample(data);
    for (size_t bit = 0; bit < 8 * FRAME_PREAMBLE_SIZE; bit++) {
        struct frame_reader reader;
        struct record record;
        size_t at = 0;
        data[bit / 8] ^= (uint8_t)(1 << bit % 8);
        frame_reader_init(&reader, 4096);
        assert_int_equal(read_all(&reader, data, size, &at, &record),
                         FRAME_FOUND_NOTHING);
        assert_false(reader.synced);
        data[bit / 8] ^= (uint8_t)(1 << bit % 8);
    }
}

static void
leftovers_before_the_preamble_are_passed_over(void **state)
{
    /* The tail of an earlier attachment: another sync word's frame, cut. */
    uint8_t data[512], former[256];
    size_t size = write_sample(former);
    memcpy(data, former + FRAME_PREAMBLE_SIZE + 5, 50);
    size = 50 + write_sample(data + 50);
    struct frame_reader reader;
    struct record record;
    size_t at = 0;
    frame_reader_init(&reader, 4096);
    assert_int_equal(read_all(&reader, data, size, &at, &record),
                     FRAME_FOUND_RECORD);
    assert_int_equal(at, size);
    assert_int_equal(reader.n_searched, 50);
}

static void
leftovers_that_come_in_bits_are_counted_once(void **state)
{
    uint8_t data[512];
    struct frame_reader reader;
    struct record record;
    size_t at = 0;
    memset(data, 'm', 200);
    size_t size = 200 + write_sample(data + 200);
    frame_reader_init(&reader, 4096);
    for (size_t n = 0; n < size; n++) {
        assert_int_equal(read_all(&reader, data, n, &at, &record),
                         FRAME_FOUND_NOTHING);
        assert_true(n - at < FRAME_PREAMBLE_SIZE || reader.synced);
    }
    assert_int_equal(read_all(&reader, data, size, &at, &record),
                     FRAME_FOUND_RECORD);
    assert_int_equal(reader.n_searched, 200);
}

static void
search_for_the_preamble_is_bounded(void **state)
{
    static const uint8_t noise[4096] = {'m', 'c', 'h', 'm'};
    struct frame_reader reader;
    struct record record;
    size_t n_given = 0;
    enum frame_found found;
    frame_reader_init(&reader, 4096);
    do {
        size_t at = 0;
        found = read_all(&reader, noise, sizeof noise, &at, &record);
        n_given += at;
        assert_true(n_given <= FRAME_SEARCH_MAX + sizeof noise);
    } while (found == FRAME_FOUND_NOTHING);
    assert_int_equal(found, FRAME_FOUND_GARBAGE);
}

static void
frame_of_another_attachment_is_refused(void **state)
{
    uint8_t data[512];
    size_t size = write_sample(data), at = 0;
    struct frame_reader reader;
    struct record record;
    frame_put_preamble(data, SYNC + 1);
    frame_reader_init(&reader, 4096);
    assert_int_equal(read_all(&reader, data, size, &at, &record),
                     FRAME_FOUND_GARBAGE);
}

static void
size_is_refused_before_its_bytes_come(void **state)
{
    uint8_t data[256];
    write_sample(data);
    static uint8_t payload[4097];
    struct record record = sample;
    struct frame_reader reader;
    size_t at = 0, header = FRAME_PREAMBLE_SIZE + FRAME_HEADER_SIZE;
    record.size = 4097;
    frame_put_header(data + FRAME_PREAMBLE_SIZE, SYNC, &record, payload);
    frame_reader_init(&reader, 4096);
    assert_int_equal(read_all(&reader, data, header, &at, &record),
                     FRAME_FOUND_GARBAGE);
    /* At the limit it waits. */
    record.size = 4096;
    record.kind = RECORD_RELIABLE;
    frame_put_header(data + FRAME_PREAMBLE_SIZE, SYNC, &record, payload);
    frame_reader_init(&reader, 4096);
    at = 0;
    assert_int_equal(read_all(&reader, data, header, &at, &record),
                     FRAME_FOUND_NOTHING);
}

static void
random_bytes_never_make_a_frame(void **state)
{
    struct prng prng;
    uint8_t data[2048];
    prng_init(&prng, 42);
    for (int round = 0; round < 2000; round++) {
        size_t size = FRAME_PREAMBLE_SIZE;
        struct frame_reader reader;
        struct record record;
        size_t at = 0;
        frame_put_preamble(data, SYNC);
        while (size < sizeof data) {
            data[size++] = (uint8_t)prng_u64(&prng);
        }
        if (round % 2) { /* With the right sync word, it gets further. */
            memcpy(data + FRAME_PREAMBLE_SIZE, "\x34\x12\xed\x5e", 4);
            memset(data + FRAME_PREAMBLE_SIZE + 10, 0, 2);
        }
        frame_reader_init(&reader, 65536);
        assert_int_not_equal(read_all(&reader, data, sizeof data, &at, &record),
                             FRAME_FOUND_RECORD);
    }
}

/* HELLO. */

static const struct hello greeting = {
    .message_max = 8192,
    .session = UINT64_C(0x1122334455667788),
    .attachment = 9,
    .sent = 1000,
    .delivered = UINT64_C(1) << 40,
    .loan_bytes = UINT64_C(1) << 33,
    .unsettled = true,
    .mark = 8,
    .acked = 999,
    .agreed = 4096,
};

static void
hello_is_read_as_written(void **state)
{
    uint8_t data[HELLO_SIZE + 8] = {0};
    const char *why = NULL;
    struct hello got;
    memset(&got, 0, sizeof got);
    frame_put_hello(data, &greeting);
    assert_int_equal(frame_get_hello(&got, data, HELLO_SIZE, &why), 0);
    assert_int_equal(got.message_max, greeting.message_max);
    assert_int_equal(got.session, greeting.session);
    assert_int_equal(got.attachment, greeting.attachment);
    assert_int_equal(got.sent, greeting.sent);
    assert_int_equal(got.delivered, greeting.delivered);
    assert_int_equal(got.loan_bytes, greeting.loan_bytes);
    assert_true(got.unsettled);
    assert_int_equal(got.mark, greeting.mark);
    assert_int_equal(got.acked, greeting.acked);
    assert_int_equal(got.agreed, greeting.agreed);
    /* An earlier one said less. */
    assert_int_equal(frame_get_hello(&got, data, HELLO_SIZE_MIN, &why), 0);
    assert_int_equal(got.acked, 0);
    assert_int_equal(got.agreed, 0);
    /* A later version may say more. */
    assert_int_equal(frame_get_hello(&got, data, sizeof data, &why), 0);
}

static void
hello_out_of_range_is_refused(void **state)
{
    uint8_t data[HELLO_SIZE];
    const char *why;
    struct hello got, wrong;
    frame_put_hello(data, &greeting);
    for (size_t size = 0; size < HELLO_SIZE_MIN; size++) {
        assert_int_equal(frame_get_hello(&got, data, size, &why), -EPROTO);
    }
    data[0] = 0; /* The version. */
    assert_int_equal(frame_get_hello(&got, data, HELLO_SIZE, &why), -EPROTO);
    static const uint32_t sizes[] = {0, 255, 65537, UINT32_MAX};
    for (size_t i = 0; i < 4; i++) {
        wrong = greeting;
        wrong.message_max = sizes[i];
        frame_put_hello(data, &wrong);
        assert_int_equal(frame_get_hello(&got, data, HELLO_SIZE, &why),
                         -EPROTO);
    }
    wrong = greeting;
    wrong.sent = UINT64_MAX;
    frame_put_hello(data, &wrong);
    assert_int_equal(frame_get_hello(&got, data, HELLO_SIZE, &why), -EPROTO);
    wrong = greeting;
    wrong.acked = wrong.sent + 1;
    frame_put_hello(data, &wrong);
    assert_int_equal(frame_get_hello(&got, data, HELLO_SIZE, &why), -EPROTO);
    wrong = greeting;
    wrong.delivered = UINT64_MAX / 2 + 1;
    frame_put_hello(data, &wrong);
    assert_int_equal(frame_get_hello(&got, data, HELLO_SIZE, &why), -EPROTO);
}

static void
number_of_a_wrong_size_is_refused(void **state)
{
    uint8_t data[16];
    uint64_t got = 0;
    frame_put_u64(data, UINT64_C(0x0102030405060708));
    assert_int_equal(data[0], 8);
    assert_int_equal(frame_get_u64(&got, data, 8), 0);
    assert_int_equal(got, UINT64_C(0x0102030405060708));
    assert_int_equal(frame_get_u64(&got, data, 7), -EPROTO);
    assert_int_equal(frame_get_u64(&got, data, 16), -EPROTO);
}

static void
settled_is_read_as_written_and_nothing_else_is(void **state)
{
    const struct settled said = {.forgot = true,
                                 .message_max = 512,
                                 .sent = 7,
                                 .delivered = 9,
                                 .mark = 3};
    struct settled got = {.mark = 99};
    uint8_t data[SETTLED_SIZE + 1];
    const char *why = NULL;
    frame_put_settled(data, &said);
    assert_int_equal(frame_get_settled(&got, data, SETTLED_SIZE + 1, &why),
                     -EPROTO);
    assert_non_null(why);
    data[0] = 2; /* Neither forgotten nor not. */
    assert_int_equal(frame_get_settled(&got, data, SETTLED_SIZE, &why),
                     -EPROTO);
    assert_int_equal(got.mark, 99);
    frame_put_settled(data, &said);
    assert_int_equal(frame_get_settled(&got, data, SETTLED_SIZE, &why), 0);
    assert_true(got.forgot && got.message_max == 512 && got.sent == 7 &&
                got.delivered == 9 && got.mark == 3);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(crc_is_castagnolis),
        cmocka_unit_test(crc_may_be_taken_in_parts),
        cmocka_unit_test(frame_is_read_as_written),
        cmocka_unit_test(frame_lies_in_these_bytes),
        cmocka_unit_test(any_split_is_put_together),
        cmocka_unit_test(each_changed_bit_of_a_frame_is_noticed),
        cmocka_unit_test(each_changed_bit_of_a_preamble_is_noticed),
        cmocka_unit_test(leftovers_before_the_preamble_are_passed_over),
        cmocka_unit_test(leftovers_that_come_in_bits_are_counted_once),
        cmocka_unit_test(search_for_the_preamble_is_bounded),
        cmocka_unit_test(frame_of_another_attachment_is_refused),
        cmocka_unit_test(size_is_refused_before_its_bytes_come),
        cmocka_unit_test(random_bytes_never_make_a_frame),
        cmocka_unit_test(hello_is_read_as_written),
        cmocka_unit_test(hello_out_of_range_is_refused),
        cmocka_unit_test(number_of_a_wrong_size_is_refused),
        cmocka_unit_test(settled_is_read_as_written_and_nothing_else_is),
    };
    return cmocka_run_group_tests_name("channel/frame", tests, NULL, NULL);
}
