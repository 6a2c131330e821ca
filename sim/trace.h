/* SPDX-License-Identifier: Apache-2.0 */
/* What happened in a run, line by line, each with its virtual time: hashed, so
 * that two runs can be compared by one number, and written out if wanted. */
#ifndef SIM_TRACE_H
#define SIM_TRACE_H

#include <stdint.h>
#include <stdio.h>

#include "base/clock.h"

#define TRACE_LINE_MAX 2048

struct trace {
    FILE *file; /* Borrowed; null: only hashed. */
    nsec_t now; /* Of the lines that follow; set by the world. */
    uint64_t hash, n_lines;
};

void trace_init(struct trace *, FILE *file);
/* Adds a line: the time, who, and what. */
__attribute__((format(printf, 3, 4))) void
trace_add(struct trace *, const char *who, const char *format, ...);

#endif
