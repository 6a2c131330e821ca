/* SPDX-License-Identifier: Apache-2.0 */
/* The knobs that the broker turns, a frequency domain each: a write is checked
 * against the limits, what was found is on disk before the first one, and every
 * write is read back.  For the platform core only. */
#ifndef BROKER_PLATFORM_KNOBS_H
#define BROKER_PLATFORM_KNOBS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/clock.h"
#include "hardware/hardware.h"

struct broker_config;
struct knobs;

/* What one action did and when; 0 is "it did not come to that". */
struct knob_steps {
    nsec_t checked, written, read;
    uint32_t pstate; /* As read back. */
};

/* Takes over the domains that 'hw' (borrowed until knobs_destroy()) offers
 * and whose CPUs are all ours.  What an earlier broker found and could not put
 * back, by the files in 'saved_dirfd' (-1: none), counts as found.  'clock'
 * null: 'now' is used.  Returns 0 or -Exxx with 'why'; with a result of 0,
 * 'why' says which domains were left alone, or is empty. */
int knobs_create(struct knobs **out, const struct broker_config *,
                 const struct hardware_class *, struct hardware *hw,
                 int saved_dirfd, nsec_t (*clock)(void), char *why,
                 size_t why_size);
void knobs_destroy(struct knobs *); /* Puts nothing back. */
/* Other limits hold from now on; accepts null. */
void knobs_configure(struct knobs *, const struct broker_config *);

/* The domains, numbered from 0; null if there is no such. */
uint32_t knobs_n(const struct knobs *);
const struct pstate_domain *knobs_domain(const struct knobs *, uint32_t domain);
/* Where a domain stood when it was last read. */
uint32_t knobs_pstate(const struct knobs *, uint32_t domain);
bool knobs_changed(const struct knobs *, uint32_t domain);

/* 0 or -Exxx with 'why'; '*out' is filled as far as it came either way. */
int knobs_set(struct knobs *, uint32_t domain, uint32_t pstate, nsec_t now,
              struct knob_steps *out, char *why, size_t why_size);
/* Puts a domain back as it was found; 0 also if it was never changed. */
int knobs_release(struct knobs *, uint32_t domain, nsec_t now,
                  struct knob_steps *out, char *why, size_t why_size);
/* Tries to put back what an earlier broker left changed in a domain that nobody
 * has set since.  True if that was the case and it is back. */
bool knobs_put_back(struct knobs *, uint32_t domain, nsec_t now);
/* All of them; returns how many could not be put back, 'why' saying one. */
int knobs_release_all(struct knobs *, nsec_t now, char *why, size_t why_size);

/* Holds all domains at the slowest p-state that is allowed, or no longer: then
 * those that nobody set meanwhile are put back.  While they are held nothing
 * faster is set and nothing is put back, not at the end either.  Called again
 * it sets again what doesn't stand there.  Returns how many could not be held,
 * 'why' saying one. */
int knobs_clamp(struct knobs *, bool on, nsec_t now, char *why,
                size_t why_size);
bool knobs_clamped(const struct knobs *);
/* Whether the clamp's end put a domain back and the engine was not told so yet;
 * and that it is told. */
bool knobs_let_go(const struct knobs *, uint32_t domain);
void knobs_told_let_go(struct knobs *, uint32_t domain);

/* Frequencies and voltages of a CPU now, for power models; 0 where unknown. */
void knobs_fill_load(const struct knobs *, struct cpu_load *);
/* Time a CPU's emulation took since opening; 0 if none. */
uint64_t knobs_stolen_ns(const struct knobs *, uint32_t cpu);

#endif
