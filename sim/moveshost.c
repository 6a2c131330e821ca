/* SPDX-License-Identifier: Apache-2.0 */
/* Hosts and VMs in msim's moves.  A VM pauses, and then runs elsewhere or where
 * it was; its guest does nothing meanwhile.  Its hypervisors tell their
 * brokers, in order but late.  In rough times it is also set back to a
 * snapshot, cloned, or its agent is started again.  Called by moves.c. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "channel/channel.h"
#include "sim/movesparts.h"
#include "transport/sim.h"

#define MS NSEC_PER_MSEC

/* Guests. */

static void
open_guest(struct moves *world, uint32_t vm)
{
    struct machine_vm *machine = &world->vms[vm];
    struct talker *talker = &machine->guest;
    struct mchan_opts opts = MCHAN_OPTS_INIT;
    char uri[32];
    snprintf(uri, sizeof uri, "sim:vm%u", vm);
    talker->guest = true;
    talker->vm = vm;
    talker->host = machine->host;
    talker_name(world, talker);
    opts.now_ns = moves_clock;
    opts.now_ctx = world;
    opts.seed = prng_u64(&world->prng) | 1;
    opts.sim = world->network;
    opts.ring_size = RING_SIZE;
    opts.retry_max_ms = 50;
    if (mchan_open(&talker->channel, uri, &opts)) {
        talker->channel = NULL;
        moves_fail(world, "no channel for vm %u", vm);
    }
}

void
guest_start(struct moves *world, uint32_t vm)
{
    char name[32], place[64];
    snprintf(name, sizeof name, "vm%u", vm);
    place_name(place, sizeof place, vm, world->vms[vm].host);
    sim_network_move(world->network, name, place, 0);
    open_guest(world, vm);
}

/* Its memory is gone, and what it still had to say. */
static void
kill_guest(struct moves *world, uint32_t vm)
{
    struct machine_vm *machine = &world->vms[vm];
    char place[64];
    place_name(place, sizeof place, vm, machine->host);
    sim_network_cut(world->network, place);
    mchan_close(machine->guest.channel);
    machine->guest.channel = NULL;
    ledger_gone(world->ledger, machine->guest.name);
    world->result->n_set_back++;
}

static void
take_snapshot(struct moves *world, uint32_t vm)
{
    struct machine_vm *machine = &world->vms[vm];
    struct mchan *channel = machine->guest.channel;
    (void)mchan_suspend(channel);
    ssize_t size =
        mchan_export(channel, machine->snapshot, sizeof machine->snapshot);
    if (size < 0) {
        (void)mchan_resume(channel, NULL);
        return;
    }
    trace_add(&world->trace, "msim", "vm %u: snapshot", vm);
    machine->snapshot_size = (size_t)size;
    if (mchan_import(channel, machine->snapshot, (size_t)size)) {
        moves_fail(world, "a guest does not know itself");
    }
}

static void
set_back(struct moves *world, uint32_t vm, uint32_t model)
{
    struct machine_vm *machine = &world->vms[vm];
    const struct machine_vm *from = &world->vms[model];
    trace_add(&world->trace, "msim", "vm %u: set back to what vm %u was", vm,
              model);
    char place[64];
    place_name(place, sizeof place, vm, machine->host);
    kill_guest(world, vm);
    /* It does not get to say a HELLO before it knows who it is. */
    sim_network_set_down(world->network, place, true);
    open_guest(world, vm);
    world->result->n_clones += vm != model;
    if (from->snapshot_size && machine->guest.channel &&
        mchan_import(machine->guest.channel, from->snapshot,
                     from->snapshot_size)) {
        moves_fail(world, "a guest does not know its snapshot");
    }
    sim_network_set_down(world->network, place,
                         !world->brokers[machine->host].handoff);
}

static void
start_again(struct moves *world, uint32_t vm)
{
    trace_add(&world->trace, "msim", "vm %u: its agent starts again", vm);
    kill_guest(world, vm);
    open_guest(world, vm);
}

static void
disturb(struct moves *world, uint32_t vm)
{
    switch (prng_below(&world->prng, 5)) {
    case 0:
    case 1:
        take_snapshot(world, vm);
        break;
    case 2:
        set_back(world, vm, vm);
        break;
    case 3:
        set_back(world, vm,
                 (uint32_t)prng_below(&world->prng, world->config->n_vms));
        break;
    default:
        start_again(world, vm);
        break;
    }
}

