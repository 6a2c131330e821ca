/* SPDX-License-Identifier: Apache-2.0 */
/* A peer that agrees on loans and then lies: lends what it did not share or
 * shares what it must not, gives back what it was not lent. It is refused for
 * the reason, nothing of it is left, and the next one is served. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/prng.h"
#include "channel/lending/lent.h"
#include "channel/lending/slab.h"
#include "include/mchan.h"
#include "tests/unit/channel/lender.h"
#include "transport/passing.h"
#include "transport/ring.h"
#include "wire/frame.h"

/* Who lends what it must not. */

static void
a_good_one_is_served(void **state)
{
    for (int i = 0; i < 3; i++) {
        serve_a_good_one(*state);
    }
}

static void
a_loan_without_agreement_is_refused(void **state)
{
    struct scene *scene = *state;
    int32_t n_fds = held_fds();
    ringpeer_come_up(scene, 0);
    raw_lend(scene, 1, first(0), 100);
    expect_refused(scene, "loan that was not agreed upon", n_fds);
}

static void
a_loan_of_what_was_not_shared_is_refused(void **state)
{
    struct scene *scene = *state;
    int32_t n_fds = held_fds();
    struct mchan_view got;
    ringpeer_come_up(scene, LOAN_BYTES);
    raw_lend(scene, 1, first(0), 100);
    assert_int_equal(try_view(scene, &got), -EPROTO);
    expect_refused(scene, "loan of what was not shared", n_fds);
}

static void
a_loan_of_a_wrong_size_is_refused(void **state)
{
    struct scene *scene = *state;
    int32_t n_fds = held_fds();
    static const uint32_t sizes[] = {0, 8, 15, 17, 64};
    for (size_t i = 0; i < 5; i++) {
        struct record record = {.size = sizes[i], .kind = RECORD_LOAN};
        static const uint8_t zeros[64];
        ringpeer_come_up(scene, LOAN_BYTES);
        record.sequence = 1;
        record.attachment = scene->attachment;
        ringpeer_put(scene, &record, zeros);
        expect_refused(scene, "loan of a wrong size", n_fds);
        scene->now += NSEC_PER_SEC;
        ringpeer_leave(scene);
        scene_expect(scene->channel, MCHAN_PEER_LOST);
        scene->now += 2 * NSEC_PER_SEC; /* Nothing of it waits any more. */
        mchan_arm(scene->channel, MCHAN_READABLE);
    }
}

static void
a_loan_outside_is_refused(void **state)
{
    struct scene *scene = *state;
    int32_t n_fds = held_fds();
    static const struct {
        uint64_t handle, size;
    } loans[] = {
        {UINT64_C(1) << 32 | 32, 1},
        {UINT64_MAX, 1},
        {UINT64_C(1) << 32, LOAN_BYTES + 1},
        {UINT64_C(1) << 32 | 31, 4097},
        {UINT64_C(1) << 32 | 1, UINT64_MAX - 4095}, /* Sums up to 0. */
        {UINT64_C(1) << 32, UINT64_MAX},
    };
    for (size_t i = 0; i < sizeof loans / sizeof *loans; i++) {
        struct mchan_view got;
        char data[8];
        ringpeer_come_up(scene, LOAN_BYTES);
        raw_share(scene, LOAN_BYTES, SEALS);
        raw_lend(scene, 1, loans[i].handle, loans[i].size);
        if (i % 2) {
            assert_int_equal(try_view(scene, &got), -EPROTO);
        } else {
            ssize_t n;
            do {
                n = mchan_recv(scene->channel, data, sizeof data, NULL);
            } while (n == -EAGAIN);
            assert_int_equal(n, -EPROTO);
        }
        expect_gone(scene, "loan of what was not shared", n_fds);
    }
    serve_a_good_one(scene);
}

static void
a_chunk_lent_twice_is_refused(void **state)
{
    struct scene *scene = *state;
    int32_t n_fds = held_fds();
    struct mchan_view got, again;
    ringpeer_come_up(scene, LOAN_BYTES);
    raw_share(scene, LOAN_BYTES, SEALS);
    raw_lend(scene, 1, first(7), 100);
    raw_lend(scene, 2, first(7) + (UINT64_C(1) << 32), 100);
    assert_int_equal(try_view(scene, &got), 0);
    assert_int_equal(try_view(scene, &again), -EPROTO);
    scene_expect_refused(scene, "loan of what is lent already");
    ringpeer_leave(scene);
    assert_int_equal(held_memfds(), 1);
    assert_int_equal(*(const uint8_t *)got.data, 0); /* It is still there. */
    mchan_release(scene->channel, &got);
    assert_int_equal(held_memfds(), 0);
    assert_int_equal(held_fds(), n_fds);
    serve_a_good_one(scene);
}

static void
a_bad_loan_of_one_who_left_is_refused_too(void **state)
{
    struct scene *scene = *state;
    int32_t n_fds = held_fds();
    struct mchan_view got;
    ringpeer_come_up(scene, LOAN_BYTES);
    raw_share(scene, LOAN_BYTES, SEALS);
    raw_lend(scene, 1, first(2), 500);
    raw_lend(scene, 2, first(33), 500);
    ringpeer_leave(scene);
    scene_expect(scene->channel, MCHAN_PEER_LOST);
    assert_int_equal(try_view(scene, &got), 0);
    assert_int_equal(got.size, 500);
    struct mchan_view unused;
    assert_int_equal(try_view(scene, &unused), -EPROTO);
    mchan_release(scene->channel, &got);
    assert_int_equal(held_fds(), n_fds);
    assert_int_equal(held_memfds(), 0);
    serve_a_good_one(scene);
}

