/* SPDX-License-Identifier: Apache-2.0 */
/* mctl status: the broker on one screen: what is in force, what is set by whom,
 * and what is wrong.  Relies on client.c for the answer; called by mctl.c
 * through verb_status. */
#include <time.h>

#include "ctl/client.h"
#include "ctl/ctl.h"
#include "ctl/member.h"

static void print_status(struct ctl *, const json_t *);

static enum ctl_exit
run(struct ctl *ctl, int argc, char **argv)
{
    json_t *data;

    if (argc > 0) {
        return ctl_usage(ctl, &verb_status, "status takes no argument");
    }
    enum ctl_exit result =
        client_ask(ctl, json_pack("{s:s}", "verb", "status"), &data);
    if (result != CTL_OK) {
        return result;
    }
    if (ctl->json) {
        ctl_put_json(ctl, data);
    } else {
        print_status(ctl, data);
    }
    json_decref(data);
    return CTL_OK;
}

static void
line(struct ctl *ctl, const char *head, const char *text)
{
    fprintf(ctl->out, "%-10s ", head);
    put_text(ctl->out, text);
    putc('\n', ctl->out);
}

static double
count(const json_t *object, const char *key)
{
    return member_number(object, key);
}

static const char *
or_none(const json_t *object, const char *key)
{
    return member_known(object, key) ? member_text(object, key) : "none";
}

static void
print_journal(struct ctl *ctl, const json_t *journal)
{
    char text[400];

    if (!json_is_object(journal)) {
        line(ctl, "journal", "none");
        return;
    }
    snprintf(text, sizeof text, "%s%s%s; %.0f rows, %.0f lost, %.1f KiB",
             member_true(journal, "failing") ? "FAILING" : "fine",
             member_known(journal, "reason") ? ": " : "",
             member_text(journal, "reason"), count(journal, "rows"),
             count(journal, "lost"),
             member_number(journal, "size_bytes") / 1024);
    line(ctl, "journal", text);
}

static void
print_counts(struct ctl *ctl, const json_t *c)
{
    char text[400];

    snprintf(text, sizeof text,
             "%.0f reports, %.0f notices, %.0f decisions: %.0f raises, %.0f "
             "lowerings",
             count(c, "reports"), count(c, "notices"), count(c, "decisions"),
             count(c, "raises"), count(c, "lowerings"));
    line(ctl, "under it", text);
    snprintf(text, sizeof text, "%.0f failed actions, %.0f alarms",
             count(c, "failed_actions"), count(c, "alarms"));
    line(ctl, "", text);
}

static void
print_usage(struct ctl *ctl, const json_t *u)
{
    char text[400];

    snprintf(text, sizeof text, "%.0f messages heard, %.0f made no sense",
             count(u, "messages"), count(u, "refused"));
    line(ctl, "guests", text);
    if (count(u, "dropped") || count(u, "denied") || count(u, "waits") ||
        count(u, "rows_withheld")) {
        snprintf(text, sizeof text,
                 "beyond quotas: %.0f dropped, %.0f denied, %.0f waits, %.0f "
                 "journal rows withheld",
                 count(u, "dropped"), count(u, "denied"), count(u, "waits"),
                 count(u, "rows_withheld"));
        line(ctl, "", text);
    }
}

static void
print_config(struct ctl *ctl, const json_t *r)
{
    time_t seconds = (time_t)(member_number(r, "since_ns") / 1e9);
    char text[400], when[32] = "?";
    struct tm tm;

    if (!json_is_object(r)) {
        return;
    }
    if (localtime_r(&seconds, &tm)) {
        strftime(when, sizeof when, "%Y-%m-%d %H:%M:%S", &tm);
    }
    snprintf(text, sizeof text, "%s of %.200s, since %s",
             member_text(r, "hash"), or_none(r, "path"), when);
    line(ctl, "config", text);
    if (member_true(r, "refused")) {
        snprintf(text, sizeof text, "another is REFUSED: %.300s",
                 member_text(r, "reason"));
        line(ctl, "", text);
    }
}

static void
print_status(struct ctl *ctl, const json_t *s)
{
    char text[400], up[32];

    line(ctl, "host", member_text(s, "name"));
    duration_text(member_number(s, "up_s"), up, sizeof up);
    snprintf(text, sizeof text, "mbroker %s, up %s%s",
             member_text(s, "version"), up,
             member_true(s, "read_only") ? ", READ-ONLY" : "");
    line(ctl, "broker", text);
    line(ctl, "policy", member_text(s, "policy"));
    print_counts(ctl, json_object_get(s, "counts"));
    line(ctl, "platform",
         member_true(s, "platform_ready") ? "ready" : "NOT READY");
    if (member_known(s, "pstate_driver") && count(s, "domains") == 0) {
        snprintf(text, sizeof text, "%.0f, of which %s can set none",
                 count(s, "cpus"), member_text(s, "pstate_driver"));
    } else {
        snprintf(text, sizeof text, "%.0f in %.0f frequency domains, set by %s",
                 count(s, "cpus"), count(s, "domains"),
                 or_none(s, "pstate_driver"));
    }
    line(ctl, "CPUs", text);
    snprintf(text, sizeof text, "%.0f, of these %.0f with an agent, run by %s",
             count(s, "vms"), count(s, "agents"), or_none(s, "hypervisor"));
    line(ctl, "VMs", text);
    power_text(json_object_get(s, "power"), text, sizeof text);
    line(ctl, "power", text);
    print_journal(ctl, json_object_get(s, "journal"));
    print_config(ctl, json_object_get(s, "reload"));
    print_usage(ctl, json_object_get(s, "usage"));
    line(ctl, "trouble", or_none(s, "trouble"));
}

const struct verb verb_status = {
    .name = "status",
    .usage = "",
    .summary = "the broker on one screen",
    .help = "Host, policy and what was counted since it was put in force, "
            "platform,\npower, the journal's health and the last trouble.\n",
    .run = run,
};
