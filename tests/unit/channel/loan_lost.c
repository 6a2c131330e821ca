/* SPDX-License-Identifier: Apache-2.0 */
/* Loans and peers that go: what is in a user's hands outlives the peer, what
 * was not acknowledged is lent again or copied, and nothing else is left.
 * (loan_scene.h) */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "base/clock.h"
#include "tests/left.h"
#include "tests/unit/channel/loan_scene.h"
#include "transport/returns.h"

/* Loss. */

static void
what_a_lost_peer_lent_stays_until_released(void **state)
{
    struct pair *pair = *state;
    struct mchan_view got[3];
    open_both(pair);
    int32_t n_maps = held_memfds();
    for (uint32_t i = 0; i < 3; i++) {
        assert_int_equal(lend(pair, BACK, 50000, i), 0);
        got[i] = view(pair, FRONT);
    }
    close_end(pair, BACK);
    for (int i = 0; i < 300; i++) {
        move_on(pair);
    }
    assert_int_equal(pair->n_lost[FRONT], 1);
    /* The rings of both are gone, and the slab as its owner mapped it. */
    assert_int_equal(held_memfds(), pair->n_maps + 1);
    for (uint32_t i = 0; i < 3; i++) {
        expect_filled(got[i].data, 50000, i);
        mchan_release(pair->end[FRONT], &got[i]);
    }
    assert_int_equal(held_memfds(), pair->n_maps);
    assert_true(n_maps > pair->n_maps);
}

static void
what_was_sent_before_a_loss_can_still_be_viewed(void **state)
{
    struct pair *pair = *state;
    open_both(pair);
    for (uint32_t i = 0; i < 4; i++) { /* It was never looked at. */
        assert_int_equal(lend(pair, BACK, 20000, i), 0);
    }
    close_end(pair, BACK);
    for (uint32_t i = 0; i < 4; i++) {
        struct mchan_view got = view(pair, FRONT);
        expect_filled(got.data, 20000, i);
        mchan_release(pair->end[FRONT], &got);
    }
}

static void
a_loan_not_sent_can_go_to_the_next_peer(void **state)
{
    struct pair *pair = *state;
    struct mchan_msg message = {.size = 70000};
    struct mchan_loan loan, unused;
    open_both(pair);
    assert_int_equal(mchan_loan(pair->end[BACK], 70000, &loan), 0);
    assert_int_equal(mchan_loan(pair->end[BACK], 5000, &unused), 0);
    fill(loan.data, 70000, 8);
    close_end(pair, FRONT);
    for (int i = 0; i < 300; i++) {
        move_on(pair);
    }
    assert_int_equal(mchan_send_loan(pair->end[BACK], &loan, &message),
                     -ENOTCONN);
    expect_filled(loan.data, 70000, 8); /* It is still ours. */
    open_end(pair, FRONT);
    come_up(pair, 2);
    assert_int_equal(mchan_send_loan(pair->end[BACK], &loan, &message), 0);
    assert_int_equal(mchan_send_loan(pair->end[BACK], &loan, &message),
                     -EINVAL);
    mchan_unloan(pair->end[BACK], &unused);
    struct mchan_view got = view(pair, FRONT);
    assert_int_equal(got.size, 70000);
    expect_filled(got.data, 70000, 8);
    mchan_release(pair->end[FRONT], &got);
    /* Two rings and the new slab, each mapped twice; nothing of the old. */
    assert_int_equal(held_memfds(), pair->n_maps + 4);
}

