/* SPDX-License-Identifier: Apache-2.0 */
/* What the parts of the killing share: kills.c, who supervises and judges;
 * ends.c, the lives of those who are killed and who stay; report.c, what is
 * told of it.  For them only. */
#ifndef TESTS_DEATH_KILLS_H
#define TESTS_DEATH_KILLS_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/types.h>

#include "base/prng.h"
#include "tests/left.h"

enum activity {
    IDLE,
    SENDING,
    RECEIVING,
    EXCHANGING,
    ASLEEP,
    SPINNING,
    BLOCKED, /* The ring is full, since the survivor does not read. */
    N_ACTIVITIES,
};

/* Each word has one writer, the supervisor (S), the survivor (V) or the victim
 * of the moment. */
struct board {
    _Atomic uint32_t activity; /* S: of the victim. */
    _Atomic uint32_t go;       /* S: the incarnation that may begin it. */
    _Atomic bool sleeps;       /* S: the survivor sleeps, rather than looks. */
    _Atomic bool ends;         /* S: the survivor is to close. */
    _Atomic uint32_t asked;    /* S: times that what is held was asked for, */
    _Atomic uint32_t answered; /* V: and told. */
    _Atomic uint32_t heard;    /* V: the last incarnation that spoke, */
    _Atomic int64_t heard_at;  /* V: and when it did so first. */
    _Atomic uint32_t n_lost;   /* V: PEER_LOST so far, */
    _Atomic int64_t lost_at;   /* V: and when the last came. */
    _Atomic uint64_t n_received;
    _Atomic bool failed; /* Anybody, and why: */
    char why[160];
    struct held before, held, after;
};

/* One row of the table. */
struct trial {
    const char *scheme;
    bool kills_listener;
    unsigned n_kills;
    uint64_t seed;
    struct prng prng;
    char dir[64], uri[96];
    struct board *board;
    uint32_t incarnation;
    pid_t survivor, victim;
    /* By how the survivor waits: 0 looks, 1 sleeps. */
    unsigned n_times[2];
    int64_t *lost_ns[2], *again_ns[2];
    unsigned n_killed;
    int32_t n_shm, n_run, n_dir;
    struct held first, last;
    const char *failure;
};

/* ends.c.  Neither returns. */
void ends_be_victim(const struct trial *);
void ends_be_survivor(const struct trial *);

/* report.c. */

void report_sort(struct trial *);
const char *report_role(const struct trial *);
/* For people, and as an element of a JSON array, of which it may be the first.
 */
void report_print(const struct trial *);
void report_write(FILE *, const struct trial *, bool first);

#endif
