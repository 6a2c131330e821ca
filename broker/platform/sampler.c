/* SPDX-License-Identifier: Apache-2.0 */
/* Observes the host: asks the hypervisor for its VMs, /proc for the CPUs and
 * the power driver for watts, and tells it as messages.  A VM's available time
 * is the sum, over its vCPUs, of the available time of the CPUs they ran on, so
 * that neither steal nor an emulated p-state counts; what it could not get
 * because another VM had the CPU does count as available.  Everything told
 * grows from 0, whatever the sources do.  What fails is told once when it
 * starts to fail.  Called by platform.c. */
#include "broker/platform/sampler.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/text.h"
#include "broker/config/config.h"
#include "broker/platform/cpu_use.h"
#include "broker/platform/knobs.h"
#include "wire/msg.h"

#define SPARE_VMS 16 /* That a hypervisor may know besides the configured. */

struct seen_vm {
    bool used, seen; /* 'seen' in this round. */
    bool known;      /* The engine was told of it, */
    bool told;       /* and as 'last' has it. */
    struct vm_sample last;
    uint64_t instance;     /* 0: it is not known. */
    nsec_t instance_since; /* If nobody says it, when we saw it. */
    bool instance_told;
    uint64_t busy_ns, available_ns; /* Since we saw it first; never fall. */
    uint64_t step_busy_ns;
};

/* A source of observations, and whether it failed last time. */
struct source {
    const char *name;
    bool failing;
};

struct sampler {
    struct sampler_env env;
    struct cpu_uses cpus;
    struct cpu_load *load;  /* Per CPU, for the power driver. */
    uint64_t *load_busy_ns; /* Where its sums were then. */
    uint64_t *load_available_ns;
    uint64_t *told_busy_ns; /* Per CPU, without a /proc. */
    struct vm_sample *samples;
    struct seen_vm *vms;
    uint32_t max_vms;
    struct source stat_source, vm_source, power_source;
};

static void read_vms(struct sampler *, nsec_t now);
static void read_cpus(struct sampler *, nsec_t now);
static void tell_vms(struct sampler *, nsec_t now);
static void tell_cpus(struct sampler *, nsec_t now);
static void tell_power(struct sampler *, nsec_t now);

static void see_vm(struct sampler *, const struct vm_sample *, nsec_t now);
static struct seen_vm *find_vm(const struct sampler *, const struct uuid *);
static bool same_place(const struct vm_sample *, const struct vm_sample *);
static uint64_t step_available_ns(const struct sampler *,
                                  const struct vm_sample *);
static int tell_found(struct sampler *, const struct seen_vm *);
static int tell_instance(struct sampler *, const struct seen_vm *);
static int tell_gone(struct sampler *, const struct seen_vm *,
                     const char *reason);
static void note(struct sampler *, struct source *, int error);
static int list_cpus(const struct broker_config *, int proc_dirfd,
                     uint32_t out[CONFIG_CPUS_MAX]);

int
sampler_create(struct sampler **out, const struct broker_config *config,
               const struct sampler_env *env, char *why, size_t why_size)
{
    uint32_t cpus[CONFIG_CPUS_MAX];
    int n = list_cpus(config, env->proc_dirfd, cpus);
    if (n < 0) {
        snprintf(why, why_size, "the CPUs can't be listed: %s", strerror(-n));
        return n;
    }
    struct sampler *sampler = calloc(1, sizeof *sampler);
    if (!sampler) {
        snprintf(why, why_size, "no memory");
        return -ENOMEM;
    }

    size_t n_cpus = (size_t)n;
    sampler->env = *env;
    sampler->stat_source.name = "/proc/stat";
    sampler->vm_source.name =
        env->hypervisor_class ? env->hypervisor_class->name : "";
    sampler->power_source.name = env->power_class ? env->power_class->name : "";
    sampler->max_vms = SPARE_VMS + config_guest_places(config);
    int error = cpu_uses_init(&sampler->cpus, cpus, (uint32_t)n);
    sampler->load = calloc(n_cpus + 1, sizeof *sampler->load);
    sampler->load_busy_ns = calloc(n_cpus + 1, sizeof(uint64_t));
    sampler->load_available_ns = calloc(n_cpus + 1, sizeof(uint64_t));
    sampler->told_busy_ns = calloc(n_cpus + 1, sizeof(uint64_t));
    sampler->samples = calloc(sampler->max_vms, sizeof *sampler->samples);
    sampler->vms = calloc(sampler->max_vms, sizeof *sampler->vms);
    if (error || !sampler->load || !sampler->load_busy_ns ||
        !sampler->load_available_ns || !sampler->told_busy_ns ||
        !sampler->samples || !sampler->vms) {
        sampler_destroy(sampler);
        snprintf(why, why_size, "no memory");
        return -ENOMEM;
    }
    *out = sampler;
    return 0;
}

