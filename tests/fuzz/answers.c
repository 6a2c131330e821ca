/* SPDX-License-Identifier: Apache-2.0 */
/* Fuzz target for what mctl makes of a broker's answers, in which names, notes
 * and reasons are strangers' words: the first byte chooses the verb, the rest
 * are lines of JSON, one for each thing the verb asks or is told.  Whatever
 * they hold, what a terminal gets are printable characters and newlines.
 *
 * Stands in for ctl/client.c, so that nothing goes through a socket. */
#include "tests/fuzz/fuzz.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ctl/client.h"
#include "ctl/ctl.h"

#define LINES_MAX 16

static const struct {
    const struct verb *verb;
    const char *argument; /* Or null. */
    bool follow;
} asked[] = {
    {&verb_status, NULL, false}, {&verb_vms, NULL, false},
    {&verb_cpus, NULL, false},   {&verb_power, NULL, false},
    {&verb_policy, NULL, false}, {&verb_why, "cpu0", false},
    {&verb_trace, "1.1", false}, {&verb_plugins, NULL, false},
    {&verb_watch, NULL, false},  {&verb_events, NULL, false},
    {&verb_notes, NULL, false},  {&verb_notes, NULL, true},
};

/* What the broker says; the rest of the input. */
struct broker {
    const char *at, *end;
    int n_lines;
};

static struct broker broker;

static json_t *
next_line(void)
{
    const char *newline;
    json_t *json;

    if (broker.at >= broker.end || ++broker.n_lines > LINES_MAX) {
        return NULL;
    }
    newline = memchr(broker.at, '\n', (size_t)(broker.end - broker.at));
    newline = newline ? newline : broker.end;
    /* As client.c reads it. */
    json = json_loadb(broker.at, (size_t)(newline - broker.at), 0, NULL);
    broker.at = newline + 1;
    return json;
}

enum ctl_exit
client_ask(struct ctl *ctl, json_t *request, json_t **data)
{
    json_t *json = next_line();

    (void)ctl;
    json_decref(request);
    if (!json) {
        return CTL_UNREACHABLE;
    }
    *data = json;
    return CTL_OK;
}

enum ctl_exit
client_stream(struct ctl *ctl, json_t *request,
              bool (*line)(void *ctx, const json_t *line), void *ctx)
{
    json_t *json;
    bool more = true;

    (void)ctl;
    json_decref(request);
    while (more && (json = next_line())) {
        more = line(ctx, json);
        json_decref(json);
    }
    return CTL_OK;
}

/* UTF-8 is jansson's business; U+0080 to U+009F steer terminals as well. */
static void
check_printable(const char *text, size_t size)
{
    for (size_t i = 0; i < size; i++) {
        unsigned char c = (unsigned char)text[i];
        bool c1 =
            c == 0xc2 && i + 1 < size && (unsigned char)text[i + 1] < 0xa0;

        if ((c < ' ' && c != '\n') || c == 127 || c1) {
            abort();
        }
    }
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char here[] = "/nowhere";
    char *text = NULL, argument[16] = "";
    char *argv[] = {argument, NULL};
    size_t text_size = 0, which;
    FILE *out;

    if (!size || !(out = open_memstream(&text, &text_size))) {
        return 0;
    }
    which = data[0] % (sizeof asked / sizeof *asked);
    struct ctl ctl = {.run_dir = here, .out = out, .err = out};
    ctl.follow = asked[which].follow;
    ctl.columns = data[0] & 0x80 ? 80 : 0;
    if (asked[which].argument) {
        snprintf(argument, sizeof argument, "%s", asked[which].argument);
    }
    broker.at = (const char *)data + 1;
    broker.end = (const char *)data + size;
    broker.n_lines = 0;
    (void)asked[which].verb->run(&ctl, argument[0] ? 1 : 0, argv);
    fclose(out);
    check_printable(text, text_size);
    free(text);
    return 0;
}
