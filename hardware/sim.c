/* SPDX-License-Identifier: Apache-2.0 */
/* A driver for hardware that isn't there: hardware_sim is the made-up host's,
 * with what msim and the tests see and do behind the driver's back (sim.h), and
 * the driver proper reads and sets it as it would real hardware, faults and
 * all.  Given no world by its environment, the driver makes its own from its
 * options.  Relies on ladder for those, on prng for the chance of a fault. */
#include "hardware/sim.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/prng.h"
#include "hardware/hardware.h"
#include "hardware/ladder.h"
#include "hardware/simcap.h"

struct sim_domain {
    uint32_t pstate;
    uint32_t coming;    /* What SIM_FAULT_LATE still holds back. */
    uint32_t late_gets; /* Until it comes; 0: nothing is held back. */
    enum sim_fault fault;
};

struct hardware_sim {
    uint32_t n;
    struct pstate_domain *desc;
    struct sim_domain *domain;
    enum quality quality;
    uint64_t power_mw;
    uint64_t n_sets;
    struct simcap cap;
    hardware_sim_watch_fn *watch; /* Null: nobody does. */
    void *watch_ctx;
};

struct hardware {
    struct hardware_sim *sim;
    struct hardware_sim *own; /* The same, if the driver made it. */
    struct prng prng;
    uint32_t fail_permille;
    int cap_dirfd;        /* Where the cap's file is; -1: it has none. */
    const char *cap_file; /* Borrowed. */
};

static int make_own(struct hardware *, const struct hardware_env *, char *why,
                    size_t why_size);
static void sim_close(struct hardware *);

/* The driver. */

static int
sim_open(struct hardware **out, const struct hardware_env *env, char *why,
         size_t why_size)
{
    struct hardware *hw = calloc(1, sizeof *hw);
    if (!hw) {
        snprintf(why, why_size, "no memory");
        return -ENOMEM;
    }
    hw->sim = env->sim;
    hw->fail_permille = (uint32_t)option_int(env->options, "fail_permille");
    prng_init(&hw->prng, env->seed);
    hw->cap_file = option_text(env->options, "cap_file");
    hw->cap_dirfd = hw->cap_file[0] ? env->sys_dirfd : -1;
    if (!hw->sim) {
        int error = make_own(hw, env, why, why_size);
        if (error) {
            sim_close(hw);
            return error;
        }
    }
    *out = hw;
    return 0;
}

static void
sim_close(struct hardware *hw)
{
    if (hw) {
        hardware_sim_destroy(hw->own);
        free(hw);
    }
}

static int
make_own(struct hardware *hw, const struct hardware_env *env, char *why,
         size_t why_size)
{
    uint64_t power_mw = (uint64_t)option_int(env->options, "power_w") * 1000;
    struct pstate_domain *domains;

    int n = ladder_domains(&domains, env, why, why_size);
    if (n < 0) {
        return n;
    }
    int error = hardware_sim_create(&hw->own, domains, (uint32_t)n);
    free(domains);
    if (error) {
        snprintf(why, why_size, "no memory for %d domains", n);
        return error;
    }
    hw->sim = hw->own;
    if (power_mw) {
        hardware_sim_set_power(hw->own, QUALITY_MEASURED, power_mw);
    }
    return 0;
}

static int
sim_domains(struct hardware *hw, const struct pstate_domain **out)
{
    *out = hw->sim->desc;
    return (int)hw->sim->n;
}

static bool
may_touch(struct hardware *hw, enum hardware_sim_touch touch, uint32_t domain,
          uint32_t pstate)
{
    return !hw->sim->watch ||
           hw->sim->watch(hw->sim->watch_ctx, touch, domain, pstate);
}

static int
sim_get(struct hardware *hw, uint32_t domain, uint32_t *pstate_out)
{
    if (domain >= hw->sim->n) {
        return -ERANGE;
    }
    if (!may_touch(hw, HARDWARE_SIM_GET, domain, 0)) {
        return -ENODEV;
    }
    struct sim_domain *d = &hw->sim->domain[domain];
    if (d->fault == SIM_FAULT_GONE) {
        return -ENODEV;
    }
    if (d->late_gets && !--d->late_gets) {
        d->pstate = d->coming;
    }
    *pstate_out = d->pstate;
    return 0;
}

static int
set_as_told(struct hardware *hw, uint32_t domain, uint32_t pstate)
{
    struct sim_domain *d = &hw->sim->domain[domain];
    enum sim_fault fault = d->fault;

    if (hw->fail_permille && fault == SIM_FAULT_NONE &&
        prng_below(&hw->prng, 1000) < hw->fail_permille) {
        fault = SIM_FAULT_FAILS;
    }
    switch (fault) {
    case SIM_FAULT_NONE:
        d->pstate = pstate;
        d->late_gets = 0;
        return 0;
    case SIM_FAULT_FAILS:
        return -EIO;
    case SIM_FAULT_STICKS:
        return 0;
    case SIM_FAULT_LATE:
        d->coming = pstate;
        d->late_gets = 2;
        return 0;
    case SIM_FAULT_GONE:
        return -ENODEV;
    case SIM_FAULT_N:
        break;
    }
    assert(!"a fault without a behaviour");
    return -EIO;
}

