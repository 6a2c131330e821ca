/* SPDX-License-Identifier: Apache-2.0 */
/* Whether a VM is here, as its guest and this host's hypervisor say
 * (handoff.h). What the hypervisor says comes late and in any order, so it is
 * judged by when it happened: "it left" of the time before it came back says
 * nothing of the stay that began then.  A guest's own word comes at once, but
 * may have been written before it left and read only then.  So where one
 * contradicts the other, the VM counts as here for a while: who asks for its
 * session is told that it is not yet free, and the hypervisor's next word
 * decides. */
#include "channel/handoff/handoffparts.h"

#define DOUBT_NS (300 * NSEC_PER_MSEC)

static void
arrive(struct entry *entry)
{
    entry->here = true;
    entry->paused = false;
    entry->granted = entry->asker = HANDOFF_NOBODY;
}

void
stay_spoke(struct handoff *handoff, struct entry *entry, nsec_t now)
{
    arrive(entry);
    entry->spoke = now;
    /* It left just now, and nobody said yet that it is back. */
    bool odd = entry->left > entry->ran && now - entry->left < DOUBT_NS;
    entry->doubt = odd ? now + DOUBT_NS : NSEC_NEVER;
}

bool
entry_released_to(const struct entry *entry, uint32_t peer)
{
    bool named = entry->granted == peer || entry->granted == HANDOFF_ANYBODY;
    if (entry->here) {
        return named && entry->paused;
    }
    return named || entry->granted == HANDOFF_NOBODY;
}

/* Somebody may have asked for it before this host knew that it is free. */
static void
release(struct entry *entry)
{
    if (entry->state == HANDOFF_HOLDING && entry->asker != HANDOFF_NOBODY &&
        entry_released_to(entry, entry->asker)) {
        entry->state = HANDOFF_EXPORTING;
        entry->action = HANDOFF_EXPORT;
    }
}

void
stay_over(struct handoff *handoff, struct entry *entry, nsec_t now)
{
    entry->doubt = NSEC_NEVER;
    entry->here = false;
    entry->until = now + handoff->opts.keep_ns;
    if (entry->state == HANDOFF_WANTING) {
        entry->action = NO_ACTION;
        entry->state = entry->parcel ? HANDOFF_KEPT : HANDOFF_FROZEN;
    } else if (entry->state == HANDOFF_IMPORTING &&
               entry->action == HANDOFF_IMPORT) {
        entry->action = NO_ACTION;
        entry->state = HANDOFF_KEPT;
    }
    release(entry);
}

void
handoff_granted(struct handoff *handoff, const struct handoff_vm *vm,
                uint32_t peer)
{
    struct entry *entry = entry_find(handoff, vm);
    if (entry) {
        entry->granted = peer;
    }
}

/* The hypervisor's word of 'when' is about a stay that is over. */
static bool
is_old(struct handoff *handoff, const struct entry *entry, nsec_t when)
{
    bool old = when < entry->ran || when < entry->left;
    handoff->stats.n_old_news += old;
    return old;
}

bool
handoff_paused(struct handoff *handoff, const struct handoff_vm *vm,
               nsec_t when, nsec_t now)
{
    struct entry *entry = entry_find(handoff, vm);
    if (!entry) {
        return true;
    }
    if (is_old(handoff, entry, when)) {
        return false;
    }
    entry->paused = true;
    release(entry);
    return true;
}

bool
handoff_left(struct handoff *handoff, const struct handoff_vm *vm, nsec_t when,
             nsec_t now)
{
    struct entry *entry = entry_make(handoff, vm);
    if (!entry) {
        return true;
    }
    if (is_old(handoff, entry, when)) {
        return false;
    }
    entry->left = when;
    if (entry->here && entry->spoke > when) {
        entry->doubt = now + DOUBT_NS;
        return false;
    }
    if (entry->here) {
        stay_over(handoff, entry, now);
    }
    return true;
}

bool
handoff_runs(struct handoff *handoff, const struct handoff_vm *vm, nsec_t when,
             nsec_t now)
{
    struct entry *entry = entry_make(handoff, vm);
    if (!entry) {
        return true; /* Then its guest's session will find no room either. */
    }
    if (is_old(handoff, entry, when)) {
        return false;
    }
    entry->ran = when;
    entry->doubt = NSEC_NEVER;
    arrive(entry);
    if (entry->state == HANDOFF_EXPORTING && entry->action == HANDOFF_EXPORT) {
        entry->state = HANDOFF_HOLDING;
        entry->action = NO_ACTION;
    }
    if (entry->state == HANDOFF_PASSED) {
        /* It is back, and may leave again before its guest has said a word. */
        uint32_t to = entry->to;
        entry_enter(handoff, entry, HANDOFF_FROZEN, NSEC_NEVER);
        entry->session = 0;
        entry->hint = to;
    } else if (entry->state == HANDOFF_HOLDING) {
        entry->until = NSEC_NEVER;
    } else if ((entry->state == HANDOFF_FROZEN && entry->session) ||
               (entry->state == HANDOFF_KEPT && entry->visit)) {
        /* Its guest may be waiting here all the time. */
        entry_want(handoff, entry, now);
    }
    return true;
}
