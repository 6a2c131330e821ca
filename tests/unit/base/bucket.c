/* SPDX-License-Identifier: Apache-2.0 */
/* Token buckets give their burst at once and their rate after it, never more,
 * whatever the clock does. */
#include "base/bucket.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "base/prng.h"

#define SECOND NSEC_PER_SEC

static const struct bucket_terms terms = {.rate = 10, .burst = 25};

static void
a_new_bucket_is_full(void **state)
{
    struct bucket bucket = {0};
    nsec_t now = 5 * SECOND;

    for (int i = 0; i < 25; i++) {
        assert_true(bucket_take(&bucket, terms, 1, now));
    }
    assert_false(bucket_take(&bucket, terms, 1, now));
}

static void
what_is_taken_comes_back_at_the_rate(void **state)
{
    struct bucket bucket = {0};
    nsec_t now = SECOND;

    assert_true(bucket_take(&bucket, terms, 25, now));
    assert_int_equal(bucket_wait(&bucket, terms, 1, now), SECOND / 10);
    now += SECOND / 10 - 1;
    assert_false(bucket_take(&bucket, terms, 1, now));
    now += 1;
    assert_true(bucket_take(&bucket, terms, 1, now));
    assert_false(bucket_take(&bucket, terms, 1, now));
    assert_int_equal(bucket_wait(&bucket, terms, 5, now), SECOND / 2);
}

static void
it_never_holds_more_than_its_burst(void **state)
{
    struct bucket bucket = {0};
    nsec_t now = SECOND;

    assert_true(bucket_take(&bucket, terms, 25, now));
    now += 1000 * SECOND;
    assert_true(bucket_take(&bucket, terms, 25, now));
    assert_false(bucket_take(&bucket, terms, 1, now));
}

static void
more_than_it_holds_is_given_once_it_is_full_and_owed(void **state)
{
    struct bucket bucket = {0};
    nsec_t now = SECOND;

    assert_true(bucket_take(&bucket, terms, 100, now));
    assert_int_equal(bucket_wait(&bucket, terms, 1, now),
                     100 * SECOND / 10 - 24 * SECOND / 10);
    assert_false(bucket_take(&bucket, terms, 100, now + 9 * SECOND));
    assert_true(bucket_take(&bucket, terms, 100, now + 10 * SECOND));
}

static void
without_a_rate_there_is_no_limit(void **state)
{
    const struct bucket_terms none = {0};
    struct bucket bucket = {0};

    for (int i = 0; i < 1000; i++) {
        assert_true(bucket_take(&bucket, none, BUCKET_SIZE_MAX, 1));
    }
    assert_int_equal(bucket.full, 0);
}

static void
what_is_not_there_is_owed(void **state)
{
    struct bucket bucket = {0};

    bucket_charge(&bucket, terms, 35, SECOND);
    assert_int_equal(bucket_wait(&bucket, terms, 1, SECOND),
                     SECOND + SECOND / 10);
}

static void
the_largest_numbers_do_not_overflow(void **state)
{
    const struct bucket_terms slow = {.rate = 1, .burst = BUCKET_SIZE_MAX};
    struct bucket bucket = {0};

    assert_true(bucket_take(&bucket, slow, BUCKET_SIZE_MAX, SECOND));
    assert_true(bucket_wait(&bucket, slow, BUCKET_SIZE_MAX, SECOND) ==
                (nsec_t)BUCKET_SIZE_MAX * SECOND);
    assert_false(bucket_take(&bucket, slow, 1, SECOND));
}

static void
in_any_time_no_more_than_burst_and_rate_is_given(void **state)
{
    struct prng prng;

    prng_init(&prng, 7);
    for (int round = 0; round < 200; round++) {
        const struct bucket_terms any = {
            .rate = 1 + (uint32_t)(prng_u64(&prng) % 5000),
            .burst = 1 + (uint32_t)(prng_u64(&prng) % 5000)};
        struct bucket bucket = {0};
        nsec_t began = (nsec_t)(prng_u64(&prng) >> 3), now = began;
        uint64_t taken = 0;

        for (int i = 0; i < 2000; i++) {
            uint32_t n = 1 + (uint32_t)(prng_u64(&prng) % any.burst);

            now += (nsec_t)(prng_u64(&prng) % (2 * NSEC_PER_MSEC));
            taken += bucket_take(&bucket, any, n, now) ? n : 0;
            assert_true(
                taken <=
                any.burst +
                    (uint64_t)(((__int128)(now - began) * any.rate) / SECOND));
        }
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_new_bucket_is_full),
        cmocka_unit_test(what_is_taken_comes_back_at_the_rate),
        cmocka_unit_test(it_never_holds_more_than_its_burst),
        cmocka_unit_test(more_than_it_holds_is_given_once_it_is_full_and_owed),
        cmocka_unit_test(without_a_rate_there_is_no_limit),
        cmocka_unit_test(what_is_not_there_is_owed),
        cmocka_unit_test(the_largest_numbers_do_not_overflow),
        cmocka_unit_test(in_any_time_no_more_than_burst_and_rate_is_given),
    };

    return cmocka_run_group_tests_name("bucket", tests, NULL, NULL);
}
