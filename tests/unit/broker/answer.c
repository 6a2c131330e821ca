/* SPDX-License-Identifier: Apache-2.0 */
/* What the broker answers on the control socket: what is, what is unknown, what
 * is refused and what to do then, and that an answer memory is short for is an
 * error, not a part. */
#include "base/text.h"
#include "hardware/hardware.h"
#include "tests/unit/broker/controlbench.h"

/* Answers. */

static void
status_says_what_there_is(void **state)
{
    struct fixture *f = *state;
    json_t *data = ask(f, "{\"verb\":\"status\"}");

    assert_string_equal(text_of(data, "policy"), "basic");
    assert_string_equal(text_of(data, "host"), "h1");
    assert_int_equal(json_integer_value(json_object_get(data, "cpus")), 3);
    assert_int_equal(json_integer_value(json_object_get(data, "agents")), 1);
    assert_true(json_is_null(json_object_get(data, "trouble")));
    json_decref(data);
}

static void
unknown_power_is_null_and_never_zero(void **state)
{
    struct fixture *f = *state;
    json_t *data = ask(f, "{\"verb\":\"power\"}");

    assert_true(json_is_null(json_object_get(data, "power_w")));
    assert_string_equal(text_of(data, "quality"), "unknown");
    json_decref(data);
    f->host.power = (struct power_reading){.quality = QUALITY_MODELLED,
                                           .power_mw = 35500,
                                           .time = f->now - NSEC_PER_SEC,
                                           .source = "powermodel"};
    data = ask(f, "{\"verb\":\"power\"}");
    assert_true(json_real_value(json_object_get(data, "power_w")) == 35.5);
    assert_string_equal(text_of(data, "source"), "powermodel");
    assert_string_equal(text_of(data, "quality"), "model");
    json_decref(data);
}

static void
trouble_cut_in_mid_character_is_still_told(void **state)
{
    struct fixture *f = *state;

    snprintf(f->engine.status.trouble, sizeof f->engine.status.trouble,
             "bmc0: \xe2\x82");
    json_t *data = ask(f, "{\"verb\":\"status\"}");
    assert_string_equal(text_of(data, "trouble"), "bmc0: ??");
    json_decref(data);
}

static void
unknown_utilization_is_null(void **state)
{
    struct fixture *f = *state;
    json_t *data = ask(f, "{\"verb\":\"cpus\"}");
    json_t *cpus = json_object_get(data, "cpus");

    assert_int_equal(json_array_size(cpus), 3);
    assert_true(
        json_is_null(json_object_get(json_array_get(cpus, 1), "util_percent")));
    assert_true(json_real_value(json_object_get(json_array_get(cpus, 0),
                                                "util_percent")) == 50);
    assert_true(json_real_value(json_object_get(json_array_get(cpus, 0),
                                                "freq_mhz")) == 2000);
    json_decref(data);
    data = ask(f, "{\"verb\":\"vms\"}");
    json_t *vm = json_array_get(json_object_get(data, "vms"), 0);
    assert_string_equal(text_of(vm, "name"), "web0");
    assert_true(json_is_null(json_object_get(vm, "util_percent")));
    assert_true(json_is_null(json_object_get(vm, "violation_percent")));
    assert_true(json_is_null(json_object_get(vm, "last_epoch")));
    json_decref(data);
}

static void
a_cpu_without_control_has_no_pstate(void **state)
{
    struct fixture *f = *state;

    f->host.cpus[2].domain = UINT32_MAX;
    json_t *data = ask(f, "{\"verb\":\"cpus\"}");
    json_t *cpu = json_array_get(json_object_get(data, "cpus"), 2);
    assert_true(json_is_null(json_object_get(cpu, "domain")));
    assert_true(json_is_null(json_object_get(cpu, "pstate")));
    json_decref(data);
}

