/* SPDX-License-Identifier: Apache-2.0 */
/* Puts a made-up host together and gives everybody their turns.  Within one
 * moment of virtual time the agents, back, engine and platform act one after
 * the other until nobody has anything left to do (world_settle); between two
 * moments only requests move (world_pass).  Messages between the broker's
 * processes go through pipes, those of the agents through the simulated
 * network, so that every byte is encoded, checked and decoded as on a host.
 * Called by run.c. */
#include "sim/world.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "broker/back/back.h"
#include "broker/platform/platform.h"
#include "hardware/hardware.h"
#include "hardware/ladder.h"
#include "hardware/sim.h"
#include "hardware/simcap.h"
#include "hypervisor/sim.h"
#include "sim/disk.h"
#include "sim/hostile.h"
#include "sim/machine.h"
#include "sim/oracle.h"
#include "sim/trace.h"
#include "transport/sim.h"
#include "wire/grant.h"
#include "wire/msg.h"

/* The made-up meter: what the host takes idle, and each CPU at most. */
#define IDLE_MW 100000
#define CPU_MW 20000

static int make_machine(struct world *world);
static int make_hardware(struct world *world);
static int make_guests(struct world *world);
static const char *who_is_due(const struct world *world);
static bool turn(struct world *world);
static void measure_power(struct world *world, nsec_t passed);
static nsec_t lines_deadline(const struct world *world);
static bool has_turns(const struct world *world, uint32_t guest);
static bool on_disk(void *ctx, const char *where);

int
world_create(struct world **out, const struct scenario *scenario,
             struct trace *trace, char *why, size_t why_size)
{
    struct world *world = calloc(1, sizeof *world);
    int error = -ENOMEM;

    if (world) {
        world->scenario = scenario;
        world->trace = trace;
        world->now = SCENARIO_START;
        world->power_mw = IDLE_MW;
        world->meter_permille = 1000;
        for (int i = 0; i < FAULT_N_CLASSES; i++) {
            world->disturbed[i] = world->now;
        }
        world->n_guests = scenario->n_guests;
        error = pipe_init(&world->back_to_engine, "back>engine", trace);
    }
    error =
        error ? error
              : pipe_init(&world->platform_to_engine, "platform>engine", trace);
    error =
        error ? error
              : pipe_init(&world->engine_to_platform, "engine>platform", trace);
    error =
        error ? error : pipe_init(&world->engine_to_back, "engine>back", trace);
    error = error ? error : sim_network_create(&world->network, scenario->seed);
    error = error ? error : oracle_create(&world->oracle);
    error = error ? error : disk_create(&world->disk, on_disk, world);
    error = error ? error : make_hardware(world);
    error = error ? error : make_machine(world);
    error = error ? error : make_guests(world);
    if (error) {
        snprintf(why, why_size, "the world can't be made: %s",
                 strerror(-error));
        world_destroy(world);
        return error;
    }
    world_follow_hardware(world);
    measure_power(world, 0);
    *out = world;
    return 0;
}

void
world_destroy(struct world *world)
{
    if (!world) {
        return;
    }
    for (uint32_t i = 0; i < world->n_guests; i++) {
        agent_destroy(world->guests[i].agent);
        hostile_destroy(world->guests[i].hostile);
        free(world->guests[i].requests);
    }
    world_stop_broker(world);
    config_fini(&world->config);
    machine_destroy(world->machine);
    hardware_sim_destroy(world->hardware);
    hypervisor_sim_destroy(world->hypervisor);
    disk_destroy(world->disk);
    oracle_destroy(world->oracle);
    sim_network_destroy(world->network);
    pipe_fini(&world->back_to_engine);
    pipe_fini(&world->platform_to_engine);
    pipe_fini(&world->engine_to_platform);
    pipe_fini(&world->engine_to_back);
    free(world);
}

