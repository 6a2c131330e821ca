/* SPDX-License-Identifier: Apache-2.0 */
/* What every transport must let the M-channel promise: each rule is run once
 * for every member of the transport table, through the public API. */
#include <dirent.h>
#include <errno.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/prng.h"
#include "include/mchan.h"
#include "transport/sim.h"
#include "transport/transport.h"

#define EVENTS_KEPT 64
#define PATIENCE_S 30 /* For anything; the machine may be busy. */

enum { BACK, FRONT };

struct end {
    struct mchan *channel;
    struct mchan_event events[EVENTS_KEPT];
    unsigned n_events;
};

/* Two ends, and the place where they meet. */
struct rig {
    const struct transport_class *class;
    char dir[64];
    char uri[128];
    struct mchan_opts opts;
    struct sim_network *network; /* Of a simulated transport. */
    int64_t now;                 /* Its time. */
    struct end end[2];
};

static int64_t
rig_time(void *ctx)
{
    return ((struct rig *)ctx)->now;
}

/* Driving. */

static void
rig_open(struct rig *rig, int which)
{
    int error =
        which == BACK
            ? mchan_listen(&rig->end[which].channel, rig->uri, &rig->opts)
            : mchan_open(&rig->end[which].channel, rig->uri, &rig->opts);
    assert_int_equal(error, 0);
    rig->end[which].n_events = 0;
}

static void
rig_close(struct rig *rig, int which)
{
    mchan_close(rig->end[which].channel);
    rig->end[which].channel = NULL;
}

static void
collect(struct end *end)
{
    struct mchan_event event;
    while (end->channel && mchan_next_event(end->channel, &event)) {
        assert_true(end->n_events < EVENTS_KEPT);
        end->events[end->n_events++] = event;
    }
}

/* Lets made-up time pass until something is due. */
static bool
advance(struct rig *rig, int wait_ms)
{
    int64_t due = sim_network_deadline(rig->network);
    for (int i = 0; i < 2; i++) {
        if (rig->end[i].channel) {
            due = nsec_min(due, mchan_deadline(rig->end[i].channel));
        }
    }
    int64_t until = rig->now + wait_ms * NSEC_PER_MSEC;
    bool found = due <= until;
    rig->now = due > rig->now ? nsec_min(due, until) : rig->now;
    sim_network_run(rig->network, rig->now);
    return found;
}

/* Lets both ends move on; if neither has anything to do, waits that long for
 * one of the descriptors.  False if that was in vain. */
static bool
rig_wait(struct rig *rig, int wait_ms)
{
    struct pollfd fds[2];
    nfds_t n = 0;
    bool busy = false;
    for (int i = 0; i < 2; i++) {
        unsigned before = rig->end[i].n_events;
        collect(&rig->end[i]);
        busy |= rig->end[i].n_events != before;
    }
    for (int i = 0; i < 2; i++) {
        if (rig->end[i].channel) {
            busy |= mchan_arm(rig->end[i].channel, MCHAN_READABLE) == 1;
            fds[n].fd = mchan_fd(rig->end[i].channel);
            fds[n++].events = POLLIN;
        }
    }
    if (rig->network) {
        return advance(rig, wait_ms) || busy;
    }
    return poll(fds, n, busy ? 0 : wait_ms) > 0 || busy;
}

/* Something is due: the descriptors must say so by themselves. */
static void
rig_step(struct rig *rig)
{
    assert_true(rig_wait(rig, PATIENCE_S * 1000));
}

/* Nothing need happen, but it may. */
static void
rig_rest(struct rig *rig)
{
    (void)rig_wait(rig, 1);
}

static time_t
seconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec;
}

/* Waits for an event of this type, passing over others. */
static struct mchan_event
rig_expect(struct rig *rig, int which, enum mchan_event_type type)
{
    struct end *end = &rig->end[which];
    time_t until = seconds() + PATIENCE_S;
    while (seconds() < until) {
        collect(end);
        for (unsigned i = 0; i < end->n_events; i++) {
            if (end->events[i].type == type) {
                struct mchan_event found = end->events[i];
                end->n_events -= i + 1;
                memmove(end->events, end->events + i + 1,
                        end->n_events * sizeof found);
                return found;
            }
        }
        rig_step(rig);
    }
    fail_msg("event %d never came", type);
    abort();
}

