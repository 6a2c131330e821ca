/* SPDX-License-Identifier: Apache-2.0 */
/* What must hold, in three kinds: what may never be done is looked at when it
 * is done (a write to the hardware, an order, an operation on a VM, a message
 * of a guest's); what must never be is looked at whenever everybody rests; and
 * what must have become well again is asked for when what could keep it from
 * that was left alone for long enough.  The last needs world_calm(), which
 * knows faults by their class.  Called by world.c and actors.c, and by run.c
 * when all rest. */
#include "sim/oracle.h"

#include <errno.h>
#include <inttypes.h>
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "broker/engine/arbiter.h"
#include "broker/engine/engine.h"
#include "broker/journal/journal.h"
#include "hardware/sim.h"
#include "hypervisor/sim.h"
#include "policy/policy.h"
#include "sim/disk.h"
#include "sim/world.h"
#include "wire/grant.h"
#include "wire/msg.h"

#define ORDERS_KEPT 1024
/* After this long without what could prevent it a thing must be done. */
#define SOON_NS (15 * NSEC_PER_SEC)
#define RETRIED_NS (12 * NSEC_PER_SEC) /* What failed often waits 10 s. */
#define HEALED_NS (30 * NSEC_PER_SEC)
#define JOURNAL_SLACK (512 << 10) /* Above its bound: a log, a batch. */
#define HEAP_GROWTH_MAX (8 << 20) /* Of a run, once it is set up. */
/* Messages of a guest's to the engine in a second, beyond a second's and a
 * burst: what back says of it, and what waited while the line was full. */
#define GUEST_MESSAGES_MORE 256

/* What the engine wanted the platform to do. */
struct order {
    uint64_t command, cause;
    unsigned type;
    uint32_t domain, pstate; /* Of SET_PSTATE and RELEASE. */
    struct uuid vm;          /* Of VM_CONTROL. */
    enum vm_op op;
    uint32_t n_done;
    bool recorded; /* Its row was seen, or its engine is dead. */
};

/* What is known of a domain. */
struct domain_watch {
    uint32_t ordered;   /* The last SET_PSTATE, */
    bool wanted;        /* if there was one since the last release. */
    nsec_t lowered;     /* When that last was slower than the one before. */
    nsec_t wrong_since; /* It is not as it should be; NSEC_NEVER: it is. */
    nsec_t credited;    /* Writes, as a bucket of a second's worth. */
    double credit;
};

struct guest_watch {
    nsec_t alive[CONFIG_CPUS_MAX]; /* Its agent last ran there, by place, */
    nsec_t ran[CONFIG_CPUS_MAX];   /* and it itself. */
    nsec_t last_start;             /* Of its reports, guest clock. */
    nsec_t second;                 /* Messages since then. */
    uint32_t n_messages;
    uint64_t counted; /* Requests in the broker's books, */
    nsec_t counted_at;
};

struct oracle {
    uint64_t n_orders, last_command, last_cause;
    struct order orders[ORDERS_KEPT]; /* The n-th at n % ORDERS_KEPT. */
    struct domain_watch domains[CONFIG_CPUS_MAX];
    struct guest_watch guests[SCENARIO_GUESTS_MAX];
    uint64_t n_syncs; /* Of the disk when the engine's turn began. */
    size_t heap;      /* In use when the first broker stood. */
};

int
oracle_create(struct oracle **out)
{
    struct oracle *oracle = calloc(1, sizeof *oracle);

    if (!oracle) {
        return -ENOMEM;
    }
    for (uint32_t i = 0; i < SCENARIO_GUESTS_MAX; i++) {
        oracle->guests[i].last_start = INT64_MIN;
        for (uint32_t k = 0; k < CONFIG_CPUS_MAX; k++) {
            oracle->guests[i].alive[k] = INT64_MIN / 2;
            oracle->guests[i].ran[k] = INT64_MIN / 2;
        }
    }
    *out = oracle;
    return 0;
}

void
oracle_destroy(struct oracle *oracle)
{
    free(oracle);
}

/* The made-up host. */

static uint32_t
cpus_per_domain(const struct world *world)
{
    return (uint32_t)option_int(&world->scenario->config.pstate_options,
                                "cpus_per_domain");
}

static uint32_t
n_domains(const struct world *world)
{
    return (world->scenario->config.n_cpus + cpus_per_domain(world) - 1) /
           cpus_per_domain(world);
}