int
world_settle(struct world *world)
{
    for (int i = 0; i < WORLD_ROUNDS_MAX; i++) {
        if (!turn(world) && world_deadline(world) > world->now) {
            return 0;
        }
    }
    snprintf(world->why, sizeof world->why,
             "after %d turns at one moment %s still wants another",
             WORLD_ROUNDS_MAX, who_is_due(world));
    return -ELOOP;
}

nsec_t
world_deadline(const struct world *world)
{
    nsec_t deadline = sim_network_deadline(world->network);

    if (world->engine) {
        deadline = nsec_min(deadline, engine_deadline(world->engine));
        deadline = nsec_min(deadline, platform_deadline(world->platform));
        deadline = nsec_min(deadline, back_deadline(world->back));
        deadline = nsec_min(deadline, lines_deadline(world));
    } else if (world->wanted) {
        deadline = nsec_min(deadline, world->next_start);
    }
    for (uint32_t i = 0; i < world->n_guests; i++) {
        const struct world_guest *guest = &world->guests[i];
        nsec_t ahead = guest->clock_ahead_ns;

        if (guest->hostile) {
            deadline = nsec_min(deadline, hostile_deadline(guest->hostile));
        }
        if (has_turns(world, i)) {
            nsec_t due = agent_deadline(guest->agent, world->now + ahead);

            deadline =
                nsec_min(deadline, due == NSEC_NEVER ? due : due - ahead);
        }
    }
    return deadline;
}

void
world_pass(struct world *world, nsec_t to)
{
    nsec_t passed = to - world->now;

    machine_run(world->machine, to);
    world->now = to;
    world->trace->now = world_elapsed(world);
    measure_power(world, passed);
    for (uint32_t i = 0; i < world->n_guests; i++) {
        /* A VM that ended is no longer known; then nobody asks either. */
        (void)hypervisor_sim_set_busy(world->hypervisor,
                                      &world->scenario->config.guests[i].uuid,
                                      machine_busy_ns(world->machine, i));
    }
}

nsec_t
world_elapsed(const struct world *world)
{
    return world->now - SCENARIO_START;
}

uint32_t
world_cpu_place(const struct world *world, uint32_t cpu)
{
    const struct broker_config *config = &world->scenario->config;
    uint32_t place = 0;

    while (place < config->n_cpus && config->cpus[place] != cpu) {
        place++;
    }
    assert(place < config->n_cpus);
    return place;
}

/* For people: who keeps the clock from going on. */
static const char *
who_is_due(const struct world *world)
{
    if (sim_network_deadline(world->network) <= world->now) {
        return "the network";
    } else if (world->engine && engine_deadline(world->engine) <= world->now) {
        return "the engine";
    } else if (world->engine &&
               platform_deadline(world->platform) <= world->now) {
        return "the platform";
    } else if (world->engine && back_deadline(world->back) <= world->now) {
        return "back";
    }
    return "an agent or a line";
}

/* When something comes over a line within the broker. */
static nsec_t
lines_deadline(const struct world *world)
{
    nsec_t due = nsec_min(pipe_deadline(&world->back_to_engine),
                          pipe_deadline(&world->platform_to_engine));

    due = nsec_min(due, pipe_deadline(&world->engine_to_platform));
    due = nsec_min(due, pipe_deadline(&world->engine_to_back));
    return due == NSEC_NEVER ? due : due + SCENARIO_START;
}

/* Whether a guest's agent is given the CPU. */
static bool
has_turns(const struct world *world, uint32_t guest)
{
    return world->guests[guest].agent && !world->guests[guest].silent &&
           world_guest_runs(world, guest);
}

bool
world_guest_runs(const struct world *world, uint32_t guest)
{
    return hypervisor_sim_runs(world->hypervisor,
                               &world->scenario->config.guests[guest].uuid);
}

nsec_t
world_calm(const struct world *world, enum fault_class class)
{
    return world->n_faults[class] > 0 ? 0
                                      : world->now - world->disturbed[class];
}

