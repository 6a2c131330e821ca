/* SPDX-License-Identifier: Apache-2.0 */
/* A hypervisor that isn't there: hypervisor_sim is the world of VMs that msim
 * and the tests make appear, work, move and vanish (sim.h), and the driver
 * proper shows them and operates on them as it would on real ones.  Given no
 * world by its environment, the driver makes its own, in which the configured
 * guests are those that can be started.  Relies on nothing but memory. */
#include "hypervisor/sim.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/text.h"
#include "hypervisor/hypervisor.h"

struct sim_vm {
    struct vm_sample sample;
    nsec_t reset_at; /* NSEC_NEVER: it is not. */
    bool asked_end;  /* Ends at the next sample. */
    /* Of its migration. */
    const struct destination *to; /* Null: there was none. */
    nsec_t moved_at, known_at;
    bool arrived;   /* A copy runs there. */
    bool left_told; /* That it left, by a sample. */
};

/* Where VMs can go. */
struct destination {
    const char *name;
    bool arrives;
    nsec_t unsure_ns; /* How long it isn't known whether it arrived. */
};
static const struct destination destinations[] = {
    {"near", true, 0},
    {"full", false, 0},
    {"silent", true, 10 * NSEC_PER_SEC},
    {"dead", false, 10 * NSEC_PER_SEC},
    {"lost", true, NSEC_NEVER / 2},
    {NULL},
};
#define MOVE_NS (2 * NSEC_PER_SEC)

struct hypervisor_sim {
    uint32_t n;
    uint64_t n_instances; /* That there were. */
    struct sim_vm vms[HYPERVISOR_SIM_VMS_MAX];
    int error;
    hypervisor_sim_watch_fn *watch; /* Null: nobody does. */
    void *watch_ctx;
};

struct hypervisor {
    const struct hypervisor_env *env;
    struct hypervisor_sim *sim;
    struct hypervisor_sim *own; /* The same, if the driver made it. */
};

static struct sim_vm *find_vm(const struct hypervisor_sim *,
                              const struct uuid *);
static int start(struct hypervisor *, const struct uuid *, nsec_t now,
                 char *why, size_t why_size);
static void renew(struct hypervisor_sim *, struct sim_vm *, nsec_t now);
static void go_on_moving(struct sim_vm *, nsec_t now);

/* The driver. */

static int
sim_open(struct hypervisor **out, const struct hypervisor_env *env, char *why,
         size_t why_size)
{
    struct hypervisor *hv = calloc(1, sizeof *hv);
    if (!hv) {
        snprintf(why, why_size, "no memory");
        return -ENOMEM;
    }
    hv->env = env;
    hv->sim = env->sim;
    if (!hv->sim) {
        int error = hypervisor_sim_create(&hv->own);
        if (error) {
            snprintf(why, why_size, "no memory for VMs");
            free(hv);
            return error;
        }
        hv->sim = hv->own;
    }
    *out = hv;
    return 0;
}

static void
sim_close(struct hypervisor *hv)
{
    if (hv) {
        hypervisor_sim_destroy(hv->own);
        free(hv);
    }
}

static int
sim_sample(struct hypervisor *hv, nsec_t now, struct vm_sample *out, size_t max)
{
    struct hypervisor_sim *sim = hv->sim;
    uint32_t n_kept = 0;
    size_t n = 0;

    if (sim->error) {
        return sim->error;
    }
    for (uint32_t i = 0; i < sim->n; i++) {
        struct sim_vm *vm = &sim->vms[i];

        if (vm->asked_end) {
            vm->sample.state = VM_ENDED;
        }
        if (now >= vm->reset_at) {
            renew(sim, vm, now);
        }
        go_on_moving(vm, now);
        bool told = n < max;
        if (vm->left_told) {
            sim->vms[n_kept++] = *vm; /* Its other copy is remembered. */
            continue;
        }
        if (told) {
            out[n++] = vm->sample;
            vm->left_told = vm->sample.state == VM_LEFT;
        }
        if (!told || vm->sample.state != VM_ENDED) {
            sim->vms[n_kept++] = *vm;
        }
    }
    sim->n = n_kept;
    return (int)n;
}

