/* SPDX-License-Identifier: Apache-2.0 */
/* What a scenario can expect something of: quantities by name, read from a
 * running world.  Adding one is a row in gauge.c. */
#ifndef SIM_GAUGE_H
#define SIM_GAUGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct world;

#define GAUGE_TEXT_SIZE 192

/* What a gauge must be told to know what it is about. */
enum gauge_of {
    GAUGE_OF_HOST,
    GAUGE_OF_CPU,
    GAUGE_OF_GUEST,
};

struct gauge {
    const char *name; /* Null ends the table. */
    enum gauge_of of;
    const char *unit; /* "" if it has none; null: it is a word. */
    const char *help;
    /* Exactly one of the two: 'index' is a CPU number or a guest's place.  A
     * number may be NAN if it is not known now. */
    double (*number)(const struct world *, uint32_t index);
    void (*word)(const struct world *, uint32_t index,
                 char out[GAUGE_TEXT_SIZE]);
};

extern const struct gauge gauge_table[];

#endif
