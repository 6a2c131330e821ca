/* SPDX-License-Identifier: Apache-2.0 */
/* What every carrier is measured with: one clock, one way of counting, one way
 * of checking that what was sent arrived.
 *
 * A run is one carrier doing one task for a second or so between two processes,
 * the ends.  End 0 pings or pours; end 1 echoes or drains.  What must cost
 * nothing is inline here; loops.h holds the loops that use it. */
#ifndef BENCH_CHANNEL_HARNESS_H
#define BENCH_CHANNEL_HARNESS_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"

struct carrier_class;

/* How an end waits for what is not there yet. */
enum wait_mode {
    WAIT_POLL,  /* Asks again and again. */
    WAIT_SPIN,  /* Looks for a while, then sleeps: as the carrier does it. */
    WAIT_SLEEP, /* Sleeps at once. */
};

enum task {
    TASK_RTT,  /* A message there and back, one at a time. */
    TASK_RATE, /* As many as go through, copied into the receiver's buffer. */
    TASK_REF,  /* The same by reference. */
    TASK_IDLE, /* Many channels with nothing to do. */
    TASK_RSS,  /* What many channels more take. */
};

struct run {
    const struct carrier_class *carrier;
    enum task task;
    enum wait_mode wait;
    size_t size;
    nsec_t length;
    nsec_t gap;         /* Between an answer and the next ping. */
    uint32_t ring_size; /* Of carriers that have rings. */
    unsigned n_channels;
    int cpus[2];  /* -1: anywhere. */
    int stop_fd;  /* An eventfd, for idle.c. */
    bool fifo;    /* Before all other processes. */
    char dir[64]; /* For sockets; of this run alone. */
    char name[32];
    double ticks_per_ns;
    uint64_t grain; /* Ticks that the clock goes on at once. */
};

/* Round trips fall into buckets of a 256th of their size; windows of a rate are
 * kept one by one. */
#define BUCKET_BITS 8
#define N_BUCKETS (40u << BUCKET_BITS)
#define WINDOW_NS (5 * NSEC_PER_MSEC)
#define N_WINDOWS 8192

struct result {
    int error;  /* -Exxx */
    uint64_t n; /* Messages, or round trips, counted. */
    double value, p99, mean;
    double cpu_seconds;
};

/* What the processes of a run share.  Each line has one writer. */
struct shared {
    struct {
        _Alignas(128) _Atomic int stage;
    } ready[2];
    _Alignas(128) _Atomic int done;
    _Alignas(128) struct result result[2];
};

struct meter {
    uint64_t begin, end; /* Ticks; what came before 'begin' is warming up. */
    uint32_t *buckets;
    double *windows; /* Messages per tick. */
    unsigned n_windows;
    uint64_t window_ticks;
    uint64_t window_start, window_first;
    uint64_t start, first, last, n; /* Of all windows. */
};

struct end {
    const struct run *run;
    struct shared *shared;
    int side;
    uint8_t *out, *in; /* Buffers of BUFFER_SIZE. */
    void *carrier;     /* The carrier's own. */
    struct meter meter;
};

#define BUFFER_SIZE (2u << 20)
#define SEQUENCE_STOP UINT64_MAX /* The last message. */

/* The clock. */

static inline uint64_t
ticks_now(void)
{
#if defined(__x86_64__)
    return __builtin_ia32_rdtsc();
#else
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC_RAW, &ts);
    return (uint64_t)ts.tv_sec * NSEC_PER_SEC + (uint64_t)ts.tv_nsec;
#endif
}

static inline void
relax(void)
{
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

/* What an end that polls does before it asks again.  Where the answer is waited
 * for it asks at once; where only the rate counts it gives the other end time,
 * since two who touch the same line in turn are slower than one after the
 * other. */
#define PATIENCE 128

static inline void
look_again(const struct run *run)
{
    for (int i = 0; run->task == TASK_RATE && i < PATIENCE; i++) {
        relax();
    }
}

/* What a message says: its sequence, in its first and in its last eight bytes,
 * so that one that arrived in part is not taken for one. */

static inline void
stamp(uint8_t *data, size_t size, uint64_t sequence)
{
    memcpy(data, &sequence, sizeof sequence);
    memcpy(data + size - sizeof sequence, &sequence, sizeof sequence);
}

static inline bool
stamped(const uint8_t *data, size_t size, uint64_t sequence)
{
    uint64_t first, last;
    memcpy(&first, data, sizeof first);
    memcpy(&last, data + size - sizeof last, sizeof last);
    return first == sequence && last == sequence;
}

/* Counting. */

static inline uint32_t
bucket_of(uint64_t ticks)
{
    unsigned high = 63 - (unsigned)__builtin_clzll(ticks | 1);
    unsigned shift = high > BUCKET_BITS ? high - BUCKET_BITS : 0;
    uint32_t bucket = (shift << BUCKET_BITS) + (uint32_t)(ticks >> shift);
    return bucket < N_BUCKETS ? bucket : N_BUCKETS - 1;
}

/* A round trip that took 'ticks' and was over at 'now'.  False when it was the
 * last. */
static inline bool
meter_trip(struct meter *meter, uint64_t ticks, uint64_t now)
{
    if (now >= meter->begin) {
        meter->buckets[bucket_of(ticks)]++;
    }
    return now < meter->end;
}

/* 'n' messages have come so far.  To be called often enough; windows are as
 * long as they are, and what counts is the median of their rates, which a
 * receiver that was once put aside does not change. */
static inline void
meter_rate(struct meter *meter, uint64_t n)
{
    uint64_t now = ticks_now();
    if (now - meter->window_start < meter->window_ticks) {
        return;
    }
    if (meter->window_start >= meter->begin && meter->n_windows < N_WINDOWS) {
        if (!meter->n_windows) {
            meter->start = meter->window_start;
            meter->first = meter->window_first;
        }
        meter->windows[meter->n_windows++] =
            (double)(n - meter->window_first) /
            (double)(now - meter->window_start);
        meter->last = now;
        meter->n = n;
    }
    meter->window_start = now;
    meter->window_first = n;
}

/* Starts the clock of an end's task. */
void meter_start(struct end *);
/* Turns what was counted into the end's result. */
void meter_finish(struct end *);

/* Of two ends: says that this one is ready and waits for the other. */
int end_meet(struct end *);
/* End 1 has everything. */
void end_done(struct end *);

/* For carriers: two byte rings' worth of shared memory, zeroed and touched. */
void *memory_shared(size_t size);

double ticks_measure(void);
uint64_t ticks_grain(void);
int cpu_pin(int cpu);

/* idle.c: the tasks with many channels.  idle_run() is an end's part, for
 * TASK_IDLE the parent's is idle_watch(). */
int idle_run(struct end *);
void idle_watch(const struct run *, struct shared *, const int *pids);

#endif
