/* SPDX-License-Identifier: Apache-2.0 */
/* Two pipes, one for each way: the oldest way to pass bytes between processes,
 * and what a channel over the kernel costs at least in system calls and copies.
 * A pipe knows no messages; who reads is told their size (descriptors.h), which
 * a user would have to send, too.  Its room is what the kernel lets this user
 * have, at most what a ring of ours has. */
#include "bench/channel/carrier.h"
#include "bench/channel/descriptors.h"
#include "bench/channel/loops.h"

static int
prepare(struct end *end)
{
    int fds[4];
    if (pipe2(fds, O_CLOEXEC) || pipe2(fds + 2, O_CLOEXEC)) {
        return -errno;
    }
    /* Where that is too much for this user, it stays at 64 KiB. */
    (void)fcntl(fds[1], F_SETPIPE_SZ, (int)end->run->ring_size);
    (void)fcntl(fds[3], F_SETPIPE_SZ, (int)end->run->ring_size);
    return descriptors_keep(end, fds, false);
}

CARRIER_LOOPS(descriptors_put, descriptors_get)

const struct carrier_class carrier_pipe = {
    .name = "pipe",
    .summary = "two pipes of the kernel",
    DESCRIPTORS_CLASS,
};