static int
sim_set(struct hardware *hw, uint32_t domain, uint32_t pstate)
{
    if (domain >= hw->sim->n || pstate >= hw->sim->desc[domain].table.n) {
        hw->sim->n_sets++;
        return -ERANGE;
    }
    if (!may_touch(hw, HARDWARE_SIM_SET, domain, pstate)) {
        return -ENODEV;
    }
    hw->sim->n_sets++;
    int error = set_as_told(hw, domain, pstate);
    if (!may_touch(hw, HARDWARE_SIM_WAS_SET, domain, pstate)) {
        return -ENODEV;
    }
    return error;
}

static int
sim_save(struct hardware *hw, uint32_t domain, char out[HARDWARE_SAVED_SIZE])
{
    uint32_t pstate;

    int error = sim_get(hw, domain, &pstate);
    if (error) {
        return error;
    }
    ladder_save(pstate, out);
    return 0;
}

static int
sim_restore(struct hardware *hw, uint32_t domain, const char *saved)
{
    uint32_t pstate;

    if (domain >= hw->sim->n) {
        return -ERANGE;
    }
    int error = ladder_read_saved(&hw->sim->desc[domain], saved, &pstate);
    return error ? error : sim_set(hw, domain, pstate);
}

static int
sim_read(struct hardware *hw, const struct cpu_load *load, uint32_t n_load,
         nsec_t now, struct power_reading *out)
{
    if (hw->sim->quality == QUALITY_UNKNOWN) {
        return -EIO;
    }
    *out = (struct power_reading){
        .quality = hw->sim->quality,
        .power_mw = hw->sim->power_mw,
        .time = now,
        .source = "sim",
    };
    return 0;
}

/* The cap: in the made-up world, or in a file that outlives the process. */

static int
sim_cap_range(struct hardware *hw, uint64_t *low_mw_out, uint64_t *high_mw_out)
{
    *low_mw_out = SIMCAP_LOW_MW;
    *high_mw_out = SIMCAP_HIGH_MW;
    return 0;
}

/* Its state as it is in the file, if it has one. */
static int
load_cap(struct hardware *hw)
{
    return hw->cap_dirfd < 0
               ? 0
               : simcap_load(&hw->sim->cap, hw->cap_dirfd, hw->cap_file);
}

static int
store_cap(struct hardware *hw)
{
    return hw->cap_dirfd < 0
               ? 0
               : simcap_store(&hw->sim->cap, hw->cap_dirfd, hw->cap_file);
}

static int
sim_cap_get(struct hardware *hw, uint64_t *mw_out)
{
    if (!may_touch(hw, HARDWARE_SIM_CAP_GET, 0, 0)) {
        return -ENODEV;
    }
    bool late = hw->sim->cap.late_gets > 0;
    int error = load_cap(hw);
    error = error ? error : simcap_get(&hw->sim->cap, mw_out);
    return !error && late ? store_cap(hw) : error;
}

static int
sim_cap_set(struct hardware *hw, uint64_t mw)
{
    if (!may_touch(hw, HARDWARE_SIM_CAP_SET, 0, 0)) {
        return -ENODEV;
    }
    int error = load_cap(hw);
    error = error ? error : simcap_set(&hw->sim->cap, mw);
    if (!error) {
        error = store_cap(hw);
    }
    return may_touch(hw, HARDWARE_SIM_CAP_WAS_SET, 0, 0) ? error : -ENODEV;
}

/* The world behind it. */

static bool
table_valid(const struct pstate_table *table)
{
    if (!table->n || table->n > PSTATES_MAX) {
        return false;
    }
    for (uint32_t i = 0; i < table->n; i++) {
        if (!table->freq_khz[i] ||
            (i && table->freq_khz[i] >= table->freq_khz[i - 1])) {
            return false;
        }
    }
    return true;
}

int
hardware_sim_create(struct hardware_sim **out,
                    const struct pstate_domain *domains, uint32_t n_domains)
{
    for (uint32_t i = 0; i < n_domains; i++) {
        const struct pstate_domain *d = &domains[i];

        if (d->id != i || !d->n_cpus || d->n_cpus > DOMAIN_CPUS_MAX ||
            !table_valid(&d->table)) {
            return -EINVAL;
        }
    }
    struct hardware_sim *sim = calloc(1, sizeof *sim);
    if (!sim) {
        return -ENOMEM;
    }
    sim->n = n_domains;
    sim->desc = calloc(n_domains + 1, sizeof *sim->desc);
    sim->domain = calloc(n_domains + 1, sizeof *sim->domain);
    if (!sim->desc || !sim->domain) {
        hardware_sim_destroy(sim);
        return -ENOMEM;
    }
    memcpy(sim->desc, domains, n_domains * sizeof *domains);
    *out = sim;
    return 0;
}

