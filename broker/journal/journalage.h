/* SPDX-License-Identifier: Apache-2.0 */
/* How old rows are, by CLOCK_BOOTTIME: the wall clock may be set to anything.
 * For broker/journal/ only. */
#ifndef BROKER_JOURNAL_JOURNALAGE_H
#define BROKER_JOURNAL_JOURNALAGE_H

#include <stddef.h>
#include <stdint.h>

#include "base/clock.h"

/* The boots that a stream's rows are of.  Zeroed: none yet. */
struct journal_ages {
    struct journal_boot {
        uint64_t start; /* The first of the broker's in it. */
        nsec_t base;    /* How long the boots before it were seen to last. */
    } * boot;           /* Owned. */
    size_t n, max;
    uint64_t start; /* Of the last row noted, and its time. */
    nsec_t last;
};

void journalage_fini(struct journal_ages *);
/* A row is in the file, behind those noted before; 'id' as of journal_row. */
void journalage_note(struct journal_ages *, uint64_t id, nsec_t time);
/* So that noting a row of the next start allocates nothing. */
void journalage_make_room(struct journal_ages *);

/* At most how long ago that row was written, at 'now' of the last boot. */
nsec_t journalage_of(const struct journal_ages *, uint64_t id, nsec_t time,
                     nsec_t now);

#endif
