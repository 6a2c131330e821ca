/* SPDX-License-Identifier: Apache-2.0 */
/* mctl replay: a journal run through a policy of today, and where that would
 * have decided otherwise.  mjournal does it; here it is laid out. */
#include <string.h>
#include <time.h>

#include "base/text.h"
#include "ctl/ctl.h"
#include "ctl/journal.h"
#include "ctl/member.h"
#include "ctl/row.h"
#include "ctl/table.h"
#include "wire/jsonread.h"

struct lines {
    json_t *differences, *summary, *report;
};

static bool
take_line(void *ctx, char *text)
{
    struct lines *lines = ctx;
    json_t *line = jsonread(text, strlen(text), 0, NULL), *part;

    if ((part = json_object_get(line, "difference"))) {
        json_array_append(lines->differences, part);
    } else if ((part = json_object_get(line, "replay"))) {
        lines->summary = json_incref(part);
    } else if ((part = json_object_get(line, "report"))) {
        lines->report = json_incref(part);
    }
    json_decref(line);
    return true;
}

static void
put_time(const json_t *object, const char *key, char *out, size_t size)
{
    json_int_t wall_ns = json_integer_value(json_object_get(object, key));
    time_t seconds = (time_t)(wall_ns / 1000000000);
    struct tm tm;

    text_copy(out, size, "unknown");
    if (wall_ns > 0 && localtime_r(&seconds, &tm)) {
        strftime(out, size, "%Y-%m-%d %H:%M:%S", &tm);
        text_append(out, size, ".%03d", (int)(wall_ns / 1000000 % 1000));
    }
}

static void
say_decision(struct table *table, const json_t *decision)
{
    if (json_is_object(decision)) {
        table_cell(table, "%s: %s", member_text(decision, "rule"),
                   member_text(decision, "what"));
    } else {
        table_cell(table, "nothing");
    }
}

static void
print_differences(struct ctl *ctl, const json_t *differences)
{
    static const char *const heads[] = {"TIME", "EVENT", "OF",  "CAUSE",
                                        "KNOB", "THEN",  "NOW", NULL};
    char text[ROW_SUBJECT_SIZE];
    struct table *table = table_create(heads);
    json_t *difference, *named;
    size_t i;

    json_array_foreach(differences, i, difference)
    {
        const json_t *then = json_object_get(difference, "then");

        put_time(difference, "wall_ns", text, sizeof text);
        table_cell(table, "%s", text);
        table_cell(table, "%s", member_text(difference, "event"));
        named = json_pack("{s:s}", "subject",
                          member_text(difference, "event_subject"));
        row_subject(named, NULL, text);
        json_decref(named);
        table_cell(table, "%s", text);
        table_cell(table, "%s", member_text(then, "cause"));
        named = json_pack("{s:s}", "subject", member_text(difference, "knob"));
        row_subject(named, NULL, text);
        json_decref(named);
        table_cell(table, "%s", text);
        say_decision(table, then);
        say_decision(table, json_object_get(difference, "now"));
    }
    if (json_array_size(differences) > 0) {
        table_print(table, ctl->out, ctl->colour, ctl->columns);
    }
    table_destroy(table);
}

static void
print_summary(struct ctl *ctl, const json_t *summary)
{
    char first[64], last[64];
    json_t *words;
    size_t i;

    put_time(summary, "first_wall_ns", first, sizeof first);
    put_time(summary, "last_wall_ns", last, sizeof last);
    fprintf(ctl->out, "%s to %s, %.0f turns\n", first, last,
            member_number(summary, "turns"));
    fprintf(ctl->out,
            "then %.0f decisions (%s), now %.0f (%s): %.0f the same, %.0f "
            "differences\n",
            member_number(summary, "decisions_then"),
            member_text(summary, "policy_then"),
            member_number(summary, "decisions_now"),
            member_text(summary, "policy_now"), member_number(summary, "same"),
            member_number(summary, "differences"));
    json_array_foreach(json_object_get(summary, "limits"), i, words)
    {
        fputs("note: ", ctl->out);
        put_text(ctl->out, json_string_value(words));
        putc('\n', ctl->out);
    }
}

static enum ctl_exit
run(struct ctl *ctl, int argc, char **argv)
{
    if (argc != 1) {
        return ctl_usage(ctl, &verb_replay, "one file has to be named");
    }
    struct lines lines = {.differences = json_array()};
    const char *const arguments[] = {"mjournal", "replay",
                                     "--policy", ctl->policy ? ctl->policy : "",
                                     "--config", ctl->config ? ctl->config : "",
                                     "--",       argv[0],
                                     NULL};
    enum ctl_exit result =
        journal_ask(ctl, arguments, take_line, &lines, &lines.report);
    if (lines.report && lines.summary) {
        if (ctl->json) {
            json_t *data =
                json_pack("{s:O,s:O,s:O}", "differences", lines.differences,
                          "replay", lines.summary, "journal", lines.report);
            ctl_put_json(ctl, data);
            json_decref(data);
        } else {
            print_differences(ctl, lines.differences);
            print_summary(ctl, lines.summary);
            journal_warn(ctl, argv[0], lines.report);
        }
        if (member_known(lines.summary, "stopped")) {
            ctl_say(ctl, "the replay stopped before the end",
                    member_text(lines.summary, "stopped"), NULL);
            result = CTL_FAILED;
        } else if (result == CTL_OK &&
                   member_number(lines.summary, "differences") > 0) {
            result = CTL_DIFFERS;
        }
    }
    json_decref(lines.differences);
    json_decref(lines.summary);
    json_decref(lines.report);
    return result;
}

const struct verb verb_replay = {
    .name = "replay",
    .usage = "FILE [--policy NAME[:KEY=VALUE,…]] [--config FILE]",
    .summary =
        "where a policy would have decided otherwise than a journal says",
    .help =
        "Tells an engine again what the journal's was told, at the same times, "
        "and shows\neach decision that comes out otherwise: the event, then, "
        "now. Without options\nthe policies are those that were in force. What "
        "could not be replayed is said.\nExit code 0 if nothing differs, 4 if "
        "something does, 1 if it can't be replayed.\n\n"
        "  --policy NAME[:KEY=VALUE,…]  this policy, with these options over "
        "its defaults\n"
        "  --config FILE                the policy and dwell_ms of this "
        "configuration\n",
    .run = run,
};
