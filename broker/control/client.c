/* SPDX-License-Identifier: Apache-2.0 */
/* Buffers of a control client.  The input is as long as a request may be; the
 * output is allocated when something waits, bounded, and given back when it is
 * sent.  Called by broker/control/control.c, which knows when to call. */
#include "broker/control/client.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "broker/control/control.h"

static char *reserve(struct client *, size_t size, size_t max);
#define LOST_SIZE 40 /* Bytes of the line that says how many were lost. */

static bool queue_line(struct client *, const char *line, size_t size,
                       size_t max);

void
client_close(struct client *client)
{
    if (client->fd >= 0) {
        close(client->fd);
    }
    free(client->out);
    *client = (struct client){.fd = -1};
}

/* Input. */

int
client_read(struct client *client)
{
    char nothing[REQUEST_SIZE_MAX];
    char *to = client->watching ? nothing : client->in + client->n_in;
    size_t room =
        client->watching ? sizeof nothing : sizeof client->in - client->n_in;

    if (room == 0) {
        return 0;
    }
    ssize_t n = recv(client->fd, to, room, MSG_DONTWAIT);
    if (n < 0 && (errno == EAGAIN || errno == EINTR)) {
        client->readable = false;
        return 0;
    }
    if (n <= 0) {
        return n ? -errno : -ECONNRESET;
    }
    client->n_in += client->watching ? 0 : (size_t)n;
    return 0;
}

bool
client_has_line(const struct client *client)
{
    return client->n_in > REQUEST_SIZE_MAX ||
           memchr(client->in, '\n', client->n_in);
}

ssize_t
client_take_line(struct client *client, char out[REQUEST_SIZE_MAX + 2])
{
    bool skipping = client->skipping;

    if (!client_has_line(client)) {
        return -EAGAIN;
    }
    char *end = memchr(client->in, '\n', client->n_in);
    size_t size = end ? (size_t)(end - client->in) : client->n_in;
    size_t taken = end ? size + 1 : size;

    memcpy(out, client->in, size);
    client->n_in -= taken;
    memmove(client->in, client->in + taken, client->n_in);
    client->skipping = !end;
    /* Of a line that is too long only the beginning is answered. */
    return skipping ? -EAGAIN : (ssize_t)size;
}

/* Output. */

void
client_reply(struct client *client, json_t *answer)
{
    static const char too_long[] =
        "{\"ok\":false,\"error\":{\"what\":\"the answer is too long\","
        "\"why\":\"a reply has at most 4 MiB\",\"next\":\"ask for less\"}}";
    size_t size = answer ? json_dumpb(answer, NULL, 0, JSON_COMPACT) : 0;
    char *to = size ? reserve(client, size + 1, CONTROL_REPLY_MAX) : NULL;

    if (to && json_dumpb(answer, to, size, JSON_COMPACT) == size) {
        to[size] = '\n';
        client->n_out += size + 1;
    } else if (to || !size ||
               !queue_line(client, too_long, sizeof too_long - 1,
                           CONTROL_REPLY_MAX)) {
        client->leaving = true; /* Short of memory. */
    }
    json_decref(answer);
}

void
client_refuse(struct client *client, const struct request_fault *fault)
{
    client_reply(client, json_pack("{s:b,s:{s:s,s:s,s:s}}", "ok", 0, "error",
                                   "what", fault->what, "why", fault->why,
                                   "next", fault->next));
}

static bool
tell_lost(struct client *client)
{
    char lost[64];
    int size =
        snprintf(lost, sizeof lost, "{\"lost\":%" PRIu64 "}", client->n_lost);

    if (!queue_line(client, lost, (size_t)size, CONTROL_WATCH_MAX)) {
        return false;
    }
    client->n_lost = 0;
    return true;
}

/* Before the line comes how many were lost: neither or both. */
bool
client_watch(struct client *client, const char *json)
{
    size_t size = strlen(json);
    size_t waiting = client->n_out - client->n_sent;

    if (client->n_lost > 0 &&
        (waiting + LOST_SIZE + size + 1 > CONTROL_WATCH_MAX ||
         !tell_lost(client))) {
        client->n_lost++;
        return false;
    }
    if (!queue_line(client, json, size, CONTROL_WATCH_MAX)) {
        client->n_lost++;
        return false;
    }
    return true;
}

int
client_send(struct client *client, nsec_t now)
{
    while (client->n_sent < client->n_out) {
        ssize_t n =
            send(client->fd, client->out + client->n_sent,
                 client->n_out - client->n_sent, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (n < 0) {
            return errno == EINTR ? -EAGAIN : -errno;
        }
        client->n_sent += (size_t)n;
        client->active = now;
        if (client->n_sent == client->n_out && client->n_lost > 0) {
            tell_lost(client); /* Nothing else may come for long. */
        }
    }
    free(client->out);
    client->out = NULL;
    client->n_out = client->n_sent = client->out_size = 0;
    return 0;
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
