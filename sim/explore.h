/* SPDX-License-Identifier: Apache-2.0 */
/* Looks for runs in which what must hold does not: one made-up scenario a seed,
 * of one host or of VMs that move between brokers. */
#ifndef SIM_EXPLORE_H
#define SIM_EXPLORE_H

#include <stdbool.h>
#include <stdint.h>

struct explore_opts {
    const char *program; /* As it was called, for "to repeat". */
    uint64_t first, n;
    bool json;      /* One object at the end, and nothing else. */
    bool trace;     /* Every event, on standard error. */
    bool go_on;     /* After a violation. */
    bool unchecked; /* No seed is run twice, and none made smaller. */
};

/* Returns how many seeds had a violation, or -Exxx. */
int explore(const struct explore_opts *);

#endif