/* Source and destination change hands at one moment, as seen from here. */
static void
go_on_moving(struct sim_vm *vm, nsec_t now)
{
    if (vm->sample.state == VM_MOVING && now >= vm->moved_at) {
        vm->arrived = vm->to->arrives;
        vm->known_at = vm->moved_at + vm->to->unsure_ns;
        vm->sample.state = VM_UNSURE;
    }
    if (vm->sample.state == VM_UNSURE && now >= vm->known_at) {
        vm->sample.state = vm->arrived ? VM_LEFT : VM_RUNNING;
    }
}

static int
operate(struct hypervisor *hv, const struct uuid *uuid, enum vm_op op,
        nsec_t now, char *why, size_t why_size)
{
    if (hv->sim->error) {
        snprintf(why, why_size, "made to fail");
        return hv->sim->error;
    }
    if (op == VM_OP_START) {
        return start(hv, uuid, now, why, why_size);
    }
    struct sim_vm *vm = find_vm(hv->sim, uuid);
    if (!vm || vm->sample.state == VM_LEFT) {
        text_copy(why, why_size,
                  vm ? "it runs on another host" : "no such VM is running");
        return -ENOENT;
    }
    enum vm_state is = vm->sample.state;
    /* One that is unsure is a stopped one to a hypervisor. */
    bool done = op == VM_OP_END      ? vm->asked_end || is == VM_ENDED
                : op == VM_OP_FREEZE ? is != VM_RUNNING
                                     : is != VM_FROZEN && is != VM_UNSURE;
    if (done) {
        snprintf(why, why_size, "VM %s: nothing to %s", vm->sample.name,
                 vm_op_name(op));
        return -EALREADY;
    }
    if (op == VM_OP_END) {
        vm->asked_end = true;
    } else {
        vm->sample.state = op == VM_OP_FREEZE ? VM_FROZEN : VM_RUNNING;
    }
    return 0;
}

static int
sim_control(struct hypervisor *hv, const struct uuid *uuid, enum vm_op op,
            nsec_t now, char *why, size_t why_size)
{
    struct hypervisor_sim *sim = hv->sim;

    if (sim->watch && !sim->watch(sim->watch_ctx, uuid, op, false)) {
        snprintf(why, why_size, "nobody is there");
        return -ENODEV;
    }
    int error = operate(hv, uuid, op, now, why, why_size);
    if (!error && sim->watch && !sim->watch(sim->watch_ctx, uuid, op, true)) {
        snprintf(why, why_size, "nobody is there");
        return -ENODEV;
    }
    return error;
}

static int
begin_move(struct hypervisor *hv, const struct uuid *uuid, const char *to,
           nsec_t now, char *why, size_t why_size)
{
    struct sim_vm *vm = find_vm(hv->sim, uuid);
    const struct destination *host = destinations;

    if (hv->sim->error) {
        snprintf(why, why_size, "made to fail");
        return hv->sim->error;
    }
    if (!vm || vm->sample.state != VM_RUNNING || vm->asked_end) {
        snprintf(why, why_size, "no such VM is running");
        return -ENOENT;
    }
    while (host->name && strcmp(host->name, to)) {
        host++;
    }
    if (!host->name) {
        snprintf(why, why_size, "there is no host \"%.64s\"", to);
        return -EHOSTUNREACH;
    }
    vm->to = host;
    vm->moved_at = now + MOVE_NS;
    vm->sample.state = VM_MOVING;
    return 0;
}

