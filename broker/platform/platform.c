/* SPDX-License-Identifier: Apache-2.0 */
/* The platform core: the one who opens drivers and hypervisor
 * (platform_open.c), and the one who writes (platform_act.c).  Observing is
 * sampler.c's, writing with a way back is knobs.c's; here they are put
 * together, guests are started and ended, and the engine is told.  Called by
 * role_platform.c and msim. */
#include "broker/platform/platform_parts.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/text.h"
#include "broker/config/config.h"
#include "broker/platform/caps.h"
#include "broker/platform/knobs.h"
#include "broker/platform/sampler.h"
#include "wire/msg.h"

#define OUTCOMES_MAX 64 /* Actions whose outcomes may wait. */
#define RETRY_NS NSEC_PER_MSEC

static void start_guests(struct platform *, const struct broker_config *was,
                         nsec_t now);
static void tell_domains(struct platform *);
static void put_back_leftovers(struct platform *, nsec_t now);
static void tell_ready(struct platform *);
static void on_sample(void *ctx, const struct msg *);
static int on_news(void *ctx, const struct msg *);

int
platform_create(struct platform **out, const struct broker_config *config,
                const struct platform_env *env, nsec_t now, char *why,
                size_t why_size)
{
    struct platform *platform = calloc(1, sizeof *platform);
    if (!platform) {
        snprintf(why, why_size, "no memory");
        return -ENOMEM;
    }

    platform->config = config;
    platform->env = *env;
    int error = outbox_init(&platform->outbox,
                            OUTCOMES_MAX + config->n_cpus +
                                4 * config_guest_places(config) + 16);
    if (error) {
        snprintf(why, why_size, "no memory");
        goto fail;
    }
    platform_open(platform, now);
    struct sampler_env sampler_env = {
        .proc_dirfd = env->proc_dirfd,
        .hypervisor_class = platform->hypervisor_class,
        .hypervisor = platform->hypervisor,
        .power_class = platform->power.class,
        .power = platform->power.hw,
        .knobs = platform->knobs,
        .sample = on_sample,
        .news = on_news,
        .ctx = platform,
    };
    error =
        sampler_create(&platform->sampler, config, &sampler_env, why, why_size);
    if (error) {
        goto fail;
    }
    tell_domains(platform);
    sampler_run(platform->sampler, now);
    start_guests(platform, NULL, now);
    if (platform->caps) {
        platform_run_caps(platform, now);
    }
    tell_ready(platform);
    platform->next_sample = now + config->sample_ns;
    *out = platform;
    return 0;

fail:
    platform_destroy(platform);
    return error;
}

int
platform_destroy(struct platform *platform)
{
    if (!platform) {
        return 0;
    }
    int n_failed = platform_release(platform, platform->next_sample);
    sampler_destroy(platform->sampler);
    caps_destroy(platform->caps);
    knobs_destroy(platform->knobs);
    if (platform->cap.hw == platform->pstate.hw ||
        platform->cap.hw == platform->power.hw) {
        platform->cap.class = NULL; /* It is one driver. */
    }
    if (platform->power.hw == platform->pstate.hw) {
        platform->power.class = NULL; /* Likewise. */
    }
    driver_close(&platform->cap);
    driver_close(&platform->power);
    driver_close(&platform->pstate);
    if (platform->hypervisor_class) {
        platform->hypervisor_class->close(platform->hypervisor);
    }
    platform_unprepare(platform);
    free(platform->guests);
    outbox_fini(&platform->outbox);
    free(platform);
    return n_failed;
}

bool
platform_has_room(const struct platform *platform)
{
    return outbox_room(&platform->outbox) > 0;
}

void
platform_run(struct platform *platform, nsec_t now)
{
    platform->last_try = now;
    outbox_flush(&platform->outbox, platform->env.to_engine, platform->env.ctx);
    if (platform->caps) {
        platform_run_caps(platform, now);
    }
    if (now < platform->next_sample) {
        return;
    }
    put_back_leftovers(platform, now);
    sampler_run(platform->sampler, now);
    platform->next_sample += platform->config->sample_ns;
    if (platform->next_sample <= now) { /* We slept: no catching up. */
        platform->next_sample = now + platform->config->sample_ns;
    }
    outbox_flush(&platform->outbox, platform->env.to_engine, platform->env.ctx);
}

