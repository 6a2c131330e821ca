/* SPDX-License-Identifier: Apache-2.0 */
/* The programs' loop: a turn per wake-up, deadlines met, signals and
 * descriptors noted, nothing run after loop_stop(). */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/loop.h"

struct probe_ctx {
    struct loop *loop;
    nsec_t deadline;
    int n_turns, stop_after;
    bool ready, pending;
    int pipe_fd;
};

static void
turn(void *ctx, nsec_t now)
{
    struct probe_ctx *c = ctx;
    char byte;

    c->n_turns++;
    if (c->ready && read(c->pipe_fd, &byte, 1) == 1) {
        loop_stop(c->loop);
    }
    if (c->pending || (c->stop_after && c->n_turns >= c->stop_after)) {
        loop_stop(c->loop);
    }
    if (c->deadline <= now) {
        c->deadline = now + NSEC_PER_MSEC;
    }
}

static nsec_t
deadline(void *ctx, nsec_t now)
{
    (void)now;
    return ((struct probe_ctx *)ctx)->deadline;
}

static const struct loop_ops ops = {turn, deadline};

static void
deadlines_bring_turns(void **state)
{
    struct probe_ctx c = {.stop_after = 5};

    (void)state;
    assert_int_equal(loop_create(&c.loop, &ops, &c), 0);
    nsec_t before = loop_now();
    loop_run(c.loop);
    assert_int_equal(c.n_turns, 5);
    assert_true(loop_now() - before >= 3 * NSEC_PER_MSEC);
    loop_destroy(c.loop);
}

static void
a_readable_descriptor_marks_itself_and_brings_a_turn(void **state)
{
    struct probe_ctx c = {.deadline = NSEC_NEVER};
    int fds[2];

    (void)state;
    assert_int_equal(pipe(fds), 0);
    c.pipe_fd = fds[0];
    assert_int_equal(loop_create(&c.loop, &ops, &c), 0);
    assert_int_equal(loop_watch(c.loop, fds[0], false, &c.ready), 0);
    assert_int_equal(write(fds[1], "x", 1), 1);
    loop_run(c.loop);
    assert_true(c.ready);
    loop_unwatch(c.loop, fds[0]);
    loop_destroy(c.loop);
    close(fds[0]);
    close(fds[1]);
}

static void
a_signal_is_noted_and_brings_a_turn(void **state)
{
    struct probe_ctx c = {.deadline = NSEC_NEVER};

    (void)state;
    assert_int_equal(loop_create(&c.loop, &ops, &c), 0);
    assert_int_equal(loop_on_signal(c.loop, SIGUSR1, &c.pending), 0);
    kill(getpid(), SIGUSR1);
    loop_run(c.loop);
    assert_true(c.pending);
    loop_destroy(c.loop);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(deadlines_bring_turns),
        cmocka_unit_test(a_readable_descriptor_marks_itself_and_brings_a_turn),
        cmocka_unit_test(a_signal_is_noted_and_brings_a_turn),
    };

    return cmocka_run_group_tests_name("loop", tests, NULL, NULL);
}
