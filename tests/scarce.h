/* SPDX-License-Identifier: Apache-2.0 */
/* A machine that lacks something at a chosen moment: the N-th call of a C
 * library's function, among those that our own code makes, fails.  Unlike
 * tests/inside, which tries everything, a test that uses this names the call
 * and says what must come of it; it works under sanitizers, too. */
#ifndef TESTS_SCARCE_H
#define TESTS_SCARCE_H

#include <stdbool.h>

/* The n-th call of 'name' from now on (the first is 1) fails with 'error',
 * once; so do others that are armed already.  "memory" stands for all that
 * allocate; a file's calls have their plain names ("open" for openat(), too),
 * and "odd name" has uname() say a name that is none.  An 'error' of 0 has
 * pwrite() and write() take nothing. */
void scarce_arm(const char *name, unsigned n, int error);
/* Ends it; returns whether all that were armed came, and failed. */
bool scarce_disarm(void);

#endif
