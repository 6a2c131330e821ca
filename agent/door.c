/* SPDX-License-Identifier: Apache-2.0 */
/* Notes from programs in the guest.  Whoever can connect may speak: to the
 * broker the guest is one, so who may is decided by the directory that the
 * socket lies in.  What a program can cost is bounded here (lines a turn, bytes
 * a line, clients), and what it can send in notebox.c.  A client that does not
 * read its answers is closed; none is waited for.  All descriptors hang on one
 * epoll descriptor.  Called by magentd.c. */
#include "agent/door.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include "agent/agent.h"
#include "base/text.h"
#include "probe/probe.h"
#include "wire/noteline.h"

#define LISTENER UINT32_MAX /* The listening socket's tag in epoll. */
#define SCHEME "unix:"
#define ACCEPTS_PER_TURN 16
#define ANSWER_SIZE 1024
#define BACKLOG 128 /* Who waits to be let in. */

struct client {
    int fd; /* -1: the place is free. */
    bool readable, skipping;
    nsec_t active;
    size_t n; /* Bytes in 'line' that wait. */
    char line[NOTELINE_SIZE_MAX + 2];
};

struct door {
    struct sockaddr_un address;
    int listen_fd, epoll_fd;
    bool due;
    struct client *clients[DOOR_CLIENTS_MAX]; /* Owned; null: never needed. */
};

static int make_address(const char *uri, struct sockaddr_un *out, char *why,
                        size_t why_size);
static int listen_at(struct door *, char *why, size_t why_size);
static void accept_clients(struct door *, nsec_t now);
static void serve(struct door *, struct client *, struct agent *, nsec_t now);
static void close_client(struct client *);

int
door_open(struct door **out, const char *uri, char *why, size_t why_size)
{
    struct epoll_event event = {.events = EPOLLIN, .data.u32 = LISTENER};
    struct door *door = calloc(1, sizeof *door);
    int error;

    if (!door) {
        snprintf(why, why_size, "no memory");
        return -ENOMEM;
    }
    door->listen_fd = -1;
    door->epoll_fd = -1;
    error = make_address(uri, &door->address, why, why_size);
    error = error ? error : listen_at(door, why, why_size);
    if (!error) {
        door->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
        if (door->epoll_fd < 0 ||
            epoll_ctl(door->epoll_fd, EPOLL_CTL_ADD, door->listen_fd, &event)) {
            error = -errno;
            snprintf(why, why_size, "notes: %s", strerror(errno));
        }
    }
    if (error) {
        door_close(door);
        return error;
    }
    *out = door;
    return 0;
}

void
door_close(struct door *door)
{
    if (!door) {
        return;
    }
    for (size_t i = 0; i < DOOR_CLIENTS_MAX; i++) {
        if (door->clients[i]) {
            close_client(door->clients[i]);
            free(door->clients[i]);
        }
    }
    if (door->listen_fd >= 0) {
        unlink(door->address.sun_path);
        close(door->listen_fd);
    }
    if (door->epoll_fd >= 0) {
        close(door->epoll_fd);
    }
    free(door);
}

int
door_fd(const struct door *door)
{
    return door->epoll_fd;
}

bool
door_is_due(const struct door *door)
{
    return door->due;
}

void
door_run(struct door *door, struct agent *agent, nsec_t now)
{
    struct epoll_event events[DOOR_CLIENTS_MAX + 1];
    int n = epoll_wait(door->epoll_fd, events, DOOR_CLIENTS_MAX + 1, 0);

    door->due = false;
    for (int i = 0; i < n; i++) {
        if (events[i].data.u32 == LISTENER) {
            accept_clients(door, now);
        } else {
            door->clients[events[i].data.u32]->readable = true;
        }
    }
    for (size_t i = 0; i < DOOR_CLIENTS_MAX; i++) {
        if (door->clients[i] && door->clients[i]->fd >= 0) {
            serve(door, door->clients[i], agent, now);
        }
    }
}

/* The socket. */

static int
make_address(const char *uri, struct sockaddr_un *out, char *why,
             size_t why_size)
{
    *out = (struct sockaddr_un){.sun_family = AF_UNIX};
    if (strncmp(uri, SCHEME, strlen(SCHEME)) || !uri[strlen(SCHEME)]) {
        snprintf(why, why_size, "notes: \"%.64s\": write unix:PATH", uri);
        return -EINVAL;
    }
    if (text_copy(out->sun_path, sizeof out->sun_path, uri + strlen(SCHEME))) {
        snprintf(why, why_size,
                 "notes: %.64s…: longer than the %zu bytes a socket's path may "
                 "have",
                 uri, sizeof out->sun_path - 1);
        return -EINVAL;
    }
    return 0;
}

