/* SPDX-License-Identifier: Apache-2.0 */
/* A peer that agrees on loans and then lies: lends what it did not share or
 * shares what it must not, gives back what it was not lent, throws descriptors
 * at us, writes anywhere.  It is refused for the reason, nothing of it is left,
 * and the next one is served. */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/prng.h"
#include "channel/lending/lent.h"
#include "channel/lending/slab.h"
#include "include/mchan.h"
#include "transport/passing.h"
#include "tests/left.h"
#include "transport/returns.h"
#include "transport/ring.h"
#include "wire/frame.h"
#include "ringpeer.h"

#define RING 4096u
#define WORDS 4096u
#define MEMORY (WORDS + 2 * RING + 2 * sizeof(struct returns))
#define LOAN_BYTES (32u * 4096u)
#define SEALS (F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_FUTURE_WRITE)

/* The hostile peer's mapping; scene->memory is where it begins. */
static struct returns *
blocks(struct scene *scene)
{
    return (struct returns *)(void *)(scene->memory + WORDS + 2 * RING);
}

static int
set_up(void **state)
{
    int error = scene_set_up(state, "shm");
    struct scene *scene = *state;
    scene->opts.ring_size = RING;
    scene->opts.loan_bytes = LOAN_BYTES;
    scene_listen(scene);
    return error;
}

static int
tear_down(void **state)
{
    ringpeer_leave(*state);
    return scene_tear_down(state);
}

/* The hostile peer. */

static void
raw_lend(struct scene *scene, uint32_t sequence, uint64_t handle, uint64_t size)
{
    struct record record = {.size = LOAN_SIZE, .kind = RECORD_LOAN};
    uint8_t loan[LOAN_SIZE];
    record.sequence = sequence;
    record.attachment = scene->attachment;
    loan_put(loan, handle, size);
    ringpeer_put(scene, &record, loan);
}

/* A handle of generation 1. */
static uint64_t
first(uint32_t unit)
{
    return UINT64_C(1) << 32 | unit;
}

/* Shares memory of this size with these seals. */
static void
raw_share(struct scene *scene, uint64_t size, int seals)
{
    int fd = passing_make_memory(size, seals);
    assert_true(fd >= 0);
    assert_int_equal(passing_send(scene->raw, "", 1, fd), 0);
    close(fd);
}

static int
try_view(struct scene *scene, struct mchan_view *out)
{
    int error;
    time_t until = scene_seconds() + SCENE_PATIENCE_S;
    do {
        error = mchan_view(scene->channel, out);
    } while (error == -EAGAIN && scene_seconds() < until);
    return error;
}

/* A well-behaved one lends and is lent. */
static void
serve_a_good_one(struct scene *scene)
{
    struct mchan_view got;
    struct mchan_loan loan;
    struct mchan_msg message = {.size = 5000};
    scene->now += NSEC_PER_SEC;
    ringpeer_come_up(scene, LOAN_BYTES);
    raw_share(scene, LOAN_BYTES, SEALS);
    raw_lend(scene, 1, first(3), 5000);
    assert_int_equal(try_view(scene, &got), 0);
    assert_int_equal(got.size, 5000);
    mchan_release(scene->channel, &got);
    assert_int_equal(blocks(scene)[0].count, 1);
    assert_int_equal(blocks(scene)[0].words[0], first(3));
    assert_int_equal(mchan_loan(scene->channel, 5000, &loan), 0);
    assert_int_equal(mchan_send_loan(scene->channel, &loan, &message), 0);
    blocks(scene)[1].words[0] = loan.handle;
    blocks(scene)[1].count = 1;
    struct mchan_stats stats;
    mchan_arm(scene->channel, MCHAN_READABLE);
    mchan_stats(scene->channel, &stats, sizeof stats);
    assert_int_equal(stats.n_lent, 0);
    /* The rings, ours and the peer's; our slab, and what we map of its. */
    assert_int_equal(held_memfds(), 4);
}

