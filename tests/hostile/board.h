/* SPDX-License-Identifier: Apache-2.0 */
/* What the processes of one stage of tests/hostile tell each other and the
 * supervisor, in shared memory that has nothing to do with any channel.  Each
 * word has one writer: the victim, its good neighbour, the attacker, or the
 * supervisor. */
#ifndef TESTS_HOSTILE_BOARD_H
#define TESTS_HOSTILE_BOARD_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#define BOARD_REASONS 64
#define BOARD_WHY_SIZE 200

struct board_reason {
    char text[96];
    uint64_t n;
};

struct board {
    /* The supervisor. */
    _Atomic bool attack_over; /* The attacker is to end. */
    _Atomic bool settle;      /* No new messages to the neighbour, */
    _Atomic bool end;         /* and out. */
    uint64_t n_writes_wanted;

    /* The victim. */
    _Atomic uint64_t n_turns; /* It lives. */
    _Atomic uint64_t n_gone;  /* Hostile peers that it lost or threw out. */
    _Atomic uint64_t n_up, n_violations, n_received;
    _Atomic uint64_t good_sent, good_received; /* To and from the neighbour. */
    _Atomic bool settled;
    uint32_t n_reasons;
    struct board_reason reasons[BOARD_REASONS];
    int32_t fds_left, memfds_left; /* When all was closed. */

    /* The good neighbour. */
    _Atomic uint64_t neighbour_sent, neighbour_received;

    /* The attacker. */
    _Atomic uint64_t n_writes; /* Over streams: frames and noise. */
    _Atomic uint64_t n_stale;  /* Of them, into memory of former links. */
    _Atomic uint64_t n_flips;  /* Beside them, of a header to and fro. */
    _Atomic uint64_t n_meetings, n_resumed;
    _Atomic uint64_t n_bad_offers, n_bad_hellos, n_floods;
    _Atomic bool silent; /* It waits to be thrown out for saying nothing. */

    /* Anybody. */
    _Atomic bool failed;
    char why[BOARD_WHY_SIZE];
};

/* One stage: who is hostile to whom, over what. */
struct stage {
    struct board *board;
    bool victim_listens;
    bool streams; /* Over "unix:", else over "shm:". */
    bool lends;
    uint32_t ring_size;
    uint64_t seed;
    char dir[64];
    char path[96];           /* Where attacker and victim meet, */
    char uri[112];           /* for the victim; */
    char neighbour_uri[112]; /* and where its good neighbour comes. */
};

void board_fail(struct board *, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* Each is the life of a process and returns its exit status. */
int victim_live(const struct stage *);
int neighbour_live(const struct stage *);
int attacker_live(const struct stage *);
int streamer_live(const struct stage *); /* In its place, over streams. */

#endif
