/* SPDX-License-Identifier: Apache-2.0 */
/* Applications' own messages in the engine: kept untouched, given to the policy
 * that asked for their types, when it asked, and bounded whatever a guest
 * does. */
#include "tests/unit/broker/enginebench.h"

#include <string.h>

#include "model/note.h"

#define AT_ONCE "org.mbroker.sim.pstate/1"
#define AT_EPOCH "org.mbroker.sim.pstate-hint/1"

static uint64_t
tell_note(struct bench *bench, uint32_t i, const char *type, const char *says)
{
    struct msg msg = message(MSG_GUEST_NOTE);
    struct msg_guest_note *note = &msg.guest_note;

    note->vm = bench->guests[i].uuid;
    note->cause = ++bench->causes;
    strcpy(note->type, type);
    note->n_bytes = (uint32_t)strlen(says);
    memcpy(note->bytes, says, note->n_bytes);
    note->number = 7;
    note->offset_ns = -5 * NSEC_PER_SEC;
    note->offset_error_ns = 2000;
    note->made_ns = bench->now - 5 * NSEC_PER_SEC - 20 * MS;
    note->sent_ns = bench->now - 5 * NSEC_PER_SEC - 10 * MS;
    note->received_ns = bench->now - 1 * MS;
    tell(bench, &msg);
    return bench->causes;
}

static const struct vm *
vm_of(struct bench *bench, uint32_t i)
{
    return host_vm(status_of(bench).host, &bench->guests[i].uuid);
}

/* Policy "sim" in force and both agents there; the policy wants nothing. */
static void
listen(struct bench *bench)
{
    char why[160];

    assert_int_equal(
        engine_set_policy(bench->engine, "sim", NULL, bench->now, why, 160), 0);
    tell_up(bench, 0);
    tell_up(bench, 1);
    run(bench);
    assert_int_equal(bench->n_sent, 0);
}

static const struct journal_row *
row_of(struct bench *bench, const char *name, uint64_t cause)
{
    for (uint32_t i = 0; i < bench->journal->n; i++) {
        const struct journal_row *row = &bench->journal->rows[i];
        if (!strcmp(row->name, name) && row->cause == cause) {
            return row;
        }
    }
    return NULL;
}

static uint32_t
n_rows(struct bench *bench, const char *name)
{
    uint32_t n = 0;

    for (uint32_t i = 0; i < bench->journal->n; i++) {
        n += !strcmp(bench->journal->rows[i].name, name);
    }
    return n;
}

static void
a_note_is_kept_untouched_with_its_times(void **state)
{
    struct bench *bench = *state;
    const struct note *note;

    listen(bench);
    tell_note(bench, 0, "org.example/1", "says");
    note = vm_note(vm_of(bench, 0), "org.example/1");
    assert_int_equal(note->size, 4);
    assert_memory_equal(note->bytes, "says", 4);
    assert_int_equal(note->when, bench->now - 1 * MS);
    assert_int_equal(note->made, bench->now - 20 * MS);
    assert_int_equal(note->number, 7);
    assert_false(note->asked);
    assert_null(vm_note(vm_of(bench, 1), "org.example/1"));
    assert_int_equal(status_of(bench).counts->n_notes, 1);
}

static void
an_urgent_note_moves_the_policy_at_once(void **state)
{
    struct bench *bench = *state;
    uint64_t cause;

    listen(bench);
    bench->now += 10 * MS;
    cause = tell_note(bench, 0, AT_ONCE, "3");
    run(bench);
    assert_int_equal(bench->n_sent, 1);
    assert_int_equal(bench->last.type, MSG_SET_PSTATE);
    assert_int_equal(bench->last.set_pstate.domain, 0);
    assert_int_equal(bench->last.set_pstate.pstate, 3);
    assert_int_equal(bench->last.set_pstate.cause, cause);
}

static void
a_note_that_can_wait_moves_it_at_the_epoch_s_end(void **state)
{
    struct bench *bench = *state;

    listen(bench);
    bench->now += 10 * MS;
    tell_note(bench, 0, AT_EPOCH, "3");
    run(bench);
    assert_int_equal(bench->n_sent, 0);
    epoch(bench, 1);
    assert_int_equal(bench->n_sent, 1);
    assert_int_equal(bench->last.set_pstate.pstate, 3);
}

