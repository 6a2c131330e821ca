/* SPDX-License-Identifier: Apache-2.0 */
/* The processes' sandboxes, as plans.  Each keeps what its work needs, so who
 * wants to know what a process taken over could do reads confine_plan():
 *
 *   back      reads strangers' bytes: no files, no capabilities, no children.
 *   engine    the journal's directory, to write; it must know by number who
 *             asks at the control socket.
 *   platform  what stands for /sys and /proc, to read; of the first the files
 *             that its drivers say they write, to write; the saved states, and
 * the power cap's record.
 *
 * Called by main. */
#include "broker/role/confine.h"

#include <errno.h>
#include <linux/capability.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/log.h"
#include "base/text.h"
#include "broker/platform/saved.h"
#include "hardware/hardware.h"

#define MEBIBYTE (UINT64_C(1) << 20)
#define BIT(cap) (UINT64_C(1) << (cap))

static void say_last_words(int signal, siginfo_t *, void *ctx);
static void plan_back(struct sandbox_plan *, const struct broker_config *);
static void plan_engine(struct sandbox_plan *);
static void plan_platform(struct sandbox_plan *, const struct broker_config *,
                          bool restores);
static void plan_files(struct sandbox_plan *, const struct broker_config *);

void
confine_plan(struct sandbox_plan *out, enum role role,
             const struct broker_config *config, const struct role_user *user)
{
    *out = (struct sandbox_plan){
        .has_ids = user->any,
        .uid = user->uid,
        .gid = user->gid,
        .root = config->sandbox_root,
        .mount_at = config->run_dir,
        .n_tasks_max = SANDBOX_NO_LIMIT,
        .seccomp = config->sandbox_seccomp,
        .caught = say_last_words,
    };
    switch (role) {
    case ROLE_BACK:
        plan_back(out, config);
        break;
    case ROLE_ENGINE:
        plan_engine(out);
        break;
    case ROLE_PLATFORM:
    case ROLE_RESTORE:
        plan_platform(out, config, role == ROLE_RESTORE);
        break;
    case ROLE_STEWARD: /* Gives nothing up, see role_steward.c. */
    case ROLE_N:
        break;
    }
}

int
confine(enum role role, const struct broker_config *config,
        const struct role_user *user)
{
    struct sandbox_report report;
    struct sandbox_plan plan;

    if (role == ROLE_STEWARD) {
        return 0;
    }
#ifdef MBROKER_COUNTED
    log_info("runs without a sandbox: this build counts branches, in files");
    return 0;
#endif
    confine_plan(&plan, role, config, user);
    int error = sandbox_enter(&plan, &report);
    if (error) {
        log_error("can't enter its sandbox: %s", report.missing);
        return error;
    }
    /* That of the moment before a start is told by the start. */
    (role == ROLE_RESTORE ? log_debug : log_info)("runs with: %s",
                                                  report.in_force);
    if (!report.missing[0]) {
        return 0;
    }
    if (config->sandbox_required) {
        log_error("lacks %s; sandbox.required forbids to go on so",
                  report.missing);
        return -EPERM;
    }
    /* Whoever isn't root knows that he can't have it all. */
    (role == ROLE_RESTORE ? log_debug
     : user->any          ? log_warn
                          : log_info)("lacks %s", report.missing);
    return 0;
}

/* To the parent, who tells it. */
static void
say_last_words(int signal, siginfo_t *info, void *ctx)
{
    int number = info->si_syscall;
    ssize_t put = write(FD_LAST_WORDS, &number, sizeof number);

    (void)signal, (void)ctx, (void)put;
    sandbox_die();
}

/* A guest costs a channel: its socket, its memory and their waiting room. */
static void
plan_back(struct sandbox_plan *plan, const struct broker_config *config)
{
    plan->n_fds_max = 128 + 8 * (uint64_t)config->guests_max;
    plan->n_tasks_max = 0;
    plan->data_max = (128 + 4 * (uint64_t)config->guests_max) * MEBIBYTE;
    plan->first_free_fd = FD_BACK_GUESTS + (int)config->n_guests;
    plan->calls = SANDBOX_CALLS_BACK;
}

/* Its journal has a thread, and SQLite its own descriptors. */
static void
plan_engine(struct sandbox_plan *plan)
{
    plan->sees_users = true;
    plan->dirs[plan->n_dirs++] =
        (struct sandbox_dir){.fd = FD_ENGINE_JOURNAL, .writable = true};
    plan->n_fds_max = 256;
    plan->data_max = 512 * MEBIBYTE;
    plan->first_free_fd = FD_ENGINE_JOURNAL + 1;
    plan->calls = SANDBOX_CALLS_ENGINE;
}

