/* SPDX-License-Identifier: Apache-2.0 */
/* What is kept of a VM's notes: the newest of each type, in bounds. */
#include "model/note.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "model/host.h"

static int
setup(void **state)
{
    struct notes *notes = malloc(sizeof *notes);

    notes_init(notes, malloc((size_t)NOTES_MAX * NOTE_SIZE_MAX));
    *state = notes;
    return 0;
}

static int
teardown(void **state)
{
    struct notes *notes = *state;

    free(notes->storage);
    free(notes);
    return 0;
}

static struct note *
keep(struct notes *notes, const char *type, const char *says)
{
    return notes_keep(notes, type, says, (uint32_t)strlen(says));
}

static void
the_newest_of_a_type_is_kept_untouched(void **state)
{
    struct notes *notes = *state;
    const struct note *note;

    assert_null(notes_find(notes, "a/1"));
    keep(notes, "a/1", "first and long");
    keep(notes, "b/1", "other");
    notes_keep(notes, "a/1", "\0\xff", 2);
    note = notes_find(notes, "a/1");
    assert_int_equal(note->size, 2);
    assert_memory_equal(note->bytes, "\0\xff", 2);
    assert_int_equal(note->n_came, 2);
    assert_int_equal(notes->n, 2);
    assert_int_equal(notes->n_came, 3);
    assert_memory_equal(notes_find(notes, "b/1")->bytes, "other", 5);
}

static void
a_note_may_be_empty_or_as_large_as_allowed(void **state)
{
    static uint8_t large[NOTE_SIZE_MAX];
    struct notes *notes = *state;

    memset(large, 0xab, sizeof large);
    for (int i = 0; i < NOTES_MAX; i++) {
        char type[16];
        snprintf(type, sizeof type, "t/%d", i);
        notes_keep(notes, type, large, sizeof large);
    }
    assert_int_equal(notes_keep(notes, "t/3", large, 0)->size, 0);
    assert_memory_equal(notes_find(notes, "t/2")->bytes, large, sizeof large);
    assert_memory_equal(notes_find(notes, "t/15")->bytes, large, sizeof large);
}

static void
the_oldest_type_leaves_when_all_places_are_taken(void **state)
{
    struct notes *notes = *state;
    char type[16];

    for (int i = 0; i < NOTES_MAX; i++) {
        snprintf(type, sizeof type, "t/%d", i);
        keep(notes, type, type);
    }
    keep(notes, "t/0", "again"); /* So t/1 is the oldest. */
    keep(notes, "new", "x");
    assert_null(notes_find(notes, "t/1"));
    assert_non_null(notes_find(notes, "t/0"));
    assert_int_equal(notes->n_evicted, 1);
    assert_int_equal(notes->n, NOTES_MAX);
    assert_int_equal(notes_find(notes, "new")->n_came, 1);
}

static void
what_was_asked_for_is_not_pushed_out_by_what_was_not(void **state)
{
    struct notes *notes = *state;
    char type[16];

    keep(notes, "asked", "keep me")->asked = true;
    for (int i = 0; i < 1000; i++) {
        snprintf(type, sizeof type, "t/%d", i);
        keep(notes, type, "noise");
    }
    assert_memory_equal(notes_find(notes, "asked")->bytes, "keep me", 7);
    assert_non_null(notes_find(notes, "t/999"));
    assert_int_equal(notes->n, NOTES_MAX);
}

static void
clearing_forgets_all_and_keeps_the_memory(void **state)
{
    struct notes *notes = *state;

    keep(notes, "a", "x");
    notes_clear(notes);
    assert_int_equal(notes->n, 0);
    assert_int_equal(notes->n_came, 0);
    assert_null(notes_find(notes, "a"));
    assert_memory_equal(keep(notes, "a", "y")->bytes, "y", 1);
}

static void
a_vm_s_notes_follow_it_when_another_leaves(void **state)
{
    struct uuid first = {{1}}, second = {{2}}, third = {{3}};
    struct host host;

    assert_int_equal(host_init(&host, 1, 1, 3), 0);
    keep(host_add_vm(&host, &first)->notes, "t", "first");
    keep(host_add_vm(&host, &second)->notes, "t", "second");
    host_remove_vm(&host, host_vm(&host, &first));
    assert_memory_equal(vm_note(host_vm(&host, &second), "t")->bytes, "second",
                        6);
    assert_null(vm_note(host_add_vm(&host, &third), "t"));
    keep(host_vm(&host, &third)->notes, "t", "third");
    assert_memory_equal(vm_note(host_vm(&host, &second), "t")->bytes, "second",
                        6);
    /* Who comes again finds nothing of what was said before. */
    host_remove_vm(&host, host_vm(&host, &third));
    assert_null(vm_note(host_add_vm(&host, &third), "t"));
    host_fini(&host);
}

/* Whichever of the two lies first in the table. */
static void
who_was_asked_for_stays_when_places_lack(void **state)
{
    struct notes *notes = *state;
    char type[16];

    for (int i = 0; i < NOTES_MAX; i++) {
        snprintf(type, sizeof type, "t/%d", i);
        keep(notes, type, "x");
    }
    notes_find(notes, "t/1")->asked = true;
    keep(notes, "new/1", "x");
    assert_null(notes_find(notes, "t/0"));
    assert_non_null(notes_find(notes, "t/1"));
    notes_find(notes, "new/1")->asked = true;
    keep(notes, "new/2", "x");
    assert_non_null(notes_find(notes, "new/1"));
    assert_non_null(notes_find(notes, "t/1"));
    assert_null(notes_find(notes, "t/2"));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int
main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(the_newest_of_a_type_is_kept_untouched),
        TEST(who_was_asked_for_stays_when_places_lack),
        TEST(a_note_may_be_empty_or_as_large_as_allowed),
        TEST(the_oldest_type_leaves_when_all_places_are_taken),
        TEST(what_was_asked_for_is_not_pushed_out_by_what_was_not),
        TEST(clearing_forgets_all_and_keeps_the_memory),
        TEST(a_vm_s_notes_follow_it_when_another_leaves),
    };

    return cmocka_run_group_tests_name("model/note", tests, NULL, NULL);
}
