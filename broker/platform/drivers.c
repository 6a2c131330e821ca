/* SPDX-License-Identifier: Apache-2.0 */
/* Hands a hardware driver the world it may see and keeps that world alive as
 * long as the driver is open.  Called by the platform core, which opens what
 * the configuration names, and by restoring, which opens what a saved file
 * names. */
#include "broker/platform/drivers.h"

#include <string.h>

#include "broker/config/config.h"
#include "broker/platform/platform.h"

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
