/* SPDX-License-Identifier: Apache-2.0 */
/* The host's power cap as the engine has it: who ordered what, in the journal
 * on disk before the platform hears of it; how it stands, as the platform says;
 * and, after a start, what became of an order that the last broker sent and
 * never saw answered.  No order is taken before that is known.  While a cap
 * can't be confirmed the arbiter holds all p-states slow, as the platform does.
 * Relies on model/cap.h for the fence; called by engine.c, engine_note.c and
 * engine_act.c. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/text.h"
#include "broker/engine/engine_parts.h"

#define ROW_NAME "SET_CAP"

static void
subject_of(const struct engine *engine, char out[NAME_TEXT_SIZE])
{
    name_of_host(engine->config->domain, engine->config->host_id, NAME_POWER, 0,
                 out);
}

/* Start. */

struct left {
    uint64_t command;
    bool answered;
};

static void
find_outcome(void *ctx, const struct journal_row *row)
{
    struct left *left = ctx;

    left->answered |=
        row->kind == JOURNAL_OUTCOME && row->command == left->command;
}

/* A number of a row's detail, which jsonline wrote; 0 if it has none. */
static uint64_t
detail_number(const char *detail, const char *key)
{
    char quoted[32];

    snprintf(quoted, sizeof quoted, "\"%s\":", key);
    const char *at = strstr(detail, quoted);
    return at ? strtoull(at + strlen(quoted), NULL, 10) : 0;
}

void
engine_recall_cap(struct engine *engine)
{
    struct engine_cap *cap = &engine->cap;
    struct journal_row row;

    if (!engine->config->cap ||
        journal_last(engine->journal, ROW_NAME, &row) <= 0) {
        return;
    }
    struct left left = {.command = row.command};
    cap->term = detail_number(row.detail, "term");
    cap->order = detail_number(row.detail, "order");
    int n = journal_trace(engine->journal, row.cause, find_outcome, &left);
    if (n > 0 && !left.answered) {
        cap->left_command = row.command;
        cap->left_cause = row.cause;
    }
}

/* What the last broker sent was carried out, or it never will be: the platform
 * takes no order that it did not write down, and knows which was the last. */
static void
reconcile(struct engine *engine, const struct msg_cap *msg, nsec_t now)
{
    struct engine_cap *cap = &engine->cap;
    char subject[NAME_TEXT_SIZE];
    struct jsonline line;

    if (!cap->left_command) {
        return;
    }
    bool taken = msg->command == cap->left_command;
    subject_of(engine, subject);
    engine_detail(engine, &line);
    jsonline_uint(&line, "error", taken ? 0 : ECANCELED);
    jsonline_bool(&line, "reconciled", true);
    jsonline_text(&line, "phase", cap_phase_name((enum cap_phase)msg->phase));
    if (!taken) {
        jsonline_text(&line, "reason",
                      "the broker stopped before it was carried out");
    }
    engine_record(engine, JOURNAL_OUTCOME, cap->left_cause, cap->left_command,
                  subject, "OUTCOME", &line, now);
    cap->left_command = 0;
}

/* How it stands. */

static void
record_state(struct engine *engine, uint64_t cause, nsec_t now)
{
    const struct power_cap *cap = &engine->host.cap;
    char subject[NAME_TEXT_SIZE];
    struct jsonline line;

    subject_of(engine, subject);
    engine_detail(engine, &line);
    jsonline_text(&line, "phase", cap_phase_name(cap->phase));
    jsonline_uint(&line, "mw", cap->mw);
    if (cap->known) {
        jsonline_uint(&line, "read_mw", cap->read_mw);
    }
    jsonline_bool(&line, "safe", cap->safe);
    jsonline_uint(&line, "term", cap->term);
    jsonline_uint(&line, "order", cap->order);
    if (cap->reason[0]) {
        jsonline_text(&line, "reason", cap->reason);
    }
    engine_record(engine, JOURNAL_EVENT, cause, 0, subject, "CAP", &line, now);
}

/* As slow as the configuration allows; the arbiter knows each domain's end. */
static void
clamp(struct engine *engine, bool on, uint64_t cause, nsec_t now)
{
    char subject[NAME_TEXT_SIZE], words[160];

    arbiter_clamp(engine->arbiter, on, engine->config->pstate_max, cause);
    if (!on) {
        return;
    }
    engine->counts.n_alarms++;
    subject_of(engine, subject);
    snprintf(words, sizeof words,
             "the cap is not confirmed, so p-states are "
             "clamped: %.90s",
             engine->host.cap.reason);
    engine_record_words(engine, "CAP_CLAMPED", cause, true, subject, words,
                        now);
}

