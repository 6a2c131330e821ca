/* SPDX-License-Identifier: Apache-2.0 */
/* What the processes of mbrokerd may not do. For each of them a child enters
 * the sandbox of that role, as mbrokerd does, and tries one thing that is
 * forbidden (attempts.c); it must be refused or be killed for it. And one
 * thing that its work needs, which must go. As root, and as a user who isn't;
 * with the filter of system calls, and without, where the other walls must
 * hold by themselves. */
#include "broker/role/confine.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <pthread.h>
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
#include "tests/unit/broker/attempts.h"
#include "tests/unit/broker/counted.h"

#define NOBODY 65534
#define FIRST_UID 60940 /* Not the broker's own: one may run here. */
#define ALARM_S 60
#define CPU_DIR "devices/system/cpu/"
#define MAX_FREQ CPU_DIR "cpu0/cpufreq/scaling_max_freq"

static char dir[64];
static struct broker_config config;

/* How a child ended, besides by a signal. */
enum {
    REFUSED = 10,
    DONE,
    NO_SANDBOX,
};

/* Which walls stand. */
struct walls {
    bool as_root, seccomp;
};

static const struct walls all_walls[] = {
    {true, true}, {true, false}, {false, true}, {false, false}};

/* What their work needs. */

static void *
no_work(void *ctx)
{
    return ctx;
}

static long
make_thread(void)
{
    pthread_t thread;

    return pthread_create(&thread, NULL, no_work, NULL) ||
                   pthread_join(thread, NULL)
               ? -1
               : 0;
}

static long
share_memory(void)
{
    int fd = memfd_create("test", MFD_CLOEXEC | MFD_ALLOW_SEALING);

    return fd < 0 || ftruncate(fd, 4096) ||
                   fcntl(fd, F_ADD_SEALS, F_SEAL_GROW) ||
                   mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd,
                        0) == MAP_FAILED
               ? -1
               : 0;
}

static long
write_journal(void)
{
    int fd = openat(FD_ENGINE_JOURNAL, "file", O_RDWR | O_CREAT, 0600);

    return fd < 0 || pwrite(fd, "x", 1, 0) != 1 || fdatasync(fd) ||
                   unlinkat(FD_ENGINE_JOURNAL, "file", 0)
               ? -1
               : make_thread();
}

static long
save_and_look(void)
{
    int saved = openat(FD_PLATFORM_SAVED, "new", O_WRONLY | O_CREAT, 0600);
    int stat_fd = openat(FD_PLATFORM_PROC, "self/stat", O_RDONLY);
    int knob = openat(FD_PLATFORM_SYS, MAX_FREQ, O_WRONLY);
    char byte;

    return saved < 0 || write(saved, "x", 1) != 1 || fsync(saved) ||
                   unlinkat(FD_PLATFORM_SAVED, "new", 0) || stat_fd < 0 ||
                   read(stat_fd, &byte, 1) != 1 || knob < 0 ||
                   write(knob, "1", 1) != 1
               ? -1
               : make_thread();
}

/* Children. */

static void
put_dir(const char *name, int number)
{
    char path[128];

    snprintf(path, sizeof path, "%s%s", name[0] == '/' ? "" : dir, name);
    if (name[0] != '/') {
        snprintf(path, sizeof path, "%s/%s", dir, name);
    }
    int fd = open(path, O_RDONLY | O_DIRECTORY);
    if (fd < 0 || dup2(fd, number) < 0) {
        _exit(NO_SANDBOX);
    }
}

/* The directories that the parent would have handed on. */
static void
put_dirs(enum role role)
{
    for (int fd = FD_CONFIG; fd < 32; fd++) {
        close(fd);
    }
    int null = open("/dev/null", O_RDWR);
    for (int fd = FD_CONFIG; fd < FD_PLATFORM_LOCKS; fd++) {
        dup2(null, fd);
    }
    if (role == ROLE_ENGINE) {
        put_dir("journal", FD_ENGINE_JOURNAL);
    } else if (role >= ROLE_PLATFORM) {
        put_dir("saved", FD_PLATFORM_SAVED);
        put_dir("sys", FD_PLATFORM_SYS);
        put_dir("/proc", FD_PLATFORM_PROC);
        put_dir("data", FD_PLATFORM_DATA);
        put_dir("cap", FD_PLATFORM_CAP);
    }
}

