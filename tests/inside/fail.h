/* SPDX-License-Identifier: Apache-2.0 */
/* Takes the place of the C library's allocation and writing in the program that
 * links it, has the N-th call of one kind fail, and counts what is in use. */
#ifndef TESTS_INSIDE_FAIL_H
#define TESTS_INSIDE_FAIL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum fail_kind {
    FAIL_NOTHING,
    FAIL_ALLOC, /* malloc(), calloc(), realloc(): no memory. */
    FAIL_WRITE, /* write(), pwrite(), send(), fsync(), rename(), …. */
};

/* The n-th call from now on fails, once; or with 'on' that and all after it. */
void fail_arm(enum fail_kind, uint64_t n, bool on, int error);
/* Ends it; returns whether any call failed. */
bool fail_disarm(void);
/* Allocations that were not freed. */
int64_t fail_n_live(void);

#endif
