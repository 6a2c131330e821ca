/* SPDX-License-Identifier: Apache-2.0 */
/* Emulated p-states, for hosts whose frequency can't be set.  On each managed
 * CPU a thief (thief.c) takes a share of 1 - f/f0 of every 200 us, so that what
 * else runs there gets as much work done as at f.  A cgroup quota would be
 * cheaper and is a poor model: it changes nothing until it is used up and then
 * stalls for milliseconds.
 *
 * Threads need CAP_SYS_NICE (or RLIMIT_RTPRIO) and, where the kernel has
 * CONFIG_RT_GROUP_SCHED, a cgroup with cpu.rt_runtime_us.  The kernel's own
 * limit, sched_rt_runtime_us, is 95 % of a CPU by default and does not disturb
 * burning the 90 % that are allowed here; below a lower limit less is burned,
 * and stolen() says how much really was.  Called by the platform process. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "hardware/hardware.h"
#include "hardware/ladder.h"
#include "hardware/thief.h"

#define SLOWEST_SHARE 10 /* No frequency below a tenth of the highest. */

struct hardware {
    uint32_t n_domains, n_cpus;
    struct pstate_domain *domains;
    uint32_t *pstate; /* Per domain: the last that was set. */
    const uint32_t *cpus;
    struct thief **thieves; /* One per CPU, as far as they were started. */
};

static void say_refused(int error, uint32_t cpu, char *why, size_t why_size);
static struct thief *find_thief(struct hardware *, uint32_t cpu);
static uint32_t burn_ns(const struct pstate_table *, uint32_t pstate);
static void softpstate_close(struct hardware *);

static int
softpstate_open(struct hardware **out, const struct hardware_env *env,
                char *why, size_t why_size)
{
    struct hardware *hw = calloc(1, sizeof *hw);
    if (!hw) {
        snprintf(why, why_size, "no memory");
        return -ENOMEM;
    }
    int n = ladder_domains(&hw->domains, env, why, why_size);
    if (n < 0) {
        softpstate_close(hw);
        return n;
    }
    hw->n_domains = (uint32_t)n;
    const struct pstate_table *table = &hw->domains[0].table;
    if (table->freq_khz[table->n - 1] < table->freq_khz[0] / SLOWEST_SHARE) {
        snprintf(why, why_size,
                 "frequencies_mhz: the lowest must be at least 1/%d of the "
                 "highest, so that the CPU stays usable",
                 SLOWEST_SHARE);
        softpstate_close(hw);
        return -EINVAL;
    }
    hw->pstate = calloc(hw->n_domains, sizeof *hw->pstate);
    hw->thieves = calloc(env->n_cpus, sizeof *hw->thieves);
    if (!hw->pstate || !hw->thieves) {
        snprintf(why, why_size, "no memory for %u CPUs", env->n_cpus);
        softpstate_close(hw);
        return -ENOMEM;
    }

    hw->n_cpus = env->n_cpus;
    hw->cpus = env->cpus;
    for (uint32_t i = 0; i < env->n_cpus; i++) {
        int error = thief_create(&hw->thieves[i], env->cpus[i]);
        if (error) {
            say_refused(error, env->cpus[i], why, why_size);
            softpstate_close(hw);
            return error;
        }
    }
    *out = hw;
    return 0;
}

static void
softpstate_close(struct hardware *hw)
{
    if (!hw) {
        return;
    }
    for (uint32_t i = 0; i < hw->n_cpus; i++) {
        thief_destroy(hw->thieves[i]);
    }
    free(hw->thieves);
    free(hw->pstate);
    free(hw->domains);
    free(hw);
}

static int
softpstate_domains(struct hardware *hw, const struct pstate_domain **out)
{
    *out = hw->domains;
    return (int)hw->n_domains;
}

/* What the thieves obey.  One that lost its CPU burns nothing, so that the
 * domain's speed is no longer one speed. */
