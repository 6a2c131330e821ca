/* SPDX-License-Identifier: Apache-2.0 */
/* Reads scenario files: the root, the guests and their load.  Relies on
 * scnhost.c for the host's configuration, on scnfault.c and scnexpect.c for
 * faults and expectations, and on broker/confval for typed values whose
 * refusals name their line.  Called by msim.c. */
#include "sim/scenario.h"

#include <errno.h>
#include <inttypes.h>
#include <libconfig.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/text.h"
#include "base/confscan.h"
#include "broker/config/confval.h"
#include "sim/scnparts.h"

#define RATE_HZ_MAX 100000
#define SERVICE_US_MAX 10000000

static int parse_root(const struct confscan_at *, const config_setting_t *root,
                      struct scenario *);
static int read_about(const struct confscan_at *, const config_setting_t *,
                      void *scenario);
static int read_guests(const struct confscan_at *, const config_setting_t *,
                       void *scenario);
static int read_load(const struct confscan_at *, const config_setting_t *,
                     void *guest);
static int read_arrivals(const struct confscan_at *, const config_setting_t *,
                         void *guest);
static int read_service(const struct confscan_at *, const config_setting_t *,
                        void *guest);

#define AT(member) .offset = offsetof(struct scenario, member)
#define IN(member) .offset = offsetof(struct scenario_guest, member)
#define STEP(member) .offset = offsetof(struct machine_step, member)

/* 'faults' and 'expect' name guests and CPUs, so they are read last. */
static const struct field root_fields[] = {
    {"about", FIELD_CUSTOM, .read = read_about},
    {"seed", FIELD_U64, AT(seed), .max = INT64_MAX, .scale = 1},
    {"duration_s", FIELD_S, AT(duration), .max = SCENARIO_DURATION_MAX_S},
    {"host", FIELD_CUSTOM, .read = scenario_read_nothing},
    {"guests", FIELD_CUSTOM, .read = read_guests},
    {"faults", FIELD_CUSTOM, .read = scenario_read_nothing},
    {"chaos", FIELD_CUSTOM, .read = scenario_read_nothing},
    {"expect", FIELD_CUSTOM, .read = scenario_read_nothing},
    {NULL},
};

static const struct field guest_fields[] = {
    {"name", FIELD_NAME, IN(name)},
    {"cpu", FIELD_U32, IN(cpu), .max = UINT16_MAX},
    {"load", FIELD_CUSTOM, .read = read_load},
    {"service_us", FIELD_U64, IN(load.service_ns), .min = 1,
     .max = SERVICE_US_MAX, .scale = 1000},
    {"arrivals", FIELD_CUSTOM, .read = read_arrivals},
    {"service", FIELD_CUSTOM, .read = read_service},
    {"slow_every", FIELD_U32, IN(load.slow_every), .min = 1, .max = 1000000},
    {"slow_us", FIELD_U64, IN(load.slow_ns), .min = 1, .max = SERVICE_US_MAX,
     .scale = 1000},
    {"threshold_us", FIELD_U64, IN(sla.threshold_us), .min = 1,
     .max = SERVICE_US_MAX, .scale = 1},
    {"tolerated_permille", FIELD_U32, IN(sla.tolerated_permille), .max = 1000},
    {"epoch_ms", FIELD_MS, IN(sla.epoch_ns), .min = 10, .max = 60000},
    {"agent", FIELD_BOOL, IN(agent)},
    {"claims", FIELD_NAME, IN(claims)},
    {"clock_ahead_ms", FIELD_MS, IN(clock_ahead_ns), .min = -900000,
     .max = 900000},
    {"delay_us", FIELD_U64, IN(delay_ns), .max = 60000000, .scale = 1000},
    {NULL},
};

static const struct field step_fields[] = {
    {"at_s", FIELD_S, STEP(at), .max = SCENARIO_DURATION_MAX_S},
    {"rate", FIELD_REAL, STEP(rate_hz), .max = RATE_HZ_MAX},
    {NULL},
};

int
scenario_parse(struct scenario *out, const char *text, const char *path,
               char *why, size_t why_size)
{
    struct confscan_at at = {.path = path, .why = why, .why_size = why_size};
    struct scenario *scenario = calloc(1, sizeof *scenario);
    config_t tree;
    int error;

    if (!scenario) {
        snprintf(why, why_size, "%s: no memory", path);
        return -ENOMEM;
    }
    error = confscan_read(&at, text, &tree);
    if (!error) {
        error = parse_root(&at, config_root_setting(&tree), scenario);
        config_destroy(&tree);
    }
    if (error) {
        config_fini(&scenario->config);
    } else {
        *out = *scenario;
    }
    free(scenario);
    return error;
}

void
scenario_fini(struct scenario *scenario)
{
    config_fini(&scenario->config);
}

