/* SPDX-License-Identifier: Apache-2.0 */
/* ZeroMQ, a pair of PAIR sockets over ipc.  Its thread that does the input and
 * output runs where its end runs, so that an end that looked without sleeping
 * would only be in its way. */
#include <stdio.h>
#include <stdlib.h>
#include <zmq.h>

#include "bench/channel/carrier.h"
#include "bench/channel/loops.h"

struct zeromq {
    void *context, *socket;
};

/* As many messages as the rings would hold. */
static int
queue_length(const struct end *end)
{
    size_t n = end->run->ring_size / end->run->size;
    return n < 16 ? 16 : (int)n;
}

/* A message each way, since connecting goes on behind our back. */
static int
greet(struct zeromq *zeromq)
{
    char byte = 0;
    return zmq_send(zeromq->socket, &byte, 1, 0) != 1 ||
                   zmq_recv(zeromq->socket, &byte, 1, 0) != 1
               ? -zmq_errno()
               : 0;
}

static int
open_socket(struct end *end, struct zeromq *zeromq)
{
    int length = queue_length(end), none = 0;
    char uri[128];
    zeromq->context = zmq_ctx_new();
    zeromq->socket = zmq_socket(zeromq->context, ZMQ_PAIR);
    snprintf(uri, sizeof uri, "ipc://%s/zeromq", end->run->dir);
    if (!zeromq->socket ||
        zmq_setsockopt(zeromq->socket, ZMQ_SNDHWM, &length, sizeof length) ||
        zmq_setsockopt(zeromq->socket, ZMQ_RCVHWM, &length, sizeof length) ||
        zmq_setsockopt(zeromq->socket, ZMQ_LINGER, &none, sizeof none) ||
        (end->side ? zmq_bind(zeromq->socket, uri)
                   : zmq_connect(zeromq->socket, uri))) {
        return -zmq_errno();
    }
    return 0;
}

static int
open_end(struct end *end)
{
    struct zeromq *zeromq = calloc(1, sizeof *zeromq);
    if (!zeromq) {
        return -ENOMEM;
    }
    end->carrier = zeromq;
    int error = open_socket(end, zeromq);
    return error ? error : greet(zeromq);
}

static void
close_end(struct end *end)
{
    struct zeromq *zeromq = end->carrier;
    if (zeromq && zeromq->socket) {
        zmq_close(zeromq->socket);
    }
    if (zeromq && zeromq->context) {
        zmq_ctx_term(zeromq->context);
    }
}

static inline int
put(struct end *end, const void *data, size_t size)
{
    struct zeromq *zeromq = end->carrier;
    int sent = zmq_send(zeromq->socket, data, size, 0);
    return sent < 0 ? -zmq_errno() : 0;
}

static inline ssize_t
get(struct end *end, void *data, size_t size)
{
    struct zeromq *zeromq = end->carrier;
    int got = zmq_recv(zeromq->socket, data, size, 0);
    return got < 0 ? -zmq_errno() : got;
}

CARRIER_LOOPS(put, get)

const struct carrier_class carrier_zeromq = {
    .name = "zeromq",
    .summary = "ZeroMQ's PAIR sockets over ipc",
    .waits = WAITS(WAIT_SLEEP),
    .size_max = BUFFER_SIZE,
    .threads = true,
    .open = open_end,
    .close = close_end,
    .ping = loops_ping,
    .echo = loops_echo,
    .pour = loops_pour,
    .drain = loops_drain,
};
