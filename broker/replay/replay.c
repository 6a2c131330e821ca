/* SPDX-License-Identifier: Apache-2.0 */
/* Replays a tape (broker/engine/tape.h) into a real engine with a real policy
 * and compares the decisions turn by turn with the rows of then.  The engine is
 * told each message at its time and runs the turns that were run; so the same
 * policy with the same options decides the same, and every difference comes of
 * another policy, another option or other code.
 *
 * What can't be had again is how the world would have answered.  An action that
 * was taken then, too, gets the outcome of then; another one is supposed to do
 * what it says by the next turn that is known; and the guests' load goes on as
 * it was, though other p-states would have changed it.
 *
 * Here is the tape, read entry by entry; its parts are beside (replay_parts.h).
 * A file's bytes are a stranger's: what makes no sense ends the replay there.
 * Called by again.c. */
#include "broker/replay/replay.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/text.h"
#include "broker/replay/replay_parts.h"
#include "model/cause.h"

int
replay_create(struct replay **out, const struct replay_opts *opts,
              void (*differs)(void *ctx, const struct replay_difference *),
              void *ctx)
{
    struct replay *replay = calloc(1, sizeof *replay);

    if (!replay) {
        return -ENOMEM;
    }
    replay->opts = *opts;
    replay->differs = differs;
    replay->ctx = ctx;
    replay->port = (struct engine_port){.ctx = replay,
                                        .to_platform = replay_to_platform,
                                        .watch = replay_watch};
    replay->decided = calloc(REPLAY_TURN_MAX, sizeof *replay->decided);
    replay->events = calloc(REPLAY_TURN_MAX, sizeof *replay->events);
    if (!replay->decided || !replay->events ||
        tape_slots_init(&replay->slots, TAPE_SLOTS_MAX)) {
        replay_destroy(replay);
        return -ENOMEM;
    }
    *out = replay;
    return 0;
}

void
replay_end_engine(struct replay *replay)
{
    engine_destroy(replay->engine);
    journal_close(replay->journal);
    replay->engine = NULL;
    replay->journal = NULL;
    replay->n_pending = 0;
    replay->n_sent_then = 0;
    replay_end_was(replay);
}

void
replay_end_config(struct replay *replay)
{
    if (replay->has_config) {
        config_fini(&replay->config);
    }
    replay->has_config = false;
}

void
replay_destroy(struct replay *replay)
{
    if (!replay) {
        return;
    }
    replay_end_engine(replay);
    replay_end_config(replay);
    tape_slots_fini(&replay->slots);
    free(replay->decided);
    free(replay->events);
    free(replay->then);
    free(replay);
}

const char *
replay_why(const struct replay *replay)
{
    return replay->why;
}

int
replay_fail(struct replay *replay, int error, const char *why)
{
    replay->ends = true;
    text_copy(replay->why, sizeof replay->why, why);
    return error;
}

int
replay_bad(struct replay *replay)
{
    char id[CAUSE_TEXT_SIZE], why[120];

    cause_format(replay->last_id, id);
    snprintf(why, sizeof why, "block %s of the inputs makes no sense", id);
    return replay_fail(replay, -EBADMSG, why);
}

/* Entries. */

static int
take_key(struct replay *replay, struct tape_in *in)
{
    replay->key = (enum tape_key)tape_get_uint(in, TAPE_KEY_CONFIG);
    if (in->bad) {
        return replay_bad(replay);
    }
    if (replay->has_was) { /* The key before did not end. */
        return replay_bad(replay);
    }
    replay->in_key = true;
    if (replay->key == TAPE_KEY_CONFIG && replay->engine) {
        replay->was = replay->config;
        replay->has_was = true;
        replay->config.guests = NULL;
        replay->config.n_guests = 0;
        replay->has_config = false;
        return 0;
    }
    if ((replay->key == TAPE_KEY_AGAIN || replay->key == TAPE_KEY_CONFIG) &&
        !replay->engine) {
        replay->counts.begins_amidst |= replay->counts.n_begun == 0;
        replay->counts.n_gaps += replay->counts.n_begun > 0;
        replay->key = TAPE_KEY_GAP;
    } else if (replay->key == TAPE_KEY_GAP) {
        replay->counts.n_gaps++;
    }
    if (replay->key != TAPE_KEY_AGAIN) {
        replay_end_engine(replay);
    }
    return 0;
}

/* What a key says is known to the engine already, but perhaps for the
 * configuration. */
static bool
is_known(const struct replay *replay)
{
    return replay->in_key && (replay->key == TAPE_KEY_AGAIN || replay->has_was);
}

