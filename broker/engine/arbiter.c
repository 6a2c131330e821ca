/* SPDX-License-Identifier: Apache-2.0 */
/* Keeps the standing wishes and decides each frequency domain.  Relies on the
 * model; called by the engine, and by the control socket for "why".  Tables are
 * made once: a row per VM, a place per vCPU, a knob per domain.
 *
 * The trick is what a change is blamed on.  If the winning wish itself changed
 * since the last turn, its cause is the verdict's.  If the winner only came to
 * the front because a faster wish went, the cause is that of whatever went, so
 * a knob remembers the last event that touched any wish on it. */
#include "broker/engine/arbiter.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "model/cause.h"

struct place {
    bool used;
    uint64_t turn; /* In which it last changed. */
    struct wish wish;
};

struct row {
    struct uuid vm; /* Zero: free. */
    uint32_t n_used;
    struct place place[VM_VCPUS_MAX];
};

struct knob {
    bool decided;     /* Its verdict is one. */
    uint64_t touched; /* Cause of the last change of a wish on it. */
    bool was_lowered;
    nsec_t lowered;             /* When it last became slower. */
    const struct place *winner; /* While resolving. */
};

struct arbiter {
    const struct host *host;
    nsec_t dwell_ns;
    uint64_t turn; /* Counts resolutions, from 1. */
    bool clamped;
    uint32_t clamp; /* Nothing faster than this. */
    uint64_t clamp_cause;
    uint32_t n_rows, n_knobs;
    struct row *rows;
    struct knob *knobs;
    struct verdict *verdicts; /* Each knob's, lent by arbiter_resolve(). */
};

int
arbiter_create(struct arbiter **out, const struct host *host, nsec_t dwell_ns)
{
    struct arbiter *arbiter = calloc(1, sizeof *arbiter);

    if (!arbiter) {
        return -ENOMEM;
    }
    arbiter->host = host;
    arbiter->dwell_ns = dwell_ns;
    arbiter->turn = 1;
    arbiter->n_rows = host->max_vms;
    arbiter->n_knobs = host->max_domains;
    arbiter->rows = calloc(host->max_vms + 1, sizeof *arbiter->rows);
    arbiter->knobs = calloc(host->max_domains + 1, sizeof *arbiter->knobs);
    arbiter->verdicts =
        calloc(host->max_domains + 1, sizeof *arbiter->verdicts);
    if (!arbiter->rows || !arbiter->knobs || !arbiter->verdicts) {
        arbiter_destroy(arbiter);
        return -ENOMEM;
    }
    *out = arbiter;
    return 0;
}

void
arbiter_destroy(struct arbiter *arbiter)
{
    if (arbiter) {
        free(arbiter->rows);
        free(arbiter->knobs);
        free(arbiter->verdicts);
        free(arbiter);
    }
}

void
arbiter_set_dwell(struct arbiter *arbiter, nsec_t dwell_ns)
{
    arbiter->dwell_ns = dwell_ns;
}

/* Standing wishes. */

static struct row *
find_row(const struct arbiter *arbiter, const struct uuid *vm)
{
    for (uint32_t i = 0; i < arbiter->n_rows; i++) {
        struct row *row = &arbiter->rows[i];
        if (row->n_used && uuid_equal(&row->vm, vm)) {
            return row;
        }
    }
    return NULL;
}

static struct row *
take_row(struct arbiter *arbiter, const struct uuid *vm)
{
    struct row *row = find_row(arbiter, vm);

    for (uint32_t i = 0; i < arbiter->n_rows && !row; i++) {
        if (!arbiter->rows[i].n_used) {
            row = &arbiter->rows[i];
            row->vm = *vm;
        }
    }
    return row;
}

/* The domain a VM's vCPU runs in now; UINT32_MAX if none. */
static uint32_t
domain_of(const struct host *host, const struct uuid *uuid, uint32_t vcpu)
{
    const struct vm *vm = host_vm(host, uuid);
    const struct domain *domain =
        vm && vcpu < vm->n_vcpus ? host_domain_of_cpu(host, vm->vcpu_cpu[vcpu])
                                 : NULL;

    return domain ? (uint32_t)(domain - host->domains) : UINT32_MAX;
}

