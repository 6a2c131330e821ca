/* SPDX-License-Identifier: Apache-2.0 */
/* Watches a world from outside and knows what must hold whatever happens to it:
 * what a broker may do to hardware and VMs, and when; that no command is lost
 * or carried out twice; whom a guest's word may touch; and that some time after
 * all trouble everything is well.  It knows nothing of how that is brought
 * about.  What does not hold is said in world->broken, the first of it. */
#ifndef SIM_ORACLE_H
#define SIM_ORACLE_H

#include <stdbool.h>
#include <stdint.h>

#include "hypervisor/hypervisor.h"

struct journal_head;
struct msg;
struct oracle;
struct uuid;
struct world;

/* Returns 0 or -ENOMEM. */
int oracle_create(struct oracle **out);
void oracle_destroy(struct oracle *);

/* As it happens. */
void oracle_broker_started(struct world *);
/* The disk is about to lose its power; 'found' is what the mark beside the
 * journal says when it is back, and 'said' whether the journal told of rows
 * that are gone. */
void oracle_power_fails(struct world *);
bool oracle_power_lost(const struct world *);
void oracle_power_back(struct world *, const struct journal_head *found,
                       bool said);
void oracle_from_back(struct world *, const struct msg *);
void oracle_ordered(struct world *, const struct msg *);
void oracle_engine_ran(struct world *);
void oracle_outcome(struct world *, const struct msg *);
void oracle_pstate_set(struct world *, uint32_t domain, uint32_t pstate);
void oracle_cap_set(struct world *);
void oracle_vm_operated(struct world *, const struct uuid *, enum vm_op);

/* To be called whenever everybody has come to rest. */
void oracle_look(struct world *);

#endif
