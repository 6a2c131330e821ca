/* SPDX-License-Identifier: Apache-2.0 */
/* mctl journal: whether a journal's file is as it was written.  The work is
 * mjournal's; here is what people are told of it, also by events and replay. */
#include "ctl/journal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/text.h"
#include "ctl/member.h"
#include "ctl/program.h"
#include "wire/jsonread.h"

enum ctl_exit
journal_ask(struct ctl *ctl, const char *const *argv,
            bool (*line)(void *ctx, char *line), void *ctx,
            json_t *const *report)
{
    char said[PROGRAM_SAID_SIZE];
    int status = program_run(argv, line, ctx, said);

    if (status < 0 || status == 127) {
        ctl_say(ctl, "mjournal, which reads journals, can't be run",
                status < 0 ? strerror(-status) : "it is not there",
                "install it beside mctl or into PATH");
        return CTL_FAILED;
    }
    said[strcspn(said, "\n")] = '\0';
    if (!*report) {
        ctl_say(ctl, "the journal can't be read",
                !strncmp(said, "mjournal: ", 10) ? said + 10 : said, NULL);
        return status == 2 ? CTL_USAGE : CTL_FAILED;
    }
    return member_true(*report, "proved") ? CTL_OK : CTL_FAILED;
}

void
journal_warn(struct ctl *ctl, const char *file, const json_t *report)
{
    if (member_known(report, "broken")) {
        ctl_say(ctl, file, member_text(report, "broken"),
                "what is shown is what comes before that");
    }
    if (member_known(report, "end_why") && !member_true(report, "proved") &&
        !member_known(report, "broken")) {
        ctl_say(ctl, file, member_text(report, "end_why"), NULL);
    }
}

static bool
take_line(void *ctx, char *text)
{
    json_t **report = ctx, *line = jsonread(text, strlen(text), 0, NULL);

    if (json_object_get(line, "report") && !*report) {
        *report = json_incref(json_object_get(line, "report"));
    }
    json_decref(line);
    return true;
}

static void
print_report(struct ctl *ctl, const char *file, const json_t *report)
{
    FILE *out = ctl->out;

    put_text(out, file);
    fprintf(out, ": %.0f rows", member_number(report, "rows"));
    if (member_known(report, "first_after")) {
        fprintf(out, ", behind %s which the bounds took",
                member_text(report, "first_after"));
    }
    if (member_known(report, "last")) {
        fprintf(out, ", to %s", member_text(report, "last"));
    }
    fprintf(out, "; %.0f blocks of inputs\n", member_number(report, "inputs"));
    fprintf(out, "chain: %s\n",
            member_known(report, "broken") ? member_text(report, "broken")
                                           : "unbroken");
    fprintf(out, "end: %s\n", member_text(report, "end"));
    if (member_known(report, "end_why")) {
        fprintf(out, "     %s\n", member_text(report, "end_why"));
    }
    fprintf(out, "last link: %s\n", member_text(report, "link"));
}

static enum ctl_exit
run(struct ctl *ctl, int argc, char **argv)
{
    json_t *report = NULL;

    if (argc != 2 || strcmp(argv[0], "verify")) {
        return ctl_usage(ctl, &verb_journal, "say \"verify\" and one file");
    }
    const char *const arguments[] = {
        "mjournal", "verify", "--link", ctl->link ? ctl->link : "",
        "--",       argv[1],  NULL};
    enum ctl_exit result =
        journal_ask(ctl, arguments, take_line, &report, &report);
    if (report && ctl->json) {
        ctl_put_json(ctl, report);
    } else if (report) {
        print_report(ctl, argv[1], report);
        if (ctl->link) {
            fprintf(ctl->out, "link asked for: %s\n",
                    member_known(report, "link_row")
                        ? member_text(report, "link_row")
                        : "none of these rows has it");
        }
    }
    json_decref(report);
    return result;
}

const struct verb verb_journal = {
    .name = "journal",
    .usage = "verify FILE [--link LINK]",
    .summary = "whether a journal's file is as it was written",
    .help =
        "Reads all of it and changes nothing; no broker need run. Says how "
        "far the\nchecksums prove it, what is wrong and at which row, whether "
        "its end is missing,\nand the last link: kept elsewhere, it proves "
        "later that all up to there is as it\nwas. Exit code 1 if anything is "
        "not.\n\n"
        "  --link LINK    also find the row that has this link; 1 if none "
        "has\n",
    .run = run,
};
