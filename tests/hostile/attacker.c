/* SPDX-License-Identifier: Apache-2.0 */
/* The hostile end of a "shm:" channel: meets the victim as it should, says
 * HELLO as it should, and then writes into the memory that both map what it
 * should not, where it should not, whenever it likes; some of the time it also
 * talks as one should, to get further.  When the victim throws it out it comes
 * again, and goes on writing into the memory of its former links too, as one
 * that was stopped and continued after it was replaced.  Some of the time the
 * meeting itself is hostile.
 *
 * What counts as a write is one store of a value into memory that was handed
 * over, made while the victim has not yet said that this peer is gone (or into
 * that of a former link). */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "base/prng.h"
#include "board.h"
#include "rawpeer.h"
#include "transport/returns.h"
#include "transport/ring.h"

#define PATIENCE_MS 2000
#define FORMER_MAX 8
#define WRITES_PER_LINK_MAX 2000
#define FLIP_ROUNDS 20

struct former {
    uint8_t *memory;
    size_t size;
};

struct attacker {
    const struct stage *stage;
    struct board *board;
    struct prng prng;
    struct raw raw;
    uint64_t gone;   /* board->n_gone when this link began. */
    uint64_t n_here; /* Writes into this link. */
    struct former former[FORMER_MAX];
    unsigned n_former;
};

static uint64_t
chance(struct attacker *attacker, uint64_t n)
{
    return prng_below(&attacker->prng, n);
}

static void
nap_us(long us)
{
    struct timespec nap = {.tv_nsec = us * 1000};
    nanosleep(&nap, NULL);
}

/* What to write. */

static uint64_t
some_record(struct attacker *attacker)
{
    const struct raw *raw = &attacker->raw;
    struct record record = {
        .size = (uint32_t)chance(attacker, raw->ring_size / 8 + 32),
        .kind = (uint8_t)chance(attacker, RECORD_N_KINDS + 1),
        .flags = chance(attacker, 16) == 0,
        .tag = (uint16_t)prng_u64(&attacker->prng),
    };
    return record_first_word(&record);
}

/* Near a position that both know, so that it is often believed. */
static uint64_t
near(struct attacker *attacker, uint64_t position)
{
    return position + 64 * (chance(attacker, 9) - 4);
}

static uint64_t
some_value(struct attacker *attacker)
{
    const struct raw *raw = &attacker->raw;
    switch (chance(attacker, 12)) {
    case 0:
        return prng_u64(&attacker->prng);
    case 1:
        return UINT64_C(1) << chance(attacker, 64);
    case 2:
        return ~UINT64_C(0) >> chance(attacker, 64);
    case 3:
        return 0;
    case 4:
        return near(attacker, raw->head) | chance(attacker, 4);
    case 5:
        return near(attacker, raw->position) | chance(attacker, 4);
    case 6:
        return near(attacker, raw->head);
    case 7:
        return near(attacker, raw->position);
    case 8: /* The second word of a header. */
        return (raw->n_sent + chance(attacker, 4)) | (uint64_t)raw->attachment
                                                         << 32;
    case 9:
        return raw->n_taken + chance(attacker, 5) - 2;
    default:
        return some_record(attacker);
    }
}

/* Where to write it. */

static size_t
some_word(struct attacker *attacker)
{
    const struct raw *raw = &attacker->raw;
    static const size_t words[] = {
        offsetof(struct ring_words, released),
        offsetof(struct ring_words, acked),
        offsetof(struct ring_words, data_event),
        offsetof(struct ring_words, space_event),
    };
    size_t word = words[chance(attacker, sizeof words / sizeof *words)];
    return word +
           (chance(attacker, 3) ? raw_my_words(raw) : raw_their_words(raw));
}

/* A header in either ring, mostly near where the reader is. */
static size_t
some_header(struct attacker *attacker)
{
    const struct raw *raw = &attacker->raw;
    bool mine = chance(attacker, 3);
    uint64_t position = mine ? raw->head : raw->position;
    position = chance(attacker, 4)
                   ? near(attacker, position)
                   : RING_ALIGN * chance(attacker, raw->ring_size / RING_ALIGN);
    size_t ring = mine ? raw_my_ring(raw) : raw_their_ring(raw);
    return ring + (position & (raw->ring_size - 1)) + 8 * chance(attacker, 2);
}

