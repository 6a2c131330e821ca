/* SPDX-License-Identifier: Apache-2.0 */
/* What an engine was told is told another again: the same decisions come of it,
 * and of bytes that were tampered with a refusal in words, or a replay, and
 * never anything else.  The journal is that of a made-up broker's life. */
#include "broker/replay/replay.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/prng.h"
#include "broker/journal/journalread.h"
#include "policy/policy.h"
#include "tests/lived.h"

#define TRIES 2000
#define BLOCKS_MAX 24 /* Of one try. */

static struct journal_row *rows;
static struct journal_input *inputs;
static size_t n_rows, n_inputs;

static void
keep_row(void *ctx, const struct journal_row *row)
{
    rows = realloc(rows, (n_rows + 1) * sizeof *rows);
    assert_non_null(rows);
    rows[n_rows++] = *row;
}

static void
keep_input(void *ctx, const struct journal_input *input)
{
    inputs = realloc(inputs, (n_inputs + 1) * sizeof *inputs);
    assert_non_null(inputs);
    inputs[n_inputs++] = *input;
}

static void
keep_journal(void *ctx, const char *journal_path)
{
    const struct journal_reading reading = {.row = keep_row,
                                            .input = keep_input};
    struct journal_report report;
    char why[JOURNAL_WHY_SIZE];

    assert_int_equal(
        journalread_file(journal_path, &reading, &report, why, sizeof why), 0);
    assert_false(report.broken);
}

static int
live(void **state)
{
    char why[512];

    assert_int_equal(lived(keep_journal, NULL, why, sizeof why), 0);
    assert_true(n_rows > 0 && n_inputs > BLOCKS_MAX / 2);
    return 0;
}

static int
forget(void **state)
{
    free(rows);
    free(inputs);
    return 0;
}

static void
count_difference(void *ctx, const struct replay_difference *difference)
{
    assert_true(difference->then || difference->now);
    ++*(uint64_t *)ctx;
}

static struct replay *
begin(const struct replay_opts *opts, uint64_t *n_differences)
{
    struct replay *replay;

    assert_int_equal(
        replay_create(&replay, opts, count_difference, n_differences), 0);
    return replay;
}

static struct replay_counts
replayed(const char *policy)
{
    const struct replay_opts opts = {
        .policy = policy[0] ? policy_find(policy) : NULL, .dwell_ns = -1};
    struct replay_counts counts;
    uint64_t n = 0;
    struct replay *replay = begin(&opts, &n);

    for (size_t i = 0; i < n_rows; i++) {
        replay_row(replay, &rows[i]);
    }
    for (size_t i = 0; i < n_inputs; i++) {
        assert_int_equal(replay_input(replay, &inputs[i]), 0);
    }
    replay_end(replay, &counts);
    replay_destroy(replay);
    assert_int_equal(counts.n_differences, n);
    return counts;
}

static void
the_same_policies_decide_the_same(void **state)
{
    struct replay_counts counts = replayed("");

    assert_true(counts.n_turns > 0 && counts.n_same > 0);
    assert_int_equal(counts.n_differences, 0);
}

static void
another_policy_decides_otherwise(void **state)
{
    struct replay_counts counts = replayed("none");

    assert_int_equal(counts.n_now, 0);
    assert_true(counts.n_differences > 0);
    counts = replayed("basic");
    assert_true(counts.n_now > 0);
}

/* Changes one thing in a block, or in which blocks there are. */
static bool
tamper(struct prng *prng, struct journal_input *input)
{
    uint32_t size = input->size ? input->size : 1;

    switch (prng_u64(prng) % 8) {
    case 0:
        input->data[prng_u64(prng) % size] ^=
            (uint8_t)(1U << (prng_u64(prng) % 8));
        break;
    case 1:
        input->data[prng_u64(prng) % size] = (uint8_t)prng_u64(prng);
        break;
    case 2:
        input->size = (uint32_t)(prng_u64(prng) % size);
        break;
    case 3:
        input->whole = !input->whole;
        break;
    case 4:
        input->id += prng_u64(prng) % 3;
        break;
    case 5: { /* A piece of it twice. */
        uint32_t at = (uint32_t)(prng_u64(prng) % size);
        uint32_t more = (uint32_t)(prng_u64(prng) % (size - at));

        if (input->size + more <= JOURNAL_INPUT_SIZE) {
            memmove(&input->data[at + more], &input->data[at],
                    input->size - at);
            input->size += more;
        }
        break;
    }
    case 6:
        return false; /* It is gone. */
    default:
        break;
    }
    return true;
}

static void
tampered_bytes_are_replayed_or_refused_in_words(void **state)
{
    static const char *const policies[] = {"", "none", "basic"};
    static struct journal_input input;
    struct prng prng;
    unsigned n_refused = 0, n_replayed = 0;

    prng_init(&prng, 4);
    for (unsigned i = 0; i < TRIES; i++) {
        const char *policy = policies[i % 3];
        const struct replay_opts opts = {
            .policy = policy[0] ? policy_find(policy) : NULL,
            .dwell_ns = i % 2 ? -1 : NSEC_PER_SEC};
        struct replay_counts counts;
        uint64_t n = 0;
        struct replay *replay = begin(&opts, &n);
        size_t first = i % 4 ? 0 : prng_u64(&prng) % n_inputs;
        size_t victim = prng_u64(&prng) % BLOCKS_MAX;
        int error = 0;

        for (size_t j = 0; j < n_rows; j++) {
            if (prng_u64(&prng) % 16) {
                replay_row(replay, &rows[j]);
            }
        }
        for (size_t j = 0; j < BLOCKS_MAX && first + j < n_inputs && !error;
             j++) {
            input = inputs[first + j];
            if (j != victim || tamper(&prng, &input)) {
                error = replay_input(replay, &input);
            }
        }
        assert_true(!error || replay_why(replay)[0]);
        n_refused += error != 0;
        n_replayed += !error;
        replay_end(replay, &counts);
        replay_destroy(replay);
    }
    assert_true(n_refused > TRIES / 20 && n_replayed > TRIES / 20);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_same_policies_decide_the_same),
        cmocka_unit_test(another_policy_decides_otherwise),
        cmocka_unit_test(tampered_bytes_are_replayed_or_refused_in_words),
    };

    return cmocka_run_group_tests(tests, live, forget);
}
