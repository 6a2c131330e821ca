/* SPDX-License-Identifier: Apache-2.0 */
/* msim: runs scenario files and says which hold.  Reads the files and the
 * command line; all else is run.c's.  A scenario that fails prints what was
 * expected, what was seen, and the command that repeats it. */
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/confscan.h"
#include "base/text.h"
#include "broker/config/config.h"
#include "sim/draw.h"
#include "sim/explore.h"
#include "sim/fault.h"
#include "sim/gauge.h"
#include "sim/movescn.h"
#include "sim/run.h"

#define SEED_MAX (INT64_MAX - SEEDS_MAX)
#define SEEDS_MAX 1000000

enum output {
    OUTPUT_LINES,
    OUTPUT_TAP,
    OUTPUT_JSON,
};

struct options {
    enum output output;
    bool trace, seeded;
    uint64_t seed;
    uint64_t n_seeds; /* Each file is run with, from its first on. */
    uint64_t first;   /* Without files: of the seeds explored. */
    bool explores, go_on, unchecked;
    bool each_death; /* Each file is run with each value of its death. */
    const char *program;
};

static const char usage[] =
    "usage: msim [--tap | --json] [--seed N] [--seeds N] [--trace] FILE...\n"
    "       msim --seeds N [--first F] [--json] [--go-on] [--unchecked]\n"
    "\n"
    "Runs scenarios on a made-up host and a made-up clock; msim(1) describes\n"
    "their files.\n"
    "\n"
    "  --tap       one TAP line a scenario, for test harnesses\n"
    "  --json      an array of results\n"
    "  --seed N    another seed than the files name\n"
    "  --each-death  once for each value, from 1 on, of the first fault that\n"
    "              has a process die, until one fails\n"
    "  --seeds N   as many seeds, one after the other, until one fails\n"
    "              without files: explore as many made-up scenarios\n"
    "  --first F   their first seed; 1 if not given\n"
    "  --go-on     after a violation\n"
    "  --unchecked run none twice, and make no violation smaller\n"
    "  --draw N    print the scenario of a seed\n"
    "  --trace     every event with its virtual time, on standard error\n"
    "  --gauges    what a scenario can expect something of\n"
    "  --faults    what a scenario can do to its host\n"
    "  --help, --version\n"
    "\n"
    "Exit code: 0 if all hold, 1 if one does not, 2 if one can't be read.\n";

static int run_file(const struct options *options, const char *path, int number,
                    json_t *results);
static bool set_flag(struct options *, int option);
static int take_number(struct options *, int option, const char *value);
static int take_seed(const char *name, const char *value, uint64_t *out);
static int answer(int option, const char *value);
static int print_drawn(const char *seed);
static int run_explorer(const struct options *options);
static void list_gauges(void);
static void list_faults(void);

static const struct option known[] = {
    {"tap", no_argument, NULL, 't'},
    {"json", no_argument, NULL, 'j'},
    {"trace", no_argument, NULL, 'r'},
    {"seed", required_argument, NULL, 's'},
    {"seeds", required_argument, NULL, 'n'},
    {"each-death", no_argument, NULL, 'e'},
    {"first", required_argument, NULL, 'F'},
    {"go-on", no_argument, NULL, 'o'},
    {"unchecked", no_argument, NULL, 'u'},
    {"draw", required_argument, NULL, 'd'},
    {"gauges", no_argument, NULL, 'g'},
    {"faults", no_argument, NULL, 'f'},
    {"help", no_argument, NULL, 'h'},
    {"version", no_argument, NULL, 'v'},
    {0},
};

/* Returns what to exit with, or -1 to go on. */
static int
parse_options(struct options *options, int argc, char **argv)
{
    int c, code = -1;

    while (code < 0 && (c = getopt_long(argc, argv, "", known, NULL)) >= 0) {
        code = set_flag(options, c) ? -1 : take_number(options, c, optarg);
    }
    if (code >= 0) {
        return code;
    }
    options->explores = options->explores && optind == argc;
    if (optind == argc && !options->explores) {
        fputs(usage, stderr);
        return 2;
    }
    return -1;
}

/* False if the option is no flag. */
static bool
set_flag(struct options *options, int option)
{
    switch (option) {
    case 't':
        options->output = OUTPUT_TAP;
        return true;
    case 'j':
        options->output = OUTPUT_JSON;
        return true;
    case 'r':
        options->trace = true;
        return true;
    case 'e':
        options->each_death = true;
        return true;
    case 'o':
        options->go_on = true;
        return true;
    case 'u':
        options->unchecked = true;
        return true;
    }
    return false;
}

