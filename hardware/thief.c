/* SPDX-License-Identifier: Apache-2.0 */
/* One thread per CPU, the thief, that runs above all ordinary ones (SCHED_FIFO)
 * and burns a part of every period of 200 us.  It never knows why: softpstate.c
 * tells it how much, and asks how much it really was.
 *
 * The trick: it sleeps on a futex, the word that says how much to burn, both
 * when there is nothing to burn (for ever, at no cost) and between two burns
 * (until the next period begins).  A change of the word therefore wakes it at
 * once.  It answers in a second word, by which thief_order() knows that it
 * obeys.  When the process ends, however it ends, its thieves end with it.
 *
 * It is a thread and reads the clock, both exceptions to the house's rules,
 * because it stands in for hardware.  Nothing is locked into memory: what it
 * touches while it burns it touches every 200 us, and what was paged out while
 * it slept costs one late burn. */
#include "hardware/thief.h"

#include <assert.h>
#include <errno.h>
#include <limits.h>
#include <linux/futex.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

/* Above SCHED_OTHER, below what else is real-time. */
#define PRIORITY 10
#define WANT_QUIT UINT32_MAX
#define ANSWER_LOST (UINT32_MAX - 1) /* Not on its CPU. */
#define ANSWER_TIMEOUT_NS (100 * NSEC_PER_MSEC)

struct thief {
    _Atomic uint32_t want_ns;   /* To burn in each period, or WANT_QUIT. */
    _Atomic uint32_t answer_ns; /* The 'want_ns' it obeys, or ANSWER_LOST. */
    uint32_t cpu;
    pthread_t thread;
    clockid_t clock; /* Its CPU time. */
};

static void *thief_run(void *);
static int start_thread(struct thief *);
static int futex_wait(_Atomic uint32_t *word, uint32_t seen,
                      const struct timespec *until);
static void futex_wake(_Atomic uint32_t *word);
static nsec_t clock_now(clockid_t);
static struct timespec timespec_of(nsec_t);

int
thief_create(struct thief **out, uint32_t cpu)
{
    if (cpu >= CPU_SETSIZE) {
        return -EINVAL;
    }
    struct thief *thief = calloc(1, sizeof *thief);
    if (!thief) {
        return -ENOMEM;
    }
    thief->cpu = cpu;
    int error = start_thread(thief);
    if (error) {
        free(thief);
        return error;
    }
    *out = thief;
    return 0;
}

void
thief_destroy(struct thief *thief)
{
    if (!thief) {
        return;
    }
    atomic_store(&thief->want_ns, WANT_QUIT);
    futex_wake(&thief->want_ns);
    pthread_join(thief->thread, NULL);
    free(thief);
}

int
thief_order(struct thief *thief, uint32_t want_ns)
{
    uint32_t seen = atomic_load(&thief->answer_ns);

    assert(want_ns < THIEF_PERIOD_NS);
    if (seen == ANSWER_LOST) {
        atomic_store(&thief->answer_ns, WANT_QUIT); /* No answer yet. */
    }
    atomic_store(&thief->want_ns, want_ns);
    futex_wake(&thief->want_ns);

    struct timespec until =
        timespec_of(clock_now(CLOCK_MONOTONIC) + ANSWER_TIMEOUT_NS);
    while ((seen = atomic_load(&thief->answer_ns)) != want_ns) {
        if (seen == ANSWER_LOST) {
            return -EIO;
        }
        if (futex_wait(&thief->answer_ns, seen, &until) && errno == ETIMEDOUT) {
            return -EIO;
        }
    }
    return 0;
}

bool
thief_obeys(const struct thief *thief, uint32_t want_ns)
{
    return atomic_load(&thief->answer_ns) == want_ns &&
           atomic_load(&thief->want_ns) == want_ns;
}

uint64_t
thief_taken_ns(const struct thief *thief)
{
    return (uint64_t)clock_now(thief->clock);
}

static int
start_thread(struct thief *thief)
{
    struct sched_param param = {.sched_priority = PRIORITY};
    pthread_attr_t attr;
    sigset_t all, before;
    cpu_set_t own;

    CPU_ZERO(&own);
    CPU_SET(thief->cpu, &own);
    pthread_attr_init(&attr);
    pthread_attr_setaffinity_np(&attr, sizeof own, &own);
    pthread_attr_setinheritsched(&attr, PTHREAD_EXPLICIT_SCHED);
    pthread_attr_setschedpolicy(&attr, SCHED_FIFO);
    pthread_attr_setschedparam(&attr, &param);

    /* Signals are for the program's own thread. */
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int error = -pthread_create(&thief->thread, &attr, thief_run, thief);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    pthread_attr_destroy(&attr);
    if (error) {
        return error;
    }
    error = -pthread_getcpuclockid(thief->thread, &thief->clock);
    assert(!error);
    return 0;
}