static void
why_names_winner_losers_and_reasons(void **state)
{
    static const char *const knobs[] = {"cpu1", "domain0",
                                        "mgmt://local/host/h1/cpu/0/pstate"};
    struct fixture *f = *state;

    for (size_t i = 0; i < 3; i++) {
        char request[200];
        snprintf(request, sizeof request, "{\"verb\":\"why\",\"knob\":\"%s\"}",
                 knobs[i]);
        json_t *data = ask(f, request);
        json_t *winner = json_object_get(data, "winner");
        json_t *losers = json_object_get(data, "losers");

        assert_int_equal(json_integer_value(json_object_get(data, "wanted")),
                         1);
        assert_string_equal(text_of(winner, "vm_name"), "web0");
        assert_string_equal(text_of(winner, "rule"), "test/rule");
        assert_string_equal(text_of(winner, "cause"), "1.5");
        assert_int_equal(json_array_size(json_object_get(winner, "values")), 2);
        assert_int_equal(json_array_size(json_object_get(winner, "rejected")),
                         1);
        assert_int_equal(json_array_size(losers), 1);
        assert_string_equal(text_of(json_array_get(losers, 0), "vm_name"),
                            "web1");
        assert_true(text_of(json_array_get(losers, 0), "why")[0]);
        json_decref(data);
    }
}

static void
why_of_an_unwanted_knob_says_so(void **state)
{
    json_t *data = ask(*state, "{\"verb\":\"why\",\"knob\":\"domain1\"}");

    assert_true(json_is_null(json_object_get(data, "wanted")));
    assert_null(json_object_get(data, "winner"));
    json_decref(data);
}

static void
why_of_no_knob_is_refused(void **state)
{
    static const char *const knobs[] = {"cpu9",
                                        "domain2",
                                        "cpu",
                                        "cpu-1",
                                        "cpu99999999999999999999",
                                        "mgmt://local/host/h2/cpu/0/pstate",
                                        "mgmt://other/host/h1/cpu/0/pstate",
                                        "mgmt://local/host/h1/power",
                                        "fan0"};
    struct fixture *f = *state;

    for (size_t i = 0; i < sizeof knobs / sizeof knobs[0]; i++) {
        char request[200];
        snprintf(request, sizeof request, "{\"verb\":\"why\",\"knob\":\"%s\"}",
                 knobs[i]);
        assert_refused(f, request, "no knob");
    }
    assert_still_serves(f);
}

static void
policies_are_shown_with_their_options(void **state)
{
    json_t *data = ask(*state, "{\"verb\":\"policy\"}");
    json_t *options = json_object_get(data, "options");

    assert_string_equal(text_of(data, "name"), "basic");
    assert_true(json_array_size(options) > 0);
    assert_non_null(json_object_get(json_array_get(options, 0), "value"));
    assert_true(json_array_size(json_object_get(data, "available")) >= 2);
    json_decref(data);
}

static void
a_policy_is_put_in_force_with_its_options(void **state)
{
    struct fixture *f = *state;
    const struct option_desc *desc = policy_find("basic")->options;
    char request[300];

    json_decref(ask(f, "{\"verb\":\"policy_set\",\"name\":\"none\"}"));
    assert_string_equal(f->engine.set_name, "none");
    snprintf(request, sizeof request,
             "{\"verb\":\"policy_set\",\"name\":\"basic\",\"options\":{\"%s\":"
             "\"%s\"}}",
             desc->name, desc->default_text);
    json_decref(ask(f, request));
    assert_string_equal(f->engine.set_name, "basic");
    assert_true(option_get(&f->engine.set_options, desc->name)->given);
}

static void
a_bad_policy_changes_nothing(void **state)
{
    struct fixture *f = *state;

    assert_refused(f, "{\"verb\":\"policy_set\",\"name\":\"magic\"}", "basic");
    assert_refused(f,
                   "{\"verb\":\"policy_set\",\"name\":\"basic\",\"options\":"
                   "{\"no_such_option\":1}}",
                   "no_such_option");
    assert_int_equal(f->engine.n_changes, 0);
    f->engine.set_error = -EINVAL;
    assert_refused(f, "{\"verb\":\"policy_set\",\"name\":\"basic\"}",
                   "the engine says no");
    assert_string_equal(f->engine.set_name, "");
}

