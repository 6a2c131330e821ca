/* SPDX-License-Identifier: Apache-2.0 */
/* JSON without allocation, for the engine, which has to journal and to be
 * watched while it allocates nothing (jansson does).  Called by all files of
 * the engine that write a row.  The trick: room for closing all that is
 * open, and for "cut", is kept free at all times, so the end always fits. */
#include "broker/engine/jsonline.h"

#include <assert.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/utf8.h"

#define CUT ",\"cut\":true"
#define NUMBER_SIZE 40

/* Appends text whole or not at all. */
static bool
append(struct jsonline *line, const char *text, size_t length)
{
    size_t kept = line->depth + sizeof CUT;

    if (line->used + length + kept > line->size) {
        return false;
    }
    memcpy(line->data + line->used, text, length);
    line->used += length;
    return true;
}

/* Appends 'text' as a JSON string.  What is no UTF-8, because somebody cut it
 * in the middle of a character, is written byte by byte as '?'. */
static bool
append_text(struct jsonline *line, const char *text)
{
    bool utf8 = utf8_is_text(text, strlen(text));
    bool fits = append(line, "\"", 1);

    for (; *text && fits; text++) {
        unsigned char c = (unsigned char)*text;
        char escape[8];
        if (c == '"' || c == '\\') {
            snprintf(escape, sizeof escape, "\\%c", c);
        } else if (c < 0x20 || c == 0x7f) {
            snprintf(escape, sizeof escape, "\\u%04x", c);
        } else {
            snprintf(escape, sizeof escape, "%c", c < 0x80 || utf8 ? c : '?');
        }
        fits = append(line, escape, strlen(escape));
    }
    return fits && append(line, "\"", 1);
}

/* Writes the comma and the key of a member. */
static bool
append_key(struct jsonline *line, const char *key)
{
    if (line->has_member && !append(line, ",", 1)) {
        return false;
    }
    return !key || (append_text(line, key) && append(line, ":", 1));
}

/* Finishes a member, or takes back what there is of it. */
static void
settle(struct jsonline *line, size_t was, bool fits)
{
    if (fits) {
        line->has_member = true;
    } else {
        line->used = was;
        line->cut = true;
    }
}

static void
add_plain(struct jsonline *line, const char *key, const char *value)
{
    size_t was = line->used;
    bool fits = append_key(line, key) && append(line, value, strlen(value));

    settle(line, was, fits);
}

static bool
open_nest(struct jsonline *line, const char *key, char opener, char closer)
{
    size_t was = line->used;

    assert(line->depth < JSONLINE_DEPTH_MAX);
    line->closer[line->depth++] = closer;
    bool fits = append_key(line, key) && append(line, &opener, 1);
    if (!fits) {
        line->depth--;
    }
    settle(line, was, fits);
    if (fits) {
        line->has_member = false;
    }
    return fits;
}

void
jsonline_begin(struct jsonline *line, char *data, size_t size)
{
    assert(size >= 64);
    memset(line, 0, sizeof *line);
    line->data = data;
    line->size = size;
    line->closer[line->depth++] = '}';
    append(line, "{", 1);
}

void
jsonline_end(struct jsonline *line)
{
    while (line->depth > 1) {
        jsonline_close(line);
    }
    if (line->cut) {
        const char *said = line->has_member ? CUT : &CUT[1];
        memcpy(line->data + line->used, said, strlen(said));
        line->used += strlen(said);
    }
    line->data[line->used++] = '}';
    line->data[line->used] = '\0';
}

void
jsonline_text(struct jsonline *line, const char *key, const char *text)
{
    size_t was = line->used;
    bool fits = append_key(line, key) && append_text(line, text);

    settle(line, was, fits);
}

void
jsonline_int(struct jsonline *line, const char *key, int64_t number)
{
    char text[NUMBER_SIZE];

    snprintf(text, sizeof text, "%" PRId64, number);
    add_plain(line, key, text);
}

void
jsonline_uint(struct jsonline *line, const char *key, uint64_t number)
{
    jsonline_int(line, key, number > INT64_MAX ? INT64_MAX : (int64_t)number);
}

void
jsonline_real(struct jsonline *line, const char *key, double number)
{
    char text[NUMBER_SIZE];

    /* XXX: the decimal point is the locale's; no program of ours sets one. */
    snprintf(text, sizeof text, "%.9g", number);
    add_plain(line, key, isfinite(number) ? text : "null");
}

void
jsonline_bool(struct jsonline *line, const char *key, bool value)
{
    add_plain(line, key, value ? "true" : "false");
}

void
jsonline_null(struct jsonline *line, const char *key)
{
    add_plain(line, key, "null");
}

bool
jsonline_open_object(struct jsonline *line, const char *key)
{
    return open_nest(line, key, '{', '}');
}

bool
jsonline_open_array(struct jsonline *line, const char *key)
{
    return open_nest(line, key, '[', ']');
}

void
jsonline_close(struct jsonline *line)
{
    assert(line->depth > 1);
    /* Room for it was kept when it was opened. */
    line->data[line->used++] = line->closer[--line->depth];
    line->has_member = true;
}
