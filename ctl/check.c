/* SPDX-License-Identifier: Apache-2.0 */
/* mctl check: whether mbrokerd would take a configuration.  Asks the program
 * itself (mbrokerd --check FILE), so that there is one opinion; no broker need
 * run. */
#include <string.h>

#include "base/text.h"
#include "ctl/ctl.h"
#include "ctl/member.h"
#include "ctl/program.h"

struct said {
    char text[PROGRAM_SAID_SIZE];
};

static bool take_line(void *ctx, char *line);

static enum ctl_exit
run(struct ctl *ctl, int argc, char **argv)
{
    struct said printed = {""};
    char said[PROGRAM_SAID_SIZE];

    if (argc != 1) {
        return ctl_usage(ctl, &verb_check, "one file has to be named");
    }
    const char *const arguments[] = {"mbrokerd", "--check", argv[0], NULL};
    int status = program_run(arguments, take_line, &printed, said);
    text_append(said, sizeof said, "%s", printed.text);
    if (status < 0) {
        ctl_say(ctl, "mbrokerd can't be started to check it", strerror(-status),
                "install it beside mctl or into PATH");
        return CTL_FAILED;
    }
    if (ctl->json) {
        json_t *data = json_pack("{s:s,s:b,s:s}", "file", argv[0], "ok",
                                 status == 0, "said", said);
        ctl_put_json(ctl, data);
        json_decref(data);
    } else {
        FILE *out = status ? ctl->err : ctl->out;
        for (char *line = strtok(said, "\n"); line; line = strtok(NULL, "\n")) {
            put_text(out, line);
            putc('\n', out);
        }
    }
    return status == 0 ? CTL_OK : CTL_FAILED;
}

static bool
take_line(void *ctx, char *line)
{
    struct said *said = ctx;

    text_append(said->text, sizeof said->text, "%s\n", line);
    return true;
}

const struct verb verb_check = {
    .name = "check",
    .usage = "FILE",
    .summary = "whether mbrokerd would take a configuration file",
    .help = "Runs \"mbrokerd --check FILE\": names the line and what is wrong "
            "with it. No\nbroker need run.\n",
    .run = run,
};
