/* SPDX-License-Identifier: Apache-2.0 */
/* What may be said on a guest's channel and when.  HELLO first; then reports,
 * notices and beats; BYE last.  What makes no sense is refused, counted and
 * alarmed at a bounded rate, and the next good message is served; who speaks
 * out of turn or claims to be somebody else is not heard again until it
 * attaches anew.  Everything passed on is stamped with the VM the channel
 * belongs to and a cause number.  Relies on the table of rights for what it may
 * say at all, and on msg_decode() that all is in range; called by back.c. */
#include "broker/back/guest_session.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/text.h"
#include "model/name.h"
#include "wire/grant.h"

/* The fields that a report or notice and its stamped form share. */
#define COPY_EPOCH(to, from)                                                   \
    do {                                                                       \
        (to)->epoch = (from)->epoch;                                           \
        (to)->start_ns = (from)->start_ns;                                     \
        (to)->end_ns = (from)->end_ns;                                         \
        (to)->n_requests = (from)->n_requests;                                 \
        (to)->n_violations = (from)->n_violations;                             \
        (to)->threshold_us = (from)->threshold_us;                             \
        (to)->worst_us = (from)->worst_us;                                     \
        (to)->worst_end_ns = (from)->worst_end_ns;                             \
        (to)->seen_ns = (from)->seen_ns;                                       \
        (to)->sent_ns = (from)->sent_ns;                                       \
    } while (0)

#define STAMP(to, session, now)                                                \
    do {                                                                       \
        (to)->vm = (session)->identity.uuid;                                   \
        (to)->cause = cause_next((session)->port.causes);                      \
        (to)->received_ns = (now);                                             \
        (to)->offset_ns = (session)->beats.offset_ns;                          \
        (to)->offset_error_ns = (session)->beats.offset_error_ns;              \
    } while (0)

static const char too_often[] =
    "it comes and goes too often; it is heard again in some seconds";

static void on_no_hello(struct guest_session *, unsigned tag, nsec_t now);
static void on_hello(struct guest_session *, const struct msg_hello *,
                     nsec_t now);
static void on_beat(struct guest_session *, const struct msg_beat *,
                    nsec_t now);
static void on_report(struct guest_session *, const struct msg_report *,
                      nsec_t now);
static void on_notice(struct guest_session *, const struct msg_notice *,
                      nsec_t now);
static void on_note(struct guest_session *, const struct msg_note *,
                    nsec_t now);
static void on_bye(struct guest_session *, const struct msg_bye *, nsec_t now);

static const char *nonsense_in(uint64_t n_requests, uint64_t n_violations,
                               int64_t start_ns, int64_t end_ns);
static bool may_come(struct guest_session *, nsec_t now);
static bool revive(struct guest_session *, nsec_t now);
static void welcome(struct guest_session *);
static void tell_up(struct guest_session *, bool resumed, nsec_t now);
static void tell_lost(struct guest_session *, const char *reason, nsec_t now);
static void refuse(struct guest_session *, const char *reason, nsec_t now);
static void refuse_speaker(struct guest_session *, const char *reason,
                           nsec_t now);
static void tell_refused(struct guest_session *, const char *reason);
static void alarm_engine(struct guest_session *, nsec_t now);
static void tell_denied(struct guest_session *, nsec_t now);
static void to_agent(struct guest_session *, const struct msg *);
static nsec_t time_now(const struct guest_session *, nsec_t now);

void
guest_session_init(struct guest_session *session,
                   const struct discovery_identity *identity,
                   const char *domain, nsec_t beat_ns,
                   const struct guest_session_port *port)
{
    *session = (struct guest_session){.identity = *identity,
                                      .domain = domain,
                                      .beat_ns = beat_ns,
                                      .port = *port,
                                      .phase = GUEST_ABSENT,
                                      .quiet_until = INT64_MIN,
                                      .next_alarm = INT64_MIN,
                                      .next_denied = INT64_MIN,
                                      .next_over_alarm = INT64_MIN};
    session->beats.offset_error_ns = UINT64_MAX;
}

