/* SPDX-License-Identifier: Apache-2.0 */
/* Counts points and says who is dead.  Called by whatever stands between a
 * process and the rest of its world: actors.c for messages, disk.c for the
 * journal's file, world.c for hardware and VMs. */
#include "sim/crash.h"

#include <assert.h>

#include "sim/trace.h"

static const char *const names[] = {
    [SIM_BACK] = "back",
    [SIM_ENGINE] = "engine",
    [SIM_PLATFORM] = "platform",
};

void
crash_arm(struct crash *crash, enum sim_process who, uint32_t n, bool together)
{
    assert(n > 0);
    crash->countdown = n;
    crash->who = who;
    crash->together = together;
}

bool
crash_point(struct crash *crash, struct trace *trace, enum sim_process who,
            const char *where)
{
    crash->n_points++;
    if (!crash->dead[who] && who == crash->who && crash->countdown > 0 &&
        --crash->countdown == 0) {
        trace_add(trace, "msim", "%s dies %s", names[who], where);
        crash->n_crashes++;
        for (int i = 0; i < SIM_N_PROCESSES; i++) {
            crash->dead[i] |= crash->together || i == (int)who;
        }
    }
    return !crash->dead[who];
}

bool
crash_any(const struct crash *crash)
{
    return crash->dead[SIM_BACK] || crash->dead[SIM_ENGINE] ||
           crash->dead[SIM_PLATFORM];
}
