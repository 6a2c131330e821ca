/* SPDX-License-Identifier: Apache-2.0 */
/* Reads the rows of a cause and tells what happened when: the guest's worst
 * request ended, the probe read it, the notice left, back took it, the engine
 * decided, the action left, the platform took, checked, wrote and read back.
 * A guest's times are on its own clock; the row brings the offset that the
 * channel's beats found, and how far it may be off.  The keys it looks for are
 * those of docs/journal.md; one that is missing leaves its hop out.  Called by
 * broker/control/answer.c. */
#include "broker/control/trace.h"

#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "base/text.h"
#include "broker/control/show.h"

#define TEXT_SIZE 400
/* Nobody's host runs for a century; whoever takes two times from each other
 * needs not fear that they don't fit. */
#define LATEST_NS (INT64_C(100) * 365 * 86400 * 1000000000)

static void add_event(json_t **hops, json_t *row);
static void add_decision(json_t **hops, json_t *row);
static void add_action(json_t **hops, json_t *row);
static void add_outcome(json_t **hops, json_t *row);

json_t *
trace_hops(const json_t *rows)
{
    json_t *hops = json_array();
    json_t *row;
    size_t i;

    json_array_foreach(rows, i, row)
    {
        const char *kind = json_string_value(json_object_get(row, "kind"));

        if (!kind) {
            continue;
        }
        if (!strcmp(kind, "event")) {
            add_event(&hops, row);
        } else if (!strcmp(kind, "decision")) {
            add_decision(&hops, row);
        } else if (!strcmp(kind, "action")) {
            add_action(&hops, row);
        } else if (!strcmp(kind, "outcome")) {
            add_outcome(&hops, row);
        }
    }
    return hops;
}

/* Keys of a row's detail. */

static bool
has(json_t *detail, const char *key)
{
    return json_is_number(json_object_get(detail, key));
}

static int64_t
number(json_t *detail, const char *key)
{
    return (int64_t)json_number_value(json_object_get(detail, key));
}

/* Whole nanoseconds don't survive a double: 2^53 ns are 104 days. */
static int64_t
moment(json_t *detail, const char *key)
{
    return json_integer_value(json_object_get(detail, key));
}

static const char *
text(json_t *object, const char *key, const char *otherwise)
{
    const char *value = json_string_value(json_object_get(object, key));

    return value ? value : otherwise;
}

/* When the engine added the row. */
static json_t *
time_of(json_t *row)
{
    json_t *time = json_object_get(row, "time_ns");

    return json_is_integer(time) ? json_incref(time) : json_null();
}

static void add(json_t **hops, const char *hop, const char *where,
                json_t *at_ns, int64_t error_ns, const char *format, ...)
    __attribute__((format(printf, 6, 7)));

static void
add(json_t **hops, const char *hop, const char *where, json_t *at_ns,
    int64_t error_ns, const char *format, ...)
{
    char said[TEXT_SIZE];
    va_list args;

    va_start(args, format);
    vsnprintf(said, sizeof said, format, args);
    va_end(args);
    show_append(hops, json_pack("{s:s,s:s,s:o,s:I,s:o}", "hop", hop, "where",
                                where, "at_ns", at_ns, "error_ns",
                                (json_int_t)error_ns, "text", show_text(said)));
}

/* "violations 12, tolerated 1 %". */
static void
list_values(char *out, size_t size, json_t *values)
{
    json_t *value;
    size_t i;

    out[0] = '\0';
    json_array_foreach(values, i, value)
    {
        const char *unit = text(value, "unit", "");
        double number = json_number_value(json_object_get(value, "value"));

        text_append(out, size, "%s%s %.*g%s%s", i ? ", " : "",
                    text(value, "name", "?"), number < 1000 ? 4 : 9, number,
                    unit[0] ? " " : "", unit);
    }
}

static void
add_step(json_t **hops, json_t *detail, const char *key, const char *hop,
         const char *said)
{
    if (moment(detail, key) > 0) {
        add(hops, hop, "platform", json_integer(moment(detail, key)), 0, "%s",
            said);
    }
}

/* Events. */

struct guest_clock {
    bool known;
    int64_t offset_ns, error_ns;
};

static struct guest_clock
guest_clock(json_t *detail)
{
    json_t *error = json_object_get(detail, "offset_error_ns");
    struct guest_clock clock = {.known = json_is_integer(error) &&
                                         json_integer_value(error) >= 0};

    clock.offset_ns = moment(detail, "offset_ns");
    clock.error_ns = clock.known ? json_integer_value(error) : 0;
    return clock;
}

static void
add_guest(json_t **hops, json_t *detail, const char *key, const char *hop,
          const char *said)
{
    struct guest_clock clock = guest_clock(detail);
    int64_t at_ns;

    if (moment(detail, key) == 0) {
        return;
    }
    if (!clock.known) {
        add(hops, hop, "guest", json_null(), 0,
            "%s (its clock is not known yet)", said);
        return;
    }
    if (__builtin_sub_overflow(moment(detail, key), clock.offset_ns, &at_ns) ||
        at_ns < 0 || at_ns > LATEST_NS) {
        add(hops, hop, "guest", json_null(), 0, "%s (its clock can't be true)",
            said);
        return;
    }
    add(hops, hop, "guest", json_integer(at_ns), clock.error_ns, "%s", said);
}

