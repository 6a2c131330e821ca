/* SPDX-License-Identifier: Apache-2.0 */
/* Two threads, each with an end of a channel, as two processes would have them:
 * all classes, loans and messages written in place, both ways at once.  Its use
 * is under TSan, which sees what the two do to the memory that both map; see
 * 'threaded' in meson.build. */
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/prng.h"
#include "include/mchan.h"

#define N_MESSAGES 3000
#define SIZE_MAX_COPIED 2000
#define SIZE_MAX_LENT 20000

/* One end and its thread.  What is wrong is counted, and asserted once the
 * thread is over: cmocka's assertions are for its own thread. */
struct end {
    struct mchan *channel;
    struct prng prng;
    unsigned n_sent, n_received; /* Reliable ones. */
    unsigned n_latest, n_datagrams, n_lent;
    uint32_t newest;
    unsigned n_wrong;
    bool peer_lost;
};

/* Each begins with its number; the rest follows from that. */
static void
fill(uint8_t *data, size_t size, uint32_t number)
{
    memcpy(data, &number, sizeof number);
    memset(data + sizeof number, (int)(number & 0xff), size - sizeof number);
}

static bool
is_whole(const uint8_t *data, size_t size, uint32_t *number_out)
{
    if (size < sizeof *number_out) {
        return false;
    }
    memcpy(number_out, data, sizeof *number_out);
    for (size_t i = sizeof *number_out; i < size; i++) {
        if (data[i] != (*number_out & 0xff)) {
            return false;
        }
    }
    return true;
}

static size_t
any_size(struct end *end, size_t max)
{
    return sizeof(uint32_t) + prng_u64(&end->prng) % (max - sizeof(uint32_t));
}

static int
send_lent(struct end *end, uint32_t number)
{
    struct mchan_loan loan;
    struct mchan_msg message = {.size = any_size(end, SIZE_MAX_LENT)};
    int error = mchan_loan(end->channel, SIZE_MAX_LENT, &loan);
    if (!error) {
        fill(loan.data, message.size, number);
        error = mchan_send_loan(end->channel, &loan, &message);
        if (error) {
            mchan_unloan(end->channel, &loan);
        }
    }
    end->n_lent += !error;
    return error;
}

static int
send_in_place(struct end *end, uint32_t number)
{
    void *room;
    struct mchan_msg message = {.size = any_size(end, SIZE_MAX_COPIED)};
    int error = mchan_reserve(end->channel, SIZE_MAX_COPIED, &room);
    if (error) {
        return error;
    }
    fill(room, message.size, number);
    if (prng_u64(&end->prng) % 8 == 0) {
        mchan_abort(end->channel);
        return -EAGAIN;
    }
    return mchan_commit(end->channel, &message);
}

static int
send_copied(struct end *end, uint32_t number, uint8_t delivery)
{
    uint8_t data[SIZE_MAX_COPIED];
    struct mchan_msg message = {
        .data = data, .size = any_size(end, sizeof data), .delivery = delivery};
    fill(data, message.size, number);
    return mchan_send(end->channel, &message);
}

/* Several at once; they are counted here. */
static int
send_several(struct end *end)
{
    enum { N = 5 };
    uint8_t data[N][100];
    struct mchan_msg messages[N];
    unsigned n = N_MESSAGES - end->n_sent < N ? N_MESSAGES - end->n_sent : N;
    for (unsigned i = 0; i < n; i++) {
        messages[i] = (struct mchan_msg){.data = data[i],
                                         .size = any_size(end, sizeof data[i])};
        fill(data[i], messages[i].size, end->n_sent + i);
    }
    ssize_t sent = mchan_send_many(end->channel, messages, n);
    if (sent < 0) {
        return (int)sent;
    }
    end->n_sent += (unsigned)sent;
    return 0;
}

/* Sends some of everything, until there is no room. */
static void
send_some(struct end *end)
{
    int error = 0;
    for (int i = 0; i < 20 && !error && end->n_sent < N_MESSAGES; i++) {
        switch (prng_u64(&end->prng) % 5) {
        case 0:
            error = send_lent(end, end->n_sent);
            end->n_sent += !error;
            break;
        case 1:
            error = send_in_place(end, end->n_sent);
            end->n_sent += !error;
            break;
        case 2:
            error = send_several(end);
            break;
        default:
            error = send_copied(end, end->n_sent, MCHAN_RELIABLE);
            end->n_sent += !error;
        }
        end->n_wrong += error && error != -EAGAIN;
        if (end->n_sent % 7 == 0) {
            end->n_wrong += !!send_copied(end, end->n_sent, MCHAN_LATEST);
            end->n_wrong += !!send_copied(end, end->n_sent, MCHAN_DATAGRAM);
        }
    }
}

static void
judge(struct end *end, const uint8_t *data, size_t size, uint8_t delivery)
{
    uint32_t number = 0;
    end->n_wrong += !is_whole(data, size, &number);
    switch (delivery) {
    case MCHAN_RELIABLE:
        end->n_wrong += number != end->n_received++;
        break;
    case MCHAN_LATEST:
        end->n_wrong += number < end->newest;
        end->newest = number;
        end->n_latest++;
        break;
    default:
        end->n_datagrams++;
    }
}

/* One message, by a copy or in place.  False if there is none. */
static bool
receive_one(struct end *end)
{
    uint8_t data[SIZE_MAX_LENT];
    struct mchan_info info;
    struct mchan_view view;
    if (prng_u64(&end->prng) % 2) {
        ssize_t size = mchan_recv(end->channel, data, sizeof data, &info);
        if (size >= 0) {
            judge(end, data, (size_t)size, info.delivery);
        }
        return size >= 0;
    }
    if (mchan_view(end->channel, &view)) {
        return false;
    }
    judge(end, view.data, view.size, view.info.delivery);
    mchan_release(end->channel, &view);
    return true;
}

