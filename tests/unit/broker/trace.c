/* SPDX-License-Identifier: Apache-2.0 */
/* The hops of a trace, from rows as the journal has them: in order, on one
 * clock, and without those that nobody knows of. */
#include "broker/control/trace.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define NOTICE                                                                 \
    "{\"kind\":\"event\",\"name\":\"GUEST_NOTICE\",\"subject\":\"S\","         \
    "\"time_ns\":9000500,\"detail\":{\"n_requests\":100,\"n_violations\":12,"  \
    "\"threshold_us\":3000,\"worst_us\":5200,\"worst_end_ns\":1008000000,"     \
    "\"seen_ns\":1008500000,\"sent_ns\":1008900000,\"received_ns\":9000000,"   \
    "\"offset_ns\":1000000000,\"offset_error_ns\":%s}}"
#define DECISION                                                               \
    "{\"kind\":\"decision\",\"name\":\"basic/raise\",\"subject\":\"K\","       \
    "\"time_ns\":9000600,\"detail\":{\"domain\":0,\"pstate\":2,\"from\":3,"    \
    "\"values\":[{\"name\":\"violations\",\"value\":12,\"unit\":\"\"},"        \
    "{\"name\":\"tolerated\",\"value\":1,\"unit\":\"%\"}],\"n_losers\":1}}"
#define ACTION                                                                 \
    "{\"kind\":\"action\",\"name\":\"SET_PSTATE\",\"subject\":\"K\","          \
    "\"time_ns\":9000700,\"detail\":{\"domain\":0,\"pstate\":2}}"
#define OUTCOME(error)                                                         \
    "{\"kind\":\"outcome\",\"name\":\"OUTCOME\",\"subject\":\"K\","            \
    "\"time_ns\":9001100,\"detail\":{\"error\":" error                         \
    ",\"pstate\":2,\"received_ns\":9000800,\"checked_ns\":9000810,"            \
    "\"written_ns\":9000900,\"read_ns\":9000950,\"reason\":\"r\"}}"

static json_t *
hops_of(const char *rows)
{
    json_error_t error;
    json_t *json = json_loads(rows, 0, &error);

    if (!json) {
        fail_msg("%s", error.text);
    }
    json_t *hops = trace_hops(json);
    json_decref(json);
    return hops;
}

static json_t *
notice_hops(const char *error_ns, const char *rest)
{
    char rows[4096];

    snprintf(rows, sizeof rows, "[" NOTICE "%s]", error_ns, rest);
    return hops_of(rows);
}

static const char *
hop_name(json_t *hops, size_t i)
{
    return json_string_value(json_object_get(json_array_get(hops, i), "hop"));
}

static const char *
hop_text(json_t *hops, size_t i)
{
    return json_string_value(json_object_get(json_array_get(hops, i), "text"));
}

static json_int_t
hop_at(json_t *hops, size_t i)
{
    return json_integer_value(
        json_object_get(json_array_get(hops, i), "at_ns"));
}

static void
the_straight_path_has_every_hop_in_order(void **state)
{
    static const struct {
        const char *name;
        json_int_t at_ns;
    } expected[] = {
        {"request_ended", 8000000},     {"probe_read", 8500000},
        {"agent_sent", 8900000},        {"back_received", 9000000},
        {"engine_noted", 9000500},      {"decided", 9000600},
        {"arbiter_chose", 9000600},     {"action_sent", 9000700},
        {"platform_received", 9000800}, {"limits_checked", 9000810},
        {"driver_wrote", 9000900},      {"read_back", 9000950},
        {"outcome", 9001100},
    };
    json_t *hops =
        notice_hops("25000", "," DECISION "," ACTION "," OUTCOME("0"));

    assert_int_equal(json_array_size(hops),
                     sizeof expected / sizeof expected[0]);
    for (size_t i = 0; i < json_array_size(hops); i++) {
        assert_string_equal(hop_name(hops, i), expected[i].name);
        assert_int_equal(hop_at(hops, i), expected[i].at_ns);
    }
    json_decref(hops);
}

