/* SPDX-License-Identifier: Apache-2.0 */
/* An end that is away for a while: what is kept for it and how long, what both
 * users are told when it moves, and whom a deadline that passed unnoticed
 * blames.  Over a made-up network, so that time is ours. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "channel/channel.h"
#include "include/mchan.h"
#include "transport/sim.h"

#define PLACE "web"
#define RING 4096

enum { BACK, FRONT };

struct world {
    int64_t now;
    struct sim_network *network;
    struct mchan_opts opts;
    struct mchan *end[2];
};

static int64_t
world_time(void *ctx)
{
    return ((struct world *)ctx)->now;
}

static int
set_up(void **state)
{
    static struct world world;
    const struct mchan_opts opts = MCHAN_OPTS_INIT;
    memset(&world, 0, sizeof world);
    world.now = NSEC_PER_SEC;
    world.opts = opts;
    world.opts.ring_size = RING;
    world.opts.now_ns = world_time;
    world.opts.now_ctx = &world;
    *state = &world;
    assert_int_equal(sim_network_create(&world.network, 1), 0);
    sim_network_run(world.network, world.now);
    world.opts.sim = world.network;
    return 0;
}

static int
tear_down(void **state)
{
    struct world *world = *state;
    mchan_close(world->end[FRONT]);
    mchan_close(world->end[BACK]);
    sim_network_destroy(world->network);
    return 0;
}

static void
open_end(struct world *world, int which)
{
    world->opts.seed = 77 + (uint64_t)world->now + (uint64_t)which;
    int error =
        which == BACK
            ? mchan_listen(&world->end[BACK], "sim:" PLACE, &world->opts)
            : mchan_open(&world->end[FRONT], "sim:" PLACE, &world->opts);
    assert_int_equal(error, 0);
}

/* Both have their turns for so long. */
static void
pass(struct world *world, int64_t ns)
{
    int64_t until = world->now + ns;
    for (int i = 0; i < 100000; i++) {
        bool busy = false;
        for (int which = 0; which < 2; which++) {
            if (world->end[which]) {
                busy |= mchan_arm(world->end[which], MCHAN_READABLE) == 1 &&
                        !world->end[which]->session.n_events;
            }
        }
        int64_t due = sim_network_deadline(world->network);
        for (int which = 0; which < 2; which++) {
            if (world->end[which]) {
                due = nsec_min(due, mchan_deadline(world->end[which]));
            }
        }
        if (!busy && due > until) {
            world->now = until;
            sim_network_run(world->network, until);
            break;
        }
        world->now = due > world->now ? nsec_min(due, until) : world->now;
        sim_network_run(world->network, world->now);
    }
    for (int which = 0; which < 2; which++) {
        if (world->end[which]) {
            mchan_arm(world->end[which], MCHAN_READABLE);
        }
    }
}

static struct mchan_event
expect(struct world *world, int which, enum mchan_event_type type)
{
    struct mchan_event event = {0};
    assert_int_equal(mchan_next_event(world->end[which], &event), 1);
    assert_int_equal(event.type, type);
    return event;
}

static void
expect_range(struct world *world, int which, enum mchan_event_type type,
             uint64_t from, uint64_t to)
{
    struct mchan_event event = expect(world, which, type);
    assert_int_equal(event.from, from);
    assert_int_equal(event.to, to);
}

static void
expect_silence(struct world *world)
{
    struct mchan_event event;
    assert_int_equal(mchan_next_event(world->end[BACK], &event), 0);
    assert_int_equal(mchan_next_event(world->end[FRONT], &event), 0);
}

static void
come_up(struct world *world)
{
    open_end(world, BACK);
    open_end(world, FRONT);
    pass(world, NSEC_PER_MSEC);
    expect(world, BACK, MCHAN_UP);
    expect(world, FRONT, MCHAN_UP);
}

static int
say(struct world *world, int which, uint32_t number)
{
    struct mchan_msg message = {.data = &number, .size = sizeof number};
    return mchan_send(world->end[which], &message);
}

