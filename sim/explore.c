/* SPDX-License-Identifier: Apache-2.0 */
/* Runs seeds.  One in eight is of VMs that move between brokers (moves.h), the
 * others of one host (draw.h, run.h); one in sixteen is run twice, and must
 * give the same trace; of another one in sixteen only what happens to one guest
 * is left, and no CPU may feel that but the guest's.  Of a violation the faults
 * are left out that it does not need: first whole classes, then single ones.
 * Called by msim.c. */
#include "sim/explore.h"

#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "broker/config/config.h"
#include "sim/draw.h"
#include "sim/fault.h"
#include "sim/moves.h"
#include "sim/run.h"
#include "sim/scenario.h"

#define TWICE 16             /* Each so many-th is run twice. */
#define ALONE 5              /* Of so many, the one that is about one guest. */
#define MOVES 8              /* Each so many-th moves VMs. */
#define LEAK_MAX (256 << 10) /* Bytes that a run may leave. */
#define FAILURES_MAX 1000    /* In the JSON. */

struct exploration {
    const struct explore_opts *opts;
    struct scenario scenario;
    struct run_result result;
    char why[MOVES_WHY_SIZE + 64];
    uint64_t hash;
    uint64_t n_faults, n_crashes, n_requests;
    size_t heap; /* After the first run. */
    json_t *failures;
};

/* One host. */

static int
make_scenario(struct exploration *x, uint64_t seed)
{
    char *text = draw_scenario(seed);
    char why[CONFIG_WHY_SIZE + 256];

    if (!text) {
        return -ENOMEM;
    }
    int error = scenario_parse(&x->scenario, text, "drawn", why, sizeof why);
    if (error) {
        fprintf(stderr, "msim: seed %" PRIu64 ": %s\n", seed, why);
    }
    free(text);
    return error;
}

static void
run_host(struct exploration *x)
{
    run_scenario(&x->scenario, x->opts->trace ? stderr : NULL, &x->result);
    x->hash = x->result.trace_hash;
    snprintf(x->why, sizeof x->why, "%s", x->result.broken);
    if (!x->result.passed && !x->why[0]) {
        snprintf(x->why, sizeof x->why, "an expectation was not met");
    }
}

/* Runs it with those faults only for which 'keep' is true. */
static bool
still_fails(struct exploration *x, const struct scenario *whole,
            const bool *keep)
{
    char why[sizeof x->why];

    memcpy(why, x->why, sizeof why);
    x->scenario.n_faults = 0;
    for (uint32_t i = 0; i < whole->n_faults; i++) {
        if (keep[i]) {
            x->scenario.faults[x->scenario.n_faults++] = whole->faults[i];
        }
    }
    run_scenario(&x->scenario, NULL, &x->result);
    if (x->result.passed) {
        return false;
    }
    snprintf(x->why, sizeof x->why, "%s", x->result.broken);
    return true;
}

/* Tries without the faults that are marked; they stay out if it fails still. */
static void
try_without(struct exploration *x, const struct scenario *whole, bool *keep,
            const bool *leave_out)
{
    bool less[SCENARIO_FAULTS_MAX];
    bool any = false;

    for (uint32_t i = 0; i < whole->n_faults; i++) {
        less[i] = keep[i] && !leave_out[i];
        any |= keep[i] && leave_out[i];
    }
    if (any && still_fails(x, whole, less)) {
        memcpy(keep, less, sizeof less);
    }
}

static void
print_fault(const struct scenario *scenario, const struct scenario_fault *fault)
{
    unsigned needs = fault->fault->needs;

    printf("    { at_s = %.3f; fault = \"%s\";",
           (double)fault->at / (double)NSEC_PER_SEC, fault->fault->name);
    if (needs & FAULT_GUEST) {
        printf(" guest = \"%s\";", scenario->guests[fault->guest].name);
    }
    if (needs & FAULT_CPU) {
        printf(" cpu = %" PRIu32 ";", fault->cpu);
    }
    if (needs & FAULT_VALUE) {
        printf(" value = %.1f;", fault->value);
    }
    if (needs & FAULT_TEXT) {
        printf(" text = \"%s\";", fault->text);
    }
    if (needs & FAULT_FOR && fault->until != NSEC_NEVER) {
        printf(" for_s = %.3f;",
               (double)(fault->until - fault->at) / (double)NSEC_PER_SEC);
    }
    printf(" }\n");
}

