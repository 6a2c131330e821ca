/* SPDX-License-Identifier: Apache-2.0 */
/* The public door of the M-channel, include/mchan.h.  Checks what the user
 * hands in, takes the short way when a message is at hand or there is room for
 * one, and lets channel.c take a turn when not.
 *
 * Being a library for other programs, it reads the clock itself and asks the
 * kernel for a seed where its user gives neither; our own programs could do
 * without, msim does. */
#include "include/mchan.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/random.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#include "channel/channel.h"

#define SPIN_NS (20 * NSEC_PER_USEC)
/* A wait longer than this was idle, and the next begins asleep.  A sleeping
 * exchange must be well below it, or two who once slept would never spin again;
 * spinning costs at most a tenth of such a wait. */
#define SPIN_IDLE_NS (10 * SPIN_NS)
/* Spins in a row that brought nothing, before only each 64th wait tries one:
 * the peer is slow, or has no other CPU to run on. */
#define SPINS_IN_VAIN_MAX 4
#define SPIN_AGAIN 64
#define SPIN_LOOKS 64 /* Looks at a ring between two at the clock. */
#define SCHEME_MAX 16

/* Making and closing. */

static const struct transport_class *
find_transport(const char *uri, const char **address)
{
    const char *colon = strchr(uri, ':');
    char scheme[SCHEME_MAX];
    if (!colon || (size_t)(colon - uri) >= sizeof scheme) {
        return NULL;
    }
    memcpy(scheme, uri, (size_t)(colon - uri));
    scheme[colon - uri] = '\0';
    *address = colon + 1;
    return transport_find(scheme);
}

static int64_t
boot_time(void *ctx)
{
    struct timespec now;
    clock_gettime(CLOCK_BOOTTIME, &now);
    return now.tv_sec * NSEC_PER_SEC + now.tv_nsec;
}

static int
make_descriptors(struct mchan *channel)
{
    channel->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    if (channel->epoll_fd < 0) {
        return -errno;
    }
    channel->timer_fd =
        timerfd_create(CLOCK_BOOTTIME, TFD_NONBLOCK | TFD_CLOEXEC);
    if (channel->timer_fd < 0) {
        return -errno;
    }
    struct epoll_event event = {.events = EPOLLIN | EPOLLET};
    if (epoll_ctl(channel->epoll_fd, EPOLL_CTL_ADD, channel->timer_fd,
                  &event)) {
        return -errno;
    }
    return 0;
}

static int
set_chance(struct mchan *channel, const struct mchan_opts *opts)
{
    uint64_t seed = opts->seed;
    if (!seed && getrandom(&seed, sizeof seed, 0) != sizeof seed) {
        return -EIO;
    }
    prng_init(&channel->prng, seed);
    mgmtfront_init(&channel->front, opts->retry_min_ms, opts->retry_max_ms,
                   prng_u64(&channel->prng));
    mgmtback_init(&channel->back, prng_u64(&channel->prng));
    return 0;
}

static int
set_up(struct mchan *channel, const char *uri, const struct mchan_opts *opts)
{
    const char *address = NULL;
    const struct transport_class *class = find_transport(uri, &address);
    if (!class) {
        return -EPROTONOSUPPORT;
    }
    channel->ring_size = opts->ring_size ? opts->ring_size : RING_SIZE_DEFAULT;
    if (!ring_size_valid(channel->ring_size)) {
        return -EINVAL;
    }
    channel->now_ns = opts->now_ns ? opts->now_ns : boot_time;
    channel->now_ctx = opts->now_ctx;
    channel->deadline = channel->timer = NSEC_NEVER;
    channel->spins_left = SPINS_IN_VAIN_MAX;
    session_init(&channel->session);
    int error = set_chance(channel, opts);
    if (!error && !class->simulated) {
        error = make_descriptors(channel);
    }
    if (error) {
        return error;
    }
    struct transport_opts transport_opts = {
        .listen = channel->listens,
        .ring_size = channel->ring_size,
        .fd = opts->fd,
        .epoll_fd = channel->epoll_fd,
        .sim = opts->sim,
    };
    return class->open(&channel->transport, address, &transport_opts);
}

static int
make(struct mchan **out, const char *uri, const struct mchan_opts *given,
     bool listens)
{
    struct mchan_opts opts = MCHAN_OPTS_INIT;
    if (given) {
        /* A program may have been built with an older, shorter one. */
        if (given->size < offsetof(struct mchan_opts, fd) + sizeof given->fd) {
            return -EINVAL;
        }
        memcpy(&opts, given,
               given->size < sizeof opts ? given->size : sizeof opts);
    }
    struct mchan *channel = calloc(1, sizeof *channel);
    if (!channel) {
        return -ENOMEM;
    }
    channel->listens = listens;
    channel->epoll_fd = channel->timer_fd = -1;
    int error = set_up(channel, uri, &opts);
    if (error) {
        mchan_close(channel);
        return error;
    }
    channel_turn(channel);
    *out = channel;
    return 0;
}

int
mchan_listen(struct mchan **out, const char *uri, const struct mchan_opts *opts)
{
    return make(out, uri, opts, true);
}

int
mchan_open(struct mchan **out, const char *uri, const struct mchan_opts *opts)
{
    return make(out, uri, opts, false);
}

