/* SPDX-License-Identifier: Apache-2.0 */
/* A scenario: a host, its guests and their load, what is done to them, and what
 * is expected of the broker.  One file in libconfig's syntax; msim(1) has its
 * manual. */
#ifndef SIM_SCENARIO_H
#define SIM_SCENARIO_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/clock.h"
#include "broker/config/config.h"
#include "model/sla.h"
#include "sim/machine.h"

struct fault;
struct gauge;

#define SCENARIO_GUESTS_MAX 64
#define SCENARIO_FAULTS_MAX 256
#define SCENARIO_KINDS_MAX 32
#define SCENARIO_EXPECTS_MAX 64
#define SCENARIO_DURATION_MAX_S 3600
#define SCENARIO_TEXT_SIZE 128
#define SCENARIO_START (1000 * NSEC_PER_SEC) /* The clock's at second 0. */

struct scenario_guest {
    char name[VM_NAME_SIZE];
    char claims[VM_NAME_SIZE]; /* What its agent says it is; "" nothing. */
    bool agent;                /* It has one. */
    uint32_t cpu;
    struct sla_terms sla;
    struct machine_load load;
    nsec_t clock_ahead_ns; /* Of its own clock before the MVM's. */
    nsec_t delay_ns;       /* Of its channel, one way. */
};

struct scenario_fault {
    const struct fault *fault;
    unsigned line;
    nsec_t at, until; /* NSEC_NEVER: it does not end. */
    uint32_t guest, cpu;
    double value;
    char text[SCENARIO_TEXT_SIZE];
};

/* Faults by chance, all over by 'to'. */
struct scenario_chaos {
    nsec_t from, to;
    nsec_t longest; /* That one lasts. */
    uint32_t n;     /* How many; 0: no chaos. */
    uint32_t n_kinds;
    const struct fault *kinds[SCENARIO_KINDS_MAX];
};

enum scenario_when {
    SCENARIO_AT,     /* At 'from'. */
    SCENARIO_DURING, /* All the time from 'from' to 'to'. */
    SCENARIO_WITHIN, /* At some time from 'from' to 'to'. */
};

struct scenario_expect {
    const struct gauge *gauge;
    unsigned line;
    enum scenario_when when;
    nsec_t from, to;
    uint32_t index;                /* CPU, or the guest's place. */
    double low, high;              /* Of a number, both included. */
    char text[SCENARIO_TEXT_SIZE]; /* Of a word. */
};

/* Times are since the start. */
struct scenario {
    char about[CONFIG_COMMAND_SIZE];
    uint64_t seed;
    nsec_t duration;
    struct broker_config config; /* Of its one host. */
    uint32_t n_guests, n_faults, n_expects;
    struct scenario_guest guests[SCENARIO_GUESTS_MAX];
    struct scenario_fault faults[SCENARIO_FAULTS_MAX];
    struct scenario_expect expects[SCENARIO_EXPECTS_MAX];
    struct scenario_chaos chaos;
};

/* Parses 'text'; 'path' is for messages.  Returns 0, -ENOMEM, or -EINVAL with
 * 'why' = "PATH:LINE: what is wrong, and what would be right"; '*out' is
 * untouched on failure. */
int scenario_parse(struct scenario *out, const char *text, const char *path,
                   char *why, size_t why_size);
void scenario_fini(struct scenario *);

#endif
