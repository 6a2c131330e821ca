/* SPDX-License-Identifier: Apache-2.0 */
/* Rules of the other classes of delivery, and of messages that are written in
 * place or acknowledged alone. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/conformance/transport/rig.h"

/* The other classes. */

static int
send_class(struct mchan *channel, uint8_t delivery, uint8_t key, uint32_t value)
{
    struct mchan_msg message = {.data = &value, .size = sizeof value};
    message.delivery = delivery;
    message.key = key;
    return mchan_send(channel, &message);
}

static void
what_is_no_class_is_refused(void **state)
{
    struct rig *rig = *state;
    rig_connect(rig);
    struct mchan *front = rig->end[FRONT].channel;
    static uint8_t large[65536];
    struct mchan_msg message = {.data = large, .size = sizeof large};
    assert_int_equal(send_class(front, 17, 0, 0), -EINVAL);
    assert_int_equal(send_class(front, MCHAN_LATEST, MCHAN_KEYS, 0), -EINVAL);
    message.delivery = MCHAN_LATEST;
    assert_int_equal(mchan_send(front, &message), -EMSGSIZE);
    message.delivery = MCHAN_DATAGRAM;
    assert_int_equal(mchan_send(front, &message), -EMSGSIZE);
}

static void
a_slow_reader_gets_the_newest_value_of_each_key(void **state)
{
    struct rig *rig = *state;
    enum { KEYS = 3, VALUES = 20000 };
    rig_connect(rig);
    struct mchan *front = rig->end[FRONT].channel;
    for (uint32_t i = 0; i < VALUES; i++) {
        assert_int_equal(
            send_class(front, MCHAN_LATEST, (uint8_t)(i % KEYS), i), 0);
    }
    uint32_t newest[KEYS] = {0}, n = 0;
    while (newest[(VALUES - 1) % KEYS] != VALUES - 1 ||
           newest[(VALUES - 2) % KEYS] != VALUES - 2 ||
           newest[(VALUES - 3) % KEYS] != VALUES - 3) {
        struct mchan_info info;
        uint32_t value;
        assert_int_equal(rig_recv(rig, BACK, &value, sizeof value, &info), 4);
        assert_int_equal(info.delivery, MCHAN_LATEST);
        assert_int_equal(info.sequence, 0);
        assert_int_equal(info.key, value % KEYS);
        assert_false(info.maybe_repeated);
        assert_true(value >= newest[info.key]);
        newest[info.key] = value;
        n++;
    }
    /* Those that were under way first, and the newest. */
    assert_int_equal(n, 2 * KEYS);
    struct mchan_stats stats;
    mchan_stats(front, &stats, sizeof stats);
    assert_int_equal(stats.n_overtaken, VALUES - n);
    assert_int_equal(stats.n_sent, n);
}

static void
all_classes_flow_beside_each_other(void **state)
{
    struct rig *rig = *state;
    rig_connect(rig);
    struct mchan *front = rig->end[FRONT].channel;
    uint32_t sent[3] = {0}, taken[3] = {0}, next = 1;
    for (uint32_t i = 0; taken[MCHAN_RELIABLE] < 3000; i++) {
        for (uint8_t class = 0; class < 3; class ++) {
            if (sent[MCHAN_RELIABLE] < 3000 || class != MCHAN_RELIABLE) {
                sent[class] += !send_class(front, class, 5, sent[class]);
            }
        }
        struct mchan_info info;
        uint32_t value;
        assert_int_equal(rig_recv(rig, BACK, &value, sizeof value, &info), 4);
        taken[info.delivery]++;
        if (info.delivery == MCHAN_RELIABLE) {
            assert_int_equal(info.sequence, next++);
            assert_int_equal(value, info.sequence - 1);
        }
    }
    assert_true(taken[MCHAN_LATEST] > 1); /* One under way at a time. */
    assert_true(taken[MCHAN_DATAGRAM] > 10);
}

static void
datagrams_without_room_are_dropped_and_counted(void **state)
{
    struct rig *rig = *state;
    rig_open(rig, BACK);
    struct mchan *back = rig->end[BACK].channel;
    struct mchan_stats stats;
    assert_int_equal(send_class(back, MCHAN_DATAGRAM, 0, 0), 0);
    mchan_stats(back, &stats, sizeof stats);
    assert_int_equal(stats.n_datagrams_dropped, 1);
    rig_open(rig, FRONT);
    rig_expect(rig, FRONT, MCHAN_UP);
    rig_expect(rig, BACK, MCHAN_UP);
    for (uint32_t i = 0; i < 5000; i++) {
        assert_int_equal(send_class(back, MCHAN_DATAGRAM, 0, i), 0);
    }
    mchan_stats(back, &stats, sizeof stats);
    assert_true(stats.n_datagrams_dropped > 1000);
    assert_int_equal(stats.n_sent + stats.n_datagrams_dropped, 5001);
    for (uint32_t i = 0; i < stats.n_sent; i++) {
        uint32_t value = 0;
        rig_recv(rig, FRONT, &value, sizeof value, NULL);
        assert_int_equal(value, i); /* Those before it was full. */
    }
    /* There is room again. */
    mchan_recv(rig->end[FRONT].channel, &(uint32_t){0}, 4, NULL);
    mchan_arm(rig->end[FRONT].channel, MCHAN_READABLE);
    rig_rest(rig);
    uint64_t before = stats.n_datagrams_dropped;
    assert_int_equal(send_class(back, MCHAN_DATAGRAM, 0, 7), 0);
    mchan_stats(back, &stats, sizeof stats);
    assert_int_equal(stats.n_datagrams_dropped, before);
}

