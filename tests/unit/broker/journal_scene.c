/* SPDX-License-Identifier: Apache-2.0 */
/* What the tests of broker/journal/ share.  A test that mounts something over
 * its place may fail amidst: the place is unmounted, too. */
#include "tests/unit/broker/journal_scene.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mount.h>

#include <cmocka.h>

const struct journal_opts generous = {.size_max = 64 << 20,
                                      .age_max_s = 30 * 86400};

int
make_place(void **state)
{
    struct place *place = calloc(1, sizeof *place);

    snprintf(place->dir, sizeof place->dir, "/tmp/mbroker-journal-XXXXXX");
    if (!mkdtemp(place->dir)) {
        return -1;
    }
    snprintf(place->path, sizeof place->path, "%s/journal", place->dir);
    *state = place;
    return 0;
}

int
remove_place(void **state)
{
    struct place *place = *state;
    char command[128];

    umount2(place->dir, MNT_DETACH); /* Where a test failed. */
    snprintf(command, sizeof command, "rm -rf %s", place->dir);
    int status = system(command);
    free(place);
    return status;
}

struct journal *
opened(const char *path, const struct journal_opts *opts)
{
    struct journal *journal = NULL;
    char why[200] = "";

    int error = journal_open(&journal, path, opts, why, sizeof why);
    if (error) {
        fail_msg("open gave %d: %s", error, why);
    }
    return journal;
}

int
add(struct journal *journal, uint64_t cause, int64_t wall_ns, unsigned number)
{
    struct journal_row row = {
        .cause = cause,
        .kind = (enum journal_kind)(number % 4),
        .time = number,
        .wall_ns = wall_ns,
        .command = number,
        .subject = "mgmt://local/vm/x/agent",
        .name = "GUEST_NOTICE",
    };

    snprintf(row.detail, sizeof row.detail, "{\"n\": %u}", number);
    return journal_add(journal, &row);
}

void
see(void *ctx, const struct journal_row *row)
{
    struct seen *seen = ctx;

    if (!seen->n) {
        seen->first = *row;
    } else {
        seen->disorder |= row->id <= seen->last.id;
        seen->jump |= seen->last.time == INT64_MAX ||
                      row->time != seen->last.time + 1;
    }
    seen->last = *row;
    seen->n++;
}
