/* SPDX-License-Identifier: Apache-2.0 */
/* The parent of mbrokerd's processes.  For main only. */
#ifndef BROKER_PARENT_PARENT_H
#define BROKER_PARENT_PARENT_H

#include <stddef.h>

#include "base/clock.h"
#include "base/log.h"
#include "broker/config/config.h"
#include "broker/control/rights.h"
#include "broker/parent/users.h"

/* A configuration as it was read, checked as a whole. */
struct parent_config {
    struct broker_config config;
    char *text; /* Owned, as the configuration is. */
    struct rights rights;
};

/* All borrowed. */
struct parent_opts {
    struct broker_config *config; /* A reload puts another in its place. */
    /* Reads the file again.  0, or -Exxx with 'why' = "PATH:LINE: ...". */
    int (*read)(void *ctx, struct parent_config *out, char *why,
                size_t why_size);
    void *ctx;
    const char *text;     /* That the configuration was read from, */
    const char *path;     /* and where that came from, for messages. */
    const char *lock_dir; /* Null: where this machine has one. */
    struct rights rights;
    struct users users;
    enum log_level level;
    const char *notify_path; /* $NOTIFY_SOCKET, or null. */
    nsec_t hang_ns; /* A process that does not turn for so long is killed. */
    nsec_t watchdog_ns; /* Between signs of life; 0: none. */
};

/* Starts the others, sees to it that none is missed, and stops them.  Returns
 * the exit status. */
int parent_run(const struct parent_opts *);
/* Puts back what a dead broker left changed.  Likewise. */
int parent_restore(const struct parent_opts *);

#endif
