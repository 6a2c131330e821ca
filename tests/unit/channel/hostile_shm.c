/* SPDX-License-Identifier: Apache-2.0 */
/* A peer that maps the same memory and writes into it what it likes, while we
 * read; and one that hands over memory that is not as agreed.  Whatever it
 * does, we neither crash nor hang nor read outside, and the next good one is
 * served. */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/prng.h"
#include "channel/channel.h"
#include "include/mchan.h"
#include "tests/left.h"
#include "transport/ring.h"
#include "wire/frame.h"
#include "ringpeer.h"

#define RING 4096u /* Small, so that few words are many of all. */
#define MEMORY (4096 + 2 * RING)

static int
set_up(void **state)
{
    int error = scene_set_up(state, "shm");
    ((struct scene *)*state)->opts.ring_size = RING;
    return error;
}

static int
tear_down(void **state)
{
    ringpeer_leave(*state);
    return scene_tear_down(state);
}

/* The hostile guest. */

static void
raw_message(struct scene *scene, uint32_t sequence)
{
    struct record record = {.size = 4, .kind = RECORD_RELIABLE};
    record.sequence = sequence;
    record.attachment = scene->attachment;
    ringpeer_put(scene, &record, "abc");
}

/* Refused for this reason, and the next one is served. */
static void
expect_refused(struct scene *scene, const char *reason)
{
    scene_expect_refused(scene, reason);
    scene->now += NSEC_PER_SEC;
    ringpeer_come_up(scene, 0);
    raw_message(scene, 1);
    scene_expect_message(scene, 4);
}

static void
a_message_before_hello_is_refused(void **state)
{
    struct scene *scene = *state;
    scene_listen(scene);
    ringpeer_connect(scene);
    raw_message(scene, 1);
    expect_refused(scene, "no HELLO at first");
}

static void
who_says_nothing_is_dropped_in_time(void **state)
{
    struct scene *scene = *state;
    scene_listen(scene);
    ringpeer_connect(scene);
    mchan_arm(scene->channel, MCHAN_READABLE);
    scene->now += CHANNEL_HELLO_NS;
    expect_refused(scene, "no HELLO in time");
}

static void
who_was_stopped_with_us_gets_another_chance(void **state)
{
    struct scene *scene = *state;
    struct mchan_event event;
    scene_listen(scene);
    ringpeer_connect(scene);
    mchan_arm(scene->channel, MCHAN_READABLE);
    scene->now += 3600 * NSEC_PER_SEC;
    mchan_arm(scene->channel, MCHAN_READABLE);
    assert_int_equal(mchan_next_event(scene->channel, &event), 0);
    /* One, not for ever. */
    scene->now += 3600 * NSEC_PER_SEC;
    expect_refused(scene, "no HELLO in time");
}

static void
a_skipped_message_is_refused(void **state)
{
    struct scene *scene = *state;
    scene_listen(scene);
    ringpeer_come_up(scene, 0);
    raw_message(scene, 2);
    expect_refused(scene, "message out of sequence");
}

static void
frames_for_streams_are_refused_in_rings(void **state)
{
    struct scene *scene = *state;
    struct record record = {.size = 8, .kind = RECORD_ACK};
    scene_listen(scene);
    ringpeer_come_up(scene, 0);
    ringpeer_put(scene, &record, "\0\0\0\0\0\0\0");
    expect_refused(scene, "record of an unknown kind");
}

static void
a_record_over_the_end_is_refused(void **state)
{
    struct scene *scene = *state;
    scene_listen(scene);
    ringpeer_come_up(scene, 0);
    uint8_t *header = scene->tx.data + scene->tx.head;
    struct record record = {.size = UINT32_MAX, .kind = RECORD_RELIABLE};
    uint64_t word = record_first_word(&record);
    memcpy(header, &word, sizeof word);
    send(scene->raw, "", 1, MSG_NOSIGNAL);
    expect_refused(scene, "record runs over the ring's end");
}

