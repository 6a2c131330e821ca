/* SPDX-License-Identifier: Apache-2.0 */
/* Brokers in msim's moves: one listening end and user per VM, one handoff, and
 * the post between brokers, which loses, delays and doubles what is said.  The
 * glue here is what a broker has to do: carry out the handoff's actions on its
 * channels.  Called by moves.c. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "channel/channel.h"
#include "channel/handoff/parcel.h"
#include "sim/movesparts.h"
#include "transport/sim.h"

#define PARCEL_ROOM 65536

void
place_name(char *out, size_t size, uint32_t vm, uint32_t host)
{
    snprintf(out, size, "vm%u@%u", vm, host);
}

static void
listen_at(struct moves *world, uint32_t host, uint32_t vm)
{
    struct talker *talker = &world->brokers[host].talkers[vm];
    struct mchan_opts opts = MCHAN_OPTS_INIT;
    char uri[64] = "sim:";
    place_name(uri + 4, sizeof uri - 4, vm, host);
    talker->vm = vm;
    talker->host = host;
    talker_name(world, talker);
    opts.now_ns = moves_clock;
    opts.now_ctx = world;
    opts.seed = prng_u64(&world->prng) | 1;
    opts.sim = world->network;
    opts.handoff_ms = 2000;
    opts.ring_size = RING_SIZE;
    if (mchan_listen(&talker->channel, uri, &opts)) {
        talker->channel = NULL;
        moves_fail(world, "no channel at %s", uri);
    }
}

void
broker_start(struct moves *world, uint32_t host)
{
    struct broker *broker = &world->brokers[host];
    const struct handoff_opts opts = {.n_peers = world->config->n_brokers,
                                      .self = host,
                                      .n_vms_max = MOVES_VMS_MAX};
    trace_add(&world->trace, "msim", "broker %u starts", host);
    broker->lives++;
    broker->returns = NSEC_NEVER;
    broker->dies = NSEC_NEVER;
    if (world->config->rough && moves_by_chance(world) && !moves_heals(world) &&
        broker->lives < 20) {
        broker->dies = world->now + moves_between(world, 0, 8 * NSEC_PER_SEC);
    }
    if (handoff_create(&broker->handoff, &opts)) {
        broker->handoff = NULL;
        moves_fail(world, "no memory for a handoff");
        return;
    }
    for (uint32_t vm = 0; vm < world->config->n_vms; vm++) {
        char place[64];
        place_name(place, sizeof place, vm, host);
        sim_network_set_down(world->network, place, false);
        listen_at(world, host, vm);
    }
    host_begin_anew(world, host);
}

static void
add_up(struct moves *world, const struct handoff *handoff)
{
    struct handoff_stats stats;
    handoff_stats(handoff, &stats);
    world->result->n_taken += stats.n_taken;
    world->result->n_given_up += stats.n_given_up;
    world->result->n_late += stats.n_late;
    world->result->n_dropped_sides += stats.n_dropped;
    world->result->n_disputed += stats.n_disputed;
}

/* It dies without a word and forgets everything. */
void
broker_crash(struct moves *world, uint32_t host)
{
    struct broker *broker = &world->brokers[host];
    if (!broker->handoff) {
        return;
    }
    trace_add(&world->trace, "msim", "broker %u dies", host);
    add_up(world, broker->handoff);
    for (uint32_t vm = 0; vm < world->config->n_vms; vm++) {
        char place[64];
        place_name(place, sizeof place, vm, host);
        sim_network_set_down(world->network, place, true);
        mchan_close(broker->talkers[vm].channel);
        broker->talkers[vm].channel = NULL;
    }
    handoff_destroy(broker->handoff);
    broker->handoff = NULL;
}

/* Actions. */

