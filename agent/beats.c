/* SPDX-License-Identifier: Apache-2.0 */
/* Remembers the last beats and what their answers said of the clocks.  Called
 * by dialog.c; pure.  The answers are a stranger's: what matches no beat of
 * ours, or claims that the answer left before the beat came, is not believed.
 */
#include "agent/beats.h"

#include <string.h>

void
beats_init(struct beats *beats)
{
    memset(beats, 0, sizeof *beats);
}

uint64_t
beats_send(struct beats *beats, nsec_t now)
{
    uint64_t number = beats->n_sent++;
    struct beat *beat = &beats->last[number % BEATS_KEPT];

    memset(beat, 0, sizeof *beat);
    beat->number = number;
    beat->origin = now;
    beats->n_unanswered++;
    return number;
}

bool
beats_answer(struct beats *beats, uint64_t number, nsec_t origin,
             nsec_t receive, nsec_t transmit, nsec_t now)
{
    struct beat *beat = &beats->last[number % BEATS_KEPT];
    int64_t away, held;

    if (number >= beats->n_sent || beat->number != number ||
        beat->origin != origin || beat->answered) {
        return false;
    }
    away = now - origin;
    held = transmit - receive;
    if (held < 0 || away < held) {
        return false;
    }
    beat->answered = true;
    /* Halved before they are added, so that no sum overflows. */
    beat->offset_ns = (origin - receive) / 2 + (now - transmit) / 2;
    beat->error_ns = (uint64_t)(away - held) / 2 + 1;
    beats->n_unanswered = 0;
    return true;
}

void
beats_offset(const struct beats *beats, int64_t *offset_ns_out,
             uint64_t *error_ns_out)
{
    const struct beat *best = NULL;

    for (unsigned i = 0; i < BEATS_KEPT; i++) {
        const struct beat *beat = &beats->last[i];
        if (beat->answered && (!best || beat->error_ns < best->error_ns)) {
            best = beat;
        }
    }
    *offset_ns_out = best ? best->offset_ns : 0;
    *error_ns_out = best ? best->error_ns : BEATS_ERROR_UNKNOWN;
}
