/* SPDX-License-Identifier: Apache-2.0 */
/* A guest with root that attacks its broker: instead of an agent it has one of
 * these on its channel.  Whatever it does may touch its own VM only. */
#ifndef SIM_HOSTILE_H
#define SIM_HOSTILE_H

#include <stdint.h>

#include "base/clock.h"

struct hostile;
struct world;

enum hostile_kind {
    HOSTILE_BYTES,   /* No channel: bytes by chance over the transport. */
    HOSTILE_TAGS,    /* A channel, and messages of any type and no sense. */
    HOSTILE_MUTANTS, /* Good messages of all types with some wrong bytes. */
    HOSTILE_LIES,    /* Good messages of an agent's, and all a lie. */
    HOSTILE_FLOOD,   /* The same, as many as go. */
    HOSTILE_CLAIMS,  /* It greets as others, again and again. */
    HOSTILE_N_KINDS,
};

/* Returns 0 or -Exxx. */
int hostile_create(struct hostile **out, struct world *, uint32_t guest,
                   enum hostile_kind);
void hostile_destroy(struct hostile *); /* Accepts null. */
void hostile_run(struct hostile *, nsec_t now);
nsec_t hostile_deadline(const struct hostile *);

#endif
