/* SPDX-License-Identifier: Apache-2.0 */
/* Emulated p-states, for hosts whose frequency can't be set.  On each managed
 * CPU a thread of ours, the thief, runs above all ordinary ones (SCHED_FIFO)
 * and burns a share of 1 - f/f0 of every 200 us, so that what else runs there
 * gets as much work done as at f.  A cgroup quota would be cheaper and is a
 * poor model: it changes nothing until it is used up and then stalls for
 * milliseconds.
 *
 * The trick: each thief sleeps on a futex, the word that says how much to burn,
 * both when there is nothing to burn (for ever, at no cost) and between two
 * burns (until the next period begins).  A change of the word therefore wakes
 * it at once.  It answers in a second word, by which set() knows that it took
 * effect.  When the process ends, however it ends, the emulation ends with it.
 *
 * Threads need CAP_SYS_NICE (or RLIMIT_RTPRIO) and, where the kernel has
 * CONFIG_RT_GROUP_SCHED, a cgroup with cpu.rt_runtime_us.  The kernel's own
 * limit, sched_rt_runtime_us, is 95 % of a CPU by default and does not disturb
 * burning the 90 % that are allowed here; below a lower limit less is burned,
 * and stolen() says how much really was.
 *
 * Two exceptions to the house's rules, both because a thief is a stand-in for
 * hardware: it reads the clock, to pace itself, and it is a thread.  Nothing is
 * locked into memory: what a thief touches while it burns it touches every 200
 * us, and what was paged out while it slept costs one late burn.  Called by the
 * platform process. */
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
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "hardware/hardware.h"
#include "hardware/ladder.h"

#define PERIOD_NS (200 * NSEC_PER_USEC)
#define SLOWEST_SHARE 10 /* No frequency below a tenth of the highest. */
#define THIEF_PRIORITY                                                         \
    10 /* Above SCHED_OTHER, below what else is real-time.                     \
        */
#define THIEF_QUIT UINT32_MAX
#define THIEF_LOST (UINT32_MAX - 1) /* An answer: not on its CPU. */
#define ANSWER_TIMEOUT_NS (100 * NSEC_PER_MSEC)

/* One CPU's thief.  'want_ns' is written by set() and close(), 'answer_ns' by
 * the thread. */
struct thief {
    _Atomic uint32_t want_ns;   /* To burn in each period, or THIEF_QUIT. */
    _Atomic uint32_t answer_ns; /* The 'want_ns' it obeys, or THIEF_LOST. */
    uint32_t cpu;
    bool running;
    pthread_t thread;
    clockid_t clock; /* Its CPU time. */
};

struct hardware {
    uint32_t n_domains, n_thieves;
    struct pstate_domain *domains;
    uint32_t *pstate; /* Per domain: the last that took effect. */
    struct thief *thieves;
};

static int thief_start(struct thief *, uint32_t cpu);
static void thief_stop(struct thief *);
static int thief_order(struct thief *, uint32_t want_ns);
static void say_refused(int error, uint32_t cpu, char *why, size_t why_size);
static struct thief *find_thief(struct hardware *, uint32_t cpu);
static uint32_t burn_ns(const struct pstate_table *, uint32_t pstate);
static void softpstate_close(struct hardware *);

static int
softpstate_open(struct hardware **out, const struct hardware_env *env,
                char *why, size_t why_size)
{
    struct hardware *hw = calloc(1, sizeof *hw);
    if (!hw) {
        snprintf(why, why_size, "no memory");
        return -ENOMEM;
    }
    int n = ladder_domains(&hw->domains, env, why, why_size);
    if (n < 0) {
        softpstate_close(hw);
        return n;
    }
    hw->n_domains = (uint32_t)n;
    const struct pstate_table *table = &hw->domains[0].table;
    if (table->freq_khz[table->n - 1] < table->freq_khz[0] / SLOWEST_SHARE) {
        snprintf(why, why_size,
                 "frequencies_mhz: the lowest must be at least 1/%d of the "
                 "highest, so that the CPU stays usable",
                 SLOWEST_SHARE);
        softpstate_close(hw);
        return -EINVAL;
    }
    hw->pstate = calloc(hw->n_domains, sizeof *hw->pstate);
    hw->thieves = calloc(env->n_cpus, sizeof *hw->thieves);
    if (!hw->pstate || !hw->thieves) {
        snprintf(why, why_size, "no memory for %u CPUs", env->n_cpus);
        softpstate_close(hw);
        return -ENOMEM;
    }

    for (uint32_t i = 0; i < env->n_cpus; i++) {
        int error = thief_start(&hw->thieves[i], env->cpus[i]);
        if (error) {
            say_refused(error, env->cpus[i], why, why_size);
            softpstate_close(hw);
            return error;
        }
        hw->n_thieves++;
    }
    *out = hw;
    return 0;
}

