/* SPDX-License-Identifier: Apache-2.0 */
/* Four brokers A to D that hand the session of one VM to each other: their
 * channels are made up, what they say to each other arrives at once unless one
 * is mute or down, and time is made up. */
#ifndef TESTS_UNIT_CHANNEL_HANDOFF_SCENE_H
#define TESTS_UNIT_CHANNEL_HANDOFF_SCENE_H

#include "channel/handoff/handoff.h"
#include "channel/handoff/parcel.h"

#define N 4
#define S 4711u
#define MS NSEC_PER_MSEC
#define START (1000 * NSEC_PER_SEC)
#define VISIT START /* One that begins with the test. */
#define A 0u
#define B 1u
#define C 2u
#define D 3u

/* What a broker's channel has of the session. */
struct memory {
    bool has;
    uint32_t low, attachment;
    enum handoff_do last; /* Action, of n. */
    unsigned n_actions, n_imports;
};

struct house {
    struct handoff *at[N];
    struct memory memory[N];
    bool down[N], mute[N]; /* Gets nothing; what it says is lost. */
    nsec_t now;
    unsigned n_msgs[HANDOFF_N_KINDS];
};

extern const struct handoff_vm vm, other_vm;
extern struct house house;

void start(uint32_t i);
int set_up(void **state);
int tear_down(void **state);
size_t pack(uint8_t *data, size_t room, uint64_t session, uint32_t low,
            uint32_t attachment);
void act(uint32_t i, const struct handoff_action *action);
bool turn(uint32_t i);
void settle(void);
void pass(nsec_t time);
/* The broker loses its memory. */
void crash(uint32_t i);
void hold(uint32_t i, uint32_t low, uint32_t attachment);
/* The guest's HELLO at a broker that does not know it. */
void come(uint32_t i, uint32_t key);
void leave(uint32_t i);
/* What came of an import: the guest is attached. */
void go_on(uint32_t i);
struct handoff_stats stats(uint32_t i);
void expect_state(uint32_t i, enum handoff_state state);
void say(uint32_t from, uint32_t to, struct handoff_msg msg);

#endif
