/* SPDX-License-Identifier: Apache-2.0 */
/* One datagram to the service manager, as sd_notify(3) documents it: too little
 * to link a library for.  Called by the parent of mbrokerd. */
#include "broker/parent/notify.h"

#include <errno.h>
#include <stddef.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

int
notify_send(const char *path, const char *text)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};

    if (!path) {
        return 0;
    }
    size_t length = strlen(path);
    if ((path[0] != '/' && path[0] != '@') || length < 2 ||
        length >= sizeof address.sun_path) {
        return -EINVAL;
    }
    memcpy(address.sun_path, path, length);
    if (path[0] == '@') {
        address.sun_path[0] = '\0';
    }

    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0) {
        return -errno;
    }
    socklen_t size =
        (socklen_t)(offsetof(struct sockaddr_un, sun_path) + length);
    ssize_t put = sendto(fd, text, strlen(text), MSG_NOSIGNAL,
                         (const struct sockaddr *)&address, size);
    int error = put < 0 ? -errno : 0;
    close(fd);
    return error;
}
