/* SPDX-License-Identifier: Apache-2.0 */
/* What a process holds and what lies about in the file system, counted, so that
 * deaths can be shown to leave nothing. */
#ifndef TESTS_LEFT_H
#define TESTS_LEFT_H

#include <stdbool.h>
#include <stdint.h>

struct held {
    int32_t n_fds;
    int32_t n_mappings;
    int32_t n_memfds; /* Of the mappings, those of a memfd. */
    int32_t rss_kib;
};

/* Of this process; all of it, or one number alone. */
struct held held_now(void);
int32_t held_fds(void);
int32_t held_memfds(void);

/* Gives this process and its children a /dev/shm and a /run of their own, where
 * nobody else's files come and go.  False where that is not allowed. */
bool left_alone(void);
/* Entries of a directory; 0 if there is none. */
int32_t left_in(const char *dir);

#endif