static void
enter(enum role role, const struct walls *walls)
{
    unsigned n = role < ROLE_PLATFORM ? role : ROLE_PLATFORM;
    const struct role_user user = {
        .any = walls->as_root, .uid = FIRST_UID + n, .gid = FIRST_UID + n};
    struct sandbox_report report;
    struct sandbox_plan plan;

    put_dirs(role);
    if (!walls->as_root &&
        (setgroups(0, NULL) || setgid(NOBODY) || setuid(NOBODY))) {
        _exit(NO_SANDBOX);
    }
    prctl(PR_SET_DUMPABLE, 1); /* As after an exec. */
    /* The tests' parent is one's own user's: it must be in sight to fail. */
    confine_plan(&plan, role, &config, &user);
    plan.seccomp = walls->seccomp;
    if (sandbox_enter(&plan, &report) ||
        (walls->as_root && !(report.has_root && report.has_ids)) ||
        (walls->seccomp && !report.has_seccomp)) {
        fprintf(stderr, "%s: %s\n", role_name(role), report.missing);
        _exit(NO_SANDBOX);
    }
}

/* Another process of the user whom a role runs as, which anybody of that user
 * could trace and signal. */
static pid_t
start_sibling(enum role role, const struct walls *walls)
{
    unsigned n = role < ROLE_PLATFORM ? role : ROLE_PLATFORM;
    uid_t uid = walls->as_root ? FIRST_UID + n : NOBODY;

    pid_t child = fork();
    if (!child) {
        alarm(ALARM_S);
        if (setgroups(0, NULL) || setgid(uid) || setuid(uid) ||
            prctl(PR_SET_DUMPABLE, 1)) {
            _exit(NO_SANDBOX);
        }
        for (;;) {
            pause();
        }
    }
    assert_true(child > 0);
    return child;
}

static void
end_sibling(void)
{
    kill(sibling, SIGKILL);
    assert_int_equal(waitpid(sibling, NULL, 0), sibling);
}

struct entry {
    enum role role;
    const struct walls *walls;
    long (*try)(void);
};

static int
enter_and_try(void *ctx)
{
    const struct entry *entry = ctx;

    alarm(ALARM_S);
    enter(entry->role, entry->walls);
    _exit(entry->try() >= 0 ? DONE : REFUSED);
}

/* Who shares memory can't have a user namespace: nobody's processes that get
 * one are not counted.  Returns the child's wait status. */
static int
in_sandbox(enum role role, const struct walls *walls, long (*try)(void))
{
    struct entry entry = {.role = role, .walls = walls, .try = try};

    return run_counted(walls->as_root || role == ROLE_ENGINE, enter_and_try,
                       &entry);
}

static bool
holds(enum role role, const struct walls *walls, const struct attempt *attempt)
{
    /* Its capability to signal guests is told in confine.c. */
    bool may_signal = role >= ROLE_PLATFORM && attempt->try == signal_parent;

    if (walls->seccomp) {
        return true;
    }
    return !attempt->needs_filter && !may_signal &&
           (walls->as_root || !attempt->needs_filter_if_user);
}

static void
give(const char *name, uid_t uid)
{
    char path[128];

    snprintf(path, sizeof path, "%s/%s", dir, name);
    assert_int_equal(chown(path, uid, uid), 0);
}

static void
try_all(enum role role)
{
    int n_went = 0;

    if (SANDBOX_SANITIZED || geteuid()) {
        skip();
    }
    for (size_t w = 0; w < sizeof all_walls / sizeof all_walls[0]; w++) {
        const struct walls *walls = &all_walls[w];

        if (walls->seccomp && sandbox_seccomp_left_out()) {
            continue;
        }
        give("journal", walls->as_root ? FIRST_UID + ROLE_ENGINE : NOBODY);
        give("saved", walls->as_root ? FIRST_UID + ROLE_PLATFORM : NOBODY);
        sibling = start_sibling(role, walls);
        for (size_t i = 0; i < n_attempts; i++) {
            if (!holds(role, walls, &attempts[i])) {
                continue;
            }
            int status = in_sandbox(role, walls, attempts[i].try);
            bool refused =
                (WIFEXITED(status) && WEXITSTATUS(status) == REFUSED) ||
                (WIFSIGNALED(status) && WTERMSIG(status) == SIGSYS &&
                 walls->seccomp);
            if (!refused) {
                print_error("%s as %s, %s filter: \"%s\" ended with status "
                            "%#x\n",
                            role_name(role), walls->as_root ? "root" : "nobody",
                            walls->seccomp ? "with" : "without",
                            attempts[i].name, (unsigned)status);
                n_went++;
            }
        }
        end_sibling();
    }
    assert_int_equal(n_went, 0);
}

