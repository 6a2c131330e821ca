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
 * A file's bytes are a stranger's: what makes no sense ends the replay there.
 * Called by again.c. */
#include "broker/replay/replay.h"

#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/text.h"
#include "broker/config/config.h"
#include "broker/engine/engine.h"
#include "broker/engine/tape.h"
#include "model/cause.h"
#include "policy/policy.h"
#include "wire/msg.h"

#define ID_SHIFT 40
#define TURN_MAX 4096 /* Decisions, events and actions of one turn. */
#define PENDING_MAX 1024
#define SOME_HYPERVISOR "sim" /* Stands for whichever there was. */

/* A decision of then, with when it was. */
struct then {
    uint64_t start;
    nsec_t time;
    int64_t wall_ns;
    struct replay_decision decision;
};

/* An event that the engine itself noted now. */
struct own_event {
    char cause[REPLAY_CAUSE_SIZE], name[32];
    char subject[JOURNAL_SUBJECT_SIZE];
};

/* An action under way, and the command it had then; 0: it was not taken. */
struct pending {
    uint64_t command, twin, cause;
    bool release;
    uint32_t domain, pstate;
};

struct replay {
    struct replay_opts opts;
    void (*differs)(void *ctx, const struct replay_difference *);
    void *ctx;
    struct replay_counts counts;
    char why[200];

    struct then *then; /* Owned; in the order of the rows. */
    size_t n_then, max_then, next_then;
    uint64_t
        first_row; /* The first that is left; before it nothing is known. */
    nsec_t first_row_time;

    struct tape_slots slots;
    struct broker_config config;
    bool has_config, in_key, ends;
    enum tape_key key;
    char policy[64]; /* Then, with its options. */
    struct option_values policy_options;
    const struct policy_class *policy_class;
    struct journal *journal;
    struct engine *engine;
    struct engine_port port;
    uint64_t start, last_id; /* Of the input before. */
    nsec_t now;
    int64_t wall_ns;

    struct replay_decision *decided; /* In this turn; owned. */
    struct own_event *events;        /* Likewise. */
    uint32_t n_decided, n_events;
    struct pending sent_then[PENDING_MAX]; /* In this turn. */
    uint32_t n_sent_then;
    struct pending pending[PENDING_MAX];
    uint32_t n_pending;
};

static int to_platform(void *ctx, const struct msg *);
static void watch(void *ctx, const char *json);
static int fail(struct replay *, int error, const char *why);

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
    replay->port = (struct engine_port){
        .ctx = replay, .to_platform = to_platform, .watch = watch};
    replay->decided = calloc(TURN_MAX, sizeof *replay->decided);
    replay->events = calloc(TURN_MAX, sizeof *replay->events);
    if (!replay->decided || !replay->events ||
        tape_slots_init(&replay->slots, TAPE_SLOTS_MAX)) {
        replay_destroy(replay);
        return -ENOMEM;
    }
    *out = replay;
    return 0;
}

static void
end_engine(struct replay *replay)
{
    engine_destroy(replay->engine);
    journal_close(replay->journal);
    replay->engine = NULL;
    replay->journal = NULL;
    replay->n_pending = 0;
    replay->n_sent_then = 0;
}

static void
end_config(struct replay *replay)
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
    end_engine(replay);
    end_config(replay);
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

static int
fail(struct replay *replay, int error, const char *why)
{
    replay->ends = true;
    text_copy(replay->why, sizeof replay->why, why);
    return error;
}

/* Decisions. */

/* In words that are the same for the same decision. */
static void
say_what(const json_t *detail, char out[REPLAY_WHAT_SIZE])
{
    const json_t *pstate = json_object_get(detail, "pstate");
    const json_t *wished = json_object_get(detail, "wished");

    if (json_is_false(json_object_get(detail, "effect"))) {
        if (wished) {
            snprintf(out, REPLAY_WHAT_SIZE,
                     "no change, wished p-state %" JSON_INTEGER_FORMAT,
                     json_integer_value(wished));
        } else {
            snprintf(out, REPLAY_WHAT_SIZE, "no change, wish withdrawn");
        }
    } else if (pstate) {
        snprintf(out, REPLAY_WHAT_SIZE, "p-state %" JSON_INTEGER_FORMAT,
                 json_integer_value(pstate));
    } else {
        snprintf(out, REPLAY_WHAT_SIZE, "released");
    }
}

