/* SPDX-License-Identifier: Apache-2.0 */
/* mctl events: rows of the journal, oldest first: its end, or what is asked for
 * by time, VM and type; with --follow also those that come.  The broker looks
 * at some thousands of rows at once, so a long journal takes several requests.
 * With a file's name no broker is asked: mjournal reads it and gives what is
 * proved.  Relies on row.c to say a row in a few words, the same that watch
 * uses; called by mctl.c through verb_events. */
#include <inttypes.h>
#include <poll.h>
#include <string.h>
#include <time.h>

#include "base/text.h"
#include "ctl/client.h"
#include "ctl/ctl.h"
#include "ctl/journal.h"
#include "ctl/member.h"
#include "ctl/row.h"
#include "ctl/table.h"
#include "wire/jsonread.h"

#define ROWS_DEFAULT 20
#define ROWS_AT_ONCE 500
#define FOLLOW_MS 500

static enum ctl_exit look(struct ctl *, const char *vm, json_t **rows);
static enum ctl_exit follow(struct ctl *, json_int_t after, const json_t *vms);
static enum ctl_exit look_into(struct ctl *, const char *file);
static void print_events(struct ctl *, const json_t *rows, const json_t *vms,
                         bool heads);
static void print_json_lines(struct ctl *, const json_t *rows);

static json_int_t
last_id(const json_t *rows)
{
    size_t n = json_array_size(rows);

    return n ? json_integer_value(
                   json_object_get(json_array_get(rows, n - 1), "id"))
             : 0;
}

static enum ctl_exit
run(struct ctl *ctl, int argc, char **argv)
{
    json_t *rows = NULL, *vms = NULL, *data;

    if (argc > 1 || (argc == 1 && ctl->follow)) {
        return ctl_usage(ctl, &verb_events,
                         argc > 1 ? "events takes one file"
                                  : "only a broker's journal can be followed");
    }
    if (argc == 1) {
        return look_into(ctl, argv[0]);
    }
    enum ctl_exit result = look(ctl, ctl->vm, &rows);
    if (result == CTL_OK && !ctl->json) {
        result = row_vms(ctl, &vms);
    }
    if (result == CTL_OK && ctl->json && ctl->follow) {
        print_json_lines(ctl, rows);
    } else if (result == CTL_OK && ctl->json) {
        data = json_pack("{s:O}", "rows", rows);
        ctl_put_json(ctl, data);
        json_decref(data);
    } else if (result == CTL_OK) {
        print_events(ctl, rows, vms, true);
    }
    if (result == CTL_OK && ctl->follow) {
        result = follow(ctl, last_id(rows), vms);
    }
    json_decref(rows);
    json_decref(vms);
    return result;
}

/* Asking the broker. */

static json_t *
new_request(const struct ctl *ctl, int n)
{
    json_t *request = json_pack("{s:s,s:i}", "verb", "events", "n", n);

    if (ctl->vm) {
        json_object_set_new(request, "vm", json_string(ctl->vm));
    }
    if (ctl->note_type) {
        json_object_set_new(request, "type", json_string(ctl->note_type));
    }
    if (ctl->since_ns) {
        json_object_set_new(request, "since_ns", json_integer(ctl->since_ns));
    }
    if (ctl->until_ns) {
        json_object_set_new(request, "until_ns", json_integer(ctl->until_ns));
    }
    return request;
}

/* Puts 'older' before '*rows'. */
static void
put_before(json_t **rows, json_t *older)
{
    if (!json_array_extend(older, *rows)) {
        json_decref(*rows);
        *rows = json_incref(older);
    }
}

/* How many rows are wanted: all that match, if a time says from when. */
static size_t
wanted(const struct ctl *ctl)
{
    if (ctl->n_events) {
        return (size_t)ctl->n_events;
    }
    return ctl->since_ns ? SIZE_MAX : ROWS_DEFAULT;
}