static void
works(enum role role, long (*work)(void))
{
    if (SANDBOX_SANITIZED || geteuid()) {
        skip();
    }
    for (size_t w = 0; w < sizeof all_walls / sizeof all_walls[0]; w++) {
        const struct walls *walls = &all_walls[w];

        if (walls->seccomp && sandbox_seccomp_left_out()) {
            continue;
        }
        give("journal", walls->as_root ? FIRST_UID + ROLE_ENGINE : NOBODY);
        give("saved", walls->as_root ? FIRST_UID + ROLE_PLATFORM : NOBODY);
        /* Root's to write, as cpufreq's are; else one's own. */
        give("sys/" MAX_FREQ, walls->as_root ? 0 : NOBODY);
        int status = in_sandbox(role, walls, work);
        if (!WIFEXITED(status) || WEXITSTATUS(status) != DONE) {
            fail_msg("%s as %s, %s filter: its work ended with status %#x",
                     role_name(role), walls->as_root ? "root" : "nobody",
                     walls->seccomp ? "with" : "without", (unsigned)status);
        }
    }
}

/* Tests. */

static void
back_may_none_of_it(void **state)
{
    (void)state;
    try_all(ROLE_BACK);
}

static void
engine_may_none_of_it(void **state)
{
    (void)state;
    try_all(ROLE_ENGINE);
}

static void
platform_may_none_of_it(void **state)
{
    (void)state;
    try_all(ROLE_PLATFORM);
}

static void
who_restores_may_none_of_it(void **state)
{
    (void)state;
    try_all(ROLE_RESTORE);
}

static void
back_may_share_memory(void **state)
{
    (void)state;
    works(ROLE_BACK, share_memory);
}

static void
engine_may_write_its_journal(void **state)
{
    (void)state;
    works(ROLE_ENGINE, write_journal);
}

static void
platform_may_save_and_look_and_set(void **state)
{
    (void)state;
    works(ROLE_PLATFORM, save_and_look);
}

static void
who_restores_may_as_platform(void **state)
{
    (void)state;
    works(ROLE_RESTORE, save_and_look);
}

/* What only an intruder would do is heard of. */
static void
an_intruders_call_kills(void **state)
{
    const struct walls walls = {.as_root = true, .seccomp = true};

    (void)state;
    if (SANDBOX_SANITIZED || geteuid() || sandbox_seccomp_left_out()) {
        skip();
    }
    give("journal", FIRST_UID + ROLE_ENGINE);
    give("saved", FIRST_UID + ROLE_PLATFORM);
    for (enum role role = ROLE_BACK; role <= ROLE_PLATFORM; role++) {
        int status = in_sandbox(role, &walls, run_program);

        assert_true(WIFSIGNALED(status));
        assert_int_equal(WTERMSIG(status), SIGSYS);
    }
}

/* A system call that our C library learns next year. */
static long
call_the_future(void)
{
    return syscall(9999) < 0 && errno == ENOSYS ? 0 : -1;
}

static void
an_unknown_call_is_not_there(void **state)
{
    const struct walls walls = {.as_root = true, .seccomp = true};

    (void)state;
    if (SANDBOX_SANITIZED || geteuid() || sandbox_seccomp_left_out()) {
        skip();
    }
    int status = in_sandbox(ROLE_BACK, &walls, call_the_future);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), DONE);
}

/* An assertion that fails must still end the process as one. */
static long
abort_here(void)
{
    abort();
}

