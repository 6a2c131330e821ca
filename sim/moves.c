/* SPDX-License-Identifier: Apache-2.0 */
/* Leads a world of moving VMs (moves.h) from one moment at which something is
 * due to the next: a while of trouble, then none, then everything must have
 * settled.  Called by msim.c and tests. */
#include "sim/moves.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "channel/channel.h"
#include "sim/movesparts.h"
#include "transport/sim.h"

#define START (1000 * NSEC_PER_SEC)
/* After the trouble: what was handed over is forgotten a minute later. */
#define QUIET_NS (130 * NSEC_PER_SEC)
#define SETTLED_NS (10 * NSEC_PER_SEC)
#define FIRST_NS (100 * NSEC_PER_MSEC) /* A guest is up before it moves. */
#define ROUNDS_MAX 5000

void
moves_fail(struct moves *world, const char *format, ...)
{
    struct moves_result *result = world->result;
    va_list args;
    if (result->why[0]) {
        return;
    }
    int used =
        snprintf(result->why, sizeof result->why,
                 "at %.6f s: ", (double)(world->now - START) / NSEC_PER_SEC);
    va_start(args, format);
    vsnprintf(result->why + used, sizeof result->why - (size_t)used, format,
              args);
    va_end(args);
}

bool
moves_chance(struct moves *world, double chance)
{
    return prng_real(&world->prng) < chance;
}

nsec_t
moves_between(struct moves *world, nsec_t from, nsec_t to)
{
    return from + (nsec_t)prng_below(&world->prng, (uint64_t)(to - from) + 1);
}

bool
moves_by_chance(const struct moves *world)
{
    return !world->config->events;
}

bool
moves_heals(const struct moves *world)
{
    return world->now >= world->healed;
}

int64_t
moves_clock(void *ctx)
{
    return ((const struct moves *)ctx)->now;
}

/* Who can't reach whom, for a while. */
static void
cut_off(struct moves *world)
{
    uint32_t n = world->config->n_brokers;
    uint32_t a = (uint32_t)prng_below(&world->prng, n);
    uint32_t b = (uint32_t)prng_below(&world->prng, n);
    if (!world->config->rough || !moves_by_chance(world) ||
        moves_heals(world) || !moves_chance(world, 0.0005)) {
        return;
    }
    nsec_t until = nsec_min(
        world->healed, world->now + moves_between(world, 0, 4 * NSEC_PER_SEC));
    trace_add(&world->trace, "msim", "%u and %u can't reach each other", a, b);
    world->brokers[a].cut_off_until[b] = until;
    world->brokers[b].cut_off_until[a] = until;
}

static void
cut_off_these(struct moves *world, const struct moves_event *event)
{
    nsec_t until = world->now + event->lasts;
    world->brokers[event->a].cut_off_until[event->b] = until;
    world->brokers[event->b].cut_off_until[event->a] = until;
}

/* What the scenario has happen now. */
static void
run_events(struct moves *world)
{
    const struct moves_config *config = world->config;
    for (; world->n_done < config->n_events; world->n_done++) {
        const struct moves_event *event = &config->events[world->n_done];
        if (world->start + event->at > world->now) {
            return;
        }
        switch (event->what) {
        case MOVES_KILL:
            broker_crash(world, event->a);
            world->result->n_crashes++;
            world->brokers[event->a].returns = world->now + event->lasts;
            break;
        case MOVES_CUT_OFF:
            cut_off_these(world, event);
            break;
        case MOVES_LATE:
            world->hosts[event->a].late = event->lasts;
            break;
        case MOVES_MOVE:
        case MOVES_SNAPSHOT:
        case MOVES_REVERT:
        case MOVES_CLONE:
        case MOVES_RESTART:
        case MOVES_N_WHATS:
            vm_begin(world, event);
            break;
        }
    }
}

static bool
turn(struct moves *world)
{
    run_events(world);
    bool any = sim_network_run(world->network, world->now);
    post_deliver(world);
    hosts_run(world);
    for (uint32_t i = 0; i < world->config->n_brokers; i++) {
        broker_run(world, i);
        any |= broker_turn(world, i);
    }
    for (uint32_t i = 0; i < world->config->n_vms; i++) {
        if (world->vms[i].state == VM_RUNS) {
            any |= talker_turn(&world->vms[i].guest);
        }
    }
    return any;
}

static void
settle(struct moves *world)
{
    int n = 0;
    while (turn(world)) {
        if (++n == ROUNDS_MAX) {
            moves_fail(world, "nobody comes to rest");
            return;
        }
    }
}

static nsec_t
next_moment(const struct moves *world)
{
    nsec_t next =
        nsec_min(sim_network_deadline(world->network),
                 nsec_min(post_deadline(world), hosts_deadline(world)));
    if (world->n_done < world->config->n_events) {
        next = nsec_min(next,
                        world->start + world->config->events[world->n_done].at);
    }
    for (uint32_t i = 0; i < world->config->n_brokers; i++) {
        const struct broker *broker = &world->brokers[i];
        next = nsec_min(next, broker->handoff
                                  ? nsec_min(broker->dies,
                                             handoff_deadline(broker->handoff))
                                  : broker->returns);
        for (uint32_t vm = 0; broker->handoff && vm < world->config->n_vms;
             vm++) {
            next = nsec_min(next, talker_deadline(&broker->talkers[vm]));
        }
    }
    return next;
}

static void
pass_to(struct moves *world, nsec_t end)
{
    while (world->now < end && !world->result->why[0]) {
        settle(world);
        nsec_t next = nsec_min(next_moment(world), end);
        world->now = next > world->now ? next : world->now + 1;
        world->trace.now = world->now - START;
        cut_off(world);
        const char *why = ledger_why(world->ledger);
        if (why[0]) {
            moves_fail(world, "%s", why);
        }
    }
}