void
replay_row(struct replay *replay, const struct journal_row *row)
{
    if (!replay->first_row) {
        replay->first_row = row->id;
        replay->first_row_time = row->time;
    }
    if (row->kind != JOURNAL_DECISION || replay->ends) {
        return;
    }
    if (replay->n_then == replay->max_then) {
        size_t max = replay->max_then ? 2 * replay->max_then : 1024;
        struct then *then = realloc(replay->then, max * sizeof *then);

        if (!then) {
            (void)fail(replay, -ENOMEM, "no memory for the decisions of then");
            return;
        }
        replay->then = then;
        replay->max_then = max;
    }
    struct then *then = &replay->then[replay->n_then++];
    json_t *detail = json_loads(row->detail, 0, NULL);
    then->start = row->id >> ID_SHIFT;
    then->time = row->time;
    then->wall_ns = row->wall_ns;
    text_copy(then->decision.subject, sizeof then->decision.subject,
              row->subject);
    text_copy(then->decision.rule, sizeof then->decision.rule, row->name);
    say_what(detail, then->decision.what);
    cause_format(row->cause, then->decision.cause);
    json_decref(detail);
}

/* What the engine shows those who watch; we are one. */
static void
watch(void *ctx, const char *json)
{
    struct replay *replay = ctx;
    json_t *line = json_loads(json, 0, NULL);
    const char *type = json_string_value(json_object_get(line, "type"));
    const char *cause = json_string_value(json_object_get(line, "cause"));
    const char *name = json_string_value(json_object_get(line, "name"));
    const char *subject = json_string_value(json_object_get(line, "subject"));

    if (!type || !cause || !name || !subject) {
        json_decref(line);
        return;
    }
    if (!strcmp(type, "decision") && replay->n_decided < TURN_MAX) {
        struct replay_decision *decision =
            &replay->decided[replay->n_decided++];

        text_copy(decision->subject, sizeof decision->subject, subject);
        text_copy(decision->rule, sizeof decision->rule, name);
        text_copy(decision->cause, sizeof decision->cause, cause);
        say_what(json_object_get(line, "detail"), decision->what);
    } else if (!strcmp(type, "event") && replay->n_events < TURN_MAX) {
        struct own_event *event = &replay->events[replay->n_events++];

        text_copy(event->cause, sizeof event->cause, cause);
        text_copy(event->name, sizeof event->name, name);
        text_copy(event->subject, sizeof event->subject, subject);
    }
    json_decref(line);
}

static void
tell_difference(struct replay *replay, const struct then *then,
                const struct replay_decision *now)
{
    struct replay_difference difference = {
        .time = replay->now,
        .wall_ns = then ? then->wall_ns : replay->wall_ns,
        .then = then ? &then->decision : NULL,
        .now = now,
        .event = "",
        .event_subject = ""};

    for (uint32_t i = 0; now && i < replay->n_events; i++) {
        if (!strcmp(replay->events[i].cause, now->cause)) {
            difference.event = replay->events[i].name;
            difference.event_subject = replay->events[i].subject;
        }
    }
    replay->counts.n_differences++;
    replay->differs(replay->ctx, &difference);
}

static bool
is_same(const struct replay_decision *a, const struct replay_decision *b)
{
    return !strcmp(a->subject, b->subject) && !strcmp(a->rule, b->rule) &&
           !strcmp(a->what, b->what);
}

/* Rows of then are known from here on. */
static bool
rows_are_known(const struct replay *replay)
{
    uint64_t first = replay->first_row >> ID_SHIFT;

    return replay->first_row &&
           (replay->start > first ||
            (replay->start == first && replay->now >= replay->first_row_time));
}

/* The decisions of then that are of this very turn: [*begin, end). */
static size_t
then_of_turn(struct replay *replay, size_t *begin)
{
    while (replay->next_then < replay->n_then) {
        const struct then *then = &replay->then[replay->next_then];

        if (then->start > replay->start ||
            (then->start == replay->start && then->time >= replay->now)) {
            break;
        }
        replay->next_then++; /* Of a turn that the tape does not have. */
        replay->counts.n_passed++;
    }
    *begin = replay->next_then;
    while (replay->next_then < replay->n_then &&
           replay->then[replay->next_then].start == replay->start &&
           replay->then[replay->next_then].time == replay->now) {
        replay->next_then++;
    }
    return replay->next_then;
}

