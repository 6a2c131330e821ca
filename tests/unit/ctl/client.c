/* SPDX-License-Identifier: Apache-2.0 */
/* Every verb of mctl that asks a broker, with one that is gone, refuses, says
 * garbage, nothing, too much, or goes away in the middle: each ends with its
 * exit code and a sentence, for people and for programs, and none crashes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "tests/unit/ctl/fakebroker.h"

static const struct {
    const struct verb *verb;
    const char *words;
} asking[] = {
    {&verb_status, ""},     {&verb_vms, ""},
    {&verb_vms, "end web"}, {&verb_cpus, ""},
    {&verb_power, ""},      {&verb_cap, ""},
    {&verb_cap, "set 100"}, {&verb_policy, ""},
    {&verb_policy, "show"}, {&verb_policy, "set basic a=b"},
    {&verb_why, "cpu0"},    {&verb_trace, "1.1"},
    {&verb_events, ""},     {&verb_notes, ""},
    {&verb_watch, ""},      {&verb_plugins, ""},
    {&verb_reload, ""},
};
#define N_ASKING (sizeof asking / sizeof asking[0])

/* For programs there is an object with the three, and nothing else. */
static void
assert_fault(const char *text, const char *what)
{
    json_t *json = json_loads(text, 0, NULL);
    const json_t *fault = json_object_get(json, "error");

    assert_true(json_is_string(json_object_get(fault, "what")));
    assert_true(json_is_string(json_object_get(fault, "why")));
    assert_true(json_is_string(json_object_get(fault, "next")));
    assert_non_null(
        strstr(json_string_value(json_object_get(fault, "what")), what));
    json_decref(json);
}

/* All of them, for people and for programs, with this answer. */
static void
assert_all_end(const char *answer, enum ctl_exit how, const char *what)
{
    for (size_t i = 0; i < N_ASKING; i++) {
        const struct fake_run *run =
            fake_ask(asking[i].verb, asking[i].words, false, answer);
        if (run->how != how || run->out[0] || !strstr(run->err, what)) {
            fail_msg("%s: %d \"%s\" \"%s\"", asking[i].verb->name, run->how,
                     run->out, run->err);
        }
        run = fake_ask(asking[i].verb, asking[i].words, true, answer);
        assert_int_equal(run->how, how);
        assert_fault(run->out, what);
    }
}

static void
no_broker_is_told_from_a_dead_one(void **state)
{
    for (size_t i = 0; i < N_ASKING; i++) {
        const struct fake_run *run =
            fake_alone(asking[i].verb, asking[i].words, false);
        assert_int_equal(run->how, CTL_UNREACHABLE);
        assert_non_null(strstr(run->err, "there is no socket of that name"));
        run = fake_alone(asking[i].verb, asking[i].words, true);
        assert_int_equal(run->how, CTL_UNREACHABLE);
        assert_fault(run->out, "no broker answers");
    }
}

/* A socket without anybody behind it, and one that can't be reached. */
static void
what_is_in_the_way_is_told(void **state)
{
    char dir[] = "/tmp/mbroker-fake-XXXXXX", path[64], long_dir[200];
    struct ctl options = {.run_dir = dir};

    assert_non_null(mkdtemp(dir));
    snprintf(path, sizeof path, "%s/control.sock", dir);
    FILE *file = fopen(path, "w");
    fclose(file);
    const struct fake_run *run = fake_run(&verb_status, "", &options, NULL);
    assert_int_equal(run->how, CTL_UNREACHABLE);
    assert_non_null(strstr(run->err, "nobody listens"));
    unlink(path);
    assert_int_equal(symlink(path, path), 0);
    run = fake_run(&verb_status, "", &options, NULL);
    assert_int_equal(run->how, CTL_UNREACHABLE);
    assert_non_null(strstr(run->err, "is mbrokerd running?"));
    unlink(path);
    rmdir(dir);
    memset(long_dir, 'x', sizeof long_dir - 1);
    long_dir[sizeof long_dir - 1] = '\0';
    options.run_dir = long_dir;
    run = fake_run(&verb_status, "", &options, NULL);
    assert_int_equal(run->how, CTL_USAGE);
    assert_non_null(strstr(run->err, "too long"));
}

static void
a_refusal_is_handed_on_in_its_own_words(void **state)
{
    assert_all_end("{\"ok\":false,\"error\":{\"what\":\"not permitted\","
                   "\"why\":\"you are a stranger\",\"next\":\"be root\"}}\n",
                   CTL_FAILED, "not permitted");
    const struct fake_run *run =
        fake_ask(&verb_status, "", false,
                 "{\"ok\":false,\"error\":{\"what\":\"no\\u001b[2J\","
                 "\"why\":\"because\",\"next\":\"go\"}}\n");
    assert_string_equal(run->err, "mctl: no?[2J: because\n      go\n");
}

static void
a_refusal_without_a_word_is_one(void **state)
{
    assert_all_end("{\"ok\":false}\n", CTL_FAILED, "did not say why");
    assert_all_end("{}\n", CTL_FAILED, "did not say why");
    assert_all_end("[]\n", CTL_FAILED, "did not say why");
    assert_all_end("{\"ok\":1,\"error\":[],\"data\":{}}\n", CTL_FAILED,
                   "did not say why");
}