static int
dial(const struct sockaddr_un *address, int flags)
{
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | flags, 0);

    if (fd >= 0 &&
        connect(fd, (const struct sockaddr *)address, sizeof *address)) {
        int error = -errno;
        close(fd);
        return error;
    }
    return fd < 0 ? -errno : fd;
}

static int
listen_at(struct door *door, char *why, size_t why_size)
{
    const struct sockaddr *address = (struct sockaddr *)&door->address;
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    int error = fd < 0 ? -errno : 0;

    if (!error && bind(fd, address, sizeof door->address)) {
        error = -errno;
    }
    if (error == -EADDRINUSE) {
        int other = dial(&door->address, SOCK_NONBLOCK);

        if (other >= 0 || other == -EAGAIN) {
            snprintf(why, why_size, "notes: %s: another program answers there",
                     door->address.sun_path);
            if (other >= 0) {
                close(other);
            }
            close(fd);
            return -EADDRINUSE;
        }
        unlink(door->address.sun_path);
        error = bind(fd, address, sizeof door->address) ? -errno : 0;
    }
    if (!error &&
        (chmod(door->address.sun_path, 0666) || listen(fd, BACKLOG))) {
        error = -errno;
    }
    if (error) {
        snprintf(why, why_size, "notes: %s: %s", door->address.sun_path,
                 strerror(-error));
        if (fd >= 0) {
            close(fd);
        }
        return error;
    }
    door->listen_fd = fd;
    return 0;
}

/* A free place, or that of who was quiet longest; null: no memory. */
static struct client **
find_place(struct door *door)
{
    struct client **found = &door->clients[0];

    for (size_t i = 0; i < DOOR_CLIENTS_MAX; i++) {
        struct client **place = &door->clients[i];

        if (!*place) {
            *place = calloc(1, sizeof **place);
            if (!*place) {
                return NULL;
            }
            (*place)->fd = -1;
        }
        if ((*place)->fd < 0) {
            return place;
        }
        if ((*place)->active < (*found)->active) {
            found = place;
        }
    }
    return found;
}

