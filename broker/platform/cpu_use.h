/* SPDX-License-Identifier: Apache-2.0 */
/* How the host's CPUs spent their time: busy time and the time they could have
 * been busy, both growing from 0.  Time the host's own hypervisor stole and
 * time an emulated p-state takes are neither. */
#ifndef BROKER_PLATFORM_CPU_USE_H
#define BROKER_PLATFORM_CPU_USE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/clock.h"

struct cpu_use {
    uint32_t cpu;
    bool here; /* Was there at the last reading; else its use did not move. */
    uint64_t busy_ns, available_ns; /* Never fall. */

    /* The emulation's part so far, written by the caller before an update. */
    uint64_t stolen_ns;

    /* Of the last update. */
    uint64_t step_available_ns;

    /* Private: the sums before rounding, and the last reading. */
    int64_t busy_sum, available_sum;
    int64_t idle_read, steal_read;
    uint64_t stolen_read;
    bool found;
};

struct cpu_uses {
    struct cpu_use *use; /* Owned; in the order given. */
    uint32_t n;
    nsec_t last; /* Of the last update; NSEC_NEVER before the first. */
    char *text;  /* Owned; room for /proc/stat. */
    nsec_t tick_ns;
};

/* 0 or -ENOMEM. */
int cpu_uses_init(struct cpu_uses *, const uint32_t *cpus, uint32_t n_cpus);
void cpu_uses_fini(struct cpu_uses *);

/* Writes the CPUs that 'proc_dirfd'/stat lists into 'out'.  Returns how many,
 * at most 'max', or -Exxx. */
int cpu_uses_list(int proc_dirfd, uint32_t *out, uint32_t max);

/* Reads 'proc_dirfd'/stat.  0 or -Exxx, and then nothing moved. */
int cpu_uses_read(struct cpu_uses *, int proc_dirfd, nsec_t now);

/* Moves on without a /proc: each CPU was busy for what its member of 'busy_ns'
 * says. */
void cpu_uses_tell(struct cpu_uses *, const uint64_t *busy_ns, nsec_t now);

/* Null if that CPU isn't watched. */
const struct cpu_use *cpu_uses_find(const struct cpu_uses *, uint32_t cpu);

#endif
