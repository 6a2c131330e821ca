/* SPDX-License-Identifier: Apache-2.0 */
/* When requests arrive.  Moments are drawn at the peak rate and kept with the
 * probability rate/peak (Lewis and Shedler's thinning), which is exact for any
 * curve.  Nothing here knows how fast they are answered, so the same seed is
 * the same load for every policy.  Called by demo/load.c. */
#include "demo/curve.h"

#include <errno.h>
#include <string.h>

#include "base/text.h"

int
curve_parse(struct curve *curve, const char *text)
{
    char copy[512], *rest = copy, *word;
    size_t n = 0;

    if (text_copy(copy, sizeof copy, text)) {
        return -EINVAL;
    }
    while ((word = strsep(&rest, " ,"))) {
        double share;

        if (!*word) {
            continue;
        }
        if (n == CURVE_POINTS_MAX || text_to_real(word, &share) || share < 0 ||
            share > 1) {
            return -EINVAL;
        }
        curve->share[n++] = share;
    }
    curve->n = n;
    return n ? 0 : -EINVAL;
}

double
curve_rate(const struct curve *curve, nsec_t at)
{
    if (curve->n == 1) {
        return curve->share[0] * curve->peak;
    }
    double place = (double)at / (double)curve->length * (double)(curve->n - 1);
    size_t i = place > 0 ? (size_t)place : 0;

    if (i >= curve->n - 1) {
        return curve->share[curve->n - 1] * curve->peak;
    }
    double part = place - (double)i;
    return (curve->share[i] * (1 - part) + curve->share[i + 1] * part) *
           curve->peak;
}

void
arrivals_init(struct arrivals *arrivals, const struct curve *curve,
              uint64_t seed)
{
    *arrivals = (struct arrivals){.curve = curve};
    prng_init(&arrivals->prng, seed);
}

nsec_t
arrivals_next(struct arrivals *arrivals)
{
    const struct curve *curve = arrivals->curve;

    while (curve->peak > 0) {
        double wait_s = prng_exp(&arrivals->prng, 1 / curve->peak);
        double kept = prng_real(&arrivals->prng);

        if (wait_s * 1e9 >= (double)(curve->length - arrivals->at)) {
            break;
        }
        arrivals->at += (nsec_t)(wait_s * 1e9);
        if (kept * curve->peak < curve_rate(curve, arrivals->at)) {
            return arrivals->at;
        }
    }
    return NSEC_NEVER;
}
