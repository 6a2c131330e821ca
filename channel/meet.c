/* SPDX-License-Identifier: Apache-2.0 */
/* How a channel comes to its peer: connecting when it is time, HELLO both ways,
 * and what an attachment begins with; and how long it waits for the memory of a
 * session that another end has.  Whom to try when and what to accept is
 * mgmtfront.c's and mgmtback.c's to decide.  Called by channel.c. */
#include "channel/channelparts.h"

#include <assert.h>
#include <errno.h>

#define HELLO_COPY_MAX 256 /* A longer HELLO is refused. */

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
        channel_failed(channel, now);
        return;
    }
    session_begin(&channel->session, link_message_max(link));
    channel->deadline = now + CHANNEL_HELLO_NS;
    if (!channel->listens) {
        int error = say_hello(channel);
        assert(!error); /* It is the first thing we say. */
    }
}

void
meet_connect(struct mchan *channel, nsec_t now)
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
        channel_break(channel, now, "the memory handed over is not as agreed");
    } else if (result < 0) {
        channel->deadline = NSEC_NEVER;
        channel_failed(channel, now);
    } else if (channel->listens) {
        mgmtback_wait(&channel->back);
    } else if (channel->deadline == NSEC_NEVER) {
        channel->deadline = now + CHANNEL_HELLO_NS;
    } else if (channel_is_due(&channel->deadline, &channel->again, now)) {
        channel->transport->class->drop(channel->transport);
        channel->deadline = NSEC_NEVER;
        channel_failed(channel, now);
    }
}

/* Meeting. */

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

void
meet_peer(struct mchan *channel, nsec_t now)
{
    struct link *link = &channel->link;
    (void)link_flush(link);
    const char *why = NULL;
    struct record record;
    int found = channel_attend(channel, &why);
    if (!found) {
        found = link_peek(link, &record, &why);
    }
    if (found == 1) {
        found = on_hello(channel, &record, &why);
    } else if (!found && channel_is_gone(channel)) {
        channel_end(channel);
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
        channel_break(channel, now, why);
    } else if (channel->session.state == SESSION_UP) {
        channel->stats.n_attachments++;
        channel->deadline = NSEC_NEVER;
        attached(channel);
        (void)link_flush(link);
        wait_for_handoff(channel, now);
    }
}

int
meet_give_up_handoff(struct mchan *channel, nsec_t now, const char **why)
{
    struct session *session = &channel->session;
    if (!session->claim.session || now < channel->handoff_until) {
        return 0;
    }
    if (!session_give_up(session)) {
        channel->handoff_until = INT64_MIN; /* If the guest does not hear it. */
        return 0;
    }
    channel->handoff_session = 0;
    session_refuse(session);
    *why = "messages of a session from elsewhere that are too large here";
    return -EPROTO;
}
