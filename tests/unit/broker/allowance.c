/* SPDX-License-Identifier: Apache-2.0 */
/* A VM's quota: what is heard, what waits, and that the oldest of it makes
 * room, whatever the order, sizes and moments. */
#include "broker/back/allowance.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/prng.h"
#include "wire/msg.h"

#define HEAD 8 /* Bytes that a message takes beside its own. */

static const struct quota_config quota = {
    .messages_per_second = 10, .bytes_per_second = 8000, .memory = 8192};
static struct allowance allowance;
static const struct grant *report, *notice, *beat;
static nsec_t now;

static int
setup(void **state)
{
    allowance_init(&allowance, &quota);
    report = grant_find(MSG_REPORT, GRANT_AGENT, GRANT_BACK);
    notice = grant_find(MSG_NOTICE, GRANT_AGENT, GRANT_BACK);
    beat = grant_find(MSG_BEAT, GRANT_AGENT, GRANT_BACK);
    now = 50 * NSEC_PER_SEC;
    return 0;
}

static int
teardown(void **state)
{
    allowance_fini(&allowance);
    return 0;
}

static void
spend_all(void)
{
    while (allowance_ask(&allowance, notice, 1, now) == ALLOWANCE_HEAR) {
    }
    allowance.n_denied = 0;
}

static void
keep(uint32_t number, size_t size)
{
    uint8_t data[MSG_SIZE_MAX];

    assert_true(size >= sizeof number);
    memset(data, (uint8_t)number, sizeof data);
    memcpy(data, &number, sizeof number);
    allowance_keep(&allowance, MSG_REPORT, data, size);
}

/* The number of the next that is heard; 0 if there is none. */
static uint32_t
next(void)
{
    uint8_t data[MSG_SIZE_MAX];
    uint32_t number;
    unsigned type;
    size_t size;

    if (!allowance_next(&allowance, &type, data, &size, now)) {
        return 0;
    }
    assert_int_equal(type, MSG_REPORT);
    memcpy(&number, data, sizeof number);
    for (size_t i = sizeof number; i < size; i++) {
        assert_int_equal(data[i], (uint8_t)number);
    }
    return number;
}

static void
within_the_quota_all_is_heard(void **state)
{
    for (int i = 0; i < 10; i++) {
        assert_int_equal(allowance_ask(&allowance, report, 100, now),
                         ALLOWANCE_HEAR);
    }
    assert_int_equal(allowance.n_heard, 10);
    assert_int_equal(allowance.n_heard_bytes, 1000);
    assert_int_equal(allowance.n_dropped + allowance.n_denied, 0);
    assert_int_equal(allowance_memory(&allowance), 0);
}

static void
beyond_it_telemetry_waits_requests_are_refused_and_beats_dropped(void **state)
{
    spend_all();
    assert_int_equal(allowance_ask(&allowance, report, 100, now),
                     ALLOWANCE_KEEP);
    assert_int_equal(allowance_ask(&allowance, notice, 100, now),
                     ALLOWANCE_REFUSE);
    assert_int_equal(allowance_ask(&allowance, beat, 40, now), ALLOWANCE_DROP);
    assert_int_equal(allowance.n_denied, 1);
    assert_int_equal(allowance.n_dropped, 1);
}

static void
bytes_alone_are_enough_to_be_beyond(void **state)
{
    assert_int_equal(allowance_ask(&allowance, report, 8000, now),
                     ALLOWANCE_HEAR);
    assert_int_equal(allowance_ask(&allowance, report, 1, now), ALLOWANCE_KEEP);
    now += NSEC_PER_SEC;
    assert_int_equal(allowance_ask(&allowance, report, 8000, now),
                     ALLOWANCE_HEAR);
}

static void
a_message_s_own_rate_is_enough_to_be_beyond(void **state)
{
    const struct quota_config large = {.messages_per_second = 100000,
                                       .bytes_per_second = 1 << 30,
                                       .memory = 8192};

    allowance_init(&allowance, &large);
    for (uint32_t i = 0; i < notice->terms.burst; i++) {
        assert_int_equal(allowance_ask(&allowance, notice, 100, now),
                         ALLOWANCE_HEAR);
    }
    assert_int_equal(allowance_ask(&allowance, notice, 100, now),
                     ALLOWANCE_REFUSE);
    assert_int_equal(allowance_ask(&allowance, report, 100, now),
                     ALLOWANCE_HEAR);
}

static void
what_waits_is_heard_in_its_order_as_the_rate_allows(void **state)
{
    spend_all();
    for (uint32_t i = 1; i <= 5; i++) {
        keep(i, 100);
    }
    for (uint32_t i = 1; i <= 5; i++) {
        assert_int_equal(next(), 0);
        nsec_t due = allowance_deadline(&allowance, now);
        assert_int_equal(due, now + NSEC_PER_SEC / 10);
        now = due - 1;
        assert_int_equal(next(), 0);
        now = due;
        assert_int_equal(next(), i);
    }
    assert_int_equal(allowance.n_held, 0);
    assert_true(allowance_deadline(&allowance, now) == NSEC_NEVER);
}

static void
nothing_overtakes_what_waits(void **state)
{
    spend_all();
    keep(1, 100);
    now += NSEC_PER_SEC;
    assert_int_equal(allowance_ask(&allowance, report, 100, now),
                     ALLOWANCE_KEEP);
    assert_int_equal(allowance_ask(&allowance, notice, 100, now),
                     ALLOWANCE_HEAR); /* But what can't wait does. */
}

