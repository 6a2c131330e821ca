/* SPDX-License-Identifier: Apache-2.0 */
/* mctl notes: what applications in the VMs said in messages of their own, the
 * newest of each type, and with --follow each that comes.  What is no text is
 * shown by its first bytes; --json has all of them. */
#include <string.h>
#include <time.h>

#include "base/text.h"
#include "ctl/client.h"
#include "ctl/ctl.h"
#include "ctl/member.h"
#include "ctl/table.h"

#define SAID_SIZE 200 /* Of what a note says, for people. */

static void print_notes(struct ctl *, const json_t *data);
static bool on_line(void *ctx, const json_t *line);

struct following {
    struct ctl *ctl;
    bool begun; /* The notes that there were have been shown. */
};

static enum ctl_exit
run(struct ctl *ctl, int argc, char **argv)
{
    struct following following = {.ctl = ctl};
    json_t *data, *request;

    if (argc > 0) {
        return ctl_usage(ctl, &verb_notes,
                         "name a VM with --vm and a type with --type");
    }
    request = json_pack("{s:s,s:b}", "verb", "notes", "follow", ctl->follow);
    if (ctl->vm) {
        json_object_set_new(request, "vm", json_string(ctl->vm));
    }
    if (ctl->note_type) {
        json_object_set_new(request, "type", json_string(ctl->note_type));
    }
    if (ctl->follow) {
        return client_stream(ctl, request, on_line, &following);
    }
    enum ctl_exit result = client_ask(ctl, request, &data);
    if (result != CTL_OK) {
        return result;
    }
    if (ctl->json) {
        ctl_put_json(ctl, data);
    } else {
        print_notes(ctl, data);
    }
    json_decref(data);
    return CTL_OK;
}

/* What it says, on one line. */
static void
said(const json_t *note, char out[SAID_SIZE])
{
    const char *text = member_text(note, "text");
    size_t used = 0;

    if (!member_known(note, "text")) {
        snprintf(out, SAID_SIZE, "base64 %.60s%s", member_text(note, "base64"),
                 strlen(member_text(note, "base64")) > 60 ? "…" : "");
        return;
    }
    for (; *text && used + 1 < SAID_SIZE; text++) {
        bool ends = text[strspn(text, "\r\n\t ")] == '\0';

        if (ends) {
            break; /* A line's end says nothing. */
        }
        out[used++] = strchr("\r\n\t", *text) ? ' ' : *text;
    }
    out[used] = '\0';
}

static void
age(const json_t *note, char *out, size_t size)
{
    duration_text(member_number(note, "age_s"), out, size);
    text_append(out, size, "%s", member_true(note, "stale") ? ", stale" : "");
}

static void
print_notes(struct ctl *ctl, const json_t *data)
{
    static const char *const heads[] = {"VM",   "TYPE",  ">SIZE", ">CAME",
                                        ">AGE", "CAUSE", "SAYS",  NULL};
    const json_t *notes = json_object_get(data, "notes");
    struct table *table = table_create(heads);
    char text[SAID_SIZE];
    json_t *note;
    size_t i;

    json_array_foreach(notes, i, note)
    {
        table_cell(table, "%s", member_text(note, "vm"));
        table_cell(table, "%s", member_text(note, "type"));
        table_cell(table, "%.0f B", member_number(note, "size"));
        table_cell(table, "%.0f", member_number(note, "came"));
        age(note, text, sizeof text);
        table_cell(table, "%s", text);
        table_cell(table, "%s", member_text(note, "cause"));
        said(note, text);
        table_cell(table, "%s", text);
    }
    if (json_array_size(notes) > 0) {
        table_print(table, ctl->out, ctl->colour, ctl->columns);
    } else {
        fputs("no application has said anything\n", ctl->out);
    }
    if (member_true(data, "cut")) {
        fputs("the last are shown without what they say: name a VM with --vm\n",
              ctl->out);
    }
    table_destroy(table);
}

/* "18:02:11.123  web1  org.example/1  12 B: says". */
static void
print_line(struct ctl *ctl, const json_t *note)
{
    char text[SAID_SIZE], clock[32] = "";
    json_int_t wall_ns = json_integer_value(json_object_get(note, "wall_ns"));
    time_t wall = (time_t)(wall_ns / 1000000000);
    struct tm tm;

    if (member_known(note, "lost")) {
        fprintf(ctl->out, "%.0f notes are missing: the reader is too slow\n",
                member_number(note, "lost"));
        return;
    }
    if (wall_ns > 0 && localtime_r(&wall, &tm)) {
        strftime(clock, sizeof clock, "%H:%M:%S", &tm);
    }
    fprintf(ctl->out, "%s.%03d  ", clock, (int)(wall_ns / 1000000 % 1000));
    put_text(ctl->out, member_text(note, "vm"));
    fputs("  ", ctl->out);
    put_text(ctl->out, member_text(note, "type"));
    fprintf(ctl->out, "  %.0f B: ", member_number(note, "size"));
    said(note, text);
    put_text(ctl->out, text);
    putc('\n', ctl->out);
}

static bool
on_line(void *ctx, const json_t *line)
{
    struct following *following = ctx;
    struct ctl *ctl = following->ctl;

    if (ctl->json) {
        json_dumpf(line, ctl->out, JSON_COMPACT);
        putc('\n', ctl->out);
    } else if (!following->begun) {
        print_notes(ctl, line);
    } else {
        print_line(ctl, line);
    }
    following->begun = true;
    return fflush(ctl->out) == 0;
}

const struct verb verb_notes = {
    .name = "notes",
    .usage = "[--vm VM] [--type TYPE] [--follow]",
    .summary = "what applications in VMs said in messages of their own",
    .help =
        "Shows the newest of each type and VM; CAUSE is for \"mctl trace\", "
        "and "
        "only\nthose have one that the policy asked for. \"stale\": the agent "
        "that sent it is\ngone. With --follow each that comes is shown, until "
        "Ctrl-C. With --json a note\nhas its bytes in base64, and as text if "
        "they are UTF-8.\n\n"
        "  --vm VM      of this VM only, by name or UUID\n"
        "  --type TYPE  of this type only\n"
        "  -f, --follow go on with each that comes\n",
    .run = run,
};
