/* SPDX-License-Identifier: Apache-2.0 */
/* From one configuration to another: what may differ while a broker runs, what
 * may not and how that is said, and the words for what changed. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "broker/config/confchange.h"

#define BASE                                                                   \
    "run_dir = \"/run/t\"; state_dir = \"/var/t\"; host_id = \"t\";\n"         \
    "cpus = [0, 1];\n"                                                         \
    "policy = { name = \"basic\"; util_period_ms = 2000; };\n"                 \
    "pstate = { driver = \"sim\"; };\n"                                        \
    "power = { driver = \"sim\"; };\n"
#define WEB1 "{ name = \"web1\"; vcpus = [0]; }"
#define WEB2 "{ name = \"web2\"; vcpus = [1]; }"
#define GUESTS "guests = ( " WEB1 ",\n" WEB2 " );\n"

static char why[CONFIG_WHY_SIZE], words[CONFCHANGE_WORDS_SIZE];

/* From one text to another: what confchange_check() says, and the words. */
static int
go(const char *from, const char *to)
{
    struct broker_config was, now;

    assert_int_equal(config_parse(&was, from, "a", why, sizeof why), 0);
    if (config_parse(&now, to, "b", why, sizeof why)) {
        fail_msg("%s", why);
    }
    why[0] = '\0';
    int error = confchange_check(&was, &now, to, "b", why, sizeof why);
    confchange_describe(&was, &now, words);
    config_fini(&was);
    config_fini(&now);
    return error;
}

static void
the_same_text_changes_nothing(void **state)
{
    (void)state;
    assert_int_equal(go(BASE GUESTS, BASE GUESTS), 0);
    assert_string_equal(words, "nothing changed");
}

/* A default that is written out is no change. */
static void
what_is_said_at_length_is_the_same(void **state)
{
    (void)state;
    assert_int_equal(go(BASE GUESTS, BASE GUESTS "beat_ms = 1000; seed = 1; "
                                                 "domain = \"local\";"),
                     0);
    assert_string_equal(words, "nothing changed");
}

static void
parameters_may_change_and_are_named(void **state)
{
    static const struct {
        const char *text, *word;
    } may[] = {
        {"epoch_ms = 600;", "epoch_ms"},
        {"sample_ms = 200;", "sample_ms"},
        {"dwell_ms = 10;", "dwell_ms"},
        {"limits = { pstate_min = 1; };", "limits.pstate_min"},
        {"limits = { pstate_max = 3; };", "limits.pstate_max"},
        {"limits = { writes_per_second = 3; };", "limits.writes_per_second"},
        {"quota = { rows_per_second = 3; };", "quota.rows_per_second"},
        {"quota = { memory_kb = 128; };", "quota.memory_kb"},
        {"control = { group = \"a\"; };", "control.group"},
        {"control = { operators = \"a\"; };", "control.operators"},
        {"budget = { lease_ms = 2000; };", "budget.lease_ms"},
    };
    char text[2048];

    (void)state;
    for (size_t i = 0; i < sizeof may / sizeof may[0]; i++) {
        snprintf(text, sizeof text, "%s%s", BASE GUESTS, may[i].text);
        assert_int_equal(go(BASE GUESTS, text), 0);
        assert_string_equal(words, may[i].word);
        assert_int_equal(go(text, BASE GUESTS), 0);
        assert_string_equal(words, may[i].word);
    }
}