/* Refused for this reason, with nothing left of it, and of ours at most what we
 * lent it and keep to send it again. */
static void
expect_gone(struct scene *scene, const char *reason, unsigned n_fds)
{
    scene_expect_refused(scene, reason);
    ringpeer_leave(scene);
    assert_int_equal(held_fds(), n_fds);
    assert_true(held_memfds() <= 1);
    scene->now += NSEC_PER_SEC;
}

static void
expect_refused(struct scene *scene, const char *reason, unsigned n_fds)
{
    expect_gone(scene, reason, n_fds);
    serve_a_good_one(scene);
}

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

/* Descriptors. */

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

/* Who gives back what it must not. */

/* The channel lends 'n' chunks; their handles. */
static void
be_lent(struct scene *scene, uint64_t *handles, unsigned n)
{
    ringpeer_come_up(scene, LOAN_BYTES);
    for (unsigned i = 0; i < n; i++) {
        struct mchan_loan loan;
        struct mchan_msg message = {.size = 100};
        assert_int_equal(mchan_loan(scene->channel, 100, &loan), 0);
        assert_int_equal(mchan_send_loan(scene->channel, &loan, &message), 0);
        handles[i] = loan.handle;
    }
}

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

/* Scribbling. */

/* A word of the kind that gets furthest. */
static uint64_t
choose_word(struct scene *scene, struct prng *prng)
{
    struct record record = {.size = LOAN_SIZE, .kind = RECORD_LOAN};
    switch (prng_below(prng, 8)) {
    case 0:
        return prng_u64(prng);
    case 1:
        return prng_below(prng, 3 * RING) & ~UINT64_C(63);
    case 2:
        return (uint64_t)scene->attachment << 32 | prng_below(prng, 40);
    case 3:
        return prng_below(prng, 40);
    case 4:
        return UINT64_C(1) << prng_below(prng, 64);
    case 5:
        return record_first_word(&record);
    default: /* A handle. */
        return prng_below(prng, 5) << 32 | prng_below(prng, 33);
    }
}

static size_t
choose_place(const struct scene *scene, struct prng *prng)
{
    size_t returns = WORDS + 2 * RING;
    switch (prng_below(prng, 8)) {
    case 0:
        return prng_below(prng, 32) * 8;
    case 1:
        return prng_below(prng, MEMORY / 8) * 8;
    case 2: /* Counts, */
        return returns + prng_below(prng, 4) * 128;
    case 3: /* and what is counted. */
        return returns + sizeof(struct returns) + 256 +
               prng_below(prng, 64) * 8;
    case 4: /* Where the next header is looked for. */
    case 5:
        return (size_t)(scene->tx.data - scene->memory) +
               (scene->tx.head & (RING - 1)) + prng_below(prng, 2) * 8;
    default:
        return WORDS + prng_below(prng, 2 * RING / 8) * 8;
    }
}

static void
scribble(struct scene *scene, struct prng *prng)
{
    uint64_t *words = (uint64_t *)(void *)scene->memory;
    __atomic_store_n(&words[choose_place(scene, prng) / 8],
                     choose_word(scene, prng), __ATOMIC_RELAXED);
}

struct hands {
    struct mchan_view views[8];
    unsigned n_views;
    uint64_t sum;
    unsigned long n_viewed, n_lent;
};

