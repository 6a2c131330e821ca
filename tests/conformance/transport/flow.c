/* SPDX-License-Identifier: Apache-2.0 */
/* Rules of a link that stands: messages of every size arrive in order, a slow
 * reader makes the sender wait, and what is acknowledged was asked for. */
#include <errno.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/conformance/transport/rig.h"

static void
messages_arrive_in_order(void **state)
{
    struct rig *rig = *state;
    rig_connect(rig);
    for (uint32_t i = 0, sent = 0; i < 5000; i++) {
        while (sent < 5000 && !rig_send(rig->end[FRONT].channel, &sent,
                                        sizeof sent, (uint16_t)sent)) {
            sent++;
        }
        uint32_t got = 0;
        struct mchan_info info;
        assert_int_equal(rig_recv(rig, BACK, &got, sizeof got, &info), 4);
        assert_int_equal(got, i);
        assert_int_equal(info.tag, (uint16_t)i);
        assert_int_equal(info.sequence, i + 1);
        assert_int_equal(info.delivery, MCHAN_RELIABLE);
        assert_false(info.maybe_repeated);
    }
}

static void
both_directions_carry_every_size(void **state)
{
    struct rig *rig = *state;
    rig_connect(rig);
    size_t max = mchan_message_max(rig->end[FRONT].channel);
    uint8_t *data = malloc(max), *back = malloc(max);
    for (size_t size = 0; size <= max; size += size < 300 ? 1 : 977) {
        for (size_t i = 0; i < size; i++) {
            data[i] = (uint8_t)(i * 7 + size);
        }
        for (int to = BACK; to <= FRONT; to++) {
            assert_int_equal(rig_send(rig->end[!to].channel, data, size, 3), 0);
            assert_int_equal(rig_recv(rig, to, back, max, NULL), size);
            assert_memory_equal(back, data, size);
        }
    }
    free(data);
    free(back);
}

static void
too_large_a_message_is_refused_in_words(void **state)
{
    struct rig *rig = *state;
    rig_connect(rig);
    struct mchan *front = rig->end[FRONT].channel;
    size_t max = mchan_message_max(front);
    assert_int_equal(max, 65536 / 8);
    uint8_t *data = calloc(1, max + 1);
    assert_int_equal(rig_send(front, data, max + 1, 0), -EMSGSIZE);
    assert_int_equal(rig_send(front, data, max, 0), 0);
    assert_int_equal(rig_recv(rig, BACK, data, max, NULL), max);
    free(data);
}

static void
a_small_buffer_loses_nothing(void **state)
{
    struct rig *rig = *state;
    rig_connect(rig);
    char text[6];
    struct mchan *back = rig->end[BACK].channel;
    assert_int_equal(rig_send(rig->end[FRONT].channel, "hello", 6, 1), 0);
    ssize_t got;
    while ((got = mchan_recv(back, text, 5, NULL)) == -EAGAIN) {
        rig_step(rig);
    }
    assert_int_equal(got, -ENOBUFS);
    assert_int_equal(mchan_recv(back, text, 5, NULL), -ENOBUFS);
    assert_int_equal(mchan_recv(back, text, 6, NULL), 6);
    assert_string_equal(text, "hello");
}

static void
a_slow_reader_makes_the_sender_wait(void **state)
{
    struct rig *rig = *state;
    rig_connect(rig);
    struct mchan *front = rig->end[FRONT].channel;
    uint8_t data[1000] = {0};
    uint32_t sent = 0;
    int error;
    while (!(error = rig_send(front, data, sizeof data, 0))) {
        assert_true(++sent < 100000);
    }
    assert_int_equal(error, -EAGAIN);
    /* Still so after turns of both ends, as long as nobody reads. */
    for (int i = 0; i < 10; i++) {
        rig_rest(rig);
    }
    for (uint32_t i = 0; i < 100; i++) {
        if (!rig_send(front, data, sizeof data, 0)) {
            sent++;
        }
    }
    assert_int_equal(rig_send(front, data, sizeof data, 0), -EAGAIN);
    assert_int_equal(mchan_arm(front, MCHAN_WRITABLE), 0);
    for (uint32_t i = 0; i < sent; i++) {
        assert_int_equal(rig_recv(rig, BACK, data, sizeof data, NULL), 1000);
    }
    assert_int_equal(
        mchan_recv(rig->end[BACK].channel, data, sizeof data, NULL), -EAGAIN);
    mchan_arm(rig->end[BACK].channel, MCHAN_READABLE);
    if (rig->network) {
        rig_rest(rig);
    } else {
        struct pollfd readable = {.fd = mchan_fd(front), .events = POLLIN};
        assert_int_equal(poll(&readable, 1, PATIENCE_S * 1000), 1);
    }
    assert_int_equal(mchan_arm(front, MCHAN_WRITABLE), 1);
    assert_int_equal(rig_send(front, data, sizeof data, 0), 0);
}

static void
nothing_can_be_sent_before_the_peer_came(void **state)
{
    struct rig *rig = *state;
    char data[4];
    rig_open(rig, BACK);
    struct mchan *back = rig->end[BACK].channel;
    assert_int_equal(rig_send(back, data, 4, 0), -ENOTCONN);
    assert_int_equal(mchan_recv(back, data, 4, NULL), -ENOTCONN);
    struct mchan_peer peer;
    assert_int_equal(mchan_peer(back, &peer),
                     rig->network ? -ENOTSUP : -ENOTCONN);
}

static void
acknowledged_means_that_the_next_was_asked_for(void **state)
{
    struct rig *rig = *state;
    rig_connect(rig);
    struct mchan_stats stats;
    struct mchan *front = rig->end[FRONT].channel;
    char data[4];
    assert_int_equal(rig_send(front, "one", 4, 0), 0);
    rig_recv(rig, BACK, data, 4, NULL);
    for (int i = 0; i < 5; i++) {
        rig_rest(rig);
    }
    assert_int_equal(mchan_stats(front, &stats, sizeof stats), 0);
    assert_int_equal(stats.n_acked, 0);
    assert_int_equal(mchan_recv(rig->end[BACK].channel, data, 4, NULL),
                     -EAGAIN);
    time_t until = rig_seconds() + PATIENCE_S;
    do {
        rig_rest(rig);
        mchan_stats(front, &stats, sizeof stats);
    } while (!stats.n_acked && rig_seconds() < until);
    assert_int_equal(stats.n_acked, 1);
}

/* All. */

const struct rule flow_rules[] = {
    {RULE(messages_arrive_in_order)},
    {RULE(both_directions_carry_every_size)},
    {RULE(too_large_a_message_is_refused_in_words)},
    {RULE(a_small_buffer_loses_nothing)},
    {RULE(a_slow_reader_makes_the_sender_wait)},
    {RULE(nothing_can_be_sent_before_the_peer_came)},
    {RULE(acknowledged_means_that_the_next_was_asked_for)},
    {0},
};
