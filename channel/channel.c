/* SPDX-License-Identifier: Apache-2.0 */
/* The turn of a channel.  Takes what the descriptor told, connects when it is
 * time, lets session.c, mgmtfront.c or mgmtback.c judge what the link brought,
 * and takes the link down when it is over.  Nothing blocks, and every loop over
 * what the peer wrote is bounded.  Called by mchan.c at every point where a
 * user may have to be told something new. */
#include "channel/channel.h"

#include <assert.h>
#include <errno.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/timerfd.h>

#define EVENTS_AT_ONCE 8
#define HELLO_COPY_MAX 256 /* A longer HELLO is refused. */

static int attend(struct mchan *, const char **why);
static void try_connect(struct mchan *, nsec_t now);
static void meet(struct mchan *, nsec_t now);
static void serve(struct mchan *, nsec_t now);
static void drain(struct mchan *, nsec_t now);
static void wait_for_handoff(struct mchan *, nsec_t now);

nsec_t
channel_now(const struct mchan *channel)
{
    return channel->now_ns(channel->now_ctx);
}

/* Notes which descriptors were reported.  They are edges: taking them here
 * makes the channel's descriptor unreadable until something else happens. */
static void
collect(struct mchan *channel, int timeout_ms)
{
    uint32_t *ready = &channel->transport->ready;
    if (channel->epoll_fd < 0) {
        *ready |= TRANSPORT_LINK | TRANSPORT_PEER | TRANSPORT_ROOM;
        return;
    }
    struct epoll_event events[EVENTS_AT_ONCE];
    int n = epoll_wait(channel->epoll_fd, events, EVENTS_AT_ONCE, timeout_ms);
    for (int i = 0; i < n; i++) {
        *ready |= events[i].data.u32;
        if (events[i].events & EPOLLOUT) {
            *ready |= TRANSPORT_ROOM;
        }
        if (events[i].events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR)) {
            *ready |= TRANSPORT_HANGUP;
        }
    }
}

static void
set_timer(struct mchan *channel, nsec_t now)
{
    nsec_t deadline = channel_deadline(channel);
    if (channel->timer_fd < 0 || deadline == channel->timer) {
        return;
    }
    struct itimerspec when = {0};
    if (deadline != NSEC_NEVER) {
        nsec_t wait = deadline > now ? deadline - now : 1;
        when.it_value.tv_sec = wait / NSEC_PER_SEC;
        when.it_value.tv_nsec = wait % NSEC_PER_SEC;
    }
    if (!timerfd_settime(channel->timer_fd, 0, &when, NULL)) {
        channel->timer = deadline;
    }
}

static void
advance(struct mchan *channel, nsec_t now)
{
    if (channel->session.state == SESSION_APART) {
        try_connect(channel, now);
    }
    if (channel->session.state == SESSION_MEETING) {
        meet(channel, now);
    }
    if (channel->session.state == SESSION_UP) {
        serve(channel, now);
    }
    if (channel->session.state == SESSION_LEAVING) {
        drain(channel, now);
    }
}

/* Waits no longer than was said, for what is kept and for whom. */
static void
expire(struct mchan *channel, nsec_t now)
{
    if (channel->session.state == SESSION_UP) {
        return;
    }
    channel_expire(channel, now);
    if (channel_is_due(&channel->away_until, &channel->away_again, now)) {
        channel->away_until = NSEC_NEVER;
        session_lose(&channel->session, "the suspended peer did not return");
        channel_forget(channel);
    }
}

void
channel_turn(struct mchan *channel)
{
    nsec_t now = channel_now(channel);
    struct transport *transport = channel->transport;
    collect(channel, 0);
    expire(channel, now);
    advance(channel, now);
    if (channel->session.state == SESSION_APART) {
        /* The next peer may have come while the last one left. */
        advance(channel, now);
    } else if (transport->ready & TRANSPORT_PEER && transport->class->refuse) {
        channel->stats.n_refused_peers += transport->class->refuse(transport);
    }
    if (channel->loans.old_slabs) {
        loans_settle(channel);
    }
    set_timer(channel, now);
}

/* When the next attempt is due to have a link. */
static nsec_t
connect_deadline(const struct mchan *channel)
{
    if (!session_may_begin(&channel->session)) {
        return NSEC_NEVER; /* The user's next look at events goes on. */
    }
    if (channel->listens) {
        return mgmtback_deadline(&channel->back);
    }
    return channel->session.suspended ? NSEC_NEVER : channel->front.next_try;
}

