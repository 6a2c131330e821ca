/* SPDX-License-Identifier: Apache-2.0 */
/* The state machine of session.h.  mgmtfront.c and mgmtback.c decide what is
 * said in HELLO and accepted of it; mchan.c, judge.c and
 * message.c bring in what the link carried.
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

struct mchan_event *
session_report(struct session *session, enum mchan_event_type type)
{
    assert(session->n_events < SESSION_EVENTS);
    uint32_t at = (session->first_event + session->n_events) % SESSION_EVENTS;
    struct mchan_event *event = &session->events[at];
    memset(event, 0, sizeof *event);
    event->type = type;
    event->attachment = session->attachment;
    event->session = session->id;
    session->n_events++;
    return event;
}

static struct mchan_event *
report_range(struct session *session, enum mchan_event_type type, uint64_t from,
             uint64_t to)
{
    struct mchan_event *event = session_report(session, type);
    event->from = from;
    event->to = to;
    return event;
}

static void
report_reason(struct session *session, enum mchan_event_type type,
              const char *reason)
{
    struct mchan_event *event = session_report(session, type);
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

/* Room for what an attachment, this one or the next, must be able to tell. */
bool
session_may_report(const struct session *session)
{
    return session->n_events + SESSION_EVENTS_PER_ATTACHMENT + 1 <
           SESSION_EVENTS;
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
    out->unsettled = session->unsettled || session->owes_settled;
    out->mark = out->unsettled ? 0 : session->mark;
    out->acked = session->acked;
    out->agreed = session->message_max_agreed;
}

/* False if the guest saw another end since, or was set back to before. */
bool
session_knows_mark(const struct session *session, uint32_t mark)
{
    return !mark || !session->next_mark || mark == session->mark ||
           mark == session->former || mark == session->earlier;
}

/* The guest's end takes over the MVM's; the MVM's has a new one. */
static void
take_mark(struct session *session, const struct hello *peer)
{
    if (session->next_mark) {
        session->former = peer->mark;
        session->earlier = 0;
        session->mark = session->next_mark;
        session->given = true;
    } else {
        session->mark = peer->mark;
    }
}

bool
session_resumable(const struct session *session, const struct hello *peer)
{
    return session->id && peer->session == session->id && !session->settled &&
           !session->unsettled && session_knows_mark(session, peer->mark) &&
           peer->sent >= session->delivered &&
           peer->delivered >= session->acked &&
           peer->delivered <= session->sent &&
           peer->message_max >= session->message_max_agreed &&
           session->message_max >= session->message_max_agreed;
}

static void
report_lost(struct session *session, const char *reason)
{
    if (session->told_up) {
        report_reason(session, MCHAN_PEER_LOST, reason);
    }
    session->told_up = session->away = session->resuming = false;
}

void
session_update_sends(struct session *session)
{
    session->sends = session->state == SESSION_UP && !session->replays &&
                     !session->suspended && !session->unsettled &&
                     !session->owes_settled && !session->unheard;
}

void
session_report_again(struct session *session)
{
    if (!session->told_up) {
        session_report(session, MCHAN_UP)->resumed = true;
    }
    if (session->resuming || (session->told_up && session->away)) {
        session_report(session, MCHAN_RESUMED);
    }
    session->resuming = session->away = false;
    session->told_up = true;
}

/* How many of from..to also lie within within_from..within_to. */
static uint64_t
common(uint64_t from, uint64_t to, uint64_t within_from, uint64_t within_to)
{
    from = from > within_from ? from : within_from;
    to = to < within_to ? to : within_to;
    return from <= to ? to - from + 1 : 0;
}

/* The peer is through with ours up to 'to', as far as it was given them. */
void
session_settle_to(struct session *session, uint64_t to)
{
    uint64_t from = session->acked + 1, dropped = session->dropped;
    session->n_acked += to - session->acked;
    if (dropped >= from || session->dropped_to >= from) {
        uint64_t behind = session->dropped_from > dropped
                              ? session->dropped_from
                              : dropped + 1;
        session->n_acked -= common(from, to, 1, dropped) +
                            common(from, to, behind, session->dropped_to);
    }
    session->acked = to;
}

/* The same session goes on.  What its user was given, the peer will not take
 * again; so it is as good as acknowledged, also to us. */
static void
attach_again(struct session *session, const struct hello *peer)
{
    session_report_again(session);
    session_settle_to(session, peer->delivered);
    session->put = peer->delivered;
    session->replays = session->put < session->sent;
    session->done = session->delivered;
    session->unsettled = session->owes_settled = session->unheard = false;
    take_mark(session, peer);
}

/* What the former session still had to bring is not known, unless it was the
 * first or its end was announced. */
static void
report_unknown_gap(struct session *session, uint64_t former)
{
    if (former && !session->settled && !session->unsettled) {
        report_range(session, MCHAN_GAP, session->delivered + 1, UINT64_MAX)
            ->session = former;
    }
}