static void
vms_are_controlled_by_name_and_by_uuid(void **state)
{
    struct fixture *f = *state;
    char request[200], uuid[UUID_TEXT_SIZE];

    json_decref(ask(f, "{\"verb\":\"vm_freeze\",\"vm\":\"web1\"}"));
    assert_int_equal(f->engine.control_op, VM_OP_FREEZE);
    assert_true(uuid_equal(&f->engine.control_uuid, &f->host.vms[1].uuid));
    uuid_format(&f->host.vms[0].uuid, uuid);
    snprintf(request, sizeof request, "{\"verb\":\"vm_end\",\"vm\":\"%s\"}",
             uuid);
    json_decref(ask(f, request));
    assert_int_equal(f->engine.control_op, VM_OP_END);
    assert_true(uuid_equal(&f->engine.control_uuid, &f->host.vms[0].uuid));
    assert_refused(f, "{\"verb\":\"vm_thaw\",\"vm\":\"web7\"}", "web0 web1");
    assert_int_equal(f->engine.n_changes, 2);
    json_decref(
        ask(f, "{\"verb\":\"vm_migrate\",\"vm\":\"web1\",\"to\":\"near\"}"));
    assert_int_equal(f->engine.control_op, VM_OP_MIGRATE);
    assert_string_equal(f->engine.migrate_to, "near");
    f->engine.n_changes--;
    f->engine.control_error = -EALREADY;
    assert_refused(f, "{\"verb\":\"vm_end\",\"vm\":\"web1\"}",
                   "it is ended already");
}

static void
plugins_are_listed_with_those_in_use(void **state)
{
    struct fixture *f = *state;
    char used[80] = "";
    json_t *plugin;
    size_t i;

    f->config.cap = hardware_find("sim");
    json_t *data = ask(f, "{\"verb\":\"plugins\"}");
    json_array_foreach(json_object_get(data, "plugins"), i, plugin)
    {
        if (json_is_true(json_object_get(plugin, "used"))) {
            text_append(used, sizeof used, "%s %s, ", text_of(plugin, "room"),
                        text_of(plugin, "name"));
        }
    }
    assert_string_equal(used, "policy basic, hardware sim, ");
    json_t *vms = json_object_get(json_object_get(data, "probes"), "httplog");
    assert_int_equal(json_array_size(vms), 1);
    assert_string_equal(json_string_value(json_array_get(vms, 0)), "web0");
    json_decref(data);
}

static void
events_are_the_last_rows_in_order(void **state)
{
    struct fixture *f = *state;

    for (uint64_t i = 1; i <= 5; i++) {
        struct journal_row row = {.cause = UINT64_C(1) << 40 | i,
                                  .time = (nsec_t)i,
                                  .name = "TEST",
                                  .detail = "{\"a\":1}"};
        assert_int_equal(journal_add(f->journal, &row), 0);
    }
    json_t *data = ask(f, "{\"verb\":\"events\",\"n\":3}");
    json_t *rows = json_object_get(data, "rows");
    assert_int_equal(json_array_size(rows), 3);
    assert_string_equal(text_of(json_array_get(rows, 0), "cause"), "1.3");
    assert_string_equal(text_of(json_array_get(rows, 2), "cause"), "1.5");
    json_decref(data);
}

static void
a_trace_has_its_rows_and_hops(void **state)
{
    struct fixture *f = *state;
    struct journal_row row = {.cause = UINT64_C(1) << 40 | 7,
                              .kind = JOURNAL_DECISION,
                              .time = 1000,
                              .name = "basic/raise",
                              .subject = "mgmt://local/host/h1/cpu/0/pstate",
                              .detail = "not json"};

    assert_int_equal(journal_add(f->journal, &row), 0);
    json_t *data = ask(f, "{\"verb\":\"trace\",\"cause\":\"1.7\"}");
    assert_int_equal(json_array_size(json_object_get(data, "rows")), 1);
    assert_int_equal(json_array_size(json_object_get(data, "hops")), 2);
    json_decref(data);
    assert_refused(f, "{\"verb\":\"trace\",\"cause\":\"1.8\"}", "nothing is");
    assert_refused(f, "{\"verb\":\"trace\",\"cause\":\"x.8\"}", "no cause");
}

