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
 * at once and SIGKILL END_GRACE later, as often as it takes (herd.c).  A signal
 * goes only to a process that is in the tree at that moment (by pidfd, so Linux
 * 5.3 is needed).
 *
 * Starting guests and reading files that name them takes rights that the
 * platform process may not have: then a helper does it (hypervisor.h), else
 * guestfiles.c here.  Inits are children of whoever starts them, and outlive
 * it.  That becomes a child subreaper too, so that also what a killed init left
 * is waited for there, not left to a process 1 that may not care, as in
 * containers.  Called by the platform process. */
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
#include "hypervisor/guestfiles.h"
#include "hypervisor/herd.h"
#include "hypervisor/hypervisor.h"
#include "hypervisor/proctree.h"

#define END_GRACE (2 * NSEC_PER_SEC)
#define PIN_EVERY 8 /* Scans between looks at all processes' CPUs. */

struct guest {
    const struct hypervisor_guest *conf;
    struct herd herd;
    struct process_id root; /* Its first process. */
    bool there;             /* Some of it lives, or did at the last look. */
    bool ours;              /* The root is our init. */
    bool ended;             /* To be told once. */
    bool freeze, frozen;    /* Wanted; all were stopped at the last look. */
    nsec_t end_since; /* When it was asked to end; NSEC_NEVER: it wasn't. */
    uint32_t n_scans;
    cpu_set_t cpus;
};

struct hypervisor {
    int proc_dirfd;
    bool pin;
    struct guestfiles files; /* If there is no helper. */
    const struct hypervisor_helper *helper;
    void *helper_ctx;
    uint32_t n;
    struct guest *guests;
    struct hypervisor_found *found; /* Per guest, at the last look. */
};

static int init_guest(struct guest *, const struct hypervisor *,
                      const struct hypervisor_guest *, char *why,
                      size_t why_size);
static void find_all(struct hypervisor *);
static void adopt_found(struct hypervisor *, struct guest *);
static void look(struct hypervisor *, struct guest *, nsec_t now);
static int start(struct hypervisor *, struct guest *, char *why,
                 size_t why_size);
static int ask_end(struct hypervisor *, struct guest *, nsec_t now, char *why,
                   size_t why_size);
static int freeze(struct hypervisor *, struct guest *, char *why,
                  size_t why_size);
static int thaw(struct hypervisor *, struct guest *, char *why,
                size_t why_size);
static void process_close(struct hypervisor *);
static struct guest *same_guest(const struct hypervisor *, const struct uuid *);

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
    if (!hv || !(hv->guests = calloc(env->n_guests + 1, sizeof *hv->guests)) ||
        !(hv->found = calloc(env->n_guests + 1, sizeof *hv->found))) {
        snprintf(why, why_size, "no memory for %u guests", env->n_guests);
        process_close(hv);
        return -ENOMEM;
    }
    hv->proc_dirfd = env->proc_dirfd;
    hv->pin = option_bool(env->options, "pin");
    hv->helper = env->helper;
    hv->helper_ctx = env->helper_ctx;
    guestfiles_init(&hv->files, env->proc_dirfd, env->state_dirfd,
                    option_bool(env->options, "log"));
    for (uint32_t i = 0; i < env->n_guests; i++) {
        hv->n++;
        int error =
            init_guest(&hv->guests[i], hv, &env->guests[i], why, why_size);
        if (error) {
            process_close(hv);
            return error;
        }
    }
    find_all(hv);
    if (!hv->helper) {
        prctl(PR_SET_CHILD_SUBREAPER, 1);
    }
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
        proctree_destroy(hv->guests[i].herd.tree);
    }
    free(hv->found);
    free(hv->guests);
    free(hv);
}

/* Since boot, as the programs' clock has it, or a little before. */
static nsec_t
ticks_ns(uint64_t ticks)
{
    uint64_t per_s = (uint64_t)sysconf(_SC_CLK_TCK);

    return (nsec_t)(ticks / per_s * NSEC_PER_SEC +
                    ticks % per_s * NSEC_PER_SEC / per_s);
}