static void
hear(struct world *world, int which, uint32_t number)
{
    uint32_t got = 0;
    struct mchan_info info;
    assert_int_equal(mchan_recv(world->end[which], &got, sizeof got, &info), 4);
    assert_int_equal(got, number);
    assert_int_equal(info.sequence, number);
}

static void
hear_nothing(struct world *world, int which)
{
    uint32_t got;
    assert_true(mchan_recv(world->end[which], &got, sizeof got, NULL) < 0);
}

/* Nobody can reach anybody for so long; both notice. */
static void
be_apart(struct world *world, int64_t ns)
{
    sim_network_set_down(world->network, PLACE, true);
    pass(world, ns);
    sim_network_set_down(world->network, PLACE, false);
}

/* Holding. */

static void
what_is_kept_is_sent_again(void **state)
{
    struct world *world = *state;
    come_up(world);
    for (uint32_t i = 1; i <= 5; i++) {
        assert_int_equal(say(world, FRONT, i), 0);
    }
    pass(world, NSEC_PER_MSEC);
    hear(world, BACK, 1);
    hear(world, BACK, 2);
    be_apart(world, 3600 * NSEC_PER_SEC);
    pass(world, 2 * NSEC_PER_SEC);
    for (int which = 0; which < 2; which++) {
        expect(world, which, MCHAN_PEER_LOST);
        struct mchan_event up = expect(world, which, MCHAN_UP);
        assert_true(up.resumed);
        assert_int_equal(up.attachment, 2);
    }
    for (uint32_t i = 3; i <= 5; i++) {
        hear(world, BACK, i);
    }
    hear_nothing(world, BACK);
    expect_silence(world);
    struct mchan_stats stats;
    mchan_stats(world->end[FRONT], &stats, sizeof stats);
    assert_int_equal(stats.n_replayed, 3);
    assert_int_equal(stats.n_dropped, 0);
}

static void
what_is_kept_too_long_is_dropped_and_a_gap(void **state)
{
    struct world *world = *state;
    world->opts.hold_ms = 500;
    come_up(world);
    for (uint32_t i = 1; i <= 3; i++) {
        assert_int_equal(say(world, FRONT, i), 0);
    }
    pass(world, NSEC_PER_MSEC);
    hear(world, BACK, 1);
    be_apart(world, 400 * NSEC_PER_MSEC);
    /* Not yet. */
    expect(world, FRONT, MCHAN_PEER_LOST);
    struct mchan_event event;
    assert_int_equal(mchan_next_event(world->end[FRONT], &event), 0);
    be_apart(world, 2 * NSEC_PER_SEC);
    expect_range(world, FRONT, MCHAN_DROPPED, 1, 3);
    expect(world, BACK, MCHAN_PEER_LOST);
    pass(world, 2 * NSEC_PER_SEC);
    assert_true(expect(world, FRONT, MCHAN_UP).resumed);
    assert_true(expect(world, BACK, MCHAN_UP).resumed);
    assert_int_equal(say(world, FRONT, 4), 0);
    pass(world, NSEC_PER_MSEC);
    expect_range(world, BACK, MCHAN_GAP, 2, 3);
    hear(world, BACK, 4);
    expect_silence(world);
}

static void
a_hold_that_passed_unnoticed_is_given_another_chance(void **state)
{
    struct world *world = *state;
    world->opts.hold_ms = 500;
    come_up(world);
    assert_int_equal(say(world, FRONT, 1), 0);
    sim_network_cut(world->network, PLACE);
    mchan_arm(world->end[FRONT], MCHAN_READABLE);
    mchan_arm(world->end[BACK], MCHAN_READABLE);
    /* Both are stopped with their host. */
    world->now += 3600 * NSEC_PER_SEC;
    sim_network_run(world->network, world->now);
    pass(world, 2 * NSEC_PER_SEC);
    expect(world, FRONT, MCHAN_PEER_LOST);
    assert_true(expect(world, FRONT, MCHAN_UP).resumed);
    expect(world, BACK, MCHAN_PEER_LOST);
    expect(world, BACK, MCHAN_UP);
    hear(world, BACK, 1);
    expect_silence(world);
}

