/* SPDX-License-Identifier: Apache-2.0 */
/* "unix:PATH": a byte stream over a unix socket between processes of one
 * machine.  The simplest transport, and what mbrokerd's own processes speak
 * over socket pairs.  The flags of a socket that was handed over are shared
 * with whoever handed it, so every call says MSG_DONTWAIT itself. */
#include <errno.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include "transport/meeting.h"
#include "transport/transport.h"

struct unix_transport {
    struct transport transport;
    struct meeting meeting;
    bool wants_room; /* The watch includes EPOLLOUT. */
};

extern const struct transport_class transport_unix;

static struct unix_transport *
unix_cast(struct transport *transport)
{
    return (struct unix_transport *)(void *)transport;
}

static int
unix_open(struct transport **out, const char *address,
          const struct transport_opts *opts)
{
    struct unix_transport *self = calloc(1, sizeof *self);
    if (!self) {
        return -ENOMEM;
    }
    int error = meeting_init(&self->meeting, address, opts);
    if (error) {
        free(self);
        return error;
    }
    self->transport.class = &transport_unix;
    self->transport.once = self->meeting.once;
    *out = &self->transport;
    return 0;
}

static void
unix_close(struct transport *transport)
{
    if (transport) {
        meeting_fini(&unix_cast(transport)->meeting);
        free(unix_cast(transport));
    }
}

static int
unix_connect(struct transport *transport)
{
    int result = meeting_connect(&unix_cast(transport)->meeting);
    if (result == 1) {
        transport->ready |= TRANSPORT_LINK | TRANSPORT_ROOM;
    }
    return result;
}

static void
unix_drop(struct transport *transport)
{
    meeting_drop(&unix_cast(transport)->meeting);
    unix_cast(transport)->wants_room = false;
    transport->ready &= ~(TRANSPORT_LINK | TRANSPORT_ROOM | TRANSPORT_HANGUP);
}

static unsigned
unix_refuse(struct transport *transport)
{
    unsigned n = meeting_refuse(&unix_cast(transport)->meeting);
    if (n < MEETING_REFUSE_MAX) {
        transport->ready &= ~TRANSPORT_PEER;
    }
    return n;
}

static int
unix_identify(const struct transport *transport, struct transport_identity *out)
{
    const struct unix_transport *self =
        (const struct unix_transport *)(const void *)transport;
    return meeting_identify(&self->meeting, out);
}

/* Room is asked about only while there is none: the kernel announces it each
 * time the peer reads. */
static void
watch_room(struct unix_transport *self, bool wanted)
{
    if (self->wants_room == wanted) {
        return;
    }
    struct epoll_event event = {.events = EPOLLIN | EPOLLRDHUP | EPOLLET};
    event.data.u32 = TRANSPORT_LINK;
    if (wanted) {
        event.events |= EPOLLOUT;
    }
    if (!epoll_ctl(self->meeting.epoll_fd, EPOLL_CTL_MOD, self->meeting.fd,
                   &event)) {
        self->wants_room = wanted;
    }
}

static ssize_t
unix_send(struct transport *transport, const struct iovec *iov, int n)
{
    struct unix_transport *self = unix_cast(transport);
    struct msghdr message = {.msg_iov = (struct iovec *)(uintptr_t)iov};
    message.msg_iovlen = (size_t)n;
    ssize_t sent =
        sendmsg(self->meeting.fd, &message, MSG_DONTWAIT | MSG_NOSIGNAL);
    if (sent >= 0) {
        watch_room(self, false);
        return sent;
    }
    if (errno == EAGAIN || errno == EINTR) {
        transport->ready &= ~TRANSPORT_ROOM;
        watch_room(self, true);
        return -EAGAIN;
    }
    return -errno;
}

static ssize_t
unix_recv(struct transport *transport, void *data, size_t size)
{
    ssize_t got =
        recv(unix_cast(transport)->meeting.fd, data, size, MSG_DONTWAIT);
    if (got >= 0) {
        return got;
    }
    if (errno == EAGAIN || errno == EINTR) {
        if (errno == EAGAIN) {
            transport->ready &= ~TRANSPORT_LINK;
        }
        return -EAGAIN;
    }
    return -errno;
}

const struct transport_class transport_unix = {
    .name = "unix",
    .summary = "a unix socket between processes of one machine",
    .open = unix_open,
    .close = unix_close,
    .connect = unix_connect,
    .drop = unix_drop,
    .refuse = unix_refuse,
    .identify = unix_identify,
    .send = unix_send,
    .recv = unix_recv,
};
