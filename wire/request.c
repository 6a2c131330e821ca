/* SPDX-License-Identifier: Apache-2.0 */
/* Decodes a control request by jansson, after a look at its size and nesting
 * that needs no memory, so that a hostile line costs little.  Each verb has a
 * row saying which fields it takes; a field that is none of them is refused by
 * name rather than skipped, because it is mostly a slip of somebody's pen.
 * Called by broker/control/control.c and by the fuzz target. */
#include "wire/request.h"

#include <errno.h>
#include <jansson.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/text.h"
#include "wire/jsonread.h"

#define WORD_MAX 48 /* Bytes of a stranger's word that an error repeats. */

struct verb {
    const char *name;
    const char *subject; /* The field that names it; null: takes none. */
    bool options, n, notes, rows, cap, to;
};

static const struct verb verbs[REQUEST_VERB_N] = {
    [REQUEST_STATUS] = {"status"},
    [REQUEST_VMS] = {"vms"},
    [REQUEST_CPUS] = {"cpus"},
    [REQUEST_POWER] = {"power"},
    [REQUEST_CAP] = {"cap"},
    [REQUEST_CAP_SET] = {"cap_set", .cap = true},
    [REQUEST_POLICY] = {"policy"},
    [REQUEST_POLICY_SET] = {"policy_set", "name", .options = true},
    [REQUEST_WHY] = {"why", "knob"},
    [REQUEST_TRACE] = {"trace", "cause"},
    [REQUEST_PLUGINS] = {"plugins"},
    [REQUEST_EVENTS] = {"events", .n = true, .rows = true},
    [REQUEST_WATCH] = {"watch"},
    [REQUEST_NOTES] = {"notes", .notes = true},
    [REQUEST_VM_START] = {"vm_start", "vm"},
    [REQUEST_VM_FREEZE] = {"vm_freeze", "vm"},
    [REQUEST_VM_THAW] = {"vm_thaw", "vm"},
    [REQUEST_VM_END] = {"vm_end", "vm"},
    [REQUEST_VM_MIGRATE] = {"vm_migrate", "vm", .to = true},
    [REQUEST_RELOAD] = {"reload"},
};

static int fault_set(struct request_fault *, const char *what, const char *next,
                     const char *why_format, ...)
    __attribute__((format(printf, 4, 5)));
static int decode_object(struct request *out, json_t *root,
                         struct request_fault *fault);

int
request_decode(struct request *out, const char *line, size_t size,
               struct request_fault *fault)
{
    char text[WORD_MAX];
    json_error_t trouble;
    json_t *root;
    int error;

    if (size > REQUEST_SIZE_MAX) {
        return fault_set(
            fault, "the request is too long", "send a shorter line",
            "%zu bytes; a request has at most %d", size, REQUEST_SIZE_MAX);
    }
    if (request_too_deep(line, size)) {
        return fault_set(fault, "the request is nested too deeply",
                         "no request needs more than two levels",
                         "at most %d levels are read", REQUEST_DEPTH_MAX);
    }
    root = jsonread(line, size, JSON_REJECT_DUPLICATES, &trouble);
    if (!root) {
        request_printable(text, sizeof text, trouble.text);
        return fault_set(fault, "the request is not JSON",
                         "send one JSON object per line, such as "
                         "{\"verb\":\"status\"}",
                         "byte %d: %s", trouble.position, text);
    }
    error = decode_object(out, root, fault);
    json_decref(root);
    return error;
}

const char *
request_verb_name(enum request_verb verb)
{
    return verb < REQUEST_VERB_N ? verbs[verb].name : "?";
}

void
request_printable(char *to, size_t size, const char *from)
{
    size_t i;

    for (i = 0; i + 1 < size && from[i]; i++) {
        to[i] = from[i] >= ' ' && from[i] <= '~' ? from[i] : '?';
    }
    to[i] = '\0';
}

/* Fields. */