/* Moving. */

static void
a_move_is_told_at_both_ends(void **state)
{
    struct world *world = *state;
    come_up(world);
    assert_int_equal(say(world, BACK, 1), 0);
    assert_int_equal(mchan_suspend(world->end[FRONT]), 0);
    assert_int_equal(mchan_suspend(world->end[FRONT]), -EALREADY);
    pass(world, NSEC_PER_MSEC);
    expect(world, FRONT, MCHAN_SUSPENDING);
    expect(world, BACK, MCHAN_SUSPENDING);
    be_apart(world, 20 * NSEC_PER_SEC);
    /* Nobody died; what is said is kept on both sides. */
    expect_silence(world);
    assert_int_equal(say(world, FRONT, 1), 0);
    assert_int_equal(say(world, BACK, 2), 0);
    pass(world, 5 * NSEC_PER_SEC);
    expect_silence(world); /* It does not come by itself. */
    assert_int_equal(mchan_resume(world->end[FRONT], "sim:" PLACE), 0);
    pass(world, NSEC_PER_SEC);
    assert_int_equal(expect(world, FRONT, MCHAN_RESUMED).attachment, 2);
    assert_int_equal(expect(world, BACK, MCHAN_RESUMED).attachment, 2);
    hear(world, FRONT, 1);
    hear(world, FRONT, 2);
    hear(world, BACK, 1);
    expect_silence(world);
    assert_int_equal(mchan_resume(world->end[FRONT], NULL), -EALREADY);
}

static void
a_move_announced_behind_unread_messages_is_no_loss(void **state)
{
    struct world *world = *state;
    come_up(world);
    assert_int_equal(say(world, FRONT, 1), 0);
    assert_int_equal(say(world, FRONT, 2), 0);
    assert_int_equal(mchan_suspend(world->end[FRONT]), 0);
    pass(world, NSEC_PER_MSEC);
    expect(world, FRONT, MCHAN_SUSPENDING);
    be_apart(world, 10 * NSEC_PER_MSEC);
    /* Its user has read nothing yet, but nobody died. */
    expect(world, BACK, MCHAN_SUSPENDING);
    expect_silence(world);
    hear(world, BACK, 1);
    hear(world, BACK, 2);
    hear_nothing(world, BACK);
    expect_silence(world); /* Once. */
    assert_int_equal(mchan_resume(world->end[FRONT], "sim:" PLACE), 0);
    assert_int_equal(say(world, FRONT, 3), 0);
    pass(world, NSEC_PER_SEC);
    expect(world, FRONT, MCHAN_RESUMED);
    expect(world, BACK, MCHAN_RESUMED);
    hear(world, BACK, 3);
    expect_silence(world);
}

static void
a_move_called_off_behind_unread_messages_is_a_loss(void **state)
{
    struct world *world = *state;
    come_up(world);
    assert_int_equal(say(world, FRONT, 1), 0);
    assert_int_equal(mchan_suspend(world->end[FRONT]), 0);
    assert_int_equal(mchan_resume(world->end[FRONT], NULL), 0);
    pass(world, NSEC_PER_MSEC);
    sim_network_set_down(world->network, PLACE, true);
    pass(world, NSEC_PER_MSEC);
    expect(world, BACK, MCHAN_PEER_LOST);
    hear(world, BACK, 1);
}

static void
a_goodbye_behind_unread_messages_is_a_loss_though_a_move_was_announced(
    void **state)
{
    struct world *world = *state;
    come_up(world);
    assert_int_equal(say(world, FRONT, 1), 0);
    assert_int_equal(mchan_suspend(world->end[FRONT]), 0);
    mchan_close(world->end[FRONT]);
    world->end[FRONT] = NULL;
    pass(world, NSEC_PER_MSEC);
    struct mchan_event event;
    assert_int_equal(mchan_next_event(world->end[BACK], &event), 1);
    if (event.type == MCHAN_SUSPENDING) {
        assert_int_equal(mchan_next_event(world->end[BACK], &event), 1);
    }
    assert_int_equal(event.type, MCHAN_PEER_LOST);
    hear(world, BACK, 1);
}

