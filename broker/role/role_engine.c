/* SPDX-License-Identifier: Apache-2.0 */
/* The process "engine": the engine core in a loop, between the lines to back
 * and platform, with the journal and the control socket.  It needs no
 * privileges.  What comes over a line is checked for who may say it, since back
 * speaks with strangers and may be taken over by one.  Called by main. */
#include "broker/role/role.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/loop.h"
#include "base/text.h"
#include "broker/control/control.h"
#include "broker/config/confchange.h"
#include "broker/engine/engine.h"
#include "broker/engine/jsonline.h"
#include "broker/journal/journal.h"
#include "broker/role/line.h"
#include "broker/role/reload.h"
#include "broker/role/watched.h"
#include "model/cause.h"
#include "model/name.h"

#define JOURNAL_NAME "journal/journal.db" /* In the state directory. */
#define JOURNAL_OPEN_SIZE 640             /* What opening it may have to say. */

struct engine_role {
    const struct role_env *env;
    struct loop *loop;
    struct line parent, back, platform;
    struct journal *journal;
    struct engine_port port;
    struct engine *engine;
    struct control *control;
    struct watched control_fd;
    struct reload reload;
    struct control_reload told; /* What came of the last, for people. */
    bool ask;                   /* The parent is still to be asked for one. */
    bool platform_ready, back_told, parent_told;
    bool failed, ignored_signal;
};

static int begin(struct engine_role *);
static int open_journal(struct engine_role *);
static int open_control(struct engine_role *);
static void turn(void *ctx, nsec_t now);
static nsec_t deadline(void *ctx, nsec_t now);
static void hear_parent(struct engine_role *, struct msg_reload *step,
                        enum parent_word *);
static void hear_reload(struct engine_role *, const struct msg_reload *,
                        nsec_t now);
static int ask_reload(void *ctx, char *why, size_t why_size);
static void hear(struct engine_role *, struct line *, nsec_t now);
static void tell_ready(struct engine_role *);
static void note_for_people(struct engine_role *, const struct msg *);
static int to_platform(void *ctx, const struct msg *);
static int to_back(void *ctx, const struct msg *);
static void watch(void *ctx, const char *json);
static void note(void *ctx, const struct vm *, const struct note *);
static int64_t wall_ns(void *ctx);

int
role_engine(const struct role_env *env)
{
    struct engine_role *role = calloc(1, sizeof *role);
    if (!role) {
        log_error("no memory");
        return EXIT_FAILURE;
    }

    role->env = env;
    reload_init(&role->reload, env);
    role->told.path = env->path;
    text_copy(role->told.hash, sizeof role->told.hash,
              env->hash ? env->hash : "");
    role->told.wall_ns = env->wall_ns(NULL);
    int error = begin(role);
    if (error) {
        role->failed = true;
    } else {
        loop_run(role->loop);
    }
    watched_end(&role->control_fd);
    control_destroy(role->control);
    engine_destroy(role->engine);
    journal_close(role->journal);
    reload_fini(&role->reload);
    line_close(&role->platform);
    line_close(&role->back);
    line_close(&role->parent);
    loop_destroy(role->loop);
    int status = role->failed ? EXIT_FAILURE : EXIT_SUCCESS;
    free(role);
    return status;
}

static int
begin(struct engine_role *role)
{
    static const struct loop_ops ops = {.turn = turn, .deadline = deadline};

    role->port = (struct engine_port){.ctx = role,
                                      .to_platform = to_platform,
                                      .to_back = to_back,
                                      .watch = watch,
                                      .note = note,
                                      .wall_ns = wall_ns};
    int error = loop_create(&role->loop, &ops, role);
    if (!error) {
        error = watched_signals(role->loop, &role->ignored_signal);
    }
    if (!error) {
        error = line_open(&role->parent, role->loop, FD_PARENT, false,
                          GRANT_ENGINE, GRANT_PARENT);
    }
    if (!error) {
        error = line_open(&role->back, role->loop, FD_ENGINE_BACK, true,
                          GRANT_ENGINE, GRANT_BACK);
    }
    if (!error) {
        error = line_open(&role->platform, role->loop, FD_ENGINE_PLATFORM, true,
                          GRANT_ENGINE, GRANT_PLATFORM);
    }
    if (error) {
        log_error("can't start: %s", strerror(-error));
        return error;
    }
    error = open_journal(role);
    if (error) {
        return error;
    }
    error = engine_create(&role->engine, role->env->config, &role->port,
                          role->journal, role->env->clock());
    if (error) {
        log_error("can't start: %s", strerror(-error));
        return error;
    }
    return open_control(role);
}

/* What only the process knows, and not the core: what was found at the start,
 * which later is all that tells why rows are missing, and who died. */
static void
record(struct engine_role *role, const char *name, const char *why)
{
    const struct broker_config *config = role->env->config;
    struct journal_row row = {.kind = JOURNAL_EVENT,
                              .time = role->env->clock(),
                              .wall_ns = wall_ns(role)};
    struct jsonline line;

