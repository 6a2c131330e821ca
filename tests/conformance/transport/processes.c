/* SPDX-License-Identifier: Apache-2.0 */
/* Rules with other processes: a peer that is cut off or killed loses nothing,
 * doubles nothing, and leaves nothing behind. */
#include <errno.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/prng.h"
#include "tests/conformance/transport/rig.h"
#include "tests/left.h"

/* With other processes. */

/* A guest that sends until it is killed. */
static pid_t
start_guest(const struct rig *rig)
{
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid) {
        return pid;
    }
    struct mchan *channel;
    struct mchan_event event;
    if (mchan_open(&channel, rig->uri, &rig->opts)) {
        _exit(1);
    }
    for (;;) {
        while (mchan_next_event(channel, &event)) {
        }
        while (!rig_send(channel, &pid, sizeof pid, 0)) {
        }
        mchan_arm(channel, MCHAN_READABLE | MCHAN_WRITABLE);
        struct pollfd readable = {.fd = mchan_fd(channel), .events = POLLIN};
        poll(&readable, 1, 1000);
    }
}

/* A guest that counts, in step with nobody. */
static pid_t
start_counter(const struct rig *rig, uint32_t n)
{
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid) {
        return pid;
    }
    struct mchan *channel;
    struct mchan_event event;
    struct mchan_stats stats;
    uint32_t sent = 0;
    if (mchan_open(&channel, rig->uri, &rig->opts)) {
        _exit(1);
    }
    do {
        while (mchan_next_event(channel, &event)) {
            if (event.type == MCHAN_DROPPED) {
                _exit(2);
            }
        }
        while (sent < n && !rig_send(channel, &sent, sizeof sent, 0)) {
            sent++;
        }
        if (!mchan_arm(channel, sent < n ? MCHAN_READABLE | MCHAN_WRITABLE
                                         : MCHAN_READABLE)) {
            struct pollfd readable = {.fd = mchan_fd(channel),
                                      .events = POLLIN};
            poll(&readable, 1, 1000);
        }
        mchan_stats(channel, &stats, sizeof stats);
    } while (stats.n_acked < n);
    mchan_close(channel);
    _exit(0);
}

/* Shuts down every connection of this process. */
static void
cut_connections(void)
{
    for (int fd = 3; fd < 64; fd++) {
        int listens;
        socklen_t size = sizeof listens;
        if (!getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listens, &size) &&
            !listens) {
            shutdown(fd, SHUT_RDWR);
        }
    }
}

static void
cut_off_again_and_again_nothing_is_lost_or_doubled(void **state)
{
    struct rig *rig = *state;
    enum { N = 100000, CUTS = 40 };
    struct prng prng;
    prng_init(&prng, 7);
    rig_open(rig, BACK);
    pid_t pid = start_counter(rig, N);
    uint32_t cut_at = 100;
    unsigned n_cuts = 0, n_resumed = 0;
    for (uint32_t i = 0; i < N; i++) {
        uint32_t got = 0;
        struct mchan_info info;
        assert_int_equal(rig_recv(rig, BACK, &got, sizeof got, &info), 4);
        assert_int_equal(got, i);
        assert_int_equal(info.sequence, i + 1);
        assert_false(info.maybe_repeated);
        if (i == cut_at && n_cuts < CUTS) {
            cut_connections();
            cut_at += 1 + (uint32_t)prng_below(&prng, 2 * N / CUTS);
            n_cuts++;
        }
        rig_collect(&rig->end[BACK]);
        for (unsigned j = 0; j < rig->end[BACK].n_events; j++) {
            assert_int_not_equal(rig->end[BACK].events[j].type, MCHAN_GAP);
            n_resumed += rig->end[BACK].events[j].resumed;
        }
        rig->end[BACK].n_events = 0;
    }
    int status;
    char data[4];
    /* Asking for more acknowledges the last. */
    while (waitpid(pid, &status, WNOHANG) == 0) {
        assert_true(mchan_recv(rig->end[BACK].channel, data, 4, NULL) < 0);
        rig_rest(rig);
        rig->end[BACK].n_events = 0;
    }
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    assert_true(n_cuts > 10 && n_resumed > 5);
}

static void
killed_peers_leave_nothing_behind(void **state)
{
    struct rig *rig = *state;
    rig_open(rig, BACK);
    int32_t fds = held_fds();
    int32_t mappings = held_memfds();
    for (int i = 0; i < 200; i++) {
        char data[16];
        pid_t pid = start_guest(rig);
        rig_expect(rig, BACK, MCHAN_UP);
        rig_recv(rig, BACK, data, sizeof data, NULL);
        struct mchan_peer peer;
        assert_int_equal(mchan_peer(rig->end[BACK].channel, &peer), 0);
        assert_int_equal(peer.pid, pid);
        assert_int_equal(peer.uid, getuid());
        kill(pid, SIGKILL);
        assert_int_equal(waitpid(pid, NULL, 0), pid);
        rig_expect(rig, BACK, MCHAN_PEER_LOST);
        /* Its last messages are still there to be had. */
        while (mchan_recv(rig->end[BACK].channel, data, sizeof data, NULL) >=
               0) {
        }
    }
    assert_int_equal(held_fds(), fds);
    assert_int_equal(held_memfds(), mappings);
    assert_int_equal(left_in(rig->dir), 1); /* The socket. */
}

