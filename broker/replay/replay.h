/* SPDX-License-Identifier: Apache-2.0 */
/* Tells an engine again what the journal's engine was told, at the same times,
 * with the same or another policy, and compares what both decided. */
#ifndef BROKER_REPLAY_REPLAY_H
#define BROKER_REPLAY_REPLAY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/clock.h"
#include "base/option.h"
#include "broker/journal/journal.h"

struct policy_class;
struct replay;

#define REPLAY_WHAT_SIZE 96
#define REPLAY_CAUSE_SIZE 32

struct replay_opts {
    /* In force all the time; null: those that were, with their options. */
    const struct policy_class *policy;
    const struct option_values *options; /* Null: its defaults. */
    nsec_t dwell_ns;                     /* -1: as it was. */
};

/* A decision, then or now. */
struct replay_decision {
    char subject[JOURNAL_SUBJECT_SIZE]; /* The knob. */
    char rule[32];
    char what[REPLAY_WHAT_SIZE]; /* "p-state 3", "released", … */
    char cause[REPLAY_CAUSE_SIZE];
};

/* Something that was decided otherwise: 'then' or 'now' may be null. */
struct replay_difference {
    nsec_t time;
    int64_t wall_ns; /* Of the row then; else about. */
    const struct replay_decision *then, *now;
    const char *event; /* What led to it, if the row now says; or "". */
    const char *event_subject;
};

struct replay_counts {
    uint64_t n_turns, n_then, n_now, n_same, n_differences;
    uint64_t n_unknown; /* Decided now where rows of then are gone. */
    uint64_t n_passed;  /* Decided then in turns that are not on the tape. */
    uint64_t n_begun;   /* Times an engine began: starts, gaps. */
    uint64_t n_gaps;
    bool begins_amidst;  /* What was before the first input is gone. */
    uint64_t n_supposed; /* Actions whose outcome had to be supposed. */
    uint64_t n_dropped;  /* Outcomes of actions that were not taken now. */
    int64_t first_wall_ns, last_wall_ns;
    char policy_then[64]; /* The last that was in force. */
};

int replay_create(struct replay **out, const struct replay_opts *,
                  void (*differs)(void *ctx, const struct replay_difference *),
                  void *ctx);
void replay_destroy(struct replay *);

/* First all rows, in order, then all blocks of inputs, in order. */
void replay_row(struct replay *, const struct journal_row *);
/* 0, or -Exxx: what is left can't be replayed, and replay_why() says why. */
int replay_input(struct replay *, const struct journal_input *);
const char *replay_why(const struct replay *);
void replay_end(struct replay *, struct replay_counts *out);

#endif
