/* SPDX-License-Identifier: Apache-2.0 */
/* The first process of a guest, its init: a child of the broker's platform
 * process that outlives it; alone in its session; pinned to the guest's CPUs;
 * with none of our descriptors, handlers or environment; and a child subreaper,
 * so that daemons which leave their parents stay in its tree.  It runs the
 * command by /bin/sh -c in its only child, waits for whatever ends up with it,
 * and ends when nothing is left.
 *
 * The broker's platform process has threads (softpstate.c), so between fork and
 * exec only what is async-signal-safe may be called, and init, which never
 * execs, keeps to that for life.  XXX: It also keeps a copy-on-write image of
 * the platform process; a program of its own would be smaller.  It is the
 * exception to "exits only in files with main": it is a process of its own.
 * Called by guestfiles.c. */
#include "hypervisor/guestinit.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define STAT_SIZE 1024
#define FIELD_SIZE 24 /* Of a 64-bit number. */
#define FDS_MAX 65536 /* Closed one by one where close_range() lacks. */

/* What the child needs, made before the fork. */
struct plan {
    const struct guestinit *from;
    char pid_path[GUESTINIT_PATH_SIZE], new_path[GUESTINIT_PATH_SIZE];
    char log_path[GUESTINIT_PATH_SIZE];
    char process_name[16];           /* As much as the kernel keeps. */
    char title[GUESTINIT_PATH_SIZE]; /* What ps shows. */
    char env_name[GUESTINIT_PATH_SIZE];
    const char *argv[4], *envp[4];
    cpu_set_t cpus;
};

static int make_plan(struct plan *, const struct guestinit *);
static void run_init(const struct plan *) __attribute__((noreturn));

pid_t
guestinit_start(const struct guestinit *from)
{
    struct plan plan;
    sigset_t all, before;

    int error = make_plan(&plan, from);
    if (error) {
        return error;
    }
    /* No handler of ours may run in the child. */
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    pid_t init = _Fork();
    if (!init) {
        run_init(&plan);
    }
    error = init < 0 ? -errno : 0;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return error ? error : init;
}

static int
make_plan(struct plan *plan, const struct guestinit *from)
{
    *plan = (struct plan){
        .from = from,
        .argv = {"/bin/sh", "-c", from->command},
        .envp = {"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:"
                 "/bin",
                 "HOME=/", plan->env_name},
    };
    snprintf(plan->pid_path, sizeof plan->pid_path, "%.64s.pid", from->name);
    snprintf(plan->new_path, sizeof plan->new_path, "%.64s.pid.new",
             from->name);
    snprintf(plan->log_path, sizeof plan->log_path, "%.64s.log", from->name);
    snprintf(plan->env_name, sizeof plan->env_name, "MBROKER_GUEST=%.64s",
             from->name);
    snprintf(plan->title, sizeof plan->title, "mbroker-guest %.64s",
             from->name);
    snprintf(plan->process_name, sizeof plan->process_name, "guest:%.8s",
             from->name);
    CPU_ZERO(&plan->cpus);
    for (uint32_t i = 0; i < from->n_cpus; i++) {
        if (from->cpus[i] >= CPU_SETSIZE) {
            return -EINVAL;
        }
        CPU_SET(from->cpus[i], &plan->cpus);
    }
    return 0;
}

/* In the child: only system calls from here on. */

static void __attribute__((noreturn)) give_up(const char *what)
{
    static const char before[] = "guest init: can't ";

    /* Nobody is left to tell if this fails. */
    if (write(STDERR_FILENO, before, sizeof before - 1) < 0 ||
        write(STDERR_FILENO, what, strlen(what)) < 0 ||
        write(STDERR_FILENO, "\n", 1) < 0) {
        _exit(2);
    }
    _exit(1);
}

static void
set_stdio(const struct plan *plan)
{
    int null = open("/dev/null", O_RDWR);
    int log = null;

    if (plan->from->log) {
        log =
            openat(plan->from->state_dirfd, plan->log_path,
                   O_WRONLY | O_CREAT | O_APPEND | O_TRUNC | O_NOFOLLOW, 0600);
    }
    if (null < 0 || log < 0 || dup2(null, STDIN_FILENO) < 0 ||
        dup2(log, STDOUT_FILENO) < 0 || dup2(log, STDERR_FILENO) < 0) {
        _exit(3);
    }
}

static void
reset_signals(void)
{
    struct sigaction normal = {.sa_handler = SIG_DFL};

    for (int i = 1; i < NSIG; i++) {
        sigaction(i, &normal, NULL); /* Some can't be set. */
    }
}

/* Returns where 'text' ends in 'out', which has room. */
static char *
append(char *out, const char *text)
{
    size_t length = strlen(text);

    memcpy(out, text, length);
    out[length] = '\0';
    return out + length;
}

