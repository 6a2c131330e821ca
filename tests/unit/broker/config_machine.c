/* SPDX-License-Identifier: Apache-2.0 */
/* What a configuration takes of the machine it is for, on machines that lack
 * something: an id, a name, CPUs, memory.  With made-up plug-ins
 * (config_scene.h) and calls that fail where a test says so. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/confscan.h"
#include "base/text.h"
#include "tests/scarce.h"
#include "tests/unit/broker/config_scene.h"

static void
a_build_without_policy_none_says_so(void **state)
{
    struct broker_config config;
    char why[CONFIG_WHY_SIZE] = "";

    config_scene_lacks_none = true;
    int error = config_default(&config, why, sizeof why);
    assert_int_equal(error, -EINVAL);
    assert_string_equal(why, "this build has no policy \"none\"");
    error = config_parse(&config, "seed = 1;", "m.conf", why, sizeof why);
    config_scene_lacks_none = false;
    assert_int_equal(error, -EINVAL);
}

/* The id itself is for the machine alone. */
static void
the_machine_s_id_is_not_told(void **state)
{
    char name[VM_NAME_SIZE] = "", raw[64] = "";
    FILE *file = fopen("/etc/machine-id", "re");

    if (file && !fgets(raw, sizeof raw, file)) {
        raw[0] = '\0';
    }
    if (file) {
        fclose(file);
    }
    raw[strcspn(raw, "\n")] = '\0';
    config_machine_id(name);
    assert_true(text_is_name(name));
    assert_string_not_equal(name, raw);
}

static void
a_machine_without_an_id_has_its_name(void **state)
{
    char name[VM_NAME_SIZE];
    struct utsname machine;

    assert_int_equal(uname(&machine), 0);
    /* Without /etc, and without the file in it. */
    for (unsigned n = 1; n <= 2; n++) {
        scarce_arm("open", n, ENOENT);
        config_machine_id(name);
        assert_true(scarce_disarm());
        assert_string_equal(
            name, text_is_name(machine.nodename) ? machine.nodename : "host");
    }
}

static void
a_machine_without_anything_is_a_host(void **state)
{
    char name[VM_NAME_SIZE];

    scarce_arm("open", 1, ENOENT);
    scarce_arm("uname", 1, EFAULT);
    config_machine_id(name);
    assert_true(scarce_disarm());
    assert_string_equal(name, "host");
    scarce_arm("open", 1, ENOENT);
    scarce_arm("odd name", 1, 0);
    config_machine_id(name);
    assert_true(scarce_disarm());
    assert_string_equal(name, "host");
}

static char *
file_with(const char *text)
{
    static char path[64];

    snprintf(path, sizeof path, "/tmp/mbroker-config-XXXXXX");
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, strlen(text)), strlen(text));
    close(fd);
    return path;
}

/* Whichever allocation fails, it is told and nothing is left. */
static void
a_file_is_loaded_whole_or_not_at_all(void **state)
{
    const char *path = file_with("seed = 7;\nhost_id = \"h\";\n");
    unsigned n_failed = 0;

    for (unsigned n = 1; n < 20; n++) {
        char why[CONFIG_WHY_SIZE] = "", *text = NULL;

        scarce_arm("memory", n, ENOMEM);
        int error = config_load_text(&text, path, why, sizeof why);
        if (!scarce_disarm()) {
            assert_int_equal(error, 0);
            free(text);
            break;
        }
        n_failed++;
        /* Without memory to look for it, it is not found to lack its id. */
        if (error) {
            assert_int_equal(error, -ENOMEM);
            assert_non_null(strstr(why, "no memory"));
            assert_null(text);
        } else {
            assert_string_equal(text, "seed = 7;\nhost_id = \"h\";\n");
            free(text);
        }
    }
    unlink(path);
    assert_true(n_failed >= 2);
    char why[CONFIG_WHY_SIZE] = "", *text = NULL;
    scarce_arm("memory", 1, ENOMEM);
    assert_int_equal(config_load_text(&text, NULL, why, sizeof why), -ENOMEM);
    assert_true(scarce_disarm());
    assert_string_equal(why, "defaults: no memory");
}

static void
a_file_that_can_not_be_read_is_refused_by_name(void **state)
{
    static const char *const calls[] = {"open", "fstat", "read"};
    const char *path = file_with("seed = 7;\n");

    for (size_t i = 0; i < sizeof calls / sizeof *calls; i++) {
        char why[CONFIG_WHY_SIZE] = "", *text = NULL;

        scarce_arm(calls[i], 1, EIO);
        int error = config_load_text(&text, path, why, sizeof why);
        assert_true(scarce_disarm());
        assert_true(error < 0);
        assert_non_null(strstr(why, path));
        assert_null(text);
    }
    unlink(path);
}

