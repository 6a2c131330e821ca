/* SPDX-License-Identifier: Apache-2.0 */
/* Looks into a journal's file for mjournal: the rows that are asked for among
 * those that are proved, and what is proved.  The file is read twice if a VM is
 * asked for: first for its name and for the causes that have to do with it,
 * then for the rows.  Relies on journalread.h; called by mjournal.c. */
#include "broker/replay/look.h"

#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "base/text.h"
#include "broker/control/show.h"
#include "broker/journal/journalread.h"
#include "model/cause.h"
#include "model/host.h"
#include "model/name.h"

struct looking {
    const struct look *look;
    struct journal_filter filter;
    FILE *out;
    uint64_t *causes; /* Of rows about the VM, in order; owned. */
    size_t n_causes, max_causes;
    struct journal_row *last; /* A ring of the last that were taken; owned. */
    uint64_t n_taken;
    bool no_memory;
    uint64_t link_row;
};

int
look_put_line(FILE *out, json_t *line)
{
    int error = line && !json_dumpf(line, out, JSON_COMPACT) ? 0 : -ENOMEM;

    if (!error) {
        putc('\n', out);
    }
    json_decref(line);
    return ferror(out) ? 0 : error; /* A full disk is told by the stream. */
}

static bool
names_a_vm(const struct journal_row *row)
{
    return !strcmp(row->name, "VM_FOUND") || !strcmp(row->name, "GUEST_UP");
}

/* A VM's name becomes its UUID at the first row that says both. */
static void
learn(struct looking *looking, const struct journal_row *row)
{
    char said[VM_NAME_SIZE + 16];
    struct name name;

    snprintf(said, sizeof said, "\"name\":\"%.*s\"", VM_NAME_SIZE,
             looking->look->vm);
    if (names_a_vm(row) && strstr(row->detail, said) &&
        !name_parse(&name, row->subject)) {
        uuid_format(&name.vm, looking->filter.vm);
    }
}

static void
add_cause(struct looking *looking, uint64_t cause)
{
    if (looking->n_causes == looking->max_causes) {
        size_t max = looking->max_causes ? 2 * looking->max_causes : 1024;
        uint64_t *causes =
            realloc(looking->causes, max * sizeof *looking->causes);

        if (!causes) {
            looking->no_memory = true;
            return;
        }
        looking->causes = causes;
        looking->max_causes = max;
    }
    looking->causes[looking->n_causes++] = cause;
}

static void
prepare(void *ctx, const struct journal_row *row)
{
    struct looking *looking = ctx;

    if (!looking->filter.vm[0]) {
        learn(looking, row);
    }
    if (looking->filter.vm[0] && row->cause &&
        journal_row_is_about(row, looking->filter.vm)) {
        add_cause(looking, row->cause);
    }
}

static int
compare(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

    return (x > y) - (x < y);
}

static bool
has_cause(const struct looking *looking, uint64_t cause)
{
    return cause && looking->n_causes &&
           bsearch(&cause, looking->causes, looking->n_causes, sizeof cause,
                   compare);
}

static void
put(struct looking *looking, json_t *line)
{
    looking->no_memory |= look_put_line(looking->out, line) != 0;
}

static void
take(void *ctx, const struct journal_row *row)
{
    struct looking *looking = ctx;
    uint64_t n = looking->look->n;

    if (names_a_vm(row)) {
        put(looking, json_pack("{s:o}", "vm", show_row(row)));
    }
    if (!journal_filter_takes(&looking->filter, row,
                              has_cause(looking, row->cause))) {
        return;
    }
    if (n) {
        looking->last[looking->n_taken % n] = *row;
    } else {
        put(looking, show_row(row));
    }
    looking->n_taken++;
}

