/* SPDX-License-Identifier: Apache-2.0 */
/* Members of the broker's answers as text for people: units, "model" beside
 * watts that were computed, "unknown" for what nobody knows. */
#ifndef CTL_MEMBER_H
#define CTL_MEMBER_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

/* Text of an object's member, "" if it has none. */
const char *member_text(const json_t *object, const char *key);
double member_number(const json_t *object, const char *key);
/* The same as a whole number, for counts; the nearest that an int can be. */
int member_int(const json_t *object, const char *key);
bool member_known(const json_t *object, const char *key);
bool member_true(const json_t *object, const char *key);

/* "35.2 W (model by powermodel, 0.2 s ago)", "unknown". */
void power_text(const json_t *power, char *out, size_t size);
/* "12 s", "3.4 min", "2.1 h", "3.0 d". */
void duration_text(double seconds, char *out, size_t size);
/* A reason's values, "violations 12, tolerated 1 %". */
void values_text(const json_t *values, char *out, size_t size);
/* What a journal row's detail says: the reason's values, and members that are
 * neither lists nor moments on the broker's clock. */
void detail_text(const json_t *detail, char *out, size_t size);

/* Writes text to a terminal: what could drive it becomes '?'.  Null is "". */
void put_text(FILE *, const char *);
/* The same in lines of at most 'room' characters, broken at spaces, all but the
 * first behind 'indent' spaces.  Where 'room' is too little, in one line. */
void put_lines(FILE *, const char *, size_t room, size_t indent);
/* Characters of UTF-8 in a text. */
size_t text_width(const char *);

#endif