/* News. */

static void
tell(struct moves *world, uint32_t at, uint32_t vm, enum news_kind kind)
{
    struct host *host = &world->hosts[at];
    nsec_t longest = world->config->rough && moves_chance(world, 0.1)
                         ? 5 * NSEC_PER_SEC
                         : 20 * MS;
    longest = moves_by_chance(world) ? longest : MS;
    nsec_t due = world->now + moves_between(world, 0, longest) + host->late;
    due = nsec_min(due, world->healed + 20 * MS);
    if (!world->config->rough && host->n_news) {
        nsec_t last = host->news[host->n_news - 1].due;
        due = due > last ? due : last;
    }
    if (host->n_news == NEWS_MAX) {
        moves_fail(world, "too much news");
        return;
    }
    uint32_t place = host->n_news++;
    for (; place > 0 && host->news[place - 1].due > due; place--) {
        host->news[place] = host->news[place - 1];
    }
    host->news[place] =
        (struct news){.kind = kind, .vm = vm, .when = world->now, .due = due};
}

/* A broker that starts asks its hypervisor what there is, and is told nothing
 * of before. */
void
host_begin_anew(struct moves *world, uint32_t at)
{
    struct host *host = &world->hosts[at];
    uint32_t n_kept = 0;
    for (uint32_t i = 0; i < host->n_news; i++) {
        if (host->news[i].kind == NEWS_HUNG_UP) {
            host->news[n_kept++] = host->news[i];
        }
    }
    host->n_news = n_kept;
    for (uint32_t vm = 0; vm < world->config->n_vms; vm++) {
        const struct machine_vm *machine = &world->vms[vm];
        if (machine->guest.channel && machine->host == at) {
            tell(world, at, vm,
                 machine->state == VM_RUNS ? NEWS_RUNS : NEWS_PAUSED);
        }
    }
}

/* False if the channel must be looked at first. */
static bool
announce(struct moves *world, uint32_t at, const struct news *news)
{
    static const char *const names[] = {"paused", "left", "runs", "hung up"};
    struct handoff *handoff = world->brokers[at].handoff;
    struct mchan *channel = world->brokers[at].talkers[news->vm].channel;
    const struct handoff_vm vm = vm_id(news->vm);
    char place[64];
    trace_add(&world->trace, "host", "%u: vm %u %s at %.6f", at, news->vm,
              names[news->kind],
              (double)(news->when - world->start) / NSEC_PER_SEC);
    if (!handoff) {
        return true;
    }
    switch (news->kind) {
    case NEWS_PAUSED:
        return !handoff_paused(handoff, &vm, news->when, world->now) ||
               mchan_suspend(channel) != -EAGAIN;
    case NEWS_LEFT:
        (void)handoff_left(handoff, &vm, news->when, world->now);
        break;
    case NEWS_RUNS:
        return !handoff_runs(handoff, &vm, news->when, world->now) ||
               mchan_resume(channel, NULL) != -EAGAIN;
    case NEWS_HUNG_UP:
        place_name(place, sizeof place, news->vm, at);
        sim_network_hang_up(world->network, place);
        break;
    }
    return true;
}

static void
read_news(struct moves *world, uint32_t at)
{
    struct host *host = &world->hosts[at];
    while (host->n_news && host->news[0].due <= world->now) {
        const struct news first = host->news[0];
        if (!announce(world, at, &first)) {
            return;
        }
        host->n_news--;
        memmove(host->news, host->news + 1, host->n_news * sizeof *host->news);
    }
}

/* VMs. */

static void
grant(struct moves *world, const struct machine_vm *machine, uint32_t vm)
{
    struct handoff *handoff = world->brokers[machine->host].handoff;
    const struct handoff_vm id = vm_id(vm);
    uint64_t kind = prng_below(&world->prng, 3);
    if (handoff && kind) {
        handoff_granted(handoff, &id,
                        kind == 1 ? HANDOFF_ANYBODY : machine->to);
    }
}

