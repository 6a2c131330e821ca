/* SPDX-License-Identifier: Apache-2.0 */
/* A level-triggered loop spins on a descriptor that is readable and not read.
 * So one whose owner may not speak now (it spoke too much, or nobody takes what
 * it says) is taken off the loop meanwhile.  Called by the roles. */
#include "broker/role/watched.h"

#include <signal.h>
#include <stddef.h>

#include "base/loop.h"

void
watched_begin(struct watched *watched, struct loop *loop, int fd)
{
    *watched = (struct watched){.loop = loop, .fd = fd};
    watched_want(watched, true);
}

void
watched_end(struct watched *watched)
{
    if (watched->loop) {
        watched_want(watched, false);
        watched->loop = NULL;
    }
}

bool
watched_take(struct watched *watched)
{
    bool ready = watched->ready;

    watched->ready = false;
    return ready;
}

void
watched_want(struct watched *watched, bool wanted)
{
    if (!watched->loop || wanted == watched->waiting) {
        return;
    }
    if (wanted) {
        watched->waiting =
            !loop_watch(watched->loop, watched->fd, false, &watched->ready);
    } else {
        loop_unwatch(watched->loop, watched->fd);
        watched->waiting = false;
    }
}

int
watched_signals(struct loop *loop, bool *ignored)
{
    static const int signals[] = {SIGTERM, SIGINT, SIGHUP, SIGPIPE};
    int error = 0;

    for (size_t i = 0; !error && i < sizeof signals / sizeof signals[0]; i++) {
        error = loop_on_signal(loop, signals[i], ignored);
    }
    return error;
}
