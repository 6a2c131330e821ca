/* SPDX-License-Identifier: Apache-2.0 */
/* The hypervisor that needs none: a guest is a process tree with its own
 * magentd.  It is started under an init of ours (guestinit.c), whose number and
 * starting time stand in NAME.pid of the state directory, so that a broker
 * which comes back finds it running; or it was started by somebody else, who
 * names its first process in a pid file.  Which processes are in it and how
 * busy they were is proctree.c's work; a guest is told as running from its
 * first process to its last.
 *
 * What takes time is carried on by sample(): freezing stops the tree again
 * until a look at it finds all stopped, and a guest asked to end gets SIGTERM
 * at once and SIGKILL END_GRACE later, as often as it takes.  A signal goes
 * only to a process that is in the tree at that moment (by pidfd, so Linux 5.3
 * is needed).
 *
 * Inits are children of the process that opens the driver, and outlive it.  It
 * becomes a child subreaper too, so that also what a killed init left is waited
 * for here, not left to a process 1 that may not care, as in containers. Called
 * by the platform process. */
#include <assert.h>
#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/sysfs.h"
#include "base/text.h"
#include "hypervisor/guestinit.h"
#include "hypervisor/hypervisor.h"
#include "hypervisor/pidfile.h"
#include "hypervisor/proctree.h"

#define END_GRACE (2 * NSEC_PER_SEC)
#define ROUNDS_MAX 8 /* Of stopping or killing in one call. */
#define PIN_EVERY 8  /* Scans between looks at all processes' CPUs. */
#define BOOT_ID_SIZE 64

struct guest {
    const struct hypervisor_guest *conf;
    struct proctree *tree;
    struct process_id root;
    bool there;          /* Some of it lives, or did at the last look. */
    bool ours;           /* The root is our init. */
    bool ended;          /* To be told once. */
    bool freeze, frozen; /* Wanted; all were stopped at the last look. */
    nsec_t end_since;    /* When it was asked to end; NSEC_NEVER: it wasn't. */
    uint32_t n_scans;
    cpu_set_t cpus;
};

struct hypervisor {
    int proc_dirfd, state_dirfd;
    bool pin, log;
    char boot_id[BOOT_ID_SIZE];
    uint32_t n;
    struct guest *guests;
};

static int init_guest(struct guest *, const struct hypervisor *,
                      const struct hypervisor_guest *, char *why,
                      size_t why_size);
static void find_running(struct hypervisor *, struct guest *);
static void look(struct hypervisor *, struct guest *, nsec_t now);
static bool is_init(const struct guest *, const struct process *);
static int start(struct hypervisor *, struct guest *, char *why,
                 size_t why_size);
static int ask_end(struct hypervisor *, struct guest *, nsec_t now, char *why,
                   size_t why_size);
static int freeze(struct hypervisor *, struct guest *, char *why,
                  size_t why_size);
static int thaw(struct hypervisor *, struct guest *, char *why,
                size_t why_size);
static void stop_all(struct hypervisor *, struct guest *);
static void kill_all(struct hypervisor *, struct guest *);
static void pin_all(struct hypervisor *, struct guest *);
static void process_close(struct hypervisor *);

