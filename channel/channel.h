/* SPDX-License-Identifier: Apache-2.0 */
/* What stands behind a handle: one session, the transport that it meets its
 * peer over, and the turn that moves them on. */
#ifndef CHANNEL_CHANNEL_H
#define CHANNEL_CHANNEL_H

#include "base/clock.h"
#include "base/prng.h"
#include "channel/replay/latest.h"
#include "channel/link.h"
#include "channel/lending/loans.h"
#include "channel/mgmtback.h"
#include "channel/mgmtfront.h"
#include "channel/session.h"
#include "channel/replay/window.h"
#include "include/mchan.h"
#include "transport/transport.h"

/* How long a peer may stay silent between connecting and its HELLO. */
#define CHANNEL_HELLO_NS (2 * NSEC_PER_SEC)
/* How long the last words of a lost peer wait for the user, before a new
 * attachment may take the place of the old. */
#define CHANNEL_DRAIN_NS NSEC_PER_SEC
/* How long a peer that told us that it is suspended may stay away. */
#define CHANNEL_AWAY_NS (60 * NSEC_PER_SEC)
/* Who comes so much later than a deadline was not running, and perhaps neither
 * was the peer: then it is given so long again, once. */
#define CHANNEL_LATE_NS NSEC_PER_SEC
#define CHANNEL_AGAIN_NS (NSEC_PER_SEC / 2)
/* How long a frame may stay unfinished while nothing more comes.  Without this
 * a wrong bit in a frame's size would make us wait for up to a whole buffer of
 * what the peer says next. */
#define CHANNEL_FRAME_NS (2 * NSEC_PER_SEC)

/* Spins in a row that brought nothing, before only each 64th wait tries one:
 * the peer is slow, or has no other CPU to run on. */
#define CHANNEL_SPINS_IN_VAIN_MAX 4
/* The longest spin that is not asked for. */
#define CHANNEL_SPIN_MAX_NS (20 * NSEC_PER_USEC)
/* Looks at a ring between two at the clock or the kernel. */
#define CHANNEL_SPIN_LOOKS 64

/* Room that mchan_reserve() lent, in a link as it was then. */
struct reserved {
    bool held;
    uint32_t size, attachment;
    uint64_t head;
};

struct mchan {
    bool listens;           /* The MVM's end. */
    int epoll_fd, timer_fd; /* -1: a simulated transport, which has none. */
    uint32_t ring_size;
    struct transport *transport; /* Owned. */
    struct session session;
    struct link link;
    struct loans loans;
    struct window window;  /* What is not in the link, of what is kept. */
    struct latest *latest; /* Owned; null before the first value. */
    bool tell_resumed;     /* The peer is still to be told by a record. */
    struct reserved reserved;
    nsec_t handoff_ns;        /* How long a stranger's session may take. */
    nsec_t handoff_until;     /* For this one. */
    uint64_t handoff_session; /* 0: none waits. */
    uint32_t handoff_mark;
    uint32_t handoff_attachment; /* The last that it was given. */
    struct mgmtfront front;      /* One of the two is used. */
    struct mgmtback back;
    struct prng prng;  /* For sync words. */
    nsec_t deadline;   /* Of HELLO, of draining, of the end of a frame; else
                          NSEC_NEVER. */
    size_t unfinished; /* What that frame had when the deadline was set, */
    uint64_t n_frames; /* and how many were before it. */
    bool again;        /* The deadline was put off for coming too late. */
    nsec_t hold_ns;    /* opts.hold_ms; 0: without limit. */
    nsec_t hold_until; /* Nothing kept is dropped before. */
    bool hold_again;   /* That was put off. */
    nsec_t away_until; /* A suspended peer is waited for; else NSEC_NEVER. */
    bool away_again;
    nsec_t timer; /* What timer_fd is set to. */
    int64_t (*now_ns)(void *ctx);
    void *now_ctx;
    void *sim;
    struct mchan_stats stats;
    nsec_t spin_ns; /* See mchan_wait(); -1: to be measured. */
    uint8_t spins_left;
    uint32_t n_waits;
    uint32_t n_idle;  /* Looks in a row that found an empty ring. */
    nsec_t last_wait; /* How long mchan_wait() waited the last time. */
};

nsec_t channel_now(const struct mchan *);

/* Moves everything on: events, connecting, HELLO, acknowledgements, loss. */
void channel_turn(struct mchan *);
nsec_t channel_deadline(const struct mchan *);
/* Sleeps on the descriptor and takes what it tells.  True if a turn must see to
 * it; false after a mere wake. */
bool channel_sleep(struct mchan *, int timeout_ms);

/* judge.c.  1 with the next message, checked; 0 if there is none; -1 if a turn
 * must judge what is there. */
int channel_peek(struct mchan *, struct record *out);
/* The peer broke the protocol, as was found out between two turns. */
void channel_violated(struct mchan *, const char *why);
/* Takes note of what the peer is through with: 0 or -EPROTO. */
int channel_refresh(struct mchan *, const char **why);
/* Says goodbye if somebody is there. */
void channel_bye(struct mchan *);

/* mchan.c.  Makes this channel's end at 'uri'; takes 'fd', if it is not -1, on
 * success.  0, or -Exxx as of mchan_open(). */
int channel_open(struct mchan *, const char *uri, int fd,
                 struct transport **out);
/* True if a deadline has passed; false, and it is put off, if it passed so long
 * ago that we can't have been running, unless that was so already. */
bool channel_is_due(nsec_t *deadline, bool *again, nsec_t now);
/* Ends a link that stands or is about to, as if it were lost. */
void channel_part(struct mchan *, const char *reason);

/* keep.c.  The link that stands is lost: moves what it still had to carry to
 * the window, in front of what is there. */
void channel_keep(struct mchan *, nsec_t now);
/* If nobody can come who could acknowledge what is kept, it is dropped. */
void channel_forget(struct mchan *);
/* True if a message of this size can be kept until there is a link again. */
bool channel_has_room_later(const struct mchan *, uint32_t size);
/* While the peer is away: drops what was kept too long. */
void channel_expire(struct mchan *, nsec_t now);
/* When that is due. */
nsec_t channel_expires(const struct mchan *);
/* Puts RECORD_SUSPEND or RECORD_RESUME: 0 or -EAGAIN. */
int channel_put_notice(struct mchan *, uint8_t kind);
/* Puts what waits into the link, as far as it has room: what is kept, before
 * anything new, and latest values. */
void channel_put_waiting(struct mchan *);
/* What the peer must have released before more of that can be put; 0 if nothing
 * waits. */
uint64_t channel_waits_for(const struct mchan *);

#endif
