/* SPDX-License-Identifier: Apache-2.0 */
/* Starts back, engine, platform and the steward, and stays to notice when one
 * is gone.  None is ever restarted silently: if one dies, the parent says which
 * and how, takes the others down in that order, sees to it that the hardware is
 * as it was found (a fresh process does it if platform died), and leaves with
 * an error, so that the service manager decides what is next. Relies on line.c
 * for words with its children and on their leaving when it dies.  Called by
 * main. */
#include "broker/parent/parent.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/loop.h"
#include "base/text.h"
#include "broker/control/control.h"
#include "broker/parent/hold.h"
#include "broker/role/errand.h"
#include "broker/role/line.h"
#include "broker/parent/notify.h"
#include "broker/role/role.h"
#include "broker/parent/rundir.h"
#include "broker/parent/launch.h"
#include "policy/policy.h"

#define ARG_SIZE (CONFIG_PATH_SIZE + 32)
#define CHILDREN 4
#define LINES 3 /* The steward needs none: it is told no words. */
#define BYE_RETRY_NS (50 * NSEC_PER_MSEC)

struct child {
    pid_t pid; /* 0: not running. */
    struct line line;
    bool ready, told_to_leave;
    nsec_t heard;                /* When it last answered a beat. */
    nsec_t patience_ns, give_up; /* After it was told to leave. */
};

struct parent {
    const struct parent_opts *opts;
    struct loop *loop;
    struct hold hold;
    int config_fd, control_fd;
    int guest_fds[CONFIG_GUESTS_MAX];
    struct child children[CHILDREN]; /* By enum role, as they leave. */
    int steward_fd;     /* Our end; the steward stays while it is open. */
    bool steward_ready; /* It may have answered a beat. */
    bool child_died, stop_asked, stop_asked_again, hang_up;
    bool ready, stopping, failed, platform_died;
    nsec_t next_sign; /* Of life, to the service manager. */
    nsec_t next_beat; /* To the children. */
    uint64_t n_beats;
};

_Static_assert(ROLE_BACK == 0 && ROLE_ENGINE == 1 && ROLE_PLATFORM == 2 &&
                   ROLE_STEWARD == 3,
               "children are numbered in the order in which they leave");

static int begin(struct parent *);
static int raise_fd_limit(const struct broker_config *);
static int make_sockets(struct parent *);
static int start_children(struct parent *);
static int start_child(struct parent *, enum role, const int *fds,
                       uint32_t n_fds);
static int start_steward(struct parent *, int errands_fd);
static pid_t spawn_role(const struct parent *, enum role, int *fds,
                        uint32_t n_fds);
static void find_state_dir(const struct parent *, char out[CONFIG_PATH_SIZE]);
static int make_config_fd(const char *text);
static int restore(struct parent *);
static void close_steward(struct parent *);
static void close_fd(int *fd);
static void fill_dirs(const struct parent *, int *fds);

static void turn(void *ctx, nsec_t now);
static nsec_t deadline(void *ctx, nsec_t now);
static void reap(struct parent *);
static void say_how_it_ended(struct parent *, enum role, int status);
static void hear_children(struct parent *, nsec_t now);
static void beat(struct parent *, nsec_t now);
static void note_ready(struct parent *, nsec_t now);
static void stop(struct parent *, const char *why);
static void stop_next(struct parent *, nsec_t now);
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
    memset(parent->guest_fds, -1, sizeof parent->guest_fds);
    parent->next_sign = parent->next_beat = NSEC_NEVER;
    if (hold_take(&parent->hold, opts->config, &opts->users, opts->lock_dir,
                  opts->config->state_dir, why, sizeof why)) {
        log_error("%s", why);
        free(parent);
        return EXIT_FAILURE;
    }
    if (begin(parent)) {
        parent->failed = true;
        stop(parent, "it could not start");
    }
    if (parent->loop) {
        loop_run(parent->loop); /* Until all that were started are gone. */
    }
    if (parent->platform_died) {
        restore(parent);
    }
    for (size_t i = 0; i < LINES; i++) {
        line_close(&parent->children[i].line);
    }
    for (uint32_t i = 0; i < opts->config->n_guests; i++) {
        close_fd(&parent->guest_fds[i]);
    }
    close_fd(&parent->control_fd);
    close_steward(parent);
    close_fd(&parent->config_fd);
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
    parent.config_fd = make_config_fd(opts->text);
    int error = parent.config_fd < 0 ? parent.config_fd : restore(&parent);
    close_fd(&parent.config_fd);
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
        parent->config_fd = make_config_fd(parent->opts->text);
        error = parent->config_fd < 0 ? parent->config_fd : 0;
    }
    if (error) {
        log_error("can't start: %s", strerror(-error));
        return error;
    }
    error = restore(parent);
    if (error) {
        log_error("what an earlier broker changed is not all back; going on "
                  "with what it found then");
    }
    error = raise_fd_limit(parent->opts->config);
    if (!error) {
        error = make_sockets(parent);
    }
    return error ? error : start_children(parent);
}

