/* SPDX-License-Identifier: Apache-2.0 */
/* The platform core: the one who opens drivers and hypervisor, and the one who
 * writes.  Observing is sampler.c's, writing with a way back is knobs.c's;
 * here they are put together, guests are started and ended, and every action
 * gets an outcome, which waits in the outbox if the engine is slow.  Called by
 * role_platform.c and msim. */
#include "broker/platform/platform.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/text.h"
#include "broker/config/config.h"
#include "broker/outbox.h"
#include "broker/platform/caps.h"
#include "broker/platform/drivers.h"
#include "broker/platform/knobs.h"
#include "broker/platform/orders.h"
#include "broker/platform/sampler.h"
#include "wire/grant.h"
#include "wire/msg.h"

#define OUTCOMES_MAX 64 /* Actions whose outcomes may wait. */
#define RETRY_NS NSEC_PER_MSEC

struct platform {
    const struct broker_config *config; /* Borrowed. */
    struct platform_env env;
    struct driver pstate, power, cap;
    struct knobs *knobs;                             /* Null: no p-states. */
    struct caps *caps;                               /* Null: no cap. */
    const struct hypervisor_class *hypervisor_class; /* Null: not open. */
    struct hypervisor *hypervisor;
    struct hypervisor_env hypervisor_env;
    struct hypervisor_guest *guests;      /* What hypervisor_env points to. */
    struct hypervisor_guest *next_guests; /* Of what is prepared. */
    struct sampler *sampler;
    struct outbox outbox;
    struct orders orders;
    nsec_t next_sample, last_try;
    struct platform_stats stats;
};

static void open_pstate(struct platform *);
static void open_power(struct platform *);
static void open_cap(struct platform *, nsec_t now);
static void open_hypervisor(struct platform *);
static void start_guests(struct platform *, const struct broker_config *was,
                         nsec_t now);
static void tell_domains(struct platform *);
static void put_back_leftovers(struct platform *, nsec_t now);
static void tell_ready(struct platform *);
static void tell_trouble(struct platform *, const char *where,
                         const char *reason);

static bool is_repeated(struct platform *, const struct msg *);
static void set_pstate(struct platform *, const struct msg_set_pstate *,
                       nsec_t now);
static void release(struct platform *, const struct msg_release *, nsec_t now);
static void set_cap(struct platform *, const struct msg_set_cap *, nsec_t now);
static void run_caps(struct platform *, nsec_t now);
static void control_vm(struct platform *, const struct msg_vm_control *,
                       nsec_t now);
static void tell_outcome(struct platform *, struct msg_outcome *, int error,
                         const char *why);
static void on_sample(void *ctx, const struct msg *);
static int on_news(void *ctx, const struct msg *);

static uint32_t
room_for(const struct broker_config *config)
{
    return config->n_guests > config->guests_max ? config->n_guests
                                                 : config->guests_max;
}

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
    int error = outbox_init(&platform->outbox, OUTCOMES_MAX + config->n_cpus +
                                                   4 * room_for(config) + 16);
    if (error) {
        snprintf(why, why_size, "no memory");
        goto fail;
    }
    open_pstate(platform);
    open_power(platform);
    open_cap(platform, now);
    open_hypervisor(platform);
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
        run_caps(platform, now);
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
platform_on_msg(struct platform *platform, const struct msg *msg, nsec_t now)
{
    assert(grant_find(msg->type, GRANT_ENGINE, GRANT_PLATFORM));
    if (is_repeated(platform, msg)) {
        return;
    }
    if (msg->type == MSG_SET_PSTATE) {
        set_pstate(platform, &msg->set_pstate, now);
    } else if (msg->type == MSG_RELEASE) {
        release(platform, &msg->release, now);
    } else if (msg->type == MSG_SET_CAP) {
        set_cap(platform, &msg->set_cap, now);
    } else {
        assert(msg->type == MSG_VM_CONTROL);
        control_vm(platform, &msg->vm_control, now);
    }
}

