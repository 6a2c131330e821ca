/* SPDX-License-Identifier: Apache-2.0 */
/* Writes p-states, and makes sure that they can be taken back: the found state
 * is synced to a file before a domain's first write, and the file goes only
 * after the driver put it back.  Relies on limits.c to know what is allowed and
 * on the driver's own check of a saved line.  Called by platform.c, and by
 * sampler.c, which asks where the knobs stand. */
#include "broker/platform/knobs.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/text.h"
#include "broker/config/config.h"
#include "broker/platform/limits.h"
#include "broker/platform/saved.h"

struct knob {
    struct pstate_domain desc; /* 'id' is ours. */
    uint32_t driver_id;        /* The driver's number of it. */
    uint32_t pstate;           /* As last read back. */
    bool changed;              /* 'found' is to be put back. */
    bool adopted;              /* An earlier broker changed it, not we. */
    bool held;                 /* By the clamp, and nobody set it since. */
    bool let_go;               /* By the clamp's end; the engine isn't told. */
    char found[HARDWARE_SAVED_SIZE];
};

struct knobs {
    const struct hardware_class *class;
    const struct pstate_ops *ops;
    struct hardware *hw; /* Borrowed. */
    struct limits *limits;
    uint32_t pstate_max;   /* The slowest that is allowed. */
    bool clamped;          /* All are held there. */
    int saved_dirfd;       /* -1: nothing is kept. */
    nsec_t (*clock)(void); /* Null: 'now' is used. */
    uint32_t n;
    struct knob *knob;
};

static bool all_ours(const struct broker_config *, const struct pstate_domain *,
                     uint32_t *stranger_out);
static int take_domains(struct knobs *, const struct broker_config *, char *why,
                        size_t why_size);
static void adopt(void *ctx, const char *file, int error, const struct saved *);
static int keep_found(struct knobs *, struct knob *, char *why,
                      size_t why_size);
static void to_saved(const struct knobs *, const struct knob *,
                     struct saved *out);
static int read_back(struct knobs *, struct knob *, nsec_t now,
                     struct knob_steps *);
static int check_restored(struct knobs *, const struct knob *, char *why,
                          size_t why_size);
static int write_pstate(struct knobs *, struct knob *, uint32_t pstate,
                        nsec_t now, struct knob_steps *, char *why,
                        size_t why_size);
static uint32_t slowest(const struct knobs *, const struct knob *);
static nsec_t time_now(const struct knobs *, nsec_t now);

int
knobs_create(struct knobs **out, const struct broker_config *config,
             const struct hardware_class *class, struct hardware *hw,
             int saved_dirfd, nsec_t (*clock)(void), char *why, size_t why_size)
{
    struct knobs *knobs = calloc(1, sizeof *knobs);
    if (!knobs) {
        snprintf(why, why_size, "no memory");
        return -ENOMEM;
    }

    knobs->class = class;
    knobs->ops = class->pstate;
    knobs->hw = hw;
    knobs->pstate_max = config->pstate_max;
    knobs->saved_dirfd = saved_dirfd;
    knobs->clock = clock;
    int error = take_domains(knobs, config, why, why_size);
    if (error) {
        knobs_destroy(knobs);
        return error;
    }
    if (saved_dirfd >= 0) {
        saved_each(saved_dirfd, adopt, knobs);
    }
    *out = knobs;
    return 0;
}

void
knobs_configure(struct knobs *knobs, const struct broker_config *config)
{
    if (knobs) {
        knobs->pstate_max = config->pstate_max;
        limits_configure(knobs->limits, config);
    }
}

void
knobs_destroy(struct knobs *knobs)
{
    if (!knobs) {
        return;
    }
    limits_destroy(knobs->limits);
    free(knobs->knob);
    free(knobs);
}

uint32_t
knobs_n(const struct knobs *knobs)
{
    return knobs ? knobs->n : 0;
}

const struct pstate_domain *
knobs_domain(const struct knobs *knobs, uint32_t domain)
{
    return domain < knobs_n(knobs) ? &knobs->knob[domain].desc : NULL;
}

uint32_t
knobs_pstate(const struct knobs *knobs, uint32_t domain)
{
    assert(domain < knobs->n);
    return knobs->knob[domain].pstate;
}

