/* SPDX-License-Identifier: Apache-2.0 */
/* The parent's life: takes hold of what is the broker's, starts back, engine,
 * platform and the steward, and stays to notice when one is gone.  None is ever
 * restarted silently: if one dies, the parent says which and how, takes the
 * others down in that order, sees to it that the hardware is as it was found (a
 * fresh process does it if platform died), and leaves with an error, so that
 * the service manager decides what is next.  Relies on parent_start.c to make
 * the children and on parent_watch.c to hear and to miss them.  Called by main.
 */
#include "broker/parent/parent.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "broker/control/control.h"
#include "broker/parent/ended.h"
#include "broker/parent/notify.h"
#include "broker/parent/parent_parts.h"
#include "broker/parent/rundir.h"
#include "policy/policy.h"

#define BYE_RETRY_NS (50 * NSEC_PER_MSEC)
#define START_MAX_NS (60 * NSEC_PER_SEC) /* Until all are ready. */

static int begin(struct parent *);
static int raise_fd_limit(const struct broker_config *);
static int make_sockets(struct parent *);
static void turn(void *ctx, nsec_t now);
static nsec_t deadline(void *ctx, nsec_t now);
static void note_ready(struct parent *, nsec_t now);
static void check_start(struct parent *, nsec_t now);
static void give_sign(struct parent *, nsec_t now);

int
parent_run(const struct parent_opts *opts)
{
    struct parent *parent = calloc(1, sizeof *parent);
    char why[CONFIG_WHY_SIZE];
    if (!parent) {
        log_error("no memory");
        return EXIT_FAILURE;
    }

    parent->opts = opts;
    parent->config_fd = parent->control_fd = parent->steward_fd = -1;
    parent->hands_fd = -1;
    memset(parent->guest_fds, -1, sizeof parent->guest_fds);
    parent->next_sign = parent->next_beat = NSEC_NEVER;
    if (hold_take(&parent->hold, opts->config, &opts->users, opts->lock_dir,
                  opts->config->state_dir, why, sizeof why)) {
        log_error("%s", why);
        free(parent);
        return EXIT_FAILURE;
    }
    ended_read(parent->hold.state_dir, parent->ended_before.reason,
               sizeof parent->ended_before.reason);
    if (begin(parent)) {
        parent->failed = true;
        parent_stop(parent, "it could not start");
    }
    if (parent->loop) {
        loop_run(parent->loop); /* Until all that were started are gone. */
    }
    if (parent->platform_died) {
        parent_put_back(parent);
    }
    if (parent->ended.reason[0] && !parent->end_told) {
        ended_write(parent->hold.state_dir, parent->ended.reason);
    }
    for (size_t i = 0; i < PARENT_LINES; i++) {
        line_close(&parent->children[i].line);
    }
    for (uint32_t i = 0; i < opts->config->n_guests; i++) {
        parent_close_fd(&parent->guest_fds[i]);
    }
    parent_close_fd(&parent->control_fd);
    parent_close_steward(parent);
    parent_close_fd(&parent->config_fd);
    parent_reload_fini(parent);
    rundir_clean(opts->config);
    hold_drop(&parent->hold);
    loop_destroy(parent->loop);
    int status = parent->failed ? EXIT_FAILURE : EXIT_SUCCESS;
    log_info("stopped%s", parent->failed ? " after a failure" : "");
    free(parent);
    return status;
}

int
parent_restore(const struct parent_opts *opts)
{
    struct parent parent = {.opts = opts, .config_fd = -1};
    char why[CONFIG_WHY_SIZE];

    if (access(opts->config->run_dir, F_OK) && errno == ENOENT) {
        log_info("there is no %s: nothing to put back", opts->config->run_dir);
        return EXIT_SUCCESS;
    }
    if (hold_take(&parent.hold, opts->config, &opts->users, opts->lock_dir,
                  NULL, why, sizeof why)) {
        log_error("%s", why);
        return EXIT_FAILURE;
    }
    int error = parent_share_config(&parent, opts->text);
    if (!error) {
        error = parent_put_back(&parent);
    }
    parent_close_fd(&parent.config_fd);
    rundir_clean(opts->config);
    hold_drop(&parent.hold);
    if (!error) {
        log_info("all that brokers changed in %s is as it was found",
                 opts->config->run_dir);
    }
    return error ? EXIT_FAILURE : EXIT_SUCCESS;
}

/* Start. */

static int
begin(struct parent *parent)
{
    static const struct loop_ops ops = {.turn = turn, .deadline = deadline};

    int error = loop_create(&parent->loop, &ops, parent);
    if (!error) {
        error = loop_on_signal(parent->loop, SIGCHLD, &parent->child_died);
    }
    if (!error) {
        error = loop_on_signal(parent->loop, SIGTERM, &parent->stop_asked);
    }
    if (!error) {
        error = loop_on_signal(parent->loop, SIGINT, &parent->stop_asked_again);
    }
    if (!error) {
        error = loop_on_signal(parent->loop, SIGHUP, &parent->hang_up);
    }
    if (!error) {
        signal(SIGPIPE, SIG_IGN); /* Children's are reset. */
        error = parent_share_config(parent, parent->opts->text);
    }
    if (error) {
        log_error("can't start: %s", strerror(-error));
        return error;
    }
    error = parent_put_back(parent);
    if (error) {
        log_error("what an earlier broker changed is not all back; going on "
                  "with what it found then");
    }
    error = raise_fd_limit(parent->opts->config);
    if (!error) {
        error = make_sockets(parent);
    }
    return error ? error : parent_start_children(parent);
}

