/* SPDX-License-Identifier: Apache-2.0 */
/* magentd's settings: the file and the command line say the same things, and
 * what is wrong is refused with its line and a reason. */
#include "agent/settings.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "probe/probe.h"

struct bench {
    struct settings settings;
    char path[64], why[SETTINGS_WHY_SIZE];
};

static int
setup(void **state)
{
    struct bench *b = calloc(1, sizeof *b);
    int fd;

    strcpy(b->path, "/tmp/mbroker-settings-XXXXXX");
    fd = mkstemp(b->path);
    if (fd < 0) {
        return -1;
    }
    close(fd);
    settings_init(&b->settings);
    *state = b;
    return 0;
}

static int
teardown(void **state)
{
    struct bench *b = *state;

    unlink(b->path);
    free(b);
    return 0;
}

static int
read_text(struct bench *b, const char *text)
{
    FILE *file = fopen(b->path, "w");

    assert_non_null(file);
    fputs(text, file);
    fclose(file);
    settings_init(&b->settings);
    return settings_read(&b->settings, b->path, b->why, sizeof b->why);
}

/* Refused, with that line and these words in the reason. */
static void
refuse(struct bench *b, const char *text, unsigned line, const char *words)
{
    char where[96];

    snprintf(where, sizeof where, "%s:%u: ", b->path, line);
    assert_int_equal(read_text(b, text), -EINVAL);
    if (strncmp(b->why, where, strlen(where)) || !strstr(b->why, words)) {
        fail_msg("\"%s\" lacks \"%s\" or \"%s\"", b->why, where, words);
    }
}

static void
defaults_are_the_papers(void **state)
{
    struct bench *b = *state;
    struct sla_terms terms = settings_sla(&b->settings);

    assert_int_equal(terms.threshold_us, 3000);
    assert_int_equal(terms.epoch_ns, 500 * NSEC_PER_MSEC);
    assert_int_equal(terms.tolerated_permille, 10);
    assert_string_equal(option_text(&b->settings.values, "channel"),
                        "unix:/run/mbroker/channel");
    assert_int_equal(settings_finish(&b->settings, b->why, sizeof b->why), 0);
    assert_int_equal(b->settings.n_probes, 1);
    assert_string_equal(b->settings.probes[0].class->name, "cpu");
}

static void
file_sets_everything(void **state)
{
    struct bench *b = *state;
    struct sla_terms terms;

    assert_int_equal(
        read_text(b, "channel = \"shm:/tmp/x\";\n"
                     "claim = \"web-1\"; threshold_us = 6000;\n"
                     "epoch_ms = 250; tolerated_percent = 2.5;\n"
                     "log_level = \"debug\";\n"
                     "probes = ( { name = \"httplog\"; path = \"/x/a.log\";\n"
                     "             format = \"apache\"; period_ms = 20; },\n"
                     "           { name = \"cpu\"; } );\n"),
        0);
    terms = settings_sla(&b->settings);
    assert_int_equal(terms.threshold_us, 6000);
    assert_int_equal(terms.epoch_ns, 250 * NSEC_PER_MSEC);
    assert_int_equal(terms.tolerated_permille, 25);
    assert_int_equal(settings_log_level(&b->settings), LOG_LEVEL_DEBUG);
    assert_int_equal(b->settings.n_probes, 2);
    assert_string_equal(option_text(&b->settings.probes[0].options, "path"),
                        "/x/a.log");
    assert_int_equal(option_int(&b->settings.probes[0].options, "period_ms"),
                     20);
}

static void
command_line_words_are_the_files(void **state)
{
    struct bench *b = *state;

    assert_int_equal(settings_set(&b->settings, "tolerated-percent", "0.5",
                                  b->why, sizeof b->why),
                     0);
    assert_int_equal(settings_sla(&b->settings).tolerated_permille, 5);
    assert_int_equal(
        settings_set(&b->settings, "epoch_ms", "100", b->why, sizeof b->why),
        0);
    assert_int_equal(settings_sla(&b->settings).epoch_ns, 100 * NSEC_PER_MSEC);
}

