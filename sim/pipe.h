/* SPDX-License-Identifier: Apache-2.0 */
/* A pipe between two processes of a made-up mbrokerd: messages in order,
 * encoded and decoded as on a real channel, bounded, and lossy when asked to
 * be. */
#ifndef SIM_PIPE_H
#define SIM_PIPE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/clock.h"

struct msg;
struct trace;

#define PIPE_BYTES_MAX 65536 /* As a channel's ring. */
#define PIPE_BEHIND 3
#define PIPE_AGAIN_SIZE 1024 /* Longer ones do not come again. */

struct pipe {
    const char *name; /* "back>engine"; borrowed for ever. */
    struct trace *trace;
    bool full;          /* Takes nothing now: a fault. */
    bool stalled;       /* Gives nothing out now. */
    nsec_t delay_ns;    /* How late it gives out what is sent now. */
    unsigned lose_type; /* Messages of this type are lost; 0: none is. */
    uint64_t n_lost;
    bool repeats;           /* What is sent comes again, */
    uint32_t repeat_behind; /* behind so many others, at most PIPE_BEHIND. */
    struct pipe_again {
        unsigned type;
        uint32_t size; /* 0: none. */
        uint8_t bytes[PIPE_AGAIN_SIZE];
    } again[PIPE_BEHIND + 1]; /* The n-th sent at n % (PIPE_BEHIND + 1). */
    uint64_t n_sent;          /* While it repeats. */
    size_t first, used;
    nsec_t last_due; /* Of what was sent last: nothing overtakes. */
    uint8_t *bytes;  /* Owned. */
};

/* 0 or -ENOMEM. */
int pipe_init(struct pipe *, const char *name, struct trace *);
void pipe_fini(struct pipe *);
/* 0, or -EAGAIN if there is no room. */
int pipe_send(struct pipe *, const struct msg *);
/* True and the oldest message, or false. */
bool pipe_take(struct pipe *, struct msg *out);
/* When it gives something out, on the trace's clock; NSEC_NEVER: it has nothing
 * or is stalled. */
nsec_t pipe_deadline(const struct pipe *);
/* What is in it is gone. */
void pipe_clear(struct pipe *);

#endif