static int
fault_set(struct request_fault *fault, const char *what, const char *next,
          const char *why_format, ...)
{
    va_list args;

    text_copy(fault->what, sizeof fault->what, what);
    text_copy(fault->next, sizeof fault->next, next);
    va_start(args, why_format);
    vsnprintf(fault->why, sizeof fault->why, why_format, args);
    va_end(args);
    return -EPROTO;
}

/* Brackets in strings don't count; whether they match is the parser's
 * business. */
bool
request_too_deep(const char *line, size_t size)
{
    unsigned depth = 0;
    bool quoted = false;

    for (size_t i = 0; i < size; i++) {
        if (quoted) {
            if (line[i] == '\\') {
                i++;
            } else if (line[i] == '"') {
                quoted = false;
            }
        } else if (line[i] == '"') {
            quoted = true;
        } else if (line[i] == '{' || line[i] == '[') {
            if (++depth > REQUEST_DEPTH_MAX) {
                return true;
            }
        } else if ((line[i] == '}' || line[i] == ']') && depth > 0) {
            depth--;
        }
    }
    return false;
}

static int
decode_text(char *to, size_t size, const char *field, json_t *value,
            struct request_fault *fault)
{
    const char *text = json_string_value(value);
    char word[WORD_MAX];

    request_printable(word, sizeof word, field);
    if (!text) {
        return fault_set(fault, "a field has the wrong type",
                         "write its value in double quotes", "\"%s\" is text",
                         word);
    }
    for (size_t i = 0; text[i]; i++) {
        if ((unsigned char)text[i] < ' ' || text[i] == 127) {
            return fault_set(fault, "a field has control characters in it",
                             "leave them out", "\"%s\", byte %zu", word, i);
        }
    }
    if (text[0] == '\0' || strlen(text) >= size) {
        return fault_set(fault, "a field is empty or too long",
                         "give it a value that fits",
                         "\"%s\" has 1 to %zu bytes", word, size - 1);
    }
    text_copy(to, size, text);
    return 0;
}

/* Numbers and truth values are taken as well as text, and turned into what a
 * user would have written. */
static int
decode_option(struct request *out, const char *name, json_t *value,
              struct request_fault *fault)
{
    char word[WORD_MAX];
    char *text;
    size_t size;

    if (out->n_options == REQUEST_OPTIONS_MAX) {
        return fault_set(fault, "there are too many options",
                         "no plug-in has more", "at most %d",
                         REQUEST_OPTIONS_MAX);
    }
    text = out->options[out->n_options].text;
    size = sizeof out->options[0].text;
    if (strlen(name) >= sizeof out->options[0].name || name[0] == '\0') {
        request_printable(word, sizeof word, name);
        return fault_set(fault, "an option's name is empty or too long",
                         "see \"mctl policy show\" for the names", "\"%s...\"",
                         word);
    }
    text_copy(out->options[out->n_options].name, sizeof out->options[0].name,
              name);
    out->n_options++;
    if (json_is_integer(value)) {
        snprintf(text, size, "%" JSON_INTEGER_FORMAT,
                 json_integer_value(value));
        return 0;
    }
    if (json_is_real(value)) {
        snprintf(text, size, "%.17g", json_real_value(value));
        return 0;
    }
    if (json_is_boolean(value)) {
        text_copy(text, size, json_is_true(value) ? "true" : "false");
        return 0;
    }
    return decode_text(text, size, name, value, fault);
}

static int
decode_options(struct request *out, json_t *value, struct request_fault *fault)
{
    const char *name;
    json_t *option;

    if (!json_is_object(value)) {
        return fault_set(fault, "a field has the wrong type",
                         "write {\"options\": {\"NAME\": VALUE}}",
                         "\"options\" is an object");
    }
    json_object_foreach(value, name, option)
    {
        int error = decode_option(out, name, option, fault);
        if (error) {
            return error;
        }
    }
    return 0;
}

static int
decode_n(struct request *out, json_t *value, struct request_fault *fault)
{
    json_int_t n = json_is_integer(value) ? json_integer_value(value) : 0;

    if (n < 1 || n > REQUEST_EVENTS_MAX) {
        return fault_set(fault, "a field is out of range",
                         "ask for fewer rows, or for one at least",
                         "\"n\" is a whole number from 1 to %d",
                         REQUEST_EVENTS_MAX);
    }
    out->n = (uint32_t)n;
    return 0;
}

