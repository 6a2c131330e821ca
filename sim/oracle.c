/* SPDX-License-Identifier: Apache-2.0 */
/* Looks at what is done, when it is: orders of the engine's and their rows,
 * what the platform does of them, what back says of guests.  What is found
 * wrong at rest is oraclelook.c's.  Called by world.c and actors.c, which stand
 * between those who do and those to whom it is done. */
#include "sim/oracle.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "broker/engine/engine.h"
#include "broker/journal/journal.h"
#include "hardware/sim.h"
#include "hardware/simcap.h"
#include "sim/disk.h"
#include "sim/oracleparts.h"
#include "sim/world.h"
#include "wire/grant.h"
#include "wire/msg.h"

/* Messages of a guest's to the engine in a second, beyond a second's and a
 * burst: what back says of it, and what waited while the line was full. */
#define GUEST_MESSAGES_MORE 256

static bool has_row(struct world *world, const struct order *order);

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
    if (oracle) {
        free(oracle->power.rows);
    }
    free(oracle);
}

/* Orders. */

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

        /* Of a p-state the last rows may be lost, it can be taken back. */
        if (order->type == MSG_VM_CONTROL && order->op == VM_OP_END &&
            !has_row(world, order)) {
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

    int n = journal_trace(world->journal, order->cause, look_at_row, &wanted);
    /* Who has no memory to look can't say that it is not there. */
    return wanted.found || n == -ENOMEM || n == -EIO;
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
check_on_disk(struct world *world, struct order *order)
{
    if (!has_row(world, order)) {
        world_break(world, "%s %" PRIu64 " is ordered without a row",
                    msg_name(order->type), order->command);
    }
    if (disk_n_syncs(world->disk) == world->oracle->n_syncs ||
        disk_fault(world->disk) != DISK_WORKS) {
        world_break(world,
                    "%s %" PRIu64 " is ordered, and its row is not on "
                    "the disk",
                    msg_name(order->type), order->command);
    }
}

/* Slow p-states stand in for a power cap that can't be confirmed. */
bool
oracle_is_clamp(const struct world *world, uint32_t domain, uint32_t pstate)
{
    const struct broker_config *config = &world->scenario->config;
    int64_t n = option_get(&config->pstate_options, "frequencies_mhz")->n_ints;

    return config->cap &&
           (pstate == (uint64_t)n - 1 || pstate == config->pstate_max);
}

static void
check_wanted_pstate(struct world *world, const struct order *order)
{
    const struct broker_config *config = &world->scenario->config;
    struct domain_watch *domain = &world->oracle->domains[order->domain];

    oracle_note_alive(world);
    if (!oracle_is_clamp(world, order->domain, order->pstate) &&
        oracle_last_alive(world, order->domain) + oracle_wishes_last(world) <
            world->now &&
        world_calm(world, FAULT_LINE) > oracle_wishes_last(world) &&
        world_calm(world, FAULT_CLOCK) > oracle_wishes_last(world)) {
        world_break(world,
                    "domain %" PRIu32 " shall go to p-state %" PRIu32
                    ", and no guest with an agent is there",
                    order->domain, order->pstate);
    }
    if (domain->wanted && order->pstate > domain->ordered) {
        /* Unless it was decided before and could not be ordered. */
        if (world->now < domain->lowered + config->dwell_ns &&
            oracle_works_since(world) > config->dwell_ns + SOON_NS) {
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
    case MSG_SET_CAP:
        order->command = msg->set_cap.command;
        order->cause = msg->set_cap.cause;
        order->mw = msg->set_cap.mw;
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
    if (order->domain >= oracle_n_domains(world)) {
        world_break(world, "there is no domain %" PRIu32, order->domain);
    } else if (msg->type == MSG_SET_PSTATE) {
        check_wanted_pstate(world, order);
    } else if (msg->type == MSG_RELEASE) {
        oracle->domains[order->domain].wanted = false;
    } else if (msg->type == MSG_SET_CAP || order->op == VM_OP_END ||
               order->op == VM_OP_MIGRATE) {
        check_on_disk(world, order);
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
    } else if (order->type == MSG_SET_CAP) {
        const struct simcap *cap = hardware_sim_cap(world->hardware);

        /* It may have held already; one that lies is found out later, and an
         * outcome that was under way may come behind what the next order did.
         */
        if (cap->mw != order->mw && cap->fault != SIMCAP_LIES &&
            world_calm(world, FAULT_LINE) > SOON_NS) {
            world_break(world,
                        "SET_CAP %" PRIu64 " succeeded at %" PRIu64
                        " mW instead of %" PRIu64,
                        order->command, cap->mw, order->mw);
        }
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
    if (!disk_has_saved(world->disk, oracle_domain_cpu(world, domain))) {
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
    } else if (!world->tampered && pstate != oracle_found(world, domain) &&
               !oracle_is_clamp(world, domain, pstate)) {
        world_break(world,
                    "domain %" PRIu32 " is put back to p-state %" PRIu32
                    " and was found at %" PRIu32,
                    domain, pstate, oracle_found(world, domain));
    } else if (order && order->type == MSG_RELEASE &&
               order->release.domain != domain) {
        world_break(world, "domain %" PRIu32 " is released instead of %" PRIu64,
                    domain, order->release.domain);
    }
}

/* Whoever limits a host never lifts its limit, and keeps to its budget. */
void
oracle_cap_set(struct world *world)
{
    const struct broker_config *config = &world->scenario->config;
    const struct simcap *cap = hardware_sim_cap(world->hardware);

    if (!config->cap || !world->platform) {
        return; /* What is set while it is being made is seen later. */
    }
    if (cap->fault == SIMCAP_NONE &&
        (cap->mw == 0 || cap->mw > config->budget_max_mw)) {
        world_break(world,
                    "the cap is set to %" PRIu64 " mW, %" PRIu64
                    " are the budget",
                    cap->mw, config->budget_max_mw);
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
    if (world->now > msg->vm_control.expires_ns) {
        world_break(world, "VM_CONTROL %" PRIu64 " is done after its time",
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
