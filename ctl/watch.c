/* SPDX-License-Identifier: Apache-2.0 */
/* mctl watch: what happens, as it happens, until Ctrl-C.  One line each; the
 * broker never waits for a slow reader, who is told how many lines he lost. */
#include <stdlib.h>
#include <string.h>

#include "ctl/client.h"
#include "ctl/ctl.h"
#include "ctl/table.h"

struct watch {
    struct ctl *ctl;
    bool begun; /* The stream's first line, the status, has passed. */
    json_int_t first_ns;
};

static bool on_line(void *ctx, const json_t *line);

static enum ctl_exit
run(struct ctl *ctl, int argc, char **argv)
{
    struct watch watch = {.ctl = ctl};

    if (argc > 0) {
        return ctl_usage(ctl, &verb_watch, "watch takes no argument");
    }
    return client_stream(ctl, json_pack("{s:s}", "verb", "watch"), on_line,
                         &watch);
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
    fprintf(ctl->out, ", policy %s, ", member_text(status, "policy"));
    put_text(ctl->out, power);
    fprintf(ctl->out, "\n%s%10s  %-14s %s%s\n", ctl->colour ? "\033[1m" : "",
            "TIME", "WHAT", "DETAIL", ctl->colour ? "\033[0m" : "");
}

/* "key value" of every member but those that have a column. */
static void
print_members(struct ctl *ctl, const json_t *line)
{
    const char *key;
    json_t *value;
    bool first = true;

    json_object_foreach((json_t *)line, key, value)
    {
        if (!strcmp(key, "what") || !strcmp(key, "time_ns")) {
            continue;
        }
        const char *plain = json_string_value(value);
        char *text =
            plain ? NULL : json_dumps(value, JSON_ENCODE_ANY | JSON_COMPACT);

        fputs(first ? "" : "  ", ctl->out);
        put_text(ctl->out, key);
        putc(' ', ctl->out);
        put_text(ctl->out, plain ? plain : text ? text : "?");
        first = false;
        free(text);
    }
    putc('\n', ctl->out);
}

static void
print_line(struct watch *watch, const json_t *line)
{
    struct ctl *ctl = watch->ctl;
    json_int_t time_ns = json_integer_value(json_object_get(line, "time_ns"));

    if (member_known(line, "lost")) {
        fprintf(ctl->out, "%10s  %-14s %.0f lines: this terminal is too slow\n",
                "", "lost", member_number(line, "lost"));
        return;
    }
    if (watch->first_ns == 0) {
        watch->first_ns = time_ns;
    }
    if (time_ns) {
        fprintf(ctl->out, "%8.3f s  ",
                (double)(time_ns - watch->first_ns) / 1e9);
    } else {
        fprintf(ctl->out, "%10s  ", "");
    }
    fprintf(ctl->out, "%-14s ", member_text(line, "what"));
    print_members(ctl, line);
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
