/* SPDX-License-Identifier: Apache-2.0 */
/* Rules of mchan_send_many(): it does what mchan_send() would have done with
 * each message in turn, and says how far it came. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "tests/conformance/transport/rig.h"

#define RUN 50
#define LONGEST 300

/* Message n is n % LONGEST bytes of n, and its tag is n. */
struct run {
    struct mchan_msg messages[RUN];
    uint8_t data[RUN][LONGEST];
};

static void
fill(struct run *run, uint32_t n)
{
    for (uint32_t i = 0; i < RUN; i++, n++) {
        memset(run->data[i], (int)n, LONGEST);
        run->messages[i] = (struct mchan_msg){
            .data = run->data[i], .size = n % LONGEST, .tag = (uint16_t)n};
    }
}

static void
expect_message(struct rig *rig, uint32_t n)
{
    uint8_t got[LONGEST];
    struct mchan_info info;
    assert_int_equal(rig_recv(rig, BACK, got, sizeof got, &info), n % LONGEST);
    assert_int_equal(info.tag, (uint16_t)n);
    assert_int_equal(info.sequence, n + 1);
    for (uint32_t at = 0; at < n % LONGEST; at++) {
        assert_int_equal(got[at], (uint8_t)n);
    }
}

static void
many_come_out_as_they_went_in(void **state)
{
    struct rig *rig = *state;
    rig_connect(rig);
    struct mchan *front = rig->end[FRONT].channel;
    static struct run run;
    uint32_t sent = 0, got = 0, n_short = 0;
    while (sent < 20000) {
        fill(&run, sent);
        ssize_t n = mchan_send_many(front, run.messages, RUN);
        if (n == RUN) {
            sent += RUN;
            continue;
        }
        assert_true(n > 0 || n == -EAGAIN);
        n_short++;
        for (sent += n > 0 ? (uint32_t)n : 0; got < sent; got++) {
            expect_message(rig, got);
        }
        mchan_ack(rig->end[BACK].channel);
        rig_rest(rig);
    }
    while (got < sent) {
        expect_message(rig, got++);
    }
    assert_true(n_short > 3); /* It was full now and then. */
    struct mchan_stats stats;
    mchan_stats(front, &stats, sizeof stats);
    assert_int_equal(stats.n_sent, sent);
}

static void
the_first_that_is_refused_ends_it(void **state)
{
    struct rig *rig = *state;
    rig_connect(rig);
    struct mchan *front = rig->end[FRONT].channel;
    static struct run run;
    static uint8_t large[65536];
    fill(&run, 0);
    run.messages[2].data = large;
    run.messages[2].size = sizeof large;
    assert_int_equal(mchan_send_many(front, run.messages, RUN), 2);
    assert_int_equal(mchan_send_many(front, run.messages + 2, RUN - 2),
                     -EMSGSIZE);
    run.messages[2].size = 2;
    run.messages[2].delivery = 17;
    assert_int_equal(mchan_send_many(front, run.messages + 2, 1), -EINVAL);
    assert_int_equal(mchan_send_many(front, run.messages, 0), 0);
    fill(&run, 2);
    assert_int_equal(mchan_send_many(front, run.messages, 3), 3);
    for (uint32_t n = 0; n < 5; n++) {
        expect_message(rig, n);
    }
}

static void
other_classes_go_their_way_among_many(void **state)
{
    struct rig *rig = *state;
    rig_connect(rig);
    static struct run run;
    fill(&run, 0);
    run.messages[1].delivery = MCHAN_LATEST;
    run.messages[1].key = 7;
    run.messages[3].delivery = MCHAN_DATAGRAM;
    assert_int_equal(mchan_send_many(rig->end[FRONT].channel, run.messages, 5),
                     5);
    uint64_t next = 1;
    unsigned n_of[3] = {0};
    for (int i = 0; i < 5; i++) {
        uint8_t got[LONGEST];
        struct mchan_info info;
        rig_recv(rig, BACK, got, sizeof got, &info);
        n_of[info.delivery]++;
        assert_int_equal(info.key, info.delivery == MCHAN_LATEST ? 7 : 0);
        if (info.delivery == MCHAN_RELIABLE) {
            assert_int_equal(info.sequence, next++);
        }
    }
    assert_int_equal(n_of[MCHAN_RELIABLE], 3);
    assert_int_equal(n_of[MCHAN_LATEST], 1);
    assert_int_equal(n_of[MCHAN_DATAGRAM], 1);
}

static void
many_to_nobody_are_refused(void **state)
{
    struct rig *rig = *state;
    rig_open(rig, BACK);
    static struct run run;
    fill(&run, 0);
    assert_int_equal(mchan_send_many(rig->end[BACK].channel, run.messages, RUN),
                     -ENOTCONN);
}

static void
many_are_kept_while_we_are_suspended(void **state)
{
    struct rig *rig = *state;
    rig_connect(rig);
    struct mchan *front = rig->end[FRONT].channel;
    static struct run run;
    fill(&run, 0);
    assert_int_equal(mchan_send_many(front, run.messages, 10), 10);
    assert_int_equal(mchan_suspend(front), 0);
    assert_int_equal(mchan_send_many(front, run.messages + 10, 10), 10);
    assert_int_equal(mchan_resume(front, NULL), 0);
    rig_expect(rig, FRONT, MCHAN_RESUMED);
    assert_int_equal(mchan_send_many(front, run.messages + 20, 10), 10);
    for (uint32_t n = 0; n < 30; n++) {
        expect_message(rig, n);
    }
}

static void
a_room_given_back_is_sent_into_by_many(void **state)
{
    struct rig *rig = *state;
    rig_connect(rig);
    struct mchan *front = rig->end[FRONT].channel;
    static struct run run;
    uint32_t n = 0;
    for (int i = 0; i < 300; i++) {
        void *room;
        assert_int_equal(mchan_reserve(front, 2000, &room), 0);
        memset(room, 0x01, 2000); /* Looks like headers, anywhere. */
        mchan_abort(front);
        fill(&run, n);
        assert_int_equal(mchan_send_many(front, run.messages, 3), 3);
        for (int k = 0; k < 3; k++) {
            expect_message(rig, n++);
        }
        assert_int_equal(
            mchan_recv(rig->end[BACK].channel, &(uint8_t){0}, 1, NULL),
            -EAGAIN);
        rig_rest(rig);
    }
}

const struct rule many_rules[] = {
    {RULE(many_come_out_as_they_went_in)},
    {RULE(the_first_that_is_refused_ends_it)},
    {RULE(other_classes_go_their_way_among_many)},
    {RULE(many_to_nobody_are_refused)},
    {RULE(many_are_kept_while_we_are_suspended)},
    {RULE(a_room_given_back_is_sent_into_by_many)},
    {0},
};