void
platform_run(struct platform *platform, nsec_t now)
{
    platform->last_try = now;
    outbox_flush(&platform->outbox, platform->env.to_engine, platform->env.ctx);
    if (platform->caps) {
        run_caps(platform, now);
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
            platform->hypervisor_class->control(platform->hypervisor,
                                                &guest->uuid, VM_OP_END, now,
                                                why, sizeof why);
        }
    }
}

uint32_t
platform_guests_left(const struct platform *platform)
{
    uint32_t n_left = 0;

    for (uint32_t i = 0; i < platform->config->n_guests; i++) {
        const struct guest_config *guest = &platform->config->guests[i];

        if (guest->command[0] &&
            sampler_sees(platform->sampler, &guest->uuid)) {
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
        run_caps(platform, now);
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
        tell_trouble(platform, config->pstate->name, why);
    } else if (error) {
        tell_trouble(platform, config->pstate->name, strerror(-error));
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
        tell_trouble(platform, config->power->name,
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
        tell_trouble(platform, config->cap->name,
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
        tell_trouble(platform, class->name, "no memory");
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
        tell_trouble(platform, class->name, why[0] ? why : strerror(-error));
        return;
    }
    platform->hypervisor_class = class;
}

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
        int error = platform->hypervisor_class->control(
            platform->hypervisor, &guest->uuid, VM_OP_START, now, why,
            sizeof why);
        if (error && error != -EALREADY) {
            tell_trouble(platform, guest->name,
                         why[0] ? why : strerror(-error));
        }
    }
}

static int
tell_domain(struct platform *platform, uint32_t i)
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
    return on_news(platform, &msg);
}

