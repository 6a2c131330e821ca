/* SPDX-License-Identifier: Apache-2.0 */
/* The attempts themselves, each a function that returns 0 or more if it went
 * and -1 if not, or does not return. They run in a child that is in the
 * sandbox already. Called by sandbox.c. */
#include "tests/unit/broker/attempts.h"

#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <linux/perf_event.h>
#include <linux/sched.h>
#include <netinet/in.h>
#include <sched.h>
#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/personality.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include "broker/role/confine.h"
#include "broker/sandbox/parts.h"

static int dirs[] = {FD_FIRST,     FD_FIRST + 1, FD_FIRST + 2,
                     FD_FIRST + 3, FD_FIRST + 4, FD_FIRST + 5};

static long
open_passwd(void)
{
    return open("/etc/passwd", O_RDONLY);
}

/* Out by a directory it was handed. */
static long
climb_out(void)
{
    for (size_t i = 0; i < sizeof dirs / sizeof dirs[0]; i++) {
        if (openat(dirs[i],
                   "../../../../../../../../../../../../../../etc/passwd",
                   O_RDONLY) >= 0) {
            return 0;
        }
    }
    return -1;
}

static long
open_by_process(void)
{
    for (size_t i = 0; i < sizeof dirs / sizeof dirs[0]; i++) {
        if (openat(dirs[i], "1/root/etc/passwd", O_RDONLY) >= 0) {
            return 0;
        }
    }
    return -1;
}

static long
make_file(void)
{
    return open("/made-by-a-test", O_WRONLY | O_CREAT, 0600);
}

static long
internet(void)
{
    return socket(AF_INET, SOCK_STREAM, 0);
}

static long
unix_socket(void)
{
    return socket(AF_UNIX, SOCK_STREAM, 0);
}

long
run_program(void)
{
    char *argv[] = {NULL};

    return execve("/bin/true", argv, argv);
}

static long
fork_child(void)
{
    pid_t child = fork();

    if (!child) {
        _exit(0);
    }
    return child;
}

static long
trace_parent(void)
{
    return ptrace(PTRACE_SEIZE, getppid(), NULL, NULL);
}

static long
read_parent(void)
{
    char byte;
    struct iovec here = {&byte, 1}, there = {dirs, 1};

    return process_vm_readv(getppid(), &here, 1, &there, 1, 0);
}

long
signal_parent(void)
{
    return kill(getppid(), 0);
}

static long
mount_something(void)
{
    return mount("none", "/", "tmpfs", 0, NULL);
}

static long
open_mount(void)
{
    return mount(NULL, "/", NULL, MS_REMOUNT | MS_BIND, NULL);
}

static long
leave_root(void)
{
    return chroot("/");
}

static long
new_users(void)
{
    return unshare(CLONE_NEWUSER);
}

static long
new_network(void)
{
    return unshare(CLONE_NEWNET);
}

static long
become_root(void)
{
    return setuid(0);
}

static long
become_other(void)
{
    return setresuid(12345, 12345, 12345);
}

static long
drop_groups(void)
{
    return setgroups(0, NULL);
}

static long
take_capability(void)
{
    struct __user_cap_header_struct header = {.version =
                                                  _LINUX_CAPABILITY_VERSION_3};
    const struct __user_cap_data_struct data[2] = {
        {.effective = 1u << CAP_SYS_ADMIN | 1u << CAP_NET_ADMIN,
         .permitted = 1u << CAP_SYS_ADMIN | 1u << CAP_NET_ADMIN}};

    return syscall(SYS_capset, &header, data);
}

static long
make_device(void)
{
    return mknod("/null", S_IFCHR | 0666, 0x103);
}

static long
raise_limit(void)
{
    const struct rlimit limit = {1u << 20, 1u << 20};

    return setrlimit(RLIMIT_NOFILE, &limit);
}

static long
load_program(void)
{
    return syscall(SYS_bpf, 5, NULL, 0);
}

static long
open_by_handle(void)
{
    struct {
        struct file_handle head;
        char room[128];
    } handle = {.head = {.handle_bytes = 128}};
    int mount_id;

    return name_to_handle_at(AT_FDCWD, "/", &handle.head, &mount_id, 0) ||
                   open_by_handle_at(AT_FDCWD, &handle.head, O_RDONLY) < 0
               ? -1
               : 0;
}

static long
make_code(void)
{
    return mmap(NULL, 4096, PROT_READ | PROT_WRITE | PROT_EXEC,
                MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) == MAP_FAILED
               ? -1
               : 0;
}

