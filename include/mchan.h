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

/* How a message is delivered.  Only reliable ones are numbered and
 * acknowledged. */
enum mchan_class {
    /* In order, kept until acknowledged, sent again when the session goes on
     * over another attachment; -EAGAIN when there is no room. */
    MCHAN_RELIABLE,
    /* Newest per key wins: for telemetry.  Never -EAGAIN, also while the peer
     * is away.  One value of a key is under way at a time; what a newer one
     * overtakes before it was sent is counted.  In each new attachment the
     * newest value of each key is sent again, flagged.  Who sends such values
     * must call mchan_arm() before it sleeps, as any user. */
    MCHAN_LATEST,
    /* Sent if there is room now, else dropped and counted. */
    MCHAN_DATAGRAM,
};

#define MCHAN_KEYS 64 /* Keys of MCHAN_LATEST: 0..63. */

struct mchan_opts {
    size_t size;        /* sizeof(struct mchan_opts), so that it may grow. */
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
    /* How long what the peer did not acknowledge is kept while it is away,
     * before it is DROPPED; if the session goes on, GAP tells the peer.  0:
     * until the peer is back. */
    uint32_t hold_ms;
    /* How long mchan_wait() may look before it sleeps; 0: about what a wake
     * costs here, at most 20; MCHAN_NO_SPIN: not at all. */
    uint32_t spin_us;
    /* Bytes that each side may lend the other by mchan_loan(); 0: no loans.
     * Both must offer them, and each must trust the other not to change what
     * it lent while it is looked at. */
    uint64_t loan_bytes;
    /* A listening end: how long a session that is unknown here waits for
     * mchan_import() to bring what another end remembers of it; 0: it is
     * unknown, and a new one begins. */
    uint32_t handoff_ms;
};

#define MCHAN_NO_SPIN UINT32_MAX

#ifdef __cplusplus /* Has no designators before C++20. */
#define MCHAN_OPTS_INIT                                                        \
    {                                                                          \
        sizeof(struct mchan_opts), 0, -1, nullptr, nullptr, 0, 0, 0, nullptr,  \
            0, 0, 0, 0                                                         \
    }
#else
#define MCHAN_OPTS_INIT                                                        \
    {                                                                          \
        .size = sizeof(struct mchan_opts), .fd = -1                            \
    }
#endif

struct mchan_msg {
    const void *data; /* Borrowed for the call. */
    size_t size;
    uint16_t tag;
    uint8_t delivery; /* enum mchan_class. */
    uint8_t key;      /* Of MCHAN_LATEST, below MCHAN_KEYS; else 0. */
};

struct mchan_info {
    uint64_t sequence; /* Within the session, from 1; 0: not numbered. */
    uint32_t attachment;
    uint16_t tag;
    uint8_t delivery;
    uint8_t key;
    bool maybe_repeated; /* It may have been received before. */
};

enum mchan_event_type {
    MCHAN_UP,          /* A session stands; 'attachment' is new. */
    MCHAN_PEER_LOST,   /* The peer died or left; 'reason'. */
    MCHAN_SUSPENDING,  /* Ours or the peer's VM is about to move. */
    MCHAN_RESUMED,     /* It moved ('attachment' is new), or did not; the
                          session goes on. */
    MCHAN_GAP,         /* Messages from..to of the peer's will not come. */
    MCHAN_DROPPED,     /* Our messages from..to were not delivered. */
    MCHAN_PROTO_ERROR, /* The peer broke the protocol; 'reason'. */
    MCHAN_STRANGER,    /* A peer's 'session' is unknown here and waits for
                          mchan_import(); only with handoff_ms.  'from' is what
                          who has it knows its last attachment by, and 'to'
                          that attachment. */
};

#define MCHAN_REASON_SIZE 96

struct mchan_event {
    enum mchan_event_type type;
    uint32_t attachment;
    uint64_t session;  /* Its id. */
    bool resumed;      /* UP: the session goes on, and what was not acknowledged
                          is sent again. */
    uint64_t from, to; /* For GAP and DROPPED; to == UINT64_MAX: unknown. */
    char reason[MCHAN_REASON_SIZE];
};

