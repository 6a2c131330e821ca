/* SPDX-License-Identifier: Apache-2.0 */
/* The standing invariants of SAFETY: nothing is counted twice, and a broker
 * that is gone leaves the host as it was.  Compares what the broker knows with
 * what the world knows better.  Called by run.c. */
#include "sim/invariant.h"

#include <inttypes.h>
#include <stdio.h>

#include "hardware/sim.h"
#include "sim/world.h"

bool
invariant_holds(const struct world *world, char *why, size_t why_size)
{
    struct engine_status status;

    if (!world->engine) {
        return true;
    }
    engine_status(world->engine, world->now, &status);
    for (uint32_t i = 0; i < world->n_guests; i++) {
        const struct world_guest *guest = &world->guests[i];
        const struct vm *vm =
            host_vm(status.host, &world->scenario->config.guests[i].uuid);

        if (guest->lied) {
            continue; /* Its numbers are its own affair. */
        }
        if (vm && vm->n_requests > guest->n_requests) {
            snprintf(why, why_size,
                     "%s: the broker counts %" PRIu64
                     " requests, its clients %" PRIu64,
                     guest->scenario->name, vm->n_requests, guest->n_requests);
            return false;
        }
        if (vm && vm->n_violations > guest->n_slow) {
            snprintf(why, why_size,
                     "%s: the broker counts %" PRIu64
                     " violations, its clients %" PRIu64,
                     guest->scenario->name, vm->n_violations, guest->n_slow);
            return false;
        }
    }
    return true;
}

bool
invariant_left_as_found(const struct world *world, char *why, size_t why_size)
{
    const struct broker_config *config = &world->scenario->config;

    /* What was set behind the broker's back, or can't be set, is not its; what
     * stands in for a power cap stays, as the cap would. */
    if (world->tampered || world->n_hardware_faults > 0 ||
        world->cap_record.clamped) {
        return true;
    }
    for (uint32_t i = 0; i < config->n_cpus; i++) {
        uint32_t pstate = hardware_sim_pstate(world->hardware, config->cpus[i]);

        if (pstate != world->found[i]) {
            snprintf(why, why_size,
                     "the broker stopped and left cpu %" PRIu32
                     " at p-state %" PRIu32 "; it found it at %" PRIu32,
                     config->cpus[i], pstate, world->found[i]);
            return false;
        }
    }
    return true;
}