    name_of_host(config->domain, config->host_id, NAME_BROKER, 0, row.subject);
    text_copy(row.name, sizeof row.name, name);
    jsonline_begin(&line, row.detail, sizeof row.detail);
    jsonline_text(&line, "reason", why);
    jsonline_end(&line);
    (void)journal_add(role->journal, &row);
}

static int
open_journal(struct engine_role *role)
{
    const struct broker_config *config = role->env->config;
    const struct journal_opts opts = {.size_max = config->journal_size_max,
                                      .inputs_max = config->journal_inputs_max,
                                      .age_max_s = config->journal_age_max_s};
    char path[CONFIG_PATH_SIZE + sizeof JOURNAL_NAME], why[JOURNAL_OPEN_SIZE];

    snprintf(path, sizeof path, "%s/" JOURNAL_NAME, config->state_dir);
    why[0] = '\0';
    int result = journal_open(&role->journal, path, &opts, why, sizeof why);
    if (result < 0) {
        log_error("the journal %s can't be opened: %s", path,
                  why[0] ? why : strerror(-result));
        return result;
    }
    if (result > 0) {
        log_warn("the journal: %s", why);
        record(role, "JOURNAL_DAMAGED", why);
    }
    if (role->env->ended) {
        record(role, "PROCESS_DIED", role->env->ended);
    }
    return 0;
}

static int
open_control(struct engine_role *role)
{
    const struct control_env env = {.config = role->env->config,
                                    .engine = role->engine,
                                    .journal = role->journal,
                                    .rights = role->env->rights,
                                    .wall_ns = role->env->wall_ns,
                                    .ctx = role,
                                    .ask_reload = ask_reload,
                                    .reload = &role->told};

    int error = control_create(&role->control, &env, FD_ENGINE_CONTROL);
    if (error) {
        log_error("no control socket: %s", strerror(-error));
        return error;
    }
    watched_begin(&role->control_fd, role->loop, control_fd(role->control));
    return 0;
}

static void
turn(void *ctx, nsec_t now)
{
    struct engine_role *role = ctx;
    enum parent_word word;
    struct msg_reload step;

    hear_parent(role, &step, &word);
    hear(role, &role->platform, now);
    hear(role, &role->back, now);
    if (word == PARENT_RELOAD) { /* What was said before comes first. */
        hear_reload(role, &step, now);
    }
    watched_take(&role->control_fd);
    control_run(role->control, now);
    engine_run(role->engine, now);
    tell_ready(role);
    line_arm(&role->parent);
    line_arm(&role->back);
    line_arm(&role->platform);
}

static nsec_t
deadline(void *ctx, nsec_t now)
{
    const struct engine_role *role = ctx;
    nsec_t soonest = nsec_min(engine_deadline(role->engine),
                              control_deadline(role->control));

    soonest = nsec_min(soonest, line_deadline(&role->parent, now));
    soonest = nsec_min(soonest, line_deadline(&role->back, now));
    return nsec_min(soonest, line_deadline(&role->platform, now));
}

static void
hear_parent(struct engine_role *role, struct msg_reload *step,
            enum parent_word *word)
{
    *word = line_hear_parent(&role->parent, step);
    if (*word == PARENT_BYE && strcmp(role->parent.bye.reason, LINE_BYE) != 0) {
        record(role, "PROCESS_DIED", role->parent.bye.reason);
    }
    if (*word == PARENT_BYE || *word == PARENT_GONE) {
        loop_stop(role->loop);
    }
    reload_flush(&role->reload, &role->parent);
    if (role->ask) {
        struct msg msg = {.type = MSG_RELOADED};

        msg.reloaded.step = RELOAD_ASK;
        msg.reloaded.number = role->told.n_asked;
        role->ask = line_send(&role->parent, &msg) != 0;
    }
}

static int
ask_reload(void *ctx, char *why, size_t why_size)
{
    struct engine_role *role = ctx;

    (void)why;
    (void)why_size;
    role->told.n_asked++;
    role->ask = true;
    role->parent.ready = true; /* The next turn comes at once. */
    return 0;
}

static void
prepare(struct engine_role *role)
{
    struct reload *reload = &role->reload;
    char why[CONFIG_WHY_SIZE] = "";

    int error = reload_read(reload, why, sizeof why);
    if (!error) {
        error = engine_prepare(role->engine, &reload->other, why, sizeof why);
    }
    reload_answer(reload, &role->parent, RELOAD_PREPARE, error, why);
}

