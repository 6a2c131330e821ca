/* SPDX-License-Identifier: Apache-2.0 */
/* mctl cpus: the managed CPUs, their p-states and the time spent in each. */
#include <string.h>

#include "base/text.h"
#include "ctl/client.h"
#include "ctl/ctl.h"
#include "ctl/member.h"
#include "ctl/table.h"

static void print_cpus(struct ctl *, const json_t *);

static enum ctl_exit
run(struct ctl *ctl, int argc, char **argv)
{
    json_t *data;

    if (argc > 0) {
        return ctl_usage(ctl, &verb_cpus, "cpus takes no argument");
    }
    enum ctl_exit result =
        client_ask(ctl, json_pack("{s:s}", "verb", "cpus"), &data);
    if (result != CTL_OK) {
        return result;
    }
    if (ctl->json) {
        ctl_put_json(ctl, data);
    } else {
        print_cpus(ctl, data);
    }
    json_decref(data);
    return CTL_OK;
}

/* "2400:31% 1000:69%", the shares of the time since the policy was set. */
static void
shares(const json_t *cpu, char *out, size_t size)
{
    const json_t *freqs = json_object_get(cpu, "freqs_mhz");
    const json_t *times = json_object_get(cpu, "time_s");
    double sum = 0;
    json_t *time;
    size_t i;

    out[0] = '\0';
    json_array_foreach(times, i, time)
    {
        sum += json_number_value(time);
    }
    json_array_foreach(times, i, time)
    {
        if (sum > 0 && json_number_value(time) > 0) {
            text_append(out, size, "%s%.0f:%.0f%%", out[0] ? " " : "",
                        json_number_value(json_array_get(freqs, i)),
                        100 * json_number_value(time) / sum);
        }
    }
}

static void
print_cpus(struct ctl *ctl, const json_t *data)
{
    static const char *const heads[] = {">CPU",     ">DOMAIN", ">BUSY",
                                        ">P-STATE", ">MHZ",    "CONTROL",
                                        "MHZ:TIME", NULL};
    struct table *table = table_create(heads);
    const json_t *cpus = json_object_get(data, "cpus");
    char text[TABLE_CELL_SIZE];
    json_t *cpu;
    size_t i;

    if (json_array_size(cpus) == 0) {
        fputs("This broker manages no CPUs; its configuration names none.\n",
              ctl->out);
    }
    json_array_foreach(cpus, i, cpu)
    {
        bool controlled = member_known(cpu, "domain");

        table_number(table, cpu, "cpu", 0, "");
        if (controlled) {
            table_number(table, cpu, "domain", 0, "");
        } else {
            table_cell(table, "none");
        }
        table_number(table, cpu, "util_percent", 1, "%");
        table_number(table, cpu, "pstate", 0, "");
        table_number(table, cpu, "freq_mhz", 0, "");
        table_cell(table, "%s",
                   !controlled                    ? "none"
                   : member_true(cpu, "emulated") ? "emulated"
                                                  : "real");
        shares(cpu, text, sizeof text);
        table_cell(table, "%s", text);
    }
    if (json_array_size(cpus) > 0) {
        table_print(table, ctl->out, ctl->colour, ctl->columns);
    }
    table_destroy(table);
}

const struct verb verb_cpus = {
    .name = "cpus",
    .usage = "",
    .summary = "the managed CPUs and their p-states",
    .help = "BUSY is the share of the time available at the current p-state. "
            "P-state 0\nis the fastest. MHZ:TIME is how the time since the "
            "policy was put in force\nwas spent.\n",
    .run = run,
};