nsec_t
platform_deadline(const struct platform *platform)
{
    nsec_t deadline = platform->next_sample;

    if (platform->caps) {
        deadline = nsec_min(deadline, caps_deadline(platform->caps));
    }
    return platform->outbox.n
               ? nsec_min(deadline, platform->last_try + RETRY_NS)
               : deadline;
}

int
platform_release(struct platform *platform, nsec_t now)
{
    char why[CONFIG_WHY_SIZE];

    return knobs_release_all(platform->knobs, now, why, sizeof why);
}

void
platform_end_guests(struct platform *platform, nsec_t now)
{
    char why[CONFIG_WHY_SIZE];

    /* One that was only just started has not been seen yet. */
    sampler_run(platform->sampler, now);
    for (uint32_t i = 0; i < platform->config->n_guests; i++) {
        const struct guest_config *guest = &platform->config->guests[i];

        if (platform->hypervisor_class && guest->command[0]) {
            platform_operate(platform, &guest->uuid, VM_OP_END, NULL, now, why,
                             sizeof why);
        }
    }
}

uint32_t
platform_guests_left(const struct platform *platform)
{
    uint32_t n_left = 0;

    for (uint32_t i = 0; i < platform->config->n_guests; i++) {
        const struct guest_config *guest = &platform->config->guests[i];

        enum vm_state state = sampler_vm_state(platform->sampler, &guest->uuid);
        if (guest->command[0] && (state == VM_RUNNING || state == VM_FROZEN)) {
            n_left++;
        }
    }
    return n_left;
}

/* Another configuration. */

int
platform_prepare(struct platform *platform, const struct broker_config *next,
                 char *why, size_t why_size)
{
    platform_unprepare(platform);
    platform->next_guests = platform_guests(next);
    if (!platform->next_guests) {
        snprintf(why, why_size, "no memory for guests");
        return -ENOMEM;
    }
    return 0;
}

void
platform_unprepare(struct platform *platform)
{
    free(platform->next_guests);
    platform->next_guests = NULL;
}

/* The hypervisor's guests, then the helper's, who knows them by the same
 * numbers: all or nothing. */
static int
take_guests(struct platform *platform, uint32_t n_was, char *why,
            size_t why_size)
{
    const struct hypervisor_class *class = platform->hypervisor_class;
    const struct hypervisor_helper *helper = platform->env.helper;
    uint32_t n = platform->config->n_guests;
    int error = 0;

    if (class && class->set_guests) {
        error = class->set_guests(platform->hypervisor, platform->next_guests,
                                  n, why, why_size);
    }
    if (!error && class && helper && helper->renew) {
        error = helper->renew(platform->env.helper_ctx, why, why_size);
        if (error && class->set_guests) {
            int back = class->set_guests(platform->hypervisor, platform->guests,
                                         n_was, NULL, 0);

            assert(!back); /* Neither the one nor the other: better nobody. */
        }
    }
    if (error) {
        return error;
    }
    struct hypervisor_guest *old = platform->guests;
    platform->guests = platform->next_guests;
    platform->next_guests = old;
    platform_unprepare(platform);
    platform->hypervisor_env.guests = platform->guests;
    platform->hypervisor_env.n_guests = n;
    return 0;
}

int
platform_reconfigure(struct platform *platform, const struct broker_config *was,
                     nsec_t now, char *why, size_t why_size)
{
    const struct broker_config *config = platform->config;

    int error = take_guests(platform, was->n_guests, why, why_size);
    if (error) {
        return error;
    }
    knobs_configure(platform->knobs, config);
    if (platform->caps && (was->budget_max_mw != config->budget_max_mw ||
                           was->budget_safe_mw != config->budget_safe_mw)) {
        caps_set_budget(platform->caps, config, now);
        platform_run_caps(platform, now);
    }
    for (uint32_t i = 0; i < config->n_guests; i++) {
        if (!config_guest(was, &config->guests[i].uuid)) {
            sampler_tell_again(platform->sampler, &config->guests[i].uuid);
        }
    }
    sampler_run(platform->sampler, now);
    start_guests(platform, was, now);
    platform->next_sample =
        nsec_min(platform->next_sample, now + config->sample_ns);
    return 0;
}

void
platform_stats(const struct platform *platform, struct platform_stats *out)
{
    *out = platform->stats;
    out->n_changed_domains = 0;
    for (uint32_t i = 0; i < knobs_n(platform->knobs); i++) {
        out->n_changed_domains += knobs_changed(platform->knobs, i);
    }
}

/* Start. */

