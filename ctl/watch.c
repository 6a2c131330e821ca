/* SPDX-License-Identifier: Apache-2.0 */
/* mctl watch: what happens, as it happens, until Ctrl-C.  One line each; the
 * broker never waits for a slow reader, who is told how many lines he lost. */
#include <stdarg.h>
#include <string.h>

#include "base/text.h"
#include "ctl/client.h"
#include "ctl/ctl.h"
#include "ctl/member.h"
#include "ctl/row.h"

#define INDENT 22 /* Where DETAIL begins. */

struct watch {
    struct ctl *ctl;
    bool begun; /* The stream's first line, the status, has passed. */
    json_int_t first_ns;
    json_t *vms; /* Owned; for their names. */
};

static bool on_line(void *ctx, const json_t *line);

static enum ctl_exit
run(struct ctl *ctl, int argc, char **argv)
{
    struct watch watch = {.ctl = ctl};

    if (argc > 0) {
        return ctl_usage(ctl, &verb_watch, "watch takes no argument");
    }
    enum ctl_exit result = ctl->json ? CTL_OK : row_vms(ctl, &watch.vms);
    if (result == CTL_OK) {
        result = client_stream(ctl, json_pack("{s:s}", "verb", "watch"),
                               on_line, &watch);
    }
    json_decref(watch.vms);
    return result;
}

static void
put_json_line(struct ctl *ctl, const json_t *line)
{
    json_dumpf(line, ctl->out, JSON_COMPACT);
    putc('\n', ctl->out);
}

static void
print_begin(struct ctl *ctl, const json_t *status)
{
    char power[128];

    power_text(json_object_get(status, "power"), power, sizeof power);
    put_text(ctl->out, member_text(status, "name"));
    fputs(", policy ", ctl->out);
    put_text(ctl->out, member_text(status, "policy"));
    fputs(", ", ctl->out);
    put_text(ctl->out, power);
    fprintf(ctl->out, "\n%s%10s  %-8s  %s%s\n", ctl->colour ? "\033[1m" : "",
            "TIME", "WHAT", "DETAIL", ctl->colour ? "\033[0m" : "");
}

/* "35.2 W (model)  120 requests, 3 too slow  cpu0 2400 MHz 71 %". */
static void
epoch_text(const json_t *line, char *out, size_t size)
{
    json_t *cpu;
    size_t i;

    out[0] = '\0';
    if (member_known(line, "power_w")) {
        text_append(out, size, "%6.1f W (%s)", member_number(line, "power_w"),
                    member_text(line, "quality"));
    } else {
        text_append(out, size, "power unknown");
    }
    text_append(out, size, "  %.0f requests, %.0f too slow",
                member_number(line, "requests"),
                member_number(line, "violations"));
    json_array_foreach(json_object_get(line, "cpus"), i, cpu)
    {
        text_append(out, size, "  cpu%.0f", member_number(cpu, "cpu"));
        if (member_known(cpu, "freq_mhz")) {
            text_append(out, size, " %4.0f MHz",
                        member_number(cpu, "freq_mhz"));
        }
        if (member_known(cpu, "util_percent")) {
            text_append(out, size, " %3.0f %%",
                        member_number(cpu, "util_percent"));
        } else {
            text_append(out, size, " unknown");
        }
    }
}

/* "1.42    basic/raise   cpu0  p-state 1, before 2, for web1: …". */
static void
row_text(const struct watch *watch, const json_t *line, char *out, size_t size)
{
    char subject[ROW_SUBJECT_SIZE], said[ROW_SAID_SIZE];

    row_subject(line, watch->vms, subject);
    row_said(line, watch->vms, said);
    snprintf(out, size, "%-8s %-13s %-8s %s", member_text(line, "cause"),
             member_text(line, "name"), subject, said);
}

static void
print_line(struct watch *watch, const json_t *line)
{
    json_int_t time_ns = json_integer_value(json_object_get(line, "time_ns"));
    const char *type = member_text(line, "type");
    struct ctl *ctl = watch->ctl;
    char text[1024];

    if (member_known(line, "lost")) {
        fprintf(ctl->out, "%10s  %-8s  %.0f lines: the reader is too slow\n",
                "", "lost", member_number(line, "lost"));
        return;
    }
    if (watch->first_ns == 0) {
        watch->first_ns = time_ns;
    }
    if (!strcmp(type, "epoch")) {
        epoch_text(line, text, sizeof text);
    } else {
        row_text(watch, line, text, sizeof text);
    }
    fprintf(ctl->out, "%8.3f s  ",
            ((double)time_ns - (double)watch->first_ns) / 1e9);
    put_text(ctl->out, type);
    fprintf(ctl->out, "%*s  ", (int)(8 - strnlen(type, 8)), "");
    put_lines(ctl->out, text, ctl->columns > INDENT ? ctl->columns - INDENT : 0,
              INDENT);
    putc('\n', ctl->out);
}

static bool
on_line(void *ctx, const json_t *line)
{
    struct watch *watch = ctx;
    struct ctl *ctl = watch->ctl;

    if (ctl->json) {
        put_json_line(ctl, line);
    } else if (!watch->begun) {
        print_begin(ctl, line);
    } else {
        print_line(watch, line);
    }
    watch->begun = true;
    return fflush(ctl->out) == 0;
}

const struct verb verb_watch = {
    .name = "watch",
    .usage = "",
    .summary = "what happens, as it happens, until Ctrl-C",
    .help = "TIME counts from the first line. With --json every line is one "
            "object; the\nfirst is what \"mctl status --json\" prints.\n",
    .run = run,
};