static void
rig_connect(struct rig *rig)
{
    rig_open(rig, BACK);
    rig_open(rig, FRONT);
    rig_expect(rig, FRONT, MCHAN_UP);
    rig_expect(rig, BACK, MCHAN_UP);
}

static int
send_bytes(struct mchan *channel, const void *data, size_t size, uint16_t tag)
{
    struct mchan_msg message = {.data = data, .size = size, .tag = tag};
    return mchan_send(channel, &message);
}

/* Receives one message, waiting for it. */
static size_t
rig_recv(struct rig *rig, int which, void *data, size_t size,
         struct mchan_info *info)
{
    time_t until = seconds() + PATIENCE_S;
    while (seconds() < until) {
        ssize_t got = mchan_recv(rig->end[which].channel, data, size, info);
        if (got >= 0) {
            return (size_t)got;
        }
        assert_true(got == -EAGAIN || got == -ENOTCONN);
        rig_step(rig);
    }
    fail_msg("message never came");
    return 0;
}

static int
set_up(void **state)
{
    struct rig *rig = *state;
    const struct mchan_opts opts = MCHAN_OPTS_INIT;
    rig->opts = opts;
    strcpy(rig->dir, "/tmp/mchan-test-XXXXXX");
    assert_non_null(mkdtemp(rig->dir));
    if (rig->class->simulated) {
        rig->now = 1;
        assert_int_equal(sim_network_create(&rig->network, 1), 0);
        sim_network_run(rig->network, rig->now);
        rig->opts.sim = rig->network;
        rig->opts.now_ns = rig_time;
        rig->opts.now_ctx = rig;
    }
    snprintf(rig->uri, sizeof rig->uri, "%s:%s/s", rig->class->name, rig->dir);
    return 0;
}

static int
tear_down(void **state)
{
    struct rig *rig = *state;
    rig_close(rig, FRONT);
    rig_close(rig, BACK);
    sim_network_destroy(rig->network);
    rig->network = NULL;
    /* Fails if a channel left something in it. */
    assert_int_equal(rmdir(rig->dir), 0);
    return 0;
}

/* Rules. */

static void
messages_arrive_in_order(void **state)
{
    struct rig *rig = *state;
    rig_connect(rig);
    for (uint32_t i = 0, sent = 0; i < 5000; i++) {
        while (sent < 5000 && !send_bytes(rig->end[FRONT].channel, &sent,
                                          sizeof sent, (uint16_t)sent)) {
            sent++;
        }
        uint32_t got = 0;
        struct mchan_info info;
        assert_int_equal(rig_recv(rig, BACK, &got, sizeof got, &info), 4);
        assert_int_equal(got, i);
        assert_int_equal(info.tag, (uint16_t)i);
        assert_int_equal(info.sequence, i + 1);
        assert_int_equal(info.delivery, MCHAN_RELIABLE);
        assert_false(info.maybe_repeated);
    }
}

static void
both_directions_carry_every_size(void **state)
{
    struct rig *rig = *state;
    rig_connect(rig);
    size_t max = mchan_message_max(rig->end[FRONT].channel);
    uint8_t *data = malloc(max), *back = malloc(max);
    for (size_t size = 0; size <= max; size += size < 300 ? 1 : 977) {
        for (size_t i = 0; i < size; i++) {
            data[i] = (uint8_t)(i * 7 + size);
        }
        for (int to = BACK; to <= FRONT; to++) {
            assert_int_equal(send_bytes(rig->end[!to].channel, data, size, 3),
                             0);
            assert_int_equal(rig_recv(rig, to, back, max, NULL), size);
            assert_memory_equal(back, data, size);
        }
    }
    free(data);
    free(back);
}

