/* SPDX-License-Identifier: Apache-2.0 */
/* "shm:PATH": two rings in memory that both processes map.  They meet over the
 * unix socket PATH; the listening end makes fresh memory for each peer, seals
 * it against changing size, and hands it over with one message:
 *
 *   0  "mchanm" 0 1   8 bytes, the last is the version
 *   8  ring size      u32, little-endian, bytes per direction
 *  12  zero           u32
 *   +  one descriptor, of a memfd of 4096 + 2 * ring size bytes:
 *      0     words of the listening end (transport/ring.h)
 *      128   words of the other
 *      4096  ring towards the other
 *      4096 + ring size   ring towards the listening end
 *
 * The receiver checks size and seals before it maps, so that no access can ever
 * end in SIGBUS.
 *
 * Afterwards the socket carries single bytes that mean "wake up", and tells of
 * death by closing.  An eventfd would wake a little faster, but its O_NONBLOCK
 * belongs to both who hold it: a peer can clear it, fill the counter, and have
 * our next write sleep for ever.  A send() says MSG_DONTWAIT for itself.  See
 * docs/decisions/0007-waking-over-the-socket.md. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "transport/meeting.h"
#include "transport/ring.h"
#include "transport/transport.h"

#define WORDS_SIZE 4096u
#define HANDOVER_SIZE 16
#define HANDOVER_FDS 8 /* Room for more than the one, to close them. */
/* Wakes that may wait in the socket, far fewer than it holds; their edges have
 * been seen, so reading them each time would only cost. */
#define WAKES_LEFT_MAX 32

static const uint8_t magic[8] = {'m', 'c', 'h', 'a', 'n', 'm', 0, 1};

struct shm {
    struct transport transport;
    struct meeting meeting;
    uint32_t ring_size_wanted;
    uint32_t ring_size; /* Of the link that stands. */
    uint8_t *memory;    /* Null: no link stands. */
    uint32_t wakes_left;
};

extern const struct transport_class transport_shm;

static struct shm *
shm_cast(struct transport *transport)
{
    return (struct shm *)(void *)transport;
}

static size_t
memory_size(uint32_t ring_size)
{
    return WORDS_SIZE + 2 * (size_t)ring_size;
}

static int
shm_open_end(struct transport **out, const char *address,
             const struct transport_opts *opts)
{
    struct shm *self = calloc(1, sizeof *self);
    if (!self) {
        return -ENOMEM;
    }
    int error = meeting_init(&self->meeting, address, opts);
    if (error) {
        free(self);
        return error;
    }
    self->ring_size_wanted = opts->ring_size;
    self->transport.class = &transport_shm;
    self->transport.once = self->meeting.once;
    *out = &self->transport;
    return 0;
}

static void
shm_drop(struct transport *transport)
{
    struct shm *self = shm_cast(transport);
    if (self->memory) {
        munmap(self->memory, memory_size(self->ring_size));
        self->memory = NULL;
    }
    meeting_drop(&self->meeting);
    self->wakes_left = 0;
    transport->ready &= ~(TRANSPORT_LINK | TRANSPORT_HANGUP);
}

static void
shm_close(struct transport *transport)
{
    if (transport) {
        shm_drop(transport);
        meeting_fini(&shm_cast(transport)->meeting);
        free(shm_cast(transport));
    }
}

/* Handing over. */

static int
map(struct shm *self, int fd, uint32_t ring_size)
{
    void *memory = mmap(NULL, memory_size(ring_size), PROT_READ | PROT_WRITE,
                        MAP_SHARED, fd, 0);
    if (memory == MAP_FAILED) {
        return -errno;
    }
    self->memory = memory;
    self->ring_size = ring_size;
    return 0;
}

static int
send_memory(struct shm *self, int fd)
{
    uint8_t handover[HANDOVER_SIZE] = {0};
    uint32_t ring_size = htole32(self->ring_size);
    memcpy(handover, magic, sizeof magic);
    memcpy(handover + 8, &ring_size, sizeof ring_size);
    struct iovec iov = {.iov_base = handover, .iov_len = sizeof handover};
    union {
        struct cmsghdr header;
        uint8_t bytes[CMSG_SPACE(sizeof(int))];
    } control = {0};
    control.header.cmsg_level = SOL_SOCKET;
    control.header.cmsg_type = SCM_RIGHTS;
    control.header.cmsg_len = CMSG_LEN(sizeof fd);
    memcpy(CMSG_DATA(&control.header), &fd, sizeof fd);
    struct msghdr message = {.msg_iov = &iov, .msg_iovlen = 1};
    message.msg_control = control.bytes;
    message.msg_controllen = sizeof control.bytes;
    ssize_t sent =
        sendmsg(self->meeting.fd, &message, MSG_DONTWAIT | MSG_NOSIGNAL);
    if (sent < 0) {
        return -errno;
    }
    return sent == sizeof handover ? 0 : -EIO;
}

/* Fresh memory for each peer: what a former one may still map is not used
 * again. */
static int
make_memory(struct shm *self)
{
    int fd = memfd_create("mchan", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (fd < 0) {
        return -errno;
    }
    int error = 0;
    if (ftruncate(fd, (off_t)memory_size(self->ring_size_wanted)) ||
        fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL)) {
        error = -errno;
    }
    if (!error) {
        error = map(self, fd, self->ring_size_wanted);
    }
    if (!error) {
        error = send_memory(self, fd);
    }
    close(fd);
    return error;
}

/* Takes the descriptors out of a message: how many there were; '*fd_out' is the
 * one if there was one, others are closed. */
