/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of the replay share, and nobody else sees:
 *   replay.c          the tape, entry by entry
 *   replay_begin.c    the engine of then: its host, guests and policy
 *   replay_compare.c  decisions of then and of now
 *   replay_act.c      actions, and what is supposed to come of them */
#ifndef BROKER_REPLAY_REPLAY_PARTS_H
#define BROKER_REPLAY_REPLAY_PARTS_H

#include "broker/config/config.h"
#include "broker/engine/engine.h"
#include "broker/engine/tape.h"
#include "broker/replay/replay.h"
#include "policy/policy.h"
#include "wire/msg.h"

#define REPLAY_ID_SHIFT 40
#define REPLAY_TURN_MAX 4096 /* Decisions, events and actions of one turn. */
#define REPLAY_PENDING_MAX 1024

/* A decision of then, with when it was. */
struct then {
    uint64_t start;
    nsec_t time;
    int64_t wall_ns;
    struct replay_decision decision;
};

/* An event that the engine itself noted now. */
struct own_event {
    char cause[REPLAY_CAUSE_SIZE], name[32];
    char subject[JOURNAL_SUBJECT_SIZE];
};

/* An action under way, and the command it had then; 0: it was not taken. */
struct pending {
    uint64_t command, twin, cause;
    bool release;
    uint32_t domain, pstate;
};

struct replay {
    struct replay_opts opts;
    void (*differs)(void *ctx, const struct replay_difference *);
    void *ctx;
    struct replay_counts counts;
    char why[200];

    struct then *then; /* Owned; in the order of the rows. */
    size_t n_then, max_then, next_then;
    uint64_t
        first_row; /* The first that is left; before it nothing is known. */
    nsec_t first_row_time;

    struct tape_slots slots;
    struct broker_config config;
    /* What the engine goes on from when a key says that another configuration
     * holds: 'config' is that one then, and may be half read. */
    struct broker_config was;
    bool has_was;
    bool has_config, in_key, ends;
    enum tape_key key;
    char policy[64]; /* Then, with its options. */
    struct option_values policy_options;
    const struct policy_class *policy_class;
    struct journal *journal;
    struct engine *engine;
    struct engine_port port;
    uint64_t start, last_id; /* Of the input before. */
    nsec_t now;
    int64_t wall_ns;

    struct replay_decision *decided; /* In this turn; owned. */
    struct own_event *events;        /* Likewise. */
    uint32_t n_decided, n_events;
    struct pending sent_then[REPLAY_PENDING_MAX]; /* In this turn. */
    uint32_t n_sent_then;
    struct pending pending[REPLAY_PENDING_MAX];
    uint32_t n_pending;
};

/* replay.c */
/* Ends the replay: 'error', and 'why' is what replay_why() says. */
int replay_fail(struct replay *, int error, const char *why);
/* Likewise: the block at hand makes no sense. */
int replay_bad(struct replay *);
void replay_end_engine(struct replay *);
void replay_end_config(struct replay *);

/* replay_begin.c */
/* With what was read of a key, and the policy to be asked now. */
int replay_begin_engine(struct replay *);
/* The engine goes from 'was' to 'config', which was read; if it can't it ends.
 */
int replay_reconfigure(struct replay *);
void replay_end_was(struct replay *);
int replay_read_host(struct replay *, struct tape_in *);
int replay_read_guest(struct replay *, struct tape_in *);
int replay_read_policy(struct replay *, struct tape_in *);
/* Of a key that is skipped: read over what it says. */
void replay_skip_host(struct tape_in *);
void replay_skip_guest(struct tape_in *);

/* replay_compare.c */
/* What the engine shows those who watch; we are one. */
void replay_watch(void *ctx, const char *json);
/* The decisions of the turn that was run with those of then. */
void replay_compare(struct replay *);

/* replay_act.c */
/* False if it is no action. */
bool replay_read_action(const struct msg *, struct pending *out);
/* The engine sends: the one that was sent then in this turn, or another. */
int replay_to_platform(void *ctx, const struct msg *);
/* What was not done then is supposed to have been done by now. */
void replay_suppose_outcomes(struct replay *);
/* True if it is the outcome of something that was done now, too; then it bears
 * that one's numbers. */
bool replay_fit_outcome(struct replay *, struct msg_outcome *);

#endif