static void
too_large_a_message_is_refused_in_words(void **state)
{
    struct rig *rig = *state;
    rig_connect(rig);
    struct mchan *front = rig->end[FRONT].channel;
    size_t max = mchan_message_max(front);
    assert_int_equal(max, 65536 / 8);
    uint8_t *data = calloc(1, max + 1);
    assert_int_equal(send_bytes(front, data, max + 1, 0), -EMSGSIZE);
    assert_int_equal(send_bytes(front, data, max, 0), 0);
    assert_int_equal(rig_recv(rig, BACK, data, max, NULL), max);
    free(data);
}

static void
a_small_buffer_loses_nothing(void **state)
{
    struct rig *rig = *state;
    rig_connect(rig);
    char text[6];
    struct mchan *back = rig->end[BACK].channel;
    assert_int_equal(send_bytes(rig->end[FRONT].channel, "hello", 6, 1), 0);
    ssize_t got;
    while ((got = mchan_recv(back, text, 5, NULL)) == -EAGAIN) {
        rig_step(rig);
    }
    assert_int_equal(got, -ENOBUFS);
    assert_int_equal(mchan_recv(back, text, 5, NULL), -ENOBUFS);
    assert_int_equal(mchan_recv(back, text, 6, NULL), 6);
    assert_string_equal(text, "hello");
}

static void
a_slow_reader_makes_the_sender_wait(void **state)
{
    struct rig *rig = *state;
    rig_connect(rig);
    struct mchan *front = rig->end[FRONT].channel;
    uint8_t data[1000] = {0};
    uint32_t sent = 0;
    int error;
    while (!(error = send_bytes(front, data, sizeof data, 0))) {
        assert_true(++sent < 100000);
    }
    assert_int_equal(error, -EAGAIN);
    /* Still so after turns of both ends, as long as nobody reads. */
    for (int i = 0; i < 10; i++) {
        rig_rest(rig);
    }
    for (uint32_t i = 0; i < 100; i++) {
        if (!send_bytes(front, data, sizeof data, 0)) {
            sent++;
        }
    }
    assert_int_equal(send_bytes(front, data, sizeof data, 0), -EAGAIN);
    assert_int_equal(mchan_arm(front, MCHAN_WRITABLE), 0);
    for (uint32_t i = 0; i < sent; i++) {
        assert_int_equal(rig_recv(rig, BACK, data, sizeof data, NULL), 1000);
    }
    assert_int_equal(
        mchan_recv(rig->end[BACK].channel, data, sizeof data, NULL), -EAGAIN);
    mchan_arm(rig->end[BACK].channel, MCHAN_READABLE);
    if (rig->network) {
        rig_rest(rig);
    } else {
        struct pollfd readable = {.fd = mchan_fd(front), .events = POLLIN};
        assert_int_equal(poll(&readable, 1, PATIENCE_S * 1000), 1);
    }
    assert_int_equal(mchan_arm(front, MCHAN_WRITABLE), 1);
    assert_int_equal(send_bytes(front, data, sizeof data, 0), 0);
}

static void
nothing_can_be_sent_before_the_peer_came(void **state)
{
    struct rig *rig = *state;
    char data[4];
    rig_open(rig, BACK);
    struct mchan *back = rig->end[BACK].channel;
    assert_int_equal(send_bytes(back, data, 4, 0), -ENOTCONN);
    assert_int_equal(mchan_recv(back, data, 4, NULL), -ENOTCONN);
    struct mchan_peer peer;
    assert_int_equal(mchan_peer(back, &peer),
                     rig->network ? -ENOTSUP : -ENOTCONN);
}

