/* SPDX-License-Identifier: Apache-2.0 */
/* A session packed for another broker: it comes out as it went in, and nothing
 * that was cut, bent or made up is taken for one. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/prng.h"
#include "channel/handoff/parcel.h"
#include "wire/frame.h"

#define ROOM 4096

static const struct parcel head = {
    .session = 77,
    .attachment = 9,
    .mark = 8,
    .former = 5,
    .earlier = 3,
    .sent = 7,
    .acked = 2,
    .delivered = 12,
    .done = 11,
    .message_max = 1024,
    .repeated_to = 20,
};

/* Messages 3, 4, a skip of 5 and 6, and message 7, which is empty. */
static size_t
pack(uint8_t *data, size_t room, const struct parcel *parcel)
{
    const struct parcel_record records[] = {
        {.size = 5, .kind = PARCEL_MESSAGE, .tag = 1, .sequence = 3, .to = 3},
        {.size = 8, .kind = PARCEL_MESSAGE, .tag = 2, .sequence = 4, .to = 4},
        {.kind = PARCEL_SKIP, .sequence = 5, .to = 6},
        {.kind = PARCEL_MESSAGE, .tag = 3, .sequence = 7, .to = 7},
    };
    struct parcel_writer writer;
    parcel_begin(&writer, data, room, parcel);
    parcel_add(&writer, &records[0], "three");
    parcel_add(&writer, &records[1], "the four");
    parcel_add(&writer, &records[2], NULL);
    parcel_add(&writer, &records[3], NULL);
    return parcel_end(&writer);
}

static int
open_bytes(const uint8_t *data, size_t size)
{
    struct parcel_reader reader;
    const char *why = NULL;
    int error = parcel_open(&reader, data, size, &why);
    if (error) {
        assert_non_null(why);
    }
    return error;
}

/* Makes the checksum right again after somebody bent something. */
static void
seal(uint8_t *data, size_t size)
{
    uint32_t crc = frame_crc32c(0, data + 16, size - 16);
    memcpy(data + 12, &crc, sizeof crc);
}

static void
what_was_packed_comes_out(void **state)
{
    uint8_t data[ROOM];
    struct parcel_reader reader;
    struct parcel_record record;
    const char *why;
    size_t size = pack(data, sizeof data, &head);
    assert_int_equal(parcel_open(&reader, data, size, &why), 0);
    assert_memory_equal(&reader.head, &head, sizeof head);
    assert_memory_equal(parcel_next(&reader, &record), "three", 5);
    assert_int_equal(record.sequence, 3);
    assert_int_equal(record.tag, 1);
    assert_memory_equal(parcel_next(&reader, &record), "the four", 8);
    assert_non_null(parcel_next(&reader, &record));
    assert_int_equal(record.kind, PARCEL_SKIP);
    assert_int_equal(record.to, 6);
    assert_non_null(parcel_next(&reader, &record));
    assert_int_equal(record.sequence, 7);
    assert_int_equal(record.size, 0);
    assert_null(parcel_next(&reader, &record));
}

static void
too_little_room_tells_how_much_is_needed(void **state)
{
    uint8_t data[ROOM];
    size_t size = pack(data, sizeof data, &head);
    for (size_t room = 0; room < size; room++) {
        memset(data, 0xee, sizeof data);
        assert_int_equal(pack(data, room, &head), size);
        for (size_t i = room; i < sizeof data; i++) {
            assert_int_equal(data[i], 0xee);
        }
    }
    assert_int_equal(pack(NULL, 0, &head), size);
}

static void
every_wrong_bit_is_noticed(void **state)
{
    uint8_t data[ROOM];
    size_t size = pack(data, sizeof data, &head);
    for (size_t bit = 0; bit < 8 * size; bit++) {
        data[bit / 8] ^= (uint8_t)(1u << bit % 8);
        assert_int_equal(open_bytes(data, size), -EPROTO);
        data[bit / 8] ^= (uint8_t)(1u << bit % 8);
    }
    assert_int_equal(open_bytes(data, size), 0);
}

static void
a_cut_or_longer_one_is_refused(void **state)
{
    uint8_t data[ROOM];
    size_t size = pack(data, sizeof data, &head);
    for (size_t cut = 0; cut < size; cut++) {
        assert_int_equal(open_bytes(data, cut), -EPROTO);
    }
    memset(data + size, 0, 8);
    assert_int_equal(open_bytes(data, size + 8), -EPROTO);
}

/* The length at its head, and a checksum that fits. */
static void
say_size(uint8_t *data, size_t size)
{
    uint32_t said = (uint32_t)size;
    memcpy(data + 8, &said, sizeof said);
    seal(data, size);
}

static void
a_longer_one_is_refused_also_by_its_own_word(void **state)
{
    uint8_t data[ROOM];
    size_t size = pack(data, sizeof data, &head);
    memset(data + size, 0, 8);
    say_size(data, size + 8);
    assert_int_equal(open_bytes(data, size + 8), -EPROTO);
    say_size(data, size);
    assert_int_equal(open_bytes(data, size), 0);
}

/* The message's bytes are all there, and the zeros behind them are not. */
static void
a_message_without_its_zeros_is_refused(void **state)
{
    const struct parcel_record record = {
        .size = 5, .kind = PARCEL_MESSAGE, .sequence = 3, .to = 3};
    struct parcel one = head;
    struct parcel_writer writer;
    uint8_t data[ROOM];
    one.sent = 3;
    parcel_begin(&writer, data, sizeof data, &one);
    parcel_add(&writer, &record, "three");
    size_t size = parcel_end(&writer);
    assert_int_equal(open_bytes(data, size), 0);
    for (size_t cut = 1; cut <= 4; cut++) {
        say_size(data, size - cut);
        assert_int_equal(open_bytes(data, size - cut), -EPROTO);
    }
}

