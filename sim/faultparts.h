/* SPDX-License-Identifier: Apache-2.0 */
/* What the files behind the table of fault.c share.  For sim/fault*.c only. */
#ifndef SIM_FAULTPARTS_H
#define SIM_FAULTPARTS_H

#include <stdbool.h>

struct scenario_fault;
struct world;

typedef void fault_fn(struct world *, const struct scenario_fault *, bool on);

/* Which line within the broker a fault is of: 'how' of its row. */
enum fault_line {
    FAULT_BACK_LINE,     /* From back to the engine, */
    FAULT_PLATFORM_LINE, /* from the platform to it, */
    FAULT_ENGINE_LINE,   /* and from it to the platform. */
};

/* faultdeep.c */
fault_fn fault_hostile_guest, fault_lie_meter;
fault_fn fault_stall, fault_block, fault_lose, fault_delay_lines;
fault_fn fault_repeat_orders;
fault_fn fault_crash, fault_crash_broker, fault_cut_power;
fault_fn fault_break_disk;
fault_fn fault_jump_wall, fault_jump_guest, fault_stop_time;
fault_fn fault_control_vm;

/* faultconfig.c */
fault_fn fault_reload;

#endif
