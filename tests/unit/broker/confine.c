/* SPDX-License-Identifier: Apache-2.0 */
/* What each process of mbrokerd keeps, by the configuration: a capability for a
 * driver that is in use and none for one that is not, and of /sys the files
 * that those drivers write, each once. */
#include "broker/role/confine.h"

#include <fcntl.h>
#include <linux/capability.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#define BIT(cap) (UINT64_C(1) << (cap))
#define CPU_DIR "devices/system/cpu/"

static char dir[64];
static struct sandbox_plan plan; /* Large. */

static void
plan_for(const char *drivers, enum role role)
{
    const struct role_user nobody = {.any = false};
    char text[512], why[CONFIG_WHY_SIZE];
    struct broker_config config;

    snprintf(text, sizeof text,
             "host_id = \"h\"; cpus = [0, 1]; %s\n"
             "run_dir = \"%s/run\"; state_dir = \"%s\";\n",
             drivers, dir, dir);
    int error = config_parse(&config, text, "t", why, sizeof why);
    if (error) {
        print_error("%s: %s\n", drivers, why);
    }
    assert_int_equal(error, 0);
    confine_plan(&plan, role, &config, &nobody);
}

static void
a_capability_is_kept_for_a_driver_in_use(void **state)
{
    static const struct {
        const char *drivers;
        enum role role;
        uint64_t caps;
    } all[] = {
        {"pstate = { driver = \"sim\"; };", ROLE_PLATFORM, 0},
        {"pstate = { driver = \"softpstate\"; };", ROLE_PLATFORM,
         BIT(CAP_SYS_NICE)},
        {"pstate = { driver = \"cpufreq\"; };", ROLE_PLATFORM,
         BIT(CAP_DAC_OVERRIDE)},
        {"pstate = { driver = \"sim\"; }; power = { driver = \"rapl\"; };",
         ROLE_PLATFORM, BIT(CAP_DAC_READ_SEARCH)},
        {"pstate = { driver = \"sim\"; }; power = { driver = \"sim\"; };",
         ROLE_PLATFORM, 0},
        {"pstate = { driver = \"sim\"; }; hypervisor = { driver = \"sim\"; };",
         ROLE_PLATFORM, 0},
        {"pstate = { driver = \"sim\"; };"
         "hypervisor = { driver = \"process\"; };",
         ROLE_PLATFORM, BIT(CAP_SYS_NICE) | BIT(CAP_KILL)},
        /* It may have to put back what an earlier broker's drivers set. */
        {"pstate = { driver = \"sim\"; };", ROLE_RESTORE,
         BIT(CAP_SYS_NICE) | BIT(CAP_DAC_OVERRIDE)},
        {"pstate = { driver = \"cpufreq\"; };", ROLE_ENGINE, 0},
        {"pstate = { driver = \"cpufreq\"; };", ROLE_BACK, 0},
    };

    (void)state;
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) {
        plan_for(all[i].drivers, all[i].role);
        if (plan.caps != all[i].caps) {
            fail_msg("%s as %s: %#llx, not %#llx", all[i].drivers,
                     role_name(all[i].role), (unsigned long long)plan.caps,
                     (unsigned long long)all[i].caps);
        }
    }
}

static void
steward_gives_nothing_up(void **state)
{
    (void)state;
    plan_for("pstate = { driver = \"cpufreq\"; };", ROLE_STEWARD);
    assert_int_equal(plan.n_dirs, 0);
    assert_true(plan.n_tasks_max == SANDBOX_NO_LIMIT);
}

static void
no_files_but_those_of_real_drivers(void **state)
{
    (void)state;
    plan_for("pstate = { driver = \"sim\"; };", ROLE_PLATFORM);
    assert_int_equal(plan.n_files, 0);
}

/* CPU 1 changes with CPU 0: its directory is a link to the same. */
static void
a_file_by_two_names_is_opened_once(void **state)
{
    (void)state;
    plan_for("pstate = { driver = \"cpufreq\"; };", ROLE_PLATFORM);
    assert_int_equal(plan.dirs[plan.files_dir].fd, FD_PLATFORM_SYS);
    assert_int_equal(plan.n_files, 1);
    assert_non_null(strstr(plan.files[0], "scaling_max_freq"));
}

static void
without_sys_there_are_no_files(void **state)
{
    (void)state;
    int sys = dup(FD_PLATFORM_SYS);
    assert_true(sys >= 0);
    close(FD_PLATFORM_SYS);
    plan_for("pstate = { driver = \"cpufreq\"; };", ROLE_PLATFORM);
    assert_int_equal(dup2(sys, FD_PLATFORM_SYS), FD_PLATFORM_SYS);
    close(sys);
    assert_int_equal(plan.n_files, 0);
}

static const char *const names[] = {"saved",
                                    "sys",
                                    "sys/devices",
                                    "sys/devices/system",
                                    "sys/" CPU_DIR,
                                    "sys/" CPU_DIR "cpu0",
                                    "sys/" CPU_DIR "cpu1",
                                    "sys/" CPU_DIR "cpu0/cpufreq"};

static void
hand_over(const char *name, int number)
{
    char path[160];

    snprintf(path, sizeof path, "%s/%s", dir, name);
    int fd = open(path, O_RDONLY | O_DIRECTORY);
    assert_true(fd >= 0);
    assert_int_equal(dup2(fd, number), number);
    if (fd != number) {
        close(fd);
    }
}

static int
setup(void **state)
{
    char path[160];

    (void)state;
    strcpy(dir, "/tmp/mbroker-confine-XXXXXX");
    assert_non_null(mkdtemp(dir));
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        snprintf(path, sizeof path, "%s/%s", dir, names[i]);
        assert_int_equal(mkdir(path, 0755), 0);
    }
    snprintf(path, sizeof path,
             "%s/sys/" CPU_DIR "cpu0/cpufreq/scaling_max_freq", dir);
    int fd = open(path, O_WRONLY | O_CREAT, 0644);
    assert_true(fd >= 0);
    close(fd);
    snprintf(path, sizeof path, "%s/sys/" CPU_DIR "cpu1/cpufreq", dir);
    assert_int_equal(symlink("../cpu0/cpufreq", path), 0);
    hand_over("saved", FD_PLATFORM_SAVED);
    hand_over("sys", FD_PLATFORM_SYS);
    return 0;
}

static int
teardown(void **state)
{
    char path[160];

    (void)state;
    snprintf(path, sizeof path, "%s/sys/" CPU_DIR "cpu1/cpufreq", dir);
    assert_int_equal(unlink(path), 0);
    snprintf(path, sizeof path,
             "%s/sys/" CPU_DIR "cpu0/cpufreq/scaling_max_freq", dir);
    assert_int_equal(unlink(path), 0);
    for (size_t i = sizeof names / sizeof names[0]; i-- > 0;) {
        snprintf(path, sizeof path, "%s/%s", dir, names[i]);
        assert_int_equal(rmdir(path), 0);
    }
    return rmdir(dir);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_capability_is_kept_for_a_driver_in_use),
        cmocka_unit_test(steward_gives_nothing_up),
        cmocka_unit_test(no_files_but_those_of_real_drivers),
        cmocka_unit_test(a_file_by_two_names_is_opened_once),
        cmocka_unit_test(without_sys_there_are_no_files),
    };

    return cmocka_run_group_tests(tests, setup, teardown);
}