static void
touch(struct arbiter *arbiter, const struct wish *wish, uint64_t cause)
{
    uint32_t domain = domain_of(arbiter->host, &wish->vm, wish->vcpu);

    if (domain < arbiter->n_knobs) {
        arbiter->knobs[domain].touched = cause;
    }
}

static void
drop(struct arbiter *arbiter, struct row *row, uint32_t vcpu, uint64_t cause)
{
    struct place *place = &row->place[vcpu];

    if (place->used) {
        touch(arbiter, &place->wish, cause);
        place->used = false;
        row->n_used--;
    }
}

static int
check_wish(const struct arbiter *arbiter, const struct wish *wish, char *why,
           size_t why_size)
{
    const struct host *host = arbiter->host;
    const struct vm *vm = host_vm(host, &wish->vm);

    if (wish->kind != WISH_PSTATE) {
        snprintf(why, why_size, "nothing here can carry out a wish to %s",
                 wish_kind_name(wish->kind));
        return -EINVAL;
    }
    if (!vm || wish->vcpu >= vm->n_vcpus) {
        snprintf(why, why_size,
                 vm ? "the VM has no vCPU %" PRIu32
                    : "the VM of this vCPU %" PRIu32 " is not on this host",
                 wish->vcpu);
        return -EINVAL;
    }
    uint32_t domain = domain_of(host, &wish->vm, wish->vcpu);
    if (domain >= arbiter->n_knobs) {
        snprintf(why, why_size, "CPU %" PRIu32 "'s frequency can't be set",
                 vm->vcpu_cpu[wish->vcpu]);
        return -EINVAL;
    }
    uint32_t n = host->domains[domain].desc.table.n;
    if (wish->value < 0 || wish->value >= (int64_t)n) {
        snprintf(why, why_size, "p-state %" PRId64 " is not in 0..%" PRIu32,
                 wish->value, n - 1);
        return -EINVAL;
    }
    return 0;
}

static int
withdraw(struct arbiter *arbiter, const struct wish *wish, char *why,
         size_t why_size)
{
    struct row *row = find_row(arbiter, &wish->vm);

    if (wish->kind != WISH_PSTATE || wish->vcpu >= VM_VCPUS_MAX) {
        snprintf(why, why_size, "there can be no such wish to withdraw");
        return -EINVAL;
    }
    if (!row || !row->place[wish->vcpu].used) {
        return 0;
    }
    drop(arbiter, row, wish->vcpu, wish->reason.cause);
    return 1;
}

int
arbiter_wish(struct arbiter *arbiter, const struct wish *wish, nsec_t now,
             char *why, size_t why_size)
{
    if (wish->withdraw) {
        return withdraw(arbiter, wish, why, why_size);
    }
    int error = check_wish(arbiter, wish, why, why_size);
    if (error) {
        return error;
    }
    struct row *row = take_row(arbiter, &wish->vm);
    if (!row) {
        snprintf(why, why_size, "wishes of %" PRIu32 " VMs stand already",
                 arbiter->n_rows);
        return -EINVAL;
    }
    struct place *place = &row->place[wish->vcpu];
    if (place->used && place->wish.value == wish->value &&
        wish->reason.cause == CAUSE_NONE) {
        place->wish.valid_until = wish->valid_until;
        return 0;
    }
    row->n_used += !place->used;
    place->used = true;
    place->turn = arbiter->turn;
    place->wish = *wish;
    touch(arbiter, wish, wish->reason.cause);
    return 1;
}

const struct wish *
arbiter_standing(const struct arbiter *arbiter, const struct uuid *vm,
                 uint32_t vcpu)
{
    const struct row *row = find_row(arbiter, vm);

    if (!row || vcpu >= VM_VCPUS_MAX || !row->place[vcpu].used) {
        return NULL;
    }
    return &row->place[vcpu].wish;
}

void
arbiter_forget_vm(struct arbiter *arbiter, const struct uuid *vm,
                  uint64_t cause)
{
    struct row *row = find_row(arbiter, vm);

    for (uint32_t i = 0; row && i < VM_VCPUS_MAX; i++) {
        drop(arbiter, row, i, cause);
    }
}

