/* SPDX-License-Identifier: Apache-2.0 */
/* Every gauge answers at every moment of a broker's life; while the broker is
 * stopped its numbers are not known and its words are "stopped". */
#include "sim/gauge.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#include "sim/invariant.h"
#include "sim/run.h"
#include "sim/world.h"

static const char scene[] =
    "about = \"x\"; duration_s = 16;\n"
    "host = { cpus = [0, 1]; policy = { name = \"basic\"; };\n"
    "  cap = { driver = \"sim\"; };\n"
    "  budget = { max_w = 300; safe_w = 120; lease_ms = 60000; }; };\n"
    "guests = (\n"
    "  { name = \"web1\"; cpu = 0; load = ( { at_s = 0; rate = 200; } ); },\n"
    "  { name = \"web2\"; cpu = 1; load = ( { at_s = 0; rate = 20; } ); } );\n"
    "faults = ( { at_s = 1; fault = \"order_cap\"; text = \"250\"; },\n"
    "  { at_s = 3; fault = \"kill_agent\"; guest = \"web1\"; for_s = 2; },\n"
    "  { at_s = 4; fault = \"lose_sensor\"; for_s = 2; },\n"
    "  { at_s = 8; fault = \"stop_broker\"; for_s = 2; },\n"
    "  { at_s = 13; fault = \"end_vm\"; guest = \"web2\"; } );\n"
    "expect = ( { at_s = 15; raises = [0, 999]; } );\n";

static const char *const brokers_numbers[] = {
    "raises", "lowerings", "failed_actions", "notices", "reports", "alarms",
    "notes",  "refused",   "wanted_cap_w",   "power_w", NULL,
};
static const char *const brokers_words[] = {"policy", "trouble",
                                            "power_quality", NULL};
static unsigned n_looks, n_stopped;

static bool
has(const char *const *names, const char *name)
{
    while (*names && strcmp(*names, name)) {
        names++;
    }
    return *names;
}

static void
look(const struct world *world, const struct gauge *gauge, uint32_t index)
{
    char word[GAUGE_TEXT_SIZE];

    if (gauge->number) {
        double value = gauge->number(world, index);

        if (!world->engine && has(brokers_numbers, gauge->name)) {
            assert_true(isnan(value));
        }
        return;
    }
    memset(word, 'x', sizeof word);
    gauge->word(world, index, word);
    assert_non_null(memchr(word, '\0', sizeof word));
    if (!world->engine && has(brokers_words, gauge->name)) {
        assert_string_equal(word, "stopped");
    }
}

bool __real_invariant_holds(const struct world *, char *why, size_t);
bool __wrap_invariant_holds(const struct world *, char *why, size_t);

bool
__wrap_invariant_holds(const struct world *world, char *why, size_t size)
{
    n_looks++;
    n_stopped += !world->engine;
    for (const struct gauge *gauge = gauge_table; gauge->name; gauge++) {
        for (uint32_t i = 0; i < 2; i++) {
            look(world, gauge, i);
        }
    }
    return __real_invariant_holds(world, why, size);
}

static void
each_gauge_answers_at_each_moment(void **state)
{
    static struct scenario scenario;
    static struct run_result result;
    char why[512] = "";

    if (scenario_parse(&scenario, scene, "scene", why, sizeof why)) {
        fail_msg("%s", why);
    }
    run_scenario(&scenario, NULL, &result);
    scenario_fini(&scenario);
    assert_string_equal(result.broken, "");
    assert_true(result.passed);
    assert_true(n_stopped > 0 && n_looks > n_stopped);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_gauge_answers_at_each_moment),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
