/* SPDX-License-Identifier: Apache-2.0 */
/* The process "platform": the platform core in a loop, with the directories it
 * may touch and a line from the engine.  It holds the host's privileges, so an
 * unexpected request is not an error to recover from: it ends the process,
 * which puts everything back first.  It also puts everything back when the
 * engine is gone, and leaves when the parent says so or is gone, last of all,
 * holding the locks until then.  Called by main. */
#include "broker/role/role.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/loop.h"
#include "broker/role/errand.h"
#include "broker/role/line.h"
#include "broker/role/reload.h"
#include "broker/platform/platform.h"
#include "broker/role/watched.h"

#define PATIENCE_NS (10 * NSEC_PER_SEC) /* With guests told to end. */

struct platform_role {
    const struct role_env *env;
    struct loop *loop;
    struct line parent, engine;
    struct platform *platform;
    struct reload reload;
    struct errands errands; /* For the steward. */
    nsec_t give_up; /* On guests that end; NSEC_NEVER: none was told to. */
    bool released;  /* The engine is gone and all was put back. */
    bool failed, ignored_signal;
};

static int begin(struct platform_role *);
static void fill_env(const struct role_env *, struct platform_env *out);
static void keep_to_ourselves(const struct broker_config *);
static void turn(void *ctx, nsec_t now);
static nsec_t deadline(void *ctx, nsec_t now);
static void hear_parent(struct platform_role *, nsec_t now);
static void hear_reload(struct platform_role *, const struct msg_reload *,
                        nsec_t now);
static void hear_engine(struct platform_role *, nsec_t now);
static int to_engine(void *ctx, const struct msg *);

int
role_platform(const struct role_env *env)
{
    struct platform_role *role = calloc(1, sizeof *role);
    if (!role) {
        log_error("no memory");
        return EXIT_FAILURE;
    }

    role->env = env;
    reload_init(&role->reload, env);
    role->give_up = NSEC_NEVER;
    keep_to_ourselves(env->config);
    int error = begin(role);
    if (error) {
        role->failed = true;
    } else {
        loop_run(role->loop);
    }
    int n_left = platform_destroy(role->platform);
    if (n_left) {
        log_error("%d frequency domains could not be put back; \"mbrokerd "
                  "--restore\" tries again",
                  n_left);
        role->failed = true;
    }
    reload_fini(&role->reload);
    line_close(&role->engine);
    line_close(&role->parent);
    loop_destroy(role->loop);
    int status = role->failed ? EXIT_FAILURE : EXIT_SUCCESS;
    free(role);
    return status;
}

int
role_restore(const struct role_env *env)
{
    struct platform_env platform_env;
    char why[CONFIG_WHY_SIZE];

    keep_to_ourselves(env->config);
    fill_env(env, &platform_env);
    int n = platform_restore(env->config, &platform_env, why, sizeof why);
    if (n < 0) {
        log_error("not all could be put back: %s", why);
        return EXIT_FAILURE;
    }
    if (n) {
        log_info("put back what was found: %d frequency domains", n);
    }
    return EXIT_SUCCESS;
}

static int
begin(struct platform_role *role)
{
    static const struct loop_ops ops = {.turn = turn, .deadline = deadline};
    struct platform_env env;
    char why[CONFIG_WHY_SIZE];

    fill_env(role->env, &env);
    env.to_engine = to_engine;
    env.ctx = role;
    role->errands.fd = FD_PLATFORM_STEWARD;
    env.helper = &errands_helper;
    env.helper_ctx = &role->errands;
    int error = loop_create(&role->loop, &ops, role);
    if (!error) {
        error = watched_signals(role->loop, &role->ignored_signal);
    }
    if (!error) {
        error = line_open(&role->parent, role->loop, FD_PARENT, false,
                          GRANT_PLATFORM, GRANT_PARENT);
    }
    if (!error) {
        error = line_open(&role->engine, role->loop, FD_PLATFORM_ENGINE, false,
                          GRANT_PLATFORM, GRANT_ENGINE);
    }
    if (error) {
        log_error("can't start: %s", strerror(-error));
        return error;
    }
    error = platform_create(&role->platform, role->env->config, &env,
                            role->env->clock(), why, sizeof why);
    if (error) {
        log_error("can't start: %s", why);
    }
    return error;
}