static unsigned
take_fds(struct msghdr *message, int *fd_out)
{
    unsigned n = 0;
    for (struct cmsghdr *header = CMSG_FIRSTHDR(message); header;
         header = CMSG_NXTHDR(message, header)) {
        if (header->cmsg_level != SOL_SOCKET ||
            header->cmsg_type != SCM_RIGHTS) {
            continue;
        }
        size_t size = header->cmsg_len - CMSG_LEN(0);
        for (size_t at = 0; at + sizeof(int) <= size; at += sizeof(int)) {
            int fd;
            memcpy(&fd, CMSG_DATA(header) + at, sizeof fd);
            if (n++) {
                close(fd);
            } else {
                *fd_out = fd;
            }
        }
    }
    return n;
}

/* Maps what was handed over, if it can't shrink under us. */
static int
check_and_map(struct shm *self, const uint8_t *handover, int fd)
{
    uint32_t ring_size;
    memcpy(&ring_size, handover + 8, sizeof ring_size);
    ring_size = le32toh(ring_size);
    struct stat status;
    int seals = fcntl(fd, F_GET_SEALS);
    int needed = F_SEAL_SHRINK | F_SEAL_GROW;
    if (memcmp(handover, magic, sizeof magic) || !ring_size_valid(ring_size) ||
        fstat(fd, &status) || !S_ISREG(status.st_mode) ||
        status.st_size != (off_t)memory_size(ring_size) || seals < 0 ||
        (seals & needed) != needed) {
        return -EPROTO;
    }
    int error = map(self, fd, ring_size);
    return error == -EPERM ? -EPROTO : error; /* Sealed against writing. */
}

/* 1 when the memory is mapped, 0 when it has not come yet. */
static int
receive_memory(struct shm *self)
{
    uint8_t handover[HANDOVER_SIZE];
    struct iovec iov = {.iov_base = handover, .iov_len = sizeof handover};
    union {
        struct cmsghdr header;
        uint8_t bytes[CMSG_SPACE(HANDOVER_FDS * sizeof(int))];
    } control;
    struct msghdr message = {.msg_iov = &iov, .msg_iovlen = 1};
    message.msg_control = control.bytes;
    message.msg_controllen = sizeof control.bytes;
    ssize_t got =
        recvmsg(self->meeting.fd, &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    if (got < 0) {
        return errno == EAGAIN || errno == EINTR ? 0 : -errno;
    }
    int fd = -1, error = -EPROTO;
    unsigned n = take_fds(&message, &fd);
    if (!got) {
        error = -ECONNRESET;
    } else if (n == 1 && got == sizeof handover &&
               !(message.msg_flags & MSG_CTRUNC)) {
        error = check_and_map(self, handover, fd);
    }
    if (n) {
        close(fd);
    }
    return error ? error : 1;
}

static int
shm_connect(struct transport *transport)
{
    struct shm *self = shm_cast(transport);
    int result = meeting_connect(&self->meeting);
    if (result != 1 || self->memory) {
        return result;
    }
    if (self->meeting.listening) {
        int error = make_memory(self);
        result = error ? error : 1;
    } else {
        result = receive_memory(self);
    }
    if (result < 0) {
        shm_drop(transport);
    } else if (result == 1) {
        transport->ready |= TRANSPORT_LINK;
    }
    return result == -ENOTCONN ? -ECONNRESET : result;
}

static unsigned
shm_refuse(struct transport *transport)
{
    unsigned n = meeting_refuse(&shm_cast(transport)->meeting);
    if (n < MEETING_REFUSE_MAX) {
        transport->ready &= ~TRANSPORT_PEER;
    }
    return n;
}

static int
shm_identify(const struct transport *transport, struct transport_identity *out)
{
    const struct shm *self = (const struct shm *)(const void *)transport;
    return meeting_identify(&self->meeting, out);
}

/* The link. */

static void
shm_rings(struct transport *transport, struct ring_tx *tx, struct ring_rx *rx)
{
    struct shm *self = shm_cast(transport);
    struct ring_words *words = (struct ring_words *)(void *)self->memory;
    uint8_t *rings = self->memory + WORDS_SIZE;
    unsigned we = self->meeting.listening ? 0 : 1;
    ring_tx_init(tx, rings + we * (size_t)self->ring_size, self->ring_size,
                 &words[we], &words[!we]);
    ring_rx_init(rx, rings + !we * (size_t)self->ring_size, self->ring_size,
                 &words[we], &words[!we]);
}

static void
shm_wake(struct transport *transport)
{
    /* If it does not fit, the peer has wakes enough to read. */
    (void)send(shm_cast(transport)->meeting.fd, "", 1,
               MSG_DONTWAIT | MSG_NOSIGNAL);
}

static int
shm_attend(struct transport *transport)
{
    struct shm *self = shm_cast(transport);
    uint8_t unused[256];
    transport->ready &= ~TRANSPORT_LINK;
    if (++self->wakes_left < WAKES_LEFT_MAX) {
        return 0;
    }
    self->wakes_left = 0;
    ssize_t got = recv(self->meeting.fd, unused, sizeof unused, MSG_DONTWAIT);
    if (got > 0 || (got < 0 && (errno == EAGAIN || errno == EINTR))) {
        return 0;
    }
    return got ? -errno : -ECONNRESET;
}

const struct transport_class transport_shm = {
    .name = "shm",
    .summary = "shared memory between processes of one machine",
    .open = shm_open_end,
    .close = shm_close,
    .connect = shm_connect,
    .drop = shm_drop,
    .refuse = shm_refuse,
    .identify = shm_identify,
    .rings = shm_rings,
    .wake = shm_wake,
    .attend = shm_attend,
};