/* Many guests have more sockets than a process may have at first; while a child
 * is started each is here twice. */
static int
raise_fd_limit(const struct broker_config *config)
{
    rlim_t wanted = 128 + 4 * (rlim_t)config->n_guests + config->n_cpus;
    struct rlimit limit;

    if (getrlimit(RLIMIT_NOFILE, &limit) || limit.rlim_cur >= wanted) {
        return 0;
    }
    if (limit.rlim_max < wanted) {
        log_error("%u guests need %llu descriptors, and this process may have "
                  "%llu; raise its limit (LimitNOFILE=)",
                  config->n_guests, (unsigned long long)wanted,
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

/* Each line's two ends go to two children, so none outlives them. */
static int
start_children(struct parent *parent)
{
    const struct broker_config *config = parent->opts->config;
    int back_engine[2] = {-1, -1}, engine_platform[2] = {-1, -1};
    int errands[2] = {-1, -1};
    int fds[ROLE_FDS_MAX];
    int error = errand_pair(errands);

    if (!error &&
        (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0,
                    back_engine) ||
         socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0,
                    engine_platform))) {
        error = -errno;
    }
    if (!error) {
        error = start_steward(parent, errands[1]);
    }
    if (!error) {
        fds[FD_PLATFORM_ENGINE] = engine_platform[1];
        fds[FD_PLATFORM_STEWARD] = errands[0];
        fill_dirs(parent, fds);
        fds[FD_PLATFORM_LOCKS] = parent->hold.run_lock;
        memcpy(&fds[FD_PLATFORM_LOCKS + 1], parent->hold.cpu_locks,
               parent->hold.n_cpu_locks * sizeof fds[0]);
        error = start_child(parent, ROLE_PLATFORM, fds,
                            FD_PLATFORM_LOCKS + 1 + parent->hold.n_cpu_locks);
    }
    if (!error) {
        fds[FD_ENGINE_BACK] = back_engine[1];
        fds[FD_ENGINE_PLATFORM] = engine_platform[0];
        fds[FD_ENGINE_CONTROL] = parent->control_fd;
        fds[FD_ENGINE_JOURNAL] = parent->hold.journal_dir;
        error = start_child(parent, ROLE_ENGINE, fds, FD_ENGINE_JOURNAL + 1);
    }
    if (!error) {
        fds[FD_BACK_ENGINE] = back_engine[0];
        memcpy(&fds[FD_BACK_GUESTS], parent->guest_fds,
               config->n_guests * sizeof fds[0]);
        error = start_child(parent, ROLE_BACK, fds,
                            FD_BACK_GUESTS + config->n_guests);
    }
    for (int i = 0; i < 2; i++) {
        close_fd(&back_engine[i]);
        close_fd(&engine_platform[i]);
        close_fd(&errands[i]);
    }
    if (error) {
        log_error("the processes can't be started: %s", strerror(-error));
    }
    return error;
}

/* 'fds' is filled from FD_FIRST on, by descriptor number. */
static int
start_child(struct parent *parent, enum role role, const int *fds,
            uint32_t n_fds)
{
    static const nsec_t patience_ns[] = {[ROLE_BACK] = 5 * NSEC_PER_SEC,
                                         [ROLE_ENGINE] = 10 * NSEC_PER_SEC,
                                         [ROLE_PLATFORM] = 20 * NSEC_PER_SEC};
    static const enum grant_role roles[] = {[ROLE_BACK] = GRANT_BACK,
                                            [ROLE_ENGINE] = GRANT_ENGINE,
                                            [ROLE_PLATFORM] = GRANT_PLATFORM};
    struct child *child = &parent->children[role];
    int pair[2], all[ROLE_FDS_MAX];

    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0,
                   pair)) {
        return -errno;
    }
    int error = line_open(&child->line, parent->loop, pair[0], true,
                          GRANT_PARENT, roles[role]);
    if (error) {
        close(pair[0]);
        close(pair[1]);
        return error;
    }
    memcpy(all, fds, n_fds * sizeof all[0]);
    all[FD_PARENT] = pair[1];
    pid_t pid = spawn_role(parent, role, all, n_fds);
    close(pair[1]);
    if (pid < 0) {
        return pid;
    }
    child->pid = pid;
    child->patience_ns = patience_ns[role];
    log_debug("%s is process %d", role_name(role), (int)pid);
    return 0;
}

