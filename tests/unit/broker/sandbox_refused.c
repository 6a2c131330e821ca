/* SPDX-License-Identifier: Apache-2.0 */
/* A machine that refuses what a sandbox is made of, one system call at a time,
 * as a container's filter does: what is not had is said, and the next wall
 * stands instead; where there is no way back the process is told to end.
 * Nobody is told of a wall that is not there. */
#include "broker/sandbox/sandbox.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "broker/sandbox/parts.h"
#include "tests/unit/broker/counted.h"

#define ITS_ID 60950
#define FIRST_FD 20
#define ALARM_S 60
#define ANY UINT32_MAX
#define N_REFUSALS 2

/* A system call, if its first argument is this, and the answer. */
struct refusal {
    int call; /* 0: none. */
    uint32_t first;
    int error;
};

enum outcome {
    NO_ROOT,       /* But Landlock. */
    NO_FILES,      /* Neither. */
    NO_FILTER,     /* Of system calls. */
    MUST_END,      /* There is no way back. */
    NO_CAPABILITY, /* Is left, though one was to be. */
};

struct refused {
    const char *what;
    struct refusal refusals[N_REFUSALS];
    enum outcome outcome;
    const char *said;
};

#define ONE(call, error)                                                       \
    {                                                                          \
        {                                                                      \
            call, ANY, error                                                   \
        }                                                                      \
    }
#define NO_NAMESPACES                                                          \
    {                                                                          \
        SYS_unshare, ANY, EPERM                                                \
    }

static const struct refused all_refused[] = {
    {"namespaces", ONE(SYS_unshare, EPERM), NO_ROOT, "making namespaces"},
    {"namespaces it lacks", ONE(SYS_unshare, EINVAL), NO_ROOT,
     "making namespaces"},
    {"a directory's name", ONE(SYS_readlink, EACCES), NO_ROOT,
     "finding its directories"},
    {"a directory's number", ONE(SYS_newfstatat, EIO), NO_ROOT,
     "finding its directories"},
    {"a mount", ONE(SYS_mount, EPERM), NO_ROOT, "mounting"},
    {"a mount's rights", ONE(SYS_mount_setattr, ENOSYS), NO_ROOT, "mounting"},
    {"another root", ONE(SYS_pivot_root, EINVAL), NO_ROOT, "mounting"},
    {"leaving the old one", ONE(SYS_umount2, EPERM), NO_ROOT, "mounting"},
    {"going there", ONE(SYS_chdir, EACCES), NO_ROOT, "mounting"},
    {"directories in it", ONE(SYS_mkdir, EROFS), NO_ROOT, "mounting"},
    {"a number for one", ONE(SYS_dup3, EMFILE), NO_ROOT,
     "opening its directories"},
    {"a pipe", ONE(SYS_pipe2, EMFILE), NO_ROOT, "no process to try it"},
    {"a process", ONE(SYS_clone, EAGAIN), NO_ROOT, "no process to try it"},
    {"its end", ONE(SYS_wait4, ECHILD), NO_ROOT, "no process to try it"},
    {"telling of it",
     {NO_NAMESPACES, {SYS_write, ANY, EIO}},
     NO_ROOT,
     "trying it ended with status"},
    {"Landlock",
     {NO_NAMESPACES, {SYS_landlock_create_ruleset, ANY, ENOSYS}},
     NO_FILES,
     "Landlock instead (the kernel has none"},
    {"one of its rules",
     {NO_NAMESPACES, {SYS_landlock_add_rule, ANY, ENOMEM}},
     NO_FILES,
     "Landlock instead"},
    {"its begin",
     {NO_NAMESPACES, {SYS_landlock_restrict_self, ANY, E2BIG}},
     NO_FILES,
     "Landlock instead"},
    {"a filter",
     {{SYS_seccomp, ANY, ENOSYS}, {SYS_prctl, PR_SET_SECCOMP, EINVAL}},
     NO_FILTER,
     "seccomp"},
    {"word of who tries", ONE(SYS_rt_sigaction, EINVAL), NO_FILTER, "seccomp"},
    {"keeping capabilities",
     {{SYS_prctl, PR_SET_KEEPCAPS, EPERM}},
     MUST_END,
     "user 60950, group 60950"},
    {"leaving groups", ONE(SYS_setgroups, EPERM), MUST_END, "group 60950"},
    {"another group", ONE(SYS_setresgid, EPERM), MUST_END, "group 60950"},
    {"another user", ONE(SYS_setresuid, EAGAIN), MUST_END, "user 60950"},
    {"fewer capabilities", ONE(SYS_capset, EPERM), MUST_END, "capabilities"},
    {"its capabilities' number", ONE(SYS_capget, EINVAL), NO_CAPABILITY, ""},
    {"no new privileges",
     {{SYS_prctl, PR_SET_NO_NEW_PRIVS, EINVAL}},
     MUST_END,
     "no_new_privs"},
    {"limits", ONE(SYS_prlimit64, EPERM), MUST_END, "limits"},
};

