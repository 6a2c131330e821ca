/* SPDX-License-Identifier: Apache-2.0 */
/* Token buckets: so much a second, and so much at once.  A bucket is one
 * moment, the one at which it will be full again; rate and size are told each
 * time, so that they may stand in a table.  Pure. */
#ifndef BASE_BUCKET_H
#define BASE_BUCKET_H

#include <stdbool.h>
#include <stdint.h>

#include "base/clock.h"

#define BUCKET_SIZE_MAX UINT32_MAX

/* Zeroed, it is full. */
struct bucket {
    nsec_t full; /* From then on. */
};

struct bucket_terms {
    uint32_t rate;  /* Tokens a second; 0: as many as one likes. */
    uint32_t burst; /* Of them in a full bucket. */
};

/* How long it takes until there are 'n' tokens; 0: they are there.  More than a
 * full bucket holds are there when it is full. */
nsec_t bucket_wait(const struct bucket *, struct bucket_terms, uint32_t n,
                   nsec_t now);
/* Takes 'n' tokens, those that are not there yet included. */
void bucket_charge(struct bucket *, struct bucket_terms, uint32_t n,
                   nsec_t now);
/* Takes them if they are there, and returns whether. */
bool bucket_take(struct bucket *, struct bucket_terms, uint32_t n, nsec_t now);

#endif
