/* SPDX-License-Identifier: Apache-2.0 */
/* An attacker, by the seed: on a real channel it says what an agent may not, or
 * may and it is not true; over the bare transport it sends anything.  It never
 * gives up and keeps no rule but one, to send no more than so much in a turn,
 * so that runs end.  Called by world.c in the agent's place. */
#include "sim/hostile.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/prng.h"
#include "base/text.h"
#include "include/mchan.h"
#include "sim/world.h"
#include "transport/transport.h"
#include "wire/msg.h"

#define PERIOD_NS (50 * NSEC_PER_MSEC)
#define FLOOD_PERIOD_NS (10 * NSEC_PER_MSEC)
#define MESSAGES_MAX 12 /* In a turn, */
#define FLOOD_MAX 40    /* and of a flood. */
#define GARBAGE_MAX 512

struct hostile {
    struct world *world;
    uint32_t guest;
    enum hostile_kind kind;
    struct prng prng;
    struct mchan *channel;
    struct transport *transport; /* Of HOSTILE_BYTES. */
    uint64_t epoch;
    nsec_t next;
};

static int
open_transport(struct hostile *hostile)
{
    const struct transport_class *class = transport_find("sim");
    const char *uri =
        hostile->world->scenario->config.guests[hostile->guest].channel;
    const struct transport_opts opts = {
        .fd = -1, .epoll_fd = -1, .sim = hostile->world->network};

    return class->open(&hostile->transport, strchr(uri, ':') + 1, &opts);
}

int
hostile_create(struct hostile **out, struct world *world, uint32_t guest,
               enum hostile_kind kind)
{
    struct hostile *hostile = calloc(1, sizeof *hostile);

    if (!hostile) {
        return -ENOMEM;
    }
    hostile->world = world;
    hostile->guest = guest;
    hostile->kind = kind;
    hostile->next = world->now;
    prng_init(&hostile->prng, world->scenario->seed * 7919 + guest * 31 + kind);
    int error = kind == HOSTILE_BYTES
                    ? open_transport(hostile)
                    : world_open_channel(world, guest, &hostile->channel);
    if (error) {
        free(hostile);
        return error;
    }
    *out = hostile;
    return 0;
}

void
hostile_destroy(struct hostile *hostile)
{
    if (!hostile) {
        return;
    }
    if (hostile->transport) {
        hostile->transport->class->close(hostile->transport);
    }
    mchan_close(hostile->channel);
    free(hostile);
}

static uint64_t
below(struct hostile *hostile, uint64_t n)
{
    return prng_below(&hostile->prng, n);
}

static void
fill(struct hostile *hostile, uint8_t *data, size_t size)
{
    for (size_t i = 0; i < size; i++) {
        data[i] = (uint8_t)below(hostile, 256);
    }
}

/* Over the bare transport. */
static void
send_bytes(struct hostile *hostile)
{
    const struct transport_class *class = hostile->transport->class;
    uint8_t data[GARBAGE_MAX];
    struct iovec part = {.iov_base = data,
                         .iov_len = 1 + below(hostile, sizeof data)};

    (void)class->connect(hostile->transport);
    fill(hostile, data, part.iov_len);
    (void)class->send(hostile->transport, &part, 1);
    while (class->recv(hostile->transport, data, sizeof data) > 0) {
    }
    if (below(hostile, 4) == 0) {
        class->drop(hostile->transport);
    }
}

/* Messages. */

/* An epoch of the agent's that never was. */
#define MAKE_UP(epoch_of, hostile)                                             \
    do {                                                                       \
        nsec_t until = (hostile)->world->now;                                  \
        (epoch_of)->epoch = (hostile)->epoch++;                                \
        (epoch_of)->start_ns = until - NSEC_PER_SEC / 2;                       \
        (epoch_of)->end_ns = until;                                            \
        (epoch_of)->n_requests = 1 + below(hostile, MSG_COUNT_MAX);            \
        (epoch_of)->n_violations = below(hostile, 2 * (epoch_of)->n_requests); \
        if ((epoch_of)->n_violations > MSG_COUNT_MAX) {                        \
            (epoch_of)->n_violations = MSG_COUNT_MAX;                          \
        }                                                                      \
        (epoch_of)->threshold_us = 1 + below(hostile, MSG_TIME_US_MAX);        \
        (epoch_of)->worst_us = below(hostile, MSG_TIME_US_MAX);                \
        (epoch_of)->sent_ns = until;                                           \
    } while (0)

static void
make_hello(struct hostile *hostile, struct msg *out)
{
    const struct scenario *scenario = hostile->world->scenario;
    uint32_t other = (uint32_t)below(hostile, scenario->n_guests);

    out->type = MSG_HELLO;
    out->hello.version_min = 1;
    out->hello.version_max = 1 + below(hostile, 3);
    text_copy(out->hello.software, sizeof out->hello.software, "evil");
    if (hostile->kind == HOSTILE_CLAIMS && below(hostile, 3)) {
        text_copy(out->hello.claims, sizeof out->hello.claims,
                  scenario->guests[other].name);
    }
    out->hello.time_ns = hostile->world->now;
}

