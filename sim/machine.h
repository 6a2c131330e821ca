/* SPDX-License-Identifier: Apache-2.0 */
/* The made-up machine: CPUs at the frequencies the broker gave them, and guests
 * whose requests they serve.  Arrivals are open loop, each guest's from its own
 * random stream, so that no policy changes who asks for what and when; service
 * is first come, first served within a guest; vCPUs share their CPU equally.
 * Knows no broker, no agent and no SLA. */
#ifndef SIM_MACHINE_H
#define SIM_MACHINE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/clock.h"

#define MACHINE_QUEUE_MAX 16384 /* Requests waiting in one guest. */
#define MACHINE_STEPS_MAX 64

struct machine;

/* From 'at' on, so many requests a second. */
struct machine_step {
    nsec_t at;
    double rate_hz;
};

/* One guest's load. */
struct machine_load {
    uint32_t cpu;
    uint64_t seed; /* Of its streams, and of nobody else's. */
    bool regular;  /* Arrivals at equal distances, not Poisson's. */
    bool fixed;    /* All requests take the mean, not exponential times. */
    uint64_t service_ns; /* Mean, at the CPU's reference frequency. */
    uint32_t slow_every; /* Each so many-th request takes 'slow_ns' instead; */
    uint64_t slow_ns;    /* 0: none does. */
    uint32_t n_steps;    /* Of rising time. */
    struct machine_step steps[MACHINE_STEPS_MAX];
};

/* A request that was served. */
struct machine_done {
    uint32_t guest;
    nsec_t arrived, ended;
};

struct machine_env {
    void *ctx;
    void (*done)(void *ctx, const struct machine_done *);
};

/* CPUs are numbered 0..n_cpus-1 and all run at 'reference_khz' at first, the
 * frequency that service times are meant at.  'loads' is copied.  Returns 0 or
 * -ENOMEM. */
int machine_create(struct machine **out, uint32_t n_cpus,
                   uint32_t reference_khz, const struct machine_load *loads,
                   uint32_t n_guests, const struct machine_env *env,
                   nsec_t now);
void machine_destroy(struct machine *);

/* From now on, that is, from the 'until' of the last machine_run(). */
void machine_set_freq(struct machine *, uint32_t cpu, uint32_t khz);
void machine_set_running(struct machine *, uint32_t guest, bool runs);
void machine_set_cpu(struct machine *, uint32_t guest, uint32_t cpu);

/* Lets time pass until 'until', telling every request that ends. */
void machine_run(struct machine *, nsec_t until);

/* CPU time a guest got since the start. */
uint64_t machine_busy_ns(const struct machine *, uint32_t guest);

struct machine_counts {
    uint64_t n_arrived, n_done;
    uint64_t n_turned_away; /* Found MACHINE_QUEUE_MAX others waiting. */
    uint32_t n_waiting;     /* The one in service included. */
};
void machine_counts(const struct machine *, uint32_t guest,
                    struct machine_counts *out);

#endif
