/* SPDX-License-Identifier: Apache-2.0 */
/* The raw end of rawpeer.h.  What the other end wrote is bounded only as far as
 * is needed not to fall over it.  Called by attacker.c. */
#include "rawpeer.h"

#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "transport/returns.h"
#include "transport/ring.h"

static const uint8_t magic[8] = {'m', 'c', 'h', 'a', 'n', 'm', 0, RAW_VERSION};

void
raw_init(struct raw *raw, bool listens, const char *path)
{
    memset(raw, 0, sizeof *raw);
    raw->listens = listens;
    raw->path = path;
    raw->listen_fd = raw->fd = -1;
}

void
raw_fini(struct raw *raw)
{
    raw_leave(raw);
    if (raw->listen_fd >= 0) {
        close(raw->listen_fd);
        unlink(raw->path);
    }
}

/* Meeting. */

static int
wait_readable(int fd, int patience_ms)
{
    struct pollfd readable = {.fd = fd, .events = POLLIN};
    return poll(&readable, 1, patience_ms);
}

static bool
listen_here(struct raw *raw, const struct sockaddr_un *address)
{
    raw->listen_fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    return !bind(raw->listen_fd, (const struct sockaddr *)address,
                 sizeof *address) &&
           !listen(raw->listen_fd, 16);
}

bool
raw_meet(struct raw *raw, int patience_ms)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    snprintf(address.sun_path, sizeof address.sun_path, "%s", raw->path);
    if (raw->listens) {
        if (raw->listen_fd < 0 && !listen_here(raw, &address)) {
            return false;
        }
        if (wait_readable(raw->listen_fd, patience_ms) == 1) {
            raw->fd = accept4(raw->listen_fd, NULL, NULL, SOCK_CLOEXEC);
        }
        return raw->fd >= 0;
    }
    raw->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (connect(raw->fd, (struct sockaddr *)&address, sizeof address)) {
        close(raw->fd);
        raw->fd = -1;
    }
    return raw->fd >= 0;
}

static bool
map(struct raw *raw, int fd, uint32_t ring_size, bool lends)
{
    raw->ring_size = ring_size;
    raw->lends = lends;
    raw->size = RAW_WORDS_SIZE + 2 * (size_t)ring_size +
                (lends ? 2 * sizeof(struct returns) : 0);
    void *memory =
        mmap(NULL, raw->size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    raw->memory = memory == MAP_FAILED ? NULL : memory;
    raw->head = raw->position = raw->n_returned = 0;
    return raw->memory;
}

bool
raw_take_memory(struct raw *raw, int patience_ms)
{
    uint8_t data[RAW_HANDOVER_SIZE];
    uint32_t numbers[2];
    int fd = -1;
    struct iovec iov = {.iov_base = data, .iov_len = sizeof data};
    union {
        struct cmsghdr header;
        uint8_t bytes[CMSG_SPACE(sizeof(int))];
    } control = {0};
    struct msghdr message = {.msg_iov = &iov, .msg_iovlen = 1};
    message.msg_control = control.bytes;
    message.msg_controllen = sizeof control.bytes;
    if (wait_readable(raw->fd, patience_ms) != 1 ||
        recvmsg(raw->fd, &message, MSG_DONTWAIT) != sizeof data ||
        control.header.cmsg_len != CMSG_LEN(sizeof fd)) {
        return false;
    }
    memcpy(&fd, CMSG_DATA(&control.header), sizeof fd);
    memcpy(numbers, data + 8, sizeof numbers);
    bool mapped = map(raw, fd, le32toh(numbers[0]), numbers[1] != 0);
    close(fd);
    return mapped;
}

bool
raw_send(struct raw *raw, const struct raw_parcel *parcel)
{
    struct iovec iov = {.iov_base = (void *)(uintptr_t)parcel->data,
                        .iov_len = parcel->size};
    union {
        struct cmsghdr header;
        uint8_t bytes[CMSG_SPACE(RAW_FDS_MAX * sizeof(int))];
    } control = {0};
    struct msghdr message = {.msg_iov = &iov, .msg_iovlen = 1};
    if (parcel->n_fds) {
        size_t size = parcel->n_fds * sizeof(int);
        message.msg_control = control.bytes;
        message.msg_controllen = CMSG_SPACE(size);
        control.header.cmsg_level = SOL_SOCKET;
        control.header.cmsg_type = SCM_RIGHTS;
        control.header.cmsg_len = CMSG_LEN(size);
        memcpy(CMSG_DATA(&control.header), parcel->fds, size);
    }
    return sendmsg(raw->fd, &message, MSG_DONTWAIT | MSG_NOSIGNAL) ==
           (ssize_t)parcel->size;
}

bool
raw_give_memory(struct raw *raw, uint32_t ring_size, bool lends)
{
    uint8_t data[RAW_HANDOVER_SIZE] = {0};
    uint32_t numbers[2] = {htole32(ring_size), htole32(lends)};
    memcpy(data, magic, sizeof magic);
    memcpy(data + 8, numbers, sizeof numbers);
    int fd = memfd_create("hostile", MFD_ALLOW_SEALING | MFD_CLOEXEC);
    struct raw_parcel parcel = {data, sizeof data, 1, &fd};
    size_t size = RAW_WORDS_SIZE + 2 * (size_t)ring_size +
                  (lends ? 2 * sizeof(struct returns) : 0);
    bool good = fd >= 0 && !ftruncate(fd, (off_t)size) &&
                !fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW) &&
                map(raw, fd, ring_size, lends) && raw_send(raw, &parcel);
    close(fd);
    return good;
}