bool
knobs_changed(const struct knobs *knobs, uint32_t domain)
{
    return domain < knobs_n(knobs) && knobs->knob[domain].changed;
}

int
knobs_set(struct knobs *knobs, uint32_t domain, uint32_t pstate, nsec_t now,
          struct knob_steps *out, char *why, size_t why_size)
{
    int error = limits_check_pstate(knobs->limits, domain, pstate,
                                    time_now(knobs, now), why, why_size);
    if (error) {
        return error;
    }
    struct knob *knob = &knobs->knob[domain];
    out->pstate = knob->pstate;
    if (knobs->clamped && pstate < slowest(knobs, knob)) {
        snprintf(why, why_size,
                 "the power cap is not confirmed: nothing faster than p-state "
                 "%u is set",
                 slowest(knobs, knob));
        return -EPERM;
    }
    out->checked = time_now(knobs, now);
    knob->adopted = false;
    knob->held = false;
    return write_pstate(knobs, knob, pstate, now, out, why, why_size);
}

int
knobs_release(struct knobs *knobs, uint32_t domain, nsec_t now,
              struct knob_steps *out, char *why, size_t why_size)
{
    if (domain >= knobs->n) {
        snprintf(why, why_size, "there is no domain %u", domain);
        return -ERANGE;
    }
    struct knob *knob = &knobs->knob[domain];
    out->pstate = knob->pstate;
    out->checked = time_now(knobs, now);
    if (knobs->clamped) {
        snprintf(why, why_size,
                 "the power cap is not confirmed: domain %u "
                 "stays at p-state %u",
                 domain, slowest(knobs, knob));
        return -EPERM;
    }
    if (!knob->changed) {
        /* An earlier release may have done it whose outcome came too late: who
         * asks again must still hear where the domain stands. */
        read_back(knobs, knob, now, out);
        return 0;
    }

    int error = knobs->ops->restore(knobs->hw, knob->driver_id, knob->found);
    if (error) {
        snprintf(why, why_size, "%s could not put domain %u back: %s",
                 knobs->class->name, domain, strerror(-error));
        return error;
    }
    out->written = time_now(knobs, now);
    error = check_restored(knobs, knob, why, why_size);
    read_back(knobs, knob, now, out); /* Behind it: the driver may be late. */
    if (error) {
        return error;
    }
    knob->changed = false;
    knob->adopted = false;
    if (knobs->saved_dirfd >= 0) {
        error = saved_remove(knobs->saved_dirfd, knob->desc.cpus,
                             knob->desc.n_cpus);
        if (error) {
            snprintf(why, why_size, "the saved state stays on disk: %s",
                     strerror(-error));
            return error;
        }
    }
    return 0;
}

bool
knobs_put_back(struct knobs *knobs, uint32_t domain, nsec_t now)
{
    struct knob_steps steps = {0};
    char why[CONFIG_WHY_SIZE];

    return domain < knobs_n(knobs) && knobs->knob[domain].adopted &&
           !knobs_release(knobs, domain, now, &steps, why, sizeof why);
}

int
knobs_release_all(struct knobs *knobs, nsec_t now, char *why, size_t why_size)
{
    int n_failed = 0;

    if (knobs_clamped(knobs)) {
        return 0; /* They stand in for the cap, which outlives us too. */
    }
    for (uint32_t i = 0; i < knobs_n(knobs); i++) {
        struct knob_steps steps = {0};

        if (knobs_release(knobs, i, now, &steps, why, why_size)) {
            n_failed++;
        }
    }
    return n_failed;
}

int
knobs_clamp(struct knobs *knobs, bool on, nsec_t now, char *why,
            size_t why_size)
{
    int n_failed = 0;

    knobs->clamped = on;
    for (uint32_t i = 0; on && i < knobs->n; i++) {
        struct knob *knob = &knobs->knob[i];
        uint32_t pstate = slowest(knobs, knob);
        struct knob_steps steps = {0};

        if (read_back(knobs, knob, now, &steps) || knob->pstate < pstate ||
            !knob->changed) {
            n_failed += write_pstate(knobs, knob, pstate, now, &steps, why,
                                     why_size) != 0;
            knob->held = true;
        }
    }
    for (uint32_t i = 0; !on && i < knobs->n; i++) {
        struct knob_steps steps = {0};

        if (knobs->knob[i].held) {
            knobs->knob[i].held = false;
            knobs->knob[i].let_go = true;
            n_failed +=
                knobs_release(knobs, i, now, &steps, why, why_size) != 0;
        }
    }
    return n_failed;
}

