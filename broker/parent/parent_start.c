/* SPDX-License-Identifier: Apache-2.0 */
/* The parent's children made: the sockets between them, what each is told on
 * its command line, and the descriptors it is handed (broker/role/role.h has
 * their numbers).  A child is this program again, by launch.c; the steward
 * keeps the parent's rights and is told no words.  Relies on hold.c for the
 * descriptors of what is the broker's alone.  Called by parent.c. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/confscan.h"
#include "base/text.h"
#include "broker/parent/launch.h"
#include "broker/parent/parent_parts.h"
#include "broker/role/errand.h"

#define ARG_SIZE (CONFIG_PATH_SIZE + 32)

static int start_child(struct parent *, enum role, const int *fds,
                       uint32_t n_fds);
static int start_steward(struct parent *, int errands_fd);
static int spawn_child(struct parent *, enum role, int *fds, uint32_t n_fds);
static pid_t spawn_role(const struct parent *, enum role, int *fds,
                        uint32_t n_fds);
static void find_state_dir(const struct parent *, char out[CONFIG_PATH_SIZE]);
static void fill_dirs(const struct parent *, int *fds);

/* Each line's two ends go to two children, so none outlives them. */
int
parent_start_children(struct parent *parent)
{
    const struct broker_config *config = parent->opts->config;
    int back_engine[2] = {-1, -1}, engine_platform[2] = {-1, -1};
    int errands[2] = {-1, -1}, hands[2] = {-1, -1};
    int fds[ROLE_FDS_MAX];
    int error = errand_pair(errands);

    if (!error &&
        (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0,
                    back_engine) ||
         socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0,
                    engine_platform) ||
         socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0,
                    hands))) {
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
        fds[FD_BACK_HANDS] = hands[1];
        memcpy(&fds[FD_BACK_GUESTS], parent->guest_fds,
               config->n_guests * sizeof fds[0]);
        error = start_child(parent, ROLE_BACK, fds,
                            FD_BACK_GUESTS + config->n_guests);
    }
    for (int i = 0; i < 2; i++) {
        parent_close_fd(&back_engine[i]);
        parent_close_fd(&engine_platform[i]);
        parent_close_fd(&errands[i]);
    }
    parent->hands_fd = hands[0];
    parent_close_fd(&hands[1]);
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
    error = spawn_child(parent, role, all, n_fds);
    close(pair[1]);
    child->patience_ns = patience_ns[role];
    return error;
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
    int error = spawn_child(parent, ROLE_STEWARD, fds, FD_STEWARD_LOCK + 1);
    close(pair[1]);
    if (error) {
        close(pair[0]);
        return error;
    }
    parent->steward_fd = pair[0];
    child->patience_ns = 5 * NSEC_PER_SEC;
    return loop_watch(parent->loop, pair[0], false, &parent->steward_ready);
}

/* With a pipe for its last words. */
static int
spawn_child(struct parent *parent, enum role role, int *fds, uint32_t n_fds)
{
    struct child *child = &parent->children[role];
    int words[2];

    if (pipe2(words, O_CLOEXEC | O_NONBLOCK)) {
        return -errno;
    }
    fds[FD_LAST_WORDS] = words[1];
    pid_t pid = spawn_role(parent, role, fds, n_fds);
    close(words[1]);
    if (pid < 0) {
        close(words[0]);
        return pid;
    }
    child->words_fd = words[0];
    child->pid = pid;
    log_debug("%s is process %d", role_name(role), (int)pid);
    return 0;
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
    char arg[8][ARG_SIZE], state_dir[CONFIG_PATH_SIZE];
    char *argv[] = {(char[]){"mbrokerd"},
                    arg[0],
                    arg[1],
                    arg[2],
                    arg[3],
                    arg[4],
                    arg[5],
                    arg[6],
                    users->any && role != ROLE_STEWARD ? arg[7] : NULL,
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
    snprintf(arg[6], ARG_SIZE, "--ended=%s",
             role == ROLE_ENGINE ? parent->ended_before.reason : "");
    snprintf(arg[7], ARG_SIZE, "--user=%u,%u", (unsigned)users->uid[user],
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

int
parent_share_config(struct parent *parent, const char *text)
{
    const int seals = F_SEAL_FUTURE_WRITE | F_SEAL_SHRINK | F_SEAL_GROW;
    size_t size = strlen(text);

    if (size >= CONFSCAN_TEXT_MAX) {
        return -E2BIG;
    }
    int fd = memfd_create("mbroker.conf", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (fd < 0) {
        return -errno;
    }
    void *map = MAP_FAILED;
    if (!ftruncate(fd, CONFSCAN_TEXT_MAX)) {
        map = mmap(NULL, CONFSCAN_TEXT_MAX, PROT_READ | PROT_WRITE, MAP_SHARED,
                   fd, 0);
    }
    if (map == MAP_FAILED || fcntl(fd, F_ADD_SEALS, seals)) {
        int error = -errno;

        if (map != MAP_FAILED) {
            munmap(map, CONFSCAN_TEXT_MAX);
        }
        close(fd);
        return error;
    }
    memcpy(map, text, size);
    parent->config_text = map;
    parent->config_fd = fd;
    return 0;
}

int
parent_put_back(struct parent *parent)
{
    int fds[FD_PLATFORM_LOCKS], status;

    fds[FD_LAST_WORDS] = fds[FD_PARENT] = -1;
    fds[FD_PLATFORM_ENGINE] = fds[FD_PLATFORM_STEWARD] = -1;
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

void
parent_close_steward(struct parent *parent)
{
    if (parent->steward_fd >= 0) {
        loop_unwatch(parent->loop, parent->steward_fd);
    }
    parent_close_fd(&parent->steward_fd);
}

void
parent_close_fd(int *fd)
{
    if (*fd >= 0) {
        close(*fd);
        *fd = -1;
    }
}