static void
acknowledged_means_that_the_next_was_asked_for(void **state)
{
    struct rig *rig = *state;
    rig_connect(rig);
    struct mchan_stats stats;
    struct mchan *front = rig->end[FRONT].channel;
    char data[4];
    assert_int_equal(send_bytes(front, "one", 4, 0), 0);
    rig_recv(rig, BACK, data, 4, NULL);
    for (int i = 0; i < 5; i++) {
        rig_rest(rig);
    }
    assert_int_equal(mchan_stats(front, &stats, sizeof stats), 0);
    assert_int_equal(stats.n_acked, 0);
    assert_int_equal(mchan_recv(rig->end[BACK].channel, data, 4, NULL),
                     -EAGAIN);
    time_t until = seconds() + PATIENCE_S;
    do {
        rig_rest(rig);
        mchan_stats(front, &stats, sizeof stats);
    } while (!stats.n_acked && seconds() < until);
    assert_int_equal(stats.n_acked, 1);
}

static void
goodbye_comes_after_the_last_message(void **state)
{
    struct rig *rig = *state;
    rig_connect(rig);
    char data[4];
    assert_int_equal(send_bytes(rig->end[FRONT].channel, "one", 4, 0), 0);
    assert_int_equal(send_bytes(rig->end[FRONT].channel, "two", 4, 0), 0);
    rig_close(rig, FRONT);
    assert_int_equal(rig_recv(rig, BACK, data, 4, NULL), 4);
    assert_string_equal(data, "one");
    assert_int_equal(rig_recv(rig, BACK, data, 4, NULL), 4);
    assert_string_equal(data, "two");
    rig_expect(rig, BACK, MCHAN_PEER_LOST);
    /* All of it came, so the next session begins without a gap. */
    rig_open(rig, FRONT);
    rig_expect(rig, BACK, MCHAN_UP);
    rig_rest(rig);
    assert_int_equal(rig->end[BACK].n_events, 0);
}

static void
what_was_not_acknowledged_is_reported_dropped(void **state)
{
    struct rig *rig = *state;
    rig_connect(rig);
    char data[4];
    struct mchan *front = rig->end[FRONT].channel;
    for (int i = 0; i < 5; i++) {
        assert_int_equal(send_bytes(front, "abc", 4, 0), 0);
    }
    for (int i = 0; i < 3; i++) {
        rig_recv(rig, BACK, data, 4, NULL); /* Acknowledges i. */
    }
    rig_rest(rig);
    rig_close(rig, BACK);
    rig_expect(rig, FRONT, MCHAN_PEER_LOST);
    struct mchan_event dropped = rig_expect(rig, FRONT, MCHAN_DROPPED);
    assert_in_range(dropped.from, 1, 3);
    assert_int_equal(dropped.to, 5);
    assert_int_equal(send_bytes(front, "abc", 4, 0), -ENOTCONN);
}

static void
a_peer_that_returns_comes_up_with_a_higher_attachment(void **state)
{
    struct rig *rig = *state;
    rig_open(rig, BACK);
    uint32_t before = 0;
    for (int i = 0; i < 5; i++) {
        rig_open(rig, FRONT);
        struct mchan_event at_front = rig_expect(rig, FRONT, MCHAN_UP);
        struct mchan_event at_back = rig_expect(rig, BACK, MCHAN_UP);
        assert_int_equal(at_front.attachment, at_back.attachment);
        assert_true(at_back.attachment > before);
        before = at_back.attachment;
        rig_close(rig, FRONT);
        rig_expect(rig, BACK, MCHAN_PEER_LOST);
    }
}

static void
a_broker_that_returns_is_found_again(void **state)
{
    struct rig *rig = *state;
    rig_connect(rig);
    char data[4];
    for (int i = 0; i < 3; i++) {
        rig_close(rig, BACK);
        rig_expect(rig, FRONT, MCHAN_PEER_LOST);
        rig_open(rig, BACK);
        struct mchan_event up = rig_expect(rig, FRONT, MCHAN_UP);
        assert_int_equal(up.attachment, i + 2);
        rig_expect(rig, BACK, MCHAN_UP);
        assert_int_equal(send_bytes(rig->end[FRONT].channel, "abc", 4, 0), 0);
        assert_int_equal(rig_recv(rig, BACK, data, 4, NULL), 4);
    }
}

