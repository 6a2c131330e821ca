/* SPDX-License-Identifier: Apache-2.0 */
/* Reads a filter of system calls as the kernel runs it.  For mctl doctor. */
#ifndef CTL_FILTER_H
#define CTL_FILTER_H

#include <stddef.h>
#include <stdint.h>

struct sock_filter;

#define FILTER_INSTRUCTIONS_MAX 4096 /* The kernel's own bound. */
#define FILTER_CALLS 512             /* No kernel has so many, yet. */

enum filter_answer {
    FILTER_REFUSES,
    FILTER_SOMETIMES, /* By the arguments. */
    FILTER_ALLOWS,
};

/* What a filter says to a call on this machine, whatever its arguments.  A
 * program that makes no sense refuses. */
enum filter_answer filter_judge(const struct sock_filter *, size_t n,
                                uint32_t call);

/* Asks the kernel for all filters of a process; it is stopped for some
 * microseconds.  0 and how many calls it may make, and of those how many not
 * with all arguments; or -Exxx: only root may ask, and not every kernel
 * answers. */
int filter_count(int32_t pid, uint32_t *allowed_out, uint32_t *sometimes_out);

#endif
