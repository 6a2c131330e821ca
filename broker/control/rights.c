/* SPDX-License-Identifier: Apache-2.0 */
/* Credentials to rights.  The caller's groups are those it had when it
 * connected, from the kernel (SO_PEERGROUPS), not a look-up by its uid: that
 * needs no /etc/group in the engine's empty root, and a process that dropped a
 * group has dropped it here too.  Called by mbrokerd.c (resolve), by which the
 * parent hands the numbers on, and by broker/control/control.c. */
#include "broker/control/rights.h"

#include <assert.h>
#include <errno.h>
#include <grp.h>
#include <stdio.h>
#include <sys/socket.h>

#include "broker/config/config.h"

static int resolve_group(const char *name, const char *option, bool *has,
                         gid_t *gid, char *why, size_t why_size);
static bool is_member(const struct peer *, gid_t);

int
rights_resolve(struct rights *out, const struct broker_config *config,
               uid_t owner, char *why, size_t why_size)
{
    struct rights rights = {.owner = owner};
    int error;

    error =
        resolve_group(config->control_group, "control.group",
                      &rights.has_control, &rights.control_gid, why, why_size);
    if (error) {
        return error;
    }
    error = resolve_group(config->operator_group, "control.operators",
                          &rights.has_operator, &rights.operator_gid, why,
                          why_size);
    if (error) {
        return error;
    }
    *out = rights;
    return 0;
}

int
rights_peer(int fd, struct peer *out)
{
    socklen_t size = sizeof(struct ucred);
    struct ucred cred;

    if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cred, &size)) {
        return -errno;
    }
    out->uid = cred.uid;
    out->gid = cred.gid;
    out->pid = cred.pid;
    out->n_groups = 0;
    size = sizeof out->groups;
    if (!getsockopt(fd, SOL_SOCKET, SO_PEERGROUPS, out->groups, &size)) {
        out->n_groups = (uint32_t)(size / sizeof out->groups[0]);
        assert(out->n_groups <= RIGHTS_GROUPS_MAX);
    }
    return 0;
}

enum right
rights_of(const struct rights *rights, const struct peer *peer)
{
    if (peer->uid == 0 || peer->uid == rights->owner) {
        return RIGHT_CHANGE;
    }
    if (rights->has_operator && is_member(peer, rights->operator_gid)) {
        return RIGHT_CHANGE;
    }
    if (rights->has_control && is_member(peer, rights->control_gid)) {
        return RIGHT_READ;
    }
    return RIGHT_NONE;
}

const char *
right_name(enum right right)
{
    switch (right) {
    case RIGHT_NONE:
        return "none";
    case RIGHT_READ:
        return "read";
    case RIGHT_CHANGE:
        return "change";
    }
    return "?";
}

static int
resolve_group(const char *name, const char *option, bool *has, gid_t *gid,
              char *why, size_t why_size)
{
    const struct group *group;

    if (name[0] == '\0') {
        return 0;
    }
    errno = 0;
    group = getgrnam(name);
    if (!group) {
        snprintf(why, why_size,
                 "%s: there is no group \"%s\" on this host; add it "
                 "(groupadd --system %s) or name another",
                 option, name, name);
        return -ENOENT;
    }
    *has = true;
    *gid = group->gr_gid;
    return 0;
}

static bool
is_member(const struct peer *peer, gid_t gid)
{
    if (peer->gid == gid) {
        return true;
    }
    for (uint32_t i = 0; i < peer->n_groups; i++) {
        if (peer->groups[i] == gid) {
            return true;
        }
    }
    return false;
}
