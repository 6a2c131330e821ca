/* SPDX-License-Identifier: Apache-2.0 */
/* What must hold in every run, whatever its scenario does and expects. */
#ifndef SIM_INVARIANT_H
#define SIM_INVARIANT_H

#include <stdbool.h>
#include <stddef.h>

struct world;

/* To be asked whenever everybody has come to rest; 'why' says what is wrong. */
bool invariant_holds(const struct world *, char *why, size_t why_size);
/* To be asked when the broker has stopped for good. */
bool invariant_left_as_found(const struct world *, char *why, size_t why_size);

#endif