static void
memory_not_as_agreed_is_refused(void **state)
{
    struct scene *scene = *state;
    int32_t n_fds = held_fds();
    static const struct {
        uint64_t size;
        int seals;
    } shared[] = {
        {LOAN_BYTES, 0},
        {LOAN_BYTES, F_SEAL_GROW | F_SEAL_FUTURE_WRITE}, /* Can shrink. */
        {LOAN_BYTES, F_SEAL_SHRINK | F_SEAL_FUTURE_WRITE},
        {LOAN_BYTES, F_SEAL_SHRINK | F_SEAL_GROW},
        {LOAN_BYTES - 1, SEALS},
        {2 * LOAN_BYTES, SEALS},
        {0, SEALS},
    };
    for (size_t i = 0; i < sizeof shared / sizeof *shared; i++) {
        struct mchan_view got;
        ringpeer_come_up(scene, LOAN_BYTES);
        raw_share(scene, shared[i].size, shared[i].seals);
        raw_lend(scene, 1, first(0), 1);
        assert_int_equal(try_view(scene, &got), -EPROTO);
        expect_gone(scene, "the memory lent is not as agreed", n_fds);
    }
    serve_a_good_one(scene);
}

static void
what_is_no_memory_is_refused(void **state)
{
    struct scene *scene = *state;
    int32_t n_fds = held_fds();
    struct mchan_view got;
    ringpeer_come_up(scene, LOAN_BYTES);
    assert_int_equal(passing_send(scene->raw, "", 1, scene->raw), 0);
    raw_lend(scene, 1, first(0), 1);
    assert_int_equal(try_view(scene, &got), -EPROTO);
    expect_refused(scene, "the memory lent is not as agreed", n_fds);
}

/* Who gives back what it must not. */

static void
a_return_of_what_was_not_lent_is_refused(void **state)
{
    struct scene *scene = *state;
    int32_t n_fds = held_fds();
    for (int i = 0; i < 7; i++) {
        uint64_t lent[2];
        be_lent(scene, lent, 2);
        const uint64_t wrong[] = {
            0,
            UINT64_MAX,
            lent[0] + 10,                  /* Another chunk. */
            lent[0] + 4096,                /* None. */
            lent[0] + (UINT64_C(1) << 32), /* A later generation, */
            lent[0] & UINT32_MAX,          /* none at all, */
            (uint32_t)lent[1] | UINT64_MAX << 32,
        };
        blocks(scene)[1].words[0] = wrong[i];
        blocks(scene)[1].count = 1;
        ringpeer_wake(scene);
        expect_gone(scene, "gives back what it was not lent", n_fds);
    }
    serve_a_good_one(scene);
}

static void
a_second_return_is_refused(void **state)
{
    struct scene *scene = *state;
    int32_t n_fds = held_fds();
    uint64_t lent[2];
    be_lent(scene, lent, 2);
    blocks(scene)[1].words[0] = lent[0];
    blocks(scene)[1].words[1] = lent[0];
    blocks(scene)[1].count = 2;
    ringpeer_wake(scene);
    expect_refused(scene, "gives back what it was not lent", n_fds);
}

static void
a_count_of_returns_that_can_not_be_is_refused(void **state)
{
    struct scene *scene = *state;
    int32_t n_fds = held_fds();
    static const uint64_t counts[] = {3, 1025, UINT64_C(1) << 32, UINT64_MAX};
    for (size_t i = 0; i < 4; i++) {
        uint64_t lent[2];
        be_lent(scene, lent, 2);
        blocks(scene)[1].words[0] = lent[0];
        blocks(scene)[1].words[1] = lent[1];
        blocks(scene)[1].count = counts[i];
        ringpeer_wake(scene);
        expect_gone(scene, "gives back what it was not lent", n_fds);
    }
    serve_a_good_one(scene);
}

static void
a_count_that_goes_back_is_refused(void **state)
{
    struct scene *scene = *state;
    int32_t n_fds = held_fds();
    uint64_t lent[3];
    be_lent(scene, lent, 3);
    blocks(scene)[1].words[0] = lent[0];
    blocks(scene)[1].words[1] = lent[1];
    blocks(scene)[1].count = 2;
    mchan_arm(scene->channel, MCHAN_READABLE);
    blocks(scene)[1].count = 1;
    ringpeer_wake(scene);
    expect_refused(scene, "gives back what it was not lent", n_fds);
}

static void
returns_before_the_first_loan_are_refused_with_it(void **state)
{
    struct scene *scene = *state;
    int32_t n_fds = held_fds();
    struct mchan_loan loan;
    ringpeer_come_up(scene, LOAN_BYTES);
    blocks(scene)[1].count = 1;
    mchan_arm(scene->channel, MCHAN_READABLE);
    assert_int_equal(mchan_loan(scene->channel, 100, &loan), -EPROTO);
    expect_refused(scene, "gives back what it was not lent", n_fds);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int
main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_good_one_is_served),
        TEST(a_loan_without_agreement_is_refused),
        TEST(a_loan_of_what_was_not_shared_is_refused),
        TEST(a_loan_of_a_wrong_size_is_refused),
        TEST(a_loan_outside_is_refused),
        TEST(a_chunk_lent_twice_is_refused),
        TEST(a_bad_loan_of_one_who_left_is_refused_too),
        TEST(memory_not_as_agreed_is_refused),
        TEST(what_is_no_memory_is_refused),
        TEST(a_return_of_what_was_not_lent_is_refused),
        TEST(a_second_return_is_refused),
        TEST(a_count_of_returns_that_can_not_be_is_refused),
        TEST(a_count_that_goes_back_is_refused),
        TEST(returns_before_the_first_loan_are_refused_with_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
