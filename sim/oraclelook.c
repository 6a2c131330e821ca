/* SPDX-License-Identifier: Apache-2.0 */
/* Looks at a world whose members all rest: at what must never be, and at what
 * must have become well again when that was left alone for long enough which
 * could keep it from that.  The latter needs world_calm(), which knows faults
 * by their class.  Called by run.c through oracle_look(). */
#include "sim/oracle.h"

#include <inttypes.h>
#include <malloc.h>
#include <stdio.h>
#include <string.h>

#include "broker/engine/arbiter.h"
#include "broker/engine/engine.h"
#include "broker/journal/journal.h"
#include "hardware/sim.h"
#include "hypervisor/sim.h"
#include "policy/policy.h"
#include "sim/disk.h"
#include "sim/oracleparts.h"
#include "sim/world.h"

#define RETRIED_NS (12 * NSEC_PER_SEC) /* What failed often waits 10 s. */
#define HEALED_NS (30 * NSEC_PER_SEC)
#define JOURNAL_SLACK (512 << 10) /* Above its bound: a log, a batch. */
#define HEAP_GROWTH_MAX (8 << 20) /* Of a run, once it is set up. */

/* The made-up host. */

static uint32_t
cpus_per_domain(const struct world *world)
{
    return (uint32_t)option_int(&world->scenario->config.pstate_options,
                                "cpus_per_domain");
}

uint32_t
oracle_n_domains(const struct world *world)
{
    return (world->scenario->config.n_cpus + cpus_per_domain(world) - 1) /
           cpus_per_domain(world);
}

uint32_t
oracle_domain_cpu(const struct world *world, uint32_t domain)
{
    return world->scenario->config.cpus[domain * cpus_per_domain(world)];
}

static uint32_t
pstate_now(const struct world *world, uint32_t domain)
{
    return hardware_sim_pstate(world->hardware,
                               oracle_domain_cpu(world, domain));
}

uint32_t
oracle_found(const struct world *world, uint32_t domain)
{
    return world->found[domain * cpus_per_domain(world)];
}

/* When a VM that might be wished for last ran on one of its CPUs: for Basic
 * only with an agent, or who stood in its place. */
nsec_t
oracle_last_alive(const struct world *world, uint32_t domain)
{
    uint32_t first = domain * cpus_per_domain(world);
    nsec_t last = INT64_MIN / 2;
    struct engine_status status;

    engine_status(world->engine, world->now, &status);
    bool basic = !strcmp(status.policy->name, "basic");
    for (uint32_t i = 0; i < world->n_guests; i++) {
        const struct guest_watch *guest = &world->oracle->guests[i];

        for (uint32_t k = 0; k < cpus_per_domain(world); k++) {
            nsec_t alive =
                basic ? guest->alive[first + k] : guest->ran[first + k];

            last = alive > last ? alive : last;
        }
    }
    return last;
}

/* A lost guest's wishes outlive it by the beats it takes to notice, and by the
 * time for which they were renewed. */
nsec_t
oracle_wishes_last(const struct world *world)
{
    const struct broker_config *config = &world->scenario->config;

    return 4 * config->beat_ns + (POLICY_VALID_EPOCHS + 1) * config->epoch_ns +
           4 * config->sample_ns + NSEC_PER_SEC;
}

/* How long neither hardware nor broker, its lines or its clock had trouble. */
nsec_t
oracle_works_since(const struct world *world)
{
    nsec_t calm = world_calm(world, FAULT_HARDWARE);

    calm = nsec_min(calm, world_calm(world, FAULT_LINE));
    calm = nsec_min(calm, world_calm(world, FAULT_CRASH));
    calm = nsec_min(calm, world_calm(world, FAULT_CLOCK));
    return calm;
}

/* When all rest. */

void
oracle_note_alive(struct world *world)
{
    for (uint32_t i = 0; i < world->n_guests; i++) {
        const struct world_guest *guest = &world->guests[i];

        struct guest_watch *watch = &world->oracle->guests[i];
        uint32_t place = world_cpu_place(world, guest->cpu);

        if (!world_guest_runs(world, i)) {
            continue;
        }
        watch->ran[place] = world->now;
        if (guest->agent || guest->hostile) {
            watch->alive[place] = world->now;
        }
    }
}