static void
released_room_that_was_never_written_is_refused(void **state)
{
    struct scene *scene = *state;
    scene_listen(scene);
    ringpeer_come_up(scene, 0);
    scene->rx.mine->released = 1 << 20;
    send(scene->raw, "", 1, MSG_NOSIGNAL);
    expect_refused(scene, "release of what was never sent");
}

static void
an_acknowledgement_of_nothing_is_refused(void **state)
{
    struct scene *scene = *state;
    scene_listen(scene);
    ringpeer_come_up(scene, 0);
    scene->rx.mine->acked = 1;
    send(scene->raw, "", 1, MSG_NOSIGNAL);
    expect_refused(scene, "acknowledgement of what was never sent");
}

static void
a_flood_of_wakes_is_only_noise(void **state)
{
    struct scene *scene = *state;
    static const uint8_t noise[65536];
    scene_listen(scene);
    ringpeer_come_up(scene, 0);
    for (int i = 0; i < 1000; i++) {
        (void)send(scene->raw, noise, sizeof noise,
                   MSG_NOSIGNAL | MSG_DONTWAIT);
        mchan_arm(scene->channel, MCHAN_READABLE);
    }
    raw_message(scene, 1);
    scene_expect_message(scene, 4);
}

static void
descriptors_thrown_at_us_do_not_pile_up(void **state)
{
    struct scene *scene = *state;
    scene_listen(scene);
    ringpeer_come_up(scene, 0);
    int32_t before = held_fds();
    for (int i = 0; i < 100; i++) {
        struct iovec iov = {.iov_base = &i, .iov_len = 1};
        union {
            struct cmsghdr header;
            uint8_t bytes[CMSG_SPACE(sizeof(int))];
        } control = {0};
        control.header.cmsg_level = SOL_SOCKET;
        control.header.cmsg_type = SCM_RIGHTS;
        control.header.cmsg_len = CMSG_LEN(sizeof(int));
        memcpy(CMSG_DATA(&control.header), &scene->raw, sizeof(int));
        struct msghdr message = {.msg_iov = &iov, .msg_iovlen = 1};
        message.msg_control = control.bytes;
        message.msg_controllen = sizeof control.bytes;
        (void)sendmsg(scene->raw, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
        mchan_arm(scene->channel, MCHAN_READABLE);
        assert_true(held_fds() <= before);
    }
}

/* Scribbling. */

/* A word of the kind that gets furthest. */
static uint64_t
choose_word(struct scene *scene, struct prng *prng)
{
    struct record record = {
        .size = (uint32_t)prng_below(prng, RING / 8 + 32),
        .kind = (uint8_t)prng_below(prng, RECORD_N_KINDS),
        .tag = (uint16_t)prng_u64(prng),
    };
    switch (prng_below(prng, 6)) {
    case 0:
        return prng_u64(prng);
    case 1:
        return prng_below(prng, 3 * RING) & ~UINT64_C(63);
    case 2:
        return (prng_below(prng, 3 * RING) & ~UINT64_C(63)) | 1;
    case 3:
        return prng_below(prng, 4) | (uint64_t)scene->attachment << 32;
    case 4:
        return UINT64_C(1) << prng_below(prng, 64);
    default:
        return record_first_word(&record);
    }
}

/* Words and headers mostly; sometimes anything. */
static size_t
choose_place(struct prng *prng)
{
    switch (prng_below(prng, 4)) {
    case 0:
        return prng_below(prng, 32) * 8;
    case 1:
        return prng_below(prng, MEMORY / 8) * 8;
    default:
        return 4096 + prng_below(prng, 2 * RING / 64) * 64 +
               prng_below(prng, 2) * 8;
    }
}

static void
scribble(struct scene *scene, struct prng *prng)
{
    uint64_t *words = (uint64_t *)(void *)scene->memory;
    __atomic_store_n(&words[choose_place(prng) / 8], choose_word(scene, prng),
                     __ATOMIC_RELAXED);
}

/* Everything a user does; returns how often the peer was thrown out. */
static unsigned
use(struct mchan *channel)
{
    char data[RING / 8 + 1];
    struct mchan_msg message = {.data = data, .size = 100};
    struct mchan_event event;
    unsigned n = 0;
    memset(data, 7, sizeof data);
    (void)mchan_send(channel, &message);
    for (int i = 0; i < 3; i++) {
        ssize_t got = mchan_recv(channel, data, sizeof data, NULL);
        assert_true(got <= (ssize_t)RING / 8);
    }
    (void)mchan_arm(channel, MCHAN_READABLE | MCHAN_WRITABLE);
    while (mchan_next_event(channel, &event)) {
        n += event.type == MCHAN_PEER_LOST;
    }
    return n;
}

static void
random_words_in_the_memory_do_no_harm(void **state)
{
    struct scene *scene = *state;
    struct prng prng;
    unsigned n_lost = 0;
    prng_init(&prng, 2026);
    scene_listen(scene);
    ringpeer_come_up(scene, 0);
    for (int i = 0; i < 300000; i++) {
        scribble(scene, &prng);
        if (use(scene->channel)) {
            n_lost++;
            scene->now += NSEC_PER_SEC;
            ringpeer_come_up(scene, 0);
        }
    }
    assert_true(n_lost > 100); /* It did get through to us. */
    ringpeer_come_up(scene, 0);
}

struct scribbler {
    struct scene *scene;
    _Atomic bool stop;
};

static void *
scribble_on(void *arg)
{
    struct scribbler *scribbler = arg;
    struct prng prng;
    prng_init(&prng, 5);
    while (!scribbler->stop) {
        scribble(scribbler->scene, &prng);
    }
    return NULL;
}

static void
words_that_change_while_read_do_no_harm(void **state)
{
    struct scene *scene = *state;
    scene_listen(scene);
    for (int round = 0; round < 1000; round++) {
        struct scribbler scribbler = {.scene = scene};
        pthread_t thread;
        ringpeer_come_up(scene, 0);
        assert_int_equal(pthread_create(&thread, NULL, scribble_on, &scribbler),
                         0);
        for (int i = 0; i < 10000 && !use(scene->channel); i++) {
        }
        scribbler.stop = true;
        pthread_join(thread, NULL);
        scene->now += NSEC_PER_SEC;
    }
}

static void *
flip_size(void *arg)
{
    struct scribbler *scribbler = arg;
    struct scene *scene = scribbler->scene;
    struct record record = {.size = 8, .kind = RECORD_RELIABLE};
    uint64_t *header = (uint64_t *)(void *)(scene->tx.data + scene->tx.head);
    uint64_t good = record_first_word(&record);
    record.size = 400;
    uint64_t other = record_first_word(&record);
    header[1] = 1 | (uint64_t)scene->attachment << 32;
    while (!scribbler->stop) {
        __atomic_store_n(header, good, __ATOMIC_RELEASE);
        __atomic_store_n(header, other, __ATOMIC_RELEASE);
        __atomic_store_n(header, UINT64_MAX, __ATOMIC_RELEASE);
    }
    return NULL;
}

static void
a_size_that_changes_while_read_is_read_once(void **state)
{
    /* With a buffer of exactly 8, a second look at the size would copy 400. */
    struct scene *scene = *state;
    unsigned n_taken = 0;
    scene_listen(scene);
    for (int round = 0; round < 2000; round++) {
        struct scribbler scribbler = {.scene = scene};
        pthread_t thread;
        struct {
            uint8_t data[8], guard[512];
        } buffer;
        memset(&buffer, 0xa5, sizeof buffer);
        ringpeer_come_up(scene, 0);
        assert_int_equal(pthread_create(&thread, NULL, flip_size, &scribbler),
                         0);
        ssize_t got;
        do {
            got = mchan_recv(scene->channel, buffer.data, 8, NULL);
            assert_true(got < 0 || got == 8);
        } while (got == -EAGAIN || got == -ENOBUFS);
        n_taken += got == 8;
        for (size_t i = 0; i < sizeof buffer.guard; i++) {
            assert_int_equal(buffer.guard[i], 0xa5);
        }
        scribbler.stop = true;
        pthread_join(thread, NULL);
        ringpeer_leave(scene);
        scene->now += NSEC_PER_SEC;
        scene_expect(scene->channel, MCHAN_PEER_LOST);
        scene->now += 2 * NSEC_PER_SEC;
    }
    (void)n_taken; /* How often depends on the machine. */
}

/* The hostile broker: it hands over memory. */

struct offer {
    const char *what;
    size_t size; /* Of the memory; 0: another kind of file. */
    unsigned seals;
    uint32_t ring_size;
    unsigned n_fds;
    size_t message_size;
    bool wrong_magic;
};

#define GOOD_SEALS (F_SEAL_SHRINK | F_SEAL_GROW)

static const struct offer offers[] = {
    {"no seals", MEMORY, 0, RING, 1, 16, false},
    {"may grow", MEMORY, F_SEAL_SHRINK, RING, 1, 16, false},
    {"may shrink", MEMORY, F_SEAL_GROW, RING, 1, 16, false},
    {"read-only", MEMORY, GOOD_SEALS | F_SEAL_WRITE, RING, 1, 16, false},
    {"too small", MEMORY - 1, GOOD_SEALS, RING, 1, 16, false},
    {"too large", MEMORY + 1, GOOD_SEALS, RING, 1, 16, false},
    {"empty", 1, GOOD_SEALS, RING, 1, 16, false},
    {"ring not a power of two", 4096 + 2 * 4160, GOOD_SEALS, 4160, 1, 16,
     false},
    {"ring of nothing", 4096, GOOD_SEALS, 0, 1, 16, false},
    {"ring of 4 GiB", MEMORY, GOOD_SEALS, UINT32_MAX, 1, 16, false},
    {"two descriptors", MEMORY, GOOD_SEALS, RING, 2, 16, false},
    {"many descriptors", MEMORY, GOOD_SEALS, RING, 40, 16, false},
    {"no descriptor", MEMORY, GOOD_SEALS, RING, 0, 16, false},
    {"half a message", MEMORY, GOOD_SEALS, RING, 1, 8, false},
    {"wrong magic", MEMORY, GOOD_SEALS, RING, 1, 16, true},
    {"a pipe", 0, 0, RING, 1, 16, false},
};

#define OFFER_FDS_MAX 40

static int
offer_file(const struct offer *offer)
{
    if (!offer->size) {
        int ends[2];
        assert_int_equal(pipe(ends), 0);
        close(ends[1]);
        return ends[0];
    }
    int fd = memfd_create("hostile", MFD_ALLOW_SEALING | MFD_CLOEXEC);
    assert_true(fd >= 0);
    assert_int_equal(ftruncate(fd, (off_t)offer->size), 0);
    assert_int_equal(fcntl(fd, F_ADD_SEALS, offer->seals), 0);
    return fd;
}

static void
make_offer(int socket, const struct offer *offer)
{
    uint8_t data[16] = {'m', 'c', 'h', 'a', 'n', 'm', 0, 2};
    struct iovec iov = {.iov_base = data, .iov_len = offer->message_size};
    union {
        struct cmsghdr header;
        uint8_t bytes[CMSG_SPACE(OFFER_FDS_MAX * sizeof(int))];
    } control = {0};
    struct msghdr message = {.msg_iov = &iov, .msg_iovlen = 1};
    int fd = offer_file(offer);
    memcpy(data + 8, &offer->ring_size, 4);
    data[0] ^= offer->wrong_magic;
    if (offer->n_fds) {
        message.msg_control = control.bytes;
        message.msg_controllen = CMSG_SPACE(offer->n_fds * sizeof(int));
        control.header.cmsg_level = SOL_SOCKET;
        control.header.cmsg_type = SCM_RIGHTS;
        control.header.cmsg_len = CMSG_LEN(offer->n_fds * sizeof(int));
        for (unsigned i = 0; i < offer->n_fds; i++) {
            memcpy(CMSG_DATA(&control.header) + i * sizeof fd, &fd, sizeof fd);
        }
    }
    assert_int_equal(sendmsg(socket, &message, 0), offer->message_size);
    close(fd);
}

static void
memory_not_as_agreed_is_refused(void **state)
{
    struct scene *scene = *state;
    for (size_t i = 0; i < sizeof offers / sizeof *offers; i++) {
        int ends[2];
        assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, ends), 0);
        int32_t before = held_fds();
        scene->opts.fd = ends[0];
        assert_int_equal(mchan_open(&scene->channel, "shm:", &scene->opts), 0);
        make_offer(ends[1], &offers[i]);
        struct mchan_event event =
            scene_expect(scene->channel, MCHAN_PROTO_ERROR);
        assert_string_equal(event.reason,
                            "the memory handed over is not as agreed");
        assert_int_equal(mchan_next_event(scene->channel, &event), 0);
        mchan_close(scene->channel);
        scene->channel = NULL;
        /* The channel took one end; all else is as before. */
        assert_int_equal(held_fds(), before - 1);
        close(ends[1]);
    }
}

