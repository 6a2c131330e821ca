/* SPDX-License-Identifier: Apache-2.0 */
/* Reads what a scenario does to its host and what it expects of it, against the
 * tables of fault.c and gauge.c.  Called by scenario.c. */
#include <inttypes.h>
#include <libconfig.h>
#include <stdio.h>
#include <string.h>

#include "base/text.h"
#include "broker/confval.h"
#include "sim/fault.h"
#include "sim/gauge.h"
#include "sim/scenario.h"
#include "sim/scnparts.h"

#define NAMES_MAX 64

/* What faults and expectations are about. */

static int
find_guest(const struct confval *at, const config_setting_t *setting,
           const struct scenario *scenario, uint32_t *out)
{
    const char *names[SCENARIO_GUESTS_MAX + 1] = {NULL}, *text, *nearest;
    int error = confval_text(at, setting, &text);

    if (error) {
        return error;
    }
    for (uint32_t i = 0; i < scenario->n_guests; i++) {
        names[i] = scenario->guests[i].name;
        if (!strcmp(names[i], text)) {
            *out = i;
            return 0;
        }
    }
    nearest = confval_nearest(text, names);
    return confval_refuse(at, setting, "no guest \"%.64s\"%s%s%s", text,
                          nearest ? "; did you mean \"" : "",
                          nearest ? nearest : "", nearest ? "\"?" : "");
}

static int
find_cpu(const struct confval *at, const config_setting_t *setting,
         const struct scenario *scenario, uint32_t *out)
{
    const struct broker_config *config = &scenario->config;
    int64_t cpu;
    int error = confval_int(at, setting, 0, UINT16_MAX, &cpu);

    for (uint32_t i = 0; !error && i < config->n_cpus; i++) {
        if (config->cpus[i] == (uint32_t)cpu) {
            *out = (uint32_t)cpu;
            return 0;
        }
    }
    return error ? error
                 : confval_refuse(at, setting, "the host has no CPU %" PRId64,
                                  cpu);
}

/* A moment, no later than the scenario's end. */
static int
read_moment(const struct confval *at, const config_setting_t *setting,
            const struct scenario *scenario, nsec_t *out)
{
    double last_s = (double)scenario->duration / (double)NSEC_PER_SEC, value;
    int error = confval_real(at, setting, 0, last_s, &value);

    if (!error) {
        *out = (nsec_t)(value * (double)NSEC_PER_SEC + 0.5);
    }
    return error;
}

static int
refuse_unknown(const struct confval *at, const config_setting_t *setting,
               const char *what, const char *name, const char *const *names)
{
    const char *nearest = confval_nearest(name, names);

    return confval_refuse(at, setting, "no %s \"%.64s\"%s%s%s", what, name,
                          nearest ? "; did you mean \"" : "; see msim(1)",
                          nearest ? nearest : "", nearest ? "\"?" : "");
}

/* Faults. */

static const struct fault *
find_fault(const char *name)
{
    for (const struct fault *fault = fault_table; fault->name; fault++) {
        if (!strcmp(fault->name, name)) {
            return fault;
        }
    }
    return NULL;
}

/* Reads one member; 'given' collects which of FAULT_... there were. */
static int
read_fault_member(const struct confval *at, const config_setting_t *member,
                  const struct scenario *scenario, struct scenario_fault *out,
                  unsigned *given)
{
    static const char *const names[] = {"at_s", "for_s", "fault", "guest",
                                        "cpu",  "value", "text",  NULL};
    const char *text;
    int error;

    if (!strcmp(member->name, "at_s")) {
        return read_moment(at, member, scenario, &out->at);
    } else if (!strcmp(member->name, "fault")) {
        return 0;
    } else if (!strcmp(member->name, "for_s")) {
        *given |= FAULT_FOR;
        return read_moment(at, member, scenario, &out->until);
    } else if (!strcmp(member->name, "guest")) {
        *given |= FAULT_GUEST;
        return find_guest(at, member, scenario, &out->guest);
    } else if (!strcmp(member->name, "cpu")) {
        *given |= FAULT_CPU;
        return find_cpu(at, member, scenario, &out->cpu);
    } else if (!strcmp(member->name, "value")) {
        *given |= FAULT_VALUE;
        return confval_real(at, member, out->fault->low, out->fault->high,
                            &out->value);
    } else if (!strcmp(member->name, "text")) {
        *given |= FAULT_TEXT;
        error = confval_text(at, member, &text);
        return error || !text_copy(out->text, sizeof out->text, text)
                   ? error
                   : confval_refuse(at, member, "text is too long");
    }
    return refuse_unknown(at, member, "setting of a fault", member->name,
                          names);
}

