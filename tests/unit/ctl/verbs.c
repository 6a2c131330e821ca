/* SPDX-License-Identifier: Apache-2.0 */
/* What each verb of mctl asks for and what it makes of the answer: the request,
 * the words for people, the JSON for programs; and that a command line which
 * makes no sense asks nothing. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/unit/ctl/fakebroker.h"

#define UUID "12345678-9abc-4def-8123-456789abcdef"
#define VMS                                                                    \
    "{\"ok\":true,\"data\":{\"vms\":[{\"name\":\"web1\",\"uuid\":\"" UUID      \
    "\"}]}}\n"
#define ANSWER(data) "{\"ok\":true,\"data\":" data "}\n"
#define WALL_NS "1699999999123000000" /* 2023-11-14 22:13:19.123 */

/* Asserts that 'text' has all the parts (ended by null) in that order. */
static void
assert_has(const char *text, ...)
{
    const char *at = text, *part;
    va_list args;

    va_start(args, text);
    while ((part = va_arg(args, const char *))) {
        const char *found = strstr(at, part);
        if (!found) {
            fail_msg("no \"%s\" in its place in\n%s", part, text);
        }
        at = found + strlen(part);
    }
    va_end(args);
}

/* The answer's data is for programs, unchanged. */
static void
assert_is_json_of(const char *out, const char *answer)
{
    json_t *line = json_loads(answer, 0, NULL),
           *said = json_loads(out, 0, NULL);

    assert_true(json_equal(json_object_get(line, "data"), said));
    json_decref(line);
    json_decref(said);
}

static const struct fake_run *
ask_both(const struct verb *verb, const char *words, const char *answer)
{
    const struct fake_run *run = fake_ask(verb, words, true, answer);

    assert_int_equal(run->how, CTL_OK);
    assert_is_json_of(run->out, answer);
    const char *const answers[] = {answer, VMS, NULL};
    run = fake_run(verb, words, NULL, answers);
    assert_int_equal(run->how, CTL_OK);
    assert_string_equal(run->err, "");
    return run;
}

static void
what_makes_no_sense_asks_nobody(void **state)
{
    static const struct {
        const struct verb *verb;
        const char *words;
    } rows[] = {
        {&verb_status, "now"},
        {&verb_vms, "reboot web1"},
        {&verb_vms, "end"},
        {&verb_vms, "end a b"},
        {&verb_cpus, "0"},
        {&verb_power, "x"},
        {&verb_cap, "get"},
        {&verb_cap, "set"},
        {&verb_cap, "set x"},
        {&verb_cap, "set 0"},
        {&verb_cap, "set 1000001"},
        {&verb_cap, "set 100 term"},
        {&verb_cap, "set 100 term="},
        {&verb_cap, "set 100 term=1 order=-1"},
        {&verb_cap, "set 100 lease_ms=9223372036854775808"},
        {&verb_policy, "get"},
        {&verb_policy, "show me"},
        {&verb_policy, "set"},
        {&verb_policy, "set basic period"},
        {&verb_policy, "set basic =1"},
        {&verb_why, ""},
        {&verb_why, "cpu0 cpu1"},
        {&verb_trace, ""},
        {&verb_events, "a b"},
        {&verb_notes, "web1"},
        {&verb_watch, "x"},
        {&verb_plugins, "x"},
        {&verb_reload, "x"},
        {&verb_doctor, "x"},
        {&verb_check, ""},
        {&verb_check, "a b"},
        {&verb_journal, ""},
        {&verb_journal, "verify"},
        {&verb_journal, "repair x"},
        {&verb_replay, ""},
    };

    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        const struct fake_run *run =
            fake_ask(rows[i].verb, rows[i].words, false, ANSWER("{}"));
        if (run->how != CTL_USAGE || run->n_requests || run->out[0]) {
            fail_msg("%s %s: %d", rows[i].verb->name, rows[i].words, run->how);
        }
        assert_has(run->err, "mctl: ", "usage: mctl ", rows[i].verb->name,
                   NULL);
    }
}