static int
parse_root(const struct confscan_at *at, const config_setting_t *root,
           struct scenario *scenario)
{
    static const char *const needed[] = {"about", "duration_s", "host",
                                         "guests", "expect"};
    const config_setting_t *faults = config_setting_get_member(root, "faults");
    const config_setting_t *chaos = config_setting_get_member(root, "chaos");
    int error;

    scenario->seed = 1;
    error = confval_group(at, root, root_fields, scenario);
    for (size_t i = 0; !error && i < sizeof needed / sizeof *needed; i++) {
        if (!config_setting_get_member(root, needed[i])) {
            error = confscan_refuse(at, 1, "a scenario must have \"%s\"",
                                        needed[i]);
        }
    }
    error = error ? error : scenario_make_config(at, root, scenario);
    if (!error && faults) {
        error = scenario_read_faults(at, faults, scenario);
    }
    if (!error && chaos) {
        error = scenario_read_chaos(at, chaos, scenario);
    }
    return error ? error
                 : scenario_read_expects(
                       at, config_setting_get_member(root, "expect"), scenario);
}

static int
read_about(const struct confscan_at *at, const config_setting_t *setting,
           void *object)
{
    struct scenario *scenario = object;
    const char *text;
    int error = confval_text(at, setting, &text);

    if (!error && text_copy(scenario->about, sizeof scenario->about, text)) {
        error = confval_refuse(at, setting, "about is longer than %zu bytes",
                               sizeof scenario->about - 1);
    }
    return error;
}

/* Guests. */

/* A stream of its own for every guest, whoever the others are. */
static uint64_t
seed_of_name(const char *name)
{
    uint64_t hash = UINT64_C(0xcbf29ce484222325); /* FNV-1a. */

    for (; *name; name++) {
        hash = (hash ^ (uint8_t)*name) * UINT64_C(0x100000001b3);
    }
    return hash;
}

static int
read_guest(const struct confscan_at *at, const config_setting_t *group,
           struct scenario *scenario)
{
    struct scenario_guest *guest = &scenario->guests[scenario->n_guests];
    int error;

    *guest = (struct scenario_guest){
        .agent = true,
        .sla = {.threshold_us = SLA_THRESHOLD_US_DEFAULT,
                .epoch_ns = SLA_EPOCH_NS_DEFAULT,
                .tolerated_permille = SLA_TOLERATED_PERMILLE_DEFAULT},
        .load = {.service_ns = 1000000},
        .delay_ns = 50000,
    };
    error = confval_group(at, group, guest_fields, guest);
    if (!error &&
        (!guest->name[0] || !config_setting_get_member(group, "cpu"))) {
        error = confval_refuse(at, group, "a guest must have a name and a cpu");
    }
    if (!error && !guest->load.slow_every != !guest->load.slow_ns) {
        error = confval_refuse(at, group, "slow_every and slow_us go together");
    }
    guest->load.seed = seed_of_name(guest->name);
    scenario->n_guests++;
    return error;
}

static int
read_guests(const struct confscan_at *at, const config_setting_t *setting,
            void *object)
{
    return scenario_read_list(at, setting, SCENARIO_GUESTS_MAX, object,
                              read_guest);
}

static int
read_load(const struct confscan_at *at, const config_setting_t *list, void *object)
{
    struct machine_load *load = &((struct scenario_guest *)object)->load;
    int n = config_setting_length(list);

    if (!config_setting_is_list(list) || n < 1 || n > MACHINE_STEPS_MAX) {
        return confval_refuse(at, list,
                              "load must be a list of 1 to %d steps, "
                              "( { at_s = 0; rate = 100; }, ... )",
                              MACHINE_STEPS_MAX);
    }
    for (int i = 0; i < n; i++) {
        const config_setting_t *group =
            config_setting_get_elem(list, (unsigned)i);
        struct machine_step *step = &load->steps[i];
        int error = confval_group(at, group, step_fields, step);

        if (error) {
            return error;
        }
        if (i > 0 && step->at <= step[-1].at) {
            return confval_refuse(at, group,
                                  "a step of load must come after the last");
        }
    }
    load->n_steps = (uint32_t)n;
    return 0;
}

/* One of two words. */
static int
read_word(const struct confscan_at *at, const config_setting_t *setting,
          const char *yes, const char *no, bool *out)
{
    const char *text;
    int error = confval_text(at, setting, &text);

    if (error) {
        return error;
    }
    if (strcmp(text, yes) && strcmp(text, no)) {
        return confval_refuse(at, setting, "%s must be \"%s\" or \"%s\"",
                              setting->name, yes, no);
    }
    *out = !strcmp(text, yes);
    return 0;
}

static int
read_arrivals(const struct confscan_at *at, const config_setting_t *setting,
              void *object)
{
    struct scenario_guest *guest = object;

    return read_word(at, setting, "regular", "poisson", &guest->load.regular);
}

static int
read_service(const struct confscan_at *at, const config_setting_t *setting,
             void *object)
{
    struct scenario_guest *guest = object;

    return read_word(at, setting, "fixed", "exponential", &guest->load.fixed);
}
