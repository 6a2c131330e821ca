/* SPDX-License-Identifier: Apache-2.0 */
/* Frequencies that hardware names, or its least and greatest, to a table of
 * p-states.  No I/O; called by cpufreq.c with text that it read. */
#include "hardware/freqtable.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/text.h"

#define LIST_MAX 256 /* Frequencies in a list. */
#define LADDER_UNIT_KHZ 100000

static int pick(struct pstate_table *, uint64_t *khz, uint32_t n);

int
freqtable_parse(struct pstate_table *table, char *list)
{
    uint64_t khz[LIST_MAX];
    uint32_t n = 0;
    char *word;

    while ((word = strsep(&list, " \t\n"))) {
        if (!*word) {
            continue;
        }
        if (n == LIST_MAX) {
            return -E2BIG;
        }
        int error = text_to_u64(word, &khz[n++]);
        if (error) {
            return error;
        }
    }
    return pick(table, khz, n);
}

int
freqtable_ladder(struct pstate_table *table, uint64_t min_khz, uint64_t max_khz,
                 uint32_t steps)
{
    uint64_t khz[PSTATES_MAX];

    for (uint32_t i = 0; i < steps; i++) {
        uint64_t even = max_khz - i * (max_khz - min_khz) / (steps - 1);
        uint64_t round =
            (even + LADDER_UNIT_KHZ / 2) / LADDER_UNIT_KHZ * LADDER_UNIT_KHZ;
        bool inside = round > min_khz && round < max_khz;
        bool end = i == 0 || i == steps - 1;

        khz[i] = end ? even : inside ? round : max_khz;
    }
    return pick(table, khz, steps);
}

uint32_t
freqtable_nearest(const struct pstate_table *table, uint64_t khz)
{
    uint32_t best = 0;
    uint64_t best_off = UINT64_MAX;

    for (uint32_t i = 0; i < table->n; i++) {
        uint64_t f = table->freq_khz[i];
        uint64_t off = f > khz ? f - khz : khz - f;

        if (off < best_off) {
            best = i;
            best_off = off;
        }
    }
    return best;
}

static int
compare_falling(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

    return x < y ? 1 : x > y ? -1 : 0;
}

/* Fills 'table' with at most PSTATES_MAX of 'khz', first and last among them.
 */
static int
pick(struct pstate_table *table, uint64_t *khz, uint32_t n)
{
    uint32_t unique = 0;

    qsort(khz, n, sizeof *khz, compare_falling);
    for (uint32_t i = 0; i < n; i++) {
        if (!khz[i] || khz[i] > UINT32_MAX) {
            return -ERANGE;
        }
        if (!unique || khz[i] != khz[unique - 1]) {
            khz[unique++] = khz[i];
        }
    }
    table->n = unique < PSTATES_MAX ? unique : PSTATES_MAX;
    for (uint32_t i = 0; i < table->n; i++) {
        uint32_t from =
            unique <= PSTATES_MAX ? i : i * (unique - 1) / (PSTATES_MAX - 1);
        table->freq_khz[i] = (uint32_t)khz[from];
    }
    return table->n ? 0 : -EINVAL;
}
