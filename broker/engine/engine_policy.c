/* SPDX-License-Identifier: Apache-2.0 */
/* The policy in force: put there as a whole or not at all, asked once a turn,
 * its wishes given to the arbiter.  The one place that opens the door policy/.
 * Relies on arbiter.c; called by engine.c, and by the control socket when
 * people want another one. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "broker/engine/engine_parts.h"

/* Two VMs' states lie apart, each fit for any member. */
#define STATE_ALIGN 16

static size_t
state_step(const struct policy_class *policy)
{
    return (policy->vm_state_size + STATE_ALIGN - 1) / STATE_ALIGN *
           STATE_ALIGN;
}

/* Checks a policy and its options; '*out' are those that will hold. */
static int
check_policy(const struct policy_class *policy, const char *name,
             const struct option_values *options, struct option_values *out,
             char *why, size_t why_size)
{
    if (!policy) {
        snprintf(why, why_size, "there is no policy \"%.64s\"", name);
        return -ENOENT;
    }
    if (options && options->descs != policy->options) {
        snprintf(why, why_size, "these are not the options of policy %s",
                 policy->name);
        return -EINVAL;
    }
    if (options) {
        *out = *options;
    } else {
        options_init(out, policy->options);
    }
    return policy->check ? policy->check(out, why, why_size) : 0;
}

static void
record_policy(struct engine *engine, uint64_t cause, nsec_t now)
{
    const struct option_desc *desc = engine->policy->options;
    char subject[NAME_TEXT_SIZE];
    struct jsonline line;

    engine_subject_broker(engine, subject);
    engine_detail(engine, &line);
    jsonline_text(&line, "policy", engine->policy->name);
    if (jsonline_open_object(&line, "options")) {
        for (size_t i = 0; desc && desc[i].name; i++) {
            if (engine->options.value[i].given) {
                jsonline_text(&line, desc[i].name,
                              engine->options.value[i].text);
            }
        }
        jsonline_close(&line);
    }
    engine_record(engine, JOURNAL_EVENT, cause, 0, subject, "POLICY_SET", &line,
                  now);
}

void
engine_zero_policy_states(struct engine *engine)
{
    const struct policy_class *policy = engine->policy;

    if (engine->host_state) {
        memset(engine->host_state, 0, policy->host_state_size);
    }
    if (engine->vm_states) {
        memset(engine->vm_states, 0, engine->host.max_vms * state_step(policy));
    }
}

void
engine_clear_news(struct engine *engine)
{
    engine->urgent = false;
    for (uint32_t i = 0; i < engine->host.n_vms; i++) {
        engine_clear_note_news(&engine->host.vms[i]);
        engine->host.vms[i].news = 0;
    }
}

/* Puts a checked policy in the place of the old one. */
static void
put_in_force(struct engine *engine, const struct policy_class *policy,
             const struct option_values *options, void *host_state,
             unsigned char *vm_states, nsec_t now)
{
    size_t step = state_step(policy);
    size_t n_times = (size_t)engine->host.max_domains * PSTATES_MAX;

    free(engine->host_state);
    free(engine->vm_states);
    engine->policy = policy;
    engine->options = *options;
    engine->host_state = host_state;
    engine->vm_states = vm_states;
    for (uint32_t i = 0; i < engine->host.max_vms; i++) {
        engine->host.vms[i].policy_state =
            vm_states ? vm_states + i * step : NULL;
    }
    memset(&engine->counts, 0, sizeof engine->counts);
    memset(engine->pstate_time, 0, n_times * sizeof *engine->pstate_time);
    engine->accounted = now;
    engine->n_fresh = 0;
    engine_clear_news(engine);
    engine_ask_for_notes(engine);
    engine->next_epoch = now; /* So that it is asked in this very turn. */
}

