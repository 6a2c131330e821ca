/* SPDX-License-Identifier: Apache-2.0 */
/* Cause numbers link an event to the decision, action and outcome it led to.
 * They are unique over restarts: start count << 40 | n.  The process that
 * stamps guests' events ("back") counts n up from 1; the engine, which stamps
 * what it noticed itself, counts with bit 39 set.  People read and write them
 * as START.N, or START.eN for the engine's. */
#ifndef MODEL_CAUSE_H
#define MODEL_CAUSE_H

#include <stdbool.h>
#include <stdint.h>

#define CAUSE_NONE UINT64_C(0)
#define CAUSE_TEXT_SIZE 32

struct cause_counter {
    uint64_t next;
};

/* 'start' is the broker's start count, 1 or more. */
void cause_counter_init(struct cause_counter *, uint64_t start, bool engine);
uint64_t cause_next(struct cause_counter *);
void cause_format(uint64_t cause, char out[CAUSE_TEXT_SIZE]);
/* Reads START.N, START.eN or the whole number; a bare small N (below 1 << 40)
 * or eN is of the start 'current'.  Returns 0 or -EINVAL. */
int cause_parse(uint64_t *out, const char *text, uint64_t current);

#endif
