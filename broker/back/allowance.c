/* SPDX-License-Identifier: Apache-2.0 */
/* A guest's quota.  What it says within its rates is heard at once.  Beyond
 * them telemetry waits, in a ring of as many bytes as the quota gives: as
 * tokens come back the oldest in it is heard, and when it is full the oldest
 * makes room, so that what is heard late is the newest there is.  A request
 * does not wait, since nobody would know whether it is still meant.  Called by
 * back.c; the ring is allocated when it is first needed, and without memory
 * for it all is dropped. */
#include "broker/back/allowance.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "wire/msg.h"

/* Before each message in the ring. */
struct head {
    uint32_t type, size;
};

static bool may_be_heard(const struct allowance *, const struct grant *,
                         size_t size, nsec_t now);
static void charge(struct allowance *, const struct grant *, size_t size,
                   nsec_t now);
static void resize(struct allowance *);
static struct head oldest(const struct allowance *);
static void take_out(struct allowance *, void *out, size_t size);
static void put_in(struct allowance *, const void *data, size_t size);

void
allowance_init(struct allowance *allowance, const struct quota_config *quota)
{
    *allowance =
        (struct allowance){.quota = *quota, .memory_next = quota->memory};
}

void
allowance_set_quota(struct allowance *allowance,
                    const struct quota_config *quota)
{
    uint64_t memory = allowance->quota.memory;

    allowance->quota = *quota;
    allowance->quota.memory = memory;
    allowance->memory_next = quota->memory;
    resize(allowance);
}

void
allowance_fini(struct allowance *allowance)
{
    free(allowance->held);
    allowance->held = NULL;
}

enum allowance_says
allowance_ask(struct allowance *allowance, const struct grant *grant,
              size_t size, nsec_t now)
{
    bool waits = grant->beyond == GRANT_KEEP && allowance->n_held;

    /* Behind what waits already, so that the order stays. */
    if (!waits && may_be_heard(allowance, grant, size, now)) {
        charge(allowance, grant, size, now);
        return ALLOWANCE_HEAR;
    }
    if (grant->beyond == GRANT_KEEP) {
        return ALLOWANCE_KEEP;
    }
    if (grant->beyond == GRANT_REFUSE) {
        allowance->n_denied++;
        return ALLOWANCE_REFUSE;
    }
    allowance->n_dropped++;
    return ALLOWANCE_DROP;
}

void
allowance_keep(struct allowance *allowance, unsigned type, const void *data,
               size_t size)
{
    const struct head head = {.type = type, .size = (uint32_t)size};
    size_t need = sizeof head + size;

    resize(allowance);
    if (!allowance->held) {
        allowance->held = malloc(allowance->quota.memory);
    }
    if (!allowance->held || need > allowance->quota.memory) {
        allowance->n_dropped++;
        return;
    }
    while (allowance->quota.memory - allowance->used < need) {
        struct head gone = oldest(allowance);

        take_out(allowance, NULL, sizeof gone + gone.size);
        allowance->n_held--;
        allowance->n_dropped++;
    }
    put_in(allowance, &head, sizeof head);
    put_in(allowance, data, size);
    allowance->n_held++;
}

bool
allowance_next(struct allowance *allowance, unsigned *type_out, void *out,
               size_t *size_out, nsec_t now)
{
    if (!allowance->n_held) {
        return false;
    }
    struct head head = oldest(allowance);
    const struct grant *grant = grant_find(head.type, GRANT_AGENT, GRANT_BACK);
    assert(grant && head.size <= MSG_SIZE_MAX);
    if (!may_be_heard(allowance, grant, head.size, now)) {
        return false;
    }
    charge(allowance, grant, head.size, now);
    take_out(allowance, NULL, sizeof head);
    take_out(allowance, out, head.size);
    allowance->n_held--;
    *type_out = head.type;
    *size_out = head.size;
    return true;
}

void
allowance_forget(struct allowance *allowance)
{
    allowance->n_dropped += allowance->n_held;
    allowance->n_held = 0;
    allowance->first = allowance->used = 0;
    free(allowance->held);
    allowance->held = NULL;
}

/* The rates. */

static struct bucket_terms
message_terms(const struct allowance *allowance)
{
    uint32_t rate = allowance->quota.messages_per_second;

    return (struct bucket_terms){.rate = rate, .burst = rate};
}