static void
only_a_broker_s_journal_is_followed(void **state)
{
    const struct ctl options = {.follow = true};
    static const char *const none[] = {ANSWER("{}"), NULL};

    const struct fake_run *run = fake_run(&verb_events, "file", &options, none);
    assert_int_equal(run->how, CTL_USAGE);
    assert_int_equal(run->n_requests, 0);
    assert_has(run->err, "only a broker's journal can be followed", NULL);
}

static void
status_tells_what_is_wrong(void **state)
{
    const struct fake_run *run = ask_both(
        &verb_status, "",
        ANSWER("{\"name\":\"mgmt://local/host/h\",\"version\":\"1\","
               "\"up_s\":7560,\"policy\":\"basic\",\"platform_ready\":true,"
               "\"pstate_driver\":\"sim\",\"cpus\":4,\"domains\":2,\"vms\":3,"
               "\"agents\":1,\"hypervisor\":\"process\",\"power\":{\"power_w\":"
               "35,\"quality\":\"model\",\"source\":\"model\",\"age_s\":1},"
               "\"counts\":{\"reports\":5,\"raises\":2},\"journal\":{\"rows\":"
               "9,\"lost\":0,\"size_bytes\":2048},\"usage\":{\"messages\":7},"
               "\"trouble\":null}"));
    assert_string_equal(run->requests[0], "{\"verb\":\"status\"}");
    assert_has(run->out, "host       mgmt://local/host/h\n",
               "mbroker 1, up 2.1 h\n", "policy     basic\n", "5 reports",
               "2 raises", "platform   ready\n",
               "4 in 2 frequency domains, set by sim\n",
               "3, of these 1 with an agent, run by process\n",
               "35.0 W (model, 1.0 s ago)\n", "fine; 9 rows, 0 lost, 2.0 KiB",
               "7 messages heard", "trouble    none\n", NULL);
    assert_null(strstr(run->out, "beyond quotas"));

    run = ask_both(
        &verb_status, "",
        ANSWER("{\"read_only\":true,\"pstate_driver\":\"cpufreq\",\"cpus\":4,"
               "\"domains\":0,\"journal\":{\"failing\":true,\"reason\":\"disk "
               "full\",\"lost\":3},\"usage\":{\"withheld\":0,\"dropped\":0,"
               "\"denied\":0,\"waits\":0,\"rows_withheld\":4},\"trouble\":"
               "\"it burns\"}"));
    assert_has(run->out, "READ-ONLY\n", "NOT READY\n",
               "4, of which cpufreq can set none\n", "run by none\n",
               "power      unknown\n", "FAILING: disk full; 0 rows, 3 lost",
               "beyond quotas: 0 dropped, 0 denied, 0 waits, 4 journal rows",
               "trouble    it burns\n", NULL);

    run = ask_both(&verb_status, "",
                   ANSWER("{\"usage\":{\"dropped\":1},\"cpus\":1}"));
    assert_has(run->out, "set by none\n", "journal    none\n", "1 dropped",
               NULL);
    run = ask_both(&verb_status, "", ANSWER("{\"usage\":{\"denied\":1}}"));
    assert_has(run->out, "1 denied", NULL);
    run = ask_both(&verb_status, "", ANSWER("{\"usage\":{\"waits\":1}}"));
    assert_has(run->out, "1 waits", NULL);
}

