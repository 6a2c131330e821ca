/* SPDX-License-Identifier: Apache-2.0 */
/* The control socket's clients: who they are, what they sent so far, what waits
 * to be sent to them.  A line becomes a request in wire/request.c and data in
 * broker/answer.c; here is only what keeps a broken or hostile client from
 * costing more than its place: fixed input buffers, one reply at a time, a
 * bounded queue per watcher, and deadlines that only whole requests and
 * delivered bytes put off.  All descriptors hang on one epoll descriptor, which
 * the engine's shell watches.  Replies are allocated, which is the exception to
 * the engine's rule of allocating nothing after its start: they are bounded
 * (CONTROL_REPLY_MAX a client), and when memory is short the client is closed
 * and the engine goes on. */
#include "broker/control.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/text.h"
#include "broker/answer.h"
#include "broker/config.h"
#include "broker/journal.h"
#include "model/name.h"
#include "wire/request.h"

#define LISTENER UINT32_MAX        /* The listening socket's tag in epoll. */
#define REQUESTS_PER_TURN 8        /* Of one client. */
#define ACCEPTS_PER_TURN 16        /* The rest next turn. */
#define READS_PER_TURN 4           /* Buffers full, from one client. */
#define DENIED_ROW_NS NSEC_PER_SEC /* At most one journal row in that time. */

struct client {
    int fd; /* -1: the place is free. */
    enum right right;
    uid_t uid;
    pid_t pid;
    bool readable;
    bool watching;
    bool skipping; /* Throwing the rest of a line that was too long away. */
    bool leaving;  /* To be closed when all is sent. */
    nsec_t active; /* Last whole request or byte delivered. */
    size_t n_in;
    char in[REQUEST_SIZE_MAX + 2];
    char *out; /* Owned; null if nothing waits. */
    size_t n_out, n_sent, out_size;
    uint64_t n_lost; /* Lines since the last it was told of. */
};

struct control {
    struct control_env env;
    int listen_fd, epoll_fd;
    struct client clients[CONTROL_CLIENTS_MAX];
    struct control_stats stats;
    nsec_t denied_row_at; /* When the last CONTROL_DENIED row was added. */
    uint64_t n_denied_unsaid;
    nsec_t now; /* Of the turn that runs. */
};

static int listen_at(int fd, const char *path, char *why, size_t why_size);
static void accept_clients(struct control *);
static void serve_client(struct control *, struct client *);
static void close_late(struct control *, struct client *);
static void close_client(struct control *, struct client *);
static bool has_line(const struct client *);
static char *reserve(struct client *, size_t size, size_t max);
static bool queue_line(struct client *, const char *line, size_t size,
                       size_t max);
static bool queue_watched(struct client *, const char *json);
static void send_some(struct control *, struct client *);
static void watch_for(struct control *, struct client *);

int
control_listen(const char *path, char *why, size_t why_size)
{
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

    if (fd < 0) {
        snprintf(why, why_size, "%s: no socket: %s", path, strerror(errno));
        return -errno;
    }
    int error = listen_at(fd, path, why, why_size);
    if (error) {
        close(fd);
        return error;
    }
    return fd;
}

int
control_create(struct control **out, const struct control_env *env,
               int listen_fd)
{
    struct control *control = calloc(1, sizeof *control);
    if (!control) {
        return -ENOMEM;
    }
    for (size_t i = 0; i < CONTROL_CLIENTS_MAX; i++) {
        control->clients[i].fd = -1;
    }
    control->env = *env;
    control->listen_fd = listen_fd;
    control->denied_row_at = -DENIED_ROW_NS;
    control->epoll_fd = epoll_create1(EPOLL_CLOEXEC);

    struct epoll_event event = {.events = EPOLLIN, .data.u32 = LISTENER};
    if (control->epoll_fd < 0 ||
        epoll_ctl(control->epoll_fd, EPOLL_CTL_ADD, listen_fd, &event)) {
        int error = -errno;
        control->listen_fd = -1;
        control_destroy(control);
        return error;
    }
    *out = control;
    return 0;
}

