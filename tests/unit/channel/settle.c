/* SPDX-License-Identifier: Apache-2.0 */
/* A guest whose MVM's end changes under it: what is brought from the former
 * end, what the guest has to hear before anything new moves, and that an end
 * which was left before that takes nothing with it.  Over a made-up network. */
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

#define MS NSEC_PER_MSEC
#define DELAY (2 * MS)
#define PARCEL_ROOM 16384

/* Ends of MVMs, and the guest's. */
enum { A, B, C, N_ENDS, GUEST = N_ENDS };

static const char *const places[N_ENDS] = {"a", "b", "c"};

struct world {
    int64_t now;
    struct sim_network *network;
    struct mchan *end[N_ENDS + 1];
    uint8_t parcel[PARCEL_ROOM];
    size_t size;
};

static int64_t
world_time(void *ctx)
{
    return ((struct world *)ctx)->now;
}

static struct mchan_opts
opts_of(struct world *world, uint64_t seed)
{
    struct mchan_opts opts = MCHAN_OPTS_INIT;
    opts.now_ns = world_time;
    opts.now_ctx = world;
    opts.seed = seed;
    opts.sim = world->network;
    opts.handoff_ms = 2000;
    opts.retry_max_ms = 10;
    return opts;
}

static void
listen_at(struct world *world, int which)
{
    struct mchan_opts opts = opts_of(world, 7 + (uint64_t)which);
    char uri[16] = "sim:";
    strcpy(uri + 4, places[which]);
    sim_network_set_delay(world->network, places[which], DELAY);
    assert_int_equal(mchan_listen(&world->end[which], uri, &opts), 0);
}

static int
set_up(void **state)
{
    static struct world world;
    memset(&world, 0, sizeof world);
    world.now = NSEC_PER_SEC;
    *state = &world;
    assert_int_equal(sim_network_create(&world.network, 1), 0);
    sim_network_run(world.network, world.now);
    for (int i = 0; i < N_ENDS; i++) {
        listen_at(&world, i);
    }
    sim_network_move(world.network, "vm", "a", 0);
    const struct mchan_opts opts = opts_of(&world, 3);
    assert_int_equal(mchan_open(&world.end[GUEST], "sim:vm", &opts), 0);
    return 0;
}

static int
tear_down(void **state)
{
    struct world *world = *state;
    for (int i = 0; i <= N_ENDS; i++) {
        mchan_close(world->end[i]);
    }
    sim_network_destroy(world->network);
    return 0;
}