static void
an_answer_that_says_nothing_is_none(void **state)
{
    assert_all_end("{\"ok\":true}\n", CTL_UNREACHABLE, "says nothing");
    assert_all_end("{\"ok\":true,\"data\":null}\n", CTL_UNREACHABLE,
                   "says nothing");
    assert_all_end("{\"ok\":true,\"data\":[1]}\n", CTL_UNREACHABLE,
                   "says nothing");
}

static void
garbage_is_no_answer(void **state)
{
    assert_all_end("HTTP/1.1 400 Bad Request\n", CTL_UNREACHABLE, "no answer");
    assert_all_end("\n", CTL_UNREACHABLE, "no answer");
    assert_all_end("\xff\xfe{}\n", CTL_UNREACHABLE, "no answer");
    const struct fake_run *run = fake_ask(&verb_power, "", false, "{\n");
    assert_non_null(strstr(run->err, "not JSON"));
}

static void
a_broker_that_goes_away_is_told(void **state)
{
    assert_all_end(FAKE_CLOSES, CTL_UNREACHABLE, "no answer");
    assert_all_end(FAKE_DEAF, CTL_UNREACHABLE, "no answer");
    assert_all_end("", CTL_UNREACHABLE, "no answer");
    assert_all_end("{\"ok\":true,\"da", CTL_UNREACHABLE, "no answer");
}

static void
a_line_without_an_end_is_not_read_to_it(void **state)
{
    const struct fake_run *run = fake_ask(&verb_status, "", false, FAKE_HUGE);

    assert_int_equal(run->how, CTL_UNREACHABLE);
    assert_non_null(strstr(run->err, "no answer"));
}

/* An answer of another version: members that are missing or of another kind
 * read as unknown. */
static void
members_of_any_kind_do_no_harm(void **state)
{
    static const char *const datas[] = {
        "{}",
        "{\"vms\":{},\"cpus\":3,\"rows\":\"x\",\"hops\":{},\"notes\":1,"
        "\"plugins\":null,\"probes\":[],\"options\":7,\"available\":{},"
        "\"winner\":[],\"losers\":{},\"wanted\":\"x\",\"cap_w\":\"x\","
        "\"power\":[],\"journal\":[],\"counts\":0,\"usage\":null}",
        "{\"vms\":[1,null,{}],\"cpus\":[[],{}],\"rows\":[0,{}],\"hops\":[{}, "
        "3],\"notes\":[[],{}],\"plugins\":[false,{}],\"probes\":{\"a\":3,"
        "\"b\":[1]},\"options\":[{},1],\"available\":[1,{}],\"losers\":[1,{}]"
        ",\"wanted\":1,\"winner\":{\"rejected\":[2]},\"cap_w\":1,\"more\":"
        "true,\"power\":{},\"journal\":{},\"name\":7}",
    };

    for (size_t i = 0; i < N_ASKING; i++) {
        for (size_t d = 0; d < sizeof datas / sizeof *datas; d++) {
            char answer[1000];

            snprintf(answer, sizeof answer, "{\"ok\":true,\"data\":%s}\n",
                     datas[d]);
            const char *const answers[] = {answer, answer, NULL};
            for (int json = 0; json < 2; json++) {
                const struct ctl options = {.json = json};
                const struct fake_run *run = fake_run(
                    asking[i].verb, asking[i].words, &options, answers);
                /* "watch" is a stream, and this one ends. */
                assert_int_equal(run->how, asking[i].verb == &verb_watch
                                               ? CTL_UNREACHABLE
                                               : CTL_OK);
            }
        }
    }
}

/* Whoever leaves is let go, and nothing is said. */
static void
who_wants_to_leave_is_not_kept(void **state)
{
    static volatile const int stop = 2;
    const struct ctl options = {.stop = &stop};
    static const char *const answers[] = {"{\"ok\":true,\"data\":{}}\n", NULL};

    const struct fake_run *run = fake_run(&verb_status, "", &options, answers);
    assert_int_equal(run->how, CTL_FAILED);
    assert_string_equal(run->err, "");
}

static void
what_is_not_text_is_not_sent(void **state)
{
    const struct fake_run *run =
        fake_ask(&verb_why, "cpu\xff", false, "{\"ok\":true,\"data\":{}}\n");

    assert_int_equal(run->how, CTL_USAGE);
    assert_non_null(strstr(run->err, "not UTF-8"));
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
        cmocka_unit_test(no_broker_is_told_from_a_dead_one),
        cmocka_unit_test(what_is_in_the_way_is_told),
        cmocka_unit_test(a_refusal_is_handed_on_in_its_own_words),
        cmocka_unit_test(a_refusal_without_a_word_is_one),
        cmocka_unit_test(an_answer_that_says_nothing_is_none),
        cmocka_unit_test(garbage_is_no_answer),
        cmocka_unit_test(a_broker_that_goes_away_is_told),
        cmocka_unit_test(a_line_without_an_end_is_not_read_to_it),
        cmocka_unit_test(members_of_any_kind_do_no_harm),
        cmocka_unit_test(who_wants_to_leave_is_not_kept),
        cmocka_unit_test(what_is_not_text_is_not_sent),
    };

    return cmocka_run_group_tests_name("client", tests, NULL, tear_down);
}
