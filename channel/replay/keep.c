/* SPDX-License-Identifier: Apache-2.0 */
/* What is kept of a session when its link is gone, and how it is sent again.
 * While a link stands, what the peer did not acknowledge lies where it was
 * written; when it is lost, that is copied into the window, and when the
 * session goes on, put into the next link before anything new.  Numbers are
 * session.c's.  Called by channel.c. */
#include <errno.h>
#include <stddef.h>

#include "channel/channel.h"

/* The link will not carry any more: what the peer did not acknowledge moves to
 * the window, in front of what is still there. */
void
channel_keep(struct mchan *channel, nsec_t now)
{
    struct session *session = &channel->session;
    struct window kept = {0};
    uint64_t last = session->replays ? session->put : session->sent;
    if (session->unsettled) {
        return; /* Nothing of it went into this link. */
    }
    if (link_salvage(&channel->link, session->acked + 1, last, now, &kept) ||
        window_append(&kept, &channel->window)) {
        /* No memory: what can't be found is skipped when the time comes. */
        window_fini(&kept);
        window_fini(&channel->window);
    }
    channel->window = kept;
}

/* Nobody will come back who could still acknowledge what is kept. */
void
channel_forget(struct mchan *channel)
{
    const struct session *session = &channel->session;
    if (session->settled || (channel->transport->once && !session->told_up)) {
        session_drop_all(&channel->session);
        window_fini(&channel->window);
    }
}

bool
channel_has_room_later(const struct mchan *channel, uint32_t size)
{
    return session_keeps(&channel->session) &&
           channel->window.ring_bytes + ring_record_size(size) <=
               channel->ring_size;
}

/* Holding. */

nsec_t
channel_expires(const struct mchan *channel)
{
    const struct session *session = &channel->session;
    struct window_entry entry;
    if (!channel->hold_ns || session->state == SESSION_UP ||
        !session_may_report(session) ||
        !window_first(&channel->window, &entry)) {
        return NSEC_NEVER;
    }
    nsec_t due = entry.since + channel->hold_ns;
    return due > channel->hold_until ? due : channel->hold_until;
}

void
channel_expire(struct mchan *channel, nsec_t now)
{
    nsec_t due = channel_expires(channel);
    struct window_entry entry;
    if (due == NSEC_NEVER) {
        return;
    }
    if (!channel_is_due(&due, &channel->hold_again, now)) {
        if (due > now && channel->hold_again) {
            channel->hold_until = due;
        }
        return;
    }
    window_first(&channel->window, &entry);
    uint64_t from = entry.sequence, to;
    do {
        to = entry.to;
        window_remove_first(&channel->window);
    } while (window_first(&channel->window, &entry) &&
             entry.since + channel->hold_ns <= now);
    session_drop(&channel->session, from, to);
}

/* Sending again. */

/* Says that messages up to 'to' won't come.  False if that has to wait. */
static bool
skip(struct mchan *channel, uint64_t to)
{
    struct session *session = &channel->session;
    uint8_t data[SKIP_SIZE];
    uint64_t from = session->put + 1;
    struct record record = {.size = sizeof data,
                            .kind = RECORD_SKIP,
                            .sequence = (uint32_t)from,
                            .attachment = session->attachment};
    frame_put_u64(data, to);
    if (!session_may_drop(session, from, to) ||
        link_put(&channel->link, &record, data)) {
        return false;
    }
    session_drop(session, from, to);
    session_replayed(session, to);
    return true;
}

/* 0, -EAGAIN, or -ENOENT if it can't be sent again. */
static int
put_again(struct mchan *channel, struct window_entry *entry,
          const uint8_t *data)
{
    entry->record.attachment = channel->session.attachment;
    if (entry->record.kind == RECORD_LOAN) {
        return loans_put_again(channel, &entry->record, data);
    }
    return link_put(&channel->link, &entry->record, data);
}

/* Puts the first message of the window, or says what is missing before it or
 * instead of it.  False if there is no room for that. */
static bool
replay_first(struct mchan *channel)
{
    struct session *session = &channel->session;
    struct window_entry entry;
    const uint8_t *data = window_first(&channel->window, &entry);
    if (!data) {
        return skip(channel, session->sent);
    }
    if (entry.sequence > session->put + 1) {
        return skip(channel, entry.sequence - 1);
    }
    int error = entry.record.kind == RECORD_SKIP
                    ? -ENOENT
                    : put_again(channel, &entry, data);
    if (error == -ENOENT) {
        if (!skip(channel, entry.to)) {
            return false;
        }
    } else if (error) {
        return false;
    } else {
        session_replayed(session, entry.sequence);
        channel->stats.n_replayed++;
    }
    window_remove_first(&channel->window);
    return true;
}

int
channel_put_notice(struct mchan *channel, uint8_t kind)
{
    struct record record = {.kind = kind,
                            .attachment = channel->session.attachment};
    return link_put(&channel->link, &record, NULL);
}

/* False if there is no room for it. */
static bool
put_settled(struct mchan *channel)
{
    struct settled settled;
    uint8_t data[SETTLED_SIZE];
    struct record record = session_say_settled(&channel->session, &settled);
    frame_put_settled(data, &settled);
    if (link_put(&channel->link, &record, data)) {
        return false;
    }
    session_said_settled(&channel->session);
    return true;
}

void
channel_put_waiting(struct mchan *channel)
{
    struct mchan_stats *stats = &channel->stats;
    struct session *session = &channel->session;
    if (session->state != SESSION_UP || session->suspended) {
        return;
    }
    if (channel->tell_resumed && !channel_put_notice(channel, RECORD_RESUME)) {
        channel->tell_resumed = false;
    }
    if (session->owes_settled && !put_settled(channel)) {
        return;
    }
    while (session->replays && replay_first(channel)) {
    }
    if (session_flows(session) && channel->latest) {
        stats->n_sent += latest_put(channel->latest, &channel->link,
                                    session->attachment, &stats->bytes_sent);
    }
}

/* Of what is kept. */
static uint64_t
replay_waits_for(const struct mchan *channel)
{
    const struct link *link = &channel->link;
    struct window_entry entry;
    uint32_t size = SKIP_SIZE;
    if (window_first(&channel->window, &entry) &&
        entry.sequence == channel->session.put + 1 && entry.record.size) {
        size = entry.record.size;
    }
    uint64_t position = link_position_for(link, size);
    /* If it is not for room, it waits for an acknowledgement. */
    return link_is_released(link, position) ? link_head(link) : position;
}

uint64_t
channel_waits_for(const struct mchan *channel)
{
    if (channel->session.suspended) {
        return 0;
    }
    if (channel->session.owes_settled) {
        return link_position_for(&channel->link, SETTLED_SIZE);
    }
    if (channel->session.replays) {
        return replay_waits_for(channel);
    }
    if (channel->tell_resumed) {
        return link_position_for(&channel->link, 0);
    }
    return channel->latest ? latest_position(channel->latest, &channel->link)
                           : 0;
}
