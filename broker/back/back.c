/* SPDX-License-Identifier: Apache-2.0 */
/* The back core: a table of guests, each with its channel and its session, and
 * a turn in which each that has something to say is heard for a while.  What
 * may be said is guest_session.c's and how much allowance.c's; here it is kept
 * fair: a guest has a number of messages and bytes per turn, what it said
 * beyond them counts against its next (deficit round robin), and a turn begins
 * with the guest for whom there was no room in the last.  While the engine
 * takes nothing no guest is heard, so that what they say waits in their own
 * channels. Called by role_back.c and msim. */
#include "broker/back/back.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "broker/back/allowance.h"
#include "broker/back/guest_session.h"
#include "broker/config/config.h"
#include "broker/outbox.h"
#include "include/mchan.h"
#include "model/cause.h"
#include "wire/grant.h"

#define OUTBOX_SIZE 128
#define ROOM_MIN 32
#define MESSAGE_MAX 65536  /* Of a channel's, whatever it says in HELLO. */
#define EVENTS_PER_TURN 16 /* Of one channel. */
#define ATTACHING_COST 800 /* In looks. */
#define IN_VAIN_COST 4     /* For waking us to nothing; likewise. */
#define RETRY_NS NSEC_PER_MSEC

struct guest {
    struct back *back;
    struct mchan *channel; /* Owned; null until it is given. */
    struct guest_session session;
    bool ready;          /* To be heard in the next turn. */
    uint32_t attachment; /* The session's. */
    nsec_t began;        /* That, as far as we heard. */
    /* Its agent is gone, but may have said something before. */
    bool leaving;
    char leaving_why[MCHAN_REASON_SIZE];
    struct allowance allowance;
    int64_t turn_bytes; /* Left of its turn; below 0: said too much in it. */
    int turn_messages;  /* Likewise. */
    bool cut;           /* Its turn goes on: there was no room for more. */
    nsec_t waits_until; /* It sent too much; 0: it did not. */
    uint64_t n_waits;
    struct msg_guest_usage told; /* What the engine knows of its use. */
    bool unsaid;                 /* There is more to know, */
    nsec_t tell_usage;           /* but not before. */
    uint64_t n_looked;           /* Messages taken from its channel. */
    uint64_t channel_bytes;      /* That takes, as of its last event. */
};

struct back {
    struct back_env env;
    struct cause_counter causes;
    struct outbox outbox;
    uint32_t n_guests, first; /* 'first' in the next turn. */
    struct guest **guests;
    /* Of the configuration that is prepared: those it adds, and a list. */
    struct guest **fresh, **list;
    uint32_t n_fresh;
    nsec_t last_try;
    struct back_stats stats;
    uint8_t buffer[MESSAGE_MAX];
};

static void end_guest(struct guest *, const char *reason);
static void begin_turn(struct guest *);
static void hear_guest(struct guest *, nsec_t now);
static bool hear_messages(struct guest *, nsec_t now);
static bool hear_event(struct guest *, nsec_t now);
static void leave(struct guest *, nsec_t now);
static void say_over(struct guest *, unsigned tag, nsec_t now);
static void say(struct guest *, unsigned tag, size_t size, nsec_t now);
static void hear_held(struct guest *, nsec_t now);
static struct msg_guest_usage usage_of(const struct guest *);
static void note_usage(struct guest *, nsec_t now);
static void tell_usage(struct guest *);
static bool has_room(const struct back *);
static int to_agent(void *ctx, const struct msg *, unsigned version);
static void to_engine(void *ctx, const struct msg *);

int
back_create(struct back **out, const struct broker_config *config,
            const struct back_env *env)
{
    struct back *back = calloc(1, sizeof *back);
    if (!back) {
        return -ENOMEM;
    }
    if (outbox_init(&back->outbox, OUTBOX_SIZE)) {
        free(back);
        return -ENOMEM;
    }

    back->env = *env;
    cause_counter_init(&back->causes, env->start_count, false);
    if (back_prepare(back, config)) {
        back_destroy(back);
        return -ENOMEM;
    }
    back_reconfigure(back, config);
    *out = back;
    return 0;
}

