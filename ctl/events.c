/* SPDX-License-Identifier: Apache-2.0 */
/* mctl events: the end of the journal, oldest first, as the broker answers it.
 * Relies on row.c to say a row in a few words, the same that watch uses; called
 * by mctl.c through verb_events. */
#include <time.h>

#include "ctl/client.h"
#include "ctl/ctl.h"
#include "ctl/member.h"
#include "ctl/row.h"
#include "ctl/table.h"

static void print_events(struct ctl *, const json_t *, const json_t *vms);

static enum ctl_exit
run(struct ctl *ctl, int argc, char **argv)
{
    int n = ctl->n_events ? ctl->n_events : 20;
    json_t *data, *vms = NULL;

    if (argc > 0) {
        return ctl_usage(ctl, &verb_events, "events takes no argument but -n");
    }
    enum ctl_exit result = client_ask(
        ctl, json_pack("{s:s,s:i}", "verb", "events", "n", n), &data);
    if (result != CTL_OK) {
        return result;
    }
    if (ctl->json) {
        ctl_put_json(ctl, data);
    } else {
        result = row_vms(ctl, &vms);
        print_events(ctl, data, vms);
    }
    json_decref(vms);
    json_decref(data);
    return result;
}

static void
clock_text(const json_t *row, char *out, size_t size)
{
    json_int_t wall_ns = json_integer_value(json_object_get(row, "wall_ns"));
    time_t seconds = (time_t)(wall_ns / 1000000000);
    struct tm tm;

    if (wall_ns <= 0 || !localtime_r(&seconds, &tm)) {
        snprintf(out, size, "unknown");
        return;
    }
    snprintf(out, size, "%02d:%02d:%02d.%03d", tm.tm_hour, tm.tm_min, tm.tm_sec,
             (int)(wall_ns / 1000000 % 1000));
}

static void
print_events(struct ctl *ctl, const json_t *data, const json_t *vms)
{
    static const char *const heads[] = {"TIME",    "CAUSE", "KIND", "NAME",
                                        "SUBJECT", "WHAT",  NULL};
    char clock[32], subject[ROW_SUBJECT_SIZE], said[ROW_SAID_SIZE];
    struct table *table = table_create(heads);
    json_t *row;
    size_t i;

    json_array_foreach(json_object_get(data, "rows"), i, row)
    {
        clock_text(row, clock, sizeof clock);
        table_cell(table, "%s", clock);
        table_cell(table, "%s", member_text(row, "cause"));
        table_cell(table, "%s", member_text(row, "kind"));
        table_cell(table, "%s", member_text(row, "name"));
        row_subject(row, vms, subject);
        table_cell(table, "%s", subject);
        row_said(row, vms, said);
        table_cell(table, "%s", said);
    }
    table_print(table, ctl->out, ctl->colour, ctl->columns);
    table_destroy(table);
}

const struct verb verb_events = {
    .name = "events",
    .usage = "[-n N]",
    .summary = "the journal's last rows, oldest first",
    .help = "  -n, --lines N  how many, 1 to 500 (20)\n",
    .run = run,
};
