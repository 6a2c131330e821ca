/* SPDX-License-Identifier: Apache-2.0 */
/* How libFuzzer changes inputs that are lines of JSON: bytes changed anywhere
 * mostly end at the parser, so every other time a line is parsed, one value or
 * key of it replaced by something odd, and written again.  Linked with targets
 * that take such lines, behind as many bytes of choices as JSON_SKIP says, in
 * builds with libFuzzer only. */
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "base/prng.h"
#include "tests/fuzz/fuzz.h"

#ifndef JSON_SKIP
#define JSON_SKIP 0
#endif

/* libFuzzer's. */
size_t LLVMFuzzerMutate(uint8_t *data, size_t size, size_t max_size);
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size,
                               unsigned seed);

static json_t *
odd_number(struct prng *prng)
{
    static const json_int_t whole[] = {
        0,         1,         -1,         2,         500,
        501,       65535,     65536,      INT32_MAX, INT32_MIN,
        INT64_MAX, INT64_MIN, 1000000000, 3840,      3841};
    static const double real[] = {0.5, -0.0, 1e308, -1e308, 1e-308, 1e19, 4.9};

    if (prng_below(prng, 3)) {
        return json_integer(
            whole[prng_below(prng, sizeof whole / sizeof *whole)]);
    }
    return json_real(real[prng_below(prng, sizeof real / sizeof *real)]);
}

static json_t *
odd_text(struct prng *prng)
{
    static const char *const texts[] = {
        "",
        "\033[2J",
        "\302\233[2J",
        "\177",
        "a\nb\tc\r",
        "mgmt://local/host/h/vm/12345678-9abc-4def-8123-456789abcdef",
        "mgmt://",
        "mgmt://:",
        "cpu0",
        "../../etc/passwd",
        "%s%n",
        "\360\237\230\200",
        "decision",
        "outcome",
        "AAAA",
        "A===",
    };
    char longer[5000];
    size_t n;

    if (prng_below(prng, 4)) {
        return json_string(
            texts[prng_below(prng, sizeof texts / sizeof *texts)]);
    }
    n = prng_below(prng, prng_below(prng, 8) ? 300 : sizeof longer);
    memset(longer, prng_below(prng, 2) ? 'x' : ' ', n);
    return json_stringn(longer, n);
}

static json_t *
odd_value(struct prng *prng)
{
    switch (prng_below(prng, 8)) {
    case 0:
        return json_null();
    case 1:
        return json_boolean(prng_below(prng, 2));
    case 2:
        return json_pack("[i,s,[]]", 1, "x");
    case 3:
        return json_pack("{s:i}", "value", 1);
    case 4:
    case 5:
        return odd_number(prng);
    default:
        return odd_text(prng);
    }
}

/* A copy of what another member has, or null. */
static json_t *
value_of_another(struct prng *prng, json_t *object)
{
    size_t n = json_object_size(object);
    void *at = json_object_iter(object);

    for (size_t i = n ? prng_below(prng, n) : 0; i && at; i--) {
        at = json_object_iter_next(object, at);
    }
    return at ? json_deep_copy(json_object_iter_value(at)) : NULL;
}

static void
change_member(struct prng *prng, json_t *object, const char *name)
{
    json_t *value;
    char *key = strdup(name); /* 'name' may go with its member. */

    switch (prng_below(prng, 6)) {
    case 0:
        json_object_del(object, key);
        break;
    case 1:
        value = value_of_another(prng, object);
        json_object_set_new(object, key, value ? value : json_null());
        break;
    default:
        json_object_set_new(object, key, odd_value(prng));
    }
    free(key);
}

static void
change(struct prng *prng, json_t *json)
{
    size_t n =
        json_is_object(json) ? json_object_size(json) : json_array_size(json);
    size_t which = n ? prng_below(prng, n) : 0;
    json_t *inner;
    void *at;

    if (json_is_array(json) && n) {
        inner = json_array_get(json, which);
        if ((json_is_object(inner) || json_is_array(inner)) &&
            prng_below(prng, 8)) {
            change(prng, inner);
        } else if (prng_below(prng, 3)) {
            json_array_set_new(json, which, odd_value(prng));
        } else {
            json_array_append_new(json, json_deep_copy(inner));
        }
        return;
    }
    at = json_object_iter(json);
    for (size_t i = 0; at && i < which; i++) {
        at = json_object_iter_next(json, at);
    }
    if (!at) {
        return;
    }
    inner = json_object_iter_value(at);
    if ((json_is_object(inner) || json_is_array(inner)) &&
        prng_below(prng, 8)) {
        change(prng, inner);
    } else {
        change_member(prng, json, json_object_iter_key(at));
    }
}

/* The new size, or 0 if the line at 'start' can't be changed so. */
static size_t
change_line(struct prng *prng, uint8_t *data, size_t size, size_t max_size,
            size_t start)
{
    const uint8_t *newline = memchr(data + start, '\n', size - start);
    size_t end = newline ? (size_t)(newline - data) : size;
    json_t *json = json_loadb((const char *)data + start, end - start,
                              JSON_ALLOW_NUL, NULL);
    char *text;
    size_t length;

    if (!json) {
        return 0;
    }
    for (size_t n = 1 + prng_below(prng, 3); n; n--) {
        change(prng, json);
    }
    text = json_dumps(json, JSON_COMPACT);
    json_decref(json);
    length = text ? strlen(text) : 0;
    if (!length || size - (end - start) + length > max_size) {
        free(text);
        return 0;
    }
    memmove(data + start + length, data + end, size - end);
    memcpy(data + start, text, length);
    free(text);
    return size - (end - start) + length;
}

size_t
LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size,
                        unsigned seed)
{
    struct prng prng;
    size_t start = JSON_SKIP, changed = 0;

    prng_init(&prng, seed);
    if (prng_below(&prng, 2) && size > start) {
        /* Begins at one of the lines. */
        for (size_t n = prng_below(&prng, 4); n; n--) {
            const uint8_t *newline = memchr(data + start, '\n', size - start);
            if (!newline || newline + 1 == data + size) {
                break;
            }
            start = (size_t)(newline + 1 - data);
        }
        changed = change_line(&prng, data, size, max_size, start);
    }
    return changed ? changed : LLVMFuzzerMutate(data, size, max_size);
}
