/* SPDX-License-Identifier: Apache-2.0 */
/* libmchan: the M-channel.  One handle, one API, whatever carries it.  A
 * channel is bidirectional and asynchronous, has one file descriptor to wait
 * on, stays valid through the death and return of its peer, and says exactly
 * what was lost when something was.
 *
 * A handle belongs to one thread at a time.  Functions return 0 or more on
 * success and -Exxx on failure; none blocks but mchan_wait().  Messages are
 * bytes with a 16-bit tag; what they mean is their users' business. */
#ifndef MCHAN_H
#define MCHAN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#ifdef __cplusplus
extern "C" {
#endif

struct mchan;

/* How a message is delivered.  Only MCHAN_RELIABLE is offered so far. */
enum mchan_class {
    MCHAN_RELIABLE, /* In order, kept until acknowledged, -EAGAIN when full. */
    MCHAN_LATEST,   /* Newest per key wins. */
    MCHAN_DATAGRAM, /* Dropped and counted when full. */
};

struct mchan_opts {
    size_t size; /* sizeof(struct mchan_opts), so that it may grow. */
    uint32_t ring_size; /* Bytes per direction, a power of two; 0: 64 KiB. */
    /* A socket to use instead of making one from the URI, whose scheme alone
     * then counts; the channel takes it, unless it can't be made.  -1: none.
     * A listening socket is for mchan_listen().  A connected one (of a
     * socketpair(), say) may be given to either: mchan_listen() serves it at
     * once as its one peer.  When that peer is lost there is no other, and
     * PEER_LOST is the last event. */
    int fd;
    /* The time in nanoseconds; null: CLOCK_BOOTTIME. */
    int64_t (*now_ns)(void *ctx);
    void *now_ctx;
    uint64_t seed; /* Chance for sync words and backoff; 0: from the kernel. */
    uint32_t retry_min_ms, retry_max_ms; /* Reconnection; 0: 10 and 1000. */
    void *sim; /* The simulated network, for "sim:" URIs. */
};

#define MCHAN_OPTS_INIT { .size = sizeof(struct mchan_opts), .fd = -1 }

struct mchan_msg {
    const void *data; /* Borrowed for the call. */
    size_t size;
    uint16_t tag;
    uint8_t delivery; /* enum mchan_class. */
};

struct mchan_info {
    uint64_t sequence; /* Within the session, from 1; 0: not numbered. */
    uint32_t attachment;
    uint16_t tag;
    uint8_t delivery;
    bool maybe_repeated;
};

enum mchan_event_type {
    MCHAN_UP,          /* A session stands; 'attachment' is new. */
    MCHAN_PEER_LOST,   /* The peer died or left; 'reason'. */
    MCHAN_SUSPENDING,  /* The VM is about to move. */
    MCHAN_RESUMED,     /* It moved, or did not; the session goes on. */
    MCHAN_GAP,         /* Messages from..to of the peer's will not come. */
    MCHAN_DROPPED,     /* Our messages from..to were not delivered. */
    MCHAN_PROTO_ERROR, /* The peer broke the protocol; 'reason'. */
};

#define MCHAN_REASON_SIZE 96

struct mchan_event {
    enum mchan_event_type type;
    uint32_t attachment;
    uint64_t from, to; /* For GAP and DROPPED; to == UINT64_MAX: unknown. */
    char reason[MCHAN_REASON_SIZE];
};

/* A channel is moved on by the calls made on it: its user waits for mchan_fd(),
 * then collects events and messages until there are none, then calls mchan_arm()
 * and waits again if that returned 0.
 *
 * Each UP is followed by one PEER_LOST, before which a PROTO_ERROR tells if it
 * was the peer's fault, and behind which DROPPED tells what it did not
 * acknowledge; some of that may have reached it.  What it sent before it was
 * lost can still be received, for a second (without limit if there can't be
 * another peer); GAP tells what was not.  While too many events wait to be
 * collected, no attachment begins. */

/* Waits at 'uri' for one peer at a time: "unix:PATH" or "shm:PATH" (shared
 * memory, met over the unix socket PATH).  A second peer is refused while the
 * first lives. */
int mchan_listen(struct mchan **out, const char *uri, const struct mchan_opts *);
/* Connects, and connects again for ever after each loss, backing off.  Does not
 * block; MCHAN_UP tells. */
int mchan_open(struct mchan **out, const char *uri, const struct mchan_opts *);
void mchan_close(struct mchan *); /* Says goodbye; accepts null. */

/* 0, -EAGAIN (full: wait for the descriptor), -EMSGSIZE, -ENOTCONN, or -EPROTO
 * (the peer broke the protocol and this attachment is over). */
int mchan_send(struct mchan *, const struct mchan_msg *);
/* The next message's size; -EAGAIN if there is none, -ENOBUFS if 'size' is too
 * small (nothing is lost; info->... is not set), -ENOTCONN or -EPROTO if there
 * is none and no session stands.  Asking acknowledges the message before. */
ssize_t mchan_recv(struct mchan *, void *data, size_t size, struct mchan_info *);
/* 1 and an event, or 0 if there is none. */
int mchan_next_event(struct mchan *, struct mchan_event *out);

/* Readable when there may be something to receive or an event; to be asked for
 * once, it stays the same.  -1 for "sim:". */
int mchan_fd(const struct mchan *);
/* What to wait for. */
#define MCHAN_READABLE 1u
#define MCHAN_WRITABLE 2u
/* Announces that the caller is about to sleep on mchan_fd() until that.
 * Returns 1 if it is already so (do not sleep), else 0. */
int mchan_arm(struct mchan *, unsigned what);
/* Sleeps until MCHAN_READABLE holds; 1, or 0 after 'timeout_ms' (-1: ever). */
int mchan_wait(struct mchan *, int timeout_ms);
/* When the channel must be looked at although its descriptor is silent (a
 * reconnection is due), in ns of its clock; INT64_MAX: never.  mchan_fd() covers
 * this by itself; a simulator has only this. */
int64_t mchan_deadline(const struct mchan *);

/* Who is at the other end, as the kernel says (SO_PEERCRED).  -ENOTCONN, or
 * -ENOTSUP where the transport can't tell. */
struct mchan_peer {
    int64_t pid, uid, gid;
};
int mchan_peer(const struct mchan *, struct mchan_peer *out);

/* The largest message that can be sent now; fixed for a session. */
size_t mchan_message_max(const struct mchan *);

struct mchan_stats {
    uint64_t n_sent, n_received, bytes_sent, bytes_received;
    uint64_t n_acked; /* Of ours, by the peer. */
    uint64_t n_dropped, n_proto_errors, n_attachments, n_refused_peers;
    uint64_t n_wakes; /* Times the peer had to be woken. */
};
int mchan_stats(const struct mchan *, struct mchan_stats *out, size_t size);

#ifdef __cplusplus
}
#endif

#endif
