/* SPDX-License-Identifier: Apache-2.0 */
/* Turns the options of an emulating driver into frequency domains.  Each option
 * was checked by itself when it was read; what they must be to each other is
 * checked here, by name.  Relies on base/option; called by softpstate.c and
 * sim.c when they open, and for the configuration's check. */
#include "hardware/ladder.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/text.h"

#define SAVED_PREFIX "pstate="

static int read_table(struct pstate_table *, const struct option_values *,
                      char *why, size_t why_size);
static int check_cpus(const struct hardware_env *, char *why, size_t why_size);

int
ladder_domains(struct pstate_domain **out, const struct hardware_env *env,
               char *why, size_t why_size)
{
    struct pstate_table table = {0};

    int error = check_cpus(env, why, why_size);
    if (!error) {
        error = read_table(&table, env->options, why, why_size);
    }
    if (error) {
        return error;
    }

    uint32_t size = (uint32_t)option_int(env->options, "cpus_per_domain");
    uint32_t n = (env->n_cpus + size - 1) / size;
    struct pstate_domain *domains = calloc(n, sizeof *domains);
    if (!domains) {
        snprintf(why, why_size, "no memory for %u domains", n);
        return -ENOMEM;
    }
    for (uint32_t i = 0; i < n; i++) {
        domains[i].id = i;
        domains[i].table = table;
        domains[i].emulated = true;
    }
    for (uint32_t i = 0; i < env->n_cpus; i++) {
        struct pstate_domain *d = &domains[i / size];

        d->cpus[d->n_cpus++] = env->cpus[i];
    }
    *out = domains;
    return (int)n;
}

int
ladder_check(const struct option_values *options, char *why, size_t why_size)
{
    struct pstate_table table;

    return read_table(&table, options, why, why_size);
}

static int
check_cpus(const struct hardware_env *env, char *why, size_t why_size)
{
    if (!env->n_cpus) {
        snprintf(why, why_size,
                 "no CPUs to emulate p-states on: list some in \"cpus\"");
        return -ENODEV;
    }
    for (uint32_t i = 0; i < env->n_cpus; i++) {
        for (uint32_t j = 0; j < i; j++) {
            if (env->cpus[i] == env->cpus[j]) {
                snprintf(why, why_size, "CPU %u is listed twice", env->cpus[i]);
                return -EINVAL;
            }
        }
    }
    return 0;
}

/* Whether each member is less than the one before. */
static bool
falls(const struct option_value *list)
{
    for (uint32_t i = 1; i < list->n_ints; i++) {
        if (list->ints[i] >= list->ints[i - 1]) {
            return false;
        }
    }
    return true;
}

static int
read_table(struct pstate_table *table, const struct option_values *options,
           char *why, size_t why_size)
{
    const struct option_value *mhz = option_get(options, "frequencies_mhz");
    const struct option_value *mv = option_get(options, "voltages_mv");

    if (!mhz->n_ints || mhz->n_ints > PSTATES_MAX) {
        snprintf(why, why_size, "frequencies_mhz: needs 1 to %d members",
                 PSTATES_MAX);
        return -EINVAL;
    }
    if (!falls(mhz)) {
        snprintf(why, why_size,
                 "frequencies_mhz: \"%s\" does not fall strictly; p-state 0 is "
                 "the fastest",
                 mhz->text);
        return -EINVAL;
    }
    if (mv->n_ints != mhz->n_ints) {
        snprintf(why, why_size,
                 "voltages_mv: has %u members, frequencies_mhz has %u; each "
                 "p-state needs both",
                 mv->n_ints, mhz->n_ints);
        return -EINVAL;
    }
    if (!falls(mv)) {
        snprintf(why, why_size, "voltages_mv: \"%s\" does not fall strictly",
                 mv->text);
        return -EINVAL;
    }

    table->n = mhz->n_ints;
    for (uint32_t i = 0; i < table->n; i++) {
        table->freq_khz[i] = (uint32_t)mhz->ints[i] * 1000;
        table->voltage_mv[i] = (uint32_t)mv->ints[i];
    }
    return 0;
}

/* Found states. */

void
ladder_save(uint32_t pstate, char out[HARDWARE_SAVED_SIZE])
{
    snprintf(out, HARDWARE_SAVED_SIZE, SAVED_PREFIX "%u", pstate);
}

int
ladder_read_saved(const struct pstate_domain *domain, const char *saved,
                  uint32_t *pstate_out)
{
    uint64_t pstate;

    if (strncmp(saved, SAVED_PREFIX, strlen(SAVED_PREFIX)) ||
        text_to_u64(saved + strlen(SAVED_PREFIX), &pstate) ||
        pstate >= domain->table.n) {
        return -EINVAL;
    }
    *pstate_out = (uint32_t)pstate;
    return 0;
}
