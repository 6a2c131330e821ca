/* SPDX-License-Identifier: Apache-2.0 */
/* Base64 there and back, by RFC 4648's examples and by every size; one text per
 * bytes. */
#include "base/base64.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "base/crc.h"
#include "base/prng.h"

static void
the_standard_s_examples_hold(void **state)
{
    static const char *const cases[][2] = {{"", ""},
                                           {"f", "Zg=="},
                                           {"fo", "Zm8="},
                                           {"foo", "Zm9v"},
                                           {"foob", "Zm9vYg=="},
                                           {"fooba", "Zm9vYmE="},
                                           {"foobar", "Zm9vYmFy"},
                                           {"\xfb\xff\xbf", "+/+/"}};
    char text[16], bytes[16];

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        size_t size = strlen(cases[i][0]);

        base64_encode(text, cases[i][0], size);
        assert_string_equal(text, cases[i][1]);
        assert_int_equal(base64_decode(bytes, size, text, strlen(text)), size);
        assert_memory_equal(bytes, cases[i][0], size);
    }
}

static void
what_lies_between_the_letters_is_none(void **state)
{
    static const char strange[] = "@[`{-_.~\x7f\x80 \n";
    uint8_t bytes[3];

    for (size_t i = 0; strange[i]; i++) {
        char text[5] = "AAAA";
        text[2] = strange[i];
        assert_true(base64_decode(bytes, sizeof bytes, text, 4) < 0);
    }
}

static void
every_size_comes_back(void **state)
{
    char text[BASE64_TEXT_SIZE(300)];
    uint8_t bytes[300], again[300];
    struct prng prng;

    prng_init(&prng, 1);
    for (size_t size = 0; size <= sizeof bytes; size++) {
        for (size_t i = 0; i < size; i++) {
            bytes[i] = (uint8_t)prng_u64(&prng);
        }
        base64_encode(text, bytes, size);
        assert_int_equal(strlen(text) + 1, BASE64_TEXT_SIZE(size));
        assert_int_equal(base64_decode(again, size, text, strlen(text)), size);
        assert_memory_equal(again, bytes, size);
        if (size > 0) {
            assert_int_equal(base64_decode(again, size - 1, text, strlen(text)),
                             -EMSGSIZE);
        }
    }
}

static void
what_is_no_base64_is_refused(void **state)
{
    static const char *const bad[] = {
        "Z",    "Zg",    "Zg=",  "Zg===", "=",       "====",
        "Z===", "Zm9v=", "Zm 9", "Zm9\n", "Zm9-",    "Zm9_",
        "Z=g=", "=Zg=",  "Zh==", "Zm9=",  "Zm9\xff", "Zg==Zg=="};
    char bytes[16];

    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        assert_int_equal(
            base64_decode(bytes, sizeof bytes, bad[i], strlen(bad[i])),
            -EINVAL);
    }
}

static void
the_checksum_is_everybody_s(void **state)
{
    assert_int_equal(crc32_of("123456789", 9), 0xcbf43926);
    assert_int_equal(crc32_of("", 0), 0);
    assert_int_equal(crc32_of("\0", 1), 0xd202ef8d);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_standard_s_examples_hold),
        cmocka_unit_test(what_lies_between_the_letters_is_none),
        cmocka_unit_test(every_size_comes_back),
        cmocka_unit_test(what_is_no_base64_is_refused),
        cmocka_unit_test(the_checksum_is_everybody_s),
    };

    return cmocka_run_group_tests_name("base/base64", tests, NULL, NULL);
}
