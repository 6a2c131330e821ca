/* SPDX-License-Identifier: Apache-2.0 */
/* The beats we sent, and what their answers say of how far the broker's clock
 * is from ours.  Each beat and its answer carry four moments (RFC 5905, section
 * 8): the shorter the round trip, the less the distance can be off, so the best
 * of the last few beats counts.  The broker's side is broker/back/beats.h. */
#ifndef AGENT_BEATLOG_H
#define AGENT_BEATLOG_H

#include <stdbool.h>
#include <stdint.h>

#include "base/clock.h"

#define BEATLOG_KEPT 8
#define BEATLOG_ERROR_UNKNOWN UINT64_MAX

struct beat {
    uint64_t number;
    nsec_t origin; /* Our clock when it left. */
    bool answered;
    int64_t offset_ns; /* Our clock minus the broker's. */
    uint64_t error_ns; /* Half the round trip. */
};

/* Allocated by the caller, who reads the counts only. */
struct beatlog {
    struct beat last[BEATLOG_KEPT]; /* By number modulo BEATLOG_KEPT. */
    uint64_t n_sent;
    unsigned n_unanswered; /* In a row, the one on its way included. */
};

/* Also when the broker may be another one, with another clock. */
void beatlog_init(struct beatlog *);

/* A beat leaves at 'now'; returns its number. */
uint64_t beatlog_send(struct beatlog *, nsec_t now);

/* An answer came at 'now'.  False if it answers none of the last beats, or one
 * that was answered already, or if its times make no sense. */
bool beatlog_answer(struct beatlog *, uint64_t number, nsec_t origin,
                    nsec_t receive, nsec_t transmit, nsec_t now);

/* The best recent estimate; an error of BEATLOG_ERROR_UNKNOWN if there is none.
 */
void beatlog_offset(const struct beatlog *, int64_t *offset_ns_out,
                    uint64_t *error_ns_out);

#endif
