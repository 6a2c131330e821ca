/* SPDX-License-Identifier: Apache-2.0 */
/* The configuration: what a good one means, and that each way of being wrong is
 * refused with its own line.  The plug-ins are made up here, so that the rules
 * are tested and not the options of the day. */
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
#include "broker/config/config.h"
#include "hardware/hardware.h"
#include "policy/policy.h"

/* libconfig 1.5 leaks the texts it has read when it then refuses the file. */
const char *__lsan_default_suppressions(void);

const char *
__lsan_default_suppressions(void)
{
    return "leak:libconfig";
}

/* Made-up plug-ins. */

static const struct option_desc basic_options[] = {
    {"period_ms", "ms", OPTION_INT, 100, 60000, "2000", NULL, "Period."},
    {"util_percent", "%", OPTION_REAL, 0, 100, "80", NULL, "Threshold."},
    {"order", NULL, OPTION_CHOICE, 0, 0, "raise", "raise lower", "First."},
    {"quick", NULL, OPTION_BOOL, 0, 0, "false", NULL, "Whether."},
    {NULL},
};

static int
basic_check(const struct option_values *options, char *why, size_t why_size)
{
    if (option_bool(options, "quick") &&
        option_int(options, "period_ms") > 500) {
        snprintf(why, why_size, "quick and period_ms > 500 contradict");
        return -EINVAL;
    }
    return 0;
}

static const struct policy_class none = {.name = "none"};
static const struct policy_class basic = {
    .name = "basic", .options = basic_options, .check = basic_check};
const struct policy_class *const policy_table[] = {&none, &basic, NULL};

const struct policy_class *
policy_find(const char *name)
{
    for (size_t i = 0; policy_table[i]; i++) {
        if (!strcmp(policy_table[i]->name, name)) {
            return policy_table[i];
        }
    }
    return NULL;
}

static const struct option_desc soft_options[] = {
    {"frequencies_mhz", "MHz", OPTION_INTS, 1, 10000, "2400 1000", NULL, "F."},
    {NULL},
};
static int
soft_check(const struct option_values *options, char *why, size_t why_size)
{
    const struct option_value *mhz = option_get(options, "frequencies_mhz");

    if (mhz->n_ints < 2) {
        snprintf(why, why_size, "frequencies_mhz: one is no choice");
        return -EINVAL;
    }
    return 0;
}

static const struct option_desc model_options[] = {
    {"machine", NULL, OPTION_TEXT, 0, 0, "", NULL, "Which."},
    {NULL},
};
static const struct pstate_ops some_pstate = {NULL};
static const struct power_ops some_power = {NULL};
static const struct hardware_class soft = {.name = "softpstate",
                                           .pstate = &some_pstate,
                                           .options = soft_options,
                                           .check = soft_check};
static const struct hardware_class simulated = {
    .name = "sim", .pstate = &some_pstate, .power = &some_power};
static const struct hardware_class model = {
    .name = "powermodel", .power = &some_power, .options = model_options};
const struct hardware_class *const hardware_table[] = {&soft, &simulated,
                                                       &model, NULL};

const struct hardware_class *
hardware_find(const char *name)
{
    for (size_t i = 0; hardware_table[i]; i++) {
        if (!strcmp(hardware_table[i]->name, name)) {
            return hardware_table[i];
        }
    }
    return NULL;
}

static const struct hypervisor_class process = {.name = "process"};
const struct hypervisor_class *const hypervisor_table[] = {&process, NULL};

const struct hypervisor_class *
hypervisor_find(const char *name)
{
    return strcmp(name, "process") ? NULL : &process;
}

/* Helpers. */

/* Asserts that 'text' is refused, at that line, with 'part' in the words. */
static void
refused(const char *text, unsigned line, const char *part)
{
    struct broker_config config, before;
    char why[CONFIG_WHY_SIZE] = "", where[64];

    memset(&config, 0x5a, sizeof config);
    memcpy(&before, &config, sizeof before);
    int error = config_parse(&config, text, "m.conf", why, sizeof why);
    snprintf(where, sizeof where, "m.conf:%u: ", line);
    if (error != -EINVAL || strncmp(why, where, strlen(where)) != 0 ||
        !strstr(why, part)) {
        fail_msg("%s\n gave %d \"%s\", not \"%s...%s\"", text, error, why,
                 where, part);
    }
    assert_memory_equal(&config, &before, sizeof config);
}