/* Everything a user does with loans; how often the peer was thrown out. */
static unsigned
use(struct mchan *channel, struct hands *hands)
{
    struct mchan_loan loan;
    struct mchan_event event;
    struct mchan_view view;
    unsigned n = 0;
    if (!mchan_loan(channel, 10000, &loan)) {
        struct mchan_msg message = {.size = 100};
        memset(loan.data, 1, 10000);
        if (mchan_send_loan(channel, &loan, &message)) {
            mchan_unloan(channel, &loan);
        } else {
            hands->n_lent++;
        }
    }
    while (hands->n_views < 8 && !mchan_view(channel, &view)) {
        for (size_t i = 0; i < view.size; i += 512) {
            hands->sum += ((const uint8_t *)view.data)[i];
        }
        if (view.handle) {
            hands->views[hands->n_views++] = view;
            hands->n_viewed++;
        }
    }
    if (hands->n_views > 4) {
        mchan_release(channel, &hands->views[--hands->n_views]);
    }
    (void)mchan_arm(channel, MCHAN_READABLE | MCHAN_WRITABLE);
    while (mchan_next_event(channel, &event)) {
        n += event.type == MCHAN_PEER_LOST;
    }
    return n;
}

static void
begin_again(struct scene *scene)
{
    scene->now += NSEC_PER_SEC;
    ringpeer_come_up(scene, LOAN_BYTES);
    raw_share(scene, LOAN_BYTES, SEALS);
    for (uint32_t i = 1; i <= 4; i++) {
        raw_lend(scene, i, first(i), 4096);
    }
}

static void
random_words_in_the_memory_do_no_harm(void **state)
{
    struct scene *scene = *state;
    struct hands hands = {0};
    struct prng prng;
    unsigned n_lost = 0;
    int32_t n_fds = held_fds();
    prng_init(&prng, 1126);
    begin_again(scene);
    for (int i = 0; i < 100000; i++) {
        scribble(scene, &prng);
        if (use(scene->channel, &hands)) {
            n_lost++;
            begin_again(scene);
        }
    }
    assert_true(n_lost > 100);         /* It did get through to us, */
    assert_true(hands.n_viewed > 100); /* and not only to be thrown out. */
    assert_true(hands.n_lent > 100);
    while (hands.n_views) {
        mchan_release(scene->channel, &hands.views[--hands.n_views]);
    }
    ringpeer_leave(scene);
    scene_expect(scene->channel, MCHAN_PEER_LOST);
    scene->now += 2 * NSEC_PER_SEC;
    mchan_arm(scene->channel, MCHAN_READABLE);
    assert_int_equal(held_fds(), n_fds);
    assert_true(held_memfds() <= 1);
    serve_a_good_one(scene);
}

struct scribbler {
    struct scene *scene;
    uint64_t seed;
    _Atomic bool stop;
};

static void *
scribble_on(void *arg)
{
    struct scribbler *scribbler = arg;
    struct prng prng;
    prng_init(&prng, scribbler->seed);
    while (!scribbler->stop) {
        scribble(scribbler->scene, &prng);
    }
    return NULL;
}

static void
words_that_change_while_read_do_no_harm(void **state)
{
    struct scene *scene = *state;
    struct hands hands = {0};
    for (uint64_t round = 1; round <= 300; round++) {
        struct scribbler scribbler = {.scene = scene, .seed = round};
        pthread_t thread;
        begin_again(scene);
        assert_int_equal(pthread_create(&thread, NULL, scribble_on, &scribbler),
                         0);
        for (int i = 0; i < 10000 && !use(scene->channel, &hands); i++) {
        }
        scribbler.stop = true;
        pthread_join(thread, NULL);
    }
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
        TEST(descriptors_without_agreement_are_closed),
        TEST(an_early_descriptor_is_closed_when_nothing_is_agreed),
        TEST(too_many_descriptors_are_closed),
        TEST(one_descriptor_after_the_other_is_closed),
        TEST(a_flood_of_descriptors_leaves_none),
        TEST(a_return_of_what_was_not_lent_is_refused),
        TEST(a_second_return_is_refused),
        TEST(a_count_of_returns_that_can_not_be_is_refused),
        TEST(a_count_that_goes_back_is_refused),
        TEST(returns_before_the_first_loan_are_refused_with_it),
        TEST(random_words_in_the_memory_do_no_harm),
        TEST(words_that_change_while_read_do_no_harm),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
