/* SPDX-License-Identifier: Apache-2.0 */
/* Speaks with the broker over a channel that comes and goes.  The channel
 * reconnects by itself.  An MCHAN_UP starts the conversation anew with HELLO,
 * since the broker may be another one; only if the channel's session is resumed
 * after we were welcomed, the conversation goes on too.  Nothing that the
 * broker says can make the agent stop: a refusal is told to people and tried
 * again, ever less often; a message that is none is counted.
 *
 * What can't be sent now waits here and not in the channel: the notice of the
 * last epoch, which goes first, the last few reports, and applications' notes,
 * which go last. */
#include "agent/dialog.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "base/text.h"
#include "include/mchan.h"

/* What NOTE takes besides its bytes, at most. */
#define NOTE_OVERHEAD 128

static void read_events(struct dialog *, nsec_t now);
static void read_messages(struct dialog *, nsec_t now);
static bool send_hello(struct dialog *, nsec_t now);
static bool send_notice(struct dialog *);
static bool send_report(struct dialog *);
static bool send_beat(struct dialog *, nsec_t now);
static void send_notes(struct dialog *, nsec_t now);
static bool takes_notes(const struct dialog *);

void
dialog_init(struct dialog *d, struct mchan *channel,
            const struct agent_env *env, const struct agent_config *config,
            const struct sla_terms *terms, nsec_t now)
{
    /* The buffer is left alone, so that no page of it is touched unused. */
    memset(d, 0, offsetof(struct dialog, buffer));
    d->channel = channel;
    d->env = env;
    d->terms = terms;
    d->ready = true;
    d->retry = DIALOG_RETRY_MIN;
    notebox_init(&d->notes, now);
    d->hello.version_min = MSG_VERSION_MIN;
    d->hello.version_max = MSG_VERSION_MAX;
    text_copy(d->hello.software, sizeof d->hello.software, config->software);
    text_copy(d->hello.claims, sizeof d->hello.claims, config->claims);
}

void
dialog_fini(struct dialog *d)
{
    dialog_stop(d, "the agent ends");
    mchan_close(d->channel);
    d->channel = NULL;
    notebox_fini(&d->notes);
}

void
dialog_offer(struct dialog *d, const char *name)
{
    size_t max = sizeof d->hello.offers / sizeof d->hello.offers[0];

    if (d->hello.n_offers < max) {
        text_copy(d->hello.offers[d->hello.n_offers++],
                  sizeof d->hello.offers[0], name);
    }
}

void
dialog_read(struct dialog *d, nsec_t now)
{
    if (!d->ready && mchan_deadline(d->channel) > now) {
        return;
    }
    d->ready = false;
    read_events(d, now);
    read_messages(d, now);
}

void
dialog_add_epoch(struct dialog *d, const struct dialog_epoch *epoch)
{
    unsigned slot;

    if (epoch->result.violated) {
        d->notice_due = true;
        d->notice = epoch->result;
    }
    if (d->n_kept == AGENT_REPORTS_KEPT) {
        d->first_kept = (d->first_kept + 1) % AGENT_REPORTS_KEPT;
        d->n_kept--;
        d->n_reports_lost++;
    }
    slot = (d->first_kept + d->n_kept++) % AGENT_REPORTS_KEPT;
    d->kept[slot] = *epoch;
}

void
dialog_write(struct dialog *d, nsec_t now)
{
    if (now > d->notice.end + d->terms->epoch_ns) {
        d->notice_due = false; /* It asked for something to be done then. */
    }
    d->full = false;
    if (d->state == DIALOG_GREETING && now >= d->hello_at) {
        send_hello(d, now);
    }
    if (d->state != DIALOG_ESTABLISHED) {
        return;
    }
    if (d->notice_due && !send_notice(d)) {
        return;
    }
    while (d->n_kept) {
        if (!send_report(d)) {
            return;
        }
    }
    if (now >= d->beat_at && !d->suspended && !send_beat(d, now)) {
        return;
    }
    send_notes(d, now);
}

