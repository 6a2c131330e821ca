/* SPDX-License-Identifier: Apache-2.0 */
/* A place for a journal's file, which goes with the test, a journal opened in
 * it, rows added by number, and rows seen. */
#ifndef TESTS_UNIT_BROKER_JOURNAL_SCENE_H
#define TESTS_UNIT_BROKER_JOURNAL_SCENE_H

#include "broker/journal/journal.h"

struct place {
    char dir[64], path[96];
};

struct seen {
    unsigned n;
    struct journal_row last, first;
    bool disorder, jump;
};

extern const struct journal_opts generous;

int make_place(void **state);
int remove_place(void **state);
struct journal *opened(const char *path, const struct journal_opts *opts);
int add(struct journal *journal, uint64_t cause, int64_t wall_ns,
        unsigned number);
void see(void *ctx, const struct journal_row *row);

#endif
