/* SPDX-License-Identifier: Apache-2.0 */
/* Sessions that follow their VMs, with real channels on made-up hosts.  In calm
 * times nothing is lost, doubled or flagged; in rough times whatever is, is
 * told.  And the oracle finds errors that are planted.
 *
 * With arguments, KIND SEEDS [FIRST]: that many seeds of kind calm or rough, or
 * the number of a planted error; one seed is traced. */
#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "sim/moves.h"

#define SEEDS 15
#define SEEDS_PLANTED 60

static void
run(uint64_t seed, bool rough, enum moves_plant plant, FILE *trace,
    struct moves_result *out)
{
    const struct moves_config config = {
        .seed = seed,
        .n_brokers = 2 + seed % 2,
        .n_vms = 2,
        .rough = rough,
        .duration = 10 * NSEC_PER_SEC,
        .plant = plant,
    };
    moves_run(&config, trace, out);
}

static void
nothing_is_lost_doubled_or_flagged_in_calm_times(void **state)
{
    uint64_t n_moves = 0, n_taken = 0, n_values = 0;
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        struct moves_result result;
        run(seed, false, MOVES_SOUND, NULL, &result);
        if (!result.passed) {
            fail_msg("seed %" PRIu64 ": %s", seed, result.why);
        }
        assert_int_equal(result.n_repeated, 0);
        n_moves += result.n_moves;
        n_taken += result.n_taken;
        n_values += result.n_while_unsettled;
    }
    assert_true(n_moves > 8 * SEEDS);
    assert_true(n_taken > 6 * SEEDS);
    assert_true(n_values > 0); /* They do not wait for the handoff. */
}

static void
nothing_goes_without_a_word_in_rough_times(void **state)
{
    uint64_t n_crashes = 0, n_repeated = 0, n_clones = 0;
    for (uint64_t seed = 1; seed <= 2 * SEEDS; seed++) {
        struct moves_result result;
        run(seed, true, MOVES_SOUND, NULL, &result);
        if (!result.passed) {
            fail_msg("seed %" PRIu64 ": %s", seed, result.why);
        }
        n_crashes += result.n_crashes;
        n_repeated += result.n_repeated;
        n_clones += result.n_clones;
    }
    assert_true(n_crashes > SEEDS);
    assert_true(n_repeated > 0); /* Else there was nothing to flag. */
    assert_true(n_clones > 0);
}

static void
a_host_that_says_left_too_early_costs_nothing(void **state)
{
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        struct moves_result result;
        run(seed, false, MOVES_PLANT_EARLY, NULL, &result);
        if (!result.passed) {
            fail_msg("seed %" PRIu64 ": %s", seed, result.why);
        }
    }
}

static void
the_same_seed_gives_the_same_trace(void **state)
{
    struct moves_result first, second, other;
    run(3, false, MOVES_SOUND, NULL, &first);
    run(3, false, MOVES_SOUND, NULL, &second);
    run(4, false, MOVES_SOUND, NULL, &other);
    assert_true(first.trace_hash == second.trace_hash);
    assert_true(first.trace_hash != other.trace_hash);
}

static void
planted_errors_are_found(void **state)
{
    for (int plant = MOVES_PLANT_EARLY + 1; plant < MOVES_N_PLANTS; plant++) {
        struct moves_result result = {.passed = true};
        bool rough =
            plant == MOVES_PLANT_UNFLAGGED || plant == MOVES_PLANT_MUTE;
        uint64_t seed = 0;
        while (result.passed && seed++ < SEEDS_PLANTED) {
            run(seed, rough, (enum moves_plant)plant, NULL, &result);
        }
        if (result.passed) {
            fail_msg("error %d was not found", plant);
        }
    }
}

static int
explore(int argc, char **argv)
{
    bool rough = argv[1][0] == 'r';
    int plant = atoi(argv[1]), n_failed = 0;
    uint64_t n = argc > 2 ? strtoull(argv[2], NULL, 0) : 1;
    uint64_t first = argc > 3 ? strtoull(argv[3], NULL, 0) : 1;
    uint64_t sums[12] = {0};
    nsec_t longest = 0;
    for (uint64_t seed = first; seed < first + n; seed++) {
        struct moves_result it;
        run(seed, rough, (enum moves_plant)plant, n == 1 ? stderr : NULL, &it);
        if (!it.passed && n_failed++ < 20) {
            printf("seed %" PRIu64 ": %s\n", seed, it.why);
        }
        const uint64_t counts[12] = {it.n_moves,
                                     it.n_cancelled,
                                     it.n_crashes,
                                     it.n_set_back,
                                     it.n_sent,
                                     it.n_given,
                                     it.n_repeated,
                                     it.n_told,
                                     it.n_taken,
                                     it.n_given_up,
                                     (uint64_t)it.total_blackout,
                                     it.n_blackouts};
        for (int i = 0; i < 12; i++) {
            sums[i] += counts[i];
        }
        longest = it.longest_blackout > longest ? it.longest_blackout : longest;
    }
    static const char *const names[] = {
        "moves", "cancelled", "crashes", "set back",    "sent",
        "given", "repeated",  "told",    "handed over", "given up"};
    printf("%d of %" PRIu64 " failed\n", n_failed, n);
    for (int i = 0; i < 10; i++) {
        printf("%12" PRIu64 " %s\n", sums[i], names[i]);
    }
    printf("%12.3f ms from running again to the first message, at most %.3f\n",
           sums[11] ? (double)sums[10] / (double)sums[11] / 1e6 : 0.0,
           (double)longest / 1e6);
    return n_failed > 0;
}

int
main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nothing_is_lost_doubled_or_flagged_in_calm_times),
        cmocka_unit_test(nothing_goes_without_a_word_in_rough_times),
        cmocka_unit_test(a_host_that_says_left_too_early_costs_nothing),
        cmocka_unit_test(the_same_seed_gives_the_same_trace),
        cmocka_unit_test(planted_errors_are_found),
    };
    if (argc > 1) {
        return explore(argc, argv);
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