static char dir[64];
/* What is refused from when the child that tries it first was made; the linker
 * puts this in the way of _Fork(). */
static const struct refused *late;
pid_t __real__Fork(void);
pid_t __wrap__Fork(void);

/* What came of it, in memory that the child shares. */
struct told {
    int error;
    struct sandbox_report report;
};

struct child {
    const struct refused *refused;
    struct told *told;
    bool is_late;
    int odd_fd; /* In place of the first directory, or -1: none. */
};

static void
refuse(const struct refusal *refusal)
{
    struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)refusal->call, 0, 3),
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS,
                 offsetof(struct seccomp_data, args[0])),
        /* Whatever the argument: past the look at it. */
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, refusal->first, 0,
                 refusal->first == ANY ? 0 : 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | (uint32_t)refusal->error),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    const struct sock_fprog program = {sizeof code / sizeof code[0], code};

    if (prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program)) {
        _exit(1);
    }
}

static void
refuse_all(const struct refused *refused)
{
    for (int i = 0; i < N_REFUSALS; i++) {
        if (refused->refusals[i].call) {
            refuse(&refused->refusals[i]);
        }
    }
}

pid_t
__wrap__Fork(void)
{
    pid_t pid = __real__Fork();

    if (pid > 0 && late) {
        refuse_all(late);
    }
    return pid;
}

static int
open_dir(const char *name)
{
    char path[128];

    snprintf(path, sizeof path, "%s/%s", dir, name);
    return open(path, O_RDONLY | O_DIRECTORY);
}

/* Says of SIGSYS nothing, but may be asked for. */
static void
say_nothing(int signal, siginfo_t *info, void *ctx)
{
    (void)signal, (void)info, (void)ctx;
    sandbox_die();
}

static int
enter(void *ctx)
{
    const struct child *child = ctx;
    static struct sandbox_plan plan; /* Of a child's own memory. */

    alarm(ALARM_S);
    plan = (struct sandbox_plan){
        .has_ids = true,
        .uid = ITS_ID,
        .gid = ITS_ID,
        .root = true,
        .mount_at = dir,
        .dirs = {{.fd = open_dir("own"), .writable = true},
                 {.fd = open_dir("sys")},
                 {.fd = -1}},
        .n_dirs = 3,
        .files_dir = 1,
        .n_files = 2,
        .files = {"knob", "not-there"},
        .caps = UINT64_C(1) << CAP_SYS_NICE,
        .n_fds_max = 64,
        .n_tasks_max = 0,
        .data_max = UINT64_C(1) << 30,
        .first_free_fd = FIRST_FD,
        .seccomp = true,
        .calls = SANDBOX_CALLS_PLATFORM,
        .caught = say_nothing,
    };
    if (child->odd_fd >= 0) {
        plan.dirs[0].fd = child->odd_fd;
    }
    late = child->is_late ? child->refused : NULL;
    if (child->refused && !child->is_late) {
        refuse_all(child->refused);
    }
    child->told->error = sandbox_enter(&plan, &child->told->report);
    _exit(0);
}

