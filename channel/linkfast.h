/* SPDX-License-Identifier: Apache-2.0 */
/* What is done for every message of a link (link.h), inline: the ring is in
 * transport/ringfast.h, what streams need is in link.c.  Included by link.h
 * alone. */
#ifndef CHANNEL_LINKFAST_H
#define CHANNEL_LINKFAST_H

#include <errno.h>

/* For link.c. */
int link_flush_stream(struct link *);
int link_peek_stream(struct link *, struct record *out, const char **why);
int link_check_kind(const struct link *, const struct record *,
                    const char **why);

/* Writing. */

static inline bool
link_has_room(const struct link *link, uint32_t size)
{
    return ring_tx_has_room(&link->tx, size);
}

static inline int
link_put(struct link *link, const struct record *record, const void *data)
{
    return ring_tx_put(&link->tx, record, data) ? 0 : -EAGAIN;
}

static inline int
link_flush(struct link *link)
{
    if (link->streams) {
        return link_flush_stream(link);
    }
    if (ring_tx_must_wake(&link->tx)) {
        link->transport->class->wake(link->transport);
        link->n_wakes++;
    }
    return 0;
}

/* Reading. */

static inline int
link_peek(struct link *link, struct record *out, const char **why)
{
    if (link->streams) {
        return link_peek_stream(link, out, why);
    }
    int found = ring_rx_peek(&link->rx, out, why);
    if (found != 1) {
        return found;
    }
    if (RING_REFUSE(
            (out->kind != RECORD_RELIABLE || out->flags || link->said_bye) &&
            link_check_kind(link, out, why))) {
        return -EPROTO;
    }
    return 1;
}

static inline const uint8_t *
link_payload(const struct link *link, const struct record *record)
{
    return link->streams ? link->buffer + link->start + FRAME_HEADER_SIZE
                         : ring_rx_payload(&link->rx);
}

static inline void
link_pass(struct link *link, const struct record *record)
{
    if (link->streams) {
        link->start += FRAME_HEADER_SIZE + (size_t)record->size;
    } else {
        link->said_bye = record->kind == RECORD_BYE;
        ring_rx_consume(&link->rx, record);
    }
    if (record->kind != RECORD_HELLO && record->kind != RECORD_BYE) {
        link->n_taken++;
    }
    link->done_bytes += ring_record_size(record->size);
}

static inline void
link_asked(struct link *link)
{
    link->asked = link->rx.position;
    link->n_asked = link->n_taken;
}

static inline bool
link_owes(const struct link *link)
{
    return link->streams
               ? link->done_bytes - link->told_bytes >= link->tx.size / 8
               : link->asked - link->rx.released >= link->rx.size / 8;
}

#endif
