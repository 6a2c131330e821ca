/* SPDX-License-Identifier: Apache-2.0 */
/* Speaks JSON lines with the broker over control.sock of the run directory.
 * Every way in which that can fail ends in a sentence that says what to do
 * next. Called by the verbs. */
#include "ctl/client.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "ctl/member.h"
#include "wire/jsonread.h"

#define LINE_MAX_SIZE (2u << 20) /* More than the broker ever answers. */
#define ANSWER_MS 10000          /* An answer is due by then. */

struct lines {
    int fd;
    char *data; /* Owned. */
    size_t n, size;
};

static enum ctl_exit open_lines(struct ctl *, struct lines *);
static void close_lines(struct lines *);
static enum ctl_exit send_request(struct ctl *, struct lines *, json_t *);
static int read_line(struct ctl *, struct lines *, int timeout_ms,
                     json_t **out);
static enum ctl_exit read_answer(struct ctl *, struct lines *, json_t **data);

enum ctl_exit
client_ask(struct ctl *ctl, json_t *request, json_t **data)
{
    struct lines lines;
    enum ctl_exit result = open_lines(ctl, &lines);

    if (result == CTL_OK) {
        result = send_request(ctl, &lines, request);
    }
    if (result == CTL_OK) {
        result = read_answer(ctl, &lines, data);
    }
    json_decref(request);
    close_lines(&lines);
    return result;
}

enum ctl_exit
client_stream(struct ctl *ctl, json_t *request,
              bool (*line)(void *ctx, const json_t *line), void *ctx)
{
    struct lines lines;
    json_t *json = NULL;
    enum ctl_exit result = open_lines(ctl, &lines);

    if (result == CTL_OK) {
        result = send_request(ctl, &lines, request);
    }
    if (result == CTL_OK) {
        result = read_answer(ctl, &lines, &json);
    }
    bool more = result == CTL_OK && line(ctx, json);
    while (more) {
        json_decref(json);
        json = NULL;
        int error = read_line(ctl, &lines, -1, &json);
        if (error == -EINTR) {
            break;
        }
        if (error) {
            ctl_say(ctl, "the broker closed the connection",
                    error == -ENODATA ? "it stopped, or we read too slowly"
                                      : strerror(-error),
                    "try again; \"mctl status\" says whether it runs");
            result = CTL_UNREACHABLE;
            break;
        }
        more = line(ctx, json);
    }
    json_decref(json);
    json_decref(request);
    close_lines(&lines);
    return result;
}

/* Connecting. */

static void
say_unreachable(struct ctl *ctl, const char *path, int error)
{
    char what[400];

    snprintf(what, sizeof what, "no broker answers at %s", path);
    switch (error) {
    case ENOENT:
        ctl_say(ctl, what, "there is no socket of that name",
                "is mbrokerd running? If its run_dir is another directory, "
                "name it by --run-dir DIR");
        break;
    case ECONNREFUSED:
        ctl_say(ctl, what, "the socket is there, but nobody listens",
                "is mbrokerd running? \"mbrokerd --check FILE\" checks its "
                "configuration before you start it");
        break;
    case EACCES:
        ctl_say(ctl, what, "the directory may not be searched by you",
                "run mctl as root or as the broker's own user");
        break;
    default:
        ctl_say(ctl, what, strerror(error), "is mbrokerd running?");
    }
}

static enum ctl_exit
open_lines(struct ctl *ctl, struct lines *lines)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int n = snprintf(address.sun_path, sizeof address.sun_path,
                     "%s/control.sock", ctl->run_dir);

    *lines = (struct lines){.fd = -1};
    if (n < 0 || (size_t)n >= sizeof address.sun_path) {
        ctl_say(ctl, "the run directory's name is too long", ctl->run_dir,
                "a socket's path has at most 107 bytes");
        return CTL_USAGE;
    }
    lines->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (lines->fd < 0 ||
        connect(lines->fd, (struct sockaddr *)&address, sizeof address)) {
        say_unreachable(ctl, address.sun_path, errno);
        return CTL_UNREACHABLE;
    }
    return CTL_OK;
}

static void
close_lines(struct lines *lines)
{
    if (lines->fd >= 0) {
        close(lines->fd);
    }
    free(lines->data);
}

