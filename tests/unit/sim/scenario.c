/* SPDX-License-Identifier: Apache-2.0 */
/* A scenario is read as it is meant, or refused by line and reason. */
#include "sim/scenario.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "policy/policy.h"
#include "sim/fault.h"
#include "sim/gauge.h"

#define HOST "host = { cpus = [0, 2]; };\n"
#define GUESTS "guests = ( { name = \"web\"; cpu = 2; } );\n"
#define EXPECT "expect = ( { raises = 0; } );\n"
#define START "about = \"x\";\nduration_s = 10;\n"

static struct scenario scenario;
static char why[512];

static int
parse(const char *text)
{
    why[0] = '\0';
    return scenario_parse(&scenario, text, "t.scn", why, sizeof why);
}

static void
accepted(const char *text)
{
    int error = parse(text);

    assert_string_equal(why, "");
    assert_int_equal(error, 0);
}

/* Refused with just these words, and the output untouched. */
static void
refused(const char *text, const char *words)
{
    scenario.n_guests = 77;
    assert_int_equal(parse(text), -EINVAL);
    assert_string_equal(why, words);
    assert_int_equal(scenario.n_guests, 77);
}

static void
the_smallest_scenario_has_defaults(void **state)
{
    accepted(START HOST GUESTS EXPECT);
    assert_int_equal(scenario.seed, 1);
    assert_true(scenario.duration == 10 * NSEC_PER_SEC);
    assert_int_equal(scenario.n_guests, 1);
    assert_true(scenario.guests[0].agent);
    assert_int_equal(scenario.guests[0].sla.threshold_us, 3000);
    assert_int_equal(scenario.guests[0].sla.tolerated_permille, 10);
    assert_int_equal(scenario.guests[0].load.n_steps, 0);
    assert_string_equal(scenario.config.policy->name, "none");
    assert_string_equal(scenario.config.host_id, "sim");
    assert_string_equal(scenario.config.guests[0].channel, "sim:web");
    assert_int_equal(scenario.config.guests[0].vcpu_cpu[0], 2);
    assert_true(scenario.expects[0].from == scenario.duration);
    scenario_fini(&scenario);
}

static void
the_hosts_settings_are_mbrokerds(void **state)
{
    accepted(START
             "seed = 9;\n"
             "host = { cpus = \"0-3\"; dwell_ms = 700; sample_ms = 100;\n"
             "  policy = { name = \"basic\"; util_low_percent = 62.5;\n"
             "    tie = \"lower\"; };\n"
             "  pstate = { driver = \"sim\";\n"
             "    frequencies_mhz = [3000, 2000, 1000];\n"
             "    voltages_mv = [1200, 1100, 1000]; }; };\n" GUESTS EXPECT);
    assert_int_equal(scenario.config.n_cpus, 4);
    assert_true(scenario.config.dwell_ns == 700 * NSEC_PER_MSEC);
    assert_string_equal(scenario.config.policy->name, "basic");
    assert_true(option_real(&scenario.config.policy_options,
                            "util_low_percent") == 62.5);
    assert_string_equal(option_text(&scenario.config.policy_options, "tie"),
                        "lower");
    assert_int_equal(
        option_get(&scenario.config.pstate_options, "frequencies_mhz")->n_ints,
        3);
    assert_int_equal(scenario.config.seed, 9);
    scenario_fini(&scenario);
}