static uint32_t
domain_cpu(const struct world *world, uint32_t domain)
{
    return world->scenario->config.cpus[domain * cpus_per_domain(world)];
}

static uint32_t
pstate_now(const struct world *world, uint32_t domain)
{
    return hardware_sim_pstate(world->hardware, domain_cpu(world, domain));
}

static uint32_t
pstate_found(const struct world *world, uint32_t domain)
{
    return world->found[domain * cpus_per_domain(world)];
}

/* When a VM that might be wished for last ran on one of its CPUs: for Basic
 * only with an agent, or who stood in its place. */
static nsec_t
last_alive(const struct world *world, uint32_t domain)
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
static nsec_t
wishes_last(const struct world *world)
{
    const struct broker_config *config = &world->scenario->config;

    return 4 * config->beat_ns + (POLICY_VALID_EPOCHS + 1) * config->epoch_ns +
           4 * config->sample_ns + NSEC_PER_SEC;
}

/* How long neither hardware nor broker, its lines or its clock had trouble. */
static nsec_t
works_since(const struct world *world)
{
    nsec_t calm = world_calm(world, FAULT_HARDWARE);

    calm = nsec_min(calm, world_calm(world, FAULT_LINE));
    calm = nsec_min(calm, world_calm(world, FAULT_CRASH));
    calm = nsec_min(calm, world_calm(world, FAULT_CLOCK));
    return calm;
}

/* Orders. */

static void note_alive(struct world *world);
static bool has_row(struct world *world, const struct order *order);

static struct order *
find_order(struct oracle *oracle, uint64_t command)
{
    uint64_t n =
        oracle->n_orders < ORDERS_KEPT ? oracle->n_orders : ORDERS_KEPT;

    for (uint64_t i = 0; i < n; i++) {
        struct order *order =
            &oracle->orders[(oracle->n_orders - 1 - i) % ORDERS_KEPT];

        if (order->command == command) {
            return order;
        }
    }
    return NULL;
}

void
oracle_broker_started(struct world *world)
{
    struct oracle *oracle = world->oracle;

    for (uint32_t i = 0; i < CONFIG_CPUS_MAX; i++) {
        oracle->domains[i].wanted = false;
        oracle->domains[i].wrong_since = NSEC_NEVER;
    }
    for (uint32_t i = 0; i < ORDERS_KEPT; i++) {
        struct order *order = &oracle->orders[i];

        /* Of a p-state the last rows may be lost, it can be taken back.  Rows
         * of a certain age go, and a wall clock that jumped makes them old. */
        if (order->type == MSG_VM_CONTROL && order->op == VM_OP_END &&
            world->wall_ahead_ns == 0 && !has_row(world, order)) {
            world_break(world,
                        "the end of a VM was ordered, and the journal has "
                        "forgotten it");
        }
        order->recorded = true;
    }
}

/* Rows. */

struct row_wanted {
    uint64_t command;
    bool found;
};

static void
look_at_row(void *ctx, const struct journal_row *row)
{
    struct row_wanted *wanted = ctx;

    wanted->found |=
        row->kind == JOURNAL_ACTION && row->command == wanted->command;
}

static bool
has_row(struct world *world, const struct order *order)
{
    struct row_wanted wanted = {.command = order->command};

    (void)journal_trace(world->journal, order->cause, look_at_row, &wanted);
    return wanted.found;
}

static bool
journal_fails(const struct world *world)
{
    struct engine_status status;
    struct journal_health health;

    engine_status(world->engine, world->now, &status);
    journal_health(world->journal, &health);
    return health.failing || status.read_only;
}

/* What can't be undone is on the disk before it is ordered. */
static void
check_end_of_vm(struct world *world, struct order *order)
{
    if (!has_row(world, order)) {
        world_break(world, "VM_CONTROL %" PRIu64 " is ordered without a row",
                    order->command);
    }
    if (disk_n_syncs(world->disk) == world->oracle->n_syncs ||
        disk_fault(world->disk) != DISK_WORKS) {
        world_break(world, "the end of a VM is ordered, and its row is not on "
                           "the disk");
    }
}

