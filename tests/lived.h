/* SPDX-License-Identifier: Apache-2.0 */
/* A made-up broker's life, from tests/scenario, whose journal keeps what its
 * engine was told and is still there at its end: what a replay is tried on.
 * Links in place of disk_destroy() and journal_open(): lived_dep. */
#ifndef TESTS_LIVED_H
#define TESTS_LIVED_H

#include <stddef.h>

#include "sim/scenario.h"

/* Reads the scenario; the caller's to end with scenario_fini().  Returns 0 or a
 * negative errno and says why. */
int lived_read(struct scenario *out, char *why, size_t why_size);

/* Lives it, and calls at_end with the journal's path before it goes.  Returns 0,
 * or a negative errno and says why. */
int lived(void (*at_end)(void *ctx, const char *journal_path), void *ctx,
          char *why, size_t why_size);

#endif
