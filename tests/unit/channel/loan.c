/* SPDX-License-Identifier: Apache-2.0 */
/* Large data by reference, from one end to the other over shared memory: it is
 * seen where it was written, in order with everything else, and given back;
 * who waits for that is woken; and who can't lend is told so. (loan_scene.h) */
#include <errno.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/clock.h"
#include "tests/left.h"
#include "tests/unit/channel/loan_scene.h"
#include "transport/returns.h"

/* Content and order. */

static void
what_is_lent_is_seen_as_it_was_written(void **state)
{
    struct pair *pair = *state;
    static const size_t sizes[] = {1, 4096, 4097, 65536, 300000, LOAN_BYTES};
    open_both(pair);
    for (uint32_t i = 0; i < 12; i++) {
        size_t size = sizes[i % 6];
        int from = i / 6 ? FRONT : BACK;
        assert_int_equal(lend(pair, from, size, i), 0);
        struct mchan_view got = view(pair, !from);
        assert_int_equal(got.size, size);
        assert_int_equal(got.info.tag, i);
        assert_int_equal(got.info.sequence, i % 6 + 1);
        assert_int_equal(got.info.delivery, MCHAN_RELIABLE);
        expect_filled(got.data, size, i);
        assert_int_equal(n_lent(pair, from), 1);
        mchan_release(pair->end[!from], &got);
        assert_int_equal(n_lent(pair, from), 0);
    }
}

static void
a_part_of_a_loan_may_be_sent_and_an_empty_one(void **state)
{
    struct pair *pair = *state;
    struct mchan_loan loan;
    open_both(pair);
    for (size_t size = 0; size < 3; size++) {
        struct mchan_msg message = {.size = size};
        assert_int_equal(mchan_loan(pair->end[BACK], 5000, &loan), 0);
        assert_int_equal(loan.size, 5000);
        fill(loan.data, 5000, 1);
        assert_int_equal(mchan_send_loan(pair->end[BACK], &loan, &message), 0);
        struct mchan_view got = view(pair, FRONT);
        assert_int_equal(got.size, size);
        expect_filled(got.data, size, 1);
        mchan_release(pair->end[FRONT], &got);
    }
    struct mchan_msg message = {.size = 8193};
    assert_int_equal(mchan_loan(pair->end[BACK], 5000, &loan), 0);
    assert_int_equal(mchan_send_loan(pair->end[BACK], &loan, &message),
                     -EMSGSIZE);
}

static void
loans_and_messages_keep_their_order(void **state)
{
    struct pair *pair = *state;
    uint8_t data[300];
    struct mchan_info info;
    open_both(pair);
    for (uint32_t round = 0; round < 200; round++) {
        for (uint32_t i = 0; i < 10; i++) {
            struct mchan_msg message = {.data = data, .size = 200 + i};
            message.tag = (uint16_t)i;
            fill(data, message.size, i);
            assert_int_equal(i % 3 ? mchan_send(pair->end[FRONT], &message)
                                   : lend(pair, FRONT, 200 + i, i),
                             0);
        }
        for (uint32_t i = 0; i < 10; i++) {
            if ((i + round) % 2) {
                struct mchan_view got = view(pair, BACK);
                assert_int_equal(got.info.sequence, round * 10 + i + 1);
                assert_int_equal(got.info.tag, i);
                assert_int_equal(!got.handle, i % 3 != 0);
                expect_filled(got.data, 200 + i, i);
                mchan_release(pair->end[BACK], &got);
            } else {
                ssize_t got =
                    mchan_recv(pair->end[BACK], data, sizeof data, &info);
                assert_int_equal(got, 200 + i);
                assert_int_equal(info.sequence, round * 10 + i + 1);
                assert_int_equal(info.tag, i);
                expect_filled(data, 200 + i, i);
            }
        }
    }
    assert_int_equal(n_lent(pair, FRONT), 0);
}