static long
make_ring(void)
{
    char params[256] = {0};

    return syscall(SYS_io_uring_setup, 4, params);
}

static long
use_keys(void)
{
    return syscall(SYS_keyctl, 0, -3, 1, 0, 0);
}

/* Siblings: processes of the same user, whom no user's rights protect. */

pid_t sibling;

static long
signal_sibling(void)
{
    return kill(sibling, 0);
}

static long
signal_siblings_thread(void)
{
    return syscall(SYS_tgkill, sibling, sibling, 0);
}

static long
queue_signal(void)
{
    siginfo_t info = {.si_code = SI_QUEUE};

    return syscall(SYS_rt_sigqueueinfo, sibling, SIGURG, &info);
}

static long
signal_everybody(void)
{
    return kill(-1, 0);
}

static long
trace_sibling(void)
{
    return ptrace(PTRACE_SEIZE, sibling, NULL, NULL);
}

static long
write_siblings_memory(void)
{
    static int word;
    struct iovec here = {&word, sizeof word}, there = {&word, sizeof word};

    return syscall(SYS_process_vm_writev, sibling, &here, 1, &there, 1, 0);
}

static long
take_siblings_fd(void)
{
    int pidfd = (int)syscall(SYS_pidfd_open, sibling, 0);

    return pidfd < 0 ? -1 : syscall(SYS_pidfd_getfd, pidfd, 0, 0);
}

static long
compare_with_sibling(void)
{
    return syscall(SYS_kcmp, getpid(), sibling, 1 /* KCMP_VM */, 0, 0);
}

static long
limit_sibling(void)
{
    const struct rlimit limit = {0, 0};

    return prlimit(sibling, RLIMIT_CORE, &limit, NULL);
}

/* Through a directory it was handed, if that is /proc. */
static long
open_of_process(pid_t pid, const char *name, int flags)
{
    char path[64];

    snprintf(path, sizeof path, "%d/%s", (int)pid, name);
    for (size_t i = 0; i < sizeof dirs / sizeof dirs[0]; i++) {
        if (openat(dirs[i], path, flags) >= 0) {
            return 0;
        }
    }
    return -1;
}

static long
open_siblings_memory(void)
{
    return open_of_process(sibling, "mem", O_RDWR);
}

static long
open_parents_memory(void)
{
    return open_of_process(getppid(), "mem", O_RDONLY);
}

static long
open_parents_environment(void)
{
    return open_of_process(getppid(), "environ", O_RDONLY);
}

static long
open_parents_file(void)
{
    return open_of_process(getppid(), "fd/0", O_RDONLY);
}

static long
open_parents_directory(void)
{
    return open_of_process(getppid(), "cwd/etc/passwd", O_RDONLY);
}

/* By which its own code could be written. */
static long
open_own_memory(void)
{
    return open_of_process(getpid(), "mem", O_RDWR);
}

/* Namespaces. */

static long
enter_parents_mounts(void)
{
    int pidfd = (int)syscall(SYS_pidfd_open, getppid(), 0);

    return pidfd < 0 ? -1 : setns(pidfd, CLONE_NEWNS);
}

static long
new_mounts(void)
{
    return unshare(CLONE_NEWNS);
}

static long
wait_for(long child)
{
    if (!child) {
        _exit(0);
    }
    return child;
}

static long
clone_into_users(void)
{
    return wait_for(
        syscall(SYS_clone, CLONE_NEWUSER | SIGCHLD, NULL, NULL, NULL, 0));
}

static long
clone_by_the_new_call(void)
{
    struct clone_args args = {.flags = CLONE_NEWUSER, .exit_signal = SIGCHLD};

    return wait_for(syscall(SYS_clone3, &args, sizeof args));
}

static long
copy_mounts(void)
{
    return syscall(SYS_open_tree, AT_FDCWD, "/", 1 /* OPEN_TREE_CLONE */);
}

static long
open_file_system(void)
{
    return syscall(SYS_fsopen, "tmpfs", 0);
}

/* What is mounted to be read only, again to be written. */
static long
open_mounts_by_attribute(void)
{
    struct mount_attr attr = {.attr_clr = MOUNT_ATTR_RDONLY};

    for (size_t i = 0; i < sizeof dirs / sizeof dirs[0]; i++) {
        if (!mount_setattr(dirs[i], "", AT_EMPTY_PATH, &attr, sizeof attr)) {
            return 0;
        }
    }
    return -1;
}

