/* SPDX-License-Identifier: Apache-2.0 */
/* The frequency domains under the broker's control: each write is checked
 * against the limits, what was found is on disk before the first one, and every
 * write is read back.  For the platform core only. */
#ifndef BROKER_PLATFORM_CONTROLS_H
#define BROKER_PLATFORM_CONTROLS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/clock.h"
#include "hardware/hardware.h"

struct broker_config;
struct controls;

/* What one action did and when; 0 is "it did not come to that". */
struct control_steps {
    nsec_t checked, written, read;
    uint32_t pstate; /* As read back. */
};

/* Takes over the domains that 'hw' (borrowed until controls_destroy()) offers
 * and whose CPUs are all ours.  What an earlier broker found and could not put
 * back, by the files in 'saved_dirfd' (-1: none), counts as found.  'clock'
 * null: 'now' is used.  Returns 0 or -Exxx with 'why'; with a result of 0,
 * 'why' says which domains were left alone, or is empty. */
int controls_create(struct controls **out, const struct broker_config *,
                    const struct hardware_class *, struct hardware *hw,
                    int saved_dirfd, nsec_t (*clock)(void), char *why,
                    size_t why_size);
void controls_destroy(struct controls *); /* Puts nothing back. */

/* The domains, numbered from 0; null if there is no such. */
uint32_t controls_n(const struct controls *);
const struct pstate_domain *controls_domain(const struct controls *,
                                            uint32_t domain);
/* Where a domain stood when it was last read. */
uint32_t controls_pstate(const struct controls *, uint32_t domain);
bool controls_changed(const struct controls *, uint32_t domain);

/* 0 or -Exxx with 'why'; '*out' is filled as far as it came either way. */
int controls_set(struct controls *, uint32_t domain, uint32_t pstate,
                 nsec_t now, struct control_steps *out, char *why,
                 size_t why_size);
/* Puts a domain back as it was found; 0 also if it was never changed. */
int controls_release(struct controls *, uint32_t domain, nsec_t now,
                     struct control_steps *out, char *why, size_t why_size);
/* All of them; returns how many could not be put back, 'why' saying one. */
int controls_release_all(struct controls *, nsec_t now, char *why,
                         size_t why_size);

/* Frequencies and voltages of a CPU now, for power models; 0 where unknown. */
void controls_fill_load(const struct controls *, struct cpu_load *);
/* Time a CPU's emulation took since opening; 0 if none. */
uint64_t controls_stolen_ns(const struct controls *, uint32_t cpu);

#endif