/* Packs a parcel again as somebody would who makes a mistake. */
static size_t
falsify(const struct moves *world, uint8_t *data, size_t size)
{
    static uint8_t again[PARCEL_ROOM];
    enum moves_plant plant = world->config->plant;
    struct parcel_reader reader;
    struct parcel_writer writer;
    struct parcel_record record;
    const uint8_t *bytes;
    const char *why;
    if (parcel_open(&reader, data, size, &why)) {
        return size;
    }
    struct parcel head = reader.head;
    if (plant == MOVES_PLANT_SHORT && head.sent > head.acked) {
        head.sent--;
    } else if (plant == MOVES_PLANT_BEHIND && head.delivered) {
        head.delivered--;
        head.done = head.delivered;
    } else if (plant == MOVES_PLANT_AHEAD) {
        head.delivered++;
    }
    parcel_begin(&writer, again, sizeof again, &head);
    while ((bytes = parcel_next(&reader, &record))) {
        if (record.to <= head.sent) {
            parcel_add(&writer, &record, bytes);
        }
    }
    size = parcel_end(&writer);
    memcpy(data, again, size);
    return size;
}

static void
export_session(struct moves *world, uint32_t host,
               const struct handoff_action *action)
{
    static uint8_t data[PARCEL_ROOM];
    struct broker *broker = &world->brokers[host];
    struct talker *talker = &broker->talkers[action->vm.uuid[0] - 1];
    (void)mchan_suspend(talker->channel); /* It may be already. */
    ssize_t size = mchan_export(talker->channel, data, sizeof data);
    trace_add(&world->trace, "broker", "%u exports vm %u: %zd bytes", host,
              talker->vm, size);
    if (size < 0) {
        handoff_exported(broker->handoff, &action->vm, NULL, 0, NULL, 0,
                         world->now);
        return;
    }
    if (world->config->plant == MOVES_PLANT_BOTH) {
        (void)mchan_import(talker->channel, data, (size_t)size);
    }
    if (world->config->plant != MOVES_SOUND) {
        size = (ssize_t)falsify(world, data, (size_t)size);
    }
    handoff_exported(broker->handoff, &action->vm, data, (size_t)size, "notes",
                     5, world->now);
}

static void
act(struct moves *world, uint32_t host, const struct handoff_action *action)
{
    static const char *const names[] = {"export", "import", "give up", "refuse",
                                        "drop"};
    struct broker *broker = &world->brokers[host];
    struct talker *talker = &broker->talkers[action->vm.uuid[0] - 1];
    int error = 0;
    trace_add(&world->trace, "broker", "%u is to %s vm %u", host,
              names[action->what], talker->vm);
    switch (action->what) {
    case HANDOFF_EXPORT:
        export_session(world, host, action);
        break;
    case HANDOFF_IMPORT:
        error =
            mchan_import(talker->channel, action->parcel, action->parcel_size);
        if (action->notes_size != 5 || memcmp(action->notes, "notes", 5)) {
            moves_fail(world, "notes got lost");
        }
        handoff_imported(broker->handoff, &action->vm, error, world->now);
        break;
    case HANDOFF_GIVE_UP:
        error = mchan_import(talker->channel, NULL, 0);
        break;
    case HANDOFF_REFUSE:
        error = mchan_import(talker->channel, "", 0);
        break;
    case HANDOFF_DROP:
        error = mchan_forget(talker->channel);
        break;
    }
    if (error) {
        trace_add(&world->trace, "broker", "%u: %s", host, strerror(-error));
    }
}

/* The post. */

static uint8_t *
copy(const void *data, size_t size)
{
    uint8_t *bytes = malloc(size ? size : 1);
    if (!bytes) {
        abort();
    }
    if (size) {
        memcpy(bytes, data, size);
    }
    return bytes;
}