static struct bucket_terms
byte_terms(const struct allowance *allowance)
{
    uint32_t rate = allowance->quota.bytes_per_second;

    return (struct bucket_terms){.rate = rate, .burst = rate};
}

static struct bucket_terms
look_terms(const struct allowance *allowance)
{
    uint32_t rate = allowance->quota.messages_per_second * ALLOWANCE_LOOKS;

    if (rate < ALLOWANCE_LOOKS_MIN) {
        rate = ALLOWANCE_LOOKS_MIN;
    }
    return (struct bucket_terms){.rate = rate, .burst = rate};
}

static nsec_t
max_of(nsec_t a, nsec_t b)
{
    return a > b ? a : b;
}

static nsec_t
wait_for(const struct allowance *allowance, const struct grant *grant,
         size_t size, nsec_t now)
{
    nsec_t wait =
        bucket_wait(&allowance->messages, message_terms(allowance), 1, now);

    wait = max_of(wait, bucket_wait(&allowance->bytes, byte_terms(allowance),
                                    (uint32_t)size, now));
    return max_of(wait, grant_wait(&allowance->meter, grant, now));
}

static bool
may_be_heard(const struct allowance *allowance, const struct grant *grant,
             size_t size, nsec_t now)
{
    return !wait_for(allowance, grant, size, now);
}

static void
charge(struct allowance *allowance, const struct grant *grant, size_t size,
       nsec_t now)
{
    bucket_charge(&allowance->messages, message_terms(allowance), 1, now);
    bucket_charge(&allowance->bytes, byte_terms(allowance), (uint32_t)size,
                  now);
    grant_charge(&allowance->meter, grant, now);
    allowance->n_heard++;
    allowance->n_heard_bytes += size;
}

nsec_t
allowance_deadline(const struct allowance *allowance, nsec_t now)
{
    if (!allowance->n_held) {
        return NSEC_NEVER;
    }
    struct head head = oldest(allowance);

    return now + wait_for(allowance,
                          grant_find(head.type, GRANT_AGENT, GRANT_BACK),
                          head.size, now);
}

nsec_t
allowance_looks_wait(const struct allowance *allowance, uint32_t n, nsec_t now)
{
    return bucket_wait(&allowance->looks, look_terms(allowance), n, now);
}

void
allowance_looked(struct allowance *allowance, uint32_t n, nsec_t now)
{
    bucket_charge(&allowance->looks, look_terms(allowance), n, now);
}

/* The ring. */

size_t
allowance_memory(const struct allowance *allowance)
{
    return allowance->held ? allowance->quota.memory : 0;
}

/* To what another quota gives, once it is empty. */
static void
resize(struct allowance *allowance)
{
    if (!allowance->n_held &&
        allowance->memory_next != allowance->quota.memory) {
        free(allowance->held);
        allowance->held = NULL;
        allowance->first = allowance->used = 0;
        allowance->quota.memory = allowance->memory_next;
    }
}

/* The first 'size' bytes of what is in it. */
static void
look_at(const struct allowance *allowance, void *out, size_t size)
{
    size_t left = allowance->quota.memory - allowance->first;
    size_t now = size < left ? size : left;

    memcpy(out, allowance->held + allowance->first, now);
    memcpy((uint8_t *)out + now, allowance->held, size - now);
}

static struct head
oldest(const struct allowance *allowance)
{
    struct head head;

    look_at(allowance, &head, sizeof head);
    return head;
}

static void
take_out(struct allowance *allowance, void *out, size_t size)
{
    size_t left = allowance->quota.memory - allowance->first;

    if (out) {
        look_at(allowance, out, size);
    }
    allowance->first = size < left ? allowance->first + size : size - left;
    allowance->used -= size;
}

static void
put_in(struct allowance *allowance, const void *data, size_t size)
{
    size_t end = allowance->first + allowance->used;
    size_t at =
        end < allowance->quota.memory ? end : end - allowance->quota.memory;
    size_t left = allowance->quota.memory - at;
    size_t now = size < left ? size : left;

    memcpy(allowance->held + at, data, now);
    memcpy(allowance->held, (const uint8_t *)data + now, size - now);
    allowance->used += size;
}