static void
tell_domains(struct platform *platform)
{
    for (uint32_t i = 0; i < knobs_n(platform->knobs); i++) {
        (void)tell_domain(platform, i);
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
            (void)tell_domain(platform, i);
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
    on_news(platform, &msg);
}

static void
tell_trouble(struct platform *platform, const char *where, const char *reason)
{
    struct msg msg = {.type = MSG_TROUBLE};

    text_copy_printable(msg.trouble.where, sizeof msg.trouble.where, where);
    text_copy_printable(msg.trouble.reason, sizeof msg.trouble.reason, reason);
    on_news(platform, &msg);
}

/* Actions. */

static struct msg_outcome
begin_outcome(const struct platform *platform, uint64_t command, uint64_t cause,
              nsec_t now)
{
    struct msg_outcome outcome = {
        .command = command,
        .cause = cause,
        .received_ns = platform->env.clock ? platform->env.clock() : now,
    };

    return outcome;
}

static void
put_steps(struct msg_outcome *outcome, const struct knob_steps *steps)
{
    outcome->pstate = steps->pstate;
    outcome->checked_ns = steps->checked;
    outcome->written_ns = steps->written;
    outcome->read_ns = steps->read;
}

/* What comes again is answered again, and not done again. */
static bool
is_repeated(struct platform *platform, const struct msg *action)
{
    struct msg msg = {.type = MSG_OUTCOME};
    enum orders_verdict verdict =
        orders_take(&platform->orders, action, &msg.outcome);

    if (verdict == ORDERS_NEW) {
        return false;
    }
    platform->stats.n_repeated++;
    int error = verdict == ORDERS_ANSWERED ? on_news(platform, &msg) : 0;
    assert(!error);
    return true;
}

static void
set_pstate(struct platform *platform, const struct msg_set_pstate *action,
           nsec_t now)
{
    char why[CONFIG_WHY_SIZE] = "no driver for p-states is open";
    struct knob_steps steps = {0};
    int error = -ENODEV;
    struct msg_outcome outcome =
        begin_outcome(platform, action->command, action->cause, now);

    if (platform->knobs) {
        error =
            knobs_set(platform->knobs, (uint32_t)action->domain,
                      (uint32_t)action->pstate, now, &steps, why, sizeof why);
    }
    put_steps(&outcome, &steps);
    tell_outcome(platform, &outcome, error, why);
}

static void
release(struct platform *platform, const struct msg_release *action, nsec_t now)
{
    char why[CONFIG_WHY_SIZE] = "no driver for p-states is open";
    struct knob_steps steps = {0};
    int error = -ENODEV;
    struct msg_outcome outcome =
        begin_outcome(platform, action->command, action->cause, now);

    if (platform->knobs) {
        error = knobs_release(platform->knobs, (uint32_t)action->domain, now,
                              &steps, why, sizeof why);
    }
    put_steps(&outcome, &steps);
    tell_outcome(platform, &outcome, error, why);
}

/* Its outcome comes when it is known, unless it is refused. */
static void
set_cap(struct platform *platform, const struct msg_set_cap *order, nsec_t now)
{
    char why[CONFIG_WHY_SIZE] = "no driver for a power cap is open";
    struct msg_outcome outcome =
        begin_outcome(platform, order->command, order->cause, now);
    int error = -ENODEV;

    if (platform->caps) {
        error = caps_order(platform->caps, order, now, why, sizeof why);
    }
    if (error) {
        tell_outcome(platform, &outcome, error, why);
    }
}

/* What is known of the cap, then what came of an order. */
static void
run_caps(struct platform *platform, nsec_t now)
{
    struct msg msg = {.type = MSG_CAP};
    struct caps_outcome came;
    struct power_cap cap;

    caps_run(platform->caps, now);
    if (caps_take_news(platform->caps, &cap)) {
        msg.cap.phase = cap.phase;
        msg.cap.mw = cap.mw;
        msg.cap.read_mw = cap.read_mw;
        msg.cap.known = cap.known;
        msg.cap.safe = cap.safe;
        msg.cap.term = cap.term;
        msg.cap.order = cap.order;
        msg.cap.command = cap.command;
        msg.cap.until_ns = cap.until;
        msg.cap.low_mw = cap.low_mw;
        msg.cap.high_mw = cap.high_mw;
        text_copy_printable(msg.cap.driver, sizeof msg.cap.driver,
                            platform->cap.class->name);
        text_copy_printable(msg.cap.reason, sizeof msg.cap.reason, cap.reason);
        if (on_news(platform, &msg)) {
            caps_untake_news(platform->caps);
            return;
        }
    }
    if (platform_has_room(platform) &&
        caps_take_outcome(platform->caps, &came)) {
        struct msg_outcome outcome = {.command = came.command,
                                      .cause = came.cause,
                                      .received_ns = came.received,
                                      .checked_ns = came.checked,
                                      .written_ns = came.written,
                                      .read_ns = came.read};

        tell_outcome(platform, &outcome, came.error, came.reason);
    }
}

static void
control_vm(struct platform *platform, const struct msg_vm_control *action,
           nsec_t now)
{
    char why[CONFIG_WHY_SIZE] = "no hypervisor is open";
    int error = -ENODEV;
    struct msg_outcome outcome =
        begin_outcome(platform, action->command, action->cause, now);

    if (platform->hypervisor_class &&
        !config_guest(platform->config, &action->vm)) {
        error = -EPERM;
        text_copy(why, sizeof why, "the configuration names no such VM");
    } else if (platform->hypervisor_class && now > action->expires_ns) {
        error = -ETIME;
        snprintf(why, sizeof why, "the order expired %" PRId64 " ms ago",
                 (now - action->expires_ns) / NSEC_PER_MSEC);
    } else if (platform->hypervisor_class) {
        outcome.checked_ns = outcome.received_ns;
        why[0] = '\0';
        error = platform->hypervisor_class->control(
            platform->hypervisor, &action->vm, (enum vm_op)action->op, now, why,
            sizeof why);
    }
    tell_outcome(platform, &outcome, error, why);
}

/* The caller made sure that there is room. */
static void
tell_outcome(struct platform *platform, struct msg_outcome *outcome, int error,
             const char *why)
{
    struct msg msg = {.type = MSG_OUTCOME};

    if (error) {
        outcome->error = (uint64_t)-error;
        text_copy_printable(outcome->reason, sizeof outcome->reason,
                            why[0] ? why : strerror(-error));
    }
    msg.outcome = *outcome;
    orders_settle(&platform->orders, outcome);
    error = on_news(platform, &msg);
    assert(!error);
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
    struct platform *platform = ctx;

    int error = outbox_add(&platform->outbox, msg);
    if (!error) {
        outbox_flush(&platform->outbox, platform->env.to_engine,
                     platform->env.ctx);
    }
    return error;
}
