/* SPDX-License-Identifier: Apache-2.0 */
/* mctl plugins: what this build can do, what is in use, what was left out and
 * why, and which probes the agents have. */
#include <string.h>

#include "base/text.h"
#include "ctl/client.h"
#include "ctl/ctl.h"
#include "ctl/member.h"
#include "ctl/table.h"

static void print_plugins(struct ctl *, const json_t *);

static enum ctl_exit
run(struct ctl *ctl, int argc, char **argv)
{
    json_t *data;

    if (argc > 0) {
        return ctl_usage(ctl, &verb_plugins, "plugins takes no argument");
    }
    enum ctl_exit result =
        client_ask(ctl, json_pack("{s:s}", "verb", "plugins"), &data);
    if (result != CTL_OK) {
        return result;
    }
    if (ctl->json) {
        ctl_put_json(ctl, data);
    } else {
        print_plugins(ctl, data);
    }
    json_decref(data);
    return CTL_OK;
}

static void
add_plugin(struct table *table, const json_t *plugin)
{
    bool left_out = member_known(plugin, "left_out");

    table_cell(table, "%s", member_text(plugin, "room"));
    table_cell(table, "%s", member_text(plugin, "name"));
    table_cell(table, "%s",
               left_out                      ? "left out"
               : member_true(plugin, "used") ? "in use"
                                             : "ready");
    table_cell(table, "%s",
               member_text(plugin, left_out ? "left_out" : "summary"));
}

static void
add_probe(struct table *table, const char *name, const json_t *vms)
{
    char text[TABLE_CELL_SIZE] = "offered by";
    json_t *vm;
    size_t i;

    json_array_foreach(vms, i, vm)
    {
        const char *vm_name = json_string_value(vm);

        text_append(text, sizeof text, "%s %s", i ? "," : "",
                    vm_name ? vm_name : "?");
    }
    table_cell(table, "probe");
    table_cell(table, "%s", name);
    table_cell(table, "in guests");
    table_cell(table, "%s", text);
}

static void
print_plugins(struct ctl *ctl, const json_t *data)
{
    static const char *const heads[] = {"ROOM", "NAME", "STATE", "WHAT", NULL};
    struct table *table = table_create(heads);
    json_t *value;
    const char *name;
    size_t i;

    json_array_foreach(json_object_get(data, "plugins"), i, value)
    {
        add_plugin(table, value);
    }
    json_object_foreach(json_object_get(data, "probes"), name, value)
    {
        add_probe(table, name, value);
    }
    table_print(table, ctl->out, ctl->colour, ctl->columns);
    table_destroy(table);
}

const struct verb verb_plugins = {
    .name = "plugins",
    .usage = "",
    .summary = "policies, drivers and probes: in use, ready, or left out and "
               "why",
    .help = "Probes run in guests; they are listed as the agents announce "
            "them. --json\nhas every option with unit, range and default.\n",
    .run = run,
};
