/* SPDX-License-Identifier: Apache-2.0 */
/* Turns JSON into words.  A member that is missing reads as one that is null,
 * so that mctl and a broker of another version get along.  Called by the verbs.
 */
#include "ctl/member.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "base/text.h"
#include "base/utf8.h"

#define LINE_SIZE 1024 /* Of a broken line; no terminal is so wide. */
#define ROOM_MIN 20    /* Less is worse to read than a line too long. */

const char *
member_text(const json_t *object, const char *key)
{
    const char *text = json_string_value(json_object_get(object, key));

    return text ? text : "";
}

double
member_number(const json_t *object, const char *key)
{
    return json_number_value(json_object_get(object, key));
}

int
member_int(const json_t *object, const char *key)
{
    double number = member_number(object, key);

    if (number >= INT_MAX) {
        return INT_MAX;
    }
    return number <= INT_MIN ? INT_MIN : (int)number;
}

bool
member_known(const json_t *object, const char *key)
{
    const json_t *value = json_object_get(object, key);

    return value && !json_is_null(value);
}

bool
member_true(const json_t *object, const char *key)
{
    return json_is_true(json_object_get(object, key));
}

void
power_text(const json_t *power, char *out, size_t size)
{
    const char *quality = member_text(power, "quality");
    char age[32];

    if (!member_known(power, "power_w")) {
        text_copy(out, size, "unknown");
        return;
    }
    duration_text(member_number(power, "age_s"), age, sizeof age);
    const char *source = member_text(power, "source");
    bool same = !strcmp(source, quality);
    snprintf(out, size, "%.1f W (%s%s%s, %s ago)",
             member_number(power, "power_w"), quality, same ? "" : " by ",
             same ? "" : source, age);
}

void
duration_text(double seconds, char *out, size_t size)
{
    if (seconds < 10) {
        snprintf(out, size, "%.1f s", seconds);
    } else if (seconds < 120) {
        snprintf(out, size, "%.0f s", seconds);
    } else if (seconds < 7200) {
        snprintf(out, size, "%.1f min", seconds / 60);
    } else if (seconds < 172800) {
        snprintf(out, size, "%.1f h", seconds / 3600);
    } else {
        snprintf(out, size, "%.1f d", seconds / 86400);
    }
}

void
values_text(const json_t *values, char *out, size_t size)
{
    json_t *value;
    size_t i;

    out[0] = '\0';
    json_array_foreach(values, i, value)
    {
        const char *unit = member_text(value, "unit");
        double number = member_number(value, "value");

        text_append(out, size, "%s%s %.*g%s%s", i ? ", " : "",
                    member_text(value, "name"), number < 1000 ? 4 : 9, number,
                    unit[0] ? " " : "", unit);
    }
}

void
detail_text(const json_t *detail, char *out, size_t size)
{
    const char *key;
    json_t *value;

    values_text(json_object_get(detail, "values"), out, size);
    json_object_foreach((json_t *)detail, key, value)
    {
        const char *plain = json_string_value(value);
        bool skip = json_is_object(value) || json_is_array(value) ||
                    (strlen(key) > 3 && !strcmp(key + strlen(key) - 3, "_ns"));
        char *text = plain || skip ? NULL : json_dumps(value, JSON_ENCODE_ANY);

        if (!skip) {
            text_append(out, size, "%s%s %s", out[0] ? ", " : "", key,
                        plain  ? plain
                        : text ? text
                               : "?");
        }
        free(text);
    }
}

/* Characters, not bytes: UTF-8's continuation bytes don't count. */
size_t
text_width(const char *text)
{
    size_t width = 0;

    for (; *text; text++) {
        width += (*text & 0xc0) != 0x80;
    }
    return width;
}

/* The last space that leaves at most 'room' characters before it, or null. */
static const char *
last_space(const char *text, size_t room)
{
    const char *found = NULL;
    size_t width = 0;

    for (const char *c = text; *c && width <= room; c++) {
        found = *c == ' ' && c > text ? c : found;
        width += (*c & 0xc0) != 0x80;
    }
    return found;
}

void
put_lines(FILE *out, const char *text, size_t room, size_t indent)
{
    char piece[LINE_SIZE];
    const char *end;

    while (room >= ROOM_MIN && text_width(text) > room &&
           (end = last_space(text, room))) {
        snprintf(piece, sizeof piece, "%.*s", (int)(end - text), text);
        put_text(out, piece);
        fprintf(out, "\n%*s", (int)indent, "");
        text = end + strspn(end, " ");
    }
    put_text(out, text);
}

/* Bytes of the character that begins so, as far as there are any. */
static size_t
character_size(const char *text)
{
    unsigned char first = (unsigned char)*text;

    return strnlen(text, first < 0xc0   ? 1
                         : first < 0xe0 ? 2
                         : first < 0xf0 ? 3
                                        : 4);
}

void
put_text(FILE *out, const char *text)
{
    while (text && *text) {
        size_t size = character_size(text);

        if (utf8_is_printable(text, size)) {
            fwrite(text, 1, size, out);
        } else {
            putc('?', out);
            /* Of what is no character, a byte at a time. */
            size = utf8_is_text(text, size) ? size : 1;
        }
        text += size;
    }
}