void
world_break(struct world *world, const char *format, ...)
{
    va_list args;

    if (world->broken[0]) {
        return;
    }
    va_start(args, format);
    vsnprintf(world->broken, sizeof world->broken, format, args);
    va_end(args);
    trace_add(world->trace, "msim", "BROKEN: %s", world->broken);
}

/* One round: everybody once, in the order in which data passes through them. */

static bool
run_agents(struct world *world)
{
    bool any = sim_network_run(world->network, world->now);

    for (uint32_t i = 0; i < world->n_guests; i++) {
        struct world_guest *guest = &world->guests[i];

        if (guest->hostile) {
            hostile_run(guest->hostile, world->now);
        }
        if (has_turns(world, i)) {
            agent_on_channel(guest->agent);
            agent_run(guest->agent, world->now + guest->clock_ahead_ns);
            (void)agent_arm(guest->agent);
        }
    }
    return any;
}

static bool
run_back(struct world *world)
{
    bool any = false;
    struct msg msg;

    while (pipe_take(&world->engine_to_back, &msg)) {
        assert(msg.type == MSG_VM_RENEWED);
        back_renew(world->back, &msg.vm_renewed.vm, msg.vm_renewed.since_ns);
        any = true;
    }
    for (uint32_t i = 0; i < world->config.n_guests; i++) {
        back_mark_ready(world->back, i);
    }
    back_run(world->back, world->now);
    return any;
}

static bool
run_engine(struct world *world)
{
    bool any = false;
    struct msg msg;

    while (pipe_take(&world->platform_to_engine, &msg)) {
        oracle_outcome(world, &msg);
        engine_on_event(world->engine, &msg, world->now);
        any = true;
    }
    while (pipe_take(&world->back_to_engine, &msg)) {
        engine_on_event(world->engine, &msg, world->now);
        any = true;
    }
    if (any || engine_deadline(world->engine) <= world->now) {
        engine_run(world->engine, world->now);
        oracle_engine_ran(world);
    }
    return any;
}

static bool
run_platform(struct world *world)
{
    bool any = false;
    struct msg msg;

    while (platform_has_room(world->platform) &&
           pipe_take(&world->engine_to_platform, &msg)) {
        assert(grant_find(msg.type, GRANT_ENGINE, GRANT_PLATFORM));
        world->order = &msg;
        platform_on_msg(world->platform, &msg, world->now);
        world->order = NULL;
        any = true;
    }
    platform_run(world->platform, world->now);
    world_follow_hardware(world);
    return any;
}

static bool
turn(struct world *world)
{
    bool any = run_agents(world);

    if (!world->engine && world->wanted && world->next_start <= world->now) {
        (void)world_start_broker(world);
        any = true;
    }
    /* Who dies is buried before the others have their turn. */
    static bool (*const turns[])(struct world *) = {run_back, run_engine,
                                                    run_platform};

    for (size_t i = 0; i < 3 && world->engine; i++) {
        any |= turns[i](world);
        if (crash_any(&world->crash)) {
            world_bury_broker(world);
            any = true;
        }
    }
    return any || (world->engine && lines_deadline(world) <= world->now);
}

/* The machine runs at the frequencies that the hardware really has, and VMs run
 * that the hypervisor lets run. */
