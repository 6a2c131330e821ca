/* SPDX-License-Identifier: Apache-2.0 */
/* mctl: asks a running mbrokerd what it sees, decides and why, and tells it
 * what to do.  A table of verbs, one file each; here are the command line,
 * --help and how errors look.  Reads NO_COLOR and TERM, and nothing else of its
 * environment. */
#include <errno.h>
#include <getopt.h>
#include <jansson.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#include "base/text.h"
#include "ctl/ctl.h"
#include "ctl/when.h"
#include "wire/request.h"

#define RUN_DIR "/run/mbroker"

static const struct verb *const verbs[] = {
    &verb_status, &verb_vms,     &verb_cpus,   &verb_power,   &verb_cap,
    &verb_policy, &verb_why,     &verb_trace,  &verb_events,  &verb_notes,
    &verb_watch,  &verb_journal, &verb_replay, &verb_plugins, &verb_check,
    &verb_doctor, &verb_reload,  NULL,
};

enum long_option {
    OPTION_RUN_DIR = 256,
    OPTION_VERSION,
    OPTION_VM,
    OPTION_TYPE,
    OPTION_SINCE,
    OPTION_UNTIL,
    OPTION_LINK,
    OPTION_POLICY,
    OPTION_CONFIG,
};

static const struct option options[] = {
    {"json", no_argument, NULL, 'j'},
    {"run-dir", required_argument, NULL, OPTION_RUN_DIR},
    {"vm", required_argument, NULL, OPTION_VM},
    {"type", required_argument, NULL, OPTION_TYPE},
    {"since", required_argument, NULL, OPTION_SINCE},
    {"until", required_argument, NULL, OPTION_UNTIL},
    {"link", required_argument, NULL, OPTION_LINK},
    {"policy", required_argument, NULL, OPTION_POLICY},
    {"config", required_argument, NULL, OPTION_CONFIG},
    {"follow", no_argument, NULL, 'f'},
    {"lines", required_argument, NULL, 'n'},
    {"help", no_argument, NULL, 'h'},
    {"version", no_argument, NULL, OPTION_VERSION},
    {NULL, 0, NULL, 0},
};

static volatile int stop;
static bool no_memory; /* For something that was to be JSON. */

static int take_options(struct ctl *, int argc, char **argv, bool *wants_help);
static int take_value(struct ctl *, int option, const char *value);
static int take_moment(struct ctl *, const char *value, int64_t *out_ns);
static int run_verb(struct ctl *, const struct verb *, int n_words,
                    char **words);
static bool options_fit(const struct ctl *, const struct verb *);
static void help(const struct verb *, FILE *);
static void help_all(FILE *);
static const struct verb *find_verb(const char *name);
static size_t columns_of_terminal(void);
static void catch_signals(void);
static void *note_malloc(size_t);

int
main(int argc, char **argv)
{
    struct ctl ctl = {.run_dir = RUN_DIR,
                      .out = stdout,
                      .err = stderr,
                      .now_s = (int64_t)time(NULL)};
    bool wants_help = false;

    int code = take_options(&ctl, argc, argv, &wants_help);
    if (code >= 0) {
        return code;
    }
    const char *name = optind < argc ? argv[optind] : NULL;
    const struct verb *verb = name ? find_verb(name) : NULL;
    if (name && !verb) {
        ctl_say(&ctl, "there is no such verb", name,
                "\"mctl --help\" lists them");
        return CTL_USAGE;
    }
    if (wants_help || !verb) {
        help(verb, wants_help ? stdout : stderr);
        return wants_help ? CTL_OK : CTL_USAGE;
    }
    if (!options_fit(&ctl, verb)) {
        return ctl_usage(&ctl, verb, "an option is for another verb");
    }
    return run_verb(&ctl, verb, argc - optind - 1, argv + optind + 1);
}

/* Returns what to exit with, or -1 to go on. */
static int
take_options(struct ctl *ctl, int argc, char **argv, bool *wants_help)
{
    int option;

    while ((option = getopt_long(argc, argv, "hjn:f", options, NULL)) != -1) {
        switch (option) {
        case 'j':
            ctl->json = true;
            break;
        case 'f':
            ctl->follow = true;
            break;
        case 'h':
            *wants_help = true;
            break;
        case OPTION_VERSION:
            puts("mctl " MBROKER_VERSION);
            return CTL_OK;
        case '?':
            fputs("Try \"mctl --help\".\n", stderr);
            return CTL_USAGE;
        default:
            if (take_value(ctl, option, optarg)) {
                return CTL_USAGE;
            }
        }
    }
    return -1;
}

