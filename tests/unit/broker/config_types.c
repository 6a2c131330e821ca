/* SPDX-License-Identifier: Apache-2.0 */
/* Settings that are wrong by themselves: of another type, out of range, too
 * long, too deep, of unknown names. Each is refused with its own line and in
 * words. With made-up plug-ins (config_scene.h). */
#include <errno.h>
#include <libconfig.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/confscan.h"
#include "broker/config/confval.h"
#include "tests/unit/broker/config_scene.h"

static void
syntax_errors_name_their_line(void **state)
{
    refused("domain = \"a\"\nseed = ;\n", 2, "syntax error");
    refused("\n\n= 3;", 3, "syntax error");
    refused("seed = 1;\ncpus = [0,\n1;\n", 2, "'[' is never closed");
    refused("policy = {\n name = \"none\";\n", 1, "'{' is never closed");
    refused("seed = 1;\n}\n", 2, "'}' closes nothing");
    refused("cpus = [0};\n", 1, "'}' closes nothing");
    refused("domain = \"a;\nseed = 1;\n", 1, "needs a closing \"");
    refused("seed = 1;\n/* off\nseed = 2;\n", 2, "needs a closing */");
    refused("cpus = [0, \"a\"];", 1, "mismatched");
    refused("\xff\xfe", 1, "syntax error");
}

static void
repeated_setting_is_refused(void **state)
{
    refused("seed = 1;\n\nseed = 2;\n", 3, "duplicate");
    refused("limits = {\n pstate_min = 1;\n pstate_min = 1;\n};", 3,
            "duplicate");
}

static void
unknown_names_are_refused_with_the_nearest(void **state)
{
    refused("seed = 1;\nepoc_ms = 500;\n", 2, "did you mean \"epoch_ms\"?");
    refused("limits = {\n pstate_mn = 1; };", 2, "\"pstate_min\"");
    refused("\ncolour = 1;", 2, "there are: domain, host_id");
    refused("guests = ( { name = \"a\"; vcpu = [1]; } );", 1, "\"vcpus\"");
    refused("policy = { name = \"basic\";\n perod_ms = 1; };", 2,
            "\"period_ms\"");
    refused("policy = { name = \"none\";\n x = 1; };", 2, "unknown name");
}

static void
unknown_plugins_are_refused_with_the_nearest(void **state)
{
    refused("policy = {\n name = \"basik\"; };", 2, "did you mean \"basic\"?");
    refused("policy = { name = \"zzzzzzz\"; };", 1, "there are: none, basic");
    refused("hypervisor = { driver = \"xen9\"; };", 1, "there are: process");
    refused("cpus = [0];\npstate = { driver = \"softpstat\"; };", 2,
            "softpstate");
    refused("policy = { };", 1, "policy has no name");
    refused("pstate = { period = 1; };", 1, "pstate has no driver");
    refused("policy = \"basic\";", 1, "write policy = { name");
}

static void
wrong_types_say_what_is_wanted(void **state)
{
    refused("seed = \"1\";", 1, "seed is text, and must be a whole number");
    refused("seed = 1.5;", 1, "must be a whole number");
    refused("domain = 3;", 1, "must be text");
    refused("end_guests = 1;", 1, "must be true or false");
    refused("limits = 3;", 1, "must be a group");
    refused("cpus = true;", 1, "must be CPUs");
    refused("cpus = [1.5];", 1, "a whole number");
    refused("cpus = (0, (1));", 1, "a list, and must be a whole number");
    refused("guests = { };", 1, "must be a list of groups");
    refused("guests = (\n1);", 2, "must be a group");
    refused("guests = [1];", 1, "must be a list of groups");
    refused("guests = ( { name = 1; } );", 1, "must be text");
}

static void
a_guest_s_socket_has_a_mode_in_octal(void **state)
{
    static const char *const bad[] = {"60",    "06600", "68x", "700",
                                      "0640x", "400",   ""};
    struct broker_config config;
    char text[200];

    accepted(&config, "cpus = [0]; guests = ( { name = \"a\"; vcpus = [0]; "
                      "mode = \"0660\"; } );");
    assert_int_equal(config.guests[0].mode, 0660);
    config_fini(&config);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        snprintf(text, sizeof text,
                 "cpus = [0]; guests = (\n{ name = \"a\"; vcpus = [0]; "
                 "mode = \"%s\"; } );",
                 bad[i]);
        refused(text, 2, "must be three octal digits");
    }
    refused("cpus = [0];\nguests = ( { mode = 660; } );", 2, "must be text");
}

