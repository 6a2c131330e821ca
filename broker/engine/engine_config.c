/* SPDX-License-Identifier: Apache-2.0 */
/* Another configuration taken while the engine runs.  What could fail is done
 * before (memory for a policy's states; a journal that works), so that taking
 * it can't; the tables have room for what is added since the start.  What the
 * new one has in common with the old is left as it is: a policy that an
 * operator put in force since stays if the file says the same as before, an
 * order of a cap stays in any case.  A VM that is named no more is forgotten
 * with its wishes.  Relies on the caller to have seen to it that only what may
 * change does (broker/config/confchange.h).  Called by the engine's process
 * shell and by msim. */
#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/text.h"
#include "broker/config/confchange.h"
#include "broker/engine/engine_parts.h"

int
engine_prepare(struct engine *engine, const struct broker_config *next,
               char *why, size_t why_size)
{
    engine_unprepare(engine);
    if (engine->read_only) {
        snprintf(why, why_size, "the journal fails, so nothing is changed");
        return -EROFS;
    }
    if (next->n_guests + ENGINE_VMS_SPARE > engine->host.max_vms) {
        snprintf(why, why_size, "the engine has room for %u guests",
                 engine->host.max_vms - ENGINE_VMS_SPARE);
        return -ENOSPC;
    }
    if (!next->policy || !confchange_policy(engine->config, next)) {
        return 0;
    }
    return engine_prepare_policy(engine, next->policy, &engine->next, why,
                                 why_size);
}

void
engine_unprepare(struct engine *engine)
{
    free(engine->next.host_state);
    free(engine->next.vm_states);
    engine->next = (struct engine_next){.host_state = NULL};
}

static void
record(struct engine *engine, const struct broker_config *was, const char *hash,
       uint64_t cause, nsec_t now)
{
    char subject[NAME_TEXT_SIZE], words[CONFCHANGE_WORDS_SIZE];
    struct jsonline line;

    confchange_describe(was, engine->config, words);
    engine_subject_broker(engine, subject);
    engine_detail(engine, &line);
    jsonline_text(&line, "hash", hash);
    jsonline_text(&line, "changed", words);
    engine_record(engine, JOURNAL_EVENT, cause, 0, subject, "CONFIG_SET", &line,
                  now);
}

/* Those that the hypervisor found meanwhile make room for no others. */
static void
make_room(struct engine *engine, uint64_t cause)
{
    struct host *host = &engine->host;

    for (uint32_t i = host->n_vms; i > 0 && host->n_vms == host->max_vms; i--) {
        if (!config_guest(engine->config, &host->vms[i - 1].uuid)) {
            engine_remove_vm(engine, &host->vms[i - 1], cause);
        }
    }
}

static void
take_guests(struct engine *engine, const struct broker_config *was,
            uint64_t cause)
{
    const struct broker_config *config = engine->config;
    struct host *host = &engine->host;

    for (uint32_t i = 0; i < was->n_guests; i++) {
        const struct uuid *uuid = &was->guests[i].uuid;
        struct vm *vm = host_vm(host, uuid);

        if (vm && !config_guest(config, uuid)) {
            engine_remove_vm(engine, vm, cause);
        }
    }
    for (uint32_t i = 0; i < config->n_guests; i++) {
        const struct guest_config *guest = &config->guests[i];
        struct vm *vm = host_vm(host, &guest->uuid);

        if (!vm) {
            make_room(engine, cause);
            engine_add_configured(engine, guest);
        } else if (!config->hypervisor || vm->state == VM_ENDED) {
            vm->n_vcpus = guest->n_vcpus;
            memcpy(vm->vcpu_cpu, guest->vcpu_cpu, sizeof vm->vcpu_cpu);
        }
    }
    for (uint32_t i = 0; i < host->n_vms; i++) {
        engine->vm_rows[i].terms = engine_row_terms(engine, &host->vms[i].uuid);
    }
}

void
engine_reconfigure(struct engine *engine, const struct broker_config *was,
                   const char *hash, nsec_t now)
{
    const struct broker_config *config = engine->config;
    uint64_t cause = cause_next(&engine->causes);

    assert(!engine->next.host_state || confchange_policy(was, config));
    record(engine, was, hash, cause, now);
    take_guests(engine, was, cause);
    arbiter_set_dwell(engine->arbiter, config->dwell_ns);
    if (config->policy && confchange_policy(was, config)) {
        engine_take_policy(engine, config->policy, &config->policy_options,
                           &engine->next, now);
    }
    if (engine->host.cap.phase == CAP_CLAMPED) {
        arbiter_clamp(engine->arbiter, true, config->pstate_max, cause);
    }
    engine->next_epoch = nsec_min(engine->next_epoch, now + config->epoch_ns);
    engine_tape_config(engine, now);
}

void
engine_config_refused(struct engine *engine, const char *why, nsec_t now)
{
    engine_record_words(engine, "CONFIG_REFUSED", cause_next(&engine->causes),
                        true, "configuration", why, now);
}
