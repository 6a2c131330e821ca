/* SPDX-License-Identifier: Apache-2.0 */
/* Messages between our own processes.  The other end is trusted no further than
 * its bytes decode and the table of rights lets it speak (wire/grant.h); what
 * becomes of a process that breaks that is each role's to say.  Relies on mchan
 * to tell when the other process died.  Called by the parent and the roles. */
#include "broker/role/line.h"

#include <errno.h>

#include "base/loop.h"
#include "include/mchan.h"

#define LINE_URI "unix:" /* The socket is given. */
#define MESSAGE_MAX 65536

static bool next_event(struct line *);

int
line_open(struct line *line, struct loop *loop, int fd, bool listens,
          enum grant_role self, enum grant_role peer)
{
    struct mchan_opts opts = MCHAN_OPTS_INIT;

    *line =
        (struct line){.loop = loop, .self = self, .peer = peer, .ready = true};
    opts.fd = fd;
    int error = listens ? mchan_listen(&line->channel, LINE_URI, &opts)
                        : mchan_open(&line->channel, LINE_URI, &opts);
    if (error) {
        return error;
    }
    line_want(line, true);
    if (!line->waiting) {
        line_close(line);
        return -ENOMEM;
    }
    return 0;
}

void
line_close(struct line *line)
{
    line_want(line, false);
    mchan_close(line->channel);
    line->channel = NULL;
    line->ready = false;
    line->lost = true;
}

int
line_send(struct line *line, const struct msg *msg)
{
    uint8_t data[MSG_SIZE_MAX];

    if (line->lost || !line->channel) {
        return -EAGAIN;
    }
    ssize_t size = msg_encode(msg, MSG_VERSION_MAX, data, sizeof data, NULL, 0);
    if (size < 0) {
        return -EINVAL;
    }
    struct mchan_msg out = {.data = data,
                            .size = (size_t)size,
                            .tag = (uint16_t)msg->type,
                            .delivery = MCHAN_RELIABLE};
    int error = mchan_send(line->channel, &out);
    line->blocked = error != 0;
    return error ? -EAGAIN : 0;
}

int
line_recv(struct line *line, struct msg *out, char *why, size_t why_size)
{
    uint8_t data[MESSAGE_MAX];
    struct mchan_info info;

    while (line->channel) {
        ssize_t size = mchan_recv(line->channel, data, sizeof data, &info);

        if (size >= 0) {
            int error = grant_check(info.tag, line->peer, line->self,
                                    (size_t)size, why, why_size);

            if (!error) {
                error = msg_decode(out, info.tag, MSG_VERSION_MAX, data,
                                   (size_t)size, why, why_size);
            }
            return error ? error : 1;
        }
        if (!next_event(line)) {
            break;
        }
    }
    line->ready = false;
    return 0;
}

enum parent_word
line_hear_parent(struct line *parent, struct msg_reload *out)
{
    char why[MSG_WHY_SIZE];
    struct msg msg;

    for (int i = 0; i < LINE_TURN_MAX; i++) {
        int got = line_recv(parent, &msg, why, sizeof why);
        if (!got) {
            break;
        }
        if (got < 0) {
            return PARENT_GONE;
        }
        if (msg.type == MSG_BYE) {
            parent->bye = msg.bye;
            return PARENT_BYE;
        }
        if (msg.type == MSG_RELOAD) {
            *out = msg.reload;
            return PARENT_RELOAD; /* What is behind it is for the next turn. */
        }
        struct msg reply = {.type = MSG_BEAT_REPLY,
                            .beat_reply = {.number = msg.beat.number}};
        line_send(parent, &reply); /* If it can't take it, the next one. */
    }
    return parent->lost ? PARENT_GONE : PARENT_QUIET;
}

void
line_want(struct line *line, bool wanted)
{
    wanted = wanted && line->channel && !line->lost;
    if (wanted == line->waiting) {
        return;
    }
    if (wanted) {
        line->waiting = !loop_watch(line->loop, mchan_fd(line->channel), false,
                                    &line->ready);
    } else {
        loop_unwatch(line->loop, mchan_fd(line->channel));
        line->waiting = false;
        line->ready = false;
    }
}

void
line_arm(struct line *line)
{
    if (!line->waiting) {
        return;
    }
    unsigned what = MCHAN_READABLE | (line->blocked ? MCHAN_WRITABLE : 0);
    if (mchan_arm(line->channel, what) > 0) {
        line->ready = true;
    }
}

nsec_t
line_deadline(const struct line *line, nsec_t now)
{
    return line->ready ? now : NSEC_NEVER;
}

/* Returns whether there was one, after which there may be more to receive.  The
 * channel tells of a loss only after it was up; before, a channel that neither
 * waits for a moment nor is up has given up. */
static bool
next_event(struct line *line)
{
    struct mchan_event event;
    bool any = mchan_next_event(line->channel, &event) > 0;

    if (any && event.type == MCHAN_UP) {
        line->up = true;
    }
    if ((any && event.type == MCHAN_PEER_LOST) ||
        (!any && !line->up && mchan_deadline(line->channel) == INT64_MAX)) {
        line->lost = true;
        line_want(line, false);
    }
    return any;
}
