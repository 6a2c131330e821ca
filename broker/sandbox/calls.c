/* SPDX-License-Identifier: Apache-2.0 */
/* The filters of system calls, as lists.  What is in a process's list is done;
 * what only an intruder would try kills the process, which takes the broker
 * down in good order and is heard of (caught.c says which call it was);
 * anything else is answered ENOSYS, as by a
 * kernel too old to have it, so that a C library which learns a new call goes
 * on doing it the old way (docs/decisions/0016-the-sandbox.md).
 *
 * The lists have what the processes were seen to call, and what the C library,
 * libuv and SQLite would call on another day: when memory grows short, a
 * checkpoint is due, an assertion fails.  Where the kernel keeps the answer per
 * call (5.11 and later), which it does for all that is allowed whatever its
 * arguments, a call costs some 45 ns more; those that are looked at are not
 * made per message, and a message over shared memory makes none.
 *
 * libseccomp compiles them; without it there are none, and that is said.
 * Called by sandbox.c, last. */
#include <errno.h>
#include <stdio.h>

#include "base/reserve.h"
#include "broker/sandbox/parts.h"
#include "broker/sandbox/sandbox.h"

#ifdef HAVE_SECCOMP

#include <sched.h>
#include <seccomp.h>
#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <unistd.h>

/* Of every process: memory, descriptors it has, waiting, time, its end. */
static const char *const common[] = {
    "brk",
    "munmap",
    "mremap",
    "madvise",
    "read",
    "readv",
    "write",
    "writev",
    "close",
    "fcntl",
    "fstat",
    "newfstatat",
    "lseek",
    "epoll_create1",
    "epoll_ctl",
    "epoll_wait",
    "epoll_pwait",
    "epoll_pwait2",
    "poll",
    "ppoll",
    "eventfd2",
    "pipe2",
    "timerfd_create",
    "timerfd_settime",
    "timerfd_gettime",
    "futex",
    "nanosleep",
    "clock_nanosleep",
    "restart_syscall",
    "clock_gettime",
    "clock_getres",
    "gettimeofday",
    "time",
    "getrandom",
    "rt_sigprocmask",
    "rt_sigreturn",
    "sigaltstack",
    "getpid",
    "gettid",
    "getppid",
    "getuid",
    "geteuid",
    "getgid",
    "getegid",
    "sched_yield",
    "sched_getaffinity",
    "getcpu",
    "membarrier",
    "rseq",
    "set_robust_list",
    "exit",
    "exit_group",
    "recvmsg",
    "recvfrom",
    "sendmsg",
    "sendto",
    "getsockopt",
    "setsockopt",
    "getsockname",
    "shutdown",
    NULL,
};

/* Guests come in, and each gets memory to share. */
static const char *const back[] = {
    "accept4", "memfd_create", "ftruncate", "fstatfs", "pread64", NULL,
};

/* Clients come in; SQLite's files, below the one directory there is. */
static const char *const engine[] = {
    "accept4",    "openat",  "open",       "access",    "faccessat",
    "faccessat2", "stat",    "lstat",      "statx",     "readlink",
    "readlinkat", "getcwd",  "getdents64", "pread64",   "pwrite64",
    "preadv",     "pwritev", "fsync",      "fdatasync", "ftruncate",
    "fallocate",  "fstatfs", "statfs",     "rename",    "renameat",
    "renameat2",  "unlink",  "unlinkat",   "fchmod",    "flock",
    NULL,
};

/* Files of /sys, /proc and its own; real-time threads; guests' processes, which
 * it stops, ends and keeps on their CPUs. */
static const char *const platform[] = {
    "openat",
    "faccessat",
    "faccessat2",
    "statx",
    "getdents64",
    "pread64",
    "pwrite64",
    "fsync",
    "fdatasync",
    "ftruncate",
    "renameat",
    "renameat2",
    "unlinkat",
    "sched_setaffinity",
    "sched_setscheduler",
    "sched_setparam",
    "sched_getscheduler",
    "sched_getparam",
    "sched_get_priority_max",
    "sched_get_priority_min",
    "pidfd_open",
    "pidfd_send_signal",
    "wait4",
    "waitid",
    NULL,
};

/* Never made by us, nor by a library for us.  Those that are in a process's own
 * list, or of which some arguments are, are not meant there. */
