/* SPDX-License-Identifier: Apache-2.0 */
/* magentd, the M-agent of a guest: reads its settings, opens the channel and
 * the probes, and turns the core (agent.c) until it is told to stop.  Relies on
 * libmchan to find the broker and to find it again. */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "agent/agent.h"
#include "agent/door.h"
#include "agent/settings.h"
#include "agent/show.h"
#include "base/log.h"
#include "base/loop.h"
#include "include/mchan.h"
#include "probe/probe.h"

enum {
    EXIT_USAGE = 2, /* The command line or the configuration is wrong. */
};

/* So long without a broker, and people are told. */
#define ABSENT_MAX (3 * NSEC_PER_SEC)

enum action {
    ACTION_RUN,
    ACTION_CHECK,
    ACTION_PROBES,
    ACTION_VERSION,
    ACTION_HELP,
    ACTION_SEND,
};

struct program {
    struct settings settings;
    enum action action;
    bool json;
    const char *config;    /* Null: the default, if it is there. */
    const char *send_type; /* Of the note to send. */
    bool latest;
    struct agent *agent;
    struct door *door; /* Null: no notes are taken. */
    struct loop *loop;
    int channel_fd;
    bool channel_ready, door_ready, stop_pending, hangup_pending;
    nsec_t began;
    bool told_absent; /* That no broker came, or one did. */
};

/* What the command line has besides settings_options. */
static const struct option long_options[] = {
    {"probe", required_argument, NULL, 'p'},
    {"config", required_argument, NULL, 'c'},
    {"check", no_argument, NULL, 'k'},
    {"probes", no_argument, NULL, 'l'},
    {"send-note", required_argument, NULL, 'n'},
    {"latest", no_argument, NULL, 't'},
    {"json", no_argument, NULL, 'j'},
    {"version", no_argument, NULL, 'V'},
    {"help", no_argument, NULL, 'h'},
};

#define N_LONG_OPTIONS (sizeof long_options / sizeof long_options[0])

static int load_settings(struct program *, int argc, char **argv, char *why,
                         size_t why_size);
static int try_probes(struct program *, char *why, size_t why_size);
static int send_note(struct program *);
static int run(struct program *);

int
main(int argc, char **argv)
{
    static struct program program = {.channel_fd = -1};
    char why[SETTINGS_WHY_SIZE] = "";
    int error;

    log_open("magentd", LOG_LEVEL_INFO);
    error = load_settings(&program, argc, argv, why, sizeof why);
    switch (program.action) {
    case ACTION_HELP:
        show_help();
        return EXIT_SUCCESS;
    case ACTION_VERSION:
        show_version(program.json);
        return EXIT_SUCCESS;
    case ACTION_PROBES:
        show_probes(program.json);
        return EXIT_SUCCESS;
    case ACTION_CHECK:
        if (!error) {
            error = try_probes(&program, why, sizeof why);
        }
        show_check(program.json, error, why);
        return error ? EXIT_USAGE : EXIT_SUCCESS;
    case ACTION_SEND:
    case ACTION_RUN:
        break;
    }
    if (error) {
        log_error("%s", why);
        return EXIT_USAGE;
    }
    return program.action == ACTION_SEND ? send_note(&program) : run(&program);
}

/* Settings */

/* All options as getopt wants them, the settings' among them. */
static void
fill_options(struct option out[N_LONG_OPTIONS + OPTION_MAX + 1])
{
    size_t n = 0;

    for (size_t i = 0; i < N_LONG_OPTIONS; i++) {
        out[n++] = long_options[i];
    }
    for (const struct option_desc *d = settings_options; d->name; d++) {
        static char names[OPTION_MAX][64];
        char *name = names[d - settings_options];
        snprintf(name, sizeof names[0], "%s", d->name);
        for (char *c = name; *c; c++) {
            *c = *c == '_' ? '-' : *c;
        }
        out[n++] = (struct option){name, required_argument, NULL, 's'};
    }
    memset(&out[n], 0, sizeof out[n]);
}

/* Once over the command line: the first time for what must be known before the
 * file is read, the second time for what overrides it. */
