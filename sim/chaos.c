/* SPDX-License-Identifier: Apache-2.0 */
/* Draws faults: which of those named, whom, when, how long and how bad, all of
 * it evenly.  They may overlap; what begins ends by chaos.to, so that a
 * scenario can expect health afterwards.  Called by run.c. */
#include "sim/chaos.h"

#include "base/prng.h"
#include "sim/fault.h"
#include "sim/scenario.h"

uint32_t
chaos_draw(const struct scenario *scenario, struct scenario_fault *faults,
           uint32_t n)
{
    const struct scenario_chaos *chaos = &scenario->chaos;
    struct prng prng;

    prng_init(&prng, scenario->seed ^ UINT64_C(0x6368616f73));
    for (uint32_t i = 0; i < chaos->n && n < SCENARIO_FAULTS_MAX; i++) {
        struct scenario_fault *fault = &faults[n++];
        const struct broker_config *config = &scenario->config;
        uint64_t span = (uint64_t)(chaos->to - chaos->from);

        *fault = (struct scenario_fault){
            .fault = chaos->kinds[prng_below(&prng, chaos->n_kinds)]};
        fault->at = chaos->from + (nsec_t)prng_below(&prng, span);
        fault->until =
            fault->at + (nsec_t)(prng_real(&prng) * (double)chaos->longest) + 1;
        fault->until = nsec_min(fault->until, chaos->to);
        fault->guest = scenario->n_guests > 0
                           ? (uint32_t)prng_below(&prng, scenario->n_guests)
                           : 0;
        fault->cpu = config->cpus[prng_below(&prng, config->n_cpus)];
        fault->value =
            fault->fault->low +
            prng_real(&prng) * (fault->fault->high - fault->fault->low);
    }
    return n;
}
