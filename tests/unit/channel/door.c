/* SPDX-License-Identifier: Apache-2.0 */
/* The public door: what it refuses to make, sockets that are handed in, and
 * files that others left. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

#include "tests/unit/channel/door_scene.h"

/* Making. */

static void
what_is_no_uri_is_refused(void **state)
{
    static const char *const wrong[] = {
        "",       "unix",      ":",       "nosuch:/tmp/x",
        "/tmp/x", "UNIX:/tmp", "unix :x", "averyveryverylongscheme:x",
    };
    struct mchan *channel = NULL;
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        assert_int_equal(mchan_open(&channel, wrong[i], NULL),
                         -EPROTONOSUPPORT);
        assert_int_equal(mchan_listen(&channel, wrong[i], NULL),
                         -EPROTONOSUPPORT);
    }
    assert_null(channel);
}

static void
impossible_options_are_refused(void **state)
{
    struct mchan *channel = NULL;
    struct mchan_opts opts = MCHAN_OPTS_INIT;
    static const uint32_t sizes[] = {1, 2048, 5000, 65535, 1u << 31};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        opts.ring_size = sizes[i];
        assert_int_equal(mchan_open(&channel, "unix:/x", &opts), -EINVAL);
    }
    opts.ring_size = 0;
    opts.size = 0;
    assert_int_equal(mchan_open(&channel, "unix:/x", &opts), -EINVAL);
    assert_int_equal(mchan_open(&channel, "unix:", NULL), -EINVAL);
    char path[256] = "unix:/";
    memset(path + 6, 'x', 200);
    assert_int_equal(mchan_open(&channel, path, NULL), -ENAMETOOLONG);
    assert_int_equal(mchan_listen(&channel, "unix:/no/such/directory/s", NULL),
                     -ENOENT);
    assert_null(channel);
}

static void
options_of_a_later_library_are_cut(void **state)
{
    struct place *place = *state;
    struct mchan *channel;
    struct {
        struct mchan_opts opts;
        uint8_t more[64];
    } later = {.opts = MCHAN_OPTS_INIT};
    memset(later.more, 0xff, sizeof later.more);
    later.opts.size = sizeof later;
    assert_int_equal(mchan_listen(&channel, place->uri, &later.opts), 0);
    mchan_close(channel);
}

static void
null_is_closed_without_harm(void **state)
{
    mchan_close(NULL);
}

static void
a_broker_that_is_not_there_is_no_error(void **state)
{
    struct place *place = *state;
    struct mchan *channel;
    struct mchan_event event;
    assert_int_equal(mchan_open(&channel, place->uri, NULL), 0);
    assert_int_equal(send_text(channel, "x"), -ENOTCONN);
    assert_int_equal(mchan_next_event(channel, &event), 0);
    assert_true(mchan_deadline(channel) < INT64_MAX); /* It will try again. */
    assert_int_equal(mchan_wait(channel, 30), 0);
    mchan_close(channel);
}

/* Files. */

static void
a_socket_that_somebody_listens_at_is_left_alone(void **state)
{
    struct place *place = *state;
    struct mchan *first, *second = NULL;
    assert_int_equal(mchan_listen(&first, place->uri, NULL), 0);
    assert_int_equal(mchan_listen(&second, place->uri, NULL), -EADDRINUSE);
    assert_null(second);
    assert_int_equal(access(place->path, F_OK), 0);
    mchan_close(first);
    assert_int_equal(access(place->path, F_OK), -1);
}

static void
a_socket_that_a_dead_process_left_is_replaced(void **state)
{
    struct place *place = *state;
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    strcpy(address.sun_path, place->path);
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof address), 0);
    close(fd);
    struct mchan *channel;
    assert_int_equal(mchan_listen(&channel, place->uri, NULL), 0);
    mchan_close(channel);
}

