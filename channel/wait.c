/* SPDX-License-Identifier: Apache-2.0 */
/* Waiting, for include/mchan.h: what to sleep on, what must be said before, and
 * how long looking is better than sleeping.
 *
 * Looking is worth about what a wake costs: who looks that long and then sleeps
 * pays at most twice what the best choice would have cost.  So that is measured
 * once, by an alarm of our own that we sleep for.  An idle channel does not
 * look at all.
 *
 * A channel whose peer can only say something through the ring or by leaving
 * sleeps without a turn before and after: both show at its descriptor, and a
 * message in the ring. */
#include <errno.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "channel/channel.h"
#include "include/mchan.h"

/* A wait longer than so many spins was idle, and the next begins asleep.  A
 * sleeping exchange must be well below it, or two who once slept would never
 * spin again; spinning costs at most a tenth of such a wait. */
#define SPIN_IDLE 10
#define SPIN_AGAIN 64
/* However the clock goes, a spin ends. */
#define SPIN_LOOKS_MAX (1 << 14)
/* Wishes that may be used up while they are stored, before we do not sleep. */
#define ARMS_MAX 16
#define MEASURES 3
#define MEASURE_NS (20 * NSEC_PER_USEC)

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
    if (what & MCHAN_WRITABLE && !channel->loans.wanted &&
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

/* What wishes are stored against. */
struct stand {
    uint64_t position, tail, taken;
    int state;
};

static struct stand
where_it_stands(const struct mchan *channel)
{
    struct stand stand = {
        .position = channel->link.rx.position,
        .tail = channel->link.tx.tail,
        .taken = channel->loans.rx.taken,
        .state = channel->session.state,
    };
    return stand;
}

/* True if a wish that was stored then may be used up now: for a record that was
 * not for the user, for room that was not enough, for the wrong loan. */
static bool
has_moved(const struct mchan *channel, const struct stand *then)
{
    struct stand now = where_it_stands(channel);
    return now.position != then->position || now.tail != then->tail ||
           now.taken != then->taken || now.state != then->state;
}

int
mchan_arm(struct mchan *channel, unsigned what)
{
    struct session *session = &channel->session;
    if (session->state == SESSION_UP) {
        link_acknowledge(&channel->link, session->done);
    }
    channel_turn(channel);
    for (int i = 0; i < ARMS_MAX; i++) {
        if (holds(channel, what)) {
            return 1;
        }
        if (session->state == SESSION_APART || channel->link.streams) {
            return 0;
        }
        /* Rings: what came before the wish was stored is found by looking
         * again.  The wish is W1 of ring.c and has its fence or barrier there;
         * the turn and holds() are L1.  A turn takes wakes off the socket
         * before it looks at the rings, so that none is taken whose cause is
         * not seen.  What it finds may be a part of what is waited for: then
         * the wish is used up, and so is its wake. */
        struct stand stand = where_it_stands(channel);
        if (link_arm(&channel->link, wake_position(channel, what))) {
            return 1; /* It will do the next time. */
        }
        loans_arm(channel);
        channel_turn(channel);
        if (!has_moved(channel, &stand)) {
            return holds(channel, what);
        }
    }
    return 1; /* The peer is busy.  So are we. */
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

/* How much later than it should the kernel brings us back. */
static nsec_t
sleep_once(const struct mchan *channel, int epoll_fd, int timer_fd)
{
    struct itimerspec when = {.it_value.tv_nsec = MEASURE_NS};
    struct epoll_event event;
    nsec_t start = channel_now(channel);
    if (timerfd_settime(timer_fd, 0, &when, NULL) ||
        epoll_wait(epoll_fd, &event, 1, 1) != 1) {
        return CHANNEL_SPIN_MAX_NS;
    }
    return channel_now(channel) - start - MEASURE_NS;
}

/* What a wake costs here, at most CHANNEL_SPIN_MAX_NS; 0 if there is no other
 * CPU on which a peer could do something meanwhile. */
static nsec_t
measure_wake(const struct mchan *channel)
{
    if (sysconf(_SC_NPROCESSORS_ONLN) == 1) {
        return 0;
    }
    nsec_t cost = CHANNEL_SPIN_MAX_NS;
    struct epoll_event event = {.events = EPOLLIN | EPOLLET};
    int epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    int timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC);
    if (epoll_fd >= 0 && timer_fd >= 0 &&
        !epoll_ctl(epoll_fd, EPOLL_CTL_ADD, timer_fd, &event)) {
        for (int i = 0; i < MEASURES; i++) {
            cost = nsec_min(cost, sleep_once(channel, epoll_fd, timer_fd));
        }
    }
    if (timer_fd >= 0) {
        close(timer_fd);
    }
    if (epoll_fd >= 0) {
        close(epoll_fd);
    }
    return cost > NSEC_PER_USEC ? cost : NSEC_PER_USEC;
}

/* True if the next wait is worth some looking first. */
static bool
may_spin(struct mchan *channel)
{
    if (!channel->spin_ns || channel->link.streams ||
        channel->session.state != SESSION_UP || channel->session.n_events) {
        return false;
    }
    if (channel->spin_ns < 0) {
        channel->spin_ns = measure_wake(channel);
    }
    if (channel->last_wait > SPIN_IDLE * channel->spin_ns) {
        return false;
    }
    return channel->spins_left > 0 || ++channel->n_waits % SPIN_AGAIN == 0;
}

/* Looks at the ring for about as long as a wake costs.  True if a message is
 * there. */
static bool
spin(struct mchan *channel)
{
    struct record record;
    nsec_t start = 0;
    for (int n = 1; n < SPIN_LOOKS_MAX; n++) {
        int found =
            link_may_peek(&channel->link) ? channel_peek(channel, &record) : 0;
        if (found) {
            channel->spins_left = CHANNEL_SPINS_IN_VAIN_MAX;
            return found == 1;
        }
        relax();
        if (n % CHANNEL_SPIN_LOOKS == 0) {
            nsec_t now = channel_now(channel);
            start = start ? start : now;
            if (now - start >= channel->spin_ns) {
                break;
            }
        }
    }
    if (channel->spins_left) {
        channel->spins_left--;
    }
    return false;
}

/* Sleeps on the one descriptor without taking what it tells; the turn does. */
static void
sleep_on(struct mchan *channel, int timeout_ms)
{
    struct pollfd pollfd = {.fd = channel->epoll_fd, .events = POLLIN};
    (void)poll(&pollfd, 1, timeout_ms);
}

/* True if nothing is to be done that a turn would do. */
static bool
is_quiet(const struct mchan *channel)
{
    return channel->session.state == SESSION_UP && !channel->link.streams &&
           !channel->session.n_events && channel->timer == NSEC_NEVER &&
           channel_deadline(channel) == NSEC_NEVER &&
           !channel_waits_for(channel) && !channel->loans.wanted &&
           !channel->loans.waits &&
           !(channel->transport->ready & (TRANSPORT_HANGUP | TRANSPORT_PEER));
}

/* Sleeps until there is a message or something else to do.  L1 of ring.c is
 * link_may_peek(): only the other's messages are waited for. */
static void
sleep_quietly(struct mchan *channel, int timeout_ms)
{
    link_acknowledge(&channel->link, channel->session.done);
    if (!link_arm(&channel->link, 0) && !link_may_peek(&channel->link) &&
        channel_sleep(channel, timeout_ms)) {
        channel_turn(channel);
    }
}

/* Milliseconds until 'end', rounded up. */
static int
left_until(const struct mchan *channel, nsec_t end)
{
    nsec_t left = end - channel_now(channel);
    return left > 0 ? (int)((left + NSEC_PER_MSEC - 1) / NSEC_PER_MSEC) : 0;
}

/* 1, or 0 when it is over. */
static int
wait_asleep(struct mchan *channel, int timeout_ms, nsec_t end)
{
    struct record record;
    for (bool first = true;; first = false) {
        bool quiet = is_quiet(channel);
        if (!quiet && mchan_arm(channel, MCHAN_READABLE)) {
            return 1;
        }
        int left = timeout_ms < 0 || (first && quiet)
                       ? timeout_ms
                       : left_until(channel, end);
        if (!left && !(first && quiet)) {
            return 0;
        }
        if (!quiet) {
            sleep_on(channel, left);
            continue;
        }
        sleep_quietly(channel, left);
        if (channel->session.n_events || channel_peek(channel, &record) == 1) {
            return 1;
        }
        /* What was no message wants a turn, as does the end of the time. */
        if (mchan_arm(channel, MCHAN_READABLE)) {
            return 1;
        }
    }
}

int
mchan_wait(struct mchan *channel, int timeout_ms)
{
    if (channel->epoll_fd < 0) {
        return -ENOTSUP;
    }
    if (may_spin(channel) && spin(channel)) {
        return 1;
    }
    nsec_t start = channel_now(channel);
    int result = wait_asleep(channel, timeout_ms,
                             start + (nsec_t)timeout_ms * NSEC_PER_MSEC);
    channel->last_wait = channel_now(channel) - start;
    return result;
}

int64_t
mchan_deadline(const struct mchan *channel)
{
    return channel_deadline(channel);
}