void
back_destroy(struct back *back)
{
    if (!back) {
        return;
    }
    back_unprepare(back);
    for (uint32_t i = 0; i < back->n_guests; i++) {
        end_guest(back->guests[i], "the broker stops");
    }
    outbox_fini(&back->outbox);
    free(back->guests);
    free(back);
}

static void
end_guest(struct guest *guest, const char *reason)
{
    guest_session_end(&guest->session, reason);
    mchan_close(guest->channel);
    allowance_fini(&guest->allowance);
    free(guest);
}

void
back_add_channel(struct back *back, uint32_t guest, struct mchan *channel)
{
    assert(guest < back->n_guests);
    assert(!back->guests[guest]->channel);
    back->guests[guest]->channel = channel;
    back->guests[guest]->ready = true;
}

void
back_mark_ready(struct back *back, uint32_t guest)
{
    assert(guest < back->n_guests);
    back->guests[guest]->ready = true;
}

void
back_renew(struct back *back, const struct uuid *vm, nsec_t since)
{
    for (uint32_t i = 0; i < back->n_guests; i++) {
        struct guest *guest = back->guests[i];

        if (guest->channel && guest->began < since &&
            uuid_equal(&guest->session.identity.uuid, vm)) {
            (void)mchan_forget(guest->channel);
            guest->ready = true;
        }
    }
}

void
back_run(struct back *back, nsec_t now)
{
    back->last_try = now;
    outbox_flush(&back->outbox, back->env.to_engine, back->env.ctx);
    uint32_t first = back->first;
    bool whole = true; /* There was room for all so far. */
    for (uint32_t i = 0; i < back->n_guests; i++) {
        uint32_t index = (first + i) % back->n_guests;
        struct guest *guest = back->guests[index];

        if (whole && !has_room(back)) {
            whole = false;
            back->first = index;
        }
        if (guest->allowance.n_held) {
            hear_held(guest, now);
            note_usage(guest, now);
        }
        if (guest->channel && guest->ready && now >= guest->waits_until) {
            hear_guest(guest, now);
            note_usage(guest, now);
        }
        if (whole && guest->cut) {
            whole = false;
            back->first = index;
        }
        if (has_room(back)) {
            guest_session_run(&guest->session, now);
            if (guest->unsaid && now >= guest->tell_usage) {
                tell_usage(guest);
            }
        }
    }
    if (whole && back->n_guests) {
        back->first = (first + 1) % back->n_guests;
    }
    outbox_flush(&back->outbox, back->env.to_engine, back->env.ctx);
}

/* While a guest waits nothing is done for its channel, however late. */
static nsec_t
channel_deadline(const struct guest *guest)
{
    nsec_t due =
        guest->ready ? guest->back->last_try : mchan_deadline(guest->channel);

    return due > guest->waits_until ? due : guest->waits_until;
}

/* A guest that is ready and may speak is heard at once; one that spoke too much
 * when it may again.  With the engine's channel full, trying to send is all
 * there is to do. */
nsec_t
back_deadline(const struct back *back)
{
    nsec_t deadline = back->outbox.n ? back->last_try + RETRY_NS : NSEC_NEVER;

    if (!has_room(back)) {
        return deadline;
    }
    for (uint32_t i = 0; i < back->n_guests; i++) {
        const struct guest *guest = back->guests[i];

        deadline = nsec_min(deadline, guest_session_deadline(&guest->session));
        deadline = nsec_min(
            deadline, allowance_deadline(&guest->allowance, back->last_try));
        if (guest->unsaid) {
            deadline = nsec_min(deadline, guest->tell_usage);
        }
        if (guest->channel) {
            deadline = nsec_min(deadline, channel_deadline(guest));
        }
    }
    return deadline;
}

bool
back_wants_input(const struct back *back, uint32_t guest)
{
    assert(guest < back->n_guests);
    return has_room(back) && !back->guests[guest]->waits_until;
}

void
back_stats(const struct back *back, struct back_stats *out)
{
    *out = back->stats;
    for (uint32_t i = 0; i < back->n_guests; i++) {
        const struct guest_session *session = &back->guests[i]->session;

        out->n_messages += session->n_messages;
        out->n_refused += session->n_refused;
        out->n_lost_agents += session->n_lost;
        out->n_dropped_replies += session->n_dropped_replies;
        out->n_dropped += back->guests[i]->allowance.n_dropped;
        out->n_denied += back->guests[i]->allowance.n_denied;
    }
}