/* A channel is moved on by the calls made on it: its user waits for mchan_fd(),
 * then collects events and messages until there are none, then calls
 * mchan_arm() and waits again if that returned 0.
 *
 * Each UP is followed by one PEER_LOST, before which a PROTO_ERROR tells if it
 * was the peer's fault.  What the peer had not acknowledged is kept.  If it
 * comes back and remembers the session, the next UP says 'resumed': what it was
 * not given is sent again, before anything new, and nothing is lost or doubled.
 * If it does not, DROPPED, just before that UP, tells what of the former
 * session it did not acknowledge (some of that may have reached it), and GAP,
 * behind it, that what it still had to say will not come.  After a goodbye, and
 * where there can't be another peer, DROPPED comes behind PEER_LOST.
 *
 * Between SUSPENDING and RESUMED the loss of the transport is no PEER_LOST, and
 * what is sent is kept, as much as a ring holds.  PEER_LOST comes if the peer
 * has forgotten the session, or said that it is suspended and did not return
 * within a minute.
 *
 * What the peer sent before it was lost can still be received, for a second
 * (without limit if there can't be another peer).  While too many events wait
 * to be collected, no attachment begins. */

/* Waits at 'uri' for one peer at a time: "unix:PATH" or "shm:PATH" (shared
 * memory, met over the unix socket PATH).  A second peer is refused while the
 * first lives. */
int mchan_listen(struct mchan **out, const char *uri,
                 const struct mchan_opts *);
/* Connects, and connects again for ever after each loss, backing off.  Does not
 * block; MCHAN_UP tells. */
int mchan_open(struct mchan **out, const char *uri, const struct mchan_opts *);
/* Says goodbye behind all that was sent; accepts null.  What a byte stream does
 * not take at once is lost, and the goodbye with it: who must know that all
 * arrived waits until it is acknowledged (mchan_stats' n_acked). */
void mchan_close(struct mchan *);

/* 0, -EAGAIN (full, or what was kept is to be sent again first: wait for the
 * descriptor), -EMSGSIZE, -ENOTCONN, or -EPROTO (the peer broke the protocol
 * and this attachment is over). */
int mchan_send(struct mchan *, const struct mchan_msg *);
/* Many at once, which costs less than one by one: how many of the first ones
 * were sent, or why not even the first was.  Each is seen by the peer as soon
 * as it is sent; a peer that sleeps is woken once. */
ssize_t mchan_send_many(struct mchan *, const struct mchan_msg *, size_t n);
/* We are through with what was received, without asking for more. */
int mchan_ack(struct mchan *);

/* Writing a message where it is sent from, without a copy: mchan_reserve()
 * lends room for 'size' bytes until mchan_commit(), which sends the first
 * message->size of them (message->data is ignored), or mchan_abort().  Errors
 * as of mchan_send(), and then nothing is reserved any more; -EAGAIN while
 * suspended.  Other calls on the channel in between may give the room back, and
 * mchan_commit() then returns -EINVAL; sending always does.  Reliable messages
 * and datagrams only. */
int mchan_reserve(struct mchan *, size_t size, void **data_out);
int mchan_commit(struct mchan *, const struct mchan_msg *);
void mchan_abort(struct mchan *);

/* The next message's size; -EAGAIN if there is none, -ENOBUFS if 'size' is too
 * small (nothing is lost; info->... is not set), -ENOTCONN or -EPROTO if there
 * is none and no session stands.  Asking acknowledges the message before. */
ssize_t mchan_recv(struct mchan *, void *data, size_t size,
                   struct mchan_info *);
/* Large data by reference, between ends that trust each other
 * (opts.loan_bytes, of which the smaller counts).  The sender borrows memory of
 * its own that the peer maps too and can only read, fills it, and sends its
 * place; the receiver looks at it there and gives it back.  What a loan takes
 * of loan_bytes is a power of two from 4096 up. */
struct mchan_loan {
    void *data;  /* To write to, until it is sent. */
    size_t size; /* As asked for; 4096 and more is worth it. */
    uint64_t handle;
};
/* 0; -EAGAIN while too much is lent out (bytes, or 1024 loans), -EMSGSIZE if it
 * never fits, -ENOTSUP if the transport shares no memory or an end offers no
 * loans, -ENOTCONN. */
int mchan_loan(struct mchan *, size_t size, struct mchan_loan *out);
/* Sends the first message->size bytes of it (message->data is ignored), as a
 * reliable message.  Errors as of mchan_send(), or -EINVAL if it is no loan;
 * it is then still ours.  When the peer is lost, a loan that was not sent stays
 * ours too, and may be sent to the next. */
int mchan_send_loan(struct mchan *, const struct mchan_loan *,
                    const struct mchan_msg *);
/* Gives back what was not sent. */
void mchan_unloan(struct mchan *, const struct mchan_loan *);

