/* SPDX-License-Identifier: Apache-2.0 */
/* The door to the hypervisors: which VMs there are, on which CPUs, how busy,
 * and how to start, freeze, thaw, end and migrate them.  The platform process opens
 * it; configuration and the restorer only name one.  A driver reads no clock
 * and never logs. */
#ifndef HYPERVISOR_HYPERVISOR_H
#define HYPERVISOR_HYPERVISOR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/clock.h"
#include "base/option.h"
#include "model/host.h"
#include "model/uuid.h"

struct hypervisor_sim;
struct hypervisor; /* Each driver's own. */

/* A guest the configuration names.  Hypervisors that know their VMs themselves
 * use it only to find out which are ours. */
struct hypervisor_guest {
    struct uuid uuid;
    char name[VM_NAME_SIZE];
    uint32_t n_vcpus;
    uint32_t vcpu_cpu[VM_VCPUS_MAX];
    const char *command;  /* Run by /bin/sh -c; null: not started by us. */
    const char *pid_file; /* Where its first process is named; may be null. */
};

/* A guest's first process; pid 0: it doesn't run. */
struct hypervisor_found {
    int32_t pid;
    uint64_t start; /* In ticks since boot, as /proc/PID/stat has it. */
    bool ours;      /* We started it. */
};

/* Does for a driver in a sandbox what takes rights over the host: starts guests
 * and finds running ones by files that name them.  Guests go by their index in
 * hypervisor_env. */
struct hypervisor_helper {
    /* Looks for all guests, 'out[i]' for each.  May block for milliseconds.  0
     * or -Exxx. */
    int (*find)(void *ctx, struct hypervisor_found *out, uint32_t n);
    /* 0 or -Exxx with 'why'. */
    int (*start)(void *ctx, uint32_t guest, struct hypervisor_found *out,
                 char *why, size_t why_size);
    /* One that it started has ended. */
    void (*forget)(void *ctx, uint32_t guest);
    /* The configuration names other guests from now on, whose indices it gives
     * them.  0 or -Exxx with 'why', and nothing changed.  May be null: it knows
     * them from elsewhere. */
    int (*renew)(void *ctx, char *why, size_t why_size);
};

struct hypervisor_env {
    int proc_dirfd;  /* The root that stands for /proc. */
    int state_dirfd; /* A directory to keep what must outlive the broker, so
                      * that a guest already running is found again; -1 if the
                      * helper has it. */
    /* Who starts and finds guests; null: the driver does. */
    const struct hypervisor_helper *helper;
    void *helper_ctx;
    const struct hypervisor_guest *guests;
    uint32_t n_guests;
    const struct option_values *options;
    uint64_t seed; /* For sim.c. */
    /* For sim.c, see hypervisor/sim.h: the made-up VMs, which outlive the
     * driver as real ones do; null: it makes its own from 'guests'. */
    struct hypervisor_sim *sim;
};

struct vm_sample {
    struct uuid uuid;
    char name[VM_NAME_SIZE];
    enum vm_state state;
    uint32_t n_vcpus;
    uint32_t vcpu_cpu[VM_VCPUS_MAX];
    uint64_t busy_ns; /* CPU time its vCPUs used since it started. */
    /* Another number when it is another instance of itself: it was started
     * anew, reset, set back to what it was before, or is a clone in its place.
     * Not when it was frozen, or came by migration.  0: the hypervisor does not
     * tell. */
    uint64_t instance;
    nsec_t instance_since; /* When that began, MVM clock; 0: not known. */
};

struct hypervisor_class {
    const char *name, *summary;
    const struct option_desc *options; /* May be null. */
    /* Finds the VMs that are there; starts none.  'env' is borrowed until
     * close.  Returns 0, -ENODEV or -Exxx with 'why'. */
    int (*open)(struct hypervisor **out, const struct hypervisor_env *,
                char *why, size_t why_size);
    /* All VMs it knows now, ended ones once.  Bounded work, no blocking.
     * Returns how many, or -Exxx. */
    int (*sample)(struct hypervisor *, nsec_t now, struct vm_sample *out,
                  size_t max);
    /* Begins an operation and returns at once; sample() shows when it is done.
     * Returns 0, -ENOENT, -EALREADY, -ENOTSUP or -Exxx with 'why'. */
    int (*control)(struct hypervisor *, const struct uuid *, enum vm_op,
                   nsec_t now, char *why, size_t why_size);
    /* Begins to migrate a running VM to a host 'to', which it knows by that
     * name, and returns at once.  sample() shows the VM as VM_MOVING, then as
     * VM_LEFT once, VM_RUNNING if it stays, or VM_UNSURE until one of the two
     * is proved; a driver opened anew shows the same.  Returns as control().
     * Null: it can't. */
    int (*migrate)(struct hypervisor *, const struct uuid *, const char *to,
                   nsec_t now, char *why, size_t why_size);
    /* The configuration names other guests: 'guests' (borrowed until the next
     * call, or close) take the place of those of the environment, of which the
     * caller then changes its copy.  VMs that are named no more are let go of,
     * and run on; those of the same UUID stay as they are.  Returns 0, or
     * -ENOMEM or -EINVAL with 'why' (may be null) and nothing changed.  Null if
     * the driver needs no word of it. */
    int (*set_guests)(struct hypervisor *,
                      const struct hypervisor_guest *guests, uint32_t n_guests,
                      char *why, size_t why_size);
    /* Lets go of all VMs and leaves them running.  Accepts null. */
    void (*close)(struct hypervisor *);
};

extern const struct hypervisor_class *const hypervisor_table[];
extern const char *const hypervisor_left_out[];

const struct hypervisor_class *hypervisor_find(const char *name);

#endif