/* Backwards from the end, a part at a time. */
static enum ctl_exit
look(struct ctl *ctl, const char *vm, json_t **rows)
{
    json_int_t before = 0;
    json_t *data;
    bool more = true;

    *rows = json_array();
    while (more && json_array_size(*rows) < wanted(ctl)) {
        size_t left = wanted(ctl) - json_array_size(*rows);
        json_t *request =
            new_request(ctl, left < ROWS_AT_ONCE ? (int)left : ROWS_AT_ONCE);

        if (before) {
            json_object_set_new(request, "before", json_integer(before));
        }
        enum ctl_exit result = client_ask(ctl, request, &data);
        if (result != CTL_OK) {
            return result;
        }
        put_before(rows, json_object_get(data, "rows"));
        before = json_integer_value(json_object_get(data, "reached"));
        more = member_true(data, "more") && before > 0;
        json_decref(data);
    }
    return CTL_OK;
}

/* Rows are asked for by the number of the last one, so that none is missed or
 * shown twice, however slow the reader. */
static enum ctl_exit
follow(struct ctl *ctl, json_int_t after, const json_t *vms)
{
    json_t *data;

    while (!(ctl->stop && *ctl->stop)) {
        json_t *request = new_request(ctl, ROWS_AT_ONCE);

        json_object_set_new(request, "after", json_integer(after));
        enum ctl_exit result = client_ask(ctl, request, &data);
        if (result != CTL_OK) {
            return ctl->stop && *ctl->stop ? CTL_OK : result;
        }
        const json_t *rows = json_object_get(data, "rows");
        bool more = member_true(data, "more");
        if (ctl->json) {
            print_json_lines(ctl, rows);
        } else if (json_array_size(rows) > 0) {
            print_events(ctl, rows, vms, false);
        }
        json_int_t reached =
            json_integer_value(json_object_get(data, "reached"));
        after = more ? reached : last_id(rows) > after ? last_id(rows) : after;
        json_decref(data);
        if (fflush(ctl->out)) {
            return CTL_OK;
        }
        if (!more) {
            (void)poll(NULL, 0, FOLLOW_MS);
        }
    }
    return CTL_OK;
}

/* Files. */

struct lines {
    struct ctl *ctl;
    json_t *rows, *vms;
    json_t *report;
};

/* Names of VMs, from the rows that say them. */
static void
learn_vm(json_t *vms, const json_t *row)
{
    const char *name = member_text(json_object_get(row, "detail"), "name");
    const char *subject = member_text(row, "subject"), *vm;
    char uuid[40];

    if (!name[0] || !(vm = strstr(subject, "/vm/"))) {
        return;
    }
    snprintf(uuid, sizeof uuid, "%.*s", (int)strcspn(vm + 4, "/"), vm + 4);
    json_array_append_new(vms,
                          json_pack("{s:s,s:s}", "uuid", uuid, "name", name));
}

static bool
take_line(void *ctx, char *text)
{
    struct lines *lines = ctx;
    json_t *line = jsonread(text, strlen(text), 0, NULL);

    if (json_object_get(line, "report")) {
        lines->report = json_incref(json_object_get(line, "report"));
    } else if (json_object_get(line, "vm")) {
        learn_vm(lines->vms, json_object_get(line, "vm"));
    } else if (line) {
        json_array_append(lines->rows, line);
    }
    json_decref(line);
    return true;
}

static enum ctl_exit
look_into(struct ctl *ctl, const char *file)
{
    struct lines lines = {
        .ctl = ctl, .rows = json_array(), .vms = json_array()};
    char n[24], since[24], until[24];

    snprintf(n, sizeof n, "%zu", wanted(ctl) == SIZE_MAX ? 0 : wanted(ctl));
    snprintf(since, sizeof since, "%" PRId64, ctl->since_ns);
    snprintf(until, sizeof until, "%" PRId64, ctl->until_ns);
    const char *const argv[] = {
        "mjournal",   "events",
        "--lines",    n,
        "--since-ns", since,
        "--until-ns", until,
        "--vm",       ctl->vm ? ctl->vm : "",
        "--type",     ctl->note_type ? ctl->note_type : "",
        "--",         file,
        NULL};
    enum ctl_exit result =
        journal_ask(ctl, argv, take_line, &lines, &lines.report);
    if (result != CTL_USAGE && lines.report) {
        if (ctl->json) {
            json_t *data = json_pack("{s:O,s:O}", "rows", lines.rows, "journal",
                                     lines.report);
            ctl_put_json(ctl, data);
            json_decref(data);
        } else {
            print_events(ctl, lines.rows, lines.vms, true);
            journal_warn(ctl, file, lines.report);
        }
    }
    json_decref(lines.rows);
    json_decref(lines.vms);
    json_decref(lines.report);
    return result;
}