static void
a_socket_with_a_full_queue_is_not_taken_for_dead(void **state)
{
    struct place *place = *state;
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    struct mchan *channel = NULL;
    int waiting[8];
    strcpy(address.sun_path, place->path);
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof address), 0);
    assert_int_equal(listen(fd, 0), 0);
    for (int i = 0; i < 8; i++) {
        waiting[i] = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);
        (void)connect(waiting[i], (struct sockaddr *)&address, sizeof address);
    }
    assert_int_equal(mchan_listen(&channel, place->uri, NULL), -EADDRINUSE);
    for (int i = 0; i < 8; i++) {
        close(waiting[i]);
    }
    close(fd);
    assert_int_equal(unlink(place->path), 0); /* It is still there. */
}

static void
a_file_that_is_no_socket_is_left_alone(void **state)
{
    struct place *place = *state;
    struct mchan *channel = NULL;
    int fd = open(place->path, O_CREAT | O_WRONLY, 0600);
    assert_true(fd >= 0);
    close(fd);
    assert_int_equal(mchan_listen(&channel, place->uri, NULL), -EADDRINUSE);
    assert_int_equal(unlink(place->path), 0);
}

static void
a_socket_that_took_our_place_is_not_removed(void **state)
{
    struct place *place = *state;
    struct mchan *first, *second;
    assert_int_equal(mchan_listen(&first, place->uri, NULL), 0);
    assert_int_equal(unlink(place->path), 0);
    assert_int_equal(mchan_listen(&second, place->uri, NULL), 0);
    mchan_close(first);
    assert_int_equal(access(place->path, F_OK), 0);
    mchan_close(second);
}

/* Sockets handed in. */

static void
a_connected_pair_serves_both_ends_at_once(void **state)
{
    for (size_t i = 0; i < 2; i++) {
        int ends[2];
        char text[8];
        struct mchan *back, *front;
        struct mchan_opts opts = MCHAN_OPTS_INIT;
        assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, ends), 0);
        opts.fd = ends[0];
        assert_int_equal(mchan_listen(&back, schemes[i], &opts), 0);
        opts.fd = ends[1];
        assert_int_equal(mchan_open(&front, schemes[i], &opts), 0);
        assert_int_equal(fcntl(ends[0], F_GETFD), FD_CLOEXEC);
        come_up(back, front);
        assert_int_equal(send_text(back, "down"), 0);
        assert_int_equal(send_text(front, "up"), 0);
        assert_int_equal(mchan_wait(front, PATIENCE_MS), 1);
        assert_int_equal(mchan_recv(front, text, sizeof text, NULL), 5);
        assert_int_equal(mchan_wait(back, PATIENCE_MS), 1);
        assert_int_equal(mchan_recv(back, text, sizeof text, NULL), 3);
        struct mchan_peer peer;
        assert_int_equal(mchan_peer(back, &peer), 0);
        assert_int_equal(peer.pid, getpid());
        mchan_close(back);
        mchan_close(front);
    }
}

static void
a_lost_pair_stays_lost(void **state)
{
    for (size_t i = 0; i < 2; i++) {
        int ends[2];
        char text[8];
        struct mchan *back, *front;
        struct mchan_event event;
        struct mchan_opts opts = MCHAN_OPTS_INIT;
        assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, ends), 0);
        opts.fd = ends[0];
        assert_int_equal(mchan_listen(&back, schemes[i], &opts), 0);
        opts.fd = ends[1];
        assert_int_equal(mchan_open(&front, schemes[i], &opts), 0);
        come_up(back, front);
        assert_int_equal(send_text(front, "last"), 0);
        mchan_close(front);
        assert_int_equal(mchan_wait(back, PATIENCE_MS), 1);
        assert_int_equal(mchan_next_event(back, &event), 1);
        assert_int_equal(event.type, MCHAN_PEER_LOST);
        assert_int_equal(mchan_recv(back, text, sizeof text, NULL), 5);
        assert_string_equal(text, "last");
        assert_int_equal(mchan_recv(back, text, sizeof text, NULL), -ENOTCONN);
        assert_int_equal(mchan_wait(back, 10), 0);
        assert_true(mchan_deadline(back) == INT64_MAX);
        assert_int_equal(send_text(back, "x"), -ENOTCONN);
        mchan_close(back);
    }
}

