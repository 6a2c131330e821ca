/* SPDX-License-Identifier: Apache-2.0 */
/* Turns described structs into CBOR and back.  Relies on base/cbor.c for the
 * items; adds what a message needs beyond them: every value in its limits,
 * every key once, nothing missing, nothing after the end, and words that name
 * what was wrong.  Called by wire/msg.c only.
 *
 * Reading looks at an item's kind and size (cbor_peek) before taking it, so
 * that the words can say what came instead. */
#include "wire/field.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/cbor.h"
#include "base/text.h"
#include "base/utf8.h"
#include "model/uuid.h"

/* What is being read or checked, for the words. */
struct place {
    const struct fields *fields;
    const struct field *field;
    int64_t index; /* Member of a list; -1: none. */
    char *why;
    size_t why_size;
    int error; /* What a refusal returns. */
};

static int check_field(struct place *place, const uint8_t *object);
static void put_field(struct cbor_out *out, const struct field *field,
                      const uint8_t *object);
static const struct field *find(const struct fields *fields, uint64_t key,
                                unsigned version);
static int get_field(struct place *place, struct cbor_in *in, uint8_t *object);
static int check_missing(const struct fields *fields, unsigned version,
                         uint64_t seen, char *why, size_t why_size);
__attribute__((format(printf, 2, 3))) static int
refuse(struct place *place, const char *format, ...);

int
fields_encode(const struct fields *fields, unsigned version, const void *object,
              struct cbor_out *out, char *why, size_t why_size)
{
    struct place place = {.fields = fields,
                          .index = -1,
                          .why = why,
                          .why_size = why_size,
                          .error = -ERANGE};
    size_t n = 0;

    for (size_t i = 0; i < fields->n; i++) {
        place.field = &fields->field[i];
        if (place.field->since <= version) {
            int error = check_field(&place, object);

            if (error) {
                return error;
            }
            n++;
        }
    }
    cbor_put_map(out, n);
    for (size_t i = 0; i < fields->n; i++) {
        if (fields->field[i].since <= version) {
            cbor_put_u64(out, fields->field[i].key);
            put_field(out, &fields->field[i], object);
        }
    }
    return out->error;
}

int
fields_decode(const struct fields *fields, unsigned version, struct cbor_in *in,
              void *object, char *why, size_t why_size)
{
    struct place place = {.fields = fields,
                          .index = -1,
                          .why = why,
                          .why_size = why_size,
                          .error = -EPROTO};
    uint64_t n_pairs, seen = 0;

    assert(fields->n <= FIELDS_MAX);
    if (cbor_peek(in, &n_pairs) != CBOR_KIND_MAP) {
        return refuse(&place, "is not a map");
    }
    if (n_pairs > FIELDS_PAIRS_MAX) {
        return refuse(&place, "has %" PRIu64 " pairs, at most %d", n_pairs,
                      FIELDS_PAIRS_MAX);
    }
    cbor_get_map(in, FIELDS_PAIRS_MAX);
    for (uint64_t i = 0; i < n_pairs; i++) {
        uint64_t key, bit;
        int error;

        place.field = NULL;
        if (cbor_peek(in, &key) != CBOR_KIND_UINT) {
            return refuse(&place, "byte %zu: no key", in->used);
        }
        cbor_get_u64(in);
        place.field = find(fields, key, version);
        if (!place.field) {
            cbor_skip(in);
            if (in->error) {
                return refuse(&place,
                              "unknown key %" PRIu64
                              ": its value is cut off, broken or too deep",
                              key);
            }
            continue;
        }
        bit = UINT64_C(1) << (place.field - fields->field);
        if (seen & bit) {
            return refuse(&place, "came twice");
        }
        seen |= bit;
        error = get_field(&place, in, object);
        if (error) {
            return error;
        }
    }
    if (!cbor_in_done(in)) {
        place.field = NULL;
        return refuse(&place, "%zu bytes after the end", in->size - in->used);
    }
    return check_missing(fields, version, seen, why, why_size);
}

/* Limits: the same for what we send and what we take. */

static int
check_unsigned(struct place *place, uint64_t value)
{
    const struct field *field = place->field;

    if (value < field->low || value > field->high) {
        return refuse(place, "is %" PRIu64 ", allowed %" PRIu64 "..%" PRIu64,
                      value, field->low, field->high);
    }
    return 0;
}

static int
check_signed(struct place *place, int64_t value)
{
    int64_t low = (int64_t)place->field->low;
    int64_t high = (int64_t)place->field->high;

    if (value < low || value > high) {
        return refuse(place, "is %" PRId64 ", allowed %" PRId64 "..%" PRId64,
                      value, low, high);
    }
    return 0;
}

static int
check_text(struct place *place, const char *text)
{
    size_t size = strnlen(text, (size_t)place->field->max_text + 1);

    if (size > place->field->max_text) {
        return refuse(place, "has more than %" PRIu32 " bytes",
                      place->field->max_text);
    }
    if (!utf8_is_printable(text, size)) {
        return refuse(place, "is not printable UTF-8");
    }
    return 0;
}