nsec_t
channel_deadline(const struct mchan *channel)
{
    nsec_t deadline = channel->deadline;
    if (channel->session.state == SESSION_UP) {
        return channel->session.claim.session
                   ? nsec_min(deadline, channel->handoff_until)
                   : deadline;
    }
    if (channel->session.state == SESSION_APART && deadline == NSEC_NEVER) {
        deadline = connect_deadline(channel);
    }
    deadline = nsec_min(deadline, channel->away_until);
    return nsec_min(deadline, channel_expires(channel));
}

bool
channel_is_due(nsec_t *deadline, bool *again, nsec_t now)
{
    if (now < *deadline) {
        return false;
    }
    bool late = now - *deadline >= CHANNEL_LATE_NS && !*again;
    *again = late;
    if (late) {
        *deadline = now + CHANNEL_AGAIN_NS;
    }
    return !late;
}

/* Ends. */

/* Takes the link down, with whatever it still held. */
static void
end(struct mchan *channel)
{
    channel->stats.n_wakes += channel->link.n_wakes;
    loans_end(channel);
    link_fini(&channel->link);
    channel->transport->class->drop(channel->transport);
    session_end(&channel->session);
    channel_forget(channel);
    channel->deadline = NSEC_NEVER;
}

static void
failed(struct mchan *channel, nsec_t now)
{
    if (channel->listens) {
        mgmtback_failed(&channel->back, now);
    } else {
        mgmtfront_failed(&channel->front, now);
    }
}

static void
keep(struct mchan *channel, nsec_t now)
{
    const char *unused;
    if (channel->session.state == SESSION_UP) {
        (void)channel_refresh(channel,
                              &unused); /* Its last word on what it took. */
        channel_keep(channel, now);
    }
}

/* The peer broke the protocol; nothing of its is believed any more. */
static void
violated(struct mchan *channel, nsec_t now, const char *why)
{
    channel->stats.n_proto_errors++;
    keep(channel, now);
    session_violated(&channel->session, why);
    end(channel);
    failed(channel, now);
}

/* The peer is gone; what it said before is still given out. */
static void
lost(struct mchan *channel, nsec_t now, const char *reason)
{
    keep(channel, now);
    session_leave(&channel->session, reason);
    channel_forget(channel);
    if (channel->session.away) {
        channel->away_until = now + CHANNEL_AWAY_NS;
    }
    channel->deadline =
        channel->transport->once ? NSEC_NEVER : now + CHANNEL_DRAIN_NS;
}

/* Apart. */

static int
say_hello(struct mchan *channel)
{
    struct hello hello;
    uint8_t data[HELLO_SIZE];
    session_hello(&channel->session, &hello);
    hello.loan_bytes = channel->loans.bytes;
    frame_put_hello(data, &hello);
    return link_put_control(&channel->link, RECORD_HELLO, data, sizeof data);
}

static void
begin(struct mchan *channel, nsec_t now)
{
    struct link *link = &channel->link;
    uint32_t sync = (uint32_t)prng_u64(&channel->prng);
    if (link_init(link, channel->transport, channel->ring_size, sync)) {
        channel->transport->class->drop(channel->transport);
        failed(channel, now);
        return;
    }
    session_begin(&channel->session, link_message_max(link));
    channel->deadline = now + CHANNEL_HELLO_NS;
    if (!channel->listens) {
        int error = say_hello(channel);
        assert(!error); /* It is the first thing we say. */
    }
}

static void
try_connect(struct mchan *channel, nsec_t now)
{
    nsec_t due =
        channel->listens ? channel->back.next_try : channel->front.next_try;
    if (now < due || !session_may_begin(&channel->session) ||
        (channel->session.suspended && !channel->listens)) {
        return;
    }
    int result = channel->transport->class->connect(channel->transport);
    if (result == 1) {
        if (channel->listens) {
            mgmtback_accepted(&channel->back, now);
        }
        begin(channel, now);
    } else if (result == -ENOTCONN) {
        mgmtback_give_up(&channel->back);
        mgmtfront_give_up(&channel->front);
        channel->deadline = NSEC_NEVER;
    } else if (result == -EPROTO) {
        violated(channel, now, "the memory handed over is not as agreed");
    } else if (result < 0) {
        channel->deadline = NSEC_NEVER;
        failed(channel, now);
    } else if (channel->listens) {
        mgmtback_wait(&channel->back);
    } else if (channel->deadline == NSEC_NEVER) {
        channel->deadline = now + CHANNEL_HELLO_NS;
    } else if (channel_is_due(&channel->deadline, &channel->again, now)) {
        channel->transport->class->drop(channel->transport);
        channel->deadline = NSEC_NEVER;
        failed(channel, now);
    }
}

