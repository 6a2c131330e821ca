/* SPDX-License-Identifier: Apache-2.0 */
/* What the platform core observes, at a steady period: CPUs, VMs and power,
 * told as messages.  For platform.c only. */
#ifndef BROKER_PLATFORM_SAMPLER_H
#define BROKER_PLATFORM_SAMPLER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/clock.h"
#include "hardware/hardware.h"
#include "hypervisor/hypervisor.h"

struct broker_config;
struct knobs;
struct msg;
struct sampler;

/* All borrowed until sampler_destroy(). */
struct sampler_env {
    int proc_dirfd; /* -1: a CPU's use is the sum of its VMs'. */
    const struct hypervisor_class *hypervisor_class; /* Null: none. */
    struct hypervisor *hypervisor;
    const struct hardware_class *power_class; /* Null: none. */
    struct hardware *power;
    struct knobs *knobs; /* Null: none. */
    /* Takes a sample that may be lost, or news that must not.  News come back
     * with the next sample if there was no room (-ENOBUFS). */
    void (*sample)(void *ctx, const struct msg *);
    int (*news)(void *ctx, const struct msg *);
    void *ctx;
};

/* 0, -ENOMEM, or -Exxx with 'why' if the CPUs can't be listed. */
int sampler_create(struct sampler **out, const struct broker_config *,
                   const struct sampler_env *, char *why, size_t why_size);
void sampler_destroy(struct sampler *);

/* Observes everything once. */
void sampler_run(struct sampler *, nsec_t now);

/* Tells of that VM again, if it is there, when it next looks. */
void sampler_tell_again(struct sampler *, const struct uuid *);

/* Whether that VM was there when it was last looked at, running or not. */
bool sampler_sees(const struct sampler *, const struct uuid *);
/* How it was then; VM_ENDED if it was not there. */
enum vm_state sampler_vm_state(const struct sampler *, const struct uuid *);

#endif