static void
what_a_process_is_made_of_may_not_change(void **state)
{
    static const struct {
        const char *text, *word;
    } may_not[] = {
        {"domain = \"other\";", "domain"},
        {"data_dir = \"/d\";", "data_dir"},
        {"sys_dir = \"/d\";", "sys_dir"},
        {"proc_dir = \"/d\";", "proc_dir"},
        {"beat_ms = 2000;", "beat_ms"},
        {"seed = 2;", "seed"},
        {"sandbox = { users = false; };", "sandbox.users"},
        {"sandbox = { root = false; };", "sandbox.root"},
        {"sandbox = { seccomp = false; };", "sandbox.seccomp"},
        {"sandbox = { required = true; };", "sandbox.required"},
        {"sandbox = { engine = \"daemon\"; };", "sandbox.engine"},
        {"journal = { size_mb = 200; };", "journal.size_mb"},
        {"journal = { inputs_mb = 20; };", "journal.inputs_mb"},
        {"journal = { age_days = 3; };", "journal.age_days"},
        {"hypervisor = { driver = \"sim\"; };", "hypervisor"},
        {"cap = { driver = \"sim\"; }; budget = { max_w = 3; safe_w = 1; };",
         "cap"},
    };
    char text[2048], head[64];

    (void)state;
    for (size_t i = 0; i < sizeof may_not / sizeof may_not[0]; i++) {
        snprintf(text, sizeof text, "%s%s", BASE GUESTS, may_not[i].text);
        assert_int_equal(go(BASE GUESTS, text), -EPERM);
        /* By its line: all before it has seven. */
        snprintf(head, sizeof head, "b:8: %s can't change", may_not[i].word);
        if (strncmp(why, head, strlen(head)) != 0) {
            fail_msg("%s: %s", may_not[i].word, why);
        }
    }
}

static void
what_is_in_the_text_already_may_not_change_either(void **state)
{
    static const struct {
        const char *from, *to, *head;
    } may_not[] = {
        {"/run/t", "/run/u", "b:1: run_dir "},
        {"/var/t", "/var/u", "b:1: state_dir "},
        {"host_id = \"t", "host_id = \"u", "b:1: host_id "},
        {"cpus = [0, 1]", "cpus = [1, 0]", "b:2: cpus "},
        {"cpus = [0, 1]", "cpus = [0, 1, 2]", "b:2: cpus "},
        {"pstate = { driver = \"sim\"", "pstate = { driver = \"cpufreq\"",
         "b:4: pstate "},
        {"power = { driver = \"sim\"; };", "", "b:0: power "},
    };

    (void)state;
    for (size_t i = 0; i < sizeof may_not / sizeof may_not[0]; i++) {
        const char *base = BASE GUESTS, *at = strstr(base, may_not[i].from);
        char text[2048];

        assert_non_null(at);
        snprintf(text, sizeof text, "%.*s%s%s", (int)(at - base), base,
                 may_not[i].to, at + strlen(may_not[i].from));
        assert_int_equal(go(base, text), -EPERM);
        if (strstr(why, strchr(may_not[i].head, ' ') + 1) == NULL ||
            (may_not[i].head[2] != '0' &&
             strncmp(why, may_not[i].head, strlen(may_not[i].head)) != 0)) {
            fail_msg("%s: %s", may_not[i].head, why);
        }
    }
}

static void
policies_differ_by_name_and_by_options(void **state)
{
    (void)state;
    assert_int_equal(go(BASE, "policy = { name = \"none\"; };\n"
                              "run_dir = \"/run/t\"; state_dir = \"/var/t\"; "
                              "host_id = \"t\"; cpus = [0, 1];"
                              "pstate = { driver = \"sim\"; };"
                              "power = { driver = \"sim\"; };"),
                     0);
    assert_string_equal(words, "policy none");
    assert_int_equal(go(BASE, "policy = { name = \"basic\"; util_period_ms = "
                              "3000; };\n"
                              "run_dir = \"/run/t\"; state_dir = \"/var/t\"; "
                              "host_id = \"t\"; cpus = [0, 1];"
                              "pstate = { driver = \"sim\"; };"
                              "power = { driver = \"sim\"; };"),
                     0);
    assert_string_equal(words, "policy basic");
}

