/* SPDX-License-Identifier: Apache-2.0 */
/* How a hostile end comes to a link: as it should, or with memory that is not
 * as agreed, with a wrong HELLO, with noise, or silent.  Called by attacker.c.
 */
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "attacker.h"
#include "transport/returns.h"

struct offer {
    off_t size; /* Less or more than is right, or one of the below. */
    unsigned seals;
    unsigned n_fds;
    uint32_t ring_size; /* 0: the right one. */
    uint8_t magic;
    size_t message_size;
};

#define NOTHING INT32_MIN
#define ANOTHER_FILE INT32_MAX
#define SEALS (F_SEAL_SHRINK | F_SEAL_GROW)

static const struct offer offers[] = {
    {0, 0, 1, 0, 'm', 16},
    {0, F_SEAL_GROW, 1, 0, 'm', 16},
    {NOTHING, SEALS, 1, 0, 'm', 16},
    {NOTHING, SEALS, 1, 0, 'm', 16},
    {-4096, SEALS, 1, 0, 'm', 16},
    {0, F_SEAL_SHRINK, 1, 0, 'm', 16},
    {0, F_SEAL_GROW, 1, 0, 'm', 16},
    {0, SEALS | F_SEAL_WRITE, 1, 0, 'm', 16},
    {-1, SEALS, 1, 0, 'm', 16},
    {-4096, SEALS, 1, 0, 'm', 16},
    {4096, SEALS, 1, 0, 'm', 16},
    {0, SEALS, 1, 1, 'm', 16},
    {0, SEALS, 1, 4095, 'm', 16},
    {0, SEALS, 1, UINT32_MAX, 'm', 16},
    {0, SEALS, 1, 1u << 31, 'm', 16},
    {0, SEALS, 0, 0, 'm', 16},
    {0, SEALS, 2, 0, 'm', 16},
    {0, SEALS, 60, 0, 'm', 16},
    {0, SEALS, 1, 0, 'x', 16},
    {0, SEALS, 1, 0, 'm', 15},
    {0, SEALS, 1, 0, 'm', 1},
    {ANOTHER_FILE, 0, 1, 0, 'm', 16},
};

static int
offered_file(const struct stage *stage, const struct offer *offer)
{
    if (offer->size == ANOTHER_FILE) {
        return open("/dev/zero", O_RDWR | O_CLOEXEC);
    }
    int fd = memfd_create("hostile", MFD_ALLOW_SEALING | MFD_CLOEXEC);
    off_t right = RAW_WORDS_SIZE + 2 * (off_t)stage->ring_size +
                  (stage->lends ? 2 * (off_t)sizeof(struct returns) : 0);
    off_t size = offer->size == NOTHING ? 0 : right + offer->size;
    if (fd >= 0 &&
        (ftruncate(fd, size) || fcntl(fd, F_ADD_SEALS, offer->seals))) {
        close(fd);
        return -1;
    }
    return fd;
}

/* Memory that is not as agreed, and cut to nothing when it was sent, or when it
 * may be in use. */
static void
offer_badly(struct attacker *attacker)
{
    const struct stage *stage = attacker->stage;
    const struct offer *offer =
        &offers[chance(attacker, sizeof offers / sizeof *offers)];
    uint8_t data[RAW_HANDOVER_SIZE] = {offer->magic, 'c', 'h', 'a',
                                       'n',          'm', 0,   RAW_VERSION};
    uint32_t numbers[2] = {
        offer->ring_size ? offer->ring_size : stage->ring_size, stage->lends};
    int fds[RAW_FDS_MAX];
    memcpy(data + 8, numbers, sizeof numbers);
    int fd = offered_file(stage, offer);
    int cut = (int)chance(attacker, 40);
    for (unsigned i = 0; i < RAW_FDS_MAX; i++) {
        fds[i] = fd;
    }
    struct raw_parcel parcel = {data, offer->message_size, offer->n_fds, fds};
    if (fd < 0 || !raw_send(&attacker->raw, &parcel)) {
        close(fd);
        return;
    }
    attacker->board->n_bad_offers++;
    for (int i = 0; i < 50 && !attacker_is_done(attacker); i++) {
        if (i == cut) {
            (void)!ftruncate(fd, 0);
            raw_wake(&attacker->raw);
        }
        attacker_nap(20);
    }
    close(fd);
}

/* A HELLO with a field or two that it should not have. */
static void
greet_badly(struct attacker *attacker)
{
    struct raw *raw = &attacker->raw;
    uint8_t hello[48];
    raw->resumes = chance(attacker, 2);
    raw->session += raw->listens;
    raw->attachment++;
    raw_make_hello(raw, hello);
    for (uint64_t i = 1 + chance(attacker, 3); i; i--) {
        uint64_t value = aim_value(attacker);
        memcpy(hello + 8 * chance(attacker, 6), &value, sizeof value);
    }
    (void)raw_put_hello(raw, hello);
    attacker->board->n_bad_hellos++;
    for (int i = 0; i < 100 && !attacker_is_done(attacker); i++) {
        attacker_nap(20);
        if (chance(attacker, 4) == 0) {
            attacker_write(attacker, aim_place(attacker), aim_value(attacker));
        }
    }
}

/* Connects and says nothing, or half of something. */
static void
be_silent(struct attacker *attacker)
{
    struct board *board = attacker->board;
    if (chance(attacker, 2)) {
        return; /* And leaves. */
    }
    if (chance(attacker, 2)) {
        (void)send(attacker->raw.fd, "mchanm", 1 + chance(attacker, 6),
                   MSG_DONTWAIT | MSG_NOSIGNAL);
    }
    board->silent = true;
    for (int i = 0; i < 500 && board->n_gone == attacker->gone; i++) {
        attacker_nap(100);
    }
    board->silent = false;
}

bool
greet_victim(struct attacker *attacker)
{
    const struct stage *stage = attacker->stage;
    struct raw *raw = &attacker->raw;
    uint64_t way = chance(attacker, 32);
    if (way == 0) {
        be_silent(attacker);
        return false;
    }
    if (raw->listens && way < 4) {
        offer_badly(attacker);
        return false;
    }
    if (raw->listens ? !raw_give_memory(raw, stage->ring_size, stage->lends)
                     : !raw_take_memory(raw, PATIENCE_MS)) {
        return false;
    }
    if (way == 4) {
        ways_flood(attacker);
    }
    if (way >= 4 && way < 7) {
        greet_badly(attacker);
        return false;
    }
    raw->resumes = raw->session && chance(attacker, 2);
    bool wanted = raw->resumes;
    bool up = raw_greet(raw, PATIENCE_MS);
    attacker->board->n_resumed += up && wanted && raw->resumes;
    return up;
}
