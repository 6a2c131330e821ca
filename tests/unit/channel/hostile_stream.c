/* SPDX-License-Identifier: Apache-2.0 */
/* A peer that says on a byte stream what it must not: each time it is refused
 * for a named reason, and the next good one is served. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/prng.h"
#include "channel/channel.h"
#include "include/mchan.h"
#include "wire/frame.h"
#include "scene.h"

#define SYNC 0x600dcafeu
#define MESSAGE_MAX 8192

static int
set_up(void **state)
{
    int error = scene_set_up(state, "unix");
    scene_listen(*state);
    return error;
}

/* The hostile peer. */

static void
raw_write(struct scene *scene, const void *data, size_t size)
{
    /* The other end reads only when it has its turn. */
    const uint8_t *bytes = data;
    while (size) {
        ssize_t sent =
            send(scene->raw, bytes, size, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (sent < 0 && errno == EAGAIN) {
            mchan_arm(scene->channel, MCHAN_READABLE);
            continue;
        }
        if (sent < 0) {
            return; /* It has shut the door already. */
        }
        bytes += sent;
        size -= (size_t)sent;
    }
}

static void
raw_preamble(struct scene *scene)
{
    uint8_t preamble[FRAME_PREAMBLE_SIZE];
    frame_put_preamble(preamble, SYNC);
    raw_write(scene, preamble, sizeof preamble);
}

static void
raw_frame(struct scene *scene, const struct record *record, const void *data)
{
    uint8_t header[FRAME_HEADER_SIZE];
    frame_put_header(header, SYNC, record, data);
    raw_write(scene, header, sizeof header);
    raw_write(scene, data, record->size);
}

static void
raw_hello(struct scene *scene)
{
    struct hello hello = {.message_max = MESSAGE_MAX};
    struct record record = {.size = HELLO_SIZE, .kind = RECORD_HELLO};
    uint8_t data[HELLO_SIZE];
    frame_put_hello(data, &hello);
    raw_frame(scene, &record, data);
}

/* Behaves, up to and with HELLO. */
static void
raw_come_up(struct scene *scene)
{
    scene_connect(scene);
    raw_preamble(scene);
    raw_hello(scene);
    scene->attachment = scene_expect(scene->channel, MCHAN_UP).attachment;
}

static void
raw_message(struct scene *scene, uint32_t sequence)
{
    struct record record = {.size = 4, .kind = RECORD_RELIABLE};
    record.sequence = sequence;
    record.attachment = scene->attachment;
    raw_frame(scene, &record, "abc");
}

static void
raw_number(struct scene *scene, uint8_t kind, uint64_t number)
{
    uint8_t data[8];
    struct record record = {.size = 8, .kind = kind};
    frame_put_u64(data, number);
    raw_frame(scene, &record, data);
}

static void
raw_ack(struct scene *scene, uint64_t number, uint64_t n_records)
{
    uint8_t data[ACK_SIZE];
    struct record record = {.size = sizeof data, .kind = RECORD_ACK};
    frame_put_u64(data, number);
    frame_put_u64(data + 8, n_records);
    raw_frame(scene, &record, data);
}

/* The channel refuses for this reason, lets go, and serves the next. */
static void
expect_refused(struct scene *scene, const char *reason)
{
    scene_expect_refused(scene, reason);
    char byte;
    ssize_t got;
    while ((got = recv(scene->raw, &byte, 1, 0)) > 0) {
    }
    assert_true(got == 0 || errno == ECONNRESET);
    close(scene->raw);
    struct mchan_stats stats;
    mchan_stats(scene->channel, &stats, sizeof stats);
    assert_int_equal(stats.n_proto_errors, 1);
    scene->now += NSEC_PER_SEC;
    raw_come_up(scene);
    raw_message(scene, 1);
    scene_expect_message(scene, 4);
}

/* Before HELLO. */

static void
noise_is_refused_after_a_bounded_search(void **state)
{
    struct scene *scene = *state;
    struct prng prng;
    uint8_t noise[4096];
    prng_init(&prng, 1);
    scene_connect(scene);
    for (int i = 0; i < 40; i++) {
        for (size_t j = 0; j < sizeof noise; j++) {
            noise[j] = (uint8_t)prng_u64(&prng);
        }
        raw_write(scene, noise, sizeof noise);
    }
    expect_refused(scene, "no preamble where one must be");
}

static void
frames_of_noise_are_refused(void **state)
{
    struct scene *scene = *state;
    scene_connect(scene);
    raw_preamble(scene);
    raw_write(scene, "this is no frame of anybody's", 29);
    expect_refused(scene, "frame without the sync word");
}

static void
a_message_before_hello_is_refused(void **state)
{
    struct scene *scene = *state;
    scene_connect(scene);
    raw_preamble(scene);
    raw_message(scene, 1);
    expect_refused(scene, "no HELLO at first");
}

static void
a_large_frame_before_hello_is_refused(void **state)
{
    struct scene *scene = *state;
    static uint8_t data[FRAME_HELLO_MAX + 1];
    struct record record = {.size = sizeof data, .kind = RECORD_HELLO};
    scene_connect(scene);
    raw_preamble(scene);
    raw_frame(scene, &record, data);
    expect_refused(scene, "frame larger than agreed");
}

static void
a_short_hello_is_refused(void **state)
{
    struct scene *scene = *state;
    struct record record = {.size = 12, .kind = RECORD_HELLO};
    scene_connect(scene);
    raw_preamble(scene);
    raw_frame(scene, &record, "HELLO there");
    expect_refused(scene, "HELLO too short");
}

static void
a_gigantic_hello_is_refused(void **state)
{
    struct scene *scene = *state;
    static const uint8_t data[FRAME_HELLO_MAX];
    struct record record = {.size = sizeof data, .kind = RECORD_HELLO};
    scene_connect(scene);
    raw_preamble(scene);
    raw_frame(scene, &record, data);
    expect_refused(scene, "no HELLO at first");
}

static void
who_says_nothing_is_dropped_in_time(void **state)
{
    struct scene *scene = *state;
    scene_connect(scene);
    raw_preamble(scene);
    mchan_arm(scene->channel, MCHAN_READABLE);
    scene->now += CHANNEL_HELLO_NS - 1;
    mchan_arm(scene->channel, MCHAN_READABLE);
    struct mchan_event event;
    assert_int_equal(mchan_next_event(scene->channel, &event), 0);
    assert_true(mchan_deadline(scene->channel) == scene->now + 1);
    scene->now += 1;
    expect_refused(scene, "no HELLO in time");
}

static void
who_leaves_before_hello_is_nobody(void **state)
{
    struct scene *scene = *state;
    struct mchan_event event;
    for (int i = 0; i < 5; i++) {
        scene_connect(scene);
        raw_write(scene, "mchan\0\0\1garb", (size_t)(4 + i));
        close(scene->raw);
        mchan_arm(scene->channel, MCHAN_READABLE);
        scene->now += NSEC_PER_SEC;
        assert_int_equal(mchan_next_event(scene->channel, &event), 0);
    }
    raw_come_up(scene);
}

/* Behind HELLO. */

static void
hello_again_is_refused(void **state)
{
    struct scene *scene = *state;
    raw_come_up(scene);
    raw_hello(scene);
    expect_refused(scene, "HELLO again");
}

static void
a_large_frame_is_refused(void **state)
{
    struct scene *scene = *state;
    static uint8_t data[MESSAGE_MAX + 1];
    struct record record = {.size = sizeof data, .kind = RECORD_RELIABLE};
    raw_come_up(scene);
    record.sequence = 1;
    record.attachment = scene->attachment;
    raw_frame(scene, &record, data);
    expect_refused(scene, "frame larger than agreed");
}

static void
a_changed_byte_is_refused(void **state)
{
    struct scene *scene = *state;
    uint8_t header[FRAME_HEADER_SIZE];
    struct record record = {.size = 4, .kind = RECORD_RELIABLE};
    raw_come_up(scene);
    record.sequence = 1;
    record.attachment = scene->attachment;
    frame_put_header(header, SYNC, &record, "abc");
    raw_write(scene, header, sizeof header);
    raw_write(scene, "abd", 4);
    expect_refused(scene, "frame with a wrong checksum");
}

static void
a_repeated_message_is_refused(void **state)
{
    struct scene *scene = *state;
    char data[4];
    raw_come_up(scene);
    raw_message(scene, 1);
    raw_message(scene, 1);
    while (mchan_recv(scene->channel, data, 4, NULL) == -EAGAIN) {
    }
    expect_refused(scene, "message out of sequence");
}

static void
a_skipped_message_is_refused(void **state)
{
    struct scene *scene = *state;
    raw_come_up(scene);
    raw_message(scene, 2);
    expect_refused(scene, "message out of sequence");
}

static void
a_message_of_another_attachment_is_refused(void **state)
{
    struct scene *scene = *state;
    raw_come_up(scene);
    scene->attachment++;
    raw_message(scene, 1);
    expect_refused(scene, "message of another attachment");
}

static void
an_acknowledgement_of_nothing_is_refused(void **state)
{
    struct scene *scene = *state;
    raw_come_up(scene);
    raw_ack(scene, 1, 1);
    expect_refused(scene, "release of what was never sent");
}

static void
an_acknowledgement_of_more_than_was_sent_is_refused(void **state)
{
    struct scene *scene = *state;
    struct mchan_msg message = {.data = "x", .size = 1};
    raw_come_up(scene);
    assert_int_equal(mchan_send(scene->channel, &message), 0);
    raw_ack(scene, 2, 1);
    expect_refused(scene, "acknowledgement of what was never sent");
}

static void
an_acknowledgement_taken_back_is_refused(void **state)
{
    struct scene *scene = *state;
    struct mchan_msg message = {.data = "x", .size = 1};
    struct mchan_stats stats;
    raw_come_up(scene);
    assert_int_equal(mchan_send(scene->channel, &message), 0);
    assert_int_equal(mchan_send(scene->channel, &message), 0);
    raw_ack(scene, 2, 2);
    do {
        mchan_arm(scene->channel, MCHAN_READABLE);
        mchan_stats(scene->channel, &stats, sizeof stats);
    } while (stats.n_acked < 2);
    raw_ack(scene, 1, 3);
    expect_refused(scene, "ACK of nothing new");
}

/* Nobody counts ACKs, so a flood of them would cost only us. */
static void
an_acknowledgement_repeated_is_refused(void **state)
{
    struct scene *scene = *state;
    struct mchan_msg message = {.data = "x", .size = 1};
    raw_come_up(scene);
    assert_int_equal(mchan_send(scene->channel, &message), 0);
    raw_ack(scene, 1, 1);
    raw_ack(scene, 1, 1);
    expect_refused(scene, "ACK of nothing new");
}

static void
unknown_kinds_and_flags_are_refused(void **state)
{
    struct scene *scene = *state;
    for (int kind = 0; kind < 256; kind += kind < RECORD_N_KINDS ? 1 : 31) {
        struct record record = {.kind = (uint8_t)kind};
        if (kind != RECORD_NONE && kind != RECORD_PAD &&
            kind < RECORD_N_KINDS) {
            record.flags = 0x80;
        }
        raw_come_up(scene);
        raw_frame(scene, &record, "");
        struct mchan_event event =
            scene_expect(scene->channel, MCHAN_PROTO_ERROR);
        assert_string_equal(event.reason, record.flags
                                              ? "record with unknown flags"
                                              : "record of an unknown kind");
        close(scene->raw);
        scene->now += NSEC_PER_SEC;
    }
    scene->raw = -1;
}

static void
an_acknowledgement_of_a_wrong_size_is_refused(void **state)
{
    struct scene *scene = *state;
    struct record record = {.size = 4, .kind = RECORD_ACK};
    raw_come_up(scene);
    raw_frame(scene, &record, "abc");
    expect_refused(scene, "ACK of a wrong size");
}

static void
news_of_a_wrong_size_are_refused(void **state)
{
    struct scene *scene = *state;
    struct record record = {.size = 4, .kind = RECORD_SKIP};
    raw_come_up(scene);
    record.sequence = 1;
    raw_frame(scene, &record, "abc");
    expect_refused(scene, "SKIP of a wrong size");
}

static void
a_goodbye_of_a_wrong_size_is_refused(void **state)
{
    struct scene *scene = *state;
    struct record record = {.size = 4, .kind = RECORD_BYE};
    raw_come_up(scene);
    raw_frame(scene, &record, "abc");
    expect_refused(scene, "BYE of a wrong size");
}

static void
words_after_goodbye_are_refused(void **state)
{
    struct scene *scene = *state;
    raw_come_up(scene);
    raw_number(scene, RECORD_BYE, 0);
    raw_message(scene, 1);
    expect_refused(scene, "record after BYE");
}

static void
death_in_mid_message_is_a_loss_and_not_a_message(void **state)
{
    struct scene *scene = *state;
    uint8_t header[FRAME_HEADER_SIZE];
    struct record record = {.size = 100, .kind = RECORD_RELIABLE};
    static const uint8_t data[100];
    char got[100];
    record.sequence = 1;
    for (size_t part = 1; part < sizeof header + 100; part += 13) {
        raw_come_up(scene);
        record.attachment = scene->attachment;
        frame_put_header(header, SYNC, &record, data);
        raw_write(scene, header, part < sizeof header ? part : sizeof header);
        if (part > sizeof header) {
            raw_write(scene, data, part - sizeof header);
        }
        close(scene->raw);
        scene_expect(scene->channel, MCHAN_PEER_LOST);
        assert_int_equal(mchan_recv(scene->channel, got, sizeof got, NULL),
                         -ENOTCONN);
    }
    scene->raw = -1;
}

static void
acknowledgements_without_end_do_not_hold_us_up(void **state)
{
    /* Each costs a frame and gives nothing; more than we sent are refused. */
    struct scene *scene = *state;
    enum { SIZE = FRAME_HEADER_SIZE + ACK_SIZE };
    uint8_t frames[SIZE * 1024], data[ACK_SIZE] = {0};
    struct record record = {.size = ACK_SIZE, .kind = RECORD_ACK};
    struct mchan_msg message = {.data = "x", .size = 1};
    raw_come_up(scene);
    assert_int_equal(mchan_send(scene->channel, &message), 0);
    for (size_t at = 0; at < sizeof frames; at += SIZE) {
        frame_put_u64(data + 8, 1 + at);
        frame_put_header(frames + at, SYNC, &record, data);
        memcpy(frames + at + FRAME_HEADER_SIZE, data, ACK_SIZE);
    }
    raw_write(scene, frames, sizeof frames);
    expect_refused(scene, "release of what was never sent");
}

static void
random_frames_never_bring_a_message(void **state)
{
    struct scene *scene = *state;
    struct prng prng;
    prng_init(&prng, 11);
    for (int round = 0; round < 300; round++) {
        uint8_t data[64];
        struct record record = {
            .size = (uint32_t)prng_below(&prng, sizeof data),
            .kind = (uint8_t)prng_below(&prng, 8),
            .flags = prng_below(&prng, 8) == 0,
            .sequence = 2 + (uint32_t)prng_below(&prng, 5),
            .attachment = (uint32_t)prng_below(&prng, 5),
        };
        for (size_t i = 0; i < sizeof data; i++) {
            data[i] = (uint8_t)prng_below(&prng, 3);
        }
        raw_come_up(scene);
        raw_frame(scene, &record, data);
        if (prng_below(&prng, 2)) {
            raw_write(scene, data, sizeof data);
        }
        close(scene->raw);
        scene_expect(scene->channel, MCHAN_PEER_LOST);
        char got[64];
        assert_true(mchan_recv(scene->channel, got, sizeof got, NULL) < 0);
        scene->now += NSEC_PER_SEC;
    }
    scene->raw = -1;
}

/* The guest's end is as careful. */

static void
a_guest_refuses_a_broker_without_a_session(void **state)
{
    struct scene *scene = *state;
    int ends[2];
    struct mchan *front;
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, ends), 0);
    scene->opts.fd = ends[0];
    assert_int_equal(mchan_open(&front, "unix:", &scene->opts), 0);
    scene->raw = ends[1];
    raw_preamble(scene);
    raw_hello(scene); /* Session 0. */
    struct mchan_event event = scene_expect(front, MCHAN_PROTO_ERROR);
    assert_string_equal(event.reason, "HELLO without a session");
    assert_int_equal(mchan_next_event(front, &event), 0);
    mchan_close(front);
}