static int
check_given(const struct confval *at, const config_setting_t *group,
            const struct fault *fault, unsigned given)
{
    static const char *const names[] = {"guest", "cpu", "value", "text",
                                        "for_s"};

    for (size_t i = 0; i < 5; i++) {
        bool needed = fault->needs >> i & 1, has = given >> i & 1;

        if (needed && !has && 1u << i != FAULT_FOR) {
            return confval_refuse(at, group, "%s needs %s", fault->name,
                                  names[i]);
        }
        if (has && !needed) {
            return confval_refuse(at, group, "%s takes no %s", fault->name,
                                  names[i]);
        }
    }
    return 0;
}

static int
read_fault(const struct confval *at, const config_setting_t *group,
           struct scenario *scenario)
{
    struct scenario_fault *out = &scenario->faults[scenario->n_faults];
    const config_setting_t *name = config_setting_get_member(group, "fault");
    const char *names[NAMES_MAX + 1] = {NULL}, *text;
    unsigned given = 0;
    int error;

    if (!name || !config_setting_get_member(group, "at_s")) {
        return confval_refuse(at, group,
                              "a fault must have \"fault\" and "
                              "\"at_s\"");
    }
    error = confval_text(at, name, &text);
    if (error) {
        return error;
    }
    *out = (struct scenario_fault){.fault = find_fault(text),
                                   .until = NSEC_NEVER,
                                   .line = config_setting_source_line(group)};
    if (!out->fault) {
        for (size_t i = 0; fault_table[i].name && i < NAMES_MAX; i++) {
            names[i] = fault_table[i].name;
        }
        return refuse_unknown(at, name, "fault", text, names);
    }
    for (int i = 0; i < config_setting_length(group) && !error; i++) {
        error =
            read_fault_member(at, config_setting_get_elem(group, (unsigned)i),
                              scenario, out, &given);
    }
    error = error ? error : check_given(at, group, out->fault, given);
    if (!error && out->until != NSEC_NEVER) {
        out->until += out->at;
    }
    scenario->n_faults++;
    return error;
}

int
scenario_read_faults(const struct confval *at, const config_setting_t *setting,
                     struct scenario *scenario)
{
    return scenario_read_list(at, setting, SCENARIO_FAULTS_MAX, scenario,
                              read_fault);
}

/* Expectations. */

static int
read_window(const struct confval *at, const config_setting_t *setting,
            const struct scenario *scenario, struct scenario_expect *out)
{
    int error;

    if (!strcmp(setting->name, "at_s")) {
        error = read_moment(at, setting, scenario, &out->from);
        out->to = out->from;
        return error;
    }
    out->when =
        !strcmp(setting->name, "during_s") ? SCENARIO_DURING : SCENARIO_WITHIN;
    if ((!config_setting_is_array(setting) &&
         !config_setting_is_list(setting)) ||
        config_setting_length(setting) != 2) {
        return confval_refuse(at, setting, "%s must be two times, [2.0, 5.0]",
                              setting->name);
    }
    error = read_moment(at, config_setting_get_elem(setting, 0), scenario,
                        &out->from);
    error = error ? error
                  : read_moment(at, config_setting_get_elem(setting, 1),
                                scenario, &out->to);
    if (!error && out->from > out->to) {
        error = confval_refuse(at, setting, "%s ends before it begins",
                               setting->name);
    }
    return error;
}

/* A number, or a range [low, high]. */
static int
read_range(const struct confval *at, const config_setting_t *setting,
           struct scenario_expect *out)
{
    bool list =
        config_setting_is_array(setting) || config_setting_is_list(setting);
    int error;

