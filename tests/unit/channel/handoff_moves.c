/* SPDX-License-Identifier: Apache-2.0 */
/* A VM that moves on before its session did, and brokers that are silent,
 * remember nothing or die meanwhile: nobody waits long, and nothing is lost
 * that somebody has. Channels are made up (handoff_scene.h). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/unit/channel/handoff_scene.h"

/* Nobody has it. */

static void
when_nobody_remembers_no_time_is_lost(void **state)
{
    come(B, 5);
    assert_int_equal(house.memory[B].last, HANDOFF_GIVE_UP);
}

static void
a_silent_peer_is_waited_for_two_seconds(void **state)
{
    house.down[A] = true;
    come(B, 5);
    pass(1800 * MS);
    assert_int_equal(house.memory[B].n_actions, 0);
    pass(200 * MS);
    assert_int_equal(house.memory[B].n_actions, 1);
    assert_int_equal(house.memory[B].last, HANDOFF_GIVE_UP);
}

static void
an_old_broker_that_returns_too_late_drops_its_side(void **state)
{
    hold(A, 5, 5);
    leave(A);
    house.down[A] = true;
    come(B, 5);
    pass(3 * NSEC_PER_SEC);
    assert_int_equal(
        handoff_attached(house.at[B], &vm, S, 5 + HANDOFF_LEAP, house.now), 0);
    assert_int_equal(stats(B).n_given_up, 1);
    pass(5 * NSEC_PER_SEC);
    house.down[A] = false;
    pass(2 * NSEC_PER_SEC);
    assert_false(house.memory[A].has);
    assert_int_equal(house.memory[A].last, HANDOFF_DROP);
    assert_int_equal(stats(A).n_dropped, 1);
    expect_state(A, HANDOFF_PASSED);
}

static void
a_handoff_that_comes_too_late_is_refused_and_counted(void **state)
{
    hold(A, 5, 5);
    come(B, 5); /* A's hypervisor does not say that it left. */
    pass(3 * NSEC_PER_SEC);
    assert_int_equal(house.memory[B].last, HANDOFF_GIVE_UP);
    assert_int_equal(
        handoff_attached(house.at[B], &vm, S, 5 + HANDOFF_LEAP, house.now), 0);
    leave(A);
    assert_false(house.memory[B].has);
    pass(2 * NSEC_PER_SEC);
    assert_false(house.memory[A].has);
    assert_int_equal(stats(B).n_late, 1);
    assert_int_equal(stats(A).n_bytes, 0);
    expect_state(A, HANDOFF_PASSED);
}

static void
what_nobody_asks_for_is_let_go(void **state)
{
    hold(A, 5, 5);
    leave(A);
    pass(59 * NSEC_PER_SEC);
    assert_true(house.memory[A].has);
    pass(2 * NSEC_PER_SEC);
    assert_false(house.memory[A].has);
    assert_int_equal(stats(A).n_expired, 1);
    pass(61 * NSEC_PER_SEC);
    expect_state(A, HANDOFF_NONE);
}

/* Quick moves. */

static void
one_on_the_way_names_the_one_who_has_it(void **state)
{
    hold(A, 5, 5);
    come(B, 5); /* Not yet. */
    leave(B);
    expect_state(B, HANDOFF_FROZEN);
    handoff_granted(house.at[A], &vm, B); /* A knows of B only. */
    come(C, 5);
    leave(A);
    assert_true(house.memory[C].has);
    assert_int_equal(house.memory[B].n_imports, 0);
    assert_true(house.n_msgs[HANDOFF_PASS] > 0);
    go_on(C);
    expect_state(A, HANDOFF_PASSED);
    expect_state(B, HANDOFF_PASSED);
}

static void
one_on_the_way_does_not_name_it_while_its_guest_is_there(void **state)
{
    hold(A, 5, 5);
    handoff_granted(house.at[A], &vm, B);
    come(B, 5);
    handoff_left(house.at[A], &vm, house.now, house.now);
    house.mute[A] = true;
    settle();
    come(C, 5); /* It has no such guest. */
    house.mute[A] = false;
    pass(50 * MS);
    assert_false(house.memory[C].has);
    pass(3 * NSEC_PER_SEC);
    assert_true(house.memory[B].has);
    assert_int_equal(house.memory[C].n_imports, 0);
}

static void
what_reaches_one_on_the_way_goes_on_from_there(void **state)
{
    hold(A, 5, 5);
    leave(A);
    house.mute[A] = true;
    come(B, 5);
    leave(B);
    house.mute[A] = false;
    /* A's answer, late. */
    say(B, A,
        (struct handoff_msg){.kind = HANDOFF_PULL, .key = 5, .visit = VISIT});
    expect_state(B, HANDOFF_KEPT);
    come(C, 5);
    assert_true(house.memory[C].has);
    assert_int_equal(house.memory[B].n_imports, 0);
}

