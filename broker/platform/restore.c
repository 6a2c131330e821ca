/* SPDX-License-Identifier: Apache-2.0 */
/* Puts back what the files of a dead broker say was found (platform_restore()):
 * each file names its driver and CPUs, so the configuration may have changed
 * since.  A file goes when its state is back, and stays otherwise, so that
 * nothing is forgotten.  Run at every start, by `mbrokerd --restore`, and after
 * a platform process died. */
#include "broker/config/config.h"
#include "broker/platform/platform.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "broker/platform/caprecord.h"
#include "broker/platform/drivers.h"
#include "broker/platform/saved.h"

struct restoring {
    const struct broker_config *config;
    const struct platform_env *env;
    int n_restored, n_failed;
    char *why;
    size_t why_size;
};

static void restore_file(void *ctx, const char *file, int error,
                         const struct saved *);
static int restore_domain(struct restoring *, const struct saved *, char *why,
                          size_t why_size);
static const struct pstate_domain *
same_domain(const struct saved *, const struct pstate_domain *, int n);
static int check_back(const struct driver *, uint32_t domain,
                      const struct saved *, char *why, size_t why_size);

int
platform_restore(const struct broker_config *config,
                 const struct platform_env *env, char *why, size_t why_size)
{
    struct restoring restoring = {
        .config = config, .env = env, .why = why, .why_size = why_size};

    why[0] = '\0';
    if (env->cap_dirfd >= 0 && caprecord_is_clamped(env->cap_dirfd)) {
        return 0; /* p-states stand in for a cap, which outlives brokers. */
    }
    int n = saved_each(env->saved_dirfd, restore_file, &restoring);
    if (n < 0) {
        snprintf(why, why_size, "saved states can't be read: %s", strerror(-n));
        return n;
    }
    return restoring.n_failed ? -EIO : restoring.n_restored;
}

static void
restore_file(void *ctx, const char *file, int error, const struct saved *saved)
{
    struct restoring *restoring = ctx;
    char why[CONFIG_WHY_SIZE] = "it isn't one of ours, or is damaged";

    if (!error) {
        error = restore_domain(restoring, saved, why, sizeof why);
    }
    if (!error) {
        restoring->n_restored++;
        return;
    }
    restoring->n_failed++;
    snprintf(restoring->why, restoring->why_size, "%s is kept: %s", file, why);
}

static int
restore_domain(struct restoring *restoring, const struct saved *saved,
               char *why, size_t why_size)
{
    const struct broker_config *config = restoring->config;
    const struct hardware_class *class = hardware_find(saved->driver);
    if (!class || !class->pstate) {
        snprintf(why, why_size, "this build has no driver \"%s\"",
                 saved->driver);
        return -ENOENT;
    }

    struct driver driver;
    int error = driver_open(
        &driver, class, restoring->env, config, saved->cpus, saved->n_cpus,
        class == config->pstate ? &config->pstate_options : NULL, why,
        why_size);
    if (error) {
        return error;
    }
    const struct pstate_domain *domains = NULL;
    int n = class->pstate->domains(driver.hw, &domains);
    const struct pstate_domain *domain = same_domain(saved, domains, n);
    if (!domain) {
        error = -ENODEV;
        snprintf(why, why_size, "%s has no domain of just these CPUs",
                 saved->driver);
    } else {
        error = class->pstate->restore(driver.hw, domain->id, saved->state);
        if (error) {
            snprintf(why, why_size, "%s refuses what was saved: %s",
                     saved->driver, strerror(-error));
        } else {
            error = check_back(&driver, domain->id, saved, why, why_size);
        }
    }
    driver_close(&driver);
    if (!error) {
        error = saved_remove(restoring->env->saved_dirfd, saved->cpus,
                             saved->n_cpus);
    }
    return error;
}

/* The file is all that remembers, so it goes only if the driver says what it
 * said then.  It may be late, so it is asked twice. */
static int
check_back(const struct driver *driver, uint32_t domain,
           const struct saved *saved, char *why, size_t why_size)
{
    char now[HARDWARE_SAVED_SIZE] = "";

    for (int i = 0; i < 2; i++) {
        int error = driver->class->pstate->save(driver->hw, domain, now);

        if (error) {
            snprintf(why, why_size, "%s can't be read back: %s", saved->driver,
                     strerror(-error));
            return error;
        }
        if (!strcmp(now, saved->state)) {
            return 0;
        }
    }
    snprintf(why, why_size, "%s was given \"%.40s\" and reads back \"%.40s\"",
             saved->driver, saved->state, now);
    return -EIO;
}

static const struct pstate_domain *
same_domain(const struct saved *saved, const struct pstate_domain *domains,
            int n)
{
    for (int i = 0; i < n; i++) {
        if (domains[i].n_cpus == saved->n_cpus &&
            !memcmp(domains[i].cpus, saved->cpus,
                    saved->n_cpus * sizeof saved->cpus[0])) {
            return &domains[i];
        }
    }
    return NULL;
}
