/* SPDX-License-Identifier: Apache-2.0 */
/* A line between two processes takes what the table of rights lets through and
 * nothing else: every type from every role to every other, and sizes over the
 * limit. */
#include "broker/role/line.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/loop.h"
#include "include/mchan.h"
#include "tests/unit/wire/fill.h"

#define PATIENCE_S 20

static struct loop *loop;
static struct line ours;
static struct mchan *theirs;

static void
no_turn(void *ctx, nsec_t now)
{
}

static nsec_t
no_deadline(void *ctx, nsec_t now)
{
    return NSEC_NEVER;
}

static void
connect_roles(enum grant_role self, enum grant_role peer)
{
    static const struct loop_ops ops = {no_turn, no_deadline};
    struct mchan_opts opts = MCHAN_OPTS_INIT;
    int pair[2];

    assert_int_equal(socketpair(AF_UNIX,
                                SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0,
                                pair),
                     0);
    assert_int_equal(loop_create(&loop, &ops, NULL), 0);
    assert_int_equal(line_open(&ours, loop, pair[0], true, self, peer), 0);
    opts.fd = pair[1];
    assert_int_equal(mchan_open(&theirs, "unix:", &opts), 0);
}

static void
disconnect(void)
{
    mchan_close(theirs);
    line_close(&ours);
    loop_destroy(loop);
}

/* What line_recv() says of such bytes. */
static int
verdict_on(unsigned type, const void *data, size_t size, char *why)
{
    struct mchan_msg out = {.data = data, .size = size, .tag = (uint16_t)type};
    struct mchan_event event;
    static struct msg msg;
    struct timespec began, now;
    int got;

    clock_gettime(CLOCK_MONOTONIC, &began);
    while (mchan_send(theirs, &out)) {
        while (mchan_next_event(theirs, &event) > 0) {
        }
        assert_int_equal(line_recv(&ours, &msg, why, MSG_WHY_SIZE), 0);
    }
    do {
        mchan_next_event(theirs, &event);
        clock_gettime(CLOCK_MONOTONIC, &now);
        assert_true(now.tv_sec - began.tv_sec < PATIENCE_S);
        got = line_recv(&ours, &msg, why, MSG_WHY_SIZE);
    } while (!got);
    return got;
}

static void
every_type_between_every_two_roles_is_let_through_or_denied(void **state)
{
    static uint8_t data[MSG_SIZE_MAX];
    static struct msg msg;
    char why[MSG_WHY_SIZE];
    int n_let = 0;

    for (int self = GRANT_BACK; self < GRANT_ROLES; self++) {
        for (int peer = 0; peer < GRANT_ROLES; peer++) {
            connect_roles((enum grant_role)self, (enum grant_role)peer);
            for (unsigned type = 0; type < 70; type++) {
                ssize_t size = 0;

                if (msg_fields(type)) {
                    fill_largest(&msg, type);
                    size = msg_encode(&msg, MSG_VERSION_MAX, data, sizeof data,
                                      NULL, 0);
                    assert_true(size > 0);
                }
                bool granted = grant_find(type, (enum grant_role)peer,
                                          (enum grant_role)self) != NULL;
                int got = verdict_on(type, data, (size_t)size, why);
                assert_int_equal(got, granted ? 1 : -EPERM);
                n_let += got > 0;
            }
            disconnect();
        }
    }
    assert_in_range(n_let, 30, GRANT_ROWS);
}

static void
what_is_larger_than_its_row_allows_is_refused_and_the_next_is_heard(
    void **state)
{
    static uint8_t data[MSG_SIZE_MAX];
    const struct grant *grant =
        grant_find(MSG_READY, GRANT_PLATFORM, GRANT_ENGINE);
    static struct msg msg = {.type = MSG_READY, .ready = {.note = "here"}};
    char why[MSG_WHY_SIZE] = "";

    connect_roles(GRANT_ENGINE, GRANT_PLATFORM);
    ssize_t size =
        msg_encode(&msg, MSG_VERSION_MAX, data, sizeof data, NULL, 0);
    assert_true(size > 0);
    assert_int_equal(verdict_on(MSG_READY, data, grant->size + 1, why),
                     -EMSGSIZE);
    assert_non_null(strstr(why, "READY"));
    assert_int_equal(verdict_on(MSG_READY, data, (size_t)size, why), 1);
    assert_int_equal(verdict_on(MSG_READY, data, grant->size, why), -EPROTO);
    disconnect();
}

static int
count_fds(void)
{
    int n = 0;

    for (int fd = 0; fd < 256; fd++) {
        n += fcntl(fd, F_GETFD) >= 0;
    }
    return n;
}

/* Who was taken over can send its descriptors, which no filter can tell from
 * other messages; nobody takes them. */
static void
descriptors_that_are_sent_are_not_taken(void **state)
{
    static const struct loop_ops ops = {no_turn, no_deadline};
    struct msg msg;
    char why[MSG_WHY_SIZE], byte = 'M';
    struct iovec part = {&byte, 1};
    union {
        struct cmsghdr header;
        char bytes[CMSG_SPACE(4 * sizeof(int))];
    } control = {{.cmsg_len = CMSG_LEN(4 * sizeof(int)),
                  .cmsg_level = SOL_SOCKET,
                  .cmsg_type = SCM_RIGHTS}};
    const struct msghdr message = {.msg_iov = &part,
                                   .msg_iovlen = 1,
                                   .msg_control = control.bytes,
                                   .msg_controllen = sizeof control.bytes};
    int pair[2];

    memset(CMSG_DATA(&control.header), 0, 4 * sizeof(int)); /* Our input. */
    assert_int_equal(socketpair(AF_UNIX,
                                SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0,
                                pair),
                     0);
    assert_int_equal(loop_create(&loop, &ops, NULL), 0);
    assert_int_equal(
        line_open(&ours, loop, pair[0], true, GRANT_ENGINE, GRANT_BACK), 0);
    int n_fds = count_fds();
    for (int i = 0; i < 32; i++) {
        assert_int_equal(sendmsg(pair[1], &message, MSG_NOSIGNAL), 1);
        assert_true(line_recv(&ours, &msg, why, sizeof why) <= 0);
    }
    assert_int_equal(count_fds(), n_fds);
    close(pair[1]);
    line_close(&ours);
    loop_destroy(loop);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(
            every_type_between_every_two_roles_is_let_through_or_denied),
        cmocka_unit_test(
            what_is_larger_than_its_row_allows_is_refused_and_the_next_is_heard),
        cmocka_unit_test(descriptors_that_are_sent_are_not_taken),
    };

    return cmocka_run_group_tests_name("line", tests, NULL, NULL);
}