/* Its line is a socket for single bytes, beats; closed, by our end or by us, it
 * tells the steward to leave once platform has. */
static int
start_steward(struct parent *parent, int errands_fd)
{
    struct child *child = &parent->children[ROLE_STEWARD];
    int pair[2], fds[FD_STEWARD_LOCK + 1];

    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair)) {
        return -errno;
    }
    fds[FD_PARENT] = pair[1];
    fds[FD_STEWARD_PLATFORM] = errands_fd;
    fds[FD_STEWARD_PROC] = parent->hold.proc_dir;
    fds[FD_STEWARD_STATE] = parent->hold.state_dir;
    fds[FD_STEWARD_LOCK] = parent->hold.run_lock;
    pid_t pid = spawn_role(parent, ROLE_STEWARD, fds, FD_STEWARD_LOCK + 1);
    close(pair[1]);
    if (pid < 0) {
        close(pair[0]);
        return pid;
    }
    parent->steward_fd = pair[0];
    int error =
        loop_watch(parent->loop, pair[0], false, &parent->steward_ready);
    child->pid = pid;
    child->patience_ns = 5 * NSEC_PER_SEC;
    log_debug("%s is process %d", role_name(ROLE_STEWARD), (int)pid);
    return error;
}

static pid_t
spawn_role(const struct parent *parent, enum role role, int *fds,
           uint32_t n_fds)
{
    const struct broker_config *config = parent->opts->config;
    const struct rights *rights = &parent->opts->rights;
    const struct users *users = &parent->opts->users;
    /* Its saved states are platform's. */
    unsigned user = role < ROLE_PLATFORM ? role : ROLE_PLATFORM;
    char arg[7][ARG_SIZE], state_dir[CONFIG_PATH_SIZE];
    char *argv[] = {(char[]){"mbrokerd"},
                    arg[0],
                    arg[1],
                    arg[2],
                    arg[3],
                    arg[4],
                    arg[5],
                    users->any && role != ROLE_STEWARD ? arg[6] : NULL,
                    NULL};

    snprintf(arg[0], ARG_SIZE, "--role=%s", role_name(role));
    snprintf(arg[1], ARG_SIZE, "--config=%.255s", parent->opts->path);
    snprintf(arg[2], ARG_SIZE, "--run-dir=%s", config->run_dir);
    find_state_dir(parent, state_dir);
    snprintf(arg[3], ARG_SIZE, "--state-dir=%s", state_dir);
    snprintf(arg[4], ARG_SIZE, "--log-level=%d", (int)parent->opts->level);
    snprintf(arg[5], ARG_SIZE, "--rights=%lld,%lld,%lld",
             (long long)rights->owner,
             rights->has_control ? (long long)rights->control_gid : -1,
             rights->has_operator ? (long long)rights->operator_gid : -1);
    snprintf(arg[6], ARG_SIZE, "--user=%u,%u", (unsigned)users->uid[user],
             (unsigned)users->gid[user]);
    fds[FD_CONFIG] = parent->config_fd;
    return launch(argv, fds + FD_CONFIG, n_fds - FD_CONFIG);
}

/* Without links on the way, which would lead nowhere in an empty root. */
static void
find_state_dir(const struct parent *parent, char out[CONFIG_PATH_SIZE])
{
    char link[32];

    snprintf(link, sizeof link, "/proc/self/fd/%d", parent->hold.state_dir);
    ssize_t length = readlink(link, out, CONFIG_PATH_SIZE);
    if (length > 0 && length < CONFIG_PATH_SIZE && out[0] == '/') {
        out[length] = '\0';
    } else {
        text_copy(out, CONFIG_PATH_SIZE, parent->opts->config->state_dir);
    }
}

/* The text in memory that nobody can change any more. */
static int
make_config_fd(const char *text)
{
    size_t size = strlen(text);
    int fd = memfd_create("mbroker.conf", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (fd < 0) {
        return -errno;
    }
    ssize_t put = write(fd, text, size);
    if (put < 0 || (size_t)put < size) {
        int error = put < 0 ? -errno : -ENOSPC;

        close(fd);
        return error;
    }
    fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE | F_SEAL_SHRINK | F_SEAL_GROW);
    return fd;
}

