/* SPDX-License-Identifier: Apache-2.0 */
/* Decisions of then, from the journal's rows, and of now, as the engine shows
 * them to those who watch, put side by side turn by turn.  The same subject,
 * rule and words are the same decision; the rest are told as differences, in
 * pairs where they are of one knob.  Decisions of now from before the first row
 * that is left can't be compared and are counted so.  Relies on replay.c to
 * call it once a turn, with rows given before in their order. */
#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/text.h"
#include "broker/replay/replay_parts.h"
#include "model/cause.h"
#include "wire/jsonread.h"

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
            (void)replay_fail(replay, -ENOMEM,
                              "no memory for the decisions of then");
            return;
        }
        replay->then = then;
        replay->max_then = max;
    }
    struct then *then = &replay->then[replay->n_then++];
    json_t *detail = jsonread(row->detail, strlen(row->detail), 0, NULL);
    then->start = row->id >> REPLAY_ID_SHIFT;
    then->time = row->time;
    then->wall_ns = row->wall_ns;
    text_copy(then->decision.subject, sizeof then->decision.subject,
              row->subject);
    text_copy(then->decision.rule, sizeof then->decision.rule, row->name);
    say_what(detail, then->decision.what);
    cause_format(row->cause, then->decision.cause);
    json_decref(detail);
}

void
replay_watch(void *ctx, const char *json)
{
    struct replay *replay = ctx;
    json_t *line = jsonread(json, strlen(json), 0, NULL);
    const char *type = json_string_value(json_object_get(line, "type"));
    const char *cause = json_string_value(json_object_get(line, "cause"));
    const char *name = json_string_value(json_object_get(line, "name"));
    const char *subject = json_string_value(json_object_get(line, "subject"));

    if (!type || !cause || !name || !subject) {
        json_decref(line);
        return;
    }
    if (!strcmp(type, "decision") && replay->n_decided < REPLAY_TURN_MAX) {
        struct replay_decision *decision =
            &replay->decided[replay->n_decided++];

        text_copy(decision->subject, sizeof decision->subject, subject);
        text_copy(decision->rule, sizeof decision->rule, name);
        text_copy(decision->cause, sizeof decision->cause, cause);
        say_what(json_object_get(line, "detail"), decision->what);
    } else if (!strcmp(type, "event") && replay->n_events < REPLAY_TURN_MAX) {
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
    uint64_t first = replay->first_row >> REPLAY_ID_SHIFT;

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

void
replay_compare(struct replay *replay)
{
    bool matched[REPLAY_TURN_MAX] = {false};
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