static void
guests_come_change_and_go(void **state)
{
    (void)state;
    assert_int_equal(go(BASE GUESTS, BASE "guests = ( " WEB2 " );"), 0);
    assert_string_equal(words, "guest web1 removed");
    assert_int_equal(go(BASE "guests = ( " WEB2 " );", BASE GUESTS), 0);
    assert_string_equal(words, "guest web1 added");
    assert_int_equal(go(BASE GUESTS,
                        BASE "guests = ( " WEB2 ", { name = \"web1\"; vcpus = "
                             "[1]; } );"),
                     0);
    assert_string_equal(words, "guest web1 changed");
    assert_int_equal(go(BASE GUESTS, BASE "guests = ( " WEB2 ", " WEB1 " );"),
                     0);
    assert_string_equal(words, "nothing changed");
}

/* Each setting of a guest's own, both ways. */
static void
whatever_differs_a_guest_is_changed(void **state)
{
    static const char *const own[] = {
        "quota = { messages_per_second = 7; };",
        "quota = { bytes_per_second = 70000; };",
        "quota = { rows_per_second = 7; };",
        "quota = { memory_kb = 128; };",
        "command = \"/bin/true\";",
        "pid_file = \"/run/web1.pid\";",
    };
    const char *process = BASE "hypervisor = { driver = \"process\"; };\n";
    char with[2048], without[2048];

    (void)state;
    snprintf(without, sizeof without, "%sguests = ( %s, %s );\n", process, WEB1,
             WEB2);
    for (size_t i = 0; i < sizeof own / sizeof own[0]; i++) {
        snprintf(with, sizeof with,
                 "%sguests = ( { name = \"web1\"; vcpus = [0]; %s }, %s );\n",
                 process, own[i], WEB2);
        assert_int_equal(go(without, with), 0);
        assert_string_equal(words, "guest web1 changed");
        assert_int_equal(go(with, without), 0);
        assert_string_equal(words, "guest web1 changed");
    }
}

/* The driver stays, but not what it was told. */
static void
a_drivers_options_may_not_change(void **state)
{
    static const struct {
        const char *from, *to, *word;
    } may_not[] = {
        {"hypervisor = { driver = \"process\"; };",
         "hypervisor = { driver = \"process\"; pin = false; };", "hypervisor"},
        {"pstate = { driver = \"cpufreq\"; };",
         "pstate = { driver = \"cpufreq\"; steps = 7; };", "pstate"},
        {"power = { driver = \"sim\"; };",
         "power = { driver = \"sim\"; power_w = 3; };", "power"},
    };
    static const char *const base =
        "host_id = \"t\"; run_dir = \"/run/t\"; state_dir = \"/var/t\";\n"
        "cpus = [0, 1];\n";
    char from[1024], to[1024], head[64];

    (void)state;
    for (size_t i = 0; i < sizeof may_not / sizeof may_not[0]; i++) {
        const char *sim = !strcmp(may_not[i].word, "pstate")
                              ? ""
                              : "pstate = { driver = \"sim\"; };\n";

        snprintf(from, sizeof from, "%s%s%s", base, sim, may_not[i].from);
        snprintf(to, sizeof to, "%s%s%s", base, sim, may_not[i].to);
        assert_int_equal(go(from, from), 0);
        assert_int_equal(go(from, to), -EPERM);
        snprintf(head, sizeof head, "b:%d: %s can't change", sim[0] ? 4 : 3,
                 may_not[i].word);
        if (strncmp(why, head, strlen(head)) != 0) {
            fail_msg("%s: %s", may_not[i].word, why);
        }
    }
}

