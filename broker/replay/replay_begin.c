/* SPDX-License-Identifier: Apache-2.0 */
/* The engine of then, made again from a key of the tape: a configuration with
 * the host's CPUs and guests, and the policy with its options, or the one that
 * is to be asked instead.  The journal it writes to is in memory and is thrown
 * away.  Relies on tape.h for values within their bounds; what is left to judge
 * (names, guests that come twice, policies that are not there) is judged here,
 * since a file's bytes are a stranger's.  Called by replay.c. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/text.h"
#include "broker/replay/replay_parts.h"

#define GUESTS_SPARE 64       /* That a reload may add. */
#define SOME_HYPERVISOR "sim" /* Stands for whichever there was. */

static const struct policy_class *
policy_now(const struct replay *replay, const struct option_values **options)
{
    *options =
        replay->opts.policy ? replay->opts.options : &replay->policy_options;
    return replay->opts.policy ? replay->opts.policy : replay->policy_class;
}

int
replay_begin_engine(struct replay *replay)
{
    const struct journal_opts opts = {.size_max = 1 << 20,
                                      .age_max_s = INT64_MAX};
    const struct option_values *options;

    replay_end_engine(replay);
    replay->config.policy = policy_now(replay, &options);
    if (!replay->config.policy) {
        return replay_fail(replay, -ENOENT,
                           "no policy of this build is named so: it "
                           "was in force then; name one");
    }
    if (options) {
        replay->config.policy_options = *options;
    } else {
        options_init(&replay->config.policy_options,
                     replay->config.policy->options);
    }
    replay->config.guests_max = replay->config.n_guests + GUESTS_SPARE;
    int error = journal_open(&replay->journal, NULL, &opts, replay->why,
                             sizeof replay->why);
    if (!error) {
        error = engine_create(&replay->engine, &replay->config, &replay->port,
                              replay->journal, replay->now);
    }
    replay->counts.n_begun++;
    replay->n_decided = replay->n_events = 0;
    return error ? replay_fail(replay, error,
                               "no engine can be made of what the "
                               "first inputs say")
                 : 0;
}

int
replay_reconfigure(struct replay *replay)
{
    struct broker_config *config = &replay->config;
    const struct broker_config *was = &replay->was;
    char why[CONFIG_WHY_SIZE];

    if (!replay->has_config || config->n_cpus != was->n_cpus ||
        memcmp(config->cpus, was->cpus, was->n_cpus * sizeof was->cpus[0]) !=
            0) {
        return replay_bad(replay);
    }
    /* Another policy came by itself. */
    config->policy = was->policy;
    config->policy_options = was->policy_options;
    if (engine_prepare(replay->engine, config, why, sizeof why)) {
        replay->counts.n_gaps++; /* Until the next key. */
        replay_end_engine(replay);
        return 0;
    }
    engine_reconfigure(replay->engine, was, "", replay->now);
    replay->n_events = 0;
    replay_end_was(replay);
    return 0;
}

void
replay_end_was(struct replay *replay)
{
    if (replay->has_was) {
        config_fini(&replay->was);
        replay->has_was = false;
    }
}

int
replay_read_host(struct replay *replay, struct tape_in *in)
{
    struct broker_config config;
    char why[CONFIG_WHY_SIZE];

    if (config_default(&config, why, sizeof why)) {
        return replay_fail(replay, -ENOMEM, why);
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
    replay_end_config(replay);
    replay->config = config;
    replay->has_config = true;
    if (!config.guests) {
        return replay_fail(replay, -ENOMEM, "no memory for the guests");
    }
    return in->bad || config.epoch_ns <= 0 || !text_is_name(config.domain) ||
                   !text_is_name(config.host_id)
               ? replay_bad(replay)
               : 0;
}

int
replay_read_guest(struct replay *replay, struct tape_in *in)
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
        return replay_bad(replay);
    }
    replay->config.guests[replay->config.n_guests++] = guest;
    return 0;
}

void
replay_skip_guest(struct tape_in *in)
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

void
replay_skip_host(struct tape_in *in)
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
int
replay_read_policy(struct replay *replay, struct tape_in *in)
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
        return replay_bad(replay);
    }
    text_copy(replay->counts.policy_then, sizeof replay->counts.policy_then,
              replay->policy);
    if (error && !replay->opts.policy) {
        return replay_fail(replay, -EINVAL, why);
    }
    replay->policy_class = policy;
    replay->policy_options = values;
    return 0;
}
