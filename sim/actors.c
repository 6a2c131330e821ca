/* SPDX-License-Identifier: Apache-2.0 */
/* Who comes and goes in a world: its broker, which is journal, engine, platform
 * and back with pipes between them, and its guests' agents.  Wires their ports
 * to the world; their turns are world.c's.  Called by run.c, fault.c and
 * world.c. */
#include "sim/world.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "broker/back/back.h"
#include "broker/journal/journal.h"
#include "broker/journal/journalhead.h"
#include "broker/platform/platform.h"
#include "hardware/sim.h"
#include "hypervisor/sim.h"
#include "include/mchan.h"
#include "policy/policy.h"
#include "sim/disk.h"
#include "sim/hostile.h"
#include "sim/oracle.h"
#include "sim/trace.h"
#include "transport/sim.h"
#include "wire/msg.h"

/* Wall time at the start of a scenario. */
#define WALL_START (INT64_C(1790000000) * NSEC_PER_SEC)

static int open_channel(struct world *world, uint32_t guest, bool listens,
                        struct mchan **out);
static void end_broker(struct world *world);

/* The broker. */

/* Sends over a line of the broker's, unless the sender dies before that; whom
 * the dead speak to is nobody. */
static int
send_over(struct world *world, enum sim_process who, struct pipe *pipe,
          const struct msg *msg,
          void (*sent)(struct world *, const struct msg *))
{
    struct crash *crash = &world->crash;

    if (!crash_point(crash, world->trace, who, "before it sends")) {
        return 0;
    }
    int error = pipe_send(pipe, msg);
    if (!error && sent) {
        sent(world, msg);
    }
    (void)crash_point(crash, world->trace, who, "after it sent");
    return error;
}

static int
back_sends(void *ctx, const struct msg *msg)
{
    struct world *world = ctx;
    int error = send_over(world, SIM_BACK, &world->back_to_engine, msg,
                          oracle_from_back);

    /* What it still says to guests in this turn must not be heard. */
    for (uint32_t i = 0; world->crash.dead[SIM_BACK] && i < world->n_guests;
         i++) {
        sim_network_cut(world->network, world->scenario->guests[i].name);
    }
    return error;
}

static int
platform_sends(void *ctx, const struct msg *msg)
{
    struct world *world = ctx;

    return send_over(world, SIM_PLATFORM, &world->platform_to_engine, msg,
                     NULL);
}

static int
engine_sends(void *ctx, const struct msg *msg)
{
    struct world *world = ctx;

    return send_over(world, SIM_ENGINE, &world->engine_to_platform, msg,
                     oracle_ordered);
}

static int
engine_tells_back(void *ctx, const struct msg *msg)
{
    struct world *world = ctx;

    return send_over(world, SIM_ENGINE, &world->engine_to_back, msg, NULL);
}

static int64_t
wall_now(void *ctx)
{
    const struct world *world = ctx;

    return WALL_START + world->now - SCENARIO_START + world->wall_ahead_ns;
}

static void
engine_shows(void *ctx, const char *json)
{
}

static struct platform_env
platform_env(struct world *world)
{
    return (struct platform_env){
        .sys_dirfd = -1,
        .data_dirfd = -1,
        .proc_dirfd = -1,
        .state_dirfd = -1,
        .saved_dirfd = disk_saved_dirfd(world->disk),
        .cap_dirfd = -1,
        .cap_record = &world->cap_record,
        .hardware_sim = world->hardware,
        .hypervisor_sim = world->hypervisor,
        .to_engine = platform_sends,
        .ctx = world,
    };
}

/* As the parent does at each start, and after its platform died. */
static void
put_back(struct world *world)
{
    const struct platform_env env = platform_env(world);
    char why[CONFIG_WHY_SIZE];
    int n = platform_restore(&world->scenario->config, &env, why, sizeof why);

    if (n != 0) {
        trace_add(world->trace, "msim", "put back %d: %s", n, why);
    }
    world_follow_hardware(world);
}

