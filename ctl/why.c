/* SPDX-License-Identifier: Apache-2.0 */
/* mctl why: who wants what of a knob, who won and for what reason. */
#include <string.h>

#include "ctl/client.h"
#include "ctl/ctl.h"
#include "ctl/member.h"
#include "ctl/row.h"

static void print_why(struct ctl *, const json_t *);

static enum ctl_exit
run(struct ctl *ctl, int argc, char **argv)
{
    json_t *data;

    if (argc != 1) {
        return ctl_usage(ctl, &verb_why, "one knob has to be named");
    }
    enum ctl_exit result = client_ask(
        ctl, json_pack("{s:s,s:s}", "verb", "why", "knob", argv[0]), &data);
    if (result != CTL_OK) {
        return result;
    }
    if (ctl->json) {
        ctl_put_json(ctl, data);
    } else {
        print_why(ctl, data);
    }
    json_decref(data);
    return CTL_OK;
}

static void
say(struct ctl *ctl, const char *head, const char *text)
{
    fprintf(ctl->out, "%-9s ", head);
    put_text(ctl->out, text);
    putc('\n', ctl->out);
}

/* "p-state 2 (2000 MHz)". */
static void
pstate_text(const json_t *object, const char *key, const char *mhz_key,
            char *out, size_t size)
{
    if (!member_known(object, key)) {
        snprintf(out, size, "unknown");
    } else if (!member_known(object, mhz_key)) {
        snprintf(out, size, "p-state %.0f", member_number(object, key));
    } else {
        snprintf(out, size, "p-state %.0f (%.0f MHz)",
                 member_number(object, key), member_number(object, mhz_key));
    }
}

/* "web1 vCPU 0 wants p-state 2". */
static void
wish_text(const json_t *wish, char *out, size_t size)
{
    const char *who = member_known(wish, "vm_name")
                          ? member_text(wish, "vm_name")
                          : member_text(wish, "vm");

    if (!strcmp(member_text(wish, "kind"), "pstate")) {
        snprintf(out, size, "%s vCPU %.0f wants p-state %.0f", who,
                 member_number(wish, "vcpu"), member_number(wish, "value"));
    } else {
        snprintf(out, size, "%s wants %s %.0f", who[0] ? who : "the host",
                 member_text(wish, "kind"), member_number(wish, "value"));
    }
}

static void
reason_text(const json_t *wish, char *out, size_t size)
{
    char values[300];

    values_text(json_object_get(wish, "values"), values, sizeof values);
    snprintf(out, size, "rule %s%s%s", member_text(wish, "rule"),
             values[0] ? ": " : "", values);
}

/* What happened that led to the wish; a look at utilization is told by the
 * reason. */
static void
print_event(struct ctl *ctl, const json_t *event)
{
    char said[ROW_SAID_SIZE], text[ROW_SAID_SIZE + 64];

    if (!event || !strcmp(member_text(event, "name"), "UTILIZATION")) {
        return;
    }
    row_said(event, NULL, said);
    snprintf(text, sizeof text, "event %s%s%s", member_text(event, "name"),
             said[0] ? ": " : "", said);
    say(ctl, "", text);
}

static void
print_wish(struct ctl *ctl, const char *head, const json_t *wish)
{
    const json_t *rejected = json_object_get(wish, "rejected");
    char text[400];
    json_t *other;
    size_t i;

    wish_text(wish, text, sizeof text);
    say(ctl, head, text);
    if (member_known(wish, "why")) {
        snprintf(text, sizeof text, "lost: %s", member_text(wish, "why"));
        say(ctl, "", text);
    }
    reason_text(wish, text, sizeof text);
    say(ctl, "", text);
    json_array_foreach(rejected, i, other)
    {
        snprintf(text, sizeof text, "rejected %.0f: %s",
                 member_number(other, "choice"), member_text(other, "why"));
        say(ctl, "", text);
    }
    if (member_known(wish, "expires_s")) {
        char left[32];
        duration_text(member_number(wish, "expires_s"), left, sizeof left);
        snprintf(text, sizeof text, "valid for %s more", left);
        say(ctl, "", text);
    }
    print_event(ctl, json_object_get(wish, "event"));
    if (strcmp(member_text(wish, "cause"), "-") != 0) {
        snprintf(text, sizeof text, "cause %s (see \"mctl trace %s\")",
                 member_text(wish, "cause"), member_text(wish, "cause"));
        say(ctl, "", text);
    }
}

static void
print_why(struct ctl *ctl, const json_t *why)
{
    const json_t *losers = json_object_get(why, "losers");
    char text[400], since[32];
    json_t *loser;
    size_t i;

    say(ctl, "knob", member_text(why, "knob"));
    pstate_text(why, "pstate", "freq_mhz", text, sizeof text);
    if (member_true(why, "emulated")) {
        snprintf(text + strlen(text), sizeof text - strlen(text), ", emulated");
    }
    say(ctl, "is", text);
    if (!member_known(why, "wanted")) {
        snprintf(text, sizeof text,
                 "nothing: policy \"%s\" has no wish; the knob is as it was "
                 "found",
                 member_text(why, "policy"));
        say(ctl, "wanted", text);
        return;
    }
    pstate_text(why, "wanted", "wanted_mhz", text, sizeof text);
    duration_text(member_number(why, "since_s"), since, sizeof since);
    snprintf(text + strlen(text), sizeof text - strlen(text), " for %s", since);
    say(ctl, "wanted", text);
    print_wish(ctl, "winner", json_object_get(why, "winner"));
    json_array_foreach(losers, i, loser)
    {
        print_wish(ctl, "loser", loser);
    }
    if (member_number(why, "more_losers") > 0) {
        snprintf(text, sizeof text, "and %.0f more losers",
                 member_number(why, "more_losers"));
        say(ctl, "", text);
    }
}

const struct verb verb_why = {
    .name = "why",
    .usage = "KNOB",
    .summary = "why a knob stands where it stands",
    .help = "KNOB is cpuN, domainN or mgmt://DOMAIN/host/ID/cpu/N/pstate. Says "
            "who wants\nwhat, who won since when and for what reason, which "
            "choices were rejected,\nand who lost and why.\n",
    .run = run,
};
