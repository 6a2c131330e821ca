/* SPDX-License-Identifier: Apache-2.0 */
/* Reads what a scenario does to its host, against the table of fault.c: the
 * list "faults", and the group "chaos".  Called by scenario.c. */
#include <libconfig.h>
#include <stddef.h>
#include <string.h>

#include "base/text.h"
#include "broker/config/confval.h"
#include "sim/fault.h"
#include "sim/scenario.h"
#include "sim/scnparts.h"

#define NAMES_MAX 64

static int
refuse_fault(const struct confscan_at *at, const config_setting_t *setting,
             const char *name)
{
    const char *names[NAMES_MAX + 1] = {NULL};

    for (size_t i = 0; fault_table[i].name && i < NAMES_MAX; i++) {
        names[i] = fault_table[i].name;
    }
    return scenario_refuse_unknown(at, setting, "fault", name, names);
}

/* Reads one member; 'given' collects which of FAULT_... there were. */
static int
read_fault_member(const struct confscan_at *at, const config_setting_t *member,
                  const struct scenario *scenario, struct scenario_fault *out,
                  unsigned *given)
{
    static const char *const names[] = {"at_s", "for_s", "fault", "guest",
                                        "cpu",  "value", "text",  NULL};
    const char *text;
    int error;

    if (!strcmp(member->name, "at_s")) {
        return scenario_read_moment(at, member, scenario, &out->at);
    } else if (!strcmp(member->name, "fault")) {
        return 0;
    } else if (!strcmp(member->name, "for_s")) {
        *given |= FAULT_FOR;
        return scenario_read_moment(at, member, scenario, &out->until);
    } else if (!strcmp(member->name, "guest")) {
        *given |= FAULT_GUEST;
        return scenario_find_guest(at, member, scenario, &out->guest);
    } else if (!strcmp(member->name, "cpu")) {
        *given |= FAULT_CPU;
        return scenario_find_cpu(at, member, scenario, &out->cpu);
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
    return scenario_refuse_unknown(at, member, "setting of a fault",
                                   member->name, names);
}

static int
check_given(const struct confscan_at *at, const config_setting_t *group,
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
read_fault(const struct confscan_at *at, const config_setting_t *group,
           struct scenario *scenario)
{
    struct scenario_fault *out = &scenario->faults[scenario->n_faults];
    const config_setting_t *name = config_setting_get_member(group, "fault");
    const char *text;
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
    *out = (struct scenario_fault){.fault = fault_find(text),
                                   .until = NSEC_NEVER,
                                   .line = config_setting_source_line(group)};
    if (!out->fault) {
        return refuse_fault(at, name, text);
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
scenario_read_faults(const struct confscan_at *at,
                     const config_setting_t *setting, struct scenario *scenario)
{
    return scenario_read_list(at, setting, SCENARIO_FAULTS_MAX, scenario,
                              read_fault);
}

/* Chaos: faults drawn by chance from those that are named. */

static int
read_kinds(const struct confscan_at *at, const config_setting_t *list,
           struct scenario_chaos *chaos)
{
    int n = config_setting_length(list);

    if ((!config_setting_is_array(list) && !config_setting_is_list(list)) ||
        n < 1 || n > SCENARIO_KINDS_MAX) {
        return confval_refuse(at, list,
                              "faults must be 1 to %d names of faults",
                              SCENARIO_KINDS_MAX);
    }
    for (int i = 0; i < n; i++) {
        const config_setting_t *member =
            config_setting_get_elem(list, (unsigned)i);
        const char *text;
        int error = confval_text(at, member, &text);

        if (error) {
            return error;
        }
        chaos->kinds[i] = fault_find(text);
        if (!chaos->kinds[i]) {
            return refuse_fault(at, member, text);
        }
        if (!(chaos->kinds[i]->needs & FAULT_FOR)) {
            return confval_refuse(
                at, member, "%s does not end, so chance can't use it", text);
        }
    }
    chaos->n_kinds = (uint32_t)n;
    return 0;
}

int
scenario_read_chaos(const struct confscan_at *at, const config_setting_t *group,
                    struct scenario *scenario)
{
    struct scenario_chaos *chaos = &scenario->chaos;
    static const struct field fields[] = {
        {"from_s", FIELD_S, offsetof(struct scenario_chaos, from),
         .max = SCENARIO_DURATION_MAX_S},
        {"to_s", FIELD_S, offsetof(struct scenario_chaos, to),
         .max = SCENARIO_DURATION_MAX_S},
        {"n", FIELD_U32, offsetof(struct scenario_chaos, n), .min = 1,
         .max = SCENARIO_FAULTS_MAX / 2},
        {"longest_s", FIELD_S, offsetof(struct scenario_chaos, longest),
         .max = 60},
        {"faults", FIELD_CUSTOM, .read = scenario_read_nothing},
        {NULL},
    };
    const config_setting_t *kinds;
    int error;

    *chaos = (struct scenario_chaos){.longest = 5 * NSEC_PER_SEC};
    error = confval_group(at, group, fields, chaos);
    if (error) {
        return error;
    }
    kinds = config_setting_get_member(group, "faults");
    if (!kinds || chaos->n == 0 || chaos->from >= chaos->to ||
        chaos->to > scenario->duration) {
        return confval_refuse(at, group,
                              "chaos needs n, faults, and from_s before to_s "
                              "before the end");
    }
    return read_kinds(at, kinds, chaos);
}
