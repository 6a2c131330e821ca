/* SPDX-License-Identifier: Apache-2.0 */
/* What the files handoff*.c share: the table of VMs and the messages that wait
 * to be sent.  For them only. */
#ifndef CHANNEL_HANDOFF_HANDOFFPARTS_H
#define CHANNEL_HANDOFF_HANDOFFPARTS_H

#include "channel/handoff/handoff.h"

#define NO_ACTION (-1)

struct entry {
    struct handoff_vm vm;
    enum handoff_state state;
    int action; /* enum handoff_do that is to be done, or NO_ACTION. */
    uint64_t session;
    uint32_t attachment;            /* The last that was given. */
    uint32_t mark, former, earlier; /* KEPT, IMPORTING: the keys to it. */
    uint32_t key;                   /* WANTING to FROZEN: the guest's, */
    uint64_t visit; /* and which of its visits; 0: it is over. */
    uint32_t seen;  /* Its guest's last attachment, */
    uint32_t given; /* and the one that it was given here. */
    /* What this host says of the VM. */
    bool here, paused, disputed;
    nsec_t ran, left; /* When it did so last, as the hypervisor has it, */
    nsec_t spoke;     /* and its guest, as we have it. */
    nsec_t doubt;     /* These disagree, until then. */
    bool back;        /* IMPORTING: what was exported in vain. */
    uint32_t granted; /* To whom. */
    uint32_t asker, asker_key; /* Who waits for its release. */
    uint64_t asker_visit;
    uint32_t asker_attachment;
    uint32_t to;          /* KEPT, PASSED: who has it. */
    uint32_t from;        /* IMPORTING: whose answer it was. */
    uint32_t hint;        /* WANTING, FROZEN: who may have it. */
    bool foreign;         /* Somebody said that it is another VM's. */
    uint64_t unknown;     /* The peers that said so, a bit each. */
    uint64_t referred;    /* Those who named one of those, or us. */
    uint32_t n_referrals; /* Followed in this round. */
    nsec_t next;          /* Pull. */
    nsec_t until;         /* This state lasts. */
    uint64_t to_tell;     /* TAKEN, to these; */
    nsec_t next_tell, tell_until;
    uint8_t *parcel, *notes; /* Owned. */
    size_t parcel_size, notes_size;
};

struct handoff {
    struct handoff_opts opts;
    struct handoff_stats stats;
    struct entry *entries;
    uint32_t first_msg, n_msgs;
    struct handoff_msg msgs[HANDOFF_MSGS_MAX];
};

/* handofftable.c. */

struct entry *entry_find(const struct handoff *, const struct handoff_vm *);
/* One for this VM; null if there are too many. */
struct entry *entry_make(struct handoff *, const struct handoff_vm *);
/* As 'state' from now on, with nothing of before but what the host said. */
void entry_enter(struct handoff *, struct entry *, enum handoff_state,
                 nsec_t until);
void entry_forget_bytes(struct handoff *, struct entry *);
/* 0, or -EPROTO or -ENOMEM and what was there stays. */
int entry_store(struct handoff *, struct entry *, const void *parcel,
                size_t parcel_size, const void *notes, size_t notes_size);
/* True if the key is one that the bytes here are for. */
bool entry_fits(const struct entry *, uint32_t key);
/* True if the session is known here as another VM's. */
bool session_of_another(const struct handoff *, const struct handoff_vm *,
                        uint64_t session);
/* Nobody has it, as far as can be known: takes what is left. */
void entry_give_up(struct handoff *, struct entry *);

/* handoff.c.  Its guest waits here for the session: asks for it. */
void entry_want(struct handoff *, struct entry *, nsec_t now);

/* handoffstay.c. */

/* True if 'peer' may have the session, for all that this host says. */
bool entry_released_to(const struct entry *, uint32_t peer);
/* Its guest said something here; it is here no more. */
void stay_spoke(struct handoff *, struct entry *, nsec_t now);
void stay_over(struct handoff *, struct entry *, nsec_t now);

/* handofftalk.c. */

/* 'referrer' sent us to that peer, or NOBODY. */
void talk_pull(struct handoff *, const struct entry *, uint32_t peer,
               uint32_t referrer, bool insists);
/* Begins to tell everybody who may remember the session where it is. */
void talk_tell(struct handoff *, struct entry *, nsec_t now);
/* The memory is packed, and that is asked for. */
void talk_offer(struct handoff *, struct entry *,
                const struct handoff_msg *question);

#endif