static void
who_does_not_care_gets_a_copy(void **state)
{
    struct pair *pair = *state;
    static uint8_t data[10000];
    open_both(pair);
    assert_int_equal(lend(pair, BACK, 10000, 5), 0);
    (void)mchan_arm(pair->end[FRONT], MCHAN_READABLE);
    assert_int_equal(mchan_recv(pair->end[FRONT], data, 9999, NULL), -ENOBUFS);
    assert_int_equal(mchan_recv(pair->end[FRONT], data, 0, NULL), -ENOBUFS);
    assert_int_equal(mchan_recv(pair->end[FRONT], data, 10000, NULL), 10000);
    expect_filled(data, 10000, 5);
    assert_int_equal(n_lent(pair, BACK), 0);
    assert_int_equal(mchan_recv(pair->end[FRONT], data, 10000, NULL), -EAGAIN);
}

/* Many. */

static void
many_are_held_and_given_back_in_any_order(void **state)
{
    struct pair *pair = *state;
    static struct mchan_view views[256];
    open_both(pair);
    for (uint32_t round = 0; round < 5; round++) {
        for (uint32_t i = 0; i < 256; i++) { /* All there is. */
            assert_int_equal(lend(pair, BACK, 4096, i), 0);
        }
        struct mchan_loan loan;
        assert_int_equal(mchan_loan(pair->end[BACK], 1, &loan), -EAGAIN);
        for (uint32_t i = 0; i < 256; i++) {
            views[i] = view(pair, FRONT);
        }
        for (uint32_t i = 0; i < 256; i++) {
            expect_filled(views[i].data, 4096, i);
        }
        assert_int_equal(n_lent(pair, BACK), 256);
        for (uint32_t i = 0; i < 256; i++) {
            uint32_t at = i * 37 % 256;
            expect_filled(views[at].data, 4096, at);
            mchan_release(pair->end[FRONT], &views[at]);
        }
        assert_int_equal(n_lent(pair, BACK), 0);
    }
}

static void
no_more_are_out_than_can_come_back(void **state)
{
    struct pair *pair = *state;
    struct mchan_loan loan;
    pair->opts.loan_bytes = (RETURNS_MAX + 100) * 4096u;
    pair->opts.ring_size = 1u << 20;
    open_both(pair);
    for (uint32_t i = 0; i < RETURNS_MAX; i++) {
        assert_int_equal(lend(pair, BACK, 10, i), 0);
    }
    assert_int_equal(mchan_loan(pair->end[BACK], 1, &loan), -EAGAIN);
    struct mchan_view got = view(pair, FRONT);
    mchan_release(pair->end[FRONT], &got);
    assert_int_equal(mchan_loan(pair->end[BACK], 1, &loan), 0);
    assert_int_equal(mchan_loan(pair->end[BACK], 1, &loan), -EAGAIN);
}

static void
a_ring_too_full_for_a_loan_leaves_it_ours(void **state)
{
    struct pair *pair = *state;
    struct mchan_loan loan;
    struct mchan_msg message = {.size = 4096}, copied = {.data = "x"};
    pair->opts.ring_size = 4096;
    open_both(pair);
    assert_int_equal(mchan_loan(pair->end[BACK], 4096, &loan), 0);
    fill(loan.data, 4096, 3);
    while (!mchan_send(pair->end[BACK], &copied)) {
    }
    assert_int_equal(mchan_send_loan(pair->end[BACK], &loan, &message),
                     -EAGAIN);
    while (view(pair, FRONT).info.sequence < 50) {
    }
    assert_int_equal(mchan_recv(pair->end[FRONT], NULL, 0, NULL), 0);
    assert_int_equal(mchan_send_loan(pair->end[BACK], &loan, &message), 0);
    struct mchan_view got;
    do {
        got = view(pair, FRONT);
    } while (!got.handle);
    expect_filled(got.data, 4096, 3);
}

/* Waiting. */

static bool
is_readable(struct mchan *channel)
{
    struct pollfd readable = {.fd = mchan_fd(channel), .events = POLLIN};
    return poll(&readable, 1, 0) == 1;
}

