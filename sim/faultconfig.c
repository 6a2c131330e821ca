/* SPDX-License-Identifier: Apache-2.0 */
/* The broker reads another configuration, as its parent has its processes do:
 * checked, prepared by all or refused, then taken in the order of
 * docs/decisions/0017.  Called through the table of fault.c. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/text.h"
#include "broker/back/back.h"
#include "broker/config/confchange.h"
#include "broker/engine/engine.h"
#include "broker/platform/platform.h"
#include "policy/policy.h"
#include "sim/faultparts.h"
#include "sim/scenario.h"
#include "sim/trace.h"
#include "sim/world.h"

#define WORDS_MAX 8

/* As the scenario's has it. */
static int
add_guest(struct broker_config *to, const struct broker_config *from,
          const char *name)
{
    for (uint32_t i = 0; i < from->n_guests; i++) {
        if (!strcmp(from->guests[i].name, name) &&
            !config_guest(to, &from->guests[i].uuid)) {
            to->guests[to->n_guests++] = from->guests[i];
            return 0;
        }
    }
    return -ENOENT;
}

static int
remove_guest(struct broker_config *from, const char *name)
{
    for (uint32_t i = 0; i < from->n_guests; i++) {
        if (!strcmp(from->guests[i].name, name)) {
            memmove(&from->guests[i], &from->guests[i + 1],
                    (--from->n_guests - i) * sizeof from->guests[0]);
            return 0;
        }
    }
    return -ENOENT;
}

static int
change(struct broker_config *config, const struct broker_config *all,
       const char *word)
{
    const char *value = strchr(word, '=');
    size_t length = value ? (size_t)(value - word) : 0;
    uint64_t number = 0;

    if (*word == '+' || *word == '-') {
        return *word == '+' ? add_guest(config, all, word + 1)
                            : remove_guest(config, word + 1);
    }
    if (!value) {
        return -EINVAL;
    }
    (void)text_to_u64(++value, &number);
    if (!strncmp(word, "policy", length)) {
        config->policy = policy_find(value);
        if (config->policy) {
            options_init(&config->policy_options, config->policy->options);
        }
        return config->policy ? 0 : -ENOENT;
    }
    if (!strncmp(word, "epoch_ms", length)) {
        config->epoch_ns = (nsec_t)number * NSEC_PER_MSEC;
    } else if (!strncmp(word, "max_w", length)) {
        config->budget_max_mw = number * 1000;
    } else if (!strncmp(word, "safe_w", length)) {
        config->budget_safe_mw = number * 1000;
    } else if (!strncmp(word, "state_dir", length)) {
        text_copy(config->state_dir, sizeof config->state_dir, value);
    } else {
        return -EINVAL;
    }
    return 0;
}

static int
make_next(const struct world *world, const char *text,
          struct broker_config *out)
{
    const struct broker_config *all = &world->scenario->config;
    char copy[SCENARIO_TEXT_SIZE], *rest = copy, *word;
    int error = 0;

    *out = world->config;
    out->guests = calloc(all->n_guests + 1, sizeof *out->guests);
    if (!out->guests) {
        return -ENOMEM;
    }
    memcpy(out->guests, world->config.guests,
           out->n_guests * sizeof *out->guests);
    text_copy(copy, sizeof copy, text);
    while (!error && (word = strtok_r(rest, " ", &rest))) {
        error = change(out, all, word);
    }
    return error;
}

static int
prepare(struct world *world, const struct broker_config *next, char *why,
        size_t why_size)
{
    int error =
        confchange_check(&world->config, next, "", "msim", why, why_size);

    if (!error) {
        error = engine_prepare(world->engine, next, why, why_size);
    }
    if (!error) {
        error = platform_prepare(world->platform, next, why, why_size);
    }
    if (!error) {
        error = back_prepare(world->back, next);
    }
    if (error) {
        engine_unprepare(world->engine);
        platform_unprepare(world->platform);
        back_unprepare(world->back);
    }
    return error;
}

void
fault_reload(struct world *world, const struct scenario_fault *fault, bool on)
{
    struct broker_config next = {.n_guests = 0}, was = world->config;
    char why[CONFIG_WHY_SIZE] = "it makes no sense";

    if (!world->engine || !world->platform || !world->back) {
        return;
    }
    int error = make_next(world, fault->text, &next);
    if (!error) {
        error = prepare(world, &next, why, sizeof why);
    }
    if (error) {
        trace_add(world->trace, "msim", "reload refused: %s", why);
        engine_config_refused(world->engine, why, world->now);
        config_fini(&next);
        return;
    }
    world->config = next;
    error = platform_reconfigure(world->platform, &was, world->now, why,
                                 sizeof why);
    if (!error) {
        back_reconfigure(world->back, &world->config);
        engine_reconfigure(world->engine, &was, "msim", world->now);
        error = world_open_back(world);
    }
    if (error) {
        world_break(world, "a reload that was prepared failed: %s", why);
    }
    trace_add(world->trace, "msim", "reloaded: %s", fault->text);
    config_fini(&was);
}