static int
process_open(struct hypervisor **out, const struct hypervisor_env *env,
             char *why, size_t why_size)
{
    char text[8];

    if (sysfs_read(env->proc_dirfd, "self/stat", text, sizeof text) < 0) {
        snprintf(
            why, why_size,
            "no processes to be seen: /proc is not mounted, or hides them");
        return -ENODEV;
    }
    struct hypervisor *hv = calloc(1, sizeof *hv);
    if (!hv || !(hv->guests = calloc(env->n_guests + 1, sizeof *hv->guests))) {
        snprintf(why, why_size, "no memory for %u guests", env->n_guests);
        process_close(hv);
        return -ENOMEM;
    }
    hv->proc_dirfd = env->proc_dirfd;
    hv->state_dirfd = env->state_dirfd;
    hv->pin = option_bool(env->options, "pin");
    hv->log = option_bool(env->options, "log");
    if (sysfs_read(hv->proc_dirfd, "sys/kernel/random/boot_id", hv->boot_id,
                   sizeof hv->boot_id) < 0 ||
        !text_is_name(hv->boot_id)) {
        text_copy(hv->boot_id, sizeof hv->boot_id, "unknown");
    }
    for (uint32_t i = 0; i < env->n_guests; i++) {
        hv->n++;
        int error =
            init_guest(&hv->guests[i], hv, &env->guests[i], why, why_size);
        if (error) {
            process_close(hv);
            return error;
        }
        find_running(hv, &hv->guests[i]);
    }
    prctl(PR_SET_CHILD_SUBREAPER, 1);
    *out = hv;
    return 0;
}

static void
process_close(struct hypervisor *hv)
{
    if (!hv) {
        return;
    }
    for (uint32_t i = 0; i < hv->n; i++) {
        proctree_destroy(hv->guests[i].tree);
    }
    free(hv->guests);
    free(hv);
}

static int
process_sample(struct hypervisor *hv, nsec_t now, struct vm_sample *out,
               size_t max)
{
    size_t n = 0;

    for (uint32_t i = 0; i < hv->n && n < max; i++) {
        struct guest *guest = &hv->guests[i];

        look(hv, guest, now);
        if (!guest->ended && !guest->there) {
            continue;
        }
        struct vm_sample *sample = &out[n++];
        *sample = (struct vm_sample){
            .uuid = guest->conf->uuid,
            .state = guest->ended    ? VM_ENDED
                     : guest->frozen ? VM_FROZEN
                                     : VM_RUNNING,
            .n_vcpus = guest->conf->n_vcpus,
            .busy_ns = proctree_busy_ns(guest->tree),
        };
        memcpy(sample->name, guest->conf->name, sizeof sample->name);
        memcpy(sample->vcpu_cpu, guest->conf->vcpu_cpu,
               sizeof sample->vcpu_cpu);
        guest->ended = false;
    }
    return (int)n;
}

static int
process_control(struct hypervisor *hv, const struct uuid *uuid, enum vm_op op,
                nsec_t now, char *why, size_t why_size)
{
    struct guest *guest = NULL;

    for (uint32_t i = 0; i < hv->n && !guest; i++) {
        if (uuid_equal(&hv->guests[i].conf->uuid, uuid)) {
            guest = &hv->guests[i];
        }
    }
    if (!guest) {
        snprintf(why, why_size, "no such guest in the configuration");
        return -ENOENT;
    }
    if (op == VM_OP_START) {
        return start(hv, guest, why, why_size);
    }
    if (!guest->there) {
        snprintf(why, why_size, "guest %s is not running%s", guest->conf->name,
                 guest->conf->pid_file
                     ? "; its pid file names no process that began before the "
                       "file was written"
                     : "");
        return -ENOENT;
    }
    switch (op) {
    case VM_OP_START:
        break;
    case VM_OP_FREEZE:
        return freeze(hv, guest, why, why_size);
    case VM_OP_THAW:
        return thaw(hv, guest, why, why_size);
    case VM_OP_END:
        return ask_end(hv, guest, now, why, why_size);
    }
    assert(!"an operation that isn't one");
    return -ENOTSUP;
}

/* Finding guests. */

static int
init_guest(struct guest *guest, const struct hypervisor *hv,
           const struct hypervisor_guest *conf, char *why, size_t why_size)
{
    guest->conf = conf;
    guest->end_since = NSEC_NEVER;
    if (!text_is_name(conf->name)) {
        snprintf(why, why_size,
                 "guest \"%.64s\": the name must be of letters, digits, dot, "
                 "dash and underscore",
                 conf->name);
        return -EINVAL;
    }
    CPU_ZERO(&guest->cpus);
    for (uint32_t i = 0; i < conf->n_vcpus; i++) {
        if (conf->vcpu_cpu[i] >= CPU_SETSIZE) {
            snprintf(why, why_size, "guest %s: CPU %u is above %d", conf->name,
                     conf->vcpu_cpu[i], CPU_SETSIZE - 1);
            return -EINVAL;
        }
        CPU_SET(conf->vcpu_cpu[i], &guest->cpus);
    }
    int error = proctree_create(&guest->tree, hv->proc_dirfd);
    if (error) {
        snprintf(why, why_size, "no memory for guest %s", conf->name);
    }
    return error;
}