void
control_destroy(struct control *control)
{
    if (!control) {
        return;
    }
    for (size_t i = 0; i < CONTROL_CLIENTS_MAX; i++) {
        close_client(control, &control->clients[i]);
    }
    if (control->listen_fd >= 0) {
        close(control->listen_fd);
    }
    if (control->epoll_fd >= 0) {
        close(control->epoll_fd);
    }
    free(control);
}

int
control_fd(const struct control *control)
{
    return control->epoll_fd;
}

void
control_run(struct control *control, nsec_t now)
{
    struct epoll_event events[CONTROL_CLIENTS_MAX + 1];
    int n = epoll_wait(control->epoll_fd, events, CONTROL_CLIENTS_MAX + 1, 0);

    control->now = now;
    for (int i = 0; i < n; i++) {
        if (events[i].data.u32 == LISTENER) {
            accept_clients(control);
        } else {
            control->clients[events[i].data.u32].readable = true;
        }
    }
    for (size_t i = 0; i < CONTROL_CLIENTS_MAX; i++) {
        if (control->clients[i].fd >= 0) {
            serve_client(control, &control->clients[i]);
        }
    }
}

nsec_t
control_deadline(const struct control *control)
{
    nsec_t deadline = NSEC_NEVER;

    for (size_t i = 0; i < CONTROL_CLIENTS_MAX; i++) {
        const struct client *client = &control->clients[i];

        if (client->fd < 0) {
            continue;
        }
        if (!client->out && !client->watching && has_line(client)) {
            return control->now;
        }
        if (!client->watching) {
            deadline = nsec_min(deadline, client->active + CONTROL_IDLE_NS);
        } else if (client->out) {
            deadline = nsec_min(deadline, client->active + CONTROL_STUCK_NS);
        }
    }
    return deadline;
}

void
control_watch(struct control *control, const char *json)
{
    for (size_t i = 0; i < CONTROL_CLIENTS_MAX; i++) {
        struct client *client = &control->clients[i];

        if (client->fd < 0 || !client->watching || client->leaving) {
            continue;
        }
        if (!client->out) {
            client->active = control->now;
        }
        if (!queue_watched(client, json)) {
            client->n_lost++;
            control->stats.n_lost_lines++;
        }
        send_some(control, client);
    }
}

void
control_stats(const struct control *control, struct control_stats *out)
{
    *out = control->stats;
}

/* The listening socket. */

/* Is anybody listening there? Not our business to wait for an answer. */
static bool
somebody_answers(const struct sockaddr_un *address)
{
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    bool answers = false;

    if (fd >= 0) {
        answers =
            !connect(fd, (const struct sockaddr *)address, sizeof *address) ||
            errno == EAGAIN;
        close(fd);
    }
    return answers;
}

static int
listen_at(int fd, const char *path, char *why, size_t why_size)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};

    if (text_copy(address.sun_path, sizeof address.sun_path, path)) {
        snprintf(why, why_size,
                 "%s: longer than the %zu bytes a socket's path "
                 "may have; choose a shorter run directory",
                 path, sizeof address.sun_path - 1);
        return -ENAMETOOLONG;
    }
    int bound = bind(fd, (struct sockaddr *)&address, sizeof address);
    if (bound && errno == EADDRINUSE) {
        if (somebody_answers(&address)) {
            snprintf(why, why_size, "%s: another broker answers there", path);
            return -EADDRINUSE;
        }
        unlink(path);
        bound = bind(fd, (struct sockaddr *)&address, sizeof address);
    }
    if (bound || chmod(path, 0666) || listen(fd, CONTROL_CLIENTS_MAX)) {
        int error = -errno;
        snprintf(why, why_size, "%s: can't listen: %s", path, strerror(-error));
        return error;
    }
    return 0;
}

/* Replies. */

static json_t *
fault_json(const struct request_fault *fault)
{
    return json_pack("{s:b,s:{s:s,s:s,s:s}}", "ok", 0, "error", "what",
                     fault->what, "why", fault->why, "next", fault->next);
}

