/* SPDX-License-Identifier: Apache-2.0 */
/* Arming: whatever the peer does, and at whichever moment of mchan_arm(), who
 * was told to sleep is woken when there is something to do.  The peer acts from
 * within the clock that mchan_arm() reads. */
#include <errno.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

#include <cmocka.h>

#include "include/mchan.h"

#define RING_SIZE 4096
#define MOMENTS 8

struct scene {
    struct mchan *us, *peer;
    /* At the 'moment'th look at the clock the peer acts. */
    int moment;
    void (*act)(struct scene *);
    uint8_t data[RING_SIZE / 8];
    struct mchan_view views[4];
};

static int64_t
now_ns(void *scene_)
{
    struct scene *scene = scene_;
    struct timespec now;
    if (scene->moment && !--scene->moment) {
        scene->act(scene);
    }
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * INT64_C(1000000000) + now.tv_nsec;
}

static void
take_events(struct mchan *channel)
{
    struct mchan_event event;
    while (mchan_next_event(channel, &event)) {
    }
}

static void
begin(struct scene *scene, uint64_t loan_bytes)
{
    int ends[2];
    struct mchan_opts opts = MCHAN_OPTS_INIT;
    memset(scene, 0, sizeof *scene);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, ends), 0);
    opts.ring_size = RING_SIZE;
    opts.loan_bytes = loan_bytes;
    opts.fd = ends[0];
    assert_int_equal(mchan_listen(&scene->peer, "shm:", &opts), 0);
    opts.fd = ends[1];
    opts.now_ns = now_ns;
    opts.now_ctx = scene;
    assert_int_equal(mchan_open(&scene->us, "shm:", &opts), 0);
    for (int i = 0; i < 4; i++) {
        take_events(scene->us);
        take_events(scene->peer);
    }
}

static void
end(struct scene *scene)
{
    mchan_close(scene->us);
    mchan_close(scene->peer);
}

static int
send_size(struct scene *scene, size_t size, uint8_t delivery)
{
    struct mchan_msg message = {
        .data = scene->data, .size = size, .delivery = delivery};
    return mchan_send(scene->us, &message);
}

static void
take(struct mchan *channel, int n)
{
    uint8_t data[RING_SIZE];
    while (n-- && mchan_recv(channel, data, sizeof data, NULL) >= 0) {
    }
    (void)mchan_ack(channel);
}

static void
peer_takes_two(struct scene *scene)
{
    take(scene->peer, 2);
}

/* Arms while the peer acts at the moment.  If that says sleep, the peer does
 * the rest, and we must be woken. */
static void
sleep_while(struct scene *scene, int moment, void (*act)(struct scene *),
            void (*rest)(struct scene *))
{
    struct pollfd pollfd = {.fd = mchan_fd(scene->us), .events = POLLIN};
    scene->act = act;
    scene->moment = moment;
    int ready = mchan_arm(scene->us, MCHAN_READABLE | MCHAN_WRITABLE);
    if (scene->moment) {
        scene->moment = 0;
        act(scene); /* mchan_arm() was over before. */
    }
    while (!ready && poll(&pollfd, 1, 0) == 1) {
        ready = mchan_arm(scene->us, MCHAN_READABLE | MCHAN_WRITABLE);
    }
    if (!ready) {
        rest(scene);
        assert_int_equal(poll(&pollfd, 1, 60000), 1);
        assert_int_equal(mchan_arm(scene->us, MCHAN_READABLE | MCHAN_WRITABLE),
                         1);
    }
}

static void
peer_takes_all(struct scene *scene)
{
    take(scene->peer, 1000);
}

/* Small messages, then large ones, and the rest of the room small again: a
 * value waits for less room than a message does. */
static void
who_waits_for_little_and_for_much_is_woken_for_both(void **state)
{
    for (int moment = 1; moment <= MOMENTS; moment++) {
        struct scene scene;
        begin(&scene, 0);
        for (int i = 0; i < 3; i++) {
            assert_int_equal(send_size(&scene, 8, MCHAN_RELIABLE), 0);
        }
        size_t large = mchan_message_max(scene.us);
        while (!send_size(&scene, large, MCHAN_RELIABLE)) {
        }
        while (!send_size(&scene, 8, MCHAN_RELIABLE)) {
        }
        assert_int_equal(send_size(&scene, 8, MCHAN_LATEST), 0);
        sleep_while(&scene, moment, peer_takes_two, peer_takes_all);
        end(&scene);
    }
}

static void
peer_returns_one(struct scene *scene)
{
    mchan_release(scene->peer, &scene->views[0]);
}

static void
peer_returns_the_rest(struct scene *scene)
{
    for (int i = 1; i < 4; i++) {
        mchan_release(scene->peer, &scene->views[i]);
    }
}

static void
who_waits_for_a_large_loan_is_woken_though_a_small_one_came_back(void **state)
{
    for (int moment = 1; moment <= MOMENTS; moment++) {
        struct scene scene;
        struct mchan_loan loan;
        begin(&scene, 4 * 4096);
        for (int i = 0; i < 4; i++) {
            struct mchan_msg message = {.size = 4096};
            assert_int_equal(mchan_loan(scene.us, 4096, &loan), 0);
            assert_int_equal(mchan_send_loan(scene.us, &loan, &message), 0);
            assert_int_equal(mchan_view(scene.peer, &scene.views[i]), 0);
        }
        assert_int_equal(mchan_loan(scene.us, 4 * 4096, &loan), -EAGAIN);
        sleep_while(&scene, moment, peer_returns_one, peer_returns_the_rest);
        assert_int_equal(mchan_loan(scene.us, 4 * 4096, &loan), 0);
        mchan_unloan(scene.us, &loan);
        end(&scene);
    }
}

static void
peer_sends(struct scene *scene)
{
    struct mchan_msg message = {.data = scene->data, .size = 8};
    assert_int_equal(mchan_send(scene->peer, &message), 0);
}

static void
a_message_that_comes_while_arming_is_not_slept_on(void **state)
{
    for (int moment = 1; moment <= MOMENTS; moment++) {
        struct scene scene;
        begin(&scene, 0);
        peer_takes_all(&scene);
        while (!send_size(&scene, 8, MCHAN_RELIABLE)) {
        }
        sleep_while(&scene, moment, peer_sends, peer_sends);
        end(&scene);
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(who_waits_for_little_and_for_much_is_woken_for_both),
        cmocka_unit_test(
            who_waits_for_a_large_loan_is_woken_though_a_small_one_came_back),
        cmocka_unit_test(a_message_that_comes_while_arming_is_not_slept_on),
    };
    return cmocka_run_group_tests_name("channel/arm", tests, NULL, NULL);
}
