/* SPDX-License-Identifier: Apache-2.0 */
/* posix_spawn() with a list of descriptors.  A child has what is named and the
 * three standard ones, of which the first is /dev/null, and no other.  Signals
 * are as at the start of any program.  Called by the parent of mbrokerd. */
#include "broker/parent/launch.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdbool.h>
#include <unistd.h>

#include "broker/role/role.h"

#define FIRST 3

static int add_fds(posix_spawn_file_actions_t *, const int *fds, uint32_t n_fds,
                   int *copies);
static int set_signals(posix_spawnattr_t *);

pid_t
launch(char *const argv[], const int *fds, uint32_t n_fds)
{
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attributes;
    int copies[ROLE_FDS_MAX];
    pid_t pid = 0;

    if (n_fds > ROLE_FDS_MAX) {
        return -E2BIG;
    }
    for (uint32_t i = 0; i < n_fds; i++) {
        copies[i] = -1;
    }
    posix_spawn_file_actions_init(&actions);
    posix_spawnattr_init(&attributes);
    int error = posix_spawn_file_actions_addopen(&actions, STDIN_FILENO,
                                                 "/dev/null", O_RDONLY, 0);
    if (!error) {
        error = add_fds(&actions, fds, n_fds, copies);
    }
    if (!error) {
        error = set_signals(&attributes);
    }
    if (!error) {
        extern char **environ;

        error = posix_spawn(&pid, "/proc/self/exe", &actions, &attributes, argv,
                            environ);
    }
    for (uint32_t i = 0; i < n_fds; i++) {
        if (copies[i] >= 0) {
            close(copies[i]);
        }
    }
    posix_spawn_file_actions_destroy(&actions);
    posix_spawnattr_destroy(&attributes);
    return error ? -error : pid;
}

/* Copies beyond the numbers that are given out come first, so that none is
 * overwritten before it was copied. */
static int
add_fds(posix_spawn_file_actions_t *actions, const int *fds, uint32_t n_fds,
        int *copies)
{
    int beyond = FIRST + (int)n_fds, error = 0;

    for (uint32_t i = 0; i < n_fds; i++) {
        if (fds[i] >= 0) {
            copies[i] = fcntl(fds[i], F_DUPFD_CLOEXEC, beyond);
            if (copies[i] < 0) {
                return errno;
            }
        }
    }
    for (uint32_t i = 0; !error && i < n_fds; i++) {
        int to = FIRST + (int)i;

        error = copies[i] >= 0
                    ? posix_spawn_file_actions_adddup2(actions, copies[i], to)
                    : posix_spawn_file_actions_addclose(actions, to);
    }
    /* What somebody above us forgot to close. */
    return error ? error
                 : posix_spawn_file_actions_addclosefrom_np(actions, beyond);
}

static int
set_signals(posix_spawnattr_t *attributes)
{
    sigset_t none, all;

    sigemptyset(&none);
    sigfillset(&all);
    int error = posix_spawnattr_setsigmask(attributes, &none);
    if (!error) {
        error = posix_spawnattr_setsigdefault(attributes, &all);
    }
    if (!error) {
        error = posix_spawnattr_setflags(attributes, POSIX_SPAWN_SETSIGMASK |
                                                         POSIX_SPAWN_SETSIGDEF);
    }
    return error;
}
