/* SPDX-License-Identifier: Apache-2.0 */
/* "shm:PATH": two rings in memory that both processes map.  They meet over the
 * unix socket PATH; the listening end makes fresh memory for each peer, seals
 * it against changing size, and hands it over with one message:
 *
 *   0  "mchanm" 0 2   8 bytes, the last is the version
 *   8  ring size      u32, little-endian, bytes per direction
 *  12  lends          u32, 1: the memory has room for returns; else 0
 *   +  one descriptor, of a memfd of 4096 + 2 * ring size bytes:
 *      0     words of the listening end (transport/ring.h)
 *      256   words of the other
 *      4096  ring towards the other
 *      4096 + ring size   ring towards the listening end
 *      and, if it lends, two blocks more (transport/returns.h):
 *      4096 + 2 * ring size   returns of the listening end, then of the other
 *
 * The receiver checks size and seals before it maps, so that no access can ever
 * end in SIGBUS.
 *
 * Afterwards the socket carries single bytes that mean "wake up", and tells of
 * death by closing.  With one such byte each end may send one descriptor, of
 * the memory that it lends.  An eventfd would wake a little faster, but its
 * O_NONBLOCK belongs to both who hold it: a peer can clear it, fill the
 * counter, and have our next write sleep for ever.  A send() says MSG_DONTWAIT
 * for itself.  See docs/decisions/0007-waking-over-the-socket.md. */
#include <errno.h>
#include <fcntl.h>
#include <linux/membarrier.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "transport/meeting.h"
#include "transport/passing.h"
#include "transport/returns.h"
#include "transport/ring.h"
#include "transport/transport.h"

#define WORDS_SIZE 4096u
#define HANDOVER_SIZE 16
/* Wakes that may wait in the socket, far fewer than it holds; their edges have
 * been seen, so reading them each time would only cost. */
#define WAKES_LEFT_MAX 32
/* Reads of a socket that must bring a descriptor; it holds less. */
#define SHARED_READS_MAX 1024

static const uint8_t magic[8] = {'m', 'c', 'h', 'a', 'n', 'm', 0, 2};

struct shm {
    struct transport transport;
    struct meeting meeting;
    uint32_t ring_size_wanted;
    uint32_t ring_size; /* Of the link that stands. */
    uint8_t *memory;    /* Null: no link stands. */
    uint32_t wakes_left;
    bool registered;   /* Barriers of other processes reach us. */
    bool lends_wanted; /* This end can do with loans, */
    bool lends;        /* and the memory of the link has room for returns. */
    unsigned n_shared; /* Descriptors that the peer sent. */
    int shared_fd;     /* The one that nobody asked for yet; -1: none. */
};

extern const struct transport_class transport_shm;

static struct shm *
shm_cast(struct transport *transport)
{
    return (struct shm *)(void *)transport;
}

static int
membarrier(int command)
{
    return syscall(SYS_membarrier, command, 0, 0) ? -errno : 0;
}

/* Who was handed memory over a unix socket runs on the same kernel.  A barrier
 * reaches the other end if that registered, which it alone needs to know: it
 * fences if not. */
static int
barrier(void)
{
    return membarrier(MEMBARRIER_CMD_GLOBAL_EXPEDITED);
}

