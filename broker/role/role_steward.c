/* SPDX-License-Identifier: Apache-2.0 */
/* The process "steward": keeps the rights of who started the broker, because
 * guests that the broker starts must not inherit a sandbox, and because the
 * files that name guests are all over the host.  It runs errands for the
 * platform process, each about a guest of the configuration, and hears nobody
 * else: no guest, no network, no control socket.  An errand that is none ends
 * it.  It waits for guests that ended, and when parent and platform are gone it
 * takes the sockets away, which platform could not, and leaves.  Called by
 * main. */
#include "broker/role/role.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include "base/log.h"
#include "base/loop.h"
#include "base/text.h"
#include "broker/config/config.h"
#include "broker/parent/rundir.h"
#include "broker/platform/platform.h"
#include "broker/role/errand.h"
#include "broker/role/reload.h"
#include "broker/role/watched.h"
#include "hypervisor/guestfiles.h"

#define ERRANDS_PER_TURN 16
#define LOOK_NS NSEC_PER_SEC /* Between looks at guests' logs. */

struct steward_role {
    const struct role_env *env;
    struct loop *loop;
    struct watched parent, platform;
    struct guestfiles files;
    struct reload reload;
    struct hypervisor_guest *guests;
    uint32_t n_guests;
    bool has_guests; /* Of its hypervisor's. */
    struct errand_answer answer;
    nsec_t next_look;
    bool parent_gone, platform_gone, failed;
    bool child_ended, ignored_signal;
};

static int begin(struct steward_role *);
static void turn(void *ctx, nsec_t now);
static nsec_t deadline(void *ctx, nsec_t now);
static void hear_parent(struct steward_role *);
static void hear_platform(struct steward_role *);
static void run_errand(struct steward_role *, const struct errand *);
static int renew(struct steward_role *, char *why, size_t why_size);
static void look(struct steward_role *);

int
role_steward(const struct role_env *env)
{
    struct steward_role *role = calloc(1, sizeof *role);
    if (!role) {
        log_error("no memory");
        return EXIT_FAILURE;
    }

    role->env = env;
    reload_init(&role->reload, env);
    int error = begin(role);
    if (error) {
        log_error("can't start: %s", strerror(-error));
        role->failed = true;
    } else {
        loop_run(role->loop);
        rundir_clean(env->config);
    }
    watched_end(&role->parent);
    watched_end(&role->platform);
    loop_destroy(role->loop);
    free(role->guests);
    reload_fini(&role->reload);
    int status = role->failed ? EXIT_FAILURE : EXIT_SUCCESS;
    free(role);
    return status;
}

static int
begin(struct steward_role *role)
{
    static const struct loop_ops ops = {.turn = turn, .deadline = deadline};
    const struct broker_config *config = role->env->config;

    role->guests = platform_guests(config);
    if (!role->guests) {
        return -ENOMEM;
    }
    /* Other hypervisors start their guests themselves. */
    bool has_guests = config->hypervisor == hypervisor_find("process");
    role->has_guests = has_guests;
    role->n_guests = has_guests ? config->n_guests : 0;
    guestfiles_init(&role->files, FD_STEWARD_PROC, FD_STEWARD_STATE,
                    has_guests &&
                        option_bool(&config->hypervisor_options, "log"));
    prctl(PR_SET_CHILD_SUBREAPER, 1);
    int error = loop_create(&role->loop, &ops, role);
    if (!error) {
        error = watched_signals(role->loop, &role->ignored_signal);
    }
    if (!error) {
        error = loop_on_signal(role->loop, SIGCHLD, &role->child_ended);
    }
    if (!error) {
        watched_begin(&role->parent, role->loop, FD_PARENT);
        watched_begin(&role->platform, role->loop, FD_STEWARD_PLATFORM);
    }
    return error;
}

static void
turn(void *ctx, nsec_t now)
{
    struct steward_role *role = ctx;

    role->child_ended = false;
    while (waitpid(-1, NULL, WNOHANG) > 0) {
    }
    hear_parent(role);
    hear_platform(role);
    if (now >= role->next_look) {
        look(role);
        role->next_look = now + LOOK_NS;
    }
    if (role->platform_gone && (role->parent_gone || role->failed)) {
        loop_stop(role->loop);
    }
}

static nsec_t
deadline(void *ctx, nsec_t now)
{
    const struct steward_role *role = ctx;

    (void)now;
    return role->next_look;
}

/* It says single bytes, which come back to show that we turn; that it closed
 * its end is all else there is to hear. */
static void
hear_parent(struct steward_role *role)
{
    char bytes[64];

    if (!watched_take(&role->parent) || role->parent_gone) {
        return;
    }
    ssize_t n = recv(FD_PARENT, bytes, sizeof bytes, MSG_DONTWAIT);
    if (n > 0) {
        send(FD_PARENT, bytes, 1, MSG_DONTWAIT | MSG_NOSIGNAL);
    } else if (!n || (errno != EAGAIN && errno != EINTR)) {
        role->parent_gone = true;
        watched_want(&role->parent, false);
    }
}

static void
hear_platform(struct steward_role *role)
{
    struct errand errand;
    int got = 0;

    watched_take(&role->platform);
    for (int i = 0; i < ERRANDS_PER_TURN && !role->platform_gone; i++) {
        got = errand_take(FD_STEWARD_PLATFORM, role->n_guests, &errand);
        if (got <= 0) {
            break;
        }
        run_errand(role, &errand);
    }
    if (got < 0) {
        if (got == -EPROTO) {
            log_error("platform sent what is no errand; leaving");
            role->failed = true;
        }
        role->platform_gone = true;
        watched_want(&role->platform, false);
    }
}

static void
run_errand(struct steward_role *role, const struct errand *errand)
{
    const struct hypervisor_guest *guest = &role->guests[errand->guest];
    struct errand_answer *answer = &role->answer;

    memset(answer, 0, sizeof *answer);
    switch ((enum errand_op)errand->op) {
    case ERRAND_FIND:
        answer->n_found = role->n_guests;
        for (uint32_t i = 0; i < answer->n_found; i++) {
            guestfiles_find(&role->files, &role->guests[i], &answer->found[i]);
        }
        break;
    case ERRAND_START:
        answer->error = guestfiles_start(&role->files, guest, &answer->found[0],
                                         answer->why, sizeof answer->why);
        answer->n_found = answer->error ? 0 : 1;
        break;
    case ERRAND_FORGET:
        guestfiles_forget(&role->files, guest);
        break;
    case ERRAND_RENEW:
        answer->error = renew(role, answer->why, sizeof answer->why);
        break;
    case ERRAND_OPS:
        break;
    }
    if (errand_answer(FD_STEWARD_PLATFORM, errand, answer)) {
        log_warn("platform does not take its answers");
    }
}

/* The parent put it where we read it, and platform says when. */
static int
renew(struct steward_role *role, char *why, size_t why_size)
{
    int error = reload_read(&role->reload, why, why_size);
    if (error) {
        return error;
    }
    struct hypervisor_guest *guests = platform_guests(&role->reload.other);
    if (!guests) {
        reload_drop(&role->reload);
        return -ENOMEM;
    }
    reload_swap(&role->reload);
    free(role->guests);
    role->guests = guests;
    role->n_guests = role->has_guests ? role->env->config->n_guests : 0;
    reload_drop(&role->reload);
    return 0;
}

static void
look(struct steward_role *role)
{
    for (uint32_t i = 0; i < role->n_guests; i++) {
        if (role->guests[i].command) {
            guestfiles_cut_log(&role->files, &role->guests[i]);
        }
    }
}