/* Meeting. */

static bool
gone(const struct mchan *channel)
{
    return channel->link.streams ? channel->link.ended
                                 : channel->transport->ready & TRANSPORT_HANGUP;
}

static int
on_hello(struct mchan *channel, const struct record *record, const char **why)
{
    uint8_t data[HELLO_COPY_MAX];
    if (record->kind != RECORD_HELLO || record->size > sizeof data ||
        record->sequence || record->attachment || record->tag) {
        *why = "no HELLO at first";
        return -EPROTO;
    }
    struct hello hello;
    link_take(&channel->link, record, data);
    int error = frame_get_hello(&hello, data, record->size, why);
    if (error) {
        return error;
    }
    if (channel->listens) {
        mgmtback_on_hello(&channel->back, &channel->session, &hello);
        error = say_hello(channel);
        assert(!error); /* It is the first thing we say. */
    } else {
        error = mgmtfront_on_hello(&channel->session, &hello, why);
    }
    if (!error) {
        link_open(&channel->link, channel->session.message_max_agreed);
        loans_begin(channel, hello.loan_bytes);
    }
    return error;
}

static void
attached(struct mchan *channel)
{
    const struct session *session = &channel->session;
    channel->away_until = NSEC_NEVER;
    channel->hold_until = 0;
    channel->hold_again = channel->away_again = false;
    channel->tell_resumed = false; /* HELLO did. */
    if (session->acked < session->sent) {
        window_release(&channel->window, session->acked);
    } else if (!session->unsettled || channel->listens) {
        window_fini(&channel->window);
    }
    if (channel->latest) {
        latest_attach(channel->latest, session->message_max_agreed);
    }
    channel_put_waiting(channel);
}

static void
meet(struct mchan *channel, nsec_t now)
{
    struct link *link = &channel->link;
    (void)link_flush(link);
    const char *why = NULL;
    struct record record;
    int found = attend(channel, &why);
    if (!found) {
        found = link_peek(link, &record, &why);
    }
    if (found == 1) {
        found = on_hello(channel, &record, &why);
    } else if (!found && gone(channel)) {
        end(channel);
        if (!channel->listens) {
            mgmtfront_failed(&channel->front, now);
        } /* Else the next may come as soon as accepting's own pace allows. */
        return;
    } else if (!found &&
               channel_is_due(&channel->deadline, &channel->again, now)) {
        found = -EPROTO;
        why = "no HELLO in time";
    }
    if (found < 0) {
        violated(channel, now, why);
    } else if (channel->session.state == SESSION_UP) {
        channel->stats.n_attachments++;
        channel->deadline = NSEC_NEVER;
        attached(channel);
        (void)link_flush(link);
        wait_for_handoff(channel, now);
    }
}

/* The time counts from the guest's first try on, but anew if it was elsewhere
 * in between. */
static void
wait_for_handoff(struct mchan *channel, nsec_t now)
{
    const struct session *session = &channel->session;
    if (!session->claim.session) {
        return;
    }
    bool over =
        now >= channel->handoff_until && channel->handoff_until != INT64_MIN;
    if (channel->handoff_session != session->id ||
        channel->handoff_mark != session->claim.mark || over ||
        session->claim.attachment > channel->handoff_attachment) {
        channel->handoff_session = session->id;
        channel->handoff_mark = session->claim.mark;
        channel->handoff_until = now + channel->handoff_ns;
    }
    channel->handoff_attachment = session->attachment;
}

static int
give_up_handoff(struct mchan *channel, nsec_t now, const char **why)
{
    struct session *session = &channel->session;
    if (!session->claim.session || now < channel->handoff_until) {
        return 0;
    }
    channel->handoff_session = 0;
    if (!session_give_up(session)) {
        return 0;
    }
    session_refuse(session);
    *why = "messages of a session from elsewhere that are too large here";
    return -EPROTO;
}

