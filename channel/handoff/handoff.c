/* SPDX-License-Identifier: Apache-2.0 */
/* The handoff's own side (handoff.h): what this host's channels and hypervisor
 * say of each VM, what is due.  What is known of it stands in handofftable.c's
 * table; what other brokers say is handofftalk.c's. */
#include "channel/handoff/handoff.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "channel/handoff/handoffparts.h"

/* Less than the channel's 2 s, so that it is the handoff that gives up. */
#define WAIT_NS (1900 * NSEC_PER_MSEC)
#define RETRY_NS (100 * NSEC_PER_MSEC)
#define KEEP_NS (60 * NSEC_PER_SEC)
#define PARCEL_MAX (256u << 10)
#define NOTES_MAX (64u << 10)

static void run_entry(struct handoff *, struct entry *, nsec_t now);
static nsec_t entry_deadline(const struct entry *);

int
handoff_create(struct handoff **out, const struct handoff_opts *opts)
{
    if (!opts->n_peers || opts->n_peers > HANDOFF_PEERS_MAX ||
        opts->self >= opts->n_peers || !opts->n_vms_max) {
        return -EINVAL;
    }
    struct handoff *handoff = calloc(1, sizeof *handoff);
    if (!handoff) {
        return -ENOMEM;
    }
    handoff->opts = *opts;
    handoff->opts.wait_ns = opts->wait_ns ? opts->wait_ns : WAIT_NS;
    handoff->opts.retry_ns = opts->retry_ns ? opts->retry_ns : RETRY_NS;
    handoff->opts.keep_ns = opts->keep_ns ? opts->keep_ns : KEEP_NS;
    handoff->opts.parcel_max = opts->parcel_max ? opts->parcel_max : PARCEL_MAX;
    handoff->opts.notes_max = opts->notes_max ? opts->notes_max : NOTES_MAX;
    handoff->entries = calloc(opts->n_vms_max, sizeof *handoff->entries);
    if (!handoff->entries) {
        free(handoff);
        return -ENOMEM;
    }
    *out = handoff;
    return 0;
}

void
handoff_destroy(struct handoff *handoff)
{
    if (!handoff) {
        return;
    }
    for (uint32_t i = 0; i < handoff->opts.n_vms_max; i++) {
        entry_forget_bytes(handoff, &handoff->entries[i]);
    }
    free(handoff->entries);
    free(handoff);
}

void
handoff_stats(const struct handoff *handoff, struct handoff_stats *out)
{
    *out = handoff->stats;
}

enum handoff_state
handoff_state(const struct handoff *handoff, const struct handoff_vm *vm)
{
    const struct entry *entry = entry_find(handoff, vm);
    return entry ? entry->state : HANDOFF_NONE;
}

/* What channels and hypervisor say. */

/* The session that the channel has now; what was here of another is over. */
static void
hold(struct handoff *handoff, struct entry *entry, uint64_t session,
     uint32_t attachment)
{
    entry_enter(handoff, entry, HANDOFF_HOLDING, NSEC_NEVER);
    entry->session = session;
    entry->attachment = attachment;
}

/* The guest speaks here, so it runs here, whatever was meant to be. */
static void
runs_here(struct entry *entry)
{
    entry->here = true;
    entry->paused = false;
    entry->granted = entry->asker = HANDOFF_NOBODY;
}

int
handoff_attached(struct handoff *handoff, const struct handoff_vm *vm,
                 uint64_t session, uint32_t attachment, nsec_t now)
{
    struct entry *entry = entry_make(handoff, vm);
    if (!entry) {
        return -ENOSPC;
    }
    bool same = entry->session == session;
    bool wanted = same && (entry->state == HANDOFF_WANTING ||
                           entry->state == HANDOFF_FROZEN);
    bool gone = wanted && entry->state == HANDOFF_FROZEN && !entry->here;
    bool came = same && entry->state == HANDOFF_HOLDING && entry->to_tell;
    uint64_t unknown = entry->unknown;
    if (wanted) {
        handoff->stats.n_given_up++;
    }
    if (came) {
        entry->attachment = attachment;
    } else {
        hold(handoff, entry, session, attachment);
        entry->unknown = unknown;
    }
    if (gone) {
        /* The channel gave up by itself; that is no word of a guest. */
        entry->until = now + handoff->opts.keep_ns;
    } else {
        runs_here(entry);
    }
    if (wanted || came) {
        talk_tell(handoff, entry, now);
    }
    return 0;
}

static void
want(struct handoff *handoff, struct entry *entry, nsec_t now)
{
    entry_enter(handoff, entry, HANDOFF_WANTING, now + handoff->opts.wait_ns);
    /* No other visit has that, not even after a crash. */
    entry->visit = (uint64_t)now;
    entry->next = now;
}