static void
vms_show_what_is_known_of_them(void **state)
{
    const struct fake_run *run = ask_both(
        &verb_vms, "",
        ANSWER("{\"vms\":[{\"name\":\"web1\",\"state\":\"running\",\"agent\":"
               "true,\"vcpu_cpus\":[0,3],\"util_percent\":12.34,\"requests\":"
               "10,\"violations\":1,\"violation_percent\":10,\"usage\":{"
               "\"dropped\":1,\"denied\":2,\"refused\":4},\"last_epoch\":{"
               "\"threshold_ms\":3,\"worst_ms\":4.5,\"requests\":2}},"
               "{\"name\":\"web2\",\"state\":\"frozen\",\"agent\":false,"
               "\"software\":\"magentd 1\",\"last_epoch\":{\"requests\":0}},"
               "{\"name\":\"web3\",\"state\":\"off\",\"agent\":false}]}"));
    assert_string_equal(run->requests[0], "{\"verb\":\"vms\"}");
    assert_has(run->out, "web1  running  up        0,3    12.3 %", "10.00 %",
               " 7 ", "3.000 ms", "4.500 ms\n", "web2  frozen   lost",
               "unknown", "no requests\n", "web3  off      none yet",
               "unknown\n", NULL);
    run = ask_both(&verb_vms, "", ANSWER("{\"vms\":[]}"));
    assert_string_equal(run->out,
                        "No VMs; the configuration names no guests.\n");
}

static void
a_vm_is_controlled_by_name(void **state)
{
    static const char *const ops[] = {"start", "freeze", "thaw", "end"};
    char words[64], request[200];

    for (size_t i = 0; i < 4; i++) {
        snprintf(words, sizeof words, "%s web1", ops[i]);
        const struct fake_run *run =
            ask_both(&verb_vms, words, ANSWER("{\"vm\":\"web1\"}"));
        snprintf(request, sizeof request,
                 "{\"verb\":\"vm_%s\",\"vm\":\"web1\"}", ops[i]);
        assert_string_equal(run->requests[0], request);
        assert_has(run->out, "Asked the platform to ", words, NULL);
    }
}

static void
cpus_show_who_controls_them_and_where_time_went(void **state)
{
    const struct fake_run *run = ask_both(
        &verb_cpus, "",
        ANSWER("{\"cpus\":[{\"cpu\":0,\"domain\":0,\"util_percent\":50,"
               "\"pstate\":1,\"freq_mhz\":1800,\"emulated\":true,\"freqs_mhz\":"
               "[2400,1800,1000],\"time_s\":[30,70,0]},"
               "{\"cpu\":1,\"domain\":1,\"emulated\":false,\"freqs_mhz\":[1],"
               "\"time_s\":[0]},{\"cpu\":2,\"domain\":null}]}"));
    assert_has(run->out, "MHZ:TIME\n",
               "50.0 %        1     1800  emulated  2400:30% 1800:70%\n",
               "unknown", "real      -\n", "none  unknown", "none      -\n",
               NULL);
    run = ask_both(&verb_cpus, "", ANSWER("{\"cpus\":[]}"));
    assert_has(run->out, "manages no CPUs", NULL);
}

static void
power_is_never_zero_for_unknown(void **state)
{
    const struct fake_run *run =
        ask_both(&verb_power, "", ANSWER("{\"power_w\":null}"));
    assert_string_equal(run->out, "unknown\n");
    run = ask_both(&verb_power, "",
                   ANSWER("{\"power_w\":0,\"quality\":\"measured\",\"source\":"
                          "\"rapl\",\"age_s\":0}"));
    assert_string_equal(run->out, "0.0 W (measured by rapl, 0.0 s ago)\n");
}

static void
a_cap_says_until_when(void **state)
{
    const struct fake_run *run =
        ask_both(&verb_cap, "", ANSWER("{\"reason\":\"no driver\"}"));
    assert_string_equal(run->out, "no cap: no driver\n");
    run = ask_both(&verb_cap, "",
                   ANSWER("{\"cap_w\":100,\"phase\":\"held\",\"safe\":true,"
                          "\"low_w\":50,\"high_w\":300}"));
    assert_string_equal(run->out, "100 W, held: the safe cap\nmay be set from "
                                  "50 to 300 W\n");
    run = ask_both(&verb_cap, "",
                   ANSWER("{\"cap_w\":200,\"phase\":\"ordered\",\"read_w\":180,"
                          "\"safe\":false,\"lease_s\":42,\"order\":3,\"term\":"
                          "2,\"safe_w\":100,\"reason\":\"not\\u001byet\"}"));
    assert_has(run->out, "200 W, ordered (reads back 180 W)",
               "order 3 of term 2, for 42 s more, then 100 W\n", "not?yet\n",
               NULL);
}