nsec_t
dialog_deadline(const struct dialog *d, nsec_t now)
{
    nsec_t deadline = mchan_deadline(d->channel);

    if (d->ready) {
        return now;
    }
    if (d->full) {
        return deadline;
    }
    if (d->state == DIALOG_GREETING) {
        deadline = nsec_min(deadline, d->hello_at);
    } else if (d->state == DIALOG_ESTABLISHED && !d->suspended) {
        deadline = nsec_min(deadline, d->beat_at);
        if (takes_notes(d)) {
            deadline = nsec_min(deadline, notebox_deadline(&d->notes));
        }
    }
    return deadline;
}

bool
dialog_arm(struct dialog *d)
{
    unsigned what = MCHAN_READABLE | (d->full ? MCHAN_WRITABLE : 0);

    if (mchan_arm(d->channel, what) > 0) {
        d->ready = true;
    }
    return d->ready;
}

/* Sending */

/* False if the channel did not take it; then the turn says nothing more. */
static bool
send_msg(struct dialog *d, const struct msg *msg)
{
    uint8_t data[MSG_SIZE_MAX];
    char why[MSG_WHY_SIZE] = "";
    unsigned version = d->version ? d->version : MSG_VERSION_MIN;
    ssize_t size = msg_encode(msg, version, data, sizeof data, why, sizeof why);
    struct mchan_msg out = {
        .data = data, .tag = (uint16_t)msg->type, .delivery = MCHAN_RELIABLE};
    int error;

    /* Whatever probes and broker gave us was bounded before it came here. */
    assert(size > 0);
    out.size = (size_t)size;
    error = mchan_send(d->channel, &out);
    /* Whatever the reason, it is tried again in a later turn; if the channel is
     * lost, an event says so before that. */
    d->full = error != 0;
    return !error;
}

static bool
send_hello(struct dialog *d, nsec_t now)
{
    struct msg msg = {.type = MSG_HELLO, .hello = d->hello};

    msg.hello.time_ns = d->env->now(d->env->ctx);
    d->version = 0;
    if (!send_msg(d, &msg)) {
        return false;
    }
    d->hello_at = now + DIALOG_ANSWER_MAX;
    return true;
}

/* Writes what REPORT and NOTICE have in common: FIELDS_EPOCH, which both begin
 * with, so that either may be read through the other. */
static void
put_epoch(const struct dialog *d, const struct sla_result *result,
          struct msg *msg)
{
    struct msg_report *out = &msg->report;

    static_assert(offsetof(struct msg_report, sent_ns) ==
                      offsetof(struct msg_notice, sent_ns),
                  "REPORT and NOTICE begin with FIELDS_EPOCH");
    memset(msg, 0, sizeof *msg);
    out->epoch = result->number;
    out->start_ns = result->start;
    out->end_ns = result->end;
    out->n_requests = result->n_requests;
    out->n_violations = result->n_violations;
    out->threshold_us = d->terms->threshold_us;
    out->worst_us = result->worst_us;
    out->worst_end_ns = result->worst_ended;
    out->seen_ns = result->last_seen;
    out->sent_ns = d->env->now(d->env->ctx);
}

static bool
send_notice(struct dialog *d)
{
    struct msg msg;

    put_epoch(d, &d->notice, &msg);
    msg.type = MSG_NOTICE;
    msg.notice.tolerated_permille = d->terms->tolerated_permille;
    if (!send_msg(d, &msg)) {
        return false;
    }
    d->notice_due = false;
    d->n_notices++;
    return true;
}

static bool
send_report(struct dialog *d)
{
    const struct dialog_epoch *epoch = &d->kept[d->first_kept];
    struct msg msg;

    put_epoch(d, &epoch->result, &msg);
    msg.type = MSG_REPORT;
    msg.report.util_permille = epoch->util_permille;
    msg.report.n_refused = epoch->n_refused;
    if (!send_msg(d, &msg)) {
        return false;
    }
    d->first_kept = (d->first_kept + 1) % AGENT_REPORTS_KEPT;
    d->n_kept--;
    d->n_reports++;
    return true;
}