static const char *const intruders[] = {
    "execve",
    "execveat",
    "fork",
    "vfork",
    "ptrace",
    "process_vm_readv",
    "process_vm_writev",
    "process_madvise",
    "pidfd_getfd",
    "kcmp",
    "mount",
    "umount2",
    "pivot_root",
    "chroot",
    "setns",
    "unshare",
    "open_tree",
    "move_mount",
    "fsopen",
    "fsmount",
    "fsconfig",
    "fspick",
    "mount_setattr",
    "setuid",
    "setgid",
    "setreuid",
    "setregid",
    "setresuid",
    "setresgid",
    "setgroups",
    "setfsuid",
    "setfsgid",
    "capset",
    "init_module",
    "finit_module",
    "delete_module",
    "kexec_load",
    "kexec_file_load",
    "bpf",
    "perf_event_open",
    "userfaultfd",
    "add_key",
    "request_key",
    "keyctl",
    "open_by_handle_at",
    "name_to_handle_at",
    "iopl",
    "ioperm",
    "modify_ldt",
    "reboot",
    "swapon",
    "swapoff",
    "sethostname",
    "setdomainname",
    "settimeofday",
    "clock_settime",
    "clock_adjtime",
    "adjtimex",
    "acct",
    "quotactl",
    "mknod",
    "mknodat",
    "socket",
    "connect",
    "bind",
    "listen",
    "kill",
    "tkill",
    "rt_sigqueueinfo",
    "rt_tgsigqueueinfo",
    "personality",
    "seccomp",
    "vhangup",
    "lookup_dcookie",
    "syslog",
    "nfsservctl",
    NULL,
};

static const char *const *const lists[SANDBOX_CALLS_N] = {
    [SANDBOX_CALLS_BACK] = back,
    [SANDBOX_CALLS_ENGINE] = engine,
    [SANDBOX_CALLS_PLATFORM] = platform,
};

static int add_list(scmp_filter_ctx, uint32_t action, const char *const *names,
                    int *n);
static int add_with_arguments(scmp_filter_ctx, enum sandbox_calls, int *n);
static int add(scmp_filter_ctx, const char *name,
               const struct scmp_arg_cmp *arguments, unsigned n_arguments);

const char *
sandbox_seccomp_left_out(void)
{
    return NULL;
}

#define FILTER_RESERVE (1 << 20) /* Bytes; making one takes a fifth. */

int
calls_filter(const struct sandbox_plan *plan, char *why, size_t why_size)
{
    int n = 0;

    if (SANDBOX_SANITIZED) {
        snprintf(why, why_size,
                 "this build has sanitizers, which call what they like");
        return -ENOTSUP;
    }
    int error = caught_begin(plan);
    if (error) {
        snprintf(why, why_size, "SIGSYS: %s", strerror(-error));
        return error;
    }
    /* Without memory libseccomp ends in a crash. */
    scmp_filter_ctx filter = reserve_begin(FILTER_RESERVE)
                                 ? seccomp_init(SCMP_ACT_ERRNO(ENOSYS))
                                 : NULL;
    if (!filter) {
        reserve_end();
        snprintf(why, why_size, "no memory");
        return -ENOMEM;
    }
    /* It was promised already, and only we run here; no code comes from
     * strangers, so no speculation need be slowed down for it. */
    seccomp_attr_set(filter, SCMP_FLTATR_CTL_NNP, 0);
    seccomp_attr_set(filter, SCMP_FLTATR_CTL_SSB, 1);
    seccomp_attr_set(filter, SCMP_FLTATR_CTL_OPTIMIZE, 2);
    error = seccomp_attr_set(filter, SCMP_FLTATR_ACT_BADARCH,
                             SCMP_ACT_KILL_PROCESS);
    if (!error) {
        error = add_list(filter, SCMP_ACT_ALLOW, common, &n);
    }
    if (!error) {
        error = add_list(filter, SCMP_ACT_ALLOW, lists[plan->calls], &n);
    }
    if (!error) {
        error = add_with_arguments(filter, plan->calls, &n);
    }
    if (!error) {
        error = add_list(filter,
                         plan->caught ? SCMP_ACT_TRAP : SCMP_ACT_KILL_PROCESS,
                         intruders, NULL);
    }
    if (!error) {
        error = seccomp_load(filter);
    }
    seccomp_release(filter);
    reserve_end();
    if (error) {
        snprintf(why, why_size, "the kernel takes no filter: %s",
                 strerror(-error));
        return error;
    }
    return n;
}

