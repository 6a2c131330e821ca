/* SPDX-License-Identifier: Apache-2.0 */
/* The table of what can be done to a world, one function each; what has an end
 * is called a second time with 'on' false.  Called by run.c between two
 * moments, so nobody is in the middle of a turn. */
#include "sim/fault.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "broker/back/back.h"
#include "hardware/sim.h"
#include "hardware/simcap.h"
#include "hypervisor/sim.h"
#include "include/mchan.h"
#include "model/host.h"
#include "policy/policy.h"
#include "sim/disk.h"
#include "sim/faultparts.h"
#include "sim/machine.h"
#include "sim/scenario.h"
#include "sim/trace.h"
#include "sim/world.h"
#include "transport/sim.h"
#include "wire/msg.h"

/* Agents and their channels. */

static void
kill_agent(struct world *world, const struct scenario_fault *fault, bool on)
{
    if (on) {
        world_kill_agent(world, fault->guest);
    } else {
        (void)world_start_agent(world, fault->guest);
    }
}

static void
stop_agent(struct world *world, const struct scenario_fault *fault, bool on)
{
    if (on) {
        world_stop_agent(world, fault->guest);
    } else {
        (void)world_start_agent(world, fault->guest);
    }
}

static void
silence_agent(struct world *world, const struct scenario_fault *fault, bool on)
{
    world->guests[fault->guest].silent = on;
}

static void
cut_channel(struct world *world, const struct scenario_fault *fault, bool on)
{
    const char *name = world->scenario->guests[fault->guest].name;

    sim_network_set_down(world->network, name, on);
}

static void
stall_channel(struct world *world, const struct scenario_fault *fault, bool on)
{
    const char *name = world->scenario->guests[fault->guest].name;

    sim_network_set_stalled(world->network, name, on);
}

static void
delay_channel(struct world *world, const struct scenario_fault *fault, bool on)
{
    const struct scenario_guest *guest = &world->scenario->guests[fault->guest];
    nsec_t delay =
        on ? (nsec_t)(fault->value * (double)NSEC_PER_MSEC) : guest->delay_ns;

    sim_network_set_delay(world->network, guest->name, delay);
}

static void
lossy_channel(struct world *world, const struct scenario_fault *fault, bool on)
{
    const char *name = world->scenario->guests[fault->guest].name;

    sim_network_set_loss(world->network, name, on ? fault->value / 1000 : 0);
}

static void
corrupt_channel(struct world *world, const struct scenario_fault *fault,
                bool on)
{
    const char *name = world->scenario->guests[fault->guest].name;

    sim_network_set_corruption(world->network, name,
                               on ? fault->value / 1000 : 0);
}

static void
tail_channel(struct world *world, const struct scenario_fault *fault, bool on)
{
    const char *name = world->scenario->guests[fault->guest].name;

    sim_network_set_tails(world->network, name, on);
}

static void
repeat_channel(struct world *world, const struct scenario_fault *fault, bool on)
{
    const char *name = world->scenario->guests[fault->guest].name;

    sim_network_set_repeats(world->network, name, on ? fault->value / 1000 : 0);
}

static void
suspend_channel(struct world *world, const struct scenario_fault *fault,
                bool on)
{
    struct world_guest *guest = &world->guests[fault->guest];

    if (guest->agent) {
        (void)(on ? mchan_suspend(guest->channel)
                  : mchan_resume(guest->channel, NULL));
    }
}

static void
renew_guest(struct world *world, const struct scenario_fault *fault, bool on)
{
    (void)hypervisor_sim_renew(
        world->hypervisor, &world->scenario->config.guests[fault->guest].uuid,
        world->now);
}

/* The hardware. */

static uint32_t
domain_of(const struct world *world, uint32_t cpu)
{
    const struct option_values *options =
        &world->scenario->config.pstate_options;

    return world_cpu_place(world, cpu) /
           (uint32_t)option_int(options, "cpus_per_domain");
}

static void
change_pstate(struct world *world, const struct scenario_fault *fault, bool on)
{
    world->tampered |= world->started;
    hardware_sim_set_pstate(world->hardware, domain_of(world, fault->cpu),
                            (uint32_t)fault->value);
}

