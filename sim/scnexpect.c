/* SPDX-License-Identifier: Apache-2.0 */
/* Reads what a scenario expects, against the table of gauge.c.  Called by
 * scenario.c. */
#include <libconfig.h>
#include <string.h>

#include "base/text.h"
#include "broker/config/confval.h"
#include "sim/gauge.h"
#include "sim/scenario.h"
#include "sim/scnparts.h"

#define NAMES_MAX 64

static int
read_window(const struct confscan_at *at, const config_setting_t *setting,
            const struct scenario *scenario, struct scenario_expect *out)
{
    int error;

    if (!strcmp(setting->name, "at_s")) {
        error = scenario_read_moment(at, setting, scenario, &out->from);
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
    error = scenario_read_moment(at, config_setting_get_elem(setting, 0),
                                 scenario, &out->from);
    error = error
                ? error
                : scenario_read_moment(at, config_setting_get_elem(setting, 1),
                                       scenario, &out->to);
    if (!error && out->from > out->to) {
        error = confval_refuse(at, setting, "%s ends before it begins",
                               setting->name);
    }
    return error;
}

/* A number, or a range [low, high]. */
static int
read_range(const struct confscan_at *at, const config_setting_t *setting,
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
read_gauge(const struct confscan_at *at, const config_setting_t *setting,
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
        return scenario_refuse_unknown(at, setting, "gauge", setting->name,
                                       names);
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
read_subject(const struct confscan_at *at, const config_setting_t *group,
             const struct scenario *scenario, struct scenario_expect *out)
{
    const config_setting_t *cpu = config_setting_get_member(group, "cpu");
    const config_setting_t *guest = config_setting_get_member(group, "guest");
    enum gauge_of of = out->gauge->of;

    if (of == GAUGE_OF_CPU && cpu && !guest) {
        return scenario_find_cpu(at, cpu, scenario, &out->index);
    }
    if (of == GAUGE_OF_GUEST && guest && !cpu) {
        return scenario_find_guest(at, guest, scenario, &out->index);
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
read_expect(const struct confscan_at *at, const config_setting_t *group,
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
scenario_read_expects(const struct confscan_at *at,
                      const config_setting_t *setting,
                      struct scenario *scenario)
{
    if (config_setting_length(setting) == 0) {
        return confval_refuse(at, setting,
                              "a scenario without expectations shows nothing");
    }
    return scenario_read_list(at, setting, SCENARIO_EXPECTS_MAX, scenario,
                              read_expect);
}
