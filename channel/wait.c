/* SPDX-License-Identifier: Apache-2.0 */
/* Waiting, for include/mchan.h: what to sleep on, what must be said before, and
 * how long looking is better than sleeping. */
#include <errno.h>
#include <poll.h>
#include <time.h>

#include "channel/channel.h"
#include "include/mchan.h"

#define SPIN_NS (20 * NSEC_PER_USEC)
/* A wait longer than this was idle, and the next begins asleep.  A sleeping
 * exchange must be well below it, or two who once slept would never spin again;
 * spinning costs at most a tenth of such a wait. */
#define SPIN_IDLE_NS (10 * SPIN_NS)
#define SPIN_AGAIN 64

int
mchan_fd(const struct mchan *channel)
{
    return channel->epoll_fd;
}

/* True if what is waited for is so already. */
static bool
holds(struct mchan *channel, unsigned what)
{
    const struct session *session = &channel->session;
    struct record record;
    if (session->n_events) {
        return true;
    }
    if (what & MCHAN_READABLE && channel_peek(channel, &record) == 1) {
        return true;
    }
    if (what & MCHAN_WRITABLE && session->sends &&
        link_has_room(&channel->link, session->message_max_agreed) &&
        loans_ready(channel)) {
        return true;
    }
    if (what & MCHAN_WRITABLE &&
        channel_has_room_later(channel, session->message_max_agreed)) {
        return true;
    }
    return session->state != SESSION_APART && link_has_more(&channel->link);
}

/* What the peer must have released before there is something to do. */
static uint64_t
wake_position(const struct mchan *channel, unsigned what)
{
    const struct session *session = &channel->session;
    if (session->state != SESSION_UP) {
        return 0;
    }
    uint64_t waits = channel_waits_for(channel);
    if (!(what & MCHAN_WRITABLE) || !session->sends) {
        return waits;
    }
    uint64_t room =
        link_position_for(&channel->link, session->message_max_agreed);
    return waits && (int64_t)(waits - room) < 0 ? waits : room;
}

int
mchan_arm(struct mchan *channel, unsigned what)
{
    struct session *session = &channel->session;
    if (session->state == SESSION_UP) {
        link_acknowledge(&channel->link, session->done, true);
    }
    channel_turn(channel);
    if (holds(channel, what)) {
        return 1;
    }
    if (session->state == SESSION_APART || channel->link.streams) {
        return 0;
    }
    /* Rings: what came before the wish was stored is found by looking again. */
    if (link_arm(&channel->link, wake_position(channel, what))) {
        return 1; /* It will do the next time. */
    }
    loans_arm(channel);
    channel_turn(channel);
    return holds(channel, what);
}

static inline void
relax(void)
{
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

/* True if the next wait is worth some looking first. */
static bool
may_spin(struct mchan *channel)
{
    if (channel->link.streams || channel->session.state != SESSION_UP ||
        channel->last_wait > SPIN_IDLE_NS) {
        return false;
    }
    return channel->spins_left > 0 || ++channel->n_waits % SPIN_AGAIN == 0;
}

/* Looks at the ring for about as long as a wake costs.  True if a message is
 * there. */
static bool
spin(struct mchan *channel, nsec_t start)
{
    struct record record;
    int found = 0;
    do {
        for (int i = 0; i < CHANNEL_SPIN_LOOKS && !found; i++) {
            found = channel_peek(channel, &record);
            relax();
        }
    } while (!found && channel_now(channel) - start < SPIN_NS);
    if (found) {
        channel->spins_left = CHANNEL_SPINS_IN_VAIN_MAX;
    } else if (channel->spins_left) {
        channel->spins_left--;
    }
    return found == 1;
}

/* Sleeps on the one descriptor without taking what it tells; the turn does. */
static void
sleep_on(struct mchan *channel, nsec_t wait)
{
    struct pollfd pollfd = {.fd = channel->epoll_fd, .events = POLLIN};
    struct timespec timeout = {.tv_sec = wait / NSEC_PER_SEC,
                               .tv_nsec = wait % NSEC_PER_SEC};
    (void)ppoll(&pollfd, 1, wait < 0 ? NULL : &timeout, NULL);
}

int
mchan_wait(struct mchan *channel, int timeout_ms)
{
    if (channel->epoll_fd < 0) {
        return -ENOTSUP;
    }
    nsec_t start = channel_now(channel);
    nsec_t end =
        timeout_ms < 0 ? NSEC_NEVER : start + timeout_ms * NSEC_PER_MSEC;
    if (may_spin(channel) && spin(channel, start)) {
        return 1;
    }
    while (!mchan_arm(channel, MCHAN_READABLE)) {
        nsec_t left = end - channel_now(channel);
        if (end != NSEC_NEVER && left <= 0) {
            return 0;
        }
        sleep_on(channel, end == NSEC_NEVER ? -1 : left);
    }
    channel->last_wait = channel_now(channel) - start;
    return 1;
}

int64_t
mchan_deadline(const struct mchan *channel)
{
    return channel_deadline(channel);
}