    if (!list) {
        error = confval_real(at, setting, -1e18, 1e18, &out->low);
        out->high = out->low;
        return error;
    }
    if (config_setting_length(setting) != 2) {
        return confval_refuse(at, setting,
                              "%s must be a number or a range, [1, 3]",
                              setting->name);
    }
    error = confval_real(at, config_setting_get_elem(setting, 0), -1e18, 1e18,
                         &out->low);
    error = error ? error
                  : confval_real(at, config_setting_get_elem(setting, 1), -1e18,
                                 1e18, &out->high);
    if (!error && out->low > out->high) {
        error = confval_refuse(at, setting, "%s = [%g, %g] is empty",
                               setting->name, out->low, out->high);
    }
    return error;
}

static int
read_gauge(const struct confval *at, const config_setting_t *setting,
           struct scenario_expect *out)
{
    const char *names[NAMES_MAX + 1] = {"at_s", "during_s", "within_s", "cpu",
                                        "guest"};
    const struct gauge *gauge = gauge_table;
    const char *text;
    int error;

    for (size_t i = 5; gauge->name && strcmp(gauge->name, setting->name);
         i++, gauge++) {
        names[i < NAMES_MAX ? i : NAMES_MAX - 1] = gauge->name;
    }
    if (!gauge->name) {
        return refuse_unknown(at, setting, "gauge", setting->name, names);
    }
    if (out->gauge) {
        return confval_refuse(at, setting,
                              "one gauge per expectation: %s or %s",
                              out->gauge->name, gauge->name);
    }
    out->gauge = gauge;
    if (gauge->number) {
        return read_range(at, setting, out);
    }
    error = confval_text(at, setting, &text);
    return error || !text_copy(out->text, sizeof out->text, text)
               ? error
               : confval_refuse(at, setting, "%s is too long", gauge->name);
}

static int
read_subject(const struct confval *at, const config_setting_t *group,
             const struct scenario *scenario, struct scenario_expect *out)
{
    const config_setting_t *cpu = config_setting_get_member(group, "cpu");
    const config_setting_t *guest = config_setting_get_member(group, "guest");
    enum gauge_of of = out->gauge->of;

    if (of == GAUGE_OF_CPU && cpu && !guest) {
        return find_cpu(at, cpu, scenario, &out->index);
    }
    if (of == GAUGE_OF_GUEST && guest && !cpu) {
        return find_guest(at, guest, scenario, &out->index);
    }
    if (of == GAUGE_OF_HOST && !guest && !cpu) {
        return 0;
    }
    return confval_refuse(at, group, "%s is of %s", out->gauge->name,
                          of == GAUGE_OF_CPU     ? "a cpu: say which"
                          : of == GAUGE_OF_GUEST ? "a guest: say which"
                                                 : "the host: name no other");
}

static int
read_expect(const struct confval *at, const config_setting_t *group,
            struct scenario *scenario)
{
    struct scenario_expect *out = &scenario->expects[scenario->n_expects];
    int n_windows = 0, error = 0;

    *out = (struct scenario_expect){.from = scenario->duration,
                                    .to = scenario->duration,
                                    .line = config_setting_source_line(group)};
    for (int i = 0; i < config_setting_length(group) && !error; i++) {
        const config_setting_t *member =
            config_setting_get_elem(group, (unsigned)i);
        const char *name = member->name;

        if (!strcmp(name, "at_s") || !strcmp(name, "during_s") ||
            !strcmp(name, "within_s")) {
            n_windows++;
            error = read_window(at, member, scenario, out);
        } else if (strcmp(name, "cpu") && strcmp(name, "guest")) {
            error = read_gauge(at, member, out);
        }
    }
    if (!error && (!out->gauge || n_windows > 1)) {
        error = confval_refuse(at, group,
                               "an expectation has one gauge, and at most one "
                               "of at_s, during_s, within_s");
    }
    scenario->n_expects++;
    return error ? error : read_subject(at, group, scenario, out);
}

int
scenario_read_expects(const struct confval *at, const config_setting_t *setting,
                      struct scenario *scenario)
{
    if (config_setting_length(setting) == 0) {
        return confval_refuse(at, setting,
                              "a scenario without expectations shows nothing");
    }
    return scenario_read_list(at, setting, SCENARIO_EXPECTS_MAX, scenario,
                              read_expect);
}
