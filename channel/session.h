/* SPDX-License-Identifier: Apache-2.0 */
/* The session: what two ends of an M-channel remember while transports come and
 * go.  Numbers, states and the events that the user is told; no I/O, no clock,
 * no memory of its own, so that programs, tests and msim run the same code.
 *
 * A session is known by an id that the MVM's end mints.  Each transport that
 * carries it is an attachment, with a number that rises.  Reliable messages are
 * numbered from 1 in each direction; 'delivered' counts what the user was
 * given, 'done' what it is through with, which it shows by asking for the next.
 *
 *   APART --begin--> MEETING --attach--> UP --leave--> LEAVING --end--> APART
 *                       \________________end___________________________/
 *
 * LEAVING: the peer is gone, but messages that came before are still given out.
 *
 * An MVM's end may meet a guest whose session it does not know, because the VM
 * came from elsewhere.  Then the attachment is up but 'unsettled': nothing
 * reliable moves in it until RECORD_SETTLED says what else a HELLO does, from
 * memory that was brought (session_settle) or without (session_give_up).  Until
 * the guest has said that it heard that, the MVM's user is not told and can't
 * send; see settle.c.
 *
 * What was not acknowledged when a transport is lost is kept by
 * replay/keep.c (window.h).  When the same session goes on, the peer's HELLO says what it was
 * given, and the rest is put before anything new.  Messages that can't be sent
 * any more are passed over with a RECORD_SKIP; the sender's user is told of
 * them by DROPPED and the receiver's by GAP.  If the peer has forgotten the
 * session, all that was kept is DROPPED and a new one begins.
 *
 * While an end is suspended, or has told the other that it is, losing the
 * transport is no loss of the peer: the user still has his session
 * ('told_up'), what he sends is kept, and RESUMED tells when it goes on. */
#ifndef CHANNEL_SESSION_H
#define CHANNEL_SESSION_H

#include <stdbool.h>
#include <stdint.h>

#include "base/record.h"
#include "include/mchan.h"
#include "wire/frame.h"

enum session_state {
    SESSION_APART,
    SESSION_MEETING,
    SESSION_UP,
    SESSION_LEAVING,
};

/* No attachment begins unless all the events it can bring have room, so a user
 * who does not collect them waits, and none is lost. */
#define SESSION_EVENTS 28
#define SESSION_EVENTS_PER_ATTACHMENT 14

struct session {
    enum session_state state;
    uint64_t id; /* 0: there was none yet. */
    uint32_t attachment;
    uint32_t message_max;        /* Ours, of this attachment's transport. */
    uint32_t message_max_agreed; /* With the peer; of this session. */
    uint64_t sent, acked;        /* Ours: numbered, and done with by peer. */
    uint64_t put;                /* Ours: in this attachment's link, when not
                                    all that was sent is (see 'replays'). */
    uint64_t dropped;            /* Ours: up to here reported as dropped, if
                                    not acknowledged; and from..to. */
    uint64_t dropped_from, dropped_to;
    uint64_t n_acked, n_dropped; /* In all sessions; none counts twice. */
    uint64_t delivered, done;    /* The peer's. */
    bool sends;         /* Up, and what is sent now may be put into the link. */
    bool replays;       /* Up, but not all that was sent is put. */
    bool told_up;       /* UP was reported, and no PEER_LOST since. */
    bool suspended;     /* We are. */
    bool away;          /* The peer said that it is. */
    bool resuming;      /* We were, and RESUMED is still to be reported. */
    bool settled;       /* The peer said goodbye and how much it sent;
                           nothing is missing without a word. */
    bool unsettled;     /* The MVM does not know the session yet. */
    bool owes_settled;  /* It does, and the guest is to be told, or is to
                           say that it was. */
    bool unheard;       /* The MVM's end: the guest has not said so yet, */
    bool alone;         /* and nobody remembered the session. */
    bool given;         /* 'mark' was given here. */
    uint32_t mark;      /* What the last settled attachment is called; */
    uint32_t former;    /* the one before, while the guest may not have seen
                           the last; else 0; */
    uint32_t earlier;   /* and one that it may have got at the end before; */
    uint32_t next_mark; /* the next one, at the MVM's end. */
    uint64_t repeated_to; /* The peer's, up to here: perhaps repeated. */
    uint64_t refused;     /* A session that is another's and begins anew. */
    struct hello claim;   /* The guest's while its session is unknown; else
                             claim.session is 0. */
    int error;            /* While not UP: -ENOTCONN or -EPROTO. */
    uint32_t n_events, first_event;
    struct mchan_event events[SESSION_EVENTS];
};

