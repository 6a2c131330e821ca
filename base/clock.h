/* SPDX-License-Identifier: Apache-2.0 */
/* Time values.  A moment is nanoseconds on the clock of whoever hands it over:
 * CLOCK_BOOTTIME in the programs, the made-up clock in msim.  Nothing here, and
 * nothing in the library rooms, reads a clock: 'now' is an argument. */
#ifndef BASE_CLOCK_H
#define BASE_CLOCK_H

#include <stdint.h>

typedef int64_t nsec_t;

#define NSEC_PER_USEC INT64_C(1000)
#define NSEC_PER_MSEC INT64_C(1000000)
#define NSEC_PER_SEC INT64_C(1000000000)
#define NSEC_NEVER INT64_MAX /* A deadline that never comes. */

static inline nsec_t
nsec_min(nsec_t a, nsec_t b)
{
    return a < b ? a : b;
}

#endif