static void
a_cancelled_move_goes_on_with_the_same_attachment(void **state)
{
    struct world *world = *state;
    come_up(world);
    assert_int_equal(say(world, FRONT, 1), 0);
    assert_int_equal(mchan_suspend(world->end[FRONT]), 0);
    assert_int_equal(say(world, FRONT, 2), 0);
    pass(world, NSEC_PER_SEC);
    hear(world, BACK, 1);
    hear_nothing(world, BACK);
    expect(world, BACK, MCHAN_SUSPENDING);
    assert_int_equal(mchan_resume(world->end[FRONT], NULL), 0);
    pass(world, NSEC_PER_MSEC);
    expect(world, FRONT, MCHAN_SUSPENDING);
    assert_int_equal(expect(world, FRONT, MCHAN_RESUMED).attachment, 1);
    assert_int_equal(expect(world, BACK, MCHAN_RESUMED).attachment, 1);
    hear(world, BACK, 2);
    expect_silence(world);
}

static void
while_away_no_more_is_kept_than_a_ring_holds(void **state)
{
    struct world *world = *state;
    come_up(world);
    assert_int_equal(mchan_suspend(world->end[FRONT]), 0);
    uint32_t n = 0;
    while (!say(world, FRONT, n + 1)) {
        n++;
    }
    assert_int_equal(n, RING / ring_record_size(sizeof n));
    assert_int_equal(say(world, FRONT, n + 1), -EAGAIN);
    assert_int_equal(mchan_arm(world->end[FRONT], MCHAN_WRITABLE), 1);
    expect(world, FRONT, MCHAN_SUSPENDING);
    assert_int_equal(mchan_arm(world->end[FRONT], MCHAN_WRITABLE), 0);
    assert_int_equal(mchan_resume(world->end[FRONT], NULL), 0);
    for (uint32_t i = 1; i <= n; i++) {
        pass(world, NSEC_PER_MSEC);
        if (i == 1) {
            expect(world, BACK, MCHAN_SUSPENDING);
            expect(world, BACK, MCHAN_RESUMED);
        }
        hear(world, BACK, i);
    }
    hear_nothing(world, BACK);
}

static void
who_forgot_meanwhile_is_lost(void **state)
{
    struct world *world = *state;
    come_up(world);
    assert_int_equal(mchan_suspend(world->end[FRONT]), 0);
    assert_int_equal(say(world, FRONT, 1), 0);
    sim_network_set_down(world->network, PLACE, true);
    mchan_close(world->end[BACK]);
    sim_network_set_down(world->network, PLACE, false);
    open_end(world, BACK);
    assert_int_equal(mchan_resume(world->end[FRONT], "sim:" PLACE), 0);
    pass(world, NSEC_PER_SEC);
    expect(world, FRONT, MCHAN_SUSPENDING);
    expect(world, FRONT, MCHAN_PEER_LOST);
    expect_range(world, FRONT, MCHAN_DROPPED, 1, 1);
    assert_false(expect(world, FRONT, MCHAN_UP).resumed);
    expect_range(world, FRONT, MCHAN_GAP, 1, UINT64_MAX);
    expect(world, BACK, MCHAN_UP);
    expect_silence(world);
}