void session_init(struct session *);

/* A transport stands; HELLOs are to be exchanged. */
bool session_may_begin(const struct session *);
void session_begin(struct session *, uint32_t message_max);

/* What this end says of itself; session and attachment as they stand. */
void session_hello(const struct session *, struct hello *out);
/* True if 'peer' remembers the same session, neither end forgot anything that
 * the other was told of, and what either kept fits through the new link. */
bool session_resumable(const struct session *, const struct hello *peer);
/* True if the guest's mark is one of ours, or it says none. */
bool session_knows_mark(const struct session *, uint32_t mark);
/* HELLO was agreed upon: the session 'id' goes on, or is new, with this
 * attachment.  Reports UP; of a new one also DROPPED before it and GAP behind
 * it, about the former.  If it goes on, 'acked' covers what the peer was given,
 * and 'replays' says if there is more, which is to be put first. */
void session_attach(struct session *, uint64_t id, uint32_t attachment,
                    const struct hello *peer);

/* settle.c.  The same, of a guest whose session is unknown here: reports
 * STRANGER, and before it DROPPED and GAP about what was here. */
void session_attach_stranger(struct session *, uint32_t attachment,
                             const struct hello *guest);
/* The same, of a guest whose session is known here, but which has not heard
 * that it goes on here. */
void session_attach_unheard(struct session *, uint32_t attachment,
                            const struct hello *guest);
/* Memory of the session that waits was brought: 0, or -ENOENT if it is not what
 * the guest remembers. */
struct parcel;
int session_settle(struct session *, const struct parcel *);
/* Nobody has it: goes on behind what the guest says.  0, -ENOENT, or -EMSGSIZE
 * if the guest's messages are too large for this link. */
int session_give_up(struct session *);
/* It is another VM's: whoever brings it gets a new one. */
void session_refuse(struct session *);
/* What the guest is then told, and says when it heard it; and that it was
 * said. */
struct record session_say_settled(struct session *, struct settled *out);
void session_said_settled(struct session *);
/* The guest's end: the MVM does not know the session; now it does, 0 or
 * -EPROTO. */
void session_attach_unsettled(struct session *, uint32_t attachment);
int session_settled(struct session *, const struct record *,
                    const struct settled *, const char **why);
/* The MVM's end: the guest heard it.  Reports UP, and GAP if nobody remembered
 * the session.  0 or -EPROTO. */
int session_heard(struct session *, const struct record *,
                  const struct settled *, const char **why);
/* What nobody was told of did not happen: the MVM's end lost the link before
 * the guest heard that nobody remembers its session. */
void session_unsettle(struct session *);
/* True if latest values and datagrams may be put. */
bool session_flows(const struct session *);
/* What is to be handed over. */
void session_pack(const struct session *, struct parcel *out);

/* For settle.c: an event to be filled in; 'sends' from the rest; what every
 * attachment reports of a session that goes on; and what the guest has in place
 * of what was here, with STRANGER, which is returned. */
struct mchan_event *session_report(struct session *, enum mchan_event_type);
void session_update_sends(struct session *);
void session_settle_to(struct session *, uint64_t acked);
void session_report_again(struct session *);
struct mchan_event *session_replace(struct session *,
                                    const struct hello *guest);