static void
the_oldest_makes_room_and_is_counted(void **state)
{
    size_t n = 8192 / (100 + HEAD);

    spend_all();
    for (uint32_t i = 1; i <= 3 * n; i++) {
        keep(i, 100);
        assert_true(allowance.used <= quota.memory);
        assert_true(allowance_memory(&allowance) == quota.memory);
    }
    assert_int_equal(allowance.n_dropped, 2 * n);
    now += 1000 * NSEC_PER_SEC;
    assert_int_equal(next(), 2 * n + 1);
}

static void
one_large_message_may_cost_many_small_ones(void **state)
{
    spend_all();
    for (uint32_t i = 1; i <= 75; i++) {
        keep(i, 100);
    }
    assert_int_equal(allowance.n_dropped, 0);
    keep(76, 4000);
    assert_int_equal(allowance.n_dropped, 37);
    now += 1000 * NSEC_PER_SEC;
    assert_int_equal(next(), 38);
}

static void
what_is_forgotten_is_counted_and_gives_its_memory_back(void **state)
{
    spend_all();
    keep(1, 100);
    keep(2, 100);
    allowance_forget(&allowance);
    assert_int_equal(allowance.n_dropped, 2);
    assert_int_equal(allowance_memory(&allowance), 0);
    now += NSEC_PER_SEC;
    assert_int_equal(next(), 0);
    assert_int_equal(allowance_ask(&allowance, report, 1, now), ALLOWANCE_HEAR);
}

static void
without_memory_for_it_what_would_wait_is_dropped(void **state)
{
    struct quota_config odd = quota;

#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
    odd.memory = UINT64_MAX / 4; /* There is not so much. */
    allowance_init(&allowance, &odd);
    keep(1, 100);
    assert_int_equal(allowance.n_dropped, 1);
    assert_int_equal(allowance.n_held, 0);
    assert_int_equal(allowance_memory(&allowance), 0);
#endif
    odd.memory = 100;
    allowance_init(&allowance, &odd);
    keep(2, 100);
    assert_int_equal(allowance.n_dropped, 1);
    keep(3, 92);
    assert_int_equal(next(), 3);
}

static void
looks_are_more_than_messages_and_bounded(void **state)
{
    uint32_t n = 0;

    while (!allowance_looks_wait(&allowance, 1, now)) {
        allowance_looked(&allowance, 1, now);
        n++;
    }
    assert_int_equal(n, ALLOWANCE_LOOKS_MIN);
    assert_in_range(allowance_looks_wait(&allowance, 16, now),
                    NSEC_PER_MSEC - 1000, NSEC_PER_MSEC + 1000);
}

/* A list of numbers says what must be left of it. */
static void
whatever_comes_the_newest_are_kept_in_order(void **state)
{
    static size_t sizes[100000];
    uint32_t first = 1, last = 0;
    struct prng prng;
    size_t used = 0;

    prng_init(&prng, 11);
    spend_all();
    while (last < 99999) {
        if (prng_u64(&prng) % 3) {
            size_t size = 4 + prng_u64(&prng) % 4000;

            last++;
            sizes[last] = size;
            keep(last, size);
            used += size + HEAD;
            while (used > quota.memory) {
                used -= sizes[first++] + HEAD;
            }
        } else {
            now += (nsec_t)(prng_u64(&prng) % NSEC_PER_SEC);
            uint32_t got = next();
            if (got) {
                assert_int_equal(got, first);
                used -= sizes[first++] + HEAD;
            }
        }
        assert_int_equal(allowance.used, used);
        assert_int_equal(allowance.n_held, last + 1 - first);
    }
    assert_true(allowance.n_dropped > 1000);
    assert_int_equal(allowance.n_held + allowance.n_dropped +
                         (allowance.n_heard - 10),
                     last);
}

/* A reload: what waits is heard all the same, in a memory that changes when it
 * is empty. */
static void
another_quota_loses_nothing_that_waits(void **state)
{
    struct quota_config other = quota;

    (void)state;
    spend_all();
    keep(1, 100);
    keep(2, 100);
    other.messages_per_second = 1000;
    other.memory = 65536;
    allowance_set_quota(&allowance, &other);
    assert_int_equal(allowance.n_held, 2);
    assert_int_equal(allowance_memory(&allowance), quota.memory);
    now += 2 * NSEC_PER_SEC;
    assert_int_equal(next(), 1);
    assert_int_equal(next(), 2);
    assert_int_equal(next(), 0);
    keep(3, 100);
    assert_int_equal(allowance_memory(&allowance), 65536);
    assert_int_equal(next(), 3);
    /* Smaller, and empty: at once. */
    other.memory = 8192;
    allowance_set_quota(&allowance, &other);
    assert_int_equal(allowance.quota.memory, 8192);
    keep(4, 100);
    assert_int_equal(next(), 4);
    assert_int_equal(allowance.n_dropped, 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int
main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(within_the_quota_all_is_heard),
        TEST(beyond_it_telemetry_waits_requests_are_refused_and_beats_dropped),
        TEST(bytes_alone_are_enough_to_be_beyond),
        TEST(a_message_s_own_rate_is_enough_to_be_beyond),
        TEST(what_waits_is_heard_in_its_order_as_the_rate_allows),
        TEST(nothing_overtakes_what_waits),
        TEST(the_oldest_makes_room_and_is_counted),
        TEST(one_large_message_may_cost_many_small_ones),
        TEST(what_is_forgotten_is_counted_and_gives_its_memory_back),
        TEST(without_memory_for_it_what_would_wait_is_dropped),
        TEST(looks_are_more_than_messages_and_bounded),
        TEST(another_quota_loses_nothing_that_waits),
        TEST(whatever_comes_the_newest_are_kept_in_order),
    };

    return cmocka_run_group_tests_name("allowance", tests, NULL, NULL);
}