static void
faults_and_expectations_name_whom_they_are_about(void **state)
{
    accepted(
        START HOST GUESTS
        "faults = (\n"
        "  { at_s = 1.5; fault = \"silence_agent\"; guest = \"web\";\n"
        "    for_s = 2; },\n"
        "  { at_s = 3; fault = \"change_pstate\"; cpu = 2; value = 4; } );\n"
        "expect = (\n"
        "  { during_s = [1.0, 2.5]; cpu = 2; pstate = [1, 3]; },\n"
        "  { within_s = [4, 5]; guest = \"web\"; agent = \"lost\"; } );\n");
    assert_int_equal(scenario.n_faults, 2);
    assert_true(scenario.faults[0].at == 1500 * NSEC_PER_MSEC);
    assert_true(scenario.faults[0].until == 3500 * NSEC_PER_MSEC);
    assert_true(scenario.faults[1].until == NSEC_NEVER);
    assert_true(scenario.faults[1].value == 4);
    assert_int_equal(scenario.faults[1].cpu, 2);
    assert_int_equal(scenario.n_expects, 2);
    assert_int_equal(scenario.expects[0].when, SCENARIO_DURING);
    assert_string_equal(scenario.expects[0].gauge->name, "pstate");
    assert_true(scenario.expects[0].low == 1 && scenario.expects[0].high == 3);
    assert_int_equal(scenario.expects[1].when, SCENARIO_WITHIN);
    assert_string_equal(scenario.expects[1].text, "lost");
    assert_int_equal(scenario.expects[1].line, 11);
    scenario_fini(&scenario);
}

static void
what_is_missing_is_named(void **state)
{
    refused("", "t.scn:1: a scenario must have \"about\"");
    refused("about = \"x\";", "t.scn:1: a scenario must have \"duration_s\"");
    refused(START GUESTS EXPECT, "t.scn:1: a scenario must have \"host\"");
    refused(START HOST EXPECT, "t.scn:1: a scenario must have \"guests\"");
    refused(START HOST GUESTS, "t.scn:1: a scenario must have \"expect\"");
    refused(START HOST GUESTS "expect = ();\n",
            "t.scn:5: a scenario without expectations shows nothing");
    refused(START "host = {};\nguests = ();\n" EXPECT,
            "t.scn:1: pstate has no CPUs to set; say cpus = [...];");
    refused(START HOST "guests = (\n  { cpu = 0; } );\n" EXPECT,
            "t.scn:5: a guest must have a name and a cpu");
}

/* The host's settings are judged by the real parser, on the lines where they
 * stand. */
static void
a_wrong_setting_of_the_host_is_named_by_its_line(void **state)
{
    refused(START
            "host = {\n  cpus = [0];\n  policy = {\n    name = "
            "\"basic\";\n    util_low_percent = 300;\n  };\n};\n" GUESTS EXPECT,
            "t.scn:7: util_low_percent: 300 is outside 0 to 100 %");
    refused(START "host = { cpus = [0];\n\n\n  polcy = { name = \"basic\"; };\n"
                  "};\n" GUESTS EXPECT,
            "t.scn:6: unknown name \"polcy\"; did you mean \"policy\"?");
}

static void
real_drivers_are_refused(void **state)
{
    refused(START "host = { cpus = [0, 2];\n"
                  "  pstate = { driver = \"cpufreq\"; }; };\n" GUESTS EXPECT,
            "t.scn:3: a scenario's drivers are \"sim\", no others");
}

static void
wrong_names_get_the_nearest_right_one(void **state)
{
    refused(START HOST "guests = ( { name = \"web\"; cpu = 0;\n"
                       "  treshold_us = 9; } );\n" EXPECT,
            "t.scn:5: unknown name \"treshold_us\"; did you mean "
            "\"threshold_us\"?");
    refused(START HOST GUESTS "expect = ( { at_s = 1; rises = 0; } );\n",
            "t.scn:5: no gauge \"rises\"; did you mean \"raises\"?");
    refused(START HOST GUESTS "faults = ( { at_s = 1;\n"
                              "  fault = \"kil_agent\"; } );\n" EXPECT,
            "t.scn:6: no fault \"kil_agent\"; did you mean \"kill_agent\"?");
    refused(START HOST GUESTS
            "expect = ( { guest = \"wep\"; agent = \"up\"; } );\n",
            "t.scn:5: no guest \"wep\"; did you mean \"web\"?");
}

static void
cpus_that_are_not_there_are_refused(void **state)
{
    refused(
        START HOST "guests = (\n  { name = \"web\"; cpu = 0; },\n"
                   "  { name = \"db\"; cpu = 1; } );\n" EXPECT,
        "t.scn:6: vCPU 0 of guest db is on CPU 1, which is not managed; add it "
        "to cpus or move the guest");
    refused(START HOST GUESTS "expect = ( { cpu = 7; pstate = 0; } );\n",
            "t.scn:5: the host has no CPU 7");
}