/* No number of the former session means anything any more. */
static void
start_over(struct session *session)
{
    session->sent = session->acked = session->put = 0;
    session->dropped = session->dropped_from = session->dropped_to = 0;
    session->delivered = session->done = 0;
    session->suspended = session->away = session->resuming = false;
    session->replays = session->settled = false;
    session->unsettled = session->owes_settled = false;
    session->unheard = session->alone = false;
    session->repeated_to = 0;
    session->former = session->earlier = 0;
}

static struct mchan_event *
attach_anew(struct session *session, uint64_t id, const struct hello *peer,
            enum mchan_event_type type)
{
    uint64_t former = session->id;
    /* The guest went on with it elsewhere. */
    bool overtaken = session->unheard && peer->session == former;
    report_lost(session, "the peer has forgotten the session");
    if (!overtaken) {
        session_drop_all(session);
    }
    session->id = id;
    struct mchan_event *event = session_report(session, type);
    if (!overtaken) {
        report_unknown_gap(session, former);
    }
    session->message_max_agreed = peer->message_max < session->message_max
                                      ? peer->message_max
                                      : session->message_max;
    take_mark(session, peer);
    start_over(session);
    return event;
}

struct mchan_event *
session_replace(struct session *session, const struct hello *guest)
{
    return attach_anew(session, guest->session, guest, MCHAN_STRANGER);
}

void
session_attach(struct session *session, uint64_t id, uint32_t attachment,
               const struct hello *peer)
{
    assert(session->state == SESSION_MEETING);
    session->state = SESSION_UP;
    session->attachment = attachment;
    if (id == session->id) {
        attach_again(session, peer);
    } else {
        (void)attach_anew(session, id, peer, MCHAN_UP);
    }
    session->told_up = true;
    session_update_sends(session);
}

/* Messages. */

/* What is not numbered for acknowledgement. */
static const char *
refuse_unnumbered(const struct record *record)
{
    if (record->kind == RECORD_LATEST) {
        return record->sequence < MCHAN_KEYS ? NULL : "value of an unknown key";
    }
    if (record->kind == RECORD_DATAGRAM) {
        return record->sequence ? "datagram with a number" : NULL;
    }
    return "record that is no message";
}

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
    if (record->size > session->message_max_agreed) {
        *why = "message larger than agreed";
        return -EPROTO;
    }
    if (record_is_numbered(record->kind)) {
        if (session->unsettled || session->unheard) {
            *why = "message before it was settled which is next";
            return -EPROTO;
        }
        if (record->sequence != (uint32_t)(session->delivered + 1)) {
            *why = "message out of sequence";
            return -EPROTO;
        }
        return 0;
    }
    const char *refused = refuse_unnumbered(record);
    if (refused) {
        *why = refused;
        return -EPROTO;
    }
    return 0;
}

int
session_why_not(const struct session *session)
{
    return session->told_up ? -EAGAIN : session->error;
}

bool
session_keeps(const struct session *session)
{
    return session->told_up && !session->settled && !session->unheard &&
           (session->suspended || session->unsettled ||
            session->state != SESSION_UP);
}

void
session_sent_later(struct session *session)
{
    assert(session_keeps(session));
    session->sent++;
    session->replays = session->state == SESSION_UP && !session->unsettled;
}

void
session_replayed(struct session *session, uint64_t to)
{
    assert(session->replays && to > session->put && to <= session->sent);
    session->put = to;
    session->replays = to < session->sent;
    session_update_sends(session);
}

int
session_acked(struct session *session, uint64_t acked, const char **why)
{
    uint64_t put = session->replays ? session->put : session->sent;
    if (session->unsettled) {
        return 0; /* Of former attachments. */
    }
    if (acked < session->acked || acked > put) {
        *why = "acknowledgement of what was never sent";
        return -EPROTO;
    }
    if (acked > session->acked) {
        session->former = session->earlier = 0;
    }
    session_settle_to(session, acked);
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
    if (sent > session->delivered && !session->claim.session) {
        report_range(session, MCHAN_GAP, session->delivered + 1, sent);
    }
    session->settled = true;
    return 0;
}

int
session_skipped(struct session *session, const struct record *record,
                uint64_t to, const char **why)
{
    if (record->attachment != session->attachment || session->unsettled ||
        session->unheard ||
        record->sequence != (uint32_t)(session->delivered + 1)) {
        *why = "messages skipped out of sequence";
        return -EPROTO;
    }
    if (to <= session->delivered || to > UINT64_MAX / 2) {
        *why = "an impossible number of messages skipped";
        return -EPROTO;
    }
    report_range(session, MCHAN_GAP, session->delivered + 1, to);
    session->delivered = to;
    return 0;
}

