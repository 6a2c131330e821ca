/* SPDX-License-Identifier: Apache-2.0 */
/* Makes up scenarios: a host, its guests, and a while of faults, all by a
 * seed, as the text of a scenario file that a person can read and change. */
#ifndef SIM_DRAW_H
#define SIM_DRAW_H

#include <stdint.h>

/* The caller frees it; null: no memory.  The same seed gives the same text. */
char *draw_scenario(uint64_t seed);

#endif