static void
only_the_guests_times_have_an_error(void **state)
{
    json_t *hops = notice_hops("25000", "," ACTION);

    for (size_t i = 0; i < json_array_size(hops); i++) {
        json_int_t error = json_integer_value(
            json_object_get(json_array_get(hops, i), "error_ns"));
        assert_int_equal(error, i < 3 ? 25000 : 0);
    }
    json_decref(hops);
}

static void
an_unknown_guest_clock_gives_no_time(void **state)
{
    json_t *hops = notice_hops("-1", "");

    for (size_t i = 0; i < 3; i++) {
        assert_true(
            json_is_null(json_object_get(json_array_get(hops, i), "at_ns")));
        assert_non_null(strstr(hop_text(hops, i), "not known"));
    }
    assert_int_equal(hop_at(hops, 3), 9000000);
    json_decref(hops);
}

/* A guest may say any time and any offset. */
static void
a_guest_clock_that_cant_be_true_gives_no_time(void **state)
{
    static const char *const lies[] = {
        "\"sent_ns\":9223372036854775807,\"offset_ns\":-9223372036854775808",
        "\"sent_ns\":1,\"offset_ns\":9223372036854775807",
        "\"sent_ns\":9223372036854775807,\"offset_ns\":0",
        "\"sent_ns\":5,\"offset_ns\":6",
    };

    for (size_t i = 0; i < sizeof lies / sizeof *lies; i++) {
        char rows[512];

        snprintf(rows, sizeof rows,
                 "[{\"kind\":\"event\",\"name\":\"GUEST_NOTICE\","
                 "\"time_ns\":7,\"detail\":{\"worst_us\":1,"
                 "\"offset_error_ns\":1,%s}}]",
                 lies[i]);
        json_t *hops = hops_of(rows);
        assert_string_equal(hop_name(hops, 0), "agent_sent");
        assert_true(
            json_is_null(json_object_get(json_array_get(hops, 0), "at_ns")));
        assert_non_null(strstr(hop_text(hops, 0), "can't be true"));
        json_decref(hops);
    }
}

static void
nanoseconds_after_half_a_year_are_whole(void **state)
{
    json_t *hops =
        hops_of("[{\"kind\":\"outcome\",\"name\":\"OUTCOME\",\"time_ns\":"
                "15552000000000003,\"detail\":{\"error\":0,\"received_ns\":"
                "15552000000000001,\"written_ns\":15552000000000002}}]");

    assert_int_equal(json_array_size(hops), 3);
    assert_true(hop_at(hops, 0) == INT64_C(15552000000000001));
    assert_true(hop_at(hops, 1) == INT64_C(15552000000000002));
    json_decref(hops);
}

static void
a_decision_tells_rule_values_and_step(void **state)
{
    json_t *hops = hops_of("[" DECISION "]");

    assert_string_equal(hop_text(hops, 0),
                        "rule basic/raise: violations 12, tolerated 1 %");
    assert_non_null(strstr(hop_text(hops, 1), "p-state 2 (before: 3)"));
    assert_non_null(strstr(hop_text(hops, 1), "1 other wish lost"));
    json_decref(hops);
}

static void
a_wish_without_effect_says_what_stands(void **state)
{
    json_t *hops = hops_of(
        "[{\"kind\":\"decision\",\"name\":\"basic/lower\",\"time_ns\":5,"
        "\"detail\":{\"effect\":false,\"wished\":3,\"stands\":1,"
        "\"winner\":\"basic/raise\",\"held\":true}}]");

    assert_int_equal(json_array_size(hops), 2);
    assert_string_equal(hop_name(hops, 1), "arbiter_kept");
    assert_non_null(strstr(hop_text(hops, 1), "p-state 1 stands"));
    assert_non_null(strstr(hop_text(hops, 1), "dwell"));
    json_decref(hops);
}