void
mchan_close(struct mchan *channel)
{
    if (!channel) {
        return;
    }
    if (channel->transport) {
        channel_bye(channel);
        link_fini(&channel->link);
        channel->transport->class->close(channel->transport);
    }
    if (channel->timer_fd >= 0) {
        close(channel->timer_fd);
    }
    if (channel->epoll_fd >= 0) {
        close(channel->epoll_fd);
    }
    free(channel);
}

/* Messages. */

/* 0 if the message was put, -EAGAIN, or why it can't be. */
static int
try_send(struct mchan *channel, const struct mchan_msg *message)
{
    struct session *session = &channel->session;
    if (session->state != SESSION_UP) {
        return session->error;
    }
    if (message->size > session->message_max_agreed) {
        return -EMSGSIZE;
    }
    if (!link_has_room(&channel->link, (uint32_t)message->size)) {
        return -EAGAIN;
    }
    struct record record =
        session_send(session, message->tag, (uint32_t)message->size);
    (void)link_put(&channel->link, &record, message->data);
    (void)link_flush(&channel->link);
    channel->stats.n_sent++;
    channel->stats.bytes_sent += message->size;
    return 0;
}

int
mchan_send(struct mchan *channel, const struct mchan_msg *message)
{
    if (message->delivery != MCHAN_RELIABLE) {
        return message->delivery <= MCHAN_DATAGRAM ? -ENOTSUP : -EINVAL;
    }
    int error = try_send(channel, message);
    if (error && error != -EMSGSIZE) {
        channel_turn(channel);
        error = try_send(channel, message);
    }
    return error;
}

/* What mchan_recv() says when there is no message. */
static int
nothing(const struct mchan *channel)
{
    const struct session *session = &channel->session;
    return session->state == SESSION_UP ? -EAGAIN : session->error;
}

/* A user who spins over an empty ring need not ask the kernel each time. */
static bool
may_skip_turn(struct mchan *channel)
{
    return channel->session.state == SESSION_UP && !channel->link.streams &&
           ++channel->n_idle % SPIN_LOOKS;
}

static int
find_message(struct mchan *channel, struct record *out)
{
    session_asked(&channel->session);
    link_asked(&channel->link);
    int found = channel_peek(channel, out);
    if (found == 1) {
        return 1;
    }
    if (!found && !channel->link.streams) {
        link_acknowledge(&channel->link, channel->session.done, true);
    }
    if (!found && may_skip_turn(channel)) {
        return 0;
    }
    channel_turn(channel);
    return channel_peek(channel, out) == 1;
}

ssize_t
mchan_recv(struct mchan *channel, void *data, size_t size,
           struct mchan_info *info)
{
    struct session *session = &channel->session;
    struct record record;
    if (!find_message(channel, &record)) {
        return nothing(channel);
    }
    if (record.size > size) {
        return -ENOBUFS;
    }
    link_acknowledge(&channel->link, session->done, false);
    link_take(&channel->link, &record, data);
    session_delivered(session);
    channel->n_idle = 0;
    channel->stats.n_received++;
    channel->stats.bytes_received += record.size;
    if (info) {
        memset(info, 0, sizeof *info);
        info->sequence = session->delivered;
        info->attachment = session->attachment;
        info->tag = record.tag;
        info->delivery = MCHAN_RELIABLE;
    }
    return (ssize_t)record.size;
}

int
mchan_next_event(struct mchan *channel, struct mchan_event *out)
{
    if (!channel->session.n_events) {
        channel_turn(channel);
    }
    return session_next_event(&channel->session, out);
}

/* Waiting. */

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
    if (what & MCHAN_WRITABLE && session->state == SESSION_UP &&
        link_has_room(&channel->link, session->message_max_agreed)) {
        return true;
    }
    return session->state != SESSION_APART && link_has_more(&channel->link);
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
    bool writable = what & MCHAN_WRITABLE && session->state == SESSION_UP;
    link_arm(&channel->link, writable ? session->message_max_agreed : 0);
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
        for (int i = 0; i < SPIN_LOOKS && !found; i++) {
            found = channel_peek(channel, &record);
            relax();
        }
    } while (!found && channel_now(channel) - start < SPIN_NS);
    if (found) {
        channel->spins_left = SPINS_IN_VAIN_MAX;
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

/* About the channel. */

int
mchan_peer(const struct mchan *channel, struct mchan_peer *out)
{
    struct transport_identity identity;
    int error =
        channel->transport->class->identify(channel->transport, &identity);
    if (error) {
        return error;
    }
    out->pid = identity.pid;
    out->uid = identity.uid;
    out->gid = identity.gid;
    return 0;
}

size_t
mchan_message_max(const struct mchan *channel)
{
    return channel->session.message_max_agreed
               ? channel->session.message_max_agreed
               : ring_message_max(channel->ring_size);
}

int
mchan_stats(const struct mchan *channel, struct mchan_stats *out, size_t size)
{
    struct mchan_stats stats = channel->stats;
    stats.n_wakes += channel->link.n_wakes;
    memset(out, 0, size);
    memcpy(out, &stats, size < sizeof stats ? size : sizeof stats);
    return 0;
}