/* Notes. */

static json_t *
note_of(json_t *data, size_t i)
{
    return json_array_get(json_object_get(data, "notes"), i);
}

static void
notes_are_shown_as_text_and_bytes(void **state)
{
    struct fixture *f = *state;
    struct note *note;
    json_t *data = ask(f, "{\"verb\":\"notes\"}");

    assert_int_equal(json_array_size(json_object_get(data, "notes")), 0);
    json_decref(data);
    note = notes_keep(f->host.vms[0].notes, "org.example/1", "\033[2J\n", 5);
    note->when = f->now - NSEC_PER_SEC;
    note->cause = UINT64_C(1) << 40 | 7;
    note->recorded = true;
    notes_keep(f->host.vms[0].notes, "bytes/1", "\0\xff", 2)->stale = true;
    data = ask(f, "{\"verb\":\"notes\"}");
    assert_string_equal(text_of(note_of(data, 0), "vm"), "web0");
    assert_string_equal(text_of(note_of(data, 0), "text"), "\033[2J\n");
    assert_string_equal(text_of(note_of(data, 0), "base64"), "G1sySgo=");
    assert_string_equal(text_of(note_of(data, 0), "cause"), "1.7");
    assert_true(json_real_value(json_object_get(note_of(data, 0), "age_s")) ==
                1);
    /* What is not known is null, and what is no text has none. */
    assert_true(json_is_null(json_object_get(note_of(data, 1), "text")));
    assert_true(json_is_null(json_object_get(note_of(data, 1), "cause")));
    assert_true(json_is_null(json_object_get(note_of(data, 1), "made_age_s")));
    assert_true(json_is_true(json_object_get(note_of(data, 1), "stale")));
    assert_string_equal(text_of(note_of(data, 1), "base64"), "AP8=");
    assert_true(json_is_false(json_object_get(data, "cut")));
    json_decref(data);
}

static void
notes_are_asked_for_by_vm_and_type(void **state)
{
    static const char *const requests[] = {
        "{\"verb\":\"notes\",\"vm\":\"web1\",\"type\":\"a/1\"}",
        "{\"verb\":\"notes\",\"type\":\"a/1\"}",
        "{\"verb\":\"notes\",\"vm\":\"web0\"}",
        "{\"verb\":\"notes\",\"type\":\"c/1\"}",
    };
    static const size_t n[] = {1, 2, 2, 0};
    struct fixture *f = *state;

    for (uint32_t i = 0; i < 2; i++) {
        notes_keep(f->host.vms[i].notes, "a/1", "x", 1);
        notes_keep(f->host.vms[i].notes, "b/1", "x", 1);
    }
    for (size_t i = 0; i < 4; i++) {
        json_t *data = ask(f, requests[i]);
        assert_int_equal(json_array_size(json_object_get(data, "notes")), n[i]);
        json_decref(data);
    }
}

/* Memory. */

static int n_allocations, fail_at;
static long n_live;

static void *
counting_malloc(size_t size)
{
    if (++n_allocations == fail_at) {
        return NULL;
    }
    n_live++;
    return malloc(size);
}

static void
counting_free(void *data)
{
    n_live -= data != NULL;
    free(data);
}

/* A row whose detail could not be parsed says so itself. */
static bool
says_unreadable(const json_t *answer)
{
    const json_t *data = json_object_get(answer, "data");
    const json_t *row = json_array_get(json_object_get(data, "rows"), 0);

    return json_is_null(json_object_get(row, "detail"));
}

/* Asks with the n-th allocation of JSON failing.  The answer is 'expected' or
 * an error, or the client is closed: never a part of it.  Returns whether there
 * were that many. */
