/* SPDX-License-Identifier: Apache-2.0 */
/* The process "back": the back core in a loop, with the guests' sockets and a
 * line to the engine.  It needs no privileges and opens nothing.  Guests may
 * connect before the engine said which start this is; they wait in their
 * sockets' backlogs until then, since no cause number could be given.  Called
 * by main. */
#include "broker/role/role.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/loop.h"
#include "broker/back/back.h"
#include "broker/role/line.h"
#include "broker/role/watched.h"
#include "include/mchan.h"

struct back_role {
    const struct role_env *env;
    struct loop *loop;
    struct line parent, engine;
    struct back *back; /* Null until the engine's STARTED. */
    struct watched guests[CONFIG_GUESTS_MAX];
    bool parent_told; /* That we are ready. */
    bool failed, ignored_signal;
};

static void turn(void *ctx, nsec_t now);
static nsec_t deadline(void *ctx, nsec_t now);
static void hear_engine(struct back_role *);
static int start(struct back_role *, uint64_t start_count);
static int add_guest(struct back_role *, uint32_t guest);
static int to_engine(void *ctx, const struct msg *);

int
role_back(const struct role_env *env)
{
    static const struct loop_ops ops = {.turn = turn, .deadline = deadline};
    struct back_role *role = calloc(1, sizeof *role);
    if (!role) {
        log_error("no memory");
        return EXIT_FAILURE;
    }

    role->env = env;
    int error = loop_create(&role->loop, &ops, role);
    if (!error) {
        error = watched_signals(role->loop, &role->ignored_signal);
    }
    if (!error) {
        error = line_open(&role->parent, role->loop, FD_PARENT, false,
                          GRANT_BACK, GRANT_PARENT);
    }
    if (!error) {
        error = line_open(&role->engine, role->loop, FD_BACK_ENGINE, false,
                          GRANT_BACK, GRANT_ENGINE);
    }
    if (error) {
        log_error("can't start: %s", strerror(-error));
        role->failed = true;
    } else {
        loop_run(role->loop);
    }
    for (uint32_t i = 0; i < env->config->n_guests; i++) {
        watched_end(&role->guests[i]);
    }
    back_destroy(role->back);
    line_close(&role->engine);
    line_close(&role->parent);
    loop_destroy(role->loop);
    int status = role->failed ? EXIT_FAILURE : EXIT_SUCCESS;
    free(role);
    return status;
}

static void
turn(void *ctx, nsec_t now)
{
    struct back_role *role = ctx;
    const struct msg ready = {.type = MSG_READY};

    if (line_hear_parent(&role->parent) != PARENT_QUIET) {
        loop_stop(role->loop);
    }
    hear_engine(role);
    if (role->back) {
        role->parent_told =
            role->parent_told || !line_send(&role->parent, &ready);
        for (uint32_t i = 0; i < role->env->config->n_guests; i++) {
            if (watched_take(&role->guests[i])) {
                back_mark_ready(role->back, i);
            }
        }
        back_run(role->back, now);
        for (uint32_t i = 0; i < role->env->config->n_guests; i++) {
            watched_want(&role->guests[i], back_wants_input(role->back, i));
        }
    }
    line_arm(&role->parent);
    line_arm(&role->engine);
}

static nsec_t
deadline(void *ctx, nsec_t now)
{
    const struct back_role *role = ctx;
    nsec_t soonest = nsec_min(line_deadline(&role->parent, now),
                              line_deadline(&role->engine, now));

    return role->back ? nsec_min(soonest, back_deadline(role->back)) : soonest;
}

static void
hear_engine(struct back_role *role)
{
    char why[MSG_WHY_SIZE];
    struct msg msg;

    for (int i = 0; i < LINE_TURN_MAX; i++) {
        int got = line_recv(&role->engine, &msg, why, sizeof why);
        if (!got) {
            return;
        }
        if (got < 0 || role->back) {
            log_error("the engine sent what it may not (%s); leaving",
                      got < 0 ? why : msg_name(msg.type));
            role->failed = true;
        } else {
            int error = start(role, msg.started.start_count);

            if (error) {
                log_error("can't serve guests: %s", strerror(-error));
                role->failed = true;
            }
        }
        if (role->failed) {
            loop_stop(role->loop);
            return;
        }
    }
}

static int
start(struct back_role *role, uint64_t start_count)
{
    const struct back_env env = {.to_engine = to_engine,
                                 .ctx = role,
                                 .start_count = start_count,
                                 .clock = role->env->clock};

    int error = back_create(&role->back, role->env->config, &env);
    for (uint32_t i = 0; !error && i < role->env->config->n_guests; i++) {
        error = add_guest(role, i);
    }
    return error;
}

static int
add_guest(struct back_role *role, uint32_t guest)
{
    const char *uri = role->env->config->guests[guest].channel;
    struct mchan_opts opts = MCHAN_OPTS_INIT;
    struct mchan *channel;

    if (!strncmp(uri, "sim:", 4)) {
        return 0; /* msim's; nobody can come that way here. */
    }
    opts.fd = FD_BACK_GUESTS + (int)guest;
    int error = mchan_listen(&channel, uri, &opts);
    if (error) {
        return error;
    }
    back_add_channel(role->back, guest, channel);
    watched_begin(&role->guests[guest], role->loop, mchan_fd(channel));
    return 0;
}

static int
to_engine(void *ctx, const struct msg *msg)
{
    struct back_role *role = ctx;

    return line_send(&role->engine, msg);
}
