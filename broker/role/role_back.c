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
#include <sys/socket.h>
#include <unistd.h>

#include "base/log.h"
#include "base/loop.h"
#include "broker/back/back.h"
#include "broker/config/confchange.h"
#include "broker/role/line.h"
#include "broker/role/reload.h"
#include "broker/role/watched.h"
#include "include/mchan.h"

struct back_role {
    const struct role_env *env;
    struct loop *loop;
    struct line parent, engine;
    struct back *back; /* Null until the engine's STARTED. */
    struct watched guests[CONFIG_GUESTS_MAX];
    struct reload reload;
    uint32_t n_handed; /* Sockets of guests to come. */
    int handed[CONFIG_GUESTS_MAX];
    bool parent_told; /* That we are ready. */
    bool failed, ignored_signal;
};

static void turn(void *ctx, nsec_t now);
static nsec_t deadline(void *ctx, nsec_t now);
static void hear_engine(struct back_role *);
static int start(struct back_role *, uint64_t start_count);
static int add_guest(struct back_role *, uint32_t guest, int fd);
static void hear_parent(struct back_role *);
static void prepare(struct back_role *);
static void take(struct back_role *);
static void serve(struct back_role *);
static void take_hands(struct back_role *);
static void empty_hands(struct back_role *);
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
    reload_init(&role->reload, env);
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
    reload_fini(&role->reload);
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

    hear_parent(role);
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
        if (got > 0 && role->back && msg.type == MSG_VM_RENEWED) {
            back_renew(role->back, &msg.vm_renewed.vm, msg.vm_renewed.since_ns);
        } else if (got < 0 || role->back || msg.type != MSG_STARTED) {
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
        error = add_guest(role, i, FD_BACK_GUESTS + (int)i);
    }
    return error;
}

static int
add_guest(struct back_role *role, uint32_t guest, int fd)
{
    const char *uri = role->env->config->guests[guest].channel;
    struct mchan_opts opts = MCHAN_OPTS_INIT;
    struct mchan *channel;

    if (!strncmp(uri, "sim:", 4)) {
        return 0; /* msim's; nobody can come that way here. */
    }
    opts.fd = fd;
    int error = mchan_listen(&channel, uri, &opts);
    if (error) {
        return error;
    }
    back_add_channel(role->back, guest, channel);
    watched_begin(&role->guests[guest], role->loop, mchan_fd(channel));
    return 0;
}

/* Another configuration. */

static void
hear_parent(struct back_role *role)
{
    struct msg_reload step;
    enum parent_word word = line_hear_parent(&role->parent, &step);

    reload_flush(&role->reload, &role->parent);
    if (word == PARENT_BYE || word == PARENT_GONE) {
        loop_stop(role->loop);
    } else if (word == PARENT_RELOAD && role->back) {
        switch ((enum reload_step)step.step) {
        case RELOAD_PREPARE:
            prepare(role);
            break;
        case RELOAD_TAKE:
            take(role);
            break;
        case RELOAD_SERVE:
            serve(role);
            break;
        case RELOAD_REFUSED:
            back_unprepare(role->back);
            empty_hands(role);
            reload_drop(&role->reload);
            break;
        case RELOAD_DONE:
        case RELOAD_ASK:
            break;
        }
    }
}

static void
prepare(struct back_role *role)
{
    char why[CONFIG_WHY_SIZE] = "";

    take_hands(role);
    int error = reload_read(&role->reload, why, sizeof why);
    if (!error) {
        error = back_prepare(role->back, &role->reload.other);
    }
    reload_answer(&role->reload, &role->parent, RELOAD_PREPARE, error, why);
}

/* Guests that are named no more are gone; those that stay may have another
 * number. */
static void
take(struct back_role *role)
{
    const struct broker_config *config = role->env->config;

    for (uint32_t i = 0; i < config->n_guests; i++) {
        watched_end(&role->guests[i]);
    }
    reload_swap(&role->reload);
    back_reconfigure(role->back, config);
    for (uint32_t i = 0; i < config->n_guests; i++) {
        if (back_has_channel(role->back, i)) {
            watched_begin(&role->guests[i], role->loop, back_fd(role->back, i));
            back_mark_ready(role->back, i);
        }
    }
    reload_drop(&role->reload);
    reload_answer(&role->reload, &role->parent, RELOAD_TAKE, 0, "");
}

/* The engine knows those that are new: their sockets were handed over in their
 * order. */
static void
serve(struct back_role *role)
{
    const struct broker_config *config = role->env->config;
    uint32_t n_used = 0;
    int error = 0;

    for (uint32_t i = 0; i < config->n_guests; i++) {
        if (back_has_channel(role->back, i) ||
            !confchange_has_socket(&config->guests[i]) ||
            n_used == role->n_handed) {
            continue;
        }
        int failed = add_guest(role, i, role->handed[n_used]);
        role->handed[n_used] = failed ? role->handed[n_used] : -1;
        n_used++;
        if (failed) {
            log_error("guest %s can't be served: %s", config->guests[i].name,
                      strerror(-failed));
            error = failed;
        }
    }
    empty_hands(role);
    reload_answer(&role->reload, &role->parent, RELOAD_SERVE, error, "");
}

static void
take_hands(struct back_role *role)
{
    union {
        char bytes[CMSG_SPACE(HANDS_FDS_MAX * sizeof(int))];
        struct cmsghdr align;
    } control;
    char byte;

    empty_hands(role);
    for (;;) {
        struct iovec part = {.iov_base = &byte, .iov_len = 1};
        struct msghdr head = {.msg_iov = &part,
                              .msg_iovlen = 1,
                              .msg_control = control.bytes,
                              .msg_controllen = sizeof control.bytes};

        if (recvmsg(FD_BACK_HANDS, &head, MSG_DONTWAIT | MSG_CMSG_CLOEXEC) <=
            0) {
            return;
        }
        const struct cmsghdr *cmsg = CMSG_FIRSTHDR(&head);
        size_t n = cmsg && cmsg->cmsg_type == SCM_RIGHTS
                       ? (cmsg->cmsg_len - CMSG_LEN(0)) / sizeof(int)
                       : 0;
        for (size_t i = 0; i < n; i++) {
            int fd;

            memcpy(&fd, CMSG_DATA(cmsg) + i * sizeof fd, sizeof fd);
            if (role->n_handed < CONFIG_GUESTS_MAX) {
                role->handed[role->n_handed++] = fd;
            } else {
                close(fd);
            }
        }
    }
}

static void
empty_hands(struct back_role *role)
{
    for (uint32_t i = 0; i < role->n_handed; i++) {
        if (role->handed[i] >= 0) {
            close(role->handed[i]);
        }
    }
    role->n_handed = 0;
}

static int
to_engine(void *ctx, const struct msg *msg)
{
    struct back_role *role = ctx;

    return line_send(&role->engine, msg);
}
