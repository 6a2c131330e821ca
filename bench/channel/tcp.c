/* SPDX-License-Identifier: Apache-2.0 */
/* TCP over the loopback interface, with TCP_NODELAY. */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>

#include "bench/channel/carrier.h"
#include "bench/channel/descriptors.h"
#include "bench/channel/loops.h"

/* Both ends of a connection; -Exxx, and what was made goes with the process. */
static int
connect_pair(int *fds)
{
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof address;
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (listener < 0 ||
        bind(listener, (const struct sockaddr *)&address, sizeof address) ||
        listen(listener, 1) ||
        getsockname(listener, (struct sockaddr *)&address, &size)) {
        return -errno;
    }
    fds[0] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fds[0] < 0 ||
        connect(fds[0], (const struct sockaddr *)&address, size)) {
        return -errno;
    }
    fds[1] = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
    close(listener);
    return fds[1] < 0 ? -errno : 0;
}

static int
prepare(struct end *end)
{
    int fds[2] = {-1, -1}, one = 1, error = connect_pair(fds);
    if (error) {
        return error;
    }
    for (int i = 0; i < 2; i++) {
        if (setsockopt(fds[i], IPPROTO_TCP, TCP_NODELAY, &one, sizeof one)) {
            return -errno;
        }
    }
    return descriptors_keep(end, fds, true);
}

CARRIER_LOOPS(descriptors_put, descriptors_get)

const struct carrier_class carrier_tcp = {
    .name = "tcp",
    .summary = "TCP over the loopback interface, TCP_NODELAY",
    DESCRIPTORS_CLASS,
};