static int
softpstate_get(struct hardware *hw, uint32_t domain, uint32_t *pstate_out)
{
    if (domain >= hw->n_domains) {
        return -ERANGE;
    }
    const struct pstate_domain *d = &hw->domains[domain];
    uint32_t pstate = hw->pstate[domain];

    for (uint32_t i = 0; i < d->n_cpus; i++) {
        if (!thief_obeys(find_thief(hw, d->cpus[i]),
                         burn_ns(&d->table, pstate))) {
            return -EIO;
        }
    }
    *pstate_out = pstate;
    return 0;
}

static int
softpstate_set(struct hardware *hw, uint32_t domain, uint32_t pstate)
{
    if (domain >= hw->n_domains || pstate >= hw->domains[domain].table.n) {
        return -ERANGE;
    }
    const struct pstate_domain *d = &hw->domains[domain];
    uint32_t want_ns = burn_ns(&d->table, pstate);
    int error = 0;

    for (uint32_t i = 0; i < d->n_cpus; i++) {
        int failed = thief_order(find_thief(hw, d->cpus[i]), want_ns);
        error = error ? error : failed;
    }
    hw->pstate[domain] = pstate;
    return error;
}

static int
softpstate_save(struct hardware *hw, uint32_t domain,
                char out[HARDWARE_SAVED_SIZE])
{
    uint32_t pstate;

    int error = softpstate_get(hw, domain, &pstate);
    if (error) {
        return error;
    }
    ladder_save(pstate, out);
    return 0;
}

static int
softpstate_restore(struct hardware *hw, uint32_t domain, const char *saved)
{
    uint32_t pstate;

    if (domain >= hw->n_domains) {
        return -ERANGE;
    }
    int error = ladder_read_saved(&hw->domains[domain], saved, &pstate);
    return error ? error : softpstate_set(hw, domain, pstate);
}

static int
softpstate_stolen(struct hardware *hw, uint32_t cpu, uint64_t *ns_out)
{
    struct thief *thief = find_thief(hw, cpu);
    if (!thief) {
        return -ENOENT;
    }
    *ns_out = thief_taken_ns(thief);
    return 0;
}

static struct thief *
find_thief(struct hardware *hw, uint32_t cpu)
{
    for (uint32_t i = 0; i < hw->n_cpus; i++) {
        if (hw->cpus[i] == cpu) {
            return hw->thieves[i];
        }
    }
    return NULL;
}

/* The time to burn in each period: (1 - f/f0) of it. */
static uint32_t
burn_ns(const struct pstate_table *table, uint32_t pstate)
{
    uint64_t missing_khz = table->freq_khz[0] - table->freq_khz[pstate];

    return (uint32_t)(missing_khz * THIEF_PERIOD_NS / table->freq_khz[0]);
}

static void
say_refused(int error, uint32_t cpu, char *why, size_t why_size)
{
    switch (error) {
    case -EPERM:
        snprintf(why, why_size,
                 "may not run a real-time thread on CPU %u: emulated p-states "
                 "need CAP_SYS_NICE, and a cgroup with cpu.rt_runtime_us where "
                 "the kernel groups real-time threads",
                 cpu);
        break;
    case -EINVAL:
        snprintf(why, why_size,
                 "CPU %u is offline, absent, or outside this process's cpuset",
                 cpu);
        break;
    default:
        snprintf(why, why_size, "no thread on CPU %u: %s", cpu,
                 strerror(-error));
        break;
    }
}

static const struct option_desc softpstate_options[] = {
    LADDER_OPTIONS,
    {.name = NULL},
};

static const struct pstate_ops softpstate_pstate = {
    .domains = softpstate_domains,
    .get = softpstate_get,
    .set = softpstate_set,
    .save = softpstate_save,
    .restore = softpstate_restore,
    .stolen = softpstate_stolen,
};

const struct hardware_class hardware_softpstate = {
    .name = "softpstate",
    .summary = "p-states emulated by taking CPU time away",
    .options = softpstate_options,
    .check = ladder_check,
    .pstate = &softpstate_pstate,
    .open = softpstate_open,
    .close = softpstate_close,
};