static void
check_copies(struct world *world)
{
    for (uint32_t i = 0; i < world->n_guests; i++) {
        const struct uuid *vm = &world->scenario->config.guests[i].uuid;

        if (hypervisor_sim_n_copies(world->hypervisor, vm) > 1) {
            world_break(world, "%s runs twice",
                        world->scenario->guests[i].name);
        }
    }
}

static void
check_bounds(struct world *world)
{
    struct journal_health health;
    struct oracle *oracle = world->oracle;
    size_t heap = mallinfo2().uordblks;
    uint64_t size_max = world->scenario->config.journal_size_max;

    if (!world->journal) {
        return;
    }
    journal_health(world->journal, &health);
    /* XXX While the disk fails the log can't be brought over, and nothing
     * bounds it but that the first durable row fails: what is between is not
     * promised. */
    if (health.size > size_max + size_max / 4 + JOURNAL_SLACK &&
        world_calm(world, FAULT_DISK) > SOON_NS) {
        world_break(
            world, "the journal has %" PRIu64 " bytes, %" PRIu64 " are allowed",
            health.size, size_max);
    }
    if (!oracle->heap) {
        oracle->heap = heap;
    } else if (heap > oracle->heap + HEAP_GROWTH_MAX) {
        world_break(world, "%zu bytes more are in use than at the start",
                    heap - oracle->heap);
    }
}

/* Whoever wants nothing any more, or must not change anything, leaves the CPU
 * as it was found. */
static void
check_released(struct world *world)
{
    nsec_t calm =
        nsec_min(oracle_works_since(world), world_calm(world, FAULT_VM));
    /* That it does not last shows only when it must. */
    bool read_only = (disk_fault(world->disk) == DISK_FULL ||
                      disk_fault(world->disk) == DISK_FAILS) &&
                     world->now - world->disturbed[FAULT_DISK] > SOON_NS;

    if (!world->engine || calm < SOON_NS || world->tampered ||
        world->cap_record.clamped) {
        return;
    }
    for (uint32_t i = 0; i < oracle_n_domains(world); i++) {
        bool left =
            oracle_last_alive(world, i) + oracle_wishes_last(world) + SOON_NS <
            world->now;

        if ((left || read_only) &&
            pstate_now(world, i) != oracle_found(world, i)) {
            world_break(world,
                        "domain %" PRIu32 " stays at p-state %" PRIu32
                        ", found at %" PRIu32 ", and %s",
                        i, pstate_now(world, i), oracle_found(world, i),
                        read_only ? "the journal fails"
                                  : "no guest with an agent is there");
        }
    }
}

/* What is wrong with a domain; false if nothing is. */
static bool
is_wrong(const struct world *world, uint32_t i,
         const struct engine_status *status, char *why, size_t why_size)
{
    const struct broker_config *config = &world->scenario->config;
    const struct domain *domain =
        host_domain_of_cpu(status->host, oracle_domain_cpu(world, i));
    uint32_t real = pstate_now(world, i), found = oracle_found(world, i);

    if (!domain || !domain->known) {
        snprintf(why, why_size, "the broker does not know it");
        return true;
    }
    if (domain->pstate != real) {
        snprintf(why, why_size, "the broker believes it at %" PRIu32,
                 domain->pstate);
        return true;
    }
    const struct verdict *verdict = arbiter_verdict(
        status->arbiter, (uint32_t)(domain - status->host->domains));
    if (verdict && verdict->wanted) {
        /* Not beyond the limits, whatever is wanted. */
        snprintf(why, why_size, "%" PRIu32 " is wanted", verdict->pstate);
        return verdict->pstate != real &&
               verdict->pstate >= config->pstate_min &&
               verdict->pstate <= config->pstate_max;
    }
    snprintf(why, why_size, "nobody wants anything, and %" PRIu32 " was found",
             found);
    return verdict && real != found;
}

