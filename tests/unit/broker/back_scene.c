/* SPDX-License-Identifier: Apache-2.0 */
/* The back core's surroundings: channels in a directory of its own, the
 * engine's end, agents that dial, speak and listen. Relies on the real channel
 * at both ends. Called by the tests of broker/back/back.c. */
#include "tests/unit/broker/back_scene.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

char dir[64], uris[N_GUESTS][96];
struct broker_config config;
struct guest_config guests[N_GUESTS];
struct back *back;
struct mchan *agents[N_GUESTS]; /* Borrowed; null: nobody dialled. */
struct msg *heard;              /* By the engine. */
int n_heard, engine_error;
nsec_t now;

int
to_engine(void *ctx, const struct msg *msg)
{
    if (!engine_error && n_heard < KEPT_MAX) {
        heard[n_heard++] = *msg;
    }
    return engine_error;
}

int
setup(void **state)
{
    struct back_env env = {.to_engine = to_engine, .start_count = 2};

    strcpy(dir, "/tmp/mbroker-back-XXXXXX");
    assert_non_null(mkdtemp(dir));
    heard = calloc(KEPT_MAX, sizeof *heard);
    n_heard = engine_error = 0;
    memset(agents, 0, sizeof agents);
    now = 5000 * NSEC_PER_SEC;
    memset(guests, 0, sizeof guests);
    config = (struct broker_config){.domain = "local",
                                    .n_guests = N_GUESTS,
                                    .guests = guests,
                                    .beat_ns = NSEC_PER_SEC};
    for (uint32_t i = 0; i < N_GUESTS; i++) {
        snprintf(guests[i].name, sizeof guests[i].name, "web%u", i);
        guests[i].uuid.byte[0] = (uint8_t)(i + 1);
    }
    assert_int_equal(back_create(&back, &config, &env), 0);
    for (uint32_t i = 0; i < N_GUESTS; i++) {
        struct mchan *channel;

        snprintf(uris[i], sizeof uris[i], "unix:%s/%u", dir, i);
        assert_int_equal(mchan_listen(&channel, uris[i], NULL), 0);
        back_add_channel(back, i, channel);
    }
    return 0;
}

int
teardown(void **state)
{
    char command[128];

    back_destroy(back);
    free(heard);
    snprintf(command, sizeof command, "rm -rf %s", dir);
    return system(command);
}

void
turns(int n)
{
    struct mchan_event event;

    for (int i = 0; i < n; i++) {
        for (uint32_t j = 0; j < N_GUESTS; j++) {
            while (agents[j] && mchan_next_event(agents[j], &event) > 0) {
            }
            back_mark_ready(back, j);
        }
        now += NSEC_PER_MSEC;
        back_run(back, now);
    }
}

int
count(enum msg_type type, int guest)
{
    int n = 0;

    for (int i = 0; i < n_heard; i++) {
        /* The stamp is at another place in each. */
        const struct uuid *vm =
            heard[i].type == MSG_GUEST_UP       ? &heard[i].guest_up.vm
            : heard[i].type == MSG_GUEST_LOST   ? &heard[i].guest_lost.vm
            : heard[i].type == MSG_GUEST_REPORT ? &heard[i].guest_report.vm
            : heard[i].type == MSG_GUEST_NOTICE ? &heard[i].guest_notice.vm
            : heard[i].type == MSG_GUEST_NOTE   ? &heard[i].guest_note.vm
            : heard[i].type == MSG_GUEST_USAGE  ? &heard[i].guest_usage.vm
                                                : &heard[i].guest_alarm.vm;

        n += heard[i].type == type && vm->byte[0] == guest + 1;
    }
    return n;
}

time_t
real_time(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return ts.tv_sec;
}

void
until(enum msg_type type, int guest, int n)
{
    time_t end = real_time() + PATIENCE_S;

    while (count(type, guest) < n) {
        if (real_time() > end) {
            fail_msg("%s of guest %d: %d, not %d", msg_name(type), guest,
                     count(type, guest), n);
        }
        turns(1);
    }
}