static void
compare(struct replay *replay)
{
    bool matched[TURN_MAX] = {false};
    size_t begin, end = then_of_turn(replay, &begin);

    replay->counts.n_then += end - begin;
    replay->counts.n_now += replay->n_decided;
    if (!rows_are_known(replay)) {
        replay->counts.n_unknown += replay->n_decided;
        return;
    }
    for (size_t i = begin; i < end; i++) {
        struct then *then = &replay->then[i];
        const struct replay_decision *other = NULL;
        uint32_t at = 0;

        for (uint32_t j = 0; j < replay->n_decided && !other; j++) {
            if (!matched[j] && is_same(&then->decision, &replay->decided[j])) {
                other = &replay->decided[j];
                at = j;
            }
        }
        if (other) {
            matched[at] = true;
            replay->counts.n_same++;
            then->decision.subject[0] = '\0'; /* Done with. */
        }
    }
    for (size_t i = begin; i < end; i++) {
        struct then *then = &replay->then[i];
        const struct replay_decision *other = NULL;

        if (!then->decision.subject[0]) {
            continue;
        }
        for (uint32_t j = 0; j < replay->n_decided && !other; j++) {
            if (!matched[j] &&
                !strcmp(then->decision.subject, replay->decided[j].subject)) {
                other = &replay->decided[j];
                matched[j] = true;
            }
        }
        tell_difference(replay, then, other);
    }
    for (uint32_t j = 0; j < replay->n_decided; j++) {
        if (!matched[j]) {
            tell_difference(replay, NULL, &replay->decided[j]);
        }
    }
}

/* Actions. */

static bool
read_action(const struct msg *msg, struct pending *out)
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