/* The next message of either kind where it lies, rather than a copy of it.  Of
 * lent ones many may be looked at, each until mchan_release(); any other is to
 * be looked at before the next call on the channel.  Either way the sender can
 * still write there: not for peers that are not trusted.  mchan_recv() copies a
 * lent message if it fits.  When the peer is lost, what it lent stays readable
 * until it is released; each one keeps the whole memory of that peer.
 * mchan_close() releases all. */
struct mchan_view {
    const void *data;
    size_t size;
    uint64_t handle;
    struct mchan_info info;
};
/* 0, or an error as of mchan_recv(). */
int mchan_view(struct mchan *, struct mchan_view *out);
void mchan_release(struct mchan *, const struct mchan_view *);

/* 1 and an event, or 0 if there is none. */
int mchan_next_event(struct mchan *, struct mchan_event *out);

/* Readable when there may be something to receive or an event; to be asked for
 * once, it stays the same.  -1 for "sim:". */
int mchan_fd(const struct mchan *);
/* What to wait for.  Writable: what was last refused with -EAGAIN, a message or
 * a loan, may be tried again. */
#define MCHAN_READABLE 1u
#define MCHAN_WRITABLE 2u
/* Announces that the caller is about to sleep on mchan_fd() until that.
 * Returns 1 if it is already so (do not sleep), else 0. */
int mchan_arm(struct mchan *, unsigned what);
/* Sleeps until MCHAN_READABLE holds; 1, or 0 after 'timeout_ms' (-1: ever). */
int mchan_wait(struct mchan *, int timeout_ms);
/* When the channel must be looked at although its descriptor is silent (a
 * reconnection is due), in ns of its clock; INT64_MAX: never.  mchan_fd()
 * covers this by itself; a simulator has only this. */
int64_t mchan_deadline(const struct mchan *);

/* The paper's callbacks, for an end whose VM is about to move.  After
 * mchan_suspend() the peer is told (SUSPENDING) if it can be; what is sent is
 * kept, and the loss of the transport is nobody's death.  mchan_resume() goes
 * on at 'uri' (null: where it was; the same transport if that still stands),
 * and both ends see RESUMED, or PEER_LOST if the other has forgotten.  0,
 * -ENOTCONN if there is no session, -EALREADY, -EAGAIN while too many events
 * wait to be collected; of a URI the errors of mchan_open(), and it is still
 * suspended then. */
int mchan_suspend(struct mchan *);
int mchan_resume(struct mchan *, const char *uri);

/* Ends the session as if both ends had forgotten it: the next attachment begins
 * a new one.  For a VM that was reset, reverted, restored or cloned, whose
 * memory of the session can't be relied on.  Of an imported session of which
 * the peer has not heard nothing is DROPPED: it is a copy.  0, or -ENOTCONN if
 * there is none. */
int mchan_forget(struct mchan *);

/* A session's memory, for the end that takes it over: numbers, and what was
 * not acknowledged.  mchan_export() writes it once, of a suspended session
 * (-EBUSY if it is not, -ENOTSUP if what it keeps was lent), which is over here
 * with that; it returns the bytes written, or needed if 'data' is null (the
 * session then stays), -ENOBUFS, or -ENOTCONN.
 *
 * mchan_import() brings it to an end that reported STRANGER or will; null:
 * nobody has it, and the session goes on behind what the peer says, with GAP and
 * maybe_repeated; no bytes: it is another's, and a new one begins.  Until then,
 * and until the peer has said that it heard of it, which UP or RESUMED tells,
 * latest values and datagrams move and reliable messages do not.  -ENOENT if its
 * session is not the one that waits or comes too late, -EPROTO if the bytes are
 * no session. */
ssize_t mchan_export(struct mchan *, void *data, size_t size);
int mchan_import(struct mchan *, const void *data, size_t size);

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
    uint64_t n_wakes;     /* Times the peer had to be woken. */
    uint64_t n_overtaken; /* Latest values that a newer one replaced. */
    uint64_t n_datagrams_dropped;
    uint64_t n_replayed;      /* Messages sent again. */
    uint64_t n_lent;          /* Loans that the peer has not given back. */
    uint64_t n_late_handoffs; /* Imports that were refused with -ENOENT. */
    uint64_t memory_bytes;    /* It takes now, rings included and loans not. */
};
int mchan_stats(const struct mchan *, struct mchan_stats *out, size_t size);

#ifdef __cplusplus
}
#endif

#endif
