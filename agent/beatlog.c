/* SPDX-License-Identifier: Apache-2.0 */
/* Remembers the last beats and what their answers said of the clocks.  Called
 * by dialog.c; pure.  The answers are a stranger's: what matches no beat of
 * ours, or claims that the answer left before the beat came, is not believed.
 */
#include "agent/beatlog.h"

#include <string.h>

void
beatlog_init(struct beatlog *log)
{
    memset(log, 0, sizeof *log);
}

uint64_t
beatlog_send(struct beatlog *log, nsec_t now)
{
    uint64_t number = log->n_sent++;
    struct beat *beat = &log->last[number % BEATLOG_KEPT];

    memset(beat, 0, sizeof *beat);
    beat->number = number;
    beat->origin = now;
    log->n_unanswered++;
    return number;
}

bool
beatlog_answer(struct beatlog *log, uint64_t number, nsec_t origin,
               nsec_t receive, nsec_t transmit, nsec_t now)
{
    struct beat *beat = &log->last[number % BEATLOG_KEPT];
    int64_t away, held;

    if (number >= log->n_sent || beat->number != number ||
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
    log->n_unanswered = 0;
    return true;
}

void
beatlog_offset(const struct beatlog *log, int64_t *offset_ns_out,
               uint64_t *error_ns_out)
{
    const struct beat *best = NULL;

    for (unsigned i = 0; i < BEATLOG_KEPT; i++) {
        const struct beat *beat = &log->last[i];
        if (beat->answered && (!best || beat->error_ns < best->error_ns)) {
            best = beat;
        }
    }
    *offset_ns_out = best ? best->offset_ns : 0;
    *error_ns_out = best ? best->error_ns : BEATLOG_ERROR_UNKNOWN;
}
