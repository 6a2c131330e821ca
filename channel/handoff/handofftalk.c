/* SPDX-License-Identifier: Apache-2.0 */
/* What brokers say to each other about a session that moves (handoff.h).  Each
 * message is judged by the state of the VM here and nothing else, so it does
 * not matter how often or in which order they come; nothing a peer says makes
 * an entry for a VM that this host knows nothing of. */
#include <string.h>

#include "channel/handoff/handoffparts.h"

#define TELL_NS NSEC_PER_SEC
#define REFERRALS_MAX 4 /* Followed at once, for each round of pulls. */

static struct handoff_msg *
put(struct handoff *handoff, const struct handoff_vm *vm, uint64_t session,
    enum handoff_kind kind, uint32_t peer)
{
    static const struct handoff_msg empty;
    if (handoff->n_msgs == HANDOFF_MSGS_MAX || peer >= handoff->opts.n_peers) {
        return NULL;
    }
    uint32_t at = (handoff->first_msg + handoff->n_msgs++) % HANDOFF_MSGS_MAX;
    struct handoff_msg *msg = &handoff->msgs[at];
    *msg = empty;
    msg->kind = kind;
    msg->peer = peer;
    msg->vm = *vm;
    msg->session = session;
    return msg;
}

/* An answer repeats the key of the question, which may be an old one. */
static void
say(struct handoff *handoff, const struct handoff_msg *question,
    enum handoff_kind kind)
{
    struct handoff_msg *msg =
        put(handoff, &question->vm, question->session, kind, question->peer);
    if (msg) {
        msg->key = question->key;
        msg->visit = question->visit;
    }
}

static void
say_ask(struct handoff *handoff, const struct handoff_msg *question,
        uint32_t whom)
{
    struct handoff_msg *msg = put(handoff, &question->vm, question->session,
                                  HANDOFF_ASK, question->peer);
    if (msg) {
        msg->key = question->key;
        msg->visit = question->visit;
        msg->whom = whom;
    }
}

void
talk_pull(struct handoff *handoff, const struct entry *entry, uint32_t peer,
          uint32_t referrer, bool insists)
{
    struct handoff_msg *msg =
        put(handoff, &entry->vm, entry->session, HANDOFF_PULL, peer);
    if (msg) {
        msg->key = entry->key;
        msg->visit = entry->visit;
        msg->attachment = entry->seen;
        msg->whom = referrer;
        msg->insists = insists;
    }
}

static void
say_with(struct handoff *handoff, const struct entry *entry,
         enum handoff_kind kind, uint32_t peer)
{
    struct handoff_msg *msg =
        put(handoff, &entry->vm, entry->session, kind, peer);
    if (msg) {
        msg->attachment = entry->attachment;
    }
}

/* What the parcel is, is looked up when the message goes. */
bool
handoff_next_msg(struct handoff *handoff, struct handoff_msg *out)
{
    while (handoff->n_msgs) {
        *out = handoff->msgs[handoff->first_msg];
        handoff->first_msg = (handoff->first_msg + 1) % HANDOFF_MSGS_MAX;
        handoff->n_msgs--;
        if (out->kind != HANDOFF_HERE) {
            return true;
        }
        const struct entry *entry = entry_find(handoff, &out->vm);
        if (entry && entry->state == HANDOFF_KEPT &&
            entry->session == out->session && entry->to == out->peer) {
            out->parcel = entry->parcel;
            out->parcel_size = entry->parcel_size;
            out->notes = entry->notes;
            out->notes_size = entry->notes_size;
            return true;
        }
    }
    return false;
}

/* Asked for a session. */

void
talk_offer(struct handoff *handoff, struct entry *entry,
           const struct handoff_msg *question)
{
    uint32_t peer = question->peer;
    if (!entry_fits(entry, question->key)) {
        handoff->stats.n_stale++;
        /* Whose guest was here since has no guest any more. */
        bool later = entry->attachment > question->attachment;
        say(handoff, question, later ? HANDOFF_NOT_YET : HANDOFF_UNKNOWN);
        return;
    }
    if (!entry_released_to(entry, peer)) {
        if (entry->here) {
            say(handoff, question, HANDOFF_NOT_YET);
        } else {
            say_ask(handoff, question, entry->granted);
        }
        return;
    }
    /* Who has it already may have sent with it; if it has forgotten, the key
     * says that nobody settled it since. */
    if (entry->to != HANDOFF_NOBODY && entry->to != peer &&
        !question->insists) {
        say_ask(handoff, question, entry->to);
        return;
    }
    handoff->stats.n_given += entry->to != peer;
    entry->to = peer;
    say(handoff, question, HANDOFF_HERE);
}

