/* SPDX-License-Identifier: Apache-2.0 */
/* Large data by reference, for include/mchan.h.  The sender's slab (slab.h) and
 * what the receiver maps of it (lent.h) meet here with the session, whose
 * numbers and acknowledgements are those of any reliable message: in the ring
 * goes a RECORD_LOAN that names a chunk.  What the user gives back goes over
 * the transport's returns, which the sender looks at only now and then, so that
 * the two ends do not touch the same cache line for each message.
 *
 * The slab's descriptor goes over the socket before the first record that
 * speaks of it is committed in the ring; who meets such a record reads the
 * socket and must find it. */
#include "channel/loan.h"

#include <assert.h>
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "channel/channel.h"
#include "include/mchan.h"

/* Loans between two looks at what came back. */
#define COLLECT_EVERY 32

/* Attachments. */

void
loans_init(struct loans *loans, uint64_t bytes)
{
    memset(loans, 0, sizeof *loans);
    loans->bytes = bytes < SLAB_SIZE_MAX ? bytes : SLAB_SIZE_MAX;
    loans->lent_fd = -1;
}

void
loans_begin(struct mchan *channel, uint64_t offered)
{
    struct loans *loans = &channel->loans;
    struct transport *transport = channel->transport;
    struct returns *mine, *peers;
    uint64_t agreed = loans->bytes < offered ? loans->bytes : offered;
    agreed -= agreed % SLAB_UNIT;
    if (!agreed || !transport->class->returns ||
        !transport->class->returns(transport, &mine, &peers)) {
        transport->shares = false;
        return;
    }
    loans->agreed = agreed;
    loans->n_collect = 0;
    returns_rx_init(&loans->rx, mine, peers);
    returns_tx_init(&loans->tx, mine, peers);
}

void
loans_end(struct mchan *channel)
{
    struct loans *loans = &channel->loans;
    struct slab *slab = loans->slab;
    struct lent *lent = loans->lent;
    if (slab && slab->n_taken) {
        slab->next = loans->old_slabs;
        loans->old_slabs = slab;
    } else {
        slab_destroy(slab);
    }
    if (lent && lent->n_held) {
        lent->next = loans->old_lent;
        loans->old_lent = lent;
    } else {
        lent_destroy(lent);
    }
    if (loans->lent_fd >= 0) {
        close(loans->lent_fd);
        loans->lent_fd = -1;
    }
    loans->slab = NULL;
    loans->lent = NULL;
    loans->agreed = 0;
    loans->wanted = 0;
}

void
loans_fini(struct mchan *channel)
{
    struct loans *loans = &channel->loans;
    loans_end(channel);
    while (loans->old_slabs) {
        struct slab *next = loans->old_slabs->next;
        slab_destroy(loans->old_slabs);
        loans->old_slabs = next;
    }
    while (loans->old_lent) {
        struct lent *next = loans->old_lent->next;
        lent_destroy(loans->old_lent);
        loans->old_lent = next;
    }
}

/* What comes back. */

int
loans_collect(struct mchan *channel, const char **why)
{
    struct loans *loans = &channel->loans;
    struct slab *slab = loans->slab;
    if (!slab) {
        return 0;
    }
    int n = returns_pending(&loans->rx, slab->n_lent);
    for (int i = 0; i < n; i++) {
        if (slab_give_back(slab, returns_take(&loans->rx))) {
            n = -EPROTO;
        }
    }
    loans->n_collect = slab->n_taken + slab->n_lent + COLLECT_EVERY;
    if (n < 0) {
        *why = "gives back what it was not lent";
        return n;
    }
    return 0;
}

/* As many can come back at once as there is room for. */
static bool
may_lend(const struct slab *slab)
{
    return slab->n_taken + slab->n_lent < RETURNS_MAX;
}

bool
loans_ready(struct mchan *channel)
{
    struct loans *loans = &channel->loans;
    return !loans->wanted || !loans->slab ||
           (may_lend(loans->slab) && slab_may_take(loans->slab, loans->wanted));
}

void
loans_arm(struct mchan *channel)
{
    if (channel->loans.wanted && channel->loans.slab) {
        returns_arm(&channel->loans.rx);
    }
}

/* Lending. */

static int
make_slab(struct mchan *channel)
{
    struct loans *loans = &channel->loans;
    struct slab *slab;
    int fd;
    int error = slab_create(&slab, loans->agreed, &fd);
    if (error) {
        return error;
    }
    error = channel->transport->class->share(channel->transport, fd);
    close(fd);
    if (error) {
        slab_destroy(slab);
        return error;
    }
    loans->slab = slab;
    return 0;
}

