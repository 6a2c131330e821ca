/* SPDX-License-Identifier: Apache-2.0 */
/* The ways in which a hostile end attacks a link that stands: anything
 * anywhere, lies between true records, headers that change while they are read,
 * records over the ring's end, loans, noise on the socket.  Called by
 * attacker.c and greet.c. */
#include <fcntl.h>
#include <pthread.h>
#include <string.h>
#include <unistd.h>

#include "attacker.h"
#include "transport/returns.h"
#include "transport/ring.h"

#define FLIP_ROUNDS 20

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
    while (!attacker_is_done(attacker)) {
        attacker_write(attacker, aim_place(attacker), aim_value(attacker));
        dither(attacker);
    }
}

/* Words that may say anything, and what lies where nobody reads yet. */
static void
tease(struct attacker *attacker)
{
    struct raw *raw = &attacker->raw;
    while (!attacker_is_done(attacker)) {
        size_t event = offsetof(struct ring_words, data_event);
        size_t at = raw_my_words(raw) + event + 8 * chance(attacker, 2);
        if (chance(attacker, 2)) {
            at = raw_my_ring(raw) + RECORD_HEADER_SIZE +
                 RING_LINE * chance(attacker, raw->ring_size / RING_LINE) +
                 8 * chance(attacker, 6);
        }
        attacker_write(attacker, at, aim_value(attacker));
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
    while (!attacker_is_done(attacker)) {
        talk(attacker);
        if (chance(attacker, 8)) {
            attacker_write(attacker,
                           raw_my_ring(raw) +
                               ((aim_near(attacker, raw->head) + 24) &
                                (raw->ring_size - 1)),
                           aim_value(attacker));
            continue;
        }
        struct record record = raw_message(raw, 64);
        uint64_t word = aim_record(attacker);
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
        attacker_count(attacker);
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
        handle = aim_value(attacker);
    }
    if (chance(attacker, 128) == 0) {
        size = aim_value(attacker);
    }
    struct record record = raw_loan(raw, words, handle, size);
    if (chance(attacker, 256) == 0) {
        record.size = (uint32_t)chance(attacker, 16);
    }
    if (!raw_put(raw, &record, words)) {
        raw->n_sent--;
    }
    attacker_count(attacker);
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
    attacker_write(attacker, at + offsetof(struct returns, words) + 8 * word,
                   chance(attacker, 2) ? handle : aim_value(attacker));
    if (chance(attacker, 16) == 0) {
        attacker_write(attacker, at + offsetof(struct returns, count),
                       raw->n_returned + chance(attacker, 3));
    }
    if (chance(attacker, 8) == 0) {
        attacker_write(attacker, at + offsetof(struct returns, wanted),
                       aim_value(attacker));
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
    while (!attacker_is_done(attacker)) {
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
            attacker_nap(20); /* The victim is to lend, too. */
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
    while (!attacker_is_done(attacker)) {
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
        attacker_count(attacker);
        raw_wake(raw);
        for (int i = 0; i < FLIP_ROUNDS && !attacker_is_done(attacker); i++) {
            attacker_nap(10);
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
    for (int i = 0; i < FLIP_ROUNDS && !attacker_is_done(attacker); i++) {
        attacker_nap(10);
    }
    flipper.over = true;
    pthread_join(thread, NULL);
    attacker->board->n_flips += flipper.n;
    raw->head += 64;
    return again && !attacker_is_done(attacker);
}

static void
flip(struct attacker *attacker)
{
    while (flip_one(attacker)) {
        struct record theirs;
        while (raw_pass(&attacker->raw, &theirs)) {
        }
        raw_release(&attacker->raw);
        attacker_count(attacker);
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
        if (attacker_is_done(attacker)) {
            return;
        }
        if (record.size > to_end && chance(attacker, 4)) {
            raw_put_header(raw, raw->head, &record);
            attacker_count(attacker);
            raw_wake(raw);
            for (int i = 0; i < FLIP_ROUNDS && !attacker_is_done(attacker);
                 i++) {
                attacker_nap(10);
            }
            return;
        }
        if (!raw_put(raw, &record, data)) {
            raw->n_sent--;
        }
        talk(attacker);
    }
}

void
ways_flood(struct attacker *attacker)
{
    static const uint8_t noise[4096];
    int fds[RAW_FDS_MAX];
    int fd = open("/dev/null", O_RDWR | O_CLOEXEC);
    for (unsigned i = 0; i < RAW_FDS_MAX; i++) {
        fds[i] = fd;
    }
    for (int i = 0; i < 20 && !attacker_is_done(attacker); i++) {
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

void
ways_attack(struct attacker *attacker)
{
    static void (*const ways[])(struct attacker *) = {
        scribble, tease,      tease,    lie,     lie,  flip,    lend,
        lend,     ways_flood, scribble, overrun, flip, mislead,
    };
    uint64_t way = chance(attacker, sizeof ways / sizeof *ways);
    if (chance(attacker, 2)) {
        for (uint64_t i = chance(attacker, 200);
             i && !attacker_is_done(attacker); i--) {
            talk(attacker);
        }
    }
    ways[way](attacker);
}
