/* SPDX-License-Identifier: Apache-2.0 */
/* The table of rights, cell by cell: every type between every two roles, its
 * size at the limit and over it, its rate at the limit and over it; and every
 * verb of the control socket.  What is right is written here a second time, by
 * hand: a right that appears or goes is to be noticed. */
#include "wire/grant.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/unit/wire/fill.h"

#define A GRANT_AGENT
#define B GRANT_BACK
#define E GRANT_ENGINE
#define P GRANT_PLATFORM
#define Q GRANT_PARENT

static const struct {
    unsigned type;
    enum grant_role from, to;
} granted[] = {
    {MSG_HELLO, A, B},        {MSG_WELCOME, B, A},     {MSG_REFUSED, B, A},
    {MSG_BYE, A, B},          {MSG_BYE, B, A},         {MSG_BYE, Q, B},
    {MSG_BYE, Q, E},          {MSG_BYE, Q, P},         {MSG_BEAT, A, B},
    {MSG_BEAT, Q, B},         {MSG_BEAT, Q, E},        {MSG_BEAT, Q, P},
    {MSG_BEAT_REPLY, B, A},   {MSG_BEAT_REPLY, B, Q},  {MSG_BEAT_REPLY, E, Q},
    {MSG_BEAT_REPLY, P, Q},   {MSG_REPORT, A, B},      {MSG_NOTICE, A, B},
    {MSG_NOTE, A, B},         {MSG_DENIED, B, A},      {MSG_GUEST_USAGE, B, E},
    {MSG_GUEST_UP, B, E},     {MSG_GUEST_LOST, B, E},  {MSG_GUEST_REPORT, B, E},
    {MSG_GUEST_NOTICE, B, E}, {MSG_GUEST_ALARM, B, E}, {MSG_GUEST_NOTE, B, E},
    {MSG_DOMAIN, P, E},       {MSG_VM_FOUND, P, E},    {MSG_VM_GONE, P, E},
    {MSG_SAMPLE_VM, P, E},    {MSG_SAMPLE_CPU, P, E},  {MSG_SAMPLE_POWER, P, E},
    {MSG_READY, P, E},        {MSG_READY, B, Q},       {MSG_READY, E, Q},
    {MSG_TROUBLE, P, E},      {MSG_SET_PSTATE, E, P},  {MSG_RELEASE, E, P},
    {MSG_VM_CONTROL, E, P},   {MSG_OUTCOME, P, E},     {MSG_STARTED, E, B},
    {MSG_CAP, P, E},          {MSG_SET_CAP, E, P},     {MSG_RELOAD, Q, B},
    {MSG_RELOAD, Q, E},       {MSG_RELOAD, Q, P},      {MSG_RELOADED, B, Q},
    {MSG_RELOADED, E, Q},     {MSG_RELOADED, P, Q},    {MSG_VM_RENEWED, E, B},
    {MSG_VM_INSTANCE, P, E},
};
#define N_GRANTED (sizeof granted / sizeof granted[0])

static bool
is_granted(unsigned type, enum grant_role from, enum grant_role to)
{
    for (size_t i = 0; i < N_GRANTED; i++) {
        if (granted[i].type == type && granted[i].from == from &&
            granted[i].to == to) {
            return true;
        }
    }
    return false;
}

/* Calls 'look' for all types that there could be and all pairs of roles. */
static void
each_cell(void (*look)(unsigned type, enum grant_role, enum grant_role))
{
    for (unsigned type = 0; type < 65536; type++) {
        for (int from = 0; from < GRANT_ROLES; from++) {
            for (int to = 0; to < GRANT_ROLES; to++) {
                look(type, (enum grant_role)from, (enum grant_role)to);
            }
        }
    }
}

static void
look_at_right(unsigned type, enum grant_role from, enum grant_role to)
{
    const struct grant *grant = grant_find(type, from, to);
    char why[MSG_WHY_SIZE] = "";

    if (!is_granted(type, from, to)) {
        assert_null(grant);
        assert_int_equal(grant_check(type, from, to, 0, why, sizeof why),
                         -EPERM);
        assert_non_null(strstr(why, grant_role_name(from)));
        assert_non_null(strstr(why, grant_role_name(to)));
        return;
    }
    assert_non_null(grant);
    assert_int_equal(grant->type, type);
    assert_int_equal(grant->from, from);
    assert_int_equal(grant->to, to);
}

static void
every_cell_is_denied_but_those_that_are_granted(void **state)
{
    each_cell(look_at_right);
    assert_int_equal(N_GRANTED, GRANT_ROWS);
}

static void
look_at_size(unsigned type, enum grant_role from, enum grant_role to)
{
    const struct grant *grant = grant_find(type, from, to);
    char why[MSG_WHY_SIZE] = "";

    for (size_t size = 0; grant && size <= grant->size; size++) {
        assert_int_equal(grant_check(type, from, to, size, why, sizeof why), 0);
    }
    if (grant) {
        assert_string_equal(why, "");
        assert_int_equal(
            grant_check(type, from, to, grant->size + 1, why, sizeof why),
            -EMSGSIZE);
        assert_non_null(strstr(why, msg_name(type)));
        assert_int_equal(grant_check(type, from, to, SIZE_MAX, why, sizeof why),
                         -EMSGSIZE);
    } else {
        assert_int_equal(grant_check(type, from, to, SIZE_MAX, why, sizeof why),
                         -EPERM);
    }
}

static void
every_cell_has_its_largest_size_and_no_byte_more(void **state)
{
    each_cell(look_at_size);
}

