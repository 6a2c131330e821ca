/* SPDX-License-Identifier: Apache-2.0 */
/* What differs between two configurations, and whether a broker that runs can
 * go from one to the other.  Pure; for who reads a configuration again. */
#ifndef BROKER_CONFIG_CONFCHANGE_H
#define BROKER_CONFIG_CONFCHANGE_H

#include <stdbool.h>
#include <stddef.h>

#include "broker/config/config.h"

#define CONFCHANGE_WORDS_SIZE 256

/* Whether what differs can change while a broker runs.  'text' and 'path' are
 * what 'next' was read from.  Returns 0, or -EPERM with 'why' = "PATH:LINE:
 * what can't change, and what would be right". */
int confchange_check(const struct broker_config *now,
                     const struct broker_config *next, const char *text,
                     const char *path, char *why, size_t why_size);

/* What differs, in words for people: "policy none, guest web3 added"; "nothing
 * changed". */
void confchange_describe(const struct broker_config *was,
                         const struct broker_config *now,
                         char out[CONFCHANGE_WORDS_SIZE]);

/* Whether the policy, or any option of it, is another. */
bool confchange_policy(const struct broker_config *,
                       const struct broker_config *);
/* A channel that has a socket: "sim:" has none. */
bool confchange_has_socket(const struct guest_config *);

#endif
