/* SPDX-License-Identifier: Apache-2.0 */
/* A good configuration: what it means, its defaults, its files and what a
 * machine adds to it; and that no mutilated one does harm. With made-up
 * plug-ins (config_scene.h). */
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
#include <unistd.h>

#include <cmocka.h>

#include "base/confscan.h"
#include "hardware/hardware.h"
#include "policy/policy.h"
#include "tests/unit/broker/config_scene.h"

static const char whole[] =
    "domain = \"example.org\";\n"
    "host_id = \"h1\";\n"
    "run_dir = \"/tmp/run\";\n"
    "cpus = \"0-1\";\n"
    "policy = { name = \"basic\"; period_ms = 500; util_percent = 75.5;\n"
    "           order = \"lower\"; quick = true; };\n"
    "hypervisor = { driver = \"process\"; };\n"
    "pstate = { driver = \"softpstate\"; frequencies_mhz = [2400, 1800]; };\n"
    "power = { driver = \"powermodel\"; machine = \"x\"; };\n"
    "guests = ( { name = \"a\"; vcpus = [1]; command = \"exec true\"; },\n"
    "           { name = \"b\"; vcpus = [0, 0];\n"
    "             uuid = \"12345678-9abc-4def-8123-456789abcdef\";\n"
    "             channel = \"unix:/tmp/b\"; pid_file = \"/tmp/p\"; } );\n"
    "epoch_ms = 400; sample_ms = 200; beat_ms = 900; dwell_ms = 50;\n"
    "limits = { pstate_min = 1; pstate_max = 3; writes_per_second = 9; };\n"
    "control = { group = \"adm\"; operators = \"wheel\"; };\n"
    "journal = { size_mb = 2; age_days = 3; };\n"
    "quota = { messages_per_second = 50; bytes_per_second = 5000;\n"
    "          rows_per_second = 3; memory_kb = 9; };\n"
    "end_guests = true;\n"
    "seed = 5000000000L;\n";

static void
defaults_observe_and_change_nothing(void **state)
{
    struct broker_config config;
    char why[CONFIG_WHY_SIZE];

    assert_int_equal(config_default(&config, why, sizeof why), 0);
    assert_ptr_equal(config.policy, policy_find("none"));
    assert_null(config.pstate);
    assert_null(config.power);
    assert_null(config.hypervisor);
    assert_int_equal(config.n_cpus, 0);
    assert_int_equal(config.n_guests, 0);
    assert_true(config.epoch_ns == 500 * NSEC_PER_MSEC);
    assert_true(config.journal_size_max == 128 << 20);
    assert_true(config.journal_inputs_max == 56 << 20);
    assert_string_equal(config.domain, "local");
    assert_string_not_equal(config.host_id, "");
    config_fini(&config);
}

static void
empty_text_is_the_defaults(void **state)
{
    struct broker_config config;

    accepted(&config, "");
    assert_ptr_equal(config.policy, policy_find("none"));
    assert_false(config.end_guests);
    config_fini(&config);
    just_accepted("# nothing\n/* at\n all */ // here");
}

static void
whole_configuration_is_read(void **state)
{
    struct broker_config config;

    accepted(&config, whole);
    assert_string_equal(config.domain, "example.org");
    assert_string_equal(config.host_id, "h1");
    assert_int_equal(config.n_cpus, 2);
    assert_int_equal(config.cpus[1], 1);
    assert_ptr_equal(config.policy, policy_find("basic"));
    assert_int_equal(option_int(&config.policy_options, "period_ms"), 500);
    assert_true(option_real(&config.policy_options, "util_percent") == 75.5);
    assert_string_equal(option_text(&config.policy_options, "order"), "lower");
    assert_true(option_bool(&config.policy_options, "quick"));
    assert_ptr_equal(config.hypervisor, hypervisor_find("process"));
    assert_ptr_equal(config.pstate, hardware_find("softpstate"));
    assert_int_equal(
        option_get(&config.pstate_options, "frequencies_mhz")->ints[1], 1800);
    assert_ptr_equal(config.power, hardware_find("powermodel"));
    assert_string_equal(option_text(&config.power_options, "machine"), "x");
    assert_true(config.epoch_ns == 400 * NSEC_PER_MSEC);
    assert_true(config.sample_ns == 200 * NSEC_PER_MSEC);
    assert_true(config.beat_ns == 900 * NSEC_PER_MSEC);
    assert_true(config.dwell_ns == 50 * NSEC_PER_MSEC);
    assert_int_equal(config.pstate_min, 1);
    assert_int_equal(config.pstate_max, 3);
    assert_int_equal(config.writes_per_second_max, 9);
    assert_string_equal(config.control_group, "adm");
    assert_string_equal(config.operator_group, "wheel");
    assert_true(config.journal_size_max == 2 << 20);
    assert_true(config.journal_age_max_s == 3 * 86400);
    assert_int_equal(config.quota.messages_per_second, 50);
    assert_int_equal(config.quota.bytes_per_second, 5000);
    assert_int_equal(config.quota.rows_per_second, 3);
    assert_true(config.quota.memory == 9 * 1024);
    assert_true(config.end_guests);
    assert_true(config.seed == UINT64_C(5000000000));
    config_fini(&config);
}