static void
what_nobody_asked_for_moves_nothing_and_is_not_journalled(void **state)
{
    struct bench *bench = *state;

    listen(bench);
    tell_note(bench, 0, "org.mbroker.sim.pstate/2", "3");
    run(bench);
    epoch(bench, 1);
    assert_int_equal(bench->n_sent, 0);
    assert_int_equal(n_rows(bench, "GUEST_NOTE"), 0);
    assert_int_equal(vm_of(bench, 0)->notes->n, 1);
}

static void
its_row_names_type_size_and_checksum(void **state)
{
    struct bench *bench = *state;
    const struct journal_row *row;
    uint64_t cause;

    listen(bench);
    cause = tell_note(bench, 0, AT_ONCE, "123456789");
    row = row_of(bench, "GUEST_NOTE", cause);
    assert_non_null(row);
    assert_non_null(strstr(row->detail, "\"type\":\"" AT_ONCE "\""));
    assert_non_null(strstr(row->detail, "\"crc32\":\"cbf43926\""));
    assert_int_equal(detail(row, "size"), 9);
    assert_int_equal(detail(row, "number"), 7);
    assert_int_equal(detail(row, "received_ns"), bench->now - 1 * MS);
    assert_non_null(strstr(row->subject, "/agent"));
}

static void
a_note_is_news_once(void **state)
{
    struct bench *bench = *state;

    listen(bench);
    tell_note(bench, 0, AT_EPOCH, "3");
    assert_true(vm_of(bench, 0)->news & VM_NEWS_NOTE);
    assert_true(vm_note(vm_of(bench, 0), AT_EPOCH)->news);
    epoch(bench, 1);
    assert_false(vm_of(bench, 0)->news & VM_NEWS_NOTE);
    assert_false(vm_note(vm_of(bench, 0), AT_EPOCH)->news);
}

/* The policy acts on the newest; the journal and the turns stay bounded. */
static void
a_flood_leaves_a_few_rows_and_the_newest(void **state)
{
    struct bench *bench = *state;
    uint64_t cause = 0;
    char says[2] = "0";

    listen(bench);
    epoch(bench, 1);
    uint32_t n = n_rows(bench, "GUEST_NOTE");
    for (int i = 0; i < 1000; i++) {
        says[0] = (char)('1' + i % 4);
        cause = tell_note(bench, 0, AT_ONCE, says);
    }
    assert_in_range(n_rows(bench, "GUEST_NOTE") - n, 1, 4);
    epoch(bench, 1);
    assert_in_range(n_rows(bench, "GUEST_NOTE") - n, 2, 6);
    /* What the policy was moved by can be traced. */
    assert_non_null(row_of(bench, "GUEST_NOTE", cause));
    assert_int_equal(bench->last.set_pstate.pstate, 4);
    assert_int_equal(bench->last.set_pstate.cause, cause);
    /* The other guest is still heard at once. */
    bench->now += 1 * MS;
    tell_note(bench, 1, AT_ONCE, "2");
    run(bench);
    assert_int_equal(bench->last.set_pstate.domain, 1);
}

static void
a_policy_put_in_force_later_finds_what_came_before(void **state)
{
    struct bench *bench = *state;
    char why[160];

    tell_up(bench, 0);
    tell_note(bench, 0, AT_ONCE, "2");
    run(bench);
    assert_int_equal(n_rows(bench, "GUEST_NOTE"), 0); /* Basic asked not. */
    assert_int_equal(
        engine_set_policy(bench->engine, "sim", NULL, bench->now, why, 160), 0);
    run(bench);
    assert_int_equal(n_rows(bench, "GUEST_NOTE"), 1);
    assert_int_equal(bench->last.type, MSG_SET_PSTATE);
    assert_int_equal(bench->last.set_pstate.pstate, 2);
    /* And one that asks for nothing no longer has it marked. */
    assert_int_equal(
        engine_set_policy(bench->engine, "basic", NULL, bench->now, why, 160),
        0);
    assert_false(vm_note(vm_of(bench, 0), AT_ONCE)->asked);
}

static void
notes_of_an_agent_that_went_are_stale_until_they_come_again(void **state)
{
    struct bench *bench = *state;
    struct msg msg = message(MSG_GUEST_LOST);

    listen(bench);
    tell_note(bench, 0, AT_ONCE, "3");
    run(bench);
    msg.guest_lost.vm = bench->guests[0].uuid;
    msg.guest_lost.cause = ++bench->causes;
    tell(bench, &msg);
    run(bench);
    assert_true(vm_note(vm_of(bench, 0), AT_ONCE)->stale);
    tell_up(bench, 0);
    run(bench);
    assert_true(vm_note(vm_of(bench, 0), AT_ONCE)->stale);
    tell_note(bench, 0, AT_ONCE, "1");
    assert_false(vm_note(vm_of(bench, 0), AT_ONCE)->stale);
}