static int
sim_migrate(struct hypervisor *hv, const struct uuid *uuid, const char *to,
            nsec_t now, char *why, size_t why_size)
{
    struct hypervisor_sim *sim = hv->sim;
    int error = -ENODEV;

    snprintf(why, why_size, "nobody is there");
    if (!sim->watch || sim->watch(sim->watch_ctx, uuid, VM_OP_MIGRATE, false)) {
        error = begin_move(hv, uuid, to, now, why, why_size);
    }
    if (!error && sim->watch &&
        !sim->watch(sim->watch_ctx, uuid, VM_OP_MIGRATE, true)) {
        error = -ENODEV;
    }
    return error;
}

static int
begin(struct hypervisor *hv, const struct hypervisor_guest *guest, nsec_t now)
{
    int64_t reset_ms = option_int(hv->env->options, "reset_after_ms");

    int error = hypervisor_sim_add(hv->sim, &guest->uuid, guest->name,
                                   guest->n_vcpus, guest->vcpu_cpu);
    if (!error) {
        struct sim_vm *vm = find_vm(hv->sim, &guest->uuid);

        vm->sample.instance_since = now;
        vm->reset_at = reset_ms ? now + reset_ms * NSEC_PER_MSEC : NSEC_NEVER;
    }
    return error;
}

static int
start(struct hypervisor *hv, const struct uuid *uuid, nsec_t now, char *why,
      size_t why_size)
{
    const struct sim_vm *vm = find_vm(hv->sim, uuid);
    if (vm) {
        text_copy(why, why_size,
                  vm->sample.state == VM_LEFT ? "it runs on another host"
                                              : "it is running already");
        return -EALREADY;
    }
    for (uint32_t i = 0; i < hv->env->n_guests; i++) {
        const struct hypervisor_guest *guest = &hv->env->guests[i];

        if (!uuid_equal(&guest->uuid, uuid)) {
            continue;
        }
        if (!guest->command) {
            snprintf(why, why_size, "guest %s has no \"command\"", guest->name);
            return -ENOTSUP;
        }
        int error = begin(hv, guest, now);
        if (error) {
            snprintf(why, why_size, "guest %s: no room or no vCPU",
                     guest->name);
        }
        return error;
    }
    snprintf(why, why_size, "no such guest in the configuration");
    return -ENOENT;
}

/* The world behind it. */

int
hypervisor_sim_create(struct hypervisor_sim **out)
{
    struct hypervisor_sim *sim = calloc(1, sizeof *sim);
    if (!sim) {
        return -ENOMEM;
    }
    *out = sim;
    return 0;
}

void
hypervisor_sim_destroy(struct hypervisor_sim *sim)
{
    free(sim);
}

static struct sim_vm *
find_vm(const struct hypervisor_sim *sim, const struct uuid *uuid)
{
    for (uint32_t i = 0; i < sim->n; i++) {
        if (uuid_equal(&sim->vms[i].sample.uuid, uuid)) {
            return (struct sim_vm *)&sim->vms[i];
        }
    }
    return NULL;
}

int
hypervisor_sim_add(struct hypervisor_sim *sim, const struct uuid *uuid,
                   const char *name, uint32_t n_vcpus, const uint32_t *vcpu_cpu)
{
    if (find_vm(sim, uuid)) {
        return -EEXIST;
    }
    if (sim->n == HYPERVISOR_SIM_VMS_MAX) {
        return -ENOSPC;
    }
    if (!n_vcpus || n_vcpus > VM_VCPUS_MAX) {
        return -EINVAL;
    }
    struct sim_vm *vm = &sim->vms[sim->n++];
    *vm = (struct sim_vm){.sample = {.uuid = *uuid,
                                     .state = VM_RUNNING,
                                     .n_vcpus = n_vcpus,
                                     .instance = ++sim->n_instances},
                          .reset_at = NSEC_NEVER};
    text_copy(vm->sample.name, sizeof vm->sample.name, name);
    memcpy(vm->sample.vcpu_cpu, vcpu_cpu, n_vcpus * sizeof *vcpu_cpu);
    return 0;
}

