/* SPDX-License-Identifier: Apache-2.0 */
/* Beats: whether the other end is alive, and how its clock stands to ours.  Any
 * broker reuses it. */
#ifndef BROKER_BACK_BEATS_H
#define BROKER_BACK_BEATS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/clock.h"
#include "wire/msg.h"

#define BEATS_MISSED_MAX 3 /* Then the other end is lost. */

struct beats {
    nsec_t period_ns;
    nsec_t deadline;          /* When it is lost if nothing is heard. */
    nsec_t looked;            /* When we last were here to hear. */
    int64_t offset_ns;        /* Its clock minus ours, as it says. */
    uint64_t offset_error_ns; /* UINT64_MAX: unknown. */
};

void beats_start(struct beats *, nsec_t period_ns, nsec_t now);
/* Something came that shows it alive. */
void beats_heard(struct beats *, nsec_t now);
/* A beat came at 'received' and is answered at 'now' (both freshly read). */
void beats_reply(struct beats *, const struct msg_beat *, nsec_t received,
                 nsec_t now, struct msg_beat_reply *out);
/* To be called in every turn after what came was heard.  True: it is lost. */
bool beats_look(struct beats *, nsec_t now);
/* When to look. */
nsec_t beats_deadline(const struct beats *);

#endif
