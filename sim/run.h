/* SPDX-License-Identifier: Apache-2.0 */
/* Runs one scenario from its first second to its last and says what became of
 * its expectations. */
#ifndef SIM_RUN_H
#define SIM_RUN_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "sim/gauge.h"
#include "sim/scenario.h"

struct run_expect {
    bool met, failed; /* Neither while it is open. */
    nsec_t when;      /* Since the start: when that was decided. */
    char seen[GAUGE_TEXT_SIZE];
};

struct run_result {
    bool passed;
    uint32_t n_failed;
    struct run_expect expects[SCENARIO_EXPECTS_MAX]; /* As the scenario's. */
    uint64_t trace_hash, n_trace_lines;
    uint64_t n_requests, n_slow; /* Of all guests, as their clients counted. */
    double mean_power_w;
    /* Of all p-states that each CPU had, and when; by its place. */
    uint64_t pstate_hashes[CONFIG_CPUS_MAX];
    uint64_t n_crashes; /* Of the broker's processes. */
    /* Why the run ended early, or which standing invariant did not hold; "" if
     * all was well. */
    char broken[320];
};

/* 'trace_file' is borrowed; null: no trace is written. */
void run_scenario(const struct scenario *, FILE *trace_file,
                  struct run_result *out);

/* What was expected, in words: "pstate of cpu 0 is 3 at 2 s". */
void run_expected(const struct scenario *, const struct scenario_expect *,
                  char *out, size_t size);

#endif
