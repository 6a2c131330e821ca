/* SPDX-License-Identifier: Apache-2.0 */
/* A session that moves to another transport or another end, for
 * include/mchan.h. */
#include <errno.h>
#include <string.h>

#include "channel/channel.h"
#include "channel/handoff/parcel.h"
#include "include/mchan.h"

int
mchan_suspend(struct mchan *channel)
{
    struct session *session = &channel->session;
    channel_turn(channel); /* The peer's last word may be there already. */
    if (!session->id || session->settled ||
        (session->unsettled && channel->listens)) {
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

/* Handing over. */

/* What of the session's messages is in the link. */
static int
collect_window(struct mchan *channel, struct window *out)
{
    const struct session *session = &channel->session;
    uint64_t last = session->replays ? session->put : session->sent;
    memset(out, 0, sizeof *out);
    if (session->state != SESSION_UP) {
        return 0;
    }
    return link_salvage(&channel->link, session->acked + 1, last,
                        channel_now(channel), out);
}

/* Lent memory stays where it is. */
static bool
lends(const struct window *window)
{
    struct window_entry entry;
    size_t at = 0;
    while (window_next(window, &at, &entry)) {
        if (entry.record.kind == RECORD_LOAN) {
            return true;
        }
    }
    return false;
}

static void
pack_window(struct parcel_writer *writer, const struct window *window)
{
    struct window_entry entry;
    size_t at = 0;
    const uint8_t *data;
    while ((data = window_next(window, &at, &entry))) {
        struct parcel_record record = {
            .size = entry.record.size,
            .kind =
                entry.record.kind == RECORD_SKIP ? PARCEL_SKIP : PARCEL_MESSAGE,
            .tag = entry.record.tag,
            .sequence = entry.sequence,
            .to = entry.to,
        };
        parcel_add(writer, &record, data);
    }
}

static size_t
pack(struct mchan *channel, const struct window *in_link, void *data,
     size_t size)
{
    struct parcel parcel;
    struct parcel_writer writer;
    session_pack(&channel->session, &parcel);
    parcel_begin(&writer, data, data ? size : 0, &parcel);
    pack_window(&writer, in_link);
    pack_window(&writer, &channel->window);
    return parcel_end(&writer);
}

ssize_t
mchan_export(struct mchan *channel, void *data, size_t size)
{
    struct session *session = &channel->session;
    struct window in_link;
    channel_turn(channel); /* The peer's last word on what it took. */
    /* Without the memory of others there is none of ours before the guest has
     * heard so. */
    if (!session->id || session->settled || session->unsettled ||
        session->alone) {
        return -ENOTCONN;
    }
    if (!session->suspended) {
        return -EBUSY;
    }
    if (collect_window(channel, &in_link)) {
        window_fini(&in_link);
        return -ENOMEM;
    }
    if (lends(&in_link) || lends(&channel->window)) {
        window_fini(&in_link);
        return -ENOTSUP;
    }
    size_t needed = pack(channel, &in_link, data, size);
    window_fini(&in_link);
    if (data && needed > size) {
        return -ENOBUFS;
    }
    if (data) {
        channel_part(channel, "the session was handed over");
        session_hand_over(session, "the session was handed over");
        window_fini(&channel->window);
    }
    return (ssize_t)needed;
}

/* The records of a parcel, as a window. */
static int
unpack(struct parcel_reader *reader, nsec_t now, struct window *out)
{
    struct parcel_record record;
    const uint8_t *data;
    memset(out, 0, sizeof *out);
    while ((data = parcel_next(reader, &record))) {
        struct window_entry entry = {
            .record = {.size = record.size,
                       .kind = record.kind == PARCEL_SKIP ? RECORD_SKIP
                                                          : RECORD_RELIABLE,
                       .tag = record.tag,
                       .sequence = (uint32_t)record.sequence},
            .sequence = record.sequence,
            .to = record.to,
            .since = now,
        };
        if (window_add(out, &entry, data)) {
            window_fini(out);
            return -ENOMEM;
        }
    }
    return 0;
}

static int
import_parcel(struct mchan *channel, const void *data, size_t size)
{
    struct session *session = &channel->session;
    struct parcel_reader reader;
    struct window window;
    const char *why;
    if (parcel_open(&reader, data, size, &why)) {
        return -EPROTO;
    }
    if (unpack(&reader, channel_now(channel), &window)) {
        return -ENOMEM;
    }
    int error = session_settle(session, &reader.head);
    if (error) {
        window_fini(&window);
        return error;
    }
    session->unheard &= channel->listens;
    window_fini(&channel->window);
    channel->window = window;
    window_release(&channel->window, session->acked);
    channel->handoff_session = 0;
    return 0;
}

/* Nobody has it: goes on without, now or when the guest is there again. */
static int
import_nothing(struct mchan *channel)
{
    struct session *session = &channel->session;
    if (!session->unsettled || !channel->listens) {
        return -ENOENT;
    }
    channel->handoff_session = session->id;
    channel->handoff_until = INT64_MIN;
    return 0;
}

static int
import_refused(struct mchan *channel)
{
    if (!channel->session.unsettled || !channel->listens) {
        return -ENOENT;
    }
    channel_part(channel, "the session is another's");
    session_refuse(&channel->session);
    return 0;
}

int
mchan_import(struct mchan *channel, const void *data, size_t size)
{
    int error = !data  ? import_nothing(channel)
                : size ? import_parcel(channel, data, size)
                       : import_refused(channel);
    channel->stats.n_late_handoffs += error == -ENOENT && data;
    if (!error) {
        channel_turn(channel);
    }
    return error;
}