static int
take_policy(struct replay *replay, struct tape_in *in)
{
    char why[160];

    if (is_known(replay)) {
        struct replay_counts counts = replay->counts;
        int error = replay_read_policy(replay, in);

        replay->counts = counts;
        return error;
    }
    int error = replay_read_policy(replay, in);
    if (error) {
        return error;
    }
    if (replay->in_key) {
        return replay_begin_engine(replay);
    }
    if (!replay->engine || replay->opts.policy) {
        return 0; /* Another one is in force all the time. */
    }
    error = engine_set_policy(replay->engine, replay->policy,
                              &replay->policy_options, replay->now, why,
                              sizeof why);
    return error ? replay_fail(replay, error, why) : 0;
}

static int
take_msg(struct replay *replay, struct tape_in *in)
{
    struct msg msg;

    tape_get_msg(in, &replay->slots, &msg);
    if (in->bad) {
        return replay_bad(replay);
    }
    if (!replay->engine || is_known(replay)) {
        return 0; /* Known already. */
    }
    if (msg.type == MSG_OUTCOME && !replay_fit_outcome(replay, &msg.outcome)) {
        return 0;
    }
    engine_on_event(replay->engine, &msg, replay->now);
    return 0;
}

static int
take_sent(struct replay *replay, struct tape_in *in)
{
    struct pending action;
    struct msg msg;

    tape_get_msg(in, &replay->slots, &msg);
    if (in->bad) {
        return replay_bad(replay);
    }
    if (replay_read_action(&msg, &action) &&
        replay->n_sent_then < REPLAY_PENDING_MAX) {
        replay->sent_then[replay->n_sent_then++] = action;
    }
    return 0;
}

static int
take_turn(struct replay *replay, struct tape_in *in)
{
    uint64_t flags = tape_get_uint(in, TAPE_TURN_EPOCH);

    if (in->bad) {
        return replay_bad(replay);
    }
    if (replay->engine) {
        replay->counts.n_turns++;
        replay_suppose_outcomes(replay);
        replay->n_decided = 0;
        engine_turn(replay->engine, flags & TAPE_TURN_EPOCH, replay->now);
        replay_compare(replay);
    }
    replay->n_events = 0;
    replay->n_sent_then = 0;
    return 0;
}

static int
take_entry(struct replay *replay, struct tape_in *in)
{
    uint64_t kind = tape_get_uint(in, TAPE_TURN);
    nsec_t now = replay->now;
    bool known = is_known(replay) && !replay->has_was;
    bool begun = replay->engine && !replay->has_was;

    if (__builtin_add_overflow(now, tape_get_int(in), &now) || now < 0 ||
        in->bad) {
        return replay_bad(replay);
    }
    replay->now = now;
    switch ((enum tape_kind)kind) {
    case TAPE_KEY:
        return take_key(replay, in);
    case TAPE_HOST:
        if (known) {
            replay_skip_host(in);
            return in->bad ? replay_bad(replay) : 0;
        }
        return begun ? replay_bad(replay) : replay_read_host(replay, in);
    case TAPE_GUEST:
        if (known) {
            replay_skip_guest(in);
            return in->bad ? replay_bad(replay) : 0;
        }
        return begun ? replay_bad(replay) : replay_read_guest(replay, in);
    case TAPE_POLICY:
        if (!replay->has_config) {
            return replay_bad(replay);
        }
        return take_policy(replay, in);
    case TAPE_KEY_END:
        replay->in_key = false;
        return replay->has_was ? replay_reconfigure(replay) : 0;
    case TAPE_MSG:
        return take_msg(replay, in);
    case TAPE_SENT:
        return take_sent(replay, in);
    case TAPE_TURN:
        return replay->has_was ? replay_bad(replay) : take_turn(replay, in);
    }
    return replay_bad(replay);
}

int
replay_input(struct replay *replay, const struct journal_input *input)
{
    struct tape_in in = {.data = input->data, .size = input->size};
    bool follows = replay->last_id && input->id == replay->last_id + 1;

    if (replay->ends) {
        return -EBADMSG;
    }
    if (!follows) {
        replay_end_engine(replay);
    }
    if (!input->whole && !follows) {
        replay->last_id = 0; /* Until the next that can be understood. */
        return 0;
    }
    if (input->whole) {
        tape_slots_clear(&replay->slots);
    }
    replay->last_id = input->id;
    replay->start = input->id >> REPLAY_ID_SHIFT;
    replay->now = input->time;
    replay->wall_ns = input->wall_ns;
    if (!replay->counts.first_wall_ns) {
        replay->counts.first_wall_ns = input->wall_ns;
    }
    replay->counts.last_wall_ns = input->wall_ns;
    int error = 0;
    while (in.used < in.size && !error) {
        error = take_entry(replay, &in);
    }
    return error;
}

void
replay_end(struct replay *replay, struct replay_counts *out)
{
    *out = replay->counts;
}
