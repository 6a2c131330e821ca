/* SPDX-License-Identifier: Apache-2.0 */
/* Large data by reference, for include/mchan.h.  Of what came back the sender
 * takes note only now and then, so that the two ends do not touch the same
 * cache line for each message; loans.c does the rest. */
#include <errno.h>
#include <string.h>

#include "channel/channel.h"
#include "include/mchan.h"

/* Lending. */

/* True if it is time to look at what came back. */
static bool
must_collect(const struct loans *loans, size_t size)
{
    return loans->slab->n_taken + loans->slab->n_lent >= loans->n_collect ||
           !loans_may_take(loans, size);
}

/* A chunk of at least 'size' bytes: its first unit, or -Exxx. */
static int64_t
take_chunk(struct mchan *channel, size_t size)
{
    struct session *session = &channel->session;
    if (!session->sends) {
        return session_why_not(session);
    }
    int error = loans_make_slab(channel);
    if (error) {
        return error;
    }
    const char *why;
    if (must_collect(&channel->loans, size) && loans_collect(channel, &why)) {
        channel_violated(channel, why);
        return -EPROTO;
    }
    return loans_take(&channel->loans, size);
}

int
mchan_loan(struct mchan *channel, size_t size, struct mchan_loan *out)
{
    int64_t unit = take_chunk(channel, size);
    if (unit == -ENOTCONN ||
        (unit == -EAGAIN && ++channel->n_idle % CHANNEL_SPIN_LOOKS == 0)) {
        channel_turn(channel);
        unit = take_chunk(channel, size);
    }
    channel->loans.wanted = unit == -EAGAIN ? size : 0;
    if (unit < 0) {
        return (int)unit;
    }
    struct slab *slab = channel->loans.slab;
    out->data = slab_data(slab, (uint32_t)unit);
    out->size = size;
    out->handle = slab_handle(slab, (uint32_t)unit);
    return 0;
}

/* The chunk of a loan of ours that was not sent, and its slab: a former one if
 * the peer was lost since.  -EINVAL if it is none. */
static int64_t
find_loan(struct mchan *channel, const struct mchan_loan *loan,
          struct slab **slab_out)
{
    struct loans *loans = &channel->loans;
    int64_t unit = -ENOENT;
    if (loans->slab) {
        *slab_out = loans->slab;
        unit = slab_find(loans->slab, loan->data, loan->handle);
    }
    for (struct slab *slab = loans->old_slabs; slab && unit < 0;
         slab = slab->next) {
        *slab_out = slab;
        unit = slab_find(slab, loan->data, loan->handle);
    }
    return unit < 0 ? -EINVAL : unit;
}

static void
untake(struct mchan *channel, struct slab *slab, uint32_t unit)
{
    slab_untake(slab, unit);
    if (slab != channel->loans.slab) {
        loans_settle(channel);
    }
}

void
mchan_unloan(struct mchan *channel, const struct mchan_loan *loan)
{
    struct slab *slab;
    int64_t unit = find_loan(channel, loan, &slab);
    if (unit >= 0) {
        untake(channel, slab, (uint32_t)unit);
    }
}

/* What was taken before the peer was lost goes to the new one by a copy: the
 * memory of the former may still be mapped by it. */
static int64_t
take_again(struct mchan *channel, struct slab *old, uint32_t unit, size_t size)
{
    int64_t again = take_chunk(channel, size);
    channel->loans.wanted = again == -EAGAIN ? size : 0;
    if (again >= 0) {
        memcpy(slab_data(channel->loans.slab, (uint32_t)again),
               slab_data(old, unit), size);
        untake(channel, old, unit);
    }
    return again;
}

/* Puts the loan; or -EAGAIN, or another -Exxx. */
static int
send_now(struct mchan *channel, struct slab *slab, uint32_t unit,
         const struct mchan_msg *message)
{
    if (!link_has_room(&channel->link, LOAN_SIZE)) {
        return -EAGAIN;
    }
    if (slab != channel->loans.slab) {
        int64_t again = take_again(channel, slab, unit, message->size);
        if (again < 0) {
            return (int)again;
        }
        unit = (uint32_t)again;
    }
    struct record record =
        session_send(&channel->session, message->tag, LOAN_SIZE);
    record.kind = RECORD_LOAN;
    loans_put(channel, &record, unit, message->size);
    (void)link_flush(&channel->link);
    return 0;
}

/* Keeps it where it is, to be put when the session goes on. */
static int
send_later(struct mchan *channel, struct slab *slab, uint32_t unit,
           const struct mchan_msg *message)
{
    struct session *session = &channel->session;
    if (!channel_has_room_later(channel, LOAN_SIZE)) {
        return session_why_not(session);
    }
    uint64_t sequence = session->sent + 1;
    uint8_t loan[LOAN_SIZE];
    struct window_entry entry = {
        .sequence = sequence,
        .to = sequence,
        .since = channel_now(channel),
        .record = {.size = LOAN_SIZE,
                   .kind = RECORD_LOAN,
                   .tag = message->tag,
                   .sequence = (uint32_t)sequence},
    };
    loan_put(loan, slab_handle(slab, unit), message->size);
    int error = window_add(&channel->window, &entry, loan);
    if (!error) {
        slab_lend(slab, unit, (uint32_t)sequence);
        session_sent_later(session);
    }
    return error;
}

static int
try_send(struct mchan *channel, const struct mchan_loan *loan,
         const struct mchan_msg *message)
{
    struct slab *slab;
    int64_t unit = find_loan(channel, loan, &slab);
    if (unit < 0) {
        return (int)unit;
    }
    if (message->size > slab_chunk_size(slab, (uint32_t)unit)) {
        return -EMSGSIZE;
    }
    return channel->session.sends
               ? send_now(channel, slab, (uint32_t)unit, message)
               : send_later(channel, slab, (uint32_t)unit, message);
}

int
mchan_send_loan(struct mchan *channel, const struct mchan_loan *loan,
                const struct mchan_msg *message)
{
    if (message->delivery != MCHAN_RELIABLE) {
        return -EINVAL;
    }
    int error = try_send(channel, loan, message);
    if (error && error != -EMSGSIZE && error != -EINVAL) {
        channel_turn(channel);
        error = try_send(channel, loan, message);
    }
    if (!error) {
        channel->stats.n_sent++;
        channel->stats.bytes_sent += message->size;
    }
    return error;
}

/* Being lent. */

/* Of a peer that was lost. */
static void
release_old(struct loans *loans, const struct mchan_view *view)
{
    struct lent **at = &loans->old_lent;
    while (*at && !lent_let_go(*at, view->data, view->handle)) {
        at = &(*at)->next;
    }
    struct lent *lent = *at;
    if (lent && !lent->n_held) {
        *at = lent->next;
        lent_destroy(lent);
    }
}

void
mchan_release(struct mchan *channel, const struct mchan_view *view)
{
    struct loans *loans = &channel->loans;
    struct lent_chunk chunk = {.handle = view->handle};
    if (!view->handle) {
        return; /* It lay in the ring. */
    }
    if (loans->lent && lent_let_go(loans->lent, view->data, view->handle)) {
        loans_give_back(channel, &chunk);
    } else {
        release_old(loans, view);
    }
}