static void
own_path(const struct guest *guest, char out[GUESTINIT_PATH_SIZE])
{
    snprintf(out, GUESTINIT_PATH_SIZE, "%.64s.pid", guest->conf->name);
}

/* Takes a guest whose first process is known. */
static void
adopt(struct hypervisor *hv, struct guest *guest, const struct process_id *root,
      bool ours)
{
    guest->there = true;
    guest->root = *root;
    guest->ours = ours;
    guest->freeze = guest->frozen = false;
    guest->end_since = NSEC_NEVER;
    guest->n_scans = 0;
    proctree_reset(guest->tree, root);
}

/* Whether a process is stopped, or waits in vfork() for one that is. */
static bool
is_stopped(const struct guest *guest, const struct process *p)
{
    for (uint32_t i = 0; p->state == 'D' && i < proctree_n(guest->tree); i++) {
        const struct process *child = proctree_process(guest->tree, i);

        if (child->parent == p->id.pid && child->state == 'T') {
            return true;
        }
    }
    return p->state == 'T';
}

/* If all of a guest was stopped when we found it, it is to stay so. */
static void
see_whether_frozen(struct guest *guest)
{
    uint32_t n_stopped = 0;

    for (uint32_t i = 0; i < proctree_n(guest->tree); i++) {
        const struct process *p = proctree_process(guest->tree, i);

        if (is_init(guest, p) || p->state == 'Z') {
            continue;
        }
        if (!is_stopped(guest, p)) {
            return;
        }
        n_stopped++;
    }
    guest->freeze = guest->frozen = n_stopped > 0;
}

static void
find_running(struct hypervisor *hv, struct guest *guest)
{
    const char *foreign = guest->conf->pid_file;
    char path[GUESTINIT_PATH_SIZE];
    struct process_id root;

    own_path(guest, path);
    bool ours = !pidfile_read_own(hv->proc_dirfd, hv->state_dirfd, path,
                                  hv->boot_id, &root);
    if (!ours &&
        (!foreign || pidfile_read_foreign(hv->proc_dirfd, hv->state_dirfd,
                                          foreign, &root))) {
        return;
    }
    adopt(hv, guest, &root, ours);
    if (proctree_scan(guest->tree)) {
        see_whether_frozen(guest);
    }
}

/* Looking at a guest, and carrying on what was begun. */

static void
gone(struct hypervisor *hv, struct guest *guest)
{
    char path[GUESTINIT_PATH_SIZE];

    if (guest->ours) {
        own_path(guest, path);
        unlinkat(hv->state_dirfd, path, 0);
    }
    guest->there = false;
    guest->ended = true;
}

/* Waits for those that are our children now; the others have a parent. */
static void
reap(struct guest *guest)
{
    for (uint32_t i = 0; i < proctree_n(guest->tree); i++) {
        const struct process *p = proctree_process(guest->tree, i);

        if (p->state == 'Z') {
            waitpid(p->id.pid, NULL, WNOHANG);
        }
    }
}

static void
look(struct hypervisor *hv, struct guest *guest, nsec_t now)
{
    if (!guest->there && !guest->ended) {
        find_running(hv, guest);
    }
    if (!guest->there) {
        return;
    }
    if (!proctree_scan(guest->tree)) {
        reap(guest);
        gone(hv, guest);
        return;
    }
    guest->n_scans++;
    reap(guest);
    if (guest->end_since != NSEC_NEVER && now - guest->end_since >= END_GRACE) {
        kill_all(hv, guest);
    } else if (guest->freeze) {
        stop_all(hv, guest);
    }
    if (hv->pin && guest->conf->n_vcpus) {
        pin_all(hv, guest);
    }
}

