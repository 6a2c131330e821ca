/* SPDX-License-Identifier: Apache-2.0 */
/* Messages that must arrive, in order, while the channel to the engine is full:
 * a queue of a fixed size between a core and its port. */
#ifndef BROKER_OUTBOX_H
#define BROKER_OUTBOX_H

#include <stdbool.h>
#include <stdint.h>

struct msg;

/* What a message of the usual kind takes; a large one counts as several. */
#define OUTBOX_SLOT 1024
/* As how many of those the largest counts. */
#define OUTBOX_LARGEST 5

struct outbox {
    uint8_t *bytes;      /* Owned. */
    uint32_t capacity;   /* Of them. */
    uint32_t size;       /* Messages that wait, at most. */
    uint32_t first, end; /* Where the oldest lies, and the next will. */
    uint32_t used;       /* Bytes from the one to the other. */
    uint32_t n;          /* Messages. */
};

/* Makes room for 'size' messages of the usual kind.  0 or -ENOMEM. */
int outbox_init(struct outbox *, uint32_t size);
void outbox_fini(struct outbox *);

/* How many more messages of the usual kind fit for certain. */
uint32_t outbox_room(const struct outbox *);

/* Appends a copy.  0, or -ENOBUFS if there is no room. */
int outbox_add(struct outbox *, const struct msg *);
/* Sends what it can, oldest first.  Returns true once nothing waits.  A message
 * that 'send' refuses for another reason than -EAGAIN or -ENOTCONN can never be
 * sent; it is dropped. */
bool outbox_flush(struct outbox *, int (*send)(void *ctx, const struct msg *),
                  void *ctx);

#endif
