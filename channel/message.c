/* SPDX-License-Identifier: Apache-2.0 */
/* Sending and receiving by copy, for include/mchan.h.  Takes the short way when
 * a message is at hand or there is room for one, and lets channel.c take a turn
 * when not. */
#include <errno.h>
#include <string.h>

#include "channel/channel.h"
#include "include/mchan.h"

/* Reliable ones. */

/* Keeps a message that can't be put before the session goes on. */
static int
send_later(struct mchan *channel, const struct mchan_msg *message)
{
    struct session *session = &channel->session;
    if (!session_keeps(session)) {
        return session_why_not(session);
    }
    if (message->size > session->message_max_agreed) {
        return -EMSGSIZE;
    }
    if (!channel_has_room_later(channel, (uint32_t)message->size)) {
        return -EAGAIN;
    }
    struct window_entry entry = {
        .sequence = session->sent + 1,
        .to = session->sent + 1,
        .since = channel_now(channel),
        .record = {.size = (uint32_t)message->size,
                   .kind = RECORD_RELIABLE,
                   .tag = message->tag,
                   .sequence = (uint32_t)(session->sent + 1)},
    };
    int error = window_add(&channel->window, &entry, message->data);
    if (!error) {
        session_sent_later(session);
        channel->stats.n_sent++;
        channel->stats.bytes_sent += message->size;
    }
    return error;
}

/* True if the message was put: most are, with nothing else to do. */
static inline bool
put_plain(struct mchan *channel, const struct mchan_msg *message)
{
    struct session *session = &channel->session;
    struct link *link = &channel->link;
    if (!session->sends || message->size > session->message_max_agreed ||
        !link_has_room(link, (uint32_t)message->size)) {
        return false;
    }
    struct record record =
        session_send(session, message->tag, (uint32_t)message->size);
    (void)link_put(link, &record, message->data);
    (void)link_flush(link);
    channel->stats.n_sent++;
    channel->stats.bytes_sent += message->size;
    return true;
}

/* 0 if the message was put, -EAGAIN, or why it can't be. */
static int
try_send(struct mchan *channel, const struct mchan_msg *message)
{
    const struct session *session = &channel->session;
    if (put_plain(channel, message)) {
        return 0;
    }
    if (!session->sends) {
        return send_later(channel, message);
    }
    return message->size > session->message_max_agreed ? -EMSGSIZE : -EAGAIN;
}

/* The other classes.  They are never refused for want of room, nor while the
 * peer is away. */

/* A ring tells by itself what the peer is through with. */
static bool
wants_turn(struct mchan *channel)
{
    return channel->link.streams || ++channel->n_idle % CHANNEL_SPIN_LOOKS == 0;
}

static int
send_latest(struct mchan *channel, const struct mchan_msg *message)
{
    if (message->key >= MCHAN_KEYS) {
        return -EINVAL;
    }
    if (message->size > mchan_message_max(channel)) {
        return -EMSGSIZE;
    }
    if (!channel->latest) {
        channel->latest = latest_create();
    }
    int overtaken =
        channel->latest ? latest_set(channel->latest, message) : -ENOMEM;
    if (overtaken < 0) {
        return overtaken;
    }
    channel->stats.n_overtaken += (unsigned)overtaken;
    const char *unused;
    (void)channel_refresh(channel, &unused); /* A turn judges what is wrong. */
    channel_put_waiting(channel);
    if (channel->session.state != SESSION_UP ||
        (channel->latest->waiting && wants_turn(channel))) {
        channel_turn(channel);
    } else {
        (void)link_flush(&channel->link);
    }
    return 0;
}

static bool
put_datagram(struct mchan *channel, const struct mchan_msg *message)
{
    struct record record = {.size = (uint32_t)message->size,
                            .kind = RECORD_DATAGRAM,
                            .tag = message->tag,
                            .attachment = channel->session.attachment};
    return session_flows(&channel->session) &&
           !link_put(&channel->link, &record, message->data);
}

static int
send_datagram(struct mchan *channel, const struct mchan_msg *message)
{
    if (message->size > mchan_message_max(channel)) {
        return -EMSGSIZE;
    }
    bool put = put_datagram(channel, message);
    if (!put) {
        channel_turn(channel); /* Room may have come back. */
        put = message->size <= mchan_message_max(channel) &&
              put_datagram(channel, message);
    }
    if (put) {
        (void)link_flush(&channel->link);
        channel->stats.n_sent++;
        channel->stats.bytes_sent += message->size;
    } else {
        channel->stats.n_datagrams_dropped++;
    }
    return 0;
}

static int
send_unnumbered(struct mchan *channel, const struct mchan_msg *message)
{
    switch (message->delivery) {
    case MCHAN_LATEST:
        return send_latest(channel, message);
    case MCHAN_DATAGRAM:
        return send_datagram(channel, message);
    default:
        return -EINVAL;
    }
}

