/* SPDX-License-Identifier: Apache-2.0 */
/* Utilization over periods of a policy's own choosing, from the growth of a
 * VM's busy and available time.  Lives in the policy's state of that VM; zeroed
 * it has not begun. */
#ifndef MODEL_UTIL_H
#define MODEL_UTIL_H

#include <stdbool.h>
#include <stdint.h>

#include "base/clock.h"

struct vm;

struct util_meter {
    bool running;
    nsec_t since;
    uint64_t busy_ns, available_ns; /* The VM's, at 'since'. */
};

/* Begins the first period, or the next one if 'period_ns' passed.  True, with
 * the utilization in percent, if one ended and is known: nothing is known of a
 * period without a sample or over a restart of the VM. */
bool util_meter_ends(struct util_meter *, const struct vm *, nsec_t period_ns,
                     nsec_t now, double *percent_out);

#endif
