/* SPDX-License-Identifier: Apache-2.0 */
/* What the files behind the table of fault.c share.  For sim/fault*.c only. */
#ifndef SIM_FAULTPARTS_H
#define SIM_FAULTPARTS_H

#include <stdbool.h>
#include <stdint.h>

#include "hardware/sim.h"

struct scenario_fault;
struct world;

typedef void fault_fn(struct world *, const struct scenario_fault *, bool on);

/* fault.c */
uint32_t fault_domain_of(const struct world *, uint32_t cpu);
void fault_set_hardware(struct world *, const struct scenario_fault *, bool on,
                        enum sim_fault kind);

/* faultdeep.c */
fault_fn fault_hostile_guest, fault_lie_meter, fault_lose_pstate;
fault_fn fault_stall_back, fault_stall_platform, fault_stall_engine;
fault_fn fault_block_back, fault_delay_lines, fault_repeat_orders;
fault_fn fault_crash_back, fault_crash_engine, fault_crash_platform;
fault_fn fault_crash_broker, fault_cut_power;
fault_fn fault_fill_disk, fault_fail_disk, fault_fail_sync;
fault_fn fault_jump_wall, fault_jump_guest, fault_stop_time;
fault_fn fault_control_vm;

/* faultconfig.c */
fault_fn fault_reload;

#endif
