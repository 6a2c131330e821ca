/* SPDX-License-Identifier: Apache-2.0 */
/* The public door of the M-channel, include/mchan.h.  Checks what the user
 * hands in at the beginning and the end; message.c, loan.c, wait.c and move.c
 * are the rest of the door.
 *
 * Being a library for other programs, it reads the clock itself and asks the
 * kernel for a seed where its user gives neither; our own programs could do
 * without, msim does. */
#include "include/mchan.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/random.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#include "channel/channel.h"

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

int
channel_open(struct mchan *channel, const char *uri, int fd,
             struct transport **out)
{
    const char *address = NULL;
    const struct transport_class *class = find_transport(uri, &address);
    if (!class || class->simulated != (channel->epoll_fd < 0)) {
        return -EPROTONOSUPPORT;
    }
    struct transport_opts opts = {
        .listen = channel->listens,
        .ring_size = channel->ring_size,
        .lends = channel->loans.bytes,
        .fd = fd,
        .epoll_fd = channel->epoll_fd,
        .sim = channel->sim,
    };
    return class->open(out, address, &opts);
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
    const char *unused;
    const struct transport_class *class = find_transport(uri, &unused);
    if (!class) {
        return -EPROTONOSUPPORT;
    }
    channel->ring_size = opts->ring_size ? opts->ring_size : RING_SIZE_DEFAULT;
    if (!ring_size_valid(channel->ring_size)) {
        return -EINVAL;
    }
    channel->now_ns = opts->now_ns ? opts->now_ns : boot_time;
    channel->now_ctx = opts->now_ctx;
    channel->sim = opts->sim;
    channel->hold_ns = opts->hold_ms * NSEC_PER_MSEC;
    channel->deadline = channel->timer = NSEC_NEVER;
    channel->away_until = NSEC_NEVER;
    channel->spins_left = CHANNEL_SPINS_IN_VAIN_MAX;
    channel->spin_ns = -1;
    if (opts->spin_us) {
        channel->spin_ns =
            opts->spin_us == MCHAN_NO_SPIN ? 0 : opts->spin_us * NSEC_PER_USEC;
    }
    session_init(&channel->session);
    channel->handoff_ns = (nsec_t)opts->handoff_ms * NSEC_PER_MSEC;
    loans_init(&channel->loans, opts->loan_bytes);
    int error = set_chance(channel, opts);
    channel->back.waits = channel->handoff_ns > 0;
    if (!error && !class->simulated) {
        error = make_descriptors(channel);
    }
    if (error) {
        return error;
    }
    return channel_open(channel, uri, opts->fd, &channel->transport);
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
        loans_fini(channel);
        link_fini(&channel->link);
        window_fini(&channel->window);
        latest_destroy(channel->latest);
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

/* About the channel. */

int
mchan_next_event(struct mchan *channel, struct mchan_event *out)
{
    if (!channel->session.n_events) {
        channel_turn(channel);
    }
    return session_next_event(&channel->session, out);
}

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
    stats.n_acked = channel->session.n_acked;
    stats.n_dropped = channel->session.n_dropped;
    stats.n_lent = channel->loans.slab ? channel->loans.slab->n_lent : 0;
    stats.memory_bytes = sizeof *channel + channel->window.capacity +
                         link_memory(&channel->link);
    memset(out, 0, size);
    memcpy(out, &stats, size < sizeof stats ? size : sizeof stats);
    return 0;
}
