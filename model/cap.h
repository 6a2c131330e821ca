/* SPDX-License-Identifier: Apache-2.0 */
/* The limit of a host's power: what is aimed at, and whether the hardware is
 * known to keep it.  A cap holds for a lease; after it the safe cap does, which
 * the configuration names.  A host that can be capped is never without. */
#ifndef MODEL_CAP_H
#define MODEL_CAP_H

#include <stdbool.h>
#include <stdint.h>

#include "base/clock.h"

#define CAP_REASON_SIZE 161

enum cap_phase {
    CAP_NONE,      /* Nothing here limits power. */
    CAP_SETTLING,  /* It was written and is being read back. */
    CAP_CONFIRMED, /* It read back as asked for. */
    CAP_CLAMPED,   /* It can't be confirmed: p-states are held slow instead. */
    CAP_PHASE_N,   /* Not a phase: how many there are. */
};

struct power_cap {
    enum cap_phase phase;
    uint64_t mw;      /* What is aimed at. */
    uint64_t read_mw; /* What the hardware says; 0: it limits nothing. */
    bool known;       /* 'read_mw' means something. */
    bool safe;        /* What is aimed at is the safe cap. */
    /* Whose order brought it: terms and, within a term, orders only grow. */
    uint64_t term, order;
    uint64_t command; /* The action that carried it; 0: none did. */
    nsec_t until;     /* When its lease ends; NSEC_NEVER: it has none. */
    uint64_t low_mw, high_mw;
    char reason[CAP_REASON_SIZE]; /* Why it isn't confirmed; "". */
};

/* An order to limit a host's power. */
struct cap_order {
    uint64_t term, order; /* Order 0: the next one of that term. */
    bool any_term;        /* The one that is known; 'term' is ignored. */
    uint64_t mw;
    nsec_t lease_ns;   /* 0: the configured one. */
    nsec_t expires_ns; /* From now; 0: the configured patience. */
};

/* Whether an order may be carried out after the last one that was: 0, -ESTALE
 * (a lower term) or -EALREADY (not a higher number within the same term). */
int cap_fence(uint64_t last_term, uint64_t last_order, uint64_t term,
              uint64_t order);

const char *cap_phase_name(enum cap_phase);

#endif