void
raw_leave(struct raw *raw)
{
    if (raw->memory) {
        munmap(raw->memory, raw->size);
        raw->memory = NULL;
    }
    if (raw->fd >= 0) {
        close(raw->fd);
        raw->fd = -1;
    }
}

bool
raw_is_over(const struct raw *raw)
{
    uint8_t wakes[256];
    ssize_t got = recv(raw->fd, wakes, sizeof wakes, MSG_DONTWAIT);
    return !got || (got < 0 && errno != EAGAIN && errno != EINTR);
}

void
raw_wake(struct raw *raw)
{
    (void)send(raw->fd, "", 1, MSG_DONTWAIT | MSG_NOSIGNAL);
}

/* The memory. */

size_t
raw_my_words(const struct raw *raw)
{
    return raw->listens ? 0 : sizeof(struct ring_words);
}

size_t
raw_their_words(const struct raw *raw)
{
    return raw->listens ? sizeof(struct ring_words) : 0;
}

size_t
raw_my_ring(const struct raw *raw)
{
    return RAW_WORDS_SIZE + (raw->listens ? 0 : raw->ring_size);
}

size_t
raw_their_ring(const struct raw *raw)
{
    return RAW_WORDS_SIZE + (raw->listens ? raw->ring_size : 0);
}

size_t
raw_returns(const struct raw *raw)
{
    return RAW_WORDS_SIZE + 2 * (size_t)raw->ring_size;
}

size_t
raw_my_returns(const struct raw *raw)
{
    return raw_returns(raw) + (raw->listens ? 0 : sizeof(struct returns));
}

uint64_t
raw_load(const struct raw *raw, size_t at)
{
    return __atomic_load_n((uint64_t *)(void *)(raw->memory + at),
                           __ATOMIC_ACQUIRE);
}

void
raw_store(struct raw *raw, size_t at, uint64_t value)
{
    __atomic_store_n((uint64_t *)(void *)(raw->memory + at), value,
                     __ATOMIC_RELEASE);
}

/* Talking. */

static uint64_t
room_of(uint32_t size)
{
    return ((uint64_t)size + RECORD_HEADER_SIZE + RING_ALIGN - 1) &
           ~(uint64_t)(RING_ALIGN - 1);
}

void
raw_put_header(struct raw *raw, uint64_t position, const struct record *record)
{
    size_t at = raw_my_ring(raw) + (position & (raw->ring_size - 1));
    raw_store(raw, at + 8, record_second_word(record));
    raw_store(raw, at, record_first_word(record));
}

bool
raw_put(struct raw *raw, const struct record *record, const void *data)
{
    uint64_t released = raw_load(
        raw, raw_their_words(raw) + offsetof(struct ring_words, released));
    uint64_t size = room_of(record->size);
    uint64_t to_end = raw->ring_size - (raw->head & (raw->ring_size - 1));
    uint64_t pad = size > to_end ? to_end : 0;
    uint64_t start = raw->head + pad;
    if (start + size + RING_ALIGN - released > raw->ring_size) {
        return false;
    }
    size_t at = raw_my_ring(raw) + (start & (raw->ring_size - 1));
    memcpy(raw->memory + at + RECORD_HEADER_SIZE, data, record->size);
    raw_store(raw, raw_my_ring(raw) + ((start + size) & (raw->ring_size - 1)),
              0);
    raw_put_header(raw, start, record);
    if (pad) {
        struct record filler = {.kind = RECORD_PAD};
        filler.size = (uint32_t)(pad - RECORD_HEADER_SIZE);
        raw_put_header(raw, raw->head, &filler);
    }
    raw->head = start + size;
    return true;
}

struct record
raw_message(struct raw *raw, uint32_t size)
{
    struct record record = {
        .size = size,
        .kind = RECORD_RELIABLE,
        .sequence = (uint32_t)++raw->n_sent,
        .attachment = raw->attachment,
    };
    return record;
}

static void
give_back(struct raw *raw, size_t loan_at)
{
    size_t at = raw_my_returns(raw);
    size_t word = raw->n_returned++ % RETURNS_MAX;
    raw_store(raw, at + offsetof(struct returns, words) + 8 * word,
              raw_load(raw, loan_at) ^ raw->twist);
    raw_store(raw, at + offsetof(struct returns, count), raw->n_returned);
}