static void
values_wait_for_the_peer_and_come_again_to_the_next(void **state)
{
    struct rig *rig = *state;
    struct mchan_info info;
    uint32_t value;
    rig_open(rig, BACK);
    for (uint32_t i = 0; i < 10; i++) {
        assert_int_equal(
            send_class(rig->end[BACK].channel, MCHAN_LATEST, 63, i), 0);
    }
    for (int i = 0; i < 3; i++) {
        rig_open(rig, FRONT);
        rig_expect(rig, FRONT, MCHAN_UP);
        rig_recv(rig, FRONT, &value, sizeof value, &info);
        assert_int_equal(value, 9);
        assert_int_equal(info.key, 63);
        assert_int_equal(info.maybe_repeated, i > 0);
        assert_int_equal(mchan_recv(rig->end[FRONT].channel, &value, 4, NULL),
                         -EAGAIN);
        rig_close(rig, FRONT);
        rig_expect(rig, BACK, MCHAN_PEER_LOST);
    }
}

/* Writing in place. */

static void
what_is_written_in_place_arrives(void **state)
{
    struct rig *rig = *state;
    rig_connect(rig);
    struct mchan *front = rig->end[FRONT].channel;
    size_t max = mchan_message_max(front);
    uint8_t *got = malloc(max);
    for (size_t i = 0; i < 300; i++) {
        size_t reserved = i * 977 % (max + 1);
        size_t size = i % 3 ? reserved : reserved / 3;
        struct mchan_msg message = {.size = size, .tag = 9};
        struct mchan_info info;
        void *place = NULL;
        assert_int_equal(mchan_reserve(front, reserved, &place), 0);
        memset(place, (int)i, reserved);
        assert_int_equal(mchan_commit(front, &message), 0);
        memset(got, 0xff, max);
        assert_int_equal(rig_recv(rig, BACK, got, max, &info), size);
        assert_int_equal(info.sequence, i + 1);
        assert_int_equal(info.tag, 9);
        for (size_t at = 0; at < size; at++) {
            assert_int_equal(got[at], (uint8_t)i);
        }
    }
    free(got);
}

static void
a_reservation_is_given_up_by_what_is_sent_after_it(void **state)
{
    struct rig *rig = *state;
    rig_connect(rig);
    struct mchan *front = rig->end[FRONT].channel;
    struct mchan_msg message = {.size = 4};
    char got[8];
    void *place;
    assert_int_equal(mchan_commit(front, &message), -EINVAL);
    assert_int_equal(mchan_reserve(front, 4, &place), 0);
    assert_int_equal(rig_send(front, "abc", 4, 0), 0);
    assert_int_equal(mchan_commit(front, &message), -EINVAL);
    assert_int_equal(mchan_reserve(front, 4, &place), 0);
    memcpy(place, "def", 4);
    mchan_abort(front);
    assert_int_equal(mchan_commit(front, &message), -EINVAL);
    /* More than was reserved, and a class that does not do this. */
    assert_int_equal(mchan_reserve(front, 3, &place), 0);
    assert_int_equal(mchan_commit(front, &message), -EINVAL);
    assert_int_equal(mchan_reserve(front, 4, &place), 0);
    message.delivery = MCHAN_LATEST;
    assert_int_equal(mchan_commit(front, &message), -EINVAL);
    assert_int_equal(mchan_reserve(front, mchan_message_max(front) + 1, &place),
                     -EMSGSIZE);
    assert_int_equal(rig_recv(rig, BACK, got, sizeof got, NULL), 4);
    assert_string_equal(got, "abc");
    assert_int_equal(rig_send(front, "ghi", 4, 0), 0);
    assert_int_equal(rig_recv(rig, BACK, got, sizeof got, NULL), 4);
    assert_string_equal(got, "ghi");
}

static void
what_was_received_can_be_acknowledged_alone(void **state)
{
    struct rig *rig = *state;
    rig_connect(rig);
    struct mchan *front = rig->end[FRONT].channel;
    struct mchan *back = rig->end[BACK].channel;
    struct mchan_stats stats;
    char data[4];
    assert_int_equal(rig_send(front, "one", 4, 0), 0);
    assert_int_equal(rig_send(front, "two", 4, 0), 0);
    rig_recv(rig, BACK, data, 4, NULL);
    assert_int_equal(mchan_ack(back), 0);
    time_t until = rig_seconds() + PATIENCE_S;
    do {
        mchan_arm(front, MCHAN_READABLE);
        rig_rest(rig);
        mchan_stats(front, &stats, sizeof stats);
    } while (!stats.n_acked && rig_seconds() < until);
    assert_int_equal(stats.n_acked, 1);
    assert_int_equal(rig_recv(rig, BACK, data, 4, NULL), 4);
    assert_string_equal(data, "two");
}

/* All. */

const struct rule class_rules[] = {
    {RULE(what_is_no_class_is_refused)},
    {RULE(a_slow_reader_gets_the_newest_value_of_each_key)},
    {RULE(all_classes_flow_beside_each_other)},
    {RULE(datagrams_without_room_are_dropped_and_counted)},
    {RULE(values_wait_for_the_peer_and_come_again_to_the_next)},
    {RULE(what_is_written_in_place_arrives)},
    {RULE(a_reservation_is_given_up_by_what_is_sent_after_it)},
    {RULE(what_was_received_can_be_acknowledged_alone)},
    {0},
};