/* All that is not just put. */
static __attribute__((noinline)) int
send_other(struct mchan *channel, const struct mchan_msg *message)
{
    if (message->delivery != MCHAN_RELIABLE) {
        return send_unnumbered(channel, message);
    }
    int error = try_send(channel, message);
    if (error && error != -EMSGSIZE) {
        channel->loans.wanted = 0; /* It is this that the user waits for. */
        channel_turn(channel);
        error = try_send(channel, message);
    }
    return error;
}

int
mchan_send(struct mchan *channel, const struct mchan_msg *message)
{
    if (message->delivery == MCHAN_RELIABLE && put_plain(channel, message)) {
        return 0;
    }
    return send_other(channel, message);
}

#define RUN_BYTES 2048 /* What the peer is shown at once. */

/* As put_plain(), of many at once: how many of the first ones were put.  It
 * works on copies, since for the compiler each byte that goes into the ring may
 * change what the channel knows. */
static size_t
put_run(struct mchan *channel, const struct mchan_msg *messages, size_t n)
{
    struct ring_tx tx = channel->link.tx;
    struct record record = session_next(&channel->session, 0, 0);
    size_t size_max = channel->session.message_max_agreed;
    uint64_t bytes = 0;
    struct ring_run run;
    ring_tx_begin(&tx, &run);
    size_t i;
    for (i = 0; i < n && tx.head - run.start < RUN_BYTES; i++) {
        const struct mchan_msg *message = &messages[i];
        record.size = (uint32_t)message->size;
        record.tag = message->tag;
        if (message->delivery != MCHAN_RELIABLE || message->size > size_max ||
            !ring_tx_add(&tx, &run, &record, message->data)) {
            break;
        }
        record.sequence++;
        bytes += record.size;
    }
    ring_tx_end(&tx, &run);
    channel->link.tx = tx;
    session_sent(&channel->session, i);
    channel->stats.n_sent += i;
    channel->stats.bytes_sent += bytes;
    return i;
}

ssize_t
mchan_send_many(struct mchan *channel, const struct mchan_msg *messages,
                size_t n)
{
    size_t sent = 0;
    while (sent < n) {
        size_t run = 0;
        if (channel->session.sends) {
            run = put_run(channel, messages + sent, n - sent);
            (void)link_flush(&channel->link);
        }
        sent += run;
        if (!run) {
            int error = mchan_send(channel, &messages[sent]);
            if (error) {
                return sent ? (ssize_t)sent : error;
            }
            sent++;
        }
    }
    return (ssize_t)sent;
}

/* What mchan_recv() says when there is no message. */
static int
nothing(const struct mchan *channel)
{
    return session_why_not(&channel->session);
}

/* A user who spins over an empty ring need not ask the kernel each time. */
static bool
may_skip_turn(struct mchan *channel)
{
    return channel->session.state == SESSION_UP && !channel->link.streams &&
           ++channel->n_idle % CHANNEL_SPIN_LOOKS;
}

static bool
find_message(struct mchan *channel, struct record *out)
{
    session_asked(&channel->session);
    link_asked(&channel->link);
    int found = channel_peek(channel, out);
    if (found == 1) {
        return 1;
    }
    if (!found && !channel->link.streams) {
        link_acknowledge(&channel->link, channel->session.done);
    }
    if (!found && may_skip_turn(channel)) {
        return 0;
    }
    channel_turn(channel);
    return channel_peek(channel, out) == 1;
}

/* The next message, and where it lies: '*lies_out', of which the handle is 0 if
 * that is in the link.  0, or what mchan_recv() says. */
static int
open_message(struct mchan *channel, struct record *out,
             struct lent_chunk *lies_out)
{
    if (!find_message(channel, out)) {
        return nothing(channel);
    }
    lies_out->handle = 0;
    lies_out->size = out->size;
    lies_out->data = link_payload(&channel->link, out);
    if (out->kind != RECORD_LOAN) {
        return 0;
    }
    const char *why;
    int error = loans_open(channel, out, lies_out, &why);
    if (error == -EPROTO) {
        channel_violated(channel, why);
    }
    return error;
}

static inline void
tell(const struct session *session, const struct record *record,
     struct mchan_info *info)
{
    bool repeated = record->flags & RECORD_REPEATED;
    *info = (struct mchan_info){.attachment = session->attachment,
                                .tag = record->tag,
                                .delivery = MCHAN_RELIABLE,
                                .maybe_repeated = repeated};
    switch (record->kind) {
    case RECORD_LATEST:
        info->delivery = MCHAN_LATEST;
        info->key = (uint8_t)record->sequence;
        break;
    case RECORD_DATAGRAM:
        info->delivery = MCHAN_DATAGRAM;
        break;
    default:
        info->sequence = session->delivered;
        info->maybe_repeated |= session->delivered <= session->repeated_to;
    }
}

/* The message goes to the user. */
static inline void
deliver(struct mchan *channel, const struct record *record, uint64_t size,
        struct mchan_info *info)
{
    if (link_owes(&channel->link)) {
        link_acknowledge(&channel->link, channel->session.done);
    }
    link_pass(&channel->link, record);
    if (record_is_numbered(record->kind)) {
        session_delivered(&channel->session);
    }
    channel->n_idle = 0;
    channel->stats.n_received++;
    channel->stats.bytes_received += size;
    if (info) {
        tell(&channel->session, record, info);
    }
}

