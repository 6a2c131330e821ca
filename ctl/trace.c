/* SPDX-License-Identifier: Apache-2.0 */
/* mctl trace: the straight path of a cause, a line and a time per hop. */
#include <string.h>
#include <time.h>

#include "ctl/client.h"
#include "ctl/ctl.h"
#include "ctl/member.h"
#include "ctl/row.h"
#include "ctl/table.h"

static void print_trace(struct ctl *, const json_t *, const json_t *vms);

static enum ctl_exit
run(struct ctl *ctl, int argc, char **argv)
{
    json_t *data, *vms = NULL;

    if (argc != 1) {
        return ctl_usage(ctl, &verb_trace, "one cause has to be named");
    }
    enum ctl_exit result = client_ask(
        ctl, json_pack("{s:s,s:s}", "verb", "trace", "cause", argv[0]), &data);
    if (result != CTL_OK) {
        return result;
    }
    if (ctl->json) {
        ctl_put_json(ctl, data);
    } else if ((result = row_vms(ctl, &vms)) == CTL_OK) {
        print_trace(ctl, data, vms);
    }
    json_decref(vms);
    json_decref(data);
    return result;
}

static json_int_t
whole(const json_t *object, const char *key)
{
    return json_integer_value(json_object_get(object, key));
}

/* When the first hop was, as people tell time; false if nobody knows. */
static bool
print_date(struct ctl *ctl, const json_t *rows, json_int_t first_ns)
{
    const json_t *row = json_array_get(rows, 0);
    double wall_ns = (double)whole(row, "wall_ns");
    char text[64];
    struct tm tm;

    if (wall_ns == 0) {
        return false;
    }
    /* Exact to some 200 ns, and can't overflow. */
    wall_ns -= (double)whole(row, "time_ns") - (double)first_ns;
    time_t seconds = (time_t)(wall_ns / 1e9);
    if (!localtime_r(&seconds, &tm) ||
        !strftime(text, sizeof text, "%Y-%m-%d %H:%M:%S", &tm)) {
        return false;
    }
    fprintf(ctl->out, "%s.%03lld", text, (long long)(wall_ns / 1e6) % 1000);
    return true;
}

static void
add_hop(struct table *table, const json_t *hop, const json_t *vms,
        json_int_t first_ns, json_int_t *last_ns)
{
    char text[ROW_SAID_SIZE];

    json_int_t at_ns = whole(hop, "at_ns");
    json_int_t error_ns = whole(hop, "error_ns");

    if (!member_known(hop, "at_ns")) {
        table_cell(table, "unknown");
        table_cell(table, "-");
    } else {
        table_cell(table, "%.3f ms", ((double)at_ns - (double)first_ns) / 1e6);
        table_cell(table, "%+.3f ms", ((double)at_ns - (double)*last_ns) / 1e6);
        *last_ns = at_ns;
    }
    if (error_ns > 0) {
        table_cell(table, "± %.3f ms", (double)error_ns / 1e6);
    } else {
        table_cell(table, "%s", "");
    }
    table_cell(table, "%s", member_text(hop, "where"));
    row_names(member_text(hop, "text"), vms, text);
    table_cell(table, "%s", text);
}

static void
print_trace(struct ctl *ctl, const json_t *data, const json_t *vms)
{
    static const char *const heads[] = {">AT",   ">AFTER", ">ERROR",
                                        "WHERE", "WHAT",   NULL};
    const json_t *hops = json_object_get(data, "hops");
    struct table *table = table_create(heads);
    json_int_t first_ns = 0, last_ns;
    json_t *hop;
    size_t i;

    json_array_foreach(hops, i, hop)
    {
        if (member_known(hop, "at_ns")) {
            first_ns = whole(hop, "at_ns");
            break;
        }
    }
    last_ns = first_ns;
    json_array_foreach(hops, i, hop)
    {
        add_hop(table, hop, vms, first_ns, &last_ns);
    }
    fputs("cause ", ctl->out);
    put_text(ctl->out, member_text(data, "cause"));
    fputs(", from ", ctl->out);
    if (!print_date(ctl, json_object_get(data, "rows"), first_ns)) {
        fprintf(ctl->out, "an unknown date");
    }
    fputs("\n\n", ctl->out);
    table_print(table, ctl->out, ctl->colour, ctl->columns);
    table_destroy(table);
}

const struct verb verb_trace = {
    .name = "trace",
    .usage = "CAUSE",
    .summary = "what an event led to, with a time at each hop",
    .help =
        "CAUSE is START.N or START.eN as \"mctl events\" prints it; N alone "
        "is of this\nstart. AT counts from the first hop, AFTER from the "
        "hop before. A guest's\ntimes are converted to the MVM's clock; "
        "ERROR says how far they may be off.\n",
    .run = run,
};