int
engine_set_policy(struct engine *engine, const char *name,
                  const struct option_values *options, nsec_t now, char *why,
                  size_t why_size)
{
    const struct policy_class *policy = policy_find(name);
    struct engine_next next;
    struct option_values checked;

    int error = check_policy(policy, name, options, &checked, why, why_size);
    if (!error) {
        error = engine_prepare_policy(engine, policy, &next, why, why_size);
    }
    if (!error) {
        engine_take_policy(engine, policy, &checked, &next, now);
    }
    return error;
}

int
engine_prepare_policy(const struct engine *engine,
                      const struct policy_class *policy,
                      struct engine_next *out, char *why, size_t why_size)
{
    struct engine_next next = {.host_state = NULL};

    if (policy->host_state_size) {
        next.host_state = calloc(1, policy->host_state_size);
    }
    if (policy->vm_state_size) {
        next.vm_states = calloc(engine->host.max_vms, state_step(policy));
    }
    if ((policy->host_state_size && !next.host_state) ||
        (policy->vm_state_size && !next.vm_states)) {
        free(next.host_state);
        free(next.vm_states);
        snprintf(why, why_size, "no memory for the policy's state");
        return -ENOMEM;
    }
    *out = next;
    return 0;
}

void
engine_take_policy(struct engine *engine, const struct policy_class *policy,
                   const struct option_values *options,
                   struct engine_next *next, nsec_t now)
{
    put_in_force(engine, policy, options, next->host_state, next->vm_states,
                 now);
    *next = (struct engine_next){.host_state = NULL};
    uint64_t cause = cause_next(&engine->causes);
    record_policy(engine, cause, now);
    engine_tape_policy(engine, now);
    arbiter_forget_all(engine->arbiter, cause);
}

/* The same wish, to all appearances: it only goes on. */
static bool
goes_on(const struct engine *engine, const struct wish *wish)
{
    const struct wish *standing =
        arbiter_standing(engine->arbiter, &wish->vm, wish->vcpu);

    if (wish->withdraw || !standing) {
        return wish->withdraw && !standing;
    }
    return standing->value == wish->value;
}

/* Numbers the wish's event, if it is one of ours: a VM's vCPUs that change in
 * one turn by one rule do so for one reason. */
static void
number_wish(struct engine *engine, struct wish *wish, nsec_t now)
{
    if (wish->reason.cause != CAUSE_NONE || goes_on(engine, wish)) {
        return;
    }
    if (engine->n_fresh > 0) {
        const struct wish *last =
            &engine->wishes.wish[engine->fresh[engine->n_fresh - 1]];
        if (uuid_equal(&last->vm, &wish->vm) &&
            !strcmp(last->reason.rule, wish->reason.rule)) {
            wish->reason.cause = last->reason.cause;
            return;
        }
    }
    wish->reason.cause = engine_record_look(engine, wish, now);
}

void
engine_ask_policy(struct engine *engine, bool epoch, nsec_t now)
{
    struct platform_view view = {
        .host = &engine->host,
        .options = &engine->options,
        .epoch_ns = engine->config->epoch_ns,
        .epoch = epoch,
        .urgent = engine->urgent,
    };
    char why[ARBITER_WHY_SIZE];

    if (epoch) {
        engine_record_notes(engine, now);
    }
    engine->wishes.n = 0;
    int error =
        engine->policy->decide(engine->host_state, &view, now, &engine->wishes);
    if (error) {
        engine_record_words(engine, "POLICY_FAILED",
                            cause_next(&engine->causes), true,
                            engine->policy->name, strerror(-error), now);
    }
    for (size_t i = 0; i < engine->wishes.n; i++) {
        struct wish *wish = &engine->wishes.wish[i];
        number_wish(engine, wish, now);
        error = arbiter_wish(engine->arbiter, wish, now, why, sizeof why);
        if (error > 0) {
            engine->fresh[engine->n_fresh++] = (uint32_t)i;
        } else if (error < 0) {
            engine_record_words(engine, "WISH_REFUSED",
                                cause_next(&engine->causes), true,
                                wish->reason.rule, why, now);
        }
    }
}
