/* SPDX-License-Identifier: Apache-2.0 */
/* Response times, counted in buckets that are 3 % wide. */
#ifndef DEMO_LATENCY_H
#define DEMO_LATENCY_H

#include <stdint.h>

#define LATENCY_BUCKETS (28 * 32) /* To 2^27 us and more, over two minutes. */

struct latency {
    uint64_t n, n_over; /* All, and over the threshold. */
    uint64_t sum_us, max_us;
    uint32_t bucket[LATENCY_BUCKETS];
};

void latency_add(struct latency *, uint64_t us, uint64_t threshold_us);
void latency_merge(struct latency *, const struct latency *from);
/* The response time that a share of them did not exceed, to 3 %; 0 if none. */
uint64_t latency_quantile(const struct latency *, double share);

#endif
