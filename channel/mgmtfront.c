/* SPDX-License-Identifier: Apache-2.0 */
/* The guest's end; see mgmtfront.h.  After some quick tries the waits double
 * from the least to the greatest; each is shortened by up to a quarter at
 * random, so that guests that lost the same broker do not all return in the
 * same moment. */
#include "channel/mgmtfront.h"

#include <errno.h>
#include <stddef.h>

#include "channel/session.h"

void
mgmtfront_init(struct mgmtfront *front, uint32_t retry_min_ms,
               uint32_t retry_max_ms, uint64_t seed)
{
    front->retry_min_ns =
        (retry_min_ms ? (nsec_t)retry_min_ms : 10) * NSEC_PER_MSEC;
    front->retry_max_ns =
        (retry_max_ms ? (nsec_t)retry_max_ms : 1000) * NSEC_PER_MSEC;
    if (front->retry_max_ns < front->retry_min_ns) {
        front->retry_max_ns = front->retry_min_ns;
    }
    front->quick = !retry_min_ms;
    front->n_quick = MGMTFRONT_QUICK_MAX;
    front->counted = INT64_MIN;
    front->wait_ns = front->retry_min_ns;
    front->next_try = INT64_MIN;
    prng_init(&front->prng, seed);
}

static void
wait_from(struct mgmtfront *front, nsec_t now, nsec_t wait)
{
    uint64_t quarter = (uint64_t)wait / 4;
    front->next_try =
        now + wait - (nsec_t)prng_below(&front->prng, quarter + 1);
}

void
mgmtfront_failed(struct mgmtfront *front, nsec_t now)
{
    if (front->next_try == NSEC_NEVER) {
        return;
    }
    if (front->quick && front->n_quick) {
        front->n_quick--;
        wait_from(front, now, MGMTFRONT_QUICK_NS);
        return;
    }
    wait_from(front, now, front->wait_ns);
    front->wait_ns = nsec_min(2 * front->wait_ns, front->retry_max_ns);
}

/* So many quick tries as there was time since the last loss. */
static void
earn_quick_tries(struct mgmtfront *front, nsec_t now)
{
    uint64_t earned = MGMTFRONT_QUICK_MAX;
    if (front->counted != INT64_MIN) {
        earned = (uint64_t)(now - front->counted) / MGMTFRONT_QUICK_EARNED_NS;
    }
    if (earned) {
        front->counted = now;
    }
    front->n_quick = earned < MGMTFRONT_QUICK_MAX - front->n_quick
                         ? front->n_quick + (uint32_t)earned
                         : MGMTFRONT_QUICK_MAX;
}

void
mgmtfront_lost(struct mgmtfront *front, nsec_t now)
{
    earn_quick_tries(front, now);
    front->wait_ns = front->retry_min_ns;
    mgmtfront_failed(front, now);
}

void
mgmtfront_give_up(struct mgmtfront *front)
{
    front->next_try = NSEC_NEVER;
}

void
mgmtfront_begin(struct mgmtfront *front)
{
    front->next_try = INT64_MIN;
    front->wait_ns = front->retry_min_ns;
}

int
mgmtfront_on_hello(struct session *session, const struct hello *mvm,
                   const char **why)
{
    if (!mvm->session || !mvm->attachment) {
        *why = "HELLO without a session";
        return -EPROTO;
    }
    if (mvm->session == session->id) {
        if (mvm->attachment > session->attachment && mvm->unsettled &&
            mvm->message_max >= session->message_max_agreed) {
            session_attach_unsettled(session, mvm->attachment);
            return 0;
        }
        if (mvm->attachment <= session->attachment ||
            !session_resumable(session, mvm)) {
            *why = "HELLO resumes what did not happen";
            return -EPROTO;
        }
    } else if (mvm->sent || mvm->delivered || mvm->unsettled) {
        *why = "HELLO of a new session that is not at its start";
        return -EPROTO;
    }
    session_attach(session, mvm->session, mvm->attachment, mvm);
    return 0;
}
