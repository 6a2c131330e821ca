/* SPDX-License-Identifier: Apache-2.0 */
/* Notes on their way through the agent: in order, bounded, the newest alone
 * where that is wanted, and no more of them a second than agreed. */
#include "agent/notebox.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "probe/probe.h"
#include "tests/scarce.h"
#include "wire/msg.h"

#define NOW (100 * NSEC_PER_SEC)

static char why[160];

static int
setup(void **state)
{
    struct notebox *box = malloc(sizeof *box);

    notebox_init(box, NOW);
    *state = box;
    return 0;
}

static int
teardown(void **state)
{
    notebox_fini(*state);
    free(*state);
    return 0;
}

static int
take(struct notebox *box, const char *type, const char *says, bool latest)
{
    struct probe_note note = {
        .type = type, .bytes = says, .size = strlen(says), .latest = latest};

    why[0] = '\0';
    return notebox_take(box, &note, NOW, why, sizeof why);
}

/* Asserts that the next that is given on is this one. */
static void
gives(struct notebox *box, const char *type, const char *says)
{
    struct msg_note out;

    assert_true(notebox_next(box, NOW, &out));
    assert_string_equal(out.type, type);
    assert_int_equal(out.n_bytes, strlen(says));
    assert_memory_equal(out.bytes, says, strlen(says));
    assert_int_equal(out.made_ns, NOW);
    notebox_given(box);
}

static void
notes_are_given_on_in_order_and_numbered(void **state)
{
    struct notebox *box = *state;
    struct msg_note out;

    assert_int_equal(notebox_deadline(box), NSEC_NEVER);
    assert_false(notebox_next(box, NOW, &out));
    assert_int_equal(take(box, "a/1", "one", false), 0);
    assert_int_equal(take(box, "a/1", "", false), 0);
    assert_int_equal(take(box, "b/1", "three", false), 0);
    assert_true(notebox_deadline(box) <= NOW);
    assert_true(notebox_next(box, NOW, &out));
    assert_int_equal(out.number, 1);
    gives(box, "a/1", "one");
    gives(box, "a/1", "");
    assert_true(notebox_next(box, NOW, &out));
    assert_int_equal(out.number, 3);
    gives(box, "b/1", "three");
    assert_false(notebox_next(box, NOW, &out));
    assert_int_equal(box->n_given, 3);
}

static void
a_newer_latest_takes_the_place_of_the_waiting_one(void **state)
{
    struct notebox *box = *state;

    take(box, "load/1", "10", true);
    take(box, "other/1", "x", true);
    take(box, "load/1", "11", false); /* Not void: it was to arrive. */
    for (int i = 0; i < 1000; i++) {
        assert_int_equal(take(box, "load/1", "12", true), 0);
    }
    assert_int_equal(box->n, 3);
    assert_int_equal(box->n_newer, 1000);
    gives(box, "other/1", "x");
    gives(box, "load/1", "11");
    gives(box, "load/1", "12");
}

static void
who_brings_too_many_is_told(void **state)
{
    struct notebox *box = *state;

    for (int i = 0; i < NOTEBOX_MAX; i++) {
        assert_int_equal(take(box, "a/1", "x", false), 0);
    }
    assert_int_equal(take(box, "a/1", "x", false), -EAGAIN);
    assert_string_equal(why, "a/1: 16 notes wait already");
    assert_int_equal(box->n, NOTEBOX_MAX);
    assert_int_equal(box->n_refused, 1);
    gives(box, "a/1", "x");
    assert_int_equal(take(box, "a/1", "x", false), 0);
}

static void
what_makes_no_sense_is_refused_in_words(void **state)
{
    static const uint8_t large[MSG_NOTE_SIZE_MAX + 1];
    struct probe_note note = {
        .type = "a/1", .bytes = large, .size = sizeof large};
    struct notebox *box = *state;

    assert_int_equal(notebox_take(box, &note, NOW, why, sizeof why), -EMSGSIZE);
    assert_string_equal(why, "a/1: 3841 bytes, at most 3840");
    note.size--;
    assert_int_equal(notebox_take(box, &note, NOW, why, sizeof why), 0);
    assert_int_equal(take(box, "no type", "x", false), -EINVAL);
    assert_string_equal(why, "\"no type\" is no type: 1 to 64 bytes, names of "
                             "A-Za-z0-9._- with / between");
    assert_int_equal(take(box, "\033[2J", "x", false), -EINVAL);
    assert_null(strchr(why, '\033'));
    assert_int_equal(take(box, "", "x", false), -EINVAL);
    assert_int_equal(box->n_refused, 4);
}

