/* SPDX-License-Identifier: Apache-2.0 */
/* p-states of a frequency domain: 0 is the fastest, as in ACPI. */
#ifndef MODEL_PSTATE_H
#define MODEL_PSTATE_H

#include <stdbool.h>
#include <stdint.h>

#define PSTATES_MAX 16
#define DOMAIN_CPUS_MAX 64

struct pstate_table {
    uint32_t n;                      /* 1..PSTATES_MAX. */
    uint32_t freq_khz[PSTATES_MAX];  /* Strictly falling. */
    uint32_t voltage_mv[PSTATES_MAX]; /* 0 where unknown. */
};

/* CPUs whose frequency can only be set together (cpufreq's related_cpus). */
struct pstate_domain {
    uint32_t id; /* Its place in the driver's list. */
    uint32_t n_cpus;
    uint32_t cpus[DOMAIN_CPUS_MAX];
    struct pstate_table table;
    bool emulated; /* Nothing in the hardware changes (softpstate, sim). */
};

#endif