static int
check_type(struct place *place, const char *text)
{
    if (strnlen(text, (size_t)place->field->max_text + 1) >
        place->field->max_text) {
        return refuse(place, "has more than %" PRIu32 " bytes",
                      place->field->max_text);
    }
    if (!text_is_type(text)) {
        return refuse(place,
                      "is no type name: 1 to %" PRIu32
                      " bytes, names of A-Za-z0-9._- with / between",
                      place->field->max_text);
    }
    return 0;
}

static int
check_size(struct place *place, uint64_t size)
{
    if (size > place->field->max_n) {
        return refuse(place, "has %" PRIu64 " bytes, at most %" PRIu32, size,
                      place->field->max_n);
    }
    return 0;
}

static int
check_count(struct place *place, uint64_t n)
{
    if (n > place->field->max_n) {
        return refuse(place, "has %" PRIu64 " members, at most %" PRIu32, n,
                      place->field->max_n);
    }
    return 0;
}

static uint32_t *
list_count(const struct field *field, const uint8_t *object)
{
    return (uint32_t *)(uintptr_t)(object + field->n_offset);
}

static size_t
member_size(const struct field *field)
{
    return field->kind == FIELD_KIND_NUMBERS ? sizeof(uint64_t)
                                             : (size_t)field->max_text + 1;
}

/* Writing. */

static int
check_field(struct place *place, const uint8_t *object)
{
    const struct field *field = place->field;
    const uint8_t *at = object + field->offset;
    uint32_t n;
    int error;

    switch (field->kind) {
    case FIELD_KIND_UNSIGNED:
        return check_unsigned(place, *(const uint64_t *)(const void *)at);
    case FIELD_KIND_SIGNED:
        return check_signed(place, *(const int64_t *)(const void *)at);
    case FIELD_KIND_TEXT:
        return check_text(place, (const char *)at);
    case FIELD_KIND_TYPE:
        return check_type(place, (const char *)at);
    case FIELD_KIND_BYTES:
        return check_size(place, *list_count(field, object));
    case FIELD_KIND_UUID:
        return 0;
    case FIELD_KIND_NUMBERS:
    case FIELD_KIND_TEXTS:
        break;
    }
    n = *list_count(field, object);
    error = check_count(place, n);
    for (uint32_t i = 0; i < n && !error; i++) {
        place->index = i;
        error =
            field->kind == FIELD_KIND_TEXTS
                ? check_text(place, (const char *)at)
                : check_unsigned(place, *(const uint64_t *)(const void *)at);
        at += member_size(field);
    }
    place->index = -1;
    return error;
}

static void
put_field(struct cbor_out *out, const struct field *field,
          const uint8_t *object)
{
    const uint8_t *at = object + field->offset;
    uint32_t n;

    switch (field->kind) {
    case FIELD_KIND_UNSIGNED:
        cbor_put_u64(out, *(const uint64_t *)(const void *)at);
        return;
    case FIELD_KIND_SIGNED:
        cbor_put_i64(out, *(const int64_t *)(const void *)at);
        return;
    case FIELD_KIND_TEXT:
    case FIELD_KIND_TYPE:
        cbor_put_text(out, (const char *)at);
        return;
    case FIELD_KIND_BYTES:
        cbor_put_bytes(out, at, *list_count(field, object));
        return;
    case FIELD_KIND_UUID:
        cbor_put_bytes(out, at, sizeof(struct uuid));
        return;
    case FIELD_KIND_NUMBERS:
    case FIELD_KIND_TEXTS:
        break;
    }
    n = *list_count(field, object);
    cbor_put_array(out, n);
    for (uint32_t i = 0; i < n; i++) {
        if (field->kind == FIELD_KIND_TEXTS) {
            cbor_put_text(out, (const char *)at);
        } else {
            cbor_put_u64(out, *(const uint64_t *)(const void *)at);
        }
        at += member_size(field);
    }
}

/* Reading. */

/* A field that is newer than the peer's version is none of the peer's: its key
 * is as unknown as any. */
static const struct field *
find(const struct fields *fields, uint64_t key, unsigned version)
{
    for (size_t i = 0; i < fields->n; i++) {
        if (fields->field[i].key == key) {
            return fields->field[i].since <= version ? &fields->field[i] : NULL;
        }
    }
    return NULL;
}

static int
expect(struct place *place, const struct cbor_in *in, enum cbor_kind wanted,
       uint64_t *value_out)
{
    static const char *const names[] = {
        [CBOR_KIND_NONE] = "cut off or broken",
        [CBOR_KIND_UINT] = "a number",
        [CBOR_KIND_NEGINT] = "a number below 0",
        [CBOR_KIND_TEXT] = "text",
        [CBOR_KIND_BYTES] = "bytes",
        [CBOR_KIND_ARRAY] = "a list",
        [CBOR_KIND_MAP] = "a map",
        [CBOR_KIND_OTHER] = "of no kind we take",
    };
    enum cbor_kind kind = cbor_peek(in, value_out);

    if (kind != wanted) {
        return refuse(place, "is %s, wanted %s", names[kind], names[wanted]);
    }
    return 0;
}