static void
who_never_returns_is_lost_in_the_end(void **state)
{
    struct world *world = *state;
    come_up(world);
    assert_int_equal(mchan_suspend(world->end[FRONT]), 0);
    pass(world, NSEC_PER_MSEC);
    expect(world, BACK, MCHAN_SUSPENDING);
    be_apart(world, CHANNEL_AWAY_NS - NSEC_PER_SEC);
    struct mchan_event event;
    assert_int_equal(mchan_next_event(world->end[BACK], &event), 0);
    assert_int_equal(say(world, BACK, 1), 0);
    pass(world, 2 * NSEC_PER_SEC);
    expect(world, BACK, MCHAN_PEER_LOST);
    assert_int_equal(say(world, BACK, 2), -ENOTCONN);
    /* It may still come, and nothing is lost. */
    assert_int_equal(mchan_resume(world->end[FRONT], NULL), 0);
    pass(world, NSEC_PER_SEC);
    assert_true(expect(world, BACK, MCHAN_UP).resumed);
    hear(world, FRONT, 1);
    expect(world, FRONT, MCHAN_SUSPENDING);
    expect(world, FRONT, MCHAN_RESUMED);
    expect_silence(world);
}

static void
without_a_session_there_is_nothing_to_move(void **state)
{
    struct world *world = *state;
    open_end(world, BACK);
    assert_int_equal(mchan_suspend(world->end[BACK]), -ENOTCONN);
    assert_int_equal(mchan_resume(world->end[BACK], NULL), -ENOTCONN);
    assert_int_equal(mchan_forget(world->end[BACK]), -ENOTCONN);
}

static void
a_place_that_is_none_moves_nobody(void **state)
{
    struct world *world = *state;
    come_up(world);
    assert_int_equal(mchan_suspend(world->end[FRONT]), 0);
    assert_int_equal(mchan_resume(world->end[FRONT], "nowhere"),
                     -EPROTONOSUPPORT);
    assert_int_equal(mchan_resume(world->end[FRONT], "unix:/x"),
                     -EPROTONOSUPPORT);
    assert_int_equal(mchan_resume(world->end[FRONT], NULL), 0);
    pass(world, NSEC_PER_MSEC);
    expect(world, FRONT, MCHAN_SUSPENDING);
    expect(world, FRONT, MCHAN_RESUMED);
}

/* Streams as virtio-serial and worse have them. */

static void
a_late_tail_is_passed_over_by_the_next_link(void **state)
{
    struct world *world = *state;
    sim_network_set_delay(world->network, PLACE, 50 * NSEC_PER_MSEC);
    sim_network_set_tails(world->network, PLACE, true);
    open_end(world, BACK);
    open_end(world, FRONT);
    pass(world, NSEC_PER_SEC);
    expect(world, BACK, MCHAN_UP);
    expect(world, FRONT, MCHAN_UP);
    uint32_t sent = 0;
    for (int i = 0; i < 5; i++) {
        for (int j = 0; j < 10; j++) {
            sent++;
            assert_int_equal(say(world, FRONT, sent), 0);
            assert_int_equal(say(world, BACK, sent), 0);
        }
        pass(world, 20 * NSEC_PER_MSEC);
        sim_network_cut(world->network, PLACE); /* They are on their way. */
        pass(world, NSEC_PER_SEC);
        for (uint32_t number = sent - 9; number <= sent; number++) {
            hear(world, BACK, number);
            hear(world, FRONT, number);
        }
        hear_nothing(world, BACK);
        hear_nothing(world, FRONT);
        for (int which = 0; which < 2; which++) {
            expect(world, which, MCHAN_PEER_LOST);
            assert_true(expect(world, which, MCHAN_UP).resumed);
        }
        expect_silence(world); /* No PROTO_ERROR either. */
    }
}

static void
a_jump_of_numbers_begins_a_new_attachment_and_loses_nothing(void **state)
{
    struct world *world = *state;
    come_up(world);
    assert_int_equal(say(world, FRONT, 1), 0);
    pass(world, NSEC_PER_MSEC);
    hear(world, BACK, 1);
    /* What is sent comes twice. */
    sim_network_set_repeats(world->network, PLACE, 1);
    assert_int_equal(say(world, FRONT, 2), 0);
    pass(world, NSEC_PER_MSEC);
    sim_network_set_repeats(world->network, PLACE, 0);
    hear(world, BACK, 2);
    hear_nothing(world, BACK);
    assert_int_equal(say(world, FRONT, 3), 0);
    pass(world, 2 * NSEC_PER_SEC);
    expect(world, BACK, MCHAN_PROTO_ERROR);
    expect(world, BACK, MCHAN_PEER_LOST);
    struct mchan_event up = expect(world, BACK, MCHAN_UP);
    assert_true(up.resumed);
    assert_int_equal(up.attachment, 2);
    hear(world, BACK, 3);
    hear_nothing(world, BACK);
}