/* Fields of /proc/self/stat, numbered as in proc(5). */
enum stat_field {
    STAT_PID = 1,
    STAT_START = 22,
    STAT_ARGUMENTS = 48, /* Address of our command line, and its end. */
    STAT_ARGUMENTS_END = 49,
};

/* Copies a field of 'stat', which is whole; -1 if there is none. */
static int
copy_field(const char *stat, enum stat_field field, char out[FIELD_SIZE])
{
    const char *at = stat;

    if (field != STAT_PID) {
        at = strrchr(stat, ')'); /* Field 2, a name, may hold anything. */
        for (unsigned i = 2; at && i < field; i++) {
            at = strchr(at + 1, ' ');
        }
        at = at ? at + 1 : "";
    }
    size_t length = strcspn(at, " \n");
    if (!length || length >= FIELD_SIZE) {
        return -1;
    }
    memcpy(out, at, length);
    out[length] = '\0';
    return 0;
}

static uintptr_t
copy_address(const char *stat, enum stat_field field)
{
    char text[FIELD_SIZE];
    uintptr_t address = 0;

    if (copy_field(stat, field, text)) {
        return 0;
    }
    for (const char *at = text; *at >= '0' && *at <= '9'; at++) {
        address = address * 10 + (uintptr_t)(*at - '0');
    }
    return address;
}

/* Makes ps show what we are, instead of the broker that we were forked from. */
static void
write_title(const struct plan *plan, const char *stat)
{
    uintptr_t start = copy_address(stat, STAT_ARGUMENTS);
    uintptr_t end = copy_address(stat, STAT_ARGUMENTS_END);
    size_t length = strlen(plan->title);

    if (start && end > start + length) {
        memset((void *)start, 0, end - start);
        memcpy((void *)start, plan->title, length);
    }
}

static void
read_own_stat(const struct plan *plan, char stat[STAT_SIZE])
{
    int fd = openat(plan->from->proc_dirfd, "self/stat", O_RDONLY);
    ssize_t got = fd < 0 ? -1 : read(fd, stat, STAT_SIZE - 1);
    if (got <= 0) {
        give_up("read /proc/self/stat");
    }
    stat[got] = '\0';
}

/* "PID START BOOT_ID", put in place as a whole. */
static void
write_pid_file(const struct plan *plan, const char *stat)
{
    char pid[FIELD_SIZE], start[FIELD_SIZE], line[256];

    if (copy_field(stat, STAT_PID, pid) ||
        copy_field(stat, STAT_START, start)) {
        give_up("understand /proc/self/stat");
    }
    char *end = append(line, pid);
    end = append(end, " ");
    end = append(end, start);
    end = append(end, " ");
    end = append(end, plan->from->boot_id);
    end = append(end, "\n");

    int state = plan->from->state_dirfd;
    int fd = openat(state, plan->new_path,
                    O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW, 0600);
    if (fd < 0 || write(fd, line, (size_t)(end - line)) != end - line ||
        close(fd) || renameat(state, plan->new_path, state, plan->pid_path)) {
        give_up("write its pid file");
    }
}

static void
close_all(void)
{
    if (syscall(SYS_close_range, STDERR_FILENO + 1, ~0U, 0)) {
        for (int fd = STDERR_FILENO + 1; fd < FDS_MAX; fd++) {
            close(fd);
        }
    }
}

static void
run_command(const struct plan *plan)
{
    sigset_t none;

    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    execve(plan->argv[0], (char *const *)(uintptr_t)plan->argv,
           (char *const *)(uintptr_t)plan->envp);
    give_up("run /bin/sh");
}

/* All signals stay blocked, so that only SIGKILL ends init early. */
static void
run_init(const struct plan *plan)
{
    struct sched_param normal = {.sched_priority = 0};
    char stat[STAT_SIZE];

    setsid();
    set_stdio(plan);
    reset_signals();
    umask(022);
    prctl(PR_SET_NAME, plan->process_name);
    if (chdir("/") || prctl(PR_SET_CHILD_SUBREAPER, 1) ||
        sched_setscheduler(0, SCHED_OTHER, &normal)) {
        give_up("prepare itself");
    }
    if (plan->from->n_cpus &&
        sched_setaffinity(0, sizeof plan->cpus, &plan->cpus)) {
        give_up("run on the guest's CPUs");
    }
    read_own_stat(plan, stat);
    write_title(plan, stat);
    write_pid_file(plan, stat);
    close_all();

    pid_t command = _Fork();
    if (!command) {
        run_command(plan);
    }
    if (command < 0) {
        give_up("fork");
    }
    while (waitpid(-1, NULL, 0) >= 0 || errno == EINTR) {
    }
    _exit(0);
}
