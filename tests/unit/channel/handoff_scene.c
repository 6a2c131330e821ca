/* SPDX-License-Identifier: Apache-2.0 */
/* The house of four brokers: messages carried, actions done with a made-up
 * memory of the session, time let pass by deadlines. Called by the tests of
 * channel/handoff/. */
#include "tests/unit/channel/handoff_scene.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

const struct handoff_vm vm = {{1}}, other_vm = {{2}};
struct house house;

void
start(uint32_t i)
{
    const struct handoff_opts opts = {.n_peers = N, .self = i, .n_vms_max = 3};
    assert_int_equal(handoff_create(&house.at[i], &opts), 0);
}

int
set_up(void **state)
{
    memset(&house, 0, sizeof house);
    house.now = START;
    for (uint32_t i = 0; i < N; i++) {
        start(i);
    }
    return 0;
}

int
tear_down(void **state)
{
    for (uint32_t i = 0; i < N; i++) {
        handoff_destroy(house.at[i]);
    }
    return 0;
}

size_t
pack(uint8_t *data, size_t room, uint64_t session, uint32_t low,
     uint32_t attachment)
{
    const struct parcel head = {.session = session,
                                .attachment = attachment,
                                .mark = attachment,
                                .former = low == attachment ? 0 : low,
                                .message_max = 1024};
    struct parcel_writer writer;
    parcel_begin(&writer, data, room, &head);
    return parcel_end(&writer);
}

void
act(uint32_t i, const struct handoff_action *action)
{
    struct memory *memory = &house.memory[i];
    uint8_t data[256];
    memory->last = action->what;
    memory->n_actions++;
    switch (action->what) {
    case HANDOFF_EXPORT: {
        size_t size = pack(data, sizeof data, action->session, memory->low,
                           memory->attachment);
        assert_true(memory->has);
        memory->has = false;
        handoff_exported(house.at[i], &action->vm, data, size, "notes", 5,
                         house.now);
        break;
    }
    case HANDOFF_IMPORT:
        assert_false(memory->has);
        assert_memory_equal(action->notes, "notes", action->notes_size);
        memory->has = true;
        memory->n_imports++;
        memory->low = memory->attachment;
        memory->attachment += HANDOFF_LEAP;
        handoff_imported(house.at[i], &action->vm, 0, house.now);
        break;
    case HANDOFF_DROP:
        memory->has = false;
        break;
    case HANDOFF_GIVE_UP:
    case HANDOFF_REFUSE:
        break;
    }
}

bool
turn(uint32_t i)
{
    struct handoff_action action;
    struct handoff_msg msg;
    bool any = false;
    if (house.down[i]) {
        return false;
    }
    while (handoff_next_action(house.at[i], &action)) {
        act(i, &action);
        any = true;
    }
    while (handoff_next_msg(house.at[i], &msg)) {
        uint32_t to = msg.peer;
        house.n_msgs[msg.kind]++;
        msg.peer = i;
        any = true;
        if (!house.down[to] && !house.mute[i]) {
            handoff_on_msg(house.at[to], &msg, house.now);
        }
    }
    return any;
}

void
settle(void)
{
    bool any;
    unsigned n = 0;
    do {
        any = false;
        for (uint32_t i = 0; i < N; i++) {
            any |= turn(i);
        }
        assert_true(++n < 100);
    } while (any);
}

void
pass(nsec_t time)
{
    nsec_t end = house.now + time;
    settle();
    for (;;) {
        nsec_t next = end;
        for (uint32_t i = 0; i < N; i++) {
            if (!house.down[i]) {
                next = nsec_min(next, handoff_deadline(house.at[i]));
            }
        }
        house.now = next > house.now ? next : house.now;
        for (uint32_t i = 0; i < N && house.now <= end; i++) {
            if (!house.down[i]) {
                handoff_run(house.at[i], house.now);
            }
        }
        settle();
        if (house.now >= end) {
            return;
        }
    }
}

void
crash(uint32_t i)
{
    handoff_destroy(house.at[i]);
    memset(&house.memory[i], 0, sizeof house.memory[i]);
    start(i);
}

void
hold(uint32_t i, uint32_t low, uint32_t attachment)
{
    house.memory[i] =
        (struct memory){.has = true, .low = low, .attachment = attachment};
    assert_int_equal(
        handoff_attached(house.at[i], &vm, S, attachment, house.now), 0);
}

void
come(uint32_t i, uint32_t key)
{
    house.memory[i].attachment = key;
    const struct mchan_event event = {.type = MCHAN_STRANGER,
                                      .session = S,
                                      .from = key,
                                      .to = key,
                                      .attachment = key + HANDOFF_LEAP};
    assert_int_equal(handoff_stranger(house.at[i], &vm, &event, house.now), 0);
    settle();
}

void
leave(uint32_t i)
{
    handoff_left(house.at[i], &vm, house.now, house.now);
    settle();
}

void
go_on(uint32_t i)
{
    assert_true(house.memory[i].has);
    assert_int_equal(handoff_attached(house.at[i], &vm, S,
                                      house.memory[i].attachment, house.now),
                     0);
    settle();
}

struct handoff_stats
stats(uint32_t i)
{
    struct handoff_stats out;
    handoff_stats(house.at[i], &out);
    return out;
}

void
expect_state(uint32_t i, enum handoff_state state)
{
    assert_int_equal(handoff_state(house.at[i], &vm), state);
}

void
say(uint32_t from, uint32_t to, struct handoff_msg msg)
{
    msg.peer = from;
    msg.vm = vm;
    msg.session = S;
    handoff_on_msg(house.at[to], &msg, house.now);
    settle();
}
