/* SPDX-License-Identifier: Apache-2.0 */
/* Leads a world through a scenario: from one moment at which something is due
 * (somebody's turn, a fault, an expectation) to the next, until its end.
 * Expectations are looked at when everybody has come to rest.  Called by
 * msim.c. */
#include "sim/run.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/text.h"
#include "sim/chaos.h"
#include "sim/fault.h"
#include "sim/invariant.h"
#include "sim/oracle.h"
#include "sim/trace.h"
#include "sim/world.h"

/* Turns a minute of which is never reached in good health; a world whose
 * members wake each other for ever is broken. */
#define STEPS_PER_SECOND_MAX 100000

struct run {
    const struct scenario *scenario;
    struct world *world;
    struct trace trace;
    uint32_t n_faults; /* The scenario's, and those of its chaos. */
    struct scenario_fault faults[SCENARIO_FAULTS_MAX];
    bool begun[SCENARIO_FAULTS_MAX], ended[SCENARIO_FAULTS_MAX];
    struct run_result *result;
};

static int lead(struct run *run);
static nsec_t next_moment(const struct run *run);
static void apply_faults(struct run *run, nsec_t now);
static void look(struct run *run, nsec_t now);
static void sum_up(struct run *run);
static void stop(struct run *run);

void
run_scenario(const struct scenario *scenario, FILE *trace_file,
             struct run_result *out)
{
    struct run run = {.scenario = scenario, .result = out};

    memset(out, 0, sizeof *out);
    trace_init(&run.trace, trace_file);
    memcpy(run.faults, scenario->faults, sizeof run.faults);
    run.n_faults = chaos_draw(scenario, run.faults, scenario->n_faults);
    if (!world_create(&run.world, scenario, &run.trace, out->broken,
                      sizeof out->broken)) {
        if (lead(&run)) {
            text_copy(out->broken, sizeof out->broken, run.world->why);
        }
        sum_up(&run);
        stop(&run);
        world_destroy(run.world);
    }
    out->trace_hash = run.trace.hash;
    out->n_trace_lines = run.trace.n_lines;
    for (uint32_t i = 0; i < scenario->n_expects; i++) {
        out->n_failed += !out->expects[i].met;
    }
    out->passed = out->n_failed == 0 && !out->broken[0];
}

/* Faults of second 0 come before the broker: they are what it finds. */
static int
lead(struct run *run)
{
    const struct scenario *scenario = run->scenario;
    struct world *world = run->world;
    uint64_t n_steps = 0, n_max = STEPS_PER_SECOND_MAX;
    int error;

    n_max += (uint64_t)(scenario->duration / NSEC_PER_SEC) * n_max;
    apply_faults(run, 0);
    error = world_start_broker(world);
    for (uint32_t i = 0; i < world->n_guests && !error; i++) {
        if (scenario->guests[i].agent) {
            error = world_start_agent(world, i);
        }
    }
    while (!error) {
        nsec_t now = world_elapsed(world);

        apply_faults(run, now);
        while (now < world_elapsed(world)) { /* One made time pass. */
            now = world_elapsed(world);
            apply_faults(run, now);
        }
        error = world_settle(world);
        if (!error) {
            oracle_look(world);
        }
        if (!error && world->broken[0]) {
            text_copy(world->why, sizeof world->why, world->broken);
            error = -EBADMSG;
        }
        if (!error && !invariant_holds(world, world->why, sizeof world->why)) {
            error = -EBADMSG;
        }
        look(run, now);
        if (now >= scenario->duration) {
            break;
        }
        if (++n_steps > n_max) {
            snprintf(world->why, sizeof world->why,
                     "more than %" PRIu64 " moments at which something is due",
                     n_max);
            return -1;
        }
        world_pass(world, SCENARIO_START + next_moment(run));
    }
    return error;
}

static nsec_t
later(nsec_t moment, nsec_t now, nsec_t next)
{
    return moment > now ? nsec_min(moment, next) : next;
}

/* The next moment at which something is due, since the start. */
static nsec_t
next_moment(const struct run *run)
{
    const struct scenario *scenario = run->scenario;
    nsec_t now = world_elapsed(run->world);
    nsec_t next = scenario->duration;
    nsec_t deadline = world_deadline(run->world);

    if (deadline != NSEC_NEVER) {
        next = nsec_min(next, deadline - SCENARIO_START);
    }
    for (uint32_t i = 0; i < run->n_faults; i++) {
        next = later(run->faults[i].at, now, next);
        next = later(run->faults[i].until, now, next);
    }
    for (uint32_t i = 0; i < scenario->n_expects; i++) {
        next = later(scenario->expects[i].from, now, next);
        next = later(scenario->expects[i].to, now, next);
    }
    return next;
}

/* Where a fault comes from. */
static const char *
of_line(const struct scenario_fault *fault, char line[32])
{
    if (fault->line == 0) {
        return "chaos";
    }
    snprintf(line, 32, "line %u", fault->line);
    return line;
}

/* What ends disturbs until then, what does not end for ever; what happens at
 * once only then. */
static void
disturb(struct world *world, const struct scenario_fault *fault, int change)
{
    enum fault_class class = fault->fault->class;

    if (fault->fault->needs & FAULT_FOR) {
        world->n_faults[class] += (uint32_t)change;
    }
    world->disturbed[class] = world->now;
}

