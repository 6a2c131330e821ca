/* SPDX-License-Identifier: Apache-2.0 */
/* A line between two processes that can't be opened, or whose other end is
 * gone, talks without an end, or says what it may not. */
#include "broker/role/line.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/loop.h"
#include "include/mchan.h"
#include "tests/scarce.h"

static void
no_turn(void *ctx, nsec_t now)
{
}

static nsec_t
no_deadline(void *ctx, nsec_t now)
{
    return NSEC_NEVER;
}

static struct loop *loop;
static int pair[2];
static struct msg_reload reload; /* None is sent here. */

static int
set_up(void **state)
{
    static const struct loop_ops ops = {no_turn, no_deadline};

    return socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0,
                      pair) ||
           loop_create(&loop, &ops, NULL);
}

static int
tear_down(void **state)
{
    loop_destroy(loop);
    return 0;
}

/* Whichever allocation fails, nothing stays open. */
static void
a_line_is_open_or_not_there(void **state)
{
    struct line line;
    bool failed = true;
    unsigned n_refused = 0;

    for (unsigned n = 1; failed; n++) {
        int end = dup(pair[0]);

        scarce_arm("memory", n, ENOMEM);
        int error = line_open(&line, loop, end, true, GRANT_ENGINE, GRANT_BACK);
        failed = scarce_disarm();
        if (error) {
            assert_true(failed);
            assert_int_equal(error, -ENOMEM);
            n_refused++;
            close(end); /* The caller's still, or closed with the channel. */
        } else {
            line_close(&line);
        }
    }
    assert_true(n_refused > 1);
    close(pair[0]);
    close(pair[1]);
}

static void
a_line_that_is_closed_takes_nothing(void **state)
{
    struct msg msg = {.type = MSG_BEAT, .beat = {.number = 1}};
    char why[MSG_WHY_SIZE];
    struct line line;

    assert_int_equal(
        line_open(&line, loop, pair[0], true, GRANT_ENGINE, GRANT_BACK), 0);
    line_close(&line);
    assert_int_equal(line_send(&line, &msg), -EAGAIN);
    assert_int_equal(line_recv(&line, &msg, why, sizeof why), 0);
    line.lost = false; /* As if nobody had noticed. */
    assert_int_equal(line_send(&line, &msg), -EAGAIN);
    line_want(&line, true);
    assert_false(line.waiting);
    line_arm(&line);
    assert_false(line.ready);
    close(pair[1]);
}

/* Makes both ends and lets them meet. */
static struct mchan *
meet(struct line *line, enum grant_role self, enum grant_role peer)
{
    struct mchan_opts opts = MCHAN_OPTS_INIT;
    struct mchan *theirs;
    struct mchan_event event;
    struct msg msg;
    char why[MSG_WHY_SIZE];

    assert_int_equal(line_open(line, loop, pair[0], true, self, peer), 0);
    opts.fd = pair[1];
    assert_int_equal(mchan_open(&theirs, "unix:", &opts), 0);
    for (int i = 0; i < 20; i++) {
        mchan_next_event(theirs, &event);
        assert_int_equal(line_recv(line, &msg, why, sizeof why), 0);
    }
    assert_true(line->up);
    return theirs;
}

static void
say(struct mchan *theirs, const struct msg *msg)
{
    uint8_t data[MSG_SIZE_MAX];
    ssize_t size = msg_encode(msg, MSG_VERSION_MAX, data, sizeof data, NULL, 0);
    struct mchan_msg out = {
        .data = data, .size = (size_t)size, .tag = (uint16_t)msg->type};

    assert_true(size >= 0);
    assert_int_equal(mchan_send(theirs, &out), 0);
}

static void
what_can_not_be_said_is_not_sent(void **state)
{
    struct line line;
    struct mchan *theirs = meet(&line, GRANT_ENGINE, GRANT_BACK);
    struct msg msg = {.type = MSG_SAMPLE_VM, .sample_vm = {.time_ns = -1}};

    assert_int_equal(line_send(&line, &msg), -EINVAL);
    mchan_close(theirs);
    line_close(&line);
}

/* One turn hears a bounded number of them, and says that there may be more. */
static void
a_parent_that_talks_without_an_end_does_not_hold_us(void **state)
{
    struct line line;
    struct mchan *theirs = meet(&line, GRANT_ENGINE, GRANT_PARENT);

    for (uint64_t i = 1; i <= LINE_TURN_MAX + 5; i++) {
        struct msg beat = {.type = MSG_BEAT, .beat = {.number = i}};
        say(theirs, &beat);
    }
    line.ready = true;
    assert_int_equal(line_hear_parent(&line, &reload), PARENT_QUIET);
    assert_true(line.ready);
    assert_int_equal(line_hear_parent(&line, &reload), PARENT_QUIET);
    assert_false(line.ready);
    struct msg bye = {.type = MSG_BYE};
    say(theirs, &bye);
    assert_int_equal(line_hear_parent(&line, &reload), PARENT_BYE);
    mchan_close(theirs);
    line_close(&line);
}

static void
a_parent_that_says_what_it_may_not_is_none(void **state)
{
    struct line line;
    struct mchan *theirs = meet(&line, GRANT_ENGINE, GRANT_PARENT);
    struct mchan_msg out = {.data = "x", .size = 1, .tag = 60000};

    assert_int_equal(mchan_send(theirs, &out), 0);
    assert_int_equal(line_hear_parent(&line, &reload), PARENT_GONE);
    mchan_close(theirs);
    line_close(&line);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int
main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_line_is_open_or_not_there),
        TEST(a_line_that_is_closed_takes_nothing),
        TEST(what_can_not_be_said_is_not_sent),
        TEST(a_parent_that_talks_without_an_end_does_not_hold_us),
        TEST(a_parent_that_says_what_it_may_not_is_none),
    };

    return cmocka_run_group_tests_name("line_trouble", tests, NULL, NULL);
}
