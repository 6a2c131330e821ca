/* SPDX-License-Identifier: Apache-2.0 */
/* Moments as people write them. */
#ifndef CTL_WHEN_H
#define CTL_WHEN_H

#include <stdint.h>

#define WHEN_FORMS                                                             \
    "write HH:MM[:SS], YYYY-MM-DD[ HH:MM[:SS]], @SECONDS, or how long ago: "   \
    "90s, 15m, 2h, 3d"

/* Reads a moment of the local time, in ns of the wall clock; 'now_s' is the
 * present.  HH:MM is the last such moment.  0 or -EINVAL. */
int when_parse(int64_t *out_ns, const char *text, int64_t now_s);

#endif