void
guest_session_attached(struct guest_session *session, nsec_t now)
{
    guest_session_detached(session, "somebody attached anew", now);
    session->phase = GUEST_GREETING;
    session->quiet_until = INT64_MIN;
    session->may_be_old = false;
    beats_start(&session->beats, session->beat_ns, now);
}

/* Who was established need not greet anew: his next word brings him back, as
 * after a silence.  From others that may come first which they said, and we did
 * not take, before they were told to greet. */
void
guest_session_resumed(struct guest_session *session, nsec_t now)
{
    guest_session_attached(session, now);
    session->may_be_old = true;
    session->n_old = 0;
    if (session->was_established) {
        session->phase = GUEST_SILENT;
    }
}

void
guest_session_suspended(struct guest_session *session, bool suspended,
                        nsec_t now)
{
    session->quiet_until = suspended ? now + GUEST_SESSION_QUIET_NS : INT64_MIN;
    beats_heard(&session->beats, now);
}

void
guest_session_detached(struct guest_session *session, const char *reason,
                       nsec_t now)
{
    if (session->phase != GUEST_ABSENT) {
        session->was_established = session->phase == GUEST_ESTABLISHED ||
                                   session->phase == GUEST_SILENT;
    }
    if (session->phase == GUEST_ESTABLISHED) {
        tell_lost(session, reason, now);
    }
    session->phase = GUEST_ABSENT;
}

void
guest_session_input(struct guest_session *session, unsigned tag,
                    const void *data, size_t size, nsec_t now)
{
    char why[MSG_WHY_SIZE];
    struct msg msg;

    session->n_messages++;
    if (session->phase == GUEST_ABSENT || session->phase == GUEST_REFUSED) {
        session->n_refused++;
        return;
    }
    bool greeting = session->phase == GUEST_GREETING;
    if (grant_check(tag, GRANT_AGENT, GRANT_BACK, size, why, sizeof why)) {
        refuse(session, why, now);
        return;
    }
    if (greeting && tag != MSG_HELLO) {
        on_no_hello(session, tag, now);
        return;
    }
    unsigned version =
        tag == MSG_HELLO ? MSG_VERSION_MIN : session->agent.version;
    if (msg_decode(&msg, tag, version, data, size, why, sizeof why)) {
        refuse(session, why, now);
        return;
    }
    session->may_be_old = false;
    beats_heard(&session->beats, now);
    if (tag == MSG_HELLO) {
        on_hello(session, &msg.hello, now);
        return;
    }
    if (!revive(session, now)) {
        return;
    }
    if (tag == MSG_BEAT) {
        on_beat(session, &msg.beat, now);
    } else if (tag == MSG_REPORT) {
        on_report(session, &msg.report, now);
    } else if (tag == MSG_NOTICE) {
        on_notice(session, &msg.notice, now);
    } else if (tag == MSG_NOTE) {
        on_note(session, &msg.note, now);
    } else {
        on_bye(session, &msg.bye, now);
    }
}

void
guest_session_misused(struct guest_session *session, const char *reason,
                      nsec_t now)
{
    refuse(session, reason, now);
}