/* A chunk of at least 'size' bytes: its first unit, or -Exxx. */
static int64_t
take_chunk(struct mchan *channel, size_t size)
{
    struct loans *loans = &channel->loans;
    if (channel->session.state != SESSION_UP) {
        return channel->session.error;
    }
    if (!loans->agreed) {
        return -ENOTSUP;
    }
    int error = loans->slab ? 0 : make_slab(channel);
    if (error) {
        return error;
    }
    struct slab *slab = loans->slab;
    const char *why;
    if (slab->n_taken + slab->n_lent >= loans->n_collect ||
        !slab_may_take(slab, size)) {
        error = loans_collect(channel, &why);
    }
    if (error) {
        channel_violated(channel, why);
        return error;
    }
    return may_lend(slab) ? slab_take(slab, size) : -EAGAIN;
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
unlink_slab(struct loans *loans, struct slab *slab)
{
    struct slab **at = &loans->old_slabs;
    while (*at != slab) {
        at = &(*at)->next;
    }
    *at = slab->next;
    slab_destroy(slab);
}

static void
untake(struct loans *loans, struct slab *slab, uint32_t unit)
{
    slab_untake(slab, unit);
    if (slab != loans->slab && !slab->n_taken) {
        unlink_slab(loans, slab);
    }
}

void
mchan_unloan(struct mchan *channel, const struct mchan_loan *loan)
{
    struct slab *slab;
    int64_t unit = find_loan(channel, loan, &slab);
    if (unit >= 0) {
        untake(&channel->loans, slab, (uint32_t)unit);
    }
}

/* What was taken before the peer was lost goes to the new one by a copy: the
 * memory of the former may still be mapped by it. */
static int64_t
take_again(struct mchan *channel, struct slab *old, uint32_t unit, size_t size)
{
    int64_t again = take_chunk(channel, size);
    if (again >= 0) {
        memcpy(slab_data(channel->loans.slab, (uint32_t)again),
               slab_data(old, unit), size);
        untake(&channel->loans, old, unit);
    }
    return again;
}

static void
put_loan(struct mchan *channel, uint32_t unit, const struct mchan_msg *message)
{
    struct slab *slab = channel->loans.slab;
    struct record record =
        session_send(&channel->session, message->tag, LOAN_SIZE);
    uint8_t loan[LOAN_SIZE];
    record.kind = RECORD_LOAN;
    loan_put(loan, slab_handle(slab, unit), message->size);
    int error = link_put(&channel->link, &record, loan);
    assert(!error); /* There is room. */
    slab_lend(slab, unit);
    (void)link_flush(&channel->link);
    channel->stats.n_sent++;
    channel->stats.bytes_sent += message->size;
}

static int
may_put(const struct mchan *channel)
{
    const struct session *session = &channel->session;
    if (session->state != SESSION_UP) {
        return session->error;
    }
    return session->sends && link_has_room(&channel->link, LOAN_SIZE) ? 0
                                                                      : -EAGAIN;
}

int
mchan_send_loan(struct mchan *channel, const struct mchan_loan *loan,
                const struct mchan_msg *message)
{
    struct slab *slab;
    int64_t unit = find_loan(channel, loan, &slab);
    if (unit < 0 || message->delivery != MCHAN_RELIABLE) {
        return -EINVAL;
    }
    if (message->size > slab_chunk_size(slab, (uint32_t)unit)) {
        return -EMSGSIZE;
    }
    int error = may_put(channel);
    if (error) {
        channel_turn(channel);
        unit = find_loan(channel, loan, &slab);
        error = may_put(channel);
    }
    if (error) {
        return error;
    }
    if (slab != channel->loans.slab) {
        unit = take_again(channel, slab, (uint32_t)unit, message->size);
    }
    if (unit < 0) {
        return (int)unit;
    }
    put_loan(channel, (uint32_t)unit, message);
    return 0;
}

/* Being lent. */

/* Maps what the peer lends, when it first speaks of it. */
static int
map_lent(struct mchan *channel, const char **why)
{
    struct loans *loans = &channel->loans;
    struct transport *transport = channel->transport;
    if (loans->lent_fd < 0) {
        int fd = transport->class->take_shared(transport);
        if (fd < 0) {
            *why = "loan of what was not shared";
            return fd;
        }
        loans->lent_fd = fd;
    }
    int error = lent_create(&loans->lent, loans->lent_fd, loans->agreed);
    if (error == -EPROTO) {
        *why = "the memory lent is not as agreed";
    } else if (!error) {
        close(loans->lent_fd);
        loans->lent_fd = -1;
    }
    return error;
}

int
loans_open(struct mchan *channel, const struct record *record,
           struct lent_chunk *out, const char **why)
{
    struct loans *loans = &channel->loans;
    int error = loans->lent ? 0 : map_lent(channel, why);
    if (error) {
        return error;
    }
    uint8_t loan[LOAN_SIZE];
    assert(record->size == sizeof loan);
    memcpy(loan, link_payload(&channel->link, record), sizeof loan);
    return lent_open(loans->lent, loan, out, why);
}

void
loans_hold(struct mchan *channel, const struct lent_chunk *chunk)
{
    lent_hold(channel->loans.lent, chunk);
}

void
loans_give_back(struct mchan *channel, const struct lent_chunk *chunk)
{
    if (returns_give(&channel->loans.tx, chunk->handle)) {
        channel->transport->class->wake(channel->transport);
        channel->stats.n_wakes++;
    }
}

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
