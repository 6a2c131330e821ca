/* SPDX-License-Identifier: Apache-2.0 */
/* The door to the probes: one file per way of measuring inside a guest.  A
 * probe looks when it is asked, reads no clock, and says what it saw as
 * requests (each with its response time), as the guest's CPU use, and in
 * messages of its own.  It knows neither channel nor broker. */
#ifndef PROBE_PROBE_H
#define PROBE_PROBE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/clock.h"
#include "base/option.h"

struct probe; /* Each probe's own. */

struct probe_env {
    const struct option_values *options;
    int proc_dirfd; /* The root that stands for /proc. */
    uint64_t seed;  /* For sim.c. */
    void *world;    /* For sim.c: who makes the requests up. */
};

/* A message that an application defines: the broker passes it untouched to the
 * policy or program that asked for its type (policy_class.notes; mctl notes).
 */
struct probe_note {
    const char *type;  /* "org.example.sla-percentile/1"; text_is_type(). */
    const void *bytes; /* Borrowed; any bytes at all. */
    size_t size;       /* At most PROBE_NOTE_SIZE_MAX. */
    bool latest;       /* Only the newest of its type counts (telemetry): it
                        * takes the place of one that still waits. */
};

#define PROBE_NOTE_SIZE_MAX 3840

/* Where a probe puts what it saw; the agent's. */
struct probe_sink {
    void *ctx;
    /* The wall clock minus the agent's, at this call: what turns a time of day
     * in a log into a moment on the agent's clock.  The agent learns it anew
     * for each turn, since people and NTP set the wall clock.  0 where the two
     * are one (msim). */
    nsec_t wall_minus_now;
    /* One finished request.  'ended' is on the agent's clock, or 0 if the probe
     * can't tell and 'now' will do. */
    void (*request)(void *ctx, nsec_t ended, uint64_t response_us);
    /* The guest's own view of its CPU use since the last call, 0..1000 per
     * vCPU. */
    void (*cpu)(void *ctx, uint32_t util_permille);
    /* A message of the probe's own.  Returns 0, -EINVAL (the type's name),
     * -EMSGSIZE, -EAGAIN (too many wait; it is lost, and people are told) or
     * -ENOMEM. */
    int (*note)(void *ctx, const struct probe_note *);
};

struct probe_stats {
    uint64_t n_seen;    /* Requests handed to the sink. */
    uint64_t n_refused; /* Lines or readings that made no sense. */
    char refused[160];  /* The last of those: where and why. */
};

struct probe_class {
    const char *name, *summary;
    const struct option_desc *options; /* May be null. */
    /* Returns 0 or -Exxx with 'why'.  What it measures need not be there yet
     * (a log file that will appear). */
    int (*open)(struct probe **out, const struct probe_env *, char *why,
                size_t why_size);
    /* Looks once: hands everything new to 'sink', bounded by a named limit per
     * call.  Returns 1 if there is more to see at once, 0, or -Exxx when it
     * can't measure now (it may be able to later). */
    int (*sample)(struct probe *, nsec_t now, const struct probe_sink *sink);
    /* When it wants to be asked again. */
    nsec_t (*deadline)(const struct probe *, nsec_t now);
    void (*stats)(const struct probe *, struct probe_stats *out);
    void (*close)(struct probe *); /* Accepts null. */
};

extern const struct probe_class *const probe_table[];
extern const char *const probe_left_out[];

const struct probe_class *probe_find(const char *name);

#endif
