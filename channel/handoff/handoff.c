/* SPDX-License-Identifier: Apache-2.0 */
/* The handoff's own side (handoff.h): what this host's channels say of each VM,
 * what is due.  What is known of it stands in handofftable.c's table; what its
 * hypervisor says is handoffstay.c's, what other brokers say handofftalk.c's.
 */
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

/* What channels say. */

/* The session that the channel has now; what was here of another is over. */
static void
hold(struct handoff *handoff, struct entry *entry, uint64_t session,
     uint32_t attachment)
{
    entry_enter(handoff, entry, HANDOFF_HOLDING, NSEC_NEVER);
    entry->session = session;
    entry->attachment = attachment;
    entry->visit = 0;
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
    bool came = same && entry->state == HANDOFF_HOLDING && entry->to_tell;
    uint64_t unknown = entry->unknown;
    handoff->stats.n_given_up += wanted;
    if (came) {
        entry->attachment = attachment;
    } else {
        hold(handoff, entry, session, attachment);
        entry->unknown = unknown;
    }
    stay_spoke(handoff, entry, now);
    if (wanted || came) {
        talk_tell(handoff, entry, now);
    }
    return 0;
}

void
entry_want(struct handoff *handoff, struct entry *entry, nsec_t now)
{
    uint32_t to = entry->to;
    bool kept = entry->state == HANDOFF_KEPT && entry_fits(entry, entry->key);
    if (!kept) {
        handoff->stats.n_stale += entry->parcel != NULL;
        entry_forget_bytes(handoff, entry);
    }
    entry_enter(handoff, entry, HANDOFF_WANTING,
                now + handoff->opts.wait_ns / (kept ? 2 : 1));
    /* No other visit has that, not even after a crash. */
    entry->visit = (uint64_t)now;
    entry->next = now;
    if (kept && to == HANDOFF_NOBODY) {
        entry_give_up(handoff, entry); /* Nobody else can have it. */
    } else if (session_of_another(handoff, &entry->vm, entry->session)) {
        entry->foreign = true;
        entry_give_up(handoff, entry);
    } else {
        handoff_run(handoff, now);
    }
}

/* The guest that waits here tries again; if it was elsewhere meanwhile, others
 * may know more. */
static bool
waits_already(const struct entry *entry, const struct mchan_event *stranger)
{
    return entry->session == stranger->session &&
           entry->key == (uint32_t)stranger->from &&
           (uint32_t)stranger->to <= entry->given &&
           (entry->state == HANDOFF_WANTING ||
            entry->state == HANDOFF_IMPORTING);
}

int
handoff_stranger(struct handoff *handoff, const struct handoff_vm *vm,
                 const struct mchan_event *stranger, nsec_t now)
{
    struct entry *entry = entry_make(handoff, vm);
    if (!entry) {
        return -ENOSPC;
    }
    stay_spoke(handoff, entry, now);
    bool waits = waits_already(entry, stranger);
    entry->given = stranger->attachment;
    if (waits) {
        return 0;
    }
    if (entry->session != stranger->session) {
        handoff->stats.n_stale += entry->parcel != NULL;
        entry_forget_bytes(handoff, entry);
    }
    entry->session = stranger->session;
    entry->key = (uint32_t)stranger->from;
    entry->seen = (uint32_t)stranger->to;
    entry_want(handoff, entry, now);
    return 0;
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
    if (now >= entry->doubt) {
        stay_over(handoff, entry, now);
    }
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
    nsec_t deadline = nsec_min(entry->until, entry->doubt);
    if (entry->to_tell) {
        deadline =
            nsec_min(deadline, nsec_min(entry->next_tell, entry->tell_until));
    }
    if (entry->state == HANDOFF_WANTING) {
        deadline = nsec_min(deadline, entry->next);
    }
    return deadline;
}
