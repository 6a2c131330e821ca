/* SPDX-License-Identifier: Apache-2.0 */
/* libqb's ipc over shared memory, as corosync and pacemaker use it: the server
 * sleeps in libqb's loop and is called for each message, the client sleeps in
 * qb_ipcc_recv().  It has no way to look without sleeping.
 *
 * A server that is killed leaves its rings in /dev/shm, so what the two
 * processes may have left there is removed behind them. */
#include <glob.h>
#include <qb/qbipcc.h>
#include <qb/qbipcs.h>
#include <qb/qblog.h>
#include <qb/qbloop.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/uio.h>
#include <unistd.h>

#include "bench/channel/carrier.h"
#include "bench/channel/loops.h"

#define CONNECT_TRIES 1000
#define BUFFER_MIN (1u << 20)

struct qb {
    qb_loop_t *loop;
    qb_ipcs_service_t *service;
    qb_ipcc_connection_t *client;
    uint8_t *buffer; /* The client's, with room for a header. */
    uint64_t sequence;
    int error;
};

/* The callbacks that carry no pointer of ours find the end here. */
static struct end *server;

static struct qb *
qb_of(const struct end *end)
{
    return end->carrier;
}

static uint32_t
buffer_size(const struct end *end)
{
    uint32_t size = end->run->ring_size;
    return size < BUFFER_MIN ? BUFFER_MIN : size;
}

/* The server. */

static int32_t
on_accept(qb_ipcs_connection_t *connection, uid_t uid, gid_t gid)
{
    return 0;
}

static void
on_created(qb_ipcs_connection_t *connection)
{
    qb_loop_stop(qb_of(server)->loop);
}

static int32_t
on_closed(qb_ipcs_connection_t *connection)
{
    return 0;
}

static void
on_destroyed(qb_ipcs_connection_t *connection)
{
}

static int
answer(qb_ipcs_connection_t *connection, size_t size)
{
    struct qb_ipc_response_header header = {
        .size = (int32_t)(sizeof header + size)};
    struct iovec parts[] = {{&header, sizeof header}, {server->in, size}};
    ssize_t done;
    do {
        done = qb_ipcs_response_sendv(connection, parts, 2);
    } while (done == -EAGAIN);
    return done < 0 ? (int)done : 0;
}

static int32_t
on_message(qb_ipcs_connection_t *connection, void *data, size_t size)
{
    struct qb *qb = qb_of(server);
    const uint8_t *payload =
        (const uint8_t *)data + sizeof(struct qb_ipc_request_header);
    size -= sizeof(struct qb_ipc_request_header);
    memcpy(server->in, payload, size < BUFFER_SIZE ? size : 0);
    int error = loop_check(server, (ssize_t)size, ++qb->sequence);
    if (!error && server->run->task == TASK_RTT) {
        error = answer(connection, size);
    } else if (!error && !(qb->sequence & loop_mask(server))) {
        meter_rate(&server->meter, qb->sequence);
    }
    if (error) {
        qb->error = error < 0 ? error : 0;
        qb_loop_stop(qb->loop);
    }
    return 0;
}

static int32_t
job_add(enum qb_loop_priority priority, void *data, qb_loop_job_dispatch_fn fn)
{
    return qb_loop_job_add(qb_of(server)->loop, priority, data, fn);
}

static int32_t
poll_add(enum qb_loop_priority priority, int32_t fd, int32_t events, void *data,
         qb_ipcs_dispatch_fn_t fn)
{
    return qb_loop_poll_add(qb_of(server)->loop, priority, fd, events, data,
                            fn);
}

static int32_t
poll_mod(enum qb_loop_priority priority, int32_t fd, int32_t events, void *data,
         qb_ipcs_dispatch_fn_t fn)
{
    return qb_loop_poll_mod(qb_of(server)->loop, priority, fd, events, data,
                            fn);
}

static int32_t
poll_del(int32_t fd)
{
    return qb_loop_poll_del(qb_of(server)->loop, fd);
}