/* A number, or what only asks for an answer; returns as parse_options(). */
static int
take_number(struct options *options, int option, const char *value)
{
    switch (option) {
    case 's':
        options->seeded = true;
        return take_seed("--seed", value, &options->seed);
    case 'F':
        return take_seed("--first", value, &options->first);
    case 'n':
        if (text_to_u64(value, &options->n_seeds) || options->n_seeds < 1 ||
            options->n_seeds > SEEDS_MAX) {
            fprintf(stderr, "msim: --seeds %s: 1 to %d are wanted\n", value,
                    SEEDS_MAX);
            return 2;
        }
        options->explores = true;
        return -1;
    }
    return answer(option, value);
}

static int
take_seed(const char *name, const char *value, uint64_t *out)
{
    if (text_to_u64(value, out) || *out > SEED_MAX) {
        fprintf(stderr, "msim: %s %s: a whole number is wanted\n", name, value);
        return 2;
    }
    return -1;
}

static int
answer(int option, const char *value)
{
    switch (option) {
    case 'd':
        return print_drawn(value);
    case 'g':
        list_gauges();
        return 0;
    case 'f':
        list_faults();
        return 0;
    case 'h':
        fputs(usage, stdout);
        return 0;
    case 'v':
        puts("msim " MBROKER_VERSION);
        return 0;
    }
    fputs(usage, stderr);
    return 2;
}

int
main(int argc, char **argv)
{
    struct options options = {.program = argv[0], .n_seeds = 1, .first = 1};
    int worst = 0, code = parse_options(&options, argc, argv);
    json_t *results = json_array();

    if (code >= 0 || !results) {
        json_decref(results);
        return code >= 0 ? code : 2;
    }
    if (options.explores) {
        json_decref(results);
        return run_explorer(&options);
    }
    if (options.output == OUTPUT_TAP) {
        printf("1..%d\n", argc - optind);
    }
    for (int i = optind; i < argc; i++) {
        code = run_file(&options, argv[i], i - optind + 1, results);
        worst = code > worst ? code : worst;
        fflush(stdout);
    }
    if (options.output == OUTPUT_JSON) {
        json_dumpf(results, stdout, JSON_INDENT(2));
        putchar('\n');
    }
    json_decref(results);
    return worst;
}

/* One scenario. */

/* The file's name without its folder and ending. */
static void
name_of(const char *path, char *out, size_t size)
{
    const char *slash = strrchr(path, '/');
    char *dot;

    text_copy(out, size, slash ? slash + 1 : path);
    dot = strrchr(out, '.');
    if (dot && !strcmp(dot, ".scn")) {
        *dot = '\0';
    }
}

static void
print_failures(const struct options *options, const struct scenario *scenario,
               const struct run_result *result, const char *path)
{
    const char *start = options->output == OUTPUT_TAP ? "# " : "  ";
    char words[256];

    if (result->broken[0]) {
        printf("%sthe run broke off: %s\n", start, result->broken);
    }
    for (uint32_t i = 0; i < scenario->n_expects; i++) {
        const struct scenario_expect *expect = &scenario->expects[i];
        const struct run_expect *got = &result->expects[i];

        if (got->met) {
            continue;
        }
        run_expected(scenario, expect, words, sizeof words);
        printf("%s%s:%u: expected %s\n", start, path, expect->line, words);
        if (got->failed) {
            printf("%s  seen %s at %g s\n", start, got->seen,
                   (double)got->when / (double)NSEC_PER_SEC);
        } else {
            printf("%s  the run did not get there\n", start);
        }
    }
    printf("%sto repeat: %s --seed %" PRIu64 " --trace %s\n", start,
           options->program, scenario->seed, path);
}

static void
print_result(const struct options *options, const struct scenario *scenario,
             const struct run_result *result, const char *path, int number)
{
    char name[128];

    name_of(path, name, sizeof name);
    if (options->output == OUTPUT_TAP) {
        printf("%sok %d - %s\n", result->passed ? "" : "not ", number, name);
    } else {
        printf("%-4s %s: %" PRIu32 " of %" PRIu32 " expectations, %" PRIu64
               " requests, %.2f %% slow, %.1f W, trace %016" PRIx64 "\n",
               result->passed ? "ok" : "FAIL", name,
               scenario->n_expects - result->n_failed, scenario->n_expects,
               result->n_requests,
               result->n_requests > 0
                   ? 100.0 * (double)result->n_slow / (double)result->n_requests
                   : 0.0,
               result->mean_power_w, result->trace_hash);
    }
    if (!result->passed) {
        print_failures(options, scenario, result, path);
    }
}

