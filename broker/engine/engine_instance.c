/* SPDX-License-Identifier: Apache-2.0 */
/* A VM that is another instance of itself: it was started anew, reset, set back
 * or cloned, and what its agent said before is not this one's.  The platform
 * tells which instance it sees; back is told, which has the VM's channel begin
 * a new session, unless that is one that began since.  Told until back took it:
 * a session of a former instance must not go on.  Called by engine_note.c and
 * by engine.c's turn. */
#include "broker/engine/engine_parts.h"

static void
record_renewed(struct engine *engine, struct vm *vm, nsec_t now)
{
    char subject[NAME_TEXT_SIZE];
    struct jsonline line;

    if (!engine_may_record(engine, vm, ENGINE_ROW_EVENT, now)) {
        return;
    }
    engine_subject_vm(engine, &vm->uuid, NAME_VM, subject);
    engine_detail(engine, &line);
    jsonline_text(&line, "name", vm->name);
    jsonline_uint(&line, "instance", vm->instance);
    jsonline_int(&line, "since_ns", vm->instance_since);
    engine_record(engine, JOURNAL_EVENT, cause_next(&engine->causes), 0,
                  subject, "VM_RENEWED", &line, now);
}

void
engine_on_instance(struct engine *engine, const struct msg_vm_instance *is,
                   nsec_t now)
{
    struct vm *vm = host_vm(&engine->host, &is->vm);

    if (!vm || vm->instance == is->instance) {
        return;
    }
    /* The first that is known may have run before the broker did. */
    bool another = vm->instance != 0;
    vm->instance = is->instance;
    vm->instance_since = is->since_ns;
    if (another) {
        record_renewed(engine, vm, now);
    }
    if (another && config_guest(engine->config, &vm->uuid)) {
        vm->renewal_untold = true;
        engine->tell_back = now;
    }
}

void
engine_tell_back(struct engine *engine, nsec_t now)
{
    struct host *host = &engine->host;

    if (now < engine->tell_back) {
        return;
    }
    engine->tell_back = NSEC_NEVER;
    for (uint32_t i = 0; i < host->n_vms; i++) {
        struct vm *vm = &host->vms[i];
        struct msg msg = {.type = MSG_VM_RENEWED};

        if (!vm->renewal_untold) {
            continue;
        }
        msg.vm_renewed.vm = vm->uuid;
        msg.vm_renewed.since_ns = vm->instance_since;
        if (engine->port->to_back &&
            engine->port->to_back(engine->port->ctx, &msg)) {
            engine->tell_back = now + ACTION_BUSY_NS;
            return;
        }
        vm->renewal_untold = false;
    }
}