static size_t
some_place(struct attacker *attacker)
{
    const struct raw *raw = &attacker->raw;
    switch (chance(attacker, 8)) {
    case 0:
    case 1:
        return some_word(attacker);
    case 2:
        if (raw->lends) {
            size_t words = 2 * sizeof(struct returns) / 8;
            return raw_returns(raw) +
                   8 * chance(attacker, chance(attacker, 2) ? 64 : words);
        }
        /* fallthrough */
    case 3:
        return 8 * chance(attacker, raw->size / 8);
    default:
        return some_header(attacker);
    }
}

/* Writing. */

static void
count_write(struct attacker *attacker)
{
    attacker->n_here++;
    atomic_fetch_add_explicit(&attacker->board->n_writes, 1,
                              memory_order_relaxed);
}

static void
write_at(struct attacker *attacker, size_t at, uint64_t value)
{
    if (chance(attacker, 32) == 0) {
        attacker->raw.memory[at + chance(attacker, 8)] = (uint8_t)value;
    } else {
        raw_store(&attacker->raw, at, value);
    }
    count_write(attacker);
}

static void
write_former(struct attacker *attacker)
{
    if (!attacker->n_former) {
        return;
    }
    const struct former *former =
        &attacker->former[chance(attacker, attacker->n_former)];
    size_t at =
        8 * chance(attacker, chance(attacker, 2) ? 32 : former->size / 8);
    uint64_t value = some_value(attacker);
    memcpy(former->memory + at, &value, sizeof value);
    attacker->board->n_stale++;
    count_write(attacker);
}

static bool
is_over(struct attacker *attacker)
{
    const struct board *board = attacker->board;
    return board->n_gone != attacker->gone || board->attack_over ||
           board->failed || board->n_writes >= board->n_writes_wanted ||
           attacker->n_here >= WRITES_PER_LINK_MAX ||
           (attacker->n_here % 512 == 511 && raw_is_over(&attacker->raw));
}

/* Between two writes: nothing, or long enough that much may happen. */
static void
dither(struct attacker *attacker)
{
    if (chance(attacker, 32) == 0) {
        raw_wake(&attacker->raw);
    }
    unsigned n = (unsigned)chance(attacker, 4) ? 0 : 200;
    for (volatile unsigned i = (unsigned)chance(attacker, n + 1); i; i--) {
    }
}

/* Ways to attack. */

static void
talk(struct attacker *attacker)
{
    static const uint8_t data[256];
    struct raw *raw = &attacker->raw;
    struct record theirs;
    struct record record = raw_message(raw, (uint32_t)chance(attacker, 256));
    if (!raw_put(raw, &record, data)) {
        raw->n_sent--;
    }
    for (int i = 0; i < 4 && raw_pass(raw, &theirs); i++) {
    }
    raw_release(raw);
    if (chance(attacker, 4) == 0) {
        raw_wake(raw);
    }
}

/* Anything, anywhere. */
static void
scribble(struct attacker *attacker)
{
    while (!is_over(attacker)) {
        write_at(attacker, some_place(attacker), some_value(attacker));
        dither(attacker);
    }
}

/* Words that may say anything, and what lies where nobody reads yet. */
static void
tease(struct attacker *attacker)
{
    struct raw *raw = &attacker->raw;
    while (!is_over(attacker)) {
        size_t event = offsetof(struct ring_words, data_event);
        size_t at = raw_my_words(raw) + event + 8 * chance(attacker, 2);
        if (chance(attacker, 2)) {
            at = raw_my_ring(raw) + RECORD_HEADER_SIZE +
                 RING_LINE * chance(attacker, raw->ring_size / RING_LINE) +
                 8 * chance(attacker, 6);
        }
        write_at(attacker, at, some_value(attacker));
        if (chance(attacker, 16) == 0) {
            talk(attacker);
        }
        dither(attacker);
    }
}

