/* SPDX-License-Identifier: Apache-2.0 */
/* Rules of a session whose ends come and go: the last words are heard, what did
 * not arrive is reported, who returns is found, and one peer at a time. */
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

static void
goodbye_comes_after_the_last_message(void **state)
{
    struct rig *rig = *state;
    rig_connect(rig);
    char data[4];
    assert_int_equal(rig_send(rig->end[FRONT].channel, "one", 4, 0), 0);
    assert_int_equal(rig_send(rig->end[FRONT].channel, "two", 4, 0), 0);
    rig_close(rig, FRONT);
    assert_int_equal(rig_recv(rig, BACK, data, 4, NULL), 4);
    assert_string_equal(data, "one");
    assert_int_equal(rig_recv(rig, BACK, data, 4, NULL), 4);
    assert_string_equal(data, "two");
    rig_expect(rig, BACK, MCHAN_PEER_LOST);
    /* All of it came, so the next session begins without a gap. */
    rig_open(rig, FRONT);
    rig_expect(rig, BACK, MCHAN_UP);
    rig_rest(rig);
    assert_int_equal(rig->end[BACK].n_events, 0);
}

static void
what_was_not_acknowledged_is_reported_dropped(void **state)
{
    struct rig *rig = *state;
    rig_connect(rig);
    char data[4];
    struct mchan *front = rig->end[FRONT].channel;
    for (int i = 0; i < 5; i++) {
        assert_int_equal(rig_send(front, "abc", 4, 0), 0);
    }
    for (int i = 0; i < 3; i++) {
        rig_recv(rig, BACK, data, 4, NULL); /* Acknowledges i. */
    }
    rig_rest(rig);
    rig_close(rig, BACK);
    rig_expect(rig, FRONT, MCHAN_PEER_LOST);
    struct mchan_event dropped = rig_expect(rig, FRONT, MCHAN_DROPPED);
    assert_in_range(dropped.from, 1, 3);
    assert_int_equal(dropped.to, 5);
    assert_int_equal(rig_send(front, "abc", 4, 0), -ENOTCONN);
}

static void
a_peer_that_returns_comes_up_with_a_higher_attachment(void **state)
{
    struct rig *rig = *state;
    rig_open(rig, BACK);
    uint32_t before = 0;
    for (int i = 0; i < 5; i++) {
        rig_open(rig, FRONT);
        struct mchan_event at_front = rig_expect(rig, FRONT, MCHAN_UP);
        struct mchan_event at_back = rig_expect(rig, BACK, MCHAN_UP);
        assert_int_equal(at_front.attachment, at_back.attachment);
        assert_true(at_back.attachment > before);
        before = at_back.attachment;
        rig_close(rig, FRONT);
        rig_expect(rig, BACK, MCHAN_PEER_LOST);
    }
}

static void
a_broker_that_returns_is_found_again(void **state)
{
    struct rig *rig = *state;
    rig_connect(rig);
    char data[4];
    for (int i = 0; i < 3; i++) {
        rig_close(rig, BACK);
        rig_expect(rig, FRONT, MCHAN_PEER_LOST);
        rig_open(rig, BACK);
        struct mchan_event up = rig_expect(rig, FRONT, MCHAN_UP);
        assert_int_equal(up.attachment, i + 2);
        rig_expect(rig, BACK, MCHAN_UP);
        assert_int_equal(rig_send(rig->end[FRONT].channel, "abc", 4, 0), 0);
        assert_int_equal(rig_recv(rig, BACK, data, 4, NULL), 4);
    }
}

static void
a_second_peer_is_refused_while_the_first_lives(void **state)
{
    struct rig *rig = *state;
    rig_connect(rig);
    struct mchan *second;
    assert_int_equal(mchan_open(&second, rig->uri, &rig->opts), 0);
    struct mchan_stats stats;
    time_t until = rig_seconds() + PATIENCE_S;
    do {
        rig_rest(rig);
        mchan_arm(second, MCHAN_READABLE);
        mchan_stats(rig->end[BACK].channel, &stats, sizeof stats);
    } while (stats.n_refused_peers < 2 && rig_seconds() < until);
    assert_true(stats.n_refused_peers >= 2);
    struct mchan_event event;
    assert_int_equal(mchan_next_event(second, &event), 0);
    assert_int_equal(rig->end[BACK].n_events, 0);
    char data[4];
    assert_int_equal(rig_send(rig->end[FRONT].channel, "abc", 4, 0), 0);
    assert_int_equal(rig_recv(rig, BACK, data, 4, NULL), 4);
    /* It gets its turn when the first has left. */
    rig_close(rig, FRONT);
    rig->end[FRONT].channel = second;
    rig_expect(rig, FRONT, MCHAN_UP);
}

/* All. */

const struct rule session_rules[] = {
    {RULE(goodbye_comes_after_the_last_message)},
    {RULE(what_was_not_acknowledged_is_reported_dropped)},
    {RULE(a_peer_that_returns_comes_up_with_a_higher_attachment)},
    {RULE(a_broker_that_returns_is_found_again)},
    {RULE(a_second_peer_is_refused_while_the_first_lives), .real_only = true},
    {0},
};