/* A call that this machine's kind of processor lacks is no loss. */
static int
add_list(scmp_filter_ctx filter, uint32_t action, const char *const *names,
         int *n)
{
    for (size_t i = 0; names[i]; i++) {
        int number = seccomp_syscall_resolve_name(names[i]);

        if (number < 0) {
            continue;
        }
        int error = seccomp_rule_add_array(filter, action, number, 0, NULL);
        if (error) {
            return error;
        }
        if (n) {
            ++*n;
        }
    }
    return 0;
}

/* Calls of which not all is allowed.  Signals go to ourselves only (an
 * assertion that fails); what becomes of SIGSYS stays; memory is never to be
 * run; what is new are threads, where there are any. */
static int
add_with_arguments(scmp_filter_ctx filter, enum sandbox_calls calls, int *n)
{
    const struct scmp_arg_cmp self = SCMP_A0(SCMP_CMP_EQ, (uint64_t)getpid());
    const struct scmp_arg_cmp sigsys = SCMP_A0(SCMP_CMP_EQ, SIGSYS);
    const struct scmp_arg_cmp others = SCMP_A0(SCMP_CMP_NE, SIGSYS);
    const struct scmp_arg_cmp no_code =
        SCMP_A2(SCMP_CMP_MASKED_EQ, PROT_EXEC, 0);
    const struct scmp_arg_cmp nonblocking = SCMP_A1(SCMP_CMP_EQ, FIONBIO);
    const struct scmp_arg_cmp closing = SCMP_A1(SCMP_CMP_EQ, FIOCLEX);
    const struct scmp_arg_cmp name = SCMP_A0(SCMP_CMP_EQ, PR_SET_NAME);
    const struct scmp_arg_cmp thread =
        SCMP_A0(SCMP_CMP_MASKED_EQ, CLONE_THREAD | CLONE_VM | CLONE_NEWUSER,
                CLONE_THREAD | CLONE_VM);

    int error = add(filter, "tgkill", &self, 1);
    if (!error) {
        error = add(filter, "rt_sigaction", &others, 1);
    }
    if (!error) {
        error = seccomp_rule_add_array(
            filter, SCMP_ACT_KILL_PROCESS,
            seccomp_syscall_resolve_name("rt_sigaction"), 1, &sigsys);
    }
    if (!error) {
        error = add(filter, "mmap", &no_code, 1);
    }
    if (!error) {
        error = add(filter, "mprotect", &no_code, 1);
    }
    if (!error) {
        error = add(filter, "ioctl", &nonblocking, 1);
    }
    if (!error) {
        error = add(filter, "ioctl", &closing, 1);
    }
    *n += 5;
    if (!error && calls != SANDBOX_CALLS_BACK) {
        error = add(filter, "clone", &thread, 1);
        if (!error) {
            error = add(filter, "prctl", &name, 1);
        }
        *n += 2;
    }
    return error;
}

static int
add(scmp_filter_ctx filter, const char *name,
    const struct scmp_arg_cmp *arguments, unsigned n_arguments)
{
    return seccomp_rule_add_array(filter, SCMP_ACT_ALLOW,
                                  seccomp_syscall_resolve_name(name),
                                  n_arguments, arguments);
}

void
sandbox_call_text(int number, char *out, size_t size)
{
    char *name = seccomp_syscall_resolve_num_arch(SCMP_ARCH_NATIVE, number);

    snprintf(out, size, name ? "%s (%d)" : "%.0s%d", name ? name : "", number);
    free(name);
}

#else

void
sandbox_call_text(int number, char *out, size_t size)
{
    snprintf(out, size, "%d", number);
}

const char *
sandbox_seccomp_left_out(void)
{
    return "libseccomp was missing when this was built";
}

int
calls_filter(const struct sandbox_plan *plan, char *why, size_t why_size)
{
    (void)plan;
    snprintf(why, why_size, "%s", sandbox_seccomp_left_out());
    return -ENOTSUP;
}

#endif
