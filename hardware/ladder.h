/* SPDX-License-Identifier: Apache-2.0 */
/* Frequency domains made from options instead of found in hardware: what the
 * drivers "softpstate" and "sim" offer. */
#ifndef HARDWARE_LADDER_H
#define HARDWARE_LADDER_H

#include <stddef.h>

#include "hardware/hardware.h"

/* The options ladder_domains() reads; the first members of a driver's list.
 * The defaults are the frequencies of the VManage paper's Opteron hosts; its
 * voltages are assumed around AMD's 1.10 V at 1 GHz. */
/* clang-format off */
#define LADDER_OPTIONS                                                        \
    {.name = "frequencies_mhz", .unit = "MHz", .type = OPTION_INTS,           \
     .min = 1, .max = 100000, .default_text = "2400 2200 2000 1800 1000",     \
     .help = "Frequency of each p-state, strictly falling."},                 \
    {.name = "voltages_mv", .unit = "mV", .type = OPTION_INTS,                \
     .min = 1, .max = 5000, .default_text = "1350 1300 1250 1200 1100",       \
     .help = "Voltage of each p-state, for the power model; as many as "      \
             "frequencies, strictly falling."},                               \
    {.name = "cpus_per_domain", .unit = NULL, .type = OPTION_INT,             \
     .min = 1, .max = DOMAIN_CPUS_MAX, .default_text = "1",                   \
     .help = "CPUs whose p-state is set together."}
/* clang-format on */

/* Makes domains of env's CPUs, in their order, the last one perhaps smaller.
 * '*out' is the caller's to free().  Returns how many, -ENODEV (no CPUs),
 * -EINVAL (frequencies or voltages that make no sense) or -ENOMEM, with 'why'
 * naming the option. */
int ladder_domains(struct pstate_domain **out, const struct hardware_env *,
                   char *why, size_t why_size);

/* Whether those options go together; a driver's hardware_class.check. */
int ladder_check(const struct option_values *, char *why, size_t why_size);

/* A domain's found state as text, and back.  0, or -EINVAL if 'saved' isn't one
 * of this domain's. */
void ladder_save(uint32_t pstate, char out[HARDWARE_SAVED_SIZE]);
int ladder_read_saved(const struct pstate_domain *, const char *saved,
                      uint32_t *pstate_out);

#endif
