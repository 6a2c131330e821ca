/* SPDX-License-Identifier: Apache-2.0 */
/* A ring of messages that wait for room in a channel, for the cores of back and
 * platform.  Relies on nothing; whoever fills it asks for room before he reads
 * what would need it, so that a slow engine slows its sources down instead of
 * losing what they said. */
#include "broker/outbox.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

#include "wire/msg.h"

int
outbox_init(struct outbox *box, uint32_t size)
{
    assert(size > 0);
    *box = (struct outbox){.size = size};
    box->ring = calloc(size, sizeof *box->ring);
    return box->ring ? 0 : -ENOMEM;
}

void
outbox_fini(struct outbox *box)
{
    free(box->ring);
    *box = (struct outbox){0};
}

int
outbox_add(struct outbox *box, const struct msg *msg)
{
    if (!outbox_room(box)) {
        return -ENOBUFS;
    }
    box->ring[(box->first + box->n) % box->size] = *msg;
    box->n++;
    return 0;
}

bool
outbox_flush(struct outbox *box, int (*send)(void *ctx, const struct msg *),
             void *ctx)
{
    while (box->n) {
        int error = send(ctx, &box->ring[box->first]);

        if (error == -EAGAIN || error == -ENOTCONN) {
            return false;
        }
        box->first = (box->first + 1) % box->size;
        box->n--;
    }
    return true;
}
