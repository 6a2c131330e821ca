/* SPDX-License-Identifier: Apache-2.0 */
/* What every transport must let the M-channel promise: each rule is run once
 * for every member of the transport table, through the public API.  The rules
 * are in transport/, by what they are about. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "tests/conformance/transport/rig.h"

#define TRANSPORTS_MAX 16
#define RULES_MAX 64

static struct rig rigs[TRANSPORTS_MAX];
static struct CMUnitTest tests[TRANSPORTS_MAX * RULES_MAX];
static char names[TRANSPORTS_MAX * RULES_MAX][96];
static size_t n_tests;

static void
add(struct rig *rig, const struct rule *rule)
{
    if (rule->real_only && rig->class->simulated) {
        return;
    }
    assert_true(n_tests < sizeof tests / sizeof *tests);
    struct CMUnitTest *test = &tests[n_tests];
    char *name = names[n_tests++];
    snprintf(name, sizeof *names, "%s_%s", rig->class->name, rule->name);
    test->name = name;
    test->test_func = rule->run;
    test->setup_func = rig_set_up;
    test->teardown_func = rig_tear_down;
    test->initial_state = rig;
}

int
main(void)
{
    static const struct rule *const lists[] = {flow_rules, session_rules,
                                               class_rules, many_rules, process_rules};
    for (size_t i = 0; transport_table[i]; i++) {
        rigs[i].class = transport_table[i];
        for (size_t j = 0; j < sizeof lists / sizeof *lists; j++) {
            for (const struct rule *rule = lists[j]; rule->name; rule++) {
                add(&rigs[i], rule);
            }
        }
    }
    return _cmocka_run_group_tests("conformance/transport", tests, n_tests,
                                   NULL, NULL);
}
