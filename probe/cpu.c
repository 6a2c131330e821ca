/* SPDX-License-Identifier: Apache-2.0 */
/* The guest's own view of its CPU use, from the first line of /proc/stat.
 * Busy is user, nice, system and both kinds of interrupt time; idle and iowait
 * are idle.  Steal is neither: the CPU was not there.  The kernel counts in
 * ticks, so a look too soon after the last one says nothing and waits.
 *
 * A guest that is a process tree sees the whole host here.  XXX its own use
 * would come from its cgroup; the MVM measures that anyway. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/sysfs.h"
#include "probe/probe.h"

#define CPU_FIELDS 8 /* user nice system idle iowait irq softirq steal */
#define TICKS_MIN 4  /* Less time than this says nothing. */

static const struct option_desc options[] = {
    {.name = "period_ms",
     .unit = "ms",
     .type = OPTION_INT,
     .min = 100,
     .max = 60000,
     .default_text = "500",
     .help = "How often the use is measured, besides at each epoch's end."},
    {0},
};

struct probe {
    int proc_dirfd;
    nsec_t period, next;
    bool known; /* There was a reading to compare with. */
    uint64_t busy, idle;
    uint64_t n_refused;
    const char *refused; /* Static text. */
};

static int
cpu_open(struct probe **out, const struct probe_env *env, char *why,
         size_t why_size)
{
    struct probe *probe = calloc(1, sizeof *probe);

    if (!probe) {
        snprintf(why, why_size, "cpu: no memory");
        return -ENOMEM;
    }
    probe->proc_dirfd = env->proc_dirfd;
    probe->period = option_int(env->options, "period_ms") * NSEC_PER_MSEC;
    *out = probe;
    return 0;
}

/* Returns 0 with both counts, or why not. */
static const char *
read_stat(const char *text, uint64_t *busy_out, uint64_t *idle_out)
{
    uint64_t field[CPU_FIELDS];
    const char *at = text;
    uint64_t sum = 0;

    if (strncmp(at, "cpu ", 4)) {
        return "stat does not begin with \"cpu \"";
    }
    at += 4;
    for (unsigned i = 0; i < CPU_FIELDS; i++) {
        char *end;
        at += strspn(at, " ");
        if (*at < '0' || *at > '9') {
            return "stat has too few numbers";
        }
        errno = 0;
        field[i] = strtoull(at, &end, 10);
        if (errno || __builtin_add_overflow(sum, field[i], &sum)) {
            return "stat has a number that is too large";
        }
        at = end;
    }
    *busy_out = field[0] + field[1] + field[2] + field[5] + field[6];
    *idle_out = field[3] + field[4];
    return NULL;
}

static void
refuse(struct probe *probe, const char *why)
{
    probe->n_refused++;
    probe->refused = why;
}

static int
cpu_sample(struct probe *probe, nsec_t now, const struct probe_sink *sink)
{
    char text[256];
    uint64_t busy, idle, n_busy, n_ticks;
    const char *why;
    int error;

    probe->next = now + probe->period;
    error = sysfs_read(probe->proc_dirfd, "stat", text, sizeof text);
    if (error < 0) {
        return error;
    }
    why = read_stat(text, &busy, &idle);
    if (why) {
        refuse(probe, why);
        return 0;
    }
    if (!probe->known || busy < probe->busy || idle < probe->idle) {
        if (probe->known) {
            refuse(probe, "stat went back");
        }
        probe->known = true;
        probe->busy = busy;
        probe->idle = idle;
        return 0;
    }
    n_busy = busy - probe->busy;
    n_ticks = n_busy + (idle - probe->idle);
    if (n_ticks < TICKS_MIN) {
        return 0;
    }
    probe->busy = busy;
    probe->idle = idle;
    sink->cpu(sink->ctx, (uint32_t)((double)n_busy * 1000 / (double)n_ticks));
    return 0;
}

static nsec_t
cpu_deadline(const struct probe *probe, nsec_t now)
{
    return probe->next;
}

static void
cpu_stats(const struct probe *probe, struct probe_stats *out)
{
    memset(out, 0, sizeof *out);
    out->n_refused = probe->n_refused;
    if (probe->refused) {
        snprintf(out->refused, sizeof out->refused, "cpu: %s", probe->refused);
    }
}

static void
cpu_close(struct probe *probe)
{
    free(probe);
}

const struct probe_class probe_cpu = {
    .name = "cpu",
    .summary = "the guest's own view of its CPU use (/proc/stat)",
    .options = options,
    .open = cpu_open,
    .sample = cpu_sample,
    .deadline = cpu_deadline,
    .stats = cpu_stats,
    .close = cpu_close,
};