static int
scan(struct program *program, int argc, char **argv, bool first, char *why,
     size_t why_size)
{
    struct option options[N_LONG_OPTIONS + OPTION_MAX + 1];
    bool probes_given = false;
    int c, index = 0;

    fill_options(options);
    opterr = 0;
    optind = 0;
    while ((c = getopt_long(argc, argv, "+:hV", options, &index)) != -1) {
        int error = 0;
        switch (c) {
        case 'p':
            if (!first) {
                program->settings.n_probes *= probes_given;
                probes_given = true;
                error = settings_add_probe(&program->settings, optarg, why,
                                           why_size);
            }
            break;
        case 's':
            if (!first) {
                error = settings_set(&program->settings, options[index].name,
                                     optarg, why, why_size);
            }
            break;
        case 'c':
            program->config = optarg;
            break;
        case 'j':
            program->json = true;
            break;
        case 'n':
            program->action = ACTION_SEND;
            program->send_type = optarg;
            break;
        case 't':
            program->latest = true;
            break;
        case 'k':
            program->action = ACTION_CHECK;
            break;
        case 'l':
            program->action = ACTION_PROBES;
            break;
        case 'V':
            program->action = ACTION_VERSION;
            break;
        case 'h':
            program->action = ACTION_HELP;
            break;
        default:
            snprintf(why, why_size, "%s: %s; see magentd --help",
                     argv[optind - 1],
                     c == ':' ? "needs a value" : "no such option");
            return -EINVAL;
        }
        if (error) {
            return error;
        }
    }
    if (optind < argc) {
        snprintf(why, why_size, "\"%.64s\": magentd takes options only",
                 argv[optind]);
        return -EINVAL;
    }
    return 0;
}

static int
load_settings(struct program *program, int argc, char **argv, char *why,
              size_t why_size)
{
    const char *path;
    int error;

    settings_init(&program->settings);
    error = scan(program, argc, argv, true, why, why_size);
    if (error) {
        return error;
    }
    path = program->config ? program->config : SETTINGS_FILE_DEFAULT;
    error = settings_read(&program->settings, path, why, why_size);
    if (error && (program->config || error != -ENOENT)) {
        return error;
    }
    error = scan(program, argc, argv, false, why, why_size);
    if (error) {
        return error;
    }
    return settings_finish(&program->settings, why, why_size);
}

/* Opens and closes each probe: that changes nothing, and shows what only the
 * probe knows to be wrong. */
static int
try_probes(struct program *program, char *why, size_t why_size)
{
    for (uint32_t i = 0; i < program->settings.n_probes; i++) {
        const struct settings_probe *p = &program->settings.probes[i];
        struct probe_env env = {.options = &p->options, .proc_dirfd = -1};
        struct probe *probe = NULL;
        int error = p->class->open(&probe, &env, why, why_size);

        if (error) {
            return error;
        }
        p->class->close(probe);
    }
    return 0;
}

/* Is a program that has something to say, instead of an agent. */
static int
send_note(struct program *program)
{
    const char *uri = option_text(&program->settings.values, "notes");
    char why[1200] = "";
    int error = -EINVAL;

    if (!*uri) {
        snprintf(why, sizeof why,
                 "--send-note: where to? Give --notes unix:PATH, or notes in "
                 "the settings");
    } else {
        error = door_knock(uri, program->send_type, program->latest,
                           STDIN_FILENO, why, sizeof why);
    }
    if (error) {
        log_error("%s", why);
    }
    return error == -EINVAL ? EXIT_USAGE : error ? EXIT_FAILURE : EXIT_SUCCESS;
}

/* Running */

static nsec_t
read_clock(void *ctx)
{
    return loop_now();
}

static nsec_t
wall_minus_now(void)
{
    struct timespec wall;

    clock_gettime(CLOCK_REALTIME, &wall);
    return wall.tv_sec * NSEC_PER_SEC + wall.tv_nsec - loop_now();
}

static void
say(void *ctx, enum log_level level, const char *line)
{
    switch (level) {
    case LOG_LEVEL_ERROR:
        log_error("%s", line);
        break;
    case LOG_LEVEL_WARN:
        log_warn("%s", line);
        break;
    case LOG_LEVEL_INFO:
        log_info("%s", line);
        break;
    case LOG_LEVEL_DEBUG:
        log_debug("%s", line);
        break;
    }
}

/* Whoever starts it before the broker, or with a wrong path, sees nothing else
 * of it. */
static void
tell_absent(struct program *program, nsec_t now)
{
    struct agent_stats stats;

    agent_stats(program->agent, &stats);
    if (!stats.established && now < program->began + ABSENT_MAX) {
        return;
    }
    program->told_absent = true;
    if (!stats.established) {
        log_warn("no broker has answered at %s yet; goes on measuring and "
                 "trying",
                 option_text(&program->settings.values, "channel"));
    }
}