/* Up. */

/* Rings: empties the socket of wakes and looks whether the peer lives. */
static int
attend(struct mchan *channel, const char **why)
{
    struct transport *transport = channel->transport;
    if (!transport->class->attend || !(transport->ready & TRANSPORT_LINK)) {
        return 0;
    }
    int error = transport->class->attend(transport);
    if (error == -EPROTO) {
        *why = "descriptors that were not agreed upon";
        return error;
    }
    transport->ready |= error ? TRANSPORT_HANGUP : 0;
    return 0;
}

int
channel_refresh(struct mchan *channel, const char **why)
{
    struct session *session = &channel->session;
    uint64_t acked;
    if (session->state != SESSION_UP) {
        return 0;
    }
    int error = link_acked(&channel->link, &acked, why);
    if (!error && acked) { /* 0: it has not said anything yet. */
        error = session_acked(session, acked, why);
    }
    return error ? error : loans_collect(channel, why);
}

/* Takes BYE off the link.  1 when the peer said it. */
static int
take_bye(struct mchan *channel, const struct record *record, const char **why)
{
    uint8_t data[BYE_SIZE];
    uint64_t sent;
    if (record->kind != RECORD_BYE) {
        *why = "HELLO again";
        return -EPROTO;
    }
    if (record->size != sizeof data) {
        *why = "BYE of a wrong size";
        return -EPROTO;
    }
    link_take(&channel->link, record, data);
    int error = frame_get_u64(&sent, data, sizeof data);
    if (!error) {
        error = session_bye(&channel->session, sent, why);
    }
    return error ? error : 1;
}

/* The peer's messages that won't come. */
static int
take_skip(struct mchan *channel, const struct record *record, const char **why)
{
    uint8_t data[SKIP_SIZE];
    uint64_t to;
    if (record->size != sizeof data) {
        *why = "SKIP of a wrong size";
        return -EPROTO;
    }
    link_take(&channel->link, record, data);
    int error = frame_get_u64(&to, data, sizeof data);
    if (!error) {
        error = session_skipped(&channel->session, record, to, why);
    }
    return error ? error : 1;
}

static int
take_settled(struct mchan *channel, const struct record *record,
             const char **why)
{
    uint8_t data[SETTLED_SIZE];
    struct settled settled;
    if (record->size != sizeof data) {
        *why = "SETTLED of a wrong size";
        return -EPROTO;
    }
    link_take(&channel->link, record, data);
    int error = frame_get_settled(&settled, data, sizeof data, why);
    if (!error) {
        error = session_settled(&channel->session, record, &settled, why);
    }
    if (!error) {
        window_release(&channel->window, channel->session.acked);
    }
    return error ? error : 1;
}

/* What the user is told of by an event.  1 when he was, 0 if it must wait until
 * he has collected others. */
static int
take_news(struct mchan *channel, const struct record *record, const char **why)
{
    if (!session_may_report(&channel->session)) {
        return 0;
    }
    if (record->kind == RECORD_SKIP) {
        return take_skip(channel, record, why);
    }
    if (record->kind == RECORD_SETTLED) {
        return take_settled(channel, record, why);
    }
    int error = session_notice(&channel->session, record, why);
    if (!error) {
        link_pass(&channel->link, record);
    }
    return error ? error : 1;
}

static bool
is_news(const struct record *record)
{
    return record->kind == RECORD_SKIP || record->kind == RECORD_SUSPEND ||
           record->kind == RECORD_RESUME || record->kind == RECORD_SETTLED;
}

/* 0, or -EPROTO if this is no message or not the one that must come next. */
static int
check_message(const struct mchan *channel, const struct record *record,
              const char **why)
{
    if (record->kind == RECORD_LOAN) {
        if (!channel->loans.agreed) {
            *why = "loan that was not agreed upon";
            return -EPROTO;
        }
        if (record->size != LOAN_SIZE) {
            *why = "loan of a wrong size";
            return -EPROTO;
        }
    }
    return session_check(&channel->session, record, why);
}

/* Judges what comes next: 1 if it is a message, for the user; 0 if there is
 * nothing; 2 if the peer said goodbye; or -EPROTO. */
