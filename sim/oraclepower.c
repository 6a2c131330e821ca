/* SPDX-License-Identifier: Apache-2.0 */
/* What must hold of a journal whose disk lost its power: what was promised to
 * be there is, every row is the one that was written, and if the mark beside it
 * knows of rows that are gone, it is said.  What nobody was promised may be
 * missing, from the end.  Links tell rows apart: each is a checksum of its row
 * and all before it.  Called by actors.c. */
#include "sim/oracle.h"

#include <assert.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "broker/journal/journal.h"
#include "broker/journal/journalhead.h"
#include "broker/journal/journalread.h"
#include "sim/disk.h"
#include "sim/oracleparts.h"
#include "sim/world.h"

#define START_SHIFT 40

static void
add_link(void *ctx, const struct journal_row *row, const struct chain *link)
{
    struct power_watch *watch = ctx;

    if (watch->n == watch->max) {
        watch->max = watch->max ? 2 * watch->max : 1024;
        watch->rows = realloc(watch->rows, watch->max * sizeof *watch->rows);
        assert(watch->rows);
    }
    watch->rows[watch->n++] = (struct power_row){.id = row->id, .link = *link};
}

/* False if there is no journal that can be read. */
static bool
read_links(const struct world *world, struct power_watch *watch)
{
    const struct journal_reading reading = {.link = add_link, .ctx = watch};
    struct journal_report report;
    char why[JOURNAL_WHY_SIZE];

    watch->n = 0;
    return !journalread_file(disk_journal_path(world->disk), &reading, &report,
                             why, sizeof why) &&
           !report.broken;
}

void
oracle_power_fails(struct world *world)
{
    struct power_watch *watch = &world->oracle->power;
    const char *path = disk_journal_path(world->disk);
    struct journal_head head;

    watch->cut = true;
    watch->promised = 0;
    if (!read_links(world, watch)) {
        watch->n = 0;
    } else if (!journalhead_read(path, &head)) {
        watch->promised = head.durable[JOURNAL_ROWS].id;
    }
}

/* Null: there is none. */
static const struct power_row *
find_row(const struct power_watch *watch, uint64_t id)
{
    size_t low = 0, high = watch->n;

    while (low < high) {
        size_t middle = low + (high - low) / 2;

        if (watch->rows[middle].id < id) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low < watch->n && watch->rows[low].id == id ? &watch->rows[low]
                                                       : NULL;
}

static void
check_rows(struct world *world, const struct power_watch *now)
{
    const struct power_watch *was = &world->oracle->power;
    uint64_t start = journal_start_count(world->journal);

    /* Those before the first had been dropped, and may be back. */
    for (size_t i = 0; i < now->n; i++) {
        uint64_t id = now->rows[i].id;
        const struct power_row *row = find_row(was, id);

        if (id >> START_SHIFT >= start || !was->n || id < was->rows[0].id) {
            continue;
        }
        if (!row || !chain_equal(&row->link, &now->rows[i].link)) {
            world_break(world,
                        "row %" PRIu64 ".%" PRIu64 " is %s since the power "
                        "failed",
                        id >> START_SHIFT,
                        id & ((UINT64_C(1) << START_SHIFT) - 1),
                        row ? "another" : "there, that was not,");
        }
    }
    for (size_t i = was->n; i > 0; i--) {
        uint64_t id = was->rows[i - 1].id;

        if (id > was->promised) {
            continue;
        }
        if (!find_row(now, id)) {
            world_break(world,
                        "row %" PRIu64 ".%" PRIu64 " was on the disk, and is "
                        "gone since the power failed",
                        id >> START_SHIFT,
                        id & ((UINT64_C(1) << START_SHIFT) - 1));
        }
        break; /* Those before it are in its link. */
    }
}

bool
oracle_power_lost(const struct world *world)
{
    return world->oracle->power.cut;
}

void
oracle_power_back(struct world *world, const struct journal_head *found,
                  bool said)
{
    struct power_watch now = {.n = 0};
    uint64_t start = journal_start_count(world->journal);
    uint64_t last = 0;

    if (!read_links(world, &now)) {
        world_break(world, "the journal can't be read since the power failed");
    } else {
        check_rows(world, &now);
    }
    for (size_t i = 0; i < now.n; i++) {
        uint64_t id = now.rows[i].id;

        last = id >> START_SHIFT < start && id > last ? id : last;
    }
    if (!said && found->written[JOURNAL_ROWS].id > last) {
        world_break(world, "rows are gone since the power failed, and the "
                           "journal does not say so");
    }
    world->oracle->power.cut = false;
    free(now.rows);
}