/* Printing. */

static void
clock_text(const struct ctl *ctl, const json_t *row, char *out, size_t size)
{
    json_int_t wall_ns = json_integer_value(json_object_get(row, "wall_ns"));
    time_t seconds = (time_t)(wall_ns / 1000000000);
    struct tm tm;

    if (wall_ns <= 0 || !localtime_r(&seconds, &tm)) {
        snprintf(out, size, "unknown");
        return;
    }
    out[0] = '\0';
    if (ctl->now_s - seconds > 86400) { /* Not of the last day. */
        text_append(out, size, "%04d-%02d-%02d ", tm.tm_year + 1900,
                    tm.tm_mon + 1, tm.tm_mday);
    }
    text_append(out, size, "%02d:%02d:%02d.%03d", tm.tm_hour, tm.tm_min,
                tm.tm_sec, (int)(wall_ns / 1000000 % 1000));
}

static void
print_events(struct ctl *ctl, const json_t *rows, const json_t *vms, bool heads)
{
    static const char *const names[] = {"TIME",    "CAUSE", "KIND", "NAME",
                                        "SUBJECT", "WHAT",  NULL};
    char clock[48], subject[ROW_SUBJECT_SIZE], said[ROW_SAID_SIZE];
    struct table *table = heads ? table_create(names) : NULL;
    json_t *row;
    size_t i;

    json_array_foreach(rows, i, row)
    {
        clock_text(ctl, row, clock, sizeof clock);
        row_subject(row, vms, subject);
        row_said(row, vms, said);
        if (!table) {
            fprintf(ctl->out, "%s  ", clock);
            put_text(ctl->out, member_text(row, "cause"));
            fputs("  ", ctl->out);
            put_text(ctl->out, member_text(row, "kind"));
            fputs("  ", ctl->out);
            put_text(ctl->out, member_text(row, "name"));
            fputs("  ", ctl->out);
            put_text(ctl->out, subject);
            fputs("  ", ctl->out);
            put_text(ctl->out, said);
            putc('\n', ctl->out);
            continue;
        }
        table_cell(table, "%s", clock);
        table_cell(table, "%s", member_text(row, "cause"));
        table_cell(table, "%s", member_text(row, "kind"));
        table_cell(table, "%s", member_text(row, "name"));
        table_cell(table, "%s", subject);
        table_cell(table, "%s", said);
    }
    if (table) {
        table_print(table, ctl->out, ctl->colour, ctl->columns);
    }
    table_destroy(table);
}

static void
print_json_lines(struct ctl *ctl, const json_t *rows)
{
    json_t *row;
    size_t i;

    json_array_foreach(rows, i, row)
    {
        json_dumpf(row, ctl->out, JSON_COMPACT);
        putc('\n', ctl->out);
    }
}

const struct verb verb_events = {
    .name = "events",
    .usage = "[FILE] [-n N] [--since WHEN] [--until WHEN] [--vm VM] "
             "[--type TYPE] [--follow]",
    .summary = "the journal's last rows, or those asked for, oldest first",
    .help =
        "With FILE, a journal or a copy of one, no broker is asked, and only "
        "what its\nchecksums prove is shown.\n\n"
        "  -n, --lines N  how many, 1 to 500 (20; with --since: all)\n"
        "  --since WHEN   from then on: HH:MM[:SS], \"YYYY-MM-DD "
        "[HH:MM[:SS]]\",\n"
        "                 @SECONDS, or how long ago: 90s, 15m, 2h, 3d\n"
        "  --until WHEN   before then\n"
        "  --vm VM        about this VM, by name or UUID, and what that led "
        "to\n"
        "  --type TYPE    of this name (GUEST_NOTICE, basic/raise) or kind "
        "(decision)\n"
        "  -f, --follow   go on with each that comes; with --json a line "
        "each\n",
    .run = run,
};
