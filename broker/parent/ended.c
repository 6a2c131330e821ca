/* SPDX-License-Identifier: Apache-2.0 */
/* The state directory is the parent's user's, so nobody else can make anything
 * of the name; what is read is for people all the same, and bounded.  Relies on
 * nothing; called by parent.c. */
#include "broker/parent/ended.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "base/text.h"

#define ENDED_FILE "ended"
#define ENDED_SIZE 256

int
ended_write(int state_dirfd, const char *text)
{
    int fd =
        openat(state_dirfd, ENDED_FILE,
               O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (fd < 0) {
        return -errno;
    }
    ssize_t put = write(fd, text, strlen(text));
    int error = put < 0 ? -errno : 0;
    close(fd);
    return error;
}

void
ended_read(int state_dirfd, char *out, size_t size)
{
    char text[ENDED_SIZE];
    int fd = openat(state_dirfd, ENDED_FILE,
                    O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    ssize_t got = fd < 0 ? 0 : read(fd, text, sizeof text - 1);

    if (fd >= 0) {
        close(fd);
    }
    text[got > 0 ? got : 0] = '\0';
    text_copy_printable(out, size, text);
}

void
ended_forget(int state_dirfd)
{
    unlinkat(state_dirfd, ENDED_FILE, 0);
}
