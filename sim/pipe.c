/* SPDX-License-Identifier: Apache-2.0 */
/* Moves messages between the broker's cores as the process shells would:
 * through msg_encode() and msg_decode(), in a buffer of a channel's size.  What
 * can't be encoded is a bug of the sender's, and ends the run.  Called by
 * actors.c, whose ports send, and world.c, which takes. */
#include "sim/pipe.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sim/trace.h"
#include "wire/msg.h"

struct record {
    nsec_t due;
    uint32_t type, size; /* Followed by the message. */
};

static void put(struct pipe *pipe, unsigned type, const uint8_t *data,
                uint32_t size);
static void repeat(struct pipe *pipe, unsigned type, const uint8_t *data,
                   uint32_t size);
static void make_room(struct pipe *pipe);
static void note(struct pipe *pipe, const struct msg *msg, const char *what);

int
pipe_init(struct pipe *pipe, const char *name, struct trace *trace)
{
    *pipe = (struct pipe){.name = name, .trace = trace};
    pipe->bytes = malloc(PIPE_BYTES_MAX);
    return pipe->bytes ? 0 : -ENOMEM;
}

void
pipe_fini(struct pipe *pipe)
{
    free(pipe->bytes);
    pipe->bytes = NULL;
}

int
pipe_send(struct pipe *pipe, const struct msg *msg)
{
    uint8_t data[MSG_SIZE_MAX];
    char why[MSG_WHY_SIZE] = "";
    ssize_t size =
        msg_encode(msg, MSG_VERSION_MAX, data, sizeof data, why, sizeof why);
    struct record record = {.type = msg->type, .size = (uint32_t)size};

    if (size < 0) {
        fprintf(stderr, "msim: %s: a message can't be encoded: %s\n",
                pipe->name, why);
    }
    assert(size >= 0);
    make_room(pipe);
    if (pipe->full ||
        sizeof record + (size_t)size > PIPE_BYTES_MAX - pipe->used) {
        return -EAGAIN;
    }
    if (pipe->lose_type == msg->type) {
        pipe->n_lost++;
        note(pipe, msg, "LOST ");
        return 0;
    }
    put(pipe, record.type, data, record.size);
    if (pipe->repeats) {
        repeat(pipe, record.type, data, record.size);
    }
    return 0;
}

bool
pipe_take(struct pipe *pipe, struct msg *out)
{
    struct record record;
    char why[MSG_WHY_SIZE] = "";
    int error;

    if (pipe_deadline(pipe) > pipe->trace->now) {
        return false;
    }
    memcpy(&record, pipe->bytes + pipe->first, sizeof record);
    error = msg_decode(out, record.type, MSG_VERSION_MAX,
                       pipe->bytes + pipe->first + sizeof record, record.size,
                       why, sizeof why);
    if (error) {
        fprintf(stderr, "msim: %s: %s\n", pipe->name, why);
    }
    assert(!error);
    pipe->first += sizeof record + record.size;
    note(pipe, out, "");
    return true;
}

nsec_t
pipe_deadline(const struct pipe *pipe)
{
    struct record record;

    if (pipe->stalled || pipe->first == pipe->used) {
        return NSEC_NEVER;
    }
    memcpy(&record, pipe->bytes + pipe->first, sizeof record);
    return record.due;
}

void
pipe_clear(struct pipe *pipe)
{
    pipe->first = pipe->used = 0;
    pipe->last_due = 0;
    pipe->n_sent = 0;
    memset(pipe->again, 0, sizeof pipe->again);
}

/* There is room for it. */
static void
put(struct pipe *pipe, unsigned type, const uint8_t *data, uint32_t size)
{
    nsec_t due = pipe->trace->now + pipe->delay_ns;
    struct record record = {.type = type, .size = size};

    record.due = due > pipe->last_due ? due : pipe->last_due;
    pipe->last_due = record.due;
    memcpy(pipe->bytes + pipe->used, &record, sizeof record);
    memcpy(pipe->bytes + pipe->used + sizeof record, data, size);
    pipe->used += sizeof record + size;
}

/* Notes what was sent, and sends again what is that many behind. */
static void
repeat(struct pipe *pipe, unsigned type, const uint8_t *data, uint32_t size)
{
    uint64_t n = pipe->n_sent++;
    struct pipe_again *last = &pipe->again[n % (PIPE_BEHIND + 1)];

    last->size = 0;
    if (size <= sizeof last->bytes) {
        last->type = type;
        last->size = size;
        memcpy(last->bytes, data, size);
    }
    if (n < pipe->repeat_behind) {
        return;
    }
    const struct pipe_again *again =
        &pipe->again[(n - pipe->repeat_behind) % (PIPE_BEHIND + 1)];
    if (again->size &&
        sizeof(struct record) + again->size <= PIPE_BYTES_MAX - pipe->used) {
        put(pipe, again->type, again->bytes, again->size);
    }
}

/* What was taken makes room for what comes. */
static void
make_room(struct pipe *pipe)
{
    memmove(pipe->bytes, pipe->bytes + pipe->first, pipe->used - pipe->first);
    pipe->used -= pipe->first;
    pipe->first = 0;
}

static void
note(struct pipe *pipe, const struct msg *msg, const char *what)
{
    char line[TRACE_LINE_MAX];

    msg_format(msg, line, sizeof line);
    trace_add(pipe->trace, pipe->name, "%s%s", what, line);
}