static void
add_json(json_t *results, const struct scenario *scenario,
         const struct run_result *result, const char *path)
{
    json_t *expects = json_array();
    char name[128], hash[24], words[256];

    for (uint32_t i = 0; i < scenario->n_expects; i++) {
        const struct run_expect *got = &result->expects[i];

        run_expected(scenario, &scenario->expects[i], words, sizeof words);
        json_array_append_new(
            expects,
            json_pack("{s:i, s:s, s:b, s:s, s:f}", "line",
                      (int)scenario->expects[i].line, "expected", words, "met",
                      got->met, "seen", got->seen, "at_s",
                      (double)got->when / (double)NSEC_PER_SEC));
    }
    name_of(path, name, sizeof name);
    snprintf(hash, sizeof hash, "%016" PRIx64, result->trace_hash);
    json_array_append_new(
        results, json_pack("{s:s, s:s, s:I, s:b, s:s, s:s, s:o, s:I, s:I, s:f}",
                           "name", name, "about", scenario->about, "seed",
                           (json_int_t)scenario->seed, "passed", result->passed,
                           "broken", result->broken, "trace", hash, "expect",
                           expects, "requests", (json_int_t)result->n_requests,
                           "slow", (json_int_t)result->n_slow, "mean_power_w",
                           result->mean_power_w));
}

/* Says that a file is no scenario. */
static int
refuse(const struct options *options, const char *path, const char *why,
       int number, json_t *results)
{
    if (options->output == OUTPUT_TAP) {
        printf("not ok %d - %s\n# %s\n", number, path, why);
    } else if (options->output == OUTPUT_JSON) {
        json_array_append_new(results,
                              json_pack("{s:s, s:b, s:s}", "name", path,
                                        "passed", 0, "broken", why));
    }
    fprintf(stderr, "msim: %s\n", why);
    return 2;
}

/* The fault of a scenario that has a process die; null if there is none. */
static struct scenario_fault *
death_of(struct scenario *scenario)
{
    for (uint32_t i = 0; i < scenario->n_faults; i++) {
        struct scenario_fault *fault = &scenario->faults[i];

        if (fault->fault->class == FAULT_CRASH &&
            fault->fault->needs & FAULT_VALUE) {
            return fault;
        }
    }
    return NULL;
}

/* Runs it once, or with so many seeds, or with a death at each point up to that
 * which the file names, until one fails. */
static void
run_all(const struct options *options, struct scenario *scenario,
        struct run_result *result)
{
    struct scenario_fault *death =
        options->each_death ? death_of(scenario) : NULL;
    uint64_t n = death ? (uint64_t)death->value : options->n_seeds;

    for (uint64_t i = 0; i < n; i++) {
        if (death) {
            death->value = (double)(i + 1);
        } else {
            scenario->seed += i > 0;
        }
        scenario->config.seed = scenario->seed;
        run_scenario(scenario, options->trace ? stderr : NULL, result);
        if (!result->passed) {
            if (death) {
                printf("# with %s at %" PRIu64 "\n", death->fault->name, i + 1);
            }
            return;
        }
    }
}

/* What was expected of VMs that move, and what was seen. */
static void
print_moves(const struct options *options, const struct movescn *moves,
            const struct moves_result *result, const bool *met,
            const char *path)
{
    const char *start = options->output == OUTPUT_TAP ? "# " : "  ";
    if (result->why[0]) {
        printf("%s%s\n", start, result->why);
    }
    for (uint32_t i = 0; i < moves->n_expects; i++) {
        const struct movescn_expect *expect = &moves->expects[i];
        if (!met[i]) {
            printf("%s%s:%u: expected %s from %g to %g, seen %g\n", start, path,
                   expect->line, expect->gauge->name, expect->low, expect->high,
                   movescn_value(expect, result));
        }
    }
    printf("%sto repeat: %s --seed %" PRIu64 " --trace %s\n", start,
           options->program, moves->config.seed, path);
}

