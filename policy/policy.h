/* SPDX-License-Identifier: Apache-2.0 */
/* The door to the policies: one file per policy, each a small pure function
 * from what a host knows to what the policy wants.  A policy does no I/O, reads
 * no clock, keeps no state but what the engine hands it, and never acts: the
 * arbiter weighs its wishes, the platform carries out what won.  The same file
 * runs in msim and on hosts. */
#ifndef POLICY_POLICY_H
#define POLICY_POLICY_H

#include <stdbool.h>
#include <stddef.h>

#include "base/clock.h"
#include "base/option.h"
#include "model/host.h"
#include "model/wish.h"

struct cbor_in;
struct cbor_out;

/* What the host knows at 'now'.  All of it is borrowed for the call; a VM's
 * policy_state may be written, nothing else. */
struct platform_view {
    const struct host *host;
    const struct option_values *options; /* The policy's own. */
    nsec_t epoch_ns;                     /* How long the MVM's epochs are. */
    bool epoch;  /* This turn ends an epoch of the MVM's. */
    bool urgent; /* An urgent event came (an SLA notice, an urgent note). */
};

/* A type of message that applications define and a policy asks for. */
struct policy_note {
    const char *type; /* Its whole name, as of text_is_type(). */
    bool urgent;      /* When one comes the policy is asked at once, not at the
                       * epoch's end. */
};

struct policy_class {
    const char *name, *summary;
    /* Bytes of state the engine keeps for the policy, zeroed when the policy
     * is put in force and, for a VM's, when the VM appears.  Only a VM's moves
     * with it to another host. */
    size_t host_state_size, vm_state_size;
    /* Typed options with unit, range, default and help, ended by a null name;
     * may be null. */
    const struct option_desc *options;
    /* Says whether options that are each in range go together.  Returns 0, or
     * -EINVAL with 'why' naming them.  May be null: any do. */
    int (*check)(const struct option_values *, char *why, size_t why_size);
    /* The types of notes it reads, ended by a null type, at most NOTES_MAX; may
     * be null.  Of a VM that sent one, vm_note() finds the newest, VM_NEWS_NOTE
     * says that some came since the last call and note->news which; note->cause
     * is the event for a reason.  The bytes are a guest's: check them like any
     * stranger's.  They are borrowed for the call. */
    const struct policy_note *notes;
    /* Writes a VM's state for the host it moves to, as CBOR, never as a raw
     * struct, and reads it back, validating: a stranger may have written it.
     * Return 0, -ENOSPC or -EPROTO.  Both null if vm_state_size is 0. */
    int (*save_vm)(const void *vm_state, struct cbor_out *);
    int (*load_vm)(void *vm_state, struct cbor_in *);
    /* Says what the policy wants, given what is known.  'view' is borrowed for
     * the call and marks what is new since the last one, and whether the turn
     * ends an epoch or is urgent.  Wishes stand until replaced or past
     * valid_until, so a policy adds what changed, and each epoch what shall go
     * on: the same value again without a cause only moves valid_until.  Rules
     * are named POLICY/WHAT.  Returns 0, or -ENOSPC if 'out' filled up. */
    int (*decide)(void *host_state, const struct platform_view *view,
                  nsec_t now, struct wish_list *out);
};

/* Epochs a wish outlives its last renewal: one renewal may come late, but what
 * a dead policy or guest wanted must not stand. */
#define POLICY_VALID_EPOCHS 4

/* All policies of this build, in the order of meson's list, ended by null. */
extern const struct policy_class *const policy_table[];
/* Names of those left out, each followed by why; ended by two nulls. */
extern const char *const policy_left_out[];

/* Null if there is none of that name. */
const struct policy_class *policy_find(const char *name);

#endif