/* True if the next message is what most are: in a ring, of the reliable class,
 * not repeated and the next in order.  Whatever it is not, the long way looks
 * at it again and has a word for it. */
static inline bool
find_plain(struct mchan *channel, struct record *out)
{
    const struct session *session = &channel->session;
    struct link *link = &channel->link;
    const char *unused;
    return session->state == SESSION_UP && !link->streams && !link->said_bye &&
           ring_rx_peek(&link->rx, out, &unused) == 1 &&
           out->kind == RECORD_RELIABLE && !out->flags &&
           session_is_next(session, out);
}

static inline ssize_t
receive_plain(struct mchan *channel, const struct record *record, void *data,
              struct mchan_info *info)
{
    ring_copy(data, ring_rx_payload(&channel->link.rx), record->size);
    session_asked(&channel->session);
    link_asked(&channel->link);
    deliver(channel, record, record->size, info);
    return (ssize_t)record->size;
}

static __attribute__((noinline)) ssize_t
receive_other(struct mchan *channel, void *data, size_t size,
              struct mchan_info *info)
{
    struct record record;
    struct lent_chunk message;
    int error = open_message(channel, &record, &message);
    if (error) {
        return error;
    }
    if (message.size > size) {
        return -ENOBUFS;
    }
    ring_copy(data, message.data, message.size);
    if (message.handle) {
        loans_give_back(channel, &message);
    }
    deliver(channel, &record, message.size, info);
    return (ssize_t)message.size;
}

ssize_t
mchan_recv(struct mchan *channel, void *data, size_t size,
           struct mchan_info *info)
{
    struct record record;
    if (find_plain(channel, &record) && record.size <= size) {
        return receive_plain(channel, &record, data, info);
    }
    return receive_other(channel, data, size, info);
}

int
mchan_view(struct mchan *channel, struct mchan_view *out)
{
    struct record record;
    struct lent_chunk message;
    int error = open_message(channel, &record, &message);
    if (error) {
        return error;
    }
    if (message.handle) {
        loans_hold(channel, &message);
    }
    deliver(channel, &record, message.size, &out->info);
    out->data = message.data;
    out->size = message.size;
    out->handle = message.handle;
    return 0;
}

int
mchan_ack(struct mchan *channel)
{
    struct session *session = &channel->session;
    if (session->state != SESSION_UP && session->state != SESSION_LEAVING) {
        return session->error;
    }
    session_asked(session);
    link_asked(&channel->link);
    link_acknowledge(&channel->link, session->done);
    return 0;
}

/* Written where it is sent from. */

static int
try_reserve(struct mchan *channel, size_t size, void **data_out)
{
    const struct session *session = &channel->session;
    if (!session->sends) {
        return session_why_not(session);
    }
    if (size > session->message_max_agreed) {
        return -EMSGSIZE;
    }
    void *data = link_reserve(&channel->link, (uint32_t)size);
    if (!data) {
        return -EAGAIN;
    }
    channel->reserved.held = true;
    channel->reserved.size = (uint32_t)size;
    channel->reserved.attachment = session->attachment;
    channel->reserved.head = link_head(&channel->link);
    *data_out = data;
    return 0;
}

int
mchan_reserve(struct mchan *channel, size_t size, void **data_out)
{
    channel->reserved.held = false;
    int error = try_reserve(channel, size, data_out);
    if (error && error != -EMSGSIZE) {
        channel_turn(channel);
        error = try_reserve(channel, size, data_out);
    }
    return error;
}

/* Whether the room is still where it was. */
static bool
still_reserved(const struct mchan *channel)
{
    const struct reserved *reserved = &channel->reserved;
    return reserved->held && channel->session.sends &&
           reserved->attachment == channel->session.attachment &&
           reserved->head == link_head(&channel->link);
}

int
mchan_commit(struct mchan *channel, const struct mchan_msg *message)
{
    struct session *session = &channel->session;
    bool numbered = message->delivery == MCHAN_RELIABLE;
    bool valid = still_reserved(channel) &&
                 message->size <= channel->reserved.size &&
                 (numbered || message->delivery == MCHAN_DATAGRAM);
    channel->reserved.held = false;
    if (!valid) {
        return -EINVAL;
    }
    uint32_t size = (uint32_t)message->size;
    struct record record = {.size = size,
                            .kind = RECORD_DATAGRAM,
                            .tag = message->tag,
                            .attachment = session->attachment};
    if (numbered) {
        record = session_send(session, message->tag, size);
    }
    link_commit(&channel->link, &record, channel->reserved.size);
    (void)link_flush(&channel->link);
    channel->stats.n_sent++;
    channel->stats.bytes_sent += size;
    return 0;
}

void
mchan_abort(struct mchan *channel)
{
    channel->reserved.held = false;
}
