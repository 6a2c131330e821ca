/* SPDX-License-Identifier: Apache-2.0 */
/* Counts requests into epochs and judges each epoch at its end.  Pure: time is
 * an argument and nothing is sent from here; agent/ does that, and msim runs
 * the same code.
 *
 * Epochs lie on a grid from the first moment on, so that a late turn does not
 * stretch them.  Time may jump forward by any amount (the guest was frozen):
 * then the grid is kept but the epochs in between are counted, not told.  It
 * may go back in a simulation: then the open epoch starts again and keeps what
 * it counted. */
#include "model/sla.h"

#include <assert.h>
#include <string.h>

void
sla_init(struct sla *sla, const struct sla_terms *terms, nsec_t now)
{
    assert(terms->epoch_ns > 0);
    memset(sla, 0, sizeof *sla);
    sla->terms = *terms;
    sla->open.start = now;
    sla->open.end = now + terms->epoch_ns;
}

void
sla_observe(struct sla *sla, nsec_t now, nsec_t ended, uint64_t response_us)
{
    struct sla_result *open = &sla->open;

    if (!open->n_requests) {
        open->first_seen = now;
    }
    open->last_seen = now;
    open->n_requests++;
    if (response_us > sla->terms.threshold_us) {
        open->n_violations++;
    }
    if (open->n_requests == 1 || response_us > open->worst_us) {
        open->worst_us = response_us;
        open->worst_ended = ended;
    }
}

/* Starts the epoch that holds 'now', or the one after 'last' if 'now' is not
 * far beyond it. */
static void
open_next(struct sla *sla, const struct sla_result *last, nsec_t now)
{
    nsec_t epoch_ns = sla->terms.epoch_ns;
    uint64_t n_missed = (uint64_t)((now - last->end) / epoch_ns);

    if (n_missed <= SLA_CATCH_UP_MAX) {
        n_missed = 0;
    }
    sla->n_skipped += n_missed;
    memset(&sla->open, 0, sizeof sla->open);
    sla->open.number = last->number + 1 + n_missed;
    sla->open.start = last->end + (nsec_t)n_missed * epoch_ns;
    sla->open.end = sla->open.start + epoch_ns;
}

bool
sla_run(struct sla *sla, nsec_t now, struct sla_result *out)
{
    if (now < sla->open.start) {
        sla->n_set_back++;
        sla->open.start = now;
        sla->open.end = now + sla->terms.epoch_ns;
        return false;
    }
    if (now < sla->open.end) {
        return false;
    }
    *out = sla->open;
    out->violated = sla_violated(out->n_requests, out->n_violations,
                                 sla->terms.tolerated_permille);
    open_next(sla, out, now);
    return true;
}

nsec_t
sla_deadline(const struct sla *sla)
{
    return sla->open.end;
}

bool
sla_violated(uint64_t n_requests, uint64_t n_violations,
             uint32_t tolerated_permille)
{
    return n_violations * 1000 > n_requests * tolerated_permille;
}
