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
bool member_known(const json_t *object, const char *key);
bool member_true(const json_t *object, const char *key);

/* "35.2 W (model by powermodel, 0.2 s ago)", "unknown". */
void power_text(const json_t *power, char *out, size_t size);
/* "12 s", "3.4 min", "2.1 h", "3.0 d". */
void duration_text(double seconds, char *out, size_t size);
/* A reason's values, "violations 12, tolerated 1 %". */
void values_text(const json_t *values, char *out, size_t size);
/* What a journal row's detail says: members that are no lists, and the reason's
 * values. */
void detail_text(const json_t *detail, char *out, size_t size);

/* Writes text to a terminal: what could drive it becomes '?'. */
void put_text(FILE *, const char *);

#endif