static void
answer_holding(struct handoff *handoff, struct entry *entry,
               const struct handoff_msg *msg)
{
    if (!entry->here && !entry_released_to(entry, msg->peer)) {
        say_ask(handoff, msg, entry->granted);
        return;
    }
    if (entry->granted == HANDOFF_NOBODY || entry->granted == HANDOFF_ANYBODY ||
        entry->granted == msg->peer) {
        entry->asker = msg->peer;
        entry->asker_key = msg->key;
        entry->asker_visit = msg->visit;
        entry->asker_attachment = msg->attachment;
    }
    if (entry->state == HANDOFF_EXPORTING) {
        return; /* Whoever asked last gets it. */
    }
    if (entry_released_to(entry, msg->peer)) {
        entry->state = HANDOFF_EXPORTING;
        entry->action = HANDOFF_EXPORT;
    } else {
        say(handoff, msg, HANDOFF_NOT_YET);
    }
}

/* The VM was here on its way from the one who has it to the one who asks: that
 * may be known here, or be said by who sent the asker here. */
static void
answer_frozen(struct handoff *handoff, struct entry *entry,
              const struct handoff_msg *msg)
{
    /* Who asks does not have it, though it was there in between. */
    bool knows = entry->hint != HANDOFF_NOBODY && entry->hint != msg->peer;
    uint32_t has = knows ? entry->hint : msg->whom;
    if (entry->here) {
        say(handoff, msg, HANDOFF_NOT_YET);
        return;
    }
    if (has >= handoff->opts.n_peers || has == msg->peer ||
        has == handoff->opts.self) {
        entry->visit = 0;
        say(handoff, msg, HANDOFF_UNKNOWN);
        return;
    }
    if (!entry_released_to(entry, msg->peer)) {
        say_ask(handoff, msg, entry->granted);
        return;
    }
    entry->visit = 0; /* It goes to the asker, not here any more. */
    struct handoff_msg *pass =
        put(handoff, &msg->vm, msg->session, HANDOFF_PASS, has);
    if (pass) {
        pass->whom = msg->peer;
    }
    say_ask(handoff, msg, has);
}

static void
on_pull(struct handoff *handoff, struct entry *entry,
        const struct handoff_msg *msg)
{
    bool came_without =
        entry && entry->state == HANDOFF_FROZEN && !entry->session;
    if (!entry || (entry->session != msg->session && !came_without)) {
        bool foreign = session_of_another(handoff, &msg->vm, msg->session);
        say(handoff, msg, foreign ? HANDOFF_FOREIGN : HANDOFF_UNKNOWN);
        return;
    }
    switch (entry->state) {
    case HANDOFF_HOLDING:
    case HANDOFF_EXPORTING:
        answer_holding(handoff, entry, msg);
        break;
    case HANDOFF_KEPT:
        talk_offer(handoff, entry, msg);
        break;
    case HANDOFF_WANTING:
    case HANDOFF_IMPORTING:
        say(handoff, msg, HANDOFF_NOT_YET);
        break;
    case HANDOFF_FROZEN:
        answer_frozen(handoff, entry, msg);
        break;
    case HANDOFF_PASSED:
        if (entry->to == HANDOFF_NOBODY || entry->to == msg->peer ||
            msg->insists) {
            say(handoff, msg, HANDOFF_UNKNOWN);
        } else {
            say_ask(handoff, msg, entry->to);
        }
        break;
    case HANDOFF_NONE:
        break;
    }
}

/* Answers. */

/* Takes what was brought in the place of what was here; false if it is of no
 * use. */
static bool
take(struct handoff *handoff, struct entry *entry,
     const struct handoff_msg *msg)
{
    uint32_t attachment = entry->attachment;
    if (entry_store(handoff, entry, msg->parcel, msg->parcel_size, msg->notes,
                    msg->notes_size)) {
        handoff->stats.n_bad++;
        return false;
    }
    if (!entry_fits(entry, entry->key)) {
        handoff->stats.n_bad++;
        entry_forget_bytes(handoff, entry);
        entry->attachment = attachment;
        return false;
    }
    return true;
}