/* Knowledge of the hardware, and obedience, come back first. */
static void
check_domains(struct world *world)
{
    nsec_t calm =
        nsec_min(oracle_works_since(world), world_calm(world, FAULT_DISK));
    struct engine_status status;
    char why[96];

    for (uint32_t i = 0; i < oracle_n_domains(world); i++) {
        nsec_t *since = &world->oracle->domains[i].wrong_since;

        if (!world->engine || calm < SOON_NS || world->tampered) {
            *since = NSEC_NEVER;
            continue;
        }
        engine_status(world->engine, world->now, &status);
        if (!is_wrong(world, i, &status, why, sizeof why)) {
            *since = NSEC_NEVER;
            continue;
        }
        /* It may be written too often, or have just failed. */
        *since = nsec_min(*since, world->now);
        if (world->now - *since > RETRIED_NS) {
            world_break(world,
                        "domain %" PRIu32 " is at p-state %" PRIu32 ", and %s",
                        i, pstate_now(world, i), why);
        }
    }
}

/* A wish touches only the domain its VM's vCPU is on. */
static void
check_winners(struct world *world)
{
    const struct broker_config *config = &world->scenario->config;
    nsec_t calm =
        nsec_min(oracle_works_since(world), world_calm(world, FAULT_VM));
    struct engine_status status;

    if (!world->engine || calm < SOON_NS) {
        return;
    }
    engine_status(world->engine, world->now, &status);
    for (uint32_t i = 0; i < status.host->n_domains; i++) {
        const struct verdict *verdict = arbiter_verdict(status.arbiter, i);
        bool there = !verdict || !verdict->wanted ||
                     oracle_is_clamp(world, i, verdict->pstate);

        for (uint32_t k = 0; k < world->n_guests && !there; k++) {
            const struct domain *domain =
                host_domain_of_cpu(status.host, world->guests[k].cpu);

            there = uuid_equal(&verdict->winner.vm, &config->guests[k].uuid) &&
                    domain == &status.host->domains[i];
        }
        if (!there) {
            world_break(
                world, "who wants something of domain %" PRIu32 " is not there",
                i);
        }
    }
}

/* Some time after all trouble. */

static bool
is_liar(const struct scenario_guest *guest)
{
    return guest->claims[0] && strcmp(guest->claims, guest->name);
}

static void
check_healed_guest(struct world *world, uint32_t i,
                   const struct engine_status *status)
{
    const struct world_guest *guest = &world->guests[i];
    const char *name = guest->scenario->name;
    const struct vm *vm =
        host_vm(status->host, &world->scenario->config.guests[i].uuid);
    bool here = guest->agent && !guest->silent && world_guest_runs(world, i) &&
                !is_liar(guest->scenario);
    struct guest_watch *watch = &world->oracle->guests[i];

    /* Who said that its VM is about to move has a minute, also if that ends. */
    if (here != (vm && vm->agent_up) && world_guest_runs(world, i)) {
        world_break(world, "%s: its agent is %s, the broker says it is %s",
                    name, here ? "here" : "gone", here ? "gone" : "here");
    }
    if (vm && vm_state_runs(vm->state) != world_guest_runs(world, i)) {
        world_break(world, "%s: the broker is wrong about whether it runs",
                    name);
    }
    if (!here || !vm) {
        watch->counted_at = world->now;
        return;
    }
    if (vm->n_requests != watch->counted ||
        guest->n_requests == vm->n_requests) {
        watch->counted = vm->n_requests;
        watch->counted_at = world->now;
    }
    if (!guest->lied && world->now > watch->counted_at + SOON_NS) {
        world_break(world, "%s: its reports no longer come", name);
    }
}

static void
check_healed(struct world *world)
{
    struct engine_status status;

    for (int class = 0; class < FAULT_N_CLASSES; class ++) {
        if (world_calm(world, (enum fault_class) class) < HEALED_NS) {
            for (uint32_t i = 0; i < world->n_guests; i++) {
                world->oracle->guests[i].counted_at = world->now;
            }
            return;
        }
    }
    if (!world->engine) {
        world_break(world, "the broker does not come back");
        return;
    }
    engine_status(world->engine, world->now, &status);
    if (!status.platform_ready || status.read_only) {
        world_break(world, "the broker %s",
                    status.read_only ? "changes nothing"
                                     : "waits for its platform");
    }
    if (status.host->power.quality != QUALITY_MEASURED) {
        world_break(world, "the power is not known");
    }
    for (uint32_t i = 0; i < world->n_guests; i++) {
        check_healed_guest(world, i, &status);
    }
}

void
oracle_look(struct world *world)
{
    oracle_note_alive(world);
    check_copies(world);
    check_bounds(world);
    check_released(world);
    check_domains(world);
    check_winners(world);
    check_healed(world);
}