int
hypervisor_sim_end(struct hypervisor_sim *sim, const struct uuid *uuid)
{
    struct sim_vm *vm = find_vm(sim, uuid);
    if (!vm) {
        return -ENOENT;
    }
    vm->sample.state = VM_ENDED;
    return 0;
}

int
hypervisor_sim_vanish(struct hypervisor_sim *sim, const struct uuid *uuid)
{
    struct sim_vm *vm = find_vm(sim, uuid);
    if (!vm) {
        return -ENOENT;
    }
    struct sim_vm *end = sim->vms + --sim->n;
    memmove(vm, vm + 1, (size_t)(end - vm) * sizeof *vm);
    return 0;
}

int
hypervisor_sim_move(struct hypervisor_sim *sim, const struct uuid *uuid,
                    uint32_t vcpu, uint32_t cpu)
{
    struct sim_vm *vm = find_vm(sim, uuid);
    if (!vm || vcpu >= vm->sample.n_vcpus) {
        return -ENOENT;
    }
    vm->sample.vcpu_cpu[vcpu] = cpu;
    return 0;
}

int
hypervisor_sim_set_busy(struct hypervisor_sim *sim, const struct uuid *uuid,
                        uint64_t busy_ns)
{
    struct sim_vm *vm = find_vm(sim, uuid);
    if (!vm) {
        return -ENOENT;
    }
    vm->sample.busy_ns = busy_ns;
    return 0;
}

static void
renew(struct hypervisor_sim *sim, struct sim_vm *vm, nsec_t now)
{
    vm->sample.instance = ++sim->n_instances;
    vm->sample.instance_since = now;
    vm->reset_at = NSEC_NEVER;
}

int
hypervisor_sim_renew(struct hypervisor_sim *sim, const struct uuid *uuid,
                     nsec_t now)
{
    struct sim_vm *vm = find_vm(sim, uuid);
    if (!vm) {
        return -ENOENT;
    }
    renew(sim, vm, now);
    return 0;
}

bool
hypervisor_sim_runs(const struct hypervisor_sim *sim, const struct uuid *uuid)
{
    const struct sim_vm *vm = find_vm(sim, uuid);

    return vm && vm_state_runs(vm->sample.state);
}

bool
hypervisor_sim_is_here(const struct hypervisor_sim *sim,
                       const struct uuid *uuid)
{
    const struct sim_vm *vm = find_vm(sim, uuid);

    return vm && vm->sample.state != VM_ENDED && vm->sample.state != VM_LEFT;
}

uint32_t
hypervisor_sim_n_copies(const struct hypervisor_sim *sim,
                        const struct uuid *uuid)
{
    uint32_t n = 0;

    for (uint32_t i = 0; i < sim->n; i++) {
        const struct sim_vm *vm = &sim->vms[i];

        if (uuid_equal(&vm->sample.uuid, uuid)) {
            n += vm_state_runs(vm->sample.state) ||
                 vm->sample.state == VM_FROZEN;
            n += vm->arrived;
        }
    }
    return n;
}

void
hypervisor_sim_watch(struct hypervisor_sim *sim, hypervisor_sim_watch_fn *watch,
                     void *ctx)
{
    sim->watch = watch;
    sim->watch_ctx = ctx;
}

void
hypervisor_sim_fail(struct hypervisor_sim *sim, int error)
{
    assert(error <= 0);
    sim->error = error;
}

static const struct option_desc sim_options[] = {
    {.name = "reset_after_ms",
     .unit = "ms",
     .type = OPTION_INT,
     .min = 0,
     .max = 3600000,
     .default_text = "0",
     .help = "A VM that was started resets itself once, so much later; 0: it "
             "does not."},
    {.name = NULL},
};

const struct hypervisor_class hypervisor_sim = {
    .name = "sim",
    .summary = "made-up VMs, for simulation and tests",
    .options = sim_options,
    .open = sim_open,
    .sample = sim_sample,
    .control = sim_control,
    .migrate = sim_migrate,
    .close = sim_close,
};