static void
on_here(struct handoff *handoff, struct entry *entry,
        const struct handoff_msg *msg)
{
    bool waits =
        entry->state == HANDOFF_WANTING || entry->state == HANDOFF_FROZEN;
    if (!waits || entry->visit != msg->visit || !msg->visit ||
        entry->action != NO_ACTION) {
        handoff->stats.n_late += entry->state != HANDOFF_IMPORTING;
        if (entry->state == HANDOFF_HOLDING &&
            entry->next_tell != NSEC_NEVER) { /* Its guest knows it. */
            say_with(handoff, entry, HANDOFF_TAKEN, msg->peer);
        }
        return;
    }
    /* Two memories with the guest's mark are the same: nothing moves before it
     * has heard of the next. */
    if (!entry_fits(entry, entry->key) && !take(handoff, entry, msg)) {
        return;
    }
    if (entry->state == HANDOFF_FROZEN) {
        entry_enter(handoff, entry, HANDOFF_KEPT, entry->until);
        return;
    }
    entry->state = HANDOFF_IMPORTING;
    entry->until = NSEC_NEVER;
    entry->from = msg->peer;
    entry->action = HANDOFF_IMPORT;
}

/* Whether there is anybody left who may have it.  Those who name each other do
 * not count when it is us who still has it. */
static void
look_around(struct handoff *handoff, struct entry *entry)
{
    uint64_t all = handoff->opts.n_peers == 64
                       ? UINT64_MAX
                       : (UINT64_C(1) << handoff->opts.n_peers) - 1;
    uint64_t without = entry->unknown;
    if (entry_fits(entry, entry->key)) {
        without |= entry->referred;
    }
    all &= ~(UINT64_C(1) << handoff->opts.self);
    if ((without & all) == all && entry->until != NSEC_NEVER) {
        entry_give_up(handoff, entry);
    }
}

static void
on_unknown(struct handoff *handoff, struct entry *entry,
           const struct handoff_msg *msg)
{
    entry->foreign |= msg->kind == HANDOFF_FOREIGN;
    entry->unknown |= UINT64_C(1) << msg->peer;
    look_around(handoff, entry);
}

static void
on_ask(struct handoff *handoff, struct entry *entry,
       const struct handoff_msg *msg, nsec_t now)
{
    uint64_t bit = UINT64_C(1) << msg->peer;
    entry->unknown &= ~bit;
    if (msg->whom >= handoff->opts.n_peers) {
        handoff->stats.n_bad++;
        return;
    }
    if (msg->whom != handoff->opts.self) {
        entry->hint = msg->whom;
    }
    bool self = msg->whom == handoff->opts.self;
    bool vain = self || entry->unknown >> msg->whom & 1;
    entry->referred = vain ? entry->referred | bit : entry->referred & ~bit;
    look_around(handoff, entry);
    if (entry->state != HANDOFF_WANTING) {
        return;
    }
    if (entry->n_referrals++ >= REFERRALS_MAX) {
        return; /* They may be right the next time. */
    }
    bool late = entry->until != NSEC_NEVER &&
                now >= entry->until - handoff->opts.wait_ns / 2;
    if (!self) {
        talk_pull(handoff, entry, msg->whom, msg->peer, false);
    }
    if (vain || late) {
        talk_pull(handoff, entry, msg->peer, msg->peer, true);
    }
}

/* Telling where it is. */

void
talk_tell(struct handoff *handoff, struct entry *entry, nsec_t now)
{
    if (!entry->to_tell || entry->tell_until == NSEC_NEVER) {
        entry->to_tell = ~entry->unknown;
        entry->tell_until = now + handoff->opts.keep_ns;
    }
    uint64_t left = 0;
    for (uint32_t i = 0; i < handoff->opts.n_peers; i++) {
        if (i != handoff->opts.self && entry->to_tell >> i & 1) {
            say_with(handoff, entry, HANDOFF_TAKEN, i);
            left |= UINT64_C(1) << i;
        }
    }
    entry->to_tell = left;
    entry->next_tell = now + TELL_NS;
}

static void
forget(struct handoff *handoff, struct entry *entry,
       const struct handoff_msg *msg, nsec_t now)
{
    bool in_channel =
        entry->state == HANDOFF_HOLDING || entry->state == HANDOFF_EXPORTING;
    handoff->stats.n_dropped += in_channel;
    entry_enter(handoff, entry, HANDOFF_PASSED, now + handoff->opts.keep_ns);
    entry->action = in_channel ? (int)HANDOFF_DROP : NO_ACTION;
    entry->attachment = msg->attachment;
    entry->to = msg->peer;
}