static void
softpstate_close(struct hardware *hw)
{
    if (!hw) {
        return;
    }
    for (uint32_t i = 0; i < hw->n_thieves; i++) {
        thief_stop(&hw->thieves[i]);
    }
    free(hw->thieves);
    free(hw->pstate);
    free(hw->domains);
    free(hw);
}

static int
softpstate_domains(struct hardware *hw, const struct pstate_domain **out)
{
    *out = hw->domains;
    return (int)hw->n_domains;
}

/* What the thieves obey.  One that lost its CPU burns nothing, so that the
 * domain's speed is no longer one speed. */
static int
softpstate_get(struct hardware *hw, uint32_t domain, uint32_t *pstate_out)
{
    if (domain >= hw->n_domains) {
        return -ERANGE;
    }
    const struct pstate_domain *d = &hw->domains[domain];
    uint32_t pstate = hw->pstate[domain];

    for (uint32_t i = 0; i < d->n_cpus; i++) {
        struct thief *thief = find_thief(hw, d->cpus[i]);
        if (atomic_load(&thief->answer_ns) != burn_ns(&d->table, pstate)) {
            return -EIO;
        }
    }
    *pstate_out = pstate;
    return 0;
}

static int
softpstate_set(struct hardware *hw, uint32_t domain, uint32_t pstate)
{
    if (domain >= hw->n_domains || pstate >= hw->domains[domain].table.n) {
        return -ERANGE;
    }
    const struct pstate_domain *d = &hw->domains[domain];
    uint32_t want_ns = burn_ns(&d->table, pstate);
    int error = 0;

    for (uint32_t i = 0; i < d->n_cpus; i++) {
        int failed = thief_order(find_thief(hw, d->cpus[i]), want_ns);
        error = error ? error : failed;
    }
    hw->pstate[domain] = pstate;
    return error;
}

static int
softpstate_save(struct hardware *hw, uint32_t domain,
                char out[HARDWARE_SAVED_SIZE])
{
    uint32_t pstate;

    int error = softpstate_get(hw, domain, &pstate);
    if (error) {
        return error;
    }
    ladder_save(pstate, out);
    return 0;
}

static int
softpstate_restore(struct hardware *hw, uint32_t domain, const char *saved)
{
    uint32_t pstate;

    if (domain >= hw->n_domains) {
        return -ERANGE;
    }
    int error = ladder_read_saved(&hw->domains[domain], saved, &pstate);
    return error ? error : softpstate_set(hw, domain, pstate);
}

static int
softpstate_stolen(struct hardware *hw, uint32_t cpu, uint64_t *ns_out)
{
    struct timespec used;

    struct thief *thief = find_thief(hw, cpu);
    if (!thief) {
        return -ENOENT;
    }
    if (clock_gettime(thief->clock, &used)) {
        return -errno;
    }
    *ns_out = (uint64_t)(used.tv_sec * NSEC_PER_SEC + used.tv_nsec);
    return 0;
}

static struct thief *
find_thief(struct hardware *hw, uint32_t cpu)
{
    for (uint32_t i = 0; i < hw->n_thieves; i++) {
        if (hw->thieves[i].cpu == cpu) {
            return &hw->thieves[i];
        }
    }
    return NULL;
}

/* The time to burn in each period: (1 - f/f0) of it. */
static uint32_t
burn_ns(const struct pstate_table *table, uint32_t pstate)
{
    uint64_t missing_khz = table->freq_khz[0] - table->freq_khz[pstate];

    return (uint32_t)(missing_khz * PERIOD_NS / table->freq_khz[0]);
}

