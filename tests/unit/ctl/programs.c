/* SPDX-License-Identifier: Apache-2.0 */
/* The verbs of mctl that run another program, with programs that are made up
 * for it: missing, killed, silent, talking too much, or saying what a journal's
 * reader says. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "tests/unit/ctl/fakebroker.h"

static char dir[64];

static int
set_up(void **state)
{
    char path[400];

    strcpy(dir, "/tmp/mbroker-programs-XXXXXX");
    assert_non_null(mkdtemp(dir));
    snprintf(path, sizeof path, "%s:/usr/bin:/bin", dir);
    setenv("PATH", path, 1);
    setenv("TZ", "UTC", 1);
    return 0;
}

static int
tear_down(void **state)
{
    char command[100];

    fake_forget();
    snprintf(command, sizeof command, "rm -rf %s", dir);
    return system(command);
}

/* Puts a program of that name where it is looked for. */
static void
program(const char *name, const char *script)
{
    char path[200];

    snprintf(path, sizeof path, "%s/%s", dir, name);
    FILE *file = fopen(path, "w");
    fprintf(file, "#!/bin/sh\n%s\n", script);
    fclose(file);
    chmod(path, 0700);
}

static void
assert_has(const char *text, const char *part)
{
    if (!strstr(text, part)) {
        fail_msg("no \"%s\" in\n%s", part, text);
    }
}

static void
a_program_that_is_not_there_is_named(void **state)
{
    const struct fake_run *run = fake_alone(&verb_check, "x.conf", false);
    assert_int_equal(run->how, CTL_FAILED);
    assert_has(run->err, "mbrokerd can't be started");
    run = fake_alone(&verb_journal, "verify x", false);
    assert_int_equal(run->how, CTL_FAILED);
    assert_has(run->err, "mjournal, which reads journals, can't be run");
    program("mjournal", "exit 127");
    run = fake_alone(&verb_journal, "verify x", true);
    assert_int_equal(run->how, CTL_FAILED);
    assert_has(run->err, "it is not there");
    program("mjournal", "kill -9 $$");
    run = fake_alone(&verb_journal, "verify x", false);
    assert_int_equal(run->how, CTL_FAILED);
    assert_has(run->err, "can't be run");
}

static void
check_says_what_mbrokerd_says(void **state)
{
    program("mbrokerd", "test \"$1\" = --check || exit 9; echo \"$2: fine\"");
    const struct fake_run *run = fake_alone(&verb_check, "x.conf", false);
    assert_int_equal(run->how, CTL_OK);
    assert_string_equal(run->out, "x.conf: fine\n");
    program("mbrokerd", "printf 'x.conf:3: b\\033ad\\nx.conf: no\\n' >&2; "
                        "exit 1");
    run = fake_alone(&verb_check, "x.conf", false);
    assert_int_equal(run->how, CTL_FAILED);
    assert_string_equal(run->out, "");
    assert_string_equal(run->err, "x.conf:3: b?ad\nx.conf: no\n");
    run = fake_alone(&verb_check, "x.conf", true);
    assert_int_equal(run->how, CTL_FAILED);
    json_t *said = json_loads(run->out, 0, NULL);
    assert_true(json_is_false(json_object_get(said, "ok")));
    assert_has(json_string_value(json_object_get(said, "said")), "x.conf:3");
    json_decref(said);
    program("mbrokerd", "head -c 200000 /dev/zero | tr '\\0' x >&2; exit 1");
    run = fake_alone(&verb_check, "x.conf", false);
    assert_int_equal(run->how, CTL_FAILED);
    assert_true(strlen(run->err) > 100 && strlen(run->err) < 100000);
}

static void
verify_tells_how_far_a_journal_is_proved(void **state)
{
    program("mjournal",
            "echo '{\"report\":{\"rows\":3,\"inputs\":1,\"proved\":true,"
            "\"end\":\"whole\",\"link\":\"ab\",\"last\":\"1.3\",\"link_row\":"
            "\"1.2\"}}'; echo garbage; echo '{\"report\":{\"rows\":9}}'");
    const struct fake_run *run = fake_alone(&verb_journal, "verify x", false);
    assert_int_equal(run->how, CTL_OK);
    assert_string_equal(run->out,
                        "x: 3 rows, to 1.3; 1 blocks of inputs\nchain: "
                        "unbroken\nend: whole\nlast link: ab\n");
    const struct ctl with_link = {.link = "cd"};
    run = fake_run(&verb_journal, "verify x", &with_link, NULL);
    assert_has(run->out, "link asked for: 1.2\n");
    run = fake_alone(&verb_journal, "verify x", true);
    assert_has(run->out, "\"rows\": 3");
    program(
        "mjournal",
        "echo '{\"report\":{\"rows\":0,\"proved\":false,\"broken\":\"at "
        "1.2\",\"first_after\":\"1.1\",\"end\":\"unknown\",\"end_why\":\"no "
        "marks\"}}'; exit 1");
    run = fake_run(&verb_journal, "verify x", &with_link, NULL);
    assert_int_equal(run->how, CTL_FAILED);
    assert_has(run->out, "behind 1.1 which the bounds took");
    assert_has(run->out, "chain: at 1.2\nend: unknown\n     no marks\n");
    assert_has(run->out, "none of these rows has it");
}