/* Many guests have more sockets than a process may have at first; while a child
 * is started each is here twice. */
static int
raise_fd_limit(const struct broker_config *config)
{
    rlim_t wanted = 128 + 4 * (rlim_t)config->guests_max + config->n_cpus;
    struct rlimit limit;

    if (getrlimit(RLIMIT_NOFILE, &limit) || limit.rlim_cur >= wanted) {
        return 0;
    }
    if (limit.rlim_max < wanted) {
        log_error("%u guests need %llu descriptors, and this process may have "
                  "%llu; raise its limit (LimitNOFILE=)",
                  config->guests_max, (unsigned long long)wanted,
                  (unsigned long long)limit.rlim_max);
        return -EMFILE;
    }
    limit.rlim_cur = wanted;
    return setrlimit(RLIMIT_NOFILE, &limit) ? -errno : 0;
}

static int
make_sockets(struct parent *parent)
{
    const struct broker_config *config = parent->opts->config;
    char path[CONFIG_PATH_SIZE + 32], why[CONFIG_WHY_SIZE];

    for (uint32_t i = 0; i < config->n_guests; i++) {
        int fd = rundir_listen(&config->guests[i], why, sizeof why);
        if (fd < -1) {
            log_error("guest %s: %s", config->guests[i].name, why);
            return fd;
        }
        parent->guest_fds[i] = fd;
    }
    snprintf(path, sizeof path, "%s/" CONTROL_SOCKET_NAME, config->run_dir);
    int fd = control_listen(path, why, sizeof why);
    if (fd < 0) {
        log_error("%s: %s", path, why);
        return fd;
    }
    parent->control_fd = fd;
    return 0;
}

/* The loop. */

static void
turn(void *ctx, nsec_t now)
{
    struct parent *parent = ctx;

    if (parent->child_died) {
        parent->child_died = false;
        parent_reap(parent);
    }
    if (parent->stop_asked || parent->stop_asked_again) {
        parent->stop_asked = parent->stop_asked_again = false;
        parent_stop(parent, "it was asked to");
    }
    if (parent->hang_up) {
        parent->hang_up = false;
        parent->reload.wanted = true;
    }
    parent_hear_children(parent, now);
    note_ready(parent, now);
    check_start(parent, now);
    parent_reload_run(parent);
    if (parent->stopping) {
        parent_stop_next(parent, now);
    }
    parent_beat(parent, now);
    give_sign(parent, now);
    for (size_t i = 0; i < PARENT_LINES; i++) {
        line_arm(&parent->children[i].line);
    }
}

static nsec_t
deadline(void *ctx, nsec_t now)
{
    const struct parent *parent = ctx;
    nsec_t soonest = nsec_min(parent->next_sign, parent->next_beat);

    if (!parent->ready && !parent->stopping && parent->start_by) {
        soonest = nsec_min(soonest, parent->start_by);
    }
    for (size_t i = 0; i < PARENT_LINES; i++) {
        const struct child *child = &parent->children[i];

        soonest = nsec_min(soonest, line_deadline(&child->line, now));
    }
    return parent->stopping ? nsec_min(soonest, now + BYE_RETRY_NS) : soonest;
}

/* The engine is ready once the platform is. */
static void
note_ready(struct parent *parent, nsec_t now)
{
    const struct broker_config *config = parent->opts->config;

    if (parent->ready || parent->stopping ||
        !parent->children[ROLE_ENGINE].ready ||
        !parent->children[ROLE_BACK].ready) {
        return;
    }
    parent->ready = true;
    ended_forget(parent->hold.state_dir);
    log_info("ready in %s: %u CPUs managed, %u guests, policy %s",
             config->run_dir, config->n_cpus, config->n_guests,
             config->policy->name);
    notify_send(parent->opts->notify_path, "READY=1\nSTATUS=ready");
    for (size_t i = 0; i < PARENT_CHILDREN; i++) {
        parent->children[i].heard = now;
    }
    parent->next_beat = now;
    if (parent->opts->watchdog_ns) {
        parent->next_sign = now;
    }
}

/* One that neither gets ready nor ends would be waited for for ever. */
static void
check_start(struct parent *parent, nsec_t now)
{
    const struct child *children = parent->children;

    if (!parent->start_by) {
        parent->start_by = now + START_MAX_NS;
    }
    if (parent->ready || parent->stopping || now < parent->start_by) {
        return;
    }
    parent_note_end(parent, "%s not ready after %lld s",
                    children[ROLE_ENGINE].ready ? "back is"
                    : children[ROLE_BACK].ready
                        ? "engine or platform is"
                        : "back, and engine or platform, are",
                    (long long)(START_MAX_NS / NSEC_PER_SEC));
    parent->failed = true;
    parent_stop(parent, "it could not start");
}

void
parent_stop(struct parent *parent, const char *why)
{
    if (!parent->stopping) {
        parent->stopping = true;
        parent->next_beat = NSEC_NEVER;
        log_info("stopping: %s", why);
        notify_send(parent->opts->notify_path, "STOPPING=1\nSTATUS=stopping");
    }
}

static void
give_sign(struct parent *parent, nsec_t now)
{
    if (now >= parent->next_sign) {
        notify_send(parent->opts->notify_path, "WATCHDOG=1");
        parent->next_sign = now + parent->opts->watchdog_ns;
    }
}
