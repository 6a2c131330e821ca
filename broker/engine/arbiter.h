/* SPDX-License-Identifier: Apache-2.0 */
/* One winner per knob per turn.  Standing wishes go in; out comes, for each
 * frequency domain, the p-state it should have, whose wish won and why the
 * others lost.  vCPU wishes map to the CPU the vCPU runs on and that to its
 * domain; the fastest wins; a clamp, which stands in for a power cap that can't
 * be confirmed, on top.  No I/O, no clock. */
#ifndef BROKER_ENGINE_ARBITER_H
#define BROKER_ENGINE_ARBITER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/clock.h"
#include "model/host.h"
#include "model/wish.h"

#define ARBITER_LOSERS_MAX 8
#define ARBITER_WHY_SIZE 96

struct arbiter;

/* How a domain's p-state came about; what "mctl why" shows. */
struct verdict {
    uint32_t domain;
    bool wanted; /* Someone wishes something; else the domain is released. */
    uint32_t pstate;
    bool changed; /* Differs from the last verdict. */
    bool held;    /* The winner wishes slower; the dwell time holds it back. */
    nsec_t time;  /* When it last changed. */
    /* The event that brought the last change about: the winner's, or that of
     * the wish that went.  CAUSE_NONE if nobody told of one (expiry). */
    uint64_t cause;
    struct wish winner; /* Copied. */
    uint32_t n_losers;
    struct {
        struct wish wish;
        char why[ARBITER_WHY_SIZE];
    } losers[ARBITER_LOSERS_MAX];
    uint32_t n_more_losers; /* Not listed. */
};

/* 'host' is borrowed until arbiter_destroy(); tables have its sizes. */
int arbiter_create(struct arbiter **out, const struct host *host,
                   nsec_t dwell_ns);
void arbiter_destroy(struct arbiter *);
void arbiter_set_dwell(struct arbiter *, nsec_t dwell_ns);

/* Takes a wish in (copied): replaces the standing one of that kind for that
 * subject.  The same value again without a cause is a renewal: it moves
 * valid_until and keeps the reason of the change.  Returns 1 if what stands
 * changed, 0 if not, or -EINVAL with 'why' if it names no VM, vCPU or p-state.
 */
int arbiter_wish(struct arbiter *, const struct wish *, nsec_t now, char *why,
                 size_t why_size);
/* What stands for that vCPU; null if nothing. */
const struct wish *arbiter_standing(const struct arbiter *, const struct uuid *,
                                    uint32_t vcpu);
/* Drops all wishes of a VM (it is about to leave the host's table), or of
 * everybody; 'cause' is the event. */
void arbiter_forget_vm(struct arbiter *, const struct uuid *, uint64_t cause);
void arbiter_forget_all(struct arbiter *, uint64_t cause);

/* Wants all domains no faster than 'pstate', or no longer, whoever wishes what;
 * 'cause' is the event.  The verdicts' winner is then the rule ARBITER_CLAMP.
 */
#define ARBITER_CLAMP "arbiter/clamp"
void arbiter_clamp(struct arbiter *, bool on, uint32_t pstate, uint64_t cause);

/* Decides all domains at 'now'; expired wishes go.  '*out' is borrowed until
 * the next call and has one verdict per domain.  Returns how many. */
uint32_t arbiter_resolve(struct arbiter *, nsec_t now,
                         const struct verdict **out);
/* Gives the last verdict on a domain its cause, if nobody told of one. */
void arbiter_blame(struct arbiter *, uint32_t domain, uint64_t cause);
/* The last verdict on a domain; null before the first. */
const struct verdict *arbiter_verdict(const struct arbiter *, uint32_t domain);
/* When a wish expires or a dwell time ends. */
nsec_t arbiter_deadline(const struct arbiter *);

#endif