/* Talks, and now and then says something wrong. */
static void
lie(struct attacker *attacker)
{
    static const uint8_t data[8192];
    struct raw *raw = &attacker->raw;
    while (!is_over(attacker)) {
        talk(attacker);
        if (chance(attacker, 8)) {
            write_at(attacker,
                     raw_my_ring(raw) + ((near(attacker, raw->head) + 24) &
                                         (raw->ring_size - 1)),
                     some_value(attacker));
            continue;
        }
        struct record record = raw_message(raw, 64);
        uint64_t word = some_record(attacker);
        struct record other = record_from_words(word, 0);
        record.kind = chance(attacker, 2) ? other.kind : record.kind;
        record.size = chance(attacker, 2) ? other.size : record.size;
        record.sequence += chance(attacker, 8) == 0;
        record.attachment -= chance(attacker, 16) == 0;
        record.flags = other.flags;
        if (record.kind == RECORD_NONE || record.size > sizeof data ||
            !raw_put(raw, &record, data)) {
            raw->n_sent--;
        }
        count_write(attacker);
        raw_wake(raw);
    }
}

/* A loan that may be as it should be, or nearly. */
static void
lend_once(struct attacker *attacker)
{
    struct raw *raw = &attacker->raw;
    uint64_t words[2];
    uint64_t unit = chance(attacker, chance(attacker, 64) ? 256 : 260);
    uint64_t handle = unit | (1 + attacker->n_here) << 32;
    uint64_t size = chance(attacker, chance(attacker, 64) ? 8192 : 2 << 20);
    if (chance(attacker, 128) == 0) {
        handle = some_value(attacker);
    }
    if (chance(attacker, 128) == 0) {
        size = some_value(attacker);
    }
    struct record record = raw_loan(raw, words, handle, size);
    if (chance(attacker, 256) == 0) {
        record.size = (uint32_t)chance(attacker, 16);
    }
    if (!raw_put(raw, &record, words)) {
        raw->n_sent--;
    }
    count_write(attacker);
    raw_wake(raw);
}

/* What was lent comes back wrongly, or twice, or never was. */
static void
return_badly(struct attacker *attacker)
{
    struct raw *raw = &attacker->raw;
    size_t at = raw_my_returns(raw);
    size_t word = (raw->n_returned + chance(attacker, 3)) % RETURNS_MAX;
    uint64_t handle = chance(attacker, 256) | chance(attacker, 16) << 32;
    write_at(attacker, at + offsetof(struct returns, words) + 8 * word,
             chance(attacker, 2) ? handle : some_value(attacker));
    if (chance(attacker, 16) == 0) {
        write_at(attacker, at + offsetof(struct returns, count),
                 raw->n_returned + chance(attacker, 3));
    }
    if (chance(attacker, 8) == 0) {
        write_at(attacker, at + offsetof(struct returns, wanted),
                 some_value(attacker));
    }
}

/* Lends, and gives back, now and then wrongly. */
static void
lend(struct attacker *attacker)
{
    struct raw *raw = &attacker->raw;
    unsigned seals = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_FUTURE_WRITE;
    size_t size = 1 << 20; /* As HELLO said. */
    uint64_t how = chance(attacker, 16);
    if (how == 0) {
        size += 4096 * (chance(attacker, 3) - 1);
    } else if (how == 1) {
        seals &= ~(1u << chance(attacker, 8));
    }
    if (how != 2) {
        (void)raw_share(raw, size, seals);
    }
    while (!is_over(attacker)) {
        if (chance(attacker, 4) == 0) {
            lend_once(attacker);
        } else if (raw->lends && chance(attacker, 64) == 0) {
            return_badly(attacker);
        }
        /* A neighbour, more often than anybody. */
        raw->twist = chance(attacker, 4) ? 0 : 1u << chance(attacker, 8);
        talk(attacker);
        raw->twist = 0;
        if (chance(attacker, 8) == 0) {
            nap_us(20); /* The victim is to lend, too. */
        }
        dither(attacker);
    }
}

/* A pad that does not reach the ring's end, or goes over it, and a good record
 * where one who believed it would look next. */