void
sampler_destroy(struct sampler *sampler)
{
    if (!sampler) {
        return;
    }
    cpu_uses_fini(&sampler->cpus);
    free(sampler->load);
    free(sampler->load_busy_ns);
    free(sampler->load_available_ns);
    free(sampler->told_busy_ns);
    free(sampler->samples);
    free(sampler->vms);
    free(sampler);
}

void
sampler_run(struct sampler *sampler, nsec_t now)
{
    read_vms(sampler, now);
    read_cpus(sampler, now);
    tell_vms(sampler, now);
    tell_cpus(sampler, now);
    tell_power(sampler, now);
}

void
sampler_tell_again(struct sampler *sampler, const struct uuid *vm)
{
    struct seen_vm *seen = find_vm(sampler, vm);

    if (seen) {
        seen->told = false;
    }
}

static bool
is_gone(enum vm_state state)
{
    return state == VM_ENDED || state == VM_LEFT;
}

bool
sampler_sees(const struct sampler *sampler, const struct uuid *vm)
{
    return !is_gone(sampler_vm_state(sampler, vm));
}

enum vm_state
sampler_vm_state(const struct sampler *sampler, const struct uuid *vm)
{
    const struct seen_vm *seen = find_vm(sampler, vm);

    return seen ? seen->last.state : VM_ENDED;
}

/* The five steps. */

static void
read_vms(struct sampler *sampler, nsec_t now)
{
    const struct hypervisor_class *class = sampler->env.hypervisor_class;
    if (!class) {
        return;
    }

    int n = class->sample(sampler->env.hypervisor, now, sampler->samples,
                          sampler->max_vms);
    note(sampler, &sampler->vm_source, n < 0 ? n : 0);
    for (uint32_t i = 0; i < sampler->max_vms; i++) {
        sampler->vms[i].seen = n < 0; /* Not asked is not gone. */
        sampler->vms[i].step_busy_ns = 0;
    }
    for (int i = 0; i < n; i++) {
        see_vm(sampler, &sampler->samples[i], now);
    }
}

static void
read_cpus(struct sampler *sampler, nsec_t now)
{
    struct cpu_uses *cpus = &sampler->cpus;

    for (uint32_t i = 0; i < cpus->n; i++) {
        cpus->use[i].stolen_ns =
            knobs_stolen_ns(sampler->env.knobs, cpus->use[i].cpu);
    }
    if (sampler->env.proc_dirfd >= 0) {
        int error = cpu_uses_read(cpus, sampler->env.proc_dirfd, now);

        note(sampler, &sampler->stat_source, error);
        return;
    }
    memset(sampler->told_busy_ns, 0, cpus->n * sizeof(uint64_t));
    for (uint32_t i = 0; i < sampler->max_vms; i++) {
        const struct seen_vm *vm = &sampler->vms[i];

        for (uint32_t j = 0; vm->used && j < vm->last.n_vcpus; j++) {
            const struct cpu_use *use =
                cpu_uses_find(cpus, vm->last.vcpu_cpu[j]);

            if (use) {
                sampler->told_busy_ns[use - cpus->use] +=
                    vm->step_busy_ns / vm->last.n_vcpus;
            }
        }
    }
    cpu_uses_tell(cpus, sampler->told_busy_ns, now);
}