static void
apply_faults(struct run *run, nsec_t now)
{
    char line[32];

    for (uint32_t i = 0; i < run->n_faults; i++) {
        const struct scenario_fault *fault = &run->faults[i];

        if (!run->begun[i] && fault->at <= now) {
            run->begun[i] = true;
            disturb(run->world, fault, 1);
            trace_add(&run->trace, "msim", "fault %s begins (%s)",
                      fault->fault->name, of_line(fault, line));
            fault->fault->apply(run->world, fault, true);
            run->world->disturbed[fault->fault->class] = run->world->now;
        }
        if (run->begun[i] && !run->ended[i] && fault->until <= now) {
            run->ended[i] = true;
            disturb(run->world, fault, -1);
            trace_add(&run->trace, "msim", "fault %s ends (%s)",
                      fault->fault->name, of_line(fault, line));
            fault->fault->apply(run->world, fault, false);
        }
    }
}

/* Expectations. */

static void
format_number(double value, const char *unit, char *out, size_t size)
{
    if (isnan(value)) {
        snprintf(out, size, "unknown");
    } else {
        snprintf(out, size, "%.6g%s%s", value, unit[0] ? " " : "", unit);
    }
}

/* Reads the gauge; 'seen' gets what it says. */
static bool
holds(const struct run *run, const struct scenario_expect *expect,
      char seen[GAUGE_TEXT_SIZE])
{
    const struct gauge *gauge = expect->gauge;
    double value;

    if (!gauge->number) {
        gauge->word(run->world, expect->index, seen);
        return !strcmp(seen, expect->text);
    }
    value = gauge->number(run->world, expect->index);
    format_number(value, gauge->unit, seen, GAUGE_TEXT_SIZE);
    return value >= expect->low && value <= expect->high;
}

static void
decide(struct run *run, uint32_t i, bool met, nsec_t now)
{
    const struct scenario_expect *expect = &run->scenario->expects[i];
    struct run_expect *result = &run->result->expects[i];
    char words[256];

    result->met = met;
    result->failed = !met;
    result->when = now;
    run_expected(run->scenario, expect, words, sizeof words);
    trace_add(&run->trace, "msim", "%s: %s (line %u), seen %s",
              met ? "as expected" : "NOT AS EXPECTED", words, expect->line,
              result->seen);
}

static void
look(struct run *run, nsec_t now)
{
    for (uint32_t i = 0; i < run->scenario->n_expects; i++) {
        const struct scenario_expect *expect = &run->scenario->expects[i];
        struct run_expect *result = &run->result->expects[i];
        bool good;

        if (result->met || result->failed || now < expect->from) {
            continue;
        }
        good = holds(run, expect, result->seen);
        switch (expect->when) {
        case SCENARIO_AT:
            decide(run, i, good, now);
            break;
        case SCENARIO_DURING:
            if (!good || now >= expect->to) {
                decide(run, i, good, now);
            }
            break;
        case SCENARIO_WITHIN:
            if (good || now >= expect->to) {
                decide(run, i, good, now);
            }
            break;
        }
    }
}

static void
sum_up(struct run *run)
{
    const struct world *world = run->world;
    double passed_s = (double)world_elapsed(world) / (double)NSEC_PER_SEC;

    for (uint32_t i = 0; i < world->n_guests; i++) {
        run->result->n_requests += world->guests[i].n_requests;
        run->result->n_slow += world->guests[i].n_slow;
    }
    memcpy(run->result->pstate_hashes, world->pstate_hashes,
           sizeof world->pstate_hashes);
    run->result->n_crashes = world->crash.n_crashes;
    run->result->mean_power_w =
        passed_s > 0 ? world->energy_mj / 1000 / passed_s : 0;
}

/* The broker stops, and the host must be as it was. */
static void
stop(struct run *run)
{
    struct run_result *result = run->result;

    world_stop_broker(run->world);
    if (!result->broken[0]) {
        text_copy(result->broken, sizeof result->broken, run->world->broken);
    }
    if (!result->broken[0]) {
        (void)invariant_left_as_found(run->world, result->broken,
                                      sizeof result->broken);
    }
}

void
run_expected(const struct scenario *scenario,
             const struct scenario_expect *expect, char *out, size_t size)
{
    const struct gauge *gauge = expect->gauge;
    double from_s = (double)expect->from / (double)NSEC_PER_SEC;
    double to_s = (double)expect->to / (double)NSEC_PER_SEC;
    char subject[VM_NAME_SIZE + 16] = "", value[SCENARIO_TEXT_SIZE + 16];
    char when[64];

    if (gauge->of == GAUGE_OF_CPU) {
        snprintf(subject, sizeof subject, " of cpu %" PRIu32, expect->index);
    } else if (gauge->of == GAUGE_OF_GUEST) {
        snprintf(subject, sizeof subject, " of %s",
                 scenario->guests[expect->index].name);
    }
    if (!gauge->number) {
        snprintf(value, sizeof value, "\"%s\"", expect->text);
    } else if (expect->low < expect->high) {
        snprintf(value, sizeof value, "%g..%g%s%s", expect->low, expect->high,
                 gauge->unit[0] ? " " : "", gauge->unit);
    } else {
        format_number(expect->low, gauge->unit, value, sizeof value);
    }
    if (expect->when == SCENARIO_AT) {
        snprintf(when, sizeof when, "at %g s", from_s);
    } else {
        snprintf(when, sizeof when, "%s %g..%g s",
                 expect->when == SCENARIO_DURING ? "during" : "within", from_s,
                 to_s);
    }
    snprintf(out, size, "%s%s is %s %s", gauge->name, subject, value, when);
}