/* In the thread. */

/* A thread loses its CPU when that goes offline, and is then run anywhere:
 * there it must not burn. */
static bool
on_own_cpu(const struct thief *thief)
{
    if (sched_getcpu() == (int)thief->cpu) {
        return true;
    }
    cpu_set_t own;
    CPU_ZERO(&own);
    CPU_SET(thief->cpu, &own);
    return !sched_setaffinity(0, sizeof own, &own) &&
           sched_getcpu() == (int)thief->cpu;
}

/* How a thief keeps to its share under one order: what waking and sleeping cost
 * it is taken from the others as well, up to 24 us of each 200 on a virtual
 * machine, so it burns what its CPU clock says is still missing. */
struct pace {
    nsec_t period_start;
    nsec_t since, used_ns; /* Both clocks when the first period began. */
};

/* Returns when to burn first: the period begins with the others' part, so that
 * who gave the order, perhaps from this CPU, is not the first to wait. */
static nsec_t
pace_start(struct pace *pace, uint32_t want_ns)
{
    nsec_t now = clock_now(CLOCK_MONOTONIC);

    pace->period_start = pace->since = now + THIEF_PERIOD_NS - want_ns;
    pace->used_ns = clock_now(CLOCK_THREAD_CPUTIME_ID);
    return pace->period_start;
}

/* Burns this period's part and returns when the next period begins.  What a
 * late period missed is made up for, but no more than one period's part, and
 * what is left to the others is theirs, though the next period come late. */
static nsec_t
burn(struct pace *pace, uint32_t want_ns)
{
    nsec_t now = clock_now(CLOCK_MONOTONIC);
    nsec_t used_ns = clock_now(CLOCK_THREAD_CPUTIME_ID) - pace->used_ns;
    nsec_t due_ns = (now - pace->since) / THIEF_PERIOD_NS * want_ns + want_ns;
    nsec_t missing_ns = due_ns - used_ns;

    if (missing_ns > 2 * (nsec_t)want_ns) {
        pace->used_ns -= missing_ns - 2 * (nsec_t)want_ns;
        missing_ns = 2 * (nsec_t)want_ns;
    }
    for (nsec_t end = now + missing_ns; now < end;) {
        now = clock_now(CLOCK_MONOTONIC);
    }

    pace->period_start += THIEF_PERIOD_NS;
    if (pace->period_start <= now) {
        pace->period_start = now + THIEF_PERIOD_NS - want_ns;
    }
    return pace->period_start;
}

static void
answer(struct thief *thief, uint32_t answer_ns)
{
    if (atomic_load(&thief->answer_ns) != answer_ns) {
        atomic_store(&thief->answer_ns, answer_ns);
        futex_wake(&thief->answer_ns);
    }
}

static void *
thief_run(void *ctx)
{
    struct thief *thief = ctx;
    struct pace pace = {0};
    uint32_t paced_ns = 0;
    char name[16];

    /* Another's name would be written to /proc, which may be read-only. */
    snprintf(name, sizeof name, "thief/%u", thief->cpu);
    pthread_setname_np(pthread_self(), name);
    for (;;) {
        uint32_t want_ns = atomic_load(&thief->want_ns);

        if (want_ns == WANT_QUIT) {
            return NULL;
        }
        if (want_ns && !on_own_cpu(thief)) {
            answer(thief, ANSWER_LOST);
            futex_wait(&thief->want_ns, want_ns, NULL);
            continue;
        }
        answer(thief, want_ns);
        if (!want_ns) {
            paced_ns = 0;
            futex_wait(&thief->want_ns, 0, NULL);
            continue;
        }
        bool is_new = want_ns != paced_ns;
        paced_ns = want_ns;
        struct timespec until = timespec_of(is_new ? pace_start(&pace, want_ns)
                                                   : burn(&pace, want_ns));
        futex_wait(&thief->want_ns, want_ns, &until);
    }
}

/* Futexes and clocks. */

static int
futex_wait(_Atomic uint32_t *word, uint32_t seen, const struct timespec *until)
{
    return (int)syscall(SYS_futex, word, FUTEX_WAIT_BITSET_PRIVATE, seen, until,
                        NULL, FUTEX_BITSET_MATCH_ANY);
}

static void
futex_wake(_Atomic uint32_t *word)
{
    syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, INT_MAX, NULL, NULL, 0);
}

static nsec_t
clock_now(clockid_t clock)
{
    struct timespec now;

    clock_gettime(clock, &now);
    return now.tv_sec * NSEC_PER_SEC + now.tv_nsec;
}

static struct timespec
timespec_of(nsec_t at)
{
    return (struct timespec){.tv_sec = at / NSEC_PER_SEC,
                             .tv_nsec = at % NSEC_PER_SEC};
}
