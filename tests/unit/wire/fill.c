/* SPDX-License-Identifier: Apache-2.0 */
/* Fills messages by their field tables; see fill.h.  Used by the tests of
 * messages, by the golden files' maker and by the fuzz corpus. */
#include "tests/unit/wire/fill.h"

#include <assert.h>
#include <string.h>

#include "model/uuid.h"

const unsigned fill_types[] = {
#define MSG(type, NAME, name, since, way, doc) type,
#include "wire/msg.def"
    0,
};

size_t
fill_n_types(void)
{
    return sizeof fill_types / sizeof *fill_types - 1;
}

/* A random number in [low, high], small, large and boundary ones all likely. */
static uint64_t
number(struct prng *prng, uint64_t low, uint64_t high)
{
    uint64_t span = high - low, value;

    switch (prng_below(prng, 4)) {
    case 0:
        return low;
    case 1:
        return high;
    case 2:
        value = prng_u64(prng) >> prng_below(prng, 64);
        return low + (value > span ? span : value);
    default:
        return low + (span == UINT64_MAX ? prng_u64(prng)
                                         : prng_below(prng, span + 1));
    }
}

static void
text(struct prng *prng, char *out, uint32_t max)
{
    static const char *const piece[] = {"a",  "Z",  "0", " ", "/",
                                        "\\", "\"", "µ", "…", "𝄞"};
    size_t wanted = prng ? prng_below(prng, (uint64_t)max + 1) : max, used = 0;

    while (used < wanted) {
        const char *next = prng ? piece[prng_below(prng, 10)] : "x";

        if (used + strlen(next) > wanted) {
            next = "-";
        }
        memcpy(out + used, next, strlen(next));
        used += strlen(next);
    }
    out[used] = '\0';
}

static void
type_name(struct prng *prng, char *out, uint32_t max)
{
    static const char first[] = "aZ0_", rest[] = "bY1._-";
    size_t size = prng ? 1 + prng_below(prng, max) : max;

    for (size_t i = 0; i < size; i++) {
        bool begins = i == 0 || out[i - 1] == '/';

        if (begins || !prng) {
            out[i] = first[prng ? prng_below(prng, sizeof first - 1) : 0];
        } else if (i + 1 < size && prng_below(prng, 8) == 0) {
            out[i] = '/';
        } else {
            out[i] = rest[prng_below(prng, sizeof rest - 1)];
        }
    }
    out[size] = '\0';
}

/* Fills one field; without 'prng' with what takes most bytes. */
static void
fill_field(const struct field *field, uint8_t *object, struct prng *prng)
{
    uint8_t *at = object + field->offset;
    uint64_t value, low = field->low, high = field->high;
    uint32_t n;

    switch (field->kind) {
    case FIELD_KIND_SIGNED:
    case FIELD_KIND_UNSIGNED:
        value = prng ? number(prng, low, high) : high;
        memcpy(at, &value, sizeof value);
        return;
    case FIELD_KIND_TEXT:
        text(prng, (char *)at, field->max_text);
        return;
    case FIELD_KIND_TYPE:
        type_name(prng, (char *)at, field->max_text);
        return;
    case FIELD_KIND_BYTES:
        n = prng ? (uint32_t)prng_below(prng, (uint64_t)field->max_n + 1)
                 : field->max_n;
        memcpy(object + field->n_offset, &n, sizeof n);
        for (uint32_t i = 0; i < n; i++) {
            at[i] = prng ? (uint8_t)prng_u64(prng) : 0xff;
        }
        return;
    case FIELD_KIND_UUID:
        for (size_t i = 0; i < sizeof(struct uuid); i++) {
            at[i] = prng ? (uint8_t)prng_u64(prng) : 0xff;
        }
        return;
    case FIELD_KIND_NUMBERS:
    case FIELD_KIND_TEXTS:
        break;
    }
    n = prng ? (uint32_t)prng_below(prng, (uint64_t)field->max_n + 1)
             : field->max_n;
    memcpy(object + field->n_offset, &n, sizeof n);
    for (uint32_t i = 0; i < n; i++) {
        if (field->kind == FIELD_KIND_TEXTS) {
            text(prng, (char *)at + i * ((size_t)field->max_text + 1),
                 field->max_text);
        } else {
            value = prng ? number(prng, 0, high) : high;
            memcpy(at + i * sizeof value, &value, sizeof value);
        }
    }
}

void
fill_object(const struct fields *fields, void *object, struct prng *prng)
{
    for (size_t i = 0; i < fields->n; i++) {
        fill_field(&fields->field[i], object, prng);
    }
}

void
fill_random(struct msg *out, unsigned type, struct prng *prng)
{
    assert(msg_fields(type) != NULL);
    memset(out, 0, sizeof *out);
    out->type = type;
    fill_object(msg_fields(type), &out->hello, prng);
}

void
fill_largest(struct msg *out, unsigned type)
{
    fill_random(out, type, NULL);
}
