/* SPDX-License-Identifier: Apache-2.0 */
/* Which orders the platform took and what came of them, so that one that comes
 * again is answered again and not carried out again.  For platform.c only. */
#ifndef BROKER_PLATFORM_ORDERS_H
#define BROKER_PLATFORM_ORDERS_H

#include <stdbool.h>
#include <stdint.h>

#include "wire/msg.h"

#define ORDERS_KEPT 64 /* Of which the outcome is still known. */

struct orders {
    uint64_t highest; /* The last that was taken; numbers only grow. */
    uint32_t next;    /* Its place in 'kept'. */
    struct order {
        uint64_t command; /* 0: none. */
        bool settled;     /* 'outcome' is known. */
        struct msg_outcome outcome;
    } kept[ORDERS_KEPT];
};

enum orders_verdict {
    ORDERS_NEW,       /* Carry it out, then settle it. */
    ORDERS_UNDER_WAY, /* It was taken before, and its outcome is to come. */
    ORDERS_ANSWERED,  /* It was taken before: '*out' is what came of it, or,
                       * where that is forgotten, that it is refused. */
};

/* Whether an order, which is an action of the engine's, is to be carried out.
 * 'out' is written with ORDERS_ANSWERED only. */
enum orders_verdict orders_take(struct orders *, const struct msg *order,
                                struct msg_outcome *out);
/* Notes what came of one. */
void orders_settle(struct orders *, const struct msg_outcome *);

#endif
