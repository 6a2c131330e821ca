/* SPDX-License-Identifier: Apache-2.0 */
/* What a process in the sandbox must not be able to do: each attempt is one
 * thing that an intruder would try, and which walls hold it. */
#ifndef TESTS_UNIT_BROKER_ATTEMPTS_H
#define TESTS_UNIT_BROKER_ATTEMPTS_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

/* An attempt, and which walls hold it without the filter. */
struct attempt {
    const char *name;
    long (*try)(void);
    bool needs_filter;         /* Harmless behind the other walls. */
    bool needs_filter_if_user; /* Who isn't root may do it to his own. */
};

extern const struct attempt attempts[];
extern const size_t n_attempts;

/* Another process of the same user, to be attacked. */
extern pid_t sibling;

long run_program(void);
long signal_parent(void);

#endif
