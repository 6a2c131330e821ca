/* SPDX-License-Identifier: Apache-2.0 */
/* mctl policy: which policy is in force with which options, which there are,
 * and putting another in force. */
#include <stdlib.h>
#include <string.h>

#include "ctl/client.h"
#include "ctl/ctl.h"
#include "ctl/member.h"
#include "ctl/table.h"

static enum ctl_exit show(struct ctl *);
static enum ctl_exit set(struct ctl *, int argc, char **argv);
static void print_policy(struct ctl *, const json_t *, bool others);

static enum ctl_exit
run(struct ctl *ctl, int argc, char **argv)
{
    if (argc == 0 || (argc == 1 && !strcmp(argv[0], "show"))) {
        return show(ctl);
    }
    if (argc >= 2 && !strcmp(argv[0], "set")) {
        return set(ctl, argc - 1, argv + 1);
    }
    return ctl_usage(ctl, &verb_policy, "that is nothing to do with a policy");
}

static enum ctl_exit
ask(struct ctl *ctl, json_t *request, bool others)
{
    json_t *data;
    enum ctl_exit result = client_ask(ctl, request, &data);

    if (result != CTL_OK) {
        return result;
    }
    if (ctl->json) {
        ctl_put_json(ctl, data);
    } else {
        print_policy(ctl, data, others);
    }
    json_decref(data);
    return CTL_OK;
}

static enum ctl_exit
show(struct ctl *ctl)
{
    return ask(ctl, json_pack("{s:s}", "verb", "policy"), true);
}

/* Adds "key=value" to 'options'; false if it is something else. */
static bool
add_option(json_t *options, const char *text)
{
    const char *equals = strchr(text, '=');
    char *key;

    if (!equals || equals == text) {
        return false;
    }
    key = strndup(text, (size_t)(equals - text));
    bool added =
        key && !json_object_set_new(options, key, json_string(equals + 1));
    free(key);
    return added;
}

static enum ctl_exit
set(struct ctl *ctl, int argc, char **argv)
{
    json_t *options = json_object();

    for (int i = 1; i < argc; i++) {
        if (!add_option(options, argv[i])) {
            json_decref(options);
            return ctl_usage(ctl, &verb_policy,
                             "an option is written KEY=VALUE");
        }
    }
    return ask(ctl,
               json_pack("{s:s,s:s,s:o}", "verb", "policy_set", "name", argv[0],
                         "options", options),
               false);
}

/* Printing. */

static void
range_text(const json_t *option, char *out, size_t size)
{
    const char *unit = member_text(option, "unit");

    if (member_known(option, "min")) {
        snprintf(out, size, "%g to %g%s%s", member_number(option, "min"),
                 member_number(option, "max"), unit[0] ? " " : "", unit);
    } else if (member_known(option, "choices")) {
        snprintf(out, size, "%s", member_text(option, "choices"));
    } else if (!strcmp(member_text(option, "type"), "bool")) {
        snprintf(out, size, "true or false");
    } else {
        snprintf(out, size, "text");
    }
}

static void
value_text(const json_t *option, char *out, size_t size)
{
    const json_t *value = json_object_get(option, "value");
    char *text;

    if (!value) {
        snprintf(out, size, "%s", member_text(option, "default"));
        return;
    }
    if (json_is_string(value)) {
        snprintf(out, size, "%s", json_string_value(value));
        return;
    }
    if (json_is_number(value)) {
        snprintf(out, size, "%g", json_number_value(value));
        return;
    }
    text = json_dumps(value, JSON_ENCODE_ANY | JSON_COMPACT);
    snprintf(out, size, "%s", text ? text : "unknown");
    free(text);
}

static void
print_options(struct ctl *ctl, const json_t *options, bool in_force)
{
    static const char *const heads[] = {"  OPTION", "VALUE", "RANGE", "HELP",
                                        NULL};
    static const char *const default_heads[] = {"  OPTION", "DEFAULT", "RANGE",
                                                "HELP", NULL};
    struct table *table = table_create(in_force ? heads : default_heads);
    char text[TABLE_CELL_SIZE];
    json_t *option;
    size_t i;

    if (json_array_size(options) == 0) {
        fputs("  (no options)\n", ctl->out);
    }
    json_array_foreach(options, i, option)
    {
        table_cell(table, "  %s", member_text(option, "name"));
        value_text(option, text, sizeof text);
        table_cell(table, "%s%s", text,
                   in_force && !member_true(option, "given") ? " (default)"
                                                             : "");
        range_text(option, text, sizeof text);
        table_cell(table, "%s", text);
        table_cell(table, "%s", member_text(option, "help"));
    }
    if (json_array_size(options) > 0) {
        table_print(table, ctl->out, ctl->colour, ctl->columns);
    }
    table_destroy(table);
}

static void
print_policy(struct ctl *ctl, const json_t *data, bool others)
{
    const char *name = member_text(data, "name");
    json_t *other;
    size_t i;

    put_text(ctl->out, name);
    fputs(", in force: ", ctl->out);
    put_text(ctl->out, member_text(data, "summary"));
    putc('\n', ctl->out);
    print_options(ctl, json_object_get(data, "options"), true);
    json_array_foreach(json_object_get(data, "available"), i, other)
    {
        if (others && strcmp(member_text(other, "name"), name) != 0) {
            putc('\n', ctl->out);
            put_text(ctl->out, member_text(other, "name"));
            fputs(": ", ctl->out);
            put_text(ctl->out, member_text(other, "summary"));
            putc('\n', ctl->out);
            print_options(ctl, json_object_get(other, "options"), false);
        }
    }
}

const struct verb verb_policy = {
    .name = "policy",
    .usage = "[show | set NAME [KEY=VALUE…]]",
    .summary = "the policy in force, those there are, or another in force",
    .help =
        "\"set\" puts NAME in force with its defaults and the options given "
        "over them;\nthe old policy's wishes go. On any error nothing "
        "changes. It needs root, the\nbroker's own user, or the operator "
        "group.\n",
    .run = run,
};