void
hardware_sim_destroy(struct hardware_sim *sim)
{
    if (!sim) {
        return;
    }
    free(sim->domain);
    free(sim->desc);
    free(sim);
}

/* The domain of a CPU, or null. */
static const struct pstate_domain *
domain_of(const struct hardware_sim *sim, uint32_t cpu)
{
    for (uint32_t i = 0; i < sim->n; i++) {
        for (uint32_t j = 0; j < sim->desc[i].n_cpus; j++) {
            if (sim->desc[i].cpus[j] == cpu) {
                return &sim->desc[i];
            }
        }
    }
    return NULL;
}

uint32_t
hardware_sim_pstate(const struct hardware_sim *sim, uint32_t cpu)
{
    const struct pstate_domain *desc = domain_of(sim, cpu);

    return desc ? sim->domain[desc->id].pstate : 0;
}

uint32_t
hardware_sim_freq_khz(const struct hardware_sim *sim, uint32_t cpu)
{
    const struct pstate_domain *desc = domain_of(sim, cpu);

    return desc ? desc->table.freq_khz[hardware_sim_pstate(sim, cpu)] : 0;
}

uint32_t
hardware_sim_voltage_mv(const struct hardware_sim *sim, uint32_t cpu)
{
    const struct pstate_domain *desc = domain_of(sim, cpu);

    return desc ? desc->table.voltage_mv[hardware_sim_pstate(sim, cpu)] : 0;
}

void
hardware_sim_set_pstate(struct hardware_sim *sim, uint32_t domain,
                        uint32_t pstate)
{
    assert(domain < sim->n);
    assert(pstate < sim->desc[domain].table.n);
    sim->domain[domain].pstate = pstate;
    sim->domain[domain].late_gets = 0;
}

void
hardware_sim_fault(struct hardware_sim *sim, uint32_t domain,
                   enum sim_fault fault)
{
    assert(domain < sim->n);
    sim->domain[domain].fault = fault;
}

void
hardware_sim_set_power(struct hardware_sim *sim, enum quality quality,
                       uint64_t power_mw)
{
    sim->quality = quality;
    sim->power_mw = power_mw;
}

void
hardware_sim_watch(struct hardware_sim *sim, hardware_sim_watch_fn *watch,
                   void *ctx)
{
    sim->watch = watch;
    sim->watch_ctx = ctx;
}

struct simcap *
hardware_sim_cap(struct hardware_sim *sim)
{
    return &sim->cap;
}

uint64_t
hardware_sim_n_sets(const struct hardware_sim *sim)
{
    return sim->n_sets;
}

static const struct option_desc sim_options[] = {
    LADDER_OPTIONS,
    {.name = "power_w",
     .unit = "W",
     .type = OPTION_INT,
     .min = 0,
     .max = 100000,
     .default_text = "0",
     .help = "What the power meter shows; 0: it has none to show."},
    {.name = "fail_permille",
     .type = OPTION_INT,
     .min = 0,
     .max = 1000,
     .default_text = "0",
     .help = "Chance that setting a p-state fails, by the seed."},
    {.name = "cap_file",
     .type = OPTION_TEXT,
     .default_text = "",
     .help = "A file below sys_dir that stands for the power cap's register "
             "and outlives the process; none: the cap is the process's."},
    {.name = NULL},
};

/* The register is the host's; any CPU will do. */
static bool
sim_writes(const struct option_values *options, uint32_t cpu, uint32_t n,
           char *out, size_t out_size)
{
    const char *file = options ? option_text(options, "cap_file") : "";

    (void)cpu;
    snprintf(out, out_size, "%s", file);
    return !n && file[0];
}

static const struct pstate_ops sim_pstate = {
    .domains = sim_domains,
    .get = sim_get,
    .set = sim_set,
    .save = sim_save,
    .restore = sim_restore,
};

static const struct power_ops sim_power = {
    .read = sim_read,
};

static const struct cap_ops sim_cap = {
    .range = sim_cap_range,
    .get = sim_cap_get,
    .set = sim_cap_set,
};

const struct hardware_class hardware_sim = {
    .name = "sim",
    .summary = "made-up p-states, power and cap, for simulation and tests",
    .options = sim_options,
    .check = ladder_check,
    .writes = sim_writes,
    .pstate = &sim_pstate,
    .power = &sim_power,
    .cap = &sim_cap,
    .open = sim_open,
    .close = sim_close,
};