void
engine_on_cap(struct engine *engine, const struct msg_cap *msg, nsec_t now)
{
    struct power_cap *cap = &engine->host.cap;
    enum cap_phase was = cap->phase;
    bool was_safe = cap->safe;
    uint64_t was_mw = cap->mw;

    reconcile(engine, msg, now);
    cap->phase = (enum cap_phase)msg->phase;
    cap->mw = msg->mw;
    cap->read_mw = msg->read_mw;
    cap->known = msg->known;
    cap->safe = msg->safe;
    cap->term = msg->term;
    cap->order = msg->order;
    cap->command = msg->command;
    cap->until = msg->until_ns;
    cap->low_mw = msg->low_mw;
    cap->high_mw = msg->high_mw;
    text_copy(cap->reason, sizeof cap->reason, msg->reason);
    engine->cap.known = true;
    if (cap->phase != was || cap->safe != was_safe || cap->mw != was_mw) {
        uint64_t cause = cause_next(&engine->causes);

        record_state(engine, cause, now);
        if (cap->phase == CAP_CLAMPED && was != CAP_CLAMPED) {
            clamp(engine, true, cause, now);
        } else if (cap->phase == CAP_CONFIRMED) {
            clamp(engine, false, cause, now);
        }
    }
    if (engine->host.power.quality == QUALITY_ASSUMED) {
        engine_assume_power(engine, &engine->host.power, now);
    }
}

void
engine_assume_power(const struct engine *engine, struct power_reading *power,
                    nsec_t now)
{
    const struct power_cap *cap = &engine->host.cap;

    if (!engine->config->cap) {
        return; /* No budget, no guess. */
    }
    power->quality = QUALITY_ASSUMED;
    power->power_mw =
        cap->phase == CAP_CONFIRMED ? cap->mw : engine->config->budget_max_mw;
    power->time = now;
    text_copy(power->source, sizeof power->source, "budget");
}

/* Orders. */

static int
check_order(const struct engine *engine, uint64_t term, uint64_t order,
            char *why, size_t why_size)
{
    const struct engine_cap *last = &engine->cap;
    int error = cap_fence(last->term, last->order, term, order);

    if (error == -ESTALE) {
        snprintf(why, why_size,
                 "term %" PRIu64 " is over: term %" PRIu64 " decides", term,
                 last->term);
    } else if (error) {
        snprintf(why, why_size,
                 "order %" PRIu64 " of term %" PRIu64
                 " was taken already; the last was %" PRIu64,
                 order, term, last->order);
    }
    return error;
}

static int
check_state(const struct engine *engine, char *why, size_t why_size)
{
    if (!engine->config->cap) {
        snprintf(why, why_size, "the configuration names no driver for a cap");
        return -ENODEV;
    }
    if (engine->read_only) {
        snprintf(why, why_size, "the journal fails, so nothing is changed");
        return -EROFS;
    }
    if (!engine->ready || !engine->cap.known ||
        (engine->host.cap.phase == CAP_SETTLING && !engine->cap.command)) {
        snprintf(why, why_size, "what holds is still being read back");
        return -EAGAIN;
    }
    return 0;
}

/* On disk, or not sent. */
static int
record_order(struct engine *engine, const struct msg_set_cap *order, nsec_t now)
{
    char subject[NAME_TEXT_SIZE];
    struct jsonline line;

    subject_of(engine, subject);
    engine_detail(engine, &line);
    jsonline_uint(&line, "mw", order->mw);
    jsonline_uint(&line, "term", order->term);
    jsonline_uint(&line, "order", order->order);
    jsonline_int(&line, "lease_ns", order->lease_ns);
    jsonline_int(&line, "expires_ns", order->expires_ns);
    engine_record(engine, JOURNAL_ACTION, order->cause, order->command, subject,
                  ROW_NAME, &line, now);
    return engine->journal_error ? engine->journal_error
                                 : journal_sync(engine->journal);
}

/* Asked for by people: an event of its own. */
static uint64_t
record_asked(struct engine *engine, const struct cap_order *order, nsec_t now)
{
    uint64_t cause = cause_next(&engine->causes);
    char subject[NAME_TEXT_SIZE];
    struct jsonline line;

    subject_of(engine, subject);
    engine_detail(engine, &line);
    jsonline_uint(&line, "mw", order->mw);
    engine_record(engine, JOURNAL_EVENT, cause, 0, subject, "CAP_ASKED", &line,
                  now);
    return cause;
}

/* An order whose row may be in the journal, now or when that works again, and
 * that was not sent: whoever reads it must not take it for one that was.  While
 * rows are not taken that waits; there is one at most, since then no other is
 * begun. */