static void
take(struct engine_role *role, const struct msg_reload *step, nsec_t now)
{
    const struct rights rights = {.owner = role->env->rights.owner,
                                  .has_control = step->control_gid >= 0,
                                  .has_operator = step->operator_gid >= 0,
                                  .control_gid = (gid_t)step->control_gid,
                                  .operator_gid = (gid_t)step->operator_gid};
    struct reload *reload = &role->reload;

    reload_swap(reload);
    engine_reconfigure(role->engine, &reload->other, step->hash, now);
    control_set_rights(role->control, &rights);
    reload_drop(reload);
    text_copy(role->told.hash, sizeof role->told.hash, step->hash);
    role->told.wall_ns = wall_ns(role);
    reload_answer(reload, &role->parent, RELOAD_TAKE, 0, "");
}

static void
hear_reload(struct engine_role *role, const struct msg_reload *step, nsec_t now)
{
    struct control_reload *told = &role->told;

    switch ((enum reload_step)step->step) {
    case RELOAD_PREPARE:
        prepare(role);
        return;
    case RELOAD_TAKE:
        take(role, step, now);
        return;
    case RELOAD_REFUSED:
        engine_unprepare(role->engine);
        reload_drop(&role->reload);
        engine_config_refused(role->engine, step->reason, now);
        break;
    case RELOAD_DONE:
        break;
    case RELOAD_SERVE:
    case RELOAD_ASK:
        return;
    }
    told->refused = step->step == RELOAD_REFUSED;
    told->n_done =
        step->number > told->n_done ? (uint32_t)step->number : told->n_done;
    text_copy(told->reason, sizeof told->reason, step->reason);
}

/* If the other process is gone the parent knows, and will tell us to leave. */
static void
hear(struct engine_role *role, struct line *line, nsec_t now)
{
    char why[MSG_WHY_SIZE];
    struct msg msg;

    for (int i = 0; i < LINE_TURN_MAX; i++) {
        int got = line_recv(line, &msg, why, sizeof why);
        if (!got) {
            return;
        }
        if (got < 0) {
            log_error("%s sent what it may not (%s); leaving",
                      grant_role_name(line->peer), why);
            role->failed = true;
            loop_stop(role->loop);
            return;
        }
        note_for_people(role, &msg);
        engine_on_event(role->engine, &msg, now);
    }
    line->ready = true; /* There may be more, for the next turn. */
}

/* Once the platform told what there is: back may begin, and the parent know. */
static void
tell_ready(struct engine_role *role)
{
    struct msg started = {.type = MSG_STARTED}, ready = {.type = MSG_READY};

    if (!role->platform_ready || role->parent_told) {
        return;
    }
    started.started.start_count = journal_start_count(role->journal);
    role->back_told = role->back_told || !line_send(&role->back, &started);
    role->parent_told = role->back_told && !line_send(&role->parent, &ready);
}

/* Back speaks of guests by their UUID; it knows no others. */
static const char *
name_of(const struct engine_role *role, const struct uuid *vm)
{
    const struct guest_config *guest = config_guest(role->env->config, vm);

    return guest ? guest->name : "?";
}

/* What somebody reading the log wants to know. */
static void
note_for_people(struct engine_role *role, const struct msg *msg)
{
    char cause[CAUSE_TEXT_SIZE];

    switch (msg->type) {
    case MSG_READY:
        log_info("platform: %s", msg->ready.note);
        role->platform_ready = true;
        break;
    case MSG_TROUBLE:
        log_warn("platform: %s: %s", msg->trouble.where, msg->trouble.reason);
        break;
    case MSG_GUEST_UP:
        log_info("vm %s: %s is here", msg->guest_up.name,
                 msg->guest_up.software);
        break;
    case MSG_GUEST_LOST:
        log_info("vm %s: its agent is lost: %s",
                 name_of(role, &msg->guest_lost.vm), msg->guest_lost.reason);
        break;
    case MSG_GUEST_ALARM:
        log_warn("vm %s: %s; refused, %llu so far",
                 name_of(role, &msg->guest_alarm.vm), msg->guest_alarm.reason,
                 (unsigned long long)msg->guest_alarm.n_refused);
        break;
    case MSG_OUTCOME:
        if (msg->outcome.error) {
            cause_format(msg->outcome.cause, cause);
            log_warn("an action failed: %s (mctl trace %s)",
                     msg->outcome.reason, cause);
        }
        break;
    default:
        break;
    }
}

static int
to_platform(void *ctx, const struct msg *msg)
{
    struct engine_role *role = ctx;

    return line_send(&role->platform, msg);
}

/* Before back may begin it has no sessions that could be another's. */
static int
to_back(void *ctx, const struct msg *msg)
{
    struct engine_role *role = ctx;

    return role->back_told ? line_send(&role->back, msg) : 0;
}

static void
watch(void *ctx, const char *json)
{
    struct engine_role *role = ctx;

    if (role->control) {
        control_watch(role->control, json);
    }
}

static void
note(void *ctx, const struct vm *vm, const struct note *note)
{
    struct engine_role *role = ctx;

    if (role->control) {
        control_note(role->control, vm, note);
    }
}

static int64_t
wall_ns(void *ctx)
{
    struct engine_role *role = ctx;

    return role->env->wall_ns(NULL);
}
