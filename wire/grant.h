/* SPDX-License-Identifier: Apache-2.0 */
/* Rights: the one table of who may send what to whom, how large and how often
 * (wire/grant.def), asked.  Everything that takes a message or a request asks
 * here before it decodes; what the table does not name is denied. */
#ifndef WIRE_GRANT_H
#define WIRE_GRANT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/bucket.h"
#include "wire/request.h"

enum grant_role {
    GRANT_AGENT, /* In a guest: whoever is at the end of its channel. */
    GRANT_BACK,  /* The processes of mbrokerd. */
    GRANT_ENGINE,
    GRANT_PLATFORM,
    GRANT_PARENT,
    GRANT_ROLES, /* Not a role: how many there are. */
};

/* What becomes of a message beyond its rate, or its VM's quota; see
 * grant.def. */
enum grant_beyond {
    GRANT_KEEP,
    GRANT_DROP,
    GRANT_REFUSE,
    GRANT_WAIT,
};

/* A place per row; a message's rows are from FIRST to before END. */
enum grant_row {
#define GRANTS(NAME)                                                           \
    GRANT_FIRST_##NAME, GRANT_BEFORE_##NAME = GRANT_FIRST_##NAME - 1,
#define GRANT(NAME, FROM, TO, size, rate, burst, BEYOND)                       \
    GRANT_ROW_##NAME##_##FROM##_##TO,
#define GRANTS_END(NAME)                                                       \
    GRANT_END_##NAME, GRANT_AFTER_##NAME = GRANT_END_##NAME - 1,
#include "wire/grant.def"
    GRANT_ROWS, /* Not a row: how many there are. */
};

struct grant {
    unsigned type;
    enum grant_role from, to;
    uint32_t size; /* Bytes of the largest one. */
    struct bucket_terms terms;
    enum grant_beyond beyond;
    enum grant_row row;
};

/* The row for that type from that role to that one; null: denied. */
const struct grant *grant_find(unsigned type, enum grant_role from,
                               enum grant_role to);
/* 0, -EPERM if there is no row, or -EMSGSIZE; 'why' names message, roles and
 * limit. */
int grant_check(unsigned type, enum grant_role from, enum grant_role to,
                size_t size, char *why, size_t why_size);

/* How often one sender said what, so far; zeroed: nothing. */
struct grant_meter {
    struct bucket buckets[GRANT_ROWS];
};

/* How long until the sender may say that again; 0: now. */
nsec_t grant_wait(const struct grant_meter *, const struct grant *, nsec_t now);
/* He said it. */
void grant_charge(struct grant_meter *, const struct grant *, nsec_t now);

const char *grant_role_name(enum grant_role);

/* Requests. */

/* Whether the verb needs the right to change things.  What has no row does. */
bool grant_verb_changes(enum request_verb);
/* How often a client may use it. */
struct bucket_terms grant_verb_terms(enum request_verb);

#endif