static void
a_guest_that_stays_keeps_what_its_session_hangs_on(void **state)
{
#define ONE(more)                                                              \
    BASE "guests = ( { uuid = \"11111111-2222-3333-4444-555555555555\";\n"     \
         "vcpus = [0];\n" more " } );"
    static const struct {
        const char *to, *head;
    } may_not[] = {
        {ONE("name = \"b\"; channel = \"shm:/run/t/x\";"), "b:8: the name"},
        {ONE("name = \"a\"; channel = \"shm:/run/t/y\";"), "b:8: the channel"},
        {ONE("name = \"a\"; channel = \"shm:/run/t/x\"; mode = \"0660\";"),
         "b:8: the mode"},
        {ONE("name = \"a\"; channel = \"shm:/run/t/x\"; owner = \"root\";"),
         "b:8: the owner"},
        {ONE("name = \"a\"; channel = \"shm:/run/t/x\"; group = \"root\";"),
         "b:8: the group"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof may_not / sizeof may_not[0]; i++) {
        assert_int_equal(
            go(ONE("name = \"a\"; channel = \"shm:/run/t/x\";"), may_not[i].to),
            -EPERM);
        if (strncmp(why, may_not[i].head, strlen(may_not[i].head)) != 0) {
            fail_msg("%s", why);
        }
    }
}

static void
the_room_is_what_it_was_at_the_start(void **state)
{
    (void)state;
    assert_int_equal(
        go(BASE "guests_max = 1; guests = ( " WEB1 " );", BASE GUESTS), -EPERM);
    assert_non_null(strstr(why, "b:6: 2 guests"));
    assert_non_null(strstr(why, "guests_max"));
    /* Other room that is said is for the next start. */
    assert_int_equal(go(BASE GUESTS, BASE GUESTS "guests_max = 100;"), 0);
}

static void
guests_max_has_room_for_those_that_are_named(void **state)
{
    struct broker_config config;

    (void)state;
    assert_int_equal(config_parse(&config, BASE GUESTS, "a", why, sizeof why),
                     0);
    assert_int_equal(config.guests_max, 2 + CONFIG_GUESTS_SPARE);
    config_fini(&config);
    assert_int_equal(config_parse(&config, BASE GUESTS "guests_max = 1;", "a",
                                  why, sizeof why),
                     -EINVAL);
    assert_non_null(strstr(why, "a:8: guests_max"));
}

static void
the_hash_is_the_files_own(void **state)
{
    char hash[CONFIG_HASH_SIZE], path[] = "/tmp/confchange-XXXXXX", *text;
    int fd = mkstemp(path);

    (void)state;
    assert_true(fd >= 0);
    FILE *file = fdopen(fd, "w");
    fputs("123456789", file); /* crc32(1)'s own example; no configuration. */
    fclose(file);
    assert_int_equal(config_load_text(&text, path, why, sizeof why), 0);
    config_hash(text, hash);
    assert_string_equal(hash, "cbf43926");
    free(text);
    file = fopen(path, "w");
    fputs("#23456789", file); /* With a host_id added. */
    fclose(file);
    assert_int_equal(config_load_text(&text, path, why, sizeof why), 0);
    assert_non_null(strstr(text, "host_id"));
    config_hash(text, hash);
    assert_string_equal(hash, "49c253d1");
    free(text);
    remove(path);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_same_text_changes_nothing),
        cmocka_unit_test(what_is_said_at_length_is_the_same),
        cmocka_unit_test(parameters_may_change_and_are_named),
        cmocka_unit_test(what_a_process_is_made_of_may_not_change),
        cmocka_unit_test(what_is_in_the_text_already_may_not_change_either),
        cmocka_unit_test(policies_differ_by_name_and_by_options),
        cmocka_unit_test(guests_come_change_and_go),
        cmocka_unit_test(whatever_differs_a_guest_is_changed),
        cmocka_unit_test(a_drivers_options_may_not_change),
        cmocka_unit_test(a_guest_that_stays_keeps_what_its_session_hangs_on),
        cmocka_unit_test(the_room_is_what_it_was_at_the_start),
        cmocka_unit_test(guests_max_has_room_for_those_that_are_named),
        cmocka_unit_test(the_hash_is_the_files_own),
    };

    return cmocka_run_group_tests_name("confchange", tests, NULL, NULL);
}