static int
find_vm(struct looking *looking, char *why, size_t why_size)
{
    const struct journal_reading reading = {.row = prepare, .ctx = looking};
    const struct look *look = looking->look;
    struct journal_report report;
    struct uuid uuid;

    if (!look->vm[0]) {
        return 0;
    }
    if (!uuid_parse(&uuid, look->vm)) {
        uuid_format(&uuid, looking->filter.vm);
    }
    int error = journalread_file(look->path, &reading, &report, why, why_size);
    if (!error && !looking->filter.vm[0]) {
        snprintf(why, why_size, "no row names a VM \"%.64s\"", look->vm);
        error = -ENOENT;
    }
    if (looking->n_causes) {
        qsort(looking->causes, looking->n_causes, sizeof *looking->causes,
              compare);
    }
    return error;
}

int
look_events(const struct look *look, FILE *out, char *why, size_t why_size)
{
    struct looking looking = {.look = look, .filter = look->filter, .out = out};
    const struct journal_reading reading = {.row = take, .ctx = &looking};
    struct journal_report report;

    int error = find_vm(&looking, why, why_size);
    if (!error && look->n) {
        looking.last = calloc(look->n, sizeof *looking.last);
        looking.no_memory |= !looking.last;
    }
    if (!error && looking.no_memory) {
        snprintf(why, why_size, "no memory");
        error = -ENOMEM;
    }
    if (!error) {
        error = journalread_file(look->path, &reading, &report, why, why_size);
    }
    for (uint64_t i = look->n && looking.n_taken > look->n
                          ? looking.n_taken - look->n
                          : 0;
         !error && look->n && i < looking.n_taken; i++) {
        error = look_put_line(out, show_row(&looking.last[i % look->n]));
    }
    if (!error && looking.no_memory) {
        error = -ENOMEM;
    }
    if (!error) {
        error = look_put_report(out, &report, "", 0);
    }
    free(looking.causes);
    free(looking.last);
    return error;
}

/* The whole. */

static json_t *
id_or_null(uint64_t id)
{
    char text[CAUSE_TEXT_SIZE];

    if (!id) {
        return json_null();
    }
    cause_format(id, text);
    return json_string(text);
}

int
look_put_report(FILE *out, const struct journal_report *report,
                const char *link, uint64_t link_row)
{
    static const char *const ends[] = {
        [JOURNAL_END_KNOWN] = "all that was written is there",
        [JOURNAL_END_OPEN] = "all marked is there; in use, or cut off",
        [JOURNAL_END_SHORT] = "rows are missing that were not on disk yet",
        [JOURNAL_END_CUT] = "rows are missing that were on disk",
        [JOURNAL_END_UNKNOWN] = "can't be told",
    };
    char text[CHAIN_TEXT_SIZE];
    bool proved = !report->broken && report->end != JOURNAL_END_CUT &&
                  report->end != JOURNAL_END_SHORT && (!link[0] || link_row);

    chain_format(&report->chain, text);
    json_t *data = json_pack(
        "{s:b,s:I,s:I,s:o,s:o,s:s,s:o,s:s,s:o,s:o}", "proved", (int)proved,
        "rows", (json_int_t)report->n_rows, "inputs",
        (json_int_t)report->n_inputs, "first_after", id_or_null(report->before),
        "last", id_or_null(report->last), "link", text, "broken",
        report->broken ? show_text(report->why) : json_null(), "end",
        ends[report->end], "end_why", show_text(report->end_why), "link_row",
        id_or_null(link_row));
    return look_put_line(out, json_pack("{s:o}", "report", data));
}

static void
seek(void *ctx, const struct journal_row *row, const struct chain *link)
{
    struct looking *looking = ctx;
    char text[CHAIN_TEXT_SIZE];

    chain_format(link, text);
    if (!strcmp(text, looking->look->link)) {
        looking->link_row = row->id;
    }
}

int
look_verify(const struct look *look, FILE *out, char *why, size_t why_size)
{
    struct looking looking = {.look = look};
    const struct journal_reading reading = {.link = look->link[0] ? seek : NULL,
                                            .ctx = &looking};
    struct journal_report report;

    int error = journalread_file(look->path, &reading, &report, why, why_size);
    if (!error) {
        error = look_put_report(out, &report, look->link, looking.link_row);
    }
    return error;
}