static void
what_was_not_acknowledged_is_lent_again(void **state)
{
    struct pair *pair = *state;
    struct mchan_view held;
    uint8_t data[4];
    open_both(pair);
    for (uint32_t i = 0; i < 10; i++) {
        struct mchan_msg message = {.data = "abc", .size = 3};
        assert_int_equal(lend(pair, BACK, 10000 * (i + 1) % 70000, i), 0);
        assert_int_equal(mchan_send(pair->end[BACK], &message), 0);
    }
    held = view(pair, FRONT);
    cut(pair);
    come_up(pair, 2);
    assert_int_equal(pair->n_lost[BACK], 1);
    assert_int_equal(pair->n_lost[FRONT], 1);
    expect_filled(held.data, held.size, 0);
    for (uint32_t i = 0; i < 10; i++) {
        if (i) { /* The first was given out before. */
            struct mchan_view got = view(pair, FRONT);
            assert_int_equal(got.info.sequence, 2 * i + 1);
            assert_int_equal(got.size, 10000 * (i + 1) % 70000);
            assert_true(got.handle);
            expect_filled(got.data, got.size, i);
            mchan_release(pair->end[FRONT], &got);
        }
        assert_int_equal(mchan_recv(pair->end[FRONT], data, 4, NULL), 3);
    }
    expect_filled(held.data, held.size, 0);
    assert_int_equal(held_memfds(), pair->n_maps + 5);
    mchan_release(pair->end[FRONT], &held);
    assert_int_equal(held_memfds(), pair->n_maps + 4);
    assert_int_equal(n_lent(pair, BACK), 0);
    assert_int_equal(pair->n_dropped[BACK] + pair->n_gaps[FRONT], 0);
    assert_int_equal(lend(pair, BACK, LOAN_BYTES, 3), 0); /* All is free. */
}

static void
loans_survive_several_losses_in_a_row(void **state)
{
    struct pair *pair = *state;
    uint32_t n_sent = 0, n_seen = 0;
    open_both(pair);
    for (unsigned round = 0; round < 20; round++) {
        while (n_sent - n_seen < 12) {
            assert_int_equal(lend(pair, FRONT, 9000, n_sent++), 0);
        }
        if (round % 3) {
            struct mchan_view got = view(pair, BACK);
            expect_filled(got.data, 9000, n_seen++);
            mchan_release(pair->end[BACK], &got);
        }
        cut(pair);
        come_up(pair, round + 2);
    }
    while (n_seen < n_sent) {
        struct mchan_view got = view(pair, BACK);
        assert_int_equal(got.info.sequence, n_seen + 1);
        expect_filled(got.data, 9000, n_seen++);
        mchan_release(pair->end[BACK], &got);
    }
    assert_int_equal(pair->n_dropped[FRONT] + pair->n_gaps[BACK], 0);
    assert_int_equal(n_lent(pair, FRONT), 0);
    assert_int_equal(held_memfds(), pair->n_maps + 4);
}

/* Away. */

static void
a_loan_sent_while_away_goes_when_the_session_does(void **state)
{
    struct pair *pair = *state;
    struct mchan_msg message = {.size = 70000};
    open_both(pair);
    for (int round = 0; round < 4; round++) {
        struct mchan_loan loan, unused;
        assert_int_equal(mchan_loan(pair->end[BACK], 70000, &loan), 0);
        fill(loan.data, 70000, 4);
        assert_int_equal(mchan_suspend(pair->end[BACK]), 0);
        /* Nobody can be lent more now, but nobody is gone. */
        assert_int_equal(mchan_loan(pair->end[BACK], 70000, &unused), -EAGAIN);
        int n_tries = 0;
        while (mchan_arm(pair->end[BACK], MCHAN_WRITABLE)) {
            collect(pair, BACK);
            assert_true(++n_tries < 10);
        }
        assert_int_equal(mchan_send_loan(pair->end[BACK], &loan, &message), 0);
        assert_int_equal(mchan_send_loan(pair->end[BACK], &loan, &message),
                         -EINVAL);
        if (round % 2) {
            cut(pair); /* Else it is the same transport afterwards. */
        }
        for (int i = 0; i < 5; i++) {
            move_on(pair);
        }
        assert_int_equal(mchan_resume(pair->end[BACK], NULL), 0);
        for (int i = 0; i < 300; i++) {
            move_on(pair);
        }
        struct mchan_view got = view(pair, FRONT);
        assert_int_equal(got.info.sequence, round + 1);
        assert_int_equal(got.size, 70000);
        expect_filled(got.data, 70000, 4);
        mchan_release(pair->end[FRONT], &got);
        assert_int_equal(n_lent(pair, BACK), 0);
    }
    assert_int_equal(pair->n_lost[BACK] + pair->n_dropped[BACK], 0);
}

