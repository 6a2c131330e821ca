/* SPDX-License-Identifier: Apache-2.0 */
/* A child that can't write its counts of branches, in builds that count.  For
 * the tests of the sandbox. */
#ifndef TESTS_UNIT_BROKER_COUNTED_H
#define TESTS_UNIT_BROKER_COUNTED_H

#include <stdbool.h>

/* Runs 'run' in a child of ours, which ends in it, and returns its wait status.
 * Its branches are counted if it 'may_share' memory; then it gets no user
 * namespace. */
int run_counted(bool may_share, int (*run)(void *ctx), void *ctx);

#endif
