/* SPDX-License-Identifier: Apache-2.0 */
/* How a VM's session follows it from broker to broker: who asks whom for it,
 * who may have it, and who forgets it (CHANNEL.md's session rules 4 to 6).  No
 * I/O and no clock: what happened is told by the calls below, what is to be
 * done is asked for by handoff_next_action() and handoff_next_msg().
 *
 * The new end pulls.  Its guest's HELLO names a session and, as 'key', what the
 * last attachment was called (its mark) in which that session was settled, that
 * is, in which anything reliable can have moved.  Only a memory with that mark
 * is the right one; any other is out of date and is never given out.  So the
 * key, which the guest keeps, and not the order in which brokers' messages
 * arrive, decides; asking twice, late answers and two memories of one session
 * are harmless.  The end that comes to know a session gives the guest an
 * attachment above all former ones (HANDOFF_LEAP), so the highest wins.
 *
 *   A                                 B
 *   HOLDING   the VM leaves           STRANGER: WANTING
 *             <---- PULL ------------ to every peer, each 100 ms
 *             ----- NOT_YET --------> until A's hypervisor says that it left
 *   KEPT      ----- HERE -----------> IMPORTING -> HOLDING
 *   PASSED    <---- TAKEN ----------- until A has answered
 *             ----- OK ------------->
 *
 * A guest that comes to a host makes a visit there, and an answer counts for
 * the visit it was asked for.  So memory that was given out and did not arrive
 * can't do so later, when the old end has taken up its own copy again and sent
 * more.
 *
 * B keeps what comes when its guest has left again (KEPT), and until it comes
 * names A to whoever asks (FROZEN).  Peers are numbers, as the configuration
 * has them; a VM is the hypervisor's UUID for it.  Notes are bytes that travel
 * with the session and are somebody else's, the policies' of that VM. */
#ifndef CHANNEL_HANDOFF_HANDOFF_H
#define CHANNEL_HANDOFF_HANDOFF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/clock.h"
#include "include/mchan.h"

#define HANDOFF_PEERS_MAX 64 /* 0..63. */
#define HANDOFF_NOBODY UINT32_MAX
#define HANDOFF_ANYBODY (UINT32_MAX - 1)
#define HANDOFF_MSGS_MAX 256 /* To be sent; more are lost, and said again. */

/* Above what the guest knew, when another end gives it an attachment: the
 * former end may have given some that the guest never saw, but not so many. */
#define HANDOFF_LEAP 1024

struct handoff;

struct handoff_vm {
    uint8_t uuid[16];
};

struct handoff_opts {
    /* All brokers that may take part, this one included, and which it is; they
     * mean the same at all of them. */
    uint32_t n_peers, self;
    uint32_t n_vms_max;
    nsec_t wait_ns;  /* For the handoff; 0: 1.9 s. */
    nsec_t retry_ns; /* Between two pulls; 0: 100 ms. */
    nsec_t keep_ns;  /* What nobody pulls, and what was passed on; 0: 60 s. */
    size_t parcel_max, notes_max; /* Bytes of each; 0: 256 KiB and 64 KiB. */
};

/* Returns 0, -EINVAL or -ENOMEM. */
int handoff_create(struct handoff **out, const struct handoff_opts *);
void handoff_destroy(struct handoff *);

/* What the channels and the hypervisor of this host say.  -ENOSPC if there are
 * too many VMs. */

/* MCHAN_UP: the session is settled here, with this attachment. */
int handoff_attached(struct handoff *, const struct handoff_vm *,
                     uint64_t session, uint32_t attachment, nsec_t now);
/* MCHAN_STRANGER: a guest is here with a session that is not; the event's
 * 'from' is the key, and 'to' the guest's last attachment. */
int handoff_stranger(struct handoff *, const struct handoff_vm *,
                     const struct mchan_event *, nsec_t now);
/* This host lets the VM move to that peer, or ANYBODY; NOBODY takes it back. */
void handoff_granted(struct handoff *, const struct handoff_vm *,
                     uint32_t peer);
/* The VM stands still, to move; it has left; it runs here (it came, or did not
 * move after all).  What the hypervisor says may come late and in any order:
 * 'when' is its own time for it, by this host's clock.  False if it is about a
 * stay that is over, and nothing is to be done about it. */
bool handoff_paused(struct handoff *, const struct handoff_vm *, nsec_t when,
                    nsec_t now);
bool handoff_left(struct handoff *, const struct handoff_vm *, nsec_t when,
                  nsec_t now);
bool handoff_runs(struct handoff *, const struct handoff_vm *, nsec_t when,
                  nsec_t now);
/* It is no more. */
void handoff_ended(struct handoff *, const struct handoff_vm *);

