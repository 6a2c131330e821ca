/* SPDX-License-Identifier: Apache-2.0 */
/* The queue between a core and its port keeps order, whatever the messages'
 * sizes, and what fits the room it states does fit. */
#include "broker/outbox.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/prng.h"
#include "wire/msg.h"

#define SIZE 40

struct reader {
    uint64_t next; /* Number that has to come. */
    int n_taken;   /* How many more are; -1: all. */
};

/* Large and small messages carry their number; every byte of a large one
 * depends on it. */
static struct msg
numbered(uint64_t number, bool large)
{
    struct msg msg = {.type = large ? MSG_GUEST_NOTE : MSG_GUEST_LOST};

    if (large) {
        msg.guest_note.number = number;
        msg.guest_note.n_bytes = MSG_NOTE_SIZE_MAX;
        memset(msg.guest_note.bytes, (int)(number & 0xff), MSG_NOTE_SIZE_MAX);
    } else {
        msg.guest_lost.cause = number;
    }
    return msg;
}

static int
take(void *ctx, const struct msg *msg)
{
    struct reader *reader = ctx;

    if (!reader->n_taken) {
        return -EAGAIN;
    }
    reader->n_taken -= reader->n_taken > 0;
    if (msg->type == MSG_GUEST_NOTE) {
        assert_int_equal(msg->guest_note.number, reader->next);
        for (size_t i = 0; i < MSG_NOTE_SIZE_MAX; i++) {
            assert_int_equal(msg->guest_note.bytes[i], reader->next & 0xff);
        }
    } else {
        assert_int_equal(msg->type, MSG_GUEST_LOST);
        assert_int_equal(msg->guest_lost.cause, reader->next);
    }
    reader->next++;
    return 0;
}

static void
small_messages_are_bounded_by_their_number(void **state)
{
    struct reader reader = {.n_taken = -1};
    struct outbox box;

    assert_int_equal(outbox_init(&box, SIZE), 0);
    assert_int_equal(outbox_room(&box), SIZE);
    for (uint64_t i = 0; i < SIZE; i++) {
        struct msg msg = numbered(i, false);
        assert_int_equal(outbox_add(&box, &msg), 0);
    }
    struct msg more = numbered(SIZE, false);
    assert_int_equal(outbox_room(&box), 0);
    assert_int_equal(outbox_add(&box, &more), -ENOBUFS);
    assert_true(outbox_flush(&box, take, &reader));
    assert_int_equal(reader.next, SIZE);
    assert_int_equal(outbox_room(&box), SIZE);
    outbox_fini(&box);
}

static void
a_large_message_counts_as_several(void **state)
{
    struct reader reader = {.n_taken = -1};
    struct outbox box;
    uint64_t n = 0;

    assert_int_equal(outbox_init(&box, SIZE), 0);
    for (;;) {
        struct msg msg = numbered(n, true);
        uint32_t room = outbox_room(&box);
        int error = outbox_add(&box, &msg);

        assert_true(room < OUTBOX_LARGEST || !error);
        if (error) {
            assert_int_equal(error, -ENOBUFS);
            break;
        }
        n++;
    }
    assert_in_range(n, SIZE / OUTBOX_LARGEST, SIZE);
    assert_true(outbox_flush(&box, take, &reader));
    assert_int_equal(reader.next, n);
    outbox_fini(&box);
}

/* For twenty thousand random steps. */
static void
order_and_bytes_hold_whatever_is_added_and_taken(void **state)
{
    struct reader reader = {0};
    struct outbox box;
    struct prng prng;
    uint64_t n = 0;

    prng_init(&prng, 5);
    assert_int_equal(outbox_init(&box, SIZE), 0);
    for (int i = 0; i < 20000; i++) {
        for (uint64_t k = prng_below(&prng, 8); k > 0; k--) {
            bool large = prng_below(&prng, 3) == 0;
            uint32_t wants = large ? OUTBOX_LARGEST : 1;
            struct msg msg = numbered(n, large);
            bool fits = outbox_room(&box) >= wants;
            int error = outbox_add(&box, &msg);

            assert_true(!fits || !error); /* Room that is stated is there. */
            n += !error;
        }
        reader.n_taken = (int)prng_below(&prng, 8);
        outbox_flush(&box, take, &reader);
        assert_int_equal(box.n, n - reader.next);
    }
    reader.n_taken = -1;
    assert_true(outbox_flush(&box, take, &reader));
    assert_int_equal(reader.next, n);
    assert_int_equal(outbox_room(&box), SIZE);
    assert_true(n > 20000);
    outbox_fini(&box);
}

static int
refuse(void *ctx, const struct msg *msg)
{
    ++*(int *)ctx;
    return -ERANGE;
}

static void
what_can_never_be_sent_is_dropped(void **state)
{
    struct msg msg = numbered(0, true);
    struct outbox box;
    int n = 0;

    assert_int_equal(outbox_init(&box, SIZE), 0);
    outbox_add(&box, &msg);
    outbox_add(&box, &msg);
    assert_true(outbox_flush(&box, refuse, &n));
    assert_int_equal(n, 2);
    outbox_fini(&box);
    outbox_fini(&box);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(small_messages_are_bounded_by_their_number),
        cmocka_unit_test(a_large_message_counts_as_several),
        cmocka_unit_test(order_and_bytes_hold_whatever_is_added_and_taken),
        cmocka_unit_test(what_can_never_be_sent_is_dropped),
    };

    return cmocka_run_group_tests_name("broker/outbox", tests, NULL, NULL);
}
