/* SPDX-License-Identifier: Apache-2.0 */
/* Channels over the simulated network take virtual time, and survive what it
 * does to them. */
#include "transport/sim.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/clock.h"
#include "include/mchan.h"

struct pair {
    struct sim_network *network;
    struct mchan *back, *front;
    nsec_t now;
};

static int64_t
time_of(void *ctx)
{
    return ((const struct pair *)ctx)->now;
}

static void
pass(struct pair *pair, nsec_t ns)
{
    pair->now += ns;
    sim_network_run(pair->network, pair->now);
}

static void
make_pair(struct pair *pair, uint64_t seed)
{
    struct mchan_opts opts = MCHAN_OPTS_INIT;

    *pair = (struct pair){.now = NSEC_PER_SEC};
    assert_int_equal(sim_network_create(&pair->network, seed), 0);
    sim_network_run(pair->network, pair->now);
    opts.now_ns = time_of;
    opts.now_ctx = pair;
    opts.seed = 2 * seed;
    opts.sim = pair->network;
    assert_int_equal(mchan_listen(&pair->back, "sim:web", &opts), 0);
    opts.seed = 2 * seed + 1;
    assert_int_equal(mchan_open(&pair->front, "sim:web", &opts), 0);
}

static void
unmake_pair(struct pair *pair)
{
    mchan_close(pair->front);
    mchan_close(pair->back);
    sim_network_destroy(pair->network);
}

static int
setup(void **state)
{
    static struct pair pair;

    make_pair(&pair, 1);
    *state = &pair;
    return 0;
}

static int
teardown(void **state)
{
    unmake_pair(*state);
    return 0;
}

/* The next event of that type within 'limit'; false if none comes. */
static bool
comes(struct pair *pair, struct mchan *channel, enum mchan_event_type type,
      nsec_t limit)
{
    nsec_t end = pair->now + limit;

    while (pair->now <= end) {
        struct mchan *other = channel == pair->back ? pair->front : pair->back;
        struct mchan_event event;

        while (mchan_next_event(channel, &event) > 0) {
            if (event.type == type) {
                return true;
            }
        }
        mchan_arm(other, MCHAN_READABLE);
        pass(pair, NSEC_PER_MSEC);
    }
    return false;
}

static void
meet(struct pair *pair)
{
    assert_true(comes(pair, pair->back, MCHAN_UP, NSEC_PER_SEC));
    assert_true(comes(pair, pair->front, MCHAN_UP, NSEC_PER_SEC));
}

static int
send_word(struct mchan *channel, const char *word)
{
    struct mchan_msg msg = {.data = word, .size = strlen(word), .tag = 7};

    return mchan_send(channel, &msg);
}

static ssize_t
receive(struct mchan *channel, char out[64])
{
    struct mchan_info info;
    ssize_t size = mchan_recv(channel, out, 63, &info);

    out[size > 0 ? size : 0] = '\0';
    return size;
}

static void
a_message_takes_the_delay_of_its_place(void **state)
{
    struct pair *pair = *state;
    char word[64];

    meet(pair);
    pass(pair, 0); /* What was said while meeting has arrived. */
    sim_network_set_delay(pair->network, "web", 5 * NSEC_PER_MSEC);
    assert_int_equal(send_word(pair->front, "late"), 0);
    assert_int_equal(sim_network_deadline(pair->network),
                     pair->now + 5 * NSEC_PER_MSEC);
    pass(pair, 4 * NSEC_PER_MSEC);
    assert_int_equal(receive(pair->back, word), -EAGAIN);
    pass(pair, NSEC_PER_MSEC);
    assert_int_equal(receive(pair->back, word), 4);
    assert_string_equal(word, "late");
}

static void
without_a_delay_it_is_there_at_once(void **state)
{
    struct pair *pair = *state;
    char word[64];

    meet(pair);
    assert_int_equal(send_word(pair->back, "soon"), 0);
    assert_true(sim_network_deadline(pair->network) <= pair->now);
    assert_true(sim_network_run(pair->network, pair->now));
    assert_false(sim_network_run(pair->network, pair->now));
    assert_int_equal(receive(pair->front, word), 4);
}

static void
a_cut_link_is_lost_and_made_anew(void **state)
{
    struct pair *pair = *state;
    char word[64];

    meet(pair);
    sim_network_cut(pair->network, "web");
    assert_true(comes(pair, pair->back, MCHAN_PEER_LOST, NSEC_PER_SEC));
    assert_true(comes(pair, pair->front, MCHAN_UP, 10 * NSEC_PER_SEC));
    assert_true(comes(pair, pair->back, MCHAN_UP, NSEC_PER_SEC));
    assert_int_equal(send_word(pair->front, "again"), 0);
    pass(pair, NSEC_PER_MSEC);
    assert_int_equal(receive(pair->back, word), 5);
}

static void
nobody_connects_while_a_place_is_down(void **state)
{
    struct pair *pair = *state;

    meet(pair);
    sim_network_set_down(pair->network, "web", true);
    assert_false(comes(pair, pair->front, MCHAN_UP, 10 * NSEC_PER_SEC));
    sim_network_set_down(pair->network, "web", false);
    assert_true(comes(pair, pair->front, MCHAN_UP, 10 * NSEC_PER_SEC));
}