static enum ctl_exit
send_request(struct ctl *ctl, struct lines *lines, json_t *request)
{
    char *text = request ? json_dumps(request, JSON_COMPACT) : NULL;

    if (!text) {
        ctl_say(ctl, "the request can't be written",
                "something in it is not UTF-8 text", "look at the arguments");
        return CTL_USAGE;
    }
    size_t size = strlen(text);
    text[size++] = '\n'; /* In place of its end; written by size. */
    ssize_t sent = send(lines->fd, text, size, MSG_NOSIGNAL);
    free(text);
    /* A broker that turned us away has closed already; its line says why. */
    if (sent != (ssize_t)size && errno != EPIPE && errno != ECONNRESET) {
        ctl_say(ctl, "the broker took no request", strerror(errno),
                "see the broker's log");
        return CTL_UNREACHABLE;
    }
    return CTL_OK;
}

/* Reading. */

/* Waits until something can be read.  0 or -Exxx; -EINTR if the user wants to
 * leave. */
static int
wait_readable(struct ctl *ctl, const struct lines *lines, int timeout_ms)
{
    struct pollfd poll_fd = {.fd = lines->fd, .events = POLLIN};

    for (;;) {
        if (ctl->stop && *ctl->stop) {
            return -EINTR;
        }
        int n = poll(&poll_fd, 1, timeout_ms);
        if (n > 0) {
            return 0;
        }
        if (n == 0) {
            return -ETIMEDOUT;
        }
        if (errno != EINTR) {
            return -errno;
        }
    }
}

static int
fill(struct lines *lines)
{
    if (lines->n == lines->size) {
        size_t size = lines->size ? lines->size * 2 : 4096;
        char *data = size > LINE_MAX_SIZE ? NULL : realloc(lines->data, size);

        if (!data) {
            return -EMSGSIZE;
        }
        lines->data = data;
        lines->size = size;
    }
    ssize_t n =
        recv(lines->fd, lines->data + lines->n, lines->size - lines->n, 0);
    if (n < 0) {
        return errno == ECONNRESET ? -ENODATA : -errno;
    }
    if (n == 0) {
        return -ENODATA;
    }
    lines->n += (size_t)n;
    return 0;
}

static int
read_line(struct ctl *ctl, struct lines *lines, int timeout_ms, json_t **out)
{
    char *end;

    while (!(end = lines->n ? memchr(lines->data, '\n', lines->n) : NULL)) {
        int error = wait_readable(ctl, lines, timeout_ms);

        if (!error) {
            error = fill(lines);
        }
        if (error) {
            return error;
        }
    }
    size_t size = (size_t)(end - lines->data) + 1;
    *out = jsonread(lines->data, size - 1, 0, NULL);
    lines->n -= size;
    memmove(lines->data, end + 1, lines->n);
    return *out ? 0 : -EBADMSG;
}

static enum ctl_exit
read_answer(struct ctl *ctl, struct lines *lines, json_t **data)
{
    json_t *answer = NULL;
    int error = read_line(ctl, lines, ANSWER_MS, &answer);

    if (error == -EINTR) {
        return CTL_FAILED;
    }
    if (error) {
        ctl_say(ctl, "the broker gave no answer",
                error == -ENODATA     ? "it closed the connection"
                : error == -EBADMSG   ? "what it sent is not JSON"
                : error == -ETIMEDOUT ? "10 s passed"
                                      : strerror(-error),
                "see the broker's log; it may be stopping");
        return CTL_UNREACHABLE;
    }
    if (!member_true(answer, "ok")) {
        const json_t *fault = json_object_get(answer, "error");
        const char *what = member_text(fault, "what");

        ctl_say(ctl, what[0] ? what : "the broker refused and did not say why",
                member_text(fault, "why"), member_text(fault, "next"));
        json_decref(answer);
        return CTL_FAILED;
    }
    *data = json_incref(json_object_get(answer, "data"));
    json_decref(answer);
    if (!json_is_object(*data)) {
        json_decref(*data);
        *data = NULL;
        ctl_say(ctl, "the broker's answer says nothing", NULL,
                "is it of another version? \"mctl --version\" says ours");
        return CTL_UNREACHABLE;
    }
    return CTL_OK;
}
