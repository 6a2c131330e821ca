/* SPDX-License-Identifier: Apache-2.0 */
/* A socketpair() of type SOCK_STREAM: what our channel over a unix socket and
 * most libraries' local transports stand on, so the difference to it is theirs.
 * A stream knows no messages; who reads is told their size (descriptors.h),
 * which a user would have to send, too.  Its buffers are as large as a ring of
 * ours where the kernel allows it. */
#include "bench/channel/carrier.h"
#include "bench/channel/descriptors.h"
#include "bench/channel/loops.h"

static int
prepare(struct end *end)
{
    int fds[2];
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds)) {
        return -errno;
    }
    descriptors_buffers(end, fds[0]);
    descriptors_buffers(end, fds[1]);
    return descriptors_keep(end, fds, true);
}

CARRIER_LOOPS(descriptors_put, descriptors_get)

const struct carrier_class carrier_unix_stream = {
    .name = "unix_stream",
    .summary = "a pair of unix sockets",
    DESCRIPTORS_CLASS,
};