static void
what_was_stalled_comes_afterwards_in_order(void **state)
{
    struct pair *pair = *state;
    char word[64];

    meet(pair);
    sim_network_set_stalled(pair->network, "web", true);
    assert_int_equal(send_word(pair->front, "one"), 0);
    assert_int_equal(send_word(pair->front, "two"), 0);
    pass(pair, NSEC_PER_SEC);
    assert_int_equal(receive(pair->back, word), -EAGAIN);
    sim_network_set_stalled(pair->network, "web", false);
    assert_int_equal(receive(pair->back, word), 3);
    assert_string_equal(word, "one");
    assert_int_equal(receive(pair->back, word), 3);
    assert_string_equal(word, "two");
}

static void
a_wrong_bit_is_a_protocol_error_and_no_message(void **state)
{
    struct pair *pair = *state;
    char word[64];

    meet(pair);
    sim_network_set_corruption(pair->network, "web", 1);
    assert_int_equal(send_word(pair->front, "wrong"), 0);
    sim_network_set_corruption(pair->network, "web", 0);
    pass(pair, NSEC_PER_MSEC);
    assert_true(receive(pair->back, word) < 0);
    assert_true(comes(pair, pair->back, MCHAN_PROTO_ERROR, NSEC_PER_SEC));
    assert_true(comes(pair, pair->front, MCHAN_UP, 10 * NSEC_PER_SEC));
}

/* Sends a message with a wrong bit; true if the channel stands again within ten
 * seconds.  '*endless' tells whether more bytes were waited for than came. */
static bool
heals_from_a_wrong_bit(struct pair *pair, bool *endless)
{
    static const char long_word[] =
        "a message that is long enough to have most of the bits of its frame";
    struct mchan_event event;
    nsec_t end;
    char word[64];

    meet(pair);
    sim_network_set_corruption(pair->network, "web", 1);
    assert_int_equal(send_word(pair->front, long_word), 0);
    sim_network_set_corruption(pair->network, "web", 0);
    end = pair->now + 10 * NSEC_PER_SEC;
    for (; pair->now < end; pass(pair, 10 * NSEC_PER_MSEC)) {
        assert_true(receive(pair->back, word) < 0);
        mchan_arm(pair->front, MCHAN_READABLE);
        while (mchan_next_event(pair->back, &event) > 0) {
            if (event.type == MCHAN_UP) {
                return true;
            } else if (event.type == MCHAN_PROTO_ERROR) {
                *endless = !strcmp(event.reason, "a frame that never ends");
            }
        }
    }
    return false;
}

static void
whatever_bit_is_wrong_the_channel_heals(void **state)
{
    int n_endless = 0;

    for (uint64_t seed = 1; seed <= 400; seed++) {
        struct pair pair = {0};
        bool endless = false;

        make_pair(&pair, seed);
        if (!heals_from_a_wrong_bit(&pair, &endless)) {
            fail_msg("seed %d: the channel is stuck", (int)seed);
        }
        n_endless += endless;
        unmake_pair(&pair);
    }
    assert_in_range(n_endless, 1, 100); /* That case was among them. */
}

static void
a_second_listener_is_refused(void **state)
{
    struct pair *pair = *state;
    struct mchan_opts opts = MCHAN_OPTS_INIT;
    struct mchan *second = NULL;

    opts.now_ns = time_of;
    opts.now_ctx = pair;
    opts.seed = 3;
    opts.sim = pair->network;
    assert_int_equal(mchan_listen(&second, "sim:web", &opts), -EADDRINUSE);
    opts.sim = NULL;
    assert_int_equal(mchan_listen(&second, "sim:other", &opts), -EINVAL);
}

static void
a_full_lane_pushes_back_and_loses_nothing(void **state)
{
    struct pair *pair = *state;
    static char big[4096];
    int n_sent = 0, n_got = 0;

    meet(pair);
    for (int i = 0; i < 1000; i++) {
        struct mchan_msg msg = {.data = big, .size = sizeof big, .tag = 1};

        memset(big, 'a' + i % 26, sizeof big);
        if (mchan_send(pair->front, &msg)) {
            break;
        }
        n_sent++;
    }
    assert_in_range(n_sent, 1, 999);
    for (int i = 0; i < 1000 && n_got < n_sent; i++) {
        struct mchan_info info;

        while (mchan_recv(pair->back, big, sizeof big, &info) > 0) {
            assert_int_equal(big[0], 'a' + n_got % 26);
            assert_int_equal(big[4095], 'a' + n_got % 26);
            n_got++;
        }
        mchan_arm(pair->front, MCHAN_READABLE);
        pass(pair, NSEC_PER_MSEC);
    }
    assert_int_equal(n_got, n_sent);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_message_takes_the_delay_of_its_place,
                                        setup, teardown),
        cmocka_unit_test_setup_teardown(without_a_delay_it_is_there_at_once,
                                        setup, teardown),
        cmocka_unit_test_setup_teardown(a_cut_link_is_lost_and_made_anew, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(nobody_connects_while_a_place_is_down,
                                        setup, teardown),
        cmocka_unit_test_setup_teardown(
            what_was_stalled_comes_afterwards_in_order, setup, teardown),
        cmocka_unit_test_setup_teardown(
            a_wrong_bit_is_a_protocol_error_and_no_message, setup, teardown),
        cmocka_unit_test(whatever_bit_is_wrong_the_channel_heals),
        cmocka_unit_test_setup_teardown(a_second_listener_is_refused, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(
            a_full_lane_pushes_back_and_loses_nothing, setup, teardown),
    };

    return cmocka_run_group_tests_name("sim/network", tests, NULL, NULL);
}