static bool
ask_short_of_memory(struct fixture *f, const char *request, int n,
                    const json_t *expected)
{
    int fd = dial(f);

    n_allocations = 0;
    n_live = 0;
    fail_at = n;
    say(fd, request, strlen(request));
    say(fd, "\n", 1);
    control_run(f->control, f->now);
    fail_at = 0;
    if (n_live) {
        fail_msg("%ld left at %d of %s", n_live, n, request);
    }
    bool reached = n_allocations >= n;

    json_t *answer = hear(f, fd);
    if (json_is_true(json_object_get(answer, "ok")) &&
        !says_unreadable(answer) && !json_equal(answer, expected)) {
        fail_msg("at %d of %s: %s", n, request, json_dumps(answer, 0));
    }
    json_decref(answer);
    close(fd);
    return reached;
}

static void
memory_that_runs_out_costs_one_answer_and_leaks_nothing(void **state)
{
    static const char *const requests[] = {
        "{\"verb\":\"status\"}",
        "{\"verb\":\"vms\"}",
        "{\"verb\":\"cpus\"}",
        "{\"verb\":\"power\"}",
        "{\"verb\":\"policy\"}",
        "{\"verb\":\"policy_set\",\"name\":\"none\"}",
        "{\"verb\":\"why\",\"knob\":\"cpu0\"}",
        "{\"verb\":\"why\",\"knob\":\"cpu9\"}",
        "{\"verb\":\"trace\",\"cause\":\"1.7\"}",
        "{\"verb\":\"plugins\"}",
        "{\"verb\":\"events\"}",
        "{\"verb\":\"notes\"}",
        "{\"verb\":\"notes\",\"vm\":\"web9\"}",
        "{\"verb\":\"watch\"}",
        "{\"verb\":\"vm_end\",\"vm\":\"web0\"}",
        "not JSON",
    };
    struct fixture *f = *state;
    struct journal_row row = {
        .cause = UINT64_C(1) << 40 | 7,
        .kind = JOURNAL_DECISION,
        .time = 1000,
        .name = "basic/raise",
        .detail = "{\"pstate\":1,\"values\":[{\"name\":\"a\",\"value\":1}]}"};

    notes_keep(f->host.vms[0].notes, "a/1", "text", 4);
    notes_keep(f->host.vms[1].notes, "b/1", "\xff", 1);
    assert_int_equal(journal_add(f->journal, &row), 0);
    json_set_alloc_funcs(counting_malloc, counting_free);
    for (size_t i = 0; i < sizeof requests / sizeof requests[0]; i++) {
        int fd = dial(f);
        json_t *expected = ask_on(f, fd, requests[i]);
        for (int n = 1; ask_short_of_memory(f, requests[i], n, expected); n++) {
        }
        json_decref(expected);
        close(fd);
    }
    json_set_alloc_funcs(malloc, free);
    assert_still_serves(f);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(status_says_what_there_is),
        TEST(unknown_power_is_null_and_never_zero),
        TEST(trouble_cut_in_mid_character_is_still_told),
        TEST(unknown_utilization_is_null),
        TEST(a_cpu_without_control_has_no_pstate),
        TEST(why_names_winner_losers_and_reasons),
        TEST(why_of_an_unwanted_knob_says_so),
        TEST(why_of_no_knob_is_refused),
        TEST(policies_are_shown_with_their_options),
        TEST(a_policy_is_put_in_force_with_its_options),
        TEST(a_bad_policy_changes_nothing),
        TEST(vms_are_controlled_by_name_and_by_uuid),
        TEST(plugins_are_listed_with_those_in_use),
        TEST(events_are_the_last_rows_in_order),
        TEST(a_trace_has_its_rows_and_hops),
        TEST(notes_are_shown_as_text_and_bytes),
        TEST(notes_are_asked_for_by_vm_and_type),
        TEST(memory_that_runs_out_costs_one_answer_and_leaks_nothing),
    };

    return cmocka_run_group_tests_name("answer", tests, NULL, NULL);
}