/* Which guests there are. */

static struct guest *
find_guest(const struct back *back, const struct uuid *uuid)
{
    for (uint32_t i = 0; i < back->n_guests; i++) {
        if (uuid_equal(&back->guests[i]->session.identity.uuid, uuid)) {
            return back->guests[i];
        }
    }
    return NULL;
}

int
back_prepare(struct back *back, const struct broker_config *next)
{
    back_unprepare(back);
    back->list = calloc(next->n_guests + 1, sizeof *back->list);
    back->fresh = calloc(next->n_guests + 1, sizeof *back->fresh);
    bool ok = back->list && back->fresh;
    for (uint32_t i = 0; i < next->n_guests && ok; i++) {
        if (!find_guest(back, &next->guests[i].uuid)) {
            struct guest *guest = calloc(1, sizeof *guest);

            ok = guest != NULL;
            if (ok) {
                back->fresh[back->n_fresh++] = guest;
            }
        }
    }
    if (!ok) {
        back_unprepare(back);
        return -ENOMEM;
    }
    return 0;
}

void
back_unprepare(struct back *back)
{
    for (uint32_t i = 0; i < back->n_fresh; i++) {
        free(back->fresh[i]);
    }
    free(back->fresh);
    free(back->list);
    back->fresh = back->list = NULL;
    back->n_fresh = 0;
}

static void
begin_guest(struct back *back, struct guest *guest,
            const struct broker_config *config, const struct guest_config *own)
{
    const struct discovery_identity identity = {.uuid = own->uuid,
                                                .name = own->name};
    const struct quota_config quota = config_quota(config, own);
    const struct guest_session_port port = {.ctx = guest,
                                            .to_agent = to_agent,
                                            .event = to_engine,
                                            .clock = back->env.clock,
                                            .causes = &back->causes};

    guest->back = back;
    allowance_init(&guest->allowance, &quota);
    guest_session_init(&guest->session, &identity, config->domain,
                       config->beat_ns, &port);
    guest->told = usage_of(guest);
}

void
back_reconfigure(struct back *back, const struct broker_config *now)
{
    struct guest **list = back->list;
    uint32_t n_used = 0;

    for (uint32_t i = 0; i < now->n_guests; i++) {
        const struct guest_config *own = &now->guests[i];

        list[i] = find_guest(back, &own->uuid);
        if (list[i]) {
            const struct quota_config quota = config_quota(now, own);

            list[i]->session.identity.name = own->name;
            allowance_set_quota(&list[i]->allowance, &quota);
        } else {
            list[i] = back->fresh[n_used++];
            begin_guest(back, list[i], now, own);
        }
    }
    assert(n_used == back->n_fresh);
    for (uint32_t i = 0; i < back->n_guests; i++) {
        if (!config_guest(now, &back->guests[i]->session.identity.uuid)) {
            end_guest(back->guests[i], "the configuration names it no more");
        }
    }
    free(back->guests);
    back->guests = list;
    back->n_guests = now->n_guests;
    back->first = 0;
    back->list = NULL;
    back->n_fresh = 0; /* They are in the list. */
    back_unprepare(back);
}

bool
back_has_channel(const struct back *back, uint32_t guest)
{
    assert(guest < back->n_guests);
    return back->guests[guest]->channel != NULL;
}

int
back_fd(const struct back *back, uint32_t guest)
{
    assert(guest < back->n_guests);
    const struct mchan *channel = back->guests[guest]->channel;

    return channel ? mchan_fd(channel) : -1;
}

/* One guest's turn. */

/* What somebody said before he left is heard before that he left. */
static void
hear_guest(struct guest *guest, nsec_t now)
{
    uint64_t n_before = guest->n_looked;

    guest->waits_until = 0;
    begin_turn(guest);
    for (int i = 0; i < EVENTS_PER_TURN; i++) {
        if (!hear_messages(guest, now)) {
            return;
        }
        leave(guest, now);
        if (!hear_event(guest, now)) {
            if (!i && guest->n_looked == n_before) {
                allowance_looked(&guest->allowance, IN_VAIN_COST, now);
            }
            guest->ready = mchan_arm(guest->channel, MCHAN_READABLE) > 0;
            return;
        }
    }
}

