/* SPDX-License-Identifier: Apache-2.0 */
/* Beats: that we are alive, and how far the broker's clock is from ours.  Each
 * beat and its answer carry four moments (RFC 5905, section 8): the shorter the
 * round trip, the less the distance can be off, so the best of the last few
 * beats counts. */
#ifndef AGENT_BEATS_H
#define AGENT_BEATS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/clock.h"

#define BEATS_KEPT 8
#define BEATS_ERROR_UNKNOWN UINT64_MAX

struct beat {
    uint64_t number;
    nsec_t origin; /* Our clock when it left. */
    bool answered;
    int64_t offset_ns; /* Our clock minus the broker's. */
    uint64_t error_ns; /* Half the round trip. */
};

/* Allocated by the caller, who reads the counts only. */
struct beats {
    struct beat last[BEATS_KEPT]; /* By number modulo BEATS_KEPT. */
    uint64_t n_sent;
    unsigned n_unanswered; /* In a row, the one on its way included. */
};

/* Also when the broker may be another one, with another clock. */
void beats_init(struct beats *);

/* A beat leaves at 'now'; returns its number. */
uint64_t beats_send(struct beats *, nsec_t now);

/* An answer came at 'now'.  False if it answers none of the last beats, or one
 * that was answered already, or if its times make no sense. */
bool beats_answer(struct beats *, uint64_t number, nsec_t origin,
                  nsec_t receive, nsec_t transmit, nsec_t now);

/* The best recent estimate; an error of BEATS_ERROR_UNKNOWN if there is none.
 */
void beats_offset(const struct beats *, int64_t *offset_ns_out,
                  uint64_t *error_ns_out);

#endif
