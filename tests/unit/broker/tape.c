/* SPDX-License-Identifier: Apache-2.0 */
/* The tape gives back each message as it was, in fewer bytes when it is like
 * the last; and whatever bytes it is read from, what it gives is in range. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/prng.h"
#include "broker/engine/tape.h"
#include "model/uuid.h"
#include "tests/scarce.h"
#include "wire/msg.h"

#define N_SLOTS 8

static struct msg
new_msg(enum msg_type type)
{
    struct msg msg;

    memset(&msg, 0, sizeof msg);
    msg.type = type;
    return msg;
}

static struct msg
sample(uint64_t busy_ns)
{
    struct msg msg = new_msg(MSG_SAMPLE_VM);

    memset(&msg.sample_vm.vm, 7, sizeof msg.sample_vm.vm);
    msg.sample_vm.time_ns = 86400 * NSEC_PER_SEC + (int64_t)busy_ns;
    msg.sample_vm.busy_ns = busy_ns;
    msg.sample_vm.available_ns = busy_ns * 2;
    return msg;
}

static struct msg
domain(void)
{
    struct msg msg = new_msg(MSG_DOMAIN);

    strcpy(msg.domain.driver, "sim");
    msg.domain.n_cpus = 2;
    msg.domain.cpus[0] = 3;
    msg.domain.cpus[1] = 65535;
    msg.domain.n_freqs_khz = 2;
    msg.domain.freqs_khz[0] = 2400000;
    msg.domain.freqs_khz[1] = 1000000;
    msg.domain.emulated = 1;
    return msg;
}

static struct msg
up(void)
{
    struct msg msg = new_msg(MSG_GUEST_UP);

    strcpy(msg.guest_up.name, "web1");
    strcpy(msg.guest_up.software, "magentd \xc3\xa9");
    msg.guest_up.n_offers = 2;
    strcpy(msg.guest_up.offers[0], "httplog");
    strcpy(msg.guest_up.offers[1], "cpu");
    msg.guest_up.cause = UINT64_MAX;
    msg.guest_up.offset_ns = INT64_MIN;
    msg.guest_up.offset_error_ns = UINT64_MAX;
    return msg;
}

static struct msg
note(uint32_t size)
{
    struct msg msg = new_msg(MSG_GUEST_NOTE);

    strcpy(msg.guest_note.type, "org.example.x/1");
    msg.guest_note.n_bytes = size;
    memset(msg.guest_note.bytes, 0xa5, size);
    msg.guest_note.number = 1;
    msg.guest_note.cause = 9;
    return msg;
}

static bool
is_same(const struct msg *a, const struct msg *b)
{
    return a->type == b->type && !memcmp(a, b, msg_struct_size(a->type));
}

/* Writes one and reads it back; returns how many bytes it took. */
static size_t
pass(struct tape_slots *write, struct tape_slots *read, uint32_t slot,
     const struct msg *msg)
{
    static uint8_t bytes[2 * sizeof(struct msg)];
    struct tape_out out = {.data = bytes, .size = sizeof bytes};
    struct msg got;

    tape_put_msg(&out, write, slot, msg);
    assert_true(out.used <= tape_msg_room(msg->type));
    struct tape_in in = {.data = bytes, .size = out.used};
    tape_get_msg(&in, read, &got);
    assert_false(in.bad);
    assert_int_equal(in.used, in.size);
    assert_true(is_same(msg, &got));
    return out.used;
}

static void
messages_come_back_as_they_were(void **state)
{
    struct tape_slots write, read;
    struct msg msgs[] = {domain(),   up(),      note(0),
                         note(3840), sample(5), new_msg(MSG_READY)};

    assert_int_equal(tape_slots_init(&write, N_SLOTS), 0);
    assert_int_equal(tape_slots_init(&read, N_SLOTS), 0);
    for (unsigned round = 0; round < 3; round++) {
        for (size_t i = 0; i < sizeof msgs / sizeof *msgs; i++) {
            pass(&write, &read, round % N_SLOTS, &msgs[i]);
        }
    }
    tape_slots_fini(&write);
    tape_slots_fini(&read);
}

static void
what_is_like_the_last_is_short(void **state)
{
    struct tape_slots write, read;

    assert_int_equal(tape_slots_init(&write, N_SLOTS), 0);
    assert_int_equal(tape_slots_init(&read, N_SLOTS), 0);
    struct msg msg = sample(1000000000);
    size_t first = pass(&write, &read, 3, &msg);
    msg = sample(1200000000);
    size_t second = pass(&write, &read, 3, &msg);
    assert_true(first > 34);
    assert_in_range(second, 6, 19);
    tape_slots_clear(&write); /* As both do where reading may begin. */
    tape_slots_clear(&read);
    assert_int_equal(pass(&write, &read, 3, &msg), first);
    tape_slots_fini(&write);
    tape_slots_fini(&read);
}

static void
a_message_cut_anywhere_is_refused(void **state)
{
    struct tape_slots slots;
    uint8_t bytes[1024];
    struct msg msg = up(), got;

    assert_int_equal(tape_slots_init(&slots, N_SLOTS), 0);
    struct tape_out out = {.data = bytes, .size = sizeof bytes};
    tape_put_msg(&out, &slots, 0, &msg);
    for (size_t size = 0; size < out.used; size++) {
        struct tape_in in = {.data = bytes, .size = size};

        tape_get_msg(&in, &slots, &got);
        assert_true(in.bad);
    }
    tape_slots_fini(&slots);
}

