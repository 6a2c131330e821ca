/* SPDX-License-Identifier: Apache-2.0 */
/* mjournal: reads a journal's file, without a broker, for mctl: rows, whether
 * all is as it was written, and what today's policies would have decided.
 * Writes a line of JSON each to the standard output, which mctl lays out for
 * people, and one line to the standard error if the file can't be read.  Reads
 * nothing of its environment. */
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/text.h"
#include "broker/journal/journalread.h"
#include "broker/replay/again.h"
#include "broker/replay/look.h"

#define EXIT_USAGE 2
#define WHY_SIZE 640

enum option_number {
    OPTION_LINES = 256,
    OPTION_SINCE,
    OPTION_UNTIL,
    OPTION_VM,
    OPTION_TYPE,
    OPTION_LINK,
    OPTION_POLICY,
    OPTION_CONFIG,
};

static int
usage(const char *what)
{
    fprintf(stderr,
            "mjournal: %s; usage: mjournal events [--lines N] [--since-ns N] "
            "[--until-ns N] [--vm VM] [--type TYPE] FILE | verify [--link "
            "LINK] FILE | replay [--policy NAME[:KEY=VALUE,...]] [--config "
            "CONFIG] FILE\n",
            what);
    return EXIT_USAGE;
}

static int
number(const char *text, int64_t *out)
{
    return text_to_i64(text, out) || *out < 0 ? -EINVAL : 0;
}

static int
take_option(struct look *look, int option, const char *value)
{
    int64_t n = 0;

    switch (option) {
    case OPTION_LINES:
        if (number(value, &n) || n > 100000) {
            return -EINVAL;
        }
        look->n = (uint64_t)n;
        return 0;
    case OPTION_SINCE:
        return number(value, &look->filter.since_ns);
    case OPTION_UNTIL:
        return number(value, &look->filter.until_ns);
    case OPTION_VM:
        look->vm = value;
        return 0;
    case OPTION_TYPE:
        return text_copy(look->filter.type, sizeof look->filter.type, value);
    case OPTION_LINK:
        look->link = value;
        return 0;
    default:
        return -EINVAL;
    }
}

int
main(int argc, char **argv)
{
    static const struct option options[] = {
        {"lines", required_argument, NULL, OPTION_LINES},
        {"since-ns", required_argument, NULL, OPTION_SINCE},
        {"until-ns", required_argument, NULL, OPTION_UNTIL},
        {"vm", required_argument, NULL, OPTION_VM},
        {"type", required_argument, NULL, OPTION_TYPE},
        {"link", required_argument, NULL, OPTION_LINK},
        {"policy", required_argument, NULL, OPTION_POLICY},
        {"config", required_argument, NULL, OPTION_CONFIG},
        {NULL, 0, NULL, 0},
    };
    struct look look = {.vm = "", .link = ""};
    struct again again = {.policy = "", .config = ""};
    char why[WHY_SIZE] = "";
    int option, error;

    while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
        if (option == OPTION_POLICY) {
            again.policy = optarg;
        } else if (option == OPTION_CONFIG) {
            again.config = optarg;
        } else if (take_option(&look, option, optarg)) {
            return usage("an option makes no sense");
        }
    }
    if (argc - optind != 2) {
        return usage("a verb and a file are needed");
    }
    look.path = again.path = argv[optind + 1];
    if (!strcmp(argv[optind], "events")) {
        error = look_events(&look, stdout, why, sizeof why);
    } else if (!strcmp(argv[optind], "verify")) {
        error = look_verify(&look, stdout, why, sizeof why);
    } else if (!strcmp(argv[optind], "replay")) {
        error = again_replay(&again, stdout, why, sizeof why);
    } else {
        return usage("there is no such verb");
    }
    if (error) {
        fprintf(stderr, "mjournal: %s\n", why[0] ? why : strerror(-error));
        return EXIT_FAILURE;
    }
    return fflush(stdout) ? EXIT_FAILURE : EXIT_SUCCESS;
}
