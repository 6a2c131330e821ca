/* SPDX-License-Identifier: Apache-2.0 */
/* Measures utilization between two looks at a VM's counters.  Relies on
 * model/host.h; called by policies.  A period is as long as it turned out, so a
 * late turn makes a longer period, never a wrong ratio. */
#include "model/util.h"

#include "model/host.h"

bool
util_meter_ends(struct util_meter *meter, const struct vm *vm, nsec_t period_ns,
                nsec_t now, double *percent_out)
{
    struct util_meter was = *meter;

    if (was.running && now - was.since < period_ns) {
        return false;
    }
    meter->running = true;
    meter->since = now;
    meter->busy_ns = vm->busy_ns;
    meter->available_ns = vm->available_ns;
    if (!was.running || vm->available_ns <= was.available_ns ||
        vm->busy_ns < was.busy_ns) {
        return false;
    }
    *percent_out = 100.0 * (double)(vm->busy_ns - was.busy_ns) /
                   (double)(vm->available_ns - was.available_ns);
    return true;
}
