/* SPDX-License-Identifier: Apache-2.0 */
/* A line between two processes of mbrokerd: an M-channel on a socket pair that
 * carries our messages.  The broker is its own channel's first user. */
#ifndef BROKER_ROLE_LINE_H
#define BROKER_ROLE_LINE_H

#include <stdbool.h>
#include <stddef.h>

#include "base/clock.h"
#include "wire/grant.h"
#include "wire/msg.h"

#define LINE_TURN_MAX 64            /* Messages to be taken in one turn. */
#define LINE_BYE "the broker stops" /* Says BYE if all is well. */

struct loop;
struct mchan;

struct line {
    struct mchan *channel;      /* Owned; null: closed. */
    struct loop *loop;          /* Borrowed. */
    enum grant_role self, peer; /* At this end and at the other. */
    bool ready;                 /* Something may have come. */
    bool up;                    /* The other end was there once. */
    bool lost;                  /* The other end is gone, and stays so. */
    bool blocked;               /* It was full when we last sent. */
    bool waiting;               /* The loop waits on it. */
    struct msg_bye bye;         /* Why, once line_hear_parent() said it. */
};

/* Takes 'fd', one end of a socket pair.  One of its two processes 'listens'. */
int line_open(struct line *, struct loop *, int fd, bool listens,
              enum grant_role self, enum grant_role peer);
void line_close(struct line *);

/* 0, or -EAGAIN: not now, or never again if it is lost.  What can't be encoded
 * is our mistake: -EINVAL. */
int line_send(struct line *, const struct msg *);
/* 1 and a message, 0 if there is none now; or, with 'why', -EPROTO if what came
 * is none, and what grant_check() says if the other end may not send it. */
int line_recv(struct line *, struct msg *out, char *why, size_t why_size);
/* What the parent wants of a role, whose line to it this is. */
enum parent_word {
    PARENT_QUIET,
    PARENT_BYE,    /* It says: leave. */
    PARENT_GONE,   /* It died, or is none. */
    PARENT_RELOAD, /* It sent a step of a reload: '*out'. */
};
/* Asks; answers its beats, which show it that we turn. */
enum parent_word line_hear_parent(struct line *, struct msg_reload *out);

/* Whether what comes is wanted now; it is at first.  One that isn't wakes
 * nobody. */
void line_want(struct line *, bool wanted);
/* To be called before sleeping.  Afterwards 'ready' says whether to sleep. */
void line_arm(struct line *);
/* 'now' if there is something to do, else NSEC_NEVER. */
nsec_t line_deadline(const struct line *, nsec_t now);

#endif