static void
who_knows_nothing_is_told_the_newest_of_each_type(void **state)
{
    struct notebox *box = *state;
    struct msg_note out;

    take(box, "a/1", "old", false);
    take(box, "b/1", "b", true);
    take(box, "a/1", "new", false);
    gives(box, "a/1", "old");
    gives(box, "b/1", "b");
    gives(box, "a/1", "new");
    assert_int_equal(notebox_deadline(box), NSEC_NEVER);
    take(box, "c/1", "waits", false);
    notebox_again(box);
    assert_true(notebox_next(box, NOW, &out));
    assert_int_equal(out.number, 2); /* As it had. */
    gives(box, "b/1", "b");
    gives(box, "a/1", "new");
    gives(box, "c/1", "waits");
    assert_false(notebox_next(box, NOW, &out));
    notebox_again(box);
    gives(box, "b/1", "b");
    assert_true(notebox_next(box, NOW, &out));
    assert_string_equal(out.type, "a/1");
    notebox_drop(box); /* Does not fit there; it is not tried for ever. */
    gives(box, "c/1", "waits");
    assert_false(notebox_next(box, NOW, &out));
}

static void
no_more_types_are_remembered_than_agreed(void **state)
{
    struct notebox *box = *state;
    char type[16];

    for (int i = 0; i < NOTEBOX_TYPES + 4; i++) {
        snprintf(type, sizeof type, "t/%d", i);
        take(box, type, type, false);
        gives(box, type, type);
    }
    notebox_again(box);
    for (int i = 4; i < NOTEBOX_TYPES + 4; i++) {
        snprintf(type, sizeof type, "t/%d", i);
        gives(box, type, type);
    }
    assert_int_equal(notebox_deadline(box), NSEC_NEVER);
}

static void
no_more_are_given_on_a_second_than_agreed(void **state)
{
    struct notebox *box = *state;
    struct msg_note out;
    nsec_t now = NOW;
    int n = 0;

    /* Ten seconds of a program that never rests. */
    while (now < NOW + 10 * NSEC_PER_SEC) {
        take(box, "a/1", "x", false);
        while (notebox_next(box, now, &out)) {
            notebox_given(box);
            n++;
            take(box, "a/1", "x", false);
        }
        assert_true(notebox_deadline(box) > now);
        assert_true(notebox_deadline(box) <= now + NSEC_PER_SEC);
        now = notebox_deadline(box);
    }
    assert_in_range(n, NOTEBOX_BURST + 9 * NOTEBOX_PER_SECOND,
                    NOTEBOX_BURST + 10 * NOTEBOX_PER_SECOND + 1);
}

static void
an_empty_box_waits_for_nothing(void **state)
{
    assert_true(notebox_deadline(*state) == NSEC_NEVER);
    take(*state, "a/1", "x", false);
    assert_true(notebox_deadline(*state) != NSEC_NEVER);
}

static void
a_note_without_memory_is_refused(void **state)
{
    struct notebox *box = *state;

    scarce_arm("memory", 1, ENOMEM);
    assert_int_equal(take(box, "a/1", "x", false), -ENOMEM);
    assert_true(scarce_disarm());
    assert_string_equal(why, "no memory");
    assert_int_equal(box->n_refused, 1);
    assert_int_equal(box->n, 0);
}

/* What nobody will ever take is not told again, either. */
static void
what_is_dropped_is_forgotten(void **state)
{
    struct notebox *box = *state;
    struct msg_note out;

    take(box, "a/1", "x", true);
    take(box, "b/1", "y", true);
    gives(box, "a/1", "x");
    assert_true(notebox_next(box, NOW, &out));
    notebox_drop(box); /* "b/1". */
    assert_false(notebox_next(box, NOW, &out));
    assert_int_equal(box->n_refused, 1);
    notebox_again(box);
    assert_true(notebox_next(box, NOW, &out));
    assert_string_equal(out.type, "a/1");
    notebox_drop(box);
    notebox_again(box);
    assert_false(notebox_next(box, NOW, &out));
    assert_int_equal(box->n_refused, 2);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int
main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(notes_are_given_on_in_order_and_numbered),
        TEST(a_newer_latest_takes_the_place_of_the_waiting_one),
        TEST(an_empty_box_waits_for_nothing),
        TEST(a_note_without_memory_is_refused),
        TEST(what_is_dropped_is_forgotten),
        TEST(who_brings_too_many_is_told),
        TEST(what_makes_no_sense_is_refused_in_words),
        TEST(who_knows_nothing_is_told_the_newest_of_each_type),
        TEST(no_more_types_are_remembered_than_agreed),
        TEST(no_more_are_given_on_a_second_than_agreed),
    };

    return cmocka_run_group_tests_name("agent/notebox", tests, NULL, NULL);
}