void
arbiter_forget_all(struct arbiter *arbiter, uint64_t cause)
{
    for (uint32_t i = 0; i < arbiter->n_rows; i++) {
        for (uint32_t j = 0; j < VM_VCPUS_MAX; j++) {
            drop(arbiter, &arbiter->rows[i], j, cause);
        }
    }
}

/* Decisions. */

/* Calls 'each' for every standing wish on a frequency domain; those past their
 * time, and those of a vCPU that is no more, go. */
static void
for_each_wish(struct arbiter *arbiter, nsec_t now,
              void (*each)(struct arbiter *, uint32_t domain,
                           const struct place *))
{
    for (uint32_t i = 0; i < arbiter->n_rows; i++) {
        struct row *row = &arbiter->rows[i];
        for (uint32_t j = 0; j < VM_VCPUS_MAX && row->n_used; j++) {
            struct place *place = &row->place[j];
            if (!place->used) {
                continue;
            }
            uint32_t domain = domain_of(arbiter->host, &row->vm, j);
            if (now >= place->wish.valid_until || domain >= arbiter->n_knobs) {
                drop(arbiter, row, j, CAUSE_NONE);
            } else {
                each(arbiter, domain, place);
            }
        }
    }
}

/* What a wish comes to on its domain: no slower than that goes, which it may
 * have been when it was taken in and its vCPU ran elsewhere. */
static uint32_t
pstate_of(const struct arbiter *arbiter, uint32_t domain,
          const struct place *place)
{
    uint32_t slowest = arbiter->host->domains[domain].desc.table.n - 1;
    uint32_t pstate = (uint32_t)place->wish.value;

    return pstate < slowest ? pstate : slowest;
}

/* The fastest wins; among equals the one that changed last, since it is the
 * one people ask about. */
static void
compare(struct arbiter *arbiter, uint32_t domain, const struct place *place)
{
    struct knob *knob = &arbiter->knobs[domain];

    if (!knob->winner) {
        knob->winner = place;
        return;
    }
    uint32_t best = pstate_of(arbiter, domain, knob->winner);
    uint32_t pstate = pstate_of(arbiter, domain, place);
    if (pstate < best || (pstate == best && place->turn > knob->winner->turn)) {
        knob->winner = place;
    }
}

static void
list_loser(struct arbiter *arbiter, uint32_t domain, const struct place *place)
{
    struct verdict *verdict = &arbiter->verdicts[domain];
    const struct place *winner = arbiter->knobs[domain].winner;

    if (place == winner) {
        return;
    }
    if (verdict->n_losers == ARBITER_LOSERS_MAX) {
        verdict->n_more_losers++;
        return;
    }
    uint32_t best = pstate_of(arbiter, domain, winner);
    bool same = pstate_of(arbiter, domain, place) == best;
    uint32_t i = verdict->n_losers++;
    verdict->losers[i].wish = place->wish;
    snprintf(verdict->losers[i].why, ARBITER_WHY_SIZE,
             same ? "wants p-state %" PRIu32 " too, and wanted it before"
                  : "the fastest wins, and p-state %" PRIu32 " is faster",
             best);
}

void
arbiter_clamp(struct arbiter *arbiter, bool on, uint32_t pstate, uint64_t cause)
{
    if (on == arbiter->clamped) {
        return;
    }
    arbiter->clamped = on;
    arbiter->clamp = pstate;
    arbiter->clamp_cause = cause;
    for (uint32_t i = 0; i < arbiter->n_knobs; i++) {
        arbiter->knobs[i].touched = cause;
    }
}

/* No faster than the clamp; whoever wished that lost. */
static void
clamp(struct arbiter *arbiter, uint32_t domain, nsec_t now)
{
    struct verdict *verdict = &arbiter->verdicts[domain];
    uint32_t slowest = arbiter->host->domains[domain].desc.table.n - 1;
    uint32_t pstate = arbiter->clamp < slowest ? arbiter->clamp : slowest;
    struct wish none = {
        .kind = WISH_PSTATE,
        .value = pstate,
        .valid_until = NSEC_NEVER,
        .reason = {.rule = ARBITER_CLAMP, .cause = arbiter->clamp_cause}};

    if (arbiter->knobs[domain].winner &&
        verdict->n_losers < ARBITER_LOSERS_MAX) {
        uint32_t i = verdict->n_losers++;

        verdict->losers[i].wish = arbiter->knobs[domain].winner->wish;
        snprintf(verdict->losers[i].why, ARBITER_WHY_SIZE,
                 "the power cap is not confirmed: nothing faster than p-state "
                 "%" PRIu32,
                 pstate);
    }
    verdict->changed = !verdict->wanted || verdict->pstate != pstate;
    if (verdict->changed) {
        verdict->time = now;
        verdict->cause = arbiter->clamp_cause;
    }
    verdict->domain = domain;
    verdict->wanted = true;
    verdict->pstate = pstate;
    verdict->held = false;
    verdict->winner = none;
    arbiter->knobs[domain].decided = true;
}

