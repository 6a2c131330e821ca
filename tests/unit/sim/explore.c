/* SPDX-License-Identifier: Apache-2.0 */
/* What must hold and does not is found and made small: here it is broken on
 * purpose, for as long as any fault of the hardware holds, or in what a run
 * answers. */
#include "sim/explore.h"

#include <errno.h>
#include <malloc.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "sim/draw.h"
#include "sim/invariant.h"
#include "sim/moves.h"
#include "sim/run.h"
#include "sim/world.h"

#define SEEDS 24

enum plant {
    NOTHING,
    HARDWARE,   /* A fault of the hardware breaks what must hold. */
    ANOTHER,    /* Each run gives another trace. */
    NEIGHBOURS, /* CPUs differ from run to run. */
    LEAK,
    MOVES,
    NO_TEXT,
    BAD_TEXT,
};

static enum plant plant;
static uint64_t n_runs;
static char *said;
static void *left_behind;

bool __real_invariant_holds(const struct world *, char *why, size_t);
bool __wrap_invariant_holds(const struct world *, char *why, size_t);
void __real_run_scenario(const struct scenario *, FILE *, struct run_result *);
void __wrap_run_scenario(const struct scenario *, FILE *, struct run_result *);
void __real_moves_run(const struct moves_config *, FILE *,
                      struct moves_result *);
void __wrap_moves_run(const struct moves_config *, FILE *,
                      struct moves_result *);
char *__real_draw_scenario(uint64_t seed);
char *__wrap_draw_scenario(uint64_t seed);

bool
__wrap_invariant_holds(const struct world *world, char *why, size_t size)
{
    if (plant == HARDWARE && world->n_hardware_faults) {
        snprintf(why, size, "planted");
        return false;
    }
    return __real_invariant_holds(world, why, size);
}

void
__wrap_run_scenario(const struct scenario *scenario, FILE *trace,
                    struct run_result *out)
{
    __real_run_scenario(scenario, trace, out);
    n_runs++;
    out->trace_hash ^= plant == ANOTHER ? n_runs : 0;
    for (uint32_t i = 0; plant == NEIGHBOURS && i < CONFIG_CPUS_MAX; i++) {
        out->pstate_hashes[i] = n_runs;
    }
    if (plant == LEAK && n_runs == 5) {
        left_behind = malloc(1 << 20);
    }
}

void
__wrap_moves_run(const struct moves_config *config, FILE *trace,
                 struct moves_result *out)
{
    __real_moves_run(config, trace, out);
    if (plant == MOVES) {
        strcpy(out->why, "a planted loss");
    }
}

char *
__wrap_draw_scenario(uint64_t seed)
{
    return plant == NO_TEXT    ? NULL
           : plant == BAD_TEXT ? strdup("about = 1;\n")
                               : __real_draw_scenario(seed);
}

/* Explores, and keeps in 'said' what was printed. */
static int
explored(enum plant with, const struct explore_opts *opts)
{
    FILE *file = tmpfile();
    int out = dup(STDOUT_FILENO), err = dup(STDERR_FILENO);

    assert_non_null(file);
    fflush(NULL);
    dup2(fileno(file), STDOUT_FILENO);
    if (opts->trace) {
        assert_non_null(freopen("/dev/null", "w", stderr));
    }
    plant = with;
    n_runs = 0;
    int result = explore(opts);
    plant = NOTHING;
    fflush(NULL);
    dup2(out, STDOUT_FILENO);
    dup2(err, STDERR_FILENO);
    close(out);
    close(err);
    long size = ftell(file);
    free(said);
    said = calloc(1, (size_t)size + 1);
    rewind(file);
    assert_int_equal(fread(said, 1, (size_t)size, file), size);
    fclose(file);
    return result;
}

static unsigned
count(const char *words)
{
    unsigned n = 0;

    for (const char *at = said; (at = strstr(at, words)); at++) {
        n++;
    }
    return n;
}