/* Its capabilities, each for a driver that is in use:
 *   CAP_SYS_NICE          real-time threads that emulate p-states; keeping
 *                         other users' processes, guests, on their CPUs
 *   CAP_KILL              stopping and ending those
 *   CAP_DAC_OVERRIDE      cpufreq's files, which root may write
 *   CAP_DAC_READ_SEARCH   energy counters, which root may read
 * The last two open nothing but what is below its directories, and of /sys only
 * some files of its CPUs are mounted to be written.  Who restores does so for
 * drivers of an earlier configuration. */
static void
plan_platform(struct sandbox_plan *plan, const struct broker_config *config,
              bool restores)
{
    bool sets_real = restores || (config->pstate && config->pstate->real);
    bool reads_real = config->power && config->power->real;
    bool has_guests =
        config->hypervisor && strcmp(config->hypervisor->name, "sim") != 0;
    bool emulates = restores || (config->pstate && !config->pstate->real &&
                                 strcmp(config->pstate->name, "sim") != 0);

    plan->dirs[plan->n_dirs++] =
        (struct sandbox_dir){.fd = FD_PLATFORM_SAVED, .writable = true};
    plan_files(plan, config);
    plan->dirs[plan->n_dirs++] = (struct sandbox_dir){.fd = FD_PLATFORM_SYS};
    plan->dirs[plan->n_dirs++] = (struct sandbox_dir){.fd = FD_PLATFORM_PROC};
    plan->dirs[plan->n_dirs++] = (struct sandbox_dir){.fd = FD_PLATFORM_DATA};
    plan->dirs[plan->n_dirs++] =
        (struct sandbox_dir){.fd = FD_PLATFORM_CAP, .writable = !restores};
    plan->caps = (emulates || has_guests ? BIT(CAP_SYS_NICE) : 0) |
                 (has_guests ? BIT(CAP_KILL) : 0) |
                 (sets_real ? BIT(CAP_DAC_OVERRIDE) : 0) |
                 (reads_real ? BIT(CAP_DAC_READ_SEARCH) : 0);
    plan->n_fds_max = 256 + 2 * (uint64_t)config->n_cpus;
    plan->data_max = (512 + 16 * (uint64_t)config->n_cpus) * MEBIBYTE;
    plan->first_free_fd = FD_PLATFORM_LOCKS + 1 + (int)config->n_cpus;
    plan->calls = SANDBOX_CALLS_PLATFORM;
}

/* Files that drivers write, found so far. */
struct writables {
    struct sandbox_plan *plan;
    struct {
        dev_t dev;
        ino_t ino;
    } found[SANDBOX_FILES_MAX];
};

/* CPUs that change together have one file by many names; one will do. */
static void
add_file(struct writables *to, const char *path)
{
    struct sandbox_plan *plan = to->plan;
    struct stat its;

    if (fstatat(FD_PLATFORM_SYS, path, &its, 0)) {
        return;
    }
    for (uint32_t i = 0; i < plan->n_files; i++) {
        if (its.st_dev == to->found[i].dev && its.st_ino == to->found[i].ino) {
            return;
        }
    }
    if (plan->n_files < SANDBOX_FILES_MAX) {
        to->found[plan->n_files].dev = its.st_dev;
        to->found[plan->n_files].ino = its.st_ino;
        text_copy(plan->files[plan->n_files++], SANDBOX_PATH_SIZE, path);
    }
}

static void
add_files(struct writables *to, const struct hardware_class *driver,
          const struct option_values *options, uint32_t cpu)
{
    char path[SANDBOX_PATH_SIZE];

    for (uint32_t n = 0; driver && driver->writes &&
                         driver->writes(options, cpu, n, path, sizeof path);
         n++) {
        add_file(to, path);
    }
}

static void
add_saved(void *ctx, const char *file, int error, const struct saved *saved)
{
    (void)file;
    for (uint32_t i = 0; !error && i < saved->n_cpus; i++) {
        add_files(ctx, hardware_find(saved->driver), NULL, saved->cpus[i]);
    }
}

/* Those of its CPUs and of its power cap, and those of CPUs of which an earlier
 * broker left something to put back. */
static void
plan_files(struct sandbox_plan *plan, const struct broker_config *config)
{
    struct writables to = {.plan = plan};

    plan->files_dir = plan->n_dirs;
    for (uint32_t i = 0; i < config->n_cpus; i++) {
        add_files(&to, config->pstate, &config->pstate_options,
                  config->cpus[i]);
    }
    if (config->n_cpus) {
        add_files(&to, config->cap, &config->cap_options, config->cpus[0]);
    }
    saved_each(FD_PLATFORM_SAVED, add_saved, &to);
}