static void
a_listening_socket_is_for_who_listens(void **state)
{
    struct place *place = *state;
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    struct mchan *back, *front;
    struct mchan_opts opts = MCHAN_OPTS_INIT;
    strcpy(address.sun_path, place->path);
    opts.fd = socket(AF_UNIX, SOCK_STREAM, 0);
    assert_int_equal(bind(opts.fd, (struct sockaddr *)&address, sizeof address),
                     0);
    assert_int_equal(listen(opts.fd, 4), 0);
    assert_int_equal(mchan_open(&front, "unix:", &opts), -EINVAL);
    assert_int_equal(mchan_listen(&back, "unix:", &opts), 0);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(mchan_open(&front, place->uri, NULL), 0);
        come_up(back, front);
        mchan_close(front);
    }
    mchan_close(back);
    assert_int_equal(unlink(place->path), 0); /* Its maker's, not ours. */
}

static void
what_is_no_socket_is_refused_and_stays_the_callers(void **state)
{
    struct mchan *channel = NULL;
    struct mchan_opts opts = MCHAN_OPTS_INIT;
    opts.fd = open("/dev/null", O_RDWR);
    assert_int_equal(mchan_listen(&channel, "unix:", &opts), -ENOTSOCK);
    assert_int_equal(mchan_open(&channel, "shm:", &opts), -ENOTSOCK);
    assert_int_equal(close(opts.fd), 0);
}

static void
a_blocking_socket_does_not_block_us(void **state)
{
    int ends[2];
    struct mchan *back;
    struct mchan_event event;
    struct mchan_opts opts = MCHAN_OPTS_INIT;
    char text[8];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, ends), 0);
    opts.fd = ends[0];
    assert_int_equal(mchan_listen(&back, "unix:", &opts), 0);
    assert_int_equal(mchan_next_event(back, &event), 0);
    assert_int_equal(mchan_recv(back, text, sizeof text, NULL), -ENOTCONN);
    mchan_close(back);
    close(ends[1]);
}

static int64_t
made_up_time(void *ctx)
{
    return *(int64_t *)ctx;
}

static void
last_words_on_a_pair_wait_for_their_reader(void **state)
{
    for (size_t i = 0; i < 2; i++) {
        int ends[2];
        int64_t now = 1;
        char text[8];
        struct mchan *back, *front;
        struct mchan_opts opts = MCHAN_OPTS_INIT;
        assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, ends), 0);
        opts.now_ns = made_up_time;
        opts.now_ctx = &now;
        opts.fd = ends[0];
        assert_int_equal(mchan_listen(&back, schemes[i], &opts), 0);
        opts.fd = ends[1];
        assert_int_equal(mchan_open(&front, schemes[i], &opts), 0);
        come_up(back, front);
        assert_int_equal(send_text(front, "last"), 0);
        mchan_close(front);
        for (int j = 0; j < 100; j++) {
            mchan_arm(back, MCHAN_READABLE);
            now += 1000000000;
        }
        assert_int_equal(mchan_recv(back, text, sizeof text, NULL), 5);
        mchan_close(back);
    }
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int
main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(what_is_no_uri_is_refused),
        TEST(impossible_options_are_refused),
        TEST(options_of_a_later_library_are_cut),
        TEST(null_is_closed_without_harm),
        TEST(a_broker_that_is_not_there_is_no_error),
        TEST(a_socket_that_somebody_listens_at_is_left_alone),
        TEST(a_socket_that_a_dead_process_left_is_replaced),
        TEST(a_socket_with_a_full_queue_is_not_taken_for_dead),
        TEST(a_file_that_is_no_socket_is_left_alone),
        TEST(a_socket_that_took_our_place_is_not_removed),
        TEST(a_connected_pair_serves_both_ends_at_once),
        TEST(a_lost_pair_stays_lost),
        TEST(last_words_on_a_pair_wait_for_their_reader),
        TEST(a_listening_socket_is_for_who_listens),
        TEST(what_is_no_socket_is_refused_and_stays_the_callers),
        TEST(a_blocking_socket_does_not_block_us),
    };
    return cmocka_run_group_tests_name("channel/door", tests, NULL, NULL);
}