static void
who_waits_for_a_chunk_is_woken_by_its_return(void **state)
{
    struct pair *pair = *state;
    struct mchan_loan loan;
    open_both(pair);
    for (uint32_t round = 0; round < 100; round++) {
        /* A whole one, or the last of many. */
        size_t size = round % 2 ? LOAN_BYTES : LOAN_BYTES / 16;
        int error;
        while (!(error = lend(pair, BACK, size, round))) {
        }
        assert_int_equal(error, -EAGAIN);
        while (mchan_arm(pair->end[BACK], MCHAN_WRITABLE)) {
            assert_int_not_equal(mchan_loan(pair->end[BACK], size, &loan), 0);
        }
        assert_false(is_readable(pair->end[BACK]));
        struct mchan_view got = view(pair, FRONT);
        assert_false(is_readable(pair->end[BACK]));
        mchan_release(pair->end[FRONT], &got);
        assert_true(is_readable(pair->end[BACK]));
        assert_int_equal(mchan_arm(pair->end[BACK], MCHAN_WRITABLE), 1);
        assert_int_equal(mchan_loan(pair->end[BACK], size, &loan), 0);
        mchan_unloan(pair->end[BACK], &loan);
        while (!mchan_view(pair->end[FRONT], &got)) {
            mchan_release(pair->end[FRONT], &got);
        }
        assert_int_equal(n_lent(pair, BACK), 0);
    }
}

static void
a_return_between_the_question_and_the_sleep_is_seen(void **state)
{
    struct pair *pair = *state;
    struct mchan_loan loan;
    open_both(pair);
    assert_int_equal(lend(pair, BACK, LOAN_BYTES, 1), 0);
    struct mchan_view got = view(pair, FRONT);
    assert_int_equal(mchan_loan(pair->end[BACK], 1, &loan), -EAGAIN);
    mchan_release(pair->end[FRONT], &got);
    assert_int_equal(mchan_arm(pair->end[BACK], MCHAN_WRITABLE), 1);
    assert_int_equal(mchan_loan(pair->end[BACK], 1, &loan), 0);
}

static void
a_wish_for_a_chunk_does_not_hold_up_messages(void **state)
{
    struct pair *pair = *state;
    struct mchan_loan loan;
    struct mchan_msg message = {.data = "x"};
    pair->opts.ring_size = 4096;
    open_both(pair);
    assert_int_equal(lend(pair, BACK, LOAN_BYTES, 1), 0);
    struct mchan_view held = view(pair, FRONT);
    assert_int_equal(mchan_loan(pair->end[BACK], 1, &loan), -EAGAIN);
    while (!mchan_send(pair->end[BACK], &message)) {
    }
    while (!mchan_recv(pair->end[FRONT], NULL, 0, NULL)) {
    }
    assert_int_equal(mchan_arm(pair->end[BACK], MCHAN_WRITABLE), 1);
    assert_int_equal(mchan_send(pair->end[BACK], &message), 0);
    mchan_release(pair->end[FRONT], &held);
}

/* Who can't. */

static void
without_the_word_of_both_nothing_is_lent(void **state)
{
    struct pair *pair = *state;
    struct mchan_loan loan;
    for (int who = 0; who < 3; who++) {
        pair->opts.loan_bytes = who == 0 ? LOAN_BYTES : 0;
        open_end(pair, BACK);
        pair->opts.loan_bytes = who == 1 ? LOAN_BYTES : 0;
        open_end(pair, FRONT);
        come_up(pair, pair->n_up[FRONT] + 1);
        for (int which = 0; which < 2; which++) {
            assert_int_equal(mchan_loan(pair->end[which], 4096, &loan),
                             -ENOTSUP);
        }
        close_end(pair, FRONT);
        close_end(pair, BACK);
    }
}

static void
the_smaller_offer_counts(void **state)
{
    struct pair *pair = *state;
    struct mchan_loan loan;
    open_end(pair, BACK);
    pair->opts.loan_bytes = 100000; /* 24 units, of which 16 together. */
    open_end(pair, FRONT);
    come_up(pair, 1);
    for (int which = 0; which < 2; which++) {
        assert_int_equal(mchan_loan(pair->end[which], 65537, &loan), -EMSGSIZE);
        assert_int_equal(lend(pair, which, 65536, 1), 0);
        struct mchan_view got = view(pair, !which);
        expect_filled(got.data, 65536, 1);
    }
}