/* A lowering before the dwell time is over waits. */
static bool
must_wait(const struct arbiter *arbiter, const struct knob *knob,
          const struct verdict *was, uint32_t pstate, nsec_t now)
{
    return was->wanted && pstate > was->pstate && knob->was_lowered &&
           now - knob->lowered < arbiter->dwell_ns;
}

static void
decide(struct arbiter *arbiter, uint32_t domain, nsec_t now)
{
    struct knob *knob = &arbiter->knobs[domain];
    struct verdict *verdict = &arbiter->verdicts[domain];
    const struct place *winner = knob->winner;
    uint32_t pstate = winner ? pstate_of(arbiter, domain, winner) : 0;
    bool held = winner && must_wait(arbiter, knob, verdict, pstate, now);

    pstate = held ? verdict->pstate : pstate;
    verdict->changed = verdict->wanted != !!winner || verdict->pstate != pstate;
    if (verdict->changed) {
        if (verdict->wanted && winner && pstate > verdict->pstate) {
            knob->was_lowered = true;
            knob->lowered = now;
        }
        verdict->time = now;
        verdict->cause = winner && winner->turn == arbiter->turn
                             ? winner->wish.reason.cause
                             : knob->touched;
    }
    verdict->domain = domain;
    verdict->wanted = winner;
    verdict->pstate = pstate;
    verdict->held = held;
    verdict->winner = winner ? winner->wish : (struct wish){0};
    knob->decided = true;
    if (!held) {
        knob->touched = CAUSE_NONE;
    }
}

uint32_t
arbiter_resolve(struct arbiter *arbiter, nsec_t now, const struct verdict **out)
{
    uint32_t n = arbiter->host->n_domains;

    assert(n <= arbiter->n_knobs);
    for (uint32_t i = 0; i < n; i++) {
        arbiter->knobs[i].winner = NULL;
        arbiter->verdicts[i].n_losers = 0;
        arbiter->verdicts[i].n_more_losers = 0;
    }
    for_each_wish(arbiter, now, compare);
    for_each_wish(arbiter, now, list_loser);
    for (uint32_t i = 0; i < n; i++) {
        if (arbiter->clamped) {
            clamp(arbiter, i, now);
        } else {
            decide(arbiter, i, now);
        }
    }
    arbiter->turn++;
    *out = arbiter->verdicts;
    return n;
}

void
arbiter_blame(struct arbiter *arbiter, uint32_t domain, uint64_t cause)
{
    assert(domain < arbiter->n_knobs);
    arbiter->verdicts[domain].cause = cause;
}

const struct verdict *
arbiter_verdict(const struct arbiter *arbiter, uint32_t domain)
{
    if (domain >= arbiter->n_knobs || !arbiter->knobs[domain].decided) {
        return NULL;
    }
    return &arbiter->verdicts[domain];
}

nsec_t
arbiter_deadline(const struct arbiter *arbiter)
{
    nsec_t deadline = NSEC_NEVER;

    for (uint32_t i = 0; i < arbiter->n_rows; i++) {
        const struct row *row = &arbiter->rows[i];
        for (uint32_t j = 0; j < VM_VCPUS_MAX && row->n_used; j++) {
            if (row->place[j].used) {
                deadline = nsec_min(deadline, row->place[j].wish.valid_until);
            }
        }
    }
    for (uint32_t i = 0; i < arbiter->host->n_domains; i++) {
        if (arbiter->verdicts[i].held) {
            deadline = nsec_min(deadline,
                                arbiter->knobs[i].lowered + arbiter->dwell_ns);
        }
    }
    return deadline;
}