static void
look_at_rate(unsigned type, enum grant_role from, enum grant_role to)
{
    const struct grant *grant = grant_find(type, from, to);
    struct grant_meter meter = {0};
    nsec_t now = 77 * NSEC_PER_SEC;

    if (!grant) {
        return;
    }
    uint32_t burst = grant->terms.rate ? grant->terms.burst : 100000;
    for (uint32_t i = 0; i < burst; i++) {
        assert_int_equal(grant_wait(&meter, grant, now), 0);
        grant_charge(&meter, grant, now);
    }
    if (!grant->terms.rate) {
        assert_int_equal(grant->beyond, GRANT_WAIT);
        assert_int_equal(grant_wait(&meter, grant, now), 0);
        return;
    }
    assert_true(grant->beyond != GRANT_WAIT);
    nsec_t wait = grant_wait(&meter, grant, now);
    assert_in_range(wait, 1, NSEC_PER_SEC / grant->terms.rate + 1);
    assert_true(grant_wait(&meter, grant, now + wait - 1) > 0);
    assert_int_equal(grant_wait(&meter, grant, now + wait), 0);
    /* And whoever keeps to the rate is never refused. */
    now += 1000 * NSEC_PER_SEC;
    for (uint32_t i = 0; i < 3 * grant->terms.burst; i++) {
        assert_int_equal(grant_wait(&meter, grant, now), 0);
        grant_charge(&meter, grant, now);
        now += NSEC_PER_SEC / grant->terms.rate + 1;
    }
}

static void
every_cell_has_its_rate_and_no_message_more(void **state)
{
    each_cell(look_at_rate);
}

static void
what_one_says_counts_for_no_other_row(void **state)
{
    const struct grant *report = grant_find(MSG_REPORT, A, B);
    const struct grant *beat = grant_find(MSG_BEAT, A, B);
    struct grant_meter meter = {0};

    while (!grant_wait(&meter, report, 1)) {
        grant_charge(&meter, report, 1);
    }
    assert_int_equal(grant_wait(&meter, beat, 1), 0);
}

static void
every_message_we_can_make_is_within_its_size(void **state)
{
    static struct msg msg;
    static uint8_t data[MSG_SIZE_MAX];
    char why[MSG_WHY_SIZE];

    for (size_t i = 0; i < N_GRANTED; i++) {
        fill_largest(&msg, granted[i].type);
        ssize_t size = msg_encode(&msg, MSG_VERSION_MAX, data, sizeof data, why,
                                  sizeof why);
        assert_true(size > 0);
        assert_int_equal(grant_check(granted[i].type, granted[i].from,
                                     granted[i].to, (size_t)size, why,
                                     sizeof why),
                         0);
    }
}

static void
every_message_has_a_row(void **state)
{
    for (const unsigned *type = fill_types; *type; type++) {
        bool any = false;

        for (size_t i = 0; i < N_GRANTED; i++) {
            any |= granted[i].type == *type;
        }
        if (!any) {
            fail_msg("nobody may send %s", msg_name(*type));
        }
    }
}

static void
no_role_speaks_to_itself_and_guests_to_back_alone(void **state)
{
    for (size_t i = 0; i < N_GRANTED; i++) {
        assert_true(granted[i].from != granted[i].to);
        assert_true(granted[i].from != A || granted[i].to == B);
        assert_true(granted[i].to != A || granted[i].from == B);
    }
}

static void
a_role_that_is_none_has_no_right(void **state)
{
    assert_null(grant_find(MSG_BEAT, GRANT_ROLES, B));
    assert_null(grant_find(MSG_BEAT, A, (enum grant_role)99));
    assert_string_equal(grant_role_name(GRANT_ROLES), "?");
}

/* Requests. */

static void
eight_verbs_change_and_what_is_none_would(void **state)
{
    static const enum request_verb changing[] = {
        REQUEST_POLICY_SET, REQUEST_VM_START,  REQUEST_VM_FREEZE,
        REQUEST_VM_THAW,    REQUEST_VM_END,    REQUEST_CAP_SET,
        REQUEST_RELOAD,     REQUEST_VM_MIGRATE};

    for (int verb = 0; verb < REQUEST_VERB_N; verb++) {
        bool changes = false;

        for (size_t i = 0; i < sizeof changing / sizeof changing[0]; i++) {
            changes |= (int)changing[i] == verb;
        }
        assert_true(grant_verb_changes((enum request_verb)verb) == changes);
    }
    assert_true(grant_verb_changes(REQUEST_VERB_N));
    assert_true(grant_verb_changes((enum request_verb)1000));
}

static void
every_verb_has_a_rate(void **state)
{
    for (int verb = 0; verb <= REQUEST_VERB_N; verb++) {
        struct bucket_terms terms = grant_verb_terms((enum request_verb)verb);
        struct bucket bucket = {0};

        assert_true(terms.rate > 0 && terms.burst >= terms.rate);
        for (uint32_t i = 0; i < terms.burst; i++) {
            assert_true(bucket_take(&bucket, terms, 1, 5));
        }
        assert_false(bucket_take(&bucket, terms, 1, 5));
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_cell_is_denied_but_those_that_are_granted),
        cmocka_unit_test(every_cell_has_its_largest_size_and_no_byte_more),
        cmocka_unit_test(every_cell_has_its_rate_and_no_message_more),
        cmocka_unit_test(what_one_says_counts_for_no_other_row),
        cmocka_unit_test(every_message_we_can_make_is_within_its_size),
        cmocka_unit_test(every_message_has_a_row),
        cmocka_unit_test(no_role_speaks_to_itself_and_guests_to_back_alone),
        cmocka_unit_test(a_role_that_is_none_has_no_right),
        cmocka_unit_test(eight_verbs_change_and_what_is_none_would),
        cmocka_unit_test(every_verb_has_a_rate),
    };

    return cmocka_run_group_tests_name("grant", tests, NULL, NULL);
}
