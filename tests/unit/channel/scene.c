/* SPDX-License-Identifier: Apache-2.0 */
/* The scene of scene.h; for hostile_shm.c and hostile_stream.c. */
#include <errno.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/clock.h"
#include "scene.h"

static int64_t
scene_time(void *ctx)
{
    return ((struct scene *)ctx)->now;
}

int
scene_set_up(void **state, const char *scheme)
{
    static struct scene scene;
    const struct mchan_opts opts = MCHAN_OPTS_INIT;
    memset(&scene, 0, sizeof scene);
    strcpy(scene.dir, "/tmp/mchan-test-XXXXXX");
    assert_non_null(mkdtemp(scene.dir));
    snprintf(scene.path, sizeof scene.path, "%s/s", scene.dir);
    snprintf(scene.uri, sizeof scene.uri, "%s:%s", scheme, scene.path);
    scene.now = NSEC_PER_SEC;
    scene.opts = opts;
    scene.opts.now_ns = scene_time;
    scene.opts.now_ctx = &scene;
    scene.raw = -1;
    *state = &scene;
    return 0;
}

int
scene_tear_down(void **state)
{
    struct scene *scene = *state;
    if (scene->raw >= 0) {
        close(scene->raw);
    }
    mchan_close(scene->channel);
    return rmdir(scene->dir);
}

void
scene_listen(struct scene *scene)
{
    assert_int_equal(mchan_listen(&scene->channel, scene->uri, &scene->opts),
                     0);
}

void
scene_connect(struct scene *scene)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    strcpy(address.sun_path, scene->path);
    scene->raw = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(scene->raw >= 0);
    assert_int_equal(
        connect(scene->raw, (struct sockaddr *)&address, sizeof address), 0);
}

/* Waiting. */

time_t
scene_seconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec;
}

struct mchan_event
scene_expect(struct mchan *channel, enum mchan_event_type type)
{
    struct mchan_event event;
    time_t until = scene_seconds() + SCENE_PATIENCE_S;
    while (scene_seconds() < until) {
        while (mchan_next_event(channel, &event)) {
            if (event.type == type) {
                return event;
            }
        }
        if (!mchan_arm(channel, MCHAN_READABLE)) {
            struct pollfd readable = {.fd = mchan_fd(channel),
                                      .events = POLLIN};
            poll(&readable, 1, 100);
        }
    }
    fail_msg("event %d never came", type);
    abort();
}

void
scene_expect_refused(struct scene *scene, const char *reason)
{
    struct mchan_event event = scene_expect(scene->channel, MCHAN_PROTO_ERROR);
    assert_string_equal(event.reason, reason);
    struct mchan_msg message = {.data = "x", .size = 1};
    assert_int_equal(mchan_send(scene->channel, &message), -EPROTO);
}

void
scene_expect_message(struct scene *scene, size_t size)
{
    char data[64];
    ssize_t got;
    time_t until = scene_seconds() + SCENE_PATIENCE_S;
    do {
        got = mchan_recv(scene->channel, data, sizeof data, NULL);
    } while (got == -EAGAIN && scene_seconds() < until);
    assert_int_equal(got, size);
}
