/* SPDX-License-Identifier: Apache-2.0 */
/* The MVM's end; see mgmtback.h.  A guest's word about its session counts only
 * where it agrees with our own memory of it; otherwise it gets a new one, and
 * the user is told of a GAP. */
#include "channel/mgmtback.h"

#include "channel/handoff/handoff.h"
#include "channel/session.h"

/* A guest that remembers more attachments than this made them up. */
#define ATTACHMENT_CLAIM_MAX 0x7fffffffu

void
mgmtback_init(struct mgmtback *back, uint64_t seed)
{
    back->next_try = INT64_MIN;
    back->refilled = INT64_MIN;
    back->n_left = MGMTBACK_BURST;
    prng_init(&back->prng, seed);
}

void
mgmtback_failed(struct mgmtback *back, nsec_t now)
{
    nsec_t due = now + MGMTBACK_WAIT_NS;
    if (back->next_try < due) {
        back->next_try = due;
    }
}

void
mgmtback_accepted(struct mgmtback *back, nsec_t now)
{
    while (back->n_left < MGMTBACK_BURST &&
           now - back->refilled >= MGMTBACK_REFILL_NS) {
        back->refilled += MGMTBACK_REFILL_NS;
        back->n_left++;
    }
    if (back->n_left == MGMTBACK_BURST) {
        back->refilled = now;
    }
    if (back->n_left) {
        back->n_left--;
    }
    if (!back->n_left) {
        back->next_try = back->refilled + MGMTBACK_REFILL_NS;
    }
}

void
mgmtback_give_up(struct mgmtback *back)
{
    back->next_try = NSEC_NEVER;
}

void
mgmtback_wait(struct mgmtback *back)
{
    back->next_try = INT64_MIN;
}

nsec_t
mgmtback_deadline(const struct mgmtback *back)
{
    return back->next_try == INT64_MIN ? NSEC_NEVER : back->next_try;
}

/* Above ours and, if it is believable, above the guest's, which may remember a
 * broker before us; so that it rises at both ends. */
static uint32_t
next_attachment(uint32_t ours, uint32_t guests)
{
    if (guests > ours && guests <= ATTACHMENT_CLAIM_MAX) {
        ours = guests;
    }
    return ours + 1 ? ours + 1 : 1;
}

/* The guest comes from elsewhere with a session that somebody may remember.  If
 * we do too, but not this time of it, the greater attachment is the newer. */
static bool
is_stranger(const struct mgmtback *back, const struct session *session,
            const struct hello *guest)
{
    if (!back->waits || !guest->session || !guest->mark ||
        guest->session == session->refused ||
        guest->attachment > ATTACHMENT_CLAIM_MAX) {
        return false;
    }
    return guest->session != session->id || session->unsettled ||
           guest->attachment > session->attachment;
}

/* The guest knows that its session is here, and nowhere else. */
static bool
has_heard(const struct session *session, const struct hello *guest)
{
    return !session->unheard ||
           (session->given && guest->mark == session->mark);
}

/* Above any that the former end gave and the guest did not see. */
static uint32_t
stranger_attachment(const struct session *session, const struct hello *guest)
{
    bool again = session->unsettled && session->id == guest->session &&
                 guest->attachment <= session->attachment;
    return next_attachment(session->attachment, guest->attachment) +
           (again ? 0 : HANDOFF_LEAP);
}

void
mgmtback_on_hello(struct mgmtback *back, struct session *session,
                  const struct hello *guest)
{
    uint64_t id = session->id;
    session->next_mark = (uint32_t)prng_u64(&back->prng) | 1;
    if (!session_resumable(session, guest)) {
        if (is_stranger(back, session, guest)) {
            session_attach_stranger(session,
                                    stranger_attachment(session, guest), guest);
            return;
        }
        do {
            id = prng_u64(&back->prng);
        } while (!id || id == session->id || id == guest->session);
    }
    uint32_t attachment =
        next_attachment(session->attachment, guest->attachment);
    if (id == session->id && !has_heard(session, guest)) {
        session_attach_unheard(session, attachment, guest);
        return;
    }
    session_attach(session, id, attachment, guest);
}