/* Queues a reply; takes 'reply'. */
static void
reply_with(struct client *client, json_t *reply)
{
    static const char too_long[] =
        "{\"ok\":false,\"error\":{\"what\":\"the answer is too long\","
        "\"why\":\"a reply has at most 1 MiB\",\"next\":\"ask for less\"}}";
    size_t size = reply ? json_dumpb(reply, NULL, 0, JSON_COMPACT) : 0;
    char *to = size ? reserve(client, size + 1, CONTROL_REPLY_MAX) : NULL;

    if (to && json_dumpb(reply, to, size, JSON_COMPACT) == size) {
        to[size] = '\n';
        client->n_out += size + 1;
    } else if (to || !size ||
               !queue_line(client, too_long, sizeof too_long - 1,
                           CONTROL_REPLY_MAX)) {
        client->leaving = true; /* Short of memory. */
    }
    json_decref(reply);
}

static void
reply_fault(struct client *client, const char *what, const char *why,
            const char *next)
{
    struct request_fault fault;

    text_copy(fault.what, sizeof fault.what, what);
    text_copy(fault.why, sizeof fault.why, why);
    text_copy(fault.next, sizeof fault.next, next);
    reply_with(client, fault_json(&fault));
}

/* Makes room for 'size' bytes behind what waits to be sent, if all of it stays
 * below 'max'.  Null if it does not, or there is no memory. */
static char *
reserve(struct client *client, size_t size, size_t max)
{
    size_t waiting = client->n_out - client->n_sent;

    if (waiting + size > max) {
        return NULL;
    }
    if (client->n_sent > 0) {
        memmove(client->out, client->out + client->n_sent, waiting);
        client->n_out = waiting;
        client->n_sent = 0;
    }
    if (waiting + size > client->out_size) {
        char *out = realloc(client->out, waiting + size);
        if (!out) {
            return NULL;
        }
        client->out = out;
        client->out_size = waiting + size;
    }
    return client->out + waiting;
}

static bool
queue_line(struct client *client, const char *line, size_t size, size_t max)
{
    char *to = reserve(client, size + 1, max);

    if (!to) {
        return false;
    }
    memcpy(to, line, size);
    to[size] = '\n';
    client->n_out += size + 1;
    return true;
}

/* Queues a line for a watcher, and before it how many he lost: neither or
 * both. */
static bool
queue_watched(struct client *client, const char *json)
{
    size_t size = strlen(json), lost_size = 0;
    char lost[64];

    if (client->n_lost > 0) {
        lost_size = (size_t)snprintf(lost, sizeof lost,
                                     "{\"lost\":%" PRIu64 "}", client->n_lost);
        if (client->n_out - client->n_sent + lost_size + size + 2 >
                CONTROL_WATCH_MAX ||
            !queue_line(client, lost, lost_size, CONTROL_WATCH_MAX)) {
            return false;
        }
        client->n_lost = 0;
    }
    return queue_line(client, json, size, CONTROL_WATCH_MAX);
}