static void
a_stream_lends_nothing_and_shows_messages_all_the_same(void **state)
{
    struct pair *pair = *state;
    struct mchan_loan loan;
    uint8_t data[3000];
    snprintf(pair->uri, sizeof pair->uri, "unix:%s/s", pair->dir);
    open_both(pair);
    assert_int_equal(mchan_loan(pair->end[BACK], 4096, &loan), -ENOTSUP);
    for (uint32_t i = 0; i < 500; i++) {
        struct mchan_msg message = {.data = data, .size = i * 6};
        fill(data, message.size, i);
        assert_int_equal(mchan_send(pair->end[BACK], &message), 0);
        assert_int_equal(mchan_send(pair->end[BACK], &message), 0);
        for (int twice = 0; twice < 2; twice++) {
            struct mchan_view got = view(pair, FRONT);
            assert_int_equal(got.handle, 0);
            assert_int_equal(got.size, i * 6);
            expect_filled(got.data, got.size, i);
            mchan_release(pair->end[FRONT], &got); /* Does nothing. */
        }
    }
}

static void
what_is_not_ours_is_refused(void **state)
{
    struct pair *pair = *state;
    struct mchan_msg message = {.size = 100};
    struct mchan_loan loan, other;
    open_both(pair);
    memset(&other, 0, sizeof other);
    assert_int_equal(mchan_send_loan(pair->end[BACK], &other, &message),
                     -EINVAL); /* Before there is any. */
    assert_int_equal(mchan_loan(pair->end[BACK], 4096, &loan), 0);
    other = loan;
    other.handle++;
    assert_int_equal(mchan_send_loan(pair->end[BACK], &other, &message),
                     -EINVAL);
    other = loan;
    other.data = (uint8_t *)loan.data + 4096;
    assert_int_equal(mchan_send_loan(pair->end[BACK], &other, &message),
                     -EINVAL);
    mchan_unloan(pair->end[BACK], &other); /* Nor is it given back. */
    message.delivery = MCHAN_DATAGRAM;
    assert_int_equal(mchan_send_loan(pair->end[BACK], &loan, &message),
                     -EINVAL);
    message.delivery = MCHAN_RELIABLE;
    assert_int_equal(mchan_send_loan(pair->end[BACK], &loan, &message), 0);
    assert_int_equal(mchan_send_loan(pair->end[BACK], &loan, &message),
                     -EINVAL); /* Twice. */
    mchan_unloan(pair->end[BACK], &loan);
    struct mchan_view got = view(pair, FRONT), copy = got;
    copy.handle ^= UINT64_C(1) << 40;
    mchan_release(pair->end[FRONT], &copy);
    assert_int_equal(n_lent(pair, BACK), 1);
    mchan_release(pair->end[FRONT], &got);
    mchan_release(pair->end[FRONT], &got); /* Twice. */
    assert_int_equal(n_lent(pair, BACK), 0);
    assert_int_equal(lend(pair, BACK, 100, 1), 0);
    mchan_release(pair->end[FRONT], &got); /* Of one that is over. */
    assert_int_equal(n_lent(pair, BACK), 1);
}

static void
before_a_session_nothing_is_lent(void **state)
{
    struct pair *pair = *state;
    struct mchan_loan loan;
    struct mchan_view got;
    open_end(pair, FRONT);
    assert_int_equal(mchan_loan(pair->end[FRONT], 4096, &loan), -ENOTCONN);
    assert_int_equal(mchan_view(pair->end[FRONT], &got), -ENOTCONN);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int
main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(what_is_lent_is_seen_as_it_was_written),
        TEST(a_part_of_a_loan_may_be_sent_and_an_empty_one),
        TEST(loans_and_messages_keep_their_order),
        TEST(who_does_not_care_gets_a_copy),
        TEST(many_are_held_and_given_back_in_any_order),
        TEST(no_more_are_out_than_can_come_back),
        TEST(a_ring_too_full_for_a_loan_leaves_it_ours),
        TEST(who_waits_for_a_chunk_is_woken_by_its_return),
        TEST(a_return_between_the_question_and_the_sleep_is_seen),
        TEST(a_wish_for_a_chunk_does_not_hold_up_messages),
        TEST(without_the_word_of_both_nothing_is_lent),
        TEST(the_smaller_offer_counts),
        TEST(a_stream_lends_nothing_and_shows_messages_all_the_same),
        TEST(what_is_not_ours_is_refused),
        TEST(before_a_session_nothing_is_lent),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
