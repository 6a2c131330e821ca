/* SPDX-License-Identifier: Apache-2.0 */
/* Writes one JSON object into a buffer of a fixed size, without allocation.
 * Whatever is written is valid JSON: a member that does not fit is left out
 * whole, and the object then ends with "cut": true. */
#ifndef BROKER_ENGINE_JSONLINE_H
#define BROKER_ENGINE_JSONLINE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define JSONLINE_DEPTH_MAX 8

struct jsonline {
    char *data; /* Borrowed. */
    size_t size, used;
    uint32_t depth;
    char closer[JSONLINE_DEPTH_MAX];
    bool has_member; /* The innermost one: a comma comes first. */
    bool cut;
};

/* Opens the object; 'size' is 64 or more. */
void jsonline_begin(struct jsonline *, char *data, size_t size);
/* Closes all that is open; 'data' is then text. */
void jsonline_end(struct jsonline *);

/* In an object 'key' is a name, in an array it is null. */
void jsonline_text(struct jsonline *, const char *key, const char *);
void jsonline_int(struct jsonline *, const char *key, int64_t);
/* Numbers above INT64_MAX are written as that: readers know no larger ones. */
void jsonline_uint(struct jsonline *, const char *key, uint64_t);
/* Infinite and undefined numbers are written as null. */
void jsonline_real(struct jsonline *, const char *key, double);
void jsonline_bool(struct jsonline *, const char *key, bool);
void jsonline_null(struct jsonline *, const char *key);

/* Open an object or an array.  False if it does not fit: then its members are
 * not to be written and it is not to be closed. */
bool jsonline_open_object(struct jsonline *, const char *key);
bool jsonline_open_array(struct jsonline *, const char *key);
void jsonline_close(struct jsonline *);

#endif
