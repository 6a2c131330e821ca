/* SPDX-License-Identifier: Apache-2.0 */
/* What each process of mbrokerd keeps when it enters its sandbox, and why.  For
 * main, and for the test that tries what a role may not do. */
#ifndef BROKER_ROLE_CONFINE_H
#define BROKER_ROLE_CONFINE_H

#include "broker/role/role.h"
#include "broker/sandbox/sandbox.h"

/* Whom a role runs as; 'any' false: as who started it. */
struct role_user {
    bool any;
    uid_t uid;
    gid_t gid;
};

/* What a role keeps, by the configuration. */
void confine_plan(struct sandbox_plan *out, enum role,
                  const struct broker_config *, const struct role_user *);

/* Enters that sandbox and says in the log what is in force and what is not.  0,
 * or -Exxx: then the process must leave, since it may have half of it, or the
 * configuration wants all or nothing. */
int confine(enum role, const struct broker_config *, const struct role_user *);

#endif
