/* SPDX-License-Identifier: Apache-2.0 */
/* A queueing model that steps from event to event: an arrival or the end of a
 * service, whichever is next.  Between two events nothing changes, so what each
 * guest got is a product.  Work is counted in cycles of a millionth: kHz times
 * ns; whole numbers, so that the same seed gives the same run everywhere but in
 * log1p(), which draws the exponential times.  Called by world.c, which sets
 * the frequencies and running states between its turns. */
#include "sim/machine.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

#include "base/prng.h"

/* A CPU's time is split among at most this many without rounding. */
#define SHARES 27720

struct request {
    nsec_t arrived;
    uint64_t work; /* kHz ns that it still needs. */
};

struct guest {
    struct machine_load load;
    struct prng arrivals, services;
    bool runs;
    uint32_t step;       /* Of the load: in force, from 1; 0: none yet. */
    nsec_t next_arrival; /* NSEC_NEVER if no more come. */
    uint64_t busy;       /* SHARES-ths of ns. */
    uint32_t first, n;   /* Its queue; the first is in service. */
    struct request *queue;
    struct machine_counts counts;
};

struct cpu {
    uint32_t khz;
    uint32_t n_active; /* Guests with work on it; they share it. */
};

struct machine {
    struct machine_env env;
    nsec_t now;
    uint32_t reference_khz;
    uint32_t n_cpus, n_guests;
    struct cpu *cpus;
    struct guest *guests;
};

static void count_active(struct machine *machine);
static nsec_t next_event(const struct machine *machine, nsec_t until);
static void advance(struct machine *machine, nsec_t to);
static void finish(struct machine *machine, uint32_t index);
static void arrive(struct machine *machine, struct guest *guest);
static void draw_arrival(struct guest *guest, nsec_t now);

int
machine_create(struct machine **out, uint32_t n_cpus, uint32_t reference_khz,
               const struct machine_load *loads, uint32_t n_guests,
               const struct machine_env *env, nsec_t now)
{
    struct machine *machine = calloc(1, sizeof *machine);
    bool failed;

    if (!machine) {
        return -ENOMEM;
    }
    machine->env = *env;
    machine->now = now;
    machine->reference_khz = reference_khz;
    machine->n_cpus = n_cpus;
    machine->n_guests = n_guests;
    machine->cpus = calloc((size_t)n_cpus + 1, sizeof *machine->cpus);
    machine->guests = calloc((size_t)n_guests + 1, sizeof *machine->guests);
    failed = !machine->cpus || !machine->guests;
    for (uint32_t i = 0; !failed && i < n_cpus; i++) {
        machine->cpus[i].khz = reference_khz;
    }
    for (uint32_t i = 0; !failed && i < n_guests; i++) {
        struct guest *guest = &machine->guests[i];

        assert(loads[i].cpu < n_cpus);
        guest->load = loads[i];
        guest->runs = true;
        prng_init(&guest->arrivals, loads[i].seed);
        prng_init(&guest->services, ~loads[i].seed);
        guest->queue = malloc(MACHINE_QUEUE_MAX * sizeof *guest->queue);
        failed = !guest->queue;
        draw_arrival(guest, now);
    }
    if (failed) {
        machine_destroy(machine);
        return -ENOMEM;
    }
    *out = machine;
    return 0;
}

void
machine_destroy(struct machine *machine)
{
    if (!machine) {
        return;
    }
    for (uint32_t i = 0; machine->guests && i < machine->n_guests; i++) {
        free(machine->guests[i].queue);
    }
    free(machine->guests);
    free(machine->cpus);
    free(machine);
}

void
machine_set_freq(struct machine *machine, uint32_t cpu, uint32_t khz)
{
    assert(cpu < machine->n_cpus);
    assert(khz > 0);
    machine->cpus[cpu].khz = khz;
}

void
machine_set_running(struct machine *machine, uint32_t guest, bool runs)
{
    assert(guest < machine->n_guests);
    machine->guests[guest].runs = runs;
}

void
machine_set_cpu(struct machine *machine, uint32_t guest, uint32_t cpu)
{
    assert(guest < machine->n_guests);
    assert(cpu < machine->n_cpus);
    machine->guests[guest].load.cpu = cpu;
}

void
machine_run(struct machine *machine, nsec_t until)
{
    assert(until >= machine->now);
    while (machine->now < until) {
        count_active(machine);
        advance(machine, next_event(machine, until));
        for (uint32_t i = 0; i < machine->n_guests; i++) {
            struct guest *guest = &machine->guests[i];

            if (guest->n > 0 && guest->queue[guest->first].work == 0) {
                finish(machine, i);
            }
            if (guest->next_arrival <= machine->now) {
                arrive(machine, guest);
            }
        }
    }
}