/* A message of this attachment, if it is numbered the next one: 0 or
 * -EPROTO. */
int session_check(const struct session *, const struct record *,
                  const char **why);
/* True if it is numbered and the next one, as session_check() would find. */
static inline bool
session_is_next(const struct session *session, const struct record *record)
{
    return !session->unsettled && record->attachment == session->attachment &&
           record->sequence == (uint32_t)(session->delivered + 1) &&
           record->size <= session->message_max_agreed;
}
/* The user was given the numbered message that was checked. */
static inline void
session_delivered(struct session *session)
{
    session->delivered++;
    session->former = session->earlier = 0; /* It knows this attachment. */
}
/* The user asked for the next one. */
static inline void
session_asked(struct session *session)
{
    session->done = session->delivered;
}
/* The header of a message that would be our next. */
static inline struct record
session_next(const struct session *session, uint16_t tag, uint32_t size)
{
    struct record record = {
        .size = size,
        .kind = RECORD_RELIABLE,
        .tag = tag,
        .sequence = (uint32_t)(session->sent + 1),
        .attachment = session->attachment,
    };
    return record;
}
/* So many of these were sent. */
static inline void
session_sent(struct session *session, uint64_t n)
{
    session->sent += n;
}
/* The header of the next message of ours, which is now sent. */
static inline struct record
session_send(struct session *session, uint16_t tag, uint32_t size)
{
    struct record record = session_next(session, tag, size);
    session_sent(session, 1);
    return record;
}
/* What sending and receiving say when they can't: while a session stands,
 * things only have to wait. */
int session_why_not(const struct session *);
/* One more is sent that can't be put yet and is kept; only if
 * session_keeps(). */
bool session_keeps(const struct session *);
void session_sent_later(struct session *);
/* A message that was sent before, up to this number, or a skip up to there, is
 * put into the link again. */
void session_replayed(struct session *, uint64_t to);
/* Ours from..to will never be delivered: reports DROPPED for those of them
 * that were not acknowledged or reported before.  Only if session_may_drop():
 * else there are too many events or ranges to remember, for now. */
bool session_may_drop(const struct session *, uint64_t from, uint64_t to);
void session_drop(struct session *, uint64_t from, uint64_t to);
/* All that is neither acknowledged nor reported is. */
void session_drop_all(struct session *);
/* True if there is room for events that can wait. */
bool session_may_report(const struct session *);
/* The peer's messages up to 'to' won't come: 0 and GAP, or -EPROTO. */
int session_skipped(struct session *, const struct record *, uint64_t to,
                    const char **why);
/* The peer is through with our messages up to 'acked': 0 or -EPROTO. */
int session_acked(struct session *, uint64_t acked, const char **why);
/* The peer ends the session having sent this many: 0 or -EPROTO. */
int session_bye(struct session *, uint64_t sent, const char **why);

/* We are about to move; reports SUSPENDING. */
void session_suspend(struct session *);
/* We moved, or did not; reports RESUMED, at once if the link still stands. */
void session_resume(struct session *);
/* What the peer says of itself, in a record of this attachment: 0, and
 * SUSPENDING or RESUMED if that is news; or -EPROTO. */
int session_notice(struct session *, const struct record *, const char **why);

/* The peer is gone: reports PEER_LOST if it was UP, unless one of the ends is
 * suspended. */
void session_leave(struct session *, const char *reason);
/* The same, because it broke the protocol. */
void session_violated(struct session *, const char *reason);
/* The transport is no more. */
void session_end(struct session *);
/* A suspended end is waited for no longer: reports PEER_LOST. */
void session_lose(struct session *, const char *reason);
/* The session is over, whatever the peer remembers of it: reports PEER_LOST,
 * DROPPED and GAP.  Not while a link stands. */
void session_forget(struct session *, const char *reason);
/* The session was handed over: it is over here, and nothing is lost. */
void session_hand_over(struct session *, const char *reason);

bool session_next_event(struct session *, struct mchan_event *out);

#endif
