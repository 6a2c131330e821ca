/* SPDX-License-Identifier: Apache-2.0 */
/* Hands a hardware driver the world it may see and keeps that world alive as
 * long as the driver is open; and tells hypervisors of the configuration's
 * guests.  Called by the platform core, which opens what the configuration
 * names, by restoring, which opens what a saved file names, and by the
 * steward. */
#include "broker/platform/drivers.h"

#include <stdlib.h>
#include <string.h>

#include "base/text.h"
#include "broker/config/config.h"
#include "broker/platform/platform.h"
#include "hypervisor/hypervisor.h"

int
driver_open(struct driver *driver, const struct hardware_class *class,
            const struct platform_env *env, const struct broker_config *config,
            const uint32_t *cpus, uint32_t n_cpus,
            const struct option_values *options, char *why, size_t why_size)
{
    memset(driver, 0, sizeof *driver);
    if (options) {
        driver->options = *options;
    } else {
        options_init(&driver->options, class->options);
    }
    driver->env = (struct hardware_env){
        .sys_dirfd = env->sys_dirfd,
        .data_dirfd = env->data_dirfd,
        .cpus = cpus,
        .n_cpus = n_cpus,
        .options = &driver->options,
        .seed = config->seed,
        .sim = env->hardware_sim,
    };
    why[0] = '\0';
    int error = class->open(&driver->hw, &driver->env, why, why_size);
    if (error) {
        return error;
    }
    driver->class = class;
    return 0;
}

void
driver_close(struct driver *driver)
{
    if (driver->class) {
        driver->class->close(driver->hw);
        driver->class = NULL;
    }
}

struct hypervisor_guest *
platform_guests(const struct broker_config *config)
{
    struct hypervisor_guest *guests =
        calloc(config->n_guests + 1, sizeof *guests);

    for (uint32_t i = 0; guests && i < config->n_guests; i++) {
        const struct guest_config *from = &config->guests[i];
        struct hypervisor_guest *to = &guests[i];

        to->uuid = from->uuid;
        text_copy(to->name, sizeof to->name, from->name);
        to->n_vcpus = from->n_vcpus;
        memcpy(to->vcpu_cpu, from->vcpu_cpu, sizeof to->vcpu_cpu);
        to->command = from->command[0] ? from->command : NULL;
        to->pid_file = from->pid_file[0] ? from->pid_file : NULL;
    }
    return guests;
}