/* In a process of its own, since drivers are opened for it.  0 or -EIO. */
static int
restore(struct parent *parent)
{
    int fds[FD_PLATFORM_LOCKS], status;

    fds[FD_PARENT] = fds[FD_PLATFORM_ENGINE] = fds[FD_PLATFORM_STEWARD] = -1;
    fill_dirs(parent, fds);
    pid_t pid = spawn_role(parent, ROLE_RESTORE, fds, FD_PLATFORM_LOCKS);
    if (pid < 0) {
        log_error("nothing can be put back: %s", strerror(-pid));
        return -EIO;
    }
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR) {
    }
    return WIFEXITED(status) && !WEXITSTATUS(status) ? 0 : -EIO;
}

static void
fill_dirs(const struct parent *parent, int *fds)
{
    fds[FD_PLATFORM_SAVED] = parent->hold.saved_dir;
    fds[FD_PLATFORM_SYS] = parent->hold.sys_dir;
    fds[FD_PLATFORM_PROC] = parent->hold.proc_dir;
    fds[FD_PLATFORM_DATA] = parent->hold.data_dir;
    fds[FD_PLATFORM_CAP] = parent->hold.cap_dir;
}

static void
close_steward(struct parent *parent)
{
    if (parent->steward_fd >= 0) {
        loop_unwatch(parent->loop, parent->steward_fd);
    }
    close_fd(&parent->steward_fd);
}

static void
close_fd(int *fd)
{
    if (*fd >= 0) {
        close(*fd);
        *fd = -1;
    }
}

/* The loop. */

static void
turn(void *ctx, nsec_t now)
{
    struct parent *parent = ctx;

    if (parent->child_died) {
        parent->child_died = false;
        reap(parent);
    }
    if (parent->stop_asked || parent->stop_asked_again || parent->hang_up) {
        parent->stop_asked = parent->stop_asked_again = parent->hang_up = false;
        stop(parent, "it was asked to");
    }
    hear_children(parent, now);
    note_ready(parent, now);
    if (parent->stopping) {
        stop_next(parent, now);
    }
    beat(parent, now);
    give_sign(parent, now);
    for (size_t i = 0; i < LINES; i++) {
        line_arm(&parent->children[i].line);
    }
}

static nsec_t
deadline(void *ctx, nsec_t now)
{
    const struct parent *parent = ctx;
    nsec_t soonest = nsec_min(parent->next_sign, parent->next_beat);

    for (size_t i = 0; i < LINES; i++) {
        const struct child *child = &parent->children[i];

        soonest = nsec_min(soonest, line_deadline(&child->line, now));
    }
    return parent->stopping ? nsec_min(soonest, now + BYE_RETRY_NS) : soonest;
}

static void
reap(struct parent *parent)
{
    for (enum role role = ROLE_BACK; role < CHILDREN; role++) {
        struct child *child = &parent->children[role];
        int status;

        if (child->pid && waitpid(child->pid, &status, WNOHANG) > 0) {
            say_how_it_ended(parent, role, status);
            child->pid = 0;
            line_close(&child->line);
        }
    }
}

static void
say_how_it_ended(struct parent *parent, enum role role, int status)
{
    const struct child *child = &parent->children[role];
    bool orderly = child->told_to_leave && WIFEXITED(status) &&
                   WEXITSTATUS(status) == EXIT_SUCCESS;

    if (orderly) {
        log_debug("%s (process %d) left", role_name(role), (int)child->pid);
        return;
    }
    if (WIFSIGNALED(status)) {
        log_error("%s (process %d) was killed by signal %d (%s)%s",
                  role_name(role), (int)child->pid, WTERMSIG(status),
                  strsignal(WTERMSIG(status)),
                  WTERMSIG(status) == SIGSYS
                      ? ": it made a system call that only an intruder would"
                      : "");
    } else {
        log_error("%s (process %d) left by itself with status %d",
                  role_name(role), (int)child->pid, WEXITSTATUS(status));
    }
    parent->failed = true;
    parent->platform_died = parent->platform_died || role == ROLE_PLATFORM;
    stop(parent, "one of its processes is gone");
}