void
guest_session_over(struct guest_session *session, unsigned tag,
                   const struct quota_config *quota, uint64_t n_denied,
                   uint64_t n_dropped, nsec_t now)
{
    struct msg_denied *denied = &session->denied;
    char reason[GUEST_SESSION_REASON_SIZE];

    if (session->phase != GUEST_ESTABLISHED && session->phase != GUEST_SILENT) {
        return;
    }
    beats_heard(&session->beats, now);
    if (n_denied == denied->n_denied && n_dropped == denied->n_dropped) {
        return; /* It waits, and nothing is lost yet. */
    }
    snprintf(reason, sizeof reason,
             "more than %" PRIu32 " messages or %" PRIu32
             " bytes a second, or more of %s than its right",
             quota->messages_per_second, quota->bytes_per_second,
             msg_name(tag));
    text_copy_printable(denied->reason, sizeof denied->reason, reason);
    denied->type = tag;
    denied->n_denied = n_denied;
    denied->n_dropped = n_dropped;
    session->denied_due = true;
    if (now >= session->next_denied) {
        tell_denied(session, now);
    }
    if (now >= session->next_over_alarm && !session->alarm_due) {
        session->next_over_alarm = now + GUEST_SESSION_OVER_NS;
        snprintf(session->alarm, sizeof session->alarm, "it said %.140s",
                 reason);
        session->alarm_due = true;
    }
}

void
guest_session_run(struct guest_session *session, nsec_t now)
{
    char reason[GUEST_SESSION_REASON_SIZE];

    if (session->phase == GUEST_ESTABLISHED && now >= session->quiet_until &&
        beats_look(&session->beats, now)) {
        snprintf(reason, sizeof reason, "nothing was heard for %d beats",
                 BEATS_MISSED_MAX);
        tell_lost(session, reason, now);
        session->phase = GUEST_SILENT;
    }
    if (session->alarm_due && now >= session->next_alarm) {
        alarm_engine(session, now);
    }
    if (session->denied_due && now >= session->next_denied) {
        tell_denied(session, now);
    }
}

nsec_t
guest_session_deadline(const struct guest_session *session)
{
    nsec_t deadline = session->alarm_due ? session->next_alarm : NSEC_NEVER;

    if (session->denied_due) {
        deadline = nsec_min(deadline, session->next_denied);
    }
    if (session->phase == GUEST_ESTABLISHED) {
        nsec_t beats = beats_deadline(&session->beats);

        deadline = nsec_min(deadline, beats > session->quiet_until
                                          ? beats
                                          : session->quiet_until);
    }
    return deadline;
}

void
guest_session_end(struct guest_session *session, const char *reason)
{
    struct msg msg = {.type = MSG_BYE};

    if (session->phase == GUEST_ESTABLISHED || session->phase == GUEST_SILENT) {
        text_copy_printable(msg.bye.reason, sizeof msg.bye.reason, reason);
        to_agent(session, &msg);
    }
    session->phase = GUEST_ABSENT;
}

/* What agents say. */

/* It may think that it need not greet, and is told once that it must. */
static void
on_no_hello(struct guest_session *session, unsigned tag, nsec_t now)
{
    char reason[GUEST_SESSION_REASON_SIZE];

    snprintf(reason, sizeof reason, "%s came before HELLO", msg_name(tag));
    if (!session->may_be_old) {
        refuse_speaker(session, reason, now);
        return;
    }
    if (!session->n_old++) {
        tell_refused(session, reason);
    }
    session->n_refused++;
}

/* A HELLO on an established channel is an agent that did not hear our answer,
 * or started anew: it gets the answer again. */
static void
on_hello(struct guest_session *session, const struct msg_hello *hello,
         nsec_t now)
{
    char why[MSG_WHY_SIZE];

    if (discovery_check(hello, &session->identity, &session->agent, why,
                        sizeof why)) {
        refuse_speaker(session, why, now);
        return;
    }
    bool established = session->phase == GUEST_ESTABLISHED;
    if (!established && !may_come(session, now)) {
        session->phase = GUEST_GREETING; /* It may say HELLO again. */
        tell_refused(session, too_often);
        refuse(session, too_often, now);
        return;
    }
    session->phase = GUEST_ESTABLISHED;
    welcome(session);
    if (!established) {
        beats_start(&session->beats, session->beat_ns, now);
        tell_up(session, false, now);
    }
}

