/* SPDX-License-Identifier: Apache-2.0 */
/* A peer that throws descriptors at us: without agreement, too early, too
 * many, one after the other. None of them is left, and the next peer is
 * served. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>

#include <cmocka.h>

#include "base/prng.h"
#include "channel/lending/lent.h"
#include "channel/lending/slab.h"
#include "include/mchan.h"
#include "tests/unit/channel/lender.h"
#include "transport/passing.h"
#include "transport/ring.h"
#include "wire/frame.h"

/* Sends 'n' descriptors in one message. */
static void
raw_throw(struct scene *scene, unsigned n)
{
    char byte = 0;
    struct iovec iov = {.iov_base = &byte, .iov_len = 1};
    union {
        struct cmsghdr header;
        uint8_t bytes[CMSG_SPACE(32 * sizeof(int))];
    } control = {0};
    control.header.cmsg_level = SOL_SOCKET;
    control.header.cmsg_type = SCM_RIGHTS;
    control.header.cmsg_len = CMSG_LEN(n * sizeof(int));
    for (unsigned i = 0; i < n; i++) {
        memcpy(CMSG_DATA(&control.header) + i * sizeof(int), &scene->raw,
               sizeof(int));
    }
    struct msghdr message = {.msg_iov = &iov, .msg_iovlen = 1};
    message.msg_control = control.bytes;
    message.msg_controllen = CMSG_SPACE(n * sizeof(int));
    (void)sendmsg(scene->raw, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
}

/* Makes the channel read its socket. */
static void
raw_wake_often(struct scene *scene)
{
    for (int i = 0; i < 100; i++) {
        ringpeer_wake(scene);
        mchan_arm(scene->channel, MCHAN_READABLE);
    }
}

static void
descriptors_without_agreement_are_closed(void **state)
{
    struct scene *scene = *state;
    int32_t n_fds = held_fds();
    ringpeer_come_up(scene, 0);
    raw_throw(scene, 1);
    raw_wake_often(scene);
    expect_refused(scene, "descriptors that were not agreed upon", n_fds);
}

static void
an_early_descriptor_is_closed_when_nothing_is_agreed(void **state)
{
    struct scene *scene = *state;
    int32_t n_fds = held_fds();
    struct hello hello = {.message_max = RING / 8};
    struct record record = {.size = HELLO_SIZE, .kind = RECORD_HELLO};
    uint8_t data[HELLO_SIZE];
    ringpeer_connect(scene);
    raw_throw(scene, 1);
    raw_wake_often(scene); /* It is taken before HELLO. */
    frame_put_hello(data, &hello);
    ringpeer_put(scene, &record, data);
    raw_wake_often(scene);
    expect_refused(scene, "descriptors that were not agreed upon", n_fds);
}

static void
too_many_descriptors_are_closed(void **state)
{
    struct scene *scene = *state;
    int32_t n_fds = held_fds();
    static const unsigned counts[] = {2, 8, 9, 32};
    for (size_t i = 0; i < 4; i++) {
        ringpeer_come_up(scene, LOAN_BYTES);
        raw_throw(scene, counts[i]);
        raw_wake_often(scene);
        expect_gone(scene, "descriptors that were not agreed upon", n_fds);
    }
    serve_a_good_one(scene);
}

static void
one_descriptor_after_the_other_is_closed(void **state)
{
    struct scene *scene = *state;
    int32_t n_fds = held_fds();
    struct mchan_view got;
    ringpeer_come_up(scene, LOAN_BYTES);
    raw_share(scene, LOAN_BYTES, SEALS);
    raw_lend(scene, 1, first(0), 1);
    assert_int_equal(try_view(scene, &got), 0);
    mchan_release(scene->channel, &got);
    raw_share(scene, LOAN_BYTES, SEALS); /* And one more. */
    raw_wake_often(scene);
    expect_refused(scene, "descriptors that were not agreed upon", n_fds);
}

static void
a_flood_of_descriptors_leaves_none(void **state)
{
    struct scene *scene = *state;
    int32_t n_fds = held_fds();
    for (unsigned i = 0; i < 1000; i++) {
        int32_t n_before;
        if (!scene->memory || i % 50 == 0) {
            scene->now += NSEC_PER_SEC;
            ringpeer_come_up(scene, i % 2 ? LOAN_BYTES : 0);
        }
        n_before = held_fds();
        raw_throw(scene, 1 + i % 31);
        ringpeer_wake(scene);
        mchan_arm(scene->channel, MCHAN_READABLE);
        /* At most the one that may come. */
        assert_true(held_fds() <= n_before + 1);
    }
    ringpeer_leave(scene);
    for (int i = 0; i < 5; i++) {
        struct mchan_event event;
        mchan_arm(scene->channel, MCHAN_READABLE);
        while (mchan_next_event(scene->channel, &event)) {
        }
        scene->now += NSEC_PER_SEC;
    }
    assert_int_equal(held_fds(), n_fds);
    serve_a_good_one(scene);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int
main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(descriptors_without_agreement_are_closed),
        TEST(an_early_descriptor_is_closed_when_nothing_is_agreed),
        TEST(too_many_descriptors_are_closed),
        TEST(one_descriptor_after_the_other_is_closed),
        TEST(a_flood_of_descriptors_leaves_none),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
