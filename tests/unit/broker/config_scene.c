/* SPDX-License-Identifier: Apache-2.0 */
/* Made-up plug-ins, in the place of those of this build, and the two questions
 * that the tests of broker/config/ ask of a text. Relies on the linker taking
 * these tables before the library's. */
#include "tests/unit/broker/config_scene.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "hardware/hardware.h"
#include "policy/policy.h"

/* libconfig 1.5 leaks the texts it has read when it then refuses the file. */
const char *__lsan_default_suppressions(void);

const char *
__lsan_default_suppressions(void)
{
    return "leak:libconfig";
}

static const struct option_desc basic_options[] = {
    {"period_ms", "ms", OPTION_INT, 100, 60000, "2000", NULL, "Period."},
    {"util_percent", "%", OPTION_REAL, 0, 100, "80", NULL, "Threshold."},
    {"order", NULL, OPTION_CHOICE, 0, 0, "raise", "raise lower", "First."},
    {"quick", NULL, OPTION_BOOL, 0, 0, "false", NULL, "Whether."},
    {NULL},
};

static int
basic_check(const struct option_values *options, char *why, size_t why_size)
{
    if (option_bool(options, "quick") &&
        option_int(options, "period_ms") > 500) {
        snprintf(why, why_size, "quick and period_ms > 500 contradict");
        return -EINVAL;
    }
    return 0;
}

static const struct policy_class none = {.name = "none"};
static const struct policy_class basic = {
    .name = "basic", .options = basic_options, .check = basic_check};
bool config_scene_lacks_none;
const struct policy_class *const policy_table[] = {&none, &basic, NULL};

const struct policy_class *
policy_find(const char *name)
{
    for (size_t i = config_scene_lacks_none; policy_table[i]; i++) {
        if (!strcmp(policy_table[i]->name, name)) {
            return policy_table[i];
        }
    }
    return NULL;
}

static const struct option_desc soft_options[] = {
    {"frequencies_mhz", "MHz", OPTION_INTS, 1, 10000, "2400 1000", NULL, "F."},
    {NULL},
};
static int
soft_check(const struct option_values *options, char *why, size_t why_size)
{
    const struct option_value *mhz = option_get(options, "frequencies_mhz");

    if (mhz->n_ints < 2) {
        snprintf(why, why_size, "frequencies_mhz: one is no choice");
        return -EINVAL;
    }
    return 0;
}

static const struct option_desc model_options[] = {
    {"machine", NULL, OPTION_TEXT, 0, 0, "", NULL, "Which."},
    {NULL},
};
static const struct pstate_ops some_pstate = {NULL};
static const struct power_ops some_power = {NULL};
static const struct hardware_class soft = {.name = "softpstate",
                                           .pstate = &some_pstate,
                                           .options = soft_options,
                                           .check = soft_check};
static const struct cap_ops some_cap = {NULL};
static const struct hardware_class simulated = {.name = "sim",
                                                .pstate = &some_pstate,
                                                .power = &some_power,
                                                .cap = &some_cap};
static const struct hardware_class model = {
    .name = "powermodel", .power = &some_power, .options = model_options};
const struct hardware_class *const hardware_table[] = {&soft, &simulated,
                                                       &model, NULL};

const struct hardware_class *
hardware_find(const char *name)
{
    for (size_t i = 0; hardware_table[i]; i++) {
        if (!strcmp(hardware_table[i]->name, name)) {
            return hardware_table[i];
        }
    }
    return NULL;
}

static const struct hypervisor_class process = {.name = "process"};
static const struct hypervisor_class no_vms = {.name = "sim"};
const struct hypervisor_class *const hypervisor_table[] = {&process, &no_vms,
                                                           NULL};

const struct hypervisor_class *
hypervisor_find(const char *name)
{
    for (size_t i = 0; hypervisor_table[i]; i++) {
        if (!strcmp(hypervisor_table[i]->name, name)) {
            return hypervisor_table[i];
        }
    }
    return NULL;
}

void
refused(const char *text, unsigned line, const char *part)
{
    struct broker_config config, before;
    char why[CONFIG_WHY_SIZE] = "", where[64];

    memset(&config, 0x5a, sizeof config);
    memcpy(&before, &config, sizeof before);
    int error = config_parse(&config, text, "m.conf", why, sizeof why);
    snprintf(where, sizeof where, "m.conf:%u: ", line);
    if (error != -EINVAL || strncmp(why, where, strlen(where)) != 0 ||
        !strstr(why, part)) {
        fail_msg("%s\n gave %d \"%s\", not \"%s...%s\"", text, error, why,
                 where, part);
    }
    assert_memory_equal(&config, &before, sizeof config);
}

void
accepted(struct broker_config *config, const char *text)
{
    char why[CONFIG_WHY_SIZE] = "";

    int error = config_parse(config, text, "m.conf", why, sizeof why);
    if (error) {
        fail_msg("%s\n gave %d \"%s\"", text, error, why);
    }
}

void
just_accepted(const char *text)
{
    struct broker_config config;

    accepted(&config, text);
    config_fini(&config);
}
