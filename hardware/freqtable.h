/* SPDX-License-Identifier: Apache-2.0 */
/* Tables of p-states from what the kernel says of frequencies, in kHz. */
#ifndef HARDWARE_FREQTABLE_H
#define HARDWARE_FREQTABLE_H

#include <stdint.h>

#include "model/pstate.h"

/* Reads a list of frequencies in any order ('list' is cut up).  More than
 * PSTATES_MAX are thinned evenly; the fastest and slowest stay.  Returns 0,
 * -EINVAL, -ERANGE or -E2BIG. */
int freqtable_parse(struct pstate_table *, char *list);

/* Makes 'steps' (2..PSTATES_MAX) even steps from 'max_khz' to 'min_khz', those
 * between in whole 100 MHz; fewer where that makes some the same.  Returns 0 or
 * -ERANGE. */
int freqtable_ladder(struct pstate_table *, uint64_t min_khz, uint64_t max_khz,
                     uint32_t steps);

/* The p-state whose frequency is closest. */
uint32_t freqtable_nearest(const struct pstate_table *, uint64_t khz);

#endif
