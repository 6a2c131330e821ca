/* SPDX-License-Identifier: Apache-2.0 */
/* What magentd prints about itself instead of running: help, version, probes,
 * and what a check found.  Names, ranges and defaults come from the options'
 * own descriptions.  Called by magentd.c. */
#include "agent/show.h"

#include <stdio.h>

#include "agent/settings.h"
#include "probe/probe.h"
#include "wire/msg.h"

/* One option as --help shows it: its words, its default, its help. */
static void
print_option(const char *indent, const struct option_desc *d, bool dashes)
{
    char name[64];

    snprintf(name, sizeof name, "%s%s", dashes ? "--" : "", d->name);
    for (char *c = name; dashes && *c; c++) {
        *c = *c == '_' ? '-' : *c;
    }
    printf("%s%-20s %s", indent, name, d->help);
    if (d->choices) {
        printf(" One of: %s.", d->choices);
    }
    if (d->type == OPTION_INT || d->type == OPTION_REAL) {
        printf(" %.15g to %.15g%s%s.", d->min, d->max, d->unit ? " " : "",
               d->unit ? d->unit : "");
    }
    if (*d->default_text) {
        printf(" Default %s.", d->default_text);
    }
    printf("\n");
}

void
show_help(void)
{
    printf("usage: magentd [options]\n"
           "Measures response times in this guest, and tells the M-broker "
           "when they violate the SLA.\n\n"
           "  --probe NAME[:OPTION=VALUE,...]\n"
           "                       What measures; may be repeated. Default "
           "cpu.\n");
    for (const struct option_desc *d = settings_options; d->name; d++) {
        print_option("  ", d, true);
    }
    printf("  --config FILE        The same names in a file. "
           "Default " SETTINGS_FILE_DEFAULT ", if it is there.\n"
           "  --check              Say whether file and options are right.\n"
           "  --probes             List the probes and their options.\n"
           "  --send-note TYPE     Hand in standard input as a note of that "
           "type, at --notes of a magentd that runs.\n"
           "  --latest             With it: only the newest of the type "
           "counts.\n"
           "  --json               The same for programs: with --check, "
           "--probes, --version.\n"
           "  --version, --help\n\n"
           "Exit status: 0, 1 on a failure, 2 on wrong options or a wrong "
           "file.  See magentd(8).\n");
}

static void
print_json_text(const char *text)
{
    putchar('"');
    for (const unsigned char *c = (const unsigned char *)text; *c; c++) {
        if (*c == '"' || *c == '\\') {
            printf("\\%c", *c);
        } else if (*c < 0x20) {
            printf("\\u%04x", *c);
        } else {
            putchar(*c);
        }
    }
    putchar('"');
}

void
show_check(bool json, int error, const char *why)
{
    if (json) {
        printf("{\"ok\": %s, \"reason\": ", error ? "false" : "true");
        print_json_text(why);
        printf("}\n");
    } else if (error) {
        fprintf(stderr, "%s\n", why);
    } else {
        printf("ok\n");
    }
}

static void
print_probe_json(const struct probe_class *class)
{
    const char *comma = "";

    printf("{\"name\": ");
    print_json_text(class->name);
    printf(", \"summary\": ");
    print_json_text(class->summary);
    printf(", \"options\": [");
    for (const struct option_desc *d = class->options; d && d->name; d++) {
        printf("%s{\"name\": ", comma);
        print_json_text(d->name);
        printf(", \"default\": ");
        print_json_text(d->default_text);
        printf(", \"help\": ");
        print_json_text(d->help);
        printf("}");
        comma = ", ";
    }
    printf("]}");
}

void
show_probes(bool json)
{
    for (size_t i = 0; probe_table[i]; i++) {
        const struct probe_class *class = probe_table[i];
        if (json) {
            printf("%s", i ? ",\n " : "[");
            print_probe_json(class);
            continue;
        }
        printf("%s: %s\n", class->name, class->summary);
        for (const struct option_desc *d = class->options; d && d->name; d++) {
            print_option("    ", d, false);
        }
    }
    if (json) {
        printf("]\n");
    }
}

void
show_version(bool json)
{
    if (json) {
        printf("{\"program\": \"magentd\", \"version\": \"%s\", "
               "\"protocol_min\": %d, \"protocol_max\": %d}\n",
               MBROKER_VERSION, MSG_VERSION_MIN, MSG_VERSION_MAX);
    } else {
        printf("magentd %s\n", MBROKER_VERSION);
    }
}
