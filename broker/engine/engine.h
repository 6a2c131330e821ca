/* SPDX-License-Identifier: Apache-2.0 */
/* The engine: events into the model, policies asked, actions out.  An event is
 * noted when it comes (engine_on_event) and acted on at the end of a turn
 * (engine_run).  It does no I/O of its own: what it sends goes through its
 * port, so that the same engine runs in mbrokerd and in msim. */
#ifndef BROKER_ENGINE_ENGINE_H
#define BROKER_ENGINE_ENGINE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/clock.h"
#include "model/host.h"
#include "policy/policy.h"

struct arbiter;
struct broker_config;
struct cap_order;
struct engine;
struct journal;
struct msg;
struct note;
struct policy_class;
struct vm;

struct engine_port {
    void *ctx;
    /* Sends an action to the platform process.  0 or -EAGAIN (the engine keeps
     * the verdict and tries again next turn). */
    int (*to_platform)(void *ctx, const struct msg *);
    /* Tells back something, the same way; null: nobody is there. */
    int (*to_back)(void *ctx, const struct msg *);
    /* Something people who watch should see: one JSON object per call. */
    void (*watch)(void *ctx, const char *json);
    /* Wall clock in ns, for the journal only; null: 0. */
    int64_t (*wall_ns)(void *ctx);
    /* A note came, for people and programs who follow them.  Both are borrowed
     * for the call; may be null. */
    void (*note)(void *ctx, const struct vm *, const struct note *);
};

/* 'config', 'port' and 'journal' are borrowed until engine_destroy().  0,
 * -ENOMEM, or what opening the configuration's policy came to. */
int engine_create(struct engine **out, const struct broker_config *config,
                  const struct engine_port *port, struct journal *journal,
                  nsec_t now);
void engine_destroy(struct engine *);

/* Notes an event from back or platform. */
void engine_on_event(struct engine *, const struct msg *, nsec_t now);
/* Ends the turn: asks the policy if an epoch ended or something urgent came,
 * lets the arbiter decide, sends what changed. */
void engine_run(struct engine *, nsec_t now);
/* The same for a turn of which it is known whether it ended an epoch: for
 * replay. */
void engine_turn(struct engine *, bool epoch, nsec_t now);
nsec_t engine_deadline(const struct engine *);

/* Puts another policy in force, with options over its defaults; the old one's
 * wishes go.  0, or -ENOENT/-EINVAL with 'why'; on failure nothing changes. */
int engine_set_policy(struct engine *, const char *name,
                      const struct option_values *options, nsec_t now,
                      char *why, size_t why_size);
/* Another configuration in the place of the one in force, in two steps.  First
 * all that could fail: 0 or -Exxx with 'why', and nothing changed.  Then, when
 * '*config' (the engine's) is the new one and '*was' what it was: policy and
 * VMs as it says, journalled; what it has in common with '*was' stays as it is,
 * an operator's policy and orders too.  'hash' is of its text. */
int engine_prepare(struct engine *, const struct broker_config *next, char *why,
                   size_t why_size);
void engine_unprepare(struct engine *);
void engine_reconfigure(struct engine *, const struct broker_config *was,
                        const char *hash, nsec_t now);
/* One was refused, by whomever: that is journalled. */
void engine_config_refused(struct engine *, const char *why, nsec_t now);

/* Asks the platform for an operation on a VM, journalled.  0 or -Exxx. */
int engine_control_vm(struct engine *, const struct uuid *, enum vm_op,
                      nsec_t now, char *why, size_t why_size);

/* The same for a migration to a host, on disk before it is asked. */
int engine_migrate_vm(struct engine *, const struct uuid *, const char *to,
                      nsec_t now, char *why, size_t why_size);

/* Orders a limit of the host's power: in the journal, on disk, before it is
 * sent; carried out once or refused.  0 or -Exxx with 'why': -ESTALE (a lower
 * term), -EALREADY (not a higher number), -ERANGE, -ENODEV, -EROFS (the journal
 * fails), -EAGAIN (what holds is not known yet). */
int engine_set_cap(struct engine *, const struct cap_order *, nsec_t now,
                   char *why, size_t why_size);

/* Counted per policy put in force, for status and the demo's table. */
struct engine_counts {
    uint64_t n_events, n_notices, n_reports, n_turns, n_decisions;
    uint64_t n_raises, n_lowerings, n_failed_actions, n_alarms;
    uint64_t n_notes; /* Applications' own messages. */
};

/* All pointers are borrowed until the next call of any function here. */
struct engine_status {
    const struct host *host;
    const struct policy_class *policy;
    const struct option_values *policy_options;
    const struct engine_counts *counts;
    const struct arbiter *arbiter;
    nsec_t started;
    bool platform_ready;
    bool read_only;    /* The journal fails: nothing is changed meanwhile. */
    char trouble[160]; /* The last; "" if none. */
    /* Time each domain spent in each p-state since the policy was put in force,
     * n_domains x PSTATES_MAX. */
    const nsec_t *pstate_time;
};
void engine_status(const struct engine *, nsec_t now,
                   struct engine_status *out);

#endif
