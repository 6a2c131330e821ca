/* SPDX-License-Identifier: Apache-2.0 */
/* Who comes and goes in a world: its broker, which is journal, engine, platform
 * and back with pipes between them, and its guests' agents.  Wires their ports
 * to the world; their turns are world.c's.  Called by run.c, fault.c and
 * world.c. */
#include "sim/world.h"

#include <stdio.h>
#include <string.h>

#include "broker/back/back.h"
#include "broker/journal/journal.h"
#include "broker/platform/platform.h"
#include "hardware/sim.h"
#include "include/mchan.h"
#include "policy/policy.h"
#include "sim/trace.h"
#include "transport/sim.h"
#include "wire/msg.h"

static int open_channel(struct world *world, uint32_t guest, bool listens,
                        struct mchan **out);

/* The broker. */

static int
back_sends(void *ctx, const struct msg *msg)
{
    return pipe_send(&((struct world *)ctx)->back_to_engine, msg);
}

static int
platform_sends(void *ctx, const struct msg *msg)
{
    return pipe_send(&((struct world *)ctx)->platform_to_engine, msg);
}

static int
engine_sends(void *ctx, const struct msg *msg)
{
    return pipe_send(&((struct world *)ctx)->engine_to_platform, msg);
}

static void
engine_shows(void *ctx, const char *json)
{
}

int
world_start_broker(struct world *world)
{
    const struct broker_config *config = &world->scenario->config;
    const struct journal_opts opts = {.size_max = config->journal_size_max,
                                      .age_max_s = config->journal_age_max_s};
    const struct platform_env platform_env = {
        .sys_dirfd = -1,
        .data_dirfd = -1,
        .proc_dirfd = -1,
        .state_dirfd = -1,
        .saved_dirfd = -1,
        .hardware_sim = world->hardware,
        .hypervisor_sim = world->hypervisor,
        .to_engine = platform_sends,
        .ctx = world,
    };
    int error;

    if (world->engine) {
        return 0;
    }
    for (uint32_t i = 0; i < config->n_cpus && !world->started; i++) {
        world->found[i] = hardware_sim_pstate(world->hardware, config->cpus[i]);
    }
    world->started = true;
    error = journal_open(&world->journal, NULL, &opts, world->why,
                         sizeof world->why);
    if (error) {
        return error;
    }
    world->port = (struct engine_port){
        .ctx = world, .to_platform = engine_sends, .watch = engine_shows};
    error = engine_create(&world->engine, config, &world->port, world->journal,
                          world->now);
    if (!error) {
        error = platform_create(&world->platform, config, &platform_env,
                                world->now, world->why, sizeof world->why);
    }
    if (!error) {
        const struct back_env env = {
            .to_engine = back_sends,
            .ctx = world,
            .start_count = journal_start_count(world->journal),
        };
        error = back_create(&world->back, config, &env);
    }
    for (uint32_t i = 0; i < world->n_guests && !error; i++) {
        struct mchan *channel;

        error = open_channel(world, i, true, &channel);
        if (!error) {
            back_add_channel(world->back, i, channel);
        }
    }
    trace_add(world->trace, "msim", "the broker starts, policy %s",
              config->policy->name);
    return error;
}

void
world_stop_broker(struct world *world)
{
    if (!world->journal) {
        return;
    }
    back_destroy(world->back);
    engine_destroy(world->engine);
    platform_destroy(world->platform);
    journal_close(world->journal);
    world->back = NULL;
    world->engine = NULL;
    world->platform = NULL;
    world->journal = NULL;
    world->back_to_engine.first = world->back_to_engine.used = 0;
    world->platform_to_engine.first = world->platform_to_engine.used = 0;
    world->engine_to_platform.first = world->engine_to_platform.used = 0;
    trace_add(world->trace, "msim", "the broker stopped");
    world_follow_hardware(world);
}

/* Agents. */

static nsec_t
guest_now(void *ctx)
{
    const struct world_guest *guest = ctx;

    return guest->world->now + guest->scenario->clock_ahead_ns;
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
    opts.sim = world->network;
    return listens ? mchan_listen(out, uri, &opts)
                   : mchan_open(out, uri, &opts);
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

    if (guest->agent) {
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
    sim_network_cut(world->network, world->scenario->guests[guest].name);
    world_stop_agent(world, guest);
}
