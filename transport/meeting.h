/* SPDX-License-Identifier: Apache-2.0 */
/* The unix socket over which two processes meet: as the link itself (unix.c) or
 * to hand over memory and to notice death (shm.c). */
#ifndef TRANSPORT_MEETING_H
#define TRANSPORT_MEETING_H

#include <stdbool.h>
#include <sys/types.h>

#include "transport/transport.h"

struct meeting {
    bool listening; /* Waits for peers, rather than going to one. */
    bool once;      /* Was given a connected socket: there is no second. */
    int epoll_fd;   /* Borrowed. */
    int listen_fd;  /* -1: none. */
    int fd;         /* The connected socket; -1: none. */
    char *path;     /* Owned; null if a socket was given. */
    dev_t device;   /* Of the socket file, so that we remove only our own. */
    ino_t inode;
};

/* As transport_class.open.  A given socket that is connected serves its one
 * peer, whichever end this is. */
int meeting_init(struct meeting *, const char *path,
                 const struct transport_opts *);
/* Closes, and removes the socket file if it is still ours. */
void meeting_fini(struct meeting *);

/* 1 when 'fd' is connected, 0 when nobody came, or -Exxx.  After meeting_drop()
 * of a given connected socket -ENOTCONN for ever. */
int meeting_connect(struct meeting *);
void meeting_drop(struct meeting *);
/* Closes those who wait, at most MEETING_REFUSE_MAX. */
unsigned meeting_refuse(struct meeting *);
int meeting_identify(const struct meeting *, struct transport_identity *out);

#define MEETING_REFUSE_MAX 16
#define MEETING_BACKLOG 16

#endif
