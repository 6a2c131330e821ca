/* SPDX-License-Identifier: Apache-2.0 */
/* How mctl says what went wrong, for people and for programs.  Called by the
 * verbs and by main. */
#include "ctl/ctl.h"

#include "ctl/member.h"

void
ctl_say(struct ctl *ctl, const char *what, const char *why, const char *next)
{
    fputs("mctl: ", ctl->err);
    put_text(ctl->err, what);
    if (why && why[0]) {
        fputs(": ", ctl->err);
        put_text(ctl->err, why);
    }
    if (next && next[0]) {
        fputs("\n      ", ctl->err);
        put_text(ctl->err, next);
    }
    putc('\n', ctl->err);
    if (ctl->json) {
        json_t *fault =
            json_pack("{s:{s:s,s:s,s:s}}", "error", "what", what, "why",
                      why ? why : "", "next", next ? next : "");
        ctl_put_json(ctl, fault);
        json_decref(fault);
    }
}

enum ctl_exit
ctl_usage(struct ctl *ctl, const struct verb *verb, const char *what)
{
    char next[256];

    snprintf(next, sizeof next, "usage: mctl %s%s%s", verb->name,
             verb->usage[0] ? " " : "", verb->usage);
    ctl_say(ctl, what, NULL, next);
    return CTL_USAGE;
}

void
ctl_put_json(struct ctl *ctl, const json_t *data)
{
    if (data) {
        json_dumpf(data, ctl->out, JSON_INDENT(2));
        putc('\n', ctl->out);
    }
}