static void
members_of_a_guest_have_their_types(void **state)
{
    refused("guests = ( { uuid = 1; } );", 1, "must be text");
    refused("guests = ( { channel = 1; } );", 1, "must be text");
    refused("guests = ( { command = 1; } );", 1, "must be text");
    refused("guests = ( { command = \"\"; } );", 1, "may have 1 to");
    refused("guests = ( { pid_file = 1; } );", 1, "must be text");
    refused("run_dir = 1;", 1, "must be text");
    refused("policy = { name = \"basic\"; util_percent = \"x\"; };", 1,
            "must be a number");
    refused("pstate = { driver = \"softpstate\"; frequencies_mhz = 5; };", 1,
            "must be a list of whole numbers");
    refused("guests = ( { a_setting_that_nobody_has_ever_heard_of_and_longer_"
            "than_any = 1; } );",
            1, "unknown");
    refused("cpus = (0, 1.5, 0);", 1, "whole number");
    refused("run_dir = \"/a\\x7fb\";", 1, "printable characters");
    char channel[400] = "guests = ( { channel = \"sim:";
    memset(channel + strlen(channel), 'x', 300);
    strcat(channel, "\"; } );");
    refused(channel, 1, "channel is too long");
    just_accepted("cpus = [0]; hypervisor = { driver = \"process\"; };"
                  "guests = ( { name = \"a\"; vcpus = [0]; pid_file = \"/a\"; "
                  "}, { name = \"b\"; vcpus = [0]; pid_file = \"/b\"; } );");
    just_accepted("guests = [];");
    just_accepted("guests = ();");
}

static void
lists_have_their_limits(void **state)
{
    char *text = malloc(65536), *to = text, part[64];

    assert_non_null(text);
    to += sprintf(to, "cpus = [0];\nguests = (");
    for (int i = 0; i <= CONFIG_GUESTS_MAX; i++) {
        to +=
            sprintf(to, "%s{ name = \"g%d\"; vcpus = [0]; }", i ? ", " : "", i);
    }
    sprintf(to, ");");
    snprintf(part, sizeof part, "%d guests; at most %d", CONFIG_GUESTS_MAX + 1,
             CONFIG_GUESTS_MAX);
    refused(text, 2, part);
    to = text + sprintf(text, "cpus = [0");
    for (int i = 1; i <= CONFIG_CPUS_MAX; i++) {
        to += sprintf(to, ", %d", i);
    }
    sprintf(to, "];");
    snprintf(part, sizeof part, "more than %d CPUs", CONFIG_CPUS_MAX);
    refused(text, 1, part);
    free(text);
}

static void
wrong_types_of_options_say_what_is_wanted(void **state)
{
    refused("policy = { name = \"basic\";\nperiod_ms = \"500\"; };", 2,
            "must be a whole number");
    refused("policy = { name = \"basic\"; util_percent = true; };", 1,
            "must be a number");
    refused("policy = { name = \"basic\"; quick = 1; };", 1, "true or false");
    refused("policy = { name = \"basic\"; order = 2; };", 1, "must be text");
    refused("policy = { name = \"basic\"; order = { a = 1; }; };", 1,
            "a group, and must be text");
    refused("cpus = [0]; pstate = { driver = \"softpstate\";\n"
            "frequencies_mhz = 2400; };",
            2, "must be a list of whole numbers");
    refused("cpus = [0]; pstate = { driver = \"softpstate\";\n"
            "frequencies_mhz = [\"2400\"]; };",
            2, "must be a list of whole numbers");
    refused("cpus = [0]; pstate = { driver = \"softpstate\";\n"
            "frequencies_mhz = (2400, 1.5); };",
            2, "must be a list of whole numbers");
    refused("policy = { name = \"basic\";\nperiod_ms = 5000000000L; };", 2,
            "outside 100 to 60000 ms");
    refused("policy = { name = \"basic\";\nutil_percent = \"80\"; };", 2,
            "must be a number");
}

static void
options_may_be_written_in_several_ways(void **state)
{
    static const char text[] =
        "cpus = [0]; pstate = { driver = \"softpstate\"; frequencies_mhz = "
        "(2400, 1800L); };\npolicy = { name = \"basic\"; quick = false; "
        "util_percent = 7L; period_ms = 700L; };";
    struct broker_config config;

    accepted(&config, text);
    const struct option_value *mhz =
        option_get(&config.pstate_options, "frequencies_mhz");
    assert_int_equal(mhz->n_ints, 2);
    assert_int_equal(mhz->ints[1], 1800);
    assert_false(option_bool(&config.policy_options, "quick"));
    assert_true(option_real(&config.policy_options, "util_percent") == 7);
    assert_int_equal(option_int(&config.policy_options, "period_ms"), 700);
    config_fini(&config);
}

