/* SPDX-License-Identifier: Apache-2.0 */
/* What a control request may be, and that everything else is refused with a
 * reason that names it.  Broken text is tried as widely as good. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/prng.h"
#include "wire/grant.h"
#include "wire/request.h"

static struct request request;
static struct request_fault fault;

static int
decode(const char *line)
{
    memset(&request, 0xa5, sizeof request);
    memset(&fault, 0, sizeof fault);
    return request_decode(&request, line, strlen(line), &fault);
}

/* Refused, and the reason has 'word' in it. */
static void
assert_refused(const char *line, const char *word)
{
    struct request before;
    char said[sizeof fault + 2];

    memset(&before, 0xa5, sizeof before);
    assert_int_equal(decode(line), -EPROTO);
    assert_memory_equal(&request, &before, sizeof before);
    assert_true(fault.what[0] && fault.why[0] && fault.next[0]);
    snprintf(said, sizeof said, "%s|%s|%s", fault.what, fault.why, fault.next);
    if (!strstr(said, word)) {
        fail_msg("\"%s\" is not in \"%s\"", word, said);
    }
}

static void
every_verb_is_read(void **state)
{
    char line[200];

    for (int i = 0; i < REQUEST_VERB_N; i++) {
        const char *name = request_verb_name((enum request_verb)i);
        const char *field =
            !strcmp(name, "vm_migrate")   ? ",\"vm\":\"web1\",\"to\":\"near\""
            : strstr(name, "vm_")         ? ",\"vm\":\"web1\""
            : !strcmp(name, "policy_set") ? ",\"name\":\"basic\""
            : !strcmp(name, "why")        ? ",\"knob\":\"cpu3\""
            : !strcmp(name, "trace")      ? ",\"cause\":\"1.4\""
                                          : "";
        bool cap = !strcmp(name, "cap_set");
        if (cap) {
            field = ",\"mw\":1000";
        }
        snprintf(line, sizeof line, "{\"verb\":\"%s\"%s}", name, field);
        assert_int_equal(decode(line), 0);
        assert_int_equal(request.verb, i);
        assert_int_equal(request.subject[0] != 0, field[0] != 0 && !cap);
    }
}

static void
only_eight_verbs_change_anything(void **state)
{
    static const enum request_verb changing[] = {
        REQUEST_POLICY_SET, REQUEST_VM_START,  REQUEST_VM_FREEZE,
        REQUEST_VM_THAW,    REQUEST_VM_END,    REQUEST_CAP_SET,
        REQUEST_RELOAD,     REQUEST_VM_MIGRATE};
    int n = 0;

    for (int i = 0; i < REQUEST_VERB_N; i++) {
        n += grant_verb_changes((enum request_verb)i);
    }
    assert_int_equal(n, 8);
    for (size_t i = 0; i < 8; i++) {
        assert_true(grant_verb_changes(changing[i]));
    }
    /* What is no verb must not slip through as one that only reads. */
    assert_true(grant_verb_changes(REQUEST_VERB_N));
}

static void
options_become_text(void **state)
{
    assert_int_equal(decode("{\"verb\":\"policy_set\",\"name\":\"basic\","
                            "\"options\":{\"a\":\"x y\",\"b\":-3,\"c\":0.5,"
                            "\"d\":true,\"e\":false}}"),
                     0);
    assert_int_equal(request.n_options, 5);
    assert_string_equal(request.options[0].name, "a");
    assert_string_equal(request.options[0].text, "x y");
    assert_string_equal(request.options[1].text, "-3");
    assert_string_equal(request.options[2].text, "0.5");
    assert_string_equal(request.options[3].text, "true");
    assert_string_equal(request.options[4].text, "false");
}

static void
too_many_options_are_refused(void **state)
{
    char line[REQUEST_SIZE_MAX];
    int n = snprintf(line, sizeof line,
                     "{\"verb\":\"policy_set\",\"name\":\"x\",\"options\":{");

    for (int i = 0; i <= REQUEST_OPTIONS_MAX; i++) {
        n += snprintf(line + n, sizeof line - (size_t)n, "%s\"k%d\":%d",
                      i ? "," : "", i, i);
    }
    snprintf(line + n, sizeof line - (size_t)n, "}}");
    assert_refused(line, "too many options");
}

