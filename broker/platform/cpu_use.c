/* SPDX-License-Identifier: Apache-2.0 */
/* The use of CPUs, from /proc/stat: available is wall time minus steal minus
 * what an emulated p-state burned, and busy is what of that was not idle or
 * waiting for I/O.  Idle time is what the kernel accounts exactly, so busy is
 * computed as the rest rather than added up from samples of the tick.  The
 * kernel prints in ticks of 10 ms and may take iowait back, so sums are kept
 * signed and shown only as far as they grew.  Called by sampler.c. */
#include "broker/platform/cpu_use.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/sysfs.h"

/* CPUs come first in /proc/stat; 512 lines of them fit, and what follows need
 * not. */
#define TEXT_SIZE 65536

/* A CPU's line of /proc/stat, in ticks. */
struct reading {
    uint32_t cpu;
    int64_t idle, steal;
};

static const char *next_reading(const char *at, struct reading *out);
static struct cpu_use *find(const struct cpu_uses *, uint32_t cpu);
static void take_reading(struct cpu_use *, const struct reading *,
                         int64_t wall_ns, nsec_t tick_ns);
static void step(struct cpu_use *, int64_t wall_ns, int64_t idle_ns,
                 int64_t steal_ns);
static void grow(uint64_t *shown, int64_t sum);

int
cpu_uses_init(struct cpu_uses *uses, const uint32_t *cpus, uint32_t n_cpus)
{
    *uses = (struct cpu_uses){.n = n_cpus, .last = NSEC_NEVER};
    uses->tick_ns = NSEC_PER_SEC / sysconf(_SC_CLK_TCK);
    uses->use = calloc(n_cpus ? n_cpus : 1, sizeof *uses->use);
    uses->text = malloc(TEXT_SIZE);
    if (!uses->use || !uses->text) {
        cpu_uses_fini(uses);
        return -ENOMEM;
    }
    for (uint32_t i = 0; i < n_cpus; i++) {
        uses->use[i].cpu = cpus[i];
    }
    return 0;
}

void
cpu_uses_fini(struct cpu_uses *uses)
{
    free(uses->use);
    free(uses->text);
    *uses = (struct cpu_uses){0};
}

int
cpu_uses_list(int proc_dirfd, uint32_t *out, uint32_t max)
{
    char *text = malloc(TEXT_SIZE);
    if (!text) {
        return -ENOMEM;
    }

    int n = sysfs_read(proc_dirfd, "stat", text, TEXT_SIZE);
    if (n >= 0) {
        struct reading reading;

        n = 0;
        for (const char *at = text;
             (uint32_t)n < max && (at = next_reading(at, &reading));) {
            out[n++] = reading.cpu;
        }
    }
    free(text);
    return n;
}

int
cpu_uses_read(struct cpu_uses *uses, int proc_dirfd, nsec_t now)
{
    int error = sysfs_read(proc_dirfd, "stat", uses->text, TEXT_SIZE);
    if (error < 0) {
        return error;
    }

    int64_t wall_ns = uses->last == NSEC_NEVER ? 0 : now - uses->last;
    uses->last = now;
    for (uint32_t i = 0; i < uses->n; i++) {
        uses->use[i].step_available_ns = 0;
        uses->use[i].found = false;
    }
    struct reading reading;
    for (const char *at = uses->text; (at = next_reading(at, &reading));) {
        struct cpu_use *use = find(uses, reading.cpu);

        if (use) {
            take_reading(use, &reading, wall_ns, uses->tick_ns);
        }
    }
    for (uint32_t i = 0; i < uses->n; i++) {
        uses->use[i].here = uses->use[i].found;
    }
    return 0;
}

void
cpu_uses_tell(struct cpu_uses *uses, const uint64_t *busy_ns, nsec_t now)
{
    int64_t wall_ns = uses->last == NSEC_NEVER ? 0 : now - uses->last;

    uses->last = now;
    for (uint32_t i = 0; i < uses->n; i++) {
        struct cpu_use *use = &uses->use[i];
        int64_t stolen = (int64_t)(use->stolen_ns - use->stolen_read);
        int64_t idle = wall_ns - stolen - (int64_t)busy_ns[i];

        step(use, wall_ns, idle > 0 ? idle : 0, 0);
        use->stolen_read = use->stolen_ns;
        use->here = true;
    }
}

const struct cpu_use *
cpu_uses_find(const struct cpu_uses *uses, uint32_t cpu)
{
    return find(uses, cpu);
}

static struct cpu_use *
find(const struct cpu_uses *uses, uint32_t cpu)
{
    for (uint32_t i = 0; i < uses->n; i++) {
        if (uses->use[i].cpu == cpu) {
            return &uses->use[i];
        }
    }
    return NULL;
}

/* Finds the next line "cpuN user nice system idle iowait irq softirq steal …"
 * from 'at'; returns where to go on, or null after the last.  The line that
 * sums all CPUs comes first and has no N. */
static const char *
next_reading(const char *at, struct reading *out)
{
    while (!strncmp(at, "cpu", 3)) {
        unsigned cpu;
        unsigned long long idle, iowait, steal = 0;
        int n = 0;

        if (isdigit((unsigned char)at[3])) {
            n = sscanf(at, "cpu%u %*u %*u %*u %llu %llu %*u %*u %llu", &cpu,
                       &idle, &iowait, &steal);
        }
        at += strcspn(at, "\n");
        at += *at == '\n';
        if (n >= 3) {
            *out = (struct reading){.cpu = cpu,
                                    .idle = (int64_t)(idle + iowait),
                                    .steal = (int64_t)steal};
            return at;
        }
    }
    return NULL;
}

/* A CPU that was away starts again: what happened meanwhile is not known. */
static void
take_reading(struct cpu_use *use, const struct reading *reading,
             int64_t wall_ns, nsec_t tick_ns)
{
    int64_t idle_ns = reading->idle * tick_ns;
    int64_t steal_ns = reading->steal * tick_ns;

    if (use->here) {
        step(use, wall_ns, idle_ns - use->idle_read,
             steal_ns - use->steal_read);
    }
    use->idle_read = idle_ns;
    use->steal_read = steal_ns;
    use->stolen_read = use->stolen_ns;
    use->found = true;
}

static void
step(struct cpu_use *use, int64_t wall_ns, int64_t idle_ns, int64_t steal_ns)
{
    uint64_t before_ns = use->available_ns;
    int64_t stolen_ns = (int64_t)(use->stolen_ns - use->stolen_read);

    use->available_sum += wall_ns - steal_ns - stolen_ns;
    use->busy_sum += wall_ns - steal_ns - stolen_ns - idle_ns;
    grow(&use->available_ns, use->available_sum);
    grow(&use->busy_ns, use->busy_sum);
    if (use->busy_ns > use->available_ns) {
        use->busy_ns = use->available_ns;
    }
    use->step_available_ns = use->available_ns - before_ns;
}

static void
grow(uint64_t *shown, int64_t sum)
{
    if (sum > 0 && (uint64_t)sum > *shown) {
        *shown = (uint64_t)sum;
    }
}