static void
a_guest_s_quota_is_its_own_then_the_broker_s_then_the_default(void **state)
{
    struct broker_config config;
    struct quota_config quota;

    accepted(&config,
             "cpus = [0];\n"
             "guests = ( { name = \"a\"; vcpus = [0];\n"
             "             quota = { messages_per_second = 70; }; },\n"
             "           { name = \"b\"; vcpus = [0]; } );\n"
             "quota = { messages_per_second = 50; memory_kb = 9; };\n");
    quota = config_quota(&config, &config.guests[0]);
    assert_int_equal(quota.messages_per_second, 70);
    assert_true(quota.memory == 9 * 1024);
    assert_int_equal(quota.bytes_per_second, 512 * 1024);
    quota = config_quota(&config, &config.guests[1]);
    assert_int_equal(quota.messages_per_second, 50);
    quota = config_quota(&config, NULL);
    assert_int_equal(quota.messages_per_second, 50);
    config_fini(&config);
    quota = config_quota(NULL, NULL);
    assert_int_equal(quota.messages_per_second, 1000);
    assert_int_equal(quota.rows_per_second, 16);
}

static void
a_quota_leaves_room_for_beats(void **state)
{
    just_accepted("beat_ms = 1000; quota = { messages_per_second = 2; };");
    refused("quota = {\n messages_per_second = 1; };", 2,
            "a quota of messages_per_second = 1 leaves nothing beside the "
            "beats of beat_ms = 1000; give 2 at least");
    refused("beat_ms = 50;\nquota = {\n messages_per_second = 39; };", 3,
            "give 40 at least");
    refused("cpus = [0];\nguests = ( { name = \"a\"; vcpus = [0];\n"
            "quota = { messages_per_second = 3; }; } );\nbeat_ms = 500;",
            3, "give 4 at least");
}

static void
guests_get_their_uuid_and_channel(void **state)
{
    struct broker_config config;
    struct uuid made;
    char text[UUID_TEXT_SIZE];

    accepted(&config, whole);
    assert_int_equal(config.n_guests, 2);
    assert_string_equal(config.guests[0].name, "a");
    assert_string_equal(config.guests[0].command, "exec true");
    assert_string_equal(config.guests[0].channel, "shm:/tmp/run/a.chan");
    uuid_from_name(&made, "h1", "a");
    assert_true(uuid_equal(&config.guests[0].uuid, &made));
    assert_int_equal(config.guests[1].n_vcpus, 2);
    assert_string_equal(config.guests[1].channel, "unix:/tmp/b");
    assert_string_equal(config.guests[1].pid_file, "/tmp/p");
    uuid_format(&config.guests[1].uuid, text);
    assert_string_equal(text, "12345678-9abc-4def-8123-456789abcdef");
    config_fini(&config);
}

static void
same_text_parses_the_same_twice(void **state)
{
    struct broker_config one, two;

    accepted(&one, whole);
    accepted(&two, whole);
    assert_memory_equal(one.guests, two.guests, 2 * sizeof *one.guests);
    free(one.guests);
    free(two.guests);
    one.guests = two.guests = NULL;
    assert_memory_equal(&one, &two, sizeof one);
}

static char *
write_file(const void *bytes, size_t size)
{
    static char path[64];

    snprintf(path, sizeof path, "/tmp/mbroker-config-XXXXXX");
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, bytes, size), size);
    close(fd);
    return path;
}

static int
load(const char *path, char **text, char why[CONFIG_WHY_SIZE])
{
    why[0] = '\0';
    return config_load_text(text, path, why, CONFIG_WHY_SIZE);
}

static void
bad_files_are_refused_by_name(void **state)
{
    char why[CONFIG_WHY_SIZE], *text = NULL;

    char *path = write_file("seed\0= 1;", 9);
    assert_int_equal(load(path, &text, why), -EINVAL);
    assert_non_null(strstr(why, "NUL"));
    assert_non_null(strstr(why, path));
    unlink(path);
    assert_int_equal(load(path, &text, why), -ENOENT);
    assert_int_equal(load("/tmp", &text, why), -EINVAL);
    assert_int_equal(load("/dev/zero", &text, why), -EINVAL);
    path = write_file("", 0);
    assert_int_equal(truncate(path, CONFSCAN_TEXT_MAX + 1), 0);
    assert_int_equal(load(path, &text, why), -EFBIG);
    unlink(path);
    assert_null(text);
}

