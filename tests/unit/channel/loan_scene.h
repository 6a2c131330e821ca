/* SPDX-License-Identifier: Apache-2.0 */
/* Both ends of a channel over shared memory that lends, on a clock that is
 * made up, and what was held before, so that each test ends with nothing left.
 */
#ifndef TESTS_UNIT_CHANNEL_LOAN_SCENE_H
#define TESTS_UNIT_CHANNEL_LOAN_SCENE_H

#include <stddef.h>
#include <stdint.h>

#include "include/mchan.h"

#define LOAN_BYTES (1u << 20)
#define ROUNDS_MAX 3000

enum { BACK, FRONT };

struct pair {
    char dir[64], uri[96];
    int64_t now;
    struct mchan_opts opts;
    struct mchan *end[2];
    /* Of events seen, per end. */
    unsigned n_up[2], n_lost[2], n_proto_errors[2], n_dropped[2], n_gaps[2];
    int32_t n_fds, n_maps; /* Before anything was opened. */
};

int set_up(void **state);
void open_end(struct pair *pair, int which);
void close_end(struct pair *pair, int which);
int tear_down(void **state);
void collect(struct pair *pair, int which);
/* Lets both ends move on once, and time pass. */
void move_on(struct pair *pair);
/* Until both were told of so many sessions. */
void come_up(struct pair *pair, unsigned n);
void open_both(struct pair *pair);
/* Ends all connections, and neither end. */
void cut(struct pair *pair);
uint8_t byte_at(uint32_t seed, size_t at);
void fill(void *data, size_t size, uint32_t seed);
void expect_filled(const void *data, size_t size, uint32_t seed);
int lend(struct pair *pair, int from, size_t size, uint32_t seed);
struct mchan_view view(struct pair *pair, int at);
uint64_t n_lent(struct pair *pair, int which);

#endif
