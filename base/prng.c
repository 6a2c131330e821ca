/* SPDX-License-Identifier: Apache-2.0 */
/* Numbers that look like chance and repeat from their seed: xoshiro256** by
 * Blackman and Vigna ("Scrambled linear pseudorandom number generators", 2018),
 * seeded by splitmix64 as its authors advise.  Relies on nothing; called by
 * msim, the made-up drivers and the load generator, each with a stream of its
 * own, so that what one draws does not move another. */
#include "base/prng.h"

#include <assert.h>
#include <math.h>

static uint64_t
rotate_left(uint64_t x, int k)
{
    return (x << k) | (x >> (64 - k));
}

void
prng_init(struct prng *prng, uint64_t seed)
{
    for (int i = 0; i < 4; i++) {
        seed += UINT64_C(0x9e3779b97f4a7c15);
        uint64_t z = seed;
        z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
        z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
        prng->s[i] = z ^ (z >> 31);
    }
}

uint64_t
prng_u64(struct prng *prng)
{
    uint64_t *s = prng->s;
    uint64_t result = rotate_left(s[1] * 5, 7) * 9;
    uint64_t t = s[1] << 17;

    s[2] ^= s[0];
    s[3] ^= s[1];
    s[1] ^= s[2];
    s[0] ^= s[3];
    s[2] ^= t;
    s[3] = rotate_left(s[3], 45);
    return result;
}

uint64_t
prng_below(struct prng *prng, uint64_t n)
{
    assert(n > 0);
    /* Values at or above the largest multiple of n would favour the low ones:
     * draw again. */
    uint64_t limit = UINT64_MAX - UINT64_MAX % n;
    uint64_t value;

    do {
        value = prng_u64(prng);
    } while (value >= limit);
    return value % n;
}

double
prng_real(struct prng *prng)
{
    return (double)(prng_u64(prng) >> 11) * 0x1.0p-53;
}

double
prng_exp(struct prng *prng, double mean)
{
    return -mean * log1p(-prng_real(prng));
}
