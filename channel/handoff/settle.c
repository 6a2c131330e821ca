/* SPDX-License-Identifier: Apache-2.0 */
/* The part of the session (session.h) that moves from one MVM to another: an
 * attachment whose end does not know the guest's session yet, and how it comes
 * to know it, or goes on without.
 *
 * Nothing reliable moves while an attachment is unsettled, in either direction.
 * The guest does not even send again what was not acknowledged, so the new end
 * holds nothing, latest values and datagrams do not wait behind it, and when
 * the guest says later what the attachment was called that it last saw settled
 * (its mark), that is exactly what tells which memory of the session is right.
 *
 * Nor does anything new move towards the guest before it has said that it
 * heard: an end that dies or is overtaken before that takes nothing with it,
 * since whatever it knew, the end that it has it from still knows. */
#include <errno.h>
#include <string.h>

#include "channel/handoff/parcel.h"
#include "channel/session.h"

/* The MVM's end. */

void
session_attach_stranger(struct session *session, uint32_t attachment,
                        const struct hello *guest)
{
    bool again = session->unsettled && session->id == guest->session;
    session->state = SESSION_UP;
    session->attachment = attachment;
    struct mchan_event *event = again ? session_report(session, MCHAN_STRANGER)
                                      : session_replace(session, guest);
    event->from = guest->mark;
    event->to = guest->attachment;
    session->unsettled = true;
    session->claim = *guest;
    session_update_sends(session);
}

/* What was brought and what the guest says is one session. */
static bool
fits(const struct session *session, const struct parcel *parcel)
{
    const struct hello *guest = &session->claim;
    return parcel->session == session->id && guest->sent >= parcel->delivered &&
           guest->acked <= parcel->delivered &&
           guest->delivered >= parcel->acked &&
           guest->delivered <= parcel->sent &&
           (guest->mark == parcel->mark || guest->mark == parcel->former ||
            guest->mark == parcel->earlier) &&
           parcel->message_max <= session->message_max &&
           parcel->message_max <= guest->message_max;
}

static void
load(struct session *session, const struct parcel *parcel)
{
    session->id = parcel->session;
    session->sent = parcel->sent;
    session->acked = session->put = parcel->acked;
    session->dropped = session->dropped_from = session->dropped_to = 0;
    session->delivered = session->done = parcel->delivered;
    session->message_max_agreed = parcel->message_max;
    session->mark = parcel->mark;
    session->former = parcel->former;
    session->earlier = parcel->earlier;
    session->repeated_to = parcel->repeated_to;
    session->unsettled = session->given = session->alone = false;
    session->unheard = true; /* For all that the guest can know. */
}

/* From now on the guest may be told, and then sent, what it has not got. */
static void
go_on(struct session *session, uint64_t has)
{
    session->acked = session->put = has;
    session->replays = has < session->sent;
    session->owes_settled = session->unheard = true;
    session_update_sends(session);
    /* It may have been back at the other end since it came here. */
    session->earlier = session->claim.mark == session->mark ? 0 : session->mark;
    session->mark = session->next_mark;
    session->given = true;
    session->former = session->claim.mark;
    session->claim.session = 0;
}

void
session_attach_unheard(struct session *session, uint32_t attachment,
                       const struct hello *guest)
{
    session->state = SESSION_UP;
    session->attachment = attachment;
    session->done = session->delivered;
    session->claim = *guest;
    session_settle_to(session, guest->delivered);
    go_on(session, guest->delivered);
}

int
session_settle(struct session *session, const struct parcel *parcel)
{
    if (session->state == SESSION_UP) {
        if (!session->unsettled || !fits(session, parcel)) {
            return -ENOENT;
        }
        load(session, parcel);
        go_on(session, session->claim.delivered);
        return 0;
    }
    bool waits = session->unsettled && session->id == parcel->session;
    if (session->state == SESSION_MEETING || session->settled ||
        (session->id && !waits)) {
        return -ENOENT;
    }
    load(session, parcel);
    if (session->attachment < parcel->attachment) {
        session->attachment = parcel->attachment;
    }
    return 0;
}

