/* SPDX-License-Identifier: Apache-2.0 */
/* Writes p-states, and makes sure that they can be taken back: the found state
 * is synced to a file before a domain's first write, and the file goes only
 * after the driver put it back.  Relies on limits.c to know what is allowed and
 * on the driver's own check of a saved line.  Called by platform.c. */
#include "broker/platform/controls.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/text.h"
#include "broker/config/config.h"
#include "broker/platform/limits.h"
#include "broker/platform/saved.h"

struct control {
    struct pstate_domain desc; /* 'id' is ours. */
    uint32_t driver_id;
    uint32_t pstate;
    bool changed; /* 'found' is to be put back. */
    char found[HARDWARE_SAVED_SIZE];
};

struct controls {
    const struct hardware_class *class;
    const struct pstate_ops *ops;
    struct hardware *hw; /* Borrowed. */
    struct limits *limits;
    int saved_dirfd;
    nsec_t (*clock)(void);
    uint32_t n;
    struct control *control;
};

static bool all_ours(const struct broker_config *, const struct pstate_domain *,
                     uint32_t *stranger_out);
static int take_domains(struct controls *, const struct broker_config *,
                        char *why, size_t why_size);
static void adopt(void *ctx, const char *file, int error, const struct saved *);
static int keep_found(struct controls *, struct control *, char *why,
                      size_t why_size);
static void to_saved(const struct controls *, const struct control *,
                     struct saved *out);
static int read_back(struct controls *, struct control *, nsec_t now,
                     struct control_steps *);
static int check_restored(struct controls *, const struct control *, char *why,
                          size_t why_size);
static nsec_t time_now(const struct controls *, nsec_t now);

int
controls_create(struct controls **out, const struct broker_config *config,
                const struct hardware_class *class, struct hardware *hw,
                int saved_dirfd, nsec_t (*clock)(void), char *why,
                size_t why_size)
{
    struct controls *controls = calloc(1, sizeof *controls);
    if (!controls) {
        snprintf(why, why_size, "no memory");
        return -ENOMEM;
    }

    controls->class = class;
    controls->ops = class->pstate;
    controls->hw = hw;
    controls->saved_dirfd = saved_dirfd;
    controls->clock = clock;
    int error = take_domains(controls, config, why, why_size);
    if (error) {
        controls_destroy(controls);
        return error;
    }
    if (saved_dirfd >= 0) {
        saved_each(saved_dirfd, adopt, controls);
    }
    *out = controls;
    return 0;
}

void
controls_destroy(struct controls *controls)
{
    if (!controls) {
        return;
    }
    limits_destroy(controls->limits);
    free(controls->control);
    free(controls);
}

uint32_t
controls_n(const struct controls *controls)
{
    return controls ? controls->n : 0;
}

const struct pstate_domain *
controls_domain(const struct controls *controls, uint32_t domain)
{
    return domain < controls_n(controls) ? &controls->control[domain].desc
                                         : NULL;
}

uint32_t
controls_pstate(const struct controls *controls, uint32_t domain)
{
    assert(domain < controls->n);
    return controls->control[domain].pstate;
}

bool
controls_changed(const struct controls *controls, uint32_t domain)
{
    return domain < controls_n(controls) && controls->control[domain].changed;
}