/* What this host's channels are to do. */
enum handoff_do {
    /* mchan_suspend() and mchan_export() the VM's session; then
     * handoff_exported(). */
    HANDOFF_EXPORT,
    /* mchan_import() 'parcel' and give 'notes' to their owner; then
     * handoff_imported(). */
    HANDOFF_IMPORT,
    /* mchan_import() null: nobody remembers the session. */
    HANDOFF_GIVE_UP,
    /* mchan_import() nothing: the session is another VM's. */
    HANDOFF_REFUSE,
    /* mchan_forget(): the session went on elsewhere, and what is here of it is
     * out of date. */
    HANDOFF_DROP,
};

struct handoff_action {
    enum handoff_do what;
    struct handoff_vm vm;
    uint64_t session;
    const void *parcel, *notes; /* Borrowed until the next call. */
    size_t parcel_size, notes_size;
};

bool handoff_next_action(struct handoff *, struct handoff_action *out);
/* The bytes are copied; null if there is nothing to export.  The notes may be
 * null. */
void handoff_exported(struct handoff *, const struct handoff_vm *,
                      const void *parcel, size_t parcel_size, const void *notes,
                      size_t notes_size, nsec_t now);
/* 'error' as mchan_import() returned it. */
void handoff_imported(struct handoff *, const struct handoff_vm *, int error,
                      nsec_t now);

/* Between brokers.  Messages may be lost, late, doubled and overtaken. */
enum handoff_kind {
    HANDOFF_PULL,    /* My guest brings this session; who remembers it? */
    HANDOFF_HERE,    /* It is yours. */
    HANDOFF_NOT_YET, /* I do, but as far as I know the VM is here. */
    HANDOFF_UNKNOWN, /* I do not. */
    HANDOFF_ASK,     /* I do not; 'whom' may. */
    HANDOFF_FOREIGN, /* It is another VM's. */
    HANDOFF_TAKEN,   /* It goes on here; forget it. */
    HANDOFF_OK,      /* It is forgotten. */
    HANDOFF_KEEPS,   /* It is not: the VM is here, or ours is newer. */
    HANDOFF_PASS,    /* What you would give me, give to 'whom'. */
    HANDOFF_N_KINDS,
};

struct handoff_msg {
    enum handoff_kind kind;
    uint32_t peer; /* Whom it is to, or from. */
    struct handoff_vm vm;
    uint64_t session;
    uint32_t key;
    uint64_t visit;      /* Of the guest at who pulls; answers repeat it. */
    uint32_t attachment; /* PULL: the guest's; TAKEN, KEEPS: with which it goes
                            on. */
    uint32_t whom;       /* ASK, PASS. */
    bool insists;        /* PULL: whom you named does not have it. */
    const void *parcel, *notes; /* HERE; borrowed until the next call. */
    size_t parcel_size, notes_size;
};

/* What a configured peer said; its number comes from the connection. */
void handoff_on_msg(struct handoff *, const struct handoff_msg *, nsec_t now);
bool handoff_next_msg(struct handoff *, struct handoff_msg *out);

/* Does what is due. */
void handoff_run(struct handoff *, nsec_t now);
nsec_t handoff_deadline(const struct handoff *);

/* A VM that moves shows all of this, in the order of its life. */
enum handoff_state {
    HANDOFF_NONE,      /* Nothing is known of it. */
    HANDOFF_HOLDING,   /* Its session is in the channel. */
    HANDOFF_EXPORTING, /* It is asked of the channel. */
    HANDOFF_KEPT,      /* It is here, packed, for whoever has the key. */
    HANDOFF_PASSED,    /* It went on elsewhere. */
    HANDOFF_WANTING,   /* Its guest is here, its session is not. */
    HANDOFF_IMPORTING, /* It came, and is given to the channel. */
    HANDOFF_FROZEN,    /* The guest left again before it came. */
};
enum handoff_state handoff_state(const struct handoff *,
                                 const struct handoff_vm *);

struct handoff_stats {
    uint64_t n_given, n_taken; /* Sessions that left, and came. */
    uint64_t n_given_up;       /* Nobody brought them in time. */
    uint64_t n_late;           /* Handoffs refused for coming too late. */
    uint64_t n_stale;          /* Pulls for what is not the last memory. */
    uint64_t n_dropped;        /* Our sides that went on elsewhere meanwhile. */
    uint64_t n_disputed;       /* Others claim what runs here: an alarm. */
    uint64_t n_foreign;        /* Sessions of another VM: an alarm. */
    uint64_t n_bad;      /* Messages that make no sense, or not from a peer. */
    uint64_t n_expired;  /* Nobody came for them. */
    uint64_t n_old_news; /* The hypervisor's, of stays that were over. */
    uint64_t n_bytes;    /* Held now, of parcels and notes. */
};
void handoff_stats(const struct handoff *, struct handoff_stats *out);

#endif
