/* SPDX-License-Identifier: Apache-2.0 */
/* The core of an M-agent.  A turn reads the channel, lets the probes look that
 * are due, closes the epochs that are over and tells the broker; dialog.c does
 * the telling, model/sla.c the counting.  Called by magentd.c and by msim.
 *
 * Before an epoch is closed every probe looks once more, so that what was
 * written in the epoch counts in it, and so that looks and epochs fall together
 * and share their wake-ups. */
#include "agent/agent.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/dialog.h"
#include "base/text.h"
#include "include/mchan.h"
#include "probe/probe.h"

/* How often people are told that a probe still refuses what it reads. */
#define REFUSED_TOLD_PERIOD (60 * NSEC_PER_SEC)

struct agent_probe {
    const struct probe_class *class;
    struct probe *probe; /* Owned. */
    const char *path;    /* What it reads; "" if no option says. */
    bool more;           /* It has more to show at once. */
    int error;           /* Of its last look; told once. */
    uint64_t n_refused_told;
    nsec_t refused_told_at;
};

struct agent {
    struct agent_env env;
    struct sla sla;
    nsec_t wall_minus_now;
    nsec_t now; /* Of this turn. */
    uint32_t n_probes;
    struct agent_probe probes[AGENT_PROBES_MAX];
    uint32_t util_permille;            /* As a probe last said. */
    uint64_t n_requests, n_violations; /* Of closed epochs. */
    uint64_t n_epochs, n_epochs_violated;
    uint64_t n_absurd;    /* Requests that took longer than can be. */
    nsec_t note_told_at;  /* When people may hear of lost notes again. */
    struct dialog dialog; /* Last: its buffer is large. */
};

static void look(struct agent *, bool closing);
static void close_epochs(struct agent *);

int
agent_create(struct agent **out, const struct agent_config *config,
             const struct agent_env *env, struct mchan *channel, nsec_t now)
{
    struct agent *agent = malloc(sizeof *agent);

    assert(config->sla.threshold_us >= 1);
    assert(config->sla.threshold_us <= MSG_TIME_US_MAX);
    assert(config->sla.tolerated_permille <= 1000);
    assert(!*config->claims || text_is_name(config->claims));
    if (!agent) {
        mchan_close(channel);
        return -ENOMEM;
    }
    memset(agent, 0, offsetof(struct agent, dialog));
    agent->env = *env;
    agent->now = now;
    sla_init(&agent->sla, &config->sla, now);
    dialog_init(&agent->dialog, channel, &agent->env, config, &agent->sla.terms,
                now);
    *out = agent;
    return 0;
}

void
agent_destroy(struct agent *agent)
{
    if (!agent) {
        return;
    }
    dialog_fini(&agent->dialog);
    for (uint32_t i = 0; i < agent->n_probes; i++) {
        agent->probes[i].class->close(agent->probes[i].probe);
    }
    free(agent);
}

static const char *
path_of(const struct probe_class *class, const struct probe_env *env)
{
    for (const struct option_desc *d = class->options; d && d->name; d++) {
        if (!strcmp(d->name, "path")) {
            return option_text(env->options, "path");
        }
    }
    return "";
}

int
agent_add_probe(struct agent *agent, const struct probe_class *class,
                const struct probe_env *env, char *why, size_t why_size)
{
    struct agent_probe *p = &agent->probes[agent->n_probes];
    int error;

    if (agent->n_probes == AGENT_PROBES_MAX) {
        snprintf(why, why_size, "%s: more than %d probes", class->name,
                 AGENT_PROBES_MAX);
        return -ENOSPC;
    }
    memset(p, 0, sizeof *p);
    error = class->open(&p->probe, env, why, why_size);
    if (error) {
        return error;
    }
    p->class = class;
    p->path = path_of(class, env);
    agent->n_probes++;
    dialog_offer(&agent->dialog, class->name);
    return 0;
}

int
agent_add_note(struct agent *agent, const struct probe_note *note, nsec_t now,
               uint64_t *number_out, char *why, size_t why_size)
{
    int error = notebox_take(&agent->dialog.notes, note, now, why, why_size);

    if (!error) {
        *number_out = agent->dialog.notes.number;
    }
    return error;
}

void
agent_on_channel(struct agent *agent)
{
    agent->dialog.ready = true;
}

void
agent_set_wall(struct agent *agent, nsec_t wall_minus_now)
{
    agent->wall_minus_now = wall_minus_now;
}

void
agent_run(struct agent *agent, nsec_t now)
{
    bool closing = now >= sla_deadline(&agent->sla);

    agent->now = now;
    dialog_read(&agent->dialog, now);
    look(agent, closing);
    close_epochs(agent);
    dialog_write(&agent->dialog, now);
}

nsec_t
agent_deadline(const struct agent *agent, nsec_t now)
{
    nsec_t deadline = nsec_min(sla_deadline(&agent->sla),
                               dialog_deadline(&agent->dialog, now));

    for (uint32_t i = 0; i < agent->n_probes; i++) {
        const struct agent_probe *p = &agent->probes[i];
        deadline = nsec_min(deadline,
                            p->more ? now : p->class->deadline(p->probe, now));
    }
    return deadline;
}

bool
agent_arm(struct agent *agent)
{
    return dialog_arm(&agent->dialog);
}