/* Whoever makes one up knows how to make its checksum too. */
static void
impossible_heads_are_refused(void **state)
{
    struct parcel wrong[14];
    for (size_t i = 0; i < 14; i++) {
        wrong[i] = head;
    }
    wrong[0].session = 0;
    wrong[1].attachment = 0;
    wrong[2].mark = 0;
    wrong[3].acked = head.acked + 1;
    wrong[4].attachment = UINT32_MAX;
    wrong[5].acked = head.sent + 1;
    wrong[6].sent = UINT64_MAX;
    wrong[7].done = head.delivered + 1;
    wrong[8].delivered = UINT64_MAX;
    wrong[9].message_max = 1;
    wrong[10].message_max = UINT32_MAX;
    wrong[11].acked = head.acked - 1; /* Message 2 would be missing. */
    wrong[12].sent = head.sent + 1;   /* And here message 8. */
    wrong[13].sent = head.sent - 1;
    uint8_t data[ROOM];
    for (size_t i = 0; i < 14; i++) {
        size_t size = pack(data, sizeof data, &wrong[i]);
        assert_int_equal(open_bytes(data, size), -EPROTO);
    }
}

static void
impossible_messages_are_refused(void **state)
{
    static const struct parcel one = {.session = 1,
                                      .attachment = 1,
                                      .mark = 1,
                                      .sent = 1,
                                      .message_max = 256};
    const struct parcel_record wrong[] = {
        {.size = 257, .kind = PARCEL_MESSAGE, .sequence = 1, .to = 1},
        {.size = 4, .kind = 0, .sequence = 1, .to = 1},
        {.size = 4, .kind = 3, .sequence = 1, .to = 1},
        {.size = 4, .kind = PARCEL_SKIP, .sequence = 1, .to = 1},
        {.kind = PARCEL_SKIP, .tag = 1, .sequence = 1, .to = 1},
        {.size = 4, .kind = PARCEL_MESSAGE, .sequence = 0, .to = 1},
        {.size = 4, .kind = PARCEL_MESSAGE, .sequence = 1, .to = 2},
        {.size = 4, .kind = PARCEL_MESSAGE, .sequence = 1, .to = 0},
        {.kind = PARCEL_SKIP, .sequence = 1, .to = UINT64_MAX},
        {.kind = PARCEL_SKIP, .sequence = 1, .to = 0},
    };
    static const char bytes[512];
    uint8_t none[4] = {0};
    assert_int_equal(open_bytes(none, 4), -EPROTO);
    uint8_t data[ROOM];
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        struct parcel_writer writer;
        parcel_begin(&writer, data, sizeof data, &one);
        parcel_add(&writer, &wrong[i], bytes);
        assert_int_equal(open_bytes(data, parcel_end(&writer)), -EPROTO);
    }
}

static void
there_is_one_way_to_write_it(void **state)
{
    uint8_t data[ROOM];
    size_t size = pack(data, sizeof data, &head);
    size_t spare[] = {6, PARCEL_HEAD_SIZE + 5,
                      PARCEL_HEAD_SIZE + PARCEL_RECORD_SIZE + 6};
    for (size_t i = 0; i < sizeof spare / sizeof *spare; i++) {
        data[spare[i]] = 1;
        seal(data, size);
        assert_int_equal(open_bytes(data, size), -EPROTO);
        data[spare[i]] = 0;
    }
    seal(data, size);
    assert_int_equal(open_bytes(data, size), 0);
}

/* Bytes bent at random, with a checksum that is right: what is accepted is
 * whole. */
static void
bent_ones_never_give_out_what_is_not_there(void **state)
{
    struct prng prng;
    prng_init(&prng, 5);
    for (int i = 0; i < 20000; i++) {
        uint8_t data[ROOM];
        size_t size = pack(data, sizeof data, &head);
        for (int n = 0; n < 3; n++) {
            data[16 + prng_below(&prng, size - 16)] = (uint8_t)prng_u64(&prng);
        }
        seal(data, size);
        struct parcel_reader reader;
        struct parcel_record record;
        const char *why;
        if (parcel_open(&reader, data, size, &why)) {
            continue;
        }
        uint64_t last = reader.head.acked;
        const uint8_t *bytes;
        while ((bytes = parcel_next(&reader, &record))) {
            assert_true(bytes + record.size <= data + size);
            assert_int_equal(record.sequence, last + 1);
            last = record.to;
        }
        assert_int_equal(last, reader.head.sent);
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_was_packed_comes_out),
        cmocka_unit_test(too_little_room_tells_how_much_is_needed),
        cmocka_unit_test(every_wrong_bit_is_noticed),
        cmocka_unit_test(a_cut_or_longer_one_is_refused),
        cmocka_unit_test(a_longer_one_is_refused_also_by_its_own_word),
        cmocka_unit_test(a_message_without_its_zeros_is_refused),
        cmocka_unit_test(impossible_heads_are_refused),
        cmocka_unit_test(impossible_messages_are_refused),
        cmocka_unit_test(there_is_one_way_to_write_it),
        cmocka_unit_test(bent_ones_never_give_out_what_is_not_there),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
