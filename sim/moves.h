/* SPDX-License-Identifier: Apache-2.0 */
/* VMs that move between brokers: real channels (the guest's end and one
 * listening end per broker), the real handoff between the brokers, and a
 * made-up hypervisor, network and clock.  The hypervisor pauses, moves, goes
 * back on it, resets and sets back VMs as virtio-serial and live migration do
 * it; brokers die and forget; what they say to each other is lost, late and
 * doubled.  The ledger says if a message was lost, doubled or mixed up. */
#ifndef SIM_MOVES_H
#define SIM_MOVES_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "base/clock.h"

#define MOVES_BROKERS_MAX 4
#define MOVES_VMS_MAX 4
#define MOVES_WHY_SIZE 320

/* Errors that can be planted, to see that they are found. */
enum moves_plant {
    MOVES_SOUND,
    MOVES_PLANT_EARLY,     /* A host says that a VM left as soon as it stops:
                              no error, the marks decide. */
    MOVES_PLANT_SHORT,     /* The last message of a parcel is forgotten. */
    MOVES_PLANT_BEHIND,    /* A parcel forgets the last that was delivered. */
    MOVES_PLANT_AHEAD,     /* A parcel has one delivered that was not. */
    MOVES_PLANT_UNFLAGGED, /* 'maybe_repeated' is lost. */
    MOVES_PLANT_BOTH,      /* Who hands a session over keeps it. */
    MOVES_PLANT_MUTE,      /* DROPPED and GAP are not told. */
    MOVES_N_PLANTS,
};

/* What a scenario has happen, instead of chance. */
enum moves_what {
    MOVES_MOVE,    /* VM a pauses, and runs on broker b after 'lasts'. */
    MOVES_KILL,    /* Broker a dies; another starts there after 'lasts'. */
    MOVES_CUT_OFF, /* Brokers a and b can't reach each other. */
    MOVES_LATE,    /* What host a's hypervisor says from now on is so late. */
    MOVES_SNAPSHOT,
    MOVES_REVERT,  /* VM a is set back to its snapshot, */
    MOVES_CLONE,   /* or to b's. */
    MOVES_RESTART, /* Its agent starts again. */
    MOVES_N_WHATS,
};

struct moves_event {
    nsec_t at, lasts;
    enum moves_what what;
    uint32_t a, b;
};

struct moves_config {
    uint64_t seed;
    uint32_t n_brokers, n_vms;
    /* Brokers die, hosts are late, some cannot reach each other, VMs are set
     * back and cloned.  If not: messages between brokers are lost and late, VMs
     * move quickly and change their minds, and still nothing may be lost,
     * doubled or flagged. */
    bool rough;
    nsec_t duration; /* Of all that; then it heals. */
    enum moves_plant plant;
    /* In order of time; null: chance.  VM n begins on host 'places[n]'.  Then
     * brokers reach each other, but for what is said here, and GAP, DROPPED and
     * 'maybe_repeated' are counted. */
    const struct moves_event *events;
    uint32_t n_events;
    uint32_t places[MOVES_VMS_MAX];
};

struct moves_result {
    bool passed;
    char why[MOVES_WHY_SIZE];
    uint64_t trace_hash;
    uint64_t n_moves, n_cancelled, n_crashes, n_set_back, n_clones;
    uint64_t n_sent, n_given, n_repeated, n_told;
    uint64_t n_taken, n_given_up, n_late, n_dropped_sides, n_disputed;
    uint64_t n_sessions;        /* That guests began. */
    uint64_t n_gaps, n_dropped; /* Events. */
    uint64_t n_tails; /* What a guest said elsewhere was taken for its HELLO. */
    uint64_t n_while_unsettled; /* Latest values that did not wait. */
    /* From a VM's running again to its first message given out. */
    nsec_t longest_blackout, total_blackout;
    uint64_t n_blackouts;
};

/* 'trace' is borrowed; null: none is written. */
void moves_run(const struct moves_config *, FILE *trace,
               struct moves_result *out);

#endif
