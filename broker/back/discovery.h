/* SPDX-License-Identifier: Apache-2.0 */
/* Discovery: what a HELLO says of whoever sent it, and whether that may be.
 * Any broker reuses it. */
#ifndef BROKER_BACK_DISCOVERY_H
#define BROKER_BACK_DISCOVERY_H

#include <stdbool.h>
#include <stddef.h>

#include "model/uuid.h"
#include "wire/msg.h"

/* Who is at the end of a channel, as the one who made the channel knows. */
struct discovery_identity {
    struct uuid uuid;
    const char *name; /* Borrowed for the identity's life. */
};

/* What was found out. */
struct discovered {
    unsigned version; /* That both speak. */
    struct msg_hello hello;
};

/* 0; -EPERM if the HELLO claims to come from somebody else; -EPROTONOSUPPORT if
 * there is no common version.  'why' is for both sides' eyes. */
int discovery_check(const struct msg_hello *, const struct discovery_identity *,
                    struct discovered *out, char *why, size_t why_size);

#endif
