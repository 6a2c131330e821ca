/* SPDX-License-Identifier: Apache-2.0 */
/* Replays a journal's file for mjournal: reads it once for rows and inputs, and
 * once more for the events that the differences came of; then says what
 * differs, and what could not be replayed and why.  Relies on replay.c for the
 * replay itself; called by mjournal.c. */
#include "broker/replay/again.h"

#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "base/text.h"
#include "broker/config/config.h"
#include "broker/control/show.h"
#include "broker/journal/journalread.h"
#include "broker/replay/look.h"
#include "broker/replay/replay.h"
#include "model/cause.h"
#include "policy/policy.h"

#define DIFFERENCES_MAX 100000 /* Told one by one; all are counted. */

struct difference {
    nsec_t time;
    int64_t wall_ns;
    bool has_then, has_now;
    struct replay_decision then, now;
    uint64_t cause; /* Of the row of then that tells the event; 0: none. */
    char event[32], event_subject[JOURNAL_SUBJECT_SIZE];
};

struct replaying {
    struct replay *replay;
    struct difference *differences; /* Owned. */
    struct difference **by_cause;   /* Owned; those that need an event. */
    size_t n, max, n_by_cause;
    uint64_t n_not_told;
    int error;
};

/* What is to be in force. */

static int
read_option(struct option_values *values, char *text, char *why,
            size_t why_size)
{
    char *equals = strchr(text, '=');

    if (!equals) {
        snprintf(why, why_size,
                 "\"%.60s\" is no option; write NAME:KEY=VALUE,KEY=VALUE",
                 text);
        return -EINVAL;
    }
    *equals = '\0';
    return options_set(values, text, equals + 1, why, why_size);
}

static int
read_policy(const char *text, struct replay_opts *opts,
            struct option_values *values, char *why, size_t why_size)
{
    char copy[1024], *at = NULL;

    if (text_copy(copy, sizeof copy, text)) {
        snprintf(why, why_size, "the policy's options are too long");
        return -EINVAL;
    }
    char *options = strchr(copy, ':');
    if (options) {
        *options++ = '\0';
    }
    opts->policy = policy_find(copy);
    if (!opts->policy) {
        snprintf(why, why_size, "there is no policy \"%.60s\"", copy);
        return -ENOENT;
    }
    options_init(values, opts->policy->options);
    opts->options = values;
    for (char *option = options ? strtok_r(options, ",", &at) : NULL; option;
         option = strtok_r(NULL, ",", &at)) {
        int error = read_option(values, option, why, why_size);
        if (error) {
            return error;
        }
    }
    return opts->policy->check ? opts->policy->check(values, why, why_size) : 0;
}

static int
read_config(const char *path, struct replay_opts *opts,
            struct option_values *values, char *why, size_t why_size)
{
    struct broker_config config;
    char *text = NULL;

    int error = config_load_text(&text, path, why, why_size);
    if (!error) {
        error = config_parse(&config, text, path, why, why_size);
    }
    free(text);
    if (error) {
        return error;
    }
    opts->policy = config.policy;
    *values = config.policy_options;
    opts->options = values;
    opts->dwell_ns = config.dwell_ns;
    config_fini(&config);
    return 0;
}

/* Differences. */

static void
take_difference(void *ctx, const struct replay_difference *from)
{
    struct replaying *replaying = ctx;

    if (replaying->n == replaying->max) {
        size_t max = replaying->max ? 2 * replaying->max : 64;
        struct difference *grown =
            replaying->n < DIFFERENCES_MAX
                ? realloc(replaying->differences, max * sizeof *grown)
                : NULL;

        if (!grown) {
            replaying->n_not_told++;
            return;
        }
        replaying->differences = grown;
        replaying->max = max;
    }
    struct difference *to = &replaying->differences[replaying->n++];
    memset(to, 0, sizeof *to);
    to->time = from->time;
    to->wall_ns = from->wall_ns;
    to->has_then = from->then != NULL;
    to->has_now = from->now != NULL;
    if (from->now) {
        to->now = *from->now;
        text_copy(to->event, sizeof to->event, from->event);
        text_copy(to->event_subject, sizeof to->event_subject,
                  from->event_subject);
    }
    if (from->then) {
        to->then = *from->then;
        (void)cause_parse(&to->cause, from->then->cause, 1);
    }
}

