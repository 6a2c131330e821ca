/* SPDX-License-Identifier: Apache-2.0 */
/* A socketpair() of type SOCK_SEQPACKET: the kernel keeps messages apart, one
 * system call each, as a user without a library would choose.  It is the fair
 * peer of message channels over the kernel.  Nothing is acknowledged, numbered
 * or kept; a message must fit into the socket's buffer, which is as large as a
 * ring of ours where the kernel allows it. */
#include "bench/channel/carrier.h"
#include "bench/channel/descriptors.h"
#include "bench/channel/loops.h"

static int
prepare(struct end *end)
{
    int fds[2];
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fds)) {
        return -errno;
    }
    descriptors_buffers(end, fds[0]);
    descriptors_buffers(end, fds[1]);
    return descriptors_keep(end, fds, true);
}

CARRIER_LOOPS(descriptors_put, descriptors_get)

const struct carrier_class carrier_unix_seqpacket = {
    .name = "unix_seqpacket",
    .summary = "a pair of unix sockets that keep messages apart",
    DESCRIPTORS_CLASS,
};
