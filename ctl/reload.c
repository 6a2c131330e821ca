/* SPDX-License-Identifier: Apache-2.0 */
/* mctl reload: has the broker read its configuration again, and says what came
 * of it. */
#include <time.h>

#include "ctl/client.h"
#include "ctl/ctl.h"
#include "ctl/member.h"

#define TRIES 100 /* Looks whether it is done; */
#define WAIT_MS 50

/* The broker's status after a moment; null if that failed, which was said. */
static json_t *
look(struct ctl *ctl, enum ctl_exit *result)
{
    const struct timespec wait = {.tv_nsec = WAIT_MS * 1000000L};
    json_t *status;

    nanosleep(&wait, NULL);
    *result = client_ask(ctl, json_pack("{s:s}", "verb", "status"), &status);
    return *result == CTL_OK ? status : NULL;
}

static enum ctl_exit
tell(struct ctl *ctl, const json_t *reload)
{
    const char *reason = member_text(reload, "reason");

    if (member_true(reload, "refused")) {
        ctl_say(ctl, "the configuration is refused", reason,
                "what was in force stays; mend the file and try again");
        return CTL_FAILED;
    }
    if (ctl->json) {
        ctl_put_json(ctl, reload);
    } else {
        put_text(ctl->out, reason);
        putc('\n', ctl->out);
    }
    return CTL_OK;
}

static enum ctl_exit
run(struct ctl *ctl, int argc, char **argv)
{
    json_t *asked;

    if (argc > 0) {
        return ctl_usage(ctl, &verb_reload, "reload takes no argument");
    }
    enum ctl_exit result =
        client_ask(ctl, json_pack("{s:s}", "verb", "reload"), &asked);
    if (result != CTL_OK) {
        return result;
    }
    double number = member_number(asked, "asked");
    json_decref(asked);
    for (int i = 0; i < TRIES; i++) {
        json_t *status = look(ctl, &result);

        if (!status) {
            return result;
        }
        const json_t *reload = json_object_get(status, "reload");
        bool done = member_number(reload, "done") >= number;
        if (done) {
            result = tell(ctl, reload);
        }
        json_decref(status);
        if (done) {
            return result;
        }
    }
    ctl_say(ctl, "the broker did not say what came of it",
            "its processes are busy", "see \"mctl status --json\" and its log");
    return CTL_FAILED;
}

const struct verb verb_reload = {
    .name = "reload",
    .usage = "",
    .summary = "have the broker read its configuration again",
    .help = "The file is checked as a whole. If anything is wrong, or differs "
            "that can't\nchange while the broker runs, nothing is changed, and "
            "the line and the reason\nare said. SIGHUP to mbrokerd does the "
            "same. It needs root, the broker's own user,\nor the operator "
            "group.\n",
    .run = run,
};