static void
mislead(struct attacker *attacker)
{
    struct raw *raw = &attacker->raw;
    uint64_t mask = raw->ring_size - 1;
    while (!is_over(attacker)) {
        for (uint64_t i = chance(attacker, 16); i; i--) {
            talk(attacker);
        }
        uint64_t to_end = raw->ring_size - (raw->head & mask);
        struct record pad = {.kind = RECORD_PAD};
        pad.size = (uint32_t)(to_end - 24); /* Half a header is left. */
        if (chance(attacker, 2)) {
            pad.size = (uint32_t)chance(attacker, 2 * raw->ring_size);
        }
        uint64_t next = raw->head + RECORD_HEADER_SIZE + pad.size;
        struct record record =
            raw_message(raw, (uint32_t)chance(attacker, raw->ring_size / 8));
        uint64_t words[2] = {record_first_word(&record),
                             record_second_word(&record)};
        size_t room = raw->ring_size - (next & mask);
        memcpy(raw->memory + raw_my_ring(raw) + (next & mask), words,
               room < sizeof words ? room : sizeof words);
        raw_put_header(raw, raw->head, &pad);
        count_write(attacker);
        raw_wake(raw);
        for (int i = 0; i < FLIP_ROUNDS && !is_over(attacker); i++) {
            nap_us(10);
        }
    }
}

struct flipper {
    struct attacker *attacker;
    size_t at;
    uint64_t values[2];
    _Atomic bool over;
    uint64_t n;
};

static void *
flip_on(void *arg)
{
    struct flipper *flipper = arg;
    while (!flipper->over) {
        raw_store(&flipper->attacker->raw, flipper->at,
                  flipper->values[flipper->n++ % 2]);
    }
    return NULL;
}

/* A header says one thing when it is looked at and another when it is used:
 * mostly two sizes that end in the same place, so that the record behind it can
 * be next.  Flips are too many and too fast to be counted as writes. */
static bool
flip_one(struct attacker *attacker)
{
    struct raw *raw = &attacker->raw;
    struct record record = raw_message(raw, 1 + (uint32_t)chance(attacker, 8));
    struct flipper flipper = {.attacker = attacker};
    pthread_t thread;
    size_t next = raw_my_ring(raw) + ((raw->head + 64) & (raw->ring_size - 1));
    bool again = chance(attacker, 8);
    flipper.at = raw_my_ring(raw) + (raw->head & (raw->ring_size - 1));
    flipper.values[0] = record_first_word(&record);
    record.size = 9 + (uint32_t)chance(attacker, 40);
    if (!again) {
        record.size = (uint32_t)chance(attacker, raw->ring_size / 8);
    }
    flipper.values[1] = record_first_word(&record);
    raw_store(raw, next, 0);
    raw_store(raw, flipper.at + 8, record_second_word(&record));
    if (pthread_create(&thread, NULL, flip_on, &flipper)) {
        return false;
    }
    raw_wake(raw);
    for (int i = 0; i < FLIP_ROUNDS && !is_over(attacker); i++) {
        nap_us(10);
    }
    flipper.over = true;
    pthread_join(thread, NULL);
    attacker->board->n_flips += flipper.n;
    raw->head += 64;
    return again && !is_over(attacker);
}

static void
flip(struct attacker *attacker)
{
    while (flip_one(attacker)) {
        struct record theirs;
        while (raw_pass(&attacker->raw, &theirs)) {
        }
        raw_release(&attacker->raw);
        count_write(attacker);
    }
}

/* Talks until the ring's end is near, and then goes over it by a little. */
static void
overrun(struct attacker *attacker)
{
    static const uint8_t data[8192];
    struct raw *raw = &attacker->raw;
    uint32_t most = raw->ring_size / 8;
    for (;;) {
        uint32_t to_end = raw->ring_size -
                          (uint32_t)(raw->head & (raw->ring_size - 1)) -
                          RECORD_HEADER_SIZE;
        struct record record =
            raw_message(raw, 1 + (uint32_t)chance(attacker, most));
        if (is_over(attacker)) {
            return;
        }
        if (record.size > to_end && chance(attacker, 4)) {
            raw_put_header(raw, raw->head, &record);
            count_write(attacker);
            raw_wake(raw);
            for (int i = 0; i < FLIP_ROUNDS && !is_over(attacker); i++) {
                nap_us(10);
            }
            return;
        }
        if (!raw_put(raw, &record, data)) {
            raw->n_sent--;
        }
        talk(attacker);
    }
}

