/* SPDX-License-Identifier: Apache-2.0 */
/* The agent's half of the conversation with the broker: HELLO and what is
 * answered, beats, notices and reports, BYE.  It decides nothing about SLAs and
 * knows no probe; agent.c gives it epochs and it tells them. */
#ifndef AGENT_DIALOG_H
#define AGENT_DIALOG_H

#include <stdbool.h>
#include <stdint.h>

#include "agent/agent.h"
#include "agent/beatlog.h"
#include "agent/notebox.h"
#include "wire/grant.h"
#include "wire/msg.h"

/* After HELLO without an answer, and after a refusal, doubling each time. */
#define DIALOG_ANSWER_MAX (5 * NSEC_PER_SEC)
#define DIALOG_RETRY_MIN (1 * NSEC_PER_SEC)
#define DIALOG_RETRY_MAX (60 * NSEC_PER_SEC)
/* So many beats without an answer, and people are told. */
#define DIALOG_SILENT_BEATS 3
/* The largest message a channel can bring: a broker that sends a larger one
 * than the protocol has is refused, not waited for. */
#define DIALOG_BUFFER_SIZE 65536

enum dialog_state {
    DIALOG_AWAY,        /* No broker at the other end. */
    DIALOG_GREETING,    /* HELLO is to be said, or was, or again. */
    DIALOG_ESTABLISHED, /* We were welcomed. */
    DIALOG_STOPPED,     /* We said BYE, or would have. */
};

/* An epoch to be told. */
struct dialog_epoch {
    struct sla_result result;
    uint32_t util_permille;
    uint64_t n_refused;
};

/* Allocated by the agent, which reads the counts only. */
struct dialog {
    struct mchan *channel; /* Owned. */
    const struct agent_env *env;
    const struct sla_terms *terms;
    struct msg_hello hello; /* Ready but for its time. */

    enum dialog_state state;
    bool goes_on;     /* AWAY, but established if the session is resumed. */
    bool suspended;   /* The VM is about to move; no beats. */
    bool ready;       /* The channel wants to be looked at. */
    bool full;        /* It took no more; go on when it can. */
    unsigned version; /* The protocol's, once established. */
    nsec_t hello_at;  /* When to say HELLO (again). */
    nsec_t retry;     /* The next wait after a refusal. */
    nsec_t retry_at;  /* Not before. */
    nsec_t beat_at, beat_period;
    bool told_silent;
    struct beatlog beats;
    unsigned n_stale; /* Answers to beats before it began may still come. */

    bool notice_due;
    struct sla_result notice;
    struct dialog_epoch kept[AGENT_REPORTS_KEPT]; /* Ring of reports. */
    unsigned first_kept, n_kept;
    struct notebox notes;
    bool told_old; /* That this broker takes no notes. */

    struct grant_meter heard; /* What the broker said, how often. */

    uint64_t n_notices, n_reports, n_beats, n_reports_lost, n_proto_errors;
    uint64_t n_denied; /* Times that the broker said we were too loud. */
    uint8_t buffer[DIALOG_BUFFER_SIZE];
};

/* Takes 'channel'; borrows 'env' and 'terms' for its life. */
void dialog_init(struct dialog *, struct mchan *channel,
                 const struct agent_env *env, const struct agent_config *config,
                 const struct sla_terms *terms, nsec_t now);
void dialog_fini(struct dialog *);

/* One more thing that HELLO offers; not after it was said. */
void dialog_offer(struct dialog *, const char *name);

/* Reads what came, if the channel was marked ready or wants to be looked at. */
void dialog_read(struct dialog *, nsec_t now);
/* Takes an epoch that is over; it is told in the next dialog_write(). */
void dialog_add_epoch(struct dialog *, const struct dialog_epoch *);
/* Says what is to be said. */
void dialog_write(struct dialog *, nsec_t now);

nsec_t dialog_deadline(const struct dialog *, nsec_t now);
/* As agent_arm(). */
bool dialog_arm(struct dialog *);
void dialog_stop(struct dialog *, const char *reason);

/* Says a line to people, if 'env' has somebody to hear it; the agent's too. */
void dialog_say(const struct dialog *, enum log_level, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

#endif