static void
an_abort_is_an_abort(void **state)
{
    const struct walls walls = {.as_root = true, .seccomp = true};

    (void)state;
    if (SANDBOX_SANITIZED || geteuid()) {
        skip();
    }
    int status = in_sandbox(ROLE_BACK, &walls, abort_here);
    assert_true(WIFSIGNALED(status));
    assert_int_equal(WTERMSIG(status), SIGABRT);
}

static void
put_file(const char *name)
{
    char path[160];

    snprintf(path, sizeof path, "%s/%s", dir, name);
    int fd = open(path, O_WRONLY | O_CREAT, 0644);
    assert_true(fd >= 0);
    close(fd);
}

/* CPU 0 has its frequency by a link, as on most hosts, and CPU 1 is not ours;
 * all could be written by whoever runs, but for the walls. */
static void
make_dirs(void)
{
    static const char *const names[] = {"run",
                                        "journal",
                                        "saved",
                                        "data",
                                        "cap",
                                        "sys",
                                        "sys/power",
                                        "sys/devices",
                                        "sys/devices/system",
                                        "sys/" CPU_DIR,
                                        "sys/" CPU_DIR "cpu0",
                                        "sys/" CPU_DIR "cpu1",
                                        "sys/" CPU_DIR "cpu1/cpufreq",
                                        "sys/" CPU_DIR "cpufreq",
                                        "sys/" CPU_DIR "cpufreq/policy0"};
    static const char *const files[] = {
        "sys/power/state",
        "sys/" CPU_DIR "cpu0/online",
        "sys/" CPU_DIR "cpufreq/boost",
        "sys/" CPU_DIR "cpufreq/policy0/scaling_max_freq",
        "sys/" CPU_DIR "cpufreq/policy0/scaling_governor",
        "sys/" CPU_DIR "cpufreq/policy0/energy_performance_preference",
        "sys/" CPU_DIR "cpu1/cpufreq/scaling_max_freq"};
    char path[160];

    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        snprintf(path, sizeof path, "%s/%s", dir, names[i]);
        assert_int_equal(mkdir(path, 0755), 0);
    }
    for (size_t i = 0; i < sizeof files / sizeof files[0]; i++) {
        put_file(files[i]);
    }
    snprintf(path, sizeof path, "%s/sys/" CPU_DIR "cpu0/cpufreq", dir);
    assert_int_equal(symlink("../cpufreq/policy0", path), 0);
    for (size_t i = 0; i < sizeof files / sizeof files[0]; i++) {
        snprintf(path, sizeof path, "%s/%s", dir, files[i]);
        assert_int_equal(chmod(path, 0666), 0);
    }
}

static int
setup(void **state)
{
    char text[256], why[CONFIG_WHY_SIZE];

    (void)state;
    strcpy(dir, "/tmp/mbroker-sandbox-XXXXXX");
    assert_non_null(mkdtemp(dir));
    assert_int_equal(chmod(dir, 0755), 0);
    make_dirs();
    snprintf(
        text, sizeof text,
        "host_id = \"h\"; cpus = [0]; pstate = { driver = \"cpufreq\"; };\n"
        "hypervisor = { driver = \"process\"; };\n"
        "run_dir = \"%s/run\"; state_dir = \"%s\";\n",
        dir, dir);
    assert_int_equal(config_parse(&config, text, "t", why, sizeof why), 0);
    return 0;
}

static int
teardown(void **state)
{
    char command[128];

    (void)state;
    config_fini(&config);
    snprintf(command, sizeof command, "rm -rf %s", dir);
    return system(command);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(back_may_none_of_it),
        cmocka_unit_test(engine_may_none_of_it),
        cmocka_unit_test(platform_may_none_of_it),
        cmocka_unit_test(who_restores_may_none_of_it),
        cmocka_unit_test(back_may_share_memory),
        cmocka_unit_test(engine_may_write_its_journal),
        cmocka_unit_test(platform_may_save_and_look_and_set),
        cmocka_unit_test(who_restores_may_as_platform),
        cmocka_unit_test(an_intruders_call_kills),
        cmocka_unit_test(an_unknown_call_is_not_there),
        cmocka_unit_test(an_abort_is_an_abort),
    };

    return cmocka_run_group_tests(tests, setup, teardown);
}
