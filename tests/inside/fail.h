/* SPDX-License-Identifier: Apache-2.0 */
/* Takes the place of the C library's allocation, writing and asking of the
 * kernel in the program that links it, has the N-th call of one kind fail, and
 * counts what is in use.  Or, as a library that is loaded before others
 * (preload.c), in any program, told by another process through memory that both
 * share. */
#ifndef TESTS_INSIDE_FAIL_H
#define TESTS_INSIDE_FAIL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum fail_kind {
    FAIL_NOTHING,
    FAIL_ALLOC, /* malloc(), calloc(), realloc(): no memory. */
    FAIL_WRITE, /* write(), pwrite(), send(), fsync(), rename(), …. */
    FAIL_CALL,  /* open(), fstat(), socket(), mmap(), pthread_create(), …. */
    FAIL_N_KINDS,
};

/* What is to fail, and what did.  May be shared with another process. */
struct fail_state {
    _Atomic uint32_t kind;         /* enum fail_kind; FAIL_NOTHING: none. */
    _Atomic uint32_t on;           /* That and all after it. */
    _Atomic uint64_t left;         /* Calls until it fails. */
    _Atomic uint32_t failed, with; /* Any did; with which errno. */
    _Atomic int64_t n_live;
    _Atomic uint64_t n_calls[FAIL_N_KINDS]; /* By kind, since the start. */
    _Atomic uint32_t pid; /* Whose it is, in memory that is shared. */
};

/* From now on it is this one's; borrowed for ever. */
void fail_share(struct fail_state *);

/* The n-th call from now on fails, once; or with 'on' that and all after it. */
void fail_arm(enum fail_kind, uint64_t n, bool on, int error);
/* Ends it; returns whether any call failed. */
bool fail_disarm(void);
/* While it is held nothing fails, and no call is counted. */
void fail_hold(bool on);
/* Of that kind, since the start. */
uint64_t fail_n_calls(enum fail_kind);
/* Allocations that were not freed. */
int64_t fail_n_live(void);

#endif