static void
options_of_another_kind_are_refused(void **state)
{
    assert_refused("{\"verb\":\"policy_set\",\"name\":\"x\",\"options\":[]}",
                   "object");
    assert_refused(
        "{\"verb\":\"policy_set\",\"name\":\"x\",\"options\":{\"a\":null}}",
        "\"a\" is text");
    assert_refused(
        "{\"verb\":\"policy_set\",\"name\":\"x\",\"options\":{\"a\":{}}}",
        "\"a\"");
    assert_refused(
        "{\"verb\":\"policy_set\",\"name\":\"x\",\"options\":{\"\":1}}",
        "name is empty");
}

static void
unknown_fields_are_refused_by_name(void **state)
{
    assert_refused("{\"verb\":\"status\",\"colour\":1}", "\"colour\"");
    assert_refused("{\"verb\":\"status\",\"vm\":\"web1\"}", "\"vm\"");
    assert_refused("{\"verb\":\"why\",\"knob\":\"cpu1\",\"cause\":\"2\"}",
                   "\"cause\"");
    assert_refused("{\"verb\":\"trace\",\"cause\":\"2\",\"n\":3}", "\"n\"");
}

static void
missing_fields_are_named(void **state)
{
    assert_refused("{\"verb\":\"why\"}", "\"knob\"");
    assert_refused("{\"verb\":\"trace\"}", "\"cause\"");
    assert_refused("{\"verb\":\"vm_end\"}", "\"vm\"");
    assert_refused("{\"verb\":\"vm_migrate\",\"vm\":\"web1\"}", "\"to\"");
    assert_refused("{\"verb\":\"vm_end\",\"vm\":\"web1\",\"to\":\"a\"}",
                   "no field \"to\"");
    assert_refused("{\"verb\":\"policy_set\",\"options\":{}}", "\"name\"");
}

static void
unknown_verbs_are_refused_with_those_there_are(void **state)
{
    assert_refused("{\"verb\":\"reboot\"}", "\"reboot\"");
    assert_refused("{\"verb\":\"reboot\"}", "status");
    assert_refused("{\"verb\":7}", "no verb");
    assert_refused("{}", "no verb");
}

static void
what_is_no_object_is_refused(void **state)
{
    assert_refused("", "not JSON");
    assert_refused("GET / HTTP/1.1", "not JSON");
    assert_refused("[\"status\"]", "no verb");
    assert_refused("\"status\"", "not JSON");
    assert_refused("{\"verb\":\"status\"", "not JSON");
    assert_refused("{\"verb\":\"status\"} {}", "not JSON");
    assert_refused("{\"verb\":\"status\",\"verb\":\"vms\"}", "not JSON");
    assert_refused("{\"verb\":\"st\\u0000atus\"}", "not JSON");
    assert_refused("{\"verb\":\"\xff\xfe\"}", "not JSON");
}

static void
text_with_control_characters_is_refused(void **state)
{
    assert_refused("{\"verb\":\"why\",\"knob\":\"cpu\\u001b[2J\"}",
                   "control characters");
    assert_refused("{\"verb\":\"why\",\"knob\":\"cpu1\\n\"}",
                   "control characters");
}

static void
text_that_does_not_fit_is_refused(void **state)
{
    char line[REQUEST_SIZE_MAX], word[REQUEST_SUBJECT_SIZE + 1];

    memset(word, 'x', sizeof word);
    word[REQUEST_SUBJECT_SIZE - 1] = '\0';
    snprintf(line, sizeof line, "{\"verb\":\"why\",\"knob\":\"%s\"}", word);
    assert_int_equal(decode(line), 0);
    word[REQUEST_SUBJECT_SIZE - 1] = 'x';
    word[REQUEST_SUBJECT_SIZE] = '\0';
    snprintf(line, sizeof line, "{\"verb\":\"why\",\"knob\":\"%s\"}", word);
    assert_refused(line, "too long");
    assert_refused("{\"verb\":\"why\",\"knob\":\"\"}", "empty");
}

static void
rows_asked_for_are_bounded(void **state)
{
    assert_int_equal(decode("{\"verb\":\"events\"}"), 0);
    assert_int_equal(request.n, 20);
    assert_int_equal(decode("{\"verb\":\"events\",\"n\":500}"), 0);
    assert_int_equal(request.n, 500);
    assert_refused("{\"verb\":\"events\",\"n\":0}", "1 to 500");
    assert_refused("{\"verb\":\"events\",\"n\":501}", "1 to 500");
    assert_refused("{\"verb\":\"events\",\"n\":-1}", "1 to 500");
    assert_refused("{\"verb\":\"events\",\"n\":\"5\"}", "1 to 500");
    assert_refused("{\"verb\":\"events\",\"n\":99999999999999999999}",
                   "not JSON");
}

