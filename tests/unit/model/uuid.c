/* SPDX-License-Identifier: Apache-2.0 */
/* UUIDs: what is one, what is none, and those made from names. */
#include "model/uuid.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static const char text[] = "0f8fad5b-d9cb-469f-a165-70867728950e";

static void
text_form_survives_parsing(void **state)
{
    char again[UUID_TEXT_SIZE];
    struct uuid uuid;

    assert_int_equal(uuid_parse(&uuid, text), 0);
    assert_int_equal(uuid.byte[0], 0x0f);
    assert_int_equal(uuid.byte[15], 0x0e);
    uuid_format(&uuid, again);
    assert_string_equal(again, text);
}

static void
capitals_are_read_and_written_small(void **state)
{
    char again[UUID_TEXT_SIZE];
    struct uuid uuid;

    assert_int_equal(uuid_parse(&uuid, "0F8FAD5B-D9CB-469F-A165-70867728950E"),
                     0);
    uuid_format(&uuid, again);
    assert_string_equal(again, text);
}

static void
anything_else_is_refused_and_leaves_out_alone(void **state)
{
    static const char *const bad[] = {
        "",
        "0f8fad5b",
        "0f8fad5bd9cb469fa16570867728950e",
        "0f8fad5b-d9cb-469f-a165-70867728950",
        "0f8fad5b-d9cb-469f-a165-70867728950e0",
        "0f8fad5b-d9cb-469f-a165-70867728950g",
        "0f8fad5b-d9cb-469f-a16570-867728950e",
        "{f8fad5b-d9cb-469f-a165-70867728950}",
        " f8fad5b-d9cb-469f-a165-70867728950e",
        "+f8fad5b-d9cb-469f-a165-70867728950e",
        "0x8fad5b-d9cb-469f-a165-70867728950e",
        "------------------------------------",
    };
    struct uuid uuid, was;

    memset(&uuid, 0xa5, sizeof uuid);
    was = uuid;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        assert_int_equal(uuid_parse(&uuid, bad[i]), -EINVAL);
        assert_true(uuid_equal(&uuid, &was));
    }
}

static void
zero_is_nobody(void **state)
{
    struct uuid uuid = {{0}};

    assert_true(uuid_is_zero(&uuid));
    uuid.byte[15] = 1;
    assert_false(uuid_is_zero(&uuid));
}

static void
names_make_the_same_uuid_again(void **state)
{
    char first[UUID_TEXT_SIZE];
    struct uuid a, b;

    uuid_from_name(&a, "host1", "web1");
    uuid_from_name(&b, "host1", "web1");
    assert_true(uuid_equal(&a, &b));
    uuid_format(&a, first);
    assert_int_equal(first[14], '8');           /* The version. */
    assert_non_null(strchr("89ab", first[19])); /* The variant. */
    /* Guests must keep their identity over releases, too. */
    assert_string_equal(first, "0df3c072-ecac-8cd4-a549-3f91a682c267");
}

static void
names_that_differ_make_uuids_that_differ(void **state)
{
    static struct uuid made[2000];
    char name[16], host[16];

    for (unsigned i = 0; i < 2000; i++) {
        snprintf(host, sizeof host, "h%u", i / 100);
        snprintf(name, sizeof name, "web%u", i % 100);
        uuid_from_name(&made[i], host, name);
        for (unsigned j = 0; j < i; j++) {
            assert_false(uuid_equal(&made[i], &made[j]));
        }
    }
    uuid_from_name(&made[0], "ab", "c");
    uuid_from_name(&made[1], "a", "bc");
    assert_false(uuid_equal(&made[0], &made[1]));
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(text_form_survives_parsing),
        cmocka_unit_test(capitals_are_read_and_written_small),
        cmocka_unit_test(anything_else_is_refused_and_leaves_out_alone),
        cmocka_unit_test(zero_is_nobody),
        cmocka_unit_test(names_make_the_same_uuid_again),
        cmocka_unit_test(names_that_differ_make_uuids_that_differ),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