static void
expectations_must_be_whole(void **state)
{
    refused(START HOST GUESTS "expect = ( { pstate = 0; } );\n",
            "t.scn:5: pstate is of a cpu: say which");
    refused(START HOST GUESTS "expect = ( { cpu = 0; agent = \"up\"; } );\n",
            "t.scn:5: agent is of a guest: say which");
    refused(START HOST GUESTS "expect = ( { cpu = 0; raises = 1; } );\n",
            "t.scn:5: raises is of the host: name no other");
    refused(START HOST GUESTS
            "expect = ( { raises = 1;\n lowerings = 1; } );\n",
            "t.scn:6: one gauge per expectation: raises or lowerings");
    refused(START HOST GUESTS "expect = ( { at_s = 1; } );\n",
            "t.scn:5: an expectation has one gauge, and at most one of at_s, "
            "during_s, within_s");
    refused(START HOST GUESTS "expect = ( { cpu = 0; pstate = [3, 1]; } );\n",
            "t.scn:5: pstate = [3, 1] is empty");
    refused(START HOST GUESTS "expect = ( { cpu = 0; pstate = \"3\"; } );\n",
            "t.scn:5: pstate is text, and must be a number");
    refused(START HOST GUESTS "expect = ( { policy = 3; } );\n",
            "t.scn:5: policy is a whole number, and must be text, \"...\"");
}

static void
times_after_the_end_are_refused(void **state)
{
    refused(START HOST GUESTS "expect = ( { at_s = 11; raises = 0; } );\n",
            "t.scn:5: at_s = 11 is outside 0 to 10");
    refused(START HOST GUESTS
            "expect = ( { during_s = [5, 3]; raises = 0; } );\n",
            "t.scn:5: during_s ends before it begins");
    refused(START HOST GUESTS "faults = ( { at_s = 10.5; fault = "
                              "\"lose_sensor\"; } );\n" EXPECT,
            "t.scn:5: at_s = 10.5 is outside 0 to 10");
    refused("about = \"x\"; duration_s = 4000;\n" HOST GUESTS EXPECT,
            "t.scn:1: duration_s = 4000 is outside 0 to 3600");
}

static void
faults_say_what_they_need(void **state)
{
    refused(START HOST GUESTS
            "faults = ( { at_s = 1; fault = \"kill_agent\"; } );\n" EXPECT,
            "t.scn:5: kill_agent needs guest");
    refused(START HOST GUESTS "faults = ( { at_s = 1; fault = \"lose_sensor\"; "
                              "cpu = 0; } );\n" EXPECT,
            "t.scn:5: lose_sensor takes no cpu");
    refused(START HOST GUESTS
            "faults = ( { at_s = 1; fault = "
            "\"change_pstate\"; cpu = 0; value = 99; } );\n" EXPECT,
            "t.scn:5: value = 99 is outside 0 to 15");
    refused(START HOST GUESTS
            "faults = ( { fault = \"lose_sensor\"; } );\n" EXPECT,
            "t.scn:5: a fault must have \"fault\" and \"at_s\"");
}

static void
chaos_needs_faults_that_end(void **state)
{
    refused(START HOST GUESTS "chaos = { from_s = 1; to_s = 5; n = 3;\n"
                              "  faults = [\"set_policy\"]; };\n" EXPECT,
            "t.scn:6: set_policy does not end, so chance can't use it");
    refused(START HOST GUESTS "chaos = { from_s = 5; to_s = 5; n = 3;\n"
                              "  faults = [\"kill_agent\"]; };\n" EXPECT,
            "t.scn:5: chaos needs n, faults, and from_s before to_s before the "
            "end");
    refused(START HOST GUESTS "chaos = { from_s = 1; to_s = 11; n = 3;\n"
                              "  faults = [\"kill_agent\"]; };\n" EXPECT,
            "t.scn:5: chaos needs n, faults, and from_s before to_s before the "
            "end");
    refused(START HOST GUESTS "chaos = { from_s = 1; to_s = 5; n = 3;\n"
                              "  faults = [\"kill_agnet\"]; };\n" EXPECT,
            "t.scn:6: no fault \"kill_agnet\"; did you mean \"kill_agent\"?");
}

