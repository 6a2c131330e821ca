/* SPDX-License-Identifier: Apache-2.0 */
/* Twins, clones and liars get no session that is not theirs, what does not fit
 * is refused, and what strangers ask costs nothing. Channels are made up
 * (handoff_scene.h). */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "tests/unit/channel/handoff_scene.h"

/* Twins, clones, liars. */

static void
nobody_takes_the_session_of_a_vm_that_runs_here(void **state)
{
    hold(A, 5, 5);
    say(C, A, (struct handoff_msg){.kind = HANDOFF_TAKEN, .attachment = 5000});
    say(C, A, (struct handoff_msg){.kind = HANDOFF_TAKEN, .attachment = 5000});
    assert_true(house.memory[A].has);
    assert_int_equal(stats(A).n_disputed, 1);
    assert_int_equal(house.n_msgs[HANDOFF_KEEPS], 2);
}

static void
a_clone_does_not_get_its_models_session(void **state)
{
    const struct mchan_event clone = {.type = MCHAN_STRANGER,
                                      .session = S,
                                      .from = 5,
                                      .to = 5,
                                      .attachment = 5 + HANDOFF_LEAP};
    hold(A, 5, 5);
    leave(A);
    assert_int_equal(
        handoff_stranger(house.at[B], &other_vm, &clone, house.now), 0);
    settle();
    assert_int_equal(house.memory[B].last, HANDOFF_REFUSE);
    assert_int_equal(stats(B).n_foreign, 1);
    assert_true(house.memory[A].has);
    /* The same on one host. */
    assert_int_equal(
        handoff_stranger(house.at[A], &other_vm, &clone, house.now), 0);
    settle();
    assert_int_equal(house.memory[A].last, HANDOFF_REFUSE);
    assert_true(house.memory[A].has);
}

static void
nonsense_changes_nothing(void **state)
{
    uint8_t data[256];
    hold(A, 5, 5);
    come(B, 5);
    for (int kind = 0; kind <= HANDOFF_N_KINDS; kind++) {
        struct handoff_msg msg = {
            .kind = (enum handoff_kind)kind, .key = 5, .visit = VISIT};
        msg.whom = 9;
        msg.parcel = data;
        msg.parcel_size = pack(data, sizeof data, S + 1, 5, 5);
        if (kind != HANDOFF_TAKEN && kind != HANDOFF_UNKNOWN) {
            say(C, B, msg);
            say(C, A, msg);
        }
        say(N, A, msg); /* No such peer. */
        say(A, A, msg);
    }
    assert_true(house.memory[A].has);
    assert_false(house.memory[B].has);
    expect_state(A, HANDOFF_HOLDING);
    expect_state(B, HANDOFF_WANTING);
    assert_true(stats(A).n_bad >= 2 * HANDOFF_N_KINDS);
    assert_true(stats(B).n_bad > 0);
    leave(A); /* It is offered to C, who does not want it. */
    pass(200 * MS);
    assert_true(house.memory[B].has);
}

static void
a_memory_that_does_not_fit_the_guest_is_refused(void **state)
{
    uint8_t data[256];
    hold(A, 5, 5);
    come(B, 5);
    struct handoff_msg here = {
        .kind = HANDOFF_HERE, .key = 5, .visit = VISIT, .parcel = data};
    here.parcel_size = pack(data, sizeof data, S, 6, 9);
    say(C, B, here);
    here.parcel_size = pack(data, sizeof data, S, 4, 4);
    say(C, B, here);
    assert_false(house.memory[B].has);
    assert_int_equal(stats(B).n_bad, 2);
    assert_int_equal(stats(B).n_bytes, 0);
}

/* Bounds. */

static void
questions_about_unknown_vms_cost_nothing(void **state)
{
    for (unsigned i = 0; i < 1000; i++) {
        struct handoff_msg msg = {.kind =
                                      (enum handoff_kind)(i % HANDOFF_N_KINDS),
                                  .peer = C,
                                  .session = i + 1};
        memcpy(msg.vm.uuid, &i, sizeof i);
        handoff_on_msg(house.at[A], &msg, house.now);
    }
    assert_true(handoff_deadline(house.at[A]) == NSEC_NEVER);
    assert_int_equal(stats(A).n_bytes, 0);
}

static void
a_full_table_lets_go_of_what_left_first(void **state)
{
    for (uint8_t i = 10; i < 13; i++) {
        const struct handoff_vm each = {{i}};
        assert_int_equal(handoff_attached(house.at[A], &each, i, 1, house.now),
                         0);
    }
    assert_int_equal(handoff_attached(house.at[A], &vm, S, 1, house.now),
                     -ENOSPC);
    const struct handoff_vm first = {{10}};
    handoff_ended(house.at[A], &first);
    hold(A, 5, 5);
    leave(A);
    come(B, 5); /* Packed, and not yet thanked for. */
    expect_state(A, HANDOFF_KEPT);
    assert_int_equal(handoff_attached(house.at[A], &first, 10, 1, house.now),
                     0);
    expect_state(A, HANDOFF_NONE);
    assert_int_equal(stats(A).n_bytes, 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int
main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(nobody_takes_the_session_of_a_vm_that_runs_here),
        TEST(a_clone_does_not_get_its_models_session),
        TEST(nonsense_changes_nothing),
        TEST(a_memory_that_does_not_fit_the_guest_is_refused),
        TEST(questions_about_unknown_vms_cost_nothing),
        TEST(a_full_table_lets_go_of_what_left_first),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