/* The engine sends: the one that was sent then in this turn, or another. */
static int
to_platform(void *ctx, const struct msg *msg)
{
    struct replay *replay = ctx;
    struct pending action;

    if (!read_action(msg, &action) || replay->n_pending == PENDING_MAX) {
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

/* What was not done then is supposed to have been done by now. */
static void
suppose_outcomes(struct replay *replay)
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

/* True if it is the outcome of something that was done now, too. */
static bool
fit_outcome(struct replay *replay, struct msg_outcome *outcome)
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

/* Beginning. */

static const struct policy_class *
policy_now(const struct replay *replay, const struct option_values **options)
{
    *options =
        replay->opts.policy ? replay->opts.options : &replay->policy_options;
    return replay->opts.policy ? replay->opts.policy : replay->policy_class;
}

static int
begin_engine(struct replay *replay)
{
    const struct journal_opts opts = {.size_max = 1 << 20,
                                      .age_max_s = INT64_MAX};
    const struct option_values *options;

    end_engine(replay);
    replay->config.policy = policy_now(replay, &options);
    if (!replay->config.policy) {
        return fail(replay, -ENOENT,
                    "no policy of this build is named so: it "
                    "was in force then; name one");
    }
    if (options) {
        replay->config.policy_options = *options;
    } else {
        options_init(&replay->config.policy_options,
                     replay->config.policy->options);
    }
    int error = journal_open(&replay->journal, NULL, &opts, replay->why,
                             sizeof replay->why);
    if (!error) {
        error = engine_create(&replay->engine, &replay->config, &replay->port,
                              replay->journal, replay->now);
    }
    replay->counts.n_begun++;
    replay->n_decided = replay->n_events = 0;
    return error ? fail(replay, error,
                        "no engine can be made of what the "
                        "first inputs say")
                 : 0;
}

static int
bad(struct replay *replay)
{
    char id[CAUSE_TEXT_SIZE], why[120];

    cause_format(replay->last_id, id);
    snprintf(why, sizeof why, "block %s of the inputs makes no sense", id);
    return fail(replay, -EBADMSG, why);
}

static int
read_host(struct replay *replay, struct tape_in *in)
{
    struct broker_config config;
    char why[CONFIG_WHY_SIZE];

    if (config_default(&config, why, sizeof why)) {
        return fail(replay, -ENOMEM, why);
    }
    tape_get_text(in, config.domain, sizeof config.domain);
    tape_get_text(in, config.host_id, sizeof config.host_id);
    config.epoch_ns = (nsec_t)tape_get_uint(in, 3600 * NSEC_PER_SEC);
    config.dwell_ns = (nsec_t)tape_get_uint(in, 3600 * NSEC_PER_SEC);
    config.hypervisor =
        tape_get_uint(in, 1) ? hypervisor_find(SOME_HYPERVISOR) : NULL;
    config.quota.rows_per_second = (uint32_t)tape_get_uint(in, UINT16_MAX);
    config.n_cpus = (uint32_t)tape_get_uint(in, CONFIG_CPUS_MAX);
    for (uint32_t i = 0; i < config.n_cpus; i++) {
        config.cpus[i] = (uint32_t)tape_get_uint(in, UINT16_MAX);
    }
    config.guests = calloc(CONFIG_GUESTS_MAX, sizeof *config.guests);
    if (replay->opts.dwell_ns >= 0) {
        config.dwell_ns = replay->opts.dwell_ns;
    }
    end_config(replay);
    replay->config = config;
    replay->has_config = true;
    if (!config.guests) {
        return fail(replay, -ENOMEM, "no memory for the guests");
    }
    return in->bad || config.epoch_ns <= 0 || !text_is_name(config.domain) ||
                   !text_is_name(config.host_id)
               ? bad(replay)
               : 0;
}

static int
read_guest(struct replay *replay, struct tape_in *in)
{
    struct guest_config guest;

    memset(&guest, 0, sizeof guest);
    tape_get_uuid(in, &guest.uuid);
    tape_get_text(in, guest.name, sizeof guest.name);
    guest.quota.rows_per_second = (uint32_t)tape_get_uint(in, UINT16_MAX);
    guest.n_vcpus = (uint32_t)tape_get_uint(in, VM_VCPUS_MAX);
    for (uint32_t i = 0; i < guest.n_vcpus; i++) {
        guest.vcpu_cpu[i] = (uint32_t)tape_get_uint(in, UINT16_MAX);
    }
    if (in->bad || !replay->has_config || !text_is_name(guest.name) ||
        replay->config.n_guests == CONFIG_GUESTS_MAX ||
        config_guest(&replay->config, &guest.uuid)) {
        return bad(replay);
    }
    replay->config.guests[replay->config.n_guests++] = guest;
    return 0;
}

/* Of a key that is skipped: read over what it says. */
static void
skip_guest(struct tape_in *in)
{
    char name[VM_NAME_SIZE];
    struct uuid uuid;

    tape_get_uuid(in, &uuid);
    tape_get_text(in, name, sizeof name);
    (void)tape_get_uint(in, UINT16_MAX);
    for (uint64_t n = tape_get_uint(in, VM_VCPUS_MAX); n > 0; n--) {
        (void)tape_get_uint(in, UINT16_MAX);
    }
}

static void
skip_host(struct tape_in *in)
{
    char text[VM_NAME_SIZE];

    tape_get_text(in, text, sizeof text);
    tape_get_text(in, text, sizeof text);
    for (int i = 0; i < 4; i++) {
        (void)tape_get_uint(in, UINT64_MAX);
    }
    for (uint64_t n = tape_get_uint(in, CONFIG_CPUS_MAX); n > 0; n--) {
        (void)tape_get_uint(in, UINT16_MAX);
    }
}

/* A policy of then.  One that this build has not, or options that it does not
 * take, matter only if it is to be asked now. */
static int
read_policy(struct replay *replay, struct tape_in *in)
{
    char name[64], text[OPTION_TEXT_MAX + 1], why[160] = "";
    struct option_values values;
    int error = 0;

    tape_get_text(in, replay->policy, sizeof replay->policy);
    const struct policy_class *policy = policy_find(replay->policy);
    options_init(&values, policy ? policy->options : NULL);
    for (uint64_t n = tape_get_uint(in, OPTION_MAX); n > 0; n--) {
        tape_get_text(in, name, sizeof name);
        tape_get_text(in, text, sizeof text);
        if (policy && !in->bad && !error) {
            error = options_set(&values, name, text, why, sizeof why);
        }
    }
    if (in->bad) {
        return bad(replay);
    }
    text_copy(replay->counts.policy_then, sizeof replay->counts.policy_then,
              replay->policy);
    if (error && !replay->opts.policy) {
        return fail(replay, -EINVAL, why);
    }
    replay->policy_class = policy;
    replay->policy_options = values;
    return 0;
}

/* Entries. */

static int
take_key(struct replay *replay, struct tape_in *in)
{
    replay->key = (enum tape_key)tape_get_uint(in, TAPE_KEY_GAP);
    if (in->bad) {
        return bad(replay);
    }
    replay->in_key = true;
    if (replay->key == TAPE_KEY_AGAIN && !replay->engine) {
        replay->counts.begins_amidst |= replay->counts.n_begun == 0;
        replay->counts.n_gaps += replay->counts.n_begun > 0;
        replay->key = TAPE_KEY_GAP;
    } else if (replay->key == TAPE_KEY_GAP) {
        replay->counts.n_gaps++;
    }
    if (replay->key != TAPE_KEY_AGAIN) {
        end_engine(replay);
    }
    return 0;
}

static int
take_policy(struct replay *replay, struct tape_in *in)
{
    char why[160];

    if (replay->in_key && replay->key == TAPE_KEY_AGAIN) {
        struct replay_counts counts = replay->counts;
        int error = read_policy(replay, in);

        replay->counts = counts;
        return error;
    }
    int error = read_policy(replay, in);
    if (error) {
        return error;
    }
    if (replay->in_key) {
        return begin_engine(replay);
    }
    if (!replay->engine || replay->opts.policy) {
        return 0; /* Another one is in force all the time. */
    }
    error = engine_set_policy(replay->engine, replay->policy,
                              &replay->policy_options, replay->now, why,
                              sizeof why);
    return error ? fail(replay, error, why) : 0;
}

static int
take_msg(struct replay *replay, struct tape_in *in)
{
    struct msg msg;

    tape_get_msg(in, &replay->slots, &msg);
    if (in->bad) {
        return bad(replay);
    }
    if (!replay->engine || (replay->in_key && replay->key == TAPE_KEY_AGAIN)) {
        return 0; /* Known already. */
    }
    if (msg.type == MSG_OUTCOME && !fit_outcome(replay, &msg.outcome)) {
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
        return bad(replay);
    }
    if (read_action(&msg, &action) && replay->n_sent_then < PENDING_MAX) {
        replay->sent_then[replay->n_sent_then++] = action;
    }
    return 0;
}

static int
take_turn(struct replay *replay, struct tape_in *in)
{
    uint64_t flags = tape_get_uint(in, TAPE_TURN_EPOCH);

    if (in->bad) {
        return bad(replay);
    }
    if (replay->engine) {
        replay->counts.n_turns++;
        suppose_outcomes(replay);
        replay->n_decided = 0;
        engine_turn(replay->engine, flags & TAPE_TURN_EPOCH, replay->now);
        compare(replay);
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
    bool known = replay->in_key && replay->key == TAPE_KEY_AGAIN;

    if (__builtin_add_overflow(now, tape_get_int(in), &now) || now < 0 ||
        in->bad) {
        return bad(replay);
    }
    replay->now = now;
    switch ((enum tape_kind)kind) {
    case TAPE_KEY:
        return take_key(replay, in);
    case TAPE_HOST:
        if (known) {
            skip_host(in);
            return in->bad ? bad(replay) : 0;
        }
        return replay->engine ? bad(replay) : read_host(replay, in);
    case TAPE_GUEST:
        if (known) {
            skip_guest(in);
            return in->bad ? bad(replay) : 0;
        }
        return replay->engine ? bad(replay) : read_guest(replay, in);
    case TAPE_POLICY:
        if (!replay->has_config) {
            return bad(replay);
        }
        return take_policy(replay, in);
    case TAPE_KEY_END:
        replay->in_key = false;
        return 0;
    case TAPE_MSG:
        return take_msg(replay, in);
    case TAPE_SENT:
        return take_sent(replay, in);
    case TAPE_TURN:
        return take_turn(replay, in);
    }
    return bad(replay);
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
        end_engine(replay);
    }
    if (!input->whole && !follows) {
        replay->last_id = 0; /* Until the next that can be understood. */
        return 0;
    }
    if (input->whole) {
        tape_slots_clear(&replay->slots);
    }
    replay->last_id = input->id;
    replay->start = input->id >> ID_SHIFT;
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