static void
what_holds_is_said_in_one_line(void **state)
{
    const struct explore_opts opts = {.program = "msim", .n = SEEDS};

    assert_int_equal(explored(NOTHING, &opts), 0);
    assert_non_null(strstr(said, "24 seeds run, 0 violations ("));
    assert_int_equal(count("\n"), 1);
}

/* Of all the faults of a seed those stay that are needed: one of hardware. */
static void
a_violation_is_made_as_small_as_it_can_be(void **state)
{
    const struct explore_opts opts = {
        .program = "msim", .n = SEEDS, .go_on = true};
    int n = explored(HARDWARE, &opts);

    assert_true(n > 0);
    assert_int_equal(count("VIOLATION: "), n);
    assert_int_equal(count("--seeds 1 --first "), n);
    assert_int_equal(count("with these faults alone: "), n);
    assert_int_equal(count("fault = \""), n);
}

static void
it_ends_at_the_first_or_goes_on(void **state)
{
    struct explore_opts opts = {
        .program = "msim", .n = SEEDS, .unchecked = true};

    assert_int_equal(explored(HARDWARE, &opts), 1);
    assert_int_equal(count("VIOLATION: "), 1);
    assert_int_equal(count("with these faults alone: "), 0);
    opts.json = opts.go_on = true;
    assert_true(explored(HARDWARE, &opts) > 1);
    assert_non_null(strstr(said, "\"failures\": ["));
    assert_int_equal(count("VIOLATION"), 0);
    opts.json = false;
    opts.trace = true;
    opts.n = 4;
    assert_true(explored(HARDWARE, &opts) >= 0);
}

static void
a_seed_that_does_not_repeat_itself_is_found(void **state)
{
    const struct explore_opts opts = {.program = "msim", .n = SEEDS};

    assert_int_equal(explored(ANOTHER, &opts), 1);
    assert_non_null(strstr(said, "the same seed gives another trace: "));
}

static void
a_guest_that_changes_its_neighbours_is_found(void **state)
{
    const struct explore_opts opts = {.program = "msim", .n = 4 * SEEDS};

    assert_int_equal(explored(NEIGHBOURS, &opts), 1);
    assert_non_null(strstr(said, " alone changes cpu "));
}

static void
what_a_run_leaves_behind_is_found(void **state)
{
    const struct explore_opts opts = {
        .program = "msim", .n = SEEDS, .unchecked = true};

    if (!mallinfo2().uordblks) {
        skip(); /* A sanitizer's allocator counts nothing, and looks itself. */
    }
    assert_int_equal(explored(LEAK, &opts), 1);
    free(left_behind);
    assert_non_null(strstr(said, "the run leaves 10"));
}

static void
moves_are_explored_too(void **state)
{
    const struct explore_opts opts = {.program = "msim", .n = 4 * SEEDS};

    assert_int_equal(explored(MOVES, &opts), 1);
    assert_non_null(strstr(said, "VIOLATION: a planted loss\n"));
    assert_null(strstr(said, "--draw"));
}

static void
what_can_not_be_drawn_ends_it(void **state)
{
    const struct explore_opts opts = {.program = "msim", .n = SEEDS};

    assert_int_equal(explored(NO_TEXT, &opts), -ENOMEM);
    assert_int_equal(explored(BAD_TEXT, &opts), -EINVAL);
    assert_string_equal(said, "");
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_holds_is_said_in_one_line),
        cmocka_unit_test(a_violation_is_made_as_small_as_it_can_be),
        cmocka_unit_test(it_ends_at_the_first_or_goes_on),
        cmocka_unit_test(a_seed_that_does_not_repeat_itself_is_found),
        cmocka_unit_test(a_guest_that_changes_its_neighbours_is_found),
        cmocka_unit_test(what_a_run_leaves_behind_is_found),
        cmocka_unit_test(moves_are_explored_too),
        cmocka_unit_test(what_can_not_be_drawn_ends_it),
    };

    int n_failed = cmocka_run_group_tests(tests, NULL, NULL);
    free(said);
    return n_failed;
}