static void
a_cap_is_ordered_with_its_terms(void **state)
{
    const struct fake_run *run = ask_both(
        &verb_cap, "set 150 term=2 order=7 lease_ms=5000 within_ms=100",
        ANSWER("{\"cap_w\":150,\"safe\":true}"));
    assert_string_equal(run->requests[0],
                        "{\"verb\":\"cap_set\",\"mw\":150000,\"term\":2,"
                        "\"order\":7,\"lease_ms\":5000,\"within_ms\":100}");
}

static void
a_policy_shows_its_options_and_the_others(void **state)
{
    static const char answer[] = ANSWER(
        "{\"name\":\"basic\",\"summary\":\"steps\",\"options\":[{\"name\":"
        "\"p\",\"value\":2000,\"given\":true,\"min\":1,\"max\":9,\"unit\":"
        "\"ms\",\"help\":\"Period.\"},{\"name\":\"q\",\"value\":true,\"type\":"
        "\"bool\"},{\"name\":\"r\",\"value\":\"up\",\"choices\":\"up down\"},"
        "{\"name\":\"s\",\"default\":\"d\",\"min\":0,\"max\":1}],"
        "\"available\":[{\"name\":\"basic\"},{\"name\":\"none\",\"summary\":"
        "\"nothing\",\"options\":[]},{\"name\":\"sim\",\"options\":[{\"name\":"
        "\"t\",\"default\":\"x\"}]}]}");
    const struct fake_run *run = ask_both(&verb_policy, "", answer);

    assert_string_equal(run->requests[0], "{\"verb\":\"policy\"}");
    assert_has(run->out, "basic, in force: steps\n", "p       2000",
               "1 to 9 ms", "Period.\n", "q       true (default)",
               "true or false", "up (default)", "up down", "d (default)",
               "0 to 1 ", "\nnone: nothing\n", "(no options)\n",
               "\nsim: ", "DEFAULT", "text", NULL);
    run = ask_both(&verb_policy, "set basic a=1 b=", answer);
    assert_string_equal(run->requests[0],
                        "{\"verb\":\"policy_set\",\"name\":\"basic\","
                        "\"options\":{\"a\":\"1\",\"b\":\"\"}}");
    assert_null(strstr(run->out, "none: "));
}

static void
why_names_the_winner_and_who_lost(void **state)
{
    const struct fake_run *run = ask_both(
        &verb_why, "cpu0",
        ANSWER("{\"knob\":\"k\",\"pstate\":1,\"freq_mhz\":1800,\"emulated\":"
               "true,\"wanted\":1,\"wanted_mhz\":1800,\"since_s\":5,\"winner\":"
               "{\"kind\":\"pstate\",\"vm_name\":\"web1\",\"vcpu\":0,\"value\":"
               "1,\"rule\":\"basic/raise\",\"values\":[{\"name\":\"n\","
               "\"value\":2,\"unit\":\"\"}],\"rejected\":[{\"choice\":0,"
               "\"why\":\"too hot\"}],\"expires_s\":3,\"cause\":\"1.2\","
               "\"event\":{\"name\":\"GUEST_NOTICE\",\"kind\":\"event\","
               "\"detail\":{\"reason\":\"slow\"}}},\"losers\":[{\"kind\":"
               "\"power\",\"vm\":\"\",\"value\":3,\"rule\":\"r\",\"why\":"
               "\"older\",\"cause\":\"-\",\"event\":{\"name\":"
               "\"UTILIZATION\"}},{\"kind\":\"x\",\"vm\":\"u\",\"value\":3,"
               "\"cause\":\"-\",\"event\":{\"name\":\"E\"}}],"
               "\"more_losers\":2}"));
    assert_string_equal(run->requests[0],
                        "{\"verb\":\"why\",\"knob\":\"cpu0\"}");
    assert_has(run->out, "knob      k\n",
               "is        p-state 1 (1800 MHz), emulated\n",
               "wanted    p-state 1 (1800 MHz) for 5.0 s\n",
               "winner    web1 vCPU 0 wants p-state 1\n",
               "rule basic/raise: n 2\n", "rejected 0: too hot\n",
               "valid for 3.0 s more\n", "event GUEST_NOTICE: reason slow\n",
               "cause 1.2 (see \"mctl trace 1.2\")\n",
               "loser     the host wants power 3\n", "lost: older\n",
               "u wants x 3\n", "event E\n", "and 2 more losers\n", NULL);
    assert_null(strstr(run->out, "UTILIZATION"));
    run = ask_both(&verb_why, "cpu1",
                   ANSWER("{\"knob\":\"k\",\"pstate\":1,\"policy\":\"none\"}"));
    assert_has(run->out, "is        p-state 1\n",
               "nothing: policy \"none\" has no wish", NULL);
    run = ask_both(&verb_why, "cpu1", ANSWER("{\"knob\":\"k\"}"));
    assert_has(run->out, "is        unknown\n", NULL);
}

