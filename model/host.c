/* SPDX-License-Identifier: Apache-2.0 */
/* Tables of what is on a host, made once and searched linearly: a host has a
 * few hundred of anything at most.  Relies on nothing; called by the engine,
 * which writes, and by policies and the control socket, which read.
 *
 * VMs keep their order when one leaves, so that what people see stays put.
 * Each place in the table keeps a policy_state and notes of its own: the engine
 * hands the states out once, host_add_vm() leaves the place's pointers alone,
 * and host_remove_vm() passes the leaving VM's pointers to the place that
 * becomes free.  The notes' bytes are the largest part of a host by far, and
 * are not touched until a VM says something. */
#include "model/host.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* calloc() of nothing may be null; a table of nothing is no failure. */
static void *
table(uint32_t n, size_t size)
{
    return calloc(n ? n : 1, size);
}

int
host_init(struct host *host, uint32_t max_cpus, uint32_t max_domains,
          uint32_t max_vms)
{
    memset(host, 0, sizeof *host);
    host->cpus = table(max_cpus, sizeof *host->cpus);
    host->domains = table(max_domains, sizeof *host->domains);
    host->vms = table(max_vms, sizeof *host->vms);
    host->notes = table(max_vms, sizeof *host->notes);
    host->note_bytes = table(max_vms, (size_t)NOTES_MAX * NOTE_SIZE_MAX);
    if (!host->cpus || !host->domains || !host->vms || !host->notes ||
        !host->note_bytes) {
        host_fini(host);
        return -ENOMEM;
    }
    host->max_cpus = max_cpus;
    host->max_domains = max_domains;
    host->max_vms = max_vms;
    for (uint32_t i = 0; i < max_vms; i++) {
        host->vms[i].notes = &host->notes[i];
        notes_init(&host->notes[i],
                   host->note_bytes + (size_t)i * NOTES_MAX * NOTE_SIZE_MAX);
    }
    return 0;
}

void
host_fini(struct host *host)
{
    free(host->cpus);
    free(host->domains);
    free(host->vms);
    free(host->notes);
    free(host->note_bytes);
    memset(host, 0, sizeof *host);
}

struct cpu *
host_cpu(const struct host *host, uint32_t id)
{
    for (uint32_t i = 0; i < host->n_cpus; i++) {
        if (host->cpus[i].id == id) {
            return &host->cpus[i];
        }
    }
    return NULL;
}

struct vm *
host_vm(const struct host *host, const struct uuid *uuid)
{
    for (uint32_t i = 0; i < host->n_vms; i++) {
        if (uuid_equal(&host->vms[i].uuid, uuid)) {
            return &host->vms[i];
        }
    }
    return NULL;
}

struct vm *
host_vm_by_name(const struct host *host, const char *name)
{
    for (uint32_t i = 0; i < host->n_vms; i++) {
        if (!strcmp(host->vms[i].name, name)) {
            return &host->vms[i];
        }
    }
    return NULL;
}

struct domain *
host_domain_of_cpu(const struct host *host, uint32_t id)
{
    const struct cpu *cpu = host_cpu(host, id);

    if (!cpu || cpu->domain >= host->n_domains) {
        return NULL;
    }
    return &host->domains[cpu->domain];
}

uint32_t
host_slowest_pstate(const struct host *host, const struct vm *vm)
{
    uint32_t slowest = 0;

    for (uint32_t i = 0; i < vm->n_vcpus; i++) {
        const struct domain *domain = host_domain_of_cpu(host, vm->vcpu_cpu[i]);
        if (domain && domain->desc.table.n > slowest + 1) {
            slowest = domain->desc.table.n - 1;
        }
    }
    return slowest;
}

const struct note *
vm_note(const struct vm *vm, const char *type)
{
    return notes_find(vm->notes, type);
}

struct vm *
host_add_vm(struct host *host, const struct uuid *uuid)
{
    if (host->n_vms == host->max_vms) {
        return NULL;
    }
    struct vm *vm = &host->vms[host->n_vms++];
    void *policy_state = vm->policy_state;
    struct notes *notes = vm->notes;

    memset(vm, 0, sizeof *vm);
    vm->uuid = *uuid;
    vm->policy_state = policy_state;
    vm->notes = notes;
    notes_clear(notes);
    vm->util_permille = UTIL_UNKNOWN;
    return vm;
}

void
host_remove_vm(struct host *host, struct vm *vm)
{
    assert(vm >= host->vms);
    assert(vm < host->vms + host->n_vms);
    struct vm *last = &host->vms[host->n_vms - 1];
    void *policy_state = vm->policy_state;
    struct notes *notes = vm->notes;

    memmove(vm, vm + 1, (size_t)(last - vm) * sizeof *vm);
    memset(last, 0, sizeof *last);
    last->policy_state = policy_state;
    last->notes = notes;
    host->n_vms--;
}

const char *
vm_op_name(enum vm_op op)
{
    switch (op) {
    case VM_OP_START:
        return "start";
    case VM_OP_FREEZE:
        return "freeze";
    case VM_OP_THAW:
        return "thaw";
    case VM_OP_END:
        return "end";
    case VM_OP_MIGRATE:
        return "migrate";
    }
    assert(!"an operation without a name");
    return "";
}

const char *
vm_state_name(enum vm_state state)
{
    switch (state) {
    case VM_RUNNING:
        return "running";
    case VM_FROZEN:
        return "frozen";
    case VM_ENDED:
        return "ended";
    case VM_MOVING:
        return "moving";
    case VM_UNSURE:
        return "unsure";
    case VM_LEFT:
        return "left";
    }
    assert(!"a state without a name");
    return "";
}

bool
vm_state_runs(enum vm_state state)
{
    return state == VM_RUNNING || state == VM_MOVING;
}