void
world_follow_hardware(struct world *world)
{
    const struct broker_config *config = &world->scenario->config;

    for (uint32_t i = 0; i < config->n_cpus; i++) {
        uint32_t pstate = hardware_sim_pstate(world->hardware, config->cpus[i]);
        uint32_t khz = hardware_sim_freq_khz(world->hardware, config->cpus[i]);

        machine_set_freq(world->machine, i, khz);
        if (pstate != world->pstates[i]) {
            trace_add(world->trace, "hardware",
                      "cpu %" PRIu32 " p-state %" PRIu32 " -> %" PRIu32
                      " (%" PRIu32 " MHz)",
                      config->cpus[i], world->pstates[i], pstate, khz / 1000);
            world->pstates[i] = pstate;
            world->pstate_hashes[i] =
                (world->pstate_hashes[i] ^ pstate ^ (uint64_t)world->now) *
                UINT64_C(0x9e3779b97f4a7c15);
        }
    }
    for (uint32_t i = 0; i < world->n_guests; i++) {
        const struct uuid *vm = &config->guests[i].uuid;

        machine_set_running(world->machine, i, world_guest_runs(world, i));
        if (!hypervisor_sim_is_here(world->hypervisor, vm)) {
            world_kill_agent(world, i);
        }
    }
}

/* Dynamic power goes with the frequency and the square of the voltage, while a
 * CPU is busy. */
static void
measure_power(struct world *world, nsec_t passed)
{
    double khz0 = world->reference_khz;
    double mv0 = world->reference_mv;
    double power_mw = IDLE_MW;

    for (uint32_t i = 0; i < world->n_guests && passed > 0; i++) {
        struct world_guest *guest = &world->guests[i];
        uint64_t busy_ns = machine_busy_ns(world->machine, i);
        double busy = (double)(busy_ns - guest->busy_ns) / (double)passed;
        double khz = hardware_sim_freq_khz(world->hardware, guest->cpu);
        double mv = hardware_sim_voltage_mv(world->hardware, guest->cpu);

        power_mw += CPU_MW * busy * khz / khz0 * (mv / mv0) * (mv / mv0);
        guest->busy_ns = busy_ns;
    }
    /* XXX: a real cap slows the CPUs down; this one only takes its watts. */
    uint64_t cap_mw = hardware_sim_cap(world->hardware)->mw;
    if (cap_mw && power_mw > (double)cap_mw) {
        power_mw = (double)cap_mw;
    }
    if (passed > 0) {
        world->power_mw = (uint64_t)power_mw;
        world->energy_mj += power_mw * (double)passed / (double)NSEC_PER_SEC;
    }
    hardware_sim_set_power(world->hardware,
                           world->sensor_lost ? QUALITY_UNKNOWN
                                              : QUALITY_MEASURED,
                           world->power_mw * world->meter_permille / 1000);
}

/* Making the world. */

/* The disk is the engine's, hardware and VMs are the platform's. */

static bool
on_disk(void *ctx, const char *where)
{
    struct world *world = ctx;

    return crash_point(&world->crash, world->trace, SIM_ENGINE, where);
}

static bool
on_hardware(void *ctx, enum hardware_sim_touch touch, uint32_t domain,
            uint32_t pstate)
{
    struct world *world = ctx;

    if (touch == HARDWARE_SIM_SET) {
        return crash_point(&world->crash, world->trace, SIM_PLATFORM,
                           "before it sets a p-state");
    } else if (touch == HARDWARE_SIM_WAS_SET) {
        oracle_pstate_set(world, domain, pstate);
        return crash_point(&world->crash, world->trace, SIM_PLATFORM,
                           "after it set a p-state");
    } else if (touch == HARDWARE_SIM_CAP_SET) {
        return crash_point(&world->crash, world->trace, SIM_PLATFORM,
                           "before it sets a cap");
    } else if (touch == HARDWARE_SIM_CAP_WAS_SET) {
        oracle_cap_set(world);
        return crash_point(&world->crash, world->trace, SIM_PLATFORM,
                           "after it set a cap");
    }
    return !world->crash.dead[SIM_PLATFORM];
}

static bool
on_vm(void *ctx, const struct uuid *vm, enum vm_op op, bool done)
{
    struct world *world = ctx;

    if (done) {
        oracle_vm_operated(world, vm, op);
    }
    return crash_point(&world->crash, world->trace, SIM_PLATFORM,
                       done ? "after it operated on a VM"
                            : "before it operates on a VM");
}