/* Code from elsewhere. */

/* A program of a page, which ends with the status of an attempt that went. */
static const uint8_t program[] = {
    0x7f, 0x45, 0x4c, 0x46, 2, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0x3e, 0,
    1, 0, 0, 0, 0x78, 0, 0x40, 0, 0, 0, 0, 0, 0x40, 0, 0, 0, 0, 0, 0, 0, 0, 0,
    0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x40, 0, 0x38, 0, 1, 0, 0, 0, 0, 0, 0, 0, 1,
    0, 0, 0, 5, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x40, 0, 0, 0, 0, 0, 0,
    0, 0x40, 0, 0, 0, 0, 0, 0x84, 0, 0, 0, 0, 0, 0, 0, 0x84, 0, 0, 0, 0, 0, 0,
    0, 0, 0x10, 0, 0, 0, 0, 0, 0,
    /* mov edi, 11; mov eax, 60; syscall */
    0xbf, 0xb, 0, 0, 0, 0xb8, 0x3c, 0, 0, 0, 0xf, 5};

static long
run_from_memory(void)
{
    char *argv[] = {NULL};
    int fd = memfd_create("program", 0);

    return fd < 0 || write(fd, program, sizeof program) != sizeof program
               ? -1
               : syscall(SYS_execveat, fd, "", argv, argv, AT_EMPTY_PATH);
}

static long
map_code_from_memory(void)
{
    int fd = memfd_create("code", 0);

    return fd < 0 || ftruncate(fd, 4096) ||
                   mmap(NULL, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE, fd,
                        0) == MAP_FAILED
               ? -1
               : 0;
}