int
controls_set(struct controls *controls, uint32_t domain, uint32_t pstate,
             nsec_t now, struct control_steps *out, char *why, size_t why_size)
{
    int error = limits_check_pstate(controls->limits, domain, pstate,
                                    time_now(controls, now), why, why_size);
    if (error) {
        return error;
    }
    struct control *control = &controls->control[domain];
    out->pstate = control->pstate;
    out->checked = time_now(controls, now);
    error = keep_found(controls, control, why, why_size);
    if (error) {
        return error;
    }
    error = controls->ops->set(controls->hw, control->driver_id, pstate);
    if (error) {
        snprintf(why, why_size, "%s could not set p-state %u: %s",
                 controls->class->name, pstate, strerror(-error));
        return error;
    }
    out->written = time_now(controls, now);
    error = read_back(controls, control, now, out);
    if (!error && control->pstate != pstate) { /* It may be late: once more. */
        error = read_back(controls, control, now, out);
    }
    if (error) {
        snprintf(why, why_size, "%s could not read back: %s",
                 controls->class->name, strerror(-error));
    } else if (control->pstate != pstate) {
        error = -EIO;
        snprintf(why, why_size, "%s was told p-state %u and reads back %u",
                 controls->class->name, pstate, control->pstate);
    }
    return error;
}

int
controls_release(struct controls *controls, uint32_t domain, nsec_t now,
                 struct control_steps *out, char *why, size_t why_size)
{
    if (domain >= controls->n) {
        snprintf(why, why_size, "there is no domain %u", domain);
        return -ERANGE;
    }
    struct control *control = &controls->control[domain];
    out->pstate = control->pstate;
    out->checked = time_now(controls, now);
    if (!control->changed) {
        return 0;
    }

    int error = controls->ops->restore(controls->hw, control->driver_id,
                                       control->found);
    if (error) {
        snprintf(why, why_size, "%s could not put domain %u back: %s",
                 controls->class->name, domain, strerror(-error));
        return error;
    }
    out->written = time_now(controls, now);
    read_back(controls, control, now, out);
    error = check_restored(controls, control, why, why_size);
    if (error) {
        return error;
    }
    control->changed = false;
    if (controls->saved_dirfd >= 0) {
        error = saved_remove(controls->saved_dirfd, control->desc.cpus,
                             control->desc.n_cpus);
        if (error) {
            snprintf(why, why_size, "the saved state stays on disk: %s",
                     strerror(-error));
            return error;
        }
    }
    return 0;
}

int
controls_release_all(struct controls *controls, nsec_t now, char *why,
                     size_t why_size)
{
    int n_failed = 0;

    for (uint32_t i = 0; i < controls_n(controls); i++) {
        struct control_steps steps = {0};

        if (controls_release(controls, i, now, &steps, why, why_size)) {
            n_failed++;
        }
    }
    return n_failed;
}

void
controls_fill_load(const struct controls *controls, struct cpu_load *load)
{
    for (uint32_t i = 0; i < controls_n(controls); i++) {
        const struct control *control = &controls->control[i];
        const struct pstate_table *table = &control->desc.table;

        for (uint32_t j = 0; j < control->desc.n_cpus; j++) {
            if (control->desc.cpus[j] == load->cpu) {
                load->freq_khz = table->freq_khz[control->pstate];
                load->voltage_mv = table->voltage_mv[control->pstate];
                load->freq0_khz = table->freq_khz[0];
                load->voltage0_mv = table->voltage_mv[0];
                return;
            }
        }
    }
}

uint64_t
controls_stolen_ns(const struct controls *controls, uint32_t cpu)
{
    uint64_t stolen_ns = 0;

    if (controls && controls->ops->stolen) {
        if (controls->ops->stolen(controls->hw, cpu, &stolen_ns)) {
            return 0;
        }
    }
    return stolen_ns;
}

/* Start. */