/* What REQUEST_NOTES takes; '*known' tells whether this is one of them. */
static int
decode_notes(struct request *out, const char *name, json_t *value, bool *known,
             struct request_fault *fault)
{
    *known = true;
    if (!strcmp(name, "vm")) {
        return decode_text(out->subject, sizeof out->subject, name, value,
                           fault);
    }
    if (!strcmp(name, "type")) {
        int error =
            decode_text(out->type, sizeof out->type, name, value, fault);
        if (!error && !text_is_type(out->type)) {
            return fault_set(
                fault, "a field is no type of a note",
                "see \"mctl notes\" for the types that came",
                "\"type\" is names of A-Za-z0-9._- with / between");
        }
        return error;
    }
    if (!strcmp(name, "follow")) {
        out->follow = json_is_true(value);
        return json_is_boolean(value)
                   ? 0
                   : fault_set(fault, "a field has the wrong type",
                               "write true or false",
                               "\"follow\" is a truth value");
    }
    *known = false;
    return 0;
}

/* What REQUEST_CAP_SET takes; '*known' tells whether this is one of them. */
static int
decode_cap(struct request *out, const char *name, json_t *value, bool *known,
           struct request_fault *fault)
{
    static const struct {
        const char *name;
        json_int_t low, high;
    } fields[] = {
        {"mw", 1, 1000000000},     {"term", 0, INT64_MAX},
        {"order", 1, INT64_MAX},   {"lease_ms", 1, 3600000},
        {"within_ms", 1, 3600000},
    };
    size_t i = 0;

    while (i < 5 && strcmp(fields[i].name, name)) {
        i++;
    }
    *known = i < 5;
    if (!*known) {
        return 0;
    }
    json_int_t number = json_is_integer(value) ? json_integer_value(value) : -1;
    if (number < fields[i].low || number > fields[i].high) {
        return fault_set(fault, "a field is out of range",
                         "write a number that is in it",
                         "\"%s\" is a whole number from %" JSON_INTEGER_FORMAT
                         " to %" JSON_INTEGER_FORMAT,
                         fields[i].name, fields[i].low, fields[i].high);
    }
    switch (i) {
    case 0:
        out->cap_mw = (uint64_t)number;
        break;
    case 1:
        out->term = (uint64_t)number;
        out->has_term = true;
        break;
    case 2:
        out->order = (uint64_t)number;
        break;
    case 3:
        out->lease_ms = (uint32_t)number;
        break;
    case 4:
        out->within_ms = (uint32_t)number;
        break;
    }
    return 0;
}

static int
decode_number(int64_t *out, const char *field, json_t *value,
              struct request_fault *fault)
{
    if (!json_is_integer(value) || json_integer_value(value) < 0) {
        return fault_set(fault, "a field is out of range",
                         "leave it out for no bound",
                         "\"%s\" is a whole number, 0 or more", field);
    }
    *out = json_integer_value(value);
    return 0;
}

/* What REQUEST_EVENTS takes beside "n"; '*known' as above. */
static int
decode_rows(struct request *out, const char *name, json_t *value, bool *known,
            struct request_fault *fault)
{
    int64_t id = 0;
    int error;

    *known = true;
    if (!strcmp(name, "vm")) {
        return decode_text(out->subject, sizeof out->subject, name, value,
                           fault);
    }
    if (!strcmp(name, "type")) {
        return decode_text(out->type, REQUEST_ROW_TYPE_SIZE, name, value,
                           fault);
    }
    if (!strcmp(name, "since_ns")) {
        return decode_number(&out->since_ns, name, value, fault);
    }
    if (!strcmp(name, "until_ns")) {
        return decode_number(&out->until_ns, name, value, fault);
    }
    if (!strcmp(name, "after")) {
        error = decode_number(&id, name, value, fault);
        out->after = (uint64_t)id;
        out->forward = true;
        return error;
    }
    if (!strcmp(name, "before")) {
        error = decode_number(&id, name, value, fault);
        out->before = (uint64_t)id;
        return error;
    }
    *known = false;
    return 0;
}

