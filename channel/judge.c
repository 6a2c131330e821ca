/* SPDX-License-Identifier: Apache-2.0 */
/* What the link brought, one record after the other: messages are left for the
 * user once they are checked, all else (goodbye, what won't come, what the peer
 * says of itself or of the session) is taken here and told to session.c.
 * Nothing a peer writes gets past this but a message that must come next.
 * Called by channel.c, and by the door between two turns. */
#include "channel/channelparts.h"

#include <errno.h>

/* Takes BYE off the link.  1 when the peer said it. */
static int
take_bye(struct mchan *channel, const struct record *record, const char **why)
{
    uint8_t data[BYE_SIZE];
    if (record->kind != RECORD_BYE) {
        *why = "HELLO again";
        return -EPROTO;
    }
    if (record->size != sizeof data) {
        *why = "BYE of a wrong size";
        return -EPROTO;
    }
    link_take(&channel->link, record, data);
    int error = session_bye(&channel->session, frame_u64(data), why);
    return error ? error : 1;
}

/* The peer's messages that won't come. */
static int
take_skip(struct mchan *channel, const struct record *record, const char **why)
{
    uint8_t data[SKIP_SIZE];
    if (record->size != sizeof data) {
        *why = "SKIP of a wrong size";
        return -EPROTO;
    }
    link_take(&channel->link, record, data);
    int error =
        session_skipped(&channel->session, record, frame_u64(data), why);
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
    if (!error && channel->listens) {
        error = session_heard(&channel->session, record, &settled, why);
        channel->handoff_session = 0;
    } else if (!error) {
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

int
judge_next(struct mchan *channel, const char **why)
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
