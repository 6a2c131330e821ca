/* SPDX-License-Identifier: Apache-2.0 */
/* What the kernel's own carriers share: a descriptor to write to and one to
 * read from.  A stream has no messages, so its reader asks for the size that it
 * knows: a user would have a header to read besides.  Included by pipe.c,
 * tcp.c, unix_seqpacket.c and unix_stream.c. */
#ifndef BENCH_CHANNEL_DESCRIPTORS_H
#define BENCH_CHANNEL_DESCRIPTORS_H

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "bench/channel/carrier.h"

struct descriptors {
    int out[2], in[2]; /* Of each end. */
};

static inline int
descriptors_out(const struct end *end)
{
    return ((const struct descriptors *)end->carrier)->out[end->side];
}

static inline int
descriptors_in(const struct end *end)
{
    return ((const struct descriptors *)end->carrier)->in[end->side];
}

/* Takes over what the carrier made; 'sockets' if each is for both ways. */
static inline int
descriptors_keep(struct end *end, const int *fds, bool sockets)
{
    struct descriptors *all = calloc(1, sizeof *all);
    if (!all) {
        return -ENOMEM;
    }
    for (int i = 0; i < 2; i++) {
        all->out[i] = sockets ? fds[i] : fds[2 * i + 1];
        all->in[i] = sockets ? fds[i] : fds[2 * !i];
    }
    end->carrier = all;
    return 0;
}

/* As much memory as the rings have, where the kernel allows it. */
static inline void
descriptors_buffers(const struct end *end, int fd)
{
    int size = (int)end->run->ring_size;
    for (int i = 0; i < 2; i++) {
        int force = i ? SO_SNDBUFFORCE : SO_RCVBUFFORCE;
        int mild = i ? SO_SNDBUF : SO_RCVBUF;
        if (setsockopt(fd, SOL_SOCKET, force, &size, sizeof size)) {
            (void)setsockopt(fd, SOL_SOCKET, mild, &size, sizeof size);
        }
    }
}

static inline int
descriptors_open(struct end *end)
{
    const struct descriptors *all = end->carrier;
    int other = !end->side;
    close(all->out[other]);
    if (all->in[other] != all->out[other]) {
        close(all->in[other]);
    }
    if (end->run->wait == WAIT_POLL &&
        (fcntl(descriptors_out(end), F_SETFL, O_NONBLOCK) ||
         fcntl(descriptors_in(end), F_SETFL, O_NONBLOCK))) {
        return -errno;
    }
    return 0;
}

static inline void
descriptors_close(struct end *end)
{
    close(descriptors_out(end));
    if (descriptors_in(end) != descriptors_out(end)) {
        close(descriptors_in(end));
    }
    free(end->carrier);
}

static inline int
descriptors_put(struct end *end, const void *data, size_t size)
{
    size_t done = 0;
    while (done < size) {
        ssize_t n =
            write(descriptors_out(end), (const char *)data + done, size - done);
        if (n > 0) {
            done += (size_t)n;
        } else if (errno != EAGAIN && errno != EINTR) {
            return -errno;
        }
    }
    return 0;
}

static inline ssize_t
descriptors_get(struct end *end, void *data, size_t size)
{
    size_t done = 0, wanted = end->run->size;
    while (done < wanted) {
        ssize_t n =
            read(descriptors_in(end), (char *)data + done, wanted - done);
        if (n > 0) {
            done += (size_t)n;
        } else if (!n) {
            return -EPIPE;
        } else if (errno != EAGAIN && errno != EINTR) {
            return -errno;
        }
    }
    return (ssize_t)done;
}

#define DESCRIPTORS_CLASS                                                      \
    .waits = WAITS(WAIT_POLL) | WAITS(WAIT_SLEEP), .size_max = BUFFER_SIZE,    \
    .prepare = prepare, .open = descriptors_open, .close = descriptors_close,  \
    .ping = loops_ping, .echo = loops_echo, .pour = loops_pour,                \
    .drain = loops_drain

#endif