/* Dropping.  What was reported lies in front of what is kept, or is one range
 * within it; another such waits until the first is acknowledged. */

/* Up to here all is acknowledged or reported. */
static uint64_t
settled_to(const struct session *session)
{
    return session->acked > session->dropped ? session->acked
                                             : session->dropped;
}

static void
report_dropped(struct session *session, uint64_t from, uint64_t to)
{
    if (from <= to) {
        report_range(session, MCHAN_DROPPED, from, to);
        session->n_dropped += to - from + 1;
    }
}

/* Remembers that from..to is reported, behind what is settled. */
static void
note_dropped(struct session *session, uint64_t from, uint64_t to, bool another)
{
    if (another) {
        from = from < session->dropped_from ? from : session->dropped_from;
        to = to > session->dropped_to ? to : session->dropped_to;
    }
    if (from > settled_to(session) + 1) {
        session->dropped_from = from;
        session->dropped_to = to;
    } else {
        session->dropped = to;
    }
}

bool
session_may_drop(const struct session *session, uint64_t from, uint64_t to)
{
    uint64_t settled = settled_to(session);
    return session_may_report(session) &&
           (session->dropped_to <= settled || from <= settled + 1 ||
            (from <= session->dropped_to + 1 &&
             to + 1 >= session->dropped_from));
}

void
session_drop(struct session *session, uint64_t from, uint64_t to)
{
    uint64_t settled = settled_to(session);
    uint64_t within_from = session->dropped_from;
    uint64_t within_to = session->dropped_to;
    assert(to <= session->sent);
    from = from > settled ? from : settled + 1;
    if (from > to) {
        return;
    }
    if (within_to <= settled) {
        report_dropped(session, from, to);
        note_dropped(session, from, to, false);
        return;
    }
    report_dropped(session, from, to < within_from ? to : within_from - 1);
    report_dropped(session, from > within_to ? from : within_to + 1, to);
    if (to + 1 >= within_from) {
        note_dropped(session, from, to, true);
    } else {
        session->dropped = to;
    }
}

void
session_drop_all(struct session *session)
{
    session_drop(session, 1, session->sent);
}

/* Moving. */

void
session_suspend(struct session *session)
{
    assert(session->id && !session->suspended && session_may_report(session));
    if (!session->replays) {
        session->put = session->sent;
    }
    session->suspended = true;
    session->resuming = false;
    session_update_sends(session);
    session_report(session, MCHAN_SUSPENDING);
}

void
session_resume(struct session *session)
{
    assert(session->suspended && session_may_report(session));
    session->suspended = false;
    if (session->state == SESSION_UP) {
        session_report(session, MCHAN_RESUMED);
    } else {
        session->resuming = true;
    }
    session_update_sends(session);
}

int
session_notice(struct session *session, const struct record *record,
               const char **why)
{
    bool away = record->kind == RECORD_SUSPEND;
    if (record->attachment != session->attachment || record->size ||
        record->sequence) {
        *why = "a notice that says too much";
        return -EPROTO;
    }
    if (session->told_up && away != session->away) {
        session_report(session, away ? MCHAN_SUSPENDING : MCHAN_RESUMED);
        session->away = away;
    }
    return 0;
}

/* Parting. */

static void
leave(struct session *session, const char *reason, bool lost)
{
    if (session->state == SESSION_UP) {
        session->state = SESSION_LEAVING;
        session->replays = false;
        session->claim.session = 0; /* A stranger's still waits. */
    }
    if (lost) {
        report_lost(session, reason);
    }
    session_update_sends(session);
    session->error = -ENOTCONN;
}

void
session_leave(struct session *session, const char *reason)
{
    leave(session, reason,
          session->settled || !(session->suspended || session->away));
}

void
session_violated(struct session *session, const char *reason)
{
    report_reason(session, MCHAN_PROTO_ERROR, reason);
    leave(session, reason, true);
    session->error = -EPROTO;
}

void
session_end(struct session *session)
{
    assert(session->state != SESSION_UP);
    session->state = SESSION_APART;
    session->owes_settled = false;
    if (!session->next_mark) {
        session->unsettled = false; /* The guest knows what it has. */
    } else if (session->unheard && session->alone) {
        session_unsettle(session);
    }
}

void
session_lose(struct session *session, const char *reason)
{
    report_lost(session, reason);
}

void
session_forget(struct session *session, const char *reason)
{
    assert(session->state == SESSION_APART);
    uint64_t former = session->id;
    report_lost(session, reason);
    if (!session->unheard) { /* Else another end has it, or tells of it. */
        session_drop_all(session);
        report_unknown_gap(session, former);
    }
    session->id = 0;
    start_over(session);
}

void
session_hand_over(struct session *session, const char *reason)
{
    assert(session->state == SESSION_APART);
    report_lost(session, reason);
    session->id = 0;
    start_over(session);
}