static void
pause_vm(struct moves *world, uint32_t vm)
{
    struct machine_vm *machine = &world->vms[vm];
    bool early = world->config->plant == MOVES_PLANT_EARLY;
    machine->state = VM_PAUSED;
    machine->to = machine->host;
    if (!moves_chance(world, 0.15)) {
        machine->to =
            (uint32_t)prng_below(&world->prng, world->config->n_brokers);
    }
    trace_add(&world->trace, "msim", "vm %u pauses, from %u to %u", vm,
              machine->host, machine->to);
    if (machine->to != machine->host) {
        grant(world, machine, vm);
    }
    tell(world, machine->host, vm, early ? NEWS_LEFT : NEWS_PAUSED);
    machine->next = world->now + moves_between(world, 5 * MS, 50 * MS);
    if (world->config->rough && moves_chance(world, 0.1)) {
        machine->next = world->now + moves_between(world, 0, 3 * NSEC_PER_SEC);
    }
}

static void
arrive(struct moves *world, uint32_t vm)
{
    struct machine_vm *machine = &world->vms[vm];
    char name[32], place[64];
    snprintf(name, sizeof name, "vm%u", vm);
    place_name(place, sizeof place, vm, machine->to);
    sim_network_move(world->network, name, place,
                     (uint32_t)prng_below(&world->prng, 400));
    tell(world, machine->host, vm, NEWS_LEFT);
    tell(world, machine->host, vm, NEWS_HUNG_UP);
    machine->host = machine->to;
    machine->runs_since = world->now;
    world->result->n_moves++;
}

static void
resume_vm(struct moves *world, uint32_t vm)
{
    struct machine_vm *machine = &world->vms[vm];
    trace_add(&world->trace, "msim", "vm %u runs on %u", vm, machine->to);
    machine->state = VM_RUNS;
    if (machine->to == machine->host) {
        world->result->n_cancelled++;
    } else {
        arrive(world, vm);
    }
    tell(world, machine->host, vm, NEWS_RUNS);
    if (!moves_by_chance(world)) {
        machine->next = NSEC_NEVER;
        return;
    }
    machine->next =
        world->now + (moves_chance(world, 0.3)
                          ? moves_between(world, 0, 30 * MS)
                          : moves_between(world, 50 * MS, 1500 * MS));
}

/* What a scenario has happen to a VM. */
void
vm_begin(struct moves *world, const struct moves_event *event)
{
    struct machine_vm *machine = &world->vms[event->a];
    if (event->what == MOVES_MOVE) {
        machine->state = VM_PAUSED;
        machine->to = event->b;
        machine->next = world->now + event->lasts;
        tell(world, machine->host, event->a, NEWS_PAUSED);
    } else if (event->what == MOVES_SNAPSHOT) {
        take_snapshot(world, event->a);
    } else if (event->what == MOVES_RESTART) {
        start_again(world, event->a);
    } else {
        set_back(world, event->a,
                 event->what == MOVES_CLONE ? event->b : event->a);
    }
}

static void
run_vm(struct moves *world, uint32_t vm)
{
    struct machine_vm *machine = &world->vms[vm];
    if (machine->next > world->now) {
        return;
    }
    if (machine->state == VM_PAUSED) {
        resume_vm(world, vm);
    } else if (moves_heals(world)) {
        machine->next = NSEC_NEVER;
    } else if (world->config->rough && moves_chance(world, 0.15)) {
        disturb(world, vm);
        machine->next = world->now + moves_between(world, 0, 300 * MS);
    } else {
        pause_vm(world, vm);
    }
}

void
hosts_run(struct moves *world)
{
    for (uint32_t vm = 0; vm < world->config->n_vms; vm++) {
        run_vm(world, vm);
    }
    for (uint32_t host = 0; host < world->config->n_brokers; host++) {
        read_news(world, host);
    }
}

nsec_t
hosts_deadline(const struct moves *world)
{
    nsec_t deadline = NSEC_NEVER;
    for (uint32_t vm = 0; vm < world->config->n_vms; vm++) {
        const struct machine_vm *machine = &world->vms[vm];
        deadline = nsec_min(deadline, machine->next);
        if (machine->state == VM_RUNS) {
            deadline = nsec_min(deadline, talker_deadline(&machine->guest));
        }
    }
    for (uint32_t host = 0; host < world->config->n_brokers; host++) {
        if (world->hosts[host].n_news) {
            deadline = nsec_min(deadline, world->hosts[host].news[0].due);
        }
    }
    return deadline;
}