static void
a_trace_counts_from_its_first_hop(void **state)
{
    const struct fake_run *run = ask_both(
        &verb_trace, "1.2",
        ANSWER("{\"cause\":\"1.2\",\"rows\":[{\"wall_ns\":" WALL_NS
               ",\"time_ns\":5000000}],\"hops\":[{\"where\":\"guest\",\"text\":"
               "\"lost\"},{\"at_ns\":5000000,\"error_ns\":1500000,\"where\":"
               "\"guest\",\"text\":\"by mgmt://local/vm/" UUID "/agent\"},"
               "{\"at_ns\":7000000,\"where\":\"engine\",\"text\":\"decided\"}]"
               "}"));
    assert_string_equal(run->requests[0],
                        "{\"verb\":\"trace\",\"cause\":\"1.2\"}");
    assert_has(run->out, "cause 1.2, from 2023-11-14 22:13:19.123\n", "unknown",
               "-  guest   lost\n", "0.000 ms  +0.000 ms",
               "± 1.500 ms  guest   by web1\n", "2.000 ms  +2.000 ms",
               "engine  decided\n", NULL);
    run = ask_both(&verb_trace, "1.2", ANSWER("{\"cause\":\"1.2\"}"));
    assert_has(run->out, "cause 1.2, from an unknown date\n", NULL);
}

static void
plugins_say_why_one_is_left_out(void **state)
{
    const struct fake_run *run = ask_both(
        &verb_plugins, "",
        ANSWER("{\"plugins\":[{\"room\":\"policy\",\"name\":\"basic\","
               "\"used\":true,\"summary\":\"steps\"},{\"room\":\"policy\","
               "\"name\":\"none\",\"used\":false,\"summary\":\"nothing\"},"
               "{\"room\":\"probe\",\"name\":\"x\",\"left_out\":\"no libx\"}],"
               "\"probes\":{\"cpu\":[\"web1\",\"web2\",3],\"httplog\":[]}}"));
    assert_has(run->out, "policy  basic    in use     steps\n",
               "none     ready      nothing\n", "x        left out   no libx\n",
               "cpu      in guests  offered by web1, web2, ?\n",
               "httplog  in guests  offered by\n", NULL);
}