static void
break_pstate(struct world *world, const struct scenario_fault *fault, bool on)
{
    world->n_hardware_faults += on ? 1 : (uint32_t)-1;
    hardware_sim_fault(world->hardware, domain_of(world, fault->cpu),
                       on ? (enum sim_fault)fault->fault->how : SIM_FAULT_NONE);
}

static void
lose_sensor(struct world *world, const struct scenario_fault *fault, bool on)
{
    world->sensor_lost = on;
}

/* The power cap. */

static void
break_cap(struct world *world, const struct scenario_fault *fault, bool on)
{
    struct simcap *cap = hardware_sim_cap(world->hardware);

    cap->fault = on ? (enum simcap_fault)fault->fault->how : SIMCAP_NONE;
    cap->said = cap->mw;
}

static void
change_cap(struct world *world, const struct scenario_fault *fault, bool on)
{
    hardware_sim_cap(world->hardware)->mw = (uint64_t)(fault->value * 1000);
}

/* The number behind KEY= in a text; 'none' if it has none. */
static uint64_t
number_of(const char *text, const char *key, uint64_t none)
{
    const char *at = strstr(text, key);

    return at ? strtoull(at + strlen(key), NULL, 10) : none;
}

static void
order_cap(struct world *world, const struct scenario_fault *fault, bool on)
{
    const char *text = fault->text;
    const struct cap_order order = {
        .mw = strtoull(text, NULL, 10) * 1000,
        .any_term = !strstr(text, "term="),
        .term = number_of(text, "term=", 0),
        .order = number_of(text, "order=", 0),
        .lease_ns = (nsec_t)number_of(text, "lease_s=", 0) * NSEC_PER_SEC,
        .expires_ns = (nsec_t)number_of(text, "within_ms=", 0) * NSEC_PER_MSEC,
    };
    char why[WORLD_ORDER_SIZE] = "taken";

    if (!world->engine) {
        snprintf(why, sizeof why, "there is no broker");
    } else {
        engine_set_cap(world->engine, &order, world->now, why, sizeof why);
    }
    memcpy(world->last_order, why, sizeof why);
    trace_add(world->trace, "operator", "cap %s: %s", text, why);
}

/* VMs. */

static const struct uuid *
uuid_of(const struct world *world, const struct scenario_fault *fault)
{
    return &world->scenario->config.guests[fault->guest].uuid;
}

static void
end_vm(struct world *world, const struct scenario_fault *fault, bool on)
{
    world_kill_agent(world, fault->guest);
    (void)hypervisor_sim_end(world->hypervisor, uuid_of(world, fault));
}

static void
vanish_vm(struct world *world, const struct scenario_fault *fault, bool on)
{
    world_kill_agent(world, fault->guest);
    (void)hypervisor_sim_vanish(world->hypervisor, uuid_of(world, fault));
}

static void
move_vm(struct world *world, const struct scenario_fault *fault, bool on)
{
    struct world_guest *guest = &world->guests[fault->guest];

    guest->cpu = fault->cpu;
    machine_set_cpu(world->machine, fault->guest,
                    world_cpu_place(world, fault->cpu));
    (void)hypervisor_sim_move(world->hypervisor, uuid_of(world, fault), 0,
                              fault->cpu);
}

static void
fail_hypervisor(struct world *world, const struct scenario_fault *fault,
                bool on)
{
    hypervisor_sim_fail(world->hypervisor, on ? -5 /* EIO */ : 0);
}

/* The broker and its processes. */

static void
stop_broker(struct world *world, const struct scenario_fault *fault, bool on)
{
    if (on) {
        world_stop_broker(world);
    } else {
        (void)world_start_broker(world);
    }
}

static void
set_policy(struct world *world, const struct scenario_fault *fault, bool on)
{
    const struct policy_class *class = policy_find(fault->text);
    struct option_values options;
    char why[160] = "there is no such policy";

    if (!world->engine) {
        return;
    }
    if (class) {
        options_init(&options, class->options);
    }
    if (!class || engine_set_policy(world->engine, fault->text, &options,
                                    world->now, why, sizeof why)) {
        trace_add(world->trace, "msim", "policy %s: %s", fault->text, why);
    }
}

