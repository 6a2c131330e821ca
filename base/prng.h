/* SPDX-License-Identifier: Apache-2.0 */
/* Chance that repeats: xoshiro256** (Blackman and Vigna, 2018) seeded through
 * splitmix64.  Whoever needs chance is given one of these or its seed. */
#ifndef BASE_PRNG_H
#define BASE_PRNG_H

#include <stdint.h>

struct prng {
    uint64_t s[4];
};

void prng_init(struct prng *, uint64_t seed);
uint64_t prng_u64(struct prng *);
/* In [0, n), unbiased; n > 0. */
uint64_t prng_below(struct prng *, uint64_t n);
/* In [0, 1). */
double prng_real(struct prng *);
/* Exponentially distributed with the given mean. */
double prng_exp(struct prng *, double mean);

#endif