static void
add_event(json_t **hops, json_t *row)
{
    json_t *detail = json_object_get(row, "detail");
    char said[TEXT_SIZE];

    if (has(detail, "worst_us")) {
        snprintf(said, sizeof said,
                 "the epoch's slowest request ended after %.3f ms (threshold "
                 "%.3f ms)",
                 (double)number(detail, "worst_us") / 1000,
                 (double)number(detail, "threshold_us") / 1000);
        add_guest(hops, detail, "worst_end_ns", "request_ended", said);
        add_guest(hops, detail, "seen_ns", "probe_read",
                  "the probe read the epoch's last request");
        snprintf(said, sizeof said,
                 "the agent sent it: %lld of %lld requests too slow",
                 (long long)number(detail, "n_violations"),
                 (long long)number(detail, "n_requests"));
        add_guest(hops, detail, "sent_ns", "agent_sent", said);
    }
    if (has(detail, "made_ns")) {
        snprintf(said, sizeof said, "a probe or program made note %s, %lld B",
                 text(detail, "type", "?"), (long long)number(detail, "size"));
        add_guest(hops, detail, "made_ns", "note_made", said);
        add_guest(hops, detail, "sent_ns", "agent_sent", "the agent sent it");
    }
    if (has(detail, "received_ns")) {
        add(hops, "back_received", "back",
            json_integer(moment(detail, "received_ns")), 0,
            "came on %s's channel", text(row, "subject", "the guest"));
    }
    add_step(hops, detail, "sample_ns", "sampled",
             "the platform read the VM's CPU time");
    list_values(said, sizeof said, json_object_get(detail, "values"));
    add(hops, "engine_noted", "engine", time_of(row), 0, "event %s%s%s%s%s",
        text(row, "name", "?"), said[0] ? ": " : "", said,
        text(detail, "reason", "")[0] ? ": " : "", text(detail, "reason", ""));
}

/* Decisions. */

/* The wish changed nothing: somebody else's, or a dwell time, stands. */
static void
add_vain(json_t **hops, json_t *detail, json_t *row)
{
    if (!has(detail, "stands")) {
        add(hops, "arbiter_kept", "engine", time_of(row), 0, "nothing changed");
        return;
    }
    add(hops, "arbiter_kept", "engine", time_of(row), 0,
        "nothing changed: p-state %lld stands by %s%s",
        (long long)number(detail, "stands"), text(detail, "winner", "?"),
        json_is_true(json_object_get(detail, "held"))
            ? ", held by its dwell time"
            : "");
}

static void
add_decision(json_t **hops, json_t *row)
{
    json_t *detail = json_object_get(row, "detail");
    char values[TEXT_SIZE / 2];

    list_values(values, sizeof values, json_object_get(detail, "values"));
    add(hops, "decided", "engine", time_of(row), 0, "rule %s%s%s",
        text(row, "name", "?"), values[0] ? ": " : "", values);
    if (!json_is_object(detail)) {
        add(hops, "arbiter_chose", "engine", time_of(row), 0,
            "what, can't be read from the journal");
    } else if (json_is_false(json_object_get(detail, "effect"))) {
        add_vain(hops, detail, row);
    } else if (has(detail, "pstate")) {
        int64_t n_losers = number(detail, "n_losers");

        add(hops, "arbiter_chose", "engine", time_of(row), 0,
            "p-state %lld (before: %lld) for %s; %lld other wish%s lost",
            (long long)number(detail, "pstate"),
            (long long)number(detail, "from"), text(row, "subject", "?"),
            (long long)n_losers, n_losers == 1 ? "" : "es");
    } else {
        add(hops, "arbiter_chose", "engine", time_of(row), 0,
            "nobody wants anything of %s: it is released",
            text(row, "subject", "?"));
    }
}

/* Actions and outcomes. */

static void
add_action(json_t **hops, json_t *row)
{
    json_t *detail = json_object_get(row, "detail");
    const char *name = text(row, "name", "?");

    if (has(detail, "pstate")) {
        add(hops, "action_sent", "engine", time_of(row), 0,
            "%s p-state %lld to %s", name, (long long)number(detail, "pstate"),
            text(row, "subject", "?"));
    } else {
        add(hops, "action_sent", "engine", time_of(row), 0, "%s to %s", name,
            text(row, "subject", "?"));
    }
}

static void
add_outcome(json_t **hops, json_t *row)
{
    json_t *detail = json_object_get(row, "detail");
    int64_t error = number(detail, "error");
    char said[TEXT_SIZE];

    add_step(hops, detail, "received_ns", "platform_received",
             "the platform took the action");
    add_step(hops, detail, "checked_ns", "limits_checked",
             "the limits allowed it");
    add_step(hops, detail, "written_ns", "driver_wrote",
             "the driver wrote the p-state");
    snprintf(said, sizeof said, "read back: p-state %lld",
             (long long)number(detail, "pstate"));
    add_step(hops, detail, "read_ns", "read_back", said);
    if (error) {
        add(hops, "outcome", "engine", time_of(row), 0, "failed: %s%s%s",
            strerror((int)error), text(detail, "reason", "")[0] ? ": " : "",
            text(detail, "reason", ""));
    } else {
        add(hops, "outcome", "engine", time_of(row), 0,
            "the engine knows it was done");
    }
}