static void
options_out_of_range_say_the_range(void **state)
{
    refused("policy = { name = \"basic\";\n\nperiod_ms = 99; };", 3,
            "outside 100 to 60000 ms");
    refused("policy = { name = \"basic\"; util_percent = 100.5; };", 1,
            "outside 0 to 100 %");
    refused("policy = { name = \"basic\"; util_percent = 1e999; };", 1,
            "util_percent");
    refused("policy = { name = \"basic\"; order = \"both\"; };", 1,
            "none of: raise lower");
    refused("cpus = [0]; pstate = { driver = \"softpstate\";\n"
            "frequencies_mhz = [0]; };",
            2, "outside 1 to 10000 MHz");
}

static void
long_options_are_refused(void **state)
{
    char text[4096], many[512];

    memset(many, 'm', sizeof many - 1);
    many[sizeof many - 1] = '\0';
    snprintf(text, sizeof text,
             "power = { driver = \"powermodel\";\nmachine = \"%s\"; };", many);
    refused(text, 2, "longer than 255 bytes");
    int used = snprintf(text, sizeof text,
                        "cpus = [0]; pstate = { driver = \"softpstate\";\n"
                        "frequencies_mhz = [1");
    for (int i = 0; i < 200; i++) {
        used += snprintf(text + used, sizeof text - (size_t)used, ", 100");
    }
    snprintf(text + used, sizeof text - (size_t)used, "]; };");
    refused(text, 2, "longer than 255 bytes");
}

/* A member of a list is told as such. */
static void
numbers_without_a_name_are_refused_too(void **state)
{
    char why[CONFIG_WHY_SIZE];
    struct confscan_at at = {.path = "x", .why = why, .why_size = sizeof why};
    double real = -1;
    int64_t whole = -1;
    config_t tree;

    config_init(&tree);
    assert_int_equal(config_read_string(&tree, "l = (7L, 11.5, 12L, \"x\");"),
                     CONFIG_TRUE);
    const config_setting_t *list = config_lookup(&tree, "l");
    assert_int_equal(
        confval_real(&at, config_setting_get_elem(list, 0), 0, 10, &real), 0);
    assert_true(real == 7);
    assert_int_equal(
        confval_real(&at, config_setting_get_elem(list, 1), 0, 10, &real),
        -EINVAL);
    assert_non_null(strstr(why, "a member = 11.5 is outside 0 to 10"));
    assert_int_equal(
        confval_real(&at, config_setting_get_elem(list, 3), 0, 10, &real),
        -EINVAL);
    assert_non_null(strstr(why, "a member is text, and must be a number"));
    assert_int_equal(
        confval_int(&at, config_setting_get_elem(list, 2), 0, 10, &whole),
        -EINVAL);
    assert_non_null(strstr(why, "a member = 12 is outside 0 to 10"));
    assert_true(real == 7 && whole == -1);
    config_destroy(&tree);
}

static void
only_a_name_that_is_near_is_suggested(void **state)
{
    static const char *const names[] = {"cpus", "cap", "host_id", "policy",
                                        NULL};
    static const char *const none[] = {NULL};

    assert_string_equal(confval_nearest("cpu", names), "cpus");
    assert_string_equal(confval_nearest("hostid", names), "host_id");
    assert_string_equal(confval_nearest("plicy_", names), "policy");
    assert_null(confval_nearest("xyz", names)); /* Three edits of three. */
    assert_null(confval_nearest("something_else", names));
    assert_null(confval_nearest("", names));
    assert_null(confval_nearest("cpus", none));
    assert_null(
        confval_nearest("policypolicypolicypolicypolicypolicypolicy", names));
}

static void
numbers_out_of_range_say_the_range(void **state)
{
    refused("seed = 1;\nepoch_ms = 9;", 2, "outside 10 to 60000");
    refused("epoch_ms = 60001;", 1, "outside 10 to 60000");
    refused("sample_ms = 0;", 1, "outside");
    refused("beat_ms = 49;", 1, "outside 50 to 60000");
    refused("dwell_ms = -1;", 1, "outside 0");
    refused("seed = -1;", 1, "outside 0");
    refused("limits = { pstate_max = 16; };", 1, "outside 0 to 15");
    refused("limits = { writes_per_second = 0; };", 1, "outside 1");
    refused("journal = {\nsize_mb = 0; };", 2, "outside 1 to 65536");
    refused("journal = { age_days = 100000; };", 1, "outside 1 to 3650");
    refused("journal = { size_mb = 4;\ninputs_mb = 3; };", 2, "more than half");
    refused("journal = { inputs_mb = 40000; };", 1, "outside 0 to 32768");
    refused("quota = { messages_per_second = 0; };", 1, "outside 1 to 100000");
    refused("quota = { bytes_per_second = 4095; };", 1, "outside 4096");
    refused("quota = { rows_per_second = 0; };", 1, "outside 1 to 10000");
    refused("quota = { memory_kb = 7; };", 1, "outside 8 to 65536");
    refused("quota = { messages = 7; };", 1, "messages_per_second");
    refused("cpus = [0];\nguests = ( { name = \"a\"; vcpus = [0];\n"
            "quota = { memory_kb = 7; }; } );",
            3, "outside 8 to 65536");
    refused("cpus = [-1];", 1, "outside 0");
    refused("cpus = [70000];", 1, "outside 0");
}