static void
tell_vms(struct sampler *sampler, nsec_t now)
{
    for (uint32_t i = 0; i < sampler->max_vms; i++) {
        struct seen_vm *vm = &sampler->vms[i];

        if (!vm->used) {
            continue;
        }
        if (!vm->seen || is_gone(vm->last.state)) {
            const char *reason = !vm->seen ? "the hypervisor no longer knows it"
                                 : vm->last.state == VM_ENDED
                                     ? "it ended"
                                     : "it runs on another host now";

            vm->used = vm->known && tell_gone(sampler, vm, reason);
            continue;
        }
        vm->told = vm->told || !tell_found(sampler, vm);
        vm->known = vm->known || vm->told;
        if (vm->told && vm->instance && !vm->instance_told) {
            vm->instance_told = !tell_instance(sampler, vm);
        }
        vm->available_ns += step_available_ns(sampler, &vm->last);
        struct msg msg = {
            .type = MSG_SAMPLE_VM,
            .sample_vm = {.vm = vm->last.uuid,
                          .time_ns = now,
                          .busy_ns = vm->busy_ns,
                          .available_ns = vm->available_ns},
        };
        sampler->env.sample(sampler->env.ctx, &msg);
    }
}

static void
tell_cpus(struct sampler *sampler, nsec_t now)
{
    for (uint32_t i = 0; i < sampler->cpus.n; i++) {
        const struct cpu_use *use = &sampler->cpus.use[i];

        if (use->here) {
            struct msg msg = {
                .type = MSG_SAMPLE_CPU,
                .sample_cpu = {.cpu = use->cpu,
                               .time_ns = now,
                               .busy_ns = use->busy_ns,
                               .available_ns = use->available_ns},
            };
            sampler->env.sample(sampler->env.ctx, &msg);
        }
    }
}

static void
tell_power(struct sampler *sampler, nsec_t now)
{
    const struct hardware_class *class = sampler->env.power_class;
    struct power_reading reading = {0};
    if (!class) {
        return;
    }

    for (uint32_t i = 0; i < sampler->cpus.n; i++) {
        const struct cpu_use *use = &sampler->cpus.use[i];
        struct cpu_load *load = &sampler->load[i];
        uint64_t busy_ns = use->busy_ns - sampler->load_busy_ns[i];
        uint64_t available_ns =
            use->available_ns - sampler->load_available_ns[i];

        *load = (struct cpu_load){.cpu = use->cpu};
        if (available_ns) {
            double busy = (double)busy_ns / (double)available_ns;

            load->busy = busy < 1 ? busy : 1;
        }
        knobs_fill_load(sampler->env.knobs, load);
        sampler->load_busy_ns[i] = use->busy_ns;
        sampler->load_available_ns[i] = use->available_ns;
    }
    int error = class->power->read(sampler->env.power, sampler->load,
                                   sampler->cpus.n, now, &reading);
    note(sampler, &sampler->power_source, error);
    struct msg msg = {.type = MSG_SAMPLE_POWER,
                      .sample_power = {.time_ns = now}};
    if (!error) {
        msg.sample_power.time_ns = reading.time;
        msg.sample_power.power_mw = reading.power_mw;
        msg.sample_power.quality = reading.quality;
        text_copy_printable(msg.sample_power.source,
                            sizeof msg.sample_power.source, reading.source);
    } else {
        msg.sample_power.quality = QUALITY_UNKNOWN;
        text_copy_printable(msg.sample_power.source,
                            sizeof msg.sample_power.source, class->name);
    }
    sampler->env.sample(sampler->env.ctx, &msg);
}

/* VMs. */

/* Takes a sample in.  CPU time that fell is another run of the VM, or a lie;
 * either way what it says now is what is new. */
static void
see_vm(struct sampler *sampler, const struct vm_sample *sample, nsec_t now)
{
    struct seen_vm *vm = find_vm(sampler, &sample->uuid);

    if (!vm) {
        for (uint32_t i = 0; i < sampler->max_vms && !vm; i++) {
            vm = sampler->vms[i].used ? NULL : &sampler->vms[i];
        }
        if (!vm || is_gone(sample->state)) {
            return;
        }
        *vm = (struct seen_vm){.used = true, .last = *sample};
    }
    vm->step_busy_ns = sample->busy_ns >= vm->last.busy_ns
                           ? sample->busy_ns - vm->last.busy_ns
                           : sample->busy_ns;
    vm->busy_ns += vm->step_busy_ns;
    vm->told = vm->told && same_place(&vm->last, sample);
    if (sample->instance && sample->instance != vm->instance) {
        vm->instance = sample->instance;
        vm->instance_since =
            sample->instance_since ? sample->instance_since : now;
        vm->instance_told = false;
    }
    vm->seen = true;
    vm->last = *sample;
}

