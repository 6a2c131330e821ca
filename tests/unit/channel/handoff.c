/* SPDX-License-Identifier: Apache-2.0 */
/* Brokers that hand a VM's session to each other: who gets it and who does
 * not, whatever is late, lost or doubled. Channels are made up
 * (handoff_scene.h); msim runs the same with real ones. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/unit/channel/handoff_scene.h"

/* One move. */

static void
a_session_follows_its_vm(void **state)
{
    hold(A, 5, 5);
    leave(A);
    come(B, 5);
    assert_true(house.memory[B].has);
    assert_false(house.memory[A].has);
    expect_state(A, HANDOFF_KEPT);
    go_on(B);
    expect_state(A, HANDOFF_PASSED);
    expect_state(B, HANDOFF_HOLDING);
    assert_int_equal(stats(A).n_bytes + stats(B).n_bytes, 0);
    assert_int_equal(stats(A).n_given, 1);
    assert_int_equal(stats(B).n_taken, 1);
}

static void
it_is_kept_until_its_host_says_that_the_vm_left(void **state)
{
    hold(A, 5, 5);
    come(B, 5);
    pass(500 * MS);
    assert_true(house.memory[A].has);
    assert_true(house.n_msgs[HANDOFF_NOT_YET] >= 4);
    unsigned n_pulls = house.n_msgs[HANDOFF_PULL];
    leave(A); /* And nobody has to ask again. */
    assert_int_equal(house.n_msgs[HANDOFF_PULL], n_pulls);
    assert_true(house.memory[B].has);
}

static void
a_grant_releases_it_once_the_vm_stands_still(void **state)
{
    hold(A, 5, 5);
    handoff_granted(house.at[A], &vm, B);
    come(B, 5);
    assert_true(house.memory[A].has); /* It still runs there. */
    handoff_paused(house.at[A], &vm, house.now, house.now);
    settle();
    assert_true(house.memory[B].has);
}

static void
a_grant_is_for_whom_it_names(void **state)
{
    hold(A, 5, 5);
    handoff_granted(house.at[A], &vm, B);
    leave(A);
    come(C, 5); /* It lies, or is much too early. */
    pass(5 * NSEC_PER_SEC);
    assert_true(house.memory[A].has);
    assert_false(house.memory[C].has);
    come(B, 5);
    assert_true(house.memory[B].has);
}

static void
a_cancelled_migration_changes_nothing(void **state)
{
    hold(A, 5, 5);
    handoff_granted(house.at[A], &vm, B);
    handoff_paused(house.at[A], &vm, house.now, house.now);
    handoff_runs(house.at[A], &vm, house.now, house.now);
    say(B, A,
        (struct handoff_msg){.kind = HANDOFF_PULL, .key = 5, .visit = VISIT});
    assert_true(house.memory[A].has);
    assert_int_equal(house.n_msgs[HANDOFF_NOT_YET], 1);
    pass(300 * NSEC_PER_SEC);
    expect_state(A, HANDOFF_HOLDING);
}

static void
what_was_given_too_early_comes_back(void **state)
{
    hold(A, 5, 5);
    handoff_granted(house.at[A], &vm, HANDOFF_ANYBODY);
    handoff_paused(house.at[A], &vm, house.now, house.now);
    say(B, A,
        (struct handoff_msg){.kind = HANDOFF_PULL, .key = 5, .visit = VISIT});
    assert_false(house.memory[A].has);
    handoff_runs(house.at[A], &vm, house.now,
                 house.now); /* The migration failed after all. */
    come(A, 5);
    assert_true(house.memory[A].has);
}

/* News of the hypervisor that comes late, or in another order. */

static void
left_of_a_stay_before_says_nothing_of_this_one(void **state)
{
    nsec_t when = house.now;
    hold(A, 5, 5);
    pass(50 * MS);
    hold(A, 5, 6); /* It left meanwhile, and is back. */
    assert_true(handoff_runs(house.at[A], &vm, house.now - MS, house.now));
    assert_false(handoff_left(house.at[A], &vm, when, house.now));
    come(B, 6);
    pass(1000 * MS);
    assert_true(house.memory[A].has);
    assert_int_equal(stats(A).n_old_news, 1);
}

static void
a_guest_that_spoke_since_it_left_is_waited_for(void **state)
{
    nsec_t when = house.now;
    pass(MS);
    hold(A, 5, 5);
    assert_false(handoff_left(house.at[A], &vm, when, house.now));
    come(B, 5);
    pass(100 * MS);
    assert_true(house.memory[A].has);
    /* It is here, as is said later. */
    assert_true(handoff_runs(house.at[A], &vm, when + 1, house.now));
    pass(1000 * MS);
    assert_true(house.memory[A].has);
}

static void
what_a_guest_said_late_does_not_keep_its_session(void **state)
{
    nsec_t when = house.now;
    pass(MS);
    hold(A, 5, 5); /* Written before it left, and read now. */
    assert_false(handoff_left(house.at[A], &vm, when, house.now));
    come(B, 5);
    assert_true(house.memory[A].has);
    pass(500 * MS); /* Nobody says that it is back. */
    assert_true(house.memory[B].has);
}

static void
what_it_says_just_after_it_left_is_not_believed_for_long(void **state)
{
    assert_true(handoff_runs(house.at[A], &vm, house.now - MS, house.now));
    assert_true(handoff_left(house.at[A], &vm, house.now, house.now));
    pass(MS);
    hold(A, 5, 5);
    come(B, 5);
    assert_true(house.memory[A].has);
    pass(500 * MS);
    assert_true(house.memory[B].has);
}