/* libconfig 1.5 reads 4294967297 as 1. */
static void
numbers_that_would_wrap_are_refused(void **state)
{
    refused("\nseed = 4294967297;", 2, "write 4294967297L");
    refused("seed = 99999999999999999999;", 1, "64 bits");
    refused("seed = 99999999999999999999L;", 1, "64 bits");
    refused("seed = 0x1ffffffff;", 1, "write 0x1ffffffffL");
    just_accepted("seed = 2147483647;");
    just_accepted("seed = 4294967297L;");
    just_accepted("seed = 1; # not 4294967297\n");
    just_accepted("domain = \"4294967297\";");
    just_accepted("domain = \"h4294967297\";");
}

static void
long_commands_are_refused(void **state)
{
    char text[2048], command[1200];

    memset(command, 'c', sizeof command - 1);
    command[sizeof command - 1] = '\0';
    snprintf(text, sizeof text,
             "cpus = [0]; hypervisor = { driver = \"process\"; };\n"
             "guests = ( { name = \"a\"; vcpus = [0];\ncommand = \"%s\"; } );",
             command);
    refused(text, 3, "1 to 1023");
}

static void
includes_are_refused(void **state)
{
    refused("seed = 1;\n@include \"/etc/passwd\"\n", 2, "@include is refused");
    refused(" \t@include \"x\"", 1, "@include is refused");
    refused("seed = 1; @include \"/etc/passwd\"\n", 1, "syntax error");
    refused("domain = \"a\n@include \"/etc/passwd\"\n\";", 2,
            "@include is refused");
    refused("/* a\n@include \"/etc/passwd\"\n*/", 2, "@include is refused");
    just_accepted("# @include is refused\n");
}

static void
deep_nesting_is_refused(void **state)
{
    char text[4096];
    size_t used = (size_t)snprintf(text, sizeof text, "seed =\n");

    memset(text + used, '(', 2000);
    text[used + 2000] = '\0';
    refused(text, 2, "nested more than 16");
}

static void
nul_escapes_are_refused(void **state)
{
    refused("\ndomain = \"a\\x00b\";", 2, "\\x00");
}

static void
gigantic_text_is_refused(void **state)
{
    size_t size = CONFSCAN_TEXT_MAX + 2;
    char *text = malloc(size);

    assert_non_null(text);
    memset(text, '#', size - 1);
    text[size - 1] = '\0';
    refused(text, 1, "longer than");
    text[CONFSCAN_TEXT_MAX] = '\0';
    just_accepted(text);
    free(text);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(syntax_errors_name_their_line),
        cmocka_unit_test(repeated_setting_is_refused),
        cmocka_unit_test(unknown_names_are_refused_with_the_nearest),
        cmocka_unit_test(unknown_plugins_are_refused_with_the_nearest),
        cmocka_unit_test(wrong_types_say_what_is_wanted),
        cmocka_unit_test(a_guest_s_socket_has_a_mode_in_octal),
        cmocka_unit_test(members_of_a_guest_have_their_types),
        cmocka_unit_test(lists_have_their_limits),
        cmocka_unit_test(wrong_types_of_options_say_what_is_wanted),
        cmocka_unit_test(options_may_be_written_in_several_ways),
        cmocka_unit_test(options_out_of_range_say_the_range),
        cmocka_unit_test(long_options_are_refused),
        cmocka_unit_test(numbers_without_a_name_are_refused_too),
        cmocka_unit_test(only_a_name_that_is_near_is_suggested),
        cmocka_unit_test(numbers_out_of_range_say_the_range),
        cmocka_unit_test(numbers_that_would_wrap_are_refused),
        cmocka_unit_test(long_commands_are_refused),
        cmocka_unit_test(includes_are_refused),
        cmocka_unit_test(deep_nesting_is_refused),
        cmocka_unit_test(nul_escapes_are_refused),
        cmocka_unit_test(gigantic_text_is_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
