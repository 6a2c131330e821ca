/* SPDX-License-Identifier: Apache-2.0 */
/* Actions of the engine now, and what comes of them: one that was taken then,
 * too, in the same turn is its twin and gets the outcome that the tape has;
 * another one is supposed to do what it says by the next turn.  Outcomes of
 * actions that are not taken now are dropped and counted.  Called by replay.c,
 * and by the engine it runs. */
#include <string.h>

#include "broker/replay/replay_parts.h"

bool
replay_read_action(const struct msg *msg, struct pending *out)
{
    if (msg->type == MSG_SET_PSTATE) {
        *out = (struct pending){.command = msg->set_pstate.command,
                                .cause = msg->set_pstate.cause,
                                .domain = (uint32_t)msg->set_pstate.domain,
                                .pstate = (uint32_t)msg->set_pstate.pstate};
        return true;
    }
    if (msg->type == MSG_RELEASE) {
        *out = (struct pending){.command = msg->release.command,
                                .cause = msg->release.cause,
                                .release = true,
                                .domain = (uint32_t)msg->release.domain};
        return true;
    }
    return false;
}

int
replay_to_platform(void *ctx, const struct msg *msg)
{
    struct replay *replay = ctx;
    struct pending action;

    if (!replay_read_action(msg, &action) ||
        replay->n_pending == REPLAY_PENDING_MAX) {
        return 0;
    }
    for (uint32_t i = 0; i < replay->n_sent_then; i++) {
        struct pending *then = &replay->sent_then[i];

        if (then->command && then->release == action.release &&
            then->domain == action.domain && then->pstate == action.pstate) {
            action.twin = then->command;
            then->command = 0;
            break;
        }
    }
    replay->pending[replay->n_pending++] = action;
    return 0;
}

static void
forget_pending(struct replay *replay, uint32_t i)
{
    replay->pending[i] = replay->pending[--replay->n_pending];
}

static uint32_t
found_pstate(const struct replay *replay, uint32_t domain)
{
    struct engine_status status;

    engine_status(replay->engine, replay->now, &status);
    for (uint32_t i = 0; i < status.host->n_domains; i++) {
        if (status.host->domains[i].desc.id == domain) {
            return status.host->domains[i].found_pstate;
        }
    }
    return 0;
}

void
replay_suppose_outcomes(struct replay *replay)
{
    for (uint32_t i = 0; i < replay->n_pending;) {
        const struct pending action = replay->pending[i];
        struct msg msg;

        if (action.twin) {
            i++;
            continue;
        }
        forget_pending(replay, i);
        memset(&msg, 0, sizeof msg);
        msg.type = MSG_OUTCOME;
        msg.outcome.command = action.command;
        msg.outcome.cause = action.cause;
        msg.outcome.pstate = action.release
                                 ? found_pstate(replay, action.domain)
                                 : action.pstate;
        msg.outcome.received_ns = msg.outcome.checked_ns =
            msg.outcome.written_ns = msg.outcome.read_ns = replay->now;
        replay->counts.n_supposed++;
        engine_on_event(replay->engine, &msg, replay->now);
    }
}

bool
replay_fit_outcome(struct replay *replay, struct msg_outcome *outcome)
{
    for (uint32_t i = 0; i < replay->n_pending; i++) {
        if (replay->pending[i].twin == outcome->command) {
            outcome->command = replay->pending[i].command;
            outcome->cause = replay->pending[i].cause;
            forget_pending(replay, i);
            return true;
        }
    }
    replay->counts.n_dropped++;
    return false;
}
