/* SPDX-License-Identifier: Apache-2.0 */
/* Settings that are well formed and can't be: names and paths, twins, guests
 * that lack something, CPUs, what contradicts, and what a driver or a policy
 * refuses. Each is refused with its own line. With made-up plug-ins
 * (config_scene.h). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "policy/policy.h"
#include "tests/unit/broker/config_scene.h"

static void
driver_without_the_ability_is_refused(void **state)
{
    refused("cpus = [0];\npstate = { driver = \"powermodel\"; };", 2,
            "there are: softpstate, sim");
    refused("power = { driver = \"softpstate\"; };", 1, "there are: sim");
}

static void
rules_name_the_line_that_is_there(void **state)
{
    refused("state_dir = \"/run/mbroker\";", 1, "are the same");
    refused("\nrun_dir = \"/var/lib/mbroker\";", 2, "are the same");
    refused("limits = {\npstate_min = 3;\npstate_max = 1; };", 2, "is above");
    refused("seed = 0x1ffffffff;", 1, "does not fit in 32 bits");
    refused("seed = 11111111111111111111111111111111111111111111111111;", 1,
            "does not fit in 64 bits");
    refused("seed = 99999999999999999999.5;", 1, "must be a whole number");
    just_accepted("seed = 0X10;");
    refused("state_dir = \"/run/mbroker\"; cpus = [0];\n"
            "guests = ( { name = \"a\"; vcpus = [0]; } );",
            1, "are the same");
    refused("domain = \"a\\", 1, "never ends");
    refused("domain = \"a\\\n", 1, "never ends");
}

static void
bad_names_are_refused(void **state)
{
    refused("domain = \"\";", 1, "is no name");
    refused("domain = \"a/b\";", 1, "is no name");
    refused("host_id = \"..\";", 1, "is no name");
    refused("\nguests = ( { name = \"../x\"; vcpus = [0]; } );", 2,
            "is no name");
    refused("guests = ( { name = \"a b\"; } );", 1, "is no name");
    refused("control = { group = \"-x\"; };", 1, "is no name");
    refused("host_id = \"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
            "aaaaaaaaaaaaaaaaaaaa\";",
            1, "1 to 64");
}

static void
bad_paths_are_refused(void **state)
{
    char text[2048], path[600];

    refused("run_dir = \"run\";", 1, "absolute path");
    refused("run_dir = \"\";", 1, "absolute path");
    refused("seed = 1;\nsys_dir = \"/a\\nb\";", 2, "printable");
    memset(path, 'p', sizeof path - 1);
    path[0] = '/';
    path[sizeof path - 1] = '\0';
    snprintf(text, sizeof text, "\ndata_dir = \"%s\";", path);
    refused(text, 2, "at most 255");
    path[120] = '\0';
    snprintf(text, sizeof text, "\nrun_dir = \"%s\";", path);
    refused(text, 2, "sockets in it");
    refused("state_dir = \"/run/mbroker\";", 1, "are the same");
}

static void
channels_must_be_of_a_known_kind(void **state)
{
    char text[512], path[200];

    refused("guests = ( {\nchannel = \"tcp:1.2.3.4\"; } );", 2,
            "must be unix:PATH or shm:PATH");
    refused("guests = ( { channel = \"unix:relative\"; } );", 1, "absolute");
    refused("guests = ( { channel = \"/a\"; } );", 1, "unix:PATH");
    memset(path, 'p', sizeof path - 1);
    path[sizeof path - 1] = '\0';
    snprintf(text, sizeof text, "guests = ( { channel = \"shm:/%s\"; } );",
             path);
    refused(text, 1, "at most 107");
}

static void
twins_are_refused(void **state)
{
    refused("cpus = [0]; guests = ( { name = \"a\"; vcpus = [0]; },\n"
            "{ name = \"b\"; vcpus = [0]; },\n{ name = \"a\"; vcpus = [0]; });",
            3, "has the name of the guest in line 1");
    refused("cpus = [0]; guests = ( { name = \"a\"; vcpus = [0];\n"
            "uuid = \"12345678-9abc-4def-8123-456789abcdef\"; },\n"
            "{ name = \"b\"; vcpus = [0];\n"
            "uuid = \"12345678-9ABC-4DEF-8123-456789ABCDEF\"; } );",
            4, "uuid of the guest in line 2");
    refused("cpus = [0]; guests = ( { name = \"a\"; vcpus = [0];\n"
            "channel = \"shm:/tmp/x\"; },\n"
            "{ name = \"b\"; vcpus = [0];\nchannel = \"shm:/tmp/x\"; } );",
            4, "channel of the guest");
}

static void
incomplete_guests_are_refused(void **state)
{
    refused("cpus = [0]; guests = (\n{ vcpus = [0]; } );", 2, "without a name");
    refused("cpus = [0]; guests = (\n{ name = \"a\"; } );", 2, "no vCPUs");
    refused("cpus = [0]; guests = ( { name = \"a\";\nvcpus = []; } );", 2,
            "no vCPUs");
    refused("guests = ( { name = \"a\"; vcpus = [0,0,0,0,0,0,0,0,0,0,0,0,0,0,"
            "0,0,0]; } );",
            1, "more than 16");
    refused("guests = ( { name = \"a\";\nuuid = \"12\"; } );", 2, "no UUID");
    refused("guests = ( {\nuuid = \"00000000-0000-0000-0000-000000000000\"; "
            "} );",
            2, "no UUID");
}

static void
vcpus_must_be_on_managed_cpus(void **state)
{
    refused("cpus = [0, 1];\nguests = ( { name = \"a\";\nvcpus = [0, 2]; } );",
            3, "vCPU 1 of guest a is on CPU 2, which is not managed");
    refused("guests = ( { name = \"a\"; vcpus = [0]; } );", 1,
            "say cpus = [...]");
}

static void
cpu_lists_are_checked(void **state)
{
    refused("cpus = [0,\n1,\n0];", 3, "CPU 0 is listed twice");
    refused("cpus = \"0-1,1\";", 1, "CPU 1 is listed twice");
    refused("cpus = \"0-\";", 1, "no CPU list");
    refused("cpus = \"all\";", 1, "no CPU list");
    refused("cpus = \"0-5000\";", 1, "at most 256");
    just_accepted("cpus = [];");
    just_accepted("cpus = \"0-255\";");
}

static void
contradictions_are_refused(void **state)
{
    refused("cpus = [0];\npolicy = { name = \"basic\"; };", 2,
            "no driver does");
    refused("\npstate = { driver = \"softpstate\"; };", 2, "no CPUs to set");
    refused("limits = { pstate_max = 2;\npstate_min = 3; };", 2,
            "above pstate_max = 2");
    refused("epoch_ms = 100;\nsample_ms = 200;", 2, "without a sample");
    refused("\nepoch_ms = 100;", 2, "sample_ms = 250 is longer");
    refused("\ndwell_ms = 100;", 2, "no driver sets any");
    refused("seed = 1;\nend_guests = true;", 2, "no hypervisor");
    refused("cpus = [0]; guests = ( { name = \"a\"; vcpus = [0];\n"
            "command = \"x\"; } );",
            2, "nobody to use it");
    refused("cpus = [0]; guests = ( { name = \"a\"; vcpus = [0];\n"
            "pid_file = \"/x\"; } );",
            2, "nobody to use it");
}

static void
driver_check_is_asked(void **state)
{
    refused("cpus = [0];\npstate = { driver = \"softpstate\";\n"
            "frequencies_mhz = [1]; };",
            2, "one is no choice");
}

static void
policy_check_is_asked(void **state)
{
    refused("cpus = [0];\npstate = { driver = \"sim\"; };\n"
            "policy = { name = \"basic\"; quick = true; };",
            3, "quick and period_ms > 500 contradict");
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(driver_without_the_ability_is_refused),
        cmocka_unit_test(rules_name_the_line_that_is_there),
        cmocka_unit_test(bad_names_are_refused),
        cmocka_unit_test(bad_paths_are_refused),
        cmocka_unit_test(channels_must_be_of_a_known_kind),
        cmocka_unit_test(twins_are_refused),
        cmocka_unit_test(incomplete_guests_are_refused),
        cmocka_unit_test(vcpus_must_be_on_managed_cpus),
        cmocka_unit_test(cpu_lists_are_checked),
        cmocka_unit_test(contradictions_are_refused),
        cmocka_unit_test(driver_check_is_asked),
        cmocka_unit_test(policy_check_is_asked),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