static void
make_lie(struct hostile *hostile, struct msg *out)
{
    memset(out, 0, sizeof *out);
    switch (below(hostile, hostile->kind == HOSTILE_CLAIMS ? 2 : 8)) {
    case 0:
        make_hello(hostile, out);
        break;
    case 1:
        out->type = MSG_BEAT;
        out->beat.number = below(hostile, UINT64_MAX);
        out->beat.offset_ns = (int64_t)below(hostile, UINT64_MAX);
        break;
    case 2:
    case 3:
        out->type = MSG_REPORT;
        MAKE_UP(&out->report, hostile);
        break;
    case 4:
    case 5:
        out->type = MSG_NOTICE;
        MAKE_UP(&out->notice, hostile);
        out->notice.tolerated_permille = below(hostile, 1001);
        break;
    case 6:
        out->type = MSG_NOTE;
        snprintf(out->note.type, sizeof out->note.type, "evil.test/%u",
                 (unsigned)below(hostile, 100));
        out->note.n_bytes = (uint32_t)below(hostile, 200);
        fill(hostile, out->note.bytes, out->note.n_bytes);
        out->note.number = 1 + below(hostile, UINT64_MAX);
        break;
    default:
        out->type = below(hostile, 20) ? MSG_BEAT : MSG_BYE;
        break;
    }
}

static void
send_message(struct hostile *hostile)
{
    uint8_t data[MSG_SIZE_MAX];
    struct mchan_msg out = {.data = data, .delivery = MCHAN_RELIABLE};
    struct msg lie;

    make_lie(hostile, &lie);
    ssize_t size =
        msg_encode(&lie, MSG_VERSION_MAX, data, sizeof data, NULL, 0);
    if (size < 0) {
        return;
    }
    out.tag = (uint16_t)lie.type;
    if (hostile->kind == HOSTILE_TAGS) {
        size = (ssize_t)below(hostile, 300);
        fill(hostile, data, (size_t)size);
        out.tag = (uint16_t)below(hostile, below(hostile, 2) ? 70 : 65536);
    } else if (hostile->kind == HOSTILE_MUTANTS) {
        for (uint64_t n = 1 + below(hostile, 4); n > 0 && size > 0; n--) {
            data[below(hostile, (uint64_t)size)] ^=
                (uint8_t)(1u << below(hostile, 8));
        }
        out.tag = (uint16_t)(below(hostile, 4) ? lie.type : below(hostile, 70));
    }
    out.size = (size_t)size;
    if (below(hostile, 8) == 0) {
        out.delivery =
            (uint8_t)(below(hostile, 2) ? MCHAN_LATEST : MCHAN_DATAGRAM);
        out.key = out.delivery == MCHAN_LATEST
                      ? (uint8_t)below(hostile, MCHAN_KEYS)
                      : 0;
    }
    (void)mchan_send(hostile->channel, &out);
}

static void
greet(struct hostile *hostile)
{
    uint8_t data[MSG_SIZE_MAX];
    struct msg hello = {.type = MSG_HELLO};

    make_hello(hostile, &hello);
    ssize_t size =
        msg_encode(&hello, MSG_VERSION_MIN, data, sizeof data, NULL, 0);
    struct mchan_msg out = {
        .data = data, .size = (size_t)size, .tag = MSG_HELLO};
    if (size > 0) {
        (void)mchan_send(hostile->channel, &out);
    }
}

/* What the broker says is taken, so that the channel goes on. */
static void
listen(struct hostile *hostile)
{
    uint8_t data[MSG_SIZE_MAX];
    struct mchan_event event;
    struct mchan_info info;

    while (mchan_next_event(hostile->channel, &event) > 0) {
        if (event.type == MCHAN_UP) {
            greet(hostile);
        }
    }
    while (mchan_recv(hostile->channel, data, sizeof data, &info) >= 0) {
    }
}

void
hostile_run(struct hostile *hostile, nsec_t now)
{
    bool flood = hostile->kind == HOSTILE_FLOOD;

    if (hostile->channel) {
        listen(hostile);
    }
    if (now >= hostile->next) {
        uint64_t n = flood ? FLOOD_MAX : 1 + below(hostile, MESSAGES_MAX);

        for (uint64_t i = 0; i < n; i++) {
            if (hostile->channel) {
                send_message(hostile);
            } else {
                send_bytes(hostile);
            }
        }
        hostile->next = now + (flood ? FLOOD_PERIOD_NS : PERIOD_NS);
    }
    if (hostile->channel) {
        (void)mchan_arm(hostile->channel, MCHAN_READABLE);
    }
}

nsec_t
hostile_deadline(const struct hostile *hostile)
{
    nsec_t due =
        hostile->channel ? mchan_deadline(hostile->channel) : NSEC_NEVER;

    /* Its channel lives by the guest's clock. */
    return due == NSEC_NEVER
               ? hostile->next
               : nsec_min(
                     hostile->next,
                     due -
                         hostile->world->guests[hostile->guest].clock_ahead_ns);
}
