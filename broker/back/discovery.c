/* SPDX-License-Identifier: Apache-2.0 */
/* Who speaks is who the channel was made for, never who the HELLO says; a claim
 * that differs is a mistake or an attack, and either way no conversation. Pure;
 * called by guest_session.c. */
#include "broker/back/discovery.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

static bool is_claim_true(const char *claim, const struct discovery_identity *);

int
discovery_check(const struct msg_hello *hello,
                const struct discovery_identity *identity,
                struct discovered *out, char *why, size_t why_size)
{
    if (hello->claims[0] && !is_claim_true(hello->claims, identity)) {
        snprintf(why, why_size, "this channel is %.64s's, not %.64s's",
                 identity->name, hello->claims);
        return -EPERM;
    }
    unsigned version = msg_version_common((unsigned)hello->version_min,
                                          (unsigned)hello->version_max);
    if (!version) {
        snprintf(why, why_size,
                 "you speak versions %u to %u of the protocol, I speak %u to "
                 "%u",
                 (unsigned)hello->version_min, (unsigned)hello->version_max,
                 MSG_VERSION_MIN, MSG_VERSION_MAX);
        return -EPROTONOSUPPORT;
    }
    out->version = version;
    out->hello = *hello;
    return 0;
}

static bool
is_claim_true(const char *claim, const struct discovery_identity *identity)
{
    char uuid[UUID_TEXT_SIZE];

    uuid_format(&identity->uuid, uuid);
    return !strcmp(claim, identity->name) || !strcasecmp(claim, uuid);
}
