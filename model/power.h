/* SPDX-License-Identifier: Apache-2.0 */
/* A power reading: a value never travels without its source, its time and its
 * quality, and unknown is never 0. */
#ifndef MODEL_POWER_H
#define MODEL_POWER_H

#include <stdint.h>

#include "base/clock.h"

enum quality {
    QUALITY_UNKNOWN,  /* No value. */
    QUALITY_MEASURED, /* By hardware. */
    QUALITY_MODELLED, /* Computed; always shown as "model". */
    QUALITY_STALE,    /* Was true at 'time'. */
    QUALITY_ASSUMED,  /* Nobody knows: the most that the budget allows. */
    QUALITY_N,        /* Not a quality: how many there are. */
};

#define POWER_SOURCE_SIZE 32

struct power_reading {
    enum quality quality;
    uint64_t power_mw; /* Means nothing if the quality is unknown. */
    nsec_t time;
    char source[POWER_SOURCE_SIZE]; /* "rapl", "model", … */
};

const char *quality_name(enum quality);

#endif
