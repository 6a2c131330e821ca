/* SPDX-License-Identifier: Apache-2.0 */
/* mgmt:// names: each thing has one, and nothing else is one. */
#include "model/name.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define VM "0f8fad5b-d9cb-469f-a165-70867728950e"

static void
every_kind_survives_parsing(void **state)
{
    static const struct {
        const char *text;
        enum name_kind kind;
    } names[] = {
        {"mgmt://local/vm/" VM, NAME_VM},
        {"mgmt://local/vm/" VM "/agent", NAME_AGENT},
        {"mgmt://local/host/rack1-03", NAME_HOST},
        {"mgmt://local/host/rack1-03/cpu/0/pstate", NAME_PSTATE},
        {"mgmt://local/host/rack1-03/cpu/4294967295/pstate", NAME_PSTATE},
        {"mgmt://local/host/rack1-03/power", NAME_POWER},
        {"mgmt://local/host/rack1-03/broker", NAME_BROKER},
        {"mgmt://local/host/rack1-03/broker/power", NAME_BROKER_POWER},
    };
    char again[NAME_TEXT_SIZE];
    struct name name;

    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        assert_int_equal(name_parse(&name, names[i].text), 0);
        assert_int_equal(name.kind, names[i].kind);
        name_format(&name, again);
        assert_string_equal(again, names[i].text);
    }
}

static void
parts_are_found(void **state)
{
    struct name name;

    assert_int_equal(name_parse(&name, "mgmt://lab/host/h7/cpu/3/pstate"), 0);
    assert_string_equal(name.domain, "lab");
    assert_string_equal(name.host, "h7");
    assert_int_equal(name.cpu, 3);
    assert_true(uuid_is_zero(&name.vm));
}

static void
longest_name_fits_and_a_longer_part_is_none(void **state)
{
    char part[66], text[2 * NAME_TEXT_SIZE], again[NAME_TEXT_SIZE];
    struct name name;

    memset(part, 'd', 64);
    part[64] = '\0';
    snprintf(text, sizeof text, "mgmt://%s/host/%s/cpu/4294967295/pstate", part,
             part);
    assert_true(strlen(text) < NAME_TEXT_SIZE);
    assert_int_equal(name_parse(&name, text), 0);
    name_format(&name, again);
    assert_string_equal(again, text);
    part[64] = 'd';
    part[65] = '\0';
    snprintf(text, sizeof text, "mgmt://lab/host/%s", part);
    assert_int_equal(name_parse(&name, text), -EINVAL);
    snprintf(text, sizeof text, "mgmt://%s/host/h", part);
    assert_int_equal(name_parse(&name, text), -EINVAL);
}

static void
anything_else_is_no_name(void **state)
{
    static const char *const bad[] = {
        "",
        "mgmt://",
        "mgmt:///",
        "mgmt://lab",
        "mgmt://lab/vm",
        "mgmt://lab/vm/",
        "mgmt://lab/vm/web1",
        "mgmt://lab/vm/" VM "/",
        "mgmt://lab/vm/" VM "/agent/",
        "mgmt://lab/vm/" VM "/power",
        "mgmt://lab/host/",
        "mgmt://lab/host/../vm",
        "mgmt://lab/host/h1/",
        "mgmt://lab/host/h1/cpu/3",
        "mgmt://lab/host/h1/cpu/03/pstate",
        "mgmt://lab/host/h1/cpu/+3/pstate",
        "mgmt://lab/host/h1/cpu/-1/pstate",
        "mgmt://lab/host/h1/cpu/4294967296/pstate",
        "mgmt://lab/host/h1/cpu/3/pstate/x",
        "mgmt://lab/host/h1/broker/cpu",
        "mgmt:///host/h1/power",
        "mgmt://la b/host/h1/power",
        "MGMT://lab/host/h1/power",
        "http://lab/host/h1/power",
        "mgmt://lab//host/h1/power",
        "mgmt://////////////////",
    };
    struct name name, was;

    memset(&name, 0x5a, sizeof name);
    was = name;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        assert_int_equal(name_parse(&name, bad[i]), -EINVAL);
        assert_memory_equal(&name, &was, sizeof name);
    }
}

static void
endless_text_is_refused(void **state)
{
    char text[5000];

    memset(text, 'a', sizeof text - 1);
    memcpy(text, "mgmt://", 7);
    text[sizeof text - 1] = '\0';
    struct name name;
    assert_int_equal(name_parse(&name, text), -EINVAL);
}

static void
short_cuts_make_the_same_names(void **state)
{
    char text[NAME_TEXT_SIZE];
    struct uuid vm;

    uuid_parse(&vm, VM);
    name_of_vm("lab", &vm, NAME_AGENT, text);
    assert_string_equal(text, "mgmt://lab/vm/" VM "/agent");
    name_of_host("lab", "h1", NAME_PSTATE, 3, text);
    assert_string_equal(text, "mgmt://lab/host/h1/cpu/3/pstate");
}

static void
a_p_state_s_name_has_all_its_words(void **state)
{
    static const char *const bad[] = {
        "mgmt://lab/host/h7/xpu/3/pstate",
        "mgmt://lab/host/h7/cpu/3/cstate",
        "mgmt://lab/host/h7/cpu/x/pstate",
        "mgmt://lab/host/h7/cpu/4294967296/pstate",
        "mgmt://lab/host/h7/cpu/03/pstate",
        "mgmt://lab/host/h7/cpu/3",
    };
    struct name name;

    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        assert_int_equal(name_parse(&name, bad[i]), -EINVAL);
    }
    assert_int_equal(
        name_parse(&name, "mgmt://lab/host/h7/cpu/4294967295/pstate"), 0);
    assert_true(name.cpu == UINT32_MAX);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_p_state_s_name_has_all_its_words),
        cmocka_unit_test(every_kind_survives_parsing),
        cmocka_unit_test(parts_are_found),
        cmocka_unit_test(longest_name_fits_and_a_longer_part_is_none),
        cmocka_unit_test(anything_else_is_no_name),
        cmocka_unit_test(endless_text_is_refused),
        cmocka_unit_test(short_cuts_make_the_same_names),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