static void
begin_turn(struct guest *guest)
{
    if (guest->cut) {
        guest->cut = false;
        return;
    }
    guest->turn_messages = BACK_MESSAGES_PER_TURN;
    guest->turn_bytes += BACK_BYTES_PER_TURN;
    if (guest->turn_bytes > BACK_BYTES_PER_TURN) {
        guest->turn_bytes = BACK_BYTES_PER_TURN;
    }
}

/* Returns true if nothing is left; false if it has to wait for its next turn,
 * for credit or for the engine. */
static bool
hear_messages(struct guest *guest, nsec_t now)
{
    struct back *back = guest->back;

    while (guest->turn_messages > 0 && guest->turn_bytes > 0) {
        struct mchan_info info;

        if (!has_room(back)) {
            guest->cut = true;
            return false;
        }
        if (allowance_looks_wait(&guest->allowance, 1, now)) {
            guest->waits_until =
                now + allowance_looks_wait(&guest->allowance,
                                           BACK_MESSAGES_PER_TURN, now);
            guest->n_waits++;
            back->stats.n_throttled++;
            return false;
        }
        ssize_t size = mchan_recv(guest->channel, back->buffer,
                                  sizeof back->buffer, &info);
        if (size < 0) {
            return true;
        }
        /* Of a new attachment, whose UP was not collected yet: then all of the
         * old one was heard. */
        for (int j = 0;
             info.attachment != guest->attachment && j < EVENTS_PER_TURN; j++) {
            leave(guest, now);
            hear_event(guest, now);
        }
        guest->n_looked++;
        guest->turn_messages--;
        guest->turn_bytes -= size;
        allowance_looked(&guest->allowance,
                         1 + (uint32_t)size / ALLOWANCE_LOOK_BYTES, now);
        say(guest, info.tag, (size_t)size, now);
    }
    return false;
}

static void
say_over(struct guest *guest, unsigned tag, nsec_t now)
{
    const struct allowance *allowance = &guest->allowance;

    guest_session_over(&guest->session, tag, &allowance->quota,
                       allowance->n_denied, allowance->n_dropped, now);
}

/* Returns whether there was one. */
static bool
hear_event(struct guest *guest, nsec_t now)
{
    char reason[GUEST_SESSION_REASON_SIZE];
    struct mchan_event event;
    struct mchan_stats stats;

    if (mchan_next_event(guest->channel, &event) <= 0) {
        return false;
    }
    mchan_stats(guest->channel, &stats, sizeof stats);
    guest->channel_bytes = stats.memory_bytes;
    switch (event.type) {
    case MCHAN_UP:
        leave(guest, now);
        guest->attachment = event.attachment;
        allowance_looked(&guest->allowance, ATTACHING_COST, now);
        if (event.resumed) {
            guest_session_resumed(&guest->session, now);
        } else {
            guest->began = now;
            guest_session_attached(&guest->session, now);
        }
        break;
    case MCHAN_PEER_LOST:
        guest->leaving = true;
        memcpy(guest->leaving_why, event.reason, sizeof event.reason);
        break;
    case MCHAN_PROTO_ERROR:
        snprintf(reason, sizeof reason, "it broke the channel: %s",
                 event.reason);
        guest_session_misused(&guest->session, reason, now);
        break;
    case MCHAN_GAP:
        guest_session_misused(&guest->session, "messages of its are missing",
                              now);
        break;
    case MCHAN_SUSPENDING:
        guest_session_suspended(&guest->session, true, now);
        break;
    case MCHAN_RESUMED:
        /* Another one, without an UP, if it moved. */
        guest->attachment = event.attachment;
        guest_session_suspended(&guest->session, false, now);
        break;
    case MCHAN_DROPPED:
    case MCHAN_STRANGER:
        break;
    }
    return true;
}

static void
leave(struct guest *guest, nsec_t now)
{
    if (guest->leaving) {
        guest->leaving = false;
        allowance_forget(&guest->allowance);
        guest_session_detached(&guest->session, guest->leaving_why, now);
    }
}

