/* SPDX-License-Identifier: Apache-2.0 */
/* Users of channels in msim's moves: each says something now and then, reads
 * what comes when it is not busy, and tells the ledger all of it.  A broker's
 * user also tells its handoff what the channel reports.  Called by moves.c. */
#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "channel/channel.h"
#include "sim/movesparts.h"

#define BYTES_MAX 512
#define TURN_MAX 64

struct handoff_vm
vm_id(uint32_t vm)
{
    return (struct handoff_vm){{(uint8_t)(vm + 1)}};
}

void
talker_name(struct moves *world, struct talker *talker)
{
    talker->world = world;
    talker->serial = 0;
    talker->name = world->n_names++;
    talker->was_up = false;
    talker->busy_until = 0;
    talker->n_values = talker->value = 0;
    talker->next_send = world->now;
    if (world->n_names >= LEDGER_SPEAKERS_MAX) {
        moves_fail(world, "too many users started");
        world->n_names--;
    }
}

static const char *
called(const struct talker *talker)
{
    return talker->guest ? "guest" : "broker";
}

/* Events. */

static void
on_up(struct talker *talker, const struct mchan_event *event)
{
    struct moves *world = talker->world;
    const struct handoff_vm vm = vm_id(talker->vm);
    if (!world->config->rough && talker->guest && talker->was_up &&
        !event->resumed) {
        moves_fail(world, "a guest's session did not go on");
    }
    world->result->n_sessions += talker->guest && !event->resumed;
    talker->was_up = true;
    talker->session = event->session;
    if (talker->guest) {
        ledger_joined(world->ledger, talker->name, event->session);
    } else {
        struct handoff *handoff = world->brokers[talker->host].handoff;
        if (handoff_attached(handoff, &vm, event->session, event->attachment,
                             world->now)) {
            moves_fail(world, "a handoff has no room for a VM");
        }
    }
}

static void
on_told(struct talker *talker, const struct mchan_event *event)
{
    struct moves *world = talker->world;
    bool dropped = event->type == MCHAN_DROPPED;
    world->result->n_gaps += !dropped;
    world->result->n_dropped += dropped;
    if (!world->config->rough) {
        moves_fail(world, "%s of %" PRIu64 "..%" PRIu64 " in calm times",
                   dropped ? "DROPPED" : "GAP", event->from, event->to);
    }
    /* What a guest sends it keeps: a GAP of it is an excuse for nobody. */
    bool from_guest = dropped == talker->guest;
    if (world->config->plant == MOVES_PLANT_MUTE || (from_guest && !dropped)) {
        return;
    }
    if (event->to != UINT64_MAX) {
        ledger_told(world->ledger, from_guest, event->session, event->from,
                    event->to);
        return;
    }
    /* Of a session that is over, all. */
    bool goes_on = event->session == talker->session;
    ledger_cut(world->ledger, event->session, event->from,
               goes_on ? event->attachment : UINT32_MAX);
}

static void
on_event(struct talker *talker, const struct mchan_event *event)
{
    static const char *const names[] = {
        "UP",  "PEER_LOST", "SUSPENDING",  "RESUMED",
        "GAP", "DROPPED",   "PROTO_ERROR", "STRANGER"};
    struct moves *world = talker->world;
    const struct handoff_vm vm = vm_id(talker->vm);
    trace_add(&world->trace, called(talker),
              "%u of vm %u: %s attachment %u session %" PRIx64 " %" PRIu64
              "..%" PRIu64 " %s%s",
              talker->host, talker->vm, names[event->type], event->attachment,
              event->session, event->from, event->to,
              event->resumed ? "resumed " : "", event->reason);
    switch (event->type) {
    case MCHAN_UP:
        on_up(talker, event);
        break;
    case MCHAN_GAP:
    case MCHAN_DROPPED:
        on_told(talker, event);
        break;
    case MCHAN_STRANGER:
        (void)handoff_stranger(world->brokers[talker->host].handoff, &vm, event,
                               world->now);
        break;
    case MCHAN_PROTO_ERROR:
        /* A late tail that has a HELLO in it looks like one that goes on. */
        if (!talker->guest &&
            !strcmp(event->reason, "frame without the sync word")) {
            world->result->n_tails++;
            break;
        }
        moves_fail(world, "%s %u of vm %u: protocol error: %s", called(talker),
                   talker->host, talker->vm, event->reason);
        break;
    case MCHAN_PEER_LOST:
    case MCHAN_SUSPENDING:
    case MCHAN_RESUMED:
        break;
    }
}

/* Messages. */

static void
on_value(struct talker *talker, const uint8_t *data, size_t size)
{
    struct moves *world = talker->world;
    uint64_t value;
    if (size != sizeof value) {
        moves_fail(world, "a value of a wrong size");
        return;
    }
    memcpy(&value, data, sizeof value);
    talker->value = value;
    world->result->n_while_unsettled += talker->channel->session.unsettled;
}