static bool
is_init(const struct guest *guest, const struct process *p)
{
    return guest->ours && p->id.pid == guest->root.pid &&
           p->id.start == guest->root.start;
}

/* Operations. */

static int
start(struct hypervisor *hv, struct guest *guest, char *why, size_t why_size)
{
    char path[GUESTINIT_PATH_SIZE];
    struct process first;
    const struct guestinit init = {
        .proc_dirfd = hv->proc_dirfd,
        .state_dirfd = hv->state_dirfd,
        .name = guest->conf->name,
        .command = guest->conf->command,
        .boot_id = hv->boot_id,
        .cpus = guest->conf->vcpu_cpu,
        .n_cpus = guest->conf->n_vcpus,
        .log = hv->log,
    };

    if (!guest->there) {
        find_running(hv, guest);
    }
    if (guest->there) {
        snprintf(why, why_size, "guest %s is running already",
                 guest->conf->name);
        return -EALREADY;
    }
    if (!guest->conf->command) {
        snprintf(why, why_size,
                 "guest %s has no \"command\": it is started elsewhere",
                 guest->conf->name);
        return -ENOTSUP;
    }
    own_path(guest, path);
    unlinkat(hv->state_dirfd, path, 0);
    pid_t pid = guestinit_start(&init);
    /* Our child keeps its number until we wait for it. */
    int error = pid < 0 ? pid : process_read(hv->proc_dirfd, pid, &first);
    if (error) {
        snprintf(why, why_size, "guest %s: no process for it: %s",
                 guest->conf->name, strerror(-error));
        return error;
    }
    adopt(hv, guest, &first.id, true);
    return 0;
}

/* Sends a signal to all but our init, children last, or first. */
static int
signal_all(struct hypervisor *hv, struct guest *guest, int signum,
           bool children_first)
{
    uint32_t n = proctree_n(guest->tree);
    int error = 0;

    for (uint32_t i = 0; i < n; i++) {
        const struct process *p =
            proctree_process(guest->tree, children_first ? n - 1 - i : i);

        if (!is_init(guest, p) && p->state != 'Z') {
            int failed = process_signal(hv->proc_dirfd, &p->id, signum);
            error = failed && failed != -ESRCH ? failed : error;
        }
    }
    return error;
}

static int
explain(const struct guest *guest, int error, char *why, size_t why_size)
{
    if (error) {
        snprintf(why, why_size, "guest %s: a process refused a signal: %s",
                 guest->conf->name, strerror(-error));
    }
    return error;
}

static int
ask_end(struct hypervisor *hv, struct guest *guest, nsec_t now, char *why,
        size_t why_size)
{
    if (guest->end_since != NSEC_NEVER) {
        snprintf(why, why_size, "guest %s was asked to end already",
                 guest->conf->name);
        return -EALREADY;
    }
    guest->end_since = now;
    guest->freeze = guest->frozen = false;
    proctree_scan(guest->tree);
    int error = signal_all(hv, guest, SIGTERM, false);
    int failed = signal_all(hv, guest, SIGCONT, true);
    return explain(guest, error ? error : failed, why, why_size);
}

static int
freeze(struct hypervisor *hv, struct guest *guest, char *why, size_t why_size)
{
    if (guest->freeze || guest->end_since != NSEC_NEVER) {
        snprintf(why, why_size, "guest %s is %s already", guest->conf->name,
                 guest->freeze ? "frozen" : "ending");
        return -EALREADY;
    }
    guest->freeze = true;
    stop_all(hv, guest);
    return 0;
}

static int
thaw(struct hypervisor *hv, struct guest *guest, char *why, size_t why_size)
{
    if (!guest->freeze) {
        snprintf(why, why_size, "guest %s is not frozen", guest->conf->name);
        return -EALREADY;
    }
    guest->freeze = guest->frozen = false;
    proctree_scan(guest->tree);
    return explain(guest, signal_all(hv, guest, SIGCONT, true), why, why_size);
}

