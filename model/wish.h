/* SPDX-License-Identifier: Apache-2.0 */
/* What a policy wants, and why.  A wish stands until it is replaced by the same
 * policy's wish of the same kind for the same subject, withdrawn, or past
 * valid_until.  The arbiter decides which wish wins; a policy never acts. */
#ifndef MODEL_WISH_H
#define MODEL_WISH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/clock.h"
#include "model/uuid.h"

struct host;
struct vm;

#define REASON_VALUES_MAX 4
#define REASON_REJECTED_MAX 4
#define WISH_TEXT_SIZE 96

enum wish_kind {
    WISH_PSTATE,  /* A vCPU wants a p-state. */
    WISH_CAP,     /* The host wants a power limit. */
    WISH_MIGRATE, /* A VM should leave. */
    WISH_NOTIFY,  /* People should know. */
};

struct reason_value {
    const char *name; /* Static text. */
    double value;
    const char *unit; /* Static text, "" if it has none. */
};

/* A decision's reason, as data, so that it can be shown, sorted and replayed.
 */
struct reason {
    const char *rule; /* Static text: "basic/raise". */
    uint64_t cause;   /* The event that moved the policy; CAUSE_NONE if none of
                       * those it was told of did (a wish renewed, or a look
                       * at utilization: the engine then numbers it). */
    uint32_t n_values;
    struct reason_value values[REASON_VALUES_MAX];
    uint32_t n_rejected;
    struct {
        int64_t choice;  /* Another value the wish could have had. */
        const char *why; /* Static text. */
    } rejected[REASON_REJECTED_MAX];
};

struct wish {
    enum wish_kind kind;
    struct uuid vm;            /* Zero if the subject is the host. */
    uint32_t vcpu;             /* For WISH_PSTATE. */
    bool withdraw;             /* Takes back the standing wish. */
    int64_t value;             /* p-state, or milliwatts for WISH_CAP. */
    char text[WISH_TEXT_SIZE]; /* Destination of WISH_MIGRATE, or the notice. */
    nsec_t valid_until;        /* NSEC_NEVER: until replaced. */
    struct reason reason;
};

struct wish_list {
    struct wish *wish; /* Borrowed from the engine. */
    size_t n, max;
};

/* Appends a zeroed wish; null if the list is full. */
struct wish *wish_add(struct wish_list *, enum wish_kind);
/* Adds a named value to a reason; asserts that there is room. */
void reason_value(struct reason *, const char *name, double value,
                  const char *unit);
void reason_reject(struct reason *, int64_t choice, const char *why);
/* Wishes all vCPUs of a VM a p-state, each no slower than its CPU can go; CPUs
 * whose frequency can't be set are left out.  Returns 0 or -ENOSPC. */
int wish_vm_pstate(struct wish_list *, const struct host *, const struct vm *,
                   uint32_t pstate, nsec_t valid_until, const struct reason *);
/* Takes back the wishes of all vCPUs of a VM.  Returns 0 or -ENOSPC. */
int wish_vm_withdraw(struct wish_list *, const struct vm *,
                     const struct reason *);
const char *wish_kind_name(enum wish_kind);

#endif
