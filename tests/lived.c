/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/lived.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/confscan.h"
#include "broker/journal/journal.h"
#include "sim/disk.h"
#include "sim/run.h"

/* While a life is lived that somebody wants the end of. */
static void (*ending)(void *ctx, const char *journal_path);
static void *ending_ctx;

int __real_journal_open(struct journal **out, const char *path,
                        const struct journal_opts *, char *why,
                        size_t why_size);
int __wrap_journal_open(struct journal **out, const char *path,
                        const struct journal_opts *, char *why,
                        size_t why_size);
void __real_disk_destroy(struct disk *);
void __wrap_disk_destroy(struct disk *);

int
__wrap_journal_open(struct journal **out, const char *path,
                    const struct journal_opts *opts, char *why, size_t why_size)
{
    struct journal_opts more = *opts;

    if (ending && path) {
        more.inputs_max = more.size_max / 2;
    }
    return __real_journal_open(out, path, &more, why, why_size);
}

void
__wrap_disk_destroy(struct disk *disk)
{
    if (ending) {
        ending(ending_ctx, disk_journal_path(disk));
    }
    __real_disk_destroy(disk);
}

int
lived_read(struct scenario *out, char *why, size_t why_size)
{
    char *text;
    int error = confscan_load(&text, LIFE, why, why_size);

    if (!error) {
        error = scenario_parse(out, text, LIFE, why, why_size);
        free(text);
    }
    return error;
}

int
lived(void (*at_end)(void *ctx, const char *journal_path), void *ctx, char *why,
      size_t why_size)
{
    static struct scenario scenario;
    static struct run_result result;
    int error = lived_read(&scenario, why, why_size);

    if (error) {
        return error;
    }
    ending = at_end;
    ending_ctx = ctx;
    run_scenario(&scenario, NULL, &result);
    ending = NULL;
    scenario_fini(&scenario);
    if (result.broken[0]) {
        snprintf(why, why_size, "%s", result.broken);
        return -EPROTO;
    }
    return 0;
}