bool
raw_pass(struct raw *raw, struct record *out)
{
    size_t at = raw_their_ring(raw) + (raw->position & (raw->ring_size - 1));
    uint64_t first = raw_load(raw, at);
    if (!first) {
        return false;
    }
    struct record record = record_from_words(first, raw_load(raw, at + 8));
    uint64_t to_end = raw->ring_size - (raw->position & (raw->ring_size - 1));
    if (record.size > to_end - RECORD_HEADER_SIZE) {
        return false; /* We may have scribbled over it ourselves. */
    }
    if (record.kind == RECORD_LOAN && raw->lends) {
        give_back(raw, at + RECORD_HEADER_SIZE);
    }
    raw->position += room_of(record.size);
    if (record.kind == RECORD_RELIABLE || record.kind == RECORD_LOAN) {
        raw->n_taken = record.sequence;
    }
    *out = record;
    return true;
}

void
raw_release(struct raw *raw)
{
    size_t words = raw_my_words(raw);
    raw_store(raw, words + offsetof(struct ring_words, acked), raw->n_taken);
    raw_store(raw, words + offsetof(struct ring_words, released),
              raw->position);
}

bool
raw_share(struct raw *raw, size_t size, unsigned seals)
{
    int fd = memfd_create("lent", MFD_ALLOW_SEALING | MFD_CLOEXEC);
    struct raw_parcel parcel = {"", 1, 1, &fd};
    bool shared = fd >= 0 && !ftruncate(fd, (off_t)size) &&
                  !fcntl(fd, F_ADD_SEALS, seals) && raw_send(raw, &parcel);
    (void)!ftruncate(fd, 0); /* If the seals allow it. */
    close(fd);
    return shared;
}

struct record
raw_loan(struct raw *raw, uint64_t words[2], uint64_t handle, uint64_t size)
{
    struct record record = raw_message(raw, 16);
    record.kind = RECORD_LOAN;
    words[0] = htole64(handle);
    words[1] = htole64(size);
    return record;
}

/* HELLO. */

static uint64_t
number_in(const uint8_t *hello, size_t at)
{
    uint64_t number;
    memcpy(&number, hello + at, sizeof number);
    return le64toh(number);
}

static void
put_number(uint8_t *hello, size_t at, uint64_t number)
{
    number = htole64(number);
    memcpy(hello + at, &number, sizeof number);
}

void
raw_make_hello(const struct raw *raw, uint8_t hello[48])
{
    uint16_t version = htole16(1);
    uint32_t message_max = htole32(raw->ring_size / 8);
    memset(hello, 0, 48);
    memcpy(hello, &version, sizeof version);
    memcpy(hello + 4, &message_max, sizeof message_max);
    if (raw->listens || raw->resumes) {
        put_number(hello, 8, raw->session);
        put_number(hello, 16, raw->attachment);
    }
    if (raw->resumes) {
        put_number(hello, 24, raw->n_sent);
        put_number(hello, 32, raw->n_taken);
    }
    if (raw->lends) {
        put_number(hello, 40, 1 << 20);
    }
}

bool
raw_put_hello(struct raw *raw, const uint8_t hello[48])
{
    struct record record = {.size = 48, .kind = RECORD_HELLO};
    bool put = raw_put(raw, &record, hello);
    raw_wake(raw);
    return put;
}

void
raw_learn_hello(struct raw *raw, const uint8_t hello[48])
{
    bool same = raw->session && number_in(hello, 8) == raw->session;
    raw->resumes = raw->resumes && same;
    if (raw->resumes) {
        raw->n_sent = number_in(hello, 32);
        raw->n_taken = number_in(hello, 24);
    } else {
        raw->n_sent = raw->n_taken = 0;
    }
    if (raw->listens) {
        raw->session += !raw->resumes;
        raw->attachment++;
    } else {
        raw->session = number_in(hello, 8);
        raw->attachment = (uint32_t)number_in(hello, 16);
    }
}

static bool
take_hello(struct raw *raw, int patience_ms)
{
    struct timespec nap = {.tv_nsec = 20000};
    struct record record;
    size_t at = raw_their_ring(raw) + RECORD_HEADER_SIZE;
    for (int i = 0; i < patience_ms * 20; i++) {
        if (raw_pass(raw, &record)) {
            raw_learn_hello(raw, raw->memory + at);
            return true;
        }
        if (i % 64 == 63 && raw_is_over(raw)) {
            return false;
        }
        if (i < 64) {
            sched_yield();
        } else {
            nanosleep(&nap, NULL);
        }
    }
    return false;
}

bool
raw_greet(struct raw *raw, int patience_ms)
{
    uint8_t hello[48];
    if (raw->listens && !take_hello(raw, patience_ms)) {
        return false;
    }
    raw_make_hello(raw, hello);
    return raw_put_hello(raw, hello) &&
           (raw->listens || take_hello(raw, patience_ms));
}