/* All have their turns for so long. */
static void
pass(struct world *world, int64_t ns)
{
    int64_t until = world->now + ns;
    for (int n = 0; n < 100000; n++) {
        int64_t due = sim_network_deadline(world->network);
        for (int i = 0; i <= N_ENDS; i++) {
            if (world->end[i]) {
                (void)mchan_arm(world->end[i], MCHAN_READABLE);
                due = nsec_min(due, mchan_deadline(world->end[i]));
            }
        }
        due = nsec_min(due, sim_network_deadline(world->network));
        world->now = due > world->now ? nsec_min(due, until) : world->now;
        sim_network_run(world->network, world->now);
        if (due > until) {
            break;
        }
    }
    for (int i = 0; i <= N_ENDS; i++) {
        if (world->end[i]) {
            (void)mchan_arm(world->end[i], MCHAN_READABLE);
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
expect_silence(struct world *world, int which)
{
    struct mchan_event event;
    assert_int_equal(mchan_next_event(world->end[which], &event), 0);
}

static void
forget_events(struct world *world, int which)
{
    struct mchan_event event;
    while (mchan_next_event(world->end[which], &event)) {
    }
}

static int
say(struct world *world, int which, uint32_t word)
{
    const struct mchan_msg msg = {.data = &word, .size = sizeof word};
    return mchan_send(world->end[which], &msg);
}

static void
hear(struct world *world, int which, uint32_t word, bool maybe_repeated)
{
    uint32_t heard = 0;
    struct mchan_info info;
    assert_int_equal(mchan_recv(world->end[which], &heard, sizeof heard, &info),
                     sizeof heard);
    assert_int_equal(heard, word);
    assert_int_equal(info.maybe_repeated, maybe_repeated);
}

static void
hear_nothing(struct world *world, int which)
{
    uint32_t heard;
    struct mchan_info info;
    assert_true(mchan_recv(world->end[which], &heard, sizeof heard, &info) < 0);
}

static void
go_to(struct world *world, int which)
{
    sim_network_move(world->network, "vm", places[which], 0);
    for (int i = 0; i < N_ENDS; i++) {
        if (i != which) {
            sim_network_hang_up(world->network, places[i]);
        }
    }
}

static void
pack(struct world *world, int which)
{
    (void)mchan_suspend(world->end[which]);
    ssize_t size =
        mchan_export(world->end[which], world->parcel, sizeof world->parcel);
    assert_true(size > 0);
    world->size = (size_t)size;
}

static int
bring(struct world *world, int which)
{
    return mchan_import(world->end[which], world->parcel, world->size);
}

/* The guest is at A, and 1 was said by both and heard. */
static void
begin(struct world *world)
{
    pass(world, 50 * MS);
    assert_int_equal(say(world, A, 1), 0);
    assert_int_equal(say(world, GUEST, 1), 0);
    pass(world, 50 * MS);
    hear(world, A, 1, false);
    hear(world, GUEST, 1, false);
    hear_nothing(world, A);
    hear_nothing(world, GUEST);
    pass(world, 50 * MS);
    forget_events(world, A);
    forget_events(world, GUEST);
}

/* Then the guest is at B, and 2 was said by both and not heard. */
static void
move_to_b(struct world *world)
{
    begin(world);
    go_to(world, B);
    assert_int_equal(say(world, A, 2), 0);
    assert_int_equal(say(world, GUEST, 2), 0);
    pack(world, A);
    pass(world, 20 * MS);
    expect(world, B, MCHAN_STRANGER);
    forget_events(world, A);
    forget_events(world, GUEST);
}

/* One move. */

static void
what_is_brought_goes_on_at_both_ends(void **state)
{
    struct world *world = *state;
    move_to_b(world);
    hear_nothing(world, B);
    assert_int_equal(bring(world, B), 0);
    pass(world, 50 * MS);
    assert_true(expect(world, B, MCHAN_UP).resumed);
    expect_silence(world, B);
    expect_silence(world, GUEST);
    hear(world, B, 2, false);
    hear(world, GUEST, 2, false);
    assert_int_equal(say(world, B, 3), 0);
    pass(world, 50 * MS);
    hear(world, GUEST, 3, false);
    hear_nothing(world, GUEST);
    hear_nothing(world, B);
}

static void
what_is_brought_before_the_guest_comes_waits_for_it(void **state)
{
    struct world *world = *state;
    begin(world);
    assert_int_equal(say(world, A, 2), 0);
    pack(world, A);
    assert_int_equal(bring(world, B), 0);
    expect_silence(world, B);
    assert_true(say(world, B, 3) < 0);
    go_to(world, B);
    pass(world, 50 * MS);
    assert_true(expect(world, B, MCHAN_UP).resumed);
    expect_silence(world, B);
    hear(world, GUEST, 2, false);
    assert_int_equal(say(world, B, 3), 0);
    pass(world, 50 * MS);
    hear(world, GUEST, 3, false);
}

/* Until the guest has heard it. */

static void
nothing_new_is_sent_before_the_guest_has_heard(void **state)
{
    struct world *world = *state;
    move_to_b(world);
    assert_int_equal(bring(world, B), 0);
    /* It is on its way, and so is the guest's answer. */
    for (int64_t t = 0; t < 2 * DELAY - MS; t += MS) {
        assert_true(say(world, B, 3) < 0);
        expect_silence(world, B);
        pass(world, MS);
    }
    pass(world, 10 * MS);
    expect(world, B, MCHAN_UP);
    assert_int_equal(say(world, B, 3), 0);
}

static void
who_is_left_before_that_takes_nothing_with_it(void **state)
{
    struct world *world = *state;
    move_to_b(world);
    assert_int_equal(bring(world, B), 0);
    pass(world, MS);
    assert_true(say(world, B, 3) < 0);
    go_to(world, C);
    pass(world, 20 * MS);
    expect(world, C, MCHAN_STRANGER);
    mchan_close(world->end[B]); /* B dies; A still has a copy. */
    world->end[B] = NULL;
    assert_int_equal(bring(world, C), 0);
    pass(world, 50 * MS);
    assert_true(expect(world, C, MCHAN_UP).resumed);
    expect_silence(world, C);
    hear(world, C, 2, false);
    hear(world, GUEST, 2, false);
    hear_nothing(world, GUEST);
}

static void
who_comes_back_before_that_is_asked_again(void **state)
{
    struct world *world = *state;
    move_to_b(world);
    assert_int_equal(bring(world, B), 0);
    pass(world, MS);
    sim_network_cut(world->network, "b");
    pass(world, MS);
    expect_silence(world, B);
    /* It knows B's memory, but not that it is there. */
    pass(world, 4 * MS);
    assert_true(say(world, B, 3) < 0);
    pass(world, 50 * MS);
    assert_true(expect(world, B, MCHAN_UP).resumed);
    expect_silence(world, B);
    hear(world, B, 2, false);
    hear(world, GUEST, 2, false);
    assert_int_equal(say(world, B, 3), 0);
    pass(world, 50 * MS);
    hear(world, GUEST, 3, false);
}

static void
a_copy_that_went_on_elsewhere_is_no_loss(void **state)
{
    struct world *world = *state;
    move_to_b(world);
    assert_int_equal(bring(world, B), 0);
    pass(world, MS);
    go_to(world, C);
    pass(world, 20 * MS);
    assert_int_equal(bring(world, C), 0);
    pass(world, 50 * MS);
    forget_events(world, B);
    assert_int_equal(mchan_forget(world->end[B]), 0);
    expect_silence(world, B); /* Neither DROPPED nor GAP. */
}

/* Nobody has it. */

static void
who_gives_up_tells_what_may_be_missing(void **state)
{
    struct world *world = *state;
    move_to_b(world);
    assert_int_equal(mchan_import(world->end[B], NULL, 0), 0);
    expect_silence(world, B); /* The guest may never hear it. */
    pass(world, 50 * MS);
    struct mchan_event up = expect(world, B, MCHAN_UP);
    assert_false(up.resumed);
    assert_int_equal(expect(world, B, MCHAN_GAP).from, 1);
    assert_int_equal(expect(world, GUEST, MCHAN_GAP).from, 2);
    hear(world, B, 2, true);
    assert_int_equal(bring(world, B), -ENOENT); /* Too late. */
}

static void
giving_up_unheard_is_as_if_it_had_not_been(void **state)
{
    struct world *world = *state;
    move_to_b(world);
    assert_int_equal(mchan_import(world->end[B], NULL, 0), 0);
    pass(world, MS);
    go_to(world, C);
    pass(world, 20 * MS);
    go_to(world, B);
    pass(world, 20 * MS);
    assert_int_equal(bring(world, B), 0); /* It is found after all. */
    pass(world, 50 * MS);
    forget_events(world, C);
    expect(world, B, MCHAN_STRANGER);
    assert_true(expect(world, B, MCHAN_UP).resumed);
    expect_silence(world, B);
    hear(world, B, 2, false);
    hear(world, GUEST, 2, false);
}

static void
giving_up_unheard_leaves_no_memory_to_hand_over(void **state)
{
    struct world *world = *state;
    uint8_t data[PARCEL_ROOM];
    move_to_b(world);
    assert_int_equal(mchan_import(world->end[B], NULL, 0), 0);
    pass(world, MS);
    assert_int_equal(mchan_suspend(world->end[B]), 0);
    assert_int_equal(mchan_export(world->end[B], data, sizeof data), -ENOTCONN);
    pass(world, 50 * MS); /* Now it heard. */
    assert_true(mchan_export(world->end[B], data, sizeof data) > 0);
}

static void
an_end_that_is_left_alone_has_no_session(void **state)
{
    struct world *world = *state;
    move_to_b(world);
    go_to(world, C);
    forget_events(world, B);
    pass(world, 5 * NSEC_PER_SEC);
    expect_silence(world, B); /* No UP by itself, with nobody there. */
    assert_int_equal(mchan_suspend(world->end[B]), -ENOTCONN);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int
main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(what_is_brought_goes_on_at_both_ends),
        TEST(what_is_brought_before_the_guest_comes_waits_for_it),
        TEST(nothing_new_is_sent_before_the_guest_has_heard),
        TEST(who_is_left_before_that_takes_nothing_with_it),
        TEST(who_comes_back_before_that_is_asked_again),
        TEST(a_copy_that_went_on_elsewhere_is_no_loss),
        TEST(who_gives_up_tells_what_may_be_missing),
        TEST(giving_up_unheard_is_as_if_it_had_not_been),
        TEST(giving_up_unheard_leaves_no_memory_to_hand_over),
        TEST(an_end_that_is_left_alone_has_no_session),
    };
    return cmocka_run_group_tests_name("channel/settle", tests, NULL, NULL);
}