int
handoff_stranger(struct handoff *handoff, const struct handoff_vm *vm,
                 uint64_t session, uint32_t key, uint32_t attachment,
                 nsec_t now)
{
    struct entry *entry = entry_make(handoff, vm);
    if (!entry) {
        return -ENOSPC;
    }
    runs_here(entry);
    bool same = entry->session == session;
    if (same && entry->key == key &&
        (entry->state == HANDOFF_WANTING ||
         entry->state == HANDOFF_IMPORTING)) {
        return 0;
    }
    uint32_t to = entry->to;
    bool kept = entry->state == HANDOFF_KEPT && same && entry_fits(entry, key);
    if (!kept) {
        handoff->stats.n_stale += entry->parcel != NULL;
        entry_forget_bytes(handoff, entry);
    }
    entry->session = session;
    entry->key = key;
    entry->seen = attachment;
    want(handoff, entry, now);
    if (kept) {
        entry->until -= handoff->opts.wait_ns / 2;
    }
    if (kept && to == HANDOFF_NOBODY) {
        entry_give_up(handoff, entry); /* Nobody else can have it. */
    } else if (session_of_another(handoff, vm, session)) {
        entry->foreign = true;
        entry_give_up(handoff, entry);
    } else {
        handoff_run(handoff, now);
    }
    return 0;
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

/* Somebody may have asked for it before this host knew that it is free. */
static void
release(struct handoff *handoff, struct entry *entry, nsec_t now)
{
    if (entry->state == HANDOFF_HOLDING && entry->asker != HANDOFF_NOBODY &&
        entry_released_to(entry, entry->asker)) {
        entry->state = HANDOFF_EXPORTING;
        entry->action = HANDOFF_EXPORT;
    }
}

void
handoff_paused(struct handoff *handoff, const struct handoff_vm *vm, nsec_t now)
{
    struct entry *entry = entry_find(handoff, vm);
    if (entry) {
        entry->paused = true;
        release(handoff, entry, now);
    }
}

void
handoff_left(struct handoff *handoff, const struct handoff_vm *vm, nsec_t now)
{
    struct entry *entry = entry_find(handoff, vm);
    if (!entry || !entry->here) {
        return;
    }
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
    release(handoff, entry, now);
}

void
handoff_runs(struct handoff *handoff, const struct handoff_vm *vm, nsec_t now)
{
    struct entry *entry = entry_make(handoff, vm);
    if (!entry) {
        return; /* Then its guest's session will find no room either. */
    }
    runs_here(entry);
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
    } else if (entry->state == HANDOFF_FROZEN && entry->session) {
        /* Its guest may be waiting here all the time. */
        want(handoff, entry, now);
    }
}

void
handoff_ended(struct handoff *handoff, const struct handoff_vm *vm)
{
    struct entry *entry = entry_find(handoff, vm);
    if (entry) {
        entry_forget_bytes(handoff, entry);
        memset(entry, 0, sizeof *entry);
    }
}

/* What the channels do. */

bool
handoff_next_action(struct handoff *handoff, struct handoff_action *out)
{
    for (uint32_t i = 0; i < handoff->opts.n_vms_max; i++) {
        struct entry *entry = &handoff->entries[i];
        if (entry->state == HANDOFF_NONE || entry->action == NO_ACTION) {
            continue;
        }
        memset(out, 0, sizeof *out);
        out->what = (enum handoff_do)entry->action;
        out->vm = entry->vm;
        out->session = entry->session;
        if (out->what == HANDOFF_IMPORT) {
            out->parcel = entry->parcel;
            out->parcel_size = entry->parcel_size;
            out->notes = entry->notes;
            out->notes_size = entry->notes_size;
        }
        entry->action = NO_ACTION;
        return true;
    }
    return false;
}

void
handoff_exported(struct handoff *handoff, const struct handoff_vm *vm,
                 const void *parcel, size_t parcel_size, const void *notes,
                 size_t notes_size, nsec_t now)
{
    struct entry *entry = entry_find(handoff, vm);
    if (!entry || entry->state != HANDOFF_EXPORTING) {
        return;
    }
    const struct handoff_msg question = {.kind = HANDOFF_PULL,
                                         .peer = entry->asker,
                                         .vm = *vm,
                                         .session = entry->session,
                                         .key = entry->asker_key,
                                         .visit = entry->asker_visit,
                                         .attachment = entry->asker_attachment,
                                         .whom = HANDOFF_NOBODY};
    int error = parcel ? entry_store(handoff, entry, parcel, parcel_size, notes,
                                     notes_size)
                       : -ENOENT;
    if (error) {
        entry_enter(handoff, entry, HANDOFF_PASSED,
                    now + handoff->opts.keep_ns);
        return; /* It asks again. */
    }
    nsec_t until = entry->until;
    entry_enter(handoff, entry, HANDOFF_KEPT, now + handoff->opts.keep_ns);
    talk_offer(handoff, entry, &question);
    if (!entry_fits(entry, question.key)) {
        /* Nobody can use it, but what its user sent is still to be told of. */
        entry->state = HANDOFF_IMPORTING;
        entry->action = HANDOFF_IMPORT;
        entry->until = until;
        entry->back = true;
    }
}

