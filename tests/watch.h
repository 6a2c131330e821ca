/* SPDX-License-Identifier: Apache-2.0 */
/* What a test needs that starts processes and watches them: the time, naps,
 * memory that all of them share. */
#ifndef TESTS_WATCH_H
#define TESTS_WATCH_H

#include <stddef.h>
#include <stdint.h>

/* CLOCK_MONOTONIC. */
int64_t watch_now(void);
/* Less than a second. */
void watch_nap(int64_t ns);
/* Zeroed, and the same in all processes forked from now on.  Ends the program
 * if there is none. */
void *watch_share(size_t size);
/* A new directory "/tmp/mchan-NAME-XXXXXX" in 'out'; ends the program if it
 * can't be made. */
void watch_make_dir(char *out, size_t size, const char *name);

#endif