static void
journal_rows_are_asked_for_by_time_vm_type_and_place(void **state)
{
    assert_int_equal(decode("{\"verb\":\"events\",\"vm\":\"web1\","
                            "\"type\":\"decision\",\"since_ns\":5,"
                            "\"until_ns\":9,\"after\":7,\"n\":3}"),
                     0);
    assert_string_equal(request.subject, "web1");
    assert_string_equal(request.type, "decision");
    assert_int_equal(request.since_ns, 5);
    assert_int_equal(request.until_ns, 9);
    assert_int_equal(request.after, 7);
    assert_true(request.forward);
    assert_int_equal(request.n, 3);
    assert_int_equal(decode("{\"verb\":\"events\",\"before\":8}"), 0);
    assert_int_equal(request.before, 8);
    assert_false(request.forward);
    assert_refused("{\"verb\":\"events\",\"since_ns\":\"5\"}",
                   "\"since_ns\" is a whole number");
    assert_refused("{\"verb\":\"events\",\"until_ns\":-1}",
                   "\"until_ns\" is a whole number");
    assert_refused("{\"verb\":\"events\",\"after\":1.5}", "\"after\"");
    assert_refused("{\"verb\":\"events\",\"before\":null}", "\"before\"");
    assert_refused("{\"verb\":\"events\",\"colour\":1}",
                   "since_ns, until_ns, vm, type, after and before");
}

static void
a_cap_is_given_in_range_or_not_at_all(void **state)
{
    assert_int_equal(decode("{\"verb\":\"cap_set\",\"mw\":50000,\"term\":0,"
                            "\"order\":2,\"lease_ms\":60000,"
                            "\"within_ms\":1500}"),
                     0);
    assert_int_equal(request.cap_mw, 50000);
    assert_true(request.has_term && request.term == 0);
    assert_int_equal(request.order, 2);
    assert_int_equal(request.lease_ms, 60000);
    assert_int_equal(request.within_ms, 1500);
    assert_refused("{\"verb\":\"cap_set\",\"mw\":0}", "\"mw\"");
    assert_refused("{\"verb\":\"cap_set\",\"mw\":1000000001}", "\"mw\"");
    assert_refused("{\"verb\":\"cap_set\",\"mw\":5,\"lease_ms\":\"9\"}",
                   "\"lease_ms\"");
    assert_refused("{\"verb\":\"cap_set\",\"mw\":5,\"watts\":1}",
                   "mw, term, order, lease_ms and within_ms");
}

static void
notes_are_asked_for_by_vm_and_type(void **state)
{
    assert_int_equal(decode("{\"verb\":\"notes\",\"vm\":\"web1\","
                            "\"type\":\"a.b/1\",\"follow\":true}"),
                     0);
    assert_string_equal(request.type, "a.b/1");
    assert_true(request.follow);
    assert_int_equal(decode("{\"verb\":\"notes\",\"follow\":false}"), 0);
    assert_false(request.follow);
    assert_refused("{\"verb\":\"notes\",\"follow\":1}", "a truth value");
    assert_refused("{\"verb\":\"notes\",\"type\":\"..\"}", "no type of a note");
    assert_refused("{\"verb\":\"notes\",\"type\":7}", "is text");
    assert_refused("{\"verb\":\"notes\",\"n\":7}", "takes vm, type and follow");
}

static void
verbs_say_what_they_take_when_they_get_something_else(void **state)
{
    assert_refused("{\"verb\":\"policy_set\",\"x\":1}", "name options");
    assert_refused("{\"verb\":\"why\",\"x\":1}", "takes knob");
    assert_refused("{\"verb\":\"status\",\"n\":1}", "takes no fields");
    assert_refused("{\"verb\":\"policy_set\",\"name\":\"x\","
                   "\"options\":{\"\":1}}",
                   "option's name is empty");
    assert_refused(
        "{\"verb\":\"policy_set\",\"name\":\"x\",\"options\":{"
        "\"1234567890123456789012345678901234567890123456789012345678"
        "901234\":1}}",
        "or too long");
    assert_refused("{\"verb\":\"policy_set\",\"name\":\"x\","
                   "\"options\":{\"a\":\"\\u007f\"}}",
                   "control characters");
    assert_refused("{\"verb\":5}", "no verb");
    assert_string_equal(request_verb_name(REQUEST_VERB_N), "?");
}