void
handoff_imported(struct handoff *handoff, const struct handoff_vm *vm,
                 int error, nsec_t now)
{
    struct entry *entry = entry_find(handoff, vm);
    if (!entry || entry->state != HANDOFF_IMPORTING) {
        return;
    }
    entry_forget_bytes(handoff, entry);
    if (entry->back) {
        nsec_t until = error ? now + handoff->opts.keep_ns : entry->until;
        entry_enter(handoff, entry, error ? HANDOFF_PASSED : HANDOFF_HOLDING,
                    until);
        return;
    }
    if (error) {
        handoff->stats.n_late++;
        entry->state = HANDOFF_WANTING;
        entry_give_up(handoff, entry);
        return;
    }
    handoff->stats.n_taken++;
    uint64_t unknown = entry->unknown;
    hold(handoff, entry, entry->session, entry->attachment);
    entry->unknown = unknown;
    /* To be told when the guest is attached, and with what. */
    entry->to_tell = UINT64_MAX;
    entry->next_tell = entry->tell_until = NSEC_NEVER;
}

/* Time. */

void
handoff_run(struct handoff *handoff, nsec_t now)
{
    for (uint32_t i = 0; i < handoff->opts.n_vms_max; i++) {
        if (handoff->entries[i].state != HANDOFF_NONE) {
            run_entry(handoff, &handoff->entries[i], now);
        }
    }
}

nsec_t
handoff_deadline(const struct handoff *handoff)
{
    nsec_t deadline = NSEC_NEVER;
    for (uint32_t i = 0; i < handoff->opts.n_vms_max; i++) {
        if (handoff->entries[i].state != HANDOFF_NONE) {
            deadline = nsec_min(deadline, entry_deadline(&handoff->entries[i]));
        }
    }
    return deadline;
}

static void
expire(struct handoff *handoff, struct entry *entry, nsec_t now)
{
    switch (entry->state) {
    case HANDOFF_WANTING:
        entry_give_up(handoff, entry);
        break;
    case HANDOFF_HOLDING:
        handoff->stats.n_expired++;
        entry_enter(handoff, entry, HANDOFF_PASSED,
                    now + handoff->opts.keep_ns);
        entry->action = HANDOFF_DROP;
        break;
    case HANDOFF_KEPT:
        handoff->stats.n_expired++;
        handoff_ended(handoff, &entry->vm);
        break;
    case HANDOFF_PASSED:
    case HANDOFF_FROZEN:
        handoff_ended(handoff, &entry->vm);
        break;
    case HANDOFF_EXPORTING:
    case HANDOFF_IMPORTING:
    case HANDOFF_NONE:
        entry->until = NSEC_NEVER;
        break;
    }
}

static void
pull(struct handoff *handoff, struct entry *entry, nsec_t now)
{
    entry->next = now + handoff->opts.retry_ns;
    entry->n_referrals = 0;
    for (uint32_t i = 0; i < handoff->opts.n_peers; i++) {
        if (i != handoff->opts.self) {
            talk_pull(handoff, entry, i, HANDOFF_NOBODY, false);
        }
    }
    if (handoff->opts.n_peers == 1) {
        entry_give_up(handoff, entry);
    }
}

static void
run_entry(struct handoff *handoff, struct entry *entry, nsec_t now)
{
    if (entry->to_tell && now >= entry->tell_until) {
        entry->to_tell = 0;
    } else if (entry->to_tell && now >= entry->next_tell) {
        talk_tell(handoff, entry, now);
    }
    if (now >= entry->until) {
        expire(handoff, entry, now);
    } else if (entry->state == HANDOFF_WANTING && now >= entry->next) {
        pull(handoff, entry, now);
    }
}

static nsec_t
entry_deadline(const struct entry *entry)
{
    nsec_t deadline = entry->until;
    if (entry->to_tell) {
        deadline =
            nsec_min(deadline, nsec_min(entry->next_tell, entry->tell_until));
    }
    if (entry->state == HANDOFF_WANTING) {
        deadline = nsec_min(deadline, entry->next);
    }
    return deadline;
}