static int
start_journal(struct world *world)
{
    const struct broker_config *config = &world->scenario->config;
    const struct journal_opts opts = {.size_max = config->journal_size_max,
                                      .age_max_s = config->journal_age_max_s,
                                      .no_thread = true};
    const char *path = disk_journal_path(world->disk);
    struct journal_head head;

    /* What the power's failure left of it; without it nothing is known. */
    if (journalhead_read(path, &head)) {
        memset(&head, 0, sizeof head);
    }
    int moved = journal_open(&world->journal, path, &opts, world->why,
                             sizeof world->why);

    if (moved >= 0 && oracle_power_lost(world)) {
        trace_add(world->trace, "msim", "the journal: %s",
                  moved ? "rows are missing" : "is whole");
        oracle_power_back(world, &head, moved > 0);
    } else if (moved > 0) {
        world_break(world, "the journal is damaged: %s", world->why);
    }
    return moved < 0 ? moved : 0;
}

static int
start_processes(struct world *world)
{
    const struct broker_config *config = &world->config;
    const struct platform_env env = platform_env(world);
    int error;

    world->port = (struct engine_port){.ctx = world,
                                       .to_platform = engine_sends,
                                       .to_back = engine_tells_back,
                                       .watch = engine_shows,
                                       .wall_ns = wall_now};
    error = engine_create(&world->engine, config, &world->port, world->journal,
                          world->now);
    if (!error) {
        error = platform_create(&world->platform, config, &env, world->now,
                                world->why, sizeof world->why);
    }
    if (!error) {
        const struct back_env back_env = {
            .to_engine = back_sends,
            .ctx = world,
            .start_count = journal_start_count(world->journal),
        };
        error = back_create(&world->back, config, &back_env);
    }
    return error ? error : world_open_back(world);
}

/* The place of a VM in the configuration in force, or -1. */
static int
back_place(const struct world *world, const struct uuid *uuid)
{
    for (uint32_t i = 0; i < world->config.n_guests; i++) {
        if (uuid_equal(&world->config.guests[i].uuid, uuid)) {
            return (int)i;
        }
    }
    return -1;
}

/* Its ends of the channels that it has not got yet. */
int
world_open_back(struct world *world)
{
    int error = 0;

    for (uint32_t i = 0; i < world->n_guests && !error; i++) {
        int place = back_place(world, &world->scenario->config.guests[i].uuid);
        struct mchan *channel;

        if (place < 0 || back_has_channel(world->back, (uint32_t)place)) {
            continue;
        }
        error = open_channel(world, i, true, &channel);
        if (!error) {
            back_add_channel(world->back, (uint32_t)place, channel);
        }
    }
    return error;
}

int
world_start_broker(struct world *world)
{
    const struct broker_config *config = &world->scenario->config;

    if (world->engine) {
        return 0;
    }
    for (uint32_t i = 0; i < config->n_cpus && !world->started; i++) {
        world->found[i] = hardware_sim_pstate(world->hardware, config->cpus[i]);
    }
    world->started = true;
    put_back(world);
    int error = start_journal(world);
    if (!error) {
        error = start_processes(world);
    }
    trace_add(world->trace, "msim", "the broker %s, policy %s",
              error ? "can't start" : "starts", world->config.policy->name);
    world->wanted = true;
    world->next_start = world->now + NSEC_PER_SEC;
    if (error) {
        end_broker(world);
    } else {
        oracle_broker_started(world);
    }
    if (crash_any(&world->crash)) {
        world_bury_broker(world);
    }
    return error;
}

/* What is left of it goes, each in its way: who is dead says nothing. */
static void
end_broker(struct world *world)
{
    back_destroy(world->back);
    engine_destroy(world->engine);
    platform_destroy(world->platform);
    journal_close(world->journal);
    world->back = NULL;
    world->engine = NULL;
    world->platform = NULL;
    world->journal = NULL;
    pipe_clear(&world->back_to_engine);
    pipe_clear(&world->platform_to_engine);
    pipe_clear(&world->engine_to_platform);
    pipe_clear(&world->engine_to_back);
    world_follow_hardware(world);
}

void
world_stop_broker(struct world *world)
{
    if (!world->journal) {
        return;
    }
    end_broker(world);
    world->wanted = false;
    trace_add(world->trace, "msim", "the broker stopped");
}

static void
cut_power(struct world *world)
{
    oracle_power_fails(world);
    uint32_t n = disk_cut_power(world->disk,
                                world->scenario->seed ^ (uint64_t)world->now);
    trace_add(world->trace, "msim", "the disk loses %" PRIu32 " sectors", n);
}