static void
what_can_not_be_lent_elsewhere_is_copied_or_named(void **state)
{
    struct pair *pair = *state;
    char elsewhere[sizeof pair->uri + 8];
    static uint8_t data[8192];
    struct mchan_event event;
    open_both(pair);
    assert_int_equal(lend(pair, BACK, 8192, 1), 0);
    assert_int_equal(lend(pair, BACK, 8193, 2), 0); /* No message's size. */
    assert_int_equal(lend(pair, BACK, 100, 3), 0);
    snprintf(elsewhere, sizeof elsewhere, "unix:%s/t", pair->dir);
    for (int which = 0; which < 2; which++) {
        assert_int_equal(mchan_suspend(pair->end[which]), 0);
    }
    for (int which = 0; which < 2; which++) {
        assert_int_equal(mchan_resume(pair->end[which], elsewhere), 0);
    }
    for (int i = 0; i < 300 && !pair->n_dropped[BACK]; i++) {
        (void)mchan_arm(pair->end[FRONT], MCHAN_READABLE);
        (void)mchan_arm(pair->end[BACK], MCHAN_READABLE);
        while (mchan_next_event(pair->end[BACK], &event)) {
            if (event.type == MCHAN_DROPPED) {
                assert_int_equal(event.from, 2);
                assert_int_equal(event.to, 2);
                pair->n_dropped[BACK]++;
            }
        }
        pair->now += 10 * NSEC_PER_MSEC;
    }
    assert_int_equal(pair->n_dropped[BACK], 1);
    struct mchan_view got = view(pair, FRONT);
    assert_int_equal(got.info.sequence, 1);
    assert_int_equal(got.handle, 0);
    assert_int_equal(got.size, 8192);
    expect_filled(got.data, 8192, 1);
    struct mchan_info info;
    ssize_t n;
    while ((n = mchan_recv(pair->end[FRONT], data, sizeof data, &info)) ==
           -EAGAIN) {
        collect(pair, FRONT);
    }
    assert_int_equal(n, 100);
    assert_int_equal(info.sequence, 3);
    expect_filled(data, 100, 3);
    collect(pair, FRONT);
    assert_int_equal(pair->n_gaps[FRONT], 1);
    assert_int_equal(held_memfds(), pair->n_maps); /* All is let go. */
}

static void
what_a_lost_session_lent_is_dropped_and_freed(void **state)
{
    struct pair *pair = *state;
    open_both(pair);
    for (uint32_t i = 0; i < 5; i++) {
        assert_int_equal(lend(pair, BACK, 50000, i), 0);
    }
    cut(pair);
    close_end(pair, FRONT); /* Another takes its place. */
    open_end(pair, FRONT);
    come_up(pair, 2);
    assert_int_equal(pair->n_dropped[BACK], 1);
    move_on(pair);
    assert_int_equal(held_memfds(), pair->n_maps + 2); /* The new rings. */
    assert_int_equal(lend(pair, BACK, 50000, 9), 0);
    struct mchan_view got = view(pair, FRONT);
    assert_int_equal(got.info.sequence, 1);
    expect_filled(got.data, 50000, 9);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int
main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(what_a_lost_peer_lent_stays_until_released),
        TEST(what_was_sent_before_a_loss_can_still_be_viewed),
        TEST(a_loan_not_sent_can_go_to_the_next_peer),
        TEST(what_was_not_acknowledged_is_lent_again),
        TEST(loans_survive_several_losses_in_a_row),
        TEST(a_loan_sent_while_away_goes_when_the_session_does),
        TEST(what_can_not_be_lent_elsewhere_is_copied_or_named),
        TEST(what_a_lost_session_lent_is_dropped_and_freed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