static void
memory_that_never_comes_is_not_waited_for(void **state)
{
    struct scene *scene = *state;
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    strcpy(address.sun_path, scene->path);
    int listener = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);
    assert_int_equal(
        bind(listener, (struct sockaddr *)&address, sizeof address), 0);
    assert_int_equal(listen(listener, 4), 0);
    assert_int_equal(mchan_open(&scene->channel, scene->uri, &scene->opts), 0);
    scene->raw = accept(listener, NULL, NULL);
    assert_true(scene->raw >= 0);
    mchan_arm(scene->channel, MCHAN_READABLE);
    assert_true(mchan_deadline(scene->channel) < NSEC_NEVER);
    scene->now = mchan_deadline(scene->channel);
    mchan_arm(scene->channel, MCHAN_READABLE);
    char byte;
    assert_int_equal(recv(scene->raw, &byte, 1, MSG_DONTWAIT), 0);
    /* And comes back. */
    scene->now = mchan_deadline(scene->channel);
    mchan_arm(scene->channel, MCHAN_READABLE);
    close(scene->raw);
    scene->raw = accept(listener, NULL, NULL);
    assert_true(scene->raw >= 0);
    close(listener);
    unlink(scene->path);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int
main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_message_before_hello_is_refused),
        TEST(who_says_nothing_is_dropped_in_time),
        TEST(who_was_stopped_with_us_gets_another_chance),
        TEST(a_skipped_message_is_refused),
        TEST(frames_for_streams_are_refused_in_rings),
        TEST(a_record_over_the_end_is_refused),
        TEST(released_room_that_was_never_written_is_refused),
        TEST(an_acknowledgement_of_nothing_is_refused),
        TEST(a_flood_of_wakes_is_only_noise),
        TEST(descriptors_thrown_at_us_do_not_pile_up),
        TEST(random_words_in_the_memory_do_no_harm),
        TEST(words_that_change_while_read_do_no_harm),
        TEST(a_size_that_changes_while_read_is_read_once),
        TEST(memory_not_as_agreed_is_refused),
        TEST(memory_that_never_comes_is_not_waited_for),
    };
    return cmocka_run_group_tests_name("channel/hostile_shm", tests, NULL,
                                       NULL);
}