static void
news_in_any_order_come_to_the_same(void **state)
{
    nsec_t now = house.now;
    hold(A, 5, 5);
    pass(10 * MS);
    handoff_granted(house.at[A], &vm, B);
    assert_true(handoff_left(house.at[A], &vm, now + 3, house.now));
    assert_false(handoff_runs(house.at[A], &vm, now + 2, house.now));
    assert_false(handoff_paused(house.at[A], &vm, now + 1, house.now));
    come(B, 5);
    assert_true(house.memory[B].has);
    assert_int_equal(stats(A).n_old_news, 2);
}

static void
a_guest_that_waits_is_asked_for_again_when_its_host_says_so(void **state)
{
    hold(A, 5, 5);
    leave(A);
    come(B, 5);
    assert_true(house.memory[B].has);
    pass(MS);
    crash(B);
    house.mute[B] = true;
    come(A, 5); /* It is back before it heard, and B is asked in vain, */
    pass(MS);
    assert_true(handoff_left(house.at[A], &vm, house.now, house.now));
    expect_state(A, HANDOFF_KEPT); /* when A's host seems to lose it, */
    pass(MS);
    assert_true(handoff_runs(house.at[A], &vm, house.now, house.now));
    pass(1500 * MS); /* and finds it again. */
    assert_true(house.memory[A].has);
}

static void
another_visit_with_the_same_key_asks_anew(void **state)
{
    come(B, 5);
    struct mchan_event event = {.type = MCHAN_STRANGER,
                                .session = S,
                                .from = 5,
                                .to = 5,
                                .attachment = 6 + HANDOFF_LEAP};
    unsigned n_pulls = house.n_msgs[HANDOFF_PULL];
    /* It only tries again. */
    assert_int_equal(handoff_stranger(house.at[B], &vm, &event, house.now), 0);
    settle();
    assert_int_equal(house.n_msgs[HANDOFF_PULL], n_pulls);
    /* It was at another's meanwhile, who gave it an attachment. */
    pass(MS);
    event.to = 7 + 2 * HANDOFF_LEAP;
    assert_int_equal(handoff_stranger(house.at[B], &vm, &event, house.now), 0);
    settle();
    assert_true(house.n_msgs[HANDOFF_PULL] > n_pulls);
}

/* Lost, late, doubled. */

static void
a_lost_answer_is_given_again(void **state)
{
    hold(A, 5, 5);
    leave(A);
    house.mute[A] = true;
    come(B, 5);
    assert_false(house.memory[B].has);
    assert_false(house.memory[A].has);
    house.mute[A] = false;
    pass(100 * MS);
    assert_true(house.memory[B].has);
    assert_int_equal(house.memory[B].n_imports, 1);
}

static void
doubled_answers_are_taken_once(void **state)
{
    uint8_t data[256];
    struct handoff_msg here = {
        .kind = HANDOFF_HERE, .key = 5, .visit = VISIT, .parcel = data};
    here.parcel_size = pack(data, sizeof data, S, 5, 5);
    hold(A, 5, 5);
    leave(A);
    come(B, 5);
    say(A, B, here);
    go_on(B);
    say(A, B, here);
    assert_int_equal(house.memory[B].n_imports, 1);
    assert_int_equal(stats(B).n_late, 2);
    expect_state(B, HANDOFF_HOLDING);
}

static void
an_old_question_moves_nothing(void **state)
{
    hold(A, 5, 5);
    leave(A);
    come(B, 5);
    go_on(B);
    /* The VM went back and away again; B's question of long ago comes. */
    house.memory[A].attachment = 5;
    leave(B);
    come(A, 5 + HANDOFF_LEAP);
    go_on(A);
    leave(A);
    house.memory[A].low = house.memory[A].attachment;
    say(B, A,
        (struct handoff_msg){.kind = HANDOFF_PULL, .key = 5, .visit = VISIT});
    assert_int_equal(house.memory[B].n_imports, 1);
    come(C, house.memory[A].attachment);
    assert_true(house.memory[C].has);
}

static void
a_lost_word_that_it_was_taken_is_said_again(void **state)
{
    hold(A, 5, 5);
    leave(A);
    come(B, 5);
    house.mute[B] = true;
    go_on(B);
    expect_state(A, HANDOFF_KEPT);
    pass(500 * MS);
    house.mute[B] = false;
    pass(NSEC_PER_SEC);
    expect_state(A, HANDOFF_PASSED);
    assert_int_equal(stats(A).n_bytes, 0);
    unsigned n = house.n_msgs[HANDOFF_TAKEN];
    pass(10 * NSEC_PER_SEC);
    assert_int_equal(house.n_msgs[HANDOFF_TAKEN], n);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int
main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_session_follows_its_vm),
        TEST(it_is_kept_until_its_host_says_that_the_vm_left),
        TEST(a_grant_releases_it_once_the_vm_stands_still),
        TEST(a_grant_is_for_whom_it_names),
        TEST(a_cancelled_migration_changes_nothing),
        TEST(what_was_given_too_early_comes_back),
        TEST(left_of_a_stay_before_says_nothing_of_this_one),
        TEST(a_guest_that_spoke_since_it_left_is_waited_for),
        TEST(what_a_guest_said_late_does_not_keep_its_session),
        TEST(what_it_says_just_after_it_left_is_not_believed_for_long),
        TEST(news_in_any_order_come_to_the_same),
        TEST(a_guest_that_waits_is_asked_for_again_when_its_host_says_so),
        TEST(another_visit_with_the_same_key_asks_anew),
        TEST(a_lost_answer_is_given_again),
        TEST(doubled_answers_are_taken_once),
        TEST(an_old_question_moves_nothing),
        TEST(a_lost_word_that_it_was_taken_is_said_again),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
