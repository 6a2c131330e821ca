/* SPDX-License-Identifier: Apache-2.0 */
/* Small readers that the files about scenarios share: lists of groups, moments,
 * and names of guests and CPUs.  Called by scenario.c, scnfault.c and
 * scnexpect.c. */
#include "sim/scnparts.h"

#include <inttypes.h>
#include <libconfig.h>
#include <string.h>

#include "broker/config/confval.h"
#include "sim/scenario.h"

int
scenario_read_list(const struct confscan_at *at, const config_setting_t *list,
                   int max, struct scenario *scenario,
                   int (*read)(const struct confscan_at *,
                               const config_setting_t *, struct scenario *))
{
    int n = config_setting_length(list), error = 0;

    if (!config_setting_is_list(list)) {
        return confval_refuse(at, list, "%s must be a list, ( { ... }, ... )",
                              list->name);
    }
    if (n > max) {
        return confval_refuse(at, list, "%s has %d members, at most %d",
                              list->name, n, max);
    }
    for (int i = 0; i < n && !error; i++) {
        const config_setting_t *member =
            config_setting_get_elem(list, (unsigned)i);

        error = config_setting_is_group(member)
                    ? read(at, member, scenario)
                    : confval_refuse(at, member,
                                     "a member of %s must be a group, { ... }",
                                     list->name);
    }
    return error;
}

int
scenario_find_guest(const struct confscan_at *at,
                    const config_setting_t *setting,
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

int
scenario_find_cpu(const struct confscan_at *at, const config_setting_t *setting,
                  const struct scenario *scenario, uint32_t *out)
{
    int64_t cpu;
    int error = confval_int(at, setting, 0, UINT16_MAX, &cpu);

    if (error) {
        return error;
    }
    if (!config_has_cpu(&scenario->config, (uint32_t)cpu)) {
        return confval_refuse(at, setting, "the host has no CPU %" PRId64, cpu);
    }
    *out = (uint32_t)cpu;
    return 0;
}

int
scenario_read_moment(const struct confscan_at *at,
                     const config_setting_t *setting,
                     const struct scenario *scenario, nsec_t *out)
{
    double last_s = (double)scenario->duration / (double)NSEC_PER_SEC, value;
    int error = confval_real(at, setting, 0, last_s, &value);

    if (!error) {
        *out = (nsec_t)(value * (double)NSEC_PER_SEC + 0.5);
    }
    return error;
}

int
scenario_refuse_unknown(const struct confscan_at *at,
                        const config_setting_t *setting, const char *what,
                        const char *name, const char *const *names)
{
    const char *nearest = confval_nearest(name, names);

    return confval_refuse(at, setting, "no %s \"%.64s\"; %s%s%s", what, name,
                          nearest ? "did you mean \""
                                  : "msim --gauges and --faults list all",
                          nearest ? nearest : "", nearest ? "\"?" : "");
}

int
scenario_read_nothing(const struct confscan_at *at,
                      const config_setting_t *setting, void *object)
{
    return 0;
}
