/* SPDX-License-Identifier: Apache-2.0 */
/* Lays columns out: as wide as their widest cell, two spaces between, nothing
 * after the last, which is broken into lines where a terminal is too narrow for
 * it.  Width is counted in characters of UTF-8.  Relies on
 * jansson's values; called by the verbs. */
#include "ctl/table.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "base/text.h"
#include "ctl/member.h"

struct table {
    const char *const *heads;
    size_t n_columns, n_cells, n_allocated;
    char (*cells)[TABLE_CELL_SIZE];
};

struct table *
table_create(const char *const *heads)
{
    struct table *table = calloc(1, sizeof *table);

    if (!table) {
        return NULL;
    }
    table->heads = heads;
    while (heads[table->n_columns]) {
        table->n_columns++;
    }
    return table;
}

void
table_destroy(struct table *table)
{
    if (table) {
        free(table->cells);
        free(table);
    }
}

void
table_cell(struct table *table, const char *format, ...)
{
    va_list args;

    if (!table) {
        return;
    }
    if (table->n_cells == table->n_allocated) {
        size_t n = table->n_allocated ? table->n_allocated * 2 : 64;
        void *cells = realloc(table->cells, n * sizeof *table->cells);

        if (!cells) {
            return;
        }
        table->cells = cells;
        table->n_allocated = n;
    }
    char *cell = table->cells[table->n_cells++];
    va_start(args, format);
    vsnprintf(cell, TABLE_CELL_SIZE, format, args);
    va_end(args);
    if (cell[0] == '\0') {
        text_copy(cell, TABLE_CELL_SIZE, "-");
    }
}

void
table_number(struct table *table, const json_t *object, const char *key,
             int decimals, const char *unit)
{
    if (!member_known(object, key)) {
        table_cell(table, "unknown");
        return;
    }
    table_cell(table, "%.*f%s%s", decimals, member_number(object, key),
               unit[0] ? " " : "", unit);
}

/* Layout. */

static bool
is_right(const struct table *table, size_t column)
{
    return table->heads[column][0] == '>';
}

static void
put_cell(const struct table *table, size_t column, const char *text,
         size_t width, FILE *out)
{
    size_t own = text_width(text);
    int pad = own < width ? (int)(width - own) : 0;

    if (column > 0) {
        fputs("  ", out);
    }
    if (is_right(table, column)) {
        fprintf(out, "%*s", pad, "");
        put_text(out, text);
        return;
    }
    put_text(out, text);
    if (column + 1 < table->n_columns) {
        fprintf(out, "%*s", pad, "");
    }
}

void
table_print(const struct table *table, FILE *out, bool colour, size_t columns)
{
    size_t width[TABLE_COLUMNS_MAX] = {0}, indent = 0;

    if (!table || table->n_columns > TABLE_COLUMNS_MAX) {
        return;
    }
    for (size_t i = 0; i < table->n_columns; i++) {
        width[i] = text_width(table->heads[i] + is_right(table, i));
    }
    for (size_t i = 0; i < table->n_cells; i++) {
        size_t own = text_width(table->cells[i]);
        size_t column = i % table->n_columns;
        if (own > width[column]) {
            width[column] = own;
        }
    }
    fputs(colour ? "\033[1m" : "", out);
    for (size_t i = 0; i < table->n_columns; i++) {
        put_cell(table, i, table->heads[i] + is_right(table, i), width[i], out);
    }
    fputs(colour ? "\033[0m\n" : "\n", out);
    for (size_t i = 0; i + 1 < table->n_columns; i++) {
        indent += width[i] + 2;
    }
    for (size_t i = 0; i < table->n_cells; i++) {
        size_t column = i % table->n_columns;
        bool last = column + 1 == table->n_columns;

        if (last && column > 0 && columns > indent &&
            !is_right(table, column)) {
            fputs("  ", out);
            put_lines(out, table->cells[i], columns - indent, indent);
        } else {
            put_cell(table, column, table->cells[i], width[column], out);
        }
        fputs(last ? "\n" : "", out);
    }
}
