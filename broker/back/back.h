/* SPDX-License-Identifier: Apache-2.0 */
/* The back core: owns every M-channel to a guest, decodes what comes, refuses
 * what may not be said, stamps who spoke, and passes it to the engine.  Its
 * modules discovery, establishment, beats and termination are what any broker
 * reuses.  Runs in the back process of mbrokerd, and in msim. */
#ifndef BROKER_BACK_BACK_H
#define BROKER_BACK_BACK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/clock.h"

struct back;
struct broker_config;
struct mchan;
struct msg;
struct uuid;

struct back_env {
    /* Sends to the engine; 0 or -EAGAIN (input from guests then waits). */
    int (*to_engine)(void *ctx, const struct msg *);
    void *ctx;
    uint64_t start_count; /* For cause numbers. */
    /* The time, for beats and stamps; null: 'now' is used. */
    nsec_t (*clock)(void);
};

/* A guest's turn: then the next one's begins.  What it said too much counts
 * against its next. */
#define BACK_MESSAGES_PER_TURN 16
#define BACK_BYTES_PER_TURN 16384
#define BACK_USAGE_NS NSEC_PER_SEC /* Between two reports of a guest's use. */

int back_create(struct back **out, const struct broker_config *,
                const struct back_env *);
void back_destroy(struct back *); /* Says BYE to all agents; closes. */

/* Another configuration in the place of the one it was created with, in two
 * steps: first all that could fail (0 or -ENOMEM, and nothing changed), then,
 * when '*now' is the new one, the rest.  Guests are numbered by '*now' from
 * then on; those that it names no more are told BYE and closed, those that it
 * adds wait for their channels, and the others don't notice but for their
 * quotas.  What '*now' has is borrowed until the next. */
int back_prepare(struct back *, const struct broker_config *next);
void back_unprepare(struct back *);
void back_reconfigure(struct back *, const struct broker_config *now);
/* Whether the n-th guest has its channel. */
bool back_has_channel(const struct back *, uint32_t guest);
/* Its descriptor, or -1. */
int back_fd(const struct back *, uint32_t guest);

/* Gives the channel of the n-th guest of the configuration; takes it. */
void back_add_channel(struct back *, uint32_t guest, struct mchan *);
/* The channel of the n-th guest changed; looked at in the next turn. */
void back_mark_ready(struct back *, uint32_t guest);
/* A VM is another instance of itself since then (it was started anew, reset,
 * reverted or cloned): what it remembers of a session that began before counts
 * no more. */
void back_renew(struct back *, const struct uuid *vm, nsec_t since);
void back_run(struct back *, nsec_t now);
nsec_t back_deadline(const struct back *);
/* Whether the n-th guest's descriptor is to be waited on.  Not while it talks
 * too much or the engine takes nothing: it would be readable all the time. */
bool back_wants_input(const struct back *, uint32_t guest);

struct back_stats {
    uint64_t n_messages, n_refused, n_lost_agents;
    uint64_t n_throttled;       /* Turns in which a guest had to wait. */
    uint64_t n_dropped;         /* Telemetry beyond quotas; */
    uint64_t n_denied;          /* and requests. */
    uint64_t n_dropped_replies; /* The agent read nothing. */
};
void back_stats(const struct back *, struct back_stats *out);

#endif
