/* SPDX-License-Identifier: Apache-2.0 */
/* Counts rows' ages without the wall clock, which a hand, a battery or a bad
 * time server may set years ahead: then all rows would be old at once, and
 * gone. CLOCK_BOOTTIME says how far apart two rows of one boot are.  A start
 * whose first row has an earlier time than the last one before it is of another
 * boot, which has lasted at least that row's time; how long the host was off
 * nobody knows, and it does not count.  So a row is never taken for older than
 * it is; where the host was off for a while it is kept for that much longer.
 * What bounds the file whatever the clocks say is its size.
 *
 * If there is no memory to note another boot its rows count as younger.  Called
 * by journaldb.c for what is found and by journalwrite.c for what is written.
 */
#include "broker/journal/journalage.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#define ID_SHIFT 40

static nsec_t
sum(nsec_t a, nsec_t b)
{
    nsec_t out;

    return __builtin_add_overflow(a, b, &out) ? INT64_MAX : out;
}

void
journalage_fini(struct journal_ages *ages)
{
    free(ages->boot);
    memset(ages, 0, sizeof *ages);
}

void
journalage_make_room(struct journal_ages *ages)
{
    if (ages->n < ages->max) {
        return;
    }
    size_t max = ages->max ? 2 * ages->max : 8;
    struct journal_boot *boot = realloc(ages->boot, max * sizeof *boot);
    if (boot) {
        ages->boot = boot;
        ages->max = max;
    }
}

void
journalage_note(struct journal_ages *ages, uint64_t id, nsec_t time)
{
    uint64_t start = id >> ID_SHIFT;

    time = time < 0 ? 0 : time;
    if (!ages->n || (start != ages->start && time < ages->last)) {
        nsec_t base =
            ages->n ? sum(ages->boot[ages->n - 1].base, ages->last) : 0;

        journalage_make_room(ages);
        if (ages->n < ages->max) {
            ages->boot[ages->n++] =
                (struct journal_boot){.start = start, .base = base};
            ages->last = 0;
        }
    }
    ages->start = start;
    ages->last = time > ages->last ? time : ages->last;
}

nsec_t
journalage_of(const struct journal_ages *ages, uint64_t id, nsec_t time,
              nsec_t now)
{
    size_t i = ages->n;

    if (!i) {
        return 0;
    }
    now = sum(ages->boot[i - 1].base, now);
    while (--i > 0 && ages->boot[i].start > id >> ID_SHIFT) {
    }
    time = sum(ages->boot[i].base, time < 0 ? 0 : time);
    return now > time ? now - time : 0;
}
