/* SPDX-License-Identifier: Apache-2.0 */
/* The class of what carries messages between two processes: our channel, its
 * peers, and the bare rings that nobody can be faster than.  A carrier is a
 * file and a line in meson.build; one whose library is missing is left out, and
 * `bench-channel --list` says so. */
#ifndef BENCH_CHANNEL_CARRIER_H
#define BENCH_CHANNEL_CARRIER_H

#include <stddef.h>

#include "bench/channel/harness.h"

#define WAITS(mode) (1u << (mode))

struct carrier_class {
    const char *name; /* As bench.json's ratios have it. */
    const char *summary;
    unsigned waits;  /* Of WAITS(): how its ends can wait. */
    size_t size_max; /* Of a message. */
    bool threads;    /* Has threads of its own. */
    const char *uri; /* Ours: its scheme; null: a peer or a limit. */

    /* Makes what both ends inherit, before the processes part.  Null if there
     * is nothing.  Each process frees end->carrier for itself; what is shared
     * goes with the last of them.  Returns 0 or -Exxx. */
    int (*prepare)(struct end *);
    /* Opens this process's end; may block until the other has done so.
     * Returns 0 or -Exxx. */
    int (*open)(struct end *);
    /* Ends it properly.  Called after open() in any case. */
    void (*close)(struct end *);
    /* Removes what the two processes may have left when they were killed;
     * called by their parent.  May be null. */
    void (*clean)(const struct run *, const int *pids);

    /* Called while end 0 waits for end 1 to have received everything.  May be
     * null. */
    void (*idle)(struct end *);

    /* The tasks, as loops.h makes them of a send() and a recv().  They return
     * 0, or -Exxx, or -EBADMSG if something else arrived than was sent.  Null
     * is what the carrier can't do. */
    int (*ping)(struct end *);
    int (*echo)(struct end *);
    int (*pour)(struct end *);
    int (*drain)(struct end *);
    int (*lend)(struct end *);
    int (*borrow)(struct end *);
};

extern const struct carrier_class *const carrier_table[];
/* Pairs of a name and a reason, then null. */
extern const char *const carrier_left_out[];
const struct carrier_class *carrier_find(const char *name);

#endif