static void
probe_is_written_in_one_word(void **state)
{
    struct bench *b = *state;

    assert_int_equal(settings_add_probe(
                         &b->settings, "httplog:path=/x/y:z.log,format=haproxy",
                         b->why, sizeof b->why),
                     0);
    assert_string_equal(option_text(&b->settings.probes[0].options, "path"),
                        "/x/y:z.log");
    assert_string_equal(option_text(&b->settings.probes[0].options, "format"),
                        "haproxy");
}

static void
bad_probes_are_refused(void **state)
{
    static const char *const bad[][2] = {
        {"", "httplog"},
        {"nosuch", "nosuch"},
        {"httplog:path", "option=value"},
        {"httplog:pfad=/x", "pfad"},
        {"httplog:period_ms=0", "period_ms"},
        {"httplog:period_ms=ten", "period_ms"},
        {"httplog:format=iis", "nginx"},
    };
    struct bench *b = *state;
    char spec[2000];

    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        settings_init(&b->settings);
        b->why[0] = '\0';
        assert_int_equal(
            settings_add_probe(&b->settings, bad[i][0], b->why, sizeof b->why),
            -EINVAL);
        assert_non_null(strstr(b->why, bad[i][1]));
    }
    memset(spec, 'x', sizeof spec - 1);
    spec[sizeof spec - 1] = '\0';
    assert_int_equal(
        settings_add_probe(&b->settings, spec, b->why, sizeof b->why), -EINVAL);
}

static void
ninth_probe_is_refused(void **state)
{
    struct bench *b = *state;

    for (unsigned i = 0; i < AGENT_PROBES_MAX; i++) {
        assert_int_equal(
            settings_add_probe(&b->settings, "cpu", b->why, sizeof b->why), 0);
    }
    assert_int_equal(
        settings_add_probe(&b->settings, "cpu", b->why, sizeof b->why),
        -EINVAL);
}

static void
unknown_names_in_the_file_are_refused_with_their_line(void **state)
{
    struct bench *b = *state;

    refuse(b, "epoch_ms = 500;\nthreshhold_us = 3000;\n", 2, "threshhold_us");
    refuse(b, "probes = (\n { name = \"cpu\";\n periode_ms = 5; } );\n", 3,
           "periode_ms");
    refuse(b, "\n\nprobes = ( { name = \"gpu\"; } );\n", 3, "gpu");
}

static void
values_out_of_range_are_refused_with_their_line(void **state)
{
    struct bench *b = *state;

    refuse(b, "epoch_ms = 0;\n", 1, "epoch_ms");
    refuse(b, "\ntolerated_percent = 101.0;\n", 2, "tolerated_percent");
    refuse(b, "\n\nthreshold_us = -1;\n", 3, "threshold_us");
    refuse(b, "threshold_us = \"fast\";\n", 1, "threshold_us");
    refuse(b, "log_level = \"loud\";\n", 1, "log_level");
    refuse(b, "claim = \"../../etc\";\n", 1, "claim");
}

static void
values_of_the_wrong_shape_are_refused_with_their_line(void **state)
{
    struct bench *b = *state;

    refuse(b, "epoch_ms = ( 1, 2 );\n", 1, "one value");
    refuse(b, "epoch_ms = { a = 1; };\n", 1, "one value");
    refuse(b, "probes = 7;\n", 1, "list");
    refuse(b, "probes = ( 7 );\n", 1, "name");
    refuse(b, "probes = ( { path = \"/x\"; } );\n", 1, "name");
    refuse(b, "probes = ( { name = \"httplog\";\n path = [ 1 ]; } );\n", 2,
           "one value");
}