static void
say_refused(int error, uint32_t cpu, char *why, size_t why_size)
{
    switch (error) {
    case -EPERM:
        snprintf(why, why_size,
                 "may not run a real-time thread on CPU %u: emulated p-states "
                 "need CAP_SYS_NICE, and a cgroup with cpu.rt_runtime_us where "
                 "the kernel groups real-time threads",
                 cpu);
        break;
    case -EINVAL:
        snprintf(why, why_size,
                 "CPU %u is offline, absent, or outside this process's cpuset",
                 cpu);
        break;
    default:
        snprintf(why, why_size, "no thread on CPU %u: %s", cpu,
                 strerror(-error));
        break;
    }
}

/* The thread.  Everything below the next two functions runs in it. */

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

    pace->period_start = pace->since = now + PERIOD_NS - want_ns;
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
    nsec_t due_ns = (now - pace->since) / PERIOD_NS * want_ns + want_ns;
    nsec_t missing_ns = due_ns - used_ns;

    if (missing_ns > 2 * (nsec_t)want_ns) {
        pace->used_ns -= missing_ns - 2 * (nsec_t)want_ns;
        missing_ns = 2 * (nsec_t)want_ns;
    }
    for (nsec_t end = now + missing_ns; now < end;) {
        now = clock_now(CLOCK_MONOTONIC);
    }

    pace->period_start += PERIOD_NS;
    if (pace->period_start <= now) {
        pace->period_start = now + PERIOD_NS - want_ns;
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

    for (;;) {
        uint32_t want_ns = atomic_load(&thief->want_ns);

        if (want_ns == THIEF_QUIT) {
            return NULL;
        }
        if (want_ns && !on_own_cpu(thief)) {
            answer(thief, THIEF_LOST);
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

/* Ordering the thread about, from outside it. */

/* Returns when the thief took the order; -EIO if it doesn't, because its CPU is
 * gone or something of a higher priority keeps it. */
static int
thief_order(struct thief *thief, uint32_t want_ns)
{
    uint32_t seen = atomic_load(&thief->answer_ns);

    if (seen == want_ns) {
        return 0;
    }
    if (seen == THIEF_LOST) {
        atomic_store(&thief->answer_ns, THIEF_QUIT); /* No answer yet. */
    }
    atomic_store(&thief->want_ns, want_ns);
    futex_wake(&thief->want_ns);

    struct timespec until =
        timespec_of(clock_now(CLOCK_MONOTONIC) + ANSWER_TIMEOUT_NS);
    while ((seen = atomic_load(&thief->answer_ns)) != want_ns) {
        if (seen == THIEF_LOST) {
            return -EIO;
        }
        if (futex_wait(&thief->answer_ns, seen, &until) && errno == ETIMEDOUT) {
            return -EIO;
        }
    }
    return 0;
}

static int
thief_start(struct thief *thief, uint32_t cpu)
{
    struct sched_param param = {.sched_priority = THIEF_PRIORITY};
    pthread_attr_t attr;
    sigset_t all, before;
    char name[16];
    cpu_set_t own;

    if (cpu >= CPU_SETSIZE) {
        return -EINVAL;
    }
    thief->cpu = cpu;
    CPU_ZERO(&own);
    CPU_SET(cpu, &own);
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
    thief->running = true;
    snprintf(name, sizeof name, "thief/%u", cpu);
    pthread_setname_np(thief->thread, name);
    error = -pthread_getcpuclockid(thief->thread, &thief->clock);
    assert(!error);
    return 0;
}

static void
thief_stop(struct thief *thief)
{
    if (!thief->running) {
        return;
    }
    atomic_store(&thief->want_ns, THIEF_QUIT);
    futex_wake(&thief->want_ns);
    pthread_join(thief->thread, NULL);
    thief->running = false;
}

static const struct option_desc softpstate_options[] = {
    LADDER_OPTIONS,
    {.name = NULL},
};

static const struct pstate_ops softpstate_pstate = {
    .domains = softpstate_domains,
    .get = softpstate_get,
    .set = softpstate_set,
    .save = softpstate_save,
    .restore = softpstate_restore,
    .stolen = softpstate_stolen,
};

const struct hardware_class hardware_softpstate = {
    .name = "softpstate",
    .summary = "p-states emulated by taking CPU time away",
    .options = softpstate_options,
    .pstate = &softpstate_pstate,
    .open = softpstate_open,
    .close = softpstate_close,
};