int
session_give_up(struct session *session)
{
    const struct hello *guest = &session->claim;
    if (session->state != SESSION_UP || !session->unsettled) {
        return -ENOENT;
    }
    uint32_t agreed = guest->agreed ? guest->agreed : guest->message_max;
    if (agreed > session->message_max) {
        return -EMSGSIZE;
    }
    session->unsettled = false;
    session->alone = true;
    session->message_max_agreed = agreed;
    session->mark = guest->mark;
    session->sent = guest->delivered;
    session->delivered = session->done = guest->acked;
    session->repeated_to = guest->sent;
    go_on(session, guest->delivered);
    return 0;
}

void
session_unsettle(struct session *session)
{
    session->unsettled = true;
    session->unheard = session->alone = false;
    session->former = session->earlier = 0;
    session->sent = session->acked = session->put = 0;
    session->delivered = session->done = session->repeated_to = 0;
}

void
session_refuse(struct session *session)
{
    session->refused = session->id;
    session->id = 0;
    session->unsettled = false;
    session->claim.session = 0;
}

struct record
session_say_settled(struct session *session, struct settled *out)
{
    struct record record = {.size = SETTLED_SIZE,
                            .kind = RECORD_SETTLED,
                            .attachment = session->attachment};
    memset(out, 0, sizeof *out);
    out->forgot = session->alone;
    out->message_max = session->message_max_agreed;
    /* What was sent since then is new. */
    out->sent = session->alone ? session->put : session->sent;
    out->delivered = session->delivered;
    out->mark = session->mark;
    return record;
}

void
session_said_settled(struct session *session)
{
    session->owes_settled = false;
    session_update_sends(session);
}

/* The guest's end. */

void
session_attach_unsettled(struct session *session, uint32_t attachment)
{
    session->state = SESSION_UP;
    session->attachment = attachment;
    session->unsettled = true;
    session->replays = false;
    session->done = session->delivered;
    session_report_again(session);
    session_update_sends(session);
}

static bool
believable(const struct session *session, const struct settled *settled)
{
    if (settled->message_max != session->message_max_agreed) {
        return false;
    }
    if (settled->forgot) { /* Then it says what we said. */
        return settled->sent == session->delivered &&
               settled->delivered == session->acked;
    }
    return settled->sent >= session->delivered &&
           settled->sent <= UINT64_MAX / 2 &&
           settled->delivered >= session->acked &&
           settled->delivered <= session->sent;
}

int
session_settled(struct session *session, const struct record *record,
                const struct settled *settled, const char **why)
{
    if (!session->unsettled || session->claim.session ||
        record->attachment != session->attachment || record->sequence) {
        *why = "SETTLED when all was";
        return -EPROTO;
    }
    if (!believable(session, settled)) {
        *why = "SETTLED resumes what did not happen";
        return -EPROTO;
    }
    session->unsettled = false;
    session->owes_settled = true;
    session->mark = settled->mark;
    session_settle_to(session, settled->delivered);
    session->put = settled->delivered;
    if (session->state == SESSION_UP) {
        session->replays = session->put < session->sent;
    }
    session_update_sends(session);
    if (settled->forgot) {
        struct mchan_event *gap = session_report(session, MCHAN_GAP);
        gap->from = session->delivered + 1;
        gap->to = UINT64_MAX;
    }
    return 0;
}

/* Both. */

int
session_heard(struct session *session, const struct record *record,
              const struct settled *settled, const char **why)
{
    if (!session->unheard || session->owes_settled || record->sequence ||
        record->attachment != session->attachment ||
        settled->mark != session->mark) {
        *why = "SETTLED that nobody asked for";
        return -EPROTO;
    }
    bool alone = session->alone;
    session->unheard = session->alone = false;
    session->former = session->earlier = 0;
    if (alone) {
        session_report(session, MCHAN_UP);
        session->told_up = true;
        struct mchan_event *gap = session_report(session, MCHAN_GAP);
        gap->from = 1;
        gap->to = UINT64_MAX;
    } else {
        session_report_again(session);
    }
    session_update_sends(session);
    return 0;
}

bool
session_flows(const struct session *session)
{
    return session->sends || (session->state == SESSION_UP &&
                              session->unsettled && !session->suspended);
}

void
session_pack(const struct session *session, struct parcel *out)
{
    *out = (struct parcel){
        .session = session->id,
        .attachment = session->attachment,
        .mark = session->mark,
        .former = session->former,
        .earlier = session->earlier,
        .repeated_to = session->repeated_to,
        .sent = session->sent,
        .acked = session->acked,
        .delivered = session->delivered,
        .done = session->delivered, /* Who hands it over is through with it. */
        .message_max = session->message_max_agreed,
    };
}
