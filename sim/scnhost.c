/* SPDX-License-Identifier: Apache-2.0 */
/* Turns a scenario's group "host" into the configuration of its broker: it is
 * mbrokerd's own configuration, with the drivers called "sim" where none is
 * named, and is handed to the real parser together with the guests.  The trick:
 * the text that is made for it keeps every setting on the line where the author
 * wrote it, so that what the parser refuses is named by the scenario's line.
 * Called by scenario.c. */
#include <errno.h>
#include <inttypes.h>
#include <libconfig.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/confscan.h"
#include "broker/config/confval.h"
#include "hardware/hardware.h"
#include "sim/scenario.h"
#include "sim/scnparts.h"

struct writer {
    FILE *file;
    unsigned line;
};

static void write_value(struct writer *writer, const config_setting_t *);

static void
write_to_line(struct writer *writer, const config_setting_t *setting)
{
    while (writer->line < config_setting_source_line(setting)) {
        putc('\n', writer->file);
        writer->line++;
    }
}

static void
write_members(struct writer *writer, const config_setting_t *group)
{
    for (int i = 0; i < config_setting_length(group); i++) {
        const config_setting_t *member =
            config_setting_get_elem(group, (unsigned)i);

        write_to_line(writer, member);
        if (member->name) {
            fprintf(writer->file, "%s = ", member->name);
        }
        write_value(writer, member);
        fputs(member->name                           ? "; "
              : i + 1 < config_setting_length(group) ? ", "
                                                     : "",
              writer->file);
    }
}

static void
write_text(struct writer *writer, const char *text)
{
    putc('"', writer->file);
    for (; *text; text++) {
        unsigned char c = (unsigned char)*text;

        if (c == '"' || c == '\\') {
            fprintf(writer->file, "\\%c", c);
        } else if (c < ' ') {
            fprintf(writer->file, "\\x%02x", c);
        } else {
            putc(c, writer->file);
        }
    }
    putc('"', writer->file);
}

static void
write_value(struct writer *writer, const config_setting_t *setting)
{
    char number[40];

    switch (config_setting_type(setting)) {
    case CONFIG_TYPE_INT:
        fprintf(writer->file, "%d", config_setting_get_int(setting));
        break;
    case CONFIG_TYPE_INT64:
        fprintf(writer->file, "%lldL", config_setting_get_int64(setting));
        break;
    case CONFIG_TYPE_FLOAT:
        snprintf(number, sizeof number, "%.17g",
                 config_setting_get_float(setting));
        fprintf(writer->file, "%s%s", number,
                strpbrk(number, ".e") ? "" : ".0");
        break;
    case CONFIG_TYPE_BOOL:
        fputs(config_setting_get_bool(setting) ? "true" : "false",
              writer->file);
        break;
    case CONFIG_TYPE_STRING:
        write_text(writer, config_setting_get_string(setting));
        break;
    case CONFIG_TYPE_GROUP:
    case CONFIG_TYPE_ARRAY:
    case CONFIG_TYPE_LIST: {
        const char *brackets = config_setting_is_group(setting)   ? "{}"
                               : config_setting_is_array(setting) ? "[]"
                                                                  : "()";
        putc(brackets[0], writer->file);
        write_members(writer, setting);
        putc(brackets[1], writer->file);
        break;
    }
    default:
        break;
    }
}

static void
write_host(struct writer *writer, const config_setting_t *host)
{
    static const char *const drivers[] = {"hypervisor", "pstate", "power"};

    write_members(writer, host);
    if (!config_setting_get_member(host, "host_id")) {
        fputs("host_id = \"sim\"; ", writer->file);
    }
    for (size_t i = 0; i < 3; i++) {
        if (!config_setting_get_member(host, drivers[i])) {
            fprintf(writer->file, "%s = { driver = \"sim\"; }; ", drivers[i]);
        }
    }
}

static void
write_guests(struct writer *writer, const config_setting_t *guests,
             const struct scenario *scenario)
{
    write_to_line(writer, guests);
    fputs("guests = ( ", writer->file);
    for (uint32_t i = 0; i < scenario->n_guests; i++) {
        const struct scenario_guest *guest = &scenario->guests[i];

        write_to_line(writer, config_setting_get_elem(guests, i));
        fprintf(writer->file,
                "%s{ name = \"%s\"; channel = \"sim:%s\"; "
                "vcpus = [%" PRIu32 "]; }",
                i > 0 ? ", " : "", guest->name, guest->name, guest->cpu);
    }
    fputs(" ); ", writer->file);
}

/* What is legal for a host but makes no scenario. */
static int
check_config(const struct confscan_at *at, const config_setting_t *root,
             const struct scenario *scenario)
{
    const struct broker_config *config = &scenario->config;
    const config_setting_t *host = config_setting_get_member(root, "host");

    if (strcmp(config->pstate->name, "sim") ||
        strcmp(config->power->name, "sim") ||
        strcmp(config->hypervisor->name, "sim")) {
        return confval_refuse(at, host,
                              "a scenario's drivers are \"sim\", no others");
    }
    return 0;
}

int
scenario_make_config(const struct confscan_at *at, const config_setting_t *root,
                     struct scenario *scenario)
{
    char *text = NULL;
    size_t size;
    struct writer writer = {.file = open_memstream(&text, &size), .line = 1};
    int error = -ENOMEM;

    if (!writer.file) {
        snprintf(at->why, at->why_size, "%s: no memory", at->path);
        return error;
    }
    for (int i = 0; i < config_setting_length(root); i++) {
        const config_setting_t *member =
            config_setting_get_elem(root, (unsigned)i);

        if (!strcmp(member->name, "host")) {
            if (!config_setting_is_group(member)) {
                error = confval_refuse(at, member,
                                       "host must be a group, { ... }, of "
                                       "mbrokerd's settings");
                goto out;
            }
            write_host(&writer, member);
        } else if (!strcmp(member->name, "guests")) {
            write_guests(&writer, member, scenario);
        }
    }
    fflush(writer.file);
    error =
        config_parse(&scenario->config, text, at->path, at->why, at->why_size);
    if (!error) {
        scenario->config.seed = scenario->seed;
        error = check_config(at, root, scenario);
    }

out:
    fclose(writer.file);
    free(text);
    return error;
}
