/* SPDX-License-Identifier: Apache-2.0 */
/* Fields come and go with versions, and no peer notices. */
#include "wire/field.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/cbor.h"
#include "wire/msg.h"

/* A message as it might be in version 3: 'colour' came with 2, 'tags' and
 * 'level', which may not be 0, with 3. */
struct paint {
    uint64_t amount;
    char colour[9];
    uint32_t n_tags;
    uint64_t tags[2];
    uint64_t level;
};

static const struct field paint_field[] = {
    {.name = "amount",
     .kind = FIELD_KIND_UNSIGNED,
     .key = 1,
     .since = 1,
     .high = 9,
     .offset = offsetof(struct paint, amount)},
    {.name = "colour",
     .kind = FIELD_KIND_TEXT,
     .key = 2,
     .since = 2,
     .max_text = 8,
     .offset = offsetof(struct paint, colour)},
    {.name = "tags",
     .kind = FIELD_KIND_NUMBERS,
     .key = 3,
     .since = 3,
     .high = 99,
     .max_n = 2,
     .offset = offsetof(struct paint, tags),
     .n_offset = offsetof(struct paint, n_tags)},
    {.name = "level",
     .kind = FIELD_KIND_UNSIGNED,
     .key = 4,
     .since = 3,
     .low = 1,
     .high = 5,
     .offset = offsetof(struct paint, level)},
};

static const struct fields paint = {.name = "PAINT",
                                    .field = paint_field,
                                    .n = 4,
                                    .size = sizeof(struct paint)};

static const struct paint red = {
    .amount = 7, .colour = "red", .n_tags = 1, .tags = {42}, .level = 5};

static uint8_t data[128];
static size_t used;
static char why[MSG_WHY_SIZE];

static int
encode(unsigned version, const struct paint *in)
{
    struct cbor_out out;
    int error;

    cbor_out_init(&out, data, sizeof data);
    why[0] = '\0';
    error = fields_encode(&paint, version, in, &out, why, sizeof why);
    used = out.used;
    return error;
}

static int
decode(unsigned version, struct paint *out)
{
    struct cbor_in in;

    memset(out, 0, sizeof *out);
    cbor_in_init(&in, data, used);
    why[0] = '\0';
    return fields_decode(&paint, version, &in, out, why, sizeof why);
}

static void
each_version_carries_the_fields_it_knows(void **state)
{
    struct paint out;

    assert_int_equal(encode(3, &red), 0);
    assert_int_equal(decode(3, &out), 0);
    assert_memory_equal(&out, &red, sizeof out);

    assert_int_equal(encode(2, &red), 0);
    assert_int_equal(decode(2, &out), 0);
    assert_string_equal(out.colour, "red");
    assert_int_equal(out.n_tags, 0);
    assert_int_equal(out.level, 0);

    assert_int_equal(encode(1, &red), 0);
    assert_int_equal(decode(1, &out), 0);
    assert_int_equal(out.amount, 7);
    assert_string_equal(out.colour, "");
}

static void
an_old_receiver_skips_what_a_newer_sender_adds(void **state)
{
    struct paint out;

    assert_int_equal(encode(3, &red), 0);
    assert_int_equal(decode(1, &out), 0);
    assert_int_equal(out.amount, 7);
    assert_string_equal(out.colour, "");
    assert_int_equal(out.level, 0);
}

static void
a_sender_of_that_version_must_send_its_fields(void **state)
{
    struct paint out;

    assert_int_equal(encode(1, &red), 0);
    assert_int_equal(decode(2, &out), -EPROTO);
    assert_string_equal(why, "PAINT colour is missing");
    assert_int_equal(encode(2, &red), 0);
    assert_int_equal(decode(3, &out), -EPROTO);
    assert_string_equal(why, "PAINT tags is missing");
}

static void
a_field_that_is_not_sent_need_not_be_in_range(void **state)
{
    struct paint pale = {.amount = 1, .level = 0};

    assert_int_equal(encode(2, &pale), 0);
    assert_int_equal(encode(3, &pale), -ERANGE);
    assert_string_equal(why, "PAINT level is 0, allowed 1..5");
}

static void
list_members_are_checked_by_place(void **state)
{
    struct paint bad = red;

    bad.n_tags = 2;
    bad.tags[1] = 100;
    assert_int_equal(encode(3, &bad), -ERANGE);
    assert_string_equal(why, "PAINT tags[1] is 100, allowed 0..99");
    bad.n_tags = 3;
    assert_int_equal(encode(3, &bad), -ERANGE);
    assert_string_equal(why, "PAINT tags has 3 members, at most 2");
}

static void
words_are_cut_to_the_room_there_is(void **state)
{
    struct paint bad = red;
    struct cbor_out out;
    char small[8];

    bad.amount = 10;
    cbor_out_init(&out, data, sizeof data);
    assert_int_equal(fields_encode(&paint, 3, &bad, &out, small, sizeof small),
                     -ERANGE);
    assert_string_equal(small, "PAINT a");
    assert_int_equal(fields_encode(&paint, 3, &bad, &out, NULL, 0), -ERANGE);
    assert_int_equal(fields_encode(&paint, 3, &bad, &out, small, 0), -ERANGE);
    assert_string_equal(small, "PAINT a");
    assert_int_equal(out.used, 0);
}

static void
a_struct_is_shown_by_name_and_value(void **state)
{
    char line[128], small[10];
    size_t length = fields_format(&paint, &red, line, sizeof line);

    assert_string_equal(line, "amount=7 colour=\"red\" tags=[42] level=5");
    assert_int_equal(length, strlen(line));
    assert_int_equal(fields_format(&paint, &red, small, sizeof small), length);
    assert_string_equal(small, "amount=7 ");
    assert_int_equal(fields_format(&paint, &red, NULL, 0), length);
}

static void
quotes_in_text_are_escaped_when_shown(void **state)
{
    struct msg msg = {.type = MSG_BYE, .bye.reason = "say \"bye\\\""};
    char line[64];

    msg_format(&msg, line, sizeof line);
    assert_string_equal(line, "BYE reason=\"say \\\"bye\\\\\\\"\"");
}

static void
a_uuid_and_lists_are_shown(void **state)
{
    struct msg msg = {.type = MSG_VM_FOUND,
                      .vm_found = {.vm.byte = {0x12, 0x34},
                                   .name = "web1",
                                   .hypervisor = "process",
                                   .n_vcpu_cpus = 2,
                                   .vcpu_cpus = {3, 5}}};
    char line[192];

    msg_format(&msg, line, sizeof line);
    assert_string_equal(
        line, "VM_FOUND vm=12340000-0000-0000-0000-000000000000 name=\"web1\" "
              "hypervisor=\"process\" vcpu_cpus=[3,5] state=0");
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_version_carries_the_fields_it_knows),
        cmocka_unit_test(an_old_receiver_skips_what_a_newer_sender_adds),
        cmocka_unit_test(a_sender_of_that_version_must_send_its_fields),
        cmocka_unit_test(a_field_that_is_not_sent_need_not_be_in_range),
        cmocka_unit_test(list_members_are_checked_by_place),
        cmocka_unit_test(words_are_cut_to_the_room_there_is),
        cmocka_unit_test(a_struct_is_shown_by_name_and_value),
        cmocka_unit_test(quotes_in_text_are_escaped_when_shown),
        cmocka_unit_test(a_uuid_and_lists_are_shown),
    };

    return cmocka_run_group_tests_name("wire/field", tests, NULL, NULL);
}