static int
take_value(struct ctl *ctl, int option, const char *value)
{
    int64_t n;

    switch (option) {
    case OPTION_RUN_DIR:
        ctl->run_dir = value;
        return 0;
    case OPTION_VM:
        ctl->vm = value;
        return 0;
    case OPTION_TYPE:
        ctl->note_type = value;
        return 0;
    case OPTION_LINK:
        ctl->link = value;
        return 0;
    case OPTION_POLICY:
        ctl->policy = value;
        return 0;
    case OPTION_CONFIG:
        ctl->config = value;
        return 0;
    case OPTION_SINCE:
        return take_moment(ctl, value, &ctl->since_ns);
    case OPTION_UNTIL:
        return take_moment(ctl, value, &ctl->until_ns);
    case 'n':
        if (text_to_i64(value, &n) || n < 1 || n > REQUEST_EVENTS_MAX) {
            ctl_say(ctl, "-n takes a whole number from 1 to 500", value, NULL);
            return -EINVAL;
        }
        ctl->n_events = (int32_t)n;
        return 0;
    }
    return -EINVAL;
}

static int
take_moment(struct ctl *ctl, const char *value, int64_t *out_ns)
{
    int error = when_parse(out_ns, value, ctl->now_s);
    if (error) {
        ctl_say(ctl, "that is no moment", value, WHEN_FORMS);
    }
    return error;
}

static int
run_verb(struct ctl *ctl, const struct verb *verb, int n_words, char **words)
{
    const char *term = getenv("TERM");
    const char *no_color = getenv("NO_COLOR");

    ctl->colour = isatty(STDOUT_FILENO) && !(no_color && no_color[0]) && term &&
                  strcmp(term, "dumb") != 0;
    ctl->columns = columns_of_terminal();
    ctl->stop = &stop;
    catch_signals();
    /* What jansson has no memory for it leaves out, and says nothing. */
    json_set_alloc_funcs(note_malloc, free);
    enum ctl_exit result = verb->run(ctl, n_words, words);
    if ((fflush(stdout) || ferror(stdout)) && errno != EPIPE) {
        ctl_say(ctl, "the output can't be written", NULL, NULL);
        return CTL_FAILED;
    }
    if (no_memory) {
        fputs("mctl: no memory; what is written is not the whole\n", stderr);
        return result == CTL_OK ? CTL_FAILED : result;
    }
    return result;
}

static void *
note_malloc(size_t size)
{
    void *p = malloc(size);

    no_memory |= !p;
    return p;
}

static bool
options_fit(const struct ctl *ctl, const struct verb *verb)
{
    bool rows = verb == &verb_events;

    return (rows || verb == &verb_notes ||
            (!ctl->vm && !ctl->note_type && !ctl->follow)) &&
           (rows || (!ctl->since_ns && !ctl->until_ns)) &&
           (verb == &verb_journal || !ctl->link) &&
           (verb == &verb_replay || (!ctl->policy && !ctl->config));
}

/* Help. */

static const char common_options[] =
    "  -j, --json     JSON on standard output, for programs\n"
    "  --run-dir DIR  where the broker's control.sock is (" RUN_DIR ")\n"
    "  -h, --help     this, or a verb's\n"
    "  --version      the version\n";

/* Of a verb; or null: of all. */
static void
help(const struct verb *verb, FILE *out)
{
    if (!verb) {
        help_all(out);
        return;
    }
    fprintf(out, "usage: mctl %s %s%s[OPTION…]\n\n%s.\n%s\nOptions:\n%s",
            verb->name, verb->usage, verb->usage[0] ? " " : "", verb->summary,
            verb->help, common_options);
}

static void
help_all(FILE *out)
{
    fputs("usage: mctl VERB [ARGUMENT…] [OPTION…]\n\n"
          "Asks a running mbrokerd what it sees and why it does what it does.\n"
          "\nVerbs:\n",
          out);
    for (size_t i = 0; verbs[i]; i++) {
        fprintf(out, "  %-9s %s\n", verbs[i]->name, verbs[i]->summary);
    }
    fprintf(out,
            "\nOptions:\n%s\n"
            "Exit codes: 0 done, 1 refused or failed, 2 wrong usage, 3 no "
            "broker answers,\n4 a replay decided otherwise.\n",
            common_options);
}

static const struct verb *
find_verb(const char *name)
{
    for (size_t i = 0; verbs[i]; i++) {
        if (!strcmp(verbs[i]->name, name)) {
            return verbs[i];
        }
    }
    return NULL;
}

static size_t
columns_of_terminal(void)
{
    struct winsize size;

    return ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) ? 0 : size.ws_col;
}

/* Ctrl-C ends "watch" in good order; elsewhere it ends the wait. */
static void
on_signal(int signum)
{
    stop = signum;
}

static void
catch_signals(void)
{
    struct sigaction action = {.sa_handler = on_signal};

    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    signal(SIGPIPE, SIG_IGN);
}
