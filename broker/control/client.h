/* SPDX-License-Identifier: Apache-2.0 */
/* One client of the control socket: the line it is sending, what waits to be
 * sent to it, and the limits of both. */
#ifndef BROKER_CONTROL_CLIENT_H
#define BROKER_CONTROL_CLIENT_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/clock.h"
#include "broker/control/notes.h"
#include "base/bucket.h"
#include "broker/control/rights.h"
#include "wire/request.h"

struct client {
    int fd; /* Owned; -1: the place is free. */
    enum right right;
    uid_t uid;
    pid_t pid;
    bool readable;
    bool watching; /* It gets a stream: what happens, */
    bool follows;  /* or notes, of these: */
    struct notes_filter filter;
    bool skipping; /* Throwing the rest of a line that was too long away. */
    bool leaving;  /* To be closed when all is sent. */
    struct bucket verbs[REQUEST_VERB_N]; /* How often it used each. */
    nsec_t active; /* Last whole request or byte delivered. */
    size_t n_in;
    char in[REQUEST_SIZE_MAX + 2];
    char *out; /* Owned; null if nothing waits. */
    size_t n_out, n_sent, out_size;
    uint64_t n_lost; /* Lines since the last it was told of. */
};

/* Closes and frees; the place is free then, as it may be before. */
void client_close(struct client *);

/* Reads once what has come, or throws it away if the client only watches.
 * Returns 0, or -Exxx if the client is gone. */
int client_read(struct client *);
/* True if a line is in, or so much of one that it is too long. */
bool client_has_line(const struct client *);
/* Takes that line off: copies it to 'out' and returns its size, more than
 * REQUEST_SIZE_MAX if it was too long; -EAGAIN if there is none to answer. */
ssize_t client_take_line(struct client *, char out[REQUEST_SIZE_MAX + 2]);

/* Queues an answer, which it takes; null: memory was short.  A client that
 * can't be answered is marked as leaving. */
void client_reply(struct client *, json_t *answer);
void client_refuse(struct client *, const struct request_fault *);
/* Queues a line for one who watches; false if it is lost. */
bool client_watch(struct client *, const char *json);

/* Sends what the socket takes.  Returns 0 if nothing waits any more, -EAGAIN,
 * or -Exxx if the client is gone. */
int client_send(struct client *, nsec_t now);

#endif
