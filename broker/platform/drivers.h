/* SPDX-License-Identifier: Apache-2.0 */
/* Opening hardware drivers as the configuration says.  For platform.c and
 * restore.c only. */
#ifndef BROKER_PLATFORM_DRIVERS_H
#define BROKER_PLATFORM_DRIVERS_H

#include <stddef.h>

#include "hardware/hardware.h"

struct broker_config;
struct platform_env;

/* An open driver and what it borrows. */
struct driver {
    const struct hardware_class *class; /* Null: not open. */
    struct hardware *hw;
    struct hardware_env env;
    struct option_values options; /* A copy. */
};

/* Opens 'class' for 'cpus' (borrowed until driver_close()) with 'options'
 * (null: its defaults).  0 or -Exxx with 'why'. */
int driver_open(struct driver *, const struct hardware_class *class,
                const struct platform_env *, const struct broker_config *,
                const uint32_t *cpus, uint32_t n_cpus,
                const struct option_values *options, char *why,
                size_t why_size);
void driver_close(struct driver *);

#endif