static size_t
memory_size(uint32_t ring_size, bool lends)
{
    return WORDS_SIZE + 2 * (size_t)ring_size +
           (lends ? 2 * sizeof(struct returns) : 0);
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
    self->lends_wanted = opts->lends;
    self->shared_fd = -1;
    self->registered = !membarrier(MEMBARRIER_CMD_REGISTER_GLOBAL_EXPEDITED);
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
        munmap(self->memory, memory_size(self->ring_size, self->lends));
        self->memory = NULL;
    }
    if (self->shared_fd >= 0) {
        close(self->shared_fd);
        self->shared_fd = -1;
    }
    meeting_drop(&self->meeting);
    self->wakes_left = 0;
    self->n_shared = 0;
    transport->shares = false;
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
map(struct shm *self, int fd, uint32_t ring_size, bool lends)
{
    void *memory = mmap(NULL, memory_size(ring_size, lends),
                        PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (memory == MAP_FAILED) {
        return -errno;
    }
    self->memory = memory;
    self->ring_size = ring_size;
    self->lends = lends;
    return 0;
}

static int
send_memory(struct shm *self, int fd)
{
    uint8_t handover[HANDOVER_SIZE] = {0};
    uint32_t numbers[2] = {htole32(self->ring_size), htole32(self->lends)};
    memcpy(handover, magic, sizeof magic);
    memcpy(handover + 8, numbers, sizeof numbers);
    return passing_send(self->meeting.fd, handover, sizeof handover, fd);
}

/* Fresh memory for each peer: what a former one may still map is not used
 * again. */
static int
make_memory(struct shm *self)
{
    int fd = passing_make_memory(
        memory_size(self->ring_size_wanted, self->lends_wanted),
        F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL);
    if (fd < 0) {
        return fd;
    }
    int error = map(self, fd, self->ring_size_wanted, self->lends_wanted);
    if (!error) {
        error = send_memory(self, fd);
    }
    close(fd);
    return error;
}

/* Maps what was handed over, if it can't shrink under us. */
static int
check_and_map(struct shm *self, const uint8_t *handover, int fd)
{
    uint32_t numbers[2];
    memcpy(numbers, handover + 8, sizeof numbers);
    uint32_t ring_size = le32toh(numbers[0]);
    uint32_t lends = le32toh(numbers[1]);
    if (memcmp(handover, magic, sizeof magic) || !ring_size_valid(ring_size) ||
        lends > 1 ||
        passing_check_memory(fd, memory_size(ring_size, lends),
                             F_SEAL_SHRINK | F_SEAL_GROW)) {
        return -EPROTO;
    }
    int error = map(self, fd, ring_size, lends);
    return error == -EPERM ? -EPROTO : error; /* Sealed against writing. */
}

/* 1 when the memory is mapped, 0 when it has not come yet. */
static int
receive_memory(struct shm *self)
{
    uint8_t handover[HANDOVER_SIZE];
    int fd, error = -EPROTO;
    unsigned n;
    ssize_t got =
        passing_recv(self->meeting.fd, handover, sizeof handover, &fd, &n);
    if (got == -EAGAIN || got == -EINTR) {
        return 0;
    }
    if (got <= 0) {
        error = got ? (int)got : -ECONNRESET;
    } else if (n == 1 && got == sizeof handover) {
        error = check_and_map(self, handover, fd);
    }
    if (fd >= 0) {
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
        transport->shares = self->lends && self->lends_wanted;
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
    if (self->registered) {
        tx->fencing.barrier = rx->fencing.barrier = barrier;
        tx->fencing.registered = rx->fencing.registered = true;
    }
}

static void
shm_wake(struct transport *transport)
{
    /* If it does not fit, the peer has wakes enough to read. */
    (void)send(shm_cast(transport)->meeting.fd, "", 1,
               MSG_DONTWAIT | MSG_NOSIGNAL);
}

/* Reads wakes, which mean nothing more, and keeps the one descriptor that may
 * be among them.  0, -EAGAIN, or why the link is over. */
static int
read_socket(struct shm *self)
{
    uint8_t unused[256];
    int fd;
    unsigned n;
    ssize_t got =
        passing_recv(self->meeting.fd, unused, sizeof unused, &fd, &n);
    if (n) {
        self->n_shared += n;
        if (self->n_shared > 1 || !self->transport.shares) {
            close(fd);
            return -EPROTO;
        }
        self->shared_fd = fd;
    }
    if (got < 0) {
        return got == -EINTR ? -EAGAIN : (int)got;
    }
    return got ? 0 : -ECONNRESET;
}

static int
shm_attend(struct transport *transport)
{
    struct shm *self = shm_cast(transport);
    transport->ready &= ~TRANSPORT_LINK;
    if (self->shared_fd >= 0 && !transport->shares) {
        return -EPROTO; /* It was early, and then not agreed upon. */
    }
    if (++self->wakes_left < WAKES_LEFT_MAX) {
        return 0;
    }
    self->wakes_left = 0;
    int error = read_socket(self);
    return error == -EAGAIN ? 0 : error;
}

/* Lending. */

static bool
shm_returns(struct transport *transport, struct returns **mine,
            struct returns **peers)
{
    struct shm *self = shm_cast(transport);
    unsigned we = self->meeting.listening ? 0 : 1;
    if (!self->memory || !transport->shares) {
        return false;
    }
    struct returns *blocks =
        (struct returns *)(void *)(self->memory +
                                   memory_size(self->ring_size, false));
    *mine = &blocks[we];
    *peers = &blocks[!we];
    return true;
}

static int
shm_share(struct transport *transport, int fd)
{
    int error = passing_send(shm_cast(transport)->meeting.fd, "", 1, fd);
    return error == -EPIPE || error == -ECONNRESET ? -ENOTCONN : error;
}

static int
shm_take_shared(struct transport *transport)
{
    struct shm *self = shm_cast(transport);
    int error = 0;
    for (int i = 0; i < SHARED_READS_MAX && self->shared_fd < 0 && !error;
         i++) {
        error = read_socket(self);
    }
    int fd = self->shared_fd;
    self->shared_fd = -1;
    return fd < 0 ? -EPROTO : fd;
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
    .returns = shm_returns,
    .share = shm_share,
    .take_shared = shm_take_shared,
};