static void
post(struct moves *world, uint32_t from, const struct handoff_msg *msg)
{
    if (world->n_letters == LETTERS_MAX) {
        return;
    }
    struct letter *letter = &world->letters[world->n_letters++];
    nsec_t longest = moves_chance(world, 0.1) && !moves_heals(world)
                         ? 200 * NSEC_PER_MSEC
                         : 3 * NSEC_PER_MSEC;
    letter->due = world->now + moves_between(world, 100000, longest);
    letter->to = msg->peer;
    letter->msg = *msg;
    letter->msg.peer = from;
    letter->msg.parcel = copy(msg->parcel, msg->parcel_size);
    letter->msg.notes = copy(msg->notes, msg->notes_size);
}

static void
send_letter(struct moves *world, uint32_t from, const struct handoff_msg *msg)
{
    static const char *const names[] = {
        "PULL",    "HERE",  "NOT_YET", "UNKNOWN", "ASK",
        "FOREIGN", "TAKEN", "OK",      "KEEPS",   "PASS"};
    bool cut = world->brokers[from].cut_off_until[msg->peer] > world->now;
    bool lost = cut || (moves_by_chance(world) && !moves_heals(world) &&
                        moves_chance(world, 0.15));
    trace_add(&world->trace, "post",
              "%u to %u: %s vm %u key %u attachment %u whom %u%s", from,
              msg->peer, names[msg->kind], msg->vm.uuid[0] - 1, msg->key,
              msg->attachment, msg->whom, lost ? ", lost" : "");
    if (lost) {
        return;
    }
    post(world, from, msg);
    if (moves_chance(world, 0.1)) {
        post(world, from, msg);
    }
}

static void
free_letter(struct letter *letter)
{
    free((void *)(uintptr_t)letter->msg.parcel);
    free((void *)(uintptr_t)letter->msg.notes);
}

void
post_deliver(struct moves *world)
{
    for (uint32_t i = 0; i < world->n_letters;) {
        struct letter letter = world->letters[i];
        if (letter.due > world->now) {
            i++;
            continue;
        }
        world->letters[i] = world->letters[--world->n_letters];
        struct handoff *to = world->brokers[letter.to].handoff;
        if (to) {
            handoff_on_msg(to, &letter.msg, world->now);
        }
        free_letter(&letter);
    }
}

nsec_t
post_deadline(const struct moves *world)
{
    nsec_t deadline = NSEC_NEVER;
    for (uint32_t i = 0; i < world->n_letters; i++) {
        deadline = nsec_min(deadline, world->letters[i].due);
    }
    return deadline;
}

void
post_clear(struct moves *world)
{
    while (world->n_letters) {
        free_letter(&world->letters[--world->n_letters]);
    }
}

/* Turns. */

bool
broker_turn(struct moves *world, uint32_t host)
{
    struct broker *broker = &world->brokers[host];
    struct handoff_action action;
    struct handoff_msg msg;
    bool any = false;
    for (uint32_t vm = 0; broker->handoff && vm < world->config->n_vms; vm++) {
        any |= talker_turn(&broker->talkers[vm]);
    }
    if (!broker->handoff) {
        return false;
    }
    handoff_run(broker->handoff, world->now);
    while (handoff_next_action(broker->handoff, &action)) {
        act(world, host, &action);
        any = true;
    }
    while (handoff_next_msg(broker->handoff, &msg)) {
        send_letter(world, host, &msg);
        any = true;
    }
    return any;
}

/* Deaths, returns, and who can't reach whom. */
void
broker_run(struct moves *world, uint32_t host)
{
    struct broker *broker = &world->brokers[host];
    if (moves_heals(world)) {
        broker->dies = NSEC_NEVER;
    }
    if (broker->handoff && broker->dies <= world->now) {
        world->result->n_crashes++;
        broker_crash(world, host);
        broker->dies = NSEC_NEVER;
        broker->returns = world->now + moves_between(world, 50 * NSEC_PER_MSEC,
                                                     3 * NSEC_PER_SEC);
        broker->returns = nsec_min(broker->returns, world->healed);
    }
    if (!broker->handoff && broker->returns <= world->now) {
        broker_start(world, host);
    }
}
