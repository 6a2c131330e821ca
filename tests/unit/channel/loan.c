/* SPDX-License-Identifier: Apache-2.0 */
/* Large data by reference, from one end to the other over shared memory: it is
 * seen where it was written, in order with everything else, and given back; who
 * waits for that is woken; what is in a user's hands outlives the peer, and
 * nothing else does. */
#include <errno.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/clock.h"
#include "include/mchan.h"
#include "tests/left.h"
#include "transport/returns.h"

#define LOAN_BYTES (1u << 20)
#define ROUNDS_MAX 3000

enum { BACK, FRONT };

struct pair {
    char dir[64], uri[96];
    int64_t now;
    struct mchan_opts opts;
    struct mchan *end[2];
    /* Of events seen, per end. */
    unsigned n_up[2], n_lost[2], n_proto_errors[2], n_dropped[2], n_gaps[2];
    int32_t n_fds, n_maps; /* Before anything was opened. */
};

static int64_t
pair_time(void *ctx)
{
    return ((struct pair *)ctx)->now;
}

static int
set_up(void **state)
{
    static struct pair pair;
    const struct mchan_opts opts = MCHAN_OPTS_INIT;
    memset(&pair, 0, sizeof pair);
    strcpy(pair.dir, "/tmp/mchan-test-XXXXXX");
    assert_non_null(mkdtemp(pair.dir));
    snprintf(pair.uri, sizeof pair.uri, "shm:%s/s", pair.dir);
    pair.now = NSEC_PER_SEC;
    pair.opts = opts;
    pair.opts.now_ns = pair_time;
    pair.opts.now_ctx = &pair;
    pair.opts.loan_bytes = LOAN_BYTES;
    pair.n_fds = held_fds();
    pair.n_maps = held_memfds();
    *state = &pair;
    return 0;
}

static void
open_end(struct pair *pair, int which)
{
    int error = which == BACK
                    ? mchan_listen(&pair->end[BACK], pair->uri, &pair->opts)
                    : mchan_open(&pair->end[FRONT], pair->uri, &pair->opts);
    assert_int_equal(error, 0);
}

static void
close_end(struct pair *pair, int which)
{
    mchan_close(pair->end[which]);
    pair->end[which] = NULL;
}

static int
tear_down(void **state)
{
    struct pair *pair = *state;
    close_end(pair, BACK);
    close_end(pair, FRONT);
    assert_int_equal(held_fds(), pair->n_fds);
    assert_int_equal(held_memfds(), pair->n_maps);
    return rmdir(pair->dir);
}

static void
collect(struct pair *pair, int which)
{
    struct mchan_event event;
    while (mchan_next_event(pair->end[which], &event)) {
        pair->n_up[which] += event.type == MCHAN_UP;
        pair->n_lost[which] += event.type == MCHAN_PEER_LOST;
        pair->n_proto_errors[which] += event.type == MCHAN_PROTO_ERROR;
        pair->n_dropped[which] += event.type == MCHAN_DROPPED;
        pair->n_gaps[which] += event.type == MCHAN_GAP;
    }
}

/* Lets both ends move on once, and time pass. */
static void
move_on(struct pair *pair)
{
    for (int i = 0; i < 2; i++) {
        if (pair->end[i]) {
            collect(pair, i);
            (void)mchan_arm(pair->end[i], MCHAN_READABLE);
        }
    }
    pair->now += 10 * NSEC_PER_MSEC;
}

/* Until both were told of so many sessions. */
static void
come_up(struct pair *pair, unsigned n)
{
    for (int i = 0; i < ROUNDS_MAX; i++) {
        if (pair->n_up[BACK] >= n && pair->n_up[FRONT] >= n) {
            return;
        }
        move_on(pair);
    }
    fail_msg("no session %u", n);
}

static void
open_both(struct pair *pair)
{
    open_end(pair, BACK);
    open_end(pair, FRONT);
    come_up(pair, pair->n_up[FRONT] + 1);
}

/* Ends all connections, and neither end. */
static void
cut(struct pair *pair)
{
    for (int fd = 3; fd < 64; fd++) {
        int listens = 0;
        socklen_t size = sizeof listens;
        if (!getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listens, &size) &&
            !listens) {
            shutdown(fd, SHUT_RDWR);
        }
    }
}

static uint8_t
byte_at(uint32_t seed, size_t at)
{
    return (uint8_t)(seed * 31 + at + (at >> 8));
}

static void
fill(void *data, size_t size, uint32_t seed)
{
    for (size_t i = 0; i < size; i++) {
        ((uint8_t *)data)[i] = byte_at(seed, i);
    }
}

static void
expect_filled(const void *data, size_t size, uint32_t seed)
{
    for (size_t i = 0; i < size; i++) {
        assert_int_equal(((const uint8_t *)data)[i], byte_at(seed, i));
    }
}

static int
lend(struct pair *pair, int from, size_t size, uint32_t seed)
{
    struct mchan_loan loan;
    int error = mchan_loan(pair->end[from], size, &loan);
    if (!error) {
        struct mchan_msg message = {.size = size, .tag = (uint16_t)seed};
        fill(loan.data, size, seed);
        error = mchan_send_loan(pair->end[from], &loan, &message);
        assert_int_equal(error, 0);
    }
    return error;
}

static struct mchan_view
view(struct pair *pair, int at)
{
    struct mchan_view got;
    for (int i = 0; i < ROUNDS_MAX; i++) {
        int error = mchan_view(pair->end[at], &got);
        if (!error) {
            return got;
        }
        assert_int_equal(error, -EAGAIN);
    }
    fail_msg("no message");
    abort();
}

static uint64_t
n_lent(struct pair *pair, int which)
{
    struct mchan_stats stats;
    (void)mchan_arm(pair->end[which], MCHAN_READABLE);
    mchan_stats(pair->end[which], &stats, sizeof stats);
    return stats.n_lent;
}

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