static void
dispute(struct handoff *handoff, struct entry *entry)
{
    handoff->stats.n_disputed += !entry->disputed;
    entry->disputed = true;
}

static void
on_taken(struct handoff *handoff, struct entry *entry,
         const struct handoff_msg *msg, nsec_t now)
{
    bool ours = entry && entry->session == msg->session &&
                entry->state != HANDOFF_WANTING &&
                entry->state != HANDOFF_IMPORTING;
    if (!ours) {
        say(handoff, msg, HANDOFF_OK);
        return;
    }
    bool in_channel =
        entry->state == HANDOFF_HOLDING || entry->state == HANDOFF_EXPORTING;
    bool has = in_channel || entry->state == HANDOFF_KEPT;
    bool newer = msg->attachment > entry->attachment;
    if (has && !newer) {
        say_with(handoff, entry, HANDOFF_KEEPS, msg->peer);
        return;
    }
    if (has && entry->to != msg->peer && !entry_released_to(entry, msg->peer)) {
        dispute(handoff, entry);
        say_with(handoff, entry, HANDOFF_KEEPS, msg->peer);
        return;
    }
    if (newer || entry->state == HANDOFF_FROZEN) {
        forget(handoff, entry, msg, now);
    }
    say(handoff, msg, HANDOFF_OK);
}

static void
on_keeps(struct handoff *handoff, struct entry *entry,
         const struct handoff_msg *msg, nsec_t now)
{
    if (entry->state != HANDOFF_HOLDING) {
        return;
    }
    if (msg->attachment > entry->attachment && !entry->here) {
        forget(handoff, entry, msg, now);
    } else if (entry->here) {
        dispute(handoff, entry);
    }
}

/* Only who may have it can pass it on. */
static void
on_pass(struct handoff *handoff, struct entry *entry,
        const struct handoff_msg *msg)
{
    if (msg->whom >= handoff->opts.n_peers) {
        handoff->stats.n_bad++;
        return;
    }
    if (entry->granted == msg->peer) {
        entry->granted = msg->whom;
    }
    if (entry->state == HANDOFF_KEPT && entry->to == msg->peer) {
        entry->to = HANDOFF_NOBODY;
    }
}

void
handoff_on_msg(struct handoff *handoff, const struct handoff_msg *msg,
               nsec_t now)
{
    if (msg->peer >= handoff->opts.n_peers || msg->peer == handoff->opts.self ||
        msg->kind >= HANDOFF_N_KINDS || !msg->session) {
        handoff->stats.n_bad++;
        return;
    }
    struct entry *entry = entry_find(handoff, &msg->vm);
    if (msg->kind == HANDOFF_PULL) {
        on_pull(handoff, entry, msg);
        return;
    }
    if (msg->kind == HANDOFF_TAKEN) {
        on_taken(handoff, entry, msg, now);
        return;
    }
    if (!entry || entry->session != msg->session) {
        handoff->stats.n_late += msg->kind == HANDOFF_HERE;
        return;
    }
    bool wants = entry->state == HANDOFF_WANTING && msg->visit == entry->visit;
    switch (msg->kind) {
    case HANDOFF_HERE:
        on_here(handoff, entry, msg);
        break;
    case HANDOFF_NOT_YET:
        if (wants) {
            entry->hint = msg->peer;
            entry->unknown &= ~(UINT64_C(1) << msg->peer);
            entry->referred &= ~(UINT64_C(1) << msg->peer);
        }
        break;
    case HANDOFF_UNKNOWN:
    case HANDOFF_FOREIGN:
        if (wants) {
            on_unknown(handoff, entry, msg);
        }
        break;
    case HANDOFF_ASK:
        if (wants) {
            on_ask(handoff, entry, msg, now);
        }
        break;
    case HANDOFF_OK:
        entry->to_tell &= ~(UINT64_C(1) << msg->peer);
        break;
    case HANDOFF_KEEPS:
        on_keeps(handoff, entry, msg, now);
        break;
    case HANDOFF_PASS:
        on_pass(handoff, entry, msg);
        break;
    case HANDOFF_PULL:
    case HANDOFF_TAKEN:
    case HANDOFF_N_KINDS:
        break;
    }
}
