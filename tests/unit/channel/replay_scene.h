/* SPDX-License-Identifier: Apache-2.0 */
/* A world of two ends that send and receive at random, and keep what they sent
 * as letters, so that each message received, dropped or missing can be looked
 * up. */
#ifndef TESTS_UNIT_CHANNEL_REPLAY_SCENE_H
#define TESTS_UNIT_CHANNEL_REPLAY_SCENE_H

#include "base/prng.h"
#include "channel/channel.h"
#include "include/mchan.h"
#include "transport/sim.h"

#define STEPS 400
#define RING 4096
#define MESSAGE_MAX (RING / 8)
#define SENT_MAX 65536
#define KEYS 3
#define TAG 7

/* Loans, where there are any: few at a time, so that one waits for another. */
#define LOAN_BYTES 65536u
#define LOAN_MAX 20000u
#define HELD_MAX 4

enum { BACK, FRONT };

/* A message that was sent, as its sender and its receiver saw it. */
struct letter {
    uint64_t session, number;
    uint32_t size;
    unsigned n_received, n_dropped;
    bool gap; /* Its receiver was told that it won't come. */
};

struct end {
    struct mchan *channel;
    /* What it sent. */
    struct letter *letters;
    uint32_t n_letters, first_letter; /* The first of the channel's. */
    /* What its events said. */
    bool up;
    uint64_t session;
    /* What it received of that session. */
    uint64_t taken_session, taken;
    uint32_t n_suspending, n_resumed;
    bool suspended;
    /* A loan that could not be sent yet, and what it was lent. */
    bool has_loan;
    struct mchan_loan loan;
    uint32_t n_held;
    struct mchan_view held[HELD_MAX];
    uint32_t held_letters[HELD_MAX];
    /* Latest values: given to the channel that stands, and taken from it. */
    uint32_t value, put[KEYS], got[KEYS];
};

struct world {
    const char *scheme;
    uint64_t seed;
    struct prng prng;
    struct sim_network *network;
    int64_t now;
    char dir[64], uri[128];
    struct mchan_opts opts;
    struct end end[2];
    bool corrupted;
    /* Sessions that an end closed, which then names what is missing. */
    uint64_t closed[STEPS];
    uint32_t n_closed;
    uint64_t n_received, n_lent, n_resumed, n_gaps, n_dropped;
};

#define REQUIRE(world, holds)                                                  \
    do {                                                                       \
        if (!(holds)) {                                                        \
            fail_msg("%s seed %lu: line %d: %s", (world)->scheme,              \
                     (unsigned long)(world)->seed, __LINE__, #holds);          \
        }                                                                      \
    } while (0)

uint64_t chance(struct world *world, uint64_t n);
/* What the n-th letter of an end says. */
uint8_t byte_of(uint32_t n, uint32_t at);
/* Values and datagrams flow beside and disturb nothing. */
void post_others(struct world *world, struct end *end);
bool post(struct world *world, struct end *end);
void collect(struct world *world, struct end *end);
/* What is held is as it was, and goes back. */
void release(struct world *world, struct end *end, uint32_t at);
/* Takes one message. */
bool take(struct world *world, struct end *end);

#endif