bool
knobs_let_go(const struct knobs *knobs, uint32_t domain)
{
    return domain < knobs_n(knobs) && knobs->knob[domain].let_go;
}

void
knobs_told_let_go(struct knobs *knobs, uint32_t domain)
{
    knobs->knob[domain].let_go = false;
}

bool
knobs_clamped(const struct knobs *knobs)
{
    return knobs && knobs->clamped;
}

void
knobs_fill_load(const struct knobs *knobs, struct cpu_load *load)
{
    for (uint32_t i = 0; i < knobs_n(knobs); i++) {
        const struct knob *knob = &knobs->knob[i];
        const struct pstate_table *table = &knob->desc.table;

        for (uint32_t j = 0; j < knob->desc.n_cpus; j++) {
            if (knob->desc.cpus[j] == load->cpu) {
                load->freq_khz = table->freq_khz[knob->pstate];
                load->voltage_mv = table->voltage_mv[knob->pstate];
                load->freq0_khz = table->freq_khz[0];
                load->voltage0_mv = table->voltage_mv[0];
                return;
            }
        }
    }
}

uint64_t
knobs_stolen_ns(const struct knobs *knobs, uint32_t cpu)
{
    uint64_t stolen_ns = 0;

    if (knobs && knobs->ops->stolen) {
        if (knobs->ops->stolen(knobs->hw, cpu, &stolen_ns)) {
            return 0;
        }
    }
    return stolen_ns;
}

/* Start. */

static int
take_domains(struct knobs *knobs, const struct broker_config *config, char *why,
             size_t why_size)
{
    const struct pstate_domain *offered;
    int n = knobs->ops->domains(knobs->hw, &offered);
    if (n < 0) {
        snprintf(why, why_size, "%s names no frequency domains: %s",
                 knobs->class->name, strerror(-n));
        return n;
    }

    struct pstate_domain *descs = calloc((size_t)n + 1, sizeof *descs);
    knobs->knob = calloc((size_t)n + 1, sizeof *knobs->knob);
    if (!descs || !knobs->knob) {
        free(descs);
        snprintf(why, why_size, "no memory");
        return -ENOMEM;
    }
    why[0] = '\0';
    for (int i = 0; i < n; i++) {
        struct knob *knob = &knobs->knob[knobs->n];
        uint32_t stranger = 0;

        if (!all_ours(config, &offered[i], &stranger)) {
            snprintf(why, why_size,
                     "CPU %u's frequency can't be set without CPU %u's, which "
                     "isn't ours: left alone",
                     offered[i].cpus[0], stranger);
            continue;
        }
        knob->desc = offered[i];
        knob->driver_id = offered[i].id;
        knob->desc.id = knobs->n;
        read_back(knobs, knob, 0, &(struct knob_steps){0});
        descs[knobs->n++] = knob->desc;
    }
    int error = limits_create(&knobs->limits, config, descs, knobs->n);
    free(descs);
    if (error) {
        snprintf(why, why_size, "no memory");
    }
    return error;
}

static bool
all_ours(const struct broker_config *config, const struct pstate_domain *domain,
         uint32_t *stranger_out)
{
    for (uint32_t i = 0; i < domain->n_cpus; i++) {
        if (!config_has_cpu(config, domain->cpus[i])) {
            *stranger_out = domain->cpus[i];
            return false;
        }
    }
    return domain->n_cpus > 0;
}

/* A file that is still here holds what was there before any broker of ours; to
 * save again now would make our own leftovers the truth. */
static void
adopt(void *ctx, const char *file, int error, const struct saved *saved)
{
    struct knobs *knobs = ctx;

    (void)file;
    if (error || strcmp(saved->driver, knobs->class->name)) {
        return;
    }
    for (uint32_t i = 0; i < knobs->n; i++) {
        struct knob *knob = &knobs->knob[i];

        if (knob->desc.n_cpus == saved->n_cpus &&
            !memcmp(knob->desc.cpus, saved->cpus,
                    saved->n_cpus * sizeof saved->cpus[0])) {
            memcpy(knob->found, saved->state, sizeof knob->found);
            knob->changed = true;
            knob->adopted = true;
        }
    }
}