struct mchan *
dial(int guest)
{
    struct mchan *channel;

    assert_int_equal(mchan_open(&channel, uris[guest], NULL), 0);
    agents[guest] = channel;
    return channel;
}

void
hang_up(struct mchan *channel)
{
    for (int i = 0; i < N_GUESTS; i++) {
        agents[i] = agents[i] == channel ? NULL : agents[i];
    }
    mchan_close(channel);
}

void
say(struct mchan *channel, const struct msg *msg)
{
    uint8_t data[MSG_SIZE_MAX];
    time_t end = real_time() + PATIENCE_S;
    ssize_t size = msg_encode(msg, 1, data, sizeof data, NULL, 0);
    struct mchan_msg out = {
        .data = data, .size = (size_t)size, .tag = (uint16_t)msg->type};

    assert_true(size > 0);
    while (mchan_send(channel, &out)) {
        assert_true(real_time() <= end);
        turns(1);
    }
}

void
say_hello(struct mchan *channel, const char *claims)
{
    struct msg msg = {
        .type = MSG_HELLO,
        .hello = {.version_min = 1, .version_max = 1, .software = "test"}};

    strcpy(msg.hello.claims, claims);
    say(channel, &msg);
}

void
say_report(struct mchan *channel, uint64_t epoch)
{
    struct msg msg = {.type = MSG_REPORT,
                      .report = {.epoch = epoch,
                                 .start_ns = 1,
                                 .end_ns = 2,
                                 .n_requests = 3,
                                 .threshold_us = 3000}};

    say(channel, &msg);
}

struct msg
hear(struct mchan *channel)
{
    uint8_t data[MSG_SIZE_MAX];
    time_t end = real_time() + PATIENCE_S;
    struct mchan_info info;
    struct msg msg;
    ssize_t size;

    while ((size = mchan_recv(channel, data, sizeof data, &info)) < 0) {
        assert_true(real_time() <= end);
        turns(1);
    }
    assert_int_equal(msg_decode(&msg, info.tag, 1, data, (size_t)size, NULL, 0),
                     0);
    return msg;
}

struct mchan *
dial_small(int guest, uint32_t version)
{
    struct back_env env = {.to_engine = to_engine, .start_count = 3};
    struct msg msg = {.type = MSG_HELLO,
                      .hello = {.version_min = 1,
                                .version_max = version,
                                .software = "test"}};
    struct mchan *channel;

    back_destroy(back);
    guests[guest].quota = (struct quota_config){
        .messages_per_second = 100, .bytes_per_second = 20000, .memory = 8192};
    assert_int_equal(back_create(&back, &config, &env), 0);
    for (uint32_t i = 0; i < N_GUESTS; i++) {
        assert_int_equal(mchan_listen(&channel, uris[i], NULL), 0);
        back_add_channel(back, i, channel);
    }
    channel = dial(guest);
    say(channel, &msg);
    until(MSG_GUEST_UP, guest, 1);
    return channel;
}

struct back_stats
stats_now(void)
{
    struct back_stats stats;

    back_stats(back, &stats);
    return stats;
}

void
say_notice(struct mchan *channel, uint64_t epoch)
{
    struct msg msg = {.type = MSG_NOTICE,
                      .notice = {.epoch = epoch,
                                 .start_ns = 1,
                                 .end_ns = 2,
                                 .n_requests = 3,
                                 .threshold_us = 3000}};

    say(channel, &msg);
}

int
hear_all(struct mchan *channel, enum msg_type type, struct msg *last)
{
    uint8_t data[MSG_SIZE_MAX];
    struct mchan_info info;
    ssize_t size;
    int n = 0;

    while ((size = mchan_recv(channel, data, sizeof data, &info)) >= 0) {
        if (info.tag == (uint16_t)type) {
            n++;
            assert_int_equal(
                msg_decode(last, type, 3, data, (size_t)size, NULL, 0), 0);
        }
    }
    return n;
}
