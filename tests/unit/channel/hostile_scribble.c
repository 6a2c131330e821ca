/* SPDX-License-Identifier: Apache-2.0 */
/* A peer that writes anywhere in the memory it shares, between our looks at it
 * and during them: it may be thrown out, and does no harm. */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/prng.h"
#include "channel/lending/lent.h"
#include "channel/lending/slab.h"
#include "include/mchan.h"
#include "tests/unit/channel/lender.h"
#include "transport/passing.h"
#include "transport/ring.h"
#include "wire/frame.h"

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
        TEST(random_words_in_the_memory_do_no_harm),
        TEST(words_that_change_while_read_do_no_harm),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