static void
check_wanted_pstate(struct world *world, const struct order *order)
{
    const struct broker_config *config = &world->scenario->config;
    struct domain_watch *domain = &world->oracle->domains[order->domain];

    note_alive(world);
    if (last_alive(world, order->domain) + wishes_last(world) < world->now &&
        world_calm(world, FAULT_LINE) > wishes_last(world) &&
        world_calm(world, FAULT_CLOCK) > wishes_last(world)) {
        world_break(world,
                    "domain %" PRIu32 " shall go to p-state %" PRIu32
                    ", and no guest with an agent is there",
                    order->domain, order->pstate);
    }
    if (domain->wanted && order->pstate > domain->ordered) {
        /* Unless it was decided before and could not be ordered. */
        if (world->now < domain->lowered + config->dwell_ns &&
            works_since(world) > config->dwell_ns + SOON_NS) {
            world_break(
                world,
                "domain %" PRIu32 " is lowered again after %" PRId64 " ms",
                order->domain, (world->now - domain->lowered) / NSEC_PER_MSEC);
        }
        domain->lowered = world->now;
    }
    domain->lowered = domain->wanted ? domain->lowered : INT64_MIN / 2;
    domain->ordered = order->pstate;
    domain->wanted = true;
}

void
oracle_ordered(struct world *world, const struct msg *msg)
{
    struct oracle *oracle = world->oracle;
    struct order *order = &oracle->orders[oracle->n_orders++ % ORDERS_KEPT];

    *order = (struct order){.type = msg->type};
    switch (msg->type) {
    case MSG_SET_PSTATE:
        order->command = msg->set_pstate.command;
        order->cause = msg->set_pstate.cause;
        order->domain = (uint32_t)msg->set_pstate.domain;
        order->pstate = (uint32_t)msg->set_pstate.pstate;
        break;
    case MSG_RELEASE:
        order->command = msg->release.command;
        order->cause = msg->release.cause;
        order->domain = (uint32_t)msg->release.domain;
        break;
    case MSG_VM_CONTROL:
        order->command = msg->vm_control.command;
        order->cause = msg->vm_control.cause;
        order->vm = msg->vm_control.vm;
        order->op = (enum vm_op)msg->vm_control.op;
        break;
    default:
        order->recorded = true;
        return;
    }
    if (order->command <= oracle->last_command) {
        world_break(world, "command %" PRIu64 " comes after %" PRIu64,
                    order->command, oracle->last_command);
    }
    oracle->last_command = order->command;
    if (order->domain >= n_domains(world)) {
        world_break(world, "there is no domain %" PRIu32, order->domain);
    } else if (msg->type == MSG_SET_PSTATE) {
        check_wanted_pstate(world, order);
    } else if (msg->type == MSG_RELEASE) {
        oracle->domains[order->domain].wanted = false;
    } else if (order->op == VM_OP_END) {
        check_end_of_vm(world, order);
    }
}

/* In the turn in which something is ordered it gets its row. */
void
oracle_engine_ran(struct world *world)
{
    struct oracle *oracle = world->oracle;
    uint64_t n =
        oracle->n_orders < ORDERS_KEPT ? oracle->n_orders : ORDERS_KEPT;

    oracle->n_syncs = disk_n_syncs(world->disk);
    if (world->crash.dead[SIM_ENGINE]) {
        return;
    }
    for (uint64_t i = 0; i < n; i++) {
        struct order *order =
            &oracle->orders[(oracle->n_orders - 1 - i) % ORDERS_KEPT];

        if (order->recorded) {
            return;
        }
        order->recorded = true;
        if (!has_row(world, order) && !journal_fails(world)) {
            world_break(world, "%s %" PRIu64 " has no row in the journal",
                        msg_name(order->type), order->command);
        }
    }
}

void
oracle_outcome(struct world *world, const struct msg *msg)
{
    const struct msg_outcome *outcome = &msg->outcome;
    const struct order *order;

    if (msg->type != MSG_OUTCOME || outcome->error) {
        return;
    }
    order = find_order(world->oracle, outcome->command);
    if (!order) {
        world_break(world, "an outcome of command %" PRIu64 ", never ordered",
                    outcome->command);
    } else if (order->type != MSG_RELEASE && order->n_done == 0) {
        world_break(world, "%s %" PRIu64 " is told as done and was not",
                    msg_name(order->type), order->command);
    } else if (order->type == MSG_SET_PSTATE &&
               outcome->pstate != order->pstate) {
        world_break(world,
                    "SET_PSTATE %" PRIu64 " succeeded at p-state %" PRIu64
                    " instead of %" PRIu32,
                    order->command, outcome->pstate, order->pstate);
    }
}

/* What the platform does. */

