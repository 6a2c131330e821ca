/* SPDX-License-Identifier: Apache-2.0 */
/* Opens what the configuration names: the drivers of p-states, power and its
 * cap, and the hypervisor.  What is not here is left out and told, and the rest
 * goes on.  Relies on drivers.c; called by platform.c when it starts. */
#include "broker/platform/platform_parts.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "broker/config/config.h"
#include "broker/platform/caps.h"
#include "broker/platform/knobs.h"
static void
open_pstate(struct platform *platform)
{
    const struct broker_config *config = platform->config;
    char why[CONFIG_WHY_SIZE];

    if (!config->pstate || !config->n_cpus) {
        return;
    }
    int error = driver_open(&platform->pstate, config->pstate, &platform->env,
                            config, config->cpus, config->n_cpus,
                            &config->pstate_options, why, sizeof why);
    if (!error) {
        error = knobs_create(&platform->knobs, config, config->pstate,
                             platform->pstate.hw, platform->env.saved_dirfd,
                             platform->env.clock, why, sizeof why);
        if (error) {
            driver_close(&platform->pstate);
        }
    }
    if (why[0]) {
        platform_tell_trouble(platform, config->pstate->name, why);
    } else if (error) {
        platform_tell_trouble(platform, config->pstate->name, strerror(-error));
    }
}

/* A driver that offers p-states and power is opened once, with the options of
 * its p-states: they are two sides of one thing. */
static void
open_power(struct platform *platform)
{
    const struct broker_config *config = platform->config;
    char why[CONFIG_WHY_SIZE];

    if (!config->power) {
        return;
    }
    if (platform->pstate.class == config->power) {
        platform->power.class = platform->pstate.class;
        platform->power.hw = platform->pstate.hw;
        return;
    }
    int error = driver_open(&platform->power, config->power, &platform->env,
                            config, config->cpus, config->n_cpus,
                            &config->power_options, why, sizeof why);
    if (error) {
        platform_tell_trouble(platform, config->power->name,
                              why[0] ? why : strerror(-error));
    }
}

/* As open_power(): with the options of what was opened first. */
static void
open_cap(struct platform *platform, nsec_t now)
{
    const struct broker_config *config = platform->config;
    struct driver *driver = &platform->cap;
    char why[CONFIG_WHY_SIZE] = "";
    int error = 0;

    if (!config->cap) {
        return;
    }
    if (platform->pstate.class == config->cap) {
        driver->class = platform->pstate.class;
        driver->hw = platform->pstate.hw;
    } else if (platform->power.class == config->cap) {
        driver->class = platform->power.class;
        driver->hw = platform->power.hw;
    } else {
        error = driver_open(driver, config->cap, &platform->env, config,
                            config->cpus, config->n_cpus, &config->cap_options,
                            why, sizeof why);
    }
    if (!error) {
        const struct caps_env env = {
            .class = driver->class,
            .hw = driver->hw,
            .knobs = platform->knobs,
            .dirfd = platform->env.cap_dirfd,
            .kept = platform->env.cap_record,
            .proc_dirfd = platform->env.proc_dirfd,
        };

        error =
            caps_create(&platform->caps, config, &env, now, why, sizeof why);
    }
    if (error || why[0]) {
        platform_tell_trouble(platform, config->cap->name,
                              why[0] ? why : strerror(-error));
    }
}

static void
open_hypervisor(struct platform *platform)
{
    const struct broker_config *config = platform->config;
    const struct hypervisor_class *class = config->hypervisor;
    char why[CONFIG_WHY_SIZE] = "";

    if (!class) {
        return;
    }
    platform->guests = platform_guests(config);
    if (!platform->guests) {
        platform_tell_trouble(platform, class->name, "no memory");
        return;
    }
    platform->hypervisor_env = (struct hypervisor_env){
        .proc_dirfd = platform->env.proc_dirfd,
        .state_dirfd = platform->env.state_dirfd,
        .helper = platform->env.helper,
        .helper_ctx = platform->env.helper_ctx,
        .guests = platform->guests,
        .n_guests = config->n_guests,
        .options = &config->hypervisor_options,
        .seed = config->seed,
        .sim = platform->env.hypervisor_sim,
    };
    int error = class->open(&platform->hypervisor, &platform->hypervisor_env,
                            why, sizeof why);
    if (error) {
        platform_tell_trouble(platform, class->name,
                              why[0] ? why : strerror(-error));
        return;
    }
    platform->hypervisor_class = class;
}

void
platform_open(struct platform *platform, nsec_t now)
{
    open_pstate(platform);
    open_power(platform);
    open_cap(platform, now);
    open_hypervisor(platform);
}
