/* SPDX-License-Identifier: Apache-2.0 */
/* A session that moves to another transport or another end, for
 * include/mchan.h. */
#include <errno.h>

#include "channel/channel.h"
#include "include/mchan.h"

int
mchan_suspend(struct mchan *channel)
{
    struct session *session = &channel->session;
    channel_turn(channel); /* The peer's last word may be there already. */
    if (!session->id || session->settled) {
        return -ENOTCONN;
    }
    if (session->suspended) {
        return -EALREADY;
    }
    if (!session_may_report(session)) {
        return -EAGAIN;
    }
    if (session->state == SESSION_UP) {
        channel_put_waiting(channel);
        (void)channel_put_notice(channel, RECORD_SUSPEND);
        (void)link_flush(&channel->link);
    }
    session_suspend(session);
    return 0;
}

/* Takes up a new transport in the place of the old one. */
static int
move_to(struct mchan *channel, const char *uri)
{
    struct transport *transport;
    int error = channel_open(channel, uri, -1, &transport);
    if (error) {
        return error;
    }
    channel_part(channel, "the session moves");
    channel->transport->class->close(channel->transport);
    channel->transport = transport;
    return 0;
}

int
mchan_resume(struct mchan *channel, const char *uri)
{
    struct session *session = &channel->session;
    if (!session->id) {
        return -ENOTCONN;
    }
    if (!session->suspended) {
        return -EALREADY;
    }
    if (!session_may_report(session)) {
        return -EAGAIN;
    }
    int error = uri ? move_to(channel, uri) : 0;
    if (error) {
        return error;
    }
    channel->tell_resumed = session->state == SESSION_UP;
    session_resume(session);
    mgmtfront_begin(&channel->front);
    mgmtback_wait(&channel->back);
    channel_turn(channel);
    return 0;
}

int
mchan_forget(struct mchan *channel)
{
    struct session *session = &channel->session;
    if (!session->id) {
        return -ENOTCONN;
    }
    channel_part(channel, "the session is over");
    session_forget(session, "the session is over");
    window_fini(&channel->window);
    channel->away_until = NSEC_NEVER;
    channel->tell_resumed = false;
    channel_turn(channel);
    return 0;
}

ssize_t
mchan_export(struct mchan *channel, void *data, size_t size)
{
    return -ENOTSUP;
}

int
mchan_import(struct mchan *channel, const void *data, size_t size)
{
    return -ENOTSUP;
}