static void
a_second_peer_is_refused_while_the_first_lives(void **state)
{
    struct rig *rig = *state;
    rig_connect(rig);
    struct mchan *second;
    assert_int_equal(mchan_open(&second, rig->uri, &rig->opts), 0);
    struct mchan_stats stats;
    time_t until = seconds() + PATIENCE_S;
    do {
        rig_rest(rig);
        mchan_arm(second, MCHAN_READABLE);
        mchan_stats(rig->end[BACK].channel, &stats, sizeof stats);
    } while (stats.n_refused_peers < 2 && seconds() < until);
    assert_true(stats.n_refused_peers >= 2);
    struct mchan_event event;
    assert_int_equal(mchan_next_event(second, &event), 0);
    assert_int_equal(rig->end[BACK].n_events, 0);
    char data[4];
    assert_int_equal(send_bytes(rig->end[FRONT].channel, "abc", 4, 0), 0);
    assert_int_equal(rig_recv(rig, BACK, data, 4, NULL), 4);
    /* It gets its turn when the first has left. */
    rig_close(rig, FRONT);
    rig->end[FRONT].channel = second;
    rig_expect(rig, FRONT, MCHAN_UP);
}

/* The other classes. */

static int
send_class(struct mchan *channel, uint8_t delivery, uint8_t key, uint32_t value)
{
    struct mchan_msg message = {.data = &value, .size = sizeof value};
    message.delivery = delivery;
    message.key = key;
    return mchan_send(channel, &message);
}

static void
what_is_no_class_is_refused(void **state)
{
    struct rig *rig = *state;
    rig_connect(rig);
    struct mchan *front = rig->end[FRONT].channel;
    static uint8_t large[65536];
    struct mchan_msg message = {.data = large, .size = sizeof large};
    assert_int_equal(send_class(front, 17, 0, 0), -EINVAL);
    assert_int_equal(send_class(front, MCHAN_LATEST, MCHAN_KEYS, 0), -EINVAL);
    message.delivery = MCHAN_LATEST;
    assert_int_equal(mchan_send(front, &message), -EMSGSIZE);
    message.delivery = MCHAN_DATAGRAM;
    assert_int_equal(mchan_send(front, &message), -EMSGSIZE);
}

static void
a_slow_reader_gets_the_newest_value_of_each_key(void **state)
{
    struct rig *rig = *state;
    enum { KEYS = 3, VALUES = 20000 };
    rig_connect(rig);
    struct mchan *front = rig->end[FRONT].channel;
    for (uint32_t i = 0; i < VALUES; i++) {
        assert_int_equal(
            send_class(front, MCHAN_LATEST, (uint8_t)(i % KEYS), i), 0);
    }
    uint32_t newest[KEYS] = {0}, n = 0;
    while (newest[(VALUES - 1) % KEYS] != VALUES - 1 ||
           newest[(VALUES - 2) % KEYS] != VALUES - 2 ||
           newest[(VALUES - 3) % KEYS] != VALUES - 3) {
        struct mchan_info info;
        uint32_t value;
        assert_int_equal(rig_recv(rig, BACK, &value, sizeof value, &info), 4);
        assert_int_equal(info.delivery, MCHAN_LATEST);
        assert_int_equal(info.sequence, 0);
        assert_int_equal(info.key, value % KEYS);
        assert_false(info.maybe_repeated);
        assert_true(value >= newest[info.key]);
        newest[info.key] = value;
        n++;
    }
    /* Those that were under way first, and the newest. */
    assert_int_equal(n, 2 * KEYS);
    struct mchan_stats stats;
    mchan_stats(front, &stats, sizeof stats);
    assert_int_equal(stats.n_overtaken, VALUES - n);
    assert_int_equal(stats.n_sent, n);
}

