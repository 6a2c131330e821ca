/* SPDX-License-Identifier: Apache-2.0 */
/* Programs of this project that mctl runs for an answer: what they know stays
 * in one place. */
#ifndef CTL_PROGRAM_H
#define CTL_PROGRAM_H

#include <stdbool.h>
#include <stddef.h>

#define PROGRAM_SAID_SIZE 4096

/* Finds a program beside mctl, in the build tree, or else leaves it to PATH. */
void program_find(const char *name, char *out, size_t size);

/* Runs 'argv' (its first is the name to find) and hands each line of its
 * output, without its end, to 'line' until that returns false; 'line' may be
 * null.  What it says on the standard error is in 'said' of PROGRAM_SAID_SIZE.
 * Returns its exit code, or -Exxx if it can't be run. */
int program_run(const char *const *argv, bool (*line)(void *ctx, char *line),
                void *ctx, char *said);

#endif
