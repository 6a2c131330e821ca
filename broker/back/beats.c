/* SPDX-License-Identifier: Apache-2.0 */
/* Counts silence.  An end that lets three beats pass is lost, unless it was we
 * who slept: a deadline that passed while we were not running isn't its fault,
 * so after a gap of our own it gets one more period to be heard in.  Pure;
 * called by guest_session.c. */
#include "broker/back/beats.h"

void
beats_start(struct beats *beats, nsec_t period_ns, nsec_t now)
{
    *beats = (struct beats){
        .period_ns = period_ns, .looked = now, .offset_error_ns = UINT64_MAX};
    beats_heard(beats, now);
}

void
beats_heard(struct beats *beats, nsec_t now)
{
    beats->deadline = now + BEATS_MISSED_MAX * beats->period_ns;
    beats->looked = now;
}

void
beats_reply(struct beats *beats, const struct msg_beat *beat, nsec_t received,
            nsec_t now, struct msg_beat_reply *out)
{
    beats->offset_ns = beat->offset_ns;
    beats->offset_error_ns = beat->offset_error_ns;
    *out = (struct msg_beat_reply){.number = beat->number,
                                   .origin_ns = beat->origin_ns,
                                   .receive_ns = received,
                                   .transmit_ns = now};
}

/* We look at least once a period (beats_deadline()), so a longer gap is ours.
 */
bool
beats_look(struct beats *beats, nsec_t now)
{
    bool slept = now - beats->looked > 2 * beats->period_ns;

    beats->looked = now;
    if (now < beats->deadline) {
        return false;
    }
    if (slept) {
        beats->deadline = now + beats->period_ns;
        return false;
    }
    return true;
}

nsec_t
beats_deadline(const struct beats *beats)
{
    return nsec_min(beats->deadline, beats->looked + beats->period_ns);
}