static void
there_and_back_before_it_was_asked_for(void **state)
{
    hold(A, 5, 5);
    leave(A);
    house.down[B] = true; /* Its guest's HELLO never came. */
    handoff_runs(house.at[A], &vm, house.now, house.now);
    pass(100 * NSEC_PER_SEC);
    assert_true(house.memory[A].has);
    expect_state(A, HANDOFF_HOLDING);
}

static void
there_and_back_with_the_memory_on_its_way(void **state)
{
    hold(A, 5, 5);
    leave(A);
    house.mute[A] = true;
    come(B, 5); /* A packed it, and B did not get it. */
    leave(B);
    house.mute[A] = false;
    come(A, 5);
    pass(3 * NSEC_PER_SEC);
    assert_true(house.memory[A].has);
    assert_int_equal(house.memory[B].n_imports, 0);
    assert_int_equal(stats(A).n_given_up, 0);
}

static void
there_and_back_with_all_of_it(void **state)
{
    hold(A, 5, 5);
    leave(A);
    come(B, 5);
    go_on(B);
    leave(B);
    come(A, 5 + HANDOFF_LEAP);
    assert_true(house.memory[A].has);
    assert_false(house.memory[B].has);
    go_on(A);
    expect_state(B, HANDOFF_PASSED);
    expect_state(A, HANDOFF_HOLDING);
}

/* Death. */

static void
a_new_broker_that_dies_before_it_settled_loses_nothing(void **state)
{
    hold(A, 5, 5);
    leave(A);
    come(B, 5);
    assert_true(house.memory[B].has);
    crash(B); /* The guest never heard that it is settled. */
    come(B, 5);
    assert_true(house.memory[B].has);
    go_on(B);
    leave(B);
    come(C, 5 + HANDOFF_LEAP);
    assert_true(house.memory[C].has);
}

static void
one_on_the_way_that_dies_does_not_stop_it(void **state)
{
    hold(A, 5, 5);
    leave(A);
    come(B, 5);
    leave(B);
    crash(B);
    come(C, 5);
    pass(2 * NSEC_PER_SEC);
    assert_true(house.memory[C].has);
    assert_int_equal(stats(C).n_given_up, 0);
}

static void
one_on_the_way_that_stays_dead_delays_it(void **state)
{
    hold(A, 5, 5);
    leave(A);
    come(B, 5);
    leave(B);
    house.down[B] = true;
    come(C, 5);
    assert_false(house.memory[C].has);
    pass(1900 * MS);
    assert_true(house.memory[C].has);
}

static void
an_outdated_memory_is_never_given_out(void **state)
{
    hold(A, 5, 5);
    leave(A);
    come(B, 5);
    house.mute[B] = true;
    go_on(B); /* A still has its copy. */
    expect_state(A, HANDOFF_KEPT);
    house.mute[B] = false;
    crash(B);
    come(B, 5 + HANDOFF_LEAP); /* The guest knows that it went on. */
    assert_false(house.memory[B].has);
    assert_int_equal(house.memory[B].last, HANDOFF_GIVE_UP);
    assert_int_equal(stats(A).n_stale, 1);
}

static void
the_old_broker_killed_in_the_middle(void **state)
{
    hold(A, 5, 5);
    leave(A);
    house.mute[A] = true;
    come(B, 5);
    crash(A);
    house.mute[A] = false;
    pass(300 * MS);
    assert_int_equal(house.memory[B].n_imports, 0);
    assert_int_equal(house.memory[B].last, HANDOFF_GIVE_UP);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int
main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(when_nobody_remembers_no_time_is_lost),
        TEST(a_silent_peer_is_waited_for_two_seconds),
        TEST(an_old_broker_that_returns_too_late_drops_its_side),
        TEST(a_handoff_that_comes_too_late_is_refused_and_counted),
        TEST(what_nobody_asks_for_is_let_go),
        TEST(one_on_the_way_names_the_one_who_has_it),
        TEST(one_on_the_way_does_not_name_it_while_its_guest_is_there),
        TEST(what_reaches_one_on_the_way_goes_on_from_there),
        TEST(there_and_back_before_it_was_asked_for),
        TEST(there_and_back_with_the_memory_on_its_way),
        TEST(there_and_back_with_all_of_it),
        TEST(a_new_broker_that_dies_before_it_settled_loses_nothing),
        TEST(one_on_the_way_that_dies_does_not_stop_it),
        TEST(one_on_the_way_that_stays_dead_delays_it),
        TEST(an_outdated_memory_is_never_given_out),
        TEST(the_old_broker_killed_in_the_middle),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
