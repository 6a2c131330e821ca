/* SPDX-License-Identifier: Apache-2.0 */
/* The hostile lender's words, on ringpeer.c's ring. Called by the tests of
 * hostile loans. */
#include "tests/unit/channel/lender.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/prng.h"
#include "channel/lending/lent.h"
#include "channel/lending/slab.h"
#include "include/mchan.h"
#include "transport/passing.h"
#include "transport/ring.h"
#include "wire/frame.h"

struct returns *
blocks(struct scene *scene)
{
    return (struct returns *)(void *)(scene->memory + WORDS + 2 * RING);
}

int
set_up(void **state)
{
    int error = scene_set_up(state, "shm");
    struct scene *scene = *state;
    scene->opts.ring_size = RING;
    scene->opts.loan_bytes = LOAN_BYTES;
    scene_listen(scene);
    return error;
}

int
tear_down(void **state)
{
    ringpeer_leave(*state);
    return scene_tear_down(state);
}

void
raw_lend(struct scene *scene, uint32_t sequence, uint64_t handle, uint64_t size)
{
    struct record record = {.size = LOAN_SIZE, .kind = RECORD_LOAN};
    uint8_t loan[LOAN_SIZE];
    record.sequence = sequence;
    record.attachment = scene->attachment;
    loan_put(loan, handle, size);
    ringpeer_put(scene, &record, loan);
}

uint64_t
first(uint32_t unit)
{
    return UINT64_C(1) << 32 | unit;
}

void
raw_share(struct scene *scene, uint64_t size, int seals)
{
    int fd = passing_make_memory(size, seals);
    assert_true(fd >= 0);
    assert_int_equal(passing_send(scene->raw, "", 1, fd), 0);
    close(fd);
}

int
try_view(struct scene *scene, struct mchan_view *out)
{
    int error;
    time_t until = scene_seconds() + SCENE_PATIENCE_S;
    do {
        error = mchan_view(scene->channel, out);
    } while (error == -EAGAIN && scene_seconds() < until);
    return error;
}

void
serve_a_good_one(struct scene *scene)
{
    struct mchan_view got;
    struct mchan_loan loan;
    struct mchan_msg message = {.size = 5000};
    scene->now += NSEC_PER_SEC;
    ringpeer_come_up(scene, LOAN_BYTES);
    raw_share(scene, LOAN_BYTES, SEALS);
    raw_lend(scene, 1, first(3), 5000);
    assert_int_equal(try_view(scene, &got), 0);
    assert_int_equal(got.size, 5000);
    mchan_release(scene->channel, &got);
    assert_int_equal(blocks(scene)[0].count, 1);
    assert_int_equal(blocks(scene)[0].words[0], first(3));
    assert_int_equal(mchan_loan(scene->channel, 5000, &loan), 0);
    assert_int_equal(mchan_send_loan(scene->channel, &loan, &message), 0);
    blocks(scene)[1].words[0] = loan.handle;
    blocks(scene)[1].count = 1;
    struct mchan_stats stats;
    mchan_arm(scene->channel, MCHAN_READABLE);
    mchan_stats(scene->channel, &stats, sizeof stats);
    assert_int_equal(stats.n_lent, 0);
    /* The rings, ours and the peer's; our slab, and what we map of its. */
    assert_int_equal(held_memfds(), 4);
}

void
expect_gone(struct scene *scene, const char *reason, unsigned n_fds)
{
    scene_expect_refused(scene, reason);
    ringpeer_leave(scene);
    assert_int_equal(held_fds(), n_fds);
    assert_true(held_memfds() <= 1);
    scene->now += NSEC_PER_SEC;
}

void
expect_refused(struct scene *scene, const char *reason, unsigned n_fds)
{
    expect_gone(scene, reason, n_fds);
    serve_a_good_one(scene);
}

void
be_lent(struct scene *scene, uint64_t *handles, unsigned n)
{
    ringpeer_come_up(scene, LOAN_BYTES);
    for (unsigned i = 0; i < n; i++) {
        struct mchan_loan loan;
        struct mchan_msg message = {.size = 100};
        assert_int_equal(mchan_loan(scene->channel, 100, &loan), 0);
        assert_int_equal(mchan_send_loan(scene->channel, &loan, &message), 0);
        handles[i] = loan.handle;
    }
}