/* Its own memory, which is to be freed. */
static struct told *
try_entering(const struct refused *refused, bool is_late, int odd_fd)
{
    struct told *told = mmap(NULL, sizeof *told, PROT_READ | PROT_WRITE,
                             MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    struct child child = {refused, told, is_late, odd_fd};

    assert_true(told != MAP_FAILED);
    told->error = 1; /* Nothing was told. */
    int status = run_counted(true, enter, &child);
    if (status) {
        print_error("%s: status %#x\n", refused ? refused->what : "",
                    (unsigned)status);
    }
    assert_int_equal(status, 0);
    return told;
}

/* Whether what is said to be in force, and what not, is so. */
static bool
is_as_expected(const struct told *told, const struct refused *refused)
{
    const struct sandbox_report *report = &told->report;
    bool no_root = refused->outcome == NO_ROOT || refused->outcome == NO_FILES;

    if (!strstr(report->missing, refused->said)) {
        return false;
    }
    if (refused->outcome == MUST_END) {
        return told->error < 0 && !report->has_ids && !report->has_seccomp;
    }
    return told->error == 0 && report->has_ids &&
           report->has_root == !no_root &&
           !strstr(report->in_force, "an empty root") == no_root &&
           !strstr(report->in_force, "Landlock") ==
               (refused->outcome != NO_ROOT) &&
           report->has_seccomp == (refused->outcome != NO_FILTER) &&
           !strstr(report->in_force, "system calls") ==
               (refused->outcome == NO_FILTER) &&
           !strstr(report->in_force, "no capabilities") ==
               (refused->outcome != NO_CAPABILITY);
}

static bool
can_not_be_tried(void)
{
    return SANDBOX_SANITIZED || geteuid() || sandbox_seccomp_left_out();
}

static void
what_is_refused_is_said(void **state)
{
    int n_wrong = 0;

    (void)state;
    if (can_not_be_tried()) {
        skip();
    }
    for (size_t i = 0; i < sizeof all_refused / sizeof all_refused[0]; i++) {
        struct told *told = try_entering(&all_refused[i], false, -1);

        if (!is_as_expected(told, &all_refused[i])) {
            print_error("refused %s: %d, has \"%s\", lacks \"%s\"\n",
                        all_refused[i].what, told->error, told->report.in_force,
                        told->report.missing);
            n_wrong++;
        }
        munmap(told, sizeof *told);
    }
    assert_int_equal(n_wrong, 0);
}

static bool
is_step_of_root(const struct refused *refused)
{
    static const char *const steps[] = {"making namespaces",
                                        "finding its directories", "mounting",
                                        "opening its directories"};

    for (size_t i = 0; i < sizeof steps / sizeof steps[0]; i++) {
        if (!strcmp(refused->said, steps[i])) {
            return true;
        }
    }
    return false;
}

/* What went for the child that tried it first does not go for the process: it
 * has half a root, from which there is no way back. */
static void
what_is_refused_late_ends_it(void **state)
{
    int n_wrong = 0, n = 0;

    (void)state;
    if (can_not_be_tried()) {
        skip();
    }
    for (size_t i = 0; i < sizeof all_refused / sizeof all_refused[0]; i++) {
        if (!is_step_of_root(&all_refused[i])) {
            continue;
        }
        struct told *told = try_entering(&all_refused[i], true, -1);

        n++;
        if (told->error != -ECANCELED || told->report.has_root ||
            told->report.has_ids || told->report.in_force[0] ||
            !strstr(told->report.missing, all_refused[i].said)) {
            print_error("refused %s late: %d, has \"%s\", lacks \"%s\"\n",
                        all_refused[i].what, told->error, told->report.in_force,
                        told->report.missing);
            n_wrong++;
        }
        munmap(told, sizeof *told);
    }
    assert_true(n > 0);
    assert_int_equal(n_wrong, 0);
}

static void
nothing_refused_is_all_in_force(void **state)
{
    (void)state;
    if (can_not_be_tried()) {
        skip();
    }
    struct told *told = try_entering(NULL, false, -1);
    assert_int_equal(told->error, 0);
    assert_string_equal(told->report.missing, "");
    assert_true(told->report.has_ids && told->report.has_root &&
                told->report.has_seccomp);
    assert_non_null(strstr(told->report.in_force, "1 capabilities"));
    munmap(told, sizeof *told);
}

/* It has no name to be mounted under. */
static void
what_is_no_directory_is_not_mounted(void **state)
{
    int ends[2];

    (void)state;
    if (can_not_be_tried()) {
        skip();
    }
    assert_int_equal(pipe(ends), 0);
    struct told *told = try_entering(NULL, false, ends[0]);
    assert_false(told->report.has_root);
    assert_non_null(strstr(told->report.missing, "finding its directories"));
    munmap(told, sizeof *told);
    close(ends[0]);
    close(ends[1]);
}

/* Another stands where the directory stood that was handed over. */
static void
a_directory_that_went_is_not_mounted(void **state)
{
    char path[128];

    (void)state;
    if (can_not_be_tried()) {
        skip();
    }
    snprintf(path, sizeof path, "%s/gone", dir);
    assert_int_equal(mkdir(path, 0755), 0);
    int fd = open_dir("gone");
    assert_true(fd >= 0);
    assert_int_equal(rmdir(path), 0);
    struct told *told = try_entering(NULL, false, fd);
    assert_false(told->report.has_root);
    assert_non_null(strstr(told->report.missing, "finding its directories"));
    munmap(told, sizeof *told);
    close(fd);
}

static int
setup(void **state)
{
    char path[128];

    (void)state;
    strcpy(dir, "/tmp/mbroker-refused-XXXXXX");
    assert_non_null(mkdtemp(dir));
    snprintf(path, sizeof path, "%s/own", dir);
    assert_int_equal(mkdir(path, 0755), 0);
    snprintf(path, sizeof path, "%s/sys", dir);
    assert_int_equal(mkdir(path, 0755), 0);
    snprintf(path, sizeof path, "%s/sys/knob", dir);
    int fd = open(path, O_WRONLY | O_CREAT, 0644);
    assert_true(fd >= 0);
    close(fd);
    return 0;
}

static int
teardown(void **state)
{
    static const char *const names[] = {"sys/knob", "sys", "own", ""};
    char path[128];

    (void)state;
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        snprintf(path, sizeof path, "%s/%s", dir, names[i]);
        assert_int_equal(remove(path), 0);
    }
    return 0;
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nothing_refused_is_all_in_force),
        cmocka_unit_test(what_is_refused_is_said),
        cmocka_unit_test(what_is_refused_late_ends_it),
        cmocka_unit_test(what_is_no_directory_is_not_mounted),
        cmocka_unit_test(a_directory_that_went_is_not_mounted),
    };

    return cmocka_run_group_tests(tests, setup, teardown);
}