static void
broken_syntax_is_refused_with_its_line(void **state)
{
    struct bench *b = *state;

    refuse(b, "epoch_ms = 500;\nclaim = ;\n", 2, "syntax");
    refuse(b, "epoch_ms = 500;\nepoch_ms = 600;\n", 2, "duplicate");
}

/* What libconfig alone would take and mistake. */
static void
traps_of_the_parser_are_refused_with_their_line(void **state)
{
    struct bench *b = *state;

    refuse(b, "\nepoch_ms = 4294967796;\n", 2, "32 bits");
    refuse(b, "epoch_ms = 500;\n/* the rest\nthreshold_us = 1;\n", 2,
           "never ends");
    refuse(b, "\n@include \"/etc/passwd\"\n", 2, "@include");
    refuse(b, "claim = \"web\\x00x\";\n", 1, "x00");
}

static void
missing_file_is_told_apart(void **state)
{
    struct bench *b = *state;

    assert_int_equal(settings_read(&b->settings, "/nonexistent/magentd.conf",
                                   b->why, sizeof b->why),
                     -ENOENT);
    assert_non_null(strstr(b->why, "/nonexistent/magentd.conf"));
}

static void
overlong_text_is_refused(void **state)
{
    struct bench *b = *state;
    char text[600];

    strcpy(text, "channel = \"");
    memset(text + 11, 'c', 400);
    strcpy(text + 411, "\";\n");
    refuse(b, text, 1, "at most");
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

static void
values_of_every_kind_are_read_or_refused(void **state)
{
    struct bench *b = *state;
    char name[200];

    assert_int_equal(read_text(b, "threshold_us = 3000L;\n"), 0);
    assert_int_equal(option_int(&b->settings.values, "threshold_us"), 3000);
    assert_int_equal(read_text(b, "\nthreshold_us = 5000000000000L;\n"),
                     -EINVAL);
    assert_int_equal(read_text(b, "threshold_us = 2.5;\n"), -EINVAL);
    assert_int_equal(read_text(b, "threshold_us = true;\n"), -EINVAL);
    assert_int_equal(read_text(b, "threshold_us = false;\n"), -EINVAL);
    assert_int_equal(read_text(b, "threshold_us = [1];\n"), -EINVAL);
    assert_int_equal(read_text(b, "threshold_us = { a = 1; };\n"), -EINVAL);
    memset(name, 'n', sizeof name - 1);
    name[sizeof name - 1] = '\0';
    assert_int_equal(
        settings_set(&b->settings, name, "1", b->why, sizeof b->why), -EINVAL);
    assert_non_null(strstr(b->why, "no such setting"));
}

static void
a_claim_is_a_name_or_none(void **state)
{
    struct bench *b = *state;

    assert_int_equal(
        settings_set(&b->settings, "claim", "web1", b->why, sizeof b->why), 0);
    assert_int_equal(
        settings_set(&b->settings, "claim", "", b->why, sizeof b->why), 0);
    assert_int_equal(
        settings_set(&b->settings, "claim", "a/b", b->why, sizeof b->why),
        -EINVAL);
    assert_non_null(strstr(b->why, "is no name"));
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(values_of_every_kind_are_read_or_refused),
        CASE(a_claim_is_a_name_or_none),
        CASE(defaults_are_the_papers),
        CASE(file_sets_everything),
        CASE(command_line_words_are_the_files),
        CASE(probe_is_written_in_one_word),
        CASE(bad_probes_are_refused),
        CASE(ninth_probe_is_refused),
        CASE(unknown_names_in_the_file_are_refused_with_their_line),
        CASE(values_out_of_range_are_refused_with_their_line),
        CASE(values_of_the_wrong_shape_are_refused_with_their_line),
        CASE(broken_syntax_is_refused_with_its_line),
        CASE(traps_of_the_parser_are_refused_with_their_line),
        CASE(missing_file_is_told_apart),
        CASE(overlong_text_is_refused),
    };

    return cmocka_run_group_tests_name("agent/settings", tests, NULL, NULL);
}
