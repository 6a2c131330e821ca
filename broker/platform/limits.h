/* SPDX-License-Identifier: Apache-2.0 */
/* What the configuration allows the platform process to do, as a table it asks
 * before every write.  The last line of defence against an engine gone wrong:
 * it knows nothing of policies.  No I/O, no clock. */
#ifndef BROKER_PLATFORM_LIMITS_H
#define BROKER_PLATFORM_LIMITS_H

#include <stddef.h>
#include <stdint.h>

#include "base/clock.h"
#include "model/pstate.h"

struct broker_config;
struct limits;

/* 'domains' (borrowed) are what the driver offers; only those whose CPUs are
 * all in the configuration's list may be written. */
int limits_create(struct limits **out, const struct broker_config *,
                  const struct pstate_domain *domains, uint32_t n_domains);
void limits_destroy(struct limits *);
/* Other bounds hold; which CPUs are ours stays. */
void limits_configure(struct limits *, const struct broker_config *);

/* 0 (and counts the write against its rate), -EPERM, -ERANGE or -EBUSY (too
 * often) with 'why'. */
int limits_check_pstate(struct limits *, uint32_t domain, uint32_t pstate,
                        nsec_t now, char *why, size_t why_size);

#endif