/* Actions. */

static int
keep_found(struct knobs *knobs, struct knob *knob, char *why, size_t why_size)
{
    if (knob->changed) {
        return 0;
    }
    int error = knobs->ops->save(knobs->hw, knob->driver_id, knob->found);
    if (error) {
        snprintf(why, why_size, "%s could not say what it found: %s",
                 knobs->class->name, strerror(-error));
        return error;
    }
    if (knobs->saved_dirfd >= 0) {
        struct saved saved;

        to_saved(knobs, knob, &saved);
        error = saved_write(knobs->saved_dirfd, &saved);
        if (error) {
            snprintf(why, why_size,
                     "what was found could not be saved, so nothing is "
                     "changed: %s",
                     strerror(-error));
            return error;
        }
    }
    knob->changed = true;
    return 0;
}

static int
write_pstate(struct knobs *knobs, struct knob *knob, uint32_t pstate,
             nsec_t now, struct knob_steps *out, char *why, size_t why_size)
{
    int error = keep_found(knobs, knob, why, why_size);
    if (error) {
        return error;
    }
    error = knobs->ops->set(knobs->hw, knob->driver_id, pstate);
    if (error) {
        snprintf(why, why_size, "%s could not set p-state %u: %s",
                 knobs->class->name, pstate, strerror(-error));
        return error;
    }
    out->written = time_now(knobs, now);
    error = read_back(knobs, knob, now, out);
    if (!error && knob->pstate != pstate) { /* It may be late: once more. */
        error = read_back(knobs, knob, now, out);
    }
    if (error) {
        snprintf(why, why_size, "%s could not read back: %s",
                 knobs->class->name, strerror(-error));
    } else if (knob->pstate != pstate) {
        error = -EIO;
        snprintf(why, why_size, "%s was told p-state %u and reads back %u",
                 knobs->class->name, pstate, knob->pstate);
    }
    return error;
}

static uint32_t
slowest(const struct knobs *knobs, const struct knob *knob)
{
    uint32_t last = knob->desc.table.n - 1;

    return knobs->pstate_max < last ? knobs->pstate_max : last;
}

/* Whether the driver, asked again what it finds, says what it said at first; it
 * may be late, so it is asked twice.  Its p-state proves nothing: a governor
 * may be at work again. */
static int
check_restored(struct knobs *knobs, const struct knob *knob, char *why,
               size_t why_size)
{
    char now[HARDWARE_SAVED_SIZE] = "";
    int error = 0;

    for (int i = 0; i < 2; i++) {
        error = knobs->ops->save(knobs->hw, knob->driver_id, now);
        if (!error && !strcmp(now, knob->found)) {
            return 0;
        }
    }
    if (error) {
        snprintf(why, why_size, "%s could not read back: %s",
                 knobs->class->name, strerror(-error));
        return error;
    }
    snprintf(why, why_size, "%s put back \"%.48s\" and reads back \"%.48s\"",
             knobs->class->name, knob->found, now);
    return -EIO;
}

static void
to_saved(const struct knobs *knobs, const struct knob *knob, struct saved *out)
{
    *out = (struct saved){.n_cpus = knob->desc.n_cpus};
    text_copy(out->driver, sizeof out->driver, knobs->class->name);
    memcpy(out->cpus, knob->desc.cpus, knob->desc.n_cpus * sizeof out->cpus[0]);
    memcpy(out->state, knob->found, sizeof out->state);
}

static int
read_back(struct knobs *knobs, struct knob *knob, nsec_t now,
          struct knob_steps *out)
{
    uint32_t pstate;
    int error = knobs->ops->get(knobs->hw, knob->driver_id, &pstate);
    if (error) {
        return error;
    }
    if (pstate >= knob->desc.table.n) {
        return -ERANGE;
    }
    knob->pstate = pstate;
    out->pstate = pstate;
    out->read = time_now(knobs, now);
    return 0;
}

static nsec_t
time_now(const struct knobs *knobs, nsec_t now)
{
    return knobs->clock ? knobs->clock() : now;
}