uint64_t
machine_busy_ns(const struct machine *machine, uint32_t guest)
{
    assert(guest < machine->n_guests);
    return machine->guests[guest].busy / SHARES;
}

void
machine_counts(const struct machine *machine, uint32_t guest,
               struct machine_counts *out)
{
    assert(guest < machine->n_guests);
    *out = machine->guests[guest].counts;
    out->n_waiting = machine->guests[guest].n;
}

/* Time. */

static bool
is_active(const struct guest *guest)
{
    return guest->runs && guest->n > 0;
}

static void
count_active(struct machine *machine)
{
    for (uint32_t i = 0; i < machine->n_cpus; i++) {
        machine->cpus[i].n_active = 0;
    }
    for (uint32_t i = 0; i < machine->n_guests; i++) {
        const struct guest *guest = &machine->guests[i];

        machine->cpus[guest->load.cpu].n_active += is_active(guest);
    }
}

static nsec_t
next_event(const struct machine *machine, nsec_t until)
{
    for (uint32_t i = 0; i < machine->n_guests; i++) {
        const struct guest *guest = &machine->guests[i];
        const struct cpu *cpu = &machine->cpus[guest->load.cpu];

        until = nsec_min(until, guest->next_arrival);
        if (is_active(guest)) {
            uint64_t work = guest->queue[guest->first].work * cpu->n_active;
            uint64_t left = (work + cpu->khz - 1) / cpu->khz;

            until = nsec_min(until, machine->now + (nsec_t)left);
        }
    }
    return until;
}

static void
advance(struct machine *machine, nsec_t to)
{
    uint64_t passed = (uint64_t)(to - machine->now);

    for (uint32_t i = 0; i < machine->n_guests; i++) {
        struct guest *guest = &machine->guests[i];
        const struct cpu *cpu = &machine->cpus[guest->load.cpu];

        if (is_active(guest)) {
            struct request *request = &guest->queue[guest->first];
            uint64_t work = passed * cpu->khz / cpu->n_active;

            request->work -= work < request->work ? work : request->work;
            guest->busy += passed * (SHARES / cpu->n_active);
        }
    }
    machine->now = to;
}

/* Events. */

static void
finish(struct machine *machine, uint32_t index)
{
    struct guest *guest = &machine->guests[index];
    struct machine_done done = {
        .guest = index,
        .arrived = guest->queue[guest->first].arrived,
        .ended = machine->now,
    };

    guest->first = (guest->first + 1) % MACHINE_QUEUE_MAX;
    guest->n--;
    guest->counts.n_done++;
    machine->env.done(machine->env.ctx, &done);
}

static void
arrive(struct machine *machine, struct guest *guest)
{
    const struct machine_load *load = &guest->load;
    struct request *request;
    uint64_t service_ns = load->service_ns;

    guest->counts.n_arrived++;
    /* Drawn in any case, so that the stream does not depend on the queue. */
    if (!load->fixed) {
        service_ns =
            (uint64_t)prng_exp(&guest->services, (double)load->service_ns);
    }
    if (load->slow_every > 0 &&
        guest->counts.n_arrived % load->slow_every == 0) {
        service_ns = load->slow_ns;
    }
    draw_arrival(guest, machine->now);
    if (guest->n == MACHINE_QUEUE_MAX) {
        guest->counts.n_turned_away++;
        return;
    }
    request = &guest->queue[(guest->first + guest->n++) % MACHINE_QUEUE_MAX];
    request->arrived = machine->now;
    request->work = (service_ns + 1) * machine->reference_khz;
}

/* Poisson arrivals have no memory, so at a change of rate the waiting time is
 * drawn anew from there. */
static void
draw_arrival(struct guest *guest, nsec_t now)
{
    const struct machine_load *load = &guest->load;

    for (;;) {
        bool last = guest->step == load->n_steps;
        nsec_t change = last ? NSEC_NEVER : load->steps[guest->step].at;
        double rate_hz =
            guest->step > 0 ? load->steps[guest->step - 1].rate_hz : 0;
        nsec_t next = NSEC_NEVER;

        if (rate_hz > 0) {
            double mean_ns = (double)NSEC_PER_SEC / rate_hz;
            double wait_ns =
                load->regular ? mean_ns : prng_exp(&guest->arrivals, mean_ns);

            next = now + (nsec_t)wait_ns + 1;
        }
        if (next < change || last) {
            guest->next_arrival = next;
            return;
        }
        guest->step++;
        now = now < change ? change : now;
    }
}