static void
notes_of_an_agent_that_was_away_hold_again(void **state)
{
    struct bench *bench = *state;
    struct msg msg = message(MSG_GUEST_LOST);

    listen(bench);
    tell_note(bench, 0, AT_ONCE, "3");
    run(bench);
    assert_int_equal(bench->last.set_pstate.pstate, 3);
    obey(bench);
    msg.guest_lost.vm = bench->guests[0].uuid;
    msg.guest_lost.cause = ++bench->causes;
    tell(bench, &msg);
    run(bench);
    for (int i = 0; i < 10; i++) {
        epoch(bench, 1); /* The wish ends. */
    }
    obey(bench);
    msg = message(MSG_GUEST_UP);
    msg.guest_up.vm = bench->guests[0].uuid;
    msg.guest_up.cause = ++bench->causes;
    msg.guest_up.resumed = 1;
    tell(bench, &msg);
    assert_false(vm_note(vm_of(bench, 0), AT_ONCE)->stale);
    epoch(bench, 1);
    assert_int_equal(bench->last.type, MSG_SET_PSTATE);
    assert_int_equal(bench->last.set_pstate.pstate, 3);
}

static void
a_vm_that_ended_leaves_no_notes(void **state)
{
    struct bench *bench = *state;
    struct msg msg = message(MSG_VM_GONE);

    listen(bench);
    tell_note(bench, 0, AT_ONCE, "3");
    tell_note(bench, 1, AT_ONCE, "3");
    tell_found(bench, 0, VM_ENDED);
    assert_int_equal(vm_of(bench, 0)->notes->n, 0);
    msg.vm_gone.vm = bench->guests[1].uuid;
    strcpy(msg.vm_gone.reason, "it was told to");
    tell(bench, &msg);
    assert_int_equal(vm_of(bench, 1)->notes->n, 0);
}

static void
a_note_of_nobody_s_is_said_and_dropped(void **state)
{
    struct bench *bench = *state;

    bench->guests[1].uuid.byte[5] = 77;
    tell_note(bench, 1, AT_ONCE, "3");
    assert_int_equal(n_rows(bench, "UNKNOWN_VM"), 1);
    bench->guests[1].uuid.byte[5] = 0;
}

struct follower {
    uint32_t n;
    char type[NOTE_TYPE_SIZE], vm[VM_NAME_SIZE], says[16];
};

static void
follow(void *ctx, const struct vm *vm, const struct note *note)
{
    struct follower *follower = ((struct bench *)ctx)->follower;

    follower->n++;
    strcpy(follower->type, note->type);
    strcpy(follower->vm, vm->name);
    snprintf(follower->says, sizeof follower->says, "%.*s", (int)note->size,
             (const char *)note->bytes);
}

static void
who_follows_sees_every_note_also_unasked_ones(void **state)
{
    struct bench *bench = *state;
    struct follower follower = {0};

    bench->follower = &follower;
    bench->port.note = follow;
    listen(bench);
    for (int i = 0; i < 50; i++) {
        tell_note(bench, 1, "org.example/1", "says");
    }
    assert_int_equal(follower.n, 50);
    assert_string_equal(follower.type, "org.example/1");
    assert_string_equal(follower.vm, "web2");
    assert_string_equal(follower.says, "says");
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_note_is_kept_untouched_with_its_times),
        TEST(an_urgent_note_moves_the_policy_at_once),
        TEST(a_note_that_can_wait_moves_it_at_the_epoch_s_end),
        TEST(what_nobody_asked_for_moves_nothing_and_is_not_journalled),
        TEST(its_row_names_type_size_and_checksum),
        TEST(a_note_is_news_once),
        TEST(a_flood_leaves_a_few_rows_and_the_newest),
        TEST(a_policy_put_in_force_later_finds_what_came_before),
        TEST(notes_of_an_agent_that_went_are_stale_until_they_come_again),
        TEST(notes_of_an_agent_that_was_away_hold_again),
        TEST(a_vm_that_ended_leaves_no_notes),
        TEST(a_note_of_nobody_s_is_said_and_dropped),
        TEST(who_follows_sees_every_note_also_unasked_ones),
    };

    return cmocka_run_group_tests_name("engine_notes", tests, NULL, NULL);
}