static long
turn_data_into_code(void)
{
    void *at = mmap(NULL, 4096, PROT_READ | PROT_WRITE,
                    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    return at == MAP_FAILED ? -1 : mprotect(at, 4096, PROT_READ | PROT_EXEC);
}

static long
make_all_data_code(void)
{
    return personality(READ_IMPLIES_EXEC);
}

/* The kernel's less looked at corners. */

static long
handle_faults(void)
{
    return syscall(SYS_userfaultfd, 1 /* UFFD_USER_MODE_ONLY */);
}

static long
count_events(void)
{
    struct perf_event_attr attr = {.type = PERF_TYPE_SOFTWARE,
                                   .size = sizeof attr,
                                   .config = PERF_COUNT_SW_DUMMY,
                                   .exclude_kernel = 1,
                                   .exclude_hv = 1};

    return syscall(SYS_perf_event_open, &attr, 0, -1, -1, 0);
}

static long
add_key(void)
{
    return syscall(SYS_add_key, "user", "mbroker-test", "x", 1,
                   -2 /* KEY_SPEC_PROCESS_KEYRING */);
}

static long
read_kernels_log(void)
{
    static char text[4096];

    return syscall(SYS_syslog, 3, text, (int)sizeof text);
}

static long
netlink_socket(void)
{
    return socket(AF_NETLINK, SOCK_RAW, 0);
}

static long
raw_socket(void)
{
    return socket(AF_INET, SOCK_RAW, IPPROTO_ICMP);
}

static long
vm_socket(void)
{
    return socket(AF_VSOCK, SOCK_STREAM, 0);
}

static long
socket_pair(void)
{
    int ends[2];

    return socketpair(AF_UNIX, SOCK_STREAM, 0, ends);
}

static long
type_into_terminal(void)
{
    return ioctl(0, TIOCSTI, "x");
}

static long
show_itself(void)
{
    return prctl(PR_SET_DUMPABLE, 1);
}

static long
put_filter_aside(void)
{
    const struct sigaction action = {.sa_handler = SIG_IGN};

    return sigaction(SIGSYS, &action, NULL);
}

/* Of /sys, what is not a frequency of a CPU of ours. */
static long
write_other_cpu(void)
{
    static const char *const paths[] = {
        "devices/system/cpu/cpu1/cpufreq/scaling_max_freq",
        "devices/system/cpu/cpu0/cpufreq/energy_performance_preference",
        "devices/system/cpu/cpufreq/boost",
        "devices/system/cpu/cpu0/online",
    };

    for (size_t i = 0; i < sizeof dirs / sizeof dirs[0]; i++) {
        for (size_t j = 0; j < sizeof paths / sizeof paths[0]; j++) {
            if (openat(dirs[i], paths[j], O_WRONLY) >= 0) {
                return 0;
            }
        }
    }
    return -1;
}

/* Among /proc's and /sys's files. */
static long
write_setting(void)
{
    static const char *const paths[] = {"sys/kernel/core_pattern",
                                        "sysrq-trigger", "power/state",
                                        "kernel/mm/ksm/run"};

    for (size_t i = 0; i < sizeof dirs / sizeof dirs[0]; i++) {
        for (size_t j = 0; j < sizeof paths / sizeof paths[0]; j++) {
            if (openat(dirs[i], paths[j], O_WRONLY) >= 0) {
                return 0;
            }
        }
    }
    return -1;
}

const struct attempt attempts[] = {
    {"open /etc/passwd", open_passwd},
    {"climb out by \"..\"", climb_out},
    {"open by another process's root", open_by_process},
    {"make a file", make_file},
    {"open an internet socket", internet, .needs_filter = true},
    {"open a unix socket", unix_socket, .needs_filter = true},
    {"run a program", run_program},
    {"fork", fork_child, .needs_filter = true},
    {"trace the parent", trace_parent, .needs_filter_if_user = true},
    {"read the parent's memory", read_parent, .needs_filter_if_user = true},
    {"signal the parent", signal_parent, .needs_filter_if_user = true},
    {"mount", mount_something},
    {"make its root writable", open_mount},
    {"change its root", leave_root},
    {"make a user namespace", new_users, .needs_filter = true},
    {"make a network namespace", new_network},
    {"become root", become_root},
    {"become another", become_other},
    {"change its groups", drop_groups},
    {"take a capability", take_capability},
    {"make a device", make_device},
    {"raise a limit", raise_limit},
    {"load a program into the kernel", load_program},
    {"open by handle", open_by_handle},
    {"make memory to run", make_code, .needs_filter = true},
    {"make an io_uring", make_ring, .needs_filter = true},
    {"use keys", use_keys, .needs_filter = true},
    {"write a setting of the kernel", write_setting},
    {"write what is not its CPUs' frequency", write_other_cpu},
    {"signal a sibling", signal_sibling, .needs_filter = true},
    {"signal a sibling's thread", signal_siblings_thread, .needs_filter = true},
    {"queue a signal to a sibling", queue_signal, .needs_filter = true},
    {"signal everybody", signal_everybody, .needs_filter = true},
    {"trace a sibling", trace_sibling, .needs_filter = true},
    {"write a sibling's memory", write_siblings_memory, .needs_filter = true},
    {"take a sibling's descriptor", take_siblings_fd, .needs_filter = true},
    {"compare itself with a sibling", compare_with_sibling,
     .needs_filter = true},
    {"limit a sibling", limit_sibling, .needs_filter = true},
    {"open a sibling's memory to write", open_siblings_memory},
    {"open the parent's memory", open_parents_memory,
     .needs_filter_if_user = true},
    {"open the parent's environment", open_parents_environment,
     .needs_filter_if_user = true},
    {"open the parent's file", open_parents_file, .needs_filter_if_user = true},
    {"open by the parent's directory", open_parents_directory,
     .needs_filter_if_user = true},
    {"open its own memory to write", open_own_memory},
    {"enter the parent's mounts", enter_parents_mounts},
    {"make a mount namespace", new_mounts},
    {"clone into a user namespace", clone_into_users, .needs_filter = true},
    {"clone by the new call", clone_by_the_new_call, .needs_filter = true},
    {"copy the mounts", copy_mounts},
    {"open a file system", open_file_system},
    {"open mounts by their attributes", open_mounts_by_attribute},
    {"run a program from memory", run_from_memory, .needs_filter = true},
    {"map code from memory", map_code_from_memory, .needs_filter = true},
    {"turn data into code", turn_data_into_code, .needs_filter = true},
    {"make all data code", make_all_data_code, .needs_filter = true},
    {"handle faults", handle_faults, .needs_filter = true},
    {"count events", count_events, .needs_filter = true},
    {"add a key", add_key, .needs_filter = true},
    {"read the kernel's log", read_kernels_log, .needs_filter = true},
    {"open a netlink socket", netlink_socket, .needs_filter = true},
    {"open a raw socket", raw_socket},
    {"open a socket to other VMs", vm_socket, .needs_filter = true},
    {"make a pair of sockets", socket_pair, .needs_filter = true},
    {"type into a terminal", type_into_terminal},
    {"let itself be traced", show_itself, .needs_filter = true},
    {"put the filter's signal aside", put_filter_aside, .needs_filter = true},
};

const size_t n_attempts = sizeof attempts / sizeof attempts[0];
