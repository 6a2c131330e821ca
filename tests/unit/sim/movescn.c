/* SPDX-License-Identifier: Apache-2.0 */
/* A scenario of moves is read as it is meant, or refused by line and reason. */
#include "sim/movescn.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define START "about = \"x\";\nduration_s = 4;\nbrokers = 2;\n"
#define VMS "vms = ( { name = \"web\"; } );\n"
#define NO_EVENTS "events = ();\n"
#define EXPECT "expect = { gaps = 0; };\n"

static struct movescn scn;
static char why[512];

static void
just_accepted(const char *text)
{
    int kind = movescn_parse(&scn, text, "t.scn", why, sizeof why);

    assert_int_equal(kind, 1);
}

static void
refused(const char *text, const char *words)
{
    why[0] = '\0';
    if (movescn_parse(&scn, text, "t.scn", why, sizeof why) != -EINVAL) {
        fail_msg("accepted: %s", text);
    }
    if (strncmp(why, "t.scn:", 6) || !strstr(why, words)) {
        fail_msg("\"%s\" lacks \"%s\"", why, words);
    }
}

static void
the_smallest_has_defaults(void **state)
{
    just_accepted(START VMS NO_EVENTS EXPECT);
    assert_int_equal(scn.config.seed, 1);
    assert_int_equal(scn.config.n_brokers, 2);
    assert_int_equal(scn.config.n_vms, 1);
    assert_int_equal(scn.config.n_events, 0);
    assert_int_equal(scn.config.places[0], 0);
    assert_int_equal(scn.n_expects, 1);
    assert_true(scn.expects[0].low == 0 && scn.expects[0].high == 0);
}

static void
an_event_is_read_with_what_it_needs(void **state)
{
    just_accepted(START "vms = ( { name = \"web\"; broker = 1; }, { name = "
                        "\"db\"; } );\n"
                        "events = ( { at_ms = 100; event = \"move\"; vm = "
                        "\"web\"; to = 0; takes_ms = 50; },\n"
                        "{ at_ms = 100; event = \"kill_broker\"; broker = 1; "
                        "for_ms = 200; },\n"
                        "{ at_ms = 300; event = \"clone\"; vm = \"db\"; of = "
                        "\"web\"; } );\n"
                        "expect = { sessions = [2, 4]; };\n");
    assert_int_equal(scn.config.n_events, 3);
    assert_int_equal(scn.config.places[0], 1);
    assert_true(scn.expects[0].low == 2 && scn.expects[0].high == 4);
}

static void
another_kind_of_scenario_is_not_this_ones(void **state)
{
    assert_int_equal(movescn_parse(&scn, "about = \"x\";\nguests = ();\n",
                                   "t.scn", why, sizeof why),
                     0);
}

