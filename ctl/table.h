/* SPDX-License-Identifier: Apache-2.0 */
/* Aligned columns for people.  Cells are text; what a stranger may have written
 * into them can't drive the terminal. */
#ifndef CTL_TABLE_H
#define CTL_TABLE_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

#define TABLE_COLUMNS_MAX 12
#define TABLE_CELL_SIZE 400

struct table;

/* 'heads' has one word per column, ended by null (borrowed until
 * table_destroy()); one that begins with '>' is aligned to the right. */
struct table *table_create(const char *const *heads);
void table_destroy(struct table *);
/* Fills the next cell, row by row.  Null and "" show as "-". */
void table_cell(struct table *, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
/* A number of JSON: null is "unknown", never 0. */
void table_number(struct table *, const json_t *object, const char *key,
                  int decimals, const char *unit);
/* A last column that would not fit into so many columns of a terminal goes on
 * below itself; 0: into any. */
void table_print(const struct table *, FILE *, bool colour, size_t columns);

#endif