/* A message, in the buffer, goes to the session within its quota.  What is not
 * granted goes there too, to be refused.  Who begins or ends a conversation has
 * nothing left to say in the one before. */
static void
say(struct guest *guest, unsigned tag, size_t size, nsec_t now)
{
    const struct grant *grant = grant_find(tag, GRANT_AGENT, GRANT_BACK);
    struct allowance *allowance = &guest->allowance;
    const void *data = guest->back->buffer;

    if (grant && size <= grant->size) {
        switch (allowance_ask(allowance, grant, size, now)) {
        case ALLOWANCE_HEAR:
            break;
        case ALLOWANCE_KEEP:
            allowance_keep(allowance, tag, data, size);
            say_over(guest, tag, now);
            return;
        case ALLOWANCE_DROP:
        case ALLOWANCE_REFUSE:
            say_over(guest, tag, now);
            return;
        }
    }
    if (tag == MSG_HELLO || tag == MSG_BYE) {
        allowance_forget(allowance);
    }
    guest_session_input(&guest->session, tag, data, size, now);
}

static void
hear_held(struct guest *guest, nsec_t now)
{
    struct back *back = guest->back;
    unsigned tag;
    size_t size;

    for (int i = 0;
         i < BACK_MESSAGES_PER_TURN && has_room(back) &&
         allowance_next(&guest->allowance, &tag, back->buffer, &size, now);
         i++) {
        guest_session_input(&guest->session, tag, back->buffer, size, now);
    }
}

static struct msg_guest_usage
usage_of(const struct guest *guest)
{
    const struct allowance *allowance = &guest->allowance;

    return (struct msg_guest_usage){.vm = guest->session.identity.uuid,
                                    .n_messages = allowance->n_heard,
                                    .n_bytes = allowance->n_heard_bytes,
                                    .n_dropped = allowance->n_dropped,
                                    .n_denied = allowance->n_denied,
                                    .n_refused = guest->session.n_refused,
                                    .n_waits = guest->n_waits,
                                    .memory_bytes =
                                        sizeof *guest + guest->channel_bytes +
                                        allowance_memory(allowance)};
}

/* After it was heard: whether there is news for the engine, which then comes
 * with what else comes in a second. */
static void
note_usage(struct guest *guest, nsec_t now)
{
    const struct msg_guest_usage usage = usage_of(guest);

    if (!guest->unsaid && memcmp(&guest->told, &usage, sizeof usage)) {
        guest->unsaid = true;
        guest->tell_usage = now + BACK_USAGE_NS;
    }
}

static void
tell_usage(struct guest *guest)
{
    struct msg msg;

    msg.type = MSG_GUEST_USAGE;
    msg.guest_usage = guest->told = usage_of(guest);
    guest->unsaid = false;
    to_engine(guest, &msg);
}

/* What comes of one message and the events before it, or of one event, never
 * needs more. */
static bool
has_room(const struct back *back)
{
    static_assert(ROOM_MIN >= EVENTS_PER_TURN + GUEST_SESSION_EVENTS_MAX +
                                  OUTBOX_LARGEST,
                  "a message and the events before it fit");
    return outbox_room(&back->outbox) >= ROOM_MIN;
}

/* The session's port. */

static int
to_agent(void *ctx, const struct msg *msg, unsigned version)
{
    struct guest *guest = ctx;
    uint8_t data[MSG_SIZE_MAX];

    ssize_t size = msg_encode(msg, version, data, sizeof data, NULL, 0);
    if (size < 0) {
        return (int)size;
    }
    if (!guest->channel) {
        return -ENOTCONN;
    }
    struct mchan_msg out = {.data = data,
                            .size = (size_t)size,
                            .tag = (uint16_t)msg->type,
                            .delivery = MCHAN_RELIABLE};
    return mchan_send(guest->channel, &out);
}

static void
to_engine(void *ctx, const struct msg *msg)
{
    struct guest *guest = ctx;
    struct back *back = guest->back;

    int error = outbox_add(&back->outbox, msg);
    assert(!error); /* has_room() was asked. */
    outbox_flush(&back->outbox, back->env.to_engine, back->env.ctx);
}
