/* SPDX-License-Identifier: Apache-2.0 */
/* The turn of a channel.  Takes what the descriptor told, lets meet.c connect
 * when it is time and judge.c look at what the link brought, and takes the link
 * down when it is over.  Nothing blocks, and every loop over what the peer
 * wrote is bounded.  Called by the door at every point where a user may have to
 * be told something new. */
#include "channel/channel.h"

#include <errno.h>
#include <sys/epoll.h>
#include <sys/timerfd.h>

#include "channel/channelparts.h"

#define EVENTS_AT_ONCE 8

static void serve(struct mchan *, nsec_t now);
static void drain(struct mchan *, nsec_t now);

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
        meet_connect(channel, now);
    }
    if (channel->session.state == SESSION_MEETING) {
        meet_peer(channel, now);
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

void
channel_end(struct mchan *channel)
{
    channel->stats.n_wakes += channel->link.n_wakes;
    loans_end(channel);
    link_fini(&channel->link);
    channel->transport->class->drop(channel->transport);
    session_end(&channel->session);
    channel_forget(channel);
    channel->deadline = NSEC_NEVER;
}

void
channel_failed(struct mchan *channel, nsec_t now)
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

void
channel_break(struct mchan *channel, nsec_t now, const char *why)
{
    channel->stats.n_proto_errors++;
    keep(channel, now);
    session_violated(&channel->session, why);
    channel_end(channel);
    channel_failed(channel, now);
}

/* Whoever said that it moves and then is gone was not lost, though our user did
 * not get so far as to read it: its messages lie before. */
static void
look_for_notice(struct mchan *channel)
{
    struct record notice;
    const char *unused;
    (void)link_read(&channel->link, &unused);
    if (session_may_report(&channel->session) &&
        link_find_notice(&channel->link, &notice)) {
        (void)session_notice(&channel->session, &notice, &unused);
    }
}

/* The peer is gone; what it said before is still given out. */
static void
lost(struct mchan *channel, nsec_t now, const char *reason)
{
    keep(channel, now);
    look_for_notice(channel);
    session_leave(&channel->session, reason);
    channel_forget(channel);
    if (channel->session.away) {
        channel->away_until = now + CHANNEL_AWAY_NS;
    }
    channel->deadline =
        channel->transport->once ? NSEC_NEVER : now + CHANNEL_DRAIN_NS;
}

/* Up. */

int
channel_attend(struct mchan *channel, const char **why)
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

bool
channel_is_gone(const struct mchan *channel)
{
    return channel->link.streams ? channel->link.ended
                                 : channel->transport->ready & TRANSPORT_HANGUP;
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
    int error = channel_attend(channel, &why);
    if (!error) {
        error = link_read(link, &why);
    }
    if (!error) {
        error = channel_refresh(channel, &why);
    }
    if (!error) {
        error = meet_give_up_handoff(channel, now, &why);
    }
    int found = error ? error : judge_next(channel, &why);
    if (!found && never_ends(channel, now)) {
        found = -EPROTO;
        why = "a frame that never ends";
    }
    if (found < 0) {
        channel_break(channel, now, why);
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
    int found = judge_next(channel, &why);
    if (found < 0) {
        channel_break(channel, now, why);
        return;
    }
    bool more = found == 1 || (!found && !channel->link.said_bye &&
                               !channel_is_gone(channel));
    if (more && !channel_is_due(&channel->deadline, &channel->again, now)) {
        return;
    }
    channel_end(channel);
    if (!channel->listens) {
        mgmtfront_lost(&channel->front, now);
    }
}

/* For the door. */

void
channel_part(struct mchan *channel, const char *reason)
{
    if (channel->session.state == SESSION_UP) {
        lost(channel, channel_now(channel), reason);
    }
    if (channel->session.state != SESSION_APART) {
        channel_end(channel);
    }
}

void
channel_violated(struct mchan *channel, const char *why)
{
    channel_break(channel, channel_now(channel), why);
}

bool
channel_sleep(struct mchan *channel, int timeout_ms)
{
    const char *why;
    collect(channel, timeout_ms);
    if (channel_attend(channel, &why)) {
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
