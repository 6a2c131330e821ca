/* SPDX-License-Identifier: Apache-2.0 */
/* Reads typed options from text against their descriptions.  Relies on
 * base/text; called by the configuration, the control socket and the agent's
 * command line, so its refusals are sentences a user can act on. */
#include "base/option.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "base/text.h"

static const struct option_desc *find_desc(const struct option_values *,
                                           const char *name, size_t *index);
static int parse(const struct option_desc *, const char *text,
                 struct option_value *, char *why, size_t why_size);
static void say_unknown(const struct option_values *, const char *name,
                        char *why, size_t why_size);

void
options_init(struct option_values *values, const struct option_desc *descs)
{
    *values = (struct option_values){.descs = descs};
    for (const struct option_desc *d = descs; d && d->name; d++) {
        char why[160];

        assert(values->n < OPTION_MAX);
        int error = parse(d, d->default_text, &values->value[values->n], why,
                          sizeof why);
        assert(!error);
        values->n++;
    }
}

int
options_set(struct option_values *values, const char *name, const char *text,
            char *why, size_t why_size)
{
    size_t index;
    const struct option_desc *desc = find_desc(values, name, &index);
    if (!desc) {
        say_unknown(values, name, why, why_size);
        return -ENOENT;
    }

    struct option_value value = {.given = true};
    int error = parse(desc, text, &value, why, why_size);
    if (error) {
        return error;
    }
    values->value[index] = value;
    return 0;
}

const struct option_value *
option_get(const struct option_values *values, const char *name)
{
    size_t index;
    const struct option_desc *desc = find_desc(values, name, &index);

    assert(desc);
    return &values->value[index];
}

int64_t
option_int(const struct option_values *values, const char *name)
{
    return option_get(values, name)->number;
}

double
option_real(const struct option_values *values, const char *name)
{
    return option_get(values, name)->real;
}

bool
option_bool(const struct option_values *values, const char *name)
{
    return option_get(values, name)->number != 0;
}

const char *
option_text(const struct option_values *values, const char *name)
{
    return option_get(values, name)->text;
}

/* Parsing. */

static int
refuse_range(const struct option_desc *desc, const char *text, char *why,
             size_t why_size)
{
    snprintf(why, why_size, "%s: %s is outside %g to %g%s%s", desc->name, text,
             desc->min, desc->max, desc->unit ? " " : "",
             desc->unit ? desc->unit : "");
    return -ERANGE;
}

static int
parse_number(const struct option_desc *desc, const char *text,
             struct option_value *out, char *why, size_t why_size)
{
    double real = 0;
    int64_t number = 0;
    bool whole = desc->type != OPTION_REAL;

    int error = whole ? text_to_i64(text, &number) : text_to_real(text, &real);
    if (error) {
        snprintf(why, why_size, "%s: \"%.40s\" is not a %snumber", desc->name,
                 text, whole ? "whole " : "");
        return -EINVAL;
    }
    if (whole) {
        real = (double)number;
    }
    if (real < desc->min || real > desc->max) {
        return refuse_range(desc, text, why, why_size);
    }
    out->number = number;
    out->real = real;
    return 0;
}

static int
parse_bool(const struct option_desc *desc, const char *text,
           struct option_value *out, char *why, size_t why_size)
{
    if (!strcasecmp(text, "true") || !strcasecmp(text, "yes")) {
        out->number = 1;
        return 0;
    }
    if (!strcasecmp(text, "false") || !strcasecmp(text, "no")) {
        out->number = 0;
        return 0;
    }
    snprintf(why, why_size, "%s: \"%.40s\" is neither true nor false",
             desc->name, text);
    return -EINVAL;
}

static int
parse_choice(const struct option_desc *desc, const char *text, char *why,
             size_t why_size)
{
    size_t length = strlen(text);

    for (const char *at = desc->choices; *at;) {
        size_t word = strcspn(at, " ");
        if (word == length && !memcmp(at, text, word)) {
            return 0;
        }
        at += word;
        at += strspn(at, " ");
    }
    snprintf(why, why_size, "%s: \"%.40s\" is none of: %s", desc->name, text,
             desc->choices);
    return -EINVAL;
}

static int
parse_ints(const struct option_desc *desc, const char *text,
           struct option_value *out, char *why, size_t why_size)
{
    char copy[OPTION_TEXT_MAX + 1], *rest = copy, *word;
    struct option_value member = {.given = false};

    text_copy(copy, sizeof copy, text);
    while ((word = strsep(&rest, " ,"))) {
        if (!*word) {
            continue;
        }
        if (out->n_ints == OPTION_INTS_MAX) {
            snprintf(why, why_size, "%s: more than %d members", desc->name,
                     OPTION_INTS_MAX);
            return -ERANGE;
        }
        int error = parse_number(desc, word, &member, why, why_size);
        if (error) {
            return error;
        }
        out->ints[out->n_ints++] = member.number;
    }
    return 0;
}

static int
parse(const struct option_desc *desc, const char *text,
      struct option_value *out, char *why, size_t why_size)
{
    if (text_copy(out->text, sizeof out->text, text)) {
        snprintf(why, why_size, "%s: longer than %d bytes", desc->name,
                 OPTION_TEXT_MAX);
        return -EINVAL;
    }
    switch (desc->type) {
    case OPTION_INT:
    case OPTION_REAL:
        return parse_number(desc, text, out, why, why_size);
    case OPTION_BOOL:
        return parse_bool(desc, text, out, why, why_size);
    case OPTION_TEXT:
        return 0;
    case OPTION_CHOICE:
        return parse_choice(desc, text, why, why_size);
    case OPTION_INTS:
        return parse_ints(desc, text, out, why, why_size);
    }
    assert(!"an option type without a parser");
    return -EINVAL;
}

/* Finding. */

static const struct option_desc *
find_desc(const struct option_values *values, const char *name, size_t *index)
{
    for (size_t i = 0; i < values->n; i++) {
        if (!strcmp(values->descs[i].name, name)) {
            *index = i;
            return &values->descs[i];
        }
    }
    return NULL;
}

static void
say_unknown(const struct option_values *values, const char *name, char *why,
            size_t why_size)
{
    snprintf(why, why_size, "no option \"%.40s\"%s", name,
             values->n ? "; there are: " : "; there are none here");
    for (size_t i = 0; i < values->n; i++) {
        text_append(why, why_size, "%s%s", i ? ", " : "",
                    values->descs[i].name);
    }
}
