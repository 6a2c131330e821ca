/* SPDX-License-Identifier: Apache-2.0 */
/* Decodes notes by jansson, after a look at a line's size and nesting that
 * needs no memory.  A field that is none is refused by name, as in requests.
 * Called by agent/door.c, whose clients are programs of the guest, by magentd
 * as such a client, and by the fuzz target. */
#include "wire/noteline.h"

#include <errno.h>
#include <jansson.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/base64.h"
#include "base/text.h"
#include "wire/jsonread.h"

#define WORD_MAX 48 /* Bytes of a stranger's word that an error repeats. */

static const char how[] =
    "send {\"type\": \"org.example/1\", \"text\": \"...\"}, "
    "or \"base64\" for \"text\"";

__attribute__((format(printf, 3, 4))) static int
refuse(struct request_fault *fault, const char *what, const char *why_format,
       ...)
{
    va_list args;

    text_copy(fault->what, sizeof fault->what, what);
    request_printable(fault->next, sizeof fault->next, how);
    va_start(args, why_format);
    vsnprintf(fault->why, sizeof fault->why, why_format, args);
    va_end(args);
    return -EPROTO;
}

static int
refuse_size(struct request_fault *fault, size_t size)
{
    return refuse(fault, "the note is too large", "%zu bytes; at most %d", size,
                  MSG_NOTE_SIZE_MAX);
}

static int
take_text(struct noteline *out, json_t *value, struct request_fault *fault)
{
    size_t size = json_string_length(value);

    if (size > MSG_NOTE_SIZE_MAX) {
        return refuse_size(fault, size);
    }
    memcpy(out->bytes, json_string_value(value), size);
    out->size = size;
    return 0;
}

static int
take_base64(struct noteline *out, json_t *value, struct request_fault *fault)
{
    size_t length = json_string_length(value);
    ssize_t size = base64_decode(out->bytes, sizeof out->bytes,
                                 json_string_value(value), length);

    if (size == -EMSGSIZE) {
        return refuse_size(fault, length / 4 * 3);
    }
    if (size < 0) {
        return refuse(fault, "the note is not base64",
                      "\"base64\" is A-Za-z0-9+/ in fours, padded with =");
    }
    out->size = (size_t)size;
    return 0;
}

static int
take_type(struct noteline *out, json_t *value, struct request_fault *fault)
{
    const char *text = json_string_value(value);
    char word[WORD_MAX];

    if (strlen(text) != json_string_length(value) || !text_is_type(text)) {
        request_printable(word, sizeof word, text);
        return refuse(fault, "the type's name is none",
                      "\"%s\": 1 to 64 bytes, names of A-Za-z0-9._- with / "
                      "between",
                      word);
    }
    text_copy(out->type, sizeof out->type, text);
    return 0;
}

static int
take_field(struct noteline *out, const char *name, json_t *value,
           unsigned *n_bodies, struct request_fault *fault)
{
    bool is_body = !strcmp(name, "text") || !strcmp(name, "base64");
    char word[WORD_MAX];

    request_printable(word, sizeof word, name);
    if (!strcmp(name, "latest")) {
        out->latest = json_is_true(value);
        return json_is_boolean(value)
                   ? 0
                   : refuse(fault, "a field has the wrong type",
                            "\"latest\" is true or false");
    }
    if (!is_body && strcmp(name, "type")) {
        return refuse(fault, "a field is unknown", "a note has no \"%s\"",
                      word);
    }
    if (!json_is_string(value)) {
        return refuse(fault, "a field has the wrong type", "\"%s\" is text",
                      word);
    }
    *n_bodies += is_body;
    if (!strcmp(name, "type")) {
        return take_type(out, value, fault);
    }
    return !strcmp(name, "text") ? take_text(out, value, fault)
                                 : take_base64(out, value, fault);
}

static int
take_object(struct noteline *out, json_t *root, struct request_fault *fault)
{
    unsigned n_bodies = 0;
    const char *name;
    json_t *value;

    if (!json_is_object(root)) {
        return refuse(fault, "the line is no note", "it is no JSON object");
    }
    json_object_foreach(root, name, value)
    {
        int error = take_field(out, name, value, &n_bodies, fault);
        if (error) {
            return error;
        }
    }
    if (!out->type[0]) {
        return refuse(fault, "a field is missing", "a note has a \"type\"");
    }
    if (n_bodies != 1) {
        return refuse(fault, "what the note says is not clear",
                      "a note has either \"text\" or \"base64\"");
    }
    return 0;
}

int
noteline_decode(struct noteline *out, const char *line, size_t size,
                struct request_fault *fault)
{
    struct noteline note = {.size = 0};
    char text[WORD_MAX];
    json_error_t trouble;
    json_t *root;
    int error;

    if (size > NOTELINE_SIZE_MAX) {
        return refuse(fault, "the line is too long",
                      "%zu bytes; a line has at most %d", size,
                      NOTELINE_SIZE_MAX);
    }
    if (request_too_deep(line, size)) {
        return refuse(fault, "the line is nested too deeply",
                      "a note is one object");
    }
    root =
        jsonread(line, size, JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, &trouble);
    if (!root) {
        request_printable(text, sizeof text, trouble.text);
        return refuse(fault, "the line is not JSON", "byte %d: %s",
                      trouble.position, text);
    }
    error = take_object(&note, root, fault);
    json_decref(root);
    if (!error) {
        *out = note;
    }
    return error;
}

char *
noteline_encode(const struct noteline *note)
{
    char text[BASE64_TEXT_SIZE(MSG_NOTE_SIZE_MAX)];
    json_t *root;
    char *line, *ended = NULL;

    base64_encode(text, note->bytes, note->size);
    root = json_pack("{s:s,s:b,s:s}", "type", note->type, "latest",
                     (int)note->latest, "base64", text);
    line = root ? json_dumps(root, JSON_COMPACT) : NULL;
    json_decref(root);
    if (line) {
        size_t size = strlen(line);

        ended = realloc(line, size + 2);
        if (ended) {
            strcpy(ended + size, "\n");
        } else {
            free(line);
        }
    }
    return ended;
}