static void
a_reload_is_waited_for_and_told(void **state)
{
    static const char *const taken[] = {
        ANSWER("{\"asked\":2}"), ANSWER("{\"reload\":{\"done\":1}}"),
        ANSWER("{\"reload\":{\"done\":2,\"reason\":\"read\"}}"), NULL};
    static const char *const refused[] = {
        ANSWER("{\"asked\":1}"),
        ANSWER(
            "{\"reload\":{\"done\":1,\"refused\":true,\"reason\":\"m.conf:3\"}"
            "}"),
        NULL};
    static const char *const gone[] = {ANSWER("{\"asked\":1}"), NULL};
    const struct ctl programs = {.json = true};

    const struct fake_run *run = fake_run(&verb_reload, "", NULL, taken);
    assert_int_equal(run->how, CTL_OK);
    assert_string_equal(run->requests[0], "{\"verb\":\"reload\"}");
    assert_string_equal(run->requests[2], "{\"verb\":\"status\"}");
    assert_string_equal(run->out, "read\n");
    run = fake_run(&verb_reload, "", &programs, taken);
    assert_int_equal(run->how, CTL_OK);
    assert_has(run->out, "\"reason\": \"read\"", NULL);
    run = fake_run(&verb_reload, "", NULL, refused);
    assert_int_equal(run->how, CTL_FAILED);
    assert_has(run->err, "the configuration is refused: m.conf:3",
               "what was in force stays", NULL);
    run = fake_run(&verb_reload, "", NULL, gone);
    assert_int_equal(run->how, CTL_UNREACHABLE);
}

/* Rows. */

#define ROW(id, wall)                                                          \
    "{\"id\":" id ",\"wall_ns\":" wall ",\"cause\":\"1." id                    \
    "\",\"kind\":\"event\",\"name\":\"GUEST_UP\",\"subject\":\"mgmt://local/"  \
    "vm/" UUID "\",\"detail\":{\"reason\":\"r" id "\"}}"

static void
events_are_asked_for_backwards_and_shown_forwards(void **state)
{
    static const char *const answers[] = {
        ANSWER(
            "{\"rows\":[" ROW("7", WALL_NS) "],\"reached\":7,\"more\":true}"),
        ANSWER("{\"rows\":[" ROW("3", "0") "],\"reached\":3,\"more\":true}"),
        ANSWER("{\"rows\":[" ROW(
            "1", "1600000000000000000") "],\"reached\":0,\"more\":true}"),
        VMS, NULL};
    const struct ctl options = {
        .vm = "web1", .note_type = "GUEST_UP", .since_ns = 5, .until_ns = 9};

    const struct fake_run *run = fake_run(&verb_events, "", &options, answers);
    assert_int_equal(run->how, CTL_OK);
    assert_int_equal(run->n_requests, 4);
    assert_string_equal(run->requests[0],
                        "{\"verb\":\"events\",\"n\":500,\"vm\":\"web1\","
                        "\"type\":\"GUEST_UP\",\"since_ns\":5,\"until_ns\":9}");
    assert_has(run->requests[1], "\"before\":7}", NULL);
    assert_has(run->requests[2], "\"before\":3}", NULL);
    assert_has(run->out, "WHAT\n", "2020-09-13 12:26:40.000  1.1",
               "web1     reason r1\n", "unknown", "1.3", "22:13:19.123", "1.7",
               NULL);
    assert_null(strstr(run->out, "2023-11-14"));
}

static void
as_many_events_as_asked_for_are_enough(void **state)
{
    static const char *const answers[] = {
        ANSWER(
            "{\"rows\":[" ROW("7", WALL_NS) "],\"reached\":7,\"more\":true}"),
        ANSWER(
            "{\"rows\":[" ROW("6", WALL_NS) "],\"reached\":6,\"more\":true}"),
        NULL};
    const struct ctl options = {.n_events = 2, .json = true};

    const struct fake_run *run = fake_run(&verb_events, "", &options, answers);
    assert_int_equal(run->how, CTL_OK);
    assert_int_equal(run->n_requests, 2);
    assert_has(run->requests[0], "\"n\":2}", NULL);
    assert_has(run->requests[1], "\"n\":1,\"before\":7}", NULL);
    json_t *said = json_loads(run->out, 0, NULL);
    assert_int_equal(json_array_size(json_object_get(said, "rows")), 2);
    json_decref(said);
}

