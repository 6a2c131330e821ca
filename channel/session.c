/* SPDX-License-Identifier: Apache-2.0 */
/* The state machine of session.h.  mgmtfront.c and mgmtback.c decide what is
 * said in HELLO and accepted of it; mchan.c brings in what the link carried.
 * Whatever a peer claims is checked here against our own numbers before they
 * change. */
#include "channel/session.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

void
session_init(struct session *session)
{
    memset(session, 0, sizeof *session);
    session->error = -ENOTCONN;
}

/* Events. */

static struct mchan_event *
report(struct session *session, enum mchan_event_type type)
{
    assert(session->n_events < SESSION_EVENTS);
    uint32_t at = (session->first_event + session->n_events) % SESSION_EVENTS;
    struct mchan_event *event = &session->events[at];
    memset(event, 0, sizeof *event);
    event->type = type;
    event->attachment = session->attachment;
    session->n_events++;
    return event;
}

static void
report_range(struct session *session, enum mchan_event_type type, uint64_t from,
             uint64_t to)
{
    struct mchan_event *event = report(session, type);
    event->from = from;
    event->to = to;
}

static void
report_reason(struct session *session, enum mchan_event_type type,
              const char *reason)
{
    struct mchan_event *event = report(session, type);
    snprintf(event->reason, sizeof event->reason, "%s", reason);
}

bool
session_next_event(struct session *session, struct mchan_event *out)
{
    if (!session->n_events) {
        return false;
    }
    *out = session->events[session->first_event];
    session->first_event = (session->first_event + 1) % SESSION_EVENTS;
    session->n_events--;
    return true;
}

/* Coming together. */

bool
session_may_begin(const struct session *session)
{
    return session->n_events + SESSION_EVENTS_PER_ATTACHMENT <= SESSION_EVENTS;
}

void
session_begin(struct session *session, uint32_t message_max)
{
    assert(session->state == SESSION_APART);
    assert(session_may_begin(session));
    session->state = SESSION_MEETING;
    session->message_max = message_max;
}

void
session_hello(const struct session *session, struct hello *out)
{
    memset(out, 0, sizeof *out);
    out->message_max = session->message_max;
    out->session = session->id;
    out->attachment = session->attachment;
    out->sent = session->sent;
    out->delivered = session->delivered;
}

bool
session_resumable(const struct session *session, const struct hello *peer)
{
    return session->id && peer->session == session->id && !session->settled &&
           peer->sent >= session->delivered && peer->delivered <= session->sent;
}

/* The same session goes on: exactly what was lost is known. */
static void
attach_again(struct session *session, const struct hello *peer)
{
    uint64_t missing = session->delivered + 1;
    session->delivered = peer->sent;
    session->done = peer->sent;
    if (missing <= peer->sent) {
        report_range(session, MCHAN_GAP, missing, peer->sent);
    }
}

/* Another session: what the former one still had to bring is not known, unless
 * it was the first or its end was announced. */
static void
attach_anew(struct session *session, uint64_t former)
{
    uint64_t missing = session->delivered + 1;
    session->sent = session->acked = 0;
    session->delivered = session->done = 0;
    if (former && !session->settled) {
        report_range(session, MCHAN_GAP, missing, UINT64_MAX);
    }
    session->settled = false;
}

void
session_attach(struct session *session, uint64_t id, uint32_t attachment,
               const struct hello *peer)
{
    assert(session->state == SESSION_MEETING);
    assert(session->acked == session->sent);
    uint64_t former = session->id;
    session->state = SESSION_UP;
    session->id = id;
    session->attachment = attachment;
    session->message_max_agreed = peer->message_max < session->message_max
                                      ? peer->message_max
                                      : session->message_max;
    report(session, MCHAN_UP);
    if (id == former) {
        attach_again(session, peer);
    } else {
        attach_anew(session, former);
    }
}

/* Messages. */

int
session_check(const struct session *session, const struct record *record,
              const char **why)
{
    if (session->state != SESSION_UP && session->state != SESSION_LEAVING) {
        *why = "message before HELLO";
        return -EPROTO;
    }
    if (record->attachment != session->attachment) {
        *why = "message of another attachment";
        return -EPROTO;
    }
    if (record->sequence != (uint32_t)(session->delivered + 1)) {
        *why = "message out of sequence";
        return -EPROTO;
    }
    if (record->size > session->message_max_agreed) {
        *why = "message larger than agreed";
        return -EPROTO;
    }
    return 0;
}

void
session_delivered(struct session *session)
{
    session->delivered++;
}

void
session_asked(struct session *session)
{
    session->done = session->delivered;
}

struct record
session_send(struct session *session, uint16_t tag, uint32_t size)
{
    assert(session->state == SESSION_UP);
    session->sent++;
    struct record record = {
        .size = size,
        .kind = RECORD_RELIABLE,
        .tag = tag,
        .sequence = (uint32_t)session->sent,
        .attachment = session->attachment,
    };
    return record;
}

int
session_acked(struct session *session, uint64_t acked, const char **why)
{
    if (acked < session->acked || acked > session->sent) {
        *why = "acknowledgement of what was never sent";
        return -EPROTO;
    }
    session->acked = acked;
    return 0;
}

/* Coming apart. */

int
session_bye(struct session *session, uint64_t sent, const char **why)
{
    if (sent < session->delivered || sent > UINT64_MAX / 2) {
        *why = "BYE with an impossible sequence number";
        return -EPROTO;
    }
    if (sent > session->delivered) {
        report_range(session, MCHAN_GAP, session->delivered + 1, sent);
    }
    session->settled = true;
    return 0;
}

static void
report_dropped(struct session *session)
{
    if (session->acked < session->sent) {
        report_range(session, MCHAN_DROPPED, session->acked + 1, session->sent);
        session->acked = session->sent;
    }
}

void
session_leave(struct session *session, const char *reason)
{
    if (session->state == SESSION_UP) {
        report_reason(session, MCHAN_PEER_LOST, reason);
        report_dropped(session);
        session->state = SESSION_LEAVING;
    }
    session->error = -ENOTCONN;
}

void
session_violated(struct session *session, const char *reason)
{
    report_reason(session, MCHAN_PROTO_ERROR, reason);
    session_leave(session, reason);
    session->error = -EPROTO;
}

void
session_end(struct session *session)
{
    assert(session->state != SESSION_UP);
    session->state = SESSION_APART;
}