/* When one dies the parent has the others leave; if the platform did, a fresh
 * one puts back what that had changed.  If all were killed, so was the parent.
 */
void
world_bury_broker(struct world *world)
{
    struct crash *crash = &world->crash;
    bool platform_died = crash->dead[SIM_PLATFORM];

    for (uint32_t i = 0; crash->dead[SIM_BACK] && i < world->n_guests; i++) {
        sim_network_cut(world->network, world->scenario->guests[i].name);
    }
    end_broker(world);
    memset(crash->dead, 0, sizeof crash->dead);
    crash->countdown = 0;
    if (world->power_fails) {
        world->power_fails = false;
        cut_power(world);
    }
    if (platform_died && !crash->together) {
        put_back(world);
    }
    world->wanted = false;
    trace_add(world->trace, "msim", "the broker is down");
}

/* Agents. */

static nsec_t
guest_now(void *ctx)
{
    const struct world_guest *guest = ctx;

    return guest->world->now + guest->clock_ahead_ns;
}

static nsec_t
world_time(void *ctx)
{
    return ((const struct world *)ctx)->now;
}

static void
agent_says(void *ctx, enum log_level level, const char *line)
{
    const struct world_guest *guest = ctx;

    trace_add(guest->world->trace, guest->scenario->name, "%s", line);
}

/* The two ends of a guest's channel; the guest's lives by the guest's clock. */
static int
open_channel(struct world *world, uint32_t guest, bool listens,
             struct mchan **out)
{
    const char *uri = world->scenario->config.guests[guest].channel;
    struct mchan_opts opts = MCHAN_OPTS_INIT;

    opts.now_ns = listens ? world_time : guest_now;
    opts.now_ctx = listens ? (void *)world : &world->guests[guest];
    opts.seed = world->scenario->seed * 1000003 + 2 * guest + listens + 1;
    opts.seed += world->n_channels++ * UINT64_C(0x9e3779b97f4a7c15);
    opts.sim = world->network;
    return listens ? mchan_listen(out, uri, &opts)
                   : mchan_open(out, uri, &opts);
}

int
world_open_channel(struct world *world, uint32_t guest, struct mchan **out)
{
    return open_channel(world, guest, false, out);
}

int
world_start_agent(struct world *world, uint32_t index)
{
    struct world_guest *guest = &world->guests[index];
    const struct scenario_guest *scenario = guest->scenario;
    const struct agent_config config = {
        .sla = scenario->sla, .software = "msim", .claims = scenario->claims};
    struct mchan *channel;
    int error;

    if (guest->agent || guest->hostile || !scenario->agent ||
        !hypervisor_sim_is_here(world->hypervisor,
                                &world->scenario->config.guests[index].uuid)) {
        return 0;
    }
    error = open_channel(world, index, false, &channel);
    if (error) {
        snprintf(world->why, sizeof world->why, "%s: no channel: %s",
                 scenario->name, strerror(-error));
        return error;
    }
    guest->agent_env =
        (struct agent_env){.ctx = guest, .now = guest_now, .say = agent_says};
    guest->probe_env = (struct probe_env){.options = &guest->probe_options,
                                          .proc_dirfd = -1,
                                          .seed = scenario->load.seed,
                                          .world = &guest->probe_world};
    guest->channel = channel;
    error = agent_create(&guest->agent, &config, &guest->agent_env, channel,
                         guest_now(guest));
    if (!error) {
        error =
            agent_add_probe(guest->agent, probe_find("sim"), &guest->probe_env,
                            world->why, sizeof world->why);
    }
    return error;
}

void
world_stop_agent(struct world *world, uint32_t guest)
{
    agent_destroy(world->guests[guest].agent);
    world->guests[guest].agent = NULL;
}

void
world_kill_agent(struct world *world, uint32_t guest)
{
    hostile_destroy(world->guests[guest].hostile);
    world->guests[guest].hostile = NULL;
    if (!world->guests[guest].agent) {
        return;
    }
    sim_network_cut(world->network, world->scenario->guests[guest].name);
    world_stop_agent(world, guest);
}