static int
compare(const void *a, const void *b)
{
    uint64_t x = (*(struct difference *const *)a)->cause;
    uint64_t y = (*(struct difference *const *)b)->cause;

    return (x > y) - (x < y);
}

static int
sort_by_cause(struct replaying *replaying)
{
    size_t size = replaying->n ? replaying->n : 1;

    replaying->by_cause = calloc(size, sizeof *replaying->by_cause);
    if (!replaying->by_cause) {
        return -ENOMEM;
    }
    for (size_t i = 0; i < replaying->n; i++) {
        if (replaying->differences[i].cause) {
            replaying->by_cause[replaying->n_by_cause++] =
                &replaying->differences[i];
        }
    }
    if (replaying->n_by_cause) {
        qsort(replaying->by_cause, replaying->n_by_cause,
              sizeof *replaying->by_cause, compare);
    }
    return 0;
}

/* The event that led to a decision of then is the row of its cause. */
static void
take_event(void *ctx, const struct journal_row *row)
{
    struct replaying *replaying = ctx;
    size_t low = 0, high = replaying->n_by_cause;

    if (row->kind != JOURNAL_EVENT || !row->cause) {
        return;
    }
    while (low < high) {
        size_t middle = (low + high) / 2;

        if (replaying->by_cause[middle]->cause < row->cause) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    for (; low < replaying->n_by_cause &&
           replaying->by_cause[low]->cause == row->cause;
         low++) {
        struct difference *difference = replaying->by_cause[low];

        text_copy(difference->event, sizeof difference->event, row->name);
        text_copy(difference->event_subject, sizeof difference->event_subject,
                  row->subject);
    }
}

/* Saying. */

static json_t *
show_decision(bool has, const struct replay_decision *decision)
{
    return has ? json_pack("{s:s,s:s,s:s}", "rule", decision->rule, "what",
                           decision->what, "cause", decision->cause)
               : json_null();
}

static int
put_difference(FILE *out, const struct difference *difference)
{
    const struct replay_decision *any =
        difference->has_then ? &difference->then : &difference->now;

    return look_put_line(
        out,
        json_pack("{s:{s:I,s:I,s:s,s:s,s:s,s:o,s:o}}", "difference", "time_ns",
                  (json_int_t)difference->time, "wall_ns",
                  (json_int_t)difference->wall_ns, "event", difference->event,
                  "event_subject", difference->event_subject, "knob",
                  any->subject, "then",
                  show_decision(difference->has_then, &difference->then), "now",
                  show_decision(difference->has_now, &difference->now)));
}

static void
add_word(json_t *words, uint64_t n, const char *format)
{
    char text[240];

    if (n) {
        /* One of ours, with one number in it. */
        snprintf(text, sizeof text, "%" PRIu64 " %s", n, format);
        json_array_append_new(words, json_string(text));
    }
}

static json_t *
show_limits(const struct replaying *replaying, const struct again *again,
            const struct replay_counts *counts)
{
    json_t *words = json_array();

    if (counts->begins_amidst) {
        json_array_append_new(
            words, json_string("the first inputs are gone: what the policy "
                               "itself remembered then is not known, so that "
                               "the first decisions may differ for that"));
    }
    add_word(words, counts->n_gaps,
             "times inputs are missing: the policy begins anew behind");
    add_word(words, counts->n_passed,
             "decisions of then are of turns that are not among the inputs");
    add_word(words, counts->n_unknown,
             "decisions are of a time whose rows are gone");
    add_word(words, counts->n_supposed,
             "actions were not taken then: they are supposed to have worked");
    if (again->policy[0] || again->config[0]) {
        json_array_append_new(
            words, json_string("the guests' load and utilization are those of "
                               "then, though other p-states would have changed "
                               "them"));
    }
    if (again->config[0]) {
        json_array_append_new(
            words, json_string("of the configuration only policy and dwell_ms "
                               "are taken; CPUs, guests and times are those of "
                               "then"));
    }
    add_word(words, replaying->n_not_told,
             "differences are counted and not shown");
    return words;
}

static int
put_summary(FILE *out, const struct replaying *replaying,
            const struct again *again, const struct replay_opts *opts,
            const struct replay_counts *counts)
{
    const char *why = replay_why(replaying->replay);

    return look_put_line(
        out,
        json_pack("{s:{s:s,s:s,s:I,s:I,s:I,s:I,s:I,s:I,s:I,s:o,s:o}}", "replay",
                  "policy_then", counts->policy_then, "policy_now",
                  opts->policy ? opts->policy->name : counts->policy_then,
                  "first_wall_ns", (json_int_t)counts->first_wall_ns,
                  "last_wall_ns", (json_int_t)counts->last_wall_ns, "turns",
                  (json_int_t)counts->n_turns, "decisions_then",
                  (json_int_t)counts->n_then, "decisions_now",
                  (json_int_t)counts->n_now, "same", (json_int_t)counts->n_same,
                  "differences", (json_int_t)counts->n_differences, "limits",
                  show_limits(replaying, again, counts), "stopped",
                  show_text(why)));
}

static void
take_row(void *ctx, const struct journal_row *row)
{
    replay_row(((struct replaying *)ctx)->replay, row);
}

static void
take_input(void *ctx, const struct journal_input *input)
{
    struct replaying *replaying = ctx;

    if (!replaying->error) {
        replaying->error = replay_input(replaying->replay, input);
    }
}

static int
run(const struct again *again, const struct replay_opts *opts,
    struct replaying *replaying, FILE *out, char *why, size_t why_size)
{
    const struct journal_reading first = {
        .row = take_row, .input = take_input, .ctx = replaying};
    const struct journal_reading second = {.row = take_event, .ctx = replaying};
    struct journal_report report, ignored;
    struct replay_counts counts;

    int error = journalread_file(again->path, &first, &report, why, why_size);
    if (error) {
        return error;
    }
    replay_end(replaying->replay, &counts);
    if (!counts.n_begun) {
        snprintf(why, why_size, "%s: %s", again->path,
                 replaying->error ? replay_why(replaying->replay)
                                  : "no inputs were kept in it "
                                    "(journal.inputs_mb), so nothing can be "
                                    "replayed");
        return -ENODATA;
    }
    error = sort_by_cause(replaying);
    if (!error) {
        error = journalread_file(again->path, &second, &ignored, why, why_size);
    }
    for (size_t i = 0; i < replaying->n && !error; i++) {
        error = put_difference(out, &replaying->differences[i]);
    }
    if (!error) {
        error = put_summary(out, replaying, again, opts, &counts);
    }
    if (!error) {
        error = look_put_report(out, &report, "", 0);
    }
    return error;
}

int
again_replay(const struct again *again, FILE *out, char *why, size_t why_size)
{
    struct replay_opts opts = {.dwell_ns = -1};
    struct replaying replaying = {.n = 0};
    struct option_values values;
    int error = 0;

    if (again->config[0]) {
        error = read_config(again->config, &opts, &values, why, why_size);
    }
    if (!error && again->policy[0]) {
        error = read_policy(again->policy, &opts, &values, why, why_size);
    }
    if (!error) {
        error = replay_create(&replaying.replay, &opts, take_difference,
                              &replaying);
    }
    if (!error) {
        error = run(again, &opts, &replaying, out, why, why_size);
    }
    replay_destroy(replaying.replay);
    free(replaying.differences);
    free(replaying.by_cause);
    return error;
}
