/* SPDX-License-Identifier: Apache-2.0 */
/* The oracle of msim's moves (sim/ledger.h): what it takes for lost, doubled or
 * told.  An oracle that excuses too much shows nothing. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "sim/ledger.h"

#define SESSION 77
#define GUEST 1
#define BROKER 2

static struct ledger *ledger;

static int
set_up(void **state)
{
    if (ledger_create(&ledger)) {
        return -1;
    }
    ledger_joined(ledger, GUEST, SESSION);
    return 0;
}

static int
tear_down(void **state)
{
    ledger_destroy(ledger);
    return 0;
}

static struct ledger_note
note(bool from_guest, uint32_t serial)
{
    return (struct ledger_note){.speaker = from_guest ? GUEST : BROKER,
                                .serial = serial,
                                .from_guest = from_guest};
}

/* Message 'serial' of a speaker, with that number in that attachment. */
static void
send(bool from_guest, uint32_t serial, uint64_t sequence, uint32_t attachment)
{
    const struct ledger_note it = note(from_guest, serial);
    ledger_sent(ledger, &it, SESSION, sequence, attachment);
}

static void
give(bool from_guest, uint32_t serial, uint64_t sequence, bool flagged)
{
    const struct ledger_note it = note(from_guest, serial);
    ledger_given(ledger, &it, from_guest ? BROKER : GUEST, SESSION, sequence,
                 flagged);
}

static void
what_is_given_once_and_in_order_balances(void **state)
{
    send(true, 1, 1, 1);
    send(true, 2, 2, 1);
    give(true, 1, 1, false);
    give(true, 2, 2, false);
    assert_true(ledger_balances(ledger));
    assert_string_equal(ledger_why(ledger), "");
}

static void
what_is_given_twice_is_found(void **state)
{
    send(true, 1, 1, 1);
    give(true, 1, 1, false);
    give(true, 1, 1, true);
    assert_true(ledger_balances(ledger)); /* It was flagged. */
    give(true, 1, 1, false);
    assert_non_null(strstr(ledger_why(ledger), "given out twice"));
}

static void
what_is_lost_without_a_word_is_found(void **state)
{
    send(true, 1, 1, 1);
    assert_false(ledger_balances(ledger));
    assert_non_null(strstr(ledger_why(ledger), "nobody was told"));
}

static void
what_was_dropped_is_excused_and_its_neighbours_are_not(void **state)
{
    send(true, 1, 1, 1);
    send(true, 2, 2, 1);
    ledger_told(ledger, true, SESSION, 1, 1);
    ledger_told(ledger, false, SESSION, 2, 2); /* The other direction. */
    ledger_told(ledger, true, SESSION + 1, 2, 2);
    assert_false(ledger_balances(ledger));
    assert_non_null(strstr(ledger_why(ledger), "message 2 of guest"));
}

static void
a_gap_without_an_end_excuses_what_the_former_end_still_takes(void **state)
{
    send(false, 1, 5, 3);
    send(false, 2, 6, 2000); /* To a guest that was set back since. */
    ledger_cut(ledger, SESSION, 5, 1027);
    send(false, 3, 7, 3);
    assert_true(ledger_balances(ledger));
}

static void
a_gap_without_an_end_excuses_nothing_in_front_of_it(void **state)
{
    send(false, 1, 4, 3);
    ledger_cut(ledger, SESSION, 5, 1027);
    assert_false(ledger_balances(ledger));
}

static void
a_gap_without_an_end_excuses_nothing_that_the_next_end_says(void **state)
{
    ledger_cut(ledger, SESSION, 5, 1027);
    send(false, 1, 5, 1027); /* It counts on where the guest is. */
    assert_false(ledger_balances(ledger));
}

static void
a_gap_without_an_end_excuses_neither_the_guest_nor_others(void **state)
{
    send(true, 1, 5, 3);
    ledger_cut(ledger, SESSION, 5, 1027);
    ledger_cut(ledger, SESSION + 1, 1, UINT32_MAX);
    assert_false(ledger_balances(ledger));
    assert_non_null(strstr(ledger_why(ledger), "guest"));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int
main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(what_is_given_once_and_in_order_balances),
        TEST(what_is_given_twice_is_found),
        TEST(what_is_lost_without_a_word_is_found),
        TEST(what_was_dropped_is_excused_and_its_neighbours_are_not),
        TEST(a_gap_without_an_end_excuses_what_the_former_end_still_takes),
        TEST(a_gap_without_an_end_excuses_nothing_in_front_of_it),
        TEST(a_gap_without_an_end_excuses_nothing_that_the_next_end_says),
        TEST(a_gap_without_an_end_excuses_neither_the_guest_nor_others),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
