/* SPDX-License-Identifier: Apache-2.0 */
/* The control socket: who may come in, whose turn it is, and who has to leave.
 * A client's buffers are client.c's; a line becomes a request in wire/request.c
 * and data in answer.c.  Here is what keeps a broken, hostile or busy client
 * from costing more than its place: one reply at a time, a few requests a turn
 * for all together, starting with another client each time, and deadlines that
 * only whole requests and delivered bytes put off.  All descriptors hang on one
 * epoll descriptor, which the engine's shell watches.
 *
 * Replies are allocated, which is the exception to the engine's rule of
 * allocating nothing after its start: they are bounded (CONTROL_REPLY_MAX a
 * client), and when memory is short the client is closed and the engine goes
 * on. */
#include "broker/control/control.h"

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
#include "broker/control/answer.h"
#include "broker/control/client.h"
#include "broker/config/config.h"
#include "broker/journal/journal.h"
#include "model/name.h"
#include "wire/grant.h"
#include "wire/request.h"

#define LISTENER UINT32_MAX          /* The listening socket's tag in epoll. */
#define REQUESTS_PER_TURN 4          /* Of all clients together. */
#define LONG_REPLY (16u << 10)       /* Bytes of one that ends the turn. */
#define ACCEPTS_PER_TURN 16          /* The rest next turn. */
#define REST_NS (10 * NSEC_PER_MSEC) /* After turning somebody away. */
#define READS_PER_TURN 4             /* Buffers full, from one client. */
#define DENIED_ROW_NS NSEC_PER_SEC   /* At most one journal row in that time. */

struct control {
    struct control_env env;
    int listen_fd, epoll_fd;
    struct client clients[CONTROL_CLIENTS_MAX];
    size_t first; /* Whose turn is first. */
    int n_left;   /* Requests in this turn. */
    struct control_stats stats;
    nsec_t denied_row_at; /* When the last CONTROL_DENIED row was added. */
    uint64_t n_denied_unsaid;
    nsec_t rest_until; /* Nobody is accepted before; 0: no rest. */
    nsec_t now;        /* Of the turn that runs. */
};

static int listen_at(int fd, const char *path, char *why, size_t why_size);
static void accept_clients(struct control *);
static void rest(struct control *, nsec_t until);
static void serve_client(struct control *, struct client *);
static void send_some(struct control *, struct client *);
static void close_late(struct control *, struct client *);

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
        client_close(&control->clients[i]);
    }
    if (control->listen_fd >= 0) {
        close(control->listen_fd);
    }
    if (control->epoll_fd >= 0) {
        close(control->epoll_fd);
    }
    free(control);
}

void
control_set_rights(struct control *control, const struct rights *rights)
{
    struct peer peer;

    control->env.rights = *rights;
    for (uint32_t i = 0; i < CONTROL_CLIENTS_MAX; i++) {
        struct client *client = &control->clients[i];

        if (client->fd >= 0 && !rights_peer(client->fd, &peer)) {
            client->right = rights_of(rights, &peer);
        }
    }
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
    if (control->rest_until && now >= control->rest_until) {
        rest(control, 0);
    }
    for (int i = 0; i < n; i++) {
        if (events[i].data.u32 == LISTENER) {
            accept_clients(control);
        } else {
            control->clients[events[i].data.u32].readable = true;
        }
    }
    control->n_left = REQUESTS_PER_TURN;
    for (size_t i = 0, first = control->first; i < CONTROL_CLIENTS_MAX; i++) {
        size_t index = (first + i) % CONTROL_CLIENTS_MAX;
        if (control->clients[index].fd >= 0) {
            serve_client(control, &control->clients[index]);
        }
    }
}