static void
closing_releases_everything(void **state)
{
    struct rig *rig = *state;
    int32_t fds = held_fds();
    int32_t mappings = held_memfds();
    for (int i = 0; i < 20; i++) {
        rig_connect(rig);
        rig_close(rig, i % 2);
        rig_close(rig, !(i % 2));
    }
    assert_int_equal(held_fds(), fds);
    assert_int_equal(held_memfds(), mappings);
    assert_int_equal(left_in(rig->dir), 0);
}

/* A guest that says so much and is killed at once. */
static pid_t
start_sayer(const struct rig *rig, uint32_t n)
{
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid) {
        return pid;
    }
    struct mchan *channel;
    struct mchan_event event;
    if (mchan_open(&channel, rig->uri, &rig->opts)) {
        _exit(1);
    }
    while (!mchan_next_event(channel, &event)) {
        mchan_wait(channel, 100);
    }
    for (uint32_t i = 0; i < n; i++) {
        while (rig_send(channel, &i, sizeof i, 0)) {
            mchan_wait(channel, 1);
        }
    }
    kill(getpid(), SIGKILL);
    _exit(1);
}

/* 'then' is what receiving says behind them. */
static void
expect_last_words(struct rig *rig, uint32_t n, int then)
{
    struct mchan *back = rig->end[BACK].channel;
    uint32_t got;
    for (uint32_t i = 0; i < n; i++) {
        assert_int_equal(mchan_recv(back, &got, sizeof got, NULL), 4);
        assert_int_equal(got, i);
    }
    assert_int_equal(mchan_recv(back, &got, sizeof got, NULL), then);
}

/* HUP is not ignored for there being something to read. */
static void
a_hangup_over_unread_messages_is_told_at_once_and_loses_none(void **state)
{
    struct rig *rig = *state;
    rig_open(rig, BACK);
    pid_t pid = start_sayer(rig, 200);
    rig_expect(rig, BACK, MCHAN_PEER_LOST);
    assert_int_equal(waitpid(pid, NULL, 0), pid);
    expect_last_words(rig, 200, -ENOTCONN);
    rig_collect(&rig->end[BACK]);
    assert_int_equal(rig->end[BACK].n_events, 0);
}

/* Who reads before he looks at events gets all of it before the loss. */
static void
a_hangup_comes_behind_what_is_read_first(void **state)
{
    struct rig *rig = *state;
    rig_open(rig, BACK);
    struct end *end = &rig->end[BACK];
    pid_t pid = start_sayer(rig, 200);
    rig_expect(rig, BACK, MCHAN_UP);
    assert_int_equal(waitpid(pid, NULL, 0), pid);
    uint32_t got = 0;
    time_t until = rig_seconds() + PATIENCE_S;
    while (mchan_recv(end->channel, &got, sizeof got, NULL) < 0) {
        assert_true(rig_seconds() < until);
        mchan_wait(end->channel, 100);
    }
    for (uint32_t i = 1; i < 200; i++) {
        assert_int_equal(mchan_recv(end->channel, &got, sizeof got, NULL), 4);
        assert_int_equal(got, i);
    }
    while (mchan_recv(end->channel, &got, sizeof got, NULL) == -EAGAIN) {
        assert_true(rig_seconds() < until);
    }
    rig_collect(end);
    assert_int_equal(end->n_events, 1);
    assert_int_equal(end->events[0].type, MCHAN_PEER_LOST);
}

static void
a_move_announced_behind_unread_messages_is_no_loss(void **state)
{
    struct rig *rig = *state;
    uint32_t got = 0;
    rig_connect(rig);
    struct mchan *front = rig->end[FRONT].channel;
    for (uint32_t i = 0; i < 200; i++) {
        assert_int_equal(rig_send(front, &i, sizeof i, 0), 0);
    }
    assert_int_equal(mchan_suspend(front), 0);
    cut_connections();
    rig_expect(rig, FRONT, MCHAN_SUSPENDING);
    rig_expect(rig, BACK, MCHAN_SUSPENDING);
    expect_last_words(rig, 200, -EAGAIN);
    assert_int_equal(rig->end[BACK].n_events, 0);
    assert_int_equal(mchan_resume(front, rig->uri), 0);
    got = 200;
    assert_int_equal(rig_send(front, &got, sizeof got, 0), 0);
    rig_expect(rig, FRONT, MCHAN_RESUMED);
    assert_int_equal(rig_recv(rig, BACK, &got, sizeof got, NULL), 4);
    assert_int_equal(got, 200);
    rig_collect(&rig->end[BACK]);
    assert_int_equal(rig->end[BACK].n_events, 1);
    assert_int_equal(rig->end[BACK].events[0].type, MCHAN_RESUMED);
}

/* All. */

const struct rule process_rules[] = {
    {RULE(cut_off_again_and_again_nothing_is_lost_or_doubled),
     .real_only = true},
    {RULE(a_hangup_over_unread_messages_is_told_at_once_and_loses_none),
     .real_only = true},
    {RULE(a_hangup_comes_behind_what_is_read_first), .real_only = true},
    {RULE(a_move_announced_behind_unread_messages_is_no_loss),
     .real_only = true},
    {RULE(killed_peers_leave_nothing_behind), .real_only = true},
    {RULE(closing_releases_everything)},
    {0},
};