static int
find_verb(enum request_verb *out, json_t *root, struct request_fault *fault)
{
    const char *name = json_string_value(json_object_get(root, "verb"));
    char all[sizeof fault->next] = "use one of:";
    char word[WORD_MAX];

    for (size_t i = 0; i < REQUEST_VERB_N; i++) {
        if (name && !strcmp(verbs[i].name, name)) {
            *out = (enum request_verb)i;
            return 0;
        }
        text_append(all, sizeof all, " %s", verbs[i].name);
    }
    if (!name) {
        return fault_set(fault, "the request has no verb", all,
                         "an object with a text field \"verb\" is expected");
    }
    request_printable(word, sizeof word, name);
    return fault_set(fault, "the verb is unknown", all, "\"%s\" is none", word);
}

static int
decode_field(struct request *out, const struct verb *verb, const char *name,
             json_t *value, struct request_fault *fault)
{
    char word[WORD_MAX], next[sizeof fault->next];
    bool known = false;

    if (!strcmp(name, "verb")) {
        return 0;
    }
    if (verb->notes) {
        int error = decode_notes(out, name, value, &known, fault);
        if (known) {
            return error;
        }
    }
    if (verb->rows) {
        int error = decode_rows(out, name, value, &known, fault);
        if (known) {
            return error;
        }
    }
    if (verb->cap) {
        int error = decode_cap(out, name, value, &known, fault);
        if (known) {
            return error;
        }
    }
    if (verb->subject && !strcmp(name, verb->subject)) {
        return decode_text(out->subject, sizeof out->subject, name, value,
                           fault);
    }
    if (verb->options && !strcmp(name, "options")) {
        return decode_options(out, value, fault);
    }
    if (verb->to && !strcmp(name, "to")) {
        return decode_text(out->to, sizeof out->to, name, value, fault);
    }
    if (verb->n && !strcmp(name, "n")) {
        return decode_n(out, value, fault);
    }
    request_printable(word, sizeof word, name);
    snprintf(
        next, sizeof next, "leave it out; \"%s\" takes%s%s%s%s%s%s%s%s%s",
        verb->name, verb->subject ? " " : "",
        verb->subject ? verb->subject : "", verb->to ? " and to" : "",
        verb->options ? " options" : "", verb->n ? " n" : "",
        verb->notes ? " vm, type and follow" : "",
        verb->rows ? ", since_ns, until_ns, vm, type, after and before" : "",
        verb->cap ? " mw, term, order, lease_ms and within_ms" : "",
        verb->subject || verb->n || verb->notes || verb->cap ? ""
                                                             : " no fields");
    return fault_set(fault, "a field is unknown", next,
                     "\"%s\" has no field \"%s\"", verb->name, word);
}

static int
decode_object(struct request *out, json_t *root, struct request_fault *fault)
{
    struct request request = {.n = 20};
    const struct verb *verb;
    const char *name;
    json_t *value;
    int error;

    error = find_verb(&request.verb, root, fault);
    if (error) {
        return error;
    }
    verb = &verbs[request.verb];
    json_object_foreach(root, name, value)
    {
        error = decode_field(&request, verb, name, value, fault);
        if (error) {
            return error;
        }
    }
    if (verb->subject && !request.subject[0]) {
        return fault_set(fault, "a field is missing", "add it to the request",
                         "\"%s\" needs \"%s\"", verb->name, verb->subject);
    }
    if (verb->to && !request.to[0]) {
        return fault_set(fault, "a field is missing", "add it to the request",
                         "\"%s\" needs \"to\", a host", verb->name);
    }
    if (verb->cap && !request.cap_mw) {
        return fault_set(fault, "a field is missing", "add it to the request",
                         "\"%s\" needs \"mw\"", verb->name);
    }
    *out = request;
    return 0;
}