static void
accepted(struct broker_config *config, const char *text)
{
    char why[CONFIG_WHY_SIZE] = "";

    int error = config_parse(config, text, "m.conf", why, sizeof why);
    if (error) {
        fail_msg("%s\n gave %d \"%s\"", text, error, why);
    }
}

static void
just_accepted(const char *text)
{
    struct broker_config config;

    accepted(&config, text);
    config_fini(&config);
}

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

/* What is good. */

static void
defaults_observe_and_change_nothing(void **state)
{
    struct broker_config config;
    char why[CONFIG_WHY_SIZE];

    assert_int_equal(config_default(&config, why, sizeof why), 0);
    assert_ptr_equal(config.policy, &none);
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
    assert_ptr_equal(config.policy, &none);
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
    assert_ptr_equal(config.policy, &basic);
    assert_int_equal(option_int(&config.policy_options, "period_ms"), 500);
    assert_true(option_real(&config.policy_options, "util_percent") == 75.5);
    assert_string_equal(option_text(&config.policy_options, "order"), "lower");
    assert_true(option_bool(&config.policy_options, "quick"));
    assert_ptr_equal(config.hypervisor, &process);
    assert_ptr_equal(config.pstate, &soft);
    assert_int_equal(
        option_get(&config.pstate_options, "frequencies_mhz")->ints[1], 1800);
    assert_ptr_equal(config.power, &model);
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

/* What is wrong. */

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
driver_without_the_ability_is_refused(void **state)
{
    refused("cpus = [0];\npstate = { driver = \"powermodel\"; };", 2,
            "there are: softpstate, sim");
    refused("power = { driver = \"softpstate\"; };", 1, "there are: sim");
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

/* Files and machines. */

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
        cmocka_unit_test(syntax_errors_name_their_line),
        cmocka_unit_test(repeated_setting_is_refused),
        cmocka_unit_test(unknown_names_are_refused_with_the_nearest),
        cmocka_unit_test(unknown_plugins_are_refused_with_the_nearest),
        cmocka_unit_test(driver_without_the_ability_is_refused),
        cmocka_unit_test(wrong_types_say_what_is_wanted),
        cmocka_unit_test(a_guest_s_socket_has_a_mode_in_octal),
        cmocka_unit_test(members_of_a_guest_have_their_types),
        cmocka_unit_test(lists_have_their_limits),
        cmocka_unit_test(rules_name_the_line_that_is_there),
        cmocka_unit_test(wrong_types_of_options_say_what_is_wanted),
        cmocka_unit_test(options_out_of_range_say_the_range),
        cmocka_unit_test(long_options_are_refused),
        cmocka_unit_test(numbers_out_of_range_say_the_range),
        cmocka_unit_test(numbers_that_would_wrap_are_refused),
        cmocka_unit_test(bad_names_are_refused),
        cmocka_unit_test(bad_paths_are_refused),
        cmocka_unit_test(long_commands_are_refused),
        cmocka_unit_test(channels_must_be_of_a_known_kind),
        cmocka_unit_test(includes_are_refused),
        cmocka_unit_test(deep_nesting_is_refused),
        cmocka_unit_test(nul_escapes_are_refused),
        cmocka_unit_test(gigantic_text_is_refused),
        cmocka_unit_test(twins_are_refused),
        cmocka_unit_test(incomplete_guests_are_refused),
        cmocka_unit_test(vcpus_must_be_on_managed_cpus),
        cmocka_unit_test(cpu_lists_are_checked),
        cmocka_unit_test(contradictions_are_refused),
        cmocka_unit_test(driver_check_is_asked),
        cmocka_unit_test(policy_check_is_asked),
        cmocka_unit_test(bad_files_are_refused_by_name),
        cmocka_unit_test(loaded_text_carries_the_host_id),
        cmocka_unit_test(cpus_the_machine_lacks_are_refused),
        cmocka_unit_test(mutilated_text_does_no_harm),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
