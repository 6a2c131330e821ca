/* SPDX-License-Identifier: Apache-2.0 */
/* mctl power: the host's power now, with who says so and how well. */
#include "ctl/client.h"
#include "ctl/ctl.h"
#include "ctl/member.h"

static enum ctl_exit
run(struct ctl *ctl, int argc, char **argv)
{
    char text[128];
    json_t *data;

    if (argc > 0) {
        return ctl_usage(ctl, &verb_power, "power takes no argument");
    }
    enum ctl_exit result =
        client_ask(ctl, json_pack("{s:s}", "verb", "power"), &data);
    if (result != CTL_OK) {
        return result;
    }
    if (ctl->json) {
        ctl_put_json(ctl, data);
    } else {
        power_text(data, text, sizeof text);
        put_text(ctl->out, text);
        putc('\n', ctl->out);
    }
    json_decref(data);
    return CTL_OK;
}

const struct verb verb_power = {
    .name = "power",
    .usage = "",
    .summary = "the host's power, its source and quality",
    .help = "Power that was computed is marked \"model\"; power that nobody "
            "knows is\n\"unknown\", never 0 W.\n",
    .run = run,
};