/* A stranger's bytes: refused, or a message that msg_encode() takes. */
static void
whatever_is_read_is_in_range(void **state)
{
    struct msg msgs[] = {domain(), up(), note(40), sample(77)};
    struct tape_slots slots;
    uint8_t bytes[1024], encoded[MSG_SIZE_MAX];
    unsigned n_read = 0, n_refused = 0;
    struct prng chance;
    struct msg got;

    prng_init(&chance, 5);
    assert_int_equal(tape_slots_init(&slots, N_SLOTS), 0);
    for (unsigned i = 0; i < 20000; i++) {
        struct tape_out out = {.data = bytes, .size = sizeof bytes};

        tape_put_msg(&out, &slots, i % 3, &msgs[i % 4]);
        for (unsigned n = 1 + i % 3; n > 0; n--) {
            bytes[prng_below(&chance, out.used)] ^=
                (uint8_t)(1u << prng_below(&chance, 8));
        }
        struct tape_in in = {.data = bytes, .size = out.used};
        tape_get_msg(&in, &slots, &got);
        assert_true(in.used <= in.size);
        n_refused += in.bad;
        if (!in.bad) {
            n_read++;
            assert_true(msg_encode(&got, MSG_VERSION_MAX, encoded,
                                   sizeof encoded, NULL, 0) > 0);
        }
    }
    assert_true(n_read > 100 && n_refused > 100);
    tape_slots_fini(&slots);
}

/* A member of each kind that a note has, changed to what no note may be. */
static void
what_is_packed_out_of_range_is_refused(void **state)
{
    static uint8_t bytes[2 * sizeof(struct msg)];
    struct tape_out out = {.data = bytes, .size = sizeof bytes};
    struct tape_slots slots;
    struct msg msg = sample(1), got = new_msg(MSG_DOMAIN);

    assert_int_equal(tape_slots_init(&slots, N_SLOTS), 0);
    msg.sample_vm.time_ns = -1;
    tape_put_msg(&out, &slots, 0, &msg);
    struct tape_in in = {.data = bytes, .size = out.used};
    tape_get_msg(&in, &slots, &got);
    assert_true(in.bad);
    assert_int_equal(got.type, MSG_DOMAIN);
    tape_slots_fini(&slots);
}

/* A slot that there is not, and a message too large for one: by itself. */
static void
what_has_no_slot_is_packed_by_itself(void **state)
{
    struct tape_slots write, read;
    struct msg msg = sample(1), large = note(1000);

    assert_int_equal(tape_slots_init(&write, N_SLOTS), 0);
    assert_int_equal(tape_slots_init(&read, N_SLOTS), 0);
    size_t size = pass(&write, &read, N_SLOTS, &msg);
    assert_int_equal(pass(&write, &read, N_SLOTS, &msg), size);
    assert_int_equal(pass(&write, &read, UINT32_MAX, &msg), size);
    size = pass(&write, &read, 3, &large);
    assert_int_equal(pass(&write, &read, 3, &large), size);
    /* The same said by who packed it otherwise is refused. */
    uint8_t bytes[] = {MSG_GUEST_NOTE, 3};
    struct tape_in in = {.data = bytes, .size = sizeof bytes};
    tape_get_msg(&in, &read, &msg);
    assert_true(in.bad);
    tape_slots_fini(&write);
    tape_slots_fini(&read);
}

static void
slots_without_memory_are_told(void **state)
{
    struct tape_slots slots;

    scarce_arm("memory", 1, ENOMEM);
    assert_int_equal(tape_slots_init(&slots, N_SLOTS), -ENOMEM);
    assert_true(scarce_disarm());
    tape_slots_fini(&slots);
    assert_int_equal(tape_slots_init(&slots, UINT32_MAX), 0);
    assert_int_equal(slots.n, TAPE_SLOTS_MAX);
    tape_slots_fini(&slots);
}

static void
a_uuid_that_is_cut_is_refused(void **state)
{
    uint8_t bytes[16] = {1, 2, 3};
    struct uuid uuid = {{9}};
    struct tape_in in = {.data = bytes, .size = 15};

    tape_get_uuid(&in, &uuid);
    assert_true(in.bad);
    assert_int_equal(uuid.byte[0], 9);
    in = (struct tape_in){.data = bytes, .size = 16};
    tape_get_uuid(&in, &uuid);
    assert_false(in.bad);
    assert_memory_equal(uuid.byte, bytes, 16);
}

static void
numbers_too_long_or_too_large_are_refused(void **state)
{
    static const uint8_t endless[] = {0x80, 0x80, 0x80, 0x80, 0x80, 0x80,
                                      0x80, 0x80, 0x80, 0x80, 0x01};
    struct tape_in in = {.data = endless, .size = sizeof endless};

    assert_int_equal(tape_get_uint(&in, UINT64_MAX), 0);
    assert_true(in.bad);
    static const uint8_t nine[] = {9};
    in = (struct tape_in){.data = nine, .size = 1};
    assert_int_equal(tape_get_uint(&in, 8), 0);
    assert_true(in.bad);
    in = (struct tape_in){.data = nine, .size = 1};
    assert_int_equal(tape_get_uint(&in, 9), 9);
    assert_false(in.bad);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(messages_come_back_as_they_were),
        cmocka_unit_test(what_is_like_the_last_is_short),
        cmocka_unit_test(a_message_cut_anywhere_is_refused),
        cmocka_unit_test(whatever_is_read_is_in_range),
        cmocka_unit_test(what_is_packed_out_of_range_is_refused),
        cmocka_unit_test(what_has_no_slot_is_packed_by_itself),
        cmocka_unit_test(slots_without_memory_are_told),
        cmocka_unit_test(a_uuid_that_is_cut_is_refused),
        cmocka_unit_test(numbers_too_long_or_too_large_are_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