static int
take_domains(struct controls *controls, const struct broker_config *config,
             char *why, size_t why_size)
{
    const struct pstate_domain *offered;
    int n = controls->ops->domains(controls->hw, &offered);
    if (n < 0) {
        snprintf(why, why_size, "%s names no frequency domains: %s",
                 controls->class->name, strerror(-n));
        return n;
    }

    struct pstate_domain *descs = calloc((size_t)n + 1, sizeof *descs);
    controls->control = calloc((size_t)n + 1, sizeof *controls->control);
    if (!descs || !controls->control) {
        free(descs);
        snprintf(why, why_size, "no memory");
        return -ENOMEM;
    }
    why[0] = '\0';
    for (int i = 0; i < n; i++) {
        struct control *control = &controls->control[controls->n];
        uint32_t stranger = 0;

        if (!all_ours(config, &offered[i], &stranger)) {
            snprintf(why, why_size,
                     "CPU %u's frequency can't be set without CPU %u's, which "
                     "isn't ours: left alone",
                     offered[i].cpus[0], stranger);
            continue;
        }
        control->desc = offered[i];
        control->driver_id = offered[i].id;
        control->desc.id = controls->n;
        read_back(controls, control, 0, &(struct control_steps){0});
        descs[controls->n++] = control->desc;
    }
    int error = limits_create(&controls->limits, config, descs, controls->n);
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
    struct controls *controls = ctx;

    (void)file;
    if (error || strcmp(saved->driver, controls->class->name)) {
        return;
    }
    for (uint32_t i = 0; i < controls->n; i++) {
        struct control *control = &controls->control[i];

        if (control->desc.n_cpus == saved->n_cpus &&
            !memcmp(control->desc.cpus, saved->cpus,
                    saved->n_cpus * sizeof saved->cpus[0])) {
            memcpy(control->found, saved->state, sizeof control->found);
            control->changed = true;
        }
    }
}

/* Actions. */

static int
keep_found(struct controls *controls, struct control *control, char *why,
           size_t why_size)
{
    if (control->changed) {
        return 0;
    }
    int error =
        controls->ops->save(controls->hw, control->driver_id, control->found);
    if (error) {
        snprintf(why, why_size, "%s could not say what it found: %s",
                 controls->class->name, strerror(-error));
        return error;
    }
    if (controls->saved_dirfd >= 0) {
        struct saved saved;

        to_saved(controls, control, &saved);
        error = saved_write(controls->saved_dirfd, &saved);
        if (error) {
            snprintf(why, why_size,
                     "what was found could not be saved, so nothing is "
                     "changed: %s",
                     strerror(-error));
            return error;
        }
    }
    control->changed = true;
    return 0;
}

/* Whether the driver, asked again what it finds, says what it said at first; it
 * may be late, so it is asked twice.  Its p-state proves nothing: a governor
 * may be at work again. */
static int
check_restored(struct controls *controls, const struct control *control,
               char *why, size_t why_size)
{
    char now[HARDWARE_SAVED_SIZE] = "";
    int error = 0;

    for (int i = 0; i < 2; i++) {
        error = controls->ops->save(controls->hw, control->driver_id, now);
        if (!error && !strcmp(now, control->found)) {
            return 0;
        }
    }
    if (error) {
        snprintf(why, why_size, "%s could not read back: %s",
                 controls->class->name, strerror(-error));
        return error;
    }
    snprintf(why, why_size, "%s put back \"%.48s\" and reads back \"%.48s\"",
             controls->class->name, control->found, now);
    return -EIO;
}

static void
to_saved(const struct controls *controls, const struct control *control,
         struct saved *out)
{
    *out = (struct saved){.n_cpus = control->desc.n_cpus};
    text_copy(out->driver, sizeof out->driver, controls->class->name);
    memcpy(out->cpus, control->desc.cpus,
           control->desc.n_cpus * sizeof out->cpus[0]);
    memcpy(out->state, control->found, sizeof out->state);
}

static int
read_back(struct controls *controls, struct control *control, nsec_t now,
          struct control_steps *out)
{
    uint32_t pstate;
    int error = controls->ops->get(controls->hw, control->driver_id, &pstate);
    if (error) {
        return error;
    }
    if (pstate >= control->desc.table.n) {
        return -ERANGE;
    }
    control->pstate = pstate;
    out->pstate = pstate;
    out->read = time_now(controls, now);
    return 0;
}

static nsec_t
time_now(const struct controls *controls, nsec_t now)
{
    return controls->clock ? controls->clock() : now;
}