static int
make_hardware(struct world *world)
{
    const struct broker_config *config = &world->scenario->config;
    const struct hardware_env env = {.cpus = config->cpus,
                                     .n_cpus = config->n_cpus,
                                     .options = &config->pstate_options};
    struct pstate_domain *domains;
    int n = ladder_domains(&domains, &env, world->why, sizeof world->why);
    int error;

    if (n < 0) {
        return n;
    }
    error = hardware_sim_create(&world->hardware, domains, (uint32_t)n);
    if (!error) {
        hardware_sim_watch(world->hardware, on_hardware, world);
    }
    world->reference_khz = domains[0].table.freq_khz[0];
    world->reference_mv = domains[0].table.voltage_mv[0];
    free(domains);
    return error;
}

static void
on_done(void *ctx, const struct machine_done *done)
{
    struct world *world = ctx;
    struct world_guest *guest = &world->guests[done->guest];
    uint64_t response_us =
        (uint64_t)(done->ended - done->arrived) / NSEC_PER_USEC;

    guest->n_requests++;
    guest->n_slow += response_us > guest->scenario->sla.threshold_us;
    if (response_us > guest->slowest_us) {
        guest->slowest_us = response_us;
    }
    probe_world_add(&guest->probe_world, done->ended + guest->clock_ahead_ns,
                    response_us);
}

static int
make_machine(struct world *world)
{
    const struct scenario *scenario = world->scenario;
    const struct machine_env env = {.ctx = world, .done = on_done};
    struct machine_load *loads =
        calloc((size_t)world->n_guests + 1, sizeof *loads);
    int error;

    if (!loads) {
        return -ENOMEM;
    }
    for (uint32_t i = 0; i < world->n_guests; i++) {
        loads[i] = scenario->guests[i].load;
        loads[i].cpu = world_cpu_place(world, scenario->guests[i].cpu);
        loads[i].seed ^= scenario->seed * UINT64_C(0x9e3779b97f4a7c15);
        for (uint32_t k = 0; k < loads[i].n_steps; k++) {
            loads[i].steps[k].at += SCENARIO_START;
        }
    }
    error = machine_create(&world->machine, scenario->config.n_cpus,
                           world->reference_khz, loads, world->n_guests, &env,
                           world->now);
    free(loads);
    return error;
}

static int
make_guests(struct world *world)
{
    const struct scenario *scenario = world->scenario;
    int error = hypervisor_sim_create(&world->hypervisor);

    world->config = scenario->config;
    world->config.guests =
        calloc(world->n_guests + 1, sizeof *world->config.guests);
    if (!world->config.guests) {
        world->config.n_guests = 0;
        return -ENOMEM;
    }
    memcpy(world->config.guests, scenario->config.guests,
           world->n_guests * sizeof *world->config.guests);

    if (!error) {
        hypervisor_sim_watch(world->hypervisor, on_vm, world);
    }
    for (uint32_t i = 0; i < world->n_guests && !error; i++) {
        struct world_guest *guest = &world->guests[i];
        const struct guest_config *config = &scenario->config.guests[i];

        guest->scenario = &scenario->guests[i];
        guest->world = world;
        guest->clock_ahead_ns = scenario->guests[i].clock_ahead_ns;
        guest->cpu = scenario->guests[i].cpu;
        guest->requests = calloc(WORLD_REQUESTS_MAX, sizeof *guest->requests);
        if (!guest->requests) {
            return -ENOMEM;
        }
        probe_world_init(&guest->probe_world, guest->requests,
                         WORLD_REQUESTS_MAX);
        options_init(&guest->probe_options, probe_find("sim")->options);
        sim_network_set_delay(world->network, config->name,
                              guest->scenario->delay_ns);
        error =
            hypervisor_sim_add(world->hypervisor, &config->uuid, config->name,
                               config->n_vcpus, config->vcpu_cpu);
    }
    return error;
}