static bool
send_beat(struct dialog *d, nsec_t now)
{
    struct msg msg = {.type = MSG_BEAT};
    struct beatlog before = d->beats;

    beatlog_offset(&d->beats, &msg.beat.offset_ns, &msg.beat.offset_error_ns);
    msg.beat.origin_ns = d->env->now(d->env->ctx);
    msg.beat.number = beatlog_send(&d->beats, msg.beat.origin_ns);
    if (!send_msg(d, &msg)) {
        d->beats = before;
        return false;
    }
    d->n_beats++;
    d->beat_at = now + d->beat_period;
    if (d->beats.n_unanswered > DIALOG_SILENT_BEATS && !d->told_silent) {
        d->told_silent = true;
        dialog_say(d, LOG_LEVEL_WARN,
                   "the broker has not answered %d beats; goes on measuring",
                   DIALOG_SILENT_BEATS);
    }
    return true;
}

static bool
takes_notes(const struct dialog *d)
{
    return d->version >= msg_since(MSG_NOTE);
}

static void
tell_old(struct dialog *d)
{
    if (d->notes.n && !d->told_old) {
        d->told_old = true;
        dialog_say(d, LOG_LEVEL_WARN,
                   "the broker speaks version %u of the protocol, which has no "
                   "notes; keeps up to %d",
                   d->version, NOTEBOX_MAX);
    }
}

static void
send_notes(struct dialog *d, nsec_t now)
{
    size_t max = mchan_message_max(d->channel);
    struct msg msg;

    if (!takes_notes(d)) {
        tell_old(d);
        return;
    }
    while (notebox_next(&d->notes, now, &msg.note)) {
        if (msg.note.n_bytes + NOTE_OVERHEAD > max) {
            dialog_say(d, LOG_LEVEL_WARN,
                       "a note of %" PRIu32 " bytes (%s) does not fit this "
                       "channel, whose messages have at most %zu; it is lost",
                       msg.note.n_bytes, msg.note.type, max);
            notebox_drop(&d->notes);
            continue;
        }
        msg.type = MSG_NOTE;
        msg.note.sent_ns = d->env->now(d->env->ctx);
        if (!send_msg(d, &msg)) {
            return;
        }
        notebox_given(&d->notes);
    }
}

void
dialog_stop(struct dialog *d, const char *reason)
{
    struct msg msg = {.type = MSG_BYE};
    bool spoke = d->state == DIALOG_GREETING || d->state == DIALOG_ESTABLISHED;

    d->state = DIALOG_STOPPED;
    if (spoke) {
        text_copy(msg.bye.reason, sizeof msg.bye.reason, reason);
        send_msg(d, &msg);
    }
}

/* Receiving */

static void
greet(struct dialog *d, nsec_t now)
{
    d->state = DIALOG_GREETING;
    d->hello_at = now > d->retry_at ? now : d->retry_at;
    d->told_silent = false;
    beatlog_init(&d->beats);
}

/* The same broker, which remembers us; and nothing that either said is lost. */
static void
go_on(struct dialog *d, nsec_t now)
{
    d->state = DIALOG_ESTABLISHED;
    d->beat_at = now; /* It waits for a word of ours. */
    d->told_silent = false;
    dialog_say(d, LOG_LEVEL_INFO, "the broker is back");
}

/* Waits before the next HELLO, each time longer. */
static void
back_off(struct dialog *d, nsec_t now)
{
    d->retry_at = now + d->retry;
    d->retry = nsec_min(d->retry * 2, DIALOG_RETRY_MAX);
    greet(d, now);
}

