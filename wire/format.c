/* SPDX-License-Identifier: Apache-2.0 */
/* Described structs as a line for people: traces, golden files and debugging.
 * Takes only what msg_decode() accepted or we made ourselves. */
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>

#include "model/uuid.h"
#include "wire/field.h"

/* Where the line goes; 'used' counts on when it is full. */
struct line {
    char *out;
    size_t size, used;
};

static void add(struct line *line, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
static void add_field(struct line *line, const struct field *field,
                      const uint8_t *object);

size_t
fields_format(const struct fields *fields, const void *object, char *out,
              size_t size)
{
    struct line line = {.out = out, .size = size};

    for (size_t i = 0; i < fields->n; i++) {
        add(&line, "%s%s=", i > 0 ? " " : "", fields->field[i].name);
        add_field(&line, &fields->field[i], object);
    }
    return line.used;
}

static void
add_text(struct line *line, const char *text)
{
    add(line, "\"");
    for (; *text; text++) {
        add(line, *text == '"' || *text == '\\' ? "\\%c" : "%c", *text);
    }
    add(line, "\"");
}

static uint32_t
field_count(const struct field *field, const uint8_t *object)
{
    return *(const uint32_t *)(const void *)(object + field->n_offset);
}

/* In hexadecimal digits: whatever they are, nobody can read them here. */
static void
add_bytes(struct line *line, const uint8_t *bytes, uint32_t n)
{
    add(line, "h'");
    for (uint32_t i = 0; i < n; i++) {
        add(line, "%02x", bytes[i]);
    }
    add(line, "'");
}

static void
add_list(struct line *line, const struct field *field, const uint8_t *object)
{
    uint32_t n = field_count(field, object);
    const uint8_t *at = object + field->offset;

    add(line, "[");
    for (uint32_t i = 0; i < n; i++) {
        add(line, "%s", i > 0 ? "," : "");
        if (field->kind == FIELD_KIND_TEXTS) {
            add_text(line,
                     (const char *)at + i * ((size_t)field->max_text + 1));
        } else {
            add(line, "%" PRIu64, ((const uint64_t *)(const void *)at)[i]);
        }
    }
    add(line, "]");
}

static void
add_field(struct line *line, const struct field *field, const uint8_t *object)
{
    const uint8_t *at = object + field->offset;
    char uuid[UUID_TEXT_SIZE];

    switch (field->kind) {
    case FIELD_KIND_UNSIGNED:
        add(line, "%" PRIu64, *(const uint64_t *)(const void *)at);
        return;
    case FIELD_KIND_SIGNED:
        add(line, "%" PRId64, *(const int64_t *)(const void *)at);
        return;
    case FIELD_KIND_TEXT:
    case FIELD_KIND_TYPE:
        add_text(line, (const char *)at);
        return;
    case FIELD_KIND_BYTES:
        add_bytes(line, at, field_count(field, object));
        return;
    case FIELD_KIND_UUID:
        uuid_format((const struct uuid *)at, uuid);
        add(line, "%s", uuid);
        return;
    case FIELD_KIND_NUMBERS:
    case FIELD_KIND_TEXTS:
        add_list(line, field, object);
        return;
    }
}

static void
add(struct line *line, const char *format, ...)
{
    size_t left = line->used < line->size ? line->size - line->used : 0;
    va_list args;
    int n;

    va_start(args, format);
    n = vsnprintf(left > 0 ? line->out + line->used : NULL, left, format, args);
    va_end(args);
    line->used += n > 0 ? (size_t)n : 0;
}