/* What must hold some seconds after the trouble. */

static void
check_pair(struct moves *world, uint32_t vm)
{
    const struct machine_vm *machine = &world->vms[vm];
    const struct talker *there = &world->brokers[machine->host].talkers[vm];
    const struct session *guest = &machine->guest.channel->session;
    const struct session *mvm = &there->channel->session;
    if (!guest->sends || !mvm->sends || guest->id != mvm->id ||
        guest->attachment != mvm->attachment) {
        moves_fail(world, "vm %u and broker %u do not get together", vm,
                   machine->host);
    } else if (guest->acked != guest->sent || mvm->acked != mvm->sent) {
        moves_fail(world, "vm %u: not all is acknowledged", vm);
    } else if (there->value != machine->guest.n_values ||
               machine->guest.value != there->n_values) {
        moves_fail(world, "vm %u: the newest values did not come", vm);
    }
}

/* The session of which a broker's end knows more than the name; 0: none. */
static uint64_t
remembers(const struct moves *world, uint32_t host, uint32_t vm)
{
    const struct session *session =
        &world->brokers[host].talkers[vm].channel->session;
    return session->unsettled ? 0 : session->id;
}

static void
check_settled(struct moves *world)
{
    for (uint32_t vm = 0; vm < world->config->n_vms && !world->result->why[0];
         vm++) {
        const struct handoff_vm id = vm_id(vm);
        check_pair(world, vm);
        for (uint32_t i = 0; i < world->config->n_brokers; i++) {
            enum handoff_state state =
                handoff_state(world->brokers[i].handoff, &id);
            bool here = i == world->vms[vm].host;
            if ((here && state != HANDOFF_HOLDING) ||
                state == HANDOFF_WANTING || state == HANDOFF_IMPORTING) {
                moves_fail(world, "broker %u did not settle vm %u (%d)", i, vm,
                           (int)state);
            }
        }
    }
}

static void
check_forgotten(struct moves *world)
{
    for (uint32_t i = 0; i < world->config->n_brokers; i++) {
        struct handoff_stats stats;
        for (uint32_t vm = 0; vm < world->config->n_vms; vm++) {
            if (i != world->vms[vm].host && remembers(world, i, vm)) {
                moves_fail(world, "broker %u still has a session of vm %u", i,
                           vm);
            }
        }
        handoff_stats(world->brokers[i].handoff, &stats);
        if (stats.n_bytes) {
            moves_fail(world, "broker %u still keeps %" PRIu64 " bytes", i,
                       stats.n_bytes);
        }
    }
    if (!ledger_balances(world->ledger)) {
        moves_fail(world, "%s", ledger_why(world->ledger));
    }
}

/* The whole. */

static int
set_up(struct moves *world, const struct moves_config *config, FILE *trace,
       struct moves_result *out)
{
    memset(out, 0, sizeof *out);
    world->config = config;
    world->result = out;
    trace_init(&world->trace, trace);
    prng_init(&world->prng, config->seed);
    world->start = world->now = START;
    world->healed = START + config->duration;
    if (sim_network_create(&world->network, prng_u64(&world->prng)) ||
        ledger_create(&world->ledger)) {
        moves_fail(world, "no memory");
        return -1;
    }
    sim_network_run(world->network, world->now);
    for (uint32_t i = 0; i < config->n_brokers; i++) {
        broker_start(world, i);
    }
    for (uint32_t vm = 0; vm < config->n_vms; vm++) {
        struct machine_vm *machine = &world->vms[vm];
        char place[64];
        machine->host = (uint32_t)prng_below(&world->prng, config->n_brokers);
        machine->next =
            world->now + moves_between(world, FIRST_NS, NSEC_PER_SEC);
        if (!moves_by_chance(world)) {
            machine->host = config->places[vm];
            machine->next = NSEC_NEVER;
        }
        for (uint32_t i = 0; i < config->n_brokers; i++) {
            place_name(place, sizeof place, vm, i);
            sim_network_set_delay(world->network, place,
                                  moves_between(world, 20000, 500000));
        }
        guest_start(world, vm);
    }
    return 0;
}

static void
tear_down(struct moves *world)
{
    for (uint32_t i = 0; i < world->config->n_vms; i++) {
        mchan_close(world->vms[i].guest.channel);
    }
    for (uint32_t i = 0; i < world->config->n_brokers; i++) {
        broker_crash(world, i);
    }
    post_clear(world);
    sim_network_destroy(world->network);
    ledger_destroy(world->ledger);
}

static void
sum_up(struct moves *world)
{
    struct moves_result *result = world->result;
    struct ledger_counts counts;
    ledger_counts(world->ledger, &counts);
    result->n_sent = counts.n_sent;
    result->n_given = counts.n_given;
    result->n_repeated = counts.n_repeated;
    result->n_told = counts.n_told;
    result->trace_hash = world->trace.hash;
    result->passed = !result->why[0];
}

void
moves_run(const struct moves_config *config, FILE *trace,
          struct moves_result *out)
{
    struct moves *world = calloc(1, sizeof *world);
    if (!world) {
        memset(out, 0, sizeof *out);
        snprintf(out->why, sizeof out->why, "no memory");
        return;
    }
    if (!set_up(world, config, trace, out)) {
        pass_to(world, world->healed + SETTLED_NS);
        if (!out->why[0]) {
            check_settled(world);
        }
        pass_to(world, world->healed + QUIET_NS);
        if (!out->why[0]) {
            check_forgotten(world);
        }
        sum_up(world);
    }
    tear_down(world);
    out->trace_hash = world->trace.hash;
    free(world);
}
