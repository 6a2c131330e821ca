/* SPDX-License-Identifier: Apache-2.0 */
/* mctl check: whether mbrokerd would take a configuration.  Asks the program
 * itself (mbrokerd --check FILE), so that there is one opinion; no broker need
 * run.  Looks for mbrokerd beside mctl first, then in the build tree, then in
 * PATH. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <spawn.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/text.h"
#include "ctl/ctl.h"
#include "ctl/member.h"

#define SAID_SIZE 4096

static void find_mbrokerd(char *out, size_t size);
static int ask_mbrokerd(const char *program, const char *file, char *said,
                        size_t size);

static enum ctl_exit
run(struct ctl *ctl, int argc, char **argv)
{
    char program[PATH_MAX], said[SAID_SIZE];

    if (argc != 1) {
        return ctl_usage(ctl, &verb_check, "one file has to be named");
    }
    find_mbrokerd(program, sizeof program);
    int status = ask_mbrokerd(program, argv[0], said, sizeof said);
    if (status < 0) {
        ctl_say(ctl, "mbrokerd can't be started to check it", strerror(-status),
                "install it beside mctl or into PATH");
        return CTL_FAILED;
    }
    if (ctl->json) {
        json_t *data = json_pack("{s:s,s:b,s:s}", "file", argv[0], "ok",
                                 status == 0, "said", said);
        ctl_put_json(ctl, data);
        json_decref(data);
    } else {
        FILE *out = status ? ctl->err : ctl->out;
        for (char *line = strtok(said, "\n"); line; line = strtok(NULL, "\n")) {
            put_text(out, line);
            putc('\n', out);
        }
    }
    return status == 0 ? CTL_OK : CTL_FAILED;
}

static void
find_mbrokerd(char *out, size_t size)
{
    static const char *const places[] = {"mbrokerd", "../broker/mbrokerd",
                                         "../sbin/mbrokerd", NULL};
    char self[PATH_MAX];
    ssize_t n = readlink("/proc/self/exe", self, sizeof self - 1);
    char *slash;

    self[n > 0 ? n : 0] = '\0';
    slash = strrchr(self, '/');
    for (size_t i = 0; slash && places[i]; i++) {
        int used = snprintf(out, size, "%.*s/%s", (int)(slash - self), self,
                            places[i]);
        if (used > 0 && (size_t)used < size && !access(out, X_OK)) {
            return;
        }
    }
    snprintf(out, size, "mbrokerd");
}

/* Starts it with both outputs going to 'fd'.  Returns 0 or -Exxx. */
static int
start(pid_t *pid, const char *program, const char *file, int fd)
{
    char verb[] = "--check", name[] = "mbrokerd", path[PATH_MAX];
    char *const argv[] = {name, verb, path, NULL};
    posix_spawn_file_actions_t actions;

    if (text_copy(path, sizeof path, file)) {
        return -ENAMETOOLONG;
    }
    int error = posix_spawn_file_actions_init(&actions);
    if (error) {
        return -error;
    }
    error = posix_spawn_file_actions_adddup2(&actions, fd, STDOUT_FILENO);
    if (!error) {
        error = posix_spawn_file_actions_adddup2(&actions, fd, STDERR_FILENO);
    }
    if (!error) {
        error = posix_spawnp(pid, program, &actions, NULL, argv, environ);
    }
    posix_spawn_file_actions_destroy(&actions);
    return -error;
}

/* Runs it and collects what it says.  Returns its exit code or -Exxx. */
static int
ask_mbrokerd(const char *program, const char *file, char *said, size_t size)
{
    int ends[2], status;
    size_t used = 0;
    pid_t pid = 0;
    ssize_t n;

    said[0] = '\0';
    if (pipe2(ends, O_CLOEXEC)) {
        return -errno;
    }
    int error = start(&pid, program, file, ends[1]);
    close(ends[1]);
    while (!error && (n = read(ends[0], said + used, size - 1 - used)) > 0) {
        used += (size_t)n;
    }
    said[used] = '\0';
    close(ends[0]);
    if (error) {
        return error;
    }
    if (waitpid(pid, &status, 0) < 0) {
        return -errno;
    }
    return WIFEXITED(status) ? WEXITSTATUS(status) : -EINTR;
}

const struct verb verb_check = {
    .name = "check",
    .usage = "FILE",
    .summary = "whether mbrokerd would take a configuration file",
    .help = "Runs \"mbrokerd --check FILE\": names the line and what is wrong "
            "with it. No\nbroker need run.\n",
    .run = run,
};
