/* SPDX-License-Identifier: Apache-2.0 */
/* The parts of harness.h that no message passes through: starting and ending a
 * measurement, and what both ends need besides.  Called by main.c and the
 * carriers. */
#include "bench/channel/harness.h"

#include <errno.h>
#include <sched.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#define WARM_UP_SHARE 8 /* Of the run's length, before measuring. */
#define MEET_NS (10 * NSEC_PER_SEC)
#define NAP_NS (50 * NSEC_PER_USEC)

static nsec_t
now_ns(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC_RAW, &ts);
    return ts.tv_sec * NSEC_PER_SEC + ts.tv_nsec;
}

double
ticks_measure(void)
{
    nsec_t start = now_ns(), now;
    uint64_t ticks = ticks_now();
    do {
        now = now_ns();
    } while (now - start < 20 * NSEC_PER_MSEC);
    return (double)(ticks_now() - ticks) / (double)(now - start);
}

/* The commonest step between two looks at the clock. */
uint64_t
ticks_grain(void)
{
    uint32_t counts[256] = {0};
    uint64_t grain = 1, before = ticks_now();
    for (int i = 0; i < 10000; i++) {
        uint64_t now = ticks_now();
        if (now > before && now - before < 256) {
            counts[now - before]++;
        }
        before = now;
    }
    for (uint64_t i = 1; i < 256; i++) {
        if (counts[i] > counts[grain]) {
            grain = i;
        }
    }
    return grain;
}

int
cpu_pin(int cpu)
{
    cpu_set_t set;
    if (cpu < 0) {
        return 0;
    }
    CPU_ZERO(&set);
    CPU_SET((size_t)cpu, &set);
    return sched_setaffinity(0, sizeof set, &set) ? -errno : 0;
}

void *
memory_shared(size_t size)
{
    void *memory = mmap(NULL, size, PROT_READ | PROT_WRITE,
                        MAP_SHARED | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
    if (memory == MAP_FAILED) {
        return NULL;
    }
    memset(memory, 0, size);
    return memory;
}

void
meter_start(struct end *end)
{
    const struct run *run = end->run;
    struct meter *meter = &end->meter;
    double warm_up = (double)run->length / WARM_UP_SHARE;
    uint64_t now = ticks_now();
    meter->window_ticks = (uint64_t)((double)WINDOW_NS * run->ticks_per_ns);
    meter->window_start = now;
    meter->begin = now + (uint64_t)(warm_up * run->ticks_per_ns);
    meter->end =
        meter->begin + (uint64_t)((double)run->length * run->ticks_per_ns);
}

/* Where a bucket begins, in ticks. */
static uint64_t
bucket_start(uint32_t bucket)
{
    uint32_t shift =
        bucket < (2u << BUCKET_BITS) ? 0 : (bucket >> BUCKET_BITS) - 1;
    return (uint64_t)(bucket - (shift << BUCKET_BITS)) << shift;
}

/* What the 'n'th of the trips took, in ticks.  Buckets that the clock can't
 * tell apart count as one, and within one the trips are taken to lie evenly:
 * the clock may be coarse beside what is measured. */
static double
trips_at(const struct end *end, double n)
{
    const uint32_t *buckets = end->meter.buckets;
    uint64_t grain = end->run->grain;
    double passed = 0;
    for (uint32_t i = 0; i < N_BUCKETS;) {
        uint64_t step = (bucket_start(i) + grain / 2) / grain;
        double from = (double)bucket_start(i), count = 0;
        do {
            count += buckets[i++];
        } while (i < N_BUCKETS &&
                 (bucket_start(i) + grain / 2) / grain == step);
        if (passed + count > n) {
            double width = (double)bucket_start(i) - from;
            return from + width * (n - passed) / count;
        }
        passed += count;
    }
    return 0;
}

static void
finish_trips(struct end *end, struct result *result)
{
    double sum = 0, n = 0, ticks_per_ns = end->run->ticks_per_ns;
    for (uint32_t i = 0; i < N_BUCKETS; i++) {
        n += end->meter.buckets[i];
        sum += end->meter.buckets[i] * (double)bucket_start(i);
    }
    result->n = (uint64_t)n;
    if (n > 0) {
        result->value = trips_at(end, n / 2) / ticks_per_ns;
        result->p99 = trips_at(end, n * 0.99) / ticks_per_ns;
        result->mean = sum / n / ticks_per_ns;
    }
}

static int
compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* p99 of a rate is what 99 of 100 windows reached. */
static void
finish_rate(struct end *end, struct result *result)
{
    struct meter *meter = &end->meter;
    double ticks_per_s = end->run->ticks_per_ns * NSEC_PER_SEC;
    unsigned n = meter->n_windows;
    if (!n) {
        return;
    }
    qsort(meter->windows, n, sizeof *meter->windows, compare);
    result->n = meter->n - meter->first;
    result->value = meter->windows[n / 2] * ticks_per_s;
    result->p99 = meter->windows[n / 100] * ticks_per_s;
    result->mean =
        (double)result->n / (double)(meter->last - meter->start) * ticks_per_s;
}

void
meter_finish(struct end *end)
{
    struct result *result = &end->shared->result[end->side];
    if (end->run->task == TASK_RTT && end->side == 0) {
        finish_trips(end, result);
    } else if (end->run->task != TASK_RTT && end->side == 1) {
        finish_rate(end, result);
    }
}

static void
nap(void)
{
    struct timespec ts = {.tv_nsec = NAP_NS};
    nanosleep(&ts, NULL);
}

int
end_meet(struct end *end)
{
    nsec_t start = now_ns();
    atomic_store(&end->shared->ready[end->side].stage, 1);
    while (!atomic_load(&end->shared->ready[!end->side].stage)) {
        if (now_ns() - start > MEET_NS) {
            return -ETIMEDOUT;
        }
        nap();
    }
    return 0;
}

void
end_done(struct end *end)
{
    atomic_store(&end->shared->done, 1);
}
