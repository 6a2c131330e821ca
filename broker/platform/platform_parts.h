/* SPDX-License-Identifier: Apache-2.0 */
/* What the platform core's files share; for them only:
 *   platform.c       its life and turns, what the engine is told
 *   platform_open.c  drivers and hypervisor, opened
 *   platform_act.c   the engine's actions, and their outcomes */
#ifndef BROKER_PLATFORM_PLATFORM_PARTS_H
#define BROKER_PLATFORM_PLATFORM_PARTS_H

#include "broker/outbox.h"
#include "broker/platform/drivers.h"
#include "broker/platform/orders.h"
#include "broker/platform/platform.h"
#include "hypervisor/hypervisor.h"

struct platform {
    const struct broker_config *config; /* Borrowed. */
    struct platform_env env;
    struct driver pstate, power, cap;
    struct knobs *knobs;                             /* Null: no p-states. */
    struct caps *caps;                               /* Null: no cap. */
    const struct hypervisor_class *hypervisor_class; /* Null: not open. */
    struct hypervisor *hypervisor;
    struct hypervisor_env hypervisor_env;
    struct hypervisor_guest *guests;      /* What hypervisor_env points to. */
    struct hypervisor_guest *next_guests; /* Of what is prepared. */
    struct sampler *sampler;
    struct outbox outbox;
    struct orders orders;
    nsec_t next_sample, last_try;
    struct platform_stats stats;
};

/* platform.c.  To the engine, as soon as it takes it: 0, or -EAGAIN if too much
 * waits. */
int platform_tell(struct platform *, const struct msg *);
/* Where a domain stands now. */
int platform_tell_domain(struct platform *, uint32_t domain);
void platform_tell_trouble(struct platform *, const char *where,
                           const char *reason);

/* platform_act.c.  Operates on a VM as the driver can, unless its migration
 * forbids it: from when that begins until its outcome is known the VM is left
 * alone.  'to' is for VM_OP_MIGRATE.  0 or -Exxx with 'why'. */
int platform_operate(struct platform *, const struct uuid *, enum vm_op,
                     const char *to, nsec_t now, char *why, size_t why_size);

/* platform_open.c.  What can't be opened is left out, and told. */
void platform_open(struct platform *, nsec_t now);

/* platform_act.c.  Settles orders of a cap whose time has come. */
void platform_run_caps(struct platform *, nsec_t now);

#endif
