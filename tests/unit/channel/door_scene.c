/* SPDX-License-Identifier: Apache-2.0 */
/* What the tests of the public door share. Relies on include/mchan.h alone, as
 * another program would. */
#include "tests/unit/channel/door_scene.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

const char *const schemes[] = {"unix:", "shm:"};

int
set_up(void **state)
{
    static struct place place;
    strcpy(place.dir, "/tmp/mchan-test-XXXXXX");
    assert_non_null(mkdtemp(place.dir));
    snprintf(place.path, sizeof place.path, "%s/s", place.dir);
    snprintf(place.uri, sizeof place.uri, "unix:%s", place.path);
    *state = &place;
    return 0;
}

int
tear_down(void **state)
{
    struct place *place = *state;
    return rmdir(place->dir);
}

int
send_text(struct mchan *channel, const char *text)
{
    struct mchan_msg message = {.data = text, .size = strlen(text) + 1};
    return mchan_send(channel, &message);
}

void
come_up(struct mchan *one, struct mchan *other)
{
    struct mchan_event event;
    bool up[2] = {false, false};
    for (int i = 0; i < 100 && !(up[0] && up[1]); i++) {
        while (mchan_next_event(one, &event)) {
            up[0] |= event.type == MCHAN_UP;
        }
        while (mchan_next_event(other, &event)) {
            up[1] |= event.type == MCHAN_UP;
        }
    }
    assert_true(up[0] && up[1]);
}

void
make_pair(const char *scheme, uint32_t ring_size, struct mchan **back,
          struct mchan **front)
{
    int ends[2];
    struct mchan_opts opts = MCHAN_OPTS_INIT;
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, ends), 0);
    opts.ring_size = ring_size;
    opts.fd = ends[0];
    assert_int_equal(mchan_listen(back, scheme, &opts), 0);
    opts.fd = ends[1];
    assert_int_equal(mchan_open(front, scheme, &opts), 0);
}