/* The last number that was reached is asked behind, and the end is told. */
static void
followed_events_are_shown_once(void **state)
{
    static const char *const answers[] = {
        ANSWER("{\"rows\":[" ROW("7", WALL_NS) "]}"),
        VMS,
        ANSWER(
            "{\"rows\":[" ROW("8", WALL_NS) "],\"reached\":8,\"more\":true}"),
        ANSWER("{\"rows\":[],\"reached\":20,\"more\":true}"),
        ANSWER("{\"rows\":[]}"),
        ANSWER("{\"rows\":[" ROW("21", WALL_NS) "]}"),
        NULL};
    const struct ctl options = {.follow = true};

    const struct fake_run *run = fake_run(&verb_events, "", &options, answers);
    assert_int_equal(run->how, CTL_UNREACHABLE);
    assert_has(run->requests[2], "\"after\":7}", NULL);
    assert_has(run->requests[3], "\"after\":8}", NULL);
    assert_has(run->requests[4], "\"after\":20}", NULL);
    assert_has(run->requests[5], "\"after\":20}", NULL);
    assert_has(run->out, "WHAT\n", "1.7",
               "\n22:13:19.123  1.8  event  GUEST_UP "
               " web1  reason r8\n",
               "1.21", NULL);
    assert_has(run->err, "no broker answers", NULL);

    static const char *const lines[] = {
        ANSWER("{\"rows\":[" ROW("7", WALL_NS) "]}"),
        ANSWER("{\"rows\":[" ROW("8", WALL_NS) "]}"), NULL};
    const struct ctl programs = {.follow = true, .json = true};
    run = fake_run(&verb_events, "", &programs, lines);
    assert_has(run->out, "{\"id\":7,", "}\n{\"id\":8,", "}\n", NULL);
}

static void
notes_are_shown_on_a_line_each(void **state)
{
    const struct fake_run *run = ask_both(
        &verb_notes, "",
        ANSWER(
            "{\"notes\":[{\"vm\":\"web1\",\"type\":\"a/1\",\"size\":5,"
            "\"came\":3,\"age_s\":1,\"cause\":\"1.2\",\"text\":\"one\\ntwo"
            "\\r\\n\\n\"},{\"vm\":\"web2\",\"type\":\"b/1\",\"stale\":true,"
            "\"base64\":\"AAAA\"},{\"vm\":\"web3\",\"base64\":\""
            "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
            "\"}],\"cut\":true}"));
    assert_string_equal(run->requests[0],
                        "{\"verb\":\"notes\",\"follow\":false}");
    assert_has(run->out, "5 B     3  ", "1.0 s  1.2    one two\n", "stale",
               "base64 AAAA\n", "AAAA…\n", "name a VM with --vm", NULL);
    run = ask_both(&verb_notes, "", ANSWER("{\"notes\":[]}"));
    assert_string_equal(run->out, "no application has said anything\n");
}

static void
followed_notes_come_one_by_one(void **state)
{
    static const char answer[] =
        ANSWER("{\"notes\":[]}") "{\"vm\":\"web1\",\"type\":\"a/1\",\"size\":2,"
                                 "\"text\":\"hi\",\"wall_ns\":" WALL_NS "}\n"
                                 "{\"lost\":3}\n{\"vm\":\"web2\"}\n";
    static const char *const answers[] = {answer, NULL};
    const struct ctl options = {
        .follow = true, .vm = "web1", .note_type = "a/1"};

    const struct fake_run *run = fake_run(&verb_notes, "", &options, answers);
    assert_int_equal(run->how, CTL_UNREACHABLE);
    assert_string_equal(run->requests[0],
                        "{\"verb\":\"notes\",\"follow\":true,\"vm\":\"web1\","
                        "\"type\":\"a/1\"}");
    assert_has(run->out, "no application", "22:13:19.123  web1  a/1  2 B: hi\n",
               "3 notes are missing", ".000  web2", NULL);
    assert_has(run->err, "it stopped, or we read too slowly", NULL);
    const struct ctl programs = {.follow = true, .json = true};
    run = fake_run(&verb_notes, "", &programs, answers);
    assert_has(run->out, "{\"notes\":[]}\n", "{\"vm\":\"web1\"",
               "{\"lost\":3}\n", NULL);
}