static int
not_sent(struct engine *engine, const struct msg_set_cap *order, int error,
         nsec_t now)
{
    engine->cap.unsent_command = order->command;
    engine->cap.unsent_cause = order->cause;
    engine->cap.unsent_error = error;
    engine_cap_journal_back(engine, now);
    return error;
}

void
engine_cap_journal_back(struct engine *engine, nsec_t now)
{
    struct engine_cap *cap = &engine->cap;
    struct msg_outcome outcome = {.command = cap->unsent_command,
                                  .cause = cap->unsent_cause,
                                  .error = (uint64_t)-cap->unsent_error};
    char subject[NAME_TEXT_SIZE];
    struct journal_health health;

    journal_health(engine->journal, &health);
    if (!cap->unsent_command || engine->journal_error || health.failing) {
        return;
    }
    snprintf(outcome.reason, sizeof outcome.reason, "it was not sent: %s",
             cap->unsent_error == -EAGAIN ? "the platform process was busy"
                                          : "the journal failed");
    subject_of(engine, subject);
    engine_record_outcome(engine, &outcome, subject, now);
    cap->unsent_command = 0;
}

int
engine_set_cap(struct engine *engine, const struct cap_order *order, nsec_t now,
               char *why, size_t why_size)
{
    struct engine_cap *cap = &engine->cap;
    uint64_t term = order->any_term ? cap->term : order->term;
    uint64_t number = order->order        ? order->order
                      : term == cap->term ? cap->order + 1
                                          : 1;
    nsec_t lease_ns =
        order->lease_ns ? order->lease_ns : engine->config->cap_lease_ns;
    nsec_t patience_ns = order->expires_ns ? order->expires_ns : CAP_EXPIRES_NS;

    int error = check_state(engine, why, why_size);
    if (!error) {
        error = check_order(engine, term, number, why, why_size);
    }
    if (error) {
        return error;
    }
    if (order->mw < engine->host.cap.low_mw ||
        order->mw > engine->host.cap.high_mw) {
        snprintf(
            why, why_size, "a cap is from %" PRIu64 " to %" PRIu64 " W here",
            engine->host.cap.low_mw / 1000, engine->host.cap.high_mw / 1000);
        return -ERANGE;
    }
    struct msg msg = {.type = MSG_SET_CAP};
    msg.set_cap.command = cause_next(&engine->commands);
    msg.set_cap.cause = record_asked(engine, order, now);
    msg.set_cap.term = term;
    msg.set_cap.order = number;
    msg.set_cap.mw = order->mw;
    msg.set_cap.lease_ns = lease_ns;
    msg.set_cap.expires_ns = now + patience_ns;
    error = record_order(engine, &msg.set_cap, now);
    if (error) {
        snprintf(why, why_size, "the journal does not take it: %s",
                 strerror(-error));
        return not_sent(engine, &msg.set_cap, error, now);
    }
    /* From here on it counts as taken: a row says so. */
    cap->term = term;
    cap->order = number;
    error = engine->port->to_platform(engine->port->ctx, &msg);
    if (error) {
        snprintf(why, why_size, "the platform process is busy; order again");
        return not_sent(engine, &msg.set_cap, error, now);
    }
    cap->command = msg.set_cap.command;
    cap->cause = msg.set_cap.cause;
    cap->sent = now;
    return 0;
}

bool
engine_on_cap_outcome(struct engine *engine, const struct msg_outcome *outcome,
                      nsec_t now)
{
    struct engine_cap *cap = &engine->cap;
    char subject[NAME_TEXT_SIZE];

    if (!cap->command || cap->command != outcome->command) {
        return false;
    }
    subject_of(engine, subject);
    engine_record_outcome(engine, outcome, subject, now);
    engine->counts.n_failed_actions += outcome->error != 0;
    cap->command = 0;
    return true;
}

void
engine_run_cap(struct engine *engine, nsec_t now)
{
    struct engine_cap *cap = &engine->cap;
    char subject[NAME_TEXT_SIZE];

    if (!cap->command || now - cap->sent < CAP_TIMEOUT_NS) {
        return;
    }
    subject_of(engine, subject);
    cap->command = 0;
    engine->counts.n_failed_actions++;
    engine->counts.n_alarms++;
    engine_record_words(engine, "ACTION_FAILED", cap->cause, true, subject,
                        "no outcome of a cap came", now);
}

nsec_t
engine_cap_deadline(const struct engine *engine)
{
    return engine->cap.command ? engine->cap.sent + CAP_TIMEOUT_NS : NSEC_NEVER;
}