/* Stops what runs, parents first, until a look finds nothing that does.  A
 * process that is just being born is found at the next look.  One in an
 * uninterruptible wait runs nothing of its own until it gets the signal; the
 * parent in vfork() even waits for a child that we stopped. */
static void
stop_all(struct hypervisor *hv, struct guest *guest)
{
    for (int round = 0; round < ROUNDS_MAX; round++) {
        bool any = false, all = true;

        proctree_scan(guest->tree);
        for (uint32_t i = 0; i < proctree_n(guest->tree); i++) {
            const struct process *p = proctree_process(guest->tree, i);

            if (is_init(guest, p) || p->state == 'Z') {
                continue;
            }
            any = true;
            if (!strchr("Tt", p->state)) {
                all = all && p->state == 'D';
                process_signal(hv->proc_dirfd, &p->id, SIGSTOP);
            }
        }
        guest->frozen = any && all;
        if (guest->frozen) {
            return;
        }
    }
}

/* Stopped first, processes can't be born while others are killed.  Init is not
 * killed: it leaves by itself when it has no children, which it knows better
 * than we, and all that can hold it up is that somebody stopped it. */
static void
kill_all(struct hypervisor *hv, struct guest *guest)
{
    for (int round = 0; round < ROUNDS_MAX; round++) {
        stop_all(hv, guest);
        guest->frozen = false;
        signal_all(hv, guest, SIGKILL, false);
        uint32_t n_live = proctree_scan(guest->tree);
        if (!n_live) {
            return;
        }
        const struct process *first = proctree_process(guest->tree, 0);
        if (n_live == 1 && is_init(guest, first)) {
            process_signal(hv->proc_dirfd, &first->id, SIGCONT);
            return;
        }
    }
}

/* Keeps threads on the guest's CPUs.  One may choose among them. */
static void
pin_thread(struct guest *guest, const struct process *p, pid_t thread,
           int proc_dirfd)
{
    cpu_set_t has, both;

    if (sched_getaffinity(thread, sizeof has, &has)) {
        return;
    }
    CPU_AND(&both, &has, &guest->cpus);
    if (CPU_EQUAL(&both, &has) || !process_lives(proc_dirfd, &p->id)) {
        return;
    }
    sched_setaffinity(thread, sizeof both,
                      CPU_COUNT(&both) ? &both : &guest->cpus);
}

static void
pin_all(struct hypervisor *hv, struct guest *guest)
{
    bool all = guest->n_scans % PIN_EVERY == 0;

    for (uint32_t i = 0; i < proctree_n(guest->tree); i++) {
        const struct process *p = proctree_process(guest->tree, i);
        pid_t threads[256];

        if ((!all && !p->fresh) || p->state == 'Z') {
            continue;
        }
        int n = 1;
        threads[0] = p->id.pid;
        if (p->n_threads > 1) {
            n = process_threads(hv->proc_dirfd, p->id.pid, threads,
                                sizeof threads / sizeof *threads);
        }
        for (int j = 0; j < n; j++) {
            pin_thread(guest, p, threads[j], hv->proc_dirfd);
        }
    }
}

static const struct option_desc process_options[] = {
    {.name = "pin",
     .type = OPTION_BOOL,
     .default_text = "true",
     .help = "Keep a guest's processes on the CPUs of its vCPUs."},
    {.name = "log",
     .type = OPTION_BOOL,
     .default_text = "true",
     .help = "Write what a started guest prints to NAME.log in the state "
             "directory, anew with each start."},
    {.name = NULL},
};

const struct hypervisor_class hypervisor_process = {
    .name = "process",
    .summary = "guests are process trees on this host",
    .options = process_options,
    .open = process_open,
    .sample = process_sample,
    .control = process_control,
    .close = process_close,
};
