/* SPDX-License-Identifier: Apache-2.0 */
/* The core of an M-agent: probes see requests, the SLA model counts them into
 * epochs, and the broker at the other end of the channel is told.  It holds no
 * coordination code and never gives up: without a broker it goes on measuring.
 * magentd.c runs it in a guest, msim many of them on a made-up clock.
 *
 * While no broker listens, the reports of the last AGENT_REPORTS_KEPT epochs
 * are kept and sent when one does, older ones are counted as lost.  A notice is
 * not kept longer than an epoch: it asks for something to be done now, and its
 * numbers are in the report too.  Applications' own messages wait too
 * (notebox.h). */
#ifndef AGENT_AGENT_H
#define AGENT_AGENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/clock.h"
#include "base/log.h"
#include "model/sla.h"

struct agent;
struct mchan;
struct probe_class;
struct probe_env;
struct probe_note;

#define AGENT_PROBES_MAX 8
#define AGENT_REPORTS_KEPT 16
#define AGENT_MESSAGES_PER_TURN 32 /* Read from the broker. */

struct agent_config {
    struct sla_terms sla;
    const char *software; /* Name and version; copied. */
    const char *claims;   /* The VM it believes to be in, a name as of
                           * text_is_name(), or "". */
};

struct agent_env {
    void *ctx;
    /* The clock that agent_run()'s 'now' comes from, read again: messages carry
     * the moment in which they leave. */
    nsec_t (*now)(void *ctx);
    /* A line for people; may be null. */
    void (*say)(void *ctx, enum log_level, const char *line);
};

/* Makes an agent that speaks on 'channel', which it takes (also on failure).
 * Returns 0 or -ENOMEM. */
int agent_create(struct agent **out, const struct agent_config *,
                 const struct agent_env *, struct mchan *channel, nsec_t now);
/* Says BYE if it was not yet said, closes channel and probes.  Accepts null. */
void agent_destroy(struct agent *);

/* Opens a probe.  'env' and what it points to are borrowed for the agent's
 * life. Returns 0, -ENOSPC (AGENT_PROBES_MAX) or the probe's error with 'why'.
 */
int agent_add_probe(struct agent *, const struct probe_class *,
                    const struct probe_env *env, char *why, size_t why_size);

/* The channel's descriptor became ready; looked at in the next turn. */
void agent_on_channel(struct agent *);
/* Takes a note from a program in the guest (copied); it is sent when a broker
 * listens, soon.  Returns 0 and its number, or an error as probe_sink.note's
 * with 'why'. */
int agent_add_note(struct agent *, const struct probe_note *, nsec_t now,
                   uint64_t *number_out, char *why, size_t why_size);

/* The wall clock minus the agent's clock; see probe_sink.wall_minus_now. */
void agent_set_wall(struct agent *, nsec_t wall_minus_now);

/* Does what is due. */
void agent_run(struct agent *, nsec_t now);
/* When it wants to run although nothing happens. */
nsec_t agent_deadline(const struct agent *, nsec_t now);
/* What must be done right before sleeping until the deadline or until the
 * channel's descriptor is readable.  True: do not sleep, run again. */
bool agent_arm(struct agent *);

/* Says BYE to the broker; nothing is sent afterwards. */
void agent_stop(struct agent *, const char *reason);

struct agent_stats {
    bool established;    /* A broker has welcomed us. */
    uint64_t n_requests; /* Seen by the probes and counted. */
    uint64_t n_violations;
    uint64_t n_refused; /* Lines, readings and requests that made no sense. */
    uint64_t n_epochs, n_epochs_violated;
    uint64_t n_epochs_skipped;              /* Nobody was awake for them. */
    uint64_t n_notices, n_reports, n_beats; /* Sent. */
    uint64_t n_reports_lost;  /* No broker listened for too long. */
    uint64_t n_notes;         /* Of applications, sent. */
    uint64_t n_notes_refused; /* Too many waited, or they made no sense. */
    uint64_t n_proto_errors;  /* Messages of the broker's that were none. */
    uint64_t n_denied;        /* Times it said that we say too much. */
    int64_t offset_ns;        /* Agent's clock minus the broker's. */
    uint64_t offset_error_ns; /* UINT64_MAX: unknown. */
};
void agent_stats(const struct agent *, struct agent_stats *out);

#endif
