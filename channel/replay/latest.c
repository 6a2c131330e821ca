/* SPDX-License-Identifier: Apache-2.0 */
/* The slots of latest.h.  Called by message.c, which sets, and by keep.c,
 * which puts when there is room and after each attachment. */
#include "channel/replay/latest.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "channel/link.h"

struct latest *
latest_create(void)
{
    return calloc(1, sizeof(struct latest));
}

void
latest_destroy(struct latest *latest)
{
    for (unsigned key = 0; latest && key < MCHAN_KEYS; key++) {
        free(latest->slots[key].data);
    }
    free(latest);
}

static uint64_t
bit(unsigned key)
{
    return UINT64_C(1) << key;
}

int
latest_set(struct latest *latest, const struct mchan_msg *message)
{
    struct latest_slot *slot = &latest->slots[message->key];
    if (message->size > slot->capacity) {
        uint8_t *data = realloc(slot->data, message->size);
        if (!data) {
            return -ENOMEM;
        }
        slot->data = data;
        slot->capacity = (uint32_t)message->size;
    }
    if (message->size) {
        memcpy(slot->data, message->data, message->size);
    }
    slot->size = (uint32_t)message->size;
    slot->tag = message->tag;
    bool overtaken = latest->waiting & bit(message->key);
    latest->valued |= bit(message->key);
    latest->waiting |= bit(message->key);
    latest->repeated &= ~bit(message->key);
    return overtaken;
}

void
latest_attach(struct latest *latest, uint32_t message_max)
{
    latest->repeated |= latest->valued & ~latest->waiting;
    latest->waiting = latest->valued;
    latest->under_way = 0;
    for (unsigned key = 0; key < MCHAN_KEYS; key++) {
        if (latest->slots[key].size > message_max) {
            latest->valued &= ~bit(key);
            latest->waiting &= ~bit(key);
        }
    }
}

/* Which of those that wait have none under way. */
static uint64_t
may_be_put(const struct latest *latest, const struct link *link)
{
    uint64_t keys = latest->waiting;
    for (uint64_t rest = keys & latest->under_way; rest; rest &= rest - 1) {
        unsigned key = (unsigned)__builtin_ctzll(rest);
        if (!link_is_released(link, latest->slots[key].position)) {
            keys &= ~bit(key);
        }
    }
    return keys;
}

unsigned
latest_put(struct latest *latest, struct link *link, uint32_t attachment,
           uint64_t *bytes)
{
    unsigned n = 0;
    for (uint64_t rest = may_be_put(latest, link); rest; rest &= rest - 1) {
        unsigned key = (unsigned)__builtin_ctzll(rest);
        struct latest_slot *slot = &latest->slots[key];
        struct record record = {.size = slot->size,
                                .kind = RECORD_LATEST,
                                .tag = slot->tag,
                                .sequence = key,
                                .attachment = attachment};
        record.flags = latest->repeated & bit(key) ? RECORD_REPEATED : 0;
        if (link_put(link, &record, slot->data)) {
            break;
        }
        slot->position = link_head(link);
        latest->under_way |= bit(key);
        latest->waiting &= ~bit(key);
        *bytes += slot->size;
        n++;
    }
    return n;
}

uint64_t
latest_position(const struct latest *latest, const struct link *link)
{
    uint64_t first = 0;
    for (uint64_t rest = latest->waiting; rest; rest &= rest - 1) {
        unsigned key = (unsigned)__builtin_ctzll(rest);
        const struct latest_slot *slot = &latest->slots[key];
        uint64_t position = link_position_for(link, slot->size);
        if (latest->under_way & bit(key) &&
            (int64_t)(slot->position - position) > 0) {
            position = slot->position;
        }
        if (!first || (int64_t)(position - first) < 0) {
            first = position;
        }
    }
    return first;
}
