/* SPDX-License-Identifier: Apache-2.0 */
/* A scenario of VMs that move between brokers (moves.h): how many brokers,
 * where the VMs begin, what happens, and what must have come of it.  A file
 * with "brokers" is one; msim(1) has its manual. */
#ifndef SIM_MOVESCN_H
#define SIM_MOVESCN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

#include "sim/moves.h"

#define MOVESCN_EVENTS_MAX 64
#define MOVESCN_EXPECTS_MAX 16
#define MOVESCN_ABOUT_SIZE 256
#define MOVESCN_NAME_SIZE 64

struct movescn_gauge {
    const char *name;
    size_t offset; /* In struct moves_result, a uint64_t or nsec_t. */
    const char *help;
};
extern const struct movescn_gauge movescn_gauges[];

struct movescn_expect {
    const struct movescn_gauge *gauge;
    unsigned line;
    double low, high; /* Both included. */
};

struct movescn {
    char about[MOVESCN_ABOUT_SIZE];
    struct moves_config config;
    char names[MOVES_VMS_MAX][MOVESCN_NAME_SIZE];
    struct moves_event events[MOVESCN_EVENTS_MAX];
    uint32_t n_expects;
    struct movescn_expect expects[MOVESCN_EXPECTS_MAX];
};

/* 1, and 'out' has it; 0, and the text is another kind of scenario's; -EINVAL
 * with 'why' = "PATH:LINE: what is wrong". */
int movescn_parse(struct movescn *out, const char *text, const char *path,
                  char *why, size_t why_size);
/* Runs it.  True if all is as expected; then and else 'seen' has what was seen,
 * and met[] whether that is so of each expectation. */
bool movescn_run(struct movescn *, FILE *trace, struct moves_result *out,
                 bool met[MOVESCN_EXPECTS_MAX]);
double movescn_value(const struct movescn_expect *,
                     const struct moves_result *);

#endif
