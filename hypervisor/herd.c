/* SPDX-License-Identifier: Apache-2.0 */
/* Acts on all processes of a tree, which change while it does: some are born,
 * some end, and their numbers may become others'.  So each is asked for its
 * identity at the moment of the act, and acts that must reach all are repeated
 * until a scan shows that they did.  Called by process.c, which carries on from
 * sample to sample what a few rounds could not finish. */
#include "hypervisor/herd.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/wait.h>

#define ROUNDS_MAX 4 /* Of looking and stopping in one call. */
#define THREADS_MAX 256

static bool is_spared(const struct herd *, const struct process *);
static bool waits_for_stopped_child(const struct herd *,
                                    const struct process *);
static void pin_thread(struct herd *, const struct process *, pid_t thread,
                       const cpu_set_t *);

int
herd_signal(struct herd *herd, int signum, bool children_first)
{
    uint32_t n = proctree_n(herd->tree);
    int error = 0;

    for (uint32_t i = 0; i < n; i++) {
        const struct process *p =
            proctree_process(herd->tree, children_first ? n - 1 - i : i);

        if (!is_spared(herd, p)) {
            int failed = process_signal(herd->proc_dirfd, &p->id, signum);
            error = failed && failed != -ESRCH ? failed : error;
        }
    }
    return error;
}

/* A process that is just being born is found at the next look.  One in an
 * uninterruptible wait runs nothing of its own until it gets the signal; the
 * parent in vfork() even waits for a child that we stopped. */
bool
herd_stop(struct herd *herd)
{
    for (int round = 0; round < ROUNDS_MAX; round++) {
        bool any = false, all = true;

        proctree_scan(herd->tree);
        for (uint32_t i = 0; i < proctree_n(herd->tree); i++) {
            const struct process *p = proctree_process(herd->tree, i);

            if (is_spared(herd, p)) {
                continue;
            }
            any = true;
            if (!strchr("Tt", p->state)) {
                all = all && p->state == 'D';
                process_signal(herd->proc_dirfd, &p->id, SIGSTOP);
            }
        }
        if (any && all) {
            return true;
        }
    }
    return false;
}

bool
herd_is_stopped(const struct herd *herd)
{
    bool any = false;

    for (uint32_t i = 0; i < proctree_n(herd->tree); i++) {
        const struct process *p = proctree_process(herd->tree, i);

        if (is_spared(herd, p)) {
            continue;
        }
        if (p->state != 'T' && !waits_for_stopped_child(herd, p)) {
            return false;
        }
        any = true;
    }
    return any;
}

/* Stopped first, processes can't be born while others are killed.  The guest's
 * init is not killed: it leaves by itself when it has no children, which it
 * knows better than we, and all that can hold it up is that somebody stopped
 * it. */
void
herd_kill(struct herd *herd)
{
    herd_stop(herd);
    herd_signal(herd, SIGKILL, false);
    if (herd->spared.pid) {
        process_signal(herd->proc_dirfd, &herd->spared, SIGCONT);
    }
}

void
herd_pin(struct herd *herd, const cpu_set_t *cpus, bool all)
{
    for (uint32_t i = 0; i < proctree_n(herd->tree); i++) {
        const struct process *p = proctree_process(herd->tree, i);
        pid_t threads[THREADS_MAX] = {p->id.pid};
        int n = 1;

        if ((!all && !p->fresh) || p->state == 'Z') {
            continue;
        }
        if (p->n_threads > 1) {
            n = process_threads(herd->proc_dirfd, p->id.pid, threads,
                                THREADS_MAX);
        }
        for (int j = 0; j < n; j++) {
            pin_thread(herd, p, threads[j], cpus);
        }
    }
}

void
herd_reap(struct herd *herd)
{
    for (uint32_t i = 0; i < proctree_n(herd->tree); i++) {
        const struct process *p = proctree_process(herd->tree, i);

        if (p->state == 'Z') {
            waitpid(p->id.pid, NULL, WNOHANG);
        }
    }
}

/* Zombies are beyond signals. */
static bool
is_spared(const struct herd *herd, const struct process *p)
{
    return p->state == 'Z' ||
           (p->id.pid == herd->spared.pid && p->id.start == herd->spared.start);
}

static bool
waits_for_stopped_child(const struct herd *herd, const struct process *p)
{
    for (uint32_t i = 0; p->state == 'D' && i < proctree_n(herd->tree); i++) {
        const struct process *child = proctree_process(herd->tree, i);

        if (child->parent == p->id.pid && child->state == 'T') {
            return true;
        }
    }
    return false;
}

/* XXX: Between the last look at the process and the call its number could,
 * within microseconds, become another's; there is no call by pidfd. */
static void
pin_thread(struct herd *herd, const struct process *p, pid_t thread,
           const cpu_set_t *cpus)
{
    cpu_set_t has, both;

    if (sched_getaffinity(thread, sizeof has, &has)) {
        return;
    }
    CPU_AND(&both, &has, cpus);
    if (CPU_EQUAL(&both, &has) || !process_lives(herd->proc_dirfd, &p->id)) {
        return;
    }
    sched_setaffinity(thread, sizeof both, CPU_COUNT(&both) ? &both : cpus);
}