static void
minimise(struct exploration *x)
{
    struct scenario *whole = malloc(sizeof *whole);
    bool keep[SCENARIO_FAULTS_MAX] = {false}, out[SCENARIO_FAULTS_MAX];

    if (!whole) {
        return;
    }
    *whole = x->scenario;
    memset(keep, true, whole->n_faults);
    for (int class = 0; class < FAULT_N_CLASSES; class ++) {
        for (uint32_t i = 0; i < whole->n_faults; i++) {
            out[i] = (int)whole->faults[i].fault->class == class;
        }
        try_without(x, whole, keep, out);
    }
    for (uint32_t i = 0; i < whole->n_faults; i++) {
        memset(out, false, sizeof out);
        out[i] = true;
        try_without(x, whole, keep, out);
    }
    printf("  with these faults alone: %s\n", x->why);
    for (uint32_t i = 0; i < whole->n_faults; i++) {
        if (keep[i]) {
            print_fault(whole, &whole->faults[i]);
        }
    }
    x->scenario = *whole;
    free(whole);
}

/* One guest alone. */

/* Leaves of the faults those of one guest's agent and channel. */
static void
keep_of_guest(struct scenario *scenario, uint32_t guest)
{
    uint32_t n = 0;

    for (uint32_t i = 0; i < scenario->n_faults; i++) {
        const struct scenario_fault *fault = &scenario->faults[i];
        enum fault_class class = fault->fault->class;

        if (fault->guest == guest && fault->fault->needs & FAULT_GUEST &&
            (class == FAULT_AGENT || class == FAULT_CHANNEL)) {
            scenario->faults[n++] = *fault;
        }
    }
    scenario->n_faults = n;
}

/* With and without what happens to a guest, the CPUs of the others do the
 * same. */
static void
check_alone(struct exploration *x, uint64_t seed)
{
    struct scenario *scenario = &x->scenario;
    const struct broker_config *config = &scenario->config;
    uint32_t guest = (uint32_t)(seed / TWICE % scenario->n_guests);
    uint32_t step =
        (uint32_t)option_int(&config->pstate_options, "cpus_per_domain");
    uint64_t with[CONFIG_CPUS_MAX];

    keep_of_guest(scenario, guest);
    if (scenario->n_faults == 0) {
        return;
    }
    run_host(x);
    memcpy(with, x->result.pstate_hashes, sizeof with);
    if (x->why[0]) {
        return;
    }
    scenario->n_faults = 0;
    run_host(x);
    for (uint32_t i = 0; i < config->n_cpus && !x->why[0]; i++) {
        bool its = i / step == scenario->guests[guest].cpu / step;

        if (!its && with[i] != x->result.pstate_hashes[i]) {
            snprintf(x->why, sizeof x->why,
                     "what happens to %s alone changes cpu %" PRIu32,
                     scenario->guests[guest].name, config->cpus[i]);
        }
    }
}

/* VMs that move. */

static void
run_moves(struct exploration *x, uint64_t seed)
{
    const struct moves_config config = {
        .seed = seed,
        .n_brokers = 2 + (uint32_t)(seed / MOVES % 2),
        .n_vms = 1 + (uint32_t)(seed / MOVES % 3),
        .rough = seed / MOVES % 4 != 0,
        .duration = 8 * NSEC_PER_SEC,
    };
    struct moves_result result;

    moves_run(&config, x->opts->trace ? stderr : NULL, &result);
    x->hash = result.trace_hash;
    x->n_crashes += result.n_crashes;
    snprintf(x->why, sizeof x->why, "%s", result.why);
}

/* One seed. */

static bool
is_moves(uint64_t seed)
{
    return seed % MOVES == MOVES - 1;
}

static void
run_once(struct exploration *x, uint64_t seed)
{
    x->why[0] = '\0';
    if (is_moves(seed)) {
        run_moves(x, seed);
    } else {
        run_host(x);
    }
}