static void
add_moves_json(json_t *results, const struct movescn *moves,
               const struct moves_result *result, const bool *met,
               const char *name, bool passed)
{
    json_t *expects = json_array();
    char hash[24];
    for (uint32_t i = 0; i < moves->n_expects; i++) {
        const struct movescn_expect *expect = &moves->expects[i];
        json_array_append_new(expects,
                              json_pack("{s:i, s:s, s:b, s:f}", "line",
                                        (int)expect->line, "expected",
                                        expect->gauge->name, "met", met[i],
                                        "seen", movescn_value(expect, result)));
    }
    snprintf(hash, sizeof hash, "%016" PRIx64, result->trace_hash);
    json_array_append_new(results,
                          json_pack("{s:s, s:s, s:I, s:b, s:s, s:s, s:o}",
                                    "name", name, "about", moves->about, "seed",
                                    (json_int_t)moves->config.seed, "passed",
                                    passed, "broken", result->why, "trace",
                                    hash, "expect", expects));
}

static int
run_moves(const struct options *options, struct movescn *moves,
          const char *path, int number, json_t *results)
{
    bool met[MOVESCN_EXPECTS_MAX], passed = true;
    struct moves_result result;
    uint64_t first = options->seeded ? options->seed : moves->config.seed;
    char name[128];
    for (uint64_t i = 0; i < options->n_seeds && passed; i++) {
        moves->config.seed = first + i;
        passed =
            movescn_run(moves, options->trace ? stderr : NULL, &result, met);
    }
    name_of(path, name, sizeof name);
    if (options->output == OUTPUT_JSON) {
        add_moves_json(results, moves, &result, met, name, passed);
        return !passed;
    }
    if (options->output == OUTPUT_TAP) {
        printf("%sok %d - %s\n", passed ? "" : "not ", number, name);
    } else {
        printf("%-4s %s: %" PRIu64 " messages given, trace %016" PRIx64 "\n",
               passed ? "ok" : "FAIL", name, result.n_given, result.trace_hash);
    }
    if (!passed) {
        print_moves(options, moves, &result, met, path);
    }
    return !passed;
}

static int
run_file(const struct options *options, const char *path, int number,
         json_t *results)
{
    static struct scenario scenario;
    static struct movescn moves;
    static struct run_result result;
    char why[CONFIG_WHY_SIZE + 256];
    char *text;

    int error = confscan_load(&text, path, why, sizeof why);
    if (!error) {
        int kind = movescn_parse(&moves, text, path, why, sizeof why);
        if (kind) {
            free(text);
            return kind < 0 ? refuse(options, path, why, number, results)
                            : run_moves(options, &moves, path, number, results);
        }
        error = scenario_parse(&scenario, text, path, why, sizeof why);
        free(text);
    }
    if (error) {
        return refuse(options, path, why, number, results);
    }
    if (options->seeded) {
        scenario.seed = options->seed;
    }
    run_all(options, &scenario, &result);
    if (options->output == OUTPUT_JSON) {
        add_json(results, &scenario, &result, path);
    } else {
        print_result(options, &scenario, &result, path, number);
    }
    scenario_fini(&scenario);
    return result.passed ? 0 : 1;
}

/* Made-up scenarios. */

static int
print_drawn(const char *seed)
{
    uint64_t number;
    char *text;

    if (text_to_u64(seed, &number) || number > SEED_MAX) {
        fprintf(stderr, "msim: --draw %s: a whole number is wanted\n", seed);
        return 2;
    }
    text = draw_scenario(number);
    if (!text) {
        return 2;
    }
    fputs(text, stdout);
    free(text);
    return 0;
}

static int
run_explorer(const struct options *options)
{
    const struct explore_opts opts = {.program = options->program,
                                      .first = options->first,
                                      .n = options->n_seeds,
                                      .json = options->output == OUTPUT_JSON,
                                      .trace = options->trace,
                                      .go_on = options->go_on,
                                      .unchecked = options->unchecked};
    int n = explore(&opts);

    return n < 0 ? 2 : n > 0;
}

/* Tables. */

static void
list_gauges(void)
{
    static const char *const of[] = {"host", "cpu", "guest"};

    for (const struct gauge *gauge = gauge_table; gauge->name; gauge++) {
        printf("%-20s %-6s %s%s%s%s\n", gauge->name, of[gauge->of], gauge->help,
               gauge->unit && gauge->unit[0] ? " (" : "",
               gauge->unit ? gauge->unit : "",
               gauge->unit && gauge->unit[0] ? ")" : "");
    }
}

static void
list_faults(void)
{
    static const char *const needs[] = {"guest", "cpu", "value", "text",
                                        "[for_s]"};

    for (const struct fault *fault = fault_table; fault->name; fault++) {
        char words[48] = "";

        for (size_t i = 0; i < 5; i++) {
            if (fault->needs >> i & 1) {
                strcat(strcat(words, needs[i]), " ");
            }
        }
        printf("%-18s %-24s %s\n", fault->name, words, fault->help);
    }
}
