/* SPDX-License-Identifier: Apache-2.0 */
/* The processes of mbrokerd: which there are, what each is handed at its start
 * and how it runs.  A role opens nothing by itself but what its directories
 * hold; the parent opened the rest.  For the processes of mbrokerd only. */
#ifndef BROKER_ROLE_ROLE_H
#define BROKER_ROLE_ROLE_H

#include <stdint.h>

#include "base/clock.h"
#include "broker/config/config.h"
#include "broker/control/rights.h"

enum role {
    ROLE_BACK,
    ROLE_ENGINE,
    ROLE_PLATFORM,
    ROLE_STEWARD, /* Does for platform what a sandbox forbids. */
    ROLE_RESTORE, /* The platform's way back without the rest of it. */
    ROLE_N,       /* Not a role: how many there are. */
};

/* Descriptors of a role, by number.  All have the first three; -1 in the
 * parent's list leaves a number closed. */
enum {
    FD_CONFIG = 3, /* The configuration's text, in memory. */
    FD_LAST_WORDS, /* A pipe: the number of the system call it dies of. */
    FD_PARENT,     /* A line; not ROLE_RESTORE's. */
    FD_FIRST,
    /* ROLE_BACK's. */
    FD_BACK_ENGINE = FD_FIRST,
    FD_BACK_HANDS,  /* Where the parent hands it sockets of guests to come. */
    FD_BACK_GUESTS, /* Listening sockets, one per guest. */
    /* ROLE_ENGINE's. */
    FD_ENGINE_BACK = FD_FIRST,
    FD_ENGINE_PLATFORM,
    FD_ENGINE_CONTROL, /* Listening. */
    FD_ENGINE_JOURNAL, /* The journal's directory. */
    /* ROLE_PLATFORM's and ROLE_RESTORE's. */
    FD_PLATFORM_ENGINE = FD_FIRST,
    FD_PLATFORM_STEWARD,
    FD_PLATFORM_SAVED, /* Directories. */
    FD_PLATFORM_SYS,
    FD_PLATFORM_PROC,
    FD_PLATFORM_DATA,
    FD_PLATFORM_CAP,
    FD_PLATFORM_LOCKS, /* The run directory's lock, then one per CPU. */
    /* ROLE_STEWARD's. */
    FD_STEWARD_PLATFORM = FD_FIRST,
    FD_STEWARD_PROC, /* Directories. */
    FD_STEWARD_STATE,
    FD_STEWARD_LOCK, /* The run directory's. */
};

#define HANDS_FDS_MAX 64 /* Sockets in one message on FD_BACK_HANDS. */

#define ROLE_FDS_MAX (FD_BACK_GUESTS + CONFIG_GUESTS_MAX)
_Static_assert(FD_PLATFORM_LOCKS + 1 + CONFIG_CPUS_MAX <= ROLE_FDS_MAX,
               "the CPUs' locks have room");

_Static_assert(ROLE_RESTORE == ROLE_STEWARD + 1 && ROLE_STEWARD == 3,
               "three have users of their own, then comes who keeps his");

struct role_env {
    struct broker_config *config; /* Borrowed; a reload puts another there. */
    /* What FD_CONFIG says now.  0 or -Exxx with 'why'. */
    int (*read_config)(void *ctx, struct broker_config *out, char *why,
                       size_t why_size);
    void *ctx;
    const char *path, *hash; /* Of the configuration at the start. */
    struct rights rights;    /* ROLE_ENGINE's. */
    const char *ended; /* ROLE_ENGINE's: how the last broker did, where nobody
                        * was left to write it down; null: well. */
    nsec_t (*clock)(void);
    int64_t (*wall_ns)(void *ctx);
};

static inline const char *
role_name(enum role role)
{
    static const char *const names[] = {"back", "engine", "platform", "steward",
                                        "restore"};

    return names[role];
}

/* The exit status of the process. */
int role_back(const struct role_env *);
int role_engine(const struct role_env *);
int role_platform(const struct role_env *);
int role_steward(const struct role_env *);
int role_restore(const struct role_env *);

#endif