static void
a_reader_that_reports_nothing_is_told(void **state)
{
    program("mjournal", "echo 'mjournal: x: no such file' >&2; exit 1");
    const struct fake_run *run = fake_alone(&verb_journal, "verify x", false);
    assert_int_equal(run->how, CTL_FAILED);
    assert_string_equal(run->err,
                        "mctl: the journal can't be read: x: no such file\n");
    program("mjournal", "echo 'bad words' >&2; exit 2");
    static const struct verb *const verbs[] = {&verb_replay, &verb_events};
    for (size_t i = 0; i < 2; i++) {
        run = fake_alone(verbs[i], "x", false);
        assert_int_equal(run->how, CTL_USAGE);
        assert_has(run->err, "bad words");
        assert_string_equal(run->out, "");
    }
    /* A line longer than any. */
    program("mjournal", "head -c 6000000 /dev/zero | tr '\\0' x");
    run = fake_alone(&verb_journal, "verify x", false);
    assert_int_equal(run->how, CTL_FAILED);
    assert_has(run->err, "can't be run");
}

static void
events_of_a_file_are_those_that_are_proved(void **state)
{
    program(
        "mjournal",
        "echo \"$@\" > $(dirname $0)/args; echo '{\"vm\":{\"subject\":"
        "\"mgmt://local/vm/12345678-9abc-4def-8123-456789abcdef/agent\","
        "\"detail\":{\"name\":\"web1\"}}}'; echo '{\"vm\":{\"subject\":"
        "\"x\",\"detail\":{\"name\":\"n\"}}}'; echo '{\"vm\":{}}'; echo "
        "'{\"cause\":\"1.1\",\"name\":\"GUEST_UP\",\"subject\":\"mgmt://"
        "local/vm/12345678-9abc-4def-8123-456789abcdef\"}'; echo "
        "'{\"report\":{\"proved\":false,\"end_why\":\"cut off\"}}'; exit 1");
    const struct ctl options = {
        .vm = "web1", .note_type = "decision", .since_ns = 7, .until_ns = 8};
    const struct fake_run *run = fake_run(&verb_events, "f", &options, NULL);
    assert_int_equal(run->how, CTL_FAILED);
    assert_has(run->out, "GUEST_UP  web1");
    assert_has(run->err, "f: cut off");
    run = fake_alone(&verb_events, "f", true);
    assert_has(run->out, "\"journal\": {");
    program("mjournal", "echo '{\"report\":{\"proved\":false,\"broken\":\"at "
                        "1.2\",\"end_why\":\"w\"}}'; exit 1");
    run = fake_alone(&verb_events, "f", false);
    assert_has(run->err, "f: at 1.2\n      what is shown");
    assert_null(strstr(run->err, "f: w"));
}

static void
a_replay_tells_what_came_out_otherwise(void **state)
{
    program(
        "mjournal",
        "echo '{\"difference\":{\"wall_ns\":1699999999123000000,\"event\":"
        "\"GUEST_NOTICE\",\"event_subject\":\"mgmt://local/host/h\",\"knob\""
        ":\"mgmt://local/host/h/cpu/3/pstate\",\"then\":{\"cause\":\"1.2\","
        "\"rule\":\"basic/raise\",\"what\":\"p-state 0\"},\"now\":null}}'; "
        "echo '{\"replay\":{\"turns\":5,\"decisions_then\":2,"
        "\"differences\":1,\"policy_then\":\"basic\",\"policy_now\":"
        "\"none\",\"limits\":[\"a cap was there\",3]}}'; echo "
        "'{\"report\":{\"proved\":true}}'");
    const struct ctl options = {.policy = "none", .config = "c"};
    const struct fake_run *run = fake_run(&verb_replay, "f", &options, NULL);
    assert_int_equal(run->how, CTL_DIFFERS);
    assert_has(run->out, "2023-11-14 22:13:19.123  GUEST_NOTICE  host  1.2    "
                         "cpu3  basic/raise: p-state 0  nothing\n");
    assert_has(run->out, "unknown to unknown, 5 turns\n");
    assert_has(run->out, "then 2 decisions (basic), now 0 (none): 0 the same, "
                         "1 differences\nnote: a cap was there\nnote: \n");
    run = fake_alone(&verb_replay, "f", true);
    assert_int_equal(run->how, CTL_DIFFERS);
    assert_has(run->out, "\"differences\": [");
    program("mjournal", "echo '{\"replay\":{\"stopped\":\"row 7 is of another "
                        "version\"}}'; echo '{\"report\":{\"proved\":true}}'");
    run = fake_alone(&verb_replay, "f", false);
    assert_int_equal(run->how, CTL_FAILED);
    assert_has(run->err, "stopped before the end: row 7");
    program("mjournal", "echo '{\"replay\":{}}'; echo "
                        "'{\"report\":{\"proved\":true}}'");
    run = fake_alone(&verb_replay, "f", false);
    assert_int_equal(run->how, CTL_OK);
    program("mjournal", "echo '{\"report\":{\"proved\":true}}'");
    run = fake_alone(&verb_replay, "f", false);
    assert_int_equal(run->how, CTL_OK);
    assert_string_equal(run->out, "");
}

#define IN_DIR(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int
main(void)
{
    const struct CMUnitTest tests[] = {
        IN_DIR(a_program_that_is_not_there_is_named),
        IN_DIR(check_says_what_mbrokerd_says),
        IN_DIR(verify_tells_how_far_a_journal_is_proved),
        IN_DIR(a_reader_that_reports_nothing_is_told),
        IN_DIR(events_of_a_file_are_those_that_are_proved),
        IN_DIR(a_replay_tells_what_came_out_otherwise),
    };

    return cmocka_run_group_tests_name("programs", tests, NULL, NULL);
}
