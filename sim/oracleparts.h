/* SPDX-License-Identifier: Apache-2.0 */
/* What the oracle remembers, shared by oracle.c, which looks at what is done,
 * and oraclelook.c, which looks at what is.  For these two only. */
#ifndef SIM_ORACLEPARTS_H
#define SIM_ORACLEPARTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/clock.h"
#include "broker/config/config.h"
#include "broker/journal/chain.h"
#include "hypervisor/hypervisor.h"
#include "model/uuid.h"
#include "sim/scenario.h"

struct world;

#define ORDERS_KEPT 1024
/* After this long without what could prevent it a thing must be done. */
#define SOON_NS (15 * NSEC_PER_SEC)

/* What the engine wanted the platform to do. */
struct order {
    uint64_t command, cause;
    unsigned type;
    uint32_t domain, pstate; /* Of SET_PSTATE and RELEASE. */
    struct uuid vm;          /* Of VM_CONTROL. */
    enum vm_op op;
    uint64_t mw; /* Of SET_CAP. */
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

/* The journal's rows when the power failed. */
struct power_watch {
    bool cut;          /* It did, and no broker has started since. */
    uint64_t promised; /* Up to this id they are on the disk, as was told. */
    struct power_row {
        uint64_t id;
        struct chain link;
    } * rows; /* Owned. */
    size_t n, max;
};

struct oracle {
    uint64_t n_orders, last_command, last_cause;
    struct order orders[ORDERS_KEPT]; /* The n-th at n % ORDERS_KEPT. */
    struct domain_watch domains[CONFIG_CPUS_MAX];
    struct guest_watch guests[SCENARIO_GUESTS_MAX];
    uint64_t n_syncs; /* Of the disk when the engine's turn began. */
    struct power_watch power;
    size_t heap; /* In use when the first broker stood. */
};

/* Whether a domain at that p-state stands in for a power cap. */
bool oracle_is_clamp(const struct world *, uint32_t domain, uint32_t pstate);

/* oraclelook.c: the made-up host as it is. */
uint32_t oracle_n_domains(const struct world *);
uint32_t oracle_domain_cpu(const struct world *, uint32_t domain);
uint32_t oracle_found(const struct world *, uint32_t domain);
/* Who is where is noted for what follows. */
void oracle_note_alive(struct world *);
/* When a VM that might be wished for last ran on one of its CPUs: for Basic
 * only with an agent, or who stood in its place. */
nsec_t oracle_last_alive(const struct world *, uint32_t domain);
/* A lost guest's wishes outlive it by the beats it takes to notice, and by the
 * time for which they were renewed. */
nsec_t oracle_wishes_last(const struct world *);
/* How long neither hardware nor broker, its lines or its clock had trouble. */
nsec_t oracle_works_since(const struct world *);

#endif