static void
a_text_without_memory_is_refused_and_leaves_nothing(void **state)
{
    static const char text[] =
        "cpus = [0]; guests = ( { name = \"a\"; vcpus = [0]; } );";
    unsigned n;

    for (n = 1; n < 20; n++) {
        struct broker_config config;
        char why[CONFIG_WHY_SIZE] = "";

        scarce_arm("memory", n, ENOMEM);
        int error = config_parse(&config, text, "m.conf", why, sizeof why);
        if (!scarce_disarm()) {
            assert_int_equal(error, 0);
            config_fini(&config);
            break;
        }
        assert_int_equal(error, -ENOMEM);
        assert_non_null(strstr(why, "no memory"));
    }
    assert_true(n > 2);
}

/* CPUs. */

static int
check_machine(const char *text, const char *online, char why[CONFIG_WHY_SIZE])
{
    char dir[] = "/tmp/mbroker-sys-XXXXXX";

    assert_non_null(mkdtemp(dir));
    int at = open(dir, O_RDONLY | O_DIRECTORY);
    assert_int_equal(mkdirat(at, "devices", 0700), 0);
    assert_int_equal(mkdirat(at, "devices/system", 0700), 0);
    assert_int_equal(mkdirat(at, "devices/system/cpu", 0700), 0);
    if (online) {
        int fd =
            openat(at, "devices/system/cpu/online", O_CREAT | O_WRONLY, 0600);
        assert_int_equal(write(fd, online, strlen(online)), strlen(online));
        close(fd);
    }
    why[0] = '\0';
    int error = config_check_machine(text, "m.conf", at, why, CONFIG_WHY_SIZE);
    unlinkat(at, "devices/system/cpu/online", 0);
    unlinkat(at, "devices/system/cpu", AT_REMOVEDIR);
    unlinkat(at, "devices/system", AT_REMOVEDIR);
    unlinkat(at, "devices", AT_REMOVEDIR);
    close(at);
    rmdir(dir);
    return error;
}

static void
only_what_is_all_made_up_may_have_made_up_cpus(void **state)
{
    static const struct {
        const char *text;
        bool real;
    } rows[] = {
        {"cpus = [9];", false},
        {"cpus = [9]; pstate = { driver = \"sim\"; };", false},
        {"cpus = [9]; hypervisor = { driver = \"sim\"; };", false},
        {"cpus = [9]; hypervisor = { driver = \"sim\"; }; pstate = { driver = "
         "\"sim\"; };",
         false},
        {"cpus = [9]; hypervisor = { driver = \"process\"; };", true},
        {"cpus = [9]; pstate = { driver = \"softpstate\"; };", true},
        {"cpus = [9]; hypervisor = { driver = \"process\"; }; pstate = { "
         "driver = \"sim\"; };",
         true},
        {"cpus = [9]; hypervisor = { driver = \"sim\"; }; pstate = { driver = "
         "\"softpstate\"; };",
         true},
    };
    char why[CONFIG_WHY_SIZE];

    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        assert_int_equal(check_machine(rows[i].text, "0-1\n", why),
                         rows[i].real ? -EINVAL : 0);
        assert_int_equal(check_machine(rows[i].text, "0-9\n", why), 0);
    }
}

/* Nobody can say which CPUs there are: that is not the configuration's fault.
 */
static void
a_machine_that_does_not_tell_its_cpus_is_believed(void **state)
{
    static const char text[] =
        "cpus = [9]; hypervisor = { driver = \"process\"; };";
    char why[CONFIG_WHY_SIZE];

    assert_int_equal(check_machine(text, NULL, why), 0);
    assert_int_equal(check_machine(text, "all of them\n", why), 0);
    assert_int_equal(check_machine(text, "\n", why), -EINVAL);
}

/* The line is looked up anew, and may not be found. */
static void
a_refusal_without_memory_for_its_line_has_none(void **state)
{
    static const char text[] =
        "\ncpus = [9]; hypervisor = { driver = \"process\"; };";
    char why[CONFIG_WHY_SIZE];
    bool without_line = false;

    for (unsigned n = 1; n < 20 && !without_line; n++) {
        scarce_arm("memory", n, ENOMEM);
        int error = check_machine(text, "0\n", why);
        scarce_disarm();
        assert_true(error < 0);
        without_line = error == -EINVAL && !strncmp(why, "m.conf:0: ", 10);
    }
    assert_true(without_line);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_build_without_policy_none_says_so),
        cmocka_unit_test(the_machine_s_id_is_not_told),
        cmocka_unit_test(a_machine_without_an_id_has_its_name),
        cmocka_unit_test(a_machine_without_anything_is_a_host),
        cmocka_unit_test(a_file_is_loaded_whole_or_not_at_all),
        cmocka_unit_test(a_file_that_can_not_be_read_is_refused_by_name),
        cmocka_unit_test(a_text_without_memory_is_refused_and_leaves_nothing),
        cmocka_unit_test(only_what_is_all_made_up_may_have_made_up_cpus),
        cmocka_unit_test(a_machine_that_does_not_tell_its_cpus_is_believed),
        cmocka_unit_test(a_refusal_without_memory_for_its_line_has_none),
    };

    return cmocka_run_group_tests_name("config_machine", tests, NULL, NULL);
}