static int
process_sample(struct hypervisor *hv, nsec_t now, struct vm_sample *out,
               size_t max)
{
    size_t n = 0;

    find_all(hv);
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
            .busy_ns = proctree_busy_ns(guest->herd.tree),
            .instance = guest->root.start << 32 | (uint32_t)guest->root.pid,
            .instance_since = ticks_ns(guest->root.start),
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
    struct guest *guest = same_guest(hv, uuid);

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
                     ? "; its pid file names no process of its owner's that "
                       "began before the file was written"
                     : "");
        return -ENOENT;
    }
    switch (op) {
    case VM_OP_START:
    case VM_OP_MIGRATE: /* Has a way of its own, which this driver lacks. */
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

/* Guests of another configuration. */

/* Of the same one, by its UUID; null if it is new. */
static struct guest *
same_guest(const struct hypervisor *hv, const struct uuid *uuid)
{
    for (uint32_t i = 0; i < hv->n; i++) {
        if (uuid_equal(&hv->guests[i].conf->uuid, uuid)) {
            return &hv->guests[i];
        }
    }
    return NULL;
}

/* What is alive of a guest goes on; what the configuration says is new. */
static void
take_over(struct guest *to, struct guest *from)
{
    struct guest made = *to;

    *to = *from;
    to->conf = made.conf;
    to->cpus = made.cpus;
    to->n_scans = 0; /* All are kept on their CPUs at the next look. */
    from->herd.tree = made.herd.tree;
}

static int
process_set_guests(struct hypervisor *hv, const struct hypervisor_guest *confs,
                   uint32_t n, char *why, size_t why_size)
{
    struct hypervisor next = *hv;

    next.n = 0;
    next.guests = calloc(n + 1, sizeof *next.guests);
    next.found = calloc(n + 1, sizeof *next.found);
    int error = next.guests && next.found ? 0 : -ENOMEM;
    if (error) {
        snprintf(why, why ? why_size : 0, "no memory for %u guests", n);
    }
    for (uint32_t i = 0; i < n && !error; i++) {
        next.n++;
        error = init_guest(&next.guests[i], &next, &confs[i], why,
                           why ? why_size : 0);
    }
    struct hypervisor gone = error ? next : *hv;
    for (uint32_t i = 0; i < n && !error; i++) {
        struct guest *was = same_guest(hv, &confs[i].uuid);

        if (was) {
            take_over(&next.guests[i], was);
        }
    }
    if (!error) {
        *hv = next;
    }
    for (uint32_t i = 0; i < gone.n; i++) {
        proctree_destroy(gone.guests[i].herd.tree);
    }
    free(gone.found);
    free(gone.guests);
    return error;
}

/* Finding guests. */

static int
init_guest(struct guest *guest, const struct hypervisor *hv,
           const struct hypervisor_guest *conf, char *why, size_t why_size)
{
    guest->conf = conf;
    guest->herd.proc_dirfd = hv->proc_dirfd;
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
    int error = proctree_create(&guest->herd.tree, hv->proc_dirfd);
    if (error) {
        snprintf(why, why_size, "no memory for guest %s", conf->name);
    }
    return error;
}

/* Takes a guest whose first process is known. */
static void
adopt(struct guest *guest, const struct process_id *root, bool ours)
{
    guest->there = true;
    guest->root = *root;
    guest->herd.spared = ours ? *root : (struct process_id){.pid = 0};
    guest->ours = ours;
    guest->freeze = guest->frozen = false;
    guest->end_since = NSEC_NEVER;
    guest->n_scans = 0;
    proctree_reset(guest->herd.tree, root);
}

/* One question for all of those who might be there and are not. */
static void
find_all(struct hypervisor *hv)
{
    bool any = false;

    for (uint32_t i = 0; i < hv->n; i++) {
        const struct guest *guest = &hv->guests[i];

        hv->found[i] = (struct hypervisor_found){.pid = 0};
        if (!guest->there && !guest->ended && !hv->helper) {
            guestfiles_find(&hv->files, guest->conf, &hv->found[i]);
        }
        any = any || (!guest->there && !guest->ended &&
                      (guest->conf->command || guest->conf->pid_file));
    }
    if (hv->helper && any) {
        hv->helper->find(hv->helper_ctx, hv->found, hv->n);
    }
    for (uint32_t i = 0; i < hv->n; i++) {
        if (!hv->guests[i].there && !hv->guests[i].ended) {
            adopt_found(hv, &hv->guests[i]);
        }
    }
}

static uint32_t
index_of(const struct hypervisor *hv, const struct guest *guest)
{
    return (uint32_t)(guest - hv->guests);
}

static void
adopt_found(struct hypervisor *hv, struct guest *guest)
{
    const struct hypervisor_found *found = &hv->found[index_of(hv, guest)];
    const struct process_id root = {.pid = found->pid, .start = found->start};

    if (!found->pid) {
        return;
    }
    adopt(guest, &root, found->ours);
    if (proctree_scan(guest->herd.tree)) {
        /* If all of it was stopped when we found it, it is to stay so. */
        guest->freeze = guest->frozen = herd_is_stopped(&guest->herd);
    }
}

/* Looking at a guest, and carrying on what was begun. */

static void
gone(struct hypervisor *hv, struct guest *guest)
{
    if (guest->ours && hv->helper) {
        hv->helper->forget(hv->helper_ctx, index_of(hv, guest));
    } else if (guest->ours) {
        guestfiles_forget(&hv->files, guest->conf);
    }
    guest->there = false;
    guest->ended = true;
}

static void
look(struct hypervisor *hv, struct guest *guest, nsec_t now)
{
    if (!guest->there) {
        return;
    }
    if (!proctree_scan(guest->herd.tree)) {
        herd_reap(&guest->herd);
        gone(hv, guest);
        return;
    }
    if (guest->ours && !hv->helper) {
        guestfiles_cut_log(&hv->files, guest->conf);
    }
    bool pin_all = guest->n_scans++ % PIN_EVERY == 0;
    herd_reap(&guest->herd);
    if (guest->end_since != NSEC_NEVER && now - guest->end_since >= END_GRACE) {
        herd_kill(&guest->herd);
    } else if (guest->freeze) {
        guest->frozen = herd_stop(&guest->herd);
    }
    if (hv->pin && guest->conf->n_vcpus) {
        herd_pin(&guest->herd, &guest->cpus, pin_all);
    }
}

/* Operations. */

static int
start(struct hypervisor *hv, struct guest *guest, char *why, size_t why_size)
{
    struct hypervisor_found *found = &hv->found[index_of(hv, guest)];

    if (!guest->there) {
        find_all(hv);
    }
    if (guest->there) {
        snprintf(why, why_size, "guest %s is running already",
                 guest->conf->name);
        return -EALREADY;
    }
    int error =
        hv->helper
            ? hv->helper->start(hv->helper_ctx, index_of(hv, guest), found, why,
                                why_size)
            : guestfiles_start(&hv->files, guest->conf, found, why, why_size);
    if (error) {
        return error;
    }
    const struct process_id root = {.pid = found->pid, .start = found->start};
    adopt(guest, &root, true);
    return 0;
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
    proctree_scan(guest->herd.tree);
    int error = herd_signal(&guest->herd, SIGTERM, false);
    int failed = herd_signal(&guest->herd, SIGCONT, true);
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
    guest->frozen = herd_stop(&guest->herd);
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
    proctree_scan(guest->herd.tree);
    return explain(guest, herd_signal(&guest->herd, SIGCONT, true), why,
                   why_size);
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
             "directory, anew with each start and each MiB."},
    {.name = NULL},
};

const struct hypervisor_class hypervisor_process = {
    .name = "process",
    .summary = "guests are process trees on this host",
    .options = process_options,
    .open = process_open,
    .sample = process_sample,
    .control = process_control,
    .set_guests = process_set_guests,
    .close = process_close,
};
