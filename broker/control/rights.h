/* SPDX-License-Identifier: Apache-2.0 */
/* Who may do what on the control socket: a table from a caller's credentials,
 * as the kernel states them, to a right.  Default deny.  Group names become
 * numbers once, at start, because the engine process sees no /etc/group. */
#ifndef BROKER_CONTROL_RIGHTS_H
#define BROKER_CONTROL_RIGHTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct broker_config;

enum right {
    RIGHT_NONE,
    RIGHT_READ,   /* May look. */
    RIGHT_CHANGE, /* May also set the policy and control VMs. */
};

#define RIGHTS_GROUPS_MAX 1024 /* In more, only the first gid counts. */

/* A caller, as SO_PEERCRED and SO_PEERGROUPS tell when it connected. */
struct peer {
    uid_t uid;
    gid_t gid;
    pid_t pid;
    uint32_t n_groups;
    gid_t groups[RIGHTS_GROUPS_MAX];
};

/* Plain numbers, so that it may be copied between processes. */
struct rights {
    uid_t owner; /* Who started the broker; may change, as root may. */
    bool has_control, has_operator;
    gid_t control_gid, operator_gid;
};

/* Looks the configuration's two groups up.  Returns 0, or -ENOENT with 'why'
 * naming the group that does not exist. */
int rights_resolve(struct rights *out, const struct broker_config *,
                   uid_t owner, char *why, size_t why_size);

/* Asks the kernel who is at the other end of a connected unix socket.  Returns
 * 0 or -Exxx. */
int rights_peer(int fd, struct peer *out);

enum right rights_of(const struct rights *, const struct peer *);
const char *right_name(enum right);

#endif