static void
what_is_missing_or_means_nothing_is_named(void **state)
{
    static const struct {
        const char *text, *words;
    } bad[] = {
        {"brokers = 2;\n" VMS NO_EVENTS EXPECT, "about"},
        {"about = \"x\";\nbrokers = 2;\n" VMS NO_EVENTS EXPECT, "duration_s"},
        {"about = \"x\";\nduration_s = 4;\nbrokers = 0;\n" VMS NO_EVENTS EXPECT,
         ""},
        {"about = \"x\";\nduration_s = 4;\nbrokers = 99;\n" VMS NO_EVENTS
             EXPECT,
         "brokers"},
        {"about = \"x\";\nduration_s = -1;\nbrokers = 2;\n" VMS NO_EVENTS
             EXPECT,
         "duration_s"},
        {"about = 7;\nduration_s = 4;\nbrokers = 2;\n" VMS NO_EVENTS EXPECT,
         "about"},
        {START VMS NO_EVENTS EXPECT "more = 1;\n", "more"},
        {START NO_EVENTS EXPECT, "vms"},
        {START VMS EXPECT, "events"},
        {START VMS NO_EVENTS, "expect"},
        {START "vms = ( { } );\n" NO_EVENTS EXPECT, "name"},
        {START "vms = ( { name = \"web\"; broker = 2; } );\n" NO_EVENTS EXPECT,
         "broker"},
        {START "vms = ( { name = \"web\"; wheels = 4; } );\n" NO_EVENTS EXPECT,
         "wheels"},
        {START "vms = ( { name = \"a\"; }, { name = \"b\"; }, { name = \"c\"; "
               "}, { name = \"d\"; }, { name = \"e\"; }, { name = \"f\"; }, { "
               "name = \"g\"; }, { name = \"h\"; }, { name = \"i\"; }, { name "
               "= \"j\"; }, { name = \"k\"; }, { name = \"l\"; }, { name = "
               "\"m\"; }, { name = \"n\"; }, { name = \"o\"; }, { name = "
               "\"p\"; }, { name = \"q\"; } );\n" NO_EVENTS EXPECT,
         "VMs"},
        {START VMS
         "events = ( { event = \"snapshot\"; vm = \"web\"; } );\n" EXPECT,
         "at_ms"},
        {START VMS "events = ( { at_ms = 1; } );\n" EXPECT, "event"},
        {START VMS "events = ( { at_ms = 1; event = \"fly\"; } );\n" EXPECT,
         "fly"},
        {START VMS
         "events = ( { at_ms = 1; event = \"snapshot\"; } );\n" EXPECT,
         "vm"},
        {START VMS "events = ( { at_ms = 1; event = \"snapshot\"; vm = \"db\"; "
                   "} );\n" EXPECT,
         "db"},
        {START VMS "events = ( { at_ms = 1; event = \"move\"; vm = \"web\"; to "
                   "= 9; } );\n" EXPECT,
         "to"},
        {START VMS "events = ( { at_ms = 1; event = \"clone\"; vm = \"web\"; "
                   "of = \"db\"; } );\n" EXPECT,
         "db"},
        {START VMS "events = ( { at_ms = 1; event = \"kill_broker\"; broker = "
                   "0; for_ms = -2; } );\n" EXPECT,
         "for_ms"},
        {START VMS "events = ( { at_ms = 9; event = \"snapshot\"; vm = "
                   "\"web\"; }, { at_ms = 8; event = \"revert\"; vm = "
                   "\"web\"; } );\n" EXPECT,
         ""},
        {START VMS NO_EVENTS "expect = { joy = 1; };\n", "joy"},
        {START VMS NO_EVENTS "expect = { gaps = \"many\"; };\n", "gaps"},
        {START VMS NO_EVENTS "expect = { gaps = [0, 1, 2]; };\n", "gaps"},
    };

    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        refused(bad[i].text, bad[i].words);
    }
}

static void
it_is_run_and_each_expectation_judged(void **state)
{
    struct moves_result result;
    bool met[MOVESCN_EXPECTS_MAX];

    just_accepted(START VMS "events = ( { at_ms = 500; event = \"move\"; vm = "
                            "\"web\"; to = 1; takes_ms = 100; } );\n"
                            "expect = { handed_over = 1; gaps = 0; };\n");
    assert_true(movescn_run(&scn, NULL, &result, met));
    assert_true(met[0] && met[1]);
    just_accepted(START VMS NO_EVENTS
                  "expect = { handed_over = [1, 3]; gaps = 0; };\n");
    assert_false(movescn_run(&scn, NULL, &result, met));
    assert_true(!met[0] && met[1]);
    assert_true(movescn_value(&scn.expects[0], &result) == 0);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_smallest_has_defaults),
        cmocka_unit_test(an_event_is_read_with_what_it_needs),
        cmocka_unit_test(another_kind_of_scenario_is_not_this_ones),
        cmocka_unit_test(what_is_missing_or_means_nothing_is_named),
        cmocka_unit_test(it_is_run_and_each_expectation_judged),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
