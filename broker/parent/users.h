/* SPDX-License-Identifier: Apache-2.0 */
/* Who the processes of mbrokerd are, and whose the guests' sockets: names of
 * the configuration to numbers.  For mbrokerd.c and the parent, since nobody
 * else sees /etc/passwd. */
#ifndef BROKER_PARENT_USERS_H
#define BROKER_PARENT_USERS_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "broker/config/config.h"

/* Where the host has no users for them: numbers that neither Debian nor systemd
 * gives to anybody. */
#define USERS_FIRST_UID 60930

struct users {
    bool any; /* False: all run as who starts them. */
    uid_t uid[CONFIG_USERS_N];
    gid_t gid[CONFIG_USERS_N];
    bool made_up; /* Some are numbers for want of a user of the name. */
};

/* 'may': whether we can give processes users at all (root can).  0, or -Exxx
 * with 'why' naming the setting. */
int users_resolve(struct users *out, const struct broker_config *, bool may,
                  char *why, size_t why_size);
/* A user and a group for a guest's socket; -1 for what the configuration does
 * not name.  Likewise. */
int users_of_guest(const struct guest_config *, uid_t *uid_out, gid_t *gid_out,
                   char *why, size_t why_size);

#endif