/* What programs in guests do. */

/* The text is a type, a blank, and what the note says. */
static void
send_note(struct world *world, const struct scenario_fault *fault, bool on)
{
    struct world_guest *guest = &world->guests[fault->guest];
    char type[SCENARIO_TEXT_SIZE], why[160] = "it has no agent";
    size_t length = strcspn(fault->text, " ");
    const char *says = fault->text + length + (fault->text[length] != 0);
    struct probe_note note = {
        .type = type, .bytes = says, .size = strlen(says)};
    uint64_t number = 0;

    snprintf(type, sizeof type, "%.*s", (int)length, fault->text);
    if (!guest->agent ||
        agent_add_note(guest->agent, &note, world->now + guest->clock_ahead_ns,
                       &number, why, sizeof why)) {
        trace_add(world->trace, guest->scenario->name, "note not taken: %s",
                  why);
    } else {
        trace_add(world->trace, guest->scenario->name,
                  "note %" PRIu64 " taken: %s", number, fault->text);
    }
}

static void
flood_notes(struct world *world, const struct scenario_fault *fault, bool on)
{
    world->guests[fault->guest].probe_world.n_notes_a_look =
        on ? (uint32_t)fault->value : 0;
}

/* clang-format off */
const struct fault fault_table[] = {
    {"kill_agent", FAULT_AGENT, FAULT_GUEST | FAULT_FOR,
     "the agent dies without a word; after for_s another starts", 0, 0,
     kill_agent},
    {"stop_agent", FAULT_AGENT, FAULT_GUEST | FAULT_FOR,
     "the agent says BYE and ends; after for_s another starts", 0, 0,
     stop_agent},
    {"silence_agent", FAULT_AGENT, FAULT_GUEST | FAULT_FOR,
     "the agent does nothing: it stops beating", 0, 0, silence_agent},
    {"cut_channel", FAULT_CHANNEL, FAULT_GUEST | FAULT_FOR,
     "the channel breaks and can't be made anew", 0, 0, cut_channel},
    {"stall_channel", FAULT_CHANNEL, FAULT_GUEST | FAULT_FOR,
     "nothing is delivered, nobody is told", 0, 0, stall_channel},
    {"delay_channel", FAULT_CHANNEL, FAULT_GUEST | FAULT_VALUE | FAULT_FOR,
     "messages come value ms late, each way", 0, 5000, delay_channel},
    {"lossy_channel", FAULT_CHANNEL, FAULT_GUEST | FAULT_VALUE | FAULT_FOR,
     "value of 1000 pieces of what is sent are lost", 0, 1000, lossy_channel},
    {"corrupt_channel", FAULT_CHANNEL, FAULT_GUEST | FAULT_VALUE | FAULT_FOR,
     "value of 1000 pieces of what is sent have a wrong bit", 0, 1000,
     corrupt_channel},
    {"tail_channel", FAULT_CHANNEL, FAULT_GUEST | FAULT_FOR,
     "what a link still carried when it broke comes first over the next", 0, 0,
     tail_channel},
    {"repeat_channel", FAULT_CHANNEL, FAULT_GUEST | FAULT_VALUE | FAULT_FOR,
     "value of 1000 pieces of what is sent come twice", 0, 1000,
     repeat_channel},
    {"suspend_channel", FAULT_CHANNEL, FAULT_GUEST | FAULT_FOR,
     "the agent says that its VM is about to move; then that it goes on", 0, 0,
     suspend_channel},
    {"renew_guest", FAULT_CHANNEL, FAULT_GUEST,
     "its VM is reset or reverted, as the hypervisor tells", 0, 0,
     renew_guest},
    {"change_pstate", FAULT_HARDWARE, FAULT_CPU | FAULT_VALUE,
     "somebody else sets the CPU's p-state to value", 0, PSTATES_MAX - 1,
     change_pstate},
    {"fail_pstate", FAULT_HARDWARE, FAULT_CPU | FAULT_FOR, "p-states can't be set", 0, 0,
     break_pstate, SIM_FAULT_FAILS},
    {"stick_pstate", FAULT_HARDWARE, FAULT_CPU | FAULT_FOR,
     "setting a p-state does nothing and says that all is well", 0, 0,
     break_pstate, SIM_FAULT_STICKS},
    {"late_pstate", FAULT_HARDWARE, FAULT_CPU | FAULT_FOR,
     "a p-state is reached only after it was read back once", 0, 0,
     break_pstate, SIM_FAULT_LATE},
    {"lose_sensor", FAULT_HARDWARE, FAULT_FOR, "the power meter fails", 0, 0, lose_sensor},
    {"cap_fails", FAULT_HARDWARE, FAULT_FOR, "the power cap can't be set", 0, 0, break_cap, SIMCAP_FAILS},
    {"cap_sticks", FAULT_HARDWARE, FAULT_FOR,
     "setting the cap does nothing and says that all is well", 0, 0,
     break_cap, SIMCAP_STICKS},
    {"cap_late", FAULT_HARDWARE, FAULT_FOR, "a cap holds only after some looks", 0, 0,
     break_cap, SIMCAP_LATE},
    {"cap_lies", FAULT_HARDWARE, FAULT_FOR, "a cap reads back as set and is not kept", 0, 0,
     break_cap, SIMCAP_LIES},
    {"cap_gone", FAULT_HARDWARE, FAULT_FOR, "the cap's controller does not answer", 0, 0,
     break_cap, SIMCAP_GONE},
    {"change_cap", FAULT_HARDWARE, FAULT_VALUE, "somebody else sets the cap to value W", 0,
     10000, change_cap},
    {"order_cap", FAULT_OPERATOR, FAULT_TEXT,
     "an operator orders a cap: text is W, then any of term=, order=, "
     "lease_s=, within_ms=", 0, 0, order_cap},
    {"end_vm", FAULT_VM, FAULT_GUEST, "the VM ends, and its agent with it", 0, 0, end_vm},
    {"vanish_vm", FAULT_VM, FAULT_GUEST,
     "the VM is gone without a word of the hypervisor's", 0, 0, vanish_vm},
    {"move_vm", FAULT_VM, FAULT_GUEST | FAULT_CPU, "the VM runs on another CPU", 0, 0,
     move_vm},
    {"fail_hypervisor", FAULT_VM, FAULT_FOR, "the hypervisor does not answer", 0, 0,
     fail_hypervisor},
    {"stop_broker", FAULT_CRASH, FAULT_FOR,
     "the broker stops in good order; after for_s it starts again", 0, 0,
     stop_broker},
    {"lose_outcomes", FAULT_LINE, FAULT_FOR,
     "what came of an action is never told to the engine", 0, 0,
     fault_lose, MSG_OUTCOME},
    {"lose_actions", FAULT_LINE, FAULT_FOR,
     "orders to set a p-state never reach the platform", 0, 0, fault_lose, MSG_SET_PSTATE},
    {"block_platform", FAULT_LINE, FAULT_FOR, "the platform takes no orders", 0, 0,
     fault_block, FAULT_ENGINE_LINE},
    {"set_policy", FAULT_OPERATOR, FAULT_TEXT,
     "an operator puts the policy text in force, with its defaults", 0, 0,
     set_policy},
    {"reload", FAULT_OPERATOR, FAULT_TEXT,
     "the broker reads another configuration: text is any of policy=, "
     "epoch_ms=, max_w=, safe_w=, state_dir=, -GUEST, +GUEST", 0, 0,
     fault_reload},
    {"send_note", FAULT_AGENT, FAULT_GUEST | FAULT_TEXT,
     "a program gives the agent a note: text is its type, a blank, its bytes",
     0, 0, send_note},
    {"flood_notes", FAULT_AGENT, FAULT_GUEST | FAULT_VALUE | FAULT_FOR,
     "a probe makes value large notes at each look, of 40 types", 0, 1000,
     flood_notes},

    {"hostile_guest", FAULT_AGENT, FAULT_GUEST | FAULT_VALUE | FAULT_FOR,
     "an attacker in the place of the agent, who does as value says", 0, 5,
     fault_hostile_guest},
    {"lie_meter", FAULT_HARDWARE, FAULT_VALUE | FAULT_FOR,
     "the power meter shows value of 1000 of what it should", 0, 100000,
     fault_lie_meter},
    {"lose_pstate", FAULT_HARDWARE, FAULT_CPU | FAULT_FOR,
     "the CPU's p-states can be neither set nor read", 0, 0,
     break_pstate, SIM_FAULT_GONE},
    {"stall_back", FAULT_LINE, FAULT_FOR,
     "what back says does not reach the engine", 0, 0, fault_stall, FAULT_BACK_LINE},
    {"stall_platform", FAULT_LINE, FAULT_FOR,
     "what the platform says does not reach the engine", 0, 0,
     fault_stall, FAULT_PLATFORM_LINE},
    {"stall_engine", FAULT_LINE, FAULT_FOR,
     "what the engine says does not reach the platform", 0, 0,
     fault_stall, FAULT_ENGINE_LINE},
    {"block_back", FAULT_LINE, FAULT_FOR, "the engine takes nothing of back's",
     0, 0, fault_block, FAULT_BACK_LINE},
    {"repeat_orders", FAULT_LINE, FAULT_VALUE | FAULT_FOR,
     "each order to the platform comes again, behind value others", 0, 3,
     fault_repeat_orders},
    {"delay_lines", FAULT_LINE, FAULT_VALUE | FAULT_FOR,
     "messages within the broker come value ms late", 0, 1500,
     fault_delay_lines},
    {"crash_back", FAULT_CRASH, FAULT_VALUE | FAULT_FOR,
     "back dies at the value-th thing it does; after for_s all return", 1, 1000,
     fault_crash, SIM_BACK},
    {"crash_engine", FAULT_CRASH, FAULT_VALUE | FAULT_FOR,
     "the engine dies at the value-th thing it does; after for_s all return", 1,
     1000, fault_crash, SIM_ENGINE},
    {"crash_platform", FAULT_CRASH, FAULT_VALUE | FAULT_FOR,
     "the platform dies at the value-th thing it does; after for_s all return",
     1, 1000, fault_crash, SIM_PLATFORM},
    {"crash_broker", FAULT_CRASH, FAULT_VALUE | FAULT_FOR,
     "all of the broker is killed at the engine's value-th thing; after for_s "
     "it returns", 1, 1000, fault_crash_broker},
    {"cut_power", FAULT_CRASH, FAULT_VALUE | FAULT_FOR,
     "as crash_broker, and the disk loses some of what was not synced", 1, 1000,
     fault_cut_power},
    {"fill_disk", FAULT_DISK, FAULT_FOR, "the journal finds no room", 0, 0,
     fault_break_disk, DISK_FULL},
    {"fail_disk", FAULT_DISK, FAULT_FOR, "the journal can't be written", 0, 0,
     fault_break_disk, DISK_FAILS},
    {"fail_sync", FAULT_DISK, FAULT_FOR,
     "the journal is written and can't be made to last", 0, 0,
     fault_break_disk, DISK_SYNC_FAILS},
    {"jump_wall", FAULT_CLOCK, FAULT_VALUE,
     "the wall clock jumps value seconds forward, or back", -1e9, 1e9,
     fault_jump_wall},
    {"jump_guest", FAULT_CLOCK, FAULT_GUEST | FAULT_VALUE,
     "the guest's clock jumps value seconds forward", 0, 100000,
     fault_jump_guest},
    {"stop_time", FAULT_CLOCK, FAULT_VALUE,
     "nobody but requests moves for value seconds, then it is that much later",
     0, 600, fault_stop_time},
    {"control_vm", FAULT_OPERATOR, FAULT_GUEST | FAULT_TEXT,
     "an operator wants the VM to do text: freeze, thaw, end or migrate HOST, "
     "of those in hypervisor/sim.h", 0, 0,
     fault_control_vm},
    {0},
};
/* clang-format on */

const struct fault *
fault_find(const char *name)
{
    for (const struct fault *fault = fault_table; fault->name; fault++) {
        if (!strcmp(fault->name, name)) {
            return fault;
        }
    }
    return NULL;
}