static int
open_server(struct end *end)
{
    static struct qb_ipcs_service_handlers handlers = {
        on_accept, on_created, on_message, on_closed, on_destroyed};
    static struct qb_ipcs_poll_handlers polls = {job_add, poll_add, poll_mod,
                                                 poll_del};
    struct qb *qb = end->carrier;
    server = end;
    qb->loop = qb_loop_create();
    qb->service = qb_ipcs_create(end->run->name, 0, QB_IPC_SHM, &handlers);
    if (!qb->loop || !qb->service) {
        return -ENOMEM;
    }
    qb_ipcs_poll_handlers_set(qb->service, &polls);
    qb_ipcs_enforce_buffer_size(qb->service, buffer_size(end));
    qb_ipcs_request_rate_limit(qb->service, QB_IPCS_RATE_FAST);
    int error = qb_ipcs_run(qb->service);
    if (error) {
        qb->service = NULL; /* It is gone already. */
        return error;
    }
    qb_loop_run(qb->loop); /* Until a client has come. */
    return 0;
}

/* Echoes or drains: on_message() does. */
static int
serve(struct end *end)
{
    struct qb *qb = end->carrier;
    meter_start(end);
    qb_loop_run(qb->loop);
    return qb->error;
}

/* The client. */

static int
open_client(struct end *end)
{
    struct qb *qb = end->carrier;
    struct timespec nap = {.tv_nsec = 5 * NSEC_PER_MSEC};
    qb->buffer = malloc(BUFFER_SIZE + sizeof(struct qb_ipc_response_header));
    if (!qb->buffer) {
        return -ENOMEM;
    }
    /* What comes is looked at where it was received. */
    free(end->in);
    end->in = qb->buffer + sizeof(struct qb_ipc_response_header);
    for (int i = 0; i < CONNECT_TRIES; i++) {
        qb->client = qb_ipcc_connect(end->run->name, buffer_size(end));
        if (qb->client) {
            return 0;
        }
        nanosleep(&nap, NULL);
    }
    return -ETIMEDOUT;
}

static inline int
put(struct end *end, const void *data, size_t size)
{
    struct qb_ipc_request_header header = {
        .id = 1, .size = (int32_t)(sizeof header + size)};
    struct iovec parts[] = {{&header, sizeof header}, {(void *)data, size}};
    ssize_t done;
    do {
        done = qb_ipcc_sendv(qb_of(end)->client, parts, 2);
    } while (done == -EAGAIN);
    return done < 0 ? (int)done : 0;
}

static inline ssize_t
get(struct end *end, void *data, size_t size)
{
    size_t header = sizeof(struct qb_ipc_response_header);
    ssize_t got;
    do {
        got = qb_ipcc_recv(qb_of(end)->client, qb_of(end)->buffer,
                           size + header, -1);
    } while (got == -EAGAIN || got == -ETIMEDOUT);
    return got < 0 ? got : got - (ssize_t)header;
}

CARRIER_LOOP(ping, put, get)
CARRIER_LOOP(pour, put)

/* Both. */

static int
open_end(struct end *end)
{
    qb_log_init("bench", LOG_USER, LOG_EMERG);
    qb_log_ctl(QB_LOG_SYSLOG, QB_LOG_CONF_ENABLED, QB_FALSE);
    end->carrier = calloc(1, sizeof(struct qb));
    if (!end->carrier) {
        return -ENOMEM;
    }
    return end->side ? open_server(end) : open_client(end);
}

static void
close_end(struct end *end)
{
    struct qb *qb = end->carrier;
    if (qb && qb->client) {
        qb_ipcc_disconnect(qb->client);
    }
    if (qb && qb->service) {
        qb_ipcs_destroy(qb->service);
    }
    if (qb && qb->loop) {
        qb_loop_destroy(qb->loop);
    }
    qb_log_fini();
}

static void
remove_all(const char *pattern)
{
    glob_t found;
    if (!glob(pattern, 0, NULL, &found)) {
        for (size_t n = 0; n < found.gl_pathc; n++) {
            (void)remove(found.gl_pathv[n]);
        }
        globfree(&found);
    }
}

/* The directories that libqb made for these two processes, files first. */
static void
clean(const struct run *run, const int *pids)
{
    char pattern[64];
    snprintf(pattern, sizeof pattern, "/dev/shm/qb-%d-%d-*/*", pids[1],
             pids[0]);
    remove_all(pattern);
    snprintf(pattern, sizeof pattern, "/dev/shm/qb-%d-%d-*", pids[1], pids[0]);
    remove_all(pattern);
}

const struct carrier_class carrier_libqb = {
    .name = "libqb",
    .summary = "libqb's ipc over shared memory",
    .waits = WAITS(WAIT_SLEEP),
    .size_max = 65536,
    .open = open_end,
    .close = close_end,
    .clean = clean,
    .ping = loops_ping,
    .echo = serve,
    .pour = loops_pour,
    .drain = serve,
};