static void
on_beat(struct guest_session *session, const struct msg_beat *beat, nsec_t now)
{
    struct msg reply = {.type = MSG_BEAT_REPLY};
    nsec_t received = time_now(session, now);

    beats_reply(&session->beats, beat, received, time_now(session, now),
                &reply.beat_reply);
    to_agent(session, &reply);
}

static void
on_report(struct guest_session *session, const struct msg_report *report,
          nsec_t now)
{
    struct msg msg = {.type = MSG_GUEST_REPORT};
    const char *nonsense = nonsense_in(report->n_requests, report->n_violations,
                                       report->start_ns, report->end_ns);

    if (nonsense) {
        refuse(session, nonsense, now);
        return;
    }
    COPY_EPOCH(&msg.guest_report, report);
    msg.guest_report.util_permille = report->util_permille;
    msg.guest_report.n_refused = report->n_refused;
    STAMP(&msg.guest_report, session, time_now(session, now));
    session->port.event(session->port.ctx, &msg);
}

static void
on_notice(struct guest_session *session, const struct msg_notice *notice,
          nsec_t now)
{
    struct msg msg = {.type = MSG_GUEST_NOTICE};
    const char *nonsense = nonsense_in(notice->n_requests, notice->n_violations,
                                       notice->start_ns, notice->end_ns);

    if (nonsense) {
        refuse(session, nonsense, now);
        return;
    }
    COPY_EPOCH(&msg.guest_notice, notice);
    msg.guest_notice.tolerated_permille = notice->tolerated_permille;
    STAMP(&msg.guest_notice, session, time_now(session, now));
    session->port.event(session->port.ctx, &msg);
}

/* Whatever its bytes are: only who asked for the type knows. */
static void
on_note(struct guest_session *session, const struct msg_note *note, nsec_t now)
{
    struct msg msg = {.type = MSG_GUEST_NOTE};
    struct msg_guest_note *out = &msg.guest_note;

    memcpy(out->type, note->type, sizeof out->type);
    out->n_bytes = note->n_bytes;
    memcpy(out->bytes, note->bytes, note->n_bytes);
    out->number = note->number;
    out->made_ns = note->made_ns;
    out->sent_ns = note->sent_ns;
    STAMP(out, session, time_now(session, now));
    session->port.event(session->port.ctx, &msg);
}

static void
on_bye(struct guest_session *session, const struct msg_bye *bye, nsec_t now)
{
    char reason[GUEST_SESSION_REASON_SIZE];

    snprintf(reason, sizeof reason, "bye: %.155s", bye->reason);
    tell_lost(session, reason, now);
    session->phase = GUEST_GREETING;
}

/* Numbers in range that can't be true together. */
static const char *
nonsense_in(uint64_t n_requests, uint64_t n_violations, int64_t start_ns,
            int64_t end_ns)
{
    if (n_violations > n_requests) {
        return "an epoch of more violations than requests";
    }
    if (end_ns < start_ns) {
        return "an epoch that ends before it starts";
    }
    return NULL;
}

/* What we say. */

static bool
may_come(struct guest_session *session, nsec_t now)
{
    nsec_t since = session->comings > now ? session->comings : now;

    if (since - now >
        (GUEST_SESSION_COMINGS_MAX - 1) * GUEST_SESSION_COMING_NS) {
        return false;
    }
    session->comings = since + GUEST_SESSION_COMING_NS;
    return true;
}

/* A silent agent that speaks again was only slow, and need not greet anew.
 * Returns whether it is heard. */
static bool
revive(struct guest_session *session, nsec_t now)
{
    if (session->phase != GUEST_SILENT) {
        return true;
    }
    if (!may_come(session, now)) {
        refuse(session, too_often, now);
        return false;
    }
    session->phase = GUEST_ESTABLISHED;
    tell_up(session, true, now);
    return true;
}