static void
send_some(struct control *control, struct client *client)
{
    while (client->n_sent < client->n_out) {
        ssize_t n =
            send(client->fd, client->out + client->n_sent,
                 client->n_out - client->n_sent, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (n < 0 && (errno == EAGAIN || errno == EINTR)) {
            watch_for(control, client);
            return;
        }
        if (n < 0) {
            close_client(control, client);
            return;
        }
        client->n_sent += (size_t)n;
        client->active = control->now;
    }
    free(client->out);
    client->out = NULL;
    client->n_out = client->n_sent = client->out_size = 0;
    if (client->leaving) {
        close_client(control, client);
        return;
    }
    watch_for(control, client);
}

/* Clients. */

/* While a reply waits nothing more is read, so that a client can't make us
 * hold more than one; a watcher is read to notice that it left. */
static void
watch_for(struct control *control, struct client *client)
{
    struct epoll_event event = {.data.u32 =
                                    (uint32_t)(client - control->clients)};

    event.events = (client->out ? EPOLLOUT : 0u) |
                   (!client->out || client->watching ? EPOLLIN : 0u);
    epoll_ctl(control->epoll_fd, EPOLL_CTL_MOD, client->fd, &event);
}

static void
close_client(struct control *control, struct client *client)
{
    if (client->fd < 0) {
        return;
    }
    close(client->fd); /* Leaves the epoll set with it. */
    free(client->out);
    *client = (struct client){.fd = -1};
}

/* Says so to a client that is not let in; one line always fits a new socket. */
static void
turn_away(struct client *client, const char *what, const char *why,
          const char *next)
{
    reply_fault(client, what, why, next);
    if (client->out) {
        ssize_t sent = send(client->fd, client->out, client->n_out,
                            MSG_DONTWAIT | MSG_NOSIGNAL);
        (void)sent;
    }
    close(client->fd);
    free(client->out);
}

static void
note_denied(struct control *control, const struct client *client,
            const char *asked)
{
    struct journal_row row = {.kind = JOURNAL_EVENT, .time = control->now};
    const struct broker_config *config = control->env.config;

    control->stats.n_denied++;
    control->n_denied_unsaid++;
    if (!control->env.journal ||
        control->now - control->denied_row_at < DENIED_ROW_NS) {
        return;
    }
    if (control->env.wall_ns) {
        row.wall_ns = control->env.wall_ns(control->env.ctx);
    }
    name_of_host(config->domain, config->host_id, NAME_BROKER, 0, row.subject);
    text_copy(row.name, sizeof row.name, "CONTROL_DENIED");
    snprintf(row.detail, sizeof row.detail,
             "{\"uid\":%u,\"pid\":%d,\"asked\":\"%s\",\"right\":\"%s\","
             "\"times\":%" PRIu64 "}",
             (unsigned)client->uid, (int)client->pid, asked,
             right_name(client->right), control->n_denied_unsaid);
    if (!journal_add(control->env.journal, &row)) {
        control->denied_row_at = control->now;
        control->n_denied_unsaid = 0;
    }
}

static struct client *
free_place(struct control *control, enum right right)
{
    size_t n = CONTROL_CLIENTS_MAX;

    if (right != RIGHT_CHANGE) {
        n -= CONTROL_CLIENTS_RESERVED;
    }
    for (size_t i = 0; i < n; i++) {
        if (control->clients[i].fd < 0) {
            return &control->clients[i];
        }
    }
    return NULL;
}

static void
say_who_may(const struct control *control, bool change, char *out, size_t size)
{
    const struct broker_config *config = control->env.config;
    const char *operator_group = config->operator_group;
    const char *control_group = config->control_group;

    if (change && operator_group[0]) {
        snprintf(out, size,
                 "ask root, or join the operator group \"%s\" and log in again",
                 operator_group);
    } else if (!change && control_group[0]) {
        snprintf(out, size,
                 "join the group \"%s\" and log in again, or ask "
                 "root",
                 control_group);
    } else {
        snprintf(out, size,
                 "run it as root or as the broker's own user, or "
                 "name a group in control.%s of the configuration",
                 change ? "operators" : "group");
    }
}

static void
admit(struct control *control, int fd)
{
    struct client newcomer = {.fd = fd, .active = control->now};
    struct peer peer;
    char why[128], next[256];

    control->stats.n_clients++;
    if (rights_peer(fd, &peer)) {
        close(fd);
        return;
    }
    newcomer.uid = peer.uid;
    newcomer.pid = peer.pid;
    newcomer.right = rights_of(&control->env.rights, &peer);
    if (newcomer.right == RIGHT_NONE) {
        note_denied(control, &newcomer, "connect");
        snprintf(why, sizeof why, "uid %u may not read", (unsigned)peer.uid);
        say_who_may(control, false, next, sizeof next);
        turn_away(&newcomer, "not permitted", why, next);
        return;
    }
    struct client *client = free_place(control, newcomer.right);
    struct epoll_event event = {.events = EPOLLIN};
    if (!client) {
        snprintf(why, sizeof why, "%d clients are connected",
                 CONTROL_CLIENTS_MAX);
        turn_away(&newcomer, "the broker is busy", why,
                  "try again in some seconds, or end an \"mctl watch\"");
        return;
    }
    event.data.u32 = (uint32_t)(client - control->clients);
    if (epoll_ctl(control->epoll_fd, EPOLL_CTL_ADD, fd, &event)) {
        close(fd);
        return;
    }
    *client = newcomer;
}

static void
accept_clients(struct control *control)
{
    for (int i = 0; i < ACCEPTS_PER_TURN; i++) {
        int fd = accept4(control->listen_fd, NULL, NULL,
                         SOCK_CLOEXEC | SOCK_NONBLOCK);
        if (fd < 0) {
            return;
        }
        admit(control, fd);
    }
}

/* Requests. */

static bool
has_line(const struct client *client)
{
    return client->n_in > REQUEST_SIZE_MAX ||
           memchr(client->in, '\n', client->n_in);
}

static void
answer_line(struct control *control, struct client *client, const char *line,
            size_t size)
{
    struct request_fault fault;
    struct request request;
    json_t *data;

    client->active = control->now;
    control->stats.n_requests++;
    if (request_decode(&request, line, size, &fault)) {
        control->stats.n_refused++;
        reply_with(client, fault_json(&fault));
        return;
    }
    if (request_changes(request.verb) && client->right != RIGHT_CHANGE) {
        char why[128], next[256];

        note_denied(control, client, request_verb_name(request.verb));
        snprintf(why, sizeof why,
                 "uid %u may read, but not change, what this "
                 "broker does",
                 (unsigned)client->uid);
        say_who_may(control, true, next, sizeof next);
        reply_fault(client, "not permitted", why, next);
        return;
    }
    data = answer_request(&control->env, &request, control->now, &fault);
    if (!data) {
        reply_with(client, fault_json(&fault));
        return;
    }
    client->watching = request.verb == REQUEST_WATCH;
    reply_with(client, json_pack("{s:b,s:o}", "ok", 1, "data", data));
}

/* Takes one line off the input and answers it; false if there is none. */
static bool
take_line(struct control *control, struct client *client)
{
    char *end = memchr(client->in, '\n', client->n_in);
    size_t size = end ? (size_t)(end - client->in) : client->n_in;

    if (!end && client->n_in <= REQUEST_SIZE_MAX) {
        return false;
    }
    if (!client->skipping) {
        answer_line(control, client, client->in, size);
    }
    client->skipping = !end;
    if (end) {
        size++;
    }
    client->n_in -= size;
    memmove(client->in, client->in + size, client->n_in);
    return true;
}

/* Returns false if the client is gone. */
static bool
read_some(struct control *control, struct client *client)
{
    char nothing[REQUEST_SIZE_MAX];
    char *to = client->watching ? nothing : client->in + client->n_in;
    size_t room =
        client->watching ? sizeof nothing : sizeof client->in - client->n_in;

    if (room == 0) {
        return true;
    }
    ssize_t n = recv(client->fd, to, room, MSG_DONTWAIT);
    if (n < 0 && (errno == EAGAIN || errno == EINTR)) {
        client->readable = false;
        return true;
    }
    if (n <= 0) {
        close_client(control, client);
        return false;
    }
    if (!client->watching) {
        client->n_in += (size_t)n;
    }
    return true;
}

/* Answers what has come in whole, up to a limit; the rest waits a turn. */
static void
answer_some(struct control *control, struct client *client, int *n_left)
{
    while (client->fd >= 0 && !client->out && !client->watching &&
           *n_left > 0 && take_line(control, client)) {
        (*n_left)--;
        send_some(control, client);
    }
}

static void
serve_client(struct control *control, struct client *client)
{
    int n_left = REQUESTS_PER_TURN;

    if (client->out) {
        send_some(control, client);
    }
    answer_some(control, client, &n_left);
    for (int i = 0; i < READS_PER_TURN && client->fd >= 0 && client->readable &&
                    (!client->out || client->watching);
         i++) {
        if (!read_some(control, client)) {
            return;
        }
        answer_some(control, client, &n_left);
    }
    if (client->fd >= 0) {
        client->readable = false;
        close_late(control, client);
    }
}

static void
close_late(struct control *control, struct client *client)
{
    nsec_t quiet = control->now - client->active;

    if (client->watching) {
        if (client->out && quiet >= CONTROL_STUCK_NS) {
            close_client(control, client);
        }
        return;
    }
    if (quiet < CONTROL_IDLE_NS) {
        return;
    }
    if (!client->out) {
        reply_fault(client, "the connection was quiet for too long",
                    client->n_in > 0 ? "a request was begun and not ended"
                                     : "10 s passed without a request",
                    "connect again; a request ends with a newline");
        client->leaving = true;
        send_some(control, client);
    }
    close_client(control, client);
}
