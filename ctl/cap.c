/* SPDX-License-Identifier: Apache-2.0 */
/* mctl cap: the limit of the host's power, whether the hardware is known to
 * keep it, and ordering another. */
#include <string.h>

#include "base/text.h"
#include "ctl/client.h"
#include "ctl/ctl.h"
#include "ctl/member.h"

static enum ctl_exit ask(struct ctl *, json_t *request);
static enum ctl_exit set(struct ctl *, int argc, char **argv);
static void print_cap(struct ctl *, const json_t *);

static enum ctl_exit
run(struct ctl *ctl, int argc, char **argv)
{
    if (argc == 0) {
        return ask(ctl, json_pack("{s:s}", "verb", "cap"));
    }
    if (argc >= 2 && !strcmp(argv[0], "set")) {
        return set(ctl, argc - 1, argv + 1);
    }
    return ctl_usage(ctl, &verb_cap, "that is nothing to do with a cap");
}

static enum ctl_exit
ask(struct ctl *ctl, json_t *request)
{
    json_t *data;
    enum ctl_exit result = client_ask(ctl, request, &data);

    if (result != CTL_OK) {
        return result;
    }
    if (ctl->json) {
        ctl_put_json(ctl, data);
    } else {
        print_cap(ctl, data);
    }
    json_decref(data);
    return CTL_OK;
}

/* KEY=VALUE into the request; false if it is something else. */
static bool
add_term(json_t *request, const char *text)
{
    static const struct {
        const char *key, *field;
    } terms[] = {{"term=", "term"},
                 {"order=", "order"},
                 {"lease_ms=", "lease_ms"},
                 {"within_ms=", "within_ms"}};
    uint64_t value;

    for (size_t i = 0; i < sizeof terms / sizeof terms[0]; i++) {
        size_t length = strlen(terms[i].key);

        if (!strncmp(text, terms[i].key, length)) {
            return !text_to_u64(text + length, &value) && value <= INT64_MAX &&
                   !json_object_set_new(request, terms[i].field,
                                        json_integer((json_int_t)value));
        }
    }
    return false;
}

static enum ctl_exit
set(struct ctl *ctl, int argc, char **argv)
{
    uint64_t watts;

    if (text_to_u64(argv[0], &watts) || watts < 1 || watts > 1000000) {
        return ctl_usage(ctl, &verb_cap, "a cap is a whole number of watts");
    }
    json_t *request = json_pack("{s:s,s:I}", "verb", "cap_set", "mw",
                                (json_int_t)watts * 1000);
    for (int i = 1; i < argc; i++) {
        if (!add_term(request, argv[i])) {
            json_decref(request);
            return ctl_usage(ctl, &verb_cap,
                             "terms are term=, order=, lease_ms= and "
                             "within_ms=, each with a whole number");
        }
    }
    return ask(ctl, request);
}

static void
print_cap(struct ctl *ctl, const json_t *data)
{
    char lease[32];

    if (!member_known(data, "cap_w")) {
        fputs("no cap: ", ctl->out);
        put_text(ctl->out, member_text(data, "reason"));
        putc('\n', ctl->out);
        return;
    }
    fprintf(ctl->out, "%.0f W, %s", member_number(data, "cap_w"),
            member_text(data, "phase"));
    if (member_known(data, "read_w")) {
        fprintf(ctl->out, " (reads back %.0f W)",
                member_number(data, "read_w"));
    }
    if (member_true(data, "safe")) {
        fputs(": the safe cap\n", ctl->out);
    } else {
        duration_text(member_number(data, "lease_s"), lease, sizeof lease);
        fprintf(ctl->out,
                ": order %.0f of term %.0f, for %s more, then %.0f W\n",
                member_number(data, "order"), member_number(data, "term"),
                lease, member_number(data, "safe_w"));
    }
    fprintf(ctl->out, "may be set from %.0f to %.0f W\n",
            member_number(data, "low_w"), member_number(data, "high_w"));
    if (member_text(data, "reason")[0]) {
        put_text(ctl->out, member_text(data, "reason"));
        putc('\n', ctl->out);
    }
}

const struct verb verb_cap = {
    .name = "cap",
    .usage = "[set WATTS [term=N] [order=N] [lease_ms=N] [within_ms=N]]",
    .summary = "the limit of the host's power, or order another",
    .help = "A cap holds for a lease, then the configured safe cap does; "
            "ordering it again\nrenews it. Orders of a lower term than the "
            "last one's, or with a number that\nis not higher, are refused; "
            "without them the order is the next of the term in\nforce. An "
            "order is in the journal before the hardware is touched. It needs "
            "root,\nthe broker's own user, or the operator group.\n",
    .run = run,
};