static void
hear_children(struct parent *parent, nsec_t now)
{
    char why[MSG_WHY_SIZE], bytes[64];
    struct msg msg;

    if (parent->steward_ready) {
        parent->steward_ready = false;
        if (recv(parent->steward_fd, bytes, sizeof bytes, MSG_DONTWAIT) > 0) {
            parent->children[ROLE_STEWARD].heard = now;
        } else { /* It died, and would wake us until it is its turn. */
            loop_unwatch(parent->loop, parent->steward_fd);
        }
    }
    for (size_t i = 0; i < LINES; i++) {
        struct child *child = &parent->children[i];

        for (int n = 0; child->pid && n < LINE_TURN_MAX; n++) {
            int got = line_recv(&child->line, &msg, why, sizeof why);
            if (!got) {
                break;
            }
            if (got < 0) {
                log_error("%s sent what it may not (%s)",
                          role_name((enum role)i), why);
                parent->failed = true;
                stop(parent, "one of its processes can't be trusted");
                break;
            }
            if (msg.type == MSG_READY) {
                child->ready = true;
            } else {
                child->heard = now; /* BEAT_REPLY. */
            }
        }
    }
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
    log_info("ready in %s: %u CPUs managed, %u guests, policy %s",
             config->run_dir, config->n_cpus, config->n_guests,
             config->policy->name);
    notify_send(parent->opts->notify_path, "READY=1\nSTATUS=ready");
    for (size_t i = 0; i < CHILDREN; i++) {
        parent->children[i].heard = now;
    }
    parent->next_beat = now;
    if (parent->opts->watchdog_ns) {
        parent->next_sign = now;
    }
}

static void
stop(struct parent *parent, const char *why)
{
    if (!parent->stopping) {
        parent->stopping = true;
        parent->next_beat = NSEC_NEVER;
        log_info("stopping: %s", why);
        notify_send(parent->opts->notify_path, "STOPPING=1\nSTATUS=stopping");
    }
}

/* One after the other: when one is gone the next is told.  Without BYE, on a
 * line that closes, a child leaves too, but platform would think that we died.
 */
static void
stop_next(struct parent *parent, nsec_t now)
{
    const struct msg bye = {.type = MSG_BYE, .bye = {"the broker stops"}};

    for (enum role role = ROLE_BACK; role < CHILDREN; role++) {
        struct child *child = &parent->children[role];

        if (!child->pid) {
            continue;
        }
        if (!child->give_up) {
            child->give_up = now + child->patience_ns;
        }
        if (role == ROLE_STEWARD) {
            close_steward(parent);
            child->told_to_leave = true;
        } else if (!child->told_to_leave) {
            child->told_to_leave = !line_send(&child->line, &bye);
        }
        if (now >= child->give_up) {
            log_error("%s (process %d) does not leave; killing it",
                      role_name(role), (int)child->pid);
            kill(child->pid, SIGKILL);
            child->give_up = now + child->patience_ns;
        }
        return;
    }
    loop_stop(parent->loop);
}

/* A process that runs but does not turn is as bad as a dead one, and is made
 * one, so that there is one way out.  A gap of our own, as when the host slept,
 * is nobody's fault. */
static void
beat(struct parent *parent, nsec_t now)
{
    const nsec_t hang_ns = parent->opts->hang_ns, period_ns = hang_ns / 4;

    if (now < parent->next_beat) {
        return;
    }
    struct msg msg = {.type = MSG_BEAT,
                      .beat = {.number = ++parent->n_beats, .origin_ns = now}};
    bool slept = now - parent->next_beat > period_ns;
    for (enum role role = ROLE_BACK; role < CHILDREN; role++) {
        struct child *child = &parent->children[role];

        if (slept) {
            child->heard = now;
        }
        if (now - child->heard > hang_ns) {
            log_error("%s (process %d) did not turn for %lld s; killing it",
                      role_name(role), (int)child->pid,
                      (long long)((now - child->heard) / NSEC_PER_SEC));
            kill(child->pid, SIGKILL);
        }
        if (role == ROLE_STEWARD) {
            send(parent->steward_fd, "", 1, MSG_DONTWAIT | MSG_NOSIGNAL);
        } else {
            line_send(&child->line, &msg);
        }
    }
    parent->next_beat = now + period_ns;
}

static void
give_sign(struct parent *parent, nsec_t now)
{
    if (now >= parent->next_sign) {
        notify_send(parent->opts->notify_path, "WATCHDOG=1");
        parent->next_sign = now + parent->opts->watchdog_ns;
    }
}