static void
welcome(struct guest_session *session)
{
    struct msg msg = {.type = MSG_WELCOME};
    char name[NAME_TEXT_SIZE];

    name_of_vm(session->domain, &session->identity.uuid, NAME_AGENT, name);
    msg.welcome.version = session->agent.version;
    text_copy_printable(msg.welcome.name, sizeof msg.welcome.name, name);
    msg.welcome.beat_ms = (uint64_t)(session->beat_ns / NSEC_PER_MSEC);
    to_agent(session, &msg);
}

static void
tell_up(struct guest_session *session, bool resumed, nsec_t now)
{
    struct msg msg = {.type = MSG_GUEST_UP};
    const struct msg_hello *hello = &session->agent.hello;

    STAMP(&msg.guest_up, session, time_now(session, now));
    text_copy_printable(msg.guest_up.name, sizeof msg.guest_up.name,
                        session->identity.name);
    text_copy_printable(msg.guest_up.software, sizeof msg.guest_up.software,
                        hello->software);
    msg.guest_up.n_offers = hello->n_offers;
    memcpy(msg.guest_up.offers, hello->offers, sizeof msg.guest_up.offers);
    msg.guest_up.resumed = resumed;
    session->port.event(session->port.ctx, &msg);
}

static void
tell_lost(struct guest_session *session, const char *reason, nsec_t now)
{
    struct msg msg = {.type = MSG_GUEST_LOST};

    session->n_lost++;
    STAMP(&msg.guest_lost, session, time_now(session, now));
    text_copy_printable(msg.guest_lost.reason, sizeof msg.guest_lost.reason,
                        reason);
    session->port.event(session->port.ctx, &msg);
}

/* What we do not hear. */

/* One message is not heard; the next one may be. */
static void
refuse(struct guest_session *session, const char *reason, nsec_t now)
{
    session->n_refused++;
    if (!session->alarm_due) {
        /* The first since the last alarm; others may only come of it. */
        text_copy_printable(session->alarm, sizeof session->alarm, reason);
    }
    session->alarm_due = true;
    if (now >= session->next_alarm) {
        alarm_engine(session, now);
    }
}

/* Nor is anything after it. */
static void
refuse_speaker(struct guest_session *session, const char *reason, nsec_t now)
{
    if (session->phase == GUEST_ESTABLISHED) {
        tell_lost(session, reason, now);
    }
    session->phase = GUEST_REFUSED;
    tell_refused(session, reason);
    refuse(session, reason, now);
}

static void
tell_refused(struct guest_session *session, const char *reason)
{
    struct msg msg = {.type = MSG_REFUSED};

    text_copy_printable(msg.refused.reason, sizeof msg.refused.reason, reason);
    to_agent(session, &msg);
}

static void
alarm_engine(struct guest_session *session, nsec_t now)
{
    struct msg msg = {.type = MSG_GUEST_ALARM};

    session->alarm_due = false;
    session->next_alarm = now + GUEST_SESSION_ALARM_NS;
    STAMP(&msg.guest_alarm, session, time_now(session, now));
    text_copy_printable(msg.guest_alarm.reason, sizeof msg.guest_alarm.reason,
                        session->alarm);
    msg.guest_alarm.n_refused = session->n_refused;
    session->port.event(session->port.ctx, &msg);
}

/* Who speaks an older version has no word for it. */
static void
tell_denied(struct guest_session *session, nsec_t now)
{
    struct msg msg = {.type = MSG_DENIED, .denied = session->denied};

    session->denied_due = false;
    session->next_denied = now + GUEST_SESSION_DENIED_NS;
    if (session->agent.version >= msg_since(MSG_DENIED)) {
        to_agent(session, &msg);
    }
}

static void
to_agent(struct guest_session *session, const struct msg *msg)
{
    unsigned version =
        session->agent.version ? session->agent.version : MSG_VERSION_MIN;

    if (session->port.to_agent(session->port.ctx, msg, version)) {
        session->n_dropped_replies++;
    }
}

static nsec_t
time_now(const struct guest_session *session, nsec_t now)
{
    return session->port.clock ? session->port.clock() : now;
}