static void
a_line_may_be_as_long_as_its_limit_and_no_longer(void **state)
{
    char line[REQUEST_SIZE_MAX + 2];

    memset(line, ' ', sizeof line);
    memcpy(line, "{\"verb\":\"status\"}", 17);
    assert_int_equal(request_decode(&request, line, REQUEST_SIZE_MAX, &fault),
                     0);
    assert_int_equal(
        request_decode(&request, line, REQUEST_SIZE_MAX + 1, &fault), -EPROTO);
    assert_non_null(strstr(fault.what, "too long"));
}

static void
nesting_is_bounded(void **state)
{
    char line[200] = "{\"verb\":\"status\",\"x\":";
    size_t n = strlen(line);

    memset(line + n, '[', REQUEST_DEPTH_MAX);
    assert_refused(line, "nested");
    /* Brackets in text nest nothing. */
    assert_refused("{\"verb\":\"why\",\"knob\":\"[[[[[[[[[[[[[[[[[[[[\","
                   "\"y\":1}",
                   "\"y\"");
    assert_refused("{\"verb\":\"why\",\"knob\":\"\\\"[[[[[[[[[[[[[[[[[[[[\","
                   "\"y\":1}",
                   "\"y\"");
}

static void
refusals_are_printable_whatever_came(void **state)
{
    assert_refused("{\"verb\":\"\\u001b]0;x\\u0007\"}", "is none");
    for (const char *c = fault.why; *c; c++) {
        assert_in_range(*c, ' ', '~');
    }
    assert_refused("{\"verb\":\"status\",\"\xc3\xa4\xc3\xb6\":1}", "????");
}

/* A good line with some of its bytes changed, cut or doubled, many times over:
 * never read out of bounds (the sanitizers watch), always 0 or -EPROTO. */
static void
mutilated_lines_do_no_harm(void **state)
{
    static const char good[] =
        "{\"verb\":\"policy_set\",\"name\":\"basic\",\"options\":{\"a\":1,"
        "\"b\":\"two\",\"c\":[true,null,{\"d\":1e300}]}}";
    struct prng prng;
    int n_good = 0;

    prng_init(&prng, 7);
    for (int i = 0; i < 20000; i++) {
        size_t size = prng_below(&prng, sizeof good);
        char *line = malloc(size + 1);

        memcpy(line, good, size);
        for (uint64_t j = prng_below(&prng, 4); j > 0 && size > 0; j--) {
            line[prng_below(&prng, size)] = (char)prng_below(&prng, 256);
        }
        int error = request_decode(&request, line, size, &fault);
        assert_true(error == 0 || error == -EPROTO);
        n_good += error == 0;
        free(line);
    }
    assert_true(n_good < 20000);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_verb_is_read),
        cmocka_unit_test(only_eight_verbs_change_anything),
        cmocka_unit_test(options_become_text),
        cmocka_unit_test(too_many_options_are_refused),
        cmocka_unit_test(options_of_another_kind_are_refused),
        cmocka_unit_test(unknown_fields_are_refused_by_name),
        cmocka_unit_test(missing_fields_are_named),
        cmocka_unit_test(unknown_verbs_are_refused_with_those_there_are),
        cmocka_unit_test(what_is_no_object_is_refused),
        cmocka_unit_test(text_with_control_characters_is_refused),
        cmocka_unit_test(text_that_does_not_fit_is_refused),
        cmocka_unit_test(rows_asked_for_are_bounded),
        cmocka_unit_test(journal_rows_are_asked_for_by_time_vm_type_and_place),
        cmocka_unit_test(a_cap_is_given_in_range_or_not_at_all),
        cmocka_unit_test(notes_are_asked_for_by_vm_and_type),
        cmocka_unit_test(verbs_say_what_they_take_when_they_get_something_else),
        cmocka_unit_test(a_line_may_be_as_long_as_its_limit_and_no_longer),
        cmocka_unit_test(nesting_is_bounded),
        cmocka_unit_test(refusals_are_printable_whatever_came),
        cmocka_unit_test(mutilated_lines_do_no_harm),
    };

    return cmocka_run_group_tests_name("request", tests, NULL, NULL);
}