static struct seen_vm *
find_vm(const struct sampler *sampler, const struct uuid *uuid)
{
    for (uint32_t i = 0; i < sampler->max_vms; i++) {
        struct seen_vm *vm = &sampler->vms[i];

        if (vm->used && uuid_equal(&vm->last.uuid, uuid)) {
            return vm;
        }
    }
    return NULL;
}

static bool
same_place(const struct vm_sample *a, const struct vm_sample *b)
{
    return a->state == b->state && a->n_vcpus == b->n_vcpus &&
           !strcmp(a->name, b->name) &&
           !memcmp(a->vcpu_cpu, b->vcpu_cpu,
                   a->n_vcpus * sizeof a->vcpu_cpu[0]);
}

/* A vCPU on a CPU that isn't watched gets what the first watched one got: it is
 * the wall time but for steal and emulation. */
static uint64_t
step_available_ns(const struct sampler *sampler, const struct vm_sample *vm)
{
    uint64_t sum_ns = 0;

    for (uint32_t i = 0; i < vm->n_vcpus; i++) {
        const struct cpu_use *use =
            cpu_uses_find(&sampler->cpus, vm->vcpu_cpu[i]);

        if (!use && sampler->cpus.n) {
            use = &sampler->cpus.use[0];
        }
        sum_ns += use ? use->step_available_ns : 0;
    }
    return sum_ns;
}

static int
tell_found(struct sampler *sampler, const struct seen_vm *vm)
{
    struct msg msg = {.type = MSG_VM_FOUND};
    struct msg_vm_found *found = &msg.vm_found;

    found->vm = vm->last.uuid;
    text_copy_printable(found->name, sizeof found->name, vm->last.name);
    text_copy_printable(found->hypervisor, sizeof found->hypervisor,
                        sampler->env.hypervisor_class->name);
    found->n_vcpu_cpus = vm->last.n_vcpus;
    for (uint32_t i = 0; i < vm->last.n_vcpus; i++) {
        found->vcpu_cpus[i] = vm->last.vcpu_cpu[i];
    }
    found->state = vm->last.state;
    return sampler->env.news(sampler->env.ctx, &msg);
}

static int
tell_instance(struct sampler *sampler, const struct seen_vm *vm)
{
    struct msg msg = {.type = MSG_VM_INSTANCE};

    msg.vm_instance.vm = vm->last.uuid;
    msg.vm_instance.instance = vm->instance;
    msg.vm_instance.since_ns = vm->instance_since;
    return sampler->env.news(sampler->env.ctx, &msg);
}

static int
tell_gone(struct sampler *sampler, const struct seen_vm *vm, const char *reason)
{
    struct msg msg = {.type = MSG_VM_GONE};

    msg.vm_gone.vm = vm->last.uuid;
    text_copy_printable(msg.vm_gone.reason, sizeof msg.vm_gone.reason, reason);
    return sampler->env.news(sampler->env.ctx, &msg);
}

/* Helpers. */

/* Tells that a source began to fail, or works again. */
static void
note(struct sampler *sampler, struct source *source, int error)
{
    struct msg msg = {.type = MSG_TROUBLE};

    if (!error == !source->failing) {
        return;
    }
    text_copy_printable(msg.trouble.where, sizeof msg.trouble.where,
                        source->name);
    text_copy_printable(msg.trouble.reason, sizeof msg.trouble.reason,
                        error ? strerror(-error) : "works again");
    if (!sampler->env.news(sampler->env.ctx, &msg)) {
        source->failing = error;
    }
}

static int
list_cpus(const struct broker_config *config, int proc_dirfd,
          uint32_t out[CONFIG_CPUS_MAX])
{
    if (config->n_cpus || proc_dirfd < 0) {
        memcpy(out, config->cpus, config->n_cpus * sizeof out[0]);
        return (int)config->n_cpus;
    }
    return cpu_uses_list(proc_dirfd, out, CONFIG_CPUS_MAX);
}
