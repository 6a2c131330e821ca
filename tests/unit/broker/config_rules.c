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
    refused("cpus = [0]; hypervisor = { driver = \"process\"; };\n"
            "guests = ( { name = \"a\"; vcpus = [0]; pid_file = \"/x\"; },\n"
            "{ name = \"b\"; vcpus = [0]; pid_file = \"/y\"; },\n"
            "{ name = \"c\"; vcpus = [0];\npid_file = \"/x\"; } );",
            5, "guest c has the pid_file of the guest in line 2");
}

/* The path is made of two settings, each of which is good. */
static void
a_channel_that_gets_too_long_a_path_is_refused(void **state)
{
    char text[512], dir[80], name[64];

    memset(dir, 'd', sizeof dir - 1);
    dir[0] = '/';
    dir[sizeof dir - 1] = '\0';
    memset(name, 'n', sizeof name - 1);
    name[sizeof name - 1] = '\0';
    snprintf(text, sizeof text,
             "cpus = [0]; run_dir = \"%s\"; guests = (\n{ name = \"%s\"; "
             "vcpus = [0]; } );",
             dir, name);
    refused(text, 2, "shorten its name or run_dir");
    snprintf(text, sizeof text,
             "cpus = [0]; run_dir = \"%s\"; guests = (\n{ name = \"%s\"; "
             "vcpus = [0]; channel = \"shm:/tmp/x\"; } );",
             dir, name);
    just_accepted(text);
}

static void
a_cap_needs_a_budget_that_is_not_upside_down(void **state)
{
    static const char cap[] = "cap = { driver = \"sim\"; };\n";
    char text[200];

    refused(cap, 1, "a cap without a budget");
    snprintf(text, sizeof text, "%sbudget = { max_w = 100; };", cap);
    refused(text, 1, "a cap without a budget");
    snprintf(text, sizeof text, "%sbudget = { safe_w = 100; };", cap);
    refused(text, 1, "a cap without a budget");
    snprintf(text, sizeof text, "%sbudget = {\nmax_w = 99; safe_w = 100; };",
             cap);
    refused(text, 3, "safe_w = 100 is above max_w = 99");
    snprintf(text, sizeof text, "%sbudget = { max_w = 100; safe_w = 100; };",
             cap);
    just_accepted(text);
    refused("cap = { driver = \"softpstate\"; };", 1, "there are: sim");
}

static void
a_quota_that_drowns_beats_is_refused_where_it_stands(void **state)
{
    static const char guests[] =
        "cpus = [0]; guests = ( { name = \"a\"; vcpus = [0]; },\n"
        "{ name = \"b\"; vcpus = [0]; quota = { messages_per_second = %s; }; "
        "},\n{ name = \"c\"; vcpus = [0]; } );\n%s";
    char text[400];

    snprintf(text, sizeof text, guests, "1", "beat_ms = 200;");
    refused(text, 2, "at least");
    snprintf(text, sizeof text, guests, "1000",
             "beat_ms = 200; quota = { messages_per_second = 1; };");
    refused(text, 4, "at least");
}

static void
inputs_leave_half_of_the_journal_to_rows(void **state)
{
    refused("journal = { size_mb = 10;\ninputs_mb = 6; };", 2,
            "more than half of journal.size_mb = 10");
    just_accepted("journal = { size_mb = 10; inputs_mb = 5; };");
    just_accepted("journal = { size_mb = 10; };");
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
        cmocka_unit_test(a_channel_that_gets_too_long_a_path_is_refused),
        cmocka_unit_test(a_cap_needs_a_budget_that_is_not_upside_down),
        cmocka_unit_test(a_quota_that_drowns_beats_is_refused_where_it_stands),
        cmocka_unit_test(inputs_leave_half_of_the_journal_to_rows),
        cmocka_unit_test(incomplete_guests_are_refused),
        cmocka_unit_test(vcpus_must_be_on_managed_cpus),
        cmocka_unit_test(cpu_lists_are_checked),
        cmocka_unit_test(contradictions_are_refused),
        cmocka_unit_test(driver_check_is_asked),
        cmocka_unit_test(policy_check_is_asked),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