/* Another instance of the VM. */

static void
a_forgotten_session_is_not_resumed(void **state)
{
    struct world *world = *state;
    come_up(world);
    uint64_t id = world->end[BACK]->session.id;
    assert_int_equal(say(world, BACK, 1), 0);
    assert_int_equal(say(world, FRONT, 1), 0);
    assert_int_equal(mchan_forget(world->end[BACK]), 0);
    pass(world, 2 * NSEC_PER_SEC);
    expect(world, BACK, MCHAN_PEER_LOST);
    expect_range(world, BACK, MCHAN_DROPPED, 1, 1);
    expect_range(world, BACK, MCHAN_GAP, 1, UINT64_MAX);
    struct mchan_event up = expect(world, BACK, MCHAN_UP);
    assert_true(up.session != id);
    assert_int_equal(up.attachment, 2);
    expect(world, FRONT, MCHAN_PEER_LOST);
    expect_range(world, FRONT, MCHAN_DROPPED, 1, 1);
    assert_true(expect(world, FRONT, MCHAN_UP).session == up.session);
    expect_range(world, FRONT, MCHAN_GAP, 1, UINT64_MAX);
    expect_silence(world);
    assert_int_equal(say(world, BACK, 1), 0);
    pass(world, NSEC_PER_MSEC);
    hear(world, FRONT, 1);
}

static void
another_end_never_resumes_a_session(void **state)
{
    /* A clone brings its original's session to its own end. */
    struct world *world = *state;
    struct mchan *original;
    struct mchan_event event;
    come_up(world);
    original = world->end[BACK];
    uint64_t id = original->session.id;
    assert_int_equal(say(world, FRONT, 1), 0);
    pass(world, NSEC_PER_MSEC);
    hear(world, BACK, 1);
    assert_int_equal(mchan_suspend(world->end[FRONT]), 0);
    world->opts.seed = 5;
    assert_int_equal(mchan_listen(&world->end[BACK], "sim:clone", &world->opts),
                     0);
    assert_int_equal(mchan_resume(world->end[FRONT], "sim:clone"), 0);
    pass(world, NSEC_PER_SEC);
    event = expect(world, BACK, MCHAN_UP);
    assert_false(event.resumed);
    assert_true(event.session != id);
    hear_nothing(world, BACK);
    assert_int_equal(original->session.delivered, 1);
    mchan_close(original);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int
main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(what_is_kept_is_sent_again),
        TEST(what_is_kept_too_long_is_dropped_and_a_gap),
        TEST(a_hold_that_passed_unnoticed_is_given_another_chance),
        TEST(a_move_is_told_at_both_ends),
        TEST(a_move_announced_behind_unread_messages_is_no_loss),
        TEST(a_move_called_off_behind_unread_messages_is_a_loss),
        TEST(
            a_goodbye_behind_unread_messages_is_a_loss_though_a_move_was_announced),
        TEST(a_cancelled_move_goes_on_with_the_same_attachment),
        TEST(while_away_no_more_is_kept_than_a_ring_holds),
        TEST(who_forgot_meanwhile_is_lost),
        TEST(who_never_returns_is_lost_in_the_end),
        TEST(without_a_session_there_is_nothing_to_move),
        TEST(a_place_that_is_none_moves_nobody),
        TEST(a_late_tail_is_passed_over_by_the_next_link),
        TEST(a_jump_of_numbers_begins_a_new_attachment_and_loses_nothing),
        TEST(a_forgotten_session_is_not_resumed),
        TEST(another_end_never_resumes_a_session),
    };
    return cmocka_run_group_tests_name("channel/away", tests, NULL, NULL);
}
