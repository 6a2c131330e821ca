/* SPDX-License-Identifier: Apache-2.0 */
/* Messages that must arrive, in order, while the channel to the engine is full:
 * a queue of a fixed size between a core and its port. */
#ifndef BROKER_OUTBOX_H
#define BROKER_OUTBOX_H

#include <stdbool.h>
#include <stdint.h>

struct msg;

struct outbox {
    struct msg *ring; /* Owned. */
    uint32_t size, first, n;
};

/* 0 or -ENOMEM. */
int outbox_init(struct outbox *, uint32_t size);
void outbox_fini(struct outbox *);

static inline uint32_t
outbox_room(const struct outbox *box)
{
    return box->size - box->n;
}

/* Appends a copy.  0, or -ENOBUFS if there is no room. */
int outbox_add(struct outbox *, const struct msg *);
/* Sends what it can, oldest first.  Returns true once nothing waits.  A message
 * that 'send' refuses for another reason than -EAGAIN or -ENOTCONN can never be
 * sent; it is dropped. */
bool outbox_flush(struct outbox *, int (*send)(void *ctx, const struct msg *),
                  void *ctx);

#endif