static void
on_event(struct dialog *d, const struct mchan_event *event, nsec_t now)
{
    bool spoke = d->state == DIALOG_GREETING || d->state == DIALOG_ESTABLISHED;

    switch (event->type) {
    case MCHAN_UP:
        d->n_stale = event->resumed ? d->beats.n_unanswered : 0;
        if (event->resumed && d->goes_on) {
            go_on(d, now);
        } else {
            greet(d, now);
        }
        d->goes_on = d->suspended = false;
        break;
    case MCHAN_PEER_LOST:
    case MCHAN_PROTO_ERROR:
        if (spoke) {
            d->goes_on = d->state == DIALOG_ESTABLISHED;
            dialog_say(d, LOG_LEVEL_WARN,
                       "lost the broker: %s; goes on measuring", event->reason);
        }
        d->state = DIALOG_AWAY;
        break;
    case MCHAN_STRANGER:
        break;
    case MCHAN_SUSPENDING:
        d->suspended = true;
        break;
    case MCHAN_RESUMED:
        d->n_stale = d->beats.n_unanswered;
        beatlog_init(&d->beats); /* Perhaps another MVM, another clock. */
        d->suspended = d->told_silent = false;
        d->beat_at = now;
        break;
    case MCHAN_GAP:
        break; /* Beats are asked again, and the rest starts with UP. */
    case MCHAN_DROPPED:
        dialog_say(d, LOG_LEVEL_WARN,
                   "the channel dropped messages %" PRIu64 " to %" PRIu64,
                   event->from, event->to);
        break;
    }
}

static void
read_events(struct dialog *d, nsec_t now)
{
    struct mchan_event event;

    for (unsigned i = 0; i < AGENT_MESSAGES_PER_TURN; i++) {
        if (mchan_next_event(d->channel, &event) <= 0) {
            return;
        }
        if (d->state != DIALOG_STOPPED) {
            on_event(d, &event, now);
        }
    }
    d->ready = true;
}

static void
on_welcome(struct dialog *d, const struct msg_welcome *welcome, nsec_t now)
{
    if (d->state != DIALOG_GREETING) {
        return;
    }
    if (welcome->version < MSG_VERSION_MIN ||
        welcome->version > MSG_VERSION_MAX) {
        dialog_say(d, LOG_LEVEL_ERROR,
                   "the broker wants protocol version %" PRIu64
                   ", we speak %d to %d; tries again",
                   welcome->version, MSG_VERSION_MIN, MSG_VERSION_MAX);
        back_off(d, now);
        return;
    }
    d->state = DIALOG_ESTABLISHED;
    notebox_again(&d->notes); /* It knows nothing of us. */
    d->version = (unsigned)welcome->version;
    d->beat_period = (nsec_t)welcome->beat_ms * NSEC_PER_MSEC;
    d->beat_at = now;
    d->retry = DIALOG_RETRY_MIN;
    d->retry_at = 0;
    dialog_say(d, LOG_LEVEL_INFO, "welcomed as %s, a beat each %" PRIu64 " ms",
               welcome->name, welcome->beat_ms);
}

/* Counts a message that is none, and tells the first, second, fourth, … */
static void
doubt(struct dialog *d, const char *what, const char *why)
{
    d->n_proto_errors++;
    if (!(d->n_proto_errors & (d->n_proto_errors - 1))) {
        dialog_say(d, LOG_LEVEL_WARN, "message %" PRIu64 " refused: %s%s",
                   d->n_proto_errors, what, why);
    }
}

static void
on_beat_reply(struct dialog *d, const struct msg_beat_reply *reply, nsec_t now)
{
    uint64_t error_ns;
    int64_t offset_ns;

    beatlog_offset(&d->beats, &offset_ns, &error_ns);
    if (!beatlog_answer(&d->beats, reply->number, reply->origin_ns,
                        reply->receive_ns, reply->transmit_ns,
                        d->env->now(d->env->ctx))) {
        if (d->n_stale) {
            d->n_stale--;
            return;
        }
        doubt(d, "BEAT_REPLY answers no beat of ours", "");
        return;
    }
    d->told_silent = false;
    if (error_ns == BEATLOG_ERROR_UNKNOWN) {
        d->beat_at = now; /* The broker is to know at once what we do now. */
    }
}