static void
check_again(struct exploration *x, uint64_t seed)
{
    uint64_t hash = x->hash;

    run_once(x, seed);
    if (x->hash != hash && !x->why[0]) {
        snprintf(x->why, sizeof x->why,
                 "the same seed gives another trace: %016" PRIx64
                 ", then %016" PRIx64,
                 hash, x->hash);
    }
}

static void
check_leak(struct exploration *x)
{
    size_t heap = mallinfo2().uordblks;

    if (!x->heap) {
        x->heap = heap;
    } else if (heap > x->heap + LEAK_MAX && !x->why[0]) {
        snprintf(x->why, sizeof x->why, "the run leaves %zu bytes behind",
                 heap - x->heap);
    }
    x->heap = heap;
}

static void
report(struct exploration *x, uint64_t seed)
{
    json_t *failure =
        json_pack("{s:I, s:s}", "seed", (json_int_t)seed, "why", x->why);

    if (json_array_size(x->failures) < FAILURES_MAX) {
        json_array_append(x->failures, failure);
    }
    json_decref(failure);
    if (x->opts->json) {
        return;
    }
    printf("seed %" PRIu64 ": VIOLATION: %s\n", seed, x->why);
    printf("  to repeat: %s --seeds 1 --first %" PRIu64 " --trace\n",
           x->opts->program, seed);
    if (!is_moves(seed)) {
        printf("  as a scenario: %s --draw %" PRIu64 "\n", x->opts->program,
               seed);
        if (!x->opts->unchecked && !x->opts->trace &&
            x->scenario.n_faults > 0) {
            minimise(x);
        }
    }
    fflush(stdout);
}

static int
run_seed(struct exploration *x, uint64_t seed)
{
    int error = is_moves(seed) ? 0 : make_scenario(x, seed);

    if (error) {
        return error;
    }
    run_once(x, seed);
    if (!x->opts->unchecked && !x->opts->trace && seed % TWICE == 0) {
        check_again(x, seed);
    }
    if (!is_moves(seed)) {
        x->n_faults += x->scenario.n_faults;
        x->n_requests += x->result.n_requests;
        x->n_crashes += x->result.n_crashes;
    }
    if (!x->why[0] && !x->opts->trace && seed % TWICE == ALONE) {
        check_alone(x, seed);
    }
    bool failed = x->why[0];
    if (failed) {
        report(x, seed);
    }
    if (!is_moves(seed)) {
        scenario_fini(&x->scenario);
    }
    return failed;
}

int
explore(const struct explore_opts *opts)
{
    struct exploration *x = calloc(1, sizeof *x);
    uint64_t n_run = 0;
    int n_violations = 0, error = 0;

    if (!x) {
        return -ENOMEM;
    }
    x->opts = opts;
    x->failures = json_array();
    while (n_run < opts->n && (!n_violations || opts->go_on)) {
        error = run_seed(x, opts->first + n_run);
        if (error < 0) {
            break;
        }
        n_violations += error;
        n_run++;
        x->why[0] = '\0';
        check_leak(x);
        if (x->why[0] && !error) {
            n_violations++;
            printf("seed %" PRIu64 ": VIOLATION: %s\n", opts->first + n_run - 1,
                   x->why);
        }
    }
    if (opts->json) {
        json_t *all = json_pack(
            "{s:I, s:i, s:I, s:I, s:I, s:O}", "seeds", (json_int_t)n_run,
            "violations", n_violations, "faults", (json_int_t)x->n_faults,
            "crashes", (json_int_t)x->n_crashes, "requests",
            (json_int_t)x->n_requests, "failures", x->failures);
        json_dumpf(all, stdout, JSON_INDENT(2));
        putchar('\n');
        json_decref(all);
    } else if (error >= 0) {
        printf("%" PRIu64 " seeds run, %d violations (%" PRIu64
               " faults, %" PRIu64 " deaths of brokers, %" PRIu64
               " requests)\n",
               n_run, n_violations, x->n_faults, x->n_crashes, x->n_requests);
    }
    json_decref(x->failures);
    free(x);
    return error < 0 ? error : n_violations;
}
