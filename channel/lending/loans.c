/* SPDX-License-Identifier: Apache-2.0 */
/* Loans through the life of attachments; see loans.h.  The sender's slab and
 * what the receiver maps of it meet here with link and session: a RECORD_LOAN
 * in the ring names a chunk, and is numbered, acknowledged and sent again like
 * any reliable message; what was given back comes over the transport's returns.
 *
 * The slab's descriptor goes over the socket before the first record that
 * speaks of it is committed in the ring; who meets such a record reads the
 * socket and must find it.  Called by channel.c, keep.c, and the door. */
#include "channel/lending/loans.h"

#include <assert.h>
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "channel/channel.h"

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

/* True if a slab of a former link is still good for something. */
static bool
is_needed(const struct mchan *channel, const struct slab *slab)
{
    return slab->n_taken || (slab->n_lent && channel->window.data);
}

void
loans_end(struct mchan *channel)
{
    struct loans *loans = &channel->loans;
    struct slab *slab = loans->slab;
    struct lent *lent = loans->lent;
    if (slab && is_needed(channel, slab)) {
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
    loans->waits = false;
}

void
loans_settle(struct mchan *channel)
{
    struct slab **at = &channel->loans.old_slabs;
    while (*at) {
        struct slab *slab = *at;
        if (is_needed(channel, slab)) {
            at = &slab->next;
        } else {
            *at = slab->next;
            slab_destroy(slab);
        }
    }
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
loans_may_take(const struct loans *loans, size_t size)
{
    return may_lend(loans->slab) && slab_may_take(loans->slab, size);
}

bool
loans_ready(const struct mchan *channel)
{
    const struct loans *loans = &channel->loans;
    return !loans->wanted || !loans->slab ||
           loans_may_take(loans, loans->wanted);
}

void
loans_arm(struct mchan *channel)
{
    const struct loans *loans = &channel->loans;
    if ((loans->wanted || loans->waits) && loans->slab) {
        returns_arm(&channel->loans.rx);
    }
}

/* Lending. */

int
loans_make_slab(struct mchan *channel)
{
    struct loans *loans = &channel->loans;
    struct slab *slab;
    int fd;
    if (loans->slab || !loans->agreed) {
        return loans->slab ? 0 : -ENOTSUP;
    }
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

int64_t
loans_take(struct loans *loans, size_t size)
{
    return may_lend(loans->slab) ? slab_take(loans->slab, size) : -EAGAIN;
}

void
loans_put(struct mchan *channel, const struct record *record, uint32_t unit,
          uint64_t size)
{
    struct slab *slab = channel->loans.slab;
    uint8_t loan[LOAN_SIZE];
    loan_put(loan, slab_handle(slab, unit), size);
    int error = link_put(&channel->link, record, loan);
    assert(!error);
    slab_lend(slab, unit, record->sequence);
}

/* Lending again. */

/* The chunk that a loan kept for later names, which our own book must know,
 * since the peer could write where the loan lay.  Its unit, or -ENOENT. */
static int64_t
find_kept(struct mchan *channel, const struct record *record,
          const uint8_t *loan, struct slab **slab_out, uint64_t *size_out)
{
    struct loans *loans = &channel->loans;
    uint64_t handle;
    if (record->size != LOAN_SIZE) {
        return -ENOENT;
    }
    loan_get(&handle, size_out, loan);
    struct slab *slab = loans->slab ? loans->slab : loans->old_slabs;
    while (slab) {
        int64_t unit = slab_find_lent(slab, handle, record->sequence);
        if (unit >= 0 && *size_out <= slab_chunk_size(slab, (uint32_t)unit)) {
            *slab_out = slab;
            return unit;
        }
        slab = slab == loans->slab ? loans->old_slabs : slab->next;
    }
    return -ENOENT;
}

/* To where nothing is lent: as a copy, if it is small enough. */
static int
copy_again(struct mchan *channel, struct record record, const uint8_t *data,
           uint64_t size)
{
    if (size > channel->session.message_max_agreed) {
        return -ENOENT;
    }
    record.kind = RECORD_RELIABLE;
    record.size = (uint32_t)size;
    return link_put(&channel->link, &record, data);
}

static int
lend_again(struct mchan *channel, const struct record *record,
           const uint8_t *data, uint64_t size)
{
    int64_t unit = loans_make_slab(channel);
    if (!unit) {
        unit = loans_take(&channel->loans, size);
    }
    channel->loans.waits = unit == -EAGAIN;
    if (unit < 0) {
        return (int)unit;
    }
    memcpy(slab_data(channel->loans.slab, (uint32_t)unit), data, size);
    loans_put(channel, record, (uint32_t)unit, size);
    return 0;
}

int
loans_put_again(struct mchan *channel, const struct record *record,
                const uint8_t *loan)
{
    struct slab *slab;
    uint64_t size;
    int64_t unit = find_kept(channel, record, loan, &slab, &size);
    if (unit < 0) {
        return -ENOENT;
    }
    if (!link_has_room(&channel->link, LOAN_SIZE)) {
        return -EAGAIN;
    }
    if (slab == channel->loans.slab) { /* It was only sent late. */
        return link_put(&channel->link, record, loan);
    }
    const uint8_t *data = slab_data(slab, (uint32_t)unit);
    int error = lend_again(channel, record, data, size);
    if (error == -ENOTSUP || error == -EMSGSIZE) {
        error = copy_again(channel, *record, data, size);
    }
    if (!error) {
        (void)slab_give_back(slab, slab_handle(slab, (uint32_t)unit));
        loans_settle(channel);
    }
    return error;
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
