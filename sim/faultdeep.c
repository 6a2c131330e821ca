/* SPDX-License-Identifier: Apache-2.0 */
/* Faults from within the host: processes of the broker that die at a point of
 * their doing, lines between them that stall, disks, clocks and meters that are
 * wrong, and guests that attack.  Overlapping faults of one kind end together.
 * Called through the table of fault.c. */
#include "sim/faultparts.h"

#include <string.h>

#include "broker/engine/engine.h"
#include "hypervisor/hypervisor.h"
#include "sim/disk.h"
#include "sim/hostile.h"
#include "sim/oracle.h"
#include "sim/scenario.h"
#include "sim/trace.h"
#include "sim/world.h"
#include "wire/msg.h"

void
fault_hostile_guest(struct world *world, const struct scenario_fault *fault,
                    bool on)
{
    struct world_guest *guest = &world->guests[fault->guest];

    hostile_destroy(guest->hostile);
    guest->hostile = NULL;
    if (!on) {
        (void)world_start_agent(world, fault->guest);
        return;
    }
    world_kill_agent(world, fault->guest);
    guest->lied = true;
    if (world_guest_runs(world, fault->guest)) {
        (void)hostile_create(&guest->hostile, world, fault->guest,
                             (uint32_t)fault->value);
    }
}

void
fault_lie_meter(struct world *world, const struct scenario_fault *fault,
                bool on)
{
    world->meter_permille = on ? (uint32_t)fault->value : 1000;
}

/* Lines. */

static struct pipe *
line_of(struct world *world, const struct scenario_fault *fault)
{
    switch ((enum fault_line)fault->fault->how) {
    case FAULT_BACK_LINE:
        return &world->back_to_engine;
    case FAULT_PLATFORM_LINE:
        return &world->platform_to_engine;
    case FAULT_ENGINE_LINE:
        break;
    }
    return &world->engine_to_platform;
}

void
fault_stall(struct world *world, const struct scenario_fault *fault, bool on)
{
    line_of(world, fault)->stalled = on;
}

void
fault_block(struct world *world, const struct scenario_fault *fault, bool on)
{
    line_of(world, fault)->full = on;
}

void
fault_lose(struct world *world, const struct scenario_fault *fault, bool on)
{
    unsigned type = (unsigned)fault->fault->how;
    struct pipe *line = type == MSG_OUTCOME ? &world->platform_to_engine
                                            : &world->engine_to_platform;

    line->lose_type = on ? type : 0;
}

void
fault_repeat_orders(struct world *world, const struct scenario_fault *fault,
                    bool on)
{
    world->engine_to_platform.repeats = on;
    world->engine_to_platform.repeat_behind = (uint32_t)fault->value;
}

void
fault_delay_lines(struct world *world, const struct scenario_fault *fault,
                  bool on)
{
    nsec_t delay_ns = on ? (nsec_t)(fault->value * (double)NSEC_PER_MSEC) : 0;

    world->back_to_engine.delay_ns = delay_ns;
    world->platform_to_engine.delay_ns = delay_ns;
    world->engine_to_platform.delay_ns = delay_ns;
    world->engine_to_back.delay_ns = delay_ns;
}

/* Deaths. */

static void
crash(struct world *world, const struct scenario_fault *fault, bool on,
      enum sim_process who, bool together)
{
    if (on && world->engine) {
        crash_arm(&world->crash, who, (uint32_t)fault->value, together);
    } else if (!on) {
        world->crash.countdown = 0;
        (void)world_start_broker(world);
    }
}

void
fault_crash(struct world *world, const struct scenario_fault *fault, bool on)
{
    crash(world, fault, on, (enum sim_process)fault->fault->how, false);
}

void
fault_crash_broker(struct world *world, const struct scenario_fault *fault,
                   bool on)
{
    crash(world, fault, on, SIM_ENGINE, true);
}

void
fault_cut_power(struct world *world, const struct scenario_fault *fault,
                bool on)
{
    world->power_fails = on && world->engine;
    crash(world, fault, on, SIM_ENGINE, true);
}

/* The disk. */

void
fault_break_disk(struct world *world, const struct scenario_fault *fault,
                 bool on)
{
    disk_set_fault(world->disk,
                   on ? (enum disk_fault)fault->fault->how : DISK_WORKS);
}

/* Clocks. */

void
fault_jump_wall(struct world *world, const struct scenario_fault *fault,
                bool on)
{
    world->wall_ahead_ns += (nsec_t)(fault->value * (double)NSEC_PER_SEC);
}

void
fault_jump_guest(struct world *world, const struct scenario_fault *fault,
                 bool on)
{
    world->guests[fault->guest].clock_ahead_ns +=
        (nsec_t)(fault->value * (double)NSEC_PER_SEC);
}

void
fault_stop_time(struct world *world, const struct scenario_fault *fault,
                bool on)
{
    world_pass(world,
               world->now + (nsec_t)(fault->value * (double)NSEC_PER_SEC));
}

/* People. */

void
fault_control_vm(struct world *world, const struct scenario_fault *fault,
                 bool on)
{
    static const enum vm_op ops[] = {VM_OP_FREEZE, VM_OP_THAW, VM_OP_END};
    static const char migrate[] = "migrate ";
    const struct uuid *vm = &world->scenario->config.guests[fault->guest].uuid;
    char why[160] = "there is no broker";
    int error = -1;

    for (size_t i = 0; world->engine && i < 3; i++) {
        if (strcmp(vm_op_name(ops[i]), fault->text)) {
            continue;
        }
        error = engine_control_vm(world->engine, vm, ops[i], world->now, why,
                                  sizeof why);
    }
    if (world->engine && !strncmp(fault->text, migrate, sizeof migrate - 1)) {
        error = engine_migrate_vm(world->engine, vm,
                                  fault->text + sizeof migrate - 1, world->now,
                                  why, sizeof why);
    }
    trace_add(world->trace, "operator", "%s %s: %s", fault->text,
              world->guests[fault->guest].scenario->name,
              error ? why : "under way");
}
