/* SPDX-License-Identifier: Apache-2.0 */
/* A ring of messages that wait for room in a channel, for the cores of back and
 * platform.  Relies on nothing; whoever fills it asks for room before he reads
 * what would need it, so that a slow engine slows its sources down instead of
 * losing what they said.
 *
 * Messages lie in it one behind the other, each in as many bytes as its type
 * uses: the largest, which an application defines, is six times as large as any
 * other.  None wraps: one that does not fit before the end of the ring goes to
 * its start.  What that wastes is less than the largest message, and so much is
 * always set aside: whatever fits outbox_room() fits in one piece. */
#include "broker/outbox.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "wire/msg.h"

#define ALIGN 16 /* Of messages. */
#define LARGEST ((uint32_t)(OUTBOX_LARGEST * OUTBOX_SLOT))

static uint32_t
bytes_of(unsigned type)
{
    return ((uint32_t)msg_struct_size(type) + ALIGN - 1) / ALIGN * ALIGN;
}

int
outbox_init(struct outbox *box, uint32_t size)
{
    static_assert(sizeof(struct msg) + ALIGN <= LARGEST,
                  "the largest message counts as OUTBOX_LARGEST");
    assert(size >= OUTBOX_LARGEST);
    *box = (struct outbox){.size = size};
    box->capacity = size * OUTBOX_SLOT + LARGEST;
    /* Whoever copies a message as a whole struct may read past its bytes. */
    box->bytes = calloc(1, box->capacity + sizeof(struct msg));
    return box->bytes ? 0 : -ENOMEM;
}

void
outbox_fini(struct outbox *box)
{
    free(box->bytes);
    *box = (struct outbox){0};
}

uint32_t
outbox_room(const struct outbox *box)
{
    uint32_t left = box->capacity - box->used;
    uint32_t fit = left > LARGEST ? (left - LARGEST) / OUTBOX_SLOT : 0;

    return fit < box->size - box->n ? fit : box->size - box->n;
}

int
outbox_add(struct outbox *box, const struct msg *msg)
{
    uint32_t size = bytes_of(msg->type);
    uint32_t wasted = 0;

    assert(size > 0);
    if (outbox_room(box) < (size + OUTBOX_SLOT - 1) / OUTBOX_SLOT) {
        return -ENOBUFS;
    }
    if (box->capacity - box->end < size) {
        wasted = box->capacity - box->end;
        /* Says so to the reader, if there is room to say anything. */
        memset(box->bytes + box->end, 0, wasted);
        box->end = 0;
    }
    memcpy(box->bytes + box->end, msg, msg_struct_size(msg->type));
    box->end += size;
    box->used += wasted + size;
    box->n++;
    return 0;
}

/* The oldest message, past what was wasted; there is one. */
static const struct msg *
oldest(struct outbox *box)
{
    const struct msg *msg = (const void *)(box->bytes + box->first);

    /* Types begin at 1, so that 0 there is the end of what is filled. */
    if (box->first == box->capacity || msg->type == 0) {
        box->used -= box->capacity - box->first;
        box->first = 0;
        msg = (const void *)box->bytes;
    }
    return msg;
}

bool
outbox_flush(struct outbox *box, int (*send)(void *ctx, const struct msg *),
             void *ctx)
{
    while (box->n) {
        const struct msg *msg = oldest(box);
        int error = send(ctx, msg);

        if (error == -EAGAIN || error == -ENOTCONN) {
            return false;
        }
        box->first += bytes_of(msg->type);
        box->used -= bytes_of(msg->type);
        box->n--;
    }
    return true;
}
