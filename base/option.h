/* SPDX-License-Identifier: Apache-2.0 */
/* Typed options: a plug-in states name, unit, type, range, default and help of
 * each once, and the configuration check, the manuals, mctl and the console all
 * read them there. */
#ifndef BASE_OPTION_H
#define BASE_OPTION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum option_type {
    OPTION_INT,    /* Whole number in [min, max]. */
    OPTION_REAL,   /* Number in [min, max]. */
    OPTION_BOOL,   /* true or false. */
    OPTION_TEXT,   /* At most OPTION_TEXT_MAX bytes. */
    OPTION_CHOICE, /* One of 'choices'. */
    OPTION_INTS,   /* A list of whole numbers, each in [min, max]. */
};

#define OPTION_MAX 24       /* Options of one plug-in. */
#define OPTION_TEXT_MAX 255 /* Bytes of a text option. */
#define OPTION_INTS_MAX 16  /* Members of a list option. */

struct option_desc {
    const char *name;         /* Null ends an array of these. */
    const char *unit;         /* "ms", "%", "MHz"; null if it has none. */
    enum option_type type;
    double min, max;          /* For numbers, both included. */
    const char *default_text; /* As a user would write it. */
    const char *choices;      /* For OPTION_CHOICE: words, space between. */
    const char *help;         /* One sentence. */
};

struct option_value {
    bool given; /* The user gave it; otherwise the default holds. */
    int64_t number;
    double real;
    char text[OPTION_TEXT_MAX + 1];
    uint32_t n_ints;
    int64_t ints[OPTION_INTS_MAX];
};

struct option_values {
    const struct option_desc *descs; /* Borrowed for ever. */
    size_t n;
    struct option_value value[OPTION_MAX];
};

/* Fills 'values' with the defaults of 'descs' (null: no options).  A default
 * that its own range refuses is our mistake and asserts. */
void options_init(struct option_values *values, const struct option_desc *descs);

/* Sets one option from text; list members are separated by spaces or commas.
 * Returns 0, -ENOENT (no such option), -EINVAL (not of the type) or -ERANGE; on
 * failure 'values' is untouched and 'why' says what, with the range or the
 * choices, or with the nearest name. */
int options_set(struct option_values *values, const char *name,
                const char *text, char *why, size_t why_size);

/* The value of an option that 'values' must have (asserted). */
int64_t option_int(const struct option_values *, const char *name);
double option_real(const struct option_values *, const char *name);
bool option_bool(const struct option_values *, const char *name);
const char *option_text(const struct option_values *, const char *name);
const struct option_value *option_get(const struct option_values *,
                                      const char *name);

#endif
