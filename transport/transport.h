/* SPDX-License-Identifier: Apache-2.0 */
/* The door of transport/: ways of moving bytes between the two ends of an
 * M-channel.  A transport is one end's place to meet the other (a socket that
 * listens, an address to connect to) and the one link that may stand there.  It
 * knows nothing of sessions, and what it carries it does not read.
 *
 * There are two kinds.  A stream moves bytes in order, and the channel frames
 * them.  Rings are memory that both ends map, and the channel writes records
 * into it; the transport maps it and wakes the peer.
 *
 * A new transport is a file and a line in meson.build. */
#ifndef TRANSPORT_TRANSPORT_H
#define TRANSPORT_TRANSPORT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <sys/uio.h>

struct returns;
struct ring_rx;
struct ring_tx;
struct transport;

/* Bits of transport.ready; which descriptor an epoll event came from is told
 * by its data.u32, one of the first two. */
#define TRANSPORT_LINK 1u   /* The link may have something to read. */
#define TRANSPORT_PEER 2u   /* Somebody may wait to be accepted. */
#define TRANSPORT_ROOM 4u   /* The link may take more bytes. */
#define TRANSPORT_HANGUP 8u /* The peer's end is closed. */

struct transport_opts {
    bool listen;        /* Wait for a peer rather than go to one. */
    uint32_t ring_size; /* Of each direction, valid. */
    bool lends;         /* Memory may be lent, where the carrier can. */
    int fd;             /* A socket to take on success; -1: make one. */
    int epoll_fd;       /* Borrowed for ever; descriptors are put into it,
                           edge-triggered. */
    void *sim;          /* For sim.c; borrowed for ever. */
};

struct transport_identity {
    int64_t pid, uid, gid;
};

struct transport_class {
    const char *name; /* The scheme of its URIs, without the colon. */
    const char *summary;
    bool simulated; /* Has no descriptors; opts->epoll_fd is -1. */

    /* Makes an end at 'address', the URI behind its colon, without blocking or
     * waiting for anybody.  Returns 0, or -Exxx (-EADDRINUSE when somebody
     * alive listens there) and then opts->fd is still the caller's. */
    int (*open)(struct transport **out, const char *address,
                const struct transport_opts *opts);

    /* Drops the link and releases everything, files in the file system
     * included.  Accepts null. */
    void (*close)(struct transport *);

    /* Tries to have a link where none stands: goes on with an attempt under
     * way, or starts one, or accepts a peer.  Never blocks.  Returns 1 when a
     * link stands, 0 when it may later (an event tells), -ENOTCONN when it
     * never will again, -EPROTO when the peer offered what it must not,
     * another -Exxx when this attempt failed. */
    int (*connect)(struct transport *);

    /* Ends the link or the attempt, so that connect() may start anew.  Memory
     * that the former peer may map is never used again. */
    void (*drop)(struct transport *);

    /* Turns away those who wait to be accepted while a link stands, a bounded
     * number per call.  Returns how many.  Null where nobody can wait. */
    unsigned (*refuse)(struct transport *);

    /* Says who is at the other end of the link.  Returns 0, or -ENOTCONN, or
     * -ENOTSUP where the carrier can't tell. */
    int (*identify)(const struct transport *, struct transport_identity *out);

    /* Of a stream, else null.  send() takes as many bytes as it can, recv()
     * gives what there is; they return the count, -EAGAIN, or another -Exxx
     * when the link is over.  recv() returns 0 when the peer has closed. */
    ssize_t (*send)(struct transport *, const struct iovec *, int n);
    ssize_t (*recv)(struct transport *, void *, size_t);

    /* Of rings, else null.  rings() describes the two rings of the link, valid
     * until drop().  wake() makes the peer's descriptor readable; attend()
     * takes note that ours was, and returns 0, -EPROTO, or another -Exxx when
     * the link is over. */
    void (*rings)(struct transport *, struct ring_tx *tx, struct ring_rx *rx);
    void (*wake)(struct transport *);
    int (*attend)(struct transport *);

    /* Of rings between processes that can share more memory, else null.
     * returns() says where what was lent is given back, valid until drop();
     * false if this link lends nothing.  share() hands the peer a descriptor,
     * once per link, before anything is said of it in the ring: 0, -EAGAIN,
     * -ENOTCONN when the link is over, or another -Exxx.
     * take_shared() returns the peer's, which must have come and is then the
     * caller's, or -EPROTO. */
    bool (*returns)(struct transport *, struct returns **mine,
                    struct returns **peers);
    int (*share)(struct transport *, int fd);
    int (*take_shared)(struct transport *);
};

/* What every transport starts with. */
struct transport {
    const struct transport_class *class;
    uint32_t ready; /* TRANSPORT_ bits; the channel sets them from events, who
                       finds nothing more to do clears them. */
    bool once;      /* There is only ever the one link. */
    bool shares;    /* The peer may share(); set by connect(), and cleared by
                       the channel when the ends agree on no loans. */
};

/* Made from meson's list. */
extern const struct transport_class *const transport_table[];
extern const char *const transport_left_out[]; /* Pairs: name, why. */
const struct transport_class *transport_find(const char *name);

#endif
