/* SPDX-License-Identifier: Apache-2.0 */
/* When requests arrive: a Poisson process whose rate follows a curve, the same
 * on every run of one seed. */
#ifndef DEMO_CURVE_H
#define DEMO_CURVE_H

#include <stddef.h>

#include "base/clock.h"
#include "base/prng.h"

#define CURVE_POINTS_MAX 64

/* Straight lines between points that are evenly spread over the length; each
 * point is a share of the peak rate. */
struct curve {
    size_t n;
    double share[CURVE_POINTS_MAX];
    nsec_t length;
    double peak; /* Requests per second at share 1. */
};

struct arrivals {
    const struct curve *curve; /* Borrowed. */
    struct prng prng;
    nsec_t at;
};

/* Reads "0.3 0.6 1"; 0 or -EINVAL. */
int curve_parse(struct curve *, const char *text);
/* Requests per second at a moment from 0 to the length. */
double curve_rate(const struct curve *, nsec_t at);

void arrivals_init(struct arrivals *, const struct curve *, uint64_t seed);
/* The next arrival; NSEC_NEVER past the curve's end. */
nsec_t arrivals_next(struct arrivals *);

#endif