static void
watch_has_a_line_for_everything(void **state)
{
    static const char stream[] = ANSWER(
        "{\"name\":\"h\",\"policy\":\"basic\"}") "{\"type\":\"epoch\",\"time_"
                                                 "ns\":1000000000,\"power_w\":"
                                                 "35,\"quality\":"
                                                 "\"model\",\"requests\":12,"
                                                 "\"violations\":1,\"cpus\":[{"
                                                 "\"cpu\":0,"
                                                 "\"freq_mhz\":1800,\"util_"
                                                 "percent\":50},{\"cpu\":1}]}\n"
                                                 "{\"type\":\"epoch\",\"time_"
                                                 "ns\":1500000000}\n"
                                                 "{\"type\":\"event\",\"time_"
                                                 "ns\":2000000000,\"cause\":"
                                                 "\"1.2\",\"name\":"
                                                 "\"GUEST_UP\",\"subject\":"
                                                 "\"mgmt://local/vm/" UUID
                                                 "\"}\n"
                                                 "{\"type\":\"decision\","
                                                 "\"time_ns\":2500000000,"
                                                 "\"cause\":\"1.3\"}\n"
                                                 "{\"lost\":7}\n"
                                                 "garbage\n";
    static const char *const answers[] = {VMS, stream, NULL};
    const struct ctl wide = {.columns = 200, .colour = true};

    const struct fake_run *run = fake_run(&verb_watch, "", &wide, answers);
    assert_int_equal(run->how, CTL_UNREACHABLE);
    assert_has(run->out, "h, policy basic, unknown\n\033[1m", "DETAIL\033[0m\n",
               "   0.000 s  epoch       35.0 W (model)  12 requests, 1 too slow"
               "  cpu0 1800 MHz  50 %  cpu1 unknown\n",
               "   0.500 s  epoch     power unknown  0 requests",
               "   1.000 s  event     1.2      GUEST_UP      web1",
               "   1.500 s  decision  1.3", "7 lines: the reader is too slow\n",
               NULL);
    assert_has(run->err, "the broker closed the connection", NULL);
    static const char *const lines[] = {stream, NULL};
    const struct ctl programs = {.json = true};
    run = fake_run(&verb_watch, "", &programs, lines);
    assert_has(run->out, "{\"name\":\"h\",\"policy\":\"basic\"}\n",
               "{\"type\":\"epoch\"", "{\"lost\":7}\n", NULL);
}

static int
set_up(void **state)
{
    setenv("TZ", "UTC", 1);
    return 0;
}

static int
tear_down(void **state)
{
    fake_forget();
    return 0;
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_makes_no_sense_asks_nobody),
        cmocka_unit_test(only_a_broker_s_journal_is_followed),
        cmocka_unit_test(status_tells_what_is_wrong),
        cmocka_unit_test(vms_show_what_is_known_of_them),
        cmocka_unit_test(a_vm_is_controlled_by_name),
        cmocka_unit_test(cpus_show_who_controls_them_and_where_time_went),
        cmocka_unit_test(power_is_never_zero_for_unknown),
        cmocka_unit_test(a_cap_says_until_when),
        cmocka_unit_test(a_cap_is_ordered_with_its_terms),
        cmocka_unit_test(a_policy_shows_its_options_and_the_others),
        cmocka_unit_test(why_names_the_winner_and_who_lost),
        cmocka_unit_test(a_trace_counts_from_its_first_hop),
        cmocka_unit_test(a_reload_is_waited_for_and_told),
        cmocka_unit_test(plugins_say_why_one_is_left_out),
        cmocka_unit_test(events_are_asked_for_backwards_and_shown_forwards),
        cmocka_unit_test(as_many_events_as_asked_for_are_enough),
        cmocka_unit_test(followed_events_are_shown_once),
        cmocka_unit_test(notes_are_shown_on_a_line_each),
        cmocka_unit_test(followed_notes_come_one_by_one),
        cmocka_unit_test(watch_has_a_line_for_everything),
    };

    return cmocka_run_group_tests_name("verbs", tests, set_up, tear_down);
}
