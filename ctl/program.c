/* SPDX-License-Identifier: Apache-2.0 */
/* Runs another program of this project and reads what it says.  Its output may
 * be long and is handed on line by line; its errors are few and collected.
 * Called by check.c, and by the verbs that look into journals. */
#include "ctl/program.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define LINE_MAX_SIZE (4u << 20)

void
program_find(const char *name, char *out, size_t size)
{
    static const char *const places[] = {"", "../broker/", "../sbin/",
                                         "../libexec/mbroker/", NULL};
    char self[PATH_MAX];
    ssize_t n = readlink("/proc/self/exe", self, sizeof self - 1);
    char *slash;

    self[n > 0 ? n : 0] = '\0';
    slash = strrchr(self, '/');
    for (size_t i = 0; slash && places[i]; i++) {
        int used = snprintf(out, size, "%.*s/%s%s", (int)(slash - self), self,
                            places[i], name);
        if (used > 0 && (size_t)used < size && !access(out, X_OK)) {
            return;
        }
    }
    snprintf(out, size, "%s", name);
}

/* Starts it with its outputs going to the two descriptors. */
static int
start(pid_t *pid, const char *const *argv, int out_fd, int err_fd)
{
    char program[PATH_MAX];
    posix_spawn_file_actions_t actions;

    program_find(argv[0], program, sizeof program);
    int error = posix_spawn_file_actions_init(&actions);
    if (error) {
        return -error;
    }
    error = posix_spawn_file_actions_adddup2(&actions, out_fd, STDOUT_FILENO);
    if (!error) {
        error =
            posix_spawn_file_actions_adddup2(&actions, err_fd, STDERR_FILENO);
    }
    if (!error) {
        /* It takes what it does not change; the type is older than const. */
        error = posix_spawnp(pid, program, &actions, NULL,
                             (char *const *)(const void *)argv, environ);
    }
    posix_spawn_file_actions_destroy(&actions);
    return -error;
}

struct output {
    char *data; /* Owned. */
    size_t n, size;
    bool (*line)(void *ctx, char *line);
    void *ctx;
    bool ended;
};

static void
take_lines(struct output *output)
{
    char *from = output->data, *end;

    while (
        !output->ended &&
        (end = memchr(from, '\n', output->n - (size_t)(from - output->data)))) {
        *end = '\0';
        output->ended = output->line && !output->line(output->ctx, from);
        from = end + 1;
    }
    output->n -= (size_t)(from - output->data);
    memmove(output->data, from, output->n);
}

/* 0 at the end, or if nobody wants more; 1, or -Exxx. */
static int
read_output(struct output *output, int fd)
{
    if (output->n == output->size) {
        size_t size = output->size ? output->size * 2 : 65536;
        char *data = size > LINE_MAX_SIZE ? NULL : realloc(output->data, size);

        if (!data) {
            return -EMSGSIZE;
        }
        output->data = data;
        output->size = size;
    }
    ssize_t n = read(fd, output->data + output->n, output->size - output->n);
    if (n <= 0) {
        return n < 0 && errno == EINTR ? 1 : n < 0 ? -errno : 0;
    }
    output->n += (size_t)n;
    take_lines(output);
    return !output->ended;
}

static void
read_said(char *said, size_t *used, struct pollfd *fd)
{
    char rest[512];
    size_t room = PROGRAM_SAID_SIZE - 1 - *used;
    ssize_t n = room ? read(fd->fd, said + *used, room)
                     : read(fd->fd, rest, sizeof rest);

    if (n <= 0) {
        fd->fd = -1;
    } else if (room) {
        *used += (size_t)n;
    }
    said[*used] = '\0';
}

static int
follow(struct output *output, int out_fd, int err_fd, char *said)
{
    struct pollfd fds[] = {{.fd = out_fd, .events = POLLIN},
                           {.fd = err_fd, .events = POLLIN}};
    size_t used = 0;
    int more = 1;

    while (more > 0 || fds[1].fd >= 0) {
        if (poll(fds, 2, -1) < 0 && errno != EINTR) {
            return -errno;
        }
        if (more > 0 && fds[0].revents) {
            more = read_output(output, out_fd);
            fds[0].fd = more > 0 ? out_fd : -1;
        }
        if (fds[1].fd >= 0 && fds[1].revents) {
            read_said(said, &used, &fds[1]);
        }
        if (output->ended || more < 0) {
            break; /* It may wait to be read, and shall not for ever. */
        }
    }
    return more < 0 ? more : 0;
}

int
program_run(const char *const *argv, bool (*line)(void *ctx, char *line),
            void *ctx, char *said)
{
    struct output output = {.line = line, .ctx = ctx};
    int out[2], err[2], status = 0;
    pid_t pid = 0;

    said[0] = '\0';
    if (pipe2(out, O_CLOEXEC)) {
        return -errno;
    }
    if (pipe2(err, O_CLOEXEC)) {
        int error = -errno;
        close(out[0]);
        close(out[1]);
        return error;
    }
    int error = start(&pid, argv, out[1], err[1]);
    close(out[1]);
    close(err[1]);
    if (!error) {
        error = follow(&output, out[0], err[0], said);
    }
    close(out[0]);
    close(err[0]);
    free(output.data);
    if (pid && waitpid(pid, &status, 0) < 0) {
        return -errno;
    }
    if (error) {
        return error;
    }
    return WIFEXITED(status) ? WEXITSTATUS(status) : output.ended ? 0 : -EINTR;
}