static void
a_release_says_so(void **state)
{
    json_t *hops = hops_of(
        "[{\"kind\":\"decision\",\"name\":\"arbiter/release\",\"time_ns\":5,"
        "\"subject\":\"K\",\"detail\":{\"domain\":0,\"from\":1}}]");

    assert_non_null(strstr(hop_text(hops, 1), "released"));
    json_decref(hops);
}

static void
a_failed_action_tells_how_far_it_came_and_why(void **state)
{
    json_t *hops =
        hops_of("[{\"kind\":\"outcome\",\"name\":\"OUTCOME\",\"time_ns\":9,"
                "\"detail\":{\"error\":1,\"pstate\":0,\"received_ns\":7,"
                "\"checked_ns\":0,\"written_ns\":0,\"read_ns\":0,\"reason\":"
                "\"domain 3 is not ours\"}}]");

    assert_int_equal(json_array_size(hops), 2);
    assert_string_equal(hop_name(hops, 0), "platform_received");
    assert_string_equal(hop_name(hops, 1), "outcome");
    assert_non_null(strstr(hop_text(hops, 1), "failed"));
    assert_non_null(strstr(hop_text(hops, 1), "domain 3 is not ours"));
    json_decref(hops);
}

static void
an_event_of_the_engines_own_begins_at_its_sample(void **state)
{
    json_t *hops =
        hops_of("[{\"kind\":\"event\",\"name\":\"UTILIZATION\",\"time_ns\":50,"
                "\"detail\":{\"sample_ns\":40,\"values\":[{\"name\":\"busy\","
                "\"value\":42.5,\"unit\":\"%\"}]}}]");

    assert_string_equal(hop_name(hops, 0), "sampled");
    assert_int_equal(hop_at(hops, 0), 40);
    assert_non_null(strstr(hop_text(hops, 1), "busy 42.5 %"));
    json_decref(hops);
}

static void
rows_of_another_version_do_no_harm(void **state)
{
    static const char *const rows[] = {
        "[]",
        "[null]",
        "[{}]",
        "[{\"kind\":7}]",
        "[{\"kind\":\"dream\"}]",
        "[{\"kind\":\"event\"}]",
        "[{\"kind\":\"event\",\"detail\":[1]}]",
        "[{\"kind\":\"decision\",\"detail\":{\"values\":7}}]",
        "[{\"kind\":\"decision\",\"detail\":{\"values\":[{}]}}]",
        "[{\"kind\":\"decision\",\"detail\":{\"effect\":false}}]",
        "[{\"kind\":\"action\"}]",
        "[{\"kind\":\"outcome\",\"detail\":{\"error\":\"x\"}}]",
    };

    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        json_t *hops = hops_of(rows[i]);
        json_t *hop;
        size_t j;

        assert_non_null(hops);
        json_array_foreach(hops, j, hop)
        {
            assert_true(json_is_object(hop));
        }
        json_decref(hops);
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_straight_path_has_every_hop_in_order),
        cmocka_unit_test(only_the_guests_times_have_an_error),
        cmocka_unit_test(an_unknown_guest_clock_gives_no_time),
        cmocka_unit_test(a_guest_clock_that_cant_be_true_gives_no_time),
        cmocka_unit_test(nanoseconds_after_half_a_year_are_whole),
        cmocka_unit_test(a_decision_tells_rule_values_and_step),
        cmocka_unit_test(a_wish_without_effect_says_what_stands),
        cmocka_unit_test(a_release_says_so),
        cmocka_unit_test(a_failed_action_tells_how_far_it_came_and_why),
        cmocka_unit_test(an_event_of_the_engines_own_begins_at_its_sample),
        cmocka_unit_test(rows_of_another_version_do_no_harm),
    };

    return cmocka_run_group_tests_name("trace", tests, NULL, NULL);
}
