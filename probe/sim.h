/* SPDX-License-Identifier: Apache-2.0 */
/* How a simulator hands made-up requests to probe/sim.c: it owns a probe_world,
 * passes it as probe_env.world, and adds requests as they end.  The probe takes
 * them out at its next look.  Bounded: what does not fit is counted. */
#ifndef PROBE_SIM_H
#define PROBE_SIM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/clock.h"

#define PROBE_UTIL_UNKNOWN UINT32_MAX
#define PROBE_FLOOD_TYPES 40 /* "org.mbroker.flood/0" and so on. */

struct probe_request {
    nsec_t ended;
    uint64_t response_us;
};

struct probe_world {
    struct probe_request *request; /* Ring of 'max', the simulator's. */
    size_t max, first, n;
    uint64_t n_dropped;     /* Requests that found the ring full. */
    uint32_t util_permille; /* The guest's CPU use; PROBE_UTIL_UNKNOWN: none. */
    /* Notes at each look, of PROBE_FLOOD_TYPES types in turn, as large as can
     * be: an application that talks too much. */
    uint32_t n_notes_a_look;
    uint64_t n_notes; /* Made up so far. */
};

/* 'storage' is borrowed for the world's life. */
void probe_world_init(struct probe_world *, struct probe_request *storage,
                      size_t max);
/* False if the ring was full; the request is then counted as dropped. */
bool probe_world_add(struct probe_world *, nsec_t ended, uint64_t response_us);

#endif