static void
count_done(struct world *world, struct order *order)
{
    if (order && ++order->n_done > 1) {
        world_break(world, "%s %" PRIu64 " is carried out %" PRIu32 " times",
                    msg_name(order->type), order->command, order->n_done);
    }
}

static void
check_rate(struct world *world, uint32_t domain)
{
    struct domain_watch *watch = &world->oracle->domains[domain];
    double max = world->scenario->config.writes_per_second_max;
    double passed_s =
        (double)(world->now - watch->credited) / (double)NSEC_PER_SEC;

    watch->credit += passed_s * max;
    watch->credit = watch->credit < max ? watch->credit : max;
    watch->credited = world->now;
    watch->credit -= 1;
    if (watch->credit < -1) {
        world_break(world,
                    "domain %" PRIu32 " is written more than %" PRIu32
                    " times in a second",
                    domain, world->scenario->config.writes_per_second_max);
    }
}

static void
check_set(struct world *world, uint32_t domain, uint32_t pstate,
          const struct msg_set_pstate *asked)
{
    const struct broker_config *config = &world->scenario->config;

    if (asked->domain != domain || asked->pstate != pstate) {
        world_break(world,
                    "domain %" PRIu64 " to p-state %" PRIu64
                    " was ordered, domain %" PRIu32 " to %" PRIu32 " is done",
                    asked->domain, asked->pstate, domain, pstate);
    }
    if (pstate < config->pstate_min || pstate > config->pstate_max) {
        world_break(world,
                    "p-state %" PRIu32 " is set; %" PRIu32 " to %" PRIu32
                    " are allowed",
                    pstate, config->pstate_min, config->pstate_max);
    }
    if (!disk_has_saved(world->disk, domain_cpu(world, domain))) {
        world_break(world,
                    "domain %" PRIu32 " is changed, and what was found is not "
                    "kept",
                    domain);
    }
    check_rate(world, domain);
    count_done(world, find_order(world->oracle, asked->command));
}

/* Anything else than an order to set one puts back what was found. */
void
oracle_pstate_set(struct world *world, uint32_t domain, uint32_t pstate)
{
    const struct msg *order = world->order;

    if (order && order->type == MSG_SET_PSTATE) {
        check_set(world, domain, pstate, &order->set_pstate);
    } else if (!world->tampered && pstate != pstate_found(world, domain)) {
        world_break(world,
                    "domain %" PRIu32 " is put back to p-state %" PRIu32
                    " and was found at %" PRIu32,
                    domain, pstate, pstate_found(world, domain));
    } else if (order && order->type == MSG_RELEASE &&
               order->release.domain != domain) {
        world_break(world, "domain %" PRIu32 " is released instead of %" PRIu64,
                    domain, order->release.domain);
    }
}

void
oracle_vm_operated(struct world *world, const struct uuid *vm, enum vm_op op)
{
    const struct msg *msg = world->order;

    if (!msg || msg->type != MSG_VM_CONTROL) {
        world_break(world, "a VM is operated on without an order");
        return;
    }
    if (!uuid_equal(vm, &msg->vm_control.vm) ||
        op != (enum vm_op)msg->vm_control.op) {
        world_break(world,
                    "VM_CONTROL %" PRIu64 " is done to another VM, or "
                    "something else is",
                    msg->vm_control.command);
    }
    count_done(world, find_order(world->oracle, msg->vm_control.command));
}

/* What guests say. */

/* The stamp, which all messages about guests end with. */
static const struct uuid *
stamp_of(const struct msg *msg, uint64_t *cause)
{
    switch (msg->type) {
    case MSG_GUEST_UP:
        *cause = msg->guest_up.cause;
        return &msg->guest_up.vm;
    case MSG_GUEST_LOST:
        *cause = msg->guest_lost.cause;
        return &msg->guest_lost.vm;
    case MSG_GUEST_REPORT:
        *cause = msg->guest_report.cause;
        return &msg->guest_report.vm;
    case MSG_GUEST_NOTICE:
        *cause = msg->guest_notice.cause;
        return &msg->guest_notice.vm;
    case MSG_GUEST_ALARM:
        *cause = msg->guest_alarm.cause;
        return &msg->guest_alarm.vm;
    case MSG_GUEST_NOTE:
        *cause = msg->guest_note.cause;
        return &msg->guest_note.vm;
    default:
        return NULL;
    }
}

