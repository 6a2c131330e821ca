/* SPDX-License-Identifier: Apache-2.0 */
/* Small things that the loops of mbrokerd's processes share: a descriptor that
 * is waited on only while its input is wanted, and the signals that are the
 * parent's business alone. */
#ifndef BROKER_ROLE_WATCHED_H
#define BROKER_ROLE_WATCHED_H

#include <stdbool.h>

struct loop;

struct watched {
    struct loop *loop; /* Borrowed; null: not begun. */
    int fd;
    bool ready, waiting;
};

void watched_begin(struct watched *, struct loop *, int fd);
void watched_end(struct watched *);
/* Whether it became ready since this was last asked. */
bool watched_take(struct watched *);
/* Waits on it from now on, or no more. */
void watched_want(struct watched *, bool wanted);

/* Takes note of SIGTERM, SIGINT, SIGHUP and SIGPIPE in '*ignored' (borrowed for
 * the loop's life) and does nothing: when to leave is the parent's to say. They
 * are not set to be ignored, since guests that we start would inherit that.  0
 * or -Exxx. */
int watched_signals(struct loop *, bool *ignored);

#endif
