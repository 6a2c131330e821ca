/* SPDX-License-Identifier: Apache-2.0 */
/* A row of the journal in a few words: names people know, and what mattered. */
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#include "ctl/row.h"

#define UUID "a203ab96-afc8-8640-9dcf-68845ebe4f37"

static json_t *
parse(const char *text)
{
    json_t *json = json_loads(text, 0, NULL);

    assert_non_null(json);
    return json;
}

static void
assert_said(const char *row, const char *expected)
{
    json_t *vms = parse("[{\"name\":\"web1\",\"uuid\":\"" UUID "\"}]");
    json_t *json = parse(row);
    char said[ROW_SAID_SIZE];

    row_said(json, vms, said);
    assert_string_equal(said, expected);
    json_decref(json);
    json_decref(vms);
}

static void
assert_subject(const char *subject, bool with_vms, const char *expected)
{
    json_t *vms =
        with_vms ? parse("[{\"name\":\"web1\",\"uuid\":\"" UUID "\"}]") : NULL;
    json_t *row = json_pack("{s:s}", "subject", subject);
    char out[ROW_SUBJECT_SIZE];

    row_subject(row, vms, out);
    assert_string_equal(out, expected);
    json_decref(row);
    json_decref(vms);
}

static void
subjects_are_called_as_people_call_them(void **state)
{
    assert_subject("mgmt://local/vm/" UUID "/agent", true, "web1");
    assert_subject("mgmt://local/vm/" UUID, true, "web1");
    assert_subject("mgmt://local/host/h1/cpu/12/pstate", true, "cpu12");
    assert_subject("mgmt://local/host/h1/broker", true, "broker");
    assert_subject("mgmt://local/host/h1/power", true, "power");
    assert_subject("mgmt://local/host/h1", true, "host");
}

static void
names_within_a_text_are_shortened(void **state)
{
    json_t *vms = parse("[{\"name\":\"web1\",\"uuid\":\"" UUID "\"}]");
    char said[ROW_SAID_SIZE];

    row_names("came on mgmt://local/vm/" UUID "/agent's channel", vms, said);
    assert_string_equal(said, "came on web1's channel");
    row_names("of mgmt://a/host/b/cpu/3/pstate: it; mgmt://a/host/b", vms,
              said);
    assert_string_equal(said, "of cpu3: it; host");
    row_names("mgmt:// is mgmt://none/such, or not", vms, said);
    assert_string_equal(said, "mgmt:// is mgmt://none/such, or not");
    json_decref(vms);
}

static void
a_release_is_told_in_words(void **state)
{
    assert_said("{\"kind\":\"action\",\"detail\":{\"domain\":0,"
                "\"attempt\":1}}",
                "back to what was found");
}

static void
a_vm_nobody_knows_is_its_uuid_and_what_is_no_name_stays(void **state)
{
    assert_subject("mgmt://local/vm/" UUID, false, UUID);
    assert_subject("something else", true, "something else");
    assert_subject("", true, "");
}

static void
a_notice_tells_share_and_worst(void **state)
{
    assert_said("{\"kind\":\"event\",\"detail\":{\"n_requests\":20,"
                "\"n_violations\":3,\"threshold_us\":3000,\"worst_us\":5250}}",
                "3 of 20 requests above 3.000 ms, the worst 5.250 ms");
}

static void
a_decision_tells_step_vm_and_values(void **state)
{
    assert_said("{\"type\":\"decision\",\"detail\":{\"domain\":0,\"pstate\":1,"
                "\"from\":2,\"vm\":\"" UUID "\",\"values\":[{\"name\":"
                "\"violations\",\"value\":12,\"unit\":\"\"}]}}",
                "p-state 1, before 2, for web1: violations 12");
}

static void
a_decision_without_effect_tells_what_stands(void **state)
{
    assert_said("{\"kind\":\"decision\",\"detail\":{\"effect\":false,"
                "\"wished\":3,\"stands\":1,\"vm\":\"" UUID "\"}}",
                "no change, p-state 1 stands, for web1");
}

static void
a_release_is_called_so(void **state)
{
    assert_said("{\"kind\":\"decision\",\"detail\":{\"domain\":0,\"from\":2}}",
                "released");
}

static void
actions_and_their_attempts_are_told(void **state)
{
    assert_said("{\"kind\":\"action\",\"detail\":{\"pstate\":2,\"attempt\":1}}",
                "p-state 2");
    assert_said("{\"kind\":\"action\",\"detail\":{\"pstate\":2,\"attempt\":3}}",
                "p-state 2, attempt 3");
}

static void
outcomes_tell_success_with_its_time_and_failure_with_its_reason(void **state)
{
    assert_said("{\"kind\":\"outcome\",\"detail\":{\"error\":0,\"pstate\":2,"
                "\"received_ns\":1000,\"read_ns\":251000}}",
                "done, reads back as p-state 2, within 0.250 ms");
    assert_said("{\"kind\":\"outcome\",\"detail\":{\"error\":13,\"reason\":"
                "\"cpu0/cpufreq\"}}",
                "failed: Permission denied: cpu0/cpufreq");
}

static void
other_rows_are_told_by_what_they_have(void **state)
{
    assert_said("{\"kind\":\"event\",\"detail\":{\"reason\":\"it went\"}}",
                "reason it went");
    assert_said("{\"kind\":\"event\",\"detail\":{\"values\":[{\"name\":"
                "\"utilization\",\"value\":42,\"unit\":\"%\"}],\"busy_ns\":1}}",
                "utilization 42 %");
    assert_said("{\"kind\":\"decision\",\"detail\":{}}", "");
    assert_said("{\"kind\":\"dream\"}", "");
    assert_said("{}", "");
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(subjects_are_called_as_people_call_them),
        cmocka_unit_test(names_within_a_text_are_shortened),
        cmocka_unit_test(a_release_is_told_in_words),
        cmocka_unit_test(
            a_vm_nobody_knows_is_its_uuid_and_what_is_no_name_stays),
        cmocka_unit_test(a_notice_tells_share_and_worst),
        cmocka_unit_test(a_decision_tells_step_vm_and_values),
        cmocka_unit_test(a_decision_without_effect_tells_what_stands),
        cmocka_unit_test(a_release_is_called_so),
        cmocka_unit_test(actions_and_their_attempts_are_told),
        cmocka_unit_test(
            outcomes_tell_success_with_its_time_and_failure_with_its_reason),
        cmocka_unit_test(other_rows_are_told_by_what_they_have),
    };

    return cmocka_run_group_tests_name("row", tests, NULL, NULL);
}