static void
accept_clients(struct door *door, nsec_t now)
{
    for (int i = 0; i < ACCEPTS_PER_TURN; i++) {
        int fd =
            accept4(door->listen_fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
        struct client **place = fd < 0 ? NULL : find_place(door);

        if (fd < 0) {
            return;
        }
        struct epoll_event event = {
            .events = EPOLLIN,
            .data.u32 = place ? (uint32_t)(place - door->clients) : 0};
        if (!place || epoll_ctl(door->epoll_fd, EPOLL_CTL_ADD, fd, &event)) {
            close(fd);
            return;
        }
        close_client(*place);
        (*place)->fd = fd;
        (*place)->readable = true;
        (*place)->active = now;
    }
}

static void
close_client(struct client *client)
{
    if (client->fd >= 0) {
        close(client->fd); /* Which leaves the epoll set, too. */
    }
    client->fd = -1;
    client->n = 0;
    client->skipping = false;
}

/* Lines. */

static void answer(struct client *client, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

static void
answer(struct client *client, const char *format, ...)
{
    char line[ANSWER_SIZE];
    va_list args;
    int n;

    va_start(args, format);
    n = vsnprintf(line, sizeof line, format, args);
    va_end(args);
    if (n < 0 || (size_t)n >= sizeof line ||
        send(client->fd, line, (size_t)n, MSG_NOSIGNAL | MSG_DONTWAIT) != n) {
        close_client(client);
    }
}

/* The words are printable ASCII; what would end a JSON text is taken out. */
static void
answer_fault(struct client *client, struct request_fault *fault)
{
    char *const words[] = {fault->what, fault->why, fault->next};

    for (size_t i = 0; i < 3; i++) {
        for (char *c = words[i]; *c; c++) {
            *c = *c == '"' || *c == '\\' ? '\'' : *c;
        }
    }
    answer(client,
           "{\"ok\":false,\"error\":{\"what\":\"%s\",\"why\":\"%s\","
           "\"next\":\"%s\"}}\n",
           fault->what, fault->why, fault->next);
}

static void
take_line(struct client *client, struct agent *agent, const char *line,
          size_t size, nsec_t now)
{
    struct request_fault fault;
    struct noteline note;
    uint64_t number = 0;
    char why[160];

    client->active = now;
    if (noteline_decode(&note, line, size, &fault)) {
        answer_fault(client, &fault);
        return;
    }
    const struct probe_note given = {.type = note.type,
                                     .bytes = note.bytes,
                                     .size = note.size,
                                     .latest = note.latest};
    int error = agent_add_note(agent, &given, now, &number, why, sizeof why);
    if (!error) {
        answer(client, "{\"ok\":true,\"data\":{\"number\":%" PRIu64 "}}\n",
               number);
        return;
    }
    text_copy(fault.what, sizeof fault.what, "the note was not taken");
    request_printable(fault.why, sizeof fault.why, why);
    text_copy(fault.next, sizeof fault.next,
              error == -EAGAIN
                  ? "try again in a second, or say 'latest': true if only the "
                    "newest counts"
                  : "try again");
    answer_fault(client, &fault);
}

/* Takes the first line off; false if none is whole. */
static bool
next_line(struct client *client, struct agent *agent, nsec_t now)
{
    char *end = memchr(client->line, '\n', client->n);
    size_t size = end ? (size_t)(end - client->line) : client->n;

    if (!end && size <= NOTELINE_SIZE_MAX) {
        return false;
    }
    if (!client->skipping) {
        take_line(client, agent, client->line, size, now);
    }
    client->skipping = !end;
    size += end != NULL;
    if (client->fd >= 0) {
        client->n -= size;
        memmove(client->line, client->line + size, client->n);
    }
    return client->fd >= 0;
}

static void
serve(struct door *door, struct client *client, struct agent *agent, nsec_t now)
{
    for (int i = 0; i < DOOR_LINES_PER_TURN; i++) {
        if (next_line(client, agent, now)) {
            continue;
        }
        if (client->fd < 0 || !client->readable) {
            return;
        }
        ssize_t n = recv(client->fd, client->line + client->n,
                         sizeof client->line - client->n, MSG_DONTWAIT);
        client->readable = false;
        if (n > 0) {
            client->n += (size_t)n;
        } else if (n == 0 || (errno != EAGAIN && errno != EINTR)) {
            close_client(client);
            return;
        }
    }
    door->due = true; /* There may be more, for the next turn. */
}

/* The other side of it. */

static int
read_all(int fd, struct noteline *note, char *why, size_t why_size)
{
    uint8_t more;
    ssize_t n;

    while (note->size < sizeof note->bytes) {
        n = read(fd, note->bytes + note->size, sizeof note->bytes - note->size);
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n < 0) {
            int error = -errno;
            snprintf(why, why_size, "standard input: %s", strerror(-error));
            return error;
        }
        if (n == 0) {
            return 0;
        }
        note->size += (size_t)n;
    }
    if (read(fd, &more, 1) > 0) {
        snprintf(why, why_size, "a note has at most %d bytes",
                 MSG_NOTE_SIZE_MAX);
        return -EMSGSIZE;
    }
    return 0;
}

/* Sends the line and reads what is answered. */
static int
ask(int fd, const char *line, char *out, size_t size)
{
    size_t n = strlen(line), used = 0;
    ssize_t got;

    for (size_t sent = 0; sent < n; sent += (size_t)got) {
        got = send(fd, line + sent, n - sent, MSG_NOSIGNAL);
        if (got < 0) {
            return -errno;
        }
    }
    while (used + 1 < size) {
        got = recv(fd, out + used, size - 1 - used, 0);
        if (got < 0) {
            return errno == EAGAIN ? -ETIMEDOUT : -errno;
        }
        used += (size_t)got;
        out[used] = '\0';
        if (got == 0 || strchr(out, '\n')) {
            return used ? 0 : -ECONNRESET;
        }
    }
    return -EMSGSIZE;
}

int
door_knock(const char *uri, const char *type, bool latest, int fd, char *why,
           size_t why_size)
{
    static const char yes[] = "{\"ok\":true";
    const struct timeval patience = {.tv_sec = 10};
    struct noteline note = {.latest = latest};
    struct sockaddr_un address;
    char said[ANSWER_SIZE];
    char *line;
    int error;

    if (!text_is_type(type)) {
        snprintf(why, why_size,
                 "\"%.64s\" is no type: 1 to 64 bytes, names of A-Za-z0-9._- "
                 "with / between",
                 type);
        return -EINVAL;
    }
    text_copy(note.type, sizeof note.type, type);
    error = make_address(uri, &address, why, why_size);
    error = error ? error : read_all(fd, &note, why, why_size);
    if (error) {
        return error;
    }
    int sock = dial(&address, 0);
    if (sock < 0) {
        snprintf(why, why_size, "%s: %s; does magentd run with --notes?",
                 address.sun_path, strerror(-sock));
        return sock;
    }
    setsockopt(sock, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    line = noteline_encode(&note);
    error = line ? ask(sock, line, said, sizeof said) : -ENOMEM;
    free(line);
    close(sock);
    if (error) {
        snprintf(why, why_size, "%s: %s", address.sun_path, strerror(-error));
    } else if (strncmp(said, yes, strlen(yes))) {
        said[strcspn(said, "\n")] = '\0';
        snprintf(why, why_size, "refused: %s", said);
        error = -EPERM;
    }
    return error;
}