static void
take_events(struct end *end)
{
    struct mchan_event event;
    while (mchan_next_event(end->channel, &event)) {
        end->peer_lost |= event.type == MCHAN_PEER_LOST;
        end->n_wrong += event.type == MCHAN_PROTO_ERROR ||
                        event.type == MCHAN_GAP || event.type == MCHAN_DROPPED;
    }
}

static bool
is_through(const struct end *end)
{
    struct mchan_stats stats;
    (void)mchan_stats(end->channel, &stats, sizeof stats);
    return end->n_sent == N_MESSAGES && end->n_received == N_MESSAGES &&
           stats.n_acked >= N_MESSAGES;
}

static void *
run(void *end_)
{
    struct end *end = end_;
    struct pollfd pollfd = {.fd = mchan_fd(end->channel), .events = POLLIN};
    while (!is_through(end) && !end->peer_lost) {
        take_events(end);
        send_some(end);
        while (receive_one(end)) {
        }
        unsigned what = MCHAN_READABLE;
        what |= end->n_sent < N_MESSAGES ? MCHAN_WRITABLE : 0;
        if (!mchan_arm(end->channel, what)) {
            /* The peer's last acknowledgement wakes nobody. */
            (void)poll(&pollfd, 1, end->n_sent < N_MESSAGES ? -1 : 10);
        }
    }
    /* The other may not be through yet. */
    mchan_close(end->channel);
    return end;
}

static void
make_pair(struct end ends[2], const char *uri, uint32_t ring_size,
          uint64_t loan_bytes)
{
    int sockets[2];
    struct mchan_opts opts = MCHAN_OPTS_INIT;
    memset(ends, 0, 2 * sizeof *ends);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, sockets), 0);
    opts.ring_size = ring_size;
    opts.loan_bytes = loan_bytes;
    opts.fd = sockets[0];
    assert_int_equal(mchan_listen(&ends[0].channel, uri, &opts), 0);
    opts.fd = sockets[1];
    assert_int_equal(mchan_open(&ends[1].channel, uri, &opts), 0);
    struct mchan_event event;
    for (int i = 0; i < 2; i++) {
        prng_init(&ends[i].prng, (uint64_t)i + 11);
        while (mchan_wait(ends[i].channel, -1) == 1 &&
               !mchan_next_event(ends[i].channel, &event)) {
        }
        assert_int_equal(event.type, MCHAN_UP);
    }
}

static void
everything_goes_both_ways_between_two_threads(void **state)
{
    struct end ends[2];
    pthread_t threads[2];
    make_pair(ends, "shm:", 65536, 16 * SIZE_MAX_LENT);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(pthread_create(&threads[i], NULL, run, &ends[i]), 0);
    }
    for (int i = 0; i < 2; i++) {
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    }
    for (int i = 0; i < 2; i++) {
        assert_int_equal(ends[i].n_wrong, 0);
        assert_int_equal(ends[i].n_sent, N_MESSAGES);
        assert_int_equal(ends[i].n_received, N_MESSAGES);
        assert_true(ends[i].n_latest > 0);
        assert_true(ends[i].n_datagrams > 0);
        assert_true(ends[i].n_lent > N_MESSAGES / 16);
    }
}

/* A busy consumer says that it is awake after 256 KiB, and then sleeps: each
 * round has the barrier, and none may be the last. */
#define ROUNDS 40
#define ROUND_BYTES (600u << 10)

static void *
read_rounds(void *end_)
{
    struct end *end = end_;
    size_t total = 0;
    while (total < (size_t)ROUNDS * ROUND_BYTES && !end->peer_lost) {
        uint8_t data[8192];
        ssize_t size;
        (void)mchan_wait(end->channel, -1);
        take_events(end);
        while ((size = mchan_recv(end->channel, data, sizeof data, NULL)) >=
               0) {
            total += (size_t)size;
        }
    }
    struct mchan_msg done = {.data = "done", .size = 4};
    end->n_wrong += !!mchan_send(end->channel, &done);
    return end;
}

static void
who_was_busy_for_long_still_wakes_up(void **state)
{
    struct end ends[2];
    pthread_t thread;
    static uint8_t data[4096];
    struct mchan_msg message = {.data = data, .size = sizeof data};
    make_pair(ends, "shm:", 65536, 0);
    assert_int_equal(pthread_create(&thread, NULL, read_rounds, &ends[1]), 0);
    struct pollfd pollfd = {.fd = mchan_fd(ends[0].channel), .events = POLLIN};
    for (int round = 0; round < ROUNDS; round++) {
        for (size_t sent = 0; sent < ROUND_BYTES;) {
            int error = mchan_send(ends[0].channel, &message);
            assert_true(!error || error == -EAGAIN);
            sent += error ? 0 : sizeof data;
            if (error && !mchan_arm(ends[0].channel, MCHAN_WRITABLE)) {
                assert_true(poll(&pollfd, 1, 120000) > 0);
            }
        }
        usleep(500); /* It falls asleep, or is about to. */
    }
    assert_int_equal(mchan_wait(ends[0].channel, 120000), 1);
    assert_int_equal(mchan_recv(ends[0].channel, data, sizeof data, NULL), 4);
    assert_int_equal(pthread_join(thread, NULL), 0);
    assert_int_equal(ends[1].n_wrong, 0);
    mchan_close(ends[0].channel);
    mchan_close(ends[1].channel);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(everything_goes_both_ways_between_two_threads),
        cmocka_unit_test(who_was_busy_for_long_still_wakes_up),
    };
    return cmocka_run_group_tests_name("channel/threads", tests, NULL, NULL);
}