#define TEST(name)                                                             \
    cmocka_unit_test_setup_teardown(name, set_up, scene_tear_down)

int
main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(noise_is_refused_after_a_bounded_search),
        TEST(frames_of_noise_are_refused),
        TEST(a_message_before_hello_is_refused),
        TEST(a_large_frame_before_hello_is_refused),
        TEST(a_short_hello_is_refused),
        TEST(a_gigantic_hello_is_refused),
        TEST(who_says_nothing_is_dropped_in_time),
        TEST(who_leaves_before_hello_is_nobody),
        TEST(hello_again_is_refused),
        TEST(a_large_frame_is_refused),
        TEST(a_changed_byte_is_refused),
        TEST(a_repeated_message_is_refused),
        TEST(a_skipped_message_is_refused),
        TEST(a_message_of_another_attachment_is_refused),
        TEST(an_acknowledgement_of_nothing_is_refused),
        TEST(an_acknowledgement_of_more_than_was_sent_is_refused),
        TEST(an_acknowledgement_taken_back_is_refused),
        TEST(an_acknowledgement_repeated_is_refused),
        TEST(unknown_kinds_and_flags_are_refused),
        TEST(an_acknowledgement_of_a_wrong_size_is_refused),
        TEST(news_of_a_wrong_size_are_refused),
        TEST(a_goodbye_of_a_wrong_size_is_refused),
        TEST(words_after_goodbye_are_refused),
        TEST(death_in_mid_message_is_a_loss_and_not_a_message),
        TEST(acknowledgements_without_end_do_not_hold_us_up),
        TEST(random_frames_never_bring_a_message),
        TEST(a_guest_refuses_a_broker_without_a_session),
    };
    return cmocka_run_group_tests_name("channel/hostile_stream", tests, NULL,
                                       NULL);
}