/* All that are configured with a command and don't run; but none that '*was'
 * (null: nothing) had, as it may have ended since. */
static void
start_guests(struct platform *platform, const struct broker_config *was,
             nsec_t now)
{
    char why[CONFIG_WHY_SIZE];

    for (uint32_t i = 0; i < platform->config->n_guests; i++) {
        const struct guest_config *guest = &platform->config->guests[i];

        if (!platform->hypervisor_class || !guest->command[0] ||
            (was && config_guest(was, &guest->uuid)) ||
            sampler_sees(platform->sampler, &guest->uuid)) {
            continue;
        }
        why[0] = '\0';
        int error = platform_operate(platform, &guest->uuid, VM_OP_START, NULL,
                                     now, why, sizeof why);
        if (error && error != -EALREADY) {
            platform_tell_trouble(platform, guest->name,
                                  why[0] ? why : strerror(-error));
        }
    }
}

int
platform_tell_domain(struct platform *platform, uint32_t i)
{
    const struct pstate_domain *domain = knobs_domain(platform->knobs, i);
    struct msg msg = {.type = MSG_DOMAIN};

    msg.domain.domain = i;
    text_copy_printable(msg.domain.driver, sizeof msg.domain.driver,
                        platform->pstate.class->name);
    msg.domain.n_cpus = domain->n_cpus;
    for (uint32_t j = 0; j < domain->n_cpus; j++) {
        msg.domain.cpus[j] = domain->cpus[j];
    }
    msg.domain.n_freqs_khz = domain->table.n;
    for (uint32_t j = 0; j < domain->table.n; j++) {
        msg.domain.freqs_khz[j] = domain->table.freq_khz[j];
    }
    msg.domain.pstate = knobs_pstate(platform->knobs, i);
    msg.domain.emulated = domain->emulated;
    return platform_tell(platform, &msg);
}

static void
tell_domains(struct platform *platform)
{
    for (uint32_t i = 0; i < knobs_n(platform->knobs); i++) {
        (void)platform_tell_domain(platform, i);
    }
}

/* What an earlier broker changed and could not be put back when we started:
 * nobody asks for it, so nobody would take it back. */
static void
put_back_leftovers(struct platform *platform, nsec_t now)
{
    for (uint32_t i = 0; i < knobs_n(platform->knobs); i++) {
        if (outbox_room(&platform->outbox) > 0 &&
            knobs_put_back(platform->knobs, i, now)) {
            (void)platform_tell_domain(platform, i);
        }
    }
}

static void
tell_ready(struct platform *platform)
{
    struct msg msg = {.type = MSG_READY};

    snprintf(msg.ready.note, sizeof msg.ready.note,
             "p-states: %s, %u domains; power: %s; VMs: %s",
             platform->pstate.class ? platform->pstate.class->name : "none",
             knobs_n(platform->knobs),
             platform->power.class ? platform->power.class->name : "none",
             platform->hypervisor_class ? platform->hypervisor_class->name
                                        : "none");
    platform_tell(platform, &msg);
}

void
platform_tell_trouble(struct platform *platform, const char *where,
                      const char *reason)
{
    struct msg msg = {.type = MSG_TROUBLE};

    text_copy_printable(msg.trouble.where, sizeof msg.trouble.where, where);
    text_copy_printable(msg.trouble.reason, sizeof msg.trouble.reason, reason);
    platform_tell(platform, &msg);
}

/* To the engine. */

/* Samples give way: a newer one is on its way. */
static void
on_sample(void *ctx, const struct msg *msg)
{
    struct platform *platform = ctx;

    if (platform->caps && msg->type == MSG_SAMPLE_POWER) {
        const struct power_reading reading = {
            .quality = (enum quality)msg->sample_power.quality,
            .power_mw = msg->sample_power.power_mw};

        caps_note_power(platform->caps, &reading, msg->sample_power.time_ns);
    }
    if (!outbox_flush(&platform->outbox, platform->env.to_engine,
                      platform->env.ctx) ||
        platform->env.to_engine(platform->env.ctx, msg)) {
        platform->stats.n_dropped_samples++;
    }
}

static int
on_news(void *ctx, const struct msg *msg)
{
    return platform_tell(ctx, msg);
}

int
platform_tell(struct platform *platform, const struct msg *msg)
{
    int error = outbox_add(&platform->outbox, msg);
    if (!error) {
        outbox_flush(&platform->outbox, platform->env.to_engine,
                     platform->env.ctx);
    }
    return error;
}