static void
load_steps_must_rise_in_time(void **state)
{
    refused(START HOST "guests = ( { name = \"web\"; cpu = 0;\n"
                       "  load = ( { at_s = 2; rate = 1; },\n"
                       "           { at_s = 2; rate = 2; } ); } );\n" EXPECT,
            "t.scn:6: a step of load must come after the last");
    refused(START HOST "guests = ( { name = \"web\"; cpu = 0;\n"
                       "  load = 100; } );\n" EXPECT,
            "t.scn:5: load must be a list of 1 to 64 steps, ( { at_s = 0; rate "
            "= 100; }, ... )");
    refused(START HOST "guests = ( { name = \"web\"; cpu = 0;\n"
                       "  load = ( { at_s = 0; rate = -1; } ); } );\n" EXPECT,
            "t.scn:5: rate = -1 is outside 0 to 100000");
}

static void
lists_have_limits(void **state)
{
    static char text[65536];
    size_t used =
        (size_t)snprintf(text, sizeof text, "%s", START HOST "guests = (\n");

    for (int i = 0; i < SCENARIO_GUESTS_MAX + 1; i++) {
        used += (size_t)snprintf(text + used, sizeof text - used,
                                 "%s{ name = \"g%d\"; cpu = 0; }",
                                 i ? ", " : "", i);
    }
    snprintf(text + used, sizeof text - used, ");\n%s", EXPECT);
    refused(text, "t.scn:4: guests has 65 members, at most 64");
}

static void
broken_syntax_names_its_line(void **state)
{
    assert_int_equal(parse("about = \"x\";\nduration_s = ;\n"), -EINVAL);
    assert_int_equal(strncmp(why, "t.scn:2: ", 9), 0);
    assert_int_equal(parse(START "@include \"/etc/passwd\"\n"), -EINVAL);
    assert_int_equal(strncmp(why, "t.scn:3: ", 9), 0);
}

/* Whatever is cut off a good scenario is refused, or is one. */
static void
a_scenario_cut_anywhere_is_refused_or_read(void **state)
{
    const char *whole = START
        "host = { cpus = [0, 2]; policy = { name = \"basic\"; }; };\n" GUESTS
        "faults = ( { at_s = 1; fault = \"lose_sensor\"; for_s = 1; } );\n"
        "expect = ( { during_s = [1, 2]; cpu = 0; why = \"released\"; } );\n";

    for (size_t size = 0; size < strlen(whole); size++) {
        char *cut = strndup(whole, size);

        if (parse(cut) == 0) {
            scenario_fini(&scenario);
        } else {
            assert_int_equal(strncmp(why, "t.scn:", 6), 0);
        }
        free(cut);
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_smallest_scenario_has_defaults),
        cmocka_unit_test(the_hosts_settings_are_mbrokerds),
        cmocka_unit_test(faults_and_expectations_name_whom_they_are_about),
        cmocka_unit_test(what_is_missing_is_named),
        cmocka_unit_test(a_wrong_setting_of_the_host_is_named_by_its_line),
        cmocka_unit_test(real_drivers_are_refused),
        cmocka_unit_test(wrong_names_get_the_nearest_right_one),
        cmocka_unit_test(cpus_that_are_not_there_are_refused),
        cmocka_unit_test(expectations_must_be_whole),
        cmocka_unit_test(times_after_the_end_are_refused),
        cmocka_unit_test(faults_say_what_they_need),
        cmocka_unit_test(chaos_needs_faults_that_end),
        cmocka_unit_test(load_steps_must_rise_in_time),
        cmocka_unit_test(lists_have_limits),
        cmocka_unit_test(broken_syntax_names_its_line),
        cmocka_unit_test(a_scenario_cut_anywhere_is_refused_or_read),
    };

    return cmocka_run_group_tests_name("sim/scenario", tests, NULL, NULL);
}
