/* SPDX-License-Identifier: Apache-2.0 */
/* A broker's conversation with one agent: establishment, what may be said in
 * it, and termination.  No I/O and no clock: bytes and moments come in,
 * messages go out through a port.  Any broker reuses it, with discovery and
 * beats. */
#ifndef BROKER_BACK_GUEST_SESSION_H
#define BROKER_BACK_GUEST_SESSION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/clock.h"
#include "broker/back/beats.h"
#include "broker/back/discovery.h"
#include "broker/config/config.h"
#include "model/cause.h"
#include "wire/msg.h"

#define GUEST_SESSION_EVENTS_MAX 4          /* That one call may cause. */
#define GUEST_SESSION_ALARM_NS NSEC_PER_SEC /* Between two alarms. */
#define GUEST_SESSION_REASON_SIZE 161
/* Between two words about the same: to the agent, and to the engine. */
#define GUEST_SESSION_DENIED_NS NSEC_PER_SEC
#define GUEST_SESSION_OVER_NS (30 * NSEC_PER_SEC)
/* An agent may come this often at once, and then once in that time: each time
 * it comes and goes the policies begin anew with its VM, which moves p-states
 * that other VMs share. */
#define GUEST_SESSION_COMINGS_MAX 20
#define GUEST_SESSION_COMING_NS (2 * NSEC_PER_SEC)

/* How long an agent may say that its VM is about to move. */
#define GUEST_SESSION_QUIET_NS (60 * NSEC_PER_SEC)

enum guest_phase {
    GUEST_ABSENT,   /* Nobody is attached. */
    GUEST_GREETING, /* Somebody is, and must say HELLO first. */
    GUEST_ESTABLISHED,
    GUEST_SILENT,  /* Was established, missed its beats or lost its channel;
                      may come back. */
    GUEST_REFUSED, /* Nothing it says is heard until it attaches anew. */
};

struct guest_session_port {
    void *ctx;
    /* To the agent; a failure is counted, not repeated. */
    int (*to_agent)(void *ctx, const struct msg *, unsigned version);
    /* To the engine, stamped.  The caller made sure that there is room for
     * GUEST_SESSION_EVENTS_MAX. */
    void (*event)(void *ctx, const struct msg *);
    /* Fresh time, for beats; null: 'now' is used. */
    nsec_t (*clock)(void);
    struct cause_counter *causes; /* Borrowed for the session's life. */
};

struct guest_session {
    struct discovery_identity identity;
    const char *domain; /* Of mgmt:// names; borrowed. */
    nsec_t beat_ns;
    struct guest_session_port port;
    enum guest_phase phase;
    nsec_t quiet_until;      /* It may be silent, since its VM moves. */
    bool was_established;    /* When it was last attached. */
    bool may_be_old;         /* What comes before HELLO may be from before; */
    uint32_t n_old;          /* so many messages were. */
    struct discovered agent; /* Of the last HELLO accepted. */
    struct beats beats;
    nsec_t comings; /* When all of its comings are forgotten. */
    bool alarm_due;
    nsec_t next_alarm;
    char alarm[GUEST_SESSION_REASON_SIZE];
    bool denied_due; /* It is to be told that it was not heard. */
    nsec_t next_denied, next_over_alarm;
    struct msg_denied denied;
    uint64_t n_messages, n_refused, n_lost, n_dropped_replies;
};

/* 'identity' is copied, its name and 'domain' are borrowed. */
void guest_session_init(struct guest_session *,
                        const struct discovery_identity *identity,
                        const char *domain, nsec_t beat_ns,
                        const struct guest_session_port *);

/* Somebody attached to the channel, or the one who had left it came back and
 * goes on where he was, or he left it. */
void guest_session_attached(struct guest_session *, nsec_t now);
void guest_session_resumed(struct guest_session *, nsec_t now);
/* Its VM is about to move, so its silence means nothing; and no longer. */
void guest_session_suspended(struct guest_session *, bool, nsec_t now);
void guest_session_detached(struct guest_session *, const char *reason,
                            nsec_t now);
/* A stranger's bytes. */
void guest_session_input(struct guest_session *, unsigned tag, const void *data,
                         size_t size, nsec_t now);
/* The channel itself was misused. */
void guest_session_misused(struct guest_session *, const char *reason,
                           nsec_t now);
/* It said something of that type that was within its rights and beyond its
 * quota; so many requests were refused and so much telemetry was dropped since
 * the start.  It is told so, now and then, and so is the engine; nothing else
 * comes of it, but that it is alive. */
void guest_session_over(struct guest_session *, unsigned tag,
                        const struct quota_config *, uint64_t n_denied,
                        uint64_t n_dropped, nsec_t now);
/* Listens for silence.  To be called in each turn, after the input. */
void guest_session_run(struct guest_session *, nsec_t now);
nsec_t guest_session_deadline(const struct guest_session *);
/* Says BYE. */
void guest_session_end(struct guest_session *, const char *reason);

#endif
