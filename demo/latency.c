/* SPDX-License-Identifier: Apache-2.0 */
/* Response times in buckets: 32 to each power of two of microseconds, so that a
 * quantile is right to 3 % whatever its size and a second's counts take a fixed
 * place.  What is over the threshold is counted exactly.  Called by
 * demo/load.c.
 */
#include "demo/latency.h"

#include <stddef.h>

#define SUB_BITS 5
#define SUB (1u << SUB_BITS)

static size_t
bucket_of(uint64_t us)
{
    if (us < SUB) {
        return us;
    }
    unsigned power = 63 - (unsigned)__builtin_clzll(us);
    size_t bucket =
        (power - SUB_BITS + 1) * SUB + ((us >> (power - SUB_BITS)) & (SUB - 1));

    return bucket < LATENCY_BUCKETS ? bucket : LATENCY_BUCKETS - 1;
}

/* The largest that falls into a bucket. */
static uint64_t
top_of(size_t bucket)
{
    if (bucket < SUB) {
        return bucket;
    }
    unsigned shift = (unsigned)(bucket / SUB) - 1;

    return ((UINT64_C(1) * SUB + bucket % SUB + 1) << shift) - 1;
}

void
latency_add(struct latency *latency, uint64_t us, uint64_t threshold_us)
{
    latency->n++;
    latency->n_over += us > threshold_us;
    latency->sum_us += us;
    latency->max_us = us > latency->max_us ? us : latency->max_us;
    latency->bucket[bucket_of(us)]++;
}

void
latency_merge(struct latency *latency, const struct latency *from)
{
    latency->n += from->n;
    latency->n_over += from->n_over;
    latency->sum_us += from->sum_us;
    if (from->max_us > latency->max_us) {
        latency->max_us = from->max_us;
    }
    for (size_t i = 0; i < LATENCY_BUCKETS; i++) {
        latency->bucket[i] += from->bucket[i];
    }
}

uint64_t
latency_quantile(const struct latency *latency, double share)
{
    double wanted = share * (double)latency->n;
    uint64_t seen = 0;

    for (size_t i = 0; i < LATENCY_BUCKETS; i++) {
        seen += latency->bucket[i];
        if (seen && (double)seen >= wanted) {
            uint64_t top = top_of(i);
            return top < latency->max_us ? top : latency->max_us;
        }
    }
    return latency->max_us;
}
