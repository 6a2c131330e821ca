/* SPDX-License-Identifier: Apache-2.0 */
/* A hostile peer that agrees on loans, with its hands on the memory it shares:
 * it lends what it likes and gives back what it likes. After each refusal a
 * good one is served, and nothing is left. */
#ifndef TESTS_UNIT_CHANNEL_LENDER_H
#define TESTS_UNIT_CHANNEL_LENDER_H

#include <fcntl.h>

#include "base/clock.h"
#include "tests/left.h"
#include "transport/returns.h"
#include "ringpeer.h"

#define RING 4096u
#define WORDS 4096u
#define MEMORY (WORDS + 2 * RING + 2 * sizeof(struct returns))
#define LOAN_BYTES (32u * 4096u)
#define SEALS (F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_FUTURE_WRITE)

/* The hostile peer's mapping; scene->memory is where it begins. */
struct returns *blocks(struct scene *scene);
int set_up(void **state);
int tear_down(void **state);
void raw_lend(struct scene *scene, uint32_t sequence, uint64_t handle,
              uint64_t size);
/* A handle of generation 1. */
uint64_t first(uint32_t unit);
/* Shares memory of this size with these seals. */
void raw_share(struct scene *scene, uint64_t size, int seals);
int try_view(struct scene *scene, struct mchan_view *out);
/* A well-behaved one lends and is lent. */
void serve_a_good_one(struct scene *scene);
/* Refused for this reason, with nothing left of it, and of ours at most what we
 * lent it and keep to send it again. */
void expect_gone(struct scene *scene, const char *reason, unsigned n_fds);
void expect_refused(struct scene *scene, const char *reason, unsigned n_fds);
/* The channel lends 'n' chunks; their handles. */
void be_lent(struct scene *scene, uint64_t *handles, unsigned n);

#endif
