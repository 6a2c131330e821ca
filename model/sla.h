/* SPDX-License-Identifier: Apache-2.0 */
/* A service level agreement as the paper has it: no more than a tolerated share
 * of the requests that are counted in an epoch may be slower than a threshold.
 * Counts requests and closes epochs.
 *
 * A request counts in the epoch in which it was seen, not in the one in which
 * it ended: a line that a server wrote late, or that was read after a pause, is
 * never lost and never changes an epoch that was already told. */
#ifndef MODEL_SLA_H
#define MODEL_SLA_H

#include <stdbool.h>
#include <stdint.h>

#include "base/clock.h"

#define SLA_THRESHOLD_US_DEFAULT 3000
#define SLA_EPOCH_NS_DEFAULT (500 * NSEC_PER_MSEC)
#define SLA_TOLERATED_PERMILLE_DEFAULT 10

/* Epochs that passed unnoticed and are still told one by one, empty.  After a
 * longer pause (a frozen guest, a clock that jumped) they are only counted. */
#define SLA_CATCH_UP_MAX 8

struct sla_terms {
    uint64_t threshold_us;       /* A response slower than this violates. */
    nsec_t epoch_ns;             /* More than 0. */
    uint32_t tolerated_permille; /* An epoch violates above this share. */
};

/* One epoch's counts. */
struct sla_result {
    uint64_t number;   /* From 0; a gap: epochs that nobody was awake for. */
    nsec_t start, end; /* Its first moment, and the next one's. */
    uint64_t n_requests, n_violations;
    uint64_t worst_us;            /* The slowest response. */
    nsec_t worst_ended;           /* When that request ended; 0: none. */
    nsec_t first_seen, last_seen; /* When requests were handed in; 0: none. */
    bool violated;                /* Set when the epoch is closed. */
};

/* Allocated by the caller, who reads 'terms' and the counts only. */
struct sla {
    struct sla_terms terms;
    struct sla_result open; /* The epoch that is being counted. */
    uint64_t n_skipped;     /* Epochs that were not told; see above. */
    uint64_t n_set_back;    /* Times the clock went back. */
};

void sla_init(struct sla *, const struct sla_terms *, nsec_t now);

/* Counts a request that is seen at 'now'.  'ended' is only remembered, for the
 * slowest. */
void sla_observe(struct sla *, nsec_t now, nsec_t ended, uint64_t response_us);

/* Closes the open epoch if it is over at 'now': returns true and writes it to
 * '*out'.  To be called until it returns false, since epochs without requests
 * are told too. */
bool sla_run(struct sla *, nsec_t now, struct sla_result *out);

/* When the open epoch ends. */
nsec_t sla_deadline(const struct sla *);

/* More than the tolerated share: 1 of 100 is not more than 1 %. */
bool sla_violated(uint64_t n_requests, uint64_t n_violations,
                  uint32_t tolerated_permille);

#endif