static void
all_classes_flow_beside_each_other(void **state)
{
    struct rig *rig = *state;
    rig_connect(rig);
    struct mchan *front = rig->end[FRONT].channel;
    uint32_t sent[3] = {0}, taken[3] = {0}, next = 1;
    for (uint32_t i = 0; taken[MCHAN_RELIABLE] < 3000; i++) {
        for (uint8_t class = 0; class < 3; class ++) {
            if (sent[MCHAN_RELIABLE] < 3000 || class != MCHAN_RELIABLE) {
                sent[class] += !send_class(front, class, 5, sent[class]);
            }
        }
        struct mchan_info info;
        uint32_t value;
        assert_int_equal(rig_recv(rig, BACK, &value, sizeof value, &info), 4);
        taken[info.delivery]++;
        if (info.delivery == MCHAN_RELIABLE) {
            assert_int_equal(info.sequence, next++);
            assert_int_equal(value, info.sequence - 1);
        }
    }
    assert_true(taken[MCHAN_LATEST] > 1); /* One under way at a time. */
    assert_true(taken[MCHAN_DATAGRAM] > 10);
}

static void
datagrams_without_room_are_dropped_and_counted(void **state)
{
    struct rig *rig = *state;
    rig_open(rig, BACK);
    struct mchan *back = rig->end[BACK].channel;
    struct mchan_stats stats;
    assert_int_equal(send_class(back, MCHAN_DATAGRAM, 0, 0), 0);
    mchan_stats(back, &stats, sizeof stats);
    assert_int_equal(stats.n_datagrams_dropped, 1);
    rig_open(rig, FRONT);
    rig_expect(rig, FRONT, MCHAN_UP);
    rig_expect(rig, BACK, MCHAN_UP);
    for (uint32_t i = 0; i < 5000; i++) {
        assert_int_equal(send_class(back, MCHAN_DATAGRAM, 0, i), 0);
    }
    mchan_stats(back, &stats, sizeof stats);
    assert_true(stats.n_datagrams_dropped > 1000);
    assert_int_equal(stats.n_sent + stats.n_datagrams_dropped, 5001);
    for (uint32_t i = 0; i < stats.n_sent; i++) {
        uint32_t value = 0;
        rig_recv(rig, FRONT, &value, sizeof value, NULL);
        assert_int_equal(value, i); /* Those before it was full. */
    }
    /* There is room again. */
    mchan_recv(rig->end[FRONT].channel, &(uint32_t){0}, 4, NULL);
    mchan_arm(rig->end[FRONT].channel, MCHAN_READABLE);
    rig_rest(rig);
    uint64_t before = stats.n_datagrams_dropped;
    assert_int_equal(send_class(back, MCHAN_DATAGRAM, 0, 7), 0);
    mchan_stats(back, &stats, sizeof stats);
    assert_int_equal(stats.n_datagrams_dropped, before);
}

static void
values_wait_for_the_peer_and_come_again_to_the_next(void **state)
{
    struct rig *rig = *state;
    struct mchan_info info;
    uint32_t value;
    rig_open(rig, BACK);
    for (uint32_t i = 0; i < 10; i++) {
        assert_int_equal(
            send_class(rig->end[BACK].channel, MCHAN_LATEST, 63, i), 0);
    }
    for (int i = 0; i < 3; i++) {
        rig_open(rig, FRONT);
        rig_expect(rig, FRONT, MCHAN_UP);
        rig_recv(rig, FRONT, &value, sizeof value, &info);
        assert_int_equal(value, 9);
        assert_int_equal(info.key, 63);
        assert_int_equal(info.maybe_repeated, i > 0);
        assert_int_equal(mchan_recv(rig->end[FRONT].channel, &value, 4, NULL),
                         -EAGAIN);
        rig_close(rig, FRONT);
        rig_expect(rig, BACK, MCHAN_PEER_LOST);
    }
}

/* Writing in place. */