nsec_t
control_deadline(const struct control *control)
{
    nsec_t deadline = control->rest_until ? control->rest_until : NSEC_NEVER;

    for (size_t i = 0; i < CONTROL_CLIENTS_MAX; i++) {
        const struct client *client = &control->clients[i];

        if (client->fd < 0) {
            continue;
        }
        if (!client->out && !client->watching && client_has_line(client)) {
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

static int64_t
wall_now(const struct control *control)
{
    const struct control_env *env = &control->env;

    return env->wall_ns ? env->wall_ns(env->ctx) : 0;
}

static bool
gets_stream(const struct client *client)
{
    return client->fd >= 0 && client->watching && !client->leaving;
}

static void
stream(struct control *control, struct client *client, const char *line)
{
    if (!client->out) {
        client->active = control->now;
    }
    control->stats.n_lost_lines += !client_watch(client, line);
    send_some(control, client);
}

void
control_watch(struct control *control, const char *json)
{
    for (size_t i = 0; i < CONTROL_CLIENTS_MAX; i++) {
        struct client *client = &control->clients[i];

        if (gets_stream(client) && !client->follows) {
            stream(control, client, json);
        }
    }
}

void
control_note(struct control *control, const struct vm *vm,
             const struct note *note)
{
    char *line = NULL;

    for (size_t i = 0; i < CONTROL_CLIENTS_MAX; i++) {
        struct client *client = &control->clients[i];

        if (!gets_stream(client) || !client->follows ||
            !notes_match(&client->filter, vm, note)) {
            continue;
        }
        line =
            line ? line : notes_line(vm, note, wall_now(control), control->now);
        if (line) {
            stream(control, client, line);
        } else {
            client->n_lost++; /* Short of memory. */
        }
    }
    free(line);
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

/* Who comes in. */

static void
fault_set(struct request_fault *fault, const char *what, const char *why,
          const char *next)
{
    text_copy(fault->what, sizeof fault->what, what);
    text_copy(fault->why, sizeof fault->why, why);
    text_copy(fault->next, sizeof fault->next, next);
}

/* Says so to a client that is not let in; one line always fits a new socket. */
static void
turn_away(struct client *client, const char *what, const char *why,
          const char *next)
{
    struct request_fault fault;

    fault_set(&fault, what, why, next);
    client_refuse(client, &fault);
    client_send(client, 0);
    client_close(client);
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

static enum right
identify(struct control *control, struct client *client)
{
    struct peer peer;

    if (rights_peer(client->fd, &peer)) {
        return RIGHT_NONE;
    }
    client->uid = peer.uid;
    client->pid = peer.pid;
    client->right = rights_of(&control->env.rights, &peer);
    return client->right;
}

static void
admit(struct control *control, int fd)
{
    struct client newcomer = {
        .fd = fd, .uid = (uid_t)-1, .active = control->now};
    char why[128], next[256];

    control->stats.n_clients++;
    if (identify(control, &newcomer) == RIGHT_NONE) {
        note_denied(control, &newcomer, "connect");
        snprintf(why, sizeof why, "uid %u may not read",
                 (unsigned)newcomer.uid);
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
        client_close(&newcomer);
        return;
    }
    *client = newcomer;
}

/* Those who come meanwhile wait in the socket's backlog, or have no room even
 * there. */
static void
rest(struct control *control, nsec_t until)
{
    struct epoll_event event = {.events = until ? 0 : EPOLLIN,
                                .data.u32 = LISTENER};

    control->rest_until = until;
    epoll_ctl(control->epoll_fd, EPOLL_CTL_MOD, control->listen_fd, &event);
}

/* Who may not even read can't keep the engine busy by coming again. */
static void
accept_clients(struct control *control)
{
    uint64_t n_denied = control->stats.n_denied;

    for (int i = 0; i < ACCEPTS_PER_TURN; i++) {
        int fd = accept4(control->listen_fd, NULL, NULL,
                         SOCK_CLOEXEC | SOCK_NONBLOCK);
        if (fd < 0) {
            break;
        }
        admit(control, fd);
    }
    if (control->stats.n_denied != n_denied) {
        rest(control, control->now + REST_NS);
    }
}

/* Requests. */

static void
refuse_change(struct control *control, struct client *client,
              enum request_verb verb)
{
    struct request_fault fault;
    char why[128], next[256];

    note_denied(control, client, request_verb_name(verb));
    snprintf(why, sizeof why,
             "uid %u may read, but not change, what this broker does",
             (unsigned)client->uid);
    say_who_may(control, true, next, sizeof next);
    fault_set(&fault, "not permitted", why, next);
    client_refuse(client, &fault);
}

static void
refuse_haste(struct control *control, struct client *client,
             enum request_verb verb)
{
    struct request_fault fault;
    char why[128];

    control->stats.n_refused++;
    snprintf(why, sizeof why, "\"%s\" may be asked %" PRIu32 " times a second",
             request_verb_name(verb), grant_verb_terms(verb).rate);
    fault_set(&fault, "this is asked too often", why,
              "wait a moment, or watch instead of asking");
    client_refuse(client, &fault);
}

static void
answer_line(struct control *control, struct client *client, const char *line,
            size_t size)
{
    struct request_fault fault;
    struct request request;

    client->active = control->now;
    control->stats.n_requests++;
    if (request_decode(&request, line, size, &fault)) {
        control->stats.n_refused++;
        client_refuse(client, &fault);
        return;
    }
    if (grant_verb_changes(request.verb) && client->right != RIGHT_CHANGE) {
        refuse_change(control, client, request.verb);
        return;
    }
    if (!bucket_take(&client->verbs[request.verb],
                     grant_verb_terms(request.verb), 1, control->now)) {
        refuse_haste(control, client, request.verb);
        return;
    }
    json_t *data =
        answer_request(&control->env, &request, control->now, &fault);
    if (!data) {
        client_refuse(client, &fault);
        return;
    }
    client->follows = request.verb == REQUEST_NOTES && request.follow;
    client->watching = request.verb == REQUEST_WATCH || client->follows;
    if (client->follows) {
        /* It was answered, so what it names is there. */
        (void)notes_filter(&client->filter, &control->env, &request,
                           control->now, &fault);
    }
    client_reply(client, json_pack("{s:b,s:o}", "ok", 1, "data", data));
}

/* Answers one request if it has come in whole; the rest waits a turn, in which
 * the next client is first. */
static void
answer_next(struct control *control, struct client *client)
{
    char line[REQUEST_SIZE_MAX + 2];
    ssize_t size = -EAGAIN;

    while (size < 0 && client_has_line(client)) {
        size = client_take_line(client, line);
    }
    if (size >= 0) {
        control->n_left--;
        control->first =
            (size_t)(client - control->clients + 1) % CONTROL_CLIENTS_MAX;
        answer_line(control, client, line, (size_t)size);
        if (client->n_out >= LONG_REPLY) {
            control->n_left = 0; /* It took milliseconds. */
        }
        send_some(control, client);
    }
}

static void
serve_client(struct control *control, struct client *client)
{
    if (client->out) {
        send_some(control, client);
    }
    for (int i = 0; i < READS_PER_TURN && client->fd >= 0 && client->readable &&
                    (!client->out || client->watching);
         i++) {
        if (!client->watching && client_has_line(client)) {
            break;
        }
        if (client_read(client)) {
            client_close(client);
            return;
        }
    }
    if (client->fd >= 0 && !client->out && !client->watching &&
        control->n_left > 0) {
        answer_next(control, client);
    }
    if (client->fd >= 0) {
        client->readable = false;
        close_late(control, client);
    }
}

/* Sends what the socket takes, and waits for what comes next.  While a reply
 * waits nothing more is read, so that a client can't make us hold more than
 * one; a watcher is read to notice that it left. */
static void
send_some(struct control *control, struct client *client)
{
    struct epoll_event event = {.data.u32 =
                                    (uint32_t)(client - control->clients)};

    int error = client_send(client, control->now);
    if ((error && error != -EAGAIN) || (!error && client->leaving)) {
        client_close(client); /* Which leaves the epoll set, too. */
        return;
    }
    event.events = (client->out ? EPOLLOUT : 0u) |
                   (!client->out || client->watching ? EPOLLIN : 0u);
    epoll_ctl(control->epoll_fd, EPOLL_CTL_MOD, client->fd, &event);
}

static void
close_late(struct control *control, struct client *client)
{
    nsec_t limit = client->watching ? CONTROL_STUCK_NS : CONTROL_IDLE_NS;
    struct request_fault fault;

    if (control->now - client->active < limit ||
        (client->watching && !client->out)) {
        return;
    }
    if (!client->out) {
        fault_set(&fault, "the connection was quiet for too long",
                  client->n_in > 0 ? "a request was begun and not ended"
                                   : "10 s passed without a request",
                  "connect again; a request ends with a newline");
        client_refuse(client, &fault);
        client_send(client, control->now);
    }
    client_close(client);
}
