/* SPDX-License-Identifier: Apache-2.0 */
/* Made-up VMs, and hosts to migrate them to: what msim and the tests hold
 * behind the back of the driver "sim".  They outlive the driver, so that a
 * broker that dies and comes back finds its VMs.  Operations take effect at the
 * driver's next sample().
 *
 * A migration takes 2 s; the host's name says what comes of it:
 *   near    it arrives
 *   full    it stays here
 *   silent  it arrives, which is known 10 s later
 *   dead    it does not arrive, which is known 10 s later
 *   lost    it arrives, which is never known */
#ifndef HYPERVISOR_SIM_H
#define HYPERVISOR_SIM_H

#include <stdbool.h>
#include <stdint.h>

#include "hypervisor/hypervisor.h"
#include "model/host.h"
#include "model/uuid.h"

#define HYPERVISOR_SIM_VMS_MAX 256

struct hypervisor_sim;

/* Returns 0 or -ENOMEM. */
int hypervisor_sim_create(struct hypervisor_sim **out);
/* To be called after all drivers on it are closed.  Accepts null. */
void hypervisor_sim_destroy(struct hypervisor_sim *);

/* A VM appears, running.  0, -EEXIST, -ENOSPC, or -EINVAL if it has no vCPU or
 * too many. */
int hypervisor_sim_add(struct hypervisor_sim *, const struct uuid *,
                       const char *name, uint32_t n_vcpus,
                       const uint32_t *vcpu_cpu);
/* A VM ends by itself: the next sample shows it once as ended.  0 or -ENOENT.
 */
int hypervisor_sim_end(struct hypervisor_sim *, const struct uuid *);
/* A VM is gone without a word, as after a crash of the hypervisor's daemon. */
int hypervisor_sim_vanish(struct hypervisor_sim *, const struct uuid *);
int hypervisor_sim_move(struct hypervisor_sim *, const struct uuid *,
                        uint32_t vcpu, uint32_t cpu);
/* CPU time its vCPUs used since it started; it may lie and fall. */
int hypervisor_sim_set_busy(struct hypervisor_sim *, const struct uuid *,
                            uint64_t busy_ns);
/* A VM is reset, or set back: from 'now' on it is another instance of itself.
 */
int hypervisor_sim_renew(struct hypervisor_sim *, const struct uuid *,
                         nsec_t now);
/* Whether the VM runs, which is when it uses CPU time. */
bool hypervisor_sim_runs(const struct hypervisor_sim *, const struct uuid *);
/* Asked before the driver operates on a VM and told after it did; as
 * hardware_sim_watch(). */
typedef bool hypervisor_sim_watch_fn(void *ctx, const struct uuid *, enum vm_op,
                                     bool done);
void hypervisor_sim_watch(struct hypervisor_sim *, hypervisor_sim_watch_fn *,
                          void *ctx);
/* Whether the VM is here, running or not. */
bool hypervisor_sim_is_here(const struct hypervisor_sim *, const struct uuid *);
/* How many copies of the VM there are that run or may be thawed, here and where
 * it was migrated to. */
uint32_t hypervisor_sim_n_copies(const struct hypervisor_sim *,
                                 const struct uuid *);
/* While 'error' (-Exxx) is not 0, sample() and control() return it. */
void hypervisor_sim_fail(struct hypervisor_sim *, int error);

#endif