static void
what_is_written_in_place_arrives(void **state)
{
    struct rig *rig = *state;
    rig_connect(rig);
    struct mchan *front = rig->end[FRONT].channel;
    size_t max = mchan_message_max(front);
    uint8_t *got = malloc(max);
    for (size_t i = 0; i < 300; i++) {
        size_t reserved = i * 977 % (max + 1);
        size_t size = i % 3 ? reserved : reserved / 3;
        struct mchan_msg message = {.size = size, .tag = 9};
        struct mchan_info info;
        void *place = NULL;
        assert_int_equal(mchan_reserve(front, reserved, &place), 0);
        memset(place, (int)i, reserved);
        assert_int_equal(mchan_commit(front, &message), 0);
        memset(got, 0xff, max);
        assert_int_equal(rig_recv(rig, BACK, got, max, &info), size);
        assert_int_equal(info.sequence, i + 1);
        assert_int_equal(info.tag, 9);
        for (size_t at = 0; at < size; at++) {
            assert_int_equal(got[at], (uint8_t)i);
        }
    }
    free(got);
}

static void
a_reservation_is_given_up_by_what_is_sent_after_it(void **state)
{
    struct rig *rig = *state;
    rig_connect(rig);
    struct mchan *front = rig->end[FRONT].channel;
    struct mchan_msg message = {.size = 4};
    char got[8];
    void *place;
    assert_int_equal(mchan_commit(front, &message), -EINVAL);
    assert_int_equal(mchan_reserve(front, 4, &place), 0);
    assert_int_equal(send_bytes(front, "abc", 4, 0), 0);
    assert_int_equal(mchan_commit(front, &message), -EINVAL);
    assert_int_equal(mchan_reserve(front, 4, &place), 0);
    memcpy(place, "def", 4);
    mchan_abort(front);
    assert_int_equal(mchan_commit(front, &message), -EINVAL);
    /* More than was reserved, and a class that does not do this. */
    assert_int_equal(mchan_reserve(front, 3, &place), 0);
    assert_int_equal(mchan_commit(front, &message), -EINVAL);
    assert_int_equal(mchan_reserve(front, 4, &place), 0);
    message.delivery = MCHAN_LATEST;
    assert_int_equal(mchan_commit(front, &message), -EINVAL);
    assert_int_equal(mchan_reserve(front, mchan_message_max(front) + 1, &place),
                     -EMSGSIZE);
    assert_int_equal(rig_recv(rig, BACK, got, sizeof got, NULL), 4);
    assert_string_equal(got, "abc");
    assert_int_equal(send_bytes(front, "ghi", 4, 0), 0);
    assert_int_equal(rig_recv(rig, BACK, got, sizeof got, NULL), 4);
    assert_string_equal(got, "ghi");
}

static void
what_was_received_can_be_acknowledged_alone(void **state)
{
    struct rig *rig = *state;
    rig_connect(rig);
    struct mchan *front = rig->end[FRONT].channel;
    struct mchan *back = rig->end[BACK].channel;
    struct mchan_stats stats;
    char data[4];
    assert_int_equal(send_bytes(front, "one", 4, 0), 0);
    assert_int_equal(send_bytes(front, "two", 4, 0), 0);
    rig_recv(rig, BACK, data, 4, NULL);
    assert_int_equal(mchan_ack(back), 0);
    time_t until = seconds() + PATIENCE_S;
    do {
        mchan_arm(front, MCHAN_READABLE);
        rig_rest(rig);
        mchan_stats(front, &stats, sizeof stats);
    } while (!stats.n_acked && seconds() < until);
    assert_int_equal(stats.n_acked, 1);
    assert_int_equal(rig_recv(rig, BACK, data, 4, NULL), 4);
    assert_string_equal(data, "two");
}

/* With other processes. */

static unsigned
count_entries(const char *path)
{
    unsigned n = 0;
    DIR *dir = opendir(path);
    assert_non_null(dir);
    while (readdir(dir)) {
        n++;
    }
    closedir(dir);
    return n;
}

