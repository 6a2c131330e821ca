/* SPDX-License-Identifier: Apache-2.0 */
/* A made-up host's hardware: what msim and the tests hold behind the back of
 * the driver "sim".  It outlives the driver, so that a broker that dies and
 * comes back finds the p-states as it left them.  It misbehaves on request. */
#ifndef HARDWARE_SIM_H
#define HARDWARE_SIM_H

#include <stdbool.h>
#include <stdint.h>

#include "model/power.h"
#include "model/pstate.h"

struct hardware_sim;

/* How a domain answers from now on. */
enum sim_fault {
    SIM_FAULT_NONE,
    SIM_FAULT_FAILS,  /* set() returns -EIO and changes nothing. */
    SIM_FAULT_STICKS, /* set() returns 0 and changes nothing. */
    SIM_FAULT_LATE,   /* set() returns 0; takes effect at the second get(). */
    SIM_FAULT_GONE,   /* All calls return -ENODEV. */
    SIM_FAULT_N,      /* Not a fault: how many there are. */
};

/* Makes hardware with 'n_domains' (borrowed for the call) in p-state 0, and
 * power unknown.  Returns 0, -ENOMEM, or -EINVAL if a domain is not as
 * model/pstate.h says. */
int hardware_sim_create(struct hardware_sim **out,
                        const struct pstate_domain *domains,
                        uint32_t n_domains);
/* To be called after all drivers on it are closed.  Accepts null. */
void hardware_sim_destroy(struct hardware_sim *);

/* What a CPU really runs at, whatever the driver reports.  A CPU in no domain
 * is at p-state 0, with frequency and voltage 0 (unknown). */
uint32_t hardware_sim_pstate(const struct hardware_sim *, uint32_t cpu);
uint32_t hardware_sim_freq_khz(const struct hardware_sim *, uint32_t cpu);
uint32_t hardware_sim_voltage_mv(const struct hardware_sim *, uint32_t cpu);
/* Somebody else (firmware, an operator) changes a domain. */
void hardware_sim_set_pstate(struct hardware_sim *, uint32_t domain,
                             uint32_t pstate);

void hardware_sim_fault(struct hardware_sim *, uint32_t domain, enum sim_fault);
/* What the meter shows from now on; QUALITY_UNKNOWN makes it fail.  A lying
 * meter is one that is given a wrong value. */
void hardware_sim_set_power(struct hardware_sim *, enum quality,
                            uint64_t power_mw);
/* Asked before the driver touches the hardware and told after it set a p-state,
 * so that a simulator can see what is done and have the driver's process die
 * there: while it answers false nothing is done and the driver gets -ENODEV. */
enum hardware_sim_touch {
    HARDWARE_SIM_GET,
    HARDWARE_SIM_SET,
    HARDWARE_SIM_WAS_SET,
    HARDWARE_SIM_CAP_GET, /* The power cap; domain and p-state are 0. */
    HARDWARE_SIM_CAP_SET,
    HARDWARE_SIM_CAP_WAS_SET,
};
typedef bool hardware_sim_watch_fn(void *ctx, enum hardware_sim_touch,
                                   uint32_t domain, uint32_t pstate);
void hardware_sim_watch(struct hardware_sim *, hardware_sim_watch_fn *,
                        void *ctx);
/* How often set() was called, refused ones included. */
uint64_t hardware_sim_n_sets(const struct hardware_sim *);

/* The host's power cap; see hardware/simcap.h for how it misbehaves. */
struct simcap *hardware_sim_cap(struct hardware_sim *);

#endif