static void
check_report(struct world *world, uint32_t guest,
             const struct msg_guest_report *report)
{
    struct guest_watch *watch = &world->oracle->guests[guest];

    if (world->guests[guest].lied) {
        return;
    }
    if (report->start_ns <= watch->last_start) {
        world_break(world, "%s: an epoch is reported again, or too late",
                    world->scenario->guests[guest].name);
    }
    watch->last_start = report->start_ns;
}

static void
check_guest_rate(struct world *world, uint32_t guest)
{
    const struct broker_config *config = &world->scenario->config;
    struct guest_watch *watch = &world->oracle->guests[guest];
    uint32_t rate =
        config_quota(config, &config->guests[guest]).messages_per_second;

    if (world->now >= watch->second + NSEC_PER_SEC) {
        watch->second = world->now;
        watch->n_messages = 0;
    }
    if (++watch->n_messages > 2 * rate + GUEST_MESSAGES_MORE) {
        world_break(world,
                    "%s: %" PRIu32 " messages in a second, its quota is "
                    "%" PRIu32,
                    world->scenario->guests[guest].name, watch->n_messages,
                    rate);
    }
}

void
oracle_from_back(struct world *world, const struct msg *msg)
{
    uint64_t cause = 0;
    const struct uuid *vm = stamp_of(msg, &cause);
    uint32_t i = 0;

    if (!grant_find(msg->type, GRANT_BACK, GRANT_ENGINE)) {
        world_break(world, "back says %s", msg_name(msg->type));
    }
    if (!vm) {
        return; /* Back's own count of what it heard. */
    }
    while (i < world->n_guests &&
           !uuid_equal(vm, &world->scenario->config.guests[i].uuid)) {
        i++;
    }
    if (i == world->n_guests ||
        (!world->scenario->guests[i].agent && !world->guests[i].lied)) {
        world_break(world, "%s of a guest that has no agent",
                    msg_name(msg->type));
        return;
    }
    if (cause <= world->oracle->last_cause) {
        world_break(world, "cause %" PRIu64 " comes after %" PRIu64, cause,
                    world->oracle->last_cause);
    }
    world->oracle->last_cause = cause;
    check_guest_rate(world, i);
    if (msg->type == MSG_GUEST_REPORT) {
        check_report(world, i, &msg->guest_report);
    }
}

/* When all rest. */

static void
note_alive(struct world *world)
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
    if (health.size > size_max + size_max / 4 + JOURNAL_SLACK) {
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
    nsec_t calm = nsec_min(works_since(world), world_calm(world, FAULT_VM));
    /* That it does not last shows only when it must. */
    bool read_only = (disk_fault(world->disk) == DISK_FULL ||
                      disk_fault(world->disk) == DISK_FAILS) &&
                     world->now - world->disturbed[FAULT_DISK] > SOON_NS;

    if (!world->engine || calm < SOON_NS || world->tampered) {
        return;
    }
    for (uint32_t i = 0; i < n_domains(world); i++) {
        bool left =
            last_alive(world, i) + wishes_last(world) + SOON_NS < world->now;

        if ((left || read_only) &&
            pstate_now(world, i) != pstate_found(world, i)) {
            world_break(world,
                        "domain %" PRIu32 " stays at p-state %" PRIu32
                        ", found at %" PRIu32 ", and %s",
                        i, pstate_now(world, i), pstate_found(world, i),
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
        host_domain_of_cpu(status->host, domain_cpu(world, i));
    uint32_t real = pstate_now(world, i), found = pstate_found(world, i);

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
    nsec_t calm = nsec_min(works_since(world), world_calm(world, FAULT_DISK));
    struct engine_status status;
    char why[96];

    for (uint32_t i = 0; i < n_domains(world); i++) {
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
    nsec_t calm = nsec_min(works_since(world), world_calm(world, FAULT_VM));
    struct engine_status status;

    if (!world->engine || calm < SOON_NS) {
        return;
    }
    engine_status(world->engine, world->now, &status);
    for (uint32_t i = 0; i < status.host->n_domains; i++) {
        const struct verdict *verdict = arbiter_verdict(status.arbiter, i);
        bool there = !verdict || !verdict->wanted;

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

    if (here != (vm && vm->agent_up)) {
        world_break(world, "%s: its agent is %s, the broker says it is %s",
                    name, here ? "here" : "gone", here ? "gone" : "here");
    }
    if (vm && (vm->state == VM_RUNNING) != world_guest_runs(world, i)) {
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
    note_alive(world);
    check_copies(world);
    check_bounds(world);
    check_released(world);
    check_domains(world);
    check_winners(world);
    check_healed(world);
}