static unsigned
count_mappings(void)
{
    char line[512];
    unsigned n = 0;
    FILE *file = fopen("/proc/self/maps", "r");
    assert_non_null(file);
    while (fgets(line, sizeof line, file)) {
        /* The heap may grow; nothing of ours has to do with it. */
        n += strstr(line, "mchan") || strstr(line, "memfd");
    }
    fclose(file);
    return n;
}

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
        while (!send_bytes(channel, &pid, sizeof pid, 0)) {
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
        while (sent < n && !send_bytes(channel, &sent, sizeof sent, 0)) {
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
        collect(&rig->end[BACK]);
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
    unsigned fds = count_entries("/proc/self/fd");
    unsigned mappings = count_mappings();
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
    assert_int_equal(count_entries("/proc/self/fd"), fds);
    assert_int_equal(count_mappings(), mappings);
    assert_int_equal(count_entries(rig->dir), 3); /* ".", "..", the socket. */
}

static void
closing_releases_everything(void **state)
{
    struct rig *rig = *state;
    unsigned fds = count_entries("/proc/self/fd");
    unsigned mappings = count_mappings();
    for (int i = 0; i < 20; i++) {
        rig_connect(rig);
        rig_close(rig, i % 2);
        rig_close(rig, !(i % 2));
    }
    assert_int_equal(count_entries("/proc/self/fd"), fds);
    assert_int_equal(count_mappings(), mappings);
    assert_int_equal(count_entries(rig->dir), 2);
}

#define RULE(name) #name, name

static const struct {
    const char *name;
    void (*run)(void **state);
    bool real_only; /* Needs other processes, or their kernel's manners. */
} rules[] = {
    {RULE(messages_arrive_in_order)},
    {RULE(both_directions_carry_every_size)},
    {RULE(too_large_a_message_is_refused_in_words)},
    {RULE(a_small_buffer_loses_nothing)},
    {RULE(a_slow_reader_makes_the_sender_wait)},
    {RULE(nothing_can_be_sent_before_the_peer_came)},
    {RULE(acknowledged_means_that_the_next_was_asked_for)},
    {RULE(goodbye_comes_after_the_last_message)},
    {RULE(what_was_not_acknowledged_is_reported_dropped)},
    {RULE(a_peer_that_returns_comes_up_with_a_higher_attachment)},
    {RULE(a_broker_that_returns_is_found_again)},
    {RULE(a_second_peer_is_refused_while_the_first_lives), .real_only = true},
    {RULE(what_is_no_class_is_refused)},
    {RULE(a_slow_reader_gets_the_newest_value_of_each_key)},
    {RULE(all_classes_flow_beside_each_other)},
    {RULE(datagrams_without_room_are_dropped_and_counted)},
    {RULE(values_wait_for_the_peer_and_come_again_to_the_next)},
    {RULE(what_is_written_in_place_arrives)},
    {RULE(a_reservation_is_given_up_by_what_is_sent_after_it)},
    {RULE(what_was_received_can_be_acknowledged_alone)},
    {RULE(cut_off_again_and_again_nothing_is_lost_or_doubled),
     .real_only = true},
    {RULE(killed_peers_leave_nothing_behind), .real_only = true},
    {RULE(closing_releases_everything)},
};

#define N_RULES (sizeof rules / sizeof *rules)
#define TRANSPORTS_MAX 16

int
main(void)
{
    static struct rig rigs[TRANSPORTS_MAX];
    static struct CMUnitTest tests[TRANSPORTS_MAX * N_RULES];
    static char names[TRANSPORTS_MAX * N_RULES][96];
    size_t n = 0;
    for (size_t i = 0; transport_table[i]; i++) {
        rigs[i].class = transport_table[i];
        for (size_t j = 0; j < N_RULES; j++) {
            if (rules[j].real_only && transport_table[i]->simulated) {
                continue;
            }
            snprintf(names[n], sizeof names[n], "%s_%s",
                     transport_table[i]->name, rules[j].name);
            tests[n].name = names[n];
            tests[n].test_func = rules[j].run;
            tests[n].setup_func = set_up;
            tests[n].teardown_func = tear_down;
            tests[n].initial_state = &rigs[i];
            n++;
        }
    }
    return _cmocka_run_group_tests("conformance/transport", tests, n, NULL,
                                   NULL);
}
