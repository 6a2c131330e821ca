/* SPDX-License-Identifier: Apache-2.0 */
/* A bucket that lacks k tokens is full in k / rate seconds, so that moment says
 * all (the "virtual scheduling" of ITU-T I.371).  Nothing has to be refilled.
 * Called by back for guests, by the engine for journal rows and by the control
 * socket for requests. */
#include "base/bucket.h"

static nsec_t
time_of(struct bucket_terms terms, uint32_t n)
{
    /* Rounded up: never more than the rate. */
    return ((nsec_t)n * NSEC_PER_SEC + terms.rate - 1) / terms.rate;
}

/* A clock that went back must not keep anybody waiting longer than an empty
 * bucket does. */
static nsec_t
lacking(const struct bucket *bucket, nsec_t now)
{
    return bucket->full > now ? bucket->full - now : 0;
}

nsec_t
bucket_wait(const struct bucket *bucket, struct bucket_terms terms, uint32_t n,
            nsec_t now)
{
    if (!terms.rate) {
        return 0;
    }
    nsec_t over = lacking(bucket, now) +
                  time_of(terms, n < terms.burst ? n : terms.burst) -
                  time_of(terms, terms.burst);

    return over > 0 ? over : 0;
}

void
bucket_charge(struct bucket *bucket, struct bucket_terms terms, uint32_t n,
              nsec_t now)
{
    if (terms.rate) {
        bucket->full = now + lacking(bucket, now) + time_of(terms, n);
    }
}

bool
bucket_take(struct bucket *bucket, struct bucket_terms terms, uint32_t n,
            nsec_t now)
{
    if (bucket_wait(bucket, terms, n, now) > 0) {
        return false;
    }
    bucket_charge(bucket, terms, n, now);
    return true;
}