static void
turn(void *ctx, nsec_t now)
{
    struct program *program = ctx;

    if (program->stop_pending) {
        log_info("told to stop; says goodbye");
        agent_stop(program->agent, "the agent was told to stop");
        loop_stop(program->loop);
        return;
    }
    if (program->hangup_pending) {
        program->hangup_pending = false;
        log_info("SIGHUP: nothing to read again; rotation is followed anyway");
    }
    if (program->channel_ready) {
        program->channel_ready = false;
        agent_on_channel(program->agent);
    }
    if (program->door && (program->door_ready || door_is_due(program->door))) {
        program->door_ready = false;
        door_run(program->door, program->agent, now);
    }
    agent_set_wall(program->agent, wall_minus_now());
    agent_run(program->agent, now);
    if (!program->told_absent) {
        tell_absent(program, now);
    }
}

static nsec_t
deadline(void *ctx, nsec_t now)
{
    struct program *program = ctx;

    if (program->door && door_is_due(program->door)) {
        return now;
    }
    return agent_arm(program->agent) ? now
                                     : agent_deadline(program->agent, now);
}

static int
open_agent(struct program *program, char *why, size_t why_size)
{
    static const struct agent_env env = {.now = read_clock, .say = say};
    const struct settings *settings = &program->settings;
    const char *uri = option_text(&settings->values, "channel");
    struct agent_config config = {
        .sla = settings_sla(settings),
        .software = "magentd " MBROKER_VERSION,
        .claims = option_text(&settings->values, "claim"),
    };
    struct mchan_opts opts = MCHAN_OPTS_INIT;
    struct mchan *channel;
    int error = mchan_open(&channel, uri, &opts);

    if (error) {
        snprintf(why, why_size,
                 "channel %s: %s; a channel is unix:PATH or shm:PATH", uri,
                 strerror(-error));
        return error;
    }
    program->channel_fd = mchan_fd(channel);
    error = agent_create(&program->agent, &config, &env, channel, loop_now());
    if (error) {
        snprintf(why, why_size, "no memory");
        return error;
    }
    return 0;
}

static int
open_probes(struct program *program, char *why, size_t why_size)
{
    static struct probe_env envs[AGENT_PROBES_MAX];
    int proc_dirfd = open("/proc", O_RDONLY | O_DIRECTORY | O_CLOEXEC);

    for (uint32_t i = 0; i < program->settings.n_probes; i++) {
        struct settings_probe *probe = &program->settings.probes[i];
        struct probe_env *env = &envs[i];
        int error;

        env->options = &probe->options;
        env->proc_dirfd = proc_dirfd;
        error =
            agent_add_probe(program->agent, probe->class, env, why, why_size);
        if (error) {
            return error;
        }
    }
    if (*option_text(&program->settings.values, "notes")) {
        int error = door_open(&program->door,
                              option_text(&program->settings.values, "notes"),
                              why, why_size);
        if (error) {
            return error;
        }
    }
    log_info("measures for the broker at %s",
             option_text(&program->settings.values, "channel"));
    return 0;
}

static int
open_loop(struct program *program, char *why, size_t why_size)
{
    static const struct loop_ops ops = {.turn = turn, .deadline = deadline};
    int error = loop_create(&program->loop, &ops, program);

    if (!error && program->channel_fd >= 0) {
        error = loop_watch(program->loop, program->channel_fd, false,
                           &program->channel_ready);
    }
    if (!error && program->door) {
        error = loop_watch(program->loop, door_fd(program->door), false,
                           &program->door_ready);
    }
    if (!error) {
        error = loop_on_signal(program->loop, SIGTERM, &program->stop_pending);
    }
    if (!error) {
        error = loop_on_signal(program->loop, SIGINT, &program->stop_pending);
    }
    if (!error) {
        error = loop_on_signal(program->loop, SIGHUP, &program->hangup_pending);
    }
    if (error) {
        snprintf(why, why_size, "event loop: %s", strerror(-error));
    }
    return error;
}

static int
run(struct program *program)
{
    char why[SETTINGS_WHY_SIZE] = "";
    int error;

    log_open("magentd", settings_log_level(&program->settings));
    program->began = loop_now();
    signal(SIGPIPE, SIG_IGN);
    error = open_agent(program, why, sizeof why);
    if (!error) {
        error = open_probes(program, why, sizeof why);
    }
    if (!error) {
        error = open_loop(program, why, sizeof why);
    }
    if (!error) {
        loop_run(program->loop);
    } else {
        log_error("%s", why);
    }
    if (program->loop && program->channel_fd >= 0) {
        loop_unwatch(program->loop, program->channel_fd);
    }
    if (program->loop && program->door) {
        loop_unwatch(program->loop, door_fd(program->door));
    }
    door_close(program->door);
    agent_destroy(program->agent);
    loop_destroy(program->loop);
    if (error == -EINVAL || error == -EPROTONOSUPPORT) {
        return EXIT_USAGE;
    }
    return error ? EXIT_FAILURE : EXIT_SUCCESS;
}