void
agent_stop(struct agent *agent, const char *reason)
{
    dialog_stop(&agent->dialog, reason);
}

void
agent_stats(const struct agent *agent, struct agent_stats *out)
{
    const struct dialog *d = &agent->dialog;

    memset(out, 0, sizeof *out);
    out->established = d->state == DIALOG_ESTABLISHED;
    out->n_requests = agent->n_requests + agent->sla.open.n_requests;
    out->n_violations = agent->n_violations + agent->sla.open.n_violations;
    out->n_refused = agent->n_absurd;
    for (uint32_t i = 0; i < agent->n_probes; i++) {
        struct probe_stats stats;
        agent->probes[i].class->stats(agent->probes[i].probe, &stats);
        out->n_refused += stats.n_refused;
    }
    out->n_epochs = agent->n_epochs;
    out->n_epochs_violated = agent->n_epochs_violated;
    out->n_epochs_skipped = agent->sla.n_skipped;
    out->n_notices = d->n_notices;
    out->n_reports = d->n_reports;
    out->n_beats = d->n_beats;
    out->n_reports_lost = d->n_reports_lost;
    out->n_notes = d->notes.n_given;
    out->n_notes_refused = d->notes.n_refused;
    out->n_proto_errors = d->n_proto_errors;
    out->n_denied = d->n_denied;
    beatlog_offset(&d->beats, &out->offset_ns, &out->offset_error_ns);
}

/* Probes */

static void
on_request(void *ctx, nsec_t ended, uint64_t response_us)
{
    struct agent *agent = ctx;

    if (response_us > MSG_TIME_US_MAX) {
        agent->n_absurd++;
        return;
    }
    /* A server's clock may be a little ahead of ours, or not be known. */
    if (ended <= 0 || ended > agent->now) {
        ended = agent->now;
    }
    sla_observe(&agent->sla, agent->now, ended, response_us);
}

static void
on_cpu(void *ctx, uint32_t util_permille)
{
    struct agent *agent = ctx;

    agent->util_permille = util_permille < 1000 ? util_permille : 1000;
}

static int
on_note(void *ctx, const struct probe_note *note)
{
    struct agent *agent = ctx;
    char why[128];
    int error =
        notebox_take(&agent->dialog.notes, note, agent->now, why, sizeof why);

    if (error && agent->now >= agent->note_told_at) {
        agent->note_told_at = agent->now + REFUSED_TOLD_PERIOD;
        dialog_say(&agent->dialog, LOG_LEVEL_WARN, "a probe's note is lost: %s",
                   why);
    }
    return error;
}

/* Tells once that a probe can't look, and once that it can again. */
static void
note_result(struct agent *agent, struct agent_probe *p, int result)
{
    int error = result < 0 ? -result : 0;

    p->more = result > 0;
    if (error == p->error) {
        return;
    }
    p->error = error;
    if (error) {
        dialog_say(&agent->dialog, LOG_LEVEL_WARN,
                   "%s: can't measure: %s%s%s; goes on trying", p->class->name,
                   p->path, p->path[0] ? ": " : "", strerror(error));
    } else {
        dialog_say(&agent->dialog, LOG_LEVEL_INFO, "%s: measures again",
                   p->class->name);
    }
}

static void
look(struct agent *agent, bool closing)
{
    struct probe_sink sink = {.ctx = agent,
                              .wall_minus_now = agent->wall_minus_now,
                              .request = on_request,
                              .cpu = on_cpu,
                              .note = on_note};
    nsec_t now = agent->now;

    for (uint32_t i = 0; i < agent->n_probes; i++) {
        struct agent_probe *p = &agent->probes[i];
        if (closing || p->more || p->class->deadline(p->probe, now) <= now) {
            note_result(agent, p, p->class->sample(p->probe, now, &sink));
        }
    }
}

/* Epochs */

/* The sum of what the probes refused, of which people hear now and then. */
static uint64_t
count_refused(struct agent *agent)
{
    uint64_t n_refused = agent->n_absurd;

    for (uint32_t i = 0; i < agent->n_probes; i++) {
        struct agent_probe *p = &agent->probes[i];
        struct probe_stats stats;
        uint64_t n_new;

        p->class->stats(p->probe, &stats);
        n_refused += stats.n_refused;
        n_new = stats.n_refused - p->n_refused_told;
        if (n_new && (!p->n_refused_told || agent->now >= p->refused_told_at)) {
            p->n_refused_told = stats.n_refused;
            p->refused_told_at = agent->now + REFUSED_TOLD_PERIOD;
            dialog_say(&agent->dialog, LOG_LEVEL_WARN,
                       "%s: refused %" PRIu64 " so far, the last: %s",
                       p->class->name, stats.n_refused, stats.refused);
        }
    }
    return n_refused;
}

static void
close_epochs(struct agent *agent)
{
    struct dialog_epoch epoch = {0};

    while (sla_run(&agent->sla, agent->now, &epoch.result)) {
        epoch.util_permille = agent->util_permille;
        epoch.n_refused = count_refused(agent);
        agent->n_requests += epoch.result.n_requests;
        agent->n_violations += epoch.result.n_violations;
        agent->n_epochs++;
        agent->n_epochs_violated += epoch.result.violated;
        dialog_add_epoch(&agent->dialog, &epoch);
    }
}
