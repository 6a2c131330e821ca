/* SPDX-License-Identifier: Apache-2.0 */
/* Brokers that hand a VM's session to each other: who gets it and who does not,
 * whatever is late, lost, doubled or dead.  Channels are made up here; msim
 * runs the same with real ones. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "channel/handoff/handoff.h"
#include "channel/handoff/parcel.h"

#define N 4
#define S 4711u
#define MS NSEC_PER_MSEC
#define START (1000 * NSEC_PER_SEC)
#define VISIT START /* One that begins with the test. */
#define A 0u
#define B 1u
#define C 2u
#define D 3u

static const struct handoff_vm vm = {{1}}, other_vm = {{2}};

/* What a broker's channel has of the session. */
struct memory {
    bool has;
    uint32_t low, attachment;
    enum handoff_do last; /* Action, of n. */
    unsigned n_actions, n_imports;
};

struct house {
    struct handoff *at[N];
    struct memory memory[N];
    bool down[N], mute[N]; /* Gets nothing; what it says is lost. */
    nsec_t now;
    unsigned n_msgs[HANDOFF_N_KINDS];
};

static struct house house;

static void
start(uint32_t i)
{
    const struct handoff_opts opts = {.n_peers = N, .self = i, .n_vms_max = 3};
    assert_int_equal(handoff_create(&house.at[i], &opts), 0);
}

static int
set_up(void **state)
{
    memset(&house, 0, sizeof house);
    house.now = START;
    for (uint32_t i = 0; i < N; i++) {
        start(i);
    }
    return 0;
}

static int
tear_down(void **state)
{
    for (uint32_t i = 0; i < N; i++) {
        handoff_destroy(house.at[i]);
    }
    return 0;
}

static size_t
pack(uint8_t *data, size_t room, uint64_t session, uint32_t low,
     uint32_t attachment)
{
    const struct parcel head = {.session = session,
                                .attachment = attachment,
                                .mark = attachment,
                                .former = low == attachment ? 0 : low,
                                .message_max = 1024};
    struct parcel_writer writer;
    parcel_begin(&writer, data, room, &head);
    return parcel_end(&writer);
}

static void
act(uint32_t i, const struct handoff_action *action)
{
    struct memory *memory = &house.memory[i];
    uint8_t data[256];
    memory->last = action->what;
    memory->n_actions++;
    switch (action->what) {
    case HANDOFF_EXPORT: {
        size_t size = pack(data, sizeof data, action->session, memory->low,
                           memory->attachment);
        assert_true(memory->has);
        memory->has = false;
        handoff_exported(house.at[i], &action->vm, data, size, "notes", 5,
                         house.now);
        break;
    }
    case HANDOFF_IMPORT:
        assert_false(memory->has);
        assert_memory_equal(action->notes, "notes", action->notes_size);
        memory->has = true;
        memory->n_imports++;
        memory->low = memory->attachment;
        memory->attachment += HANDOFF_LEAP;
        handoff_imported(house.at[i], &action->vm, 0, house.now);
        break;
    case HANDOFF_DROP:
        memory->has = false;
        break;
    case HANDOFF_GIVE_UP:
    case HANDOFF_REFUSE:
        break;
    }
}

static bool
turn(uint32_t i)
{
    struct handoff_action action;
    struct handoff_msg msg;
    bool any = false;
    if (house.down[i]) {
        return false;
    }
    while (handoff_next_action(house.at[i], &action)) {
        act(i, &action);
        any = true;
    }
    while (handoff_next_msg(house.at[i], &msg)) {
        uint32_t to = msg.peer;
        house.n_msgs[msg.kind]++;
        msg.peer = i;
        any = true;
        if (!house.down[to] && !house.mute[i]) {
            handoff_on_msg(house.at[to], &msg, house.now);
        }
    }
    return any;
}

static void
settle(void)
{
    bool any;
    unsigned n = 0;
    do {
        any = false;
        for (uint32_t i = 0; i < N; i++) {
            any |= turn(i);
        }
        assert_true(++n < 100);
    } while (any);
}

static void
pass(nsec_t time)
{
    nsec_t end = house.now + time;
    settle();
    for (;;) {
        nsec_t next = end;
        for (uint32_t i = 0; i < N; i++) {
            if (!house.down[i]) {
                next = nsec_min(next, handoff_deadline(house.at[i]));
            }
        }
        house.now = next > house.now ? next : house.now;
        for (uint32_t i = 0; i < N && house.now <= end; i++) {
            if (!house.down[i]) {
                handoff_run(house.at[i], house.now);
            }
        }
        settle();
        if (house.now >= end) {
            return;
        }
    }
}

/* The broker loses its memory. */
static void
crash(uint32_t i)
{
    handoff_destroy(house.at[i]);
    memset(&house.memory[i], 0, sizeof house.memory[i]);
    start(i);
}

static void
hold(uint32_t i, uint32_t low, uint32_t attachment)
{
    house.memory[i] =
        (struct memory){.has = true, .low = low, .attachment = attachment};
    assert_int_equal(
        handoff_attached(house.at[i], &vm, S, attachment, house.now), 0);
}

/* The guest's HELLO at a broker that does not know it. */
static void
come(uint32_t i, uint32_t key)
{
    house.memory[i].attachment = key;
    const struct mchan_event event = {.type = MCHAN_STRANGER,
                                      .session = S,
                                      .from = key,
                                      .to = key,
                                      .attachment = key + HANDOFF_LEAP};
    assert_int_equal(handoff_stranger(house.at[i], &vm, &event, house.now), 0);
    settle();
}

static void
leave(uint32_t i)
{
    handoff_left(house.at[i], &vm, house.now, house.now);
    settle();
}

/* What came of an import: the guest is attached. */
static void
go_on(uint32_t i)
{
    assert_true(house.memory[i].has);
    assert_int_equal(handoff_attached(house.at[i], &vm, S,
                                      house.memory[i].attachment, house.now),
                     0);
    settle();
}

static struct handoff_stats
stats(uint32_t i)
{
    struct handoff_stats out;
    handoff_stats(house.at[i], &out);
    return out;
}

static void
expect_state(uint32_t i, enum handoff_state state)
{
    assert_int_equal(handoff_state(house.at[i], &vm), state);
}

static void
say(uint32_t from, uint32_t to, struct handoff_msg msg)
{
    msg.peer = from;
    msg.vm = vm;
    msg.session = S;
    handoff_on_msg(house.at[to], &msg, house.now);
    settle();
}

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
        TEST(nobody_takes_the_session_of_a_vm_that_runs_here),
        TEST(a_clone_does_not_get_its_models_session),
        TEST(nonsense_changes_nothing),
        TEST(a_memory_that_does_not_fit_the_guest_is_refused),
        TEST(questions_about_unknown_vms_cost_nothing),
        TEST(a_full_table_lets_go_of_what_left_first),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
