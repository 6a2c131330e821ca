/* SPDX-License-Identifier: Apache-2.0 */
/* The table of wire/grant.def, and the proof that it is whole: a message of
 * msg.def that has no row, a row of a message that is none, and a verb without
 * one do not compile.  A row also has room for the largest that its message may
 * become, which tests/unit/wire/grant.c shows.  Called by broker/, agent/ and
 * msim for all that they take. */
#include "wire/grant.h"

#include <errno.h>
#include <stdio.h>

#include "wire/msg.h"

#define MSG(type, NAME, name, since, way, doc)                                 \
    _Static_assert((int)GRANT_END_##NAME > (int)GRANT_FIRST_##NAME,            \
                   #NAME " has no row in wire/grant.def");
#include "wire/msg.def"

#define GRANT(NAME, FROM, TO, size_, rate_, burst_, BEYOND)                    \
    _Static_assert((size_) > 0 && (size_) <= MSG_SIZE_MAX,                     \
                   #NAME " is no larger than messages are");                   \
    _Static_assert(((rate_) == 0) == (GRANT_##BEYOND == GRANT_WAIT) &&         \
                       (burst_) >= (rate_),                                    \
                   #NAME " has a rate, and a burst of it, or waits");          \
    _Static_assert((int)GRANT_##FROM != (int)GRANT_##TO, #NAME " has a way");
#include "wire/grant.def"

static const struct grant grants[GRANT_ROWS] = {
#define GRANT(NAME, FROM, TO, size_, rate_, burst_, BEYOND)                    \
    {.type = MSG_##NAME,                                                       \
     .from = GRANT_##FROM,                                                     \
     .to = GRANT_##TO,                                                         \
     .size = size_,                                                            \
     .terms = {.rate = rate_, .burst = burst_},                                \
     .beyond = GRANT_##BEYOND,                                                 \
     .row = GRANT_ROW_##NAME##_##FROM##_##TO},
#include "wire/grant.def"
};

static void
rows_of(unsigned type, size_t *first, size_t *end)
{
    switch (type) {
#define MSG(type, NAME, name, since, way, doc)                                 \
    case type:                                                                 \
        *first = GRANT_FIRST_##NAME;                                           \
        *end = GRANT_END_##NAME;                                               \
        return;
#include "wire/msg.def"
    default:
        *first = *end = 0;
    }
}

const struct grant *
grant_find(unsigned type, enum grant_role from, enum grant_role to)
{
    size_t first, end;

    rows_of(type, &first, &end);
    for (size_t i = first; i < end; i++) {
        if (grants[i].from == from && grants[i].to == to) {
            return &grants[i];
        }
    }
    return NULL;
}

int
grant_check(unsigned type, enum grant_role from, enum grant_role to,
            size_t size, char *why, size_t why_size)
{
    const struct grant *grant = grant_find(type, from, to);

    if (!grant) {
        snprintf(why, why_size, "%s may not send %s type %u (%s)",
                 grant_role_name(from), grant_role_name(to), type,
                 msg_name(type));
        return -EPERM;
    }
    if (size > grant->size) {
        snprintf(why, why_size, "%s has %zu bytes, at most %u", msg_name(type),
                 size, grant->size);
        return -EMSGSIZE;
    }
    return 0;
}

nsec_t
grant_wait(const struct grant_meter *meter, const struct grant *grant,
           nsec_t now)
{
    return bucket_wait(&meter->buckets[grant->row], grant->terms, 1, now);
}

void
grant_charge(struct grant_meter *meter, const struct grant *grant, nsec_t now)
{
    bucket_charge(&meter->buckets[grant->row], grant->terms, 1, now);
}

const char *
grant_role_name(enum grant_role role)
{
    static const char *const names[] = {"agent", "back", "engine", "platform",
                                        "parent"};

    return role < GRANT_ROLES ? names[role] : "?";
}

/* Requests. */

enum need {
    NEEDS_READ,
    NEEDS_CHANGE,
};

bool
grant_verb_changes(enum request_verb verb)
{
    switch (verb) {
#define VERB(NAME, RIGHT, rate, burst)                                         \
    case REQUEST_##NAME:                                                       \
        return NEEDS_##RIGHT != NEEDS_READ;
#include "wire/grant.def"
    case REQUEST_VERB_N:
        break;
    }
    return true;
}

struct bucket_terms
grant_verb_terms(enum request_verb verb)
{
    switch (verb) {
#define VERB(NAME, RIGHT, rate_, burst_)                                       \
    case REQUEST_##NAME:                                                       \
        return (struct bucket_terms){.rate = rate_, .burst = burst_};
#include "wire/grant.def"
    case REQUEST_VERB_N:
        break;
    }
    return (struct bucket_terms){.rate = 1, .burst = 1};
}
