/* SPDX-License-Identifier: Apache-2.0 */
/* NNG, a pair of pair0 sockets over ipc.  Its threads run where their end
 * runs. */
#include <nng/nng.h>
#include <nng/protocol/pair0/pair.h>
#include <stdio.h>
#include <stdlib.h>

#include "bench/channel/carrier.h"
#include "bench/channel/loops.h"

#define QUEUE_MAX 8192 /* NNG's own limit. */
#define CONNECT_TRIES 1000

/* NNG's errors above those of the system are its own. */
static int
error_of(int error)
{
    return error == NNG_EAGAIN ? -EAGAIN : error ? -EIO : 0;
}

static int
queue_length(const struct end *end)
{
    size_t n = end->run->ring_size / end->run->size;
    return n > QUEUE_MAX ? QUEUE_MAX : n < 16 ? 16 : (int)n;
}

/* The listener may not be there yet. */
static int
dial(nng_socket socket, const char *uri)
{
    struct timespec nap = {.tv_nsec = 5 * NSEC_PER_MSEC};
    for (int i = 0; i < CONNECT_TRIES; i++) {
        if (!nng_dial(socket, uri, NULL, 0)) {
            return 0;
        }
        nanosleep(&nap, NULL);
    }
    return -ETIMEDOUT;
}

static int
open_end(struct end *end)
{
    nng_socket *socket = malloc(sizeof *socket);
    int length = queue_length(end);
    char uri[128];
    if (!socket || nng_pair0_open(socket)) {
        free(socket);
        return -ENOMEM;
    }
    end->carrier = socket;
    snprintf(uri, sizeof uri, "ipc://%s/nng", end->run->dir);
    if (nng_socket_set_size(*socket, NNG_OPT_RECVMAXSZ, 0) ||
        nng_socket_set_int(*socket, NNG_OPT_SENDBUF, length) ||
        nng_socket_set_int(*socket, NNG_OPT_RECVBUF, length)) {
        return -EINVAL;
    }
    return end->side ? error_of(nng_listen(*socket, uri, NULL, 0))
                     : dial(*socket, uri);
}

static void
close_end(struct end *end)
{
    if (end->carrier) {
        nng_close(*(nng_socket *)end->carrier);
        free(end->carrier);
    }
}

static inline int
put(struct end *end, const void *data, size_t size)
{
    nng_socket *socket = end->carrier;
    nng_msg *message;
    int error = nng_msg_alloc(&message, size);
    if (error) {
        return -ENOMEM;
    }
    memcpy(nng_msg_body(message), data, size);
    error = nng_sendmsg(*socket, message, 0);
    if (error) {
        nng_msg_free(message);
    }
    return error_of(error);
}

static inline ssize_t
get(struct end *end, void *data, size_t size)
{
    nng_socket *socket = end->carrier;
    nng_msg *message;
    int error = nng_recvmsg(*socket, &message, 0);
    if (error) {
        return error_of(error);
    }
    size_t got = nng_msg_len(message);
    memcpy(data, nng_msg_body(message), got < size ? got : size);
    nng_msg_free(message);
    return (ssize_t)got;
}

CARRIER_LOOPS(put, get)

const struct carrier_class carrier_nng = {
    .name = "nng",
    .summary = "NNG's pair0 sockets over ipc",
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