static void
fill_env(const struct role_env *env, struct platform_env *out)
{
    *out = (struct platform_env){.sys_dirfd = FD_PLATFORM_SYS,
                                 .proc_dirfd = FD_PLATFORM_PROC,
                                 .data_dirfd = FD_PLATFORM_DATA,
                                 .state_dirfd = -1,
                                 .cap_dirfd = FD_PLATFORM_CAP,
                                 .saved_dirfd = FD_PLATFORM_SAVED,
                                 .clock = env->clock};
}

/* The guests we start get none of our descriptors. */
static void
keep_to_ourselves(const struct broker_config *config)
{
    int n = FD_PLATFORM_LOCKS + 1 + (int)config->n_cpus;

    for (int fd = FD_CONFIG; fd < n; fd++) {
        fcntl(fd, F_SETFD, FD_CLOEXEC);
    }
}

static void
turn(void *ctx, nsec_t now)
{
    struct platform_role *role = ctx;

    hear_parent(role, now);
    hear_engine(role, now);
    platform_run(role->platform, now);
    if (role->give_up != NSEC_NEVER &&
        (!platform_guests_left(role->platform) || now >= role->give_up)) {
        if (platform_guests_left(role->platform)) {
            log_warn("%u guests did not end; left running",
                     platform_guests_left(role->platform));
        }
        loop_stop(role->loop);
    }
    line_arm(&role->parent);
    line_arm(&role->engine);
}

static nsec_t
deadline(void *ctx, nsec_t now)
{
    const struct platform_role *role = ctx;
    nsec_t soonest = nsec_min(platform_deadline(role->platform), role->give_up);

    soonest = nsec_min(soonest, line_deadline(&role->parent, now));
    return nsec_min(soonest, line_deadline(&role->engine, now));
}

/* An orderly BYE may end the guests; a parent that died may not. */
static void
hear_parent(struct platform_role *role, nsec_t now)
{
    struct msg_reload step;
    enum parent_word word = line_hear_parent(&role->parent, &step);

    reload_flush(&role->reload, &role->parent);
    if (word == PARENT_RELOAD) {
        hear_reload(role, &step, now);
    } else if (word == PARENT_GONE) {
        loop_stop(role->loop);
    } else if (word == PARENT_BYE && role->give_up == NSEC_NEVER) {
        if (role->env->config->end_guests) {
            platform_end_guests(role->platform, now);
        }
        role->give_up = role->env->config->end_guests ? now + PATIENCE_NS : now;
    }
}

static void
hear_reload(struct platform_role *role, const struct msg_reload *step,
            nsec_t now)
{
    struct reload *reload = &role->reload;
    char why[CONFIG_WHY_SIZE] = "";
    int error;

    switch ((enum reload_step)step->step) {
    case RELOAD_PREPARE:
        error = reload_read(reload, why, sizeof why);
        if (!error) {
            error = platform_prepare(role->platform, &reload->other, why,
                                     sizeof why);
        }
        reload_answer(reload, &role->parent, RELOAD_PREPARE, error, why);
        break;
    case RELOAD_TAKE:
        reload_swap(reload);
        error = platform_reconfigure(role->platform, &reload->other, now, why,
                                     sizeof why);
        if (error) {
            reload_swap(reload);
        }
        reload_answer(reload, &role->parent, RELOAD_TAKE, error, why);
        break;
    case RELOAD_DONE:
    case RELOAD_REFUSED:
        platform_unprepare(role->platform);
        reload_drop(reload);
        break;
    case RELOAD_SERVE:
    case RELOAD_ASK:
        break;
    }
}

static void
hear_engine(struct platform_role *role, nsec_t now)
{
    char why[MSG_WHY_SIZE];
    struct msg msg;

    line_want(&role->engine, platform_has_room(role->platform));
    for (int i = 0; i < LINE_TURN_MAX && platform_has_room(role->platform);
         i++) {
        int got = line_recv(&role->engine, &msg, why, sizeof why);
        if (!got) {
            break;
        }
        if (got < 0) {
            log_error("the engine sent what it may not (%s); putting "
                      "everything back and leaving",
                      why);
            role->failed = true;
            loop_stop(role->loop);
            return;
        }
        platform_on_msg(role->platform, &msg, now);
    }
    if (role->engine.lost && !role->released) {
        role->released = true;
        platform_release(role->platform, now);
    }
}

static int
to_engine(void *ctx, const struct msg *msg)
{
    struct platform_role *role = ctx;

    return line_send(&role->engine, msg);
}