static int
judge(struct mchan *channel, const char **why)
{
    struct record record;
    int found;
    while ((found = link_peek(&channel->link, &record, why)) == 1 &&
           is_news(&record)) {
        found = take_news(channel, &record, why);
        if (found != 1) {
            return found;
        }
    }
    if (found != 1) {
        return found;
    }
    if (record.kind == RECORD_BYE || record.kind == RECORD_HELLO) {
        int error = take_bye(channel, &record, why);
        return error < 0 ? error : 2;
    }
    int error = check_message(channel, &record, why);
    return error ? error : 1;
}

/* Whether the peer began a frame and never ends it.  Looks only when a look is
 * due, so that a busy stream, which often ends within a frame, sets no timer
 * each time.  When we come much too late we slept, and the peer perhaps too. */
static bool
never_ends(struct mchan *channel, nsec_t now)
{
    const struct link *link = &channel->link;
    size_t unfinished = link_unfinished(link);
    if (channel->deadline != NSEC_NEVER) {
        if (now < channel->deadline) {
            return false;
        }
        bool same = unfinished && unfinished == channel->unfinished &&
                    link->n_frames == channel->n_frames;
        if (same && now - channel->deadline < CHANNEL_FRAME_NS) {
            return true;
        }
    }
    channel->unfinished = unfinished;
    channel->n_frames = link->n_frames;
    channel->deadline = unfinished ? now + CHANNEL_FRAME_NS : NSEC_NEVER;
    return false;
}

static void
serve(struct mchan *channel, nsec_t now)
{
    struct link *link = &channel->link;
    const char *why = NULL;
    int error = attend(channel, &why);
    if (!error) {
        error = link_read(link, &why);
    }
    if (!error) {
        error = channel_refresh(channel, &why);
    }
    if (!error) {
        error = give_up_handoff(channel, now, &why);
    }
    int found = error ? error : judge(channel, &why);
    if (!found && never_ends(channel, now)) {
        found = -EPROTO;
        why = "a frame that never ends";
    }
    if (found < 0) {
        violated(channel, now, why);
        return;
    }
    channel_put_waiting(channel);
    int flushed = link_flush(link);
    if (found == 2) {
        lost(channel, now, "the peer said goodbye");
    } else if (channel->transport->ready & TRANSPORT_HANGUP || link->ended ||
               (flushed && flushed != -EAGAIN)) {
        lost(channel, now, "the peer closed the connection");
    }
}

/* Leaving. */

static void
drain(struct mchan *channel, nsec_t now)
{
    const char *why = NULL;
    int found = judge(channel, &why);
    if (found < 0) {
        violated(channel, now, why);
        return;
    }
    bool more =
        found == 1 || (!found && !channel->link.said_bye && !gone(channel));
    if (more && !channel_is_due(&channel->deadline, &channel->again, now)) {
        return;
    }
    end(channel);
    if (!channel->listens) {
        mgmtfront_lost(&channel->front, now);
    }
}

/* For mchan.c. */

int
channel_peek(struct mchan *channel, struct record *out)
{
    if (channel->session.state != SESSION_UP &&
        channel->session.state != SESSION_LEAVING) {
        return -1;
    }
    const char *why;
    int found = link_peek(&channel->link, out, &why);
    if (found == 1 && check_message(channel, out, &why)) {
        return -1;
    }
    return found;
}

void
channel_part(struct mchan *channel, const char *reason)
{
    if (channel->session.state == SESSION_UP) {
        lost(channel, channel_now(channel), reason);
    }
    if (channel->session.state != SESSION_APART) {
        end(channel);
    }
}

void
channel_violated(struct mchan *channel, const char *why)
{
    violated(channel, channel_now(channel), why);
}

bool
channel_sleep(struct mchan *channel, int timeout_ms)
{
    const char *why;
    collect(channel, timeout_ms);
    if (attend(channel, &why)) {
        channel_violated(channel, why);
    }
    return channel->transport->ready & (TRANSPORT_HANGUP | TRANSPORT_PEER);
}

void
channel_bye(struct mchan *channel)
{
    if (channel->session.state != SESSION_UP ||
        channel->session.claim.session) {
        return;
    }
    uint8_t data[BYE_SIZE];
    frame_put_u64(data, channel->session.sent);
    if (!link_put_control(&channel->link, RECORD_BYE, data, sizeof data)) {
        (void)link_flush(&channel->link);
    }
}
