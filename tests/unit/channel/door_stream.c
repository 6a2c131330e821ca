/* SPDX-License-Identifier: Apache-2.0 */
/* A stream at its seams, through the public door: a message right behind
 * HELLO, one that is larger than the socket, acknowledgements between parts,
 * and room that comes back. */
#include <errno.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include <cmocka.h>

#include "tests/unit/channel/door_scene.h"

static void
a_large_message_may_come_right_behind_hello(void **state)
{
    static uint8_t data[8192];
    struct mchan_msg message = {.data = data, .size = sizeof data};
    struct mchan_event event;
    for (size_t i = 0; i < 2; i++) {
        struct mchan *back, *front;
        make_pair(schemes[i], 0, &back, &front);
        while (!mchan_next_event(back, &event)) {
            if (i) { /* The memory is handed over first. */
                mchan_arm(front, MCHAN_READABLE);
            }
        }
        assert_int_equal(event.type, MCHAN_UP);
        assert_int_equal(mchan_send(back, &message), 0);
        assert_int_equal(mchan_wait(front, PATIENCE_MS), 1);
        assert_int_equal(mchan_next_event(front, &event), 1);
        assert_int_equal(event.type, MCHAN_UP);
        assert_int_equal(mchan_recv(front, data, sizeof data, NULL), 8192);
        mchan_close(back);
        mchan_close(front);
    }
}

static void
an_acknowledgement_never_lands_inside_a_message(void **state)
{
    /* A socket takes less than the window, so a frame is sent in part; then
     * there is something to acknowledge. */
    static uint8_t data[65536];
    struct mchan *back, *front;
    struct mchan_event event;
    struct mchan_msg message = {.data = data, .size = sizeof data};
    unsigned n_sent = 0, n_received = 0;
    make_pair("unix:", 1 << 20, &back, &front);
    come_up(back, front);
    for (int round = 0; round < 50; round++) {
        message.size = sizeof data - 1001 * (size_t)round;
        while (!mchan_send(front, &message)) {
            n_sent++;
        }
        assert_int_equal(send_text(back, "ask"), 0);
        assert_int_equal(mchan_wait(front, PATIENCE_MS), 1);
        assert_int_equal(mchan_recv(front, data, sizeof data, NULL), 4);
        assert_int_equal(mchan_recv(front, data, sizeof data, NULL), -EAGAIN);
        assert_int_equal(mchan_arm(front, MCHAN_READABLE), 0);
        for (int i = 0; i < 5; i++) {
            while (mchan_recv(back, data, sizeof data, NULL) >= 0) {
                n_received++;
            }
            mchan_arm(back, MCHAN_READABLE);
            mchan_arm(front, MCHAN_READABLE);
        }
        assert_int_equal(mchan_next_event(back, &event), 0);
    }
    for (int i = 0; i < 100 && n_received < n_sent; i++) {
        mchan_arm(front, MCHAN_READABLE);
        while (mchan_recv(back, data, sizeof data, NULL) >= 0) {
            n_received++;
        }
        mchan_arm(back, MCHAN_READABLE);
    }
    assert_int_equal(n_received, n_sent);
    mchan_close(back);
    mchan_close(front);
}

static void
a_frame_larger_than_the_socket_goes_in_parts(void **state)
{
    static uint8_t data[60000], got[60000];
    struct mchan *back, *front;
    struct mchan_opts opts = MCHAN_OPTS_INIT;
    struct mchan_msg message = {.data = data, .size = sizeof data};
    int ends[2], small = 1, rounds = 0;
    ssize_t size;
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, ends), 0);
    setsockopt(ends[1], SOL_SOCKET, SO_SNDBUF, &small, sizeof small);
    opts.ring_size = 1 << 20;
    opts.fd = ends[0];
    assert_int_equal(mchan_listen(&back, "unix:", &opts), 0);
    opts.fd = ends[1];
    assert_int_equal(mchan_open(&front, "unix:", &opts), 0);
    come_up(back, front);
    for (size_t i = 0; i < sizeof data; i++) {
        data[i] = (uint8_t)(i * 13 >> 3);
    }
    assert_int_equal(mchan_send(front, &message), 0);
    while ((size = mchan_recv(back, got, sizeof got, NULL)) == -EAGAIN) {
        /* Nothing but the descriptor says that more can be sent. */
        struct pollfd readable = {.fd = mchan_fd(front), .events = POLLIN};
        assert_int_equal(poll(&readable, 1, PATIENCE_MS), 1);
        mchan_arm(front, MCHAN_READABLE);
        rounds++;
    }
    assert_true(rounds > 1);
    assert_int_equal(size, sizeof data);
    assert_memory_equal(got, data, sizeof data);
    mchan_close(back);
    mchan_close(front);
}

static void
room_comes_back_as_it_is_acknowledged(void **state)
{
    for (size_t i = 0; i < 2; i++) {
        char text[64];
        struct mchan *back, *front;
        unsigned n = 0, n_first = 0;
        make_pair(schemes[i], 4096, &back, &front);
        come_up(back, front);
        for (unsigned taken = 1; taken < 40; taken++) {
            while (!send_text(front, "x")) {
                n++;
            }
            assert_int_equal(mchan_recv(back, text, sizeof text, NULL), 2);
            mchan_arm(back, MCHAN_READABLE);
            mchan_arm(front, MCHAN_READABLE);
            /* The one just taken is not acknowledged before the next is asked
             * for; with the first, in a ring, HELLO's room comes back. */
            if (taken == 2) {
                n_first = n;
                assert_in_range(n, 4096 / 32 - 2, 4096 / 32 - 1);
            }
            if (taken > 2) {
                assert_int_equal(n, n_first + taken - 2);
            }
        }
        mchan_close(back);
        mchan_close(front);
    }
}

/* What acknowledges our messages lies in the stream behind a message that we
 * never take. */
static void
acknowledgements_behind_an_unread_message_take_no_room(void **state)
{
    const struct place *place = *state;
    struct mchan *one, *other;
    char text[64];
    assert_int_equal(mchan_listen(&one, place->uri, NULL), 0);
    assert_int_equal(mchan_open(&other, place->uri, NULL), 0);
    come_up(one, other);
    assert_int_equal(send_text(other, "left lying"), 0);
    for (int i = 0; i < 20000; i++) {
        assert_int_equal(send_text(one, "taken"), 0);
        ssize_t got;
        for (int n = 0; (got = mchan_recv(other, text, sizeof text, NULL)) < 0;
             n++) {
            assert_int_equal(got, -EAGAIN);
            assert_true(n < 1000);
        }
        assert_int_equal(mchan_ack(other), 0);
    }
    assert_true(mchan_recv(one, text, sizeof text, NULL) > 0);
    assert_string_equal(text, "left lying");
    mchan_close(other);
    mchan_close(one);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int
main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(acknowledgements_behind_an_unread_message_take_no_room),
        TEST(a_large_message_may_come_right_behind_hello),
        TEST(an_acknowledgement_never_lands_inside_a_message),
        TEST(a_frame_larger_than_the_socket_goes_in_parts),
        TEST(room_comes_back_as_it_is_acknowledged),
    };
    return cmocka_run_group_tests_name("channel/door_stream", tests, NULL,
                                       NULL);
}