static int
get_unsigned(struct place *place, struct cbor_in *in, uint8_t *at)
{
    uint64_t value;
    int error = expect(place, in, CBOR_KIND_UINT, &value);

    error = error ? error : check_unsigned(place, value);
    if (!error) {
        cbor_get_u64(in);
        memcpy(at, &value, sizeof value);
    }
    return error;
}

static int
get_signed(struct place *place, struct cbor_in *in, uint8_t *at)
{
    bool negative = cbor_peek(in, NULL) == CBOR_KIND_NEGINT;
    uint64_t size;
    int64_t value;
    int error =
        expect(place, in, negative ? CBOR_KIND_NEGINT : CBOR_KIND_UINT, &size);

    if (error) {
        return error;
    }
    if (size > INT64_MAX) {
        return refuse(place, "needs more than 64 bits");
    }
    value = cbor_get_i64(in);
    memcpy(at, &value, sizeof value);
    return check_signed(place, value);
}

static int
get_text(struct place *place, struct cbor_in *in, uint8_t *at)
{
    uint64_t size;
    int error = expect(place, in, CBOR_KIND_TEXT, &size);

    if (error) {
        return error;
    }
    if (size > place->field->max_text) {
        return refuse(place, "has %" PRIu64 " bytes, at most %" PRIu32, size,
                      place->field->max_text);
    }
    cbor_get_text(in, (char *)at, (size_t)place->field->max_text + 1);
    if (in->error) {
        return refuse(place, "is not printable UTF-8");
    }
    return place->field->kind == FIELD_KIND_TYPE
               ? check_type(place, (const char *)at)
               : check_text(place, (const char *)at);
}

static int
get_bytes(struct place *place, struct cbor_in *in, uint8_t *object)
{
    uint64_t size;
    int error = expect(place, in, CBOR_KIND_BYTES, &size);

    error = error ? error : check_size(place, size);
    if (!error) {
        cbor_get_bytes(in, object + place->field->offset, (size_t)size);
        *list_count(place->field, object) = (uint32_t)size;
    }
    return error;
}

static int
get_uuid(struct place *place, struct cbor_in *in, uint8_t *at)
{
    uint64_t size;
    int error = expect(place, in, CBOR_KIND_BYTES, &size);

    if (error) {
        return error;
    }
    if (size != sizeof(struct uuid)) {
        return refuse(place, "has %" PRIu64 " bytes, not %zu", size,
                      sizeof(struct uuid));
    }
    cbor_get_bytes(in, at, sizeof(struct uuid));
    return 0;
}

static int
get_list(struct place *place, struct cbor_in *in, uint8_t *object)
{
    const struct field *field = place->field;
    uint8_t *at = object + field->offset;
    uint64_t n;
    int error = expect(place, in, CBOR_KIND_ARRAY, &n);

    error = error ? error : check_count(place, n);
    if (error) {
        return error;
    }
    cbor_get_array(in, field->max_n);
    *list_count(field, object) = (uint32_t)n;
    for (uint64_t i = 0; i < n && !error; i++) {
        place->index = (int64_t)i;
        error = field->kind == FIELD_KIND_TEXTS ? get_text(place, in, at)
                                                : get_unsigned(place, in, at);
        at += member_size(field);
    }
    place->index = -1;
    return error;
}

static int
get_field(struct place *place, struct cbor_in *in, uint8_t *object)
{
    uint8_t *at = object + place->field->offset;

    switch (place->field->kind) {
    case FIELD_KIND_UNSIGNED:
        return get_unsigned(place, in, at);
    case FIELD_KIND_SIGNED:
        return get_signed(place, in, at);
    case FIELD_KIND_TEXT:
    case FIELD_KIND_TYPE:
        return get_text(place, in, at);
    case FIELD_KIND_BYTES:
        return get_bytes(place, in, object);
    case FIELD_KIND_UUID:
        return get_uuid(place, in, at);
    case FIELD_KIND_NUMBERS:
    case FIELD_KIND_TEXTS:
        break;
    }
    return get_list(place, in, object);
}

static int
check_missing(const struct fields *fields, unsigned version, uint64_t seen,
              char *why, size_t why_size)
{
    struct place place = {.fields = fields,
                          .index = -1,
                          .why = why,
                          .why_size = why_size,
                          .error = -EPROTO};

    for (size_t i = 0; i < fields->n; i++) {
        place.field = &fields->field[i];
        if (place.field->since <= version && !(seen >> i & 1)) {
            return refuse(&place, "is missing");
        }
    }
    return 0;
}

/* Writes "NAME field[index] what is wrong" and returns the place's error. */
static int
refuse(struct place *place, const char *format, ...)
{
    char what[96], index[24] = "";
    va_list args;

    if (!place->why || place->why_size == 0) {
        return place->error;
    }
    va_start(args, format);
    vsnprintf(what, sizeof what, format, args);
    va_end(args);
    if (place->index >= 0) {
        snprintf(index, sizeof index, "[%" PRId64 "]", place->index);
    }
    snprintf(place->why, place->why_size, "%s%s%s%s %s", place->fields->name,
             place->field ? " " : "", place->field ? place->field->name : "",
             index, what);
    return place->error;
}
