/* SPDX-License-Identifier: Apache-2.0 */
/* Faults by chance: from a scenario's seed, so that a bad run repeats. */
#ifndef SIM_CHAOS_H
#define SIM_CHAOS_H

#include <stdint.h>

struct scenario;
struct scenario_fault;

/* Appends the faults of the scenario's chaos to the 'n' in 'faults', which has
 * room for SCENARIO_FAULTS_MAX.  Returns how many there are now. */
uint32_t chaos_draw(const struct scenario *, struct scenario_fault *faults,
                    uint32_t n);

#endif
