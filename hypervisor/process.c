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
 * Inits are children of the process that opens the driver, and outlive it.  It
 * becomes a child subreaper too, so that also what a killed init left is waited
 * for here, not left to a process 1 that may not care, as in containers. Called
 * by the platform process. */
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/sysfs.h"
#include "base/text.h"
#include "hypervisor/guestinit.h"
#include "hypervisor/herd.h"
#include "hypervisor/hypervisor.h"
#include "hypervisor/pidfile.h"
#include "hypervisor/proctree.h"

#define END_GRACE (2 * NSEC_PER_SEC)
#define PIN_EVERY 8 /* Scans between looks at all processes' CPUs. */
#define BOOT_ID_SIZE 64
#define LOG_MAX (1 << 20) /* Bytes that a guest's log may grow to. */

struct guest {
    const struct hypervisor_guest *conf;
    struct herd herd;
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
static int start(struct hypervisor *, struct guest *, char *why,
                 size_t why_size);
static int ask_end(struct hypervisor *, struct guest *, nsec_t now, char *why,
                   size_t why_size);
static int freeze(struct hypervisor *, struct guest *, char *why,
                  size_t why_size);
static int thaw(struct hypervisor *, struct guest *, char *why,
                size_t why_size);
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
        proctree_destroy(hv->guests[i].herd.tree);
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
            .busy_ns = proctree_busy_ns(guest->herd.tree),
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
                     ? "; its pid file names no process of its owner's that "
                       "began before the file was written"
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
    guest->herd.spared = ours ? *root : (struct process_id){.pid = 0};
    guest->ours = ours;
    guest->freeze = guest->frozen = false;
    guest->end_since = NSEC_NEVER;
    guest->n_scans = 0;
    proctree_reset(guest->herd.tree, root);
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
    if (proctree_scan(guest->herd.tree)) {
        /* If all of it was stopped when we found it, it is to stay so. */
        guest->freeze = guest->frozen = herd_is_stopped(&guest->herd);
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

/* The state directory is where the journal is, which must not find its disk
 * filled by a guest that prints for ever. */
static void
cut_log(struct hypervisor *hv, struct guest *guest)
{
    char path[GUESTINIT_PATH_SIZE];
    struct stat log;

    snprintf(path, sizeof path, "%.64s.log", guest->conf->name);
    if (fstatat(hv->state_dirfd, path, &log, AT_SYMLINK_NOFOLLOW) ||
        !S_ISREG(log.st_mode) || log.st_size <= LOG_MAX) {
        return;
    }
    /* Whoever has it open appends, so goes on at its new end. */
    int fd = openat(hv->state_dirfd, path, O_WRONLY | O_NOFOLLOW | O_CLOEXEC);
    if (fd >= 0) {
        int error = ftruncate(fd, 0);

        (void)error; /* At the next look, then. */
        close(fd);
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
    if (!proctree_scan(guest->herd.tree)) {
        herd_reap(&guest->herd);
        gone(hv, guest);
        return;
    }
    if (guest->ours && hv->log) {
        cut_log(hv, guest);
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
    .close = process_close,
};