/* What was not heard is not said again: it would be as much too much.  People
 * are told of the first, second, fourth, … time. */
static void
on_denied(struct dialog *d, const struct msg_denied *denied)
{
    d->n_denied++;
    if (!(d->n_denied & (d->n_denied - 1))) {
        dialog_say(d, LOG_LEVEL_WARN,
                   "the broker did not hear all: %s; of this VM it refused "
                   "%" PRIu64 " requests and dropped %" PRIu64 " reports or "
                   "notes so far",
                   denied->reason, denied->n_denied, denied->n_dropped);
    }
}

static void
on_message(struct dialog *d, const struct msg *msg, nsec_t now)
{
    switch ((int)msg->type) {
    case MSG_WELCOME:
        on_welcome(d, &msg->welcome, now);
        break;
    case MSG_REFUSED:
        dialog_say(d, LOG_LEVEL_ERROR,
                   "the broker refuses us: %s; asks again in %d s",
                   msg->refused.reason, (int)(d->retry / NSEC_PER_SEC));
        back_off(d, now);
        break;
    case MSG_BYE:
        dialog_say(d, LOG_LEVEL_WARN,
                   "the broker says goodbye: %s; goes on measuring",
                   msg->bye.reason);
        back_off(d, now);
        break;
    case MSG_BEAT_REPLY:
        on_beat_reply(d, &msg->beat_reply, now);
        break;
    case MSG_DENIED:
        on_denied(d, &msg->denied);
        break;
    default:
        doubt(d, msg_name(msg->type), " is not for agents");
    }
}

/* By the table of rights, which bounds the broker as well as us. */
static bool
may_be_heard(struct dialog *d, unsigned type, size_t size, nsec_t now,
             char *why, size_t why_size)
{
    const struct grant *grant = grant_find(type, GRANT_BACK, GRANT_AGENT);

    if (grant_check(type, GRANT_BACK, GRANT_AGENT, size, why, why_size)) {
        return false;
    }
    if (grant_wait(&d->heard, grant, now)) {
        snprintf(why, why_size, "%s comes more than %" PRIu32 " times a second",
                 msg_name(type), grant->terms.rate);
        return false;
    }
    grant_charge(&d->heard, grant, now);
    return true;
}

static void
read_messages(struct dialog *d, nsec_t now)
{
    char why[MSG_WHY_SIZE] = "";
    struct mchan_info info;
    struct msg msg;

    for (unsigned i = 0; i < AGENT_MESSAGES_PER_TURN; i++) {
        ssize_t size =
            mchan_recv(d->channel, d->buffer, sizeof d->buffer, &info);

        if (size < 0) {
            return;
        }
        if (d->state == DIALOG_AWAY || d->state == DIALOG_STOPPED) {
            /* Its last words; they may be that we are not welcome. */
            d->goes_on &= info.tag != MSG_REFUSED && info.tag != MSG_BYE;
            continue;
        }
        if (!may_be_heard(d, info.tag, (size_t)size, now, why, sizeof why) ||
            msg_decode(&msg, info.tag, d->version ? d->version : 1, d->buffer,
                       (size_t)size, why, sizeof why)) {
            doubt(d, "", why);
        } else {
            on_message(d, &msg, now);
        }
    }
    d->ready = true;
}

void
dialog_say(const struct dialog *d, enum log_level level, const char *format,
           ...)
{
    char line[320];
    va_list args;

    if (!d->env->say) {
        return;
    }
    va_start(args, format);
    vsnprintf(line, sizeof line, format, args);
    va_end(args);
    d->env->say(d->env->ctx, level, line);
}
