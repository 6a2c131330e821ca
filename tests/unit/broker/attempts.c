/* SPDX-License-Identifier: Apache-2.0 */
/* The attempts themselves, each a function that returns 0 or more if it went
 * and -1 if not, or does not return. They run in a child that is in the
 * sandbox already. Called by sandbox.c. */
#include "tests/unit/broker/attempts.h"

#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <sched.h>
#include <signal.h>
#include <stddef.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include "broker/role/confine.h"
#include "broker/sandbox/parts.h"

#define NOBODY 65534

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
};

const size_t n_attempts = sizeof attempts / sizeof attempts[0];
