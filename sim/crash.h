/* SPDX-License-Identifier: Apache-2.0 */
/* Where a process of a made-up broker dies.  All that a process does to others
 * (a message, a write to the disk, a p-state, an operation on a VM) has a point
 * before and one behind it; a crash is armed to happen at the n-th point from
 * now.  A process that died there does nothing any more: its turn goes on, as
 * it must in one program, but nobody sees what comes of it, until the world
 * buries it at the end of the turn. */
#ifndef SIM_CRASH_H
#define SIM_CRASH_H

#include <stdbool.h>
#include <stdint.h>

struct trace;

enum sim_process {
    SIM_BACK,
    SIM_ENGINE,
    SIM_PLATFORM,
    SIM_N_PROCESSES,
};

struct crash {
    uint32_t countdown; /* Points until 'who' dies; 0: it does not. */
    enum sim_process who;
    bool together; /* All three die with it: they are killed at once. */
    bool dead[SIM_N_PROCESSES];
    uint64_t n_points, n_crashes;
};

/* Dies at the n-th point from now, n > 0. */
void crash_arm(struct crash *, enum sim_process, uint32_t n, bool together);
/* False: the process is dead, since now or before, and what it is about to do,
 * or told of, must come to nothing. */
bool crash_point(struct crash *, struct trace *, enum sim_process,
                 const char *where);
bool crash_any(const struct crash *);

#endif