static void
note_blackout(struct moves *world, uint32_t vm)
{
    struct machine_vm *machine = &world->vms[vm];
    struct moves_result *result = world->result;
    if (machine->runs_since) {
        nsec_t blackout = world->now - machine->runs_since;
        result->n_blackouts++;
        result->total_blackout += blackout;
        result->longest_blackout = blackout > result->longest_blackout
                                       ? blackout
                                       : result->longest_blackout;
        machine->runs_since = 0;
    }
}

static void
on_message(struct talker *talker, const uint8_t *data, size_t size,
           const struct mchan_info *info)
{
    struct moves *world = talker->world;
    struct ledger_note note;
    if (info->delivery == MCHAN_LATEST) {
        on_value(talker, data, size);
        return;
    }
    bool known = ledger_read(data, size, &note);
    if (known && !talker->guest && note.vm != talker->vm &&
        info->maybe_repeated) {
        return; /* Of a clone, and nobody is left who knows better. */
    }
    if (!known || note.vm != talker->vm || note.from_guest == talker->guest) {
        moves_fail(world, "%s %u of vm %u was given what is not for it",
                   called(talker), talker->host, talker->vm);
        return;
    }
    trace_add(&world->trace, called(talker),
              "%u of vm %u: given %" PRIu32 " of %u, number %" PRIu64 "%s",
              talker->host, talker->vm, note.serial, note.speaker,
              info->sequence, info->maybe_repeated ? ", maybe repeated" : "");
    bool flagged =
        info->maybe_repeated && world->config->plant != MOVES_PLANT_UNFLAGGED;
    if (flagged && !world->config->rough) {
        moves_fail(world, "flagged as perhaps repeated in calm times");
    }
    ledger_given(world->ledger, &note, talker->name,
                 talker->channel->session.id, info->sequence, flagged);
    if (!talker->guest) {
        note_blackout(world, talker->vm);
    }
}

static bool
listen_to(struct talker *talker)
{
    struct moves *world = talker->world;
    uint8_t data[BYTES_MAX];
    struct mchan_info info;
    struct mchan_event event;
    bool any = false;
    ssize_t got;
    int n = 0;
    while (talker->channel && mchan_next_event(talker->channel, &event)) {
        on_event(talker, &event);
        any = true;
    }
    if (world->now < talker->busy_until) {
        return any;
    }
    while (n++ < TURN_MAX &&
           (got = mchan_recv(talker->channel, data, sizeof data, &info)) >= 0) {
        on_message(talker, data, (size_t)got, &info);
        any = true;
        if (!moves_heals(world) && moves_chance(world, 0.02)) {
            talker->busy_until =
                world->now +
                moves_between(world, NSEC_PER_MSEC, 40 * NSEC_PER_MSEC);
            return true;
        }
    }
    return any;
}

static void
say_value(struct talker *talker)
{
    uint64_t value = ++talker->n_values;
    const struct mchan_msg msg = {
        .data = &value, .size = sizeof value, .delivery = MCHAN_LATEST};
    (void)mchan_send(talker->channel, &msg);
}

/* The note, and bytes that make messages of different sizes. */
static void
say_note(struct talker *talker)
{
    struct moves *world = talker->world;
    uint8_t data[BYTES_MAX] = {0};
    const struct ledger_note note = {.vm = (uint16_t)talker->vm,
                                     .speaker = talker->name,
                                     .serial = talker->serial + 1,
                                     .from_guest = talker->guest};
    ledger_write(data, &note);
    const struct mchan_msg msg = {
        .data = data, .size = LEDGER_NOTE_SIZE + prng_below(&world->prng, 300)};
    if (mchan_send(talker->channel, &msg)) {
        return;
    }
    talker->serial++;
    ledger_sent(world->ledger, &note, talker->channel->session.id,
                talker->channel->session.sent,
                talker->channel->session.attachment);
}

static bool
speak(struct talker *talker)
{
    struct moves *world = talker->world;
    if (world->now < talker->next_send) {
        return false;
    }
    talker->next_send =
        world->now + moves_between(world, NSEC_PER_MSEC, 30 * NSEC_PER_MSEC);
    if (world->now > world->healed + NSEC_PER_SEC) {
        talker->next_send = NSEC_NEVER;
    }
    for (uint64_t n = prng_below(&world->prng, 4); n > 0; n--) {
        say_note(talker);
    }
    if (moves_chance(world, 0.3) || talker->next_send == NSEC_NEVER) {
        say_value(talker);
    }
    return true;
}

bool
talker_turn(struct talker *talker)
{
    if (!talker->channel) {
        return false;
    }
    bool any = listen_to(talker);
    any |= speak(talker);
    any |= mchan_arm(talker->channel, MCHAN_READABLE) &&
           talker->world->now >= talker->busy_until;
    return any;
}

nsec_t
talker_deadline(const struct talker *talker)
{
    const struct moves *world = talker->world;
    if (!talker->channel) {
        return NSEC_NEVER;
    }
    nsec_t deadline =
        nsec_min(talker->next_send, mchan_deadline(talker->channel));
    if (talker->busy_until > world->now) {
        deadline = nsec_min(deadline, talker->busy_until);
    }
    return deadline;
}