/* Hostile before anything is agreed. */

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
    for (int i = 0; i < 50 && !is_over(attacker); i++) {
        if (i == cut) {
            (void)!ftruncate(fd, 0);
            raw_wake(&attacker->raw);
        }
        nap_us(20);
    }
    close(fd);
}

/* Noise and descriptors through the socket, which is for wakes. */
static void
flood(struct attacker *attacker)
{
    static const uint8_t noise[4096];
    int fds[RAW_FDS_MAX];
    int fd = open("/dev/null", O_RDWR | O_CLOEXEC);
    for (unsigned i = 0; i < RAW_FDS_MAX; i++) {
        fds[i] = fd;
    }
    for (int i = 0; i < 20 && !is_over(attacker); i++) {
        struct raw_parcel parcel = {
            noise, 1 + chance(attacker, sizeof noise),
            chance(attacker, 2) ? (unsigned)chance(attacker, RAW_FDS_MAX + 1)
                                : 0,
            fds};
        (void)raw_send(&attacker->raw, &parcel);
    }
    close(fd);
    attacker->board->n_floods++;
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
        uint64_t value = some_value(attacker);
        memcpy(hello + 8 * chance(attacker, 6), &value, sizeof value);
    }
    (void)raw_put_hello(raw, hello);
    attacker->board->n_bad_hellos++;
    for (int i = 0; i < 100 && !is_over(attacker); i++) {
        nap_us(20);
        if (chance(attacker, 4) == 0) {
            write_at(attacker, some_place(attacker), some_value(attacker));
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
        nap_us(100);
    }
    board->silent = false;
}

/* A link. */

static void
attack(struct attacker *attacker)
{
    static void (*const ways[])(struct attacker *) = {
        scribble, tease, tease,    lie,     lie,  flip,    lend,
        lend,     flood, scribble, overrun, flip, mislead,
    };
    uint64_t way = chance(attacker, sizeof ways / sizeof *ways);
    if (chance(attacker, 2)) {
        for (uint64_t i = chance(attacker, 200); i && !is_over(attacker); i--) {
            talk(attacker);
        }
    }
    ways[way](attacker);
}

static void
keep_former(struct attacker *attacker)
{
    struct raw *raw = &attacker->raw;
    if (!raw->memory) {
        return;
    }
    struct former *former;
    if (attacker->n_former < FORMER_MAX) {
        former = &attacker->former[attacker->n_former++];
    } else {
        former = &attacker->former[chance(attacker, FORMER_MAX)];
        munmap(former->memory, former->size);
    }
    former->memory = raw->memory;
    former->size = raw->size;
    raw->memory = NULL;
}

/* True once HELLO was exchanged as it should be. */
static bool
come_up(struct attacker *attacker)
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
        flood(attacker);
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

static void
come_once(struct attacker *attacker)
{
    struct board *board = attacker->board;
    struct raw *raw = &attacker->raw;
    attacker->gone = board->n_gone;
    attacker->n_here = 0;
    if (!raw_meet(raw, PATIENCE_MS)) {
        nap_us(100);
        return;
    }
    board->n_meetings++;
    if (come_up(attacker)) {
        attack(attacker);
    }
    for (uint64_t i = chance(attacker, 64); i; i--) {
        write_former(attacker);
    }
    keep_former(attacker);
    raw_leave(raw);
}

int
attacker_live(const struct stage *stage)
{
    struct attacker attacker = {.stage = stage, .board = stage->board};
    const struct board *board = stage->board;
    prng_init(&attacker.prng, stage->seed + 2);
    raw_init(&attacker.raw, !stage->victim_listens, stage->path);
    while (!board->attack_over && !board->failed &&
           board->n_writes < board->n_writes_wanted) {
        come_once(&attacker);
    }
    raw_fini(&attacker.raw);
    return 0;
}