static void
loaded_text_carries_the_host_id(void **state)
{
    char why[CONFIG_WHY_SIZE], *text = NULL, *path;
    struct broker_config config;

    path = write_file("seed = 7; # and no newline", 26);
    assert_int_equal(load(path, &text, why), 0);
    assert_non_null(strstr(text, "\nhost_id = \""));
    accepted(&config, text);
    assert_int_equal(config.seed, 7);
    config_fini(&config);
    free(text);
    unlink(path);

    path = write_file("host_id = \"mine\";", 17);
    assert_int_equal(load(path, &text, why), 0);
    assert_string_equal(text, "host_id = \"mine\";");
    free(text);
    unlink(path);

    path = write_file("seed = {", 8);
    assert_int_equal(load(path, &text, why), 0);
    assert_string_equal(text, "seed = {");
    free(text);
    unlink(path);

    assert_int_equal(load(NULL, &text, why), 0);
    just_accepted(text);
    free(text);
}

static int
check_machine(const char *text, const char *online, char why[CONFIG_WHY_SIZE])
{
    char dir[] = "/tmp/mbroker-sys-XXXXXX", path[128];

    assert_non_null(mkdtemp(dir));
    int dirfd = open(dir, O_RDONLY | O_DIRECTORY);
    assert_int_equal(mkdirat(dirfd, "devices", 0700), 0);
    assert_int_equal(mkdirat(dirfd, "devices/system", 0700), 0);
    assert_int_equal(mkdirat(dirfd, "devices/system/cpu", 0700), 0);
    int fd =
        openat(dirfd, "devices/system/cpu/online", O_CREAT | O_WRONLY, 0600);
    assert_int_equal(write(fd, online, strlen(online)), strlen(online));
    close(fd);
    why[0] = '\0';
    int error =
        config_check_machine(text, "m.conf", dirfd, why, CONFIG_WHY_SIZE);
    unlinkat(dirfd, "devices/system/cpu/online", 0);
    unlinkat(dirfd, "devices/system/cpu", AT_REMOVEDIR);
    unlinkat(dirfd, "devices/system", AT_REMOVEDIR);
    unlinkat(dirfd, "devices", AT_REMOVEDIR);
    close(dirfd);
    snprintf(path, sizeof path, "%s", dir);
    rmdir(path);
    return error;
}

static void
cpus_the_machine_lacks_are_refused(void **state)
{
    const char *real = "\ncpus = [0, 2];\npstate = { driver = "
                       "\"softpstate\"; };";
    const char *made_up = "cpus = [0, 99];\npstate = { driver = \"sim\"; };";
    char why[CONFIG_WHY_SIZE];

    assert_int_equal(check_machine(real, "0-1\n", why), -EINVAL);
    assert_string_equal(why, "m.conf:2: this machine has no CPU 2 online; it "
                             "has 0-1");
    assert_int_equal(check_machine(real, "0-3\n", why), 0);
    assert_int_equal(check_machine(made_up, "0-1\n", why), 0);
    assert_int_equal(check_machine("seed = ;", "0-1\n", why), -EINVAL);
}

/* Cuts and flips of a whole configuration: refused or accepted, never worse. */
static void
mutilated_text_does_no_harm(void **state)
{
    char text[sizeof whole], why[CONFIG_WHY_SIZE];
    uint64_t chance = 88172645463325252u;

    for (unsigned i = 0; i < 4000; i++) {
        struct broker_config config;

        memcpy(text, whole, sizeof whole);
        for (unsigned flips = 1 + i % 4; flips; flips--) {
            chance ^= chance << 13;
            chance ^= chance >> 7;
            chance ^= chance << 17;
            size_t at = chance % (sizeof whole - 1);
            text[at] = i % 8 ? (char)(chance >> 32) : '\0';
        }
        if (!config_parse(&config, text, "m.conf", why, sizeof why)) {
            config_fini(&config);
        } else {
            assert_true(!strncmp(why, "m.conf:", 7));
        }
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(defaults_observe_and_change_nothing),
        cmocka_unit_test(empty_text_is_the_defaults),
        cmocka_unit_test(whole_configuration_is_read),
        cmocka_unit_test(
            a_guest_s_quota_is_its_own_then_the_broker_s_then_the_default),
        cmocka_unit_test(a_quota_leaves_room_for_beats),
        cmocka_unit_test(guests_get_their_uuid_and_channel),
        cmocka_unit_test(same_text_parses_the_same_twice),
        cmocka_unit_test(bad_files_are_refused_by_name),
        cmocka_unit_test(loaded_text_carries_the_host_id),
        cmocka_unit_test(cpus_the_machine_lacks_are_refused),
        cmocka_unit_test(mutilated_text_does_no_harm),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
